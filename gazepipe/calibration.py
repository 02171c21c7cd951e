"""What a study's own people tell about recognising somebody new: expected precision, odds and thresholds.

Made once, after training, from people whose own gaze the network was not made of: the validation users, and where the
network is fitted in a moment (descriptors) each training user with a fit that leaves them out. Test users have no part.
Each such *calibration user* is looked for among all training and validation users, as in the disjoint protocol of
`gazepipe.identification`: gallery embeddings from one half of the images, probes from the other; for every number of
pairs on either side. Cosines of *different* people need no such halves and are taken up to all images.

*Precision in a gallery of another size.* Let r of the K other people be nearer to a probe than its owner is. Of
galleries with G − 1 others drawn from the K, the share without any nearer one is C(K − r, G − 1) / C(K, G − 1). For
galleries larger than the study, r is taken as binomial with a rate that is itself Beta(a, b) over probes, so that
precision goes on as B(a, b + G − 1) / B(a, b).

*Odds.* A logistic regression of same against different on the cosine, both weighing alike, gives the logarithm of the
likelihood ratio. It is cut at the number of pairs of people seen: more, so few people cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.documents import read_json, write_json
from gazepipe.errors import NothingToDoError, StoreError

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["LEVELS", "Calibration", "Expectation", "Observed", "load_calibration", "save_calibration", "summarise"]

F64 = npt.NDArray[np.float64]

FORMAT = "gazepipe.calibration"
FORMAT_VERSION = "1.0"

_TAIL = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
#: Levels at which quantiles of cosines are kept.
LEVELS = np.round(np.array([*_TAIL, *np.arange(0.1, 0.91, 0.1), *(1 - t for t in reversed(_TAIL))]), 6)


@dataclass(frozen=True, slots=True)
class Observed:
    """Cosines of calibration users' probes to galleries.

    Parameters
    ----------
    m
        Numbers of pairs, ascending.
    same
        Cosines to the own gallery embedding, ``(n_m, n_m, users, repetitions)``: pairs of the gallery, of the probe.
    different
        Cosines to those of all others, ``(n_m, n_m, users, repetitions, others)``.
    disjoint
        How many of `m`, from the first on, are at most half of a person's pairs. Beyond, `same` is that of the last of
        these: two larger sets would share pairs.
    """

    m: tuple[int, ...]
    same: F64
    different: F64
    disjoint: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """Precision at one to be expected of a person: mean over calibration users and 95 % interval for one more.

    `m` are the pairs it holds for, `users` how many people it rests on.
    """

    value: float
    low: float
    high: float
    m: int
    users: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is kept of `Observed`, and of which network.

    Parameters
    ----------
    model
        Recipe digest of the embedding network.
    m
        Numbers of pairs that it knows, ascending.
    same, different
        Quantiles, at `LEVELS`, of cosines between embeddings of the same and of different people,
        ``(n_m, n_m, n_levels)``; first the gallery's pairs, then the probe's.
    slope, intercept
        Logarithm of the likelihood ratio as a straight line of the cosine, ``(n_m, n_m)``.
    nearer
        How often r others were nearer than oneself, gallery and probe of m disjoint pairs each,
        ``(n_disjoint, users, others + 1)``: for the first of `m`.
    """

    model: str
    m: tuple[int, ...]
    same: F64
    different: F64
    slope: F64
    intercept: F64
    nearer: F64

    @property
    def users(self) -> int:
        """Number of calibration users."""
        return int(self.nearer.shape[1])

    @property
    def pairs_of_people(self) -> int:
        """Number of pairs of a calibration user and somebody else."""
        return self.users * int(self.nearer.shape[2] - 1)

    def expected_precision(self, m: int, size: int) -> Expectation:
        """Precision at one to be expected of one more person.

        Parameters
        ----------
        m
            Image–PSM pairs of their gallery embedding, and of the embedding that is looked for. Between two known
            numbers it is read off a straight line over log m; beyond the largest, that one's holds at least.
        size
            People in the gallery, the person among them.
        """
        known = self.m[: len(self.nearer)]
        curve = np.stack([self._precision(k, size) for k in range(len(known))])  # (n_disjoint, users)
        each = np.array([np.interp(math.log2(max(m, 1)), np.log2(known), curve[:, u]) for u in range(self.users)])
        spread = 1.0
        if self.users > 1:
            spread = _student(self.users - 1) * float(each.std(ddof=1)) * math.sqrt(1 + 1 / self.users)
        mean = float(each.mean())
        # Of n people who are all alike, the next one may still be another.
        low = min(mean - spread, mean * self.users / (self.users + 1))
        return Expectation(mean, max(low, 0.0), min(mean + spread, 1.0), min(m, known[-1]), self.users)

    def _precision(self, k: int, size: int) -> F64:
        """Precision of each calibration user in galleries of some size, ``(users,)``."""
        counts = self.nearer[k]
        others = counts.shape[1] - 1
        within = min(size - 1, others)
        r = np.arange(others + 1)
        share = np.array([math.comb(others - x, within) / math.comb(others, within) for x in r])
        found: F64 = counts @ share / counts.sum(1)
        if size - 1 > others:
            a, b = _beta_binomial(counts.sum(0))
            found = found * math.exp(_log_beta(a, b + size - 1) - _log_beta(a, b + others))
        return found

    def _cell(self, gallery: int, probe: int) -> tuple[int, int]:
        """Row and column of the next smaller numbers of pairs."""
        i, j = (max(int(np.searchsorted(self.m, n, "right")) - 1, 0) for n in (gallery, probe))
        return i, j

    def likelihood_ratio(self, cosine: float, gallery: int, probe: int) -> float:
        """How many times likelier the cosine is if both are of the same person; pairs of gallery and probe."""
        cell = self._cell(gallery, probe)
        limit = math.log(max(self.pairs_of_people, 2))
        log = float(self.intercept[cell] + self.slope[cell] * cosine)
        return math.exp(min(max(log, -limit), limit))

    def threshold(self, rate: float, gallery: int, probe: int) -> float:
        """Cosine that embeddings of different people reach with a given probability."""
        return float(np.interp(1 - rate, LEVELS, self.different[self._cell(gallery, probe)]))

    def open_threshold(self, rate: float, galleries: Sequence[int], probe: int) -> float:
        """Cosine which the nearest of a gallery reaches with a given probability if the person is not in it.

        With the others independent of each other, each may reach it with 1 − (1 − rate)^(1 / people). They are not,
        so that the true rate is lower, if anything.
        """
        one = 1 - (1 - rate) ** (1 / max(len(galleries), 1))
        return max((self.threshold(one, g, probe) for g in galleries), default=1.0)

    def rejection(self, threshold: float, gallery: int, probe: int) -> float:
        """Share of embeddings of the same person whose cosine stays below a threshold."""
        values = self.same[self._cell(gallery, probe)]
        return float(np.interp(threshold, values, LEVELS, left=0.0, right=1.0))


