"""Viewing profiles: a dozen numbers that turn a universal map into a person's, fitted to a few of the person's maps.

What people differ in and what shows in any few pairs is simple: how far to a side their gaze (or its calibration) lies,
how wide it spreads, where on the picture they dwell, how exclusively they look at what everybody looks at. A profile
θ holds these as deviations from the universal map, which θ = 0 gives back. With B the universal map scaled to mean 1,
G(d, σ) a blur with shift d, x and y in −1 … 1 and one cell a fortieth of the width:

``L = B + (G(θ_shift, 0.7) − G(0, 0.7))·B + θ_sharp·(G(0, 1.5) − 1)·B + θ_spread·(G(0, 4) − 1)·B``
``P ∝ max(L, B/20)^exp(θ_power) · exp(θ_x·x + θ_y·y + θ_xx·x² + θ_yy·y² + θ_xy·x·y + Σ θ_k·C_k) + exp(θ_floor − 5)``

The maps C tell what is where in the image, along the few directions that people's looks differ in (`gazepipe.content`);
without them a profile has eleven numbers.

θ is the maximum of a posterior: the measures that count (KLD − 2·CC − SIM − 5·AUC) over the person's pairs, and a
normal prior that training users' own profiles give. So a person with few pairs is taken to be like other people.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.content import FIT_SIZE, ContentNet

__all__ = [
    "FIT_SIZE",
    "ORDER_WEIGHT",
    "PARAMETERS",
    "SOURCES",
    "VERSION",
    "Looks",
    "ProfileNet",
    "fit_profiles",
    "looks_of",
    "map_loss",
    "order",
    "profile_loss",
    "reshape_maps",
]

#: Raised whenever profiles change for the same data and settings.
VERSION = 3

#: The numbers of a profile, in order; weights of content follow.
PARAMETERS = ("x", "y", "xx", "yy", "xy", "shift_x", "shift_y", "sharp", "spread", "power", "floor")

#: Universal maps that profiles start from are the mean over everybody, the person included, or over everybody else.
SOURCES = ("mean", "leave_one_out")

#: What the order of cells (`order`) counts in the loss. Without it, a blur that helps the heights spoils the order.
ORDER_WEIGHT = 5.0

_FLOOR = 1e-4
#: A look is a peak of the personal map, not lower than this share of its highest; the highest so many count.
_LEAST_LOOK, _LOOKS = 0.08, 32
#: Difference of two cells' logarithms at which the higher one counts as above by 73 %.
_SOFT = 0.15


def _blur(n: int, shift: Tensor, sigma: float) -> Tensor:
    """Blur with a shift along one axis as a matrix: ``(users,)`` → ``(users, n, n)``, rows of sum 1."""
    at = torch.arange(n, dtype=torch.float32, device=shift.device)
    distance = at[:, None] - at[None, :] - shift[:, None, None]
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
    return kernel / kernel.sum(2, keepdim=True).clamp(min=1e-6)


@dataclass(frozen=True)
class _Parts:
    """What of a map does not depend on the profile: the map at mean 1 and its three blurs, ``(users, n, H, W)``."""

    base: Tensor
    still: Tensor
    sharper: Tensor
    wider: Tensor
    grid: Tensor  # x, y, x², y², xy: (5, H, W)


def _blurred(base: Tensor, dx: Tensor, dy: Tensor, sigma: float) -> Tensor:
    """G(d, σ)·B; shifts ``(users,)`` or ``(1,)`` and σ in fortieths of the width."""
    height, width = base.shape[-2:]
    cell = width / 40
    rows, columns = _blur(height, dy * cell, sigma * cell), _blur(width, dx * cell, sigma * cell)
    return rows[:, None] @ base @ columns[:, None].transpose(2, 3)


def _parts(usm: Tensor) -> _Parts:
    height, width = usm.shape[-2:]
    base = usm / usm.mean((2, 3), keepdim=True)
    zero = torch.zeros(1, device=usm.device)
    still, sharper, wider = (_blurred(base, zero, zero, sigma) for sigma in (0.7, 1.5, 4.0))
    y = torch.linspace(-1, 1, height, device=usm.device)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=usm.device)[None, :].expand(height, width)
    return _Parts(base, still, sharper - base, wider - base, torch.stack([x, y, x * x, y * y, x * y]))


def _shape(parts: _Parts, profiles: Tensor, content: Tensor | None) -> Tensor:
    tilt = torch.einsum("up,phw->uhw", profiles[:, :5], parts.grid)[:, None]
    if content is not None:
        tilt = tilt + torch.einsum("uk,unkhw->unhw", profiles[:, len(PARAMETERS) :], content)
    sharp, spread, power, floor = (profiles[:, i, None, None, None] for i in range(7, 11))
    linear = parts.base + _blurred(parts.base, profiles[:, 5], profiles[:, 6], 0.7) - parts.still
    linear = linear + sharp * parts.sharper + spread * parts.wider
    kept = torch.maximum(linear, parts.base / 20) + _FLOOR
    shaped = torch.exp(power.exp() * torch.log(kept) + tilt)
    shaped = shaped / shaped.mean((2, 3), keepdim=True) + torch.exp(floor - 5)
    return shaped / shaped.mean((2, 3), keepdim=True)


def reshape_maps(usm: Tensor, profiles: Tensor, content: Tensor | None = None) -> Tensor:
    """Personal maps from universal ones.

    Parameters
    ----------
    usm
        Universal maps ``(users, n, H, W)``, not negative, each with some mass.
    profiles
        ``(users, len(PARAMETERS) + k)``.
    content
        What is in the images, ``(users, n, k, h, w)`` of any size; None: it does not count, whatever its weights.

    Returns
    -------
    torch.Tensor
        ``(users, n, H, W)``, positive, mean 1.
    """
    if content is not None and content.shape[-2:] != usm.shape[-2:]:
        larger = F.interpolate(content.flatten(0, 1), usm.shape[-2:], mode="bilinear", align_corners=False)
        content = larger.view(*content.shape[:3], *usm.shape[-2:])
    return _shape(_parts(usm), profiles, content)


def map_loss(prediction: Tensor, truth: Tensor, cc_weight: float = 2.0) -> Tensor:
    """``KLD − w·CC − SIM`` of maps ``(…, H, W)`` of mean 1, one value a map."""
    kld = (truth * torch.log((truth + 1e-8) / (prediction + 1e-8))).mean((-2, -1))
    a, b = prediction - 1, truth - 1
    norm = (a.square().mean((-2, -1)) * b.square().mean((-2, -1)) + 1e-12).sqrt()
    return kld - cc_weight * (a * b).mean((-2, -1)) / norm - torch.minimum(prediction, truth).mean((-2, -1))


@dataclass(frozen=True)
class Looks:
    """Where personal maps have their peaks: cells ``(…, k)``, and weights of sum 1, 0 where there are fewer."""

    cells: Tensor
    weights: Tensor


def looks_of(truth: Tensor) -> Looks:
    """Peaks of maps ``(…, H, W)``: cells that none of their eight neighbours exceeds."""
    maps = truth.flatten(0, -3)
    peak = (maps >= F.max_pool2d(maps, 3, 1, 1)) & (maps > _LEAST_LOOK * maps.amax((1, 2), keepdim=True))
    height, cells = (maps * peak).flatten(1).topk(min(_LOOKS, maps[0].numel()))
    there = (height > 0).float()
    weights = there / there.sum(1, keepdim=True).clamp(min=1)
    return Looks(*(t.view(*truth.shape[:-2], -1) for t in (cells, weights)))


def order(prediction: Tensor, looks: Looks) -> Tensor:
    """How surely looks are on higher cells than others, a smooth form of the AUC: maps ``(…, H, W)`` → ``(…)``.

    The others are every fifth cell of every fifth row.
    """
    level = torch.log(prediction + 1e-8)
    others = level[..., 1::5, 1::5].flatten(-2)
    above = (level.flatten(-2).gather(-1, looks.cells)[..., None] - others[..., None, :]) / _SOFT
    return (looks.weights * above.sigmoid().mean(-1)).sum(-1)


def profile_loss(
    prediction: Tensor, truth: Tensor, looks: Looks | None = None, order_weight: float = ORDER_WEIGHT
) -> Tensor:
    """What profiles are fitted by: `map_loss` less the weighted `order`; looks are those of `truth` if None."""
    loss = map_loss(prediction, truth)
    if not order_weight:
        return loss
    return loss - order_weight * order(prediction, looks_of(truth) if looks is None else looks)


def _small(maps: Tensor) -> Tensor:
    """Maps ``(users, n, H, W)`` at `FIT_SIZE`, mean 1."""
    pooled = F.adaptive_avg_pool2d(maps.float(), FIT_SIZE)
    return pooled / pooled.mean((2, 3), keepdim=True).clamp(min=1e-12)


def fit_profiles(
    usm: Tensor,
    psm: Tensor,
    mean: Tensor,
    precision: Tensor,
    there: Tensor | None = None,
    content: Tensor | None = None,
    *,
    steps: int = 40,
    rate: float = 0.08,
    order_weight: float = ORDER_WEIGHT,
) -> Tensor:
    """Profiles of people from n pairs each, by Adam on the negative log-posterior from the prior's mean.

    Parameters
    ----------
    usm, psm
        ``(users, n, H, W)``.
    mean, precision
        Of the prior, ``(len(PARAMETERS) + k,)``; precision in units of the loss summed over pairs.
    there
        Which pairs count, ``(users, n)`` of 0 and 1; all if None.
    content
        What is in the images, ``(users, n, k, *FIT_SIZE)``; None: nothing is known of it, its weights stay the mean's.
    order_weight
        See `profile_loss`.

    Returns
    -------
    torch.Tensor
        ``(users, len(PARAMETERS) + k)``.
    """
    parts, truth = _parts(_small(usm)), _small(psm)
    looks = looks_of(truth)
    profiles = mean.expand(len(truth), -1).clone().requires_grad_(True)
    optimiser = torch.optim.Adam([profiles], rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        each = profile_loss(_shape(parts, profiles, content), truth, looks, order_weight)  # (users, n)
        loss = (each if there is None else each * there).sum()
        loss = loss + 0.5 * ((profiles - mean).square() * precision).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return profiles.detach()


class ProfileNet(nn.Module):
    """What training users' profiles say about people's: mean and precision of the prior, and what of images counts.

    There is one prior for each universal map in `SOURCES`: a map with the person's own in it needs another profile
    than one without.

    Parameters
    ----------
    content
        Directions of image content that profiles weigh, k; 0: images do not count.
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, content: int = 0) -> None:
        super().__init__()
        p = len(PARAMETERS) + content
        self.register_buffer("mean", torch.zeros(len(SOURCES), p))
        self.register_buffer("precision", torch.ones(len(SOURCES), p))
        self.content = ContentNet(content) if content else None

    @property
    def directions(self) -> int:
        """Directions of image content that profiles weigh."""
        return 0 if self.content is None else len(self.content.weight)

    def fit(
        self, source: str, usm: Tensor, psm: Tensor, there: Tensor | None = None, content: Tensor | None = None
    ) -> Tensor:
        """Profiles from pairs ``(users, n, H, W)`` and content ``(users, n, k, *FIT_SIZE)``, ``(users, 11 + k)``."""
        row = SOURCES.index(source)
        return fit_profiles(usm, psm, self.mean[row], self.precision[row], there, content)

    def forward(self, usm: Tensor, profiles: Tensor, content: Tensor | None = None) -> Tensor:
        """Personal maps, as `reshape_maps`."""
        return reshape_maps(usm, profiles, content)
