"""Angular speed of gaze, by three methods, and the threshold that divides fixations from saccades.

*olsen*
    Angle between the first and the last sample of a window, seen from the eye, over their time difference. The window
    has ``floor(window / dt + 1/2) + 1`` samples, at least 2, dt being the mean of the block's first 100 time steps. An
    odd window is centred on its sample; an even one reaches one sample further back than ahead. The window is as much
    a smoother as it is a derivative: a movement shorter than the window appears longer and slower.
*savgol*
    Slope, at the middle sample, of a polynomial fitted by least squares to the window (Savitzky & Golay, 1964). The
    window has the samples of *olsen*, one more if these are even, and more samples than the degree.
*fivepoint*
    ``(p₂ + p₁ − p₋₁ − p₋₂) / (t₂ + t₁ − t₋₁ − t₋₂)``: 6 dt at even steps (Engbert & Kliegl, 2003; "smooth" in
    pymovements). Always five samples, so that the window's length depends on the rate.

All three give the exact three-dimensional angle at the eye, and all three use the times of the samples as they are.
The last two estimate the rates of change ẋ and ẏ on the screen, of which the speed of the direction follows without
approximation, ``|p × ṗ| / |p|²`` with *p* the vector from the eye to the screen; converting pixels to degrees before
the derivative is taken, as others do, overstates speed away from the screen's centre. In stretches of uneven steps
*savgol* fits each window at its own times. No method has a velocity where the window is not wholly inside a stretch
of valid samples (`gazepipe.gaze`).

The adaptive threshold is ``median(v) + λ · MAD(v)`` of all velocities of a recording, kept between a floor and a cap.
It is Engbert & Kliegl's idea on the speed instead of on its components: of isotropic Gaussian noise of velocity, σ
along each axis, the speed has the median 1.177 σ and the median absolute deviation 0.448 σ, so that λ = 6 stands for
3.87 σ; with theirs, whose spread is 0.674 σ, it is 4.05 σ. Saccades move median and deviation little, as long as they
are a small part of the time.

References
----------
Olsen, A. (2012). The Tobii I-VT Fixation Filter: Algorithm description. Tobii Technology.
Engbert, R. & Kliegl, R. (2003). Microsaccades uncover the orientation of covert attention. Vision Research, 43,
1035-1045.
Savitzky, A. & Golay, M. J. E. (1964). Smoothing and differentiation of data by simplified least squares procedures.
Analytical Chemistry, 36, 1627-1639.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from gazepipe.config import IvtConfig
from gazepipe.gaze import Gaze, Stretch, block_edges, kernel_geometry, stretches
from gazepipe.geometry import Screen
from gazepipe.recording import Recording

__all__ = ["Method", "threshold_deg_s", "threshold_of", "velocity_deg_s", "velocity_of", "velocity_stretches"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Method = Literal["olsen", "savgol", "fivepoint"]

#: With fewer velocities than these a median says little; the threshold is then the fixed one.
ENOUGH = 100


def velocity_stretches(
    time_ms: F64, edges: I64, window_ms: float, max_gap_ms: float, method: Method = "olsen", savgol_order: int = 2
) -> list[Stretch]:
    """Divide the samples as `gazepipe.gaze.stretches` does, with the window that the method has in each stretch."""
    found = stretches(time_ms, edges, window_ms, max_gap_ms)
    if method == "olsen":
        return found
    halves = [2 if method == "fivepoint" else max(s.before, (savgol_order + 1) // 2) for s in found]
    return [replace(s, before=half, after=half) for s, half in zip(found, halves, strict=True)]


def velocity_of(
    time_ms: F64, x_px: npt.ArrayLike, y_px: npt.ArrayLike, screen: Screen, config: IvtConfig, edges: I64
) -> F64:
    """`velocity_deg_s` with the settings of a configuration; `edges` are from `gazepipe.gaze.block_edges`."""
    parts = velocity_stretches(
        time_ms, edges, config.velocity_window_ms, config.max_gap_ms, config.velocity_method, config.savgol_order
    )
    return _velocity(time_ms, x_px, y_px, screen, parts, config.velocity_method, config.savgol_order)


def velocity_deg_s(
    time_ms: npt.ArrayLike,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    screen: Screen,
    window_ms: float = 20.0,
    block_start: npt.ArrayLike | None = None,
    max_gap_ms: float = 75.0,
    method: Method = "olsen",
    savgol_order: int = 2,
) -> F64:
    """Angular speed of gaze at each sample.

    Parameters
    ----------
    time_ms, x_px, y_px
        Shape ``(n_samples,)``; NaN where gaze is missing.
    screen
        Screen and viewing distance.
    window_ms
        Length of the window; without effect on ``"fivepoint"``.
    block_start
        First sample of each block; one block if None.
    max_gap_ms
        Time steps this long are missing lines (see `gazepipe.gaze`).
    method
        One of the methods above.
    savgol_order
        Degree of the polynomial of ``"savgol"``, at least 1.

    Returns
    -------
    numpy.ndarray
        deg/s, shape ``(n_samples,)``; NaN where there is no velocity.
    """
    time = np.ascontiguousarray(time_ms, np.float64)
    parts = velocity_stretches(time, block_edges(time.size, block_start), window_ms, max_gap_ms, method, savgol_order)
    return _velocity(time, x_px, y_px, screen, parts, method, savgol_order)


def _velocity(
    time: F64,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    screen: Screen,
    parts: list[Stretch],
    method: Method,
    savgol_order: int,
) -> F64:
    x, y = np.ascontiguousarray(x_px, np.float64), np.ascontiguousarray(y_px, np.float64)
    out = np.full(time.shape, np.nan)
    table = np.array([(s.first, s.end, s.before, s.after) for s in parts], np.int64).reshape(-1, 4)
    geometry = kernel_geometry(screen, np.float64)
    if method == "olsen":
        from gazepipe import _gaze_kernel

        _gaze_kernel.velocity(time, x, y, *table.T, geometry, out)
        return out
    from gazepipe import _velocity_kernel as kernel

    if method == "fivepoint":
        kernel.five_point(time, x, y, table, geometry, out)
        return out
    even, step_ms = np.array([s.even for s in parts], np.bool_), np.array([s.step_ms for s in parts], np.float64)
    kernel.savitzky_golay(time, x, y, table, even, step_ms, savgol_order, geometry, out)
    return out


def threshold_of(velocity: F64, config: IvtConfig) -> float:
    """Threshold in deg/s for a recording of these velocities (NaN where there is none).

    In adaptive mode, a recording of fewer than 100 velocities gets the fixed threshold.
    """
    if config.velocity_threshold_mode == "fixed":
        return config.velocity_threshold_deg_s
    known = velocity[~np.isnan(velocity)]
    if known.size < ENOUGH:
        return config.velocity_threshold_deg_s
    middle = float(np.median(known))
    spread = float(np.median(np.abs(known - middle)))
    wanted = middle + config.velocity_lambda * spread
    return min(max(wanted, config.velocity_threshold_floor_deg_s), config.velocity_threshold_cap_deg_s)


def threshold_deg_s(recording: Recording, gaze: Gaze, screen: Screen, config: IvtConfig) -> float:
    """Threshold in deg/s that a recording's fixations and saccades are found with.

    Parameters
    ----------
    recording, gaze
        A recording and its gaze signal, from `gazepipe.gaze.select_gaze`.
    screen, config
        Screen and settings.
    """
    if config.velocity_threshold_mode == "fixed":
        return config.velocity_threshold_deg_s
    edges = block_edges(recording.n_samples, recording.block_start)
    return threshold_of(velocity_of(recording.time_ms, *gaze.seen(screen), screen, config, edges), config)
