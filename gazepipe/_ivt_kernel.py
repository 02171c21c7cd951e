"""Compiled loops of the velocity-threshold classifier.

How it is fast, in the order of what it is worth:

* A block of samples is classified into a mask of bytes by a loop without branches, which the compiler turns into
  vector instructions; the mask is then searched eight bytes at a time.
* No trigonometry for a sample. With gaze vectors *a* and *b* of the first and last sample of a window, the angle
  between them is below θ (< 90°) where ``|a × b|² < tan²θ · (a · b) · |a · b|``; the absolute value makes angles above
  90° fail. This is the exact three-dimensional visual angle.
* *b* is written as *a + u* and the products expanded, so that float32 loses nothing by cancellation.

NaN makes the comparison false, so a window with a missing end is never slow. A gap strictly inside a window is not
seen by that comparison; see `_close`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gazepipe._gaze_kernel import BLOCK, OPTIONS, seek

#: tan² of the angle up to which `_series` is used (its relative error there is below 1e-8).
NEAR = 0.01


@njit(inline="never", **OPTIONS)
def steps_outside(time, low, high):  # type: ignore[no-untyped-def]
    """Count the time steps that are not within ``[low, high]``."""
    earlier, later = time[:-1], time[1:]
    count = 0
    for i in range(earlier.shape[0]):
        step = later[i] - earlier[i]
        count += not ((step >= low) & (step <= high))
    return count


@njit(**OPTIONS)
def _cross_dot(x0, y0, x1, y1, geometry):  # type: ignore[no-untyped-def]
    """Return ``|a × b|²`` and ``a · b`` of the gaze vectors of two points; unit of length: the viewing distance."""
    ox, oy, sx, sy, one = geometry
    ax, ay = (x0 - ox) * sx, (y0 - oy) * sy
    ux, uy = (x1 - x0) * sx, (y1 - y0) * sy
    turn = ax * uy - ay * ux
    return ux * ux + uy * uy + turn * turn, ax * (ax + ux) + ay * (ay + uy) + one


@njit(inline="never", **OPTIONS)
def _slow_even(x, y, m, reach, geometry, limit, mask):  # type: ignore[no-untyped-def]
    """Set `mask` where gaze moves less than `limit` (tan² of an angle) from sample i to sample ``i + reach``."""
    x0, x1, y0, y1 = x[:m], x[reach : reach + m], y[:m], y[reach : reach + m]
    for i in range(m):
        cross, dot = _cross_dot(x0[i], y0[i], x1[i], y1[i], geometry)
        mask[i] = np.uint8(cross < limit * dot * abs(dot))


@njit(inline="never", **OPTIONS)
def slow_windows(time, x, y, m, reach, geometry, rad_per_ms, mask):  # type: ignore[no-untyped-def]
    """Set `mask` as `_slow_even` does, each window with its own time difference."""
    span, limit = -1.0, x.dtype.type(0)
    for i in range(m):
        if time[i + reach] - time[i] != span:  # trackers with whole-millisecond clocks have only a few spans
            span = time[i + reach] - time[i]
            angle = rad_per_ms * span
            limit = x.dtype.type(np.tan(angle) ** 2 if angle < np.pi / 2 else np.inf)
        cross, dot = _cross_dot(x[i], y[i], x[i + reach], y[i + reach], geometry)
        mask[i] = np.uint8(cross < limit * dot * abs(dot))


@njit(**OPTIONS)
def _middle_time(time, left, right, first, end, half_ms):  # type: ignore[no-untyped-def]
    """Time half-way between neighbouring samples; half a typical step off where there is no near neighbour."""
    if right >= end:
        return time[left] + half_ms
    if left < first:
        return time[right] - half_ms
    return (time[left] + time[right]) / 2


@njit(inline="never", **OPTIONS)
def _mean(values):  # type: ignore[no-untyped-def]
    """Mean; summed from the first value on, which keeps float32 exact enough."""
    origin = values[0]
    total = origin * 0
    for i in range(values.shape[0]):
        total += values[i] - origin
    return np.float64(origin) + np.float64(total) / values.shape[0]


@njit(**OPTIONS)
def _has_missing(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):  # noqa: SIM110 (compiled)
        if not (x[i] == x[i] and y[i] == y[i]):
            return True
    return False


@njit(**OPTIONS)
def _close(x, y, on, off, before, after, s, sample, n):  # type: ignore[no-untyped-def]
    """Store the run of samples ``[on, off)`` as number `n` and return how many are stored now.

    A missing sample j takes the velocity from the samples ``j − after … j + before``. The mask is 0 at both ends of
    that range, because there a window's own end is missing; between them a run may have been found, shorter than
    the window. So only such short runs must be searched for a missing sample, and fall as a whole if there is one.
    """
    if off - on < before + after and _has_missing(x[on - before : off + after], y[on - before : off + after]):
        return n
    sample[n, 0], sample[n, 1], sample[n, 2] = on, off, s
    return n + 1


@njit(**OPTIONS)
def slow_runs(time, x, y, stretches, limits, rad_per_ms, geometry, sample):  # type: ignore[no-untyped-def]
    """Find the runs of samples whose velocity is below the threshold.

    Parameters
    ----------
    time, x, y
        Samples.
    stretches
        Shape ``(n, 4)``: first sample, end, samples of the window before and after its middle.
    limits
        tan² of the angle at the threshold, one for each stretch; negative where the time steps are uneven.
    rad_per_ms
        The threshold.
    geometry
        Screen centre in px (2), size of a pixel over the viewing distance (2), and 1; of the samples' type.
    sample
        Filled with first sample, end and stretch of each run.

    Returns
    -------
    int
        Number of runs.
    """
    mask = np.zeros(BLOCK, np.uint8)
    words = mask.view(np.uint64)
    n = 0
    for s in range(stretches.shape[0]):
        first, end, before, after = stretches[s]
        limit = x.dtype.type(limits[s])
        b, stop, on = first + before, end - after, -1
        while b < stop:
            m = min(BLOCK, stop - b)
            a = b - before
            if limits[s] >= 0:
                _slow_even(x[a:end], y[a:end], m, before + after, geometry, limit, mask)
            else:
                slow_windows(time[a:end], x[a:end], y[a:end], m, before + after, geometry, rad_per_ms, mask)
            i = 0
            while True:
                i = seek(mask, words, i, m, 1 if on < 0 else 0)
                if i == m:
                    break
                if on < 0:
                    on = b + i
                else:
                    n = _close(x, y, on, b + i, before, after, s, sample, n)
                    on = -1
            b += m
        if on >= 0:
            n = _close(x, y, on, stop, before, after, s, sample, n)
    return n


@njit(**OPTIONS)
def measure(time, x, y, stretches, step_ms, sample, value):  # type: ignore[no-untyped-def]
    """Fill `value` with onset, offset (ms) and mean x, y (px) of each run.

    Loops of their own, because the processor then works on several runs at once; inside `slow_runs` each would wait
    for its sample times to come from memory.
    """
    for r in range(sample.shape[0]):
        on, off, s = sample[r]
        first, end, half_ms = stretches[s, 0], stretches[s, 1], step_ms[s] / 2
        value[r, 0] = _middle_time(time, on - 1, on, first, end, half_ms)
        value[r, 1] = _middle_time(time, off - 1, off, first, end, half_ms)
    for r in range(sample.shape[0]):
        on, off = sample[r, 0], sample[r, 1]
        value[r, 2] = _mean(x[on:off])
        value[r, 3] = _mean(y[on:off])


@njit(**OPTIONS)
def join(sample, value, barriers, max_gap_ms, max_tan2, min_ms, geometry, events):  # type: ignore[no-untyped-def]
    """Merge neighbouring runs, then drop short events.

    `barriers` are sample indices that no merge may cross (sorted). `events` receives the first and the last run of
    each event; the number of events is returned. A merge needs a gap below `max_gap_ms` and an angle between the
    centroids whose tan² is at most `max_tan2`.
    """
    n, k, r = 0, 0, 0
    while r < sample.shape[0]:
        first = r
        weight = np.float64(sample[r, 1] - sample[r, 0])
        cx, cy = value[r, 2], value[r, 3]
        while r + 1 < sample.shape[0]:
            while k < barriers.shape[0] and barriers[k] < sample[r, 1]:
                k += 1
            if k < barriers.shape[0] and barriers[k] <= sample[r + 1, 0]:
                break
            if not value[r + 1, 0] - value[r, 1] < max_gap_ms:
                break
            cross, dot = _cross_dot(cx, cy, value[r + 1, 2], value[r + 1, 3], geometry)
            if not cross <= max_tan2 * dot * abs(dot):
                break
            r += 1
            more = np.float64(sample[r, 1] - sample[r, 0])
            weight += more
            cx += (value[r, 2] - cx) * more / weight
            cy += (value[r, 3] - cy) * more / weight
        if value[r, 1] - value[first, 0] >= min_ms:
            events[n, 0], events[n, 1] = first, r
            n += 1
        r += 1
    return n


@njit(**OPTIONS)
def _series(t, c):  # type: ignore[no-untyped-def]
    """``arctan²(√t)`` for small t, with the coefficients of `_coefficients`."""
    return t * (c[0] - t * (c[1] - t * (c[2] - t * c[3])))


@njit(**OPTIONS)
def _coefficients(x):  # type: ignore[no-untyped-def]
    """Coefficients of the series of ``arctan²(√t)``, and `NEAR`, of the samples' type: float32 must stay float32."""
    real = x.dtype.type
    return real(1), real(2 / 3), real(23 / 45), real(44 / 105), real(NEAR)


