"""How well people are told apart: precision at one in both protocols, after offsets, among everybody; verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.corpus import Split
from gazepipe.evaluation.offsets import offset_hits
from gazepipe.identification import Tables, d_prime, draw, equal_error_rate, hits, tables_of
from gazepipe.training import Encoder

if TYPE_CHECKING:
    from gazepipe.config import EvaluationConfig

__all__ = ["PROTOCOLS", "Identification", "identify"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: What is reported, and what stands in the tables. "all": the probes are of test users, the gallery holds training and
#: validation users, too, all from test images.
PROTOCOLS = {
    "paper": "paper",
    "disjoint": "disjoint",
    "offset": "disjoint, after random offsets",
    "all": "disjoint, gallery of all users",
    "all_offset": "disjoint, gallery of all users, after random offsets",
}


@dataclass(slots=True)
class Identification:
    """Figures of the test users, from test images alone.

    Parameters
    ----------
    hits
        Protocol → m → precision at one of each test user, ``(repetitions, users)``. An m that the images do
        not allow is not there.
    same, different
        m → cosines of disjoint embeddings of one user, and of two.
    """

    hits: dict[str, dict[int, F64]] = field(default_factory=dict)
    same: dict[int, F64] = field(default_factory=dict)
    different: dict[int, F64] = field(default_factory=dict)

    def verification(self) -> dict[int, dict[str, float]]:
        """Equal error rate and d′ of each m in the disjoint protocol."""
        return {
            m: {"eer": equal_error_rate(same, self.different[m]), "d_prime": d_prime(same, self.different[m])}
            for m, same in self.same.items()
        }


def identify(
    encoder: Encoder, split: Split, config: EvaluationConfig, *, seed: int, everybody: bool = False
) -> Identification:
    """Measure how well test users are told apart from test images alone.

    Parameters
    ----------
    encoder, split, config
        The embedding network, and whom to test how.
    seed
        Of all draws.
    everybody
        Also identify the test users among all users.
    """
    result, images = Identification(), np.array(split.images_test)
    options: dict[str, Any] = {"per_user": config.embeddings_per_user, "repetitions": config.repetitions}
    tested = _features(encoder, split.users_test, images)
    for protocol in ("paper", "disjoint"):
        for m in config.m:
            rng = np.random.default_rng([seed, 0xF1, m])
            _keep(result, protocol, m, hits(tested, m, protocol=protocol, n_images=len(images), rng=rng, **options))
    for m in config.m:
        same, different = _cosines(tested, len(images), m, config, seed)
        if same.size and different.size:
            result.same[m], result.different[m] = same, different
    everyone = split.users_all
    if everybody and len(everyone) > len(split.users_test):
        probes = [everyone.index(u) for u in split.users_test]
        features = _features(encoder, everyone, images)
        for m in config.m:
            rng = np.random.default_rng([seed, 0xF4, m])
            shares = hits(features, m, protocol="disjoint", n_images=len(images), probes=probes, rng=rng, **options)
            _keep(result, "all", m, shares)
    if config.offset_deg > 0 and np.isfinite(encoder.corpus.degree).all():
        galleries = {"offset": split.users_test}
        if "all" in result.hits:
            galleries["all_offset"] = everyone
        for protocol, gallery in galleries.items():
            for m in config.m:
                shares = offset_hits(
                    encoder,
                    gallery,
                    split.users_test,
                    images,
                    m,
                    radius_deg=config.offset_deg,
                    per_user=config.embeddings_per_user,
                    repetitions=config.offset_repetitions,
                    rng=np.random.default_rng([seed, 0xF5, m]),
                )
                _keep(result, protocol, m, shares)
    return result


def _keep(result: Identification, protocol: str, m: int, shares: F64) -> None:
    if len(shares):
        result.hits.setdefault(protocol, {})[m] = shares


def _features(encoder: Encoder, users: tuple[int, ...], images: I64) -> Sequence[F32] | Tables:
    if not encoder.net.registration:
        return [encoder.table(u, images) for u in users]

    # The gallery's maps are moved by what the gallery's images tell, the probes' by what the probes' tell.
    def features(chosen: I64) -> list[F32]:
        return [encoder.table(u, images[chosen]) for u in users]

    return features


def _cosines(
    features: Sequence[F32] | Tables, n_images: int, m: int, config: EvaluationConfig, seed: int
) -> tuple[F64, F64]:
    """Cosines of disjoint embeddings, same user and different users.

    Each pair of embeddings comes from halves of its own; where features must be made anew for each half, as many
    pairs as there are embeddings of a user come from the same halves.
    """
    rng = np.random.default_rng([seed, 0xF2, m])
    same, different = [], []
    repetitions, per_user = config.repetitions, config.embeddings_per_user
    halvings, draws = (repetitions, per_user) if callable(features) else (repetitions * per_user, 1)
    for _ in range(halvings):
        half = np.zeros(n_images, bool)
        half[rng.permutation(n_images)[: n_images // 2]] = True
        sides = [tables_of(features, np.flatnonzero(side)) for side in (half, ~half)]
        if min(len(t) for side in sides for t in side) < m:
            break
        own = np.eye(len(sides[0]), dtype=bool)
        for _ in range(draws):
            a, b = (np.concatenate([draw(t, m, 1, rng) for t in side]) for side in sides)
            cosines = a @ b.T
            same.append(cosines[own])
            different.append(cosines[~own])
    empty = np.zeros(0)
    return (np.concatenate(same), np.concatenate(different)) if same else (empty, empty)
