"""How somebody's eyes moved over an image, whatever they looked at: what no saliency map tells.

Nine numbers of each image's fixations, of all repeats together. Jumps lead from one fixation on the image to the next
of the same repeat; their amplitudes are in degrees of visual angle, so that another screen changes nothing:

=====================================  ============================================================================
``duration``, ``duration_spread``      mean and standard deviation of the logarithm of fixations' durations
``amplitude``, ``amplitude_spread``    the same of the logarithm of jumps' amplitudes, none counted below 0.1°
``level``, ``level_spread``            mean and standard deviation of ``|Δx| / amplitude``: 1 along a line of text
``fixations``                          number of fixations in a repeat
``first``                              mean logarithm of the duration of a repeat's first fixation
``rhythm``                             standard deviation of what the logarithm of the duration changes by in a jump
=====================================  ============================================================================

How long somebody's fixations last and how far their eyes jump, mean and standard deviation, is much the same over
tasks and days (Henderson & Luke 2014, J Exp Psychol Hum Percept Perform 40:1390), and an offset of the calibration does
not touch it. Sampling rate, noise and event detection do: they must be the same for all who are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SCANPATH", "VERSION", "scanpath_descriptors"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Raised whenever the numbers change for the same fixations.
VERSION = 1

#: Names of the numbers, in order.
SCANPATH = (
    *("duration", "duration_spread", "amplitude", "amplitude_spread", "level", "level_spread"),
    *("fixations", "first", "rhythm"),
)
#: Two fixations nearer than this are one, cut by a blink or by noise.
_LEAST_JUMP_DEG = 0.1


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
        ``(n_maps, 9)``; NaN where there is nothing to tell a number from.
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
    begun = np.flatnonzero(starts)
    columns = [
        *_mean_and_spread(duration, of, maps),
        *_mean_and_spread(np.log(amplitude), of[on], maps),
        *_mean_and_spread(np.abs(across) / amplitude, of[on], maps),
        np.bincount(of, minlength=maps) / np.bincount(of[begun], minlength=maps),
        _mean_and_spread(duration[begun], of[begun], maps)[0],
        _mean_and_spread(duration[on] - duration[on - 1], of[on], maps)[1],
    ]
    return np.stack(columns, 1).astype(np.float32)


def _mean_and_spread(values: F64, of: I64, maps: int) -> tuple[F64, F64]:
    """Mean and standard deviation of each map's finite values, ``(n_maps,)`` each; NaN where there are none."""
    known = np.isfinite(values)
    values, of = values[known], of[known]
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.bincount(of, minlength=maps)
        mean = np.bincount(of, values, maps) / count
        square = np.bincount(of, (values - mean[of]) ** 2, maps) / count
    return mean, np.sqrt(square)
