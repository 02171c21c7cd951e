"""The five measures of how well a predicted saliency map fits a person: CC, SIM, KLD, NSS, AUC-Judd.

Definitions are those of the MIT saliency benchmark (Bylinskii et al. 2019, TPAMI 41:740) in the form that Kümmerer's
pysaliency computes, with these points settled, because implementations differ on them:

* maps are compared at the size they have; both are divided by their sums for SIM and KLD, nothing is stretched;
* KLD has the ground truth as the reference distribution, natural logarithm, ε = 2.2204e-16 (MIT);
* NSS divides by the population standard deviation; every fixation counts, also two in one cell;
* AUC-Judd takes its thresholds at the fixations and the cells without fixation as negatives, without jitter.
  With few fixations it is biased upwards by up to 1/(2K), so `auc` (Mann–Whitney, ties one half) is beside it;
* a constant prediction has CC 0, NSS 0 and both AUC ½.

`score` computes all of them for many maps at once; the functions for one map are the readable reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["METRICS", "auc", "auc_judd", "cc", "kld", "nss", "score", "sim"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Names of the columns that `score` returns, and whether more is better.
METRICS = {"CC": True, "SIM": True, "AUC-Judd": True, "NSS": True, "KLD": False, "AUC": True}

EPSILON = 2.220446049250313e-16


def cc(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Pearson's correlation of two maps ``(H, W)``; 0 for a constant prediction, NaN for a constant truth."""
    p, q = np.asarray(prediction, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    p, q = p - p.mean(), q - q.mean()
    if _constant(q):
        return float("nan")
    return 0.0 if _constant(p) else float(p @ q / np.sqrt((p @ p) * (q @ q)))


def _constant(centred: F64) -> bool:
    """Rounding leaves about 1e-17 where a constant was taken off itself."""
    return bool(np.abs(centred).max(initial=0) <= 1e-12)


def sim(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Histogram intersection ``Σ min(P, Q)`` of two maps scaled to sum 1."""
    return float(np.minimum(_distribution(prediction), _distribution(truth)).sum())


def kld(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Kullback–Leibler divergence ``Σ Q · ln(ε + Q / (P + ε))`` of the prediction P from the truth Q."""
    p, q = _distribution(prediction), _distribution(truth)
    return float((q * np.log(EPSILON + q / (p + EPSILON))).sum())


def _distribution(values: npt.ArrayLike) -> F64:
    a = np.asarray(values, np.float64)
    total = a.sum()
    return a / total if total > 0 else np.full(a.shape, 1 / a.size)


def nss(prediction: npt.ArrayLike, rows: npt.ArrayLike, columns: npt.ArrayLike) -> float:
    """Normalised scanpath saliency: mean of the z-scored map at the fixated cells."""
    p = np.asarray(prediction, np.float64)
    centred = p - p.mean()
    if _constant(centred):
        return 0.0
    return float(centred[np.asarray(rows), np.asarray(columns)].mean() / p.std())


def auc(
    prediction: npt.ArrayLike, rows: npt.ArrayLike, columns: npt.ArrayLike, *, unfixated_only: bool = False
) -> float:
    """Area under the ROC curve: chance that a fixated cell is above a random one, ties counted one half.

    Negatives are all cells, or with `unfixated_only` those without fixation.
    """
    positives, negatives = _cells(prediction, rows, columns, unfixated_only)
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / 2 / negatives.size)


def auc_judd(prediction: npt.ArrayLike, rows: npt.ArrayLike, columns: npt.ArrayLike) -> float:
    """Area under the ROC curve after Judd et al. (2009): thresholds at the fixations, trapezoids between them."""
    positives, negatives = _cells(prediction, rows, columns, True)
    if negatives.size == 0 or positives.size == 0:
        return float("nan")
    thresholds = np.unique(positives)[::-1]
    hits = np.searchsorted(np.sort(positives), thresholds, "left")
    alarms = np.searchsorted(negatives, thresholds, "left")
    true_rate = np.concatenate([[0.0], 1 - hits / positives.size, [1.0]])
    false_rate = np.concatenate([[0.0], 1 - alarms / negatives.size, [1.0]])
    return float(np.trapezoid(true_rate, false_rate))


def _cells(
    prediction: npt.ArrayLike, rows: npt.ArrayLike, columns: npt.ArrayLike, unfixated_only: bool
) -> tuple[F64, F64]:
    """Values at the fixations, and the sorted values of the negatives."""
    p = np.asarray(prediction, np.float64)
    r, c = np.asarray(rows), np.asarray(columns)
    free = np.ones(p.shape, bool)
    if unfixated_only:
        free[r, c] = False
    return p[r, c], np.sort(p[free])


# --------------------------------------------------------------------------------------------------------------------

_jit: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


@_jit
def _sums(p: F32, q: F32) -> tuple[float, float]:
    a = b = 0.0
    for i in range(p.size):
        a += np.float64(p[i])
        b += np.float64(q[i])
    return a, b


@_jit
def _covariance(p: F32, q: F32, mean_p: float, mean_q: float) -> tuple[float, float, float]:
    pp = qq = pq = 0.0
    for i in range(p.size):
        a, b = p[i] - mean_p, q[i] - mean_q
        pp += a * a
        qq += b * b
        pq += a * b
    return pp, qq, pq


@_jit
def _overlap(p: F32, q: F32, scale_p: float, scale_q: float) -> float:
    total = 0.0
    for i in range(p.size):
        total += min(p[i] * scale_p, q[i] * scale_q)
    return total


@_jit
def _divergence(p: F32, q: F32, scale_p: float, scale_q: float, ratio: F64, bits: I64) -> float:
    """KLD with a logarithm that vectorises: exponent from the bits, atanh series on the mantissa in [√½, √2)."""
    for i in range(p.size):
        ratio[i] = EPSILON + (q[i] * scale_q) / (p[i] * scale_p + EPSILON)
    total = 0.0
    for i in range(p.size):
        word = bits[i]
        exponent = (word - 0x3FE6A09E667F3BCD) >> 52
        bits[i] = word - (exponent << 52)
        t = (ratio[i] - 1.0) / (ratio[i] + 1.0)
        t2 = t * t
        series = 1 / 9.0 + t2 * (1 / 11.0 + t2 * (1 / 13.0 + t2 * (1 / 15.0 + t2 / 17.0)))
        log_mantissa = 2.0 * t * (1.0 + t2 * (1 / 3.0 + t2 * (1 / 5.0 + t2 * (1 / 7.0 + t2 * series))))
        total += (q[i] * scale_q) * (log_mantissa + exponent * 0.6931471805599453)
    return total


@_jit
def _rank(p: F32, value: float) -> tuple[np.signedinteger[Any], np.signedinteger[Any]]:
    """How many cells are below a value, and how many equal it."""
    below, equal = np.int32(0), np.int32(0)
    for i in range(p.size):
        below += np.int32(p[i] < value)
        equal += np.int32(p[i] == value)
    return below, equal


@_jit
def _areas(p: F32, cells: I64, below: I64, equal: I64) -> tuple[float, float]:
    """AUC-Judd and AUC, from the ranks of the fixated cells' values (`cells` sorted by falling value)."""
    n, k = p.size, cells.size
    mann_whitney = 0.0
    for i in range(k):
        mann_whitney += below[i] + 0.5 * equal[i]
    # Distinct fixated cells are no negatives, so they are taken off the counts at each threshold.
    distinct = 0
    for i in range(k):
        distinct += _first(cells, i)
    area = last_true = last_false = 0.0
    i = taken = 0
    while i < k:
        value = p[cells[i]]
        while i < k and p[cells[i]] == value:
            taken += _first(cells, i)
            i += 1
        true_rate = i / k
        false_rate = (n - below[i - 1] - taken) / (n - distinct)
        area += 0.5 * (true_rate + last_true) * (false_rate - last_false)
        last_true, last_false = true_rate, false_rate
    area += 0.5 * (1.0 + last_true) * (1.0 - last_false)
    return area, mann_whitney / k / n


@_jit
def _first(cells: I64, i: int) -> int:
    """1 where a fixation is the first in its cell."""
    for j in range(i):
        if cells[j] == cells[i]:
            return 0
    return 1


@_jit
def _score(prediction: F32, truth: F32, cell: I64, start: I64, out: F64) -> None:
    n_maps, height, width = prediction.shape
    n = height * width
    ratio = np.empty(n)
    bits = ratio.view(np.int64)
    for m in range(n_maps):
        p, q = prediction[m].reshape(n), truth[m].reshape(n)
        sum_p, sum_q = _sums(p, q)
        pp, qq, pq = _covariance(p, q, sum_p / n, sum_q / n)
        flat_p, flat_q = pp <= 1e-24 * n, qq <= 1e-24 * n
        out[m, 0] = np.nan if flat_q else (0.0 if flat_p else pq / np.sqrt(pp * qq))
        scale_p, scale_q = 1.0 / sum_p, 1.0 / sum_q
        out[m, 1] = _overlap(p, q, scale_p, scale_q)
        out[m, 4] = _divergence(p, q, scale_p, scale_q, ratio, bits)
        fixated = cell[start[m] : start[m + 1]]
        k = fixated.size
        if k == 0:
            out[m, 2] = out[m, 3] = out[m, 5] = np.nan
            continue
        ordered = fixated[np.argsort(-p[fixated])]
        below, equal = np.empty(k, np.int64), np.empty(k, np.int64)
        total = 0.0
        for i in range(k):
            total += p[ordered[i]] - sum_p / n
            below[i], equal[i] = _rank(p, p[ordered[i]])
        out[m, 3] = 0.0 if flat_p else total / k / np.sqrt(pp / n)
        out[m, 2], out[m, 5] = _areas(p, ordered, below, equal)


def score(
    prediction: npt.ArrayLike, truth: npt.ArrayLike, rows: npt.ArrayLike, columns: npt.ArrayLike, start: npt.ArrayLike
) -> F64:
    """All measures of many predicted maps.

    Parameters
    ----------
    prediction, truth
        Maps of shape ``(n, H, W)``, not negative, each with a positive sum.
    rows, columns
        Fixated cells of all maps one after another, shape ``(n_fixations,)``.
    start
        Index of each map's first fixation and, last, n_fixations; shape ``(n + 1,)``.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, 6)``, columns as in `METRICS`; NaN where a map has no fixation to compare with.

    Raises
    ------
    ValueError
        If shapes differ, or a map has a negative value or no mass.
    """
    p, q = np.ascontiguousarray(prediction, np.float32), np.ascontiguousarray(truth, np.float32)
    if p.shape != q.shape or p.ndim != 3:
        msg = (
            f"predictions of shape {p.shape} cannot be compared with maps of shape {q.shape}; expected (n, H, W) twice"
        )
        raise ValueError(msg)
    for name, maps in (("a prediction", p), ("a true map", q)):
        if maps.size and not (maps.min() >= 0 and (maps.sum((1, 2), dtype=np.float64) > 0).all()):
            msg = f"{name} is negative somewhere, all zero or not finite; maps must be densities"
            raise ValueError(msg)
    cell = np.asarray(rows, np.int64) * p.shape[2] + np.asarray(columns, np.int64)
    if cell.size and not (cell.min() >= 0 and cell.max() < p.shape[1] * p.shape[2]):
        msg = "a fixation lies outside the map"
        raise ValueError(msg)
    out = np.empty((p.shape[0], len(METRICS)))
    _score(p, q, cell, np.asarray(start, np.int64), out)
    return out
