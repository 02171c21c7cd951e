"""What is in images: channels and components by hand, and people who like what is on one half of an image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quiet import quiet
from torch import Tensor

from gazepipe import Predictor, load_gallery, metrics
from gazepipe.backbone import CHANNELS, EfficientNetLite0, installed_weights, load_backbone
from gazepipe.build import build_psm
from gazepipe.config import RefinerConfig, StudyConfig, load_config, template
from gazepipe.content import FIT_SIZE, ContentNet, Scenes, combined, components_of, content_maps
from gazepipe.corpus import Corpus, Split
from gazepipe.embedding import EmbeddingNet
from gazepipe.enrol import enrol
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.images import read_rgb
from gazepipe.ingest import ingest
from gazepipe.models import load_model, save_model
from gazepipe.profile import PARAMETERS, ProfileNet, fit_profiles, reshape_maps
from gazepipe.profiling import content_backbone, knows_content, profiled, profiles_of, train_profile
from gazepipe.recipe import Recipe
from gazepipe.simulate import simulate_study
from gazepipe.study import Study

P = len(PARAMETERS)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite0:
    if installed_weights() is None:
        pytest.skip("the extra `backbone` is not installed")
    return load_backbone()


def photographs(data: Path, n: int) -> np.ndarray:
    files = sorted((data / "osie" / "stimuli").glob("*.jpg"))[:n]
    if not files:
        pytest.skip(f"no OSIE in {data}")
    return np.stack([read_rgb(file, (160, 120)) for file in files])


def test_a_direction_is_a_channel_less_its_mean(backbone: EfficientNetLite0) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), np.uint8)  # as large as the backbone sees it
    taps = backbone(torch.from_numpy(images))
    net = ContentNet(2)
    net.backbone = backbone
    net.weight[0, 3] = 2.0  # of the finest features
    net.weight[1, sum(CHANNELS[:4]) + 5] = 1.0  # of the coarsest
    net.mean[3] = 0.5
    found = net(torch.from_numpy(images))
    assert found.shape == (2, 2, *FIT_SIZE)
    for k, (tap, channel) in enumerate(((0, 3), (4, 5))):
        one = F.interpolate(taps[tap][:, channel : channel + 1], FIT_SIZE, mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(found[:, k], 2 * (one - 0.5) if k == 0 else one, atol=2e-4, rtol=1e-4)


def test_components_are_uncorrelated_and_of_one_size(backbone: EfficientNetLite0, data_dir: Path) -> None:
    images = photographs(data_dir, 10)
    net = components_of(backbone, images, 6)
    maps = content_maps(net, images).movedim(1, 3).reshape(-1, 6).double()
    torch.testing.assert_close(maps.mean(0), torch.zeros(6, dtype=torch.float64), atol=2e-3, rtol=0)
    torch.testing.assert_close(maps.T @ maps / len(maps), torch.eye(6, dtype=torch.float64), atol=5e-3, rtol=0)
    mixed = combined(net, torch.tensor([[1.0, 0, 0, 0, 0, 2.0]]))
    expected = content_maps(net, images[:2])[:, [0]] + 2 * content_maps(net, images[:2])[:, [5]]
    torch.testing.assert_close(content_maps(mixed, images[:2]), expected, atol=1e-4, rtol=1e-4)


def test_weights_of_content_tilt_a_map() -> None:
    flat, content = torch.ones(1, 1, *FIT_SIZE), torch.zeros(1, 1, 2, *FIT_SIZE)
    content[0, 0, 1, :, 20:] = 1.0
    theta = F.pad(torch.zeros(1, P), (0, 2))
    theta[0, P:] = torch.tensor([5.0, 0.7])
    theta[0, PARAMETERS.index("floor")] = -20
    maps = reshape_maps(flat, theta, content)[0, 0]
    assert float(torch.log(maps[0, -1] / maps[0, 0])) == pytest.approx(0.7, abs=1e-4)
    without = reshape_maps(flat, theta)[0, 0]
    torch.testing.assert_close(without, torch.ones_like(without))
    # At another size it is the same, but for the edge.
    larger = reshape_maps(torch.ones(1, 1, 120, 160), theta, content)[0, 0]
    assert float(torch.log(larger[60, 120] / larger[60, 40])) == pytest.approx(0.7, abs=1e-4)


def test_weights_of_content_are_found_again() -> None:
    rng = np.random.default_rng(0)
    usm = torch.from_numpy(rng.gamma(0.5, 1, (1, 24, *FIT_SIZE)).astype(np.float32))
    usm = F.avg_pool2d(usm, 5, 1, 2)
    content = torch.from_numpy(rng.normal(size=(1, 24, 2, 6, 8)).astype(np.float32))
    content = F.interpolate(content[0], FIT_SIZE, mode="bilinear")[None]
    true = F.pad(torch.zeros(1, P), (0, 2))
    true[0, P:] = torch.tensor([0.6, -0.4])
    psm = reshape_maps(usm, true, content)
    prior = torch.zeros(P + 2), torch.full((P + 2,), 0.1)
    fitted = fit_profiles(usm, psm, *prior, None, content, steps=150)
    torch.testing.assert_close(fitted[0, P:], true[0, P:], atol=0.05, rtol=0)
    # Where nothing is known of the images, the weights stay where they are.
    torch.testing.assert_close(fit_profiles(usm, psm, *prior)[0, P:], torch.zeros(2), atol=1e-6, rtol=0)


# ---- people who like one of two textures more or less than others do -------------------------------------------------

USERS, IMAGES = 9, 40
SPLIT = Split((0, 1, 2, 3, 4), (5, 6), (7, 8), tuple(range(24)), tuple(range(24, 32)), tuple(range(32, 40)))


def textured(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with one patch of stripes and one of noise; where the patches are, ``(n, 2, 2)`` in rows and columns."""
    rng = np.random.default_rng(seed)
    images = np.full((IMAGES, 120, 160, 3), 128, np.uint8)
    where = np.zeros((IMAGES, 2, 2), int)
    stripes = np.where(np.arange(36)[None, :, None] % 6 < 3, 255, 0) * np.ones((36, 1, 3))
    for image, places in zip(images, where, strict=True):
        columns = rng.permutation([10, 110])
        for k, patch in enumerate((stripes, rng.integers(0, 256, (36, 36, 3)))):
            row = int(rng.integers(5, 80))
            image[row : row + 36, columns[k] : columns[k] + 36] = patch
            places[k] = row + 18, columns[k] + 18
    return images, where


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    images, where = textured(3)
    v, u = np.mgrid[:60, :80]
    taste = np.random.default_rng(1).permutation(np.linspace(0.15, 0.85, USERS))
    blobs = np.exp(-((u - where[..., 1, None, None] / 2) ** 2 + (v - where[..., 0, None, None] / 2) ** 2) / 50)
    maps = np.concatenate([t * blobs[:, 0] + (1 - t) * blobs[:, 1] for t in taste])
    maps = (maps / maps.max((1, 2), keepdims=True)).astype(np.float16)
    index = np.arange(USERS * IMAGES).reshape(USERS, IMAGES)
    cells = np.array([int(m.argmax()) for m in maps])
    names = tuple(f"u{i}" for i in range(USERS)), tuple(f"i{i}" for i in range(IMAGES))
    return Corpus(*names, maps, index, cells, np.arange(len(maps) + 1), images)


