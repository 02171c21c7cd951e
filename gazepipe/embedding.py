"""The user embedding network of Strohm, Bâce & Bulling (2024), section 3.1 and Figure 2, and its loss.

Each image–PSM pair goes through the same small convolutional network; the m outputs of one user are averaged and
scaled to unit length: one embedding of 32 numbers. Channel widths and the 3 × 3 kernels are our choice (the paper
does not give them): 32, 64, 128, 256.

`DescriptorNet` stands in the network's place where `inputs` is one of `DESCRIBED`: the descriptors of
`gazepipe.descriptors`, with or without those of `gazepipe.scanpath`, whitened by their scatter in the training users.
It is ours, not the paper's.

References: Strohm et al. 2024 (arXiv 2403.13653); mining: Schroff et al. 2015, Hermans et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.descriptors import DESCRIPTORS, descriptors
from gazepipe.registration import coarse
from gazepipe.scanpath import FIRST_SCANPATH, SCANPATH

__all__ = [
    "CHANNELS",
    "DESCRIBED",
    "DescriptorNet",
    "EmbeddingNet",
    "aggregate",
    "embedding_net",
    "pair_input",
    "triplet_loss",
]

#: How far the covariance between people is shrunk: a dozen of them cannot show all of it.
_ISOTROPIC = 0.3
#: No real person's pairs scatter by less than twice this in any descriptor; drawn ones do, and would count too much.
_LEAST_SCATTER = 0.01
#: Directions are weighed for embeddings of so many pairs; with others, the loss is small.
_PAIRS = 16
#: Another calibration is whitened by as it scatters in embeddings of so many.
_CALIBRATION_PAIRS = 32
#: What the network sees → number of channels.
CHANNELS = {"rgb+psm": 4, "psm": 1, "rgb+discrepancy": 4, "discrepancy": 1}
#: What the network sees where it is descriptors.
DESCRIBED = ("descriptors", "descriptors+scanpath")


class EmbeddingNet(nn.Module):
    """Four blocks of convolution (stride 2), batch norm and ReLU; global average pooling; dropout; a linear layer."""

    def __init__(
        self,
        inputs: str = "rgb+psm",
        widths: Sequence[int] = (32, 64, 128, 256),
        dimension: int = 32,
        dropout: float = 0.5,
        registration: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.dimension, self.registration = inputs, dimension, registration
        blocks: list[nn.Module] = []
        before = CHANNELS[inputs]
        for width in widths:
            blocks += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, dimension)

    def forward(self, pairs: Tensor) -> Tensor:
        """Features of single pairs: ``(n, channels, H, W)`` → ``(n, dimension)``, not yet of unit length."""
        maps = self.blocks(pairs)  # (n, 256, H/16, W/16)
        pooled = maps.mean((2, 3))  # (n, 256)
        features: Tensor = self.head(self.dropout(pooled))
        return features


class DescriptorNet(nn.Module):
    """Closed-form descriptors of a pair, on the scale of their scatter within a person.

    ``f = A (d, 1)`` with d what a pair's descriptors are beyond what is expected of that image. A takes off the mean
    over the training users, whitens by the covariance of d within a user, and weighs the directions by how much more
    people differ in them than means over pairs of one person do; see `fit`. The m features of a person are then
    averaged as ever. Their last number is the same for every pair. Without it, the directions of short vectors, which
    are of people much like everybody, are chance; with it, short vectors are near each other and far from long ones.

    With `limited`, the other numbers are a vector no longer than that of half of the training pairs, so that an odd
    pair, of which some are many times as long, moves a mean over few no more than usual ones do.
    """

    affine: Tensor
    longest: Tensor

    def __init__(
        self,
        registration: bool = False,
        inputs: str = "descriptors",
        limited: bool = True,
        eye_movements: int = len(SCANPATH),
    ) -> None:
        super().__init__()
        self.inputs, self.registration, self.limited = inputs, registration, limited
        self.eye_movements = eye_movements if self.needs_scanpath else 0
        self.dimension = len(DESCRIPTORS) + self.eye_movements + 1
        self.register_buffer("affine", torch.eye(self.dimension))
        if limited:
            self.register_buffer("longest", torch.tensor(torch.inf))

    @property
    def needs_scanpath(self) -> bool:
        """Whether descriptors are of the fixations' order and durations, too."""
        return self.inputs.endswith("scanpath")

    @property
    def arguments(self) -> dict[str, Any]:
        """What it is made with, as it is kept with trained weights."""
        names = "registration", "inputs", "limited", "eye_movements"
        return {name: getattr(self, name) for name in names}

    def unfitted(self) -> DescriptorNet:
        """Another one of the same kind, on the same device, that has not been fitted."""
        return DescriptorNet(**self.arguments).to(self.affine.device)

    def describe(self, psm: Tensor, usm: Tensor, scanpath: Tensor | None = None) -> Tensor:
        """Descriptors as they are: maps ``(n, H, W)``, eye movements ``(n, 28)`` where they are needed → ``(n, d)``.

        What is not known of eye movements is NaN.
        """
        of_maps = descriptors(coarse(psm), coarse(usm))
        if not self.needs_scanpath:
            return of_maps
        assert scanpath is not None
        return torch.cat([of_maps, scanpath[:, : self.eye_movements]], 1)

    def forward(
        self, psm: Tensor, usm: Tensor, expected: Tensor | float = 0.0, scanpath: Tensor | None = None
    ) -> Tensor:
        """Features of single pairs: maps ``(n, H, W)`` → ``(n, dimension)``, not yet of unit length.

        `expected` is what the descriptors are on average for the image, ``(n, d)``. An unfitted network
        gives the difference as it is, and one. What is not known of a pair is taken to be as expected.
        """
        return self.weighed(self.describe(psm, usm, scanpath) - expected)

    def weighed(self, beyond: Tensor) -> Tensor:
        """Features of descriptors beyond what is expected, ``(n, d)`` → ``(n, dimension)``; NaN counts as zero."""
        features: Tensor = F.pad(torch.nan_to_num(beyond), (0, 1), value=1.0) @ self.affine.T
        if self.limited:
            own = features[:, :-1]
            own *= (self.longest / own.norm(dim=1, keepdim=True)).clamp(max=1)
        return features

    def fit(self, tables: Sequence[Tensor], shrinkage: float, recalibration: Tensor | None = None) -> None:
        """Take mean, whitening and weights from descriptors of the training users, one ``(n_pairs, d)`` each.

        Every user counts alike. Correlations within a user are shrunk: ``(1 − shrinkage) · R + shrinkage · I``. In the
        whitened directions, the covariance B of users' means, less that of chance, is shrunk by `_ISOTROPIC` towards a
        multiple of I; along its axes, with λ its values, features are weighed by ``√(λ / (λ + 1 / 2m))`` for m = 16:
        it is what the likelihood ratio of same against different gives the product of two means over m pairs.

        `recalibration` is what another calibration adds to the covariance of means, however many pairs they are over,
        ``(d, d)``; 32 times that then scatters within a person, too (`gazepipe.recalibration`).
        """
        users = [table.double() for table in tables]
        centre = torch.stack([t.mean(0) for t in users]).mean(0)
        within = torch.stack([torch.cov(t.T) for t in users]).mean(0)
        scale = within.diagonal().sqrt().clamp(min=_LEAST_SCATTER)
        correlation = within / scale[:, None] / scale[None]
        d = len(scale)
        identity = torch.eye(d, dtype=torch.float64, device=scale.device)
        shrunk = (1 - shrinkage) * correlation + shrinkage * identity
        alone = shrunk * scale[:, None] * scale[None]
        if recalibration is not None:
            shrunk = shrunk + _CALIBRATION_PAIRS * recalibration.to(scale) / scale[:, None] / scale[None]
        root = torch.linalg.cholesky(torch.linalg.inv(shrunk)).T / scale[None]
        apart = torch.stack([t.mean(0) - centre for t in users])
        means = apart @ root.T  # (users, d)
        chance = sum(1 / len(t) for t in users) / len(users)
        of_chance = identity if recalibration is None else root @ alone @ root.T
        between = means.T @ means / (len(users) - 1) - chance * of_chance
        # Where people are not seen to differ, whitening is all there is.
        level = (between.trace() / d).clamp(min=1 / (2 * _PAIRS))
        variance, axes = torch.linalg.eigh(between)
        variance = (1 - _ISOTROPIC) * variance.clamp(min=0) + _ISOTROPIC * level
        root = (axes * (variance / (variance + 1 / (2 * _PAIRS))).sqrt()).T @ root
        affine = torch.zeros(d + 1, d + 1, dtype=torch.float64, device=scale.device)
        affine[:d, :d], affine[:d, d] = root, -root @ centre
        affine[d, d] = (apart @ root.T).square().sum(1).mean().sqrt()  # as long as people's vectors are
        where = self.affine.device
        self.affine = affine.float().to(where)
        if self.limited:
            self.longest.fill_(torch.inf)
            pairs = torch.cat([self.weighed(t.to(where, torch.float32)) for t in tables])
            self.longest.copy_(pairs[:, :-1].norm(dim=1).median())