@njit(inline="never", **OPTIONS)
def _scatter(x, y, cx, cy, geometry):  # type: ignore[no-untyped-def]
    """Sum squared angles (rad²): between successive samples, and between the samples and the point cx, cy."""
    c = _coefficients(x)
    x0, x1, y0, y1 = x[:-1], x[1:], y[:-1], y[1:]
    cross, dot = _cross_dot(cx, cy, x[0], y[0], geometry)
    steps, spread, far = x.dtype.type(0), _series(cross / (dot * dot), c), 0
    for i in range(x1.shape[0]):
        cross, dot = _cross_dot(x0[i], y0[i], x1[i], y1[i], geometry)
        steps += _series(cross / (dot * dot), c)
        far += not (cross < c[4] * dot * abs(dot))
        cross, dot = _cross_dot(cx, cy, x1[i], y1[i], geometry)
        spread += _series(cross / (dot * dot), c)
        far += not (cross < c[4] * dot * abs(dot))
    if far == 0:
        return np.float64(steps), np.float64(spread)
    wide_steps = wide_spread = 0.0
    for i in range(x.shape[0]):
        cross, dot = _cross_dot(cx, cy, x[i], y[i], geometry)
        wide_spread += np.arctan2(np.sqrt(np.float64(cross)), np.float64(dot)) ** 2
        if i > 0:
            cross, dot = _cross_dot(x[i - 1], y[i - 1], x[i], y[i], geometry)
            wide_steps += np.arctan2(np.sqrt(np.float64(cross)), np.float64(dot)) ** 2
    return wide_steps, wide_spread


