"""Compiled loops that make one gaze signal out of the eyes' samples: fill, average, smooth, and exact velocity.

Plain arrays in, plain arrays out. Everything is compiled without the `nnan` flag: a comparison with NaN is false,
and that is how missing samples take part in these loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Samples worked on at a time: their masks and values stay in the first-level cache.
BLOCK = 2048

#: Let the compiler reorder sums, but never let it assume that there is no NaN.
OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}

ALL_SET = np.uint64(0x0101010101010101)


@njit(**OPTIONS)
def seek(mask, words, i, m, value):  # type: ignore[no-untyped-def]
    """Find the first index of ``[i, m)`` where the 0/1 `mask` is `value`, else `m`; `words` is the mask as uint64."""
    while i < m and i & 7:
        if mask[i] == value:
            return i
        i += 1
    boring = np.uint64(0) if value else ALL_SET
    while i + 8 <= m and words[i >> 3] == boring:
        i += 8
    while i < m and mask[i] != value:
        i += 1
    return i


@njit(inline="never", **OPTIONS)
def _copy_block(x, y, out_x, out_y, mask):  # type: ignore[no-untyped-def]
    """Copy samples; where one coordinate is missing (or infinite) both become NaN and `mask` 1."""
    for i in range(x.shape[0]):
        there = (abs(x[i]) < np.inf) & (abs(y[i]) < np.inf)
        out_x[i] = x[i] if there else np.nan
        out_y[i] = y[i] if there else np.nan
        mask[i] = np.uint8(not there)


@njit(**OPTIONS)
def _bridge(time, values, first, end):  # type: ignore[no-untyped-def]
    """Write the straight line from sample `first − 1` to sample `end` into the samples between."""
    t0, v0 = time[first - 1], np.float64(values[first - 1])
    slope = (np.float64(values[end]) - v0) / (time[end] - t0)
    for j in range(first, end):
        values[j] = v0 + slope * (time[j] - t0)


@njit(**OPTIONS)
def fill(time, x, y, edges, limit_ms, out_x, out_y, missing):  # type: ignore[no-untyped-def]
    """Copy one eye's gaze and bridge its short gaps.

    `edges` are the block starts and, last, the number of samples. A gap is as long as the time between the last
    sample before and the first sample after it; gaps of `limit_ms` and more stay. Returns the number of samples filled.
    """
    mask = np.zeros(BLOCK, np.uint8)
    words = mask.view(np.uint64)
    filled = 0
    for block in range(edges.shape[0] - 1):
        start, stop = edges[block], edges[block + 1]
        gap, b = -1, start
        while b < stop:
            m = min(BLOCK, stop - b)
            _copy_block(x[b : b + m], y[b : b + m], out_x[b : b + m], out_y[b : b + m], mask)
            missing[b : b + m] = mask[:m]
            i = 0
            while i < m:
                i = seek(mask, words, i, m, 1 if gap < 0 else 0)
                if i == m:
                    break
                if gap < 0:
                    gap = b + i
                    continue
                end = b + i
                if gap > start and time[end] - time[gap - 1] < limit_ms:
                    _bridge(time, out_x, gap, end)
                    _bridge(time, out_y, gap, end)
                    filled += end - gap
                gap = -1
            b += m
    return filled


@njit(**OPTIONS)
def average(left_x, left_y, right_x, right_y, strict, out_x, out_y):  # type: ignore[no-untyped-def]
    """Mean of both eyes; where only one is there, that one, or NaN if `strict`."""
    half = left_x.dtype.type(0.5)
    for i in range(left_x.shape[0]):
        left, right = left_x[i] == left_x[i], right_x[i] == right_x[i]
        if left and right:
            out_x[i], out_y[i] = (left_x[i] + right_x[i]) * half, (left_y[i] + right_y[i]) * half
        elif left and not strict:
            out_x[i], out_y[i] = left_x[i], left_y[i]
        elif right and not strict:
            out_x[i], out_y[i] = right_x[i], right_y[i]
        else:
            out_x[i] = out_y[i] = np.nan


@njit(**OPTIONS)
def _middle(values, buffer):  # type: ignore[no-untyped-def]
    """Median of an odd number of values (insertion sort: windows are short)."""
    n = values.shape[0]
    for i in range(n):
        j = i
        while j > 0 and buffer[j - 1] > values[i]:
            buffer[j] = buffer[j - 1]
            j -= 1
        buffer[j] = values[i]
    return buffer[n // 2]


@njit(**OPTIONS)
def smooth(values, start, end, half, median, out):  # type: ignore[no-untyped-def]
    """Take the moving average or median of ``2·half + 1`` samples inside each stretch ``[start, end)``.

    Where a missing sample or the stretch's end is nearer than `half`, the window shrinks on both sides alike.
    """
    buffer = np.empty(2 * half + 1, np.float64)
    out[:] = values
    for s in range(start.shape[0]):
        first = start[s]
        while first < end[s]:
            last = first  # one past the valid samples that begin at `first`
            while last < end[s] and values[last] == values[last]:
                last += 1
            for i in range(first, last):
                reach = min(half, i - first, last - 1 - i)
                window = values[i - reach : i + reach + 1]
                if median:
                    out[i] = _middle(window, buffer)
                else:
                    total = 0.0
                    for v in window:
                        total += v
                    out[i] = total / window.shape[0]
            first = last + 1


@njit(**OPTIONS)
def velocity(time, x, y, start, end, before, after, geometry, out):  # type: ignore[no-untyped-def]
    """Exact angular speed in deg/s over each sample's window; `out` keeps its NaN where there is none."""
    ox, oy, sx, sy, one = geometry
    for s in range(start.shape[0]):
        valid = 0  # samples in a row that are there, up to the window's last one
        for last in range(start[s], end[s]):
            valid = valid + 1 if x[last] == x[last] and y[last] == y[last] else 0
            if valid <= before[s] + after[s]:
                continue
            first = last - before[s] - after[s]
            ax, ay = (x[first] - ox) * sx, (y[first] - oy) * sy
            bx, by = (x[last] - ox) * sx, (y[last] - oy) * sy
            ux, uy = bx - ax, by - ay
            turn = ax * uy - ay * ux
            cross = np.sqrt(ux * ux + uy * uy + turn * turn)
            angle = np.arctan2(cross, ax * bx + ay * by + one)
            out[last - after[s]] = np.degrees(angle) / (time[last] - time[first]) * 1000.0