def embedding_net(**arguments: Any) -> EmbeddingNet | DescriptorNet:
    """Return the network that some arguments describe, as they are kept with trained weights.

    Descriptors of which nothing is said of a limit, or of how many numbers of eye movements, are from before.
    """
    if arguments.get("inputs") in DESCRIBED:
        first = {"limited": False, "eye_movements": len(FIRST_SCANPATH)}
        known = {name: arguments[name] for name in ("registration", "inputs", *first) if name in arguments}
        return DescriptorNet(**first | known)
    return EmbeddingNet(**arguments)


def pair_input(inputs: str, rgb: Tensor | None, psm: Tensor, usm: Tensor | None) -> Tensor:
    """Assemble the network's input.

    Parameters
    ----------
    inputs
        One of `CHANNELS`.
    rgb
        Images, ``(n, H, W, 3)`` uint8; None where `inputs` has no image.
    psm, usm
        Personal and universal maps, ``(n, H, W)``; usm only for the discrepancy PSM − USM.

    Returns
    -------
    torch.Tensor
        ``(n, channels, H, W)`` float32, channels last in memory.
    """
    last = psm.float()  # (n, H, W)
    if inputs.endswith("discrepancy"):
        if usm is None:
            msg = f"inputs {inputs!r} need universal maps"
            raise ValueError(msg)
        last = last - usm.float()
    planes = last[..., None]
    if inputs.startswith("rgb"):
        if rgb is None:
            msg = f"inputs {inputs!r} need images"
            raise ValueError(msg)
        planes = last.new_empty(*last.shape, 4)  # filled in place: each number is written once
        torch.div(rgb, 255, out=planes[..., :3])
        planes[..., 3] = last
    return planes.permute(0, 3, 1, 2)  # (n, c, H, W); memory stays n, H, W, c