def gain(corpus: Corpus, net: ProfileNet) -> float:
    """Mean gain of test users' profiles in CC over universal maps without the user, on test images."""
    few, test = [np.arange(12)] * 2, np.array(SPLIT.images_test)
    fitted = profiles_of(net, "leave_one_out", corpus, SPLIT.users_test, few, range(7))
    scenes, gains = Scenes(net.content, corpus), []
    for row, user in enumerate(SPLIT.users_test):
        usm = corpus.usm_without(range(USERS), user, test)
        truth = corpus.maps[corpus.index[user, test]].astype(np.float32)
        own = profiled(usm, fitted[row], scenes.of(test))
        gains += [metrics.cc(a, t) - metrics.cc(b, t) for a, b, t in zip(own, usm, truth, strict=True)]
    return float(np.mean(gains))


def test_tastes_are_learned_and_found_in_new_people(corpus: Corpus, backbone: EfficientNetLite0) -> None:
    config = RefinerConfig(m=12)
    plain = train_profile(corpus, SPLIT, config, seed=0, progress=quiet)
    knowing = train_profile(corpus, SPLIT, config, backbone=backbone, seed=0, progress=quiet)
    assert plain.net.directions == 0
    assert knowing.net.directions == 4
    assert {"content_mean", "content_leave_one_out"} <= knowing.best.keys()
    assert gain(corpus, knowing.net) > gain(corpus, plain.net) + 0.05


def test_content_that_tells_nothing_is_left_out(corpus: Corpus, backbone: EfficientNetLite0) -> None:
    mixed = replace(corpus, images=np.random.default_rng(1).permutation(corpus.images))  # each is another's
    plain = train_profile(mixed, SPLIT, RefinerConfig(m=12), seed=0, progress=quiet)
    trained = train_profile(mixed, SPLIT, RefinerConfig(m=12), backbone=backbone, seed=0, progress=quiet)
    assert trained.net.directions == 0
    torch.testing.assert_close(trained.net.mean, plain.net.mean)
    torch.testing.assert_close(trained.net.precision, plain.net.precision)


