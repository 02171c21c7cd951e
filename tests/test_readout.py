"""The readout on a corpus in which everybody looks at the one bright square of each image; the backbone is random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gazepipe.config import UniversalConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.models import read_model, save_model
from gazepipe.readout import Features, ReadoutNet, input_size, train_readout
from gazepipe.recipe import Recipe
from gazepipe.study import Study
from gazepipe.training import Trained

CPU = torch.device("cpu")
SIZE, N = (64, 96), 40
SPLIT = Split((0, 1), (2,), (3,), tuple(range(28)), tuple(range(28, 34)), tuple(range(34, N)))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shown() -> tuple[Corpus, npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (N, *SIZE, 3), np.uint8)
    maps = np.zeros((4 * N, 16, 24), np.float16)
    v, u = np.mgrid[:16, :24]
    for i in range(N):
        row, column = rng.integers(1, 4), rng.integers(1, 6)
        images[i, row * 16 - 16 : row * 16, column * 16 - 16 : column * 16] = 250
        blob = np.exp(-((u - 4 * column + 2.5) ** 2 + (v - 4 * row + 2.5) ** 2) / 8)
        maps[[i, N + i, 2 * N + i, 3 * N + i]] = blob
    index = np.arange(4 * N).reshape(4, N)
    names = tuple("abcd"), tuple(f"i{i}" for i in range(N))
    cells = np.array([int(m.argmax()) for m in maps])
    return Corpus(*names, maps, index, cells, np.arange(4 * N + 1), images), images


def untrained() -> ReadoutNet:
    """Random filters that keep the variance, so that something of the image comes through sixteen blocks."""
    torch.manual_seed(3)
    net = ReadoutNet(SIZE, width=8, hidden=16, dropout=0.0)
    for module in net.backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return net


def fitted(corpus: Corpus, images: npt.NDArray[np.uint8], seed: int = 0) -> Trained:
    net = untrained()
    asked: list[int] = []

    def pixels(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        asked.extend(rows.tolist())
        return images[rows]

    config = UniversalConfig(readout_epochs=25, learning_rate=0.04)
    result = train_readout(
        corpus, SPLIT, pixels, config, trained_elsewhere=net, seed=seed, where=CPU, progress=lambda *_: None
    )
    assert sorted(asked) == list(range(34))  # each image once, and no test image at all
    return result


@pytest.fixture(scope="module")
def trained(shown: tuple[Corpus, npt.NDArray[np.uint8]]) -> Trained:
    return fitted(*shown)


def test_maps_of_unseen_images_have_their_maximum_in_the_square(
    shown: tuple[Corpus, npt.NDArray[np.uint8]], trained: Trained
) -> None:
    _, images = shown
    rows = list(SPLIT.images_test)
    with torch.inference_mode():
        maps = trained.net.predict(torch.from_numpy(images[rows]), (16, 24))
    assert maps.shape == (len(rows), 16, 24)
    assert torch.equal(maps.amax((1, 2)), torch.ones(len(rows)))
    inside = 0
    for i, found in zip(rows, maps, strict=True):
        v, u = divmod(int(found.argmax()), 24)
        inside += images[i, v * 4 : v * 4 + 4, u * 4 : u * 4 + 4].mean() > 200
    assert inside >= 5  # of 6; by chance a fifteenth


def test_the_best_validation_is_kept_and_the_backbone_stays(trained: Trained) -> None:
    assert trained.best["validation_kld"] == min(r["validation_kld"] for r in trained.history)
    assert trained.best["validation_kld"] < trained.history[0]["validation_kld"] / 2
    before = untrained()
    for key, value in before.backbone.state_dict().items():
        assert torch.equal(value, trained.net.backbone.state_dict()[key]), key
    assert not torch.equal(before.prior, trained.net.prior)


def test_same_seed_same_weights(shown: tuple[Corpus, npt.NDArray[np.uint8]], trained: Trained) -> None:
    again = fitted(*shown)
    assert again.best["validation_kld"] == trained.best["validation_kld"]
    assert torch.equal(again.net.prior, trained.net.prior)


def test_features_kept_from_another_split_are_not_made_again(
    shown: tuple[Corpus, npt.NDArray[np.uint8]], trained: Trained
) -> None:
    corpus, images = shown
    asked: list[int] = []

    def pixels(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        asked.extend(rows.tolist())
        return images[rows]

    kept = Features()
    config = UniversalConfig(readout_epochs=25, learning_rate=0.04)
    other = Split((1, 3), (2,), (0,), tuple(range(6, 34)), tuple(range(34, N)), tuple(range(6)))
    for split in (other, SPLIT):
        again = train_readout(
            corpus, split, pixels, config, trained_elsewhere=untrained(), kept=kept, seed=0, where=CPU,
            progress=lambda *_: None,
        )  # fmt: skip
    assert sorted(asked) == list(range(N))  # each image once over both
    assert torch.equal(again.net.prior, trained.net.prior)  # and the second is what it is alone


def test_log_densities_sum_to_one() -> None:
    with torch.inference_mode():
        out = ReadoutNet(SIZE).eval()(torch.zeros(2, *SIZE, 3, dtype=torch.uint8))
    assert out.shape == (2, 4, 6)
    torch.testing.assert_close(out.exp().sum((1, 2)), torch.ones(2))


def test_weights_come_back_with_their_backbone(small_study: object, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ReadoutNet(SIZE).eval()
    study = Study.__new__(Study)
    object.__setattr__(study, "store", tmp_path)
    arguments = {"backbone": "efficientnet-lite0", "size": list(SIZE)}
    (tmp_path / "models").mkdir()
    save_model(study, "universal", Trained(net), Recipe("x", 1), arguments=arguments, extra={})
    again = read_model(tmp_path / "models" / "universal.safetensors", "universal").net
    images = torch.randint(0, 255, (1, *SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(again(images), net(images))


@pytest.mark.parametrize(
    ("map_size", "expected"), [((120, 160), (480, 640)), ((90, 160), (352, 640)), ((4, 4), (32, 32))]
)
def test_input_size_is_four_times_the_map_s_in_whole_cells(
    map_size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert input_size(map_size) == expected