def summarise(observed: Observed, model: str) -> Calibration:
    """Reduce what was observed to what is kept."""
    n = len(observed.m)
    others = observed.different.shape[-1]
    same, different = np.zeros((n, n, len(LEVELS))), np.zeros((n, n, len(LEVELS)))
    slope, intercept = np.zeros((n, n)), np.zeros((n, n))
    nearer = np.zeros((observed.disjoint, observed.same.shape[2], others + 1))
    for i in range(n):
        for j in range(n):
            own, strange = observed.same[i, j].ravel(), observed.different[i, j].ravel()
            same[i, j], different[i, j] = np.quantile(own, LEVELS), np.quantile(strange, LEVELS)
            slope[i, j], intercept[i, j] = _logistic(own, strange)
        if i >= observed.disjoint:
            continue
        r = (observed.different[i, i] >= observed.same[i, i][..., None]).sum(-1)  # (users, repetitions)
        nearer[i] = np.stack([np.bincount(row, minlength=others + 1) for row in r])
    return Calibration(model, observed.m, same, different, slope, intercept, nearer)


def _logistic(same: F64, different: F64) -> tuple[float, float]:
    """Slope and intercept of log-odds over the cosine, both kinds weighing alike; never falling.

    The ridge keeps the slope finite where the two do not overlap.
    """
    x = np.concatenate([same, different])
    y = np.repeat([1.0, 0.0], [same.size, different.size])
    weight = np.repeat([0.5 / same.size, 0.5 / different.size], [same.size, different.size])
    middle, scale = float(weight @ x), 0.0
    scale = math.sqrt(float(weight @ (x - middle) ** 2)) or 1.0
    design = np.stack([np.ones_like(x), (x - middle) / scale], 1)
    ridge, beta = np.diag([0.0, 1e-5]), np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (p - y)) + ridge @ beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        beta = beta - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    if beta[1] <= 0:  # nothing to tell people by
        return 0.0, 0.0
    return float(beta[1] / scale), float(beta[0] - beta[1] * middle / scale)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _beta_binomial(counts: F64) -> tuple[float, float]:
    """Beta distribution of the rate at which others are nearer, most likely under counts of r = 0 … K."""
    from scipy.optimize import minimize

    others = counts.size - 1
    r = np.arange(counts.size)
    # Half a probe of each kind, all the same: no rate is impossible.
    weight = counts / counts.sum() + 0.5 / counts.sum() / counts.size

    def loss(logs: F64) -> float:
        a, b = np.exp(np.clip(logs, -7, 7))
        values = [_log_beta(a + x, b + others - x) - _log_beta(a, b) for x in r]
        return -float(weight @ np.array(values))

    best = minimize(loss, np.array([-1.0, 1.0]), method="Nelder-Mead").x
    a, b = np.exp(np.clip(best, -7, 7))
    return float(a), float(b)


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