def test_directions_know_no_test_user_and_no_test_image(corpus: Corpus, backbone: EfficientNetLite0) -> None:
    config = RefinerConfig(m=12)
    trained = train_profile(corpus, SPLIT, config, backbone=backbone, seed=0, progress=quiet)
    maps, images = corpus.maps.copy(), corpus.images.copy()
    maps[corpus.index[list(SPLIT.users_test)]] = 1
    maps[corpus.index[:, list(SPLIT.images_test)]] = 1
    images[list(SPLIT.images_test)] = 0
    other = replace(corpus, maps=maps, images=images)
    again = train_profile(other, SPLIT, config, backbone=backbone, seed=0, progress=quiet)
    for (name, a), b in zip(trained.net.state_dict().items(), again.net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def test_weights_are_kept_with_the_backbone(corpus: Corpus, backbone: EfficientNetLite0, tmp_path: Path) -> None:
    (tmp_path / "gazepipe.toml").write_text('name = "t"\n')
    study = Study.open(tmp_path)
    trained = train_profile(corpus, SPLIT, RefinerConfig(m=12), backbone=backbone, seed=0, progress=quiet)
    save_model(
        study, "profile", trained, Recipe("t", 1, {}, {}), arguments={"content": trained.net.directions}, extra={}
    )
    again = load_model(study, "profile").net
    images = torch.from_numpy(corpus.images[:2])
    torch.testing.assert_close(again.content(images), trained.net.content(images))


def test_where_there_is_nothing_to_know(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(backbone: str, content: int = 4) -> StudyConfig:
        return StudyConfig.model_validate({"universal": {"backbone": backbone}, "refiner": {"content": content}})

    blind = replace(corpus, images=None)
    assert not knows_content(blind, config("efficientnet-lite0"))
    assert not knows_content(corpus, config("none"))
    assert not knows_content(corpus, config("efficientnet-lite0", 0))
    net = ProfileNet(2)
    assert Scenes(net.content, blind).of(np.arange(3)) is None
    theta: Tensor = profiles_of(net, "leave_one_out", blind, [7], [np.arange(8)], range(5))
    assert not theta[0, P:].any()
    monkeypatch.setattr("gazepipe.backbone.installed_weights", lambda: None)
    assert content_backbone(corpus, config("auto")) is None
    with pytest.raises(ConfigError, match=r"gazepipe\[backbone\]"):
        content_backbone(corpus, config("efficientnet-lite0"))


# ---- from maps in a store to predictions -----------------------------------------------------------------------------


@dataclass
class Drawn:
    """A network that nobody trained."""

    net: ProfileNet | EmbeddingNet
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def keep_profile(study: Study, recipe: Recipe, names: dict[str, list[str]]) -> ProfileNet:
    """Two random directions on a random backbone, as a stored network."""
    torch.manual_seed(3)
    net = ProfileNet(2)
    assert net.content is not None
    net.content.weight.normal_()
    save_model(study, "profile", Drawn(net), recipe, arguments={"content": 2}, extra=names)  # type: ignore[arg-type]
    return net.eval()


def test_predictions_weigh_content_and_know_their_training(tmp_path: Path) -> None:
    simulate_study(tmp_path / "s", users=3, images=4, rate_hz=125, seconds=1.0)
    path = tmp_path / "s" / "gazepipe.toml"
    config = load_config(path).model_dump(mode="json")
    config["refiner"] |= {"method": "profile"}
    path.write_text(template(**config), encoding="utf-8")
    study = Study.open(tmp_path / "s")
    assert not ingest(study).failures
    assert not build_psm(study).failures
    names: dict[str, list[str]] = {f"{k}_{p}": [] for k in ("users", "images") for p in ("train", "validation", "test")}
    names["users_train"] = ["sim01", "sim02"]
    embedding = Recipe("train-embedding", 1)
    save_model(study, "embedding", Drawn(EmbeddingNet()), embedding, arguments={}, extra=names)  # type: ignore[arg-type]
    net = keep_profile(study, Recipe("train-profile", 1), names)
    enrol(study, threads=1)
    person = load_gallery(study)["sim03"]
    assert person.profile is not None
    assert person.profile.shape == (P + 2,)
    assert np.abs(person.profile[P:]).max() > 1e-3

    image = study.stimuli / "scene02.png"
    predictor = Predictor(study, threads=1)
    small, theta = read_rgb(image, (160, 120)), torch.from_numpy(person.profile)
    usm = predictor.universal(image, small)[0]
    assert net.content is not None
    expected = profiled(usm[None], theta, net.content(torch.from_numpy(small[None])))[0]
    np.testing.assert_allclose(predictor(image, "sim03"), expected, atol=1e-5)
    assert np.abs(profiled(usm[None], theta)[0] - expected).max() > 1e-3

    # An image shown before is not looked at anew, and another one is not taken for it.
    assert predictor.content is not None
    seen: list[int] = []
    predictor.content.register_forward_hook(lambda *_: seen.append(1))
    np.testing.assert_array_equal(predictor(image, ["sim03", "sim03"])[1], predictor(image, "sim03"))
    assert not seen
    other = predictor(study.stimuli / "scene01.png", "sim03", usm=usm)
    assert len(seen) == 1
    assert np.abs(other - predictor(image, "sim03", usm=usm)).max() > 1e-5

    # Trained again, directions are others: weights of the old ones would be silently wrong.
    keep_profile(study, Recipe("train-profile", 2), names)
    with pytest.raises(NothingToDoError, match="of a training before; run `gazepipe enrol` again"):
        Predictor(study, threads=1)
    enrol(study, threads=1)
    assert Predictor(study, threads=1).recipe != predictor.recipe
