"""How well embeddings tell people apart: precision at one in two protocols, dispersion and separation.

*paper* (Strohm et al. 2024): the embeddings of a user are drawn at random from one pool of image–PSM pairs, so that
two of them may share pairs; with many pairs most do, which inflates the figure. *disjoint*: gallery and probe
embeddings come from two disjoint halves of the images. Claims rest on the disjoint protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Separation",
    "d_prime",
    "draw",
    "equal_error_rate",
    "hits",
    "nearest",
    "precision_at_one",
    "separation",
    "tables_of",
]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
#: Makes each user's table of features from images given by number.
Tables = Callable[[npt.NDArray[np.int64]], Sequence[F32]]


def _unit(vectors: F32) -> F32:
    unit: F32 = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit


def draw(features: F32, m: int, count: int, rng: np.random.Generator) -> F32:
    """Draw `count` embeddings, each the mean of m different pairs out of `features` ``(n, d)``; ``(count, d)``."""
    order = rng.random((count, len(features))).argpartition(m - 1, axis=1)[:, :m]
    return _unit(features[order].mean(1))


def precision_at_one(
    features: Sequence[F32] | Tables,
    m: int,
    *,
    protocol: str,
    n_images: int | None = None,
    per_user: int = 20,
    repetitions: int = 20,
    rng: np.random.Generator,
) -> F64:
    """Share of embeddings whose nearest neighbour (by cosine) is of the same user.

    Parameters are those of `hits`.

    Returns
    -------
    numpy.ndarray
        Precision at one of each repetition, ``(repetitions,)``; empty if a user has too few pairs for this m.
    """
    options = {"protocol": protocol, "n_images": n_images, "per_user": per_user, "repetitions": repetitions}
    found = hits(features, m, rng=rng, **options)  # type: ignore[arg-type]
    return found.mean(1) if len(found) else np.zeros(0)


def hits(
    features: Sequence[F32] | Tables,
    m: int,
    *,
    protocol: str,
    n_images: int | None = None,
    per_user: int = 20,
    repetitions: int = 20,
    probes: Sequence[int] | None = None,
    rng: np.random.Generator,
) -> F64:
    """Precision at one of each user.

    Parameters
    ----------
    features
        Features of each user's pairs, ``(n_images, d)``, row i of every user from the same image; rows of NaN
        where a user has not seen an image. Or, where features depend on which images stand together (registration),
        what makes such tables of some of `n_images` images, given by number.
    m
        Pairs that make one embedding.
    protocol
        ``"paper"`` or ``"disjoint"``.
    per_user
        Embeddings drawn for each user (and, disjoint, for the gallery and the probes each).
    repetitions
        Random draws.
    probes
        Users who are identified, by number; None: all. The gallery always holds everybody. Disjoint protocol only.

    Returns
    -------
    numpy.ndarray
        Share of each user's embeddings whose nearest neighbour is theirs, ``(repetitions, users)``; empty if a user
        has too few pairs for this m.
    """
    if probes is not None and protocol != "disjoint":
        msg = "probes of some users alone are for the disjoint protocol"
        raise ValueError(msg)
    total = n_images if n_images is not None else len(features[0])  # type: ignore[index]
    results = []
    for _ in range(repetitions):
        halves = np.zeros(total, bool)
        halves[rng.permutation(total)[: total // 2]] = True
        pools = [halves, ~halves] if protocol == "disjoint" else [np.ones(total, bool)]
        drawn: list[F32] = []
        for pool in pools:
            have = tables_of(features, np.flatnonzero(pool))
            if min(map(len, have)) < m:
                return np.zeros((0, len(have) if probes is None else len(probes)))
            chosen = have if probes is None or not drawn else [have[u] for u in probes]
            drawn.append(np.concatenate([draw(h, m, per_user, rng) for h in chosen]))
        gallery, probe = drawn[0], drawn[-1]
        label = np.repeat(np.arange(len(have)), per_user)
        asked = label if probes is None else np.repeat(np.asarray(probes), per_user)
        similarity = probe @ gallery.T
        if protocol != "disjoint":
            np.fill_diagonal(similarity, -2)
        right = label[similarity.argmax(1)] == asked
        results.append(right.reshape(-1, per_user).mean(1))
    return np.array(results)


def tables_of(features: Sequence[F32] | Tables, images: npt.NDArray[np.int64]) -> list[F32]:
    """Each user's features of some images, without the rows of images that the user has not seen."""
    tables = features(images) if callable(features) else [f[images] for f in features]
    return [t[np.isfinite(t[:, 0])] for t in tables]


def d_prime(same: npt.ArrayLike, different: npt.ArrayLike) -> float:
    """Distance of two samples of similarities in pooled standard deviations."""
    a, b = np.asarray(same, np.float64), np.asarray(different, np.float64)
    spread = np.sqrt((a.var() + b.var()) / 2)
    return float((a.mean() - b.mean()) / spread) if spread > 0 else 0.0


def equal_error_rate(same: npt.ArrayLike, different: npt.ArrayLike) -> float:
    """Error rate at the threshold where false acceptances and false rejections are equally frequent."""
    a, b = np.sort(np.asarray(same, np.float64)), np.sort(np.asarray(different, np.float64))
    thresholds = np.concatenate([a, b])
    rejected = np.searchsorted(a, thresholds, "left") / a.size
    accepted = 1 - np.searchsorted(b, thresholds, "left") / b.size
    best = np.argmin(np.abs(rejected - accepted))
    return float((rejected[best] + accepted[best]) / 2)


@dataclass(frozen=True, slots=True)
class Separation:
    """How one person's embedding stands among others.

    Parameters
    ----------
    dispersion
        1 − mean cosine between embeddings of disjoint halves of the person's pairs; 0 is perfectly repeatable.
    nearest
        Index of the most similar other person, −1 if there is none.
    nearest_cosine
        Cosine to that person's embedding.
    margin
        Mean cosine between own halves minus `nearest_cosine`; above 0 the person is closer to themselves.
    d_prime
        Own half-to-half cosines against half-to-other ones, in pooled standard deviations.
    """

    dispersion: float
    nearest: int
    nearest_cosine: float
    margin: float
    d_prime: float


def nearest(embedding: F32, others: F32) -> tuple[int, float]:
    """Index and cosine of the most similar of `others` ``(n, d)``, all of them unit vectors; −1 and NaN for none."""
    cosines = others @ embedding
    index = int(cosines.argmax()) if len(others) else -1
    return index, float(cosines[index]) if len(others) else float("nan")


def separation(features: F32, others: F32, *, rng: np.random.Generator, draws: int = 50) -> Separation:
    """Measure one person's repeatability, and how far they are from the embeddings `others` ``(n, d)``."""
    n = len(features)
    own: list[float] = []
    cross: list[npt.NDArray[np.float64]] = []
    for _ in range(draws if n >= 2 else 0):
        order = rng.permutation(n)
        a, b = _unit(features[order[: n // 2]].mean(0)), _unit(features[order[n // 2 :]].mean(0))
        own.append(float(a @ b))
        cross.append((others @ a).astype(np.float64))
    embedding = _unit(features.mean(0))
    index, nearest_cosine = nearest(embedding, others)
    mean_own = float(np.mean(own)) if own else float("nan")
    return Separation(
        dispersion=1 - mean_own,
        nearest=index,
        nearest_cosine=nearest_cosine,
        margin=mean_own - nearest_cosine,
        d_prime=d_prime(own, np.concatenate(cross)) if own and len(others) else float("nan"),
    )
