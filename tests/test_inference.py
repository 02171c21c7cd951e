"""Fast forms of the networks against the networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from gazepipe import compute
from gazepipe.cli import main
from gazepipe.config import load_config, template
from gazepipe.corpus import Corpus
from gazepipe.embedding import EmbeddingNet, pair_input
from gazepipe.evaluate import evaluate
from gazepipe.inference import FastEncoder, FastRefiner
from gazepipe.predict import predict_maps
from gazepipe.refiner import RefinerNet, refine, scene_input
from gazepipe.simulate import simulate_study
from gazepipe.study import Study
from gazepipe.training import Encoder
from gazepipe.winograd import WinogradConvolution


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> EmbeddingNet:
    """Weights and statistics as after training: batch norms that do something."""
    torch.manual_seed(0)
    net = EmbeddingNet("rgb+psm", getattr(request, "param", (8, 8, 16, 16)), 6)
    for _ in range(20):
        net(torch.rand(4, 4, 40, 60) * 3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return net.eval()


@pytest.fixture
def refiner(request: pytest.FixtureRequest) -> RefinerNet:
    """Narrow, with numbers of channels that fit no vector; or with others, of which Winograd's forms are made."""
    torch.manual_seed(0)
    widths, personal = getattr(request, "param", ((4, 6, 8), 5))
    net = RefinerNet(4, 6, widths, personal=personal).eval()
    net.standardise(torch.randn(9, 6))
    for projection in net.project:
        torch.nn.init.normal_(projection.weight, std=0.3)
        torch.nn.init.normal_(projection.bias)
    return net


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("encoder", [(8, 8, 16, 16), (32, 64, 40, 16)], indirect=True)
def test_folded_batch_norm(encoder: EmbeddingNet, dtype: torch.dtype | None) -> None:
    rgb = torch.randint(0, 256, (5, 40, 60, 3), dtype=torch.uint8)
    psm = torch.rand(5, 40, 60).half()
    want = encoder(pair_input("rgb+psm", rgb, psm, None)).detach()
    got = FastEncoder(encoder, dtype)(rgb, psm, None)
    assert got.dtype == torch.float32
    if dtype is None:
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4 * float(want.abs().max()))
    assert F.cosine_similarity(got, want).min() > 0.9999


WIDTHS = pytest.mark.parametrize("refiner", [((4, 6, 8), 5), ((8, 16, 24), 8)], indirect=True)


@WIDTHS
@pytest.mark.parametrize("size", [(120, 160), (60, 80), (37, 50)])
@pytest.mark.parametrize("users", [1, 27, 60])
def test_many_people_on_some_scenes(refiner: RefinerNet, size: tuple[int, int], users: int) -> None:
    scenes, people = torch.rand(2, 4, *size), torch.randn(users, 6)
    fast = FastRefiner(refiner)
    got = fast(scenes, fast.people(people))
    assert got.shape == (2, users, 15, 20)
    with torch.inference_mode():
        for s in range(2):
            want = refiner(scenes[s : s + 1].expand(users, -1, -1, -1), people)[2]
            torch.testing.assert_close(got[s], want, rtol=0, atol=1e-4)
    rough = FastRefiner(refiner, torch.bfloat16)
    assert (rough(scenes, rough.people(people)) - got).abs().max() < 0.1 * got.abs().max()


@WIDTHS
@pytest.mark.parametrize("n", [0, 1, 30])
def test_pairs_of_scene_and_person(refiner: RefinerNet, n: int) -> None:
    scenes, people = torch.rand(n, 4, 120, 160), torch.randn(n, 6)
    got = FastRefiner(refiner).pairs(scenes, people)
    assert (got.shape, got.dtype) == ((n, 15, 20), torch.float32)
    if n:
        torch.testing.assert_close(got, refiner(scenes, people)[2].detach(), rtol=0, atol=1e-4)


def test_the_papers_widths() -> None:
    torch.manual_seed(0)
    net = RefinerNet().eval()
    for projection in net.project:
        torch.nn.init.normal_(projection.weight, std=0.03)
    scene, people = torch.rand(1, 4, 120, 160), torch.randn(3, 32)
    fast = FastRefiner(net)
    want = net(scene.expand(3, -1, -1, -1), people)[2].detach()
    assert want.abs().max() > 0.1
    torch.testing.assert_close(fast(scene, fast.people(people))[0], want, rtol=0, atol=1e-4)


