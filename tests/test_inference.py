"""Fast forms of the networks against the networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gazepipe.embedding import EmbeddingNet, pair_input
from gazepipe.errors import StimulusError
from gazepipe.inference import FastEncoder, FastRefiner
from gazepipe.predict import predict_maps
from gazepipe.realtime import Predictor
from gazepipe.refiner import RefinerNet
from gazepipe.universal import UniversalNet


@pytest.fixture
def encoder() -> EmbeddingNet:
    """Weights and statistics as after training: batch norms that do something."""
    torch.manual_seed(0)
    net = EmbeddingNet("rgb+psm", (8, 8, 16, 16), 6)
    for _ in range(20):
        net(torch.rand(4, 4, 40, 60) * 3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return net.eval()


@pytest.fixture
def refiner() -> RefinerNet:
    torch.manual_seed(0)
    net = RefinerNet(4, 6, (4, 6, 8), personal=5).eval()
    net.standardise(torch.randn(9, 6))
    for projection in net.project:
        torch.nn.init.normal_(projection.weight, std=0.3)
    return net


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_folded_batch_norm(encoder: EmbeddingNet, dtype: torch.dtype | None) -> None:
    rgb = torch.randint(0, 256, (5, 40, 60, 3), dtype=torch.uint8)
    psm = torch.rand(5, 40, 60).half()
    want = encoder(pair_input("rgb+psm", rgb, psm, None)).detach()
    got = FastEncoder(encoder, dtype)(rgb, psm, None)
    assert got.dtype == torch.float32
    if dtype is None:
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert F.cosine_similarity(got, want).min() > 0.9999


@pytest.mark.parametrize("size", [(120, 160), (60, 80), (37, 50)])
@pytest.mark.parametrize("users", [1, 27, 60])
def test_many_people_on_some_scenes(refiner: RefinerNet, size: tuple[int, int], users: int) -> None:
    scenes, people = torch.rand(2, 4, *size), torch.randn(users, 6)
    got = FastRefiner(refiner, people)(scenes)
    assert got.shape == (2, users, 15, 20)
    with torch.inference_mode():
        for s in range(2):
            want = refiner(scenes[s : s + 1].expand(users, -1, -1, -1), people)[2]
            torch.testing.assert_close(got[s], want, rtol=1e-4, atol=1e-5)
    rounded = FastRefiner(refiner, people, torch.bfloat16)(scenes)
    assert (rounded - got).abs().max() < 0.05 * got.abs().max()


def test_predictor_gives_what_predict_maps_gives(refiner: RefinerNet) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (120, 160, 3), np.uint8)
    usm = rng.random((120, 160), np.float32)
    people = rng.standard_normal((3, 6)).astype(np.float32)
    maps = Predictor(refiner, people, (120, 160))(pixels, usm)
    want = predict_maps(refiner, people, np.stack([pixels] * 3), np.stack([usm] * 3))
    np.testing.assert_allclose(maps, want, rtol=1e-4, atol=1e-5)
    # A picture twice as large in both directions, each pixel four times, is the same picture.
    large = pixels.repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(Predictor(refiner, people, (120, 160))(large, usm), maps, rtol=1e-4, atol=1e-5)


def test_predictor_makes_its_universal_map(refiner: RefinerNet) -> None:
    torch.manual_seed(1)
    universal = UniversalNet().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    with torch.inference_mode():
        usm = universal.predict(torch.from_numpy(pixels)[None], (120, 160))[0].numpy()
    one = Predictor(refiner, np.ones(6), (120, 160), universal=universal)
    np.testing.assert_allclose(one(pixels), one(pixels, usm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "usm", "match"),
    [
        (np.zeros((9, 9), np.uint8), None, r"image of shape \(9, 9\), uint8; expected \(height, width, 3\) uint8"),
        (np.zeros((9, 9, 3), np.float32), None, "float32; expected"),
        (np.zeros((9, 9, 3), np.uint8), None, "no universal predictor is trained"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((4, 4)), r"universal map of shape \(4, 4\); expected \(120, 160\)"),
    ],
)
def test_what_cannot_be_predicted_is_said(refiner: RefinerNet, pixels: np.ndarray, usm: object, match: str) -> None:
    with pytest.raises(StimulusError, match=match):
        Predictor(refiner, np.ones(6), (120, 160))(pixels, usm)  # type: ignore[arg-type]
