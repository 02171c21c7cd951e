"""Probes of people whom a network does not know, against galleries of everybody in its study but the test users.

What `gazepipe.calibration` summarises. Validation users are unknown to every network. A fit of descriptors takes
milliseconds, so that there each training user is a stranger, too, to a fit without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe.calibration import Observed
from gazepipe.corpus import Split
from gazepipe.embedding import DescriptorNet
from gazepipe.errors import ConfigError
from gazepipe.training import Encoder, descriptor_tables

if TYPE_CHECKING:
    from gazepipe.config import EmbeddingConfig

__all__ = ["REPETITIONS", "observe"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
#: (centre, whitening): features of descriptors under one fit.
Fit = tuple[F64, F64]

#: Random halves of the images; with registration, where each set of maps is moved anew, a fifth of that.
REPETITIONS = 30
#: More calibration users than this add time and little else.
_MOST_USERS = 40


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
    people, usable = _people(encoder, split, images)
    fits = _fits(encoder, split, config, people, rng)
    raw = _raw_encoder(encoder)
    fewest = min(map(len, usable))
    m = sorted({*(2**k for k in range(fewest.bit_length())), fewest})
    disjoint = sum(count <= fewest // 2 for count in m)
    whole = None if encoder.net.registration else [raw.table(u, i) for u, i in zip(people, usable, strict=True)]
    repetitions = REPETITIONS if whole is not None else max(REPETITIONS // 5, 1)
    k = len(people)
    same = np.zeros((len(m), len(m), len(fits), repetitions))
    different = np.zeros((len(m), len(m), len(fits), repetitions, k - 1))
    for repetition in range(repetitions):
        means = np.zeros((2, len(m), k, encoder.net.dimension))  # gallery and probe
        common = rng.random(len(encoder.corpus.stimuli))  # everybody's halves are of the same images
        for row, stimuli in enumerate(usable):
            order = np.argsort(common[stimuli])
            half = len(order) // 2
            for side, part in enumerate((order[:half], order[half : 2 * half])):
                for at, count in enumerate(m):
                    chosen = rng.permutation(part if at < disjoint else order)[:count]
                    table = raw.table(people[row], stimuli[chosen]) if whole is None else whole[row][chosen]
                    means[side, at, row] = table.mean(0)
        for at, (row, fit) in enumerate(fits.items()):
            gallery, probe = (_embeddings(side, fit) for side in means)  # (n_m, people, d)
            cosines = np.einsum("gpd,qd->gqp", gallery, probe[:, row])  # (gallery's m, probe's m, people)
            same[:, :, at, repetition] = cosines[..., row]
            different[:, :, at, repetition] = np.delete(cosines, row, axis=-1)
        if progress:
            progress(repetition + 1, repetitions, f"{len(fits)} people")
    # Two large sets of one person's pairs share some, so that what is known of the largest disjoint ones stands in.
    largest = np.minimum(np.arange(len(m)), disjoint - 1)
    return Observed(tuple(m), same[largest][:, largest], different, disjoint)


def _people(encoder: Encoder, split: Split, images: I64) -> tuple[list[int], list[I64]]:
    """Training and validation users, and which images each has; without those who have few of them."""
    users = sorted({*split.users_train, *split.users_validation})
    usable = [images[encoder.usable(u, images)] for u in users]
    enough = max(2, int(np.median([len(i) for i in usable])) // 2)
    kept = [k for k, i in enumerate(usable) if len(i) >= enough]
    if len(kept) < 2 or not any(users[k] in split.users_validation for k in kept):
        msg = (
            f"[split] leaves {len(kept)} training and validation users with {enough} images and more; one of each is "
            "needed to tell what may be expected of new people. Change [split]."
        )
        raise ConfigError(msg)
    return [users[k] for k in kept], [usable[k] for k in kept]


def _raw_encoder(encoder: Encoder) -> Encoder:
    """Descriptors as they are, before any fit; features of another network are used as they come."""
    if not isinstance(encoder.net, DescriptorNet):
        return encoder
    plain = DescriptorNet(encoder.net.registration).to(encoder.where)
    return encoder.with_net(plain)


def _fits(
    encoder: Encoder, split: Split, config: EmbeddingConfig, people: list[int], rng: np.random.Generator
) -> dict[int, Fit | None]:
    """Whom to look for (row in `people`), and under which fit; None: features as they are."""
    validation = [row for row, u in enumerate(people) if u in split.users_validation]
    net = encoder.net
    if not isinstance(net, DescriptorNet):
        return {row: None for row in validation[:_MOST_USERS]}
    tables = descriptor_tables(_raw_encoder(encoder), split, config, rng)
    known = [row for row, u in enumerate(people) if u in tables]
    strangers = [row for row in validation if row not in known]
    fits: dict[int, Fit | None] = {row: _fit(net) for row in strangers[:_MOST_USERS]}
    for row in rng.permutation(known)[: _MOST_USERS - len(fits)].tolist():
        others = [t for u, t in tables.items() if u != people[row]]
        if len(others) >= 2:
            without = DescriptorNet(net.registration)
            without.fit(others, config.shrinkage)
            fits[row] = _fit(without)
    if not fits:
        msg = "[split] leaves no validation user and too few training users to fit descriptors without one of them."
        raise ConfigError(msg)
    return fits


def _fit(net: DescriptorNet) -> Fit:
    return net.centre.cpu().numpy().astype(np.float64), net.whitening.cpu().numpy().astype(np.float64)


def _embeddings(means: F64, fit: Fit | None) -> F64:
    """Unit vectors of means over sets of pairs ``(…, d)``; centring and whitening are linear, so means go through."""
    features = means if fit is None else (means - fit[0]) @ fit[1].T
    unit: F64 = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
    return unit
