"""The built-in universal predictor: image → universal saliency map, for images that nobody in the study has seen.

A small encoder–decoder trained on the study's own training images and training users, with a learned spatial prior
(people look at the centre). It is a fallback: a readout on pretrained features (`gazepipe.readout`), gaze of other
people on the same images (the store's USM) or maps of a large predictor (`--usm DIR`) give better predictions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UniversalNet", "divergence", "enlarged"]


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class UniversalNet(nn.Module):
    """Four down-sampling blocks, two up-sampling ones with skips; the output is a density on a 30 × 40 grid."""

    #: Takes images at map size, whatever it is.
    size: tuple[int, int] | None = None

    def __init__(self, widths: tuple[int, int, int, int] = (24, 32, 64, 96)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.first, self.second = _block(3, a, 2), nn.Sequential(_block(a, b, 2), _block(b, b))
        self.third, self.fourth = _block(b, c, 2), nn.Sequential(_block(c, d, 2), nn.Dropout2d(0.3), _block(d, d))
        self.up1, self.up2 = _block(d + c, c), _block(c + b, b)
        self.head = nn.Conv2d(b, 1, 1)
        self.prior = nn.Parameter(torch.zeros(1, 1, 8, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(n, H, W, 3)`` uint8 → log-densities ``(n, 30, 40)`` (their exponentials sum to one)."""
        x = images.permute(0, 3, 1, 2).float() / 255 - 0.5
        quarter = self.second(self.first(x))  # (n, b, 30, 40)
        eighth = self.third(quarter)  # (n, c, 15, 20)
        deep = self.fourth(eighth)  # (n, d, 8, 10)
        up = self.up1(torch.cat([F.interpolate(deep, eighth.shape[-2:]), eighth], 1))
        up = self.up2(torch.cat([F.interpolate(up, quarter.shape[-2:]), quarter], 1))
        prior = F.interpolate(self.prior, quarter.shape[-2:], mode="bicubic", align_corners=False)
        logits = (self.head(up) + prior).flatten(1)  # (n, 1200)
        return torch.log_softmax(logits, 1).view(-1, *quarter.shape[-2:])

    def predict(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Universal maps with maximum one, ``(n, *size)``."""
        return enlarged(self(images), size)


def enlarged(log_density: Tensor, size: tuple[int, int]) -> Tensor:
    """Log-densities ``(n, h, w)`` → maps with maximum one, ``(n, *size)``."""
    maps = F.interpolate(log_density.exp()[:, None], size, mode="bicubic", align_corners=False).clamp(min=0)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)


def divergence(log_density: Tensor, usm: Tensor) -> Tensor:
    """Mean Kullback–Leibler divergence of predicted log-densities ``(n, h, w)`` from true maps ``(n, H, W)``."""
    height, width = log_density.shape[-2:]
    target = F.adaptive_avg_pool2d(usm[:, None], (height, width))[:, 0]
    target = target / target.sum((1, 2), keepdim=True).clamp(min=1e-12)
    return (target * (target.clamp(min=1e-12).log() - log_density)).sum((1, 2)).mean()
