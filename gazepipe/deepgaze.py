"""DeepGaze IIE as universal predictor, where its package is installed.

The package (`deepgaze_pytorch`) is not on the Python Package Index and fetches its weights when it is first used. It
takes images of 0 … 255 at 35 pixels per degree, about 1,024 pixels wide, which is how the data it was trained on were
shown, and the log-density of where people look whatever is shown; it returns a log-density at the image's size.

Linardos, A., Kümmerer, M., Press, O., & Bethge, M. (2021). DeepGaze IIE: calibrated prediction in and out-of-domain for
state-of-the-art saliency modeling. *ICCV*, 12919–12928.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gazepipe.errors import ConfigError
from gazepipe.images import image_size, read_rgb

__all__ = ["PIXELS_PER_DEGREE", "DeepGaze", "centre_bias"]

F32 = npt.NDArray[np.float32]
#: Of the data that DeepGaze was trained on (MIT1003).
PIXELS_PER_DEGREE = 35.0
_LONGEST, _SHORTEST = 2048, 128


def centre_bias(usm: npt.ArrayLike) -> F32:
    """Log-density of where people look whatever is shown, ``(H, W)``, from universal maps of training users and images.

    Their mean, with a thousandth of a uniform density so that no place is impossible; uniform without any map.
    """
    maps = np.asarray(usm, np.float64)
    height, width = maps.shape[1:]
    sums = maps.sum((1, 2), keepdims=True)
    seen = sums[:, 0, 0] > 0
    mean = (maps[seen] / sums[seen]).mean(0) if seen.any() else np.full((height, width), 1 / (height * width))
    bias: F32 = np.log(0.999 * mean + 0.001 / (height * width)).astype(np.float32)
    return bias


class DeepGaze:
    """Universal maps of image files from DeepGaze IIE.

    Parameters
    ----------
    bias
        Log-density of the centre bias, ``(h, w)``, of any size.
    size
        Height and width of the maps wanted.
    degrees_across
        How many degrees wide the images were shown in the study; 0: unknown, DeepGaze sees them 1,024 pixels wide.
    where
        Device.

    Raises
    ------
    ConfigError
        If the package is not installed or its weights cannot be had.
    """

    def __init__(self, bias: F32, size: tuple[int, int], degrees_across: float, where: torch.device) -> None:
        try:
            package = importlib.import_module("deepgaze_pytorch")
        except ImportError as error:
            msg = (
                f"DeepGaze IIE cannot be used ({error}); install deepgaze_pytorch from its authors' repository "
                "(github.com/matthias-k/DeepGaze), or use the built-in predictor."
            )
            raise ConfigError(msg) from None
        try:
            self.net: Any = package.DeepGazeIIE(pretrained=True).to(where).eval()
        except (OSError, RuntimeError, AttributeError) as error:
            msg = (
                f"DeepGaze IIE cannot be loaded ({error}); its weights are fetched at first use, which needs a network."
            )
            raise ConfigError(msg) from None
        self.bias, self.size, self.where = torch.from_numpy(bias)[None, None], size, where
        self.degrees_across = degrees_across

    def shown_size(self, image: Path) -> tuple[int, int]:
        """Width and height at which an image is shown to DeepGaze: 35 pixels per degree, its aspect kept."""
        width, height = image_size(image)
        wanted = self.degrees_across * PIXELS_PER_DEGREE if self.degrees_across > 0 else 1024.0
        scale = min(max(wanted / width, _SHORTEST / min(width, height)), _LONGEST / max(width, height))
        return max(round(width * scale), 1), max(round(height * scale), 1)

    @torch.inference_mode()
    def find(self, image: Path) -> F32:
        """Map of an image with maximum one, ``size``."""
        rgb = torch.from_numpy(read_rgb(image, self.shown_size(image)))
        bias = F.interpolate(self.bias, rgb.shape[:2], mode="bilinear", align_corners=False)[:, 0]  # (1, H, W)
        bias = bias - bias.flatten(1).logsumexp(1)[:, None, None]
        shown = rgb.permute(2, 0, 1)[None].float()  # (1, 3, H, W), 0 … 255
        log_density = self.net(shown.to(self.where), bias.to(self.where)).float().reshape(1, 1, *rgb.shape[:2])
        maps = F.adaptive_avg_pool2d(log_density.exp(), self.size)[0, 0]
        result: F32 = (maps / maps.max().clamp(min=1e-30)).cpu().numpy()
        return result
