"""Probes of people whom a network does not know, against galleries of everybody in its study but the test users.

What `gazepipe.calibration` summarises. Validation users are unknown to every network. Descriptors are fitted in a
moment, so that there training users are strangers, too: to a fit, and to universal maps, without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gazepipe.calibration import Observed
from gazepipe.corpus import Split
from gazepipe.embedding import DescriptorNet
from gazepipe.errors import ConfigError
from gazepipe.recalibration import expected_offsets, mean_scatter
from gazepipe.training import Encoder
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.config import EmbeddingConfig

__all__ = ["REPETITIONS", "observe"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Random halves of the images; with registration, where each set of maps is moved anew, a fifth of that.
REPETITIONS = 30
#: More people who are left out of a fit, or images, add time and little else.
_MOST_LEFT_OUT, _MOST_IMAGES = 12, 256


@dataclass(frozen=True, slots=True)
class _View:
    """Whom to look for (rows in the list of people), through which encoder, and whether that has yet to be fitted."""

    rows: list[int]
    encoder: Encoder
    unfitted: bool


def observe(
    encoder: Encoder,
    split: Split,
    config: EmbeddingConfig,
    *,
    seed: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> Observed:
    """Draw galleries and probes of all training and validation users from halves of their images; no test user's.

    Raises
    ------
    ConfigError
        If there are too few people or images.
    """
    rng = np.random.default_rng([seed, 0xCA1])
    images = np.array(sorted({*split.images_train, *split.images_validation}))
    images = np.sort(rng.permutation(images)[:_MOST_IMAGES])
    people, usable = _people(encoder, split, images)
    fewest = min(map(len, usable))
    m = sorted({*(2**k for k in range(fewest.bit_length())), fewest})
    disjoint = sum(count <= fewest // 2 for count in m)
    registered = encoder.net.registration
    repetitions = REPETITIONS // 5 if registered else REPETITIONS
    choices = [_choices(usable, m, disjoint, rng) for _ in range(repetitions)]
    views = _views(encoder, split, config, people, rng)
    offsets: dict[int, torch.Tensor] = {}
    if config.recalibration_deg and isinstance(encoder.net, DescriptorNet) and any(v.unfitted for v in views):
        bare = Encoder(encoder.net.unfitted(), encoder.corpus, split.users_train)
        offsets = expected_offsets(bare, split, config, np.random.default_rng([seed, 0xCA2]))
    same: list[F64] = []
    different: list[F64] = []
    for done, view in enumerate(views, 1):
        rows, seen = view.rows, view.encoder
        whole = None if registered else [seen.table(u, i) for u, i in zip(people, usable, strict=True)]
        if view.unfitted:
            assert whole is not None
            assert isinstance(seen.net, DescriptorNet)
            recalibration = mean_scatter(offsets, [people[row] for row in rows])
            whole = _fitted_without(seen.net.unfitted(), whole, usable, people, rows, split, config, recalibration)
        cosines = np.zeros((len(rows), repetitions, len(m), len(m), len(people)))
        for repetition, chosen in enumerate(choices):
            means = np.stack([_mean(seen, people, usable, whole, sides) for sides in chosen])  # (2, n_m, people, d)
            gallery, probe = means / np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), 1e-12)
            for at, row in enumerate(rows):
                cosines[at, repetition] = np.einsum("gpd,qd->gqp", gallery, probe[:, row])
        for at, row in enumerate(rows):
            same.append(cosines[at, ..., row])
            different.append(np.delete(cosines[at], row, axis=-1))
        if progress:
            progress(done, len(views), counted(len(same), "person", "people"))
    # Two large sets of one person's pairs share some, so that what is known of the largest disjoint ones stands in.
    largest = np.minimum(np.arange(len(m)), disjoint - 1)
    own = np.moveaxis(np.stack(same), (2, 3), (0, 1))[largest][:, largest]
    return Observed(tuple(m), own, np.moveaxis(np.stack(different), (2, 3), (0, 1)), disjoint)


def _choices(usable: list[I64], m: list[int], disjoint: int, rng: np.random.Generator) -> list[list[list[I64]]]:
    """Which of each person's images make each embedding: side → number of pairs → person → positions in `usable`.

    Everybody's halves are of the same images.
    """
    common = rng.random(max(int(i.max()) for i in usable) + 1)
    sides: list[list[list[I64]]] = [[[] for _ in m] for _ in range(2)]
    for stimuli in usable:
        order = np.argsort(common[stimuli])
        half = len(order) // 2
        for side, part in enumerate((order[:half], order[half : 2 * half])):
            for at, count in enumerate(m):
                sides[side][at].append(rng.permutation(part if at < disjoint else order)[:count])
    return sides


def _mean(seen: Encoder, people: list[int], usable: list[I64], whole: list[F32] | None, chosen: list[list[I64]]) -> F64:
    """Mean features of chosen pairs, ``(n_m, people, d)``; with registration each set is moved as one."""
    out = np.zeros((len(chosen), len(people), seen.net.dimension))
    for at, of_people in enumerate(chosen):
        for row, positions in enumerate(of_people):
            table = seen.table(people[row], usable[row][positions]) if whole is None else whole[row][positions]
            # An image that only the one who is left out had seen has no features now.
            there = table[np.isfinite(table[:, 0])]
            out[at, row] = there.mean(0) if len(there) else 0.0
    return out


def _people(encoder: Encoder, split: Split, images: I64) -> tuple[list[int], list[I64]]:
    """Training and validation users, and which images each has; without those who have few of them."""
    users = sorted({*split.users_train, *split.users_validation})
    usable = [images[encoder.usable(u, images)] for u in users]
    enough = max(2, int(np.median([len(i) for i in usable])) // 2)
    kept = [k for k, i in enumerate(usable) if len(i) >= enough]
    if len(kept) < 2 or not any(users[k] in split.users_validation for k in kept):
        msg = (
            f"[split] leaves {counted(len(kept), 'user')} of training and validation with {enough} images and more; "
            "one of each is needed to tell what may be expected of new people. Change [split]."
        )
        raise ConfigError(msg)
    return [users[k] for k in kept], [usable[k] for k in kept]


def _views(
    encoder: Encoder, split: Split, config: EmbeddingConfig, people: list[int], rng: np.random.Generator
) -> list[_View]:
    """Validation users through the network as it is, and training users through descriptors fitted without them.

    Universal maps are then without the user, too: with the user's part in those of the others, strangers would be
    further away than they are. With registration this takes too long.
    """
    known = [row for row, u in enumerate(people) if u in split.users_train]
    views = []
    strangers = [row for row, u in enumerate(people) if u in split.users_validation and row not in known]
    net = encoder.net
    fitted_without = isinstance(net, DescriptorNet) and not net.registration and len(known) > 2
    if not fitted_without:  # in the closed protocol, validation users are training users
        strangers = [row for row, u in enumerate(people) if u in split.users_validation]
    if strangers:
        views.append(_View(strangers, encoder, unfitted=False))
    if fitted_without:
        assert isinstance(net, DescriptorNet)
        for row in rng.permutation(known)[:_MOST_LEFT_OUT].tolist():
            others = tuple(u for u in split.users_train if u != people[row])
            views.append(_View([row], Encoder(net.unfitted(), encoder.corpus, others), unfitted=True))
    return views


def _fitted_without(
    net: DescriptorNet,
    tables: list[F32],
    usable: list[I64],
    people: list[int],
    rows: list[int],
    split: Split,
    config: EmbeddingConfig,
    recalibration: torch.Tensor | None,
) -> list[F32]:
    """Everybody's tables through a new network, fitted to training images of all training users but some rows'."""
    parts = [
        torch.from_numpy(tables[k][np.isin(usable[k], split.images_train), :-1])
        for k, user in enumerate(people)
        if k not in rows and user in split.users_train
    ]
    net.fit([p[torch.isfinite(p[:, 0])] for p in parts], config.shrinkage, recalibration)
    out = []
    for table in tables:
        features = net.weighed(torch.from_numpy(table[:, :-1]).to(net.affine.device)).cpu().numpy()
        features[~np.isfinite(table[:, 0])] = np.nan  # there is no such pair
        out.append(features)
    return out
