"""Compiled loops for velocities by differentiating filters, and for runs of samples on one side of a threshold.

With the gaze vector ``p = ((x − ox)·sx, (y − oy)·sy, 1)``, in units of the viewing distance, and its rate of change
``ṗ = (ẋ·sx, ẏ·sy, 0)``, the angular speed at the eye is ``|p × ṗ| / |p|²``. Nothing is approximated there: the filters
estimate ẋ and ẏ on the screen, and this is the exact derivative of the direction.

A missing sample is NaN and takes part in every window it lies in, be it with weight 0, so that windows with one have no
velocity. (The loops are compiled without the `nnan` flag.)
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gazepipe._gaze_kernel import BLOCK, OPTIONS


@njit(**OPTIONS)
def _angular(x, y, rate_x, rate_y, geometry):  # type: ignore[no-untyped-def]
    """Angular speed in deg/s from a position in px and its rate of change in px/ms; NaN unless finite."""
    ox, oy, sx, sy, one = geometry
    px, py = (x - ox) * sx, (y - oy) * sy
    ux, uy = rate_x * sx, rate_y * sy
    turn = px * uy - py * ux
    speed = np.sqrt(ux * ux + uy * uy + turn * turn) / (px * px + py * py + one)
    return np.degrees(speed) * 1000.0 if speed < np.inf else np.nan


@njit(**OPTIONS)
def five_point(time, x, y, stretches, geometry, out):  # type: ignore[no-untyped-def]
    """Two samples ahead against two behind; `out` keeps its NaN where there is no window."""
    for s in range(stretches.shape[0]):
        for i in range(stretches[s, 0] + 2, stretches[s, 1] - 2):
            span = time[i + 2] + time[i + 1] - time[i - 1] - time[i - 2]
            rate_x = (x[i + 2] + x[i + 1] - x[i - 1] - x[i - 2]) / span
            rate_y = (y[i + 2] + y[i + 1] - y[i - 1] - y[i - 2]) / span
            out[i] = _angular(x[i], y[i], rate_x, rate_y, geometry)


@njit(**OPTIONS)
def _solve_slope(normal, order, solution):  # type: ignore[no-untyped-def]
    """Solve ``normal · solution = (0, 1, 0 …)`` by Cholesky, in place; the matrix is positive definite."""
    k = order + 1
    for j in range(k):
        for i in range(j, k):
            total = normal[i, j]
            for m in range(j):
                total -= normal[i, m] * normal[j, m]
            normal[i, j] = np.sqrt(total) if i == j else total / normal[j, j]
    for i in range(k):
        total = 1.0 if i == 1 else 0.0
        for m in range(i):
            total -= normal[i, m] * solution[m]
        solution[i] = total / normal[i, i]
    for i in range(k - 1, -1, -1):
        total = solution[i]
        for m in range(i + 1, k):
            total -= normal[m, i] * solution[m]
        solution[i] = total / normal[i, i]


@njit(**OPTIONS)
def slope_weights(offset, order, weights):  # type: ignore[no-untyped-def]
    """Fill `weights` with what each value of a window counts in the slope at 0 of the polynomial fitted to it.

    `offset` are the times of the samples, from the middle one; the fit is by least squares. At even steps these are
    the coefficients of Savitzky and Golay.
    """
    unit = max(-offset[0], offset[-1])  # scaled to ±1, or the powers would lose all digits
    normal, solution = np.zeros((order + 1, order + 1)), np.empty(order + 1)
    power = np.empty(2 * order + 1)
    power[:] = 0.0
    for t in offset:
        value = 1.0
        for k in range(2 * order + 1):
            power[k] += value
            value *= t / unit
    for i in range(order + 1):
        for j in range(order + 1):
            normal[i, j] = power[i + j]
    _solve_slope(normal, order, solution)
    for n in range(offset.shape[0]):
        value, total = 1.0, 0.0
        for k in range(order + 1):
            total += solution[k] * value
            value *= offset[n] / unit
        weights[n] = total / unit


@njit(inline="never", **OPTIONS)
def _even_slopes(values, b, m, weights, out):  # type: ignore[no-untyped-def]
    """Slopes of `m` samples from `b` on; `weights` are those after the middle, the ones before are their opposites."""
    out[:m] = 0.0
    for k in range(weights.shape[0]):
        later, earlier, weight = values[b + k + 1 : b + k + 1 + m], values[b - k - 1 : b - k - 1 + m], weights[k]
        for i in range(m):
            out[i] += weight * (later[i] - earlier[i])


@njit(**OPTIONS)
def savitzky_golay(time, x, y, stretches, even, step_ms, order, geometry, out):  # type: ignore[no-untyped-def]
    """Slope of a polynomial fitted to each window; in uneven stretches every window has weights of its own.

    `stretches` has the shape ``(n, 4)``: first sample, end, and twice the samples on each side of the middle.
    """
    rate_x, rate_y = np.empty(BLOCK), np.empty(BLOCK)
    for s in range(stretches.shape[0]):
        first, end, half, _ = stretches[s]
        weights = np.empty(2 * half + 1)
        if even[s]:
            slope_weights(np.arange(-half, half + 1) * step_ms[s], order, weights)
            for b in range(first + half, end - half, BLOCK):
                m = min(BLOCK, end - half - b)
                _even_slopes(x, b, m, weights[half + 1 :], rate_x)
                _even_slopes(y, b, m, weights[half + 1 :], rate_y)
                for i in range(m):
                    out[b + i] = _angular(x[b + i], y[b + i], rate_x[i], rate_y[i], geometry)
            continue
        for i in range(first + half, end - half):
            slope_weights(time[i - half : i + half + 1] - time[i], order, weights)
            sum_x = sum_y = 0.0
            for k in range(2 * half + 1):
                # differences from the middle: the weights add up to zero, but not to the last digit
                sum_x += weights[k] * (x[i - half + k] - x[i])
                sum_y += weights[k] * (y[i - half + k] - y[i])
            out[i] = _angular(x[i], y[i], sum_x, sum_y, geometry)


@njit(**OPTIONS)
def runs_below(velocity, stretches, threshold, sample):  # type: ignore[no-untyped-def]
    """Fill `sample` with first sample, end and stretch of each run below the threshold; return their number."""
    n = 0
    for s in range(stretches.shape[0]):
        on = -1
        for i in range(stretches[s, 0], stretches[s, 1]):
            slow = velocity[i] < threshold
            if slow and on < 0:
                on = i
            elif not slow and on >= 0:
                sample[n, 0], sample[n, 1], sample[n, 2] = on, i, s
                n, on = n + 1, -1
        if on >= 0:
            sample[n, 0], sample[n, 1], sample[n, 2] = on, stretches[s, 1], s
            n += 1
    return n


@njit(**OPTIONS)
def runs_above(velocity, broken, stretches, threshold, sample, value):  # type: ignore[no-untyped-def]
    """Find the runs at or above the threshold that have a sample below it on either side.

    Runs that touch a sample without velocity, the end of a stretch, or a sample that is `broken`, are left out.
    `sample` receives the first sample and the end, `value` the largest and the mean velocity; the number is returned.
    """
    n = 0
    for s in range(stretches.shape[0]):
        on, whole, peak, total = -1, False, 0.0, 0.0
        for i in range(stretches[s, 0], stretches[s, 1]):
            v = velocity[i]
            if v >= threshold:
                if on < 0:
                    # the sample before must be there, and slow
                    whole = i > stretches[s, 0] and velocity[i - 1] < threshold and not broken[i - 1]
                    on, peak, total = i, v, 0.0
                whole = whole and not broken[i]
                peak, total = max(peak, v), total + v
            elif on >= 0:
                if whole and v < threshold and not broken[i]:
                    sample[n, 0], sample[n, 1] = on, i
                    value[n, 0], value[n, 1] = peak, total / (i - on)
                    n += 1
                on = -1
    return n
