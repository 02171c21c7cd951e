"""Intervals and tests, as plain functions of arrays.

The paper's test is Mann and Whitney's U (1947) between the scores of two rows. Both rows are scored on the same maps,
and maps of one person are alike, so that the test knows nothing of the pairing (it misses small steady gains) and takes
maps for independent that are not (its p is too small where few people are tested). That is why a mean over *people*,
with an interval, stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "Interval", "compare", "interval"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, Student's 95 % interval of it, and how many values it is the mean of."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: npt.ArrayLike) -> Interval:
    """Mean and Student's 95 % interval; NaN are left out, and one value has no interval (NaN)."""
    from scipy.special import stdtrit

    v = np.asarray(values, np.float64)
    v = v[np.isfinite(v)]
    if not v.size:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(v.mean())
    if v.size < 2:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stdtrit(v.size - 1, 0.975) * v.std(ddof=1) / np.sqrt(v.size))
    return Interval(mean, mean - half, mean + half, v.size)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of one row against those of another.

    Parameters
    ----------
    u, p
        Mann and Whitney's U of the first row and its two-sided p.
    effect
        Rank-biserial correlation 2U / (n₁ n₂) − 1, signed so that above 0 the first row is *better*: the chance that
        one of its maps scores better than one of the other's, less the chance of the contrary.
    n, n_other
        Maps of both rows.
    """

    u: float
    p: float
    effect: float
    n: int
    n_other: int


def compare(values: npt.ArrayLike, others: npt.ArrayLike, *, more_is_better: bool = True) -> Comparison:
    """Compare two samples; NaN are left out.

    The p is exact for samples without ties of which one has at most eight, else of the normal approximation with
    corrections for ties and continuity.
    """
    from scipy.stats import mannwhitneyu

    a, b = (np.asarray(v, np.float64) for v in (values, others))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not a.size or not b.size:
        return Comparison(np.nan, np.nan, np.nan, a.size, b.size)
    result = mannwhitneyu(a, b, alternative="two-sided")
    u = float(result.statistic)
    effect = 2 * u / (a.size * b.size) - 1
    return Comparison(u, float(result.pvalue), effect if more_is_better else -effect, a.size, b.size)
