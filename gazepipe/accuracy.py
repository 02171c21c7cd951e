"""Accuracy and precision of gaze at known targets, with the definitions of ETDQualitizer.

Directions are Fick angles: azimuth ``atan(x / d)``, right positive, and elevation ``atan(y / √(x² + d²))``, up
positive.

*Accuracy* is the angle between the target and the mean direction of gaze (the sum of the unit vectors), or their median
(the direction whose angles to all samples have the smallest sum); its parts along x and y are azimuth and elevation of
that direction seen from the target's. *RMS-S2S* is the root mean square of ``√(Δazimuth² + Δelevation²)`` between
successive samples; *STD* is ``√(σ²_azimuth + σ²_elevation)`` with the number of samples as divisor; *BCEA* is the area
of the ellipse that holds 68 % of bivariate normal gaze, ``2 k π σ_a σ_e √(1 − ρ²)`` with ``k = ln(1 / (1 − 0.68))`` and
n − 1 as divisor. *Data loss* is the share of samples without gaze and the *effective rate* the number of samples with
gaze over the time from the first sample to the last one plus the median step.

References
----------
Niehorster, D. C., Nyström, M., Hessels, R. S., Benjamins, J. S., Andersson, R. & Hooge, I. T. C. (2026). The
fundamentals of eye tracking part 7: Data quality.
Crossland, M. D. & Rubin, G. S. (2002). The use of an infrared eyetracker to measure fixation stability. Optometry and
Vision Science, 79, 735-739.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from gazepipe.geometry import Screen

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BCEA_FACTOR", "accuracy_precision", "fick_deg"]

F64 = npt.NDArray[np.float64]

#: BCEA over ``σ_a σ_e √(1 − ρ²)``, for 68 %.
BCEA_FACTOR = 2 * math.pi * math.log(1 / (1 - 0.68))


def fick_deg(screen: Screen, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> tuple[F64, F64]:
    """Azimuth (right positive) and elevation (up positive) in degrees of points on the screen."""
    x, y, d = np.moveaxis(screen.direction(x_px, y_px), -1, 0)
    return np.degrees(np.arctan2(x, d)), np.degrees(np.arctan2(-y, np.hypot(x, d)))


def accuracy_precision(
    time_ms: npt.ArrayLike,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    target: npt.ArrayLike,
    target_x_px: npt.ArrayLike,
    target_y_px: npt.ArrayLike,
    screen: Screen,
    centre: Literal["mean", "median"] = "mean",
) -> pd.DataFrame:
    """Measure how well and how steadily gaze meets the targets somebody was told to look at.

    Parameters
    ----------
    time_ms
        Sample times, shape ``(n_samples,)``.
    x_px, y_px
        Gaze of one eye in screen pixels from the top-left corner, shape ``(n_samples,)``; NaN where it is missing
        (samples must not be left out, or RMS-S2S is wrong).
    target
        Number of the target looked at, shape ``(n_samples,)``; negative: none, the sample does not count.
    target_x_px, target_y_px
        Where the target is, shape ``(n_samples,)``; the first value of each target counts.
    screen
        Screen and viewing distance.
    centre
        Central direction that is compared with the target.

    Returns
    -------
    pandas.DataFrame
        One row a target, in order of its number: ``target, accuracy_deg, accuracy_x_deg`` (right positive),
        ``accuracy_y_deg`` (up positive), ``rms_s2s_deg, std_deg, bcea_deg2, data_loss`` (0 … 1),
        ``effective_rate_hz`` and ``samples``. NaN where there is nothing to take it from.
    """
    import pandas as pd

    time, number = np.asarray(time_ms, np.float64), np.asarray(target)
    azimuth, elevation = fick_deg(screen, x_px, y_px)
    place = fick_deg(screen, target_x_px, target_y_px)
    rows = []
    for name in np.unique(number[number >= 0]).tolist():
        at = np.flatnonzero(number == name)
        a, e = azimuth[at], elevation[at]
        offset = _offset(a, e, float(place[0][at[0]]), float(place[1][at[0]]), centre)
        there = ~(np.isnan(a) | np.isnan(e))
        length = float(time[at[-1]] - time[at[0]] + np.median(np.diff(time[at]))) if at.size > 1 else math.nan
        rows.append(
            {
                "target": name,
                **dict(zip(("accuracy_deg", "accuracy_x_deg", "accuracy_y_deg"), offset, strict=True)),
                "rms_s2s_deg": _rms(np.hypot(np.diff(a), np.diff(e))),
                "std_deg": _rms(np.hypot(a[there] - _mean(a[there]), e[there] - _mean(e[there]))),
                "bcea_deg2": _bcea(a[there], e[there]),
                "data_loss": 1 - np.count_nonzero(there) / at.size,
                "effective_rate_hz": 1000 * np.count_nonzero(there) / length,
                "samples": at.size,
            }
        )
    return pd.DataFrame(rows)


def _mean(values: F64) -> float:
    return float(values.mean()) if values.size else math.nan


def _rms(values: F64) -> float:
    return math.sqrt(_mean(values[~np.isnan(values)] ** 2))


def _bcea(azimuth: F64, elevation: F64) -> float:
    if azimuth.size < 3:
        return math.nan
    return BCEA_FACTOR * math.sqrt(max(float(np.linalg.det(np.cov(azimuth, elevation))), 0.0))


def _vectors(azimuth: npt.ArrayLike, elevation: npt.ArrayLike) -> F64:
    a, e = np.radians(azimuth), np.radians(elevation)
    vectors: F64 = np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], axis=-1)
    return vectors


def _offset(azimuth: F64, elevation: F64, target_a: float, target_e: float, centre: str) -> tuple[float, float, float]:
    """Angle between gaze and target, and its azimuth and elevation in a frame that looks at the target; degrees."""
    gaze = _vectors(azimuth, elevation)
    gaze = gaze[~np.isnan(gaze).any(axis=1)]
    if not len(gaze):
        return math.nan, math.nan, math.nan
    middle = gaze.mean(axis=0)
    if centre == "median":
        middle = _median_direction(gaze)
    a, e = math.radians(target_a), math.radians(target_e)
    ahead = _vectors(target_a, target_e)
    right = np.array([math.cos(a), 0.0, -math.sin(a)])
    up = np.array([-math.sin(e) * math.sin(a), math.cos(e), -math.sin(e) * math.cos(a)])
    x, y, z = float(middle @ right), float(middle @ up), float(middle @ ahead)
    angles = math.atan2(math.hypot(x, y), z), math.atan2(x, z), math.atan2(y, math.hypot(x, z))
    return math.degrees(angles[0]), math.degrees(angles[1]), math.degrees(angles[2])


def _median_direction(vectors: F64) -> F64:
    """Direction with the smallest sum of angles to all (Weiszfeld's iteration, on the sphere)."""
    mean = vectors.mean(axis=0)
    middle: F64 = mean / np.linalg.norm(mean)
    for _ in range(1000):
        along = vectors @ middle
        across = vectors - along[:, None] * middle
        sine = np.linalg.norm(across, axis=1)
        weight = 1 / np.maximum(np.arctan2(sine, along), 1e-12)
        tangent = across / np.maximum(sine, 1e-300)[:, None]  # unit vectors towards each sample
        # The step of Weiszfeld: the mean of all directions in the tangent plane, each weighted by 1 / angle.
        step = (tangent * (sine > 0)[:, None]).sum(axis=0) / weight.sum()
        length = float(np.linalg.norm(step))
        if length < 1e-13:
            break
        middle = math.cos(length) * middle + math.sin(length) * step / length
    return middle
