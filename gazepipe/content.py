"""What is where in an image, for viewing profiles: a few maps, along the directions that people's looks differ in.

Some people look at faces more than others do, some at text. A direction is a weighted sum of the channels of a frozen
backbone (`gazepipe.backbone`); its map is high where the image has what the direction stands for. Directions come from
the training users of a study: how much each of them would weigh the principal components of the channels over training
images, and then the principal components of these weights over users. So a few numbers say what of an image draws
somebody more, or less, than others.

De Haas, B., Iakovidis, A. L., Schwarzkopf, D. S., & Gegenfurtner, K. R. (2019). Individual differences in visual
salience vary along semantic dimensions. *PNAS*, 116(24), 11687–11692.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.backbone import CHANNELS, EfficientNetLite0

if TYPE_CHECKING:
    from gazepipe.corpus import Corpus

__all__ = ["FIT_SIZE", "ContentNet", "Scenes", "combined", "components_of", "content_maps"]

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: Height and width of content maps, and the size that profiles are fitted at; they act at any size.
FIT_SIZE = (30, 40)

#: Height and width at which the backbone sees images, whatever size they come in: its finest features are then 60 × 80.
_INPUT = (480, 640)
#: Images that the backbone sees at a time.
_AT_ONCE = 8


class ContentNet(nn.Module):
    """Backbone and directions: image → maps of what is where.

    Parameters
    ----------
    directions
        How many maps.
    backbone
        What sees the images; None: one whose weights are read later.
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, directions: int, backbone: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0().requires_grad_(False) if backbone is None else backbone
        self.register_buffer("mean", torch.zeros(sum(CHANNELS)))
        self.register_buffer("weight", torch.zeros(directions, sum(CHANNELS)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images ``(n, H, W, 3)`` uint8 → maps ``(n, directions, *FIT_SIZE)``."""
        maps = torch.zeros(len(images), len(self.weight), *FIT_SIZE, device=self.weight.device)
        weights = torch.split(self.weight, list(CHANNELS), 1)
        for tap, weight in zip(_features(self.backbone, images), weights, strict=True):
            # A sum of channels may be taken before or after the maps are resized: before is less to resize.
            maps += _resized(F.conv2d(tap, weight[:, :, None, None]), FIT_SIZE)
        return maps - (self.weight @ self.mean)[:, None, None]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _features(backbone: EfficientNetLite0, images: Tensor) -> tuple[Tensor, ...]:
    pixels = _resized(images.permute(0, 3, 1, 2).float(), _INPUT).permute(0, 2, 3, 1)
    taps: tuple[Tensor, ...] = backbone(pixels)
    return taps


def content_maps(net: ContentNet, images: U8) -> Tensor:
    """Maps of images ``(n, H, W, 3)``, some of them at a time: ``(n, directions, *FIT_SIZE)``."""
    parts = [net(torch.from_numpy(images[a : a + _AT_ONCE])) for a in range(0, max(len(images), 1), _AT_ONCE)]
    return torch.cat(parts)


@torch.no_grad()
def components_of(backbone: EfficientNetLite0, images: U8, n: int) -> ContentNet:
    """Principal components of the channels, each channel of standard deviation 1 over cells of some images.

    Parameters
    ----------
    backbone
        Of the network that is returned.
    images
        ``(n_images, H, W, 3)``; as many as are given count.
    n
        How many components.

    Returns
    -------
    ContentNet
        One map for each component, of mean 0 and standard deviation 1 over these images.
    """
    channels = sum(CHANNELS)
    total, square = (torch.zeros(*shape, dtype=torch.float64) for shape in ((channels,), (channels, channels)))
    cells = len(images) * FIT_SIZE[0] * FIT_SIZE[1]
    for a in range(0, len(images), _AT_ONCE):
        taps = _features(backbone, torch.from_numpy(images[a : a + _AT_ONCE]))
        x = torch.cat([_resized(tap, FIT_SIZE) for tap in taps], 1).movedim(1, 3).flatten(0, 2)
        total += x.double().sum(0)
        square += (x.T @ x).double()
    mean = total / cells
    covariance = square / cells - mean[:, None] * mean
    scale = covariance.diagonal().clamp(min=0).sqrt() + 1e-3
    values, vectors = torch.linalg.eigh(covariance / (scale[:, None] * scale))
    values, vectors = values.flip(0)[:n], vectors.flip(1)[:, :n]
    net = ContentNet(n, backbone)
    net.mean.copy_(mean)
    net.weight.copy_((vectors / (values.clamp(min=1e-6).sqrt() * scale[:, None])).T)
    return net.eval()


class Scenes:
    """Content maps of a corpus's images, each made when it is first asked for.

    Parameters
    ----------
    net
        None: there are no maps.
    corpus
        Whose images are used; without pixels there are no maps either.
    """

    def __init__(self, net: ContentNet | None, corpus: Corpus) -> None:
        self.net, self.images = net, corpus.images
        self._made: dict[int, Tensor] = {}

    def of(self, rows: I64) -> Tensor | None:
        """Maps of some images, ``(n, directions, *FIT_SIZE)``."""
        if self.net is None or self.images is None:
            return None
        missing = np.array([i for i in dict.fromkeys(rows.tolist()) if i not in self._made], np.int64)
        if len(missing):
            self._made.update(zip(missing.tolist(), content_maps(self.net, self.images[missing]), strict=True))
        if not len(rows):
            return torch.zeros(0, len(self.net.weight), *FIT_SIZE)
        return torch.stack([self._made[i] for i in rows.tolist()])


def combined(net: ContentNet, mixing: Tensor) -> ContentNet:
    """Directions that are sums of those of another network: `mixing` ``(new, old)``."""
    made = ContentNet(len(mixing), net.backbone)
    made.mean.copy_(net.mean)
    made.weight.copy_(mixing @ net.weight)
    return made.eval()