@njit(**OPTIONS)
def describe(x, y, sample, value, events, span, geometry, out, n_samples):  # type: ignore[no-untyped-def]
    """Centroid, RMS of the sample-to-sample angle and RMS of the angle to the centroid, of each event.

    Only samples of the event's runs count: not what lies between two merged runs. `span` is each event's first sample
    and end; `out` is filled with x, y (px) and the two angles (deg), `n_samples` with the number of samples.
    """
    for e in range(events.shape[0]):
        n, parts, cx, cy = 0, 0, 0.0, 0.0
        for r in range(events[e, 0], events[e, 1] + 1):
            a, b = max(sample[r, 0], span[e, 0]), min(sample[r, 1], span[e, 1])
            if b <= a:
                continue
            mean_x, mean_y = value[r, 2], value[r, 3]
            if b - a < sample[r, 1] - sample[r, 0]:
                mean_x, mean_y = _mean(x[a:b]), _mean(y[a:b])
            n, parts = n + b - a, parts + 1
            cx += (mean_x - cx) * (b - a) / n
            cy += (mean_y - cy) * (b - a) / n
        steps = spread = 0.0
        for r in range(events[e, 0], events[e, 1] + 1):
            a, b = max(sample[r, 0], span[e, 0]), min(sample[r, 1], span[e, 1])
            if b > a:
                more = _scatter(x[a:b], y[a:b], x.dtype.type(cx), y.dtype.type(cy), geometry)
                steps, spread = steps + more[0], spread + more[1]
        n_samples[e] = n
        out[e, 0], out[e, 1] = cx, cy
        out[e, 2] = np.degrees(np.sqrt(steps / (n - parts))) if n > parts else np.nan
        out[e, 3] = np.degrees(np.sqrt(spread / n))
