"""The adapter for DeepGaze IIE, with a stand-in of the same interface: its weights cannot be part of a test.

The stand-in's log-density is the centre bias plus the brightness of the image, renormalised, so that both can be found
again in what comes out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gazepipe.deepgaze import DeepGaze, centre_bias
from gazepipe.errors import ConfigError

CPU = torch.device("cpu")


class StandIn(nn.Module):
    """Takes and returns what `deepgaze_pytorch.DeepGazeIIE` does."""

    seen: tuple[Tensor, Tensor]

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        assert pretrained

    def forward(self, image: Tensor, centerbias: Tensor) -> Tensor:
        StandIn.seen = image, centerbias
        logits = centerbias + image.mean(1) / 255
        return logits - logits.flatten(1).logsumexp(1)[:, None, None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("deepgaze_pytorch")
    module.DeepGazeIIE = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepgaze_pytorch", module)


def image(folder: Path, width: int, height: int) -> Path:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = (0, 0, 255)  # red on the right; OpenCV writes blue, green, red
    cv2.imwrite(str(folder / "a.png"), pixels)
    return folder / "a.png"


@pytest.mark.usefixtures("installed")
def test_what_the_network_is_given_and_what_is_made_of_its_answer(tmp_path: Path) -> None:
    uniform = centre_bias(np.zeros((0, 12, 16)))
    net = DeepGaze(uniform, (12, 16), 16.0, CPU)
    found = net.find(image(tmp_path, 1120, 840))
    shown, bias = StandIn.seen
    assert shown.shape == (1, 3, 420, 560)  # 16° · 35 pixels, the aspect kept
    assert [float(c) for c in shown[0, :, 100, 400]] == [255, 0, 0]  # red first, 0 … 255
    assert bias.shape == (1, 420, 560)
    assert float(bias.exp().sum()) == pytest.approx(1, abs=1e-3)
    assert found.shape == (12, 16)
    np.testing.assert_allclose(found[:, 8:], 1, rtol=1e-4)
    np.testing.assert_allclose(found[:, :8], np.exp(-1 / 3), rtol=1e-4)  # brightness of red is a third


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("width", "height", "degrees", "expected"),
    [
        (800, 600, 0.0, (1024, 768)),  # unknown: as wide as the data it was trained on
        (800, 600, 20.0, (700, 525)),
        (1920, 1080, 80.0, (2048, 1152)),  # no larger than that
        (800, 400, 2.0, (256, 128)),  # no smaller than that
    ],
)
def test_the_size_that_images_are_shown_at(
    tmp_path: Path, width: int, height: int, degrees: float, expected: tuple[int, int]
) -> None:
    net = DeepGaze(centre_bias(np.zeros((0, 12, 16))), (12, 16), degrees, CPU)
    assert net.shown_size(image(tmp_path, width, height)) == expected


def test_the_centre_bias_is_the_mean_density_and_never_zero() -> None:
    maps = np.zeros((3, 2, 2))
    maps[0, 0, 0], maps[1, 0] = 5, (1, 1)  # the third image was seen by nobody
    expected = 0.999 * np.array([[0.75, 0.25], [0, 0]]) + 0.001 / 4
    np.testing.assert_allclose(np.exp(centre_bias(maps)), expected, rtol=1e-5)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepgaze_pytorch", None)
    with pytest.raises(ConfigError, match=r"install deepgaze_pytorch from its authors' repository"):
        DeepGaze(centre_bias(np.zeros((0, 2, 2))), (2, 2), 10, CPU)


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("deepgaze_pytorch")

    def unreachable(pretrained: bool) -> nn.Module:
        raise OSError("no route to host")

    module.DeepGazeIIE = unreachable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepgaze_pytorch", module)
    with pytest.raises(ConfigError, match=r"cannot be loaded \(no route to host\)"):
        DeepGaze(centre_bias(np.zeros((0, 2, 2))), (2, 2), 10, CPU)
