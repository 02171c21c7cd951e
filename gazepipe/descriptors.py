"""What sets a person's looks apart from everybody's, in closed form: descriptors of an image–PSM pair.

Suppose a person looks with density ``p(x) ∝ USM(x) · exp(θ · φ(x))``, where θ is the person and φ are functions of the
place x that know the universal map. Then all that a look tells about θ near the average person (θ = 0) is the score

    Σ_x ( PSM(x) / ΣPSM − USM(x) / ΣUSM ) · φ(x),

the mean of φ where the person looked less its mean where people look. Scores add up over looks and pairs, which is
what the mean over m pairs does; their natural scale is their covariance within a person, which
`gazepipe.embedding.DescriptorNet` takes from the training users. No image is needed and no network trained.

φ, with ℓ = log(USM / max + 0.02), ∇ its gradient and u, v ∈ −1 … 1 from left to right and top to bottom:

============================  =================================================================================
``∇ℓ · {1, u, v}``            moved, stretched or turned against the universal maps
``u, v, u², v², uv, u³, v³``  where on the screen
``ℓ · {1, ℓ, u, v, u², v²}``  how closely the person follows everybody, and where on the screen
``|∂ℓ/∂u|, |∂ℓ/∂v|, |∇ℓ|²``   looks at flanks rather than at peaks and plains
``∂²ℓ``                       how sharply looks fall on what everybody looks at
============================  =================================================================================

Three more tell how widely looks spread: the logarithm of the map's mass (its maximum is one); and how far its entropy
and the logarithm of its concentration Σp² are from those of the universal map. A fourth is log Σ√p.

Four tell of single looks. The map of a repeat is scaled to a maximum of one, so that a place looked at once is the
lower the oftener the favourite place was looked at. Of the map's peaks (cells above 0.08 that none of their eight
neighbours exceeds) these are the logarithms of their number and of their mean, lowest and median height. No offset
changes them.

What a descriptor is on average depends on the image; `gazepipe.training.Encoder` takes that off.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gazepipe.registration import log_density

__all__ = ["DESCRIPTORS", "VERSION", "descriptors"]

#: Raised whenever embeddings made of descriptors change for the same data and settings.
VERSION = 2

#: Names of the descriptors, in order.
DESCRIPTORS = (
    *("move_u", "move_v", "stretch_u", "stretch_v", "shear_u", "shear_v"),
    *("u", "v", "uu", "vv", "uv", "uuu", "vvv"),
    *("follow", "follow_squared", "follow_u", "follow_v", "follow_uu", "follow_vv"),
    *("flank_u", "flank_v", "flank", "bend_uu", "bend_vv", "bend_uv"),
    *("mass", "entropy", "concentration", "root"),
    *("peaks", "peak_mean", "peak_lowest", "peak_median"),
)
#: A lower peak of a map whose highest is about one is a far flank of looks outside the image, not a look.
_LEAST_PEAK = 0.08


def descriptors(psm: Tensor, usm: Tensor) -> Tensor:
    """Descriptors of pairs from their personal and universal maps ``(n, H, W)``: ``(n, 33)``, zero for an empty map."""
    height, width = psm.shape[1:]
    v = ((torch.arange(height, device=psm.device) + 0.5) / height * 2 - 1)[:, None].expand(height, width)
    u = ((torch.arange(width, device=psm.device) + 0.5) / width * 2 - 1)[None].expand(height, width)
    total = psm.sum((1, 2), keepdim=True)
    p, q = psm / total.clamp(min=1e-9), usm / usm.sum((1, 2), keepdim=True).clamp(min=1e-9)
    level = log_density(usm)
    gv, gu = torch.gradient(level, dim=(1, 2))
    bend_uv, bend_uu = torch.gradient(gu, dim=(1, 2))
    bend_vv = torch.gradient(gv, dim=1)[0]
    difference = p - q  # (n, H, W)
    place = torch.stack([u, v, u * u, v * v, u * v, u**3, v**3]).flatten(1)  # (7, H · W): the same for all pairs
    moves = [gu, gv, gu * u, gv * v, gu * v, gv * u]
    follows = [level, level**2, level * u, level * v, level * u * u, level * v * v]
    flanks = [gu.abs(), gv.abs(), gu**2 + gv**2]
    of_map = [*moves, *follows, *flanks, bend_uu, bend_vv, bend_uv]
    score = torch.stack([(difference * f).sum((1, 2)) for f in of_map], 1)  # (n, 18)
    where = difference.flatten(1) @ place.T  # (n, 7)
    spread = torch.stack(
        [
            total.flatten().clamp(min=1e-9).log(),
            _entropy(p) - _entropy(q),
            (p * p).sum((1, 2)).clamp(min=1e-9).log() - (q * q).sum((1, 2)).clamp(min=1e-9).log(),
            p.sqrt().sum((1, 2)).clamp(min=1e-9).log(),
        ],
        1,
    )
    out = torch.cat([score[:, :6], where, score[:, 6:], spread, _peaks(psm)], 1)
    return torch.where(total.flatten()[:, None] > 0, out, 0.0)


def _entropy(density: Tensor) -> Tensor:
    return -(density * density.clamp(min=1e-12).log()).sum((1, 2))


def _peaks(psm: Tensor) -> Tensor:
    """Logarithms of the number of peaks and of their mean, lowest and median height, ``(n, 4)``."""
    around = F.max_pool2d(psm[:, None], 3, 1, 1)[:, 0]
    peak = (psm >= around) & (psm > _LEAST_PEAK)
    count = peak.sum((1, 2)).clamp(min=1)
    mean = torch.where(peak, psm, 0.0).sum((1, 2)) / count
    lowest = torch.where(peak, psm, torch.inf).amin((1, 2))
    median = torch.where(peak, psm, torch.nan).flatten(1).nanmedian(1).values
    heights = torch.stack([mean, lowest, median], 1)
    known = peak.any(2).any(1)[:, None]
    return torch.cat([count.float()[:, None].log(), torch.where(known, heights, 1.0).log()], 1)