def test_predict_maps_is_the_network_and_what_is_done_with_its_map(refiner: RefinerNet) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 120, 160, 3), np.uint8)
    usm = rng.random((3, 120, 160), np.float32)
    person = rng.standard_normal(6).astype(np.float32)
    with torch.inference_mode():
        universal = torch.from_numpy(usm)
        delta = refiner(scene_input(torch.from_numpy(pixels), universal), torch.from_numpy(person).expand(3, -1))[2]
        want = refine(universal, delta, "gated").numpy()
    np.testing.assert_allclose(predict_maps(refiner, person, pixels, usm), want, rtol=0, atol=1e-4)
    assert not np.allclose(want, usm, atol=0.05)


def test_an_encoder_follows_its_network(encoder: EmbeddingNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEPIPE_FLOAT32", "1")
    rng = np.random.default_rng(0)
    maps = rng.random((6, 40, 60), np.float32).astype(np.float16)
    images = rng.integers(0, 256, (3, 40, 60, 3), np.uint8)
    index = np.arange(6).reshape(2, 3)
    corpus = Corpus(("a", "b"), ("x", "y", "z"), maps, index, np.zeros(6, np.int64), np.arange(7), images)
    looking = Encoder(encoder, corpus, (0, 1))

    def check() -> None:
        want = encoder(pair_input("rgb+psm", torch.from_numpy(images), torch.from_numpy(maps[3:]), None)).detach()
        np.testing.assert_allclose(looking.table(1, (0, 1, 2)), want, rtol=1e-3, atol=1e-4)

    check()
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.1)
    encoder(torch.rand(2, 4, 40, 60)).square().sum().backward()
    optimiser.step()
    check()
    encoder.load_state_dict({k: v * 0.9 for k, v in encoder.state_dict().items()})
    check()
    encoder.train()(torch.rand(8, 4, 40, 60))  # moves the statistics of the batch norms alone
    encoder.eval()
    check()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Trained on simulated people, with channels that Winograd's forms are made of."""
    folder = tmp_path_factory.mktemp("inference")
    simulate_study(folder, users=8, images=16, rate_hz=125, seconds=1.5, seed=5)
    config = load_config(folder / "gazepipe.toml").model_dump(mode="json")
    config["split"] |= {"users": [0.5, 0.25, 0.25], "images": [0.6, 0.15, 0.25]}
    config["embedding"] |= {"widths": [16, 32, 32, 32], "m": 2, "batch": 12, "steps": 20, "validate_every": 10}
    config["refiner"] |= {"widths": [8, 16, 32], "personal": 8, "m": 2, "pool": 8, "epochs": 3}
    config["universal"] |= {"epochs": 1}
    config["evaluation"] |= {"m": [1, 2], "embeddings_per_user": 4, "repetitions": 8}
    (folder / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    for stage in ("ingest", "build-psm", "train"):
        result = CliRunner().invoke(main, [stage, str(folder)])
        assert result.exit_code == 0, result.output
    return Study.open(folder)


def test_evaluation_is_what_the_networks_themselves_give(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """All measures of all rows, and precision at one, agree to three digits with the plain networks' own."""
    monkeypatch.setenv("GAZEPIPE_FLOAT32", "1")
    fast = evaluate(study, threads=1, force=True)
    used: list[int] = []

    def pairs(self: FastRefiner, scenes: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        used.append(len(scenes))
        assert any(isinstance(layer, WinogradConvolution) for layer in self.trunk)
        return self.net(scenes, embeddings)[2]

    monkeypatch.setattr(FastRefiner, "pairs", pairs)
    monkeypatch.setattr(Encoder, "_fast", lambda self: None)
    plain = evaluate(study, threads=1, force=True)
    assert used
    assert set(plain.maps) == set(fast.maps)
    for row, values in plain.maps.items():
        assert fast.maps[row] == pytest.approx(values, rel=5e-4, abs=5e-4), row
    means = [
        {(p, m): found["mean"] for p, by_m in result.precision.items() for m, found in by_m.items()}
        for result in (fast, plain)
    ]
    assert means[0] == pytest.approx(means[1], abs=5e-4)
    assert len(means[0]) >= 4


@pytest.mark.parametrize(("asked", "flags", "kind"), [
    ("", "fma avx512_bf16", torch.bfloat16),
    ("0", "fma amx_bf16", torch.bfloat16),
    ("1", "fma avx512_bf16", None),
    ("", "fma avx2", None),
])  # fmt: skip
def test_number_format(asked: str, flags: str, kind: torch.dtype | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEPIPE_FLOAT32", asked)
    monkeypatch.setattr(compute, "_cpu_flags", lambda: flags)
    assert compute.autocast_dtype(torch.device("cpu")) is kind
