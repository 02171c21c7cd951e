"""Another calibration: offsets that it may leave, and what they do to descriptors.

An eye tracker's calibration leaves an offset that stays through a session, so that it tells people apart on the day and
not after. Registration (`gazepipe.registration`) takes it out of each set of maps. The other way is to expect it: with
W the covariance of a person's pairs and C that of what offsets add to the mean over many of them, a mean over m pairs
scatters by W / m + C, and `gazepipe.embedding.DescriptorNet.fit` whitens by that. Directions that offsets change then
count little and all others as before; nothing needs to be found out about a set of maps, however small it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError
from gazepipe.registration import GRID

if TYPE_CHECKING:
    from gazepipe.config import EmbeddingConfig
    from gazepipe.training import Encoder

__all__ = ["disc", "expected_offsets", "mean_scatter", "offset_scatter"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: Pairs of a person whose mean descriptors are taken, before and after an offset.
_PAIRS = 32
#: Offsets in all, and of each person at least.
_OFFSETS, _FEWEST = 240, 6


def disc(n: int, radius_deg: float, corpus: Corpus, rng: np.random.Generator) -> F32:
    """Offsets uniform in a disc of so many degrees, ``(n, 2)`` in cells of `registration.GRID`, right and down.

    Raises
    ------
    ConfigError
        If it is not known how large a degree is on the maps.
    """
    if not np.isfinite(corpus.degree).all():
        msg = (
            "how large a degree of visual angle is on the maps is not known, so that they cannot be moved by some. Set "
            "[screen] and build the maps again, or make [embedding] recalibration_deg 0."
        )
        raise ConfigError(msg)
    radius, angle = radius_deg * np.sqrt(rng.random(n)), rng.random(n) * 2 * np.pi
    height, width = corpus.size
    cell = np.array(corpus.degree) * [GRID[1] / width, GRID[0] / height]
    moves: F32 = (np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) * cell).astype(np.float32)
    return moves


def expected_offsets(
    encoder: Encoder, split: Split, config: EmbeddingConfig, rng: np.random.Generator
) -> dict[int, Tensor]:
    """`offset_scatter` of the training users on training images; empty where the same calibration is expected.

    The encoder is of an unfitted network.
    """
    if not config.recalibration_deg:
        return {}
    images = np.array(split.images_train)
    return offset_scatter(encoder, split.users_train, images, config.recalibration_deg, rng)


def mean_scatter(found: Mapping[int, Tensor], without: Collection[int] = ()) -> Tensor | None:
    """Mean over users, some left out, for `DescriptorNet.fit`; None if there is nobody."""
    kept = [scatter for user, scatter in found.items() if user not in without]
    return torch.stack(kept).mean(0) if kept else None


@torch.inference_mode()
def offset_scatter(
    encoder: Encoder, users: Sequence[int], images: I64, radius_deg: float, rng: np.random.Generator
) -> dict[int, Tensor]:
    """What offsets change the mean features of a user's pairs by: mean of outer products, ``{user: (d, d)}``.

    Parameters
    ----------
    encoder
        Of a network in evaluation mode, whose last feature, the same for every pair, is left out.
    users, images
        Whose pairs on which images; users without usable ones are left out.
    radius_deg
        Offsets are uniform in a disc of this radius.
    rng
        Draws pairs and offsets.

    Raises
    ------
    ConfigError
        See `disc`.
    """
    encoder.net.eval()
    offsets = max(_FEWEST, _OFFSETS // max(len(users), 1))
    found = {}
    for user in users:
        shown = torch.from_numpy(rng.permutation(images[encoder.usable(user, images)])[:_PAIRS]).to(encoder.where)
        if not len(shown):
            continue
        who = torch.full_like(shown, user)
        moves = torch.from_numpy(disc(offsets, radius_deg, encoder.corpus, rng)).to(encoder.where)
        before = encoder.features(who, shown)[:, :-1].mean(0)
        after = torch.stack([encoder.features(who, shown, by=m.expand(len(shown), 2))[:, :-1].mean(0) for m in moves])
        change = (after - before).double()
        found[user] = change.T @ change / offsets
    return found
