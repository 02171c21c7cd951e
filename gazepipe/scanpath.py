"""How somebody's eyes moved over an image, whatever they looked at: what no saliency map tells.

28 numbers of each image's fixations, of all repeats together. Jumps lead from one fixation on the image to the next
of the same repeat; their amplitudes are in degrees of visual angle, so that another screen changes nothing:

=====================================  ============================================================================
``duration``, ``duration_spread``      mean and standard deviation of the logarithm of fixations' durations
``amplitude``, ``amplitude_spread``    the same of the logarithm of jumps' amplitudes, none counted below 0.1°
``level``, ``level_spread``            mean and standard deviation of ``|Δx| / amplitude``: 1 along a line of text
``fixations``                          number of fixations in a repeat
``first``                              mean logarithm of the duration of a repeat's first fixation
``rhythm``                             standard deviation of what the logarithm of the duration changes by in a jump
``right``, ``down``                    means of ``(c, s) = (Δx, Δy) / amplitude``: where jumps lead on the whole
``flat``, ``falling``, ``cardinal``    means of ``c² − s²``, ``2cs`` and ``(c² − s²)² − (2cs)²``: cosine and sine of
                                       twice the direction, cosine of four times it
``onward``, ``clockwise``, ``back``    turns from one jump to the next: mean of their cosine and sine, and the share of
                                       those by more than 150°
``slowing``, ``widening``              slopes of the logarithms of duration and amplitude over the logarithm of the
                                       fixation's number in its repeat
``before``, ``after``                  slopes of the logarithm of the duration before, or after, a jump over that of its
                                       amplitude
``steadiness``                         slope of the logarithm of a duration over that of the one before
``short``, ``long``                    shares of fixations below 150 ms and above 350 ms
``longest``, ``farthest``              greatest logarithms of a duration and of an amplitude
``far``, ``near``                      shares of jumps above 6° and below 1.5°
=====================================  ============================================================================

How long somebody's fixations last and how far their eyes jump, mean and standard deviation, is much the same over
tasks and days (Henderson & Luke 2014, J Exp Psychol Hum Percept Perform 40:1390), and an offset of the calibration does
not touch any of these. Sampling rate, noise and event detection do: they must be the same for all who are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FIRST_SCANPATH", "SCANPATH", "VERSION", "scanpath_descriptors"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Raised whenever the numbers change for the same fixations.
VERSION = 2

#: Names of the numbers, in order. Networks stored before there were more than these know the first nine alone.
FIRST_SCANPATH = (
    *("duration", "duration_spread", "amplitude", "amplitude_spread", "level", "level_spread"),
    *("fixations", "first", "rhythm"),
)
SCANPATH = (
    *FIRST_SCANPATH,
    *("right", "down", "flat", "falling", "cardinal"),
    *("onward", "clockwise", "back"),
    *("slowing", "widening", "before", "after", "steadiness"),
    *("short", "long", "longest", "farthest", "far", "near"),
)
#: Two fixations nearer than this are one, cut by a blink or by noise.
_LEAST_JUMP_DEG = 0.1
#: Cosine of a turn, durations and amplitudes beyond which something is counted.
_BACK, _SHORT_MS, _LONG_MS, _NEAR_DEG, _FAR_DEG = -np.sqrt(3) / 2, 150, 350, 1.5, 6.0
#: Slopes are taken as if each point scattered by the root of this more: three points hardly tell one.
_RIDGE = 1e-3


def scanpath_descriptors(
    u: npt.NDArray[Any], v: npt.NDArray[Any], duration_ms: npt.NDArray[Any], repeat: I64, first: I64, degree: F64
) -> F32:
    """Describe the fixations of some maps.

    Parameters
    ----------
    u, v
        Places of all maps' fixations one after another, in order of time within each repeat, in cells; ``(n,)``.
    duration_ms
        How long each lasted; NaN or 0 where that is not known.
    repeat
        Which repeat of its map each is of; a repeat's fixations follow one another.
    first
        Index of each map's first fixation and, last, n, ``(n_maps + 1,)``. Every map has one at least.
    degree
        Cells in a degree along the width and the height, of each map, ``(n_maps, 2)``.

    Returns
    -------
    numpy.ndarray
        ``(n_maps, 28)``; NaN where there is nothing to tell a number from.
    """
    maps = len(first) - 1
    of = np.repeat(np.arange(maps), np.diff(first))
    with np.errstate(invalid="ignore", divide="ignore"):
        duration = np.log(np.where(np.asarray(duration_ms) > 0, duration_ms, np.nan).astype(np.float64))
    starts = np.append(True, (np.diff(of) != 0) | (np.diff(repeat) != 0))[: len(of)]
    on = np.flatnonzero(~starts)  # fixations that a jump leads to
    across = (np.asarray(u, np.float64)[on] - u[on - 1]) / degree[of[on], 0]
    down = (np.asarray(v, np.float64)[on] - v[on - 1]) / degree[of[on], 1]
    amplitude = np.maximum(np.hypot(across, down), _LEAST_JUMP_DEG)
    far = np.log(amplitude)
    begun = np.flatnonzero(starts)
    number = np.log1p(np.arange(len(of)) - begun[np.cumsum(starts) - 1])  # in the repeat, from log 1 on
    columns = [
        *_mean_and_spread(duration, of, maps),
        *_mean_and_spread(far, of[on], maps),
        *_mean_and_spread(np.abs(across) / amplitude, of[on], maps),
        np.bincount(of, minlength=maps) / np.bincount(of[begun], minlength=maps),
        _mean(duration[begun], of[begun], maps),
        _mean_and_spread(duration[on] - duration[on - 1], of[on], maps)[1],
        *_directions(across / amplitude, down / amplitude, on, of, maps),
        _slope(duration, number, of, maps),
        _slope(far, number[on], of[on], maps),
        _slope(duration[on - 1], far, of[on], maps),
        _slope(duration[on], far, of[on], maps),
        _slope(duration[on], duration[on - 1], of[on], maps),
        _share(duration, duration < np.log(_SHORT_MS), of, maps),
        _share(duration, duration > np.log(_LONG_MS), of, maps),
        _greatest(duration, of, maps),
        _greatest(far, of[on], maps),
        _share(far, amplitude > _FAR_DEG, of[on], maps),
        _share(far, amplitude < _NEAR_DEG, of[on], maps),
    ]
    return np.stack(columns, 1).astype(np.float32)


def _directions(c: F64, s: F64, on: I64, of: I64, maps: int) -> list[F64]:
    """Means over directions ``(c, s)`` of jumps that lead to fixations `on`, and over turns from each to the next."""
    flat, falling = c * c - s * s, 2 * c * s
    next_to = np.flatnonzero(np.diff(on) == 1)  # jumps from whose end another one leads on
    onward = c[next_to] * c[next_to + 1] + s[next_to] * s[next_to + 1]
    clockwise = c[next_to] * s[next_to + 1] - s[next_to] * c[next_to + 1]
    jumps = (c, s, flat, falling, flat * flat - falling * falling)
    turns = (onward, clockwise, (onward < _BACK).astype(np.float64))
    return [*(_mean(x, of[on], maps) for x in jumps), *(_mean(x, of[on[next_to]], maps) for x in turns)]


def _slope(values: F64, over: F64, of: I64, maps: int) -> F64:
    """Slope of each map's values by least squares, ``(n_maps,)``; NaN where fewer than three are known."""
    known = np.isfinite(values) & np.isfinite(over)
    values, over, of = values[known], over[known], of[known]
    count = np.bincount(of, minlength=maps)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = values - (np.bincount(of, values, maps) / count)[of]
        over = over - (np.bincount(of, over, maps) / count)[of]
        slope = np.bincount(of, values * over, maps) / (np.bincount(of, over * over, maps) + _RIDGE * count)
    return np.where(count > 2, slope, np.nan)


def _share(values: F64, those: npt.NDArray[np.bool_], of: I64, maps: int) -> F64:
    """Share of each map's known values that are among `those`, ``(n_maps,)``."""
    return _mean(np.where(np.isfinite(values), those, np.nan), of, maps)


def _greatest(values: F64, of: I64, maps: int) -> F64:
    """Greatest of each map's known values, ``(n_maps,)``; NaN where there are none."""
    known = np.isfinite(values)
    greatest = np.full(maps, -np.inf)
    np.maximum.at(greatest, of[known], values[known])
    return np.where(np.isfinite(greatest), greatest, np.nan)


def _mean(values: F64, of: I64, maps: int) -> F64:
    """Mean of each map's finite values, ``(n_maps,)``; NaN where there are none."""
    known = np.isfinite(values)
    values, of = values[known], of[known]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: F64 = np.bincount(of, values, maps) / np.bincount(of, minlength=maps)
    return mean


def _mean_and_spread(values: F64, of: I64, maps: int) -> tuple[F64, F64]:
    """Likewise, and their standard deviation."""
    mean = _mean(values, of, maps)
    return mean, np.sqrt(_mean((values - mean[of]) ** 2, of, maps))