def aggregate(features: Tensor) -> Tensor:
    """Embedding of each set of pairs: mean over the set, unit length. ``(…, m, d)`` → ``(…, d)``."""
    return F.normalize(features.mean(-2), dim=-1)


def triplet_loss(embeddings: Tensor, user: Tensor, group: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Triplet margin loss over all semi-hard and hard triplets of a batch.

    ``L = mean over triplets with l > 0 of l = max(cos(a, n) − cos(a, p) + margin, 0)``. Anchor and positive are of
    one user, the negative of another; no two of the three may come from the same images. Triplets beyond the margin
    have no loss, so that the mean over the others is exactly the semi-hard and hard ones.

    Parameters
    ----------
    embeddings
        Unit vectors, shape ``(n, d)``.
    user
        Whose each is, shape ``(n,)``.
    group
        Which set of images each was made from, shape ``(n,)``; equal numbers mean the same images, different
        numbers disjoint ones.
    margin
        α; the paper has 0.05.

    Returns
    -------
    tuple
        The loss (0 where no triplet violates the margin), and the share of triplets that do.
    """
    similarity = embeddings @ embeddings.T  # (n, n)
    same_user = user[:, None] == user[None, :]
    apart = group[:, None] != group[None, :]
    anchor, positive = torch.nonzero(same_user & apart, as_tuple=True)  # pairs, so that no n × n × n is built
    gap = similarity[anchor] - similarity[anchor, positive][:, None] + margin  # (pairs, n)
    allowed = (~same_user & apart)[anchor] & apart[positive]
    violation = torch.where(allowed, gap.clamp(min=0), 0)
    active = (violation > 0).sum()
    return violation.sum() / active.clamp(min=1), active / allowed.sum().clamp(min=1)
