"""Saliency maps of fixations, in closed form.

A fixation blurred with a Gaussian and integrated over the cells of a grid is the outer product of two differences of
the normal distribution function, so that a map is ``Gyᵀ · diag(w) · Gx`` with as many terms as there are fixations:
exact, with sub-pixel positions, and no image is ever blurred.

Grid coordinates: u to the right, v down, in cells; cell (row i, column j) covers ``[j, j+1) × [i, i+1)``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["BORDERS", "NORMALISATIONS", "leave_one_out", "personal_maps"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

BORDERS = ("cut", "reflect", "renormalise")
NORMALISATIONS = ("max", "sum")

#: Gaussians end here. Beyond 6 σ a map falls below what float16 can hold next to a maximum of one.
REACH_SIGMAS = 6.0
#: Points of the tabulated distribution function in one σ; linear interpolation is then good to 3e-8.
_TABLE_STEP = 1024
_TABLE: F64 = np.array(
    [0.5 * (1 + math.erf(z / math.sqrt(2))) for z in np.arange(-7 * _TABLE_STEP, 7 * _TABLE_STEP + 2) / _TABLE_STEP]
)

_jit: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"})
# Loops over whole rows may be reordered, so that they use the vector units; positions are checked to be finite first.
_jit_sums: Any = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp", "nnan"}
)


@_jit
def _phi(z: float, table: F64) -> float:
    """Normal distribution function, by linear interpolation."""
    at = (z + 7.0) * 1024.0
    if at <= 0.0:
        return 0.0
    if at >= table.size - 2:
        return 1.0
    i = int(at)
    value: float = table[i] + (at - i) * (table[i + 1] - table[i])
    return value


@_jit
def _add_profile(centre: float, sigma: float, n: int, table: F64, out: F32) -> tuple[int, int]:
    """Add the integrals of N(centre, sigma) over n unit cells to `out`; returns the cells touched, [low, high)."""
    low = max(math.floor(centre - REACH_SIGMAS * sigma), 0)
    high = min(math.floor(centre + REACH_SIGMAS * sigma) + 1, n)
    if low >= high:
        return 0, 0
    before = _phi((low - centre) / sigma, table)
    for cell in range(low, high):
        after = _phi((cell + 1 - centre) / sigma, table)
        out[cell] += after - before
        before = after
    return low, high


@_jit
def _profile(centre: float, sigma: float, n: int, border: int, table: F64, out: F32) -> tuple[int, int]:
    """One-dimensional Gaussian on the grid under a border rule (index into BORDERS)."""
    out[:n] = 0.0
    low, high = _add_profile(centre, sigma, n, table, out)
    if border == 1:
        for mirrored in (-centre, 2.0 * n - centre):
            a, b = _add_profile(mirrored, sigma, n, table, out)
            if a < b:
                low, high = min(low, a), max(high, b)
    elif border == 2:
        total = 0.0
        for cell in range(low, high):
            total += out[cell]
        if total > 0.0:
            for cell in range(low, high):
                out[cell] /= total
    return low, high


@_jit_sums
def _add_row(out: F32, values: F32, factor: np.float32) -> None:
    for j in range(values.size):
        out[j] += factor * values[j]


@_jit_sums
def _scale(out: F32, factor: np.float32) -> None:
    for j in range(out.size):
        out[j] *= factor


@_jit_sums
def _largest(values: F32) -> np.float32:
    largest = np.float32(0.0)
    for j in range(values.size):
        largest = max(largest, values[j])
    return largest


@_jit_sums
def _total(values: F32) -> float:
    total = 0.0
    for j in range(values.size):
        total += np.float64(values[j])
    return total


@_jit
def _personal_maps(
    u: F64,
    v: F64,
    weight: F64,
    sigma_u: F64,
    sigma_v: F64,
    repeat_start: I64,
    map_start: I64,
    border: int,
    by_max: bool,
    table: F64,
    out: F32,
) -> None:
    n_maps, height, width = out.shape
    gu, gv = np.zeros(width, np.float32), np.zeros(height, np.float32)
    one = np.empty((height, width), np.float32)
    for m in range(n_maps):
        out[m] = 0.0
        repeats = 0
        for r in range(map_start[m], map_start[m + 1]):
            repeats += repeat_start[r + 1] > repeat_start[r]
        for r in range(map_start[m], map_start[m + 1]):
            target = out[m] if repeats == 1 else one
            target[:, :] = 0.0
            for f in range(repeat_start[r], repeat_start[r + 1]):
                left, right = _profile(u[f], sigma_u[m], width, border, table, gu)
                top, bottom = _profile(v[f], sigma_v[m], height, border, table, gv)
                for i in range(top, bottom):
                    _add_row(target[i, left:right], gu[left:right], np.float32(weight[f]) * gv[i])
            scale = _largest(target.ravel()) if by_max else _total(target.ravel())
            if scale > 0.0:
                factor = np.float32(1.0 / (scale * repeats))
                if repeats == 1:
                    _scale(target.ravel(), factor)
                    break
                _add_row(out[m].ravel(), one.ravel(), factor)


def personal_maps(
    u: npt.ArrayLike,
    v: npt.ArrayLike,
    weight: npt.ArrayLike,
    repeat_start: npt.ArrayLike,
    map_start: npt.ArrayLike,
    sigma: npt.ArrayLike,
    *,
    width: int,
    height: int,
    border: str = "cut",
    normalisation: str = "max",
) -> F32:
    """Personal saliency maps: fixations blurred with a Gaussian, each repeat scaled, the mean over repeats.

    ``PSM(y, x) = 1/R · Σ_r M_r(y, x) / s(M_r)`` with ``M_r = Σ_k w_k · Gσ(y − y_k) · Gσ(x − x_k)`` integrated over
    each cell, and ``s`` the maximum or the sum of a repeat's map. Repeats without any fixation do not count.

    Parameters
    ----------
    u, v
        Fixation positions in cells, shape ``(n_fixations,)``, sorted by map and repeat.
    weight
        What each fixation weighs, shape ``(n_fixations,)``: 1, or its duration.
    repeat_start
        Index of each repeat's first fixation and, last, n_fixations; shape ``(n_repeats + 1,)``.
    map_start
        Index of each map's first repeat and, last, n_repeats; shape ``(n_maps + 1,)``.
    sigma
        Standard deviation along u and v in cells, shape ``(n_maps, 2)`` or ``(2,)``.
    width, height
        Size of the grid.
    border
        ``"cut"``: the part of a Gaussian that falls off the image is lost; ``"reflect"``: mirrored back;
        ``"renormalise"``: what is left is scaled up.
    normalisation
        ``"max"`` or ``"sum"``: scale of each repeat's map.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_maps, height, width)``, float32, not negative; all zero where a map has no fixation.

    Raises
    ------
    ValueError
        If an option is unknown or a position is not finite.
    """
    if border not in BORDERS:
        msg = f"border is {border!r}; expected one of {', '.join(BORDERS)}"
        raise ValueError(msg)
    if normalisation not in NORMALISATIONS:
        msg = f"normalisation is {normalisation!r}; expected one of {', '.join(NORMALISATIONS)}"
        raise ValueError(msg)
    us, vs, ws = (np.ascontiguousarray(a, np.float64) for a in (u, v, weight))
    if not (np.isfinite(us).all() and np.isfinite(vs).all() and np.isfinite(ws).all()):
        msg = "fixation positions and weights must be finite numbers"
        raise ValueError(msg)
    repeats, maps = np.asarray(repeat_start, np.int64), np.asarray(map_start, np.int64)
    sigmas = np.broadcast_to(np.asarray(sigma, np.float64), (maps.size - 1, 2))
    out = np.empty((maps.size - 1, height, width), np.float32)
    _personal_maps(
        us,
        vs,
        ws,
        np.ascontiguousarray(sigmas[:, 0]),
        np.ascontiguousarray(sigmas[:, 1]),
        repeats,
        maps,
        BORDERS.index(border),
        normalisation == "max",
        _TABLE,
        out,
    )
    return out


def leave_one_out(usm: npt.ArrayLike, psm: npt.ArrayLike, n_users: npt.ArrayLike) -> F32:
    """Universal map of everybody else: ``(n · USM − PSM) / (n − 1)``.

    Parameters
    ----------
    usm, psm
        Mean over all n users, and the map of one of them; shape ``(…, H, W)``.
    n_users
        n, shape ``(…,)``; where it is 1 there is nobody else and the result is NaN.
    """
    n = np.asarray(n_users, np.float32)[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        others = (n * np.asarray(usm, np.float32) - np.asarray(psm, np.float32)) / (n - 1)
    # Float rounding may leave −1e-8 where nobody else looked.
    return np.where(n > 1, np.maximum(others, 0), np.nan).astype(np.float32)