# ---- file ------------------------------------------------------------------------------------------------------------

_ARRAYS = ("same", "different", "slope", "intercept", "nearer")


def save_calibration(study: Study, calibration: Calibration) -> None:
    """Write it beside the network, whole or not at all."""
    content: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": calibration.model}
    content |= {"m": list(calibration.m), "levels": LEVELS.tolist()}
    content |= {name: np.round(getattr(calibration, name), 5).tolist() for name in _ARRAYS}
    write_json(study.calibration_file, content, indent=None)


def load_calibration(study: Study, model: str) -> Calibration:
    """Read what was kept of the network of this recipe.

    Raises
    ------
    NothingToDoError
        If there is nothing, or it is of another network.
    StoreError
        If the file is damaged or of another version.
    """
    path = study.calibration_file
    if not path.is_file():
        msg = f"{path}: there is no calibration of the embedding network; run `gazepipe train` first."
        raise NothingToDoError(msg)
    try:
        content = read_json(path, "delete it and run `gazepipe train` again")
        version = str(content["format_version"])
        if content["format"] != FORMAT or version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
            msg = f"{path}: is {content['format']} version {version}; this gazepipe reads {FORMAT} {FORMAT_VERSION}."
            raise StoreError(msg)
        arrays = {name: np.array(content[name], np.float64) for name in _ARRAYS}
        found = Calibration(str(content["model"]), tuple(int(m) for m in content["m"]), **arrays)
        if found.same.shape != (len(found.m), len(found.m), len(LEVELS)) or found.nearer.ndim != 3:
            msg = "arrays of another shape"
            raise ValueError(msg)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: damaged ({error}); delete it and run `gazepipe train` again."
        raise StoreError(msg) from None
    if found.model != model:
        msg = f"{path}: is of another embedding network than the one there; run `gazepipe train` again."
        raise NothingToDoError(msg)
    return found
