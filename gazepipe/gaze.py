"""One gaze signal out of a recording's eyes, and the stretches of it that belong together.

`select_gaze` takes the first three stages of I-VT (see `gazepipe.events`): gap fill-in, eye selection, noise filter.

Lines missing from a file are a gap just as missing values are: a time step of at least ``max_gap_ms`` that is more
than 2.5 times the usual one ends a stretch, and no window reaches over it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import IvtConfig
from gazepipe.errors import RecordingError
from gazepipe.geometry import Screen
from gazepipe.recording import EYES, EyeSamples, Recording

__all__ = ["SLACK_MS", "Gaze", "Stretch", "block_edges", "kernel_geometry", "select_gaze", "stretches", "usual_step"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

SLACK_MS = 1e-3  # a microsecond: times are compared as if it did not matter
HOLE = 2.5  # time steps this many times the usual one are missing lines
EVEN = 1e-6  # relative difference of time steps that still counts as even sampling


@dataclass(frozen=True, slots=True)
class Gaze:
    """One gaze signal for a recording, after gap fill-in, eye selection and noise filter.

    Parameters
    ----------
    x_px, y_px
        Shape ``(n_samples,)``, float32; both NaN where gaze is missing.
    filled
        Shape ``(n_samples,)``; True where the value is made up, for want of any sample of the eyes used.
    eyes
        The eyes used.
    distance_mm
        Each sample's viewing distance (`gazepipe.distance`), or None: the screen's.
    """

    x_px: F32
    y_px: F32
    filled: npt.NDArray[np.bool_]
    eyes: tuple[str, ...]
    distance_mm: F64 | None = None

    def seen(self, screen: Screen) -> tuple[F32, F32]:
        """Where gaze of the same directions would meet the screen from the screen's own distance.

        All angles are taken there: a direction is what it is, wherever it is looked at, so that everything that
        computes with one distance also computes with a distance for each sample, without approximation.
        """
        if self.distance_mm is None:
            return self.x_px, self.y_px
        nearer, (cx, cy) = screen.distance_mm / self.distance_mm, screen.centre_px
        x, y = (centre + (v - centre) * nearer for v, centre in ((self.x_px, cx), (self.y_px, cy)))
        return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples ``[first, end)`` without a border or missing lines, and the velocity window used there."""

    first: int
    end: int
    before: int
    after: int
    step_ms: float
    even: bool


def usual_step(time_ms: F64) -> float:
    """Return the mean of the first 100 time steps, without those that are missing lines."""
    steps = np.diff(time_ms[:101])
    if not steps.size:
        return 0.0
    ordered = np.sort(steps)  # `np.median` would take half of the time of short blocks
    middle = (ordered[(steps.size - 1) // 2] + ordered[steps.size // 2]) / 2
    return float(np.mean(steps[steps <= HOLE * middle]))


def stretches(time_ms: F64, edges: I64, window_ms: float, max_gap_ms: float) -> list[Stretch]:
    """Divide the blocks between `edges` (see `block_edges`) at missing lines, and fit the velocity window to each."""
    from gazepipe import _ivt_kernel as kernel

    out = []
    for a, b in pairwise(edges.tolist()):
        step = usual_step(time_ms[a:b])
        if not step:
            continue  # a block of one sample has no velocity
        # A window that is longer than all there is has no velocity, however long; damaged times can make it endless.
        reach = max(1, math.floor(min(window_ms / step + 0.5, b - a + 1)))
        before, after = (reach + 1) // 2, reach // 2
        cuts = [a, b]
        even = not kernel.steps_outside(time_ms[a:b], step * (1 - EVEN), step * (1 + EVEN))
        if not even:
            hole = max(max_gap_ms - SLACK_MS, HOLE * step)
            cuts = [a, *(a + 1 + np.flatnonzero(np.diff(time_ms[a:b]) >= hole)).tolist(), b]
        out += [Stretch(p, q, before, after, step, even) for p, q in pairwise(cuts)]
    return out


def block_edges(n: int, block_start: npt.ArrayLike | None) -> I64:
    """Return the block starts and, last, the number of samples."""
    starts = np.zeros(1, np.int64) if block_start is None else np.asarray(block_start, np.int64)
    return np.append(starts, n)


def kernel_geometry(screen: Screen, dtype: npt.DTypeLike) -> tuple[Any, ...]:
    """Return the screen's centre in px, the size of a pixel in units of the viewing distance, and that unit."""
    real: Any = np.dtype(dtype).type
    return tuple(real(v) for v in (*screen.centre_px, *(mm / screen.distance_mm for mm in screen.mm_per_px), 1))


def _choose(recording: Recording, wanted: str) -> list[str]:
    """Names of the eyes to use."""
    there = [name for name in EYES if name in recording.eyes]
    if not there:
        raise RecordingError(recording.path, "no eye was recorded", expected="gaze of at least one eye")
    if wanted in there:
        return [wanted]
    if wanted in ("left", "right") and "cyclopean" not in there:
        other = "right" if wanted == "left" else "left"
        raise RecordingError(
            recording.path,
            f"only the {other} eye was recorded",
            expected=f"the {wanted} eye, as [ivt] eye says",
            remedy=f'set [ivt] eye to "{other}" or "average"',
        )
    if "left" in there and "right" in there:
        return ["left", "right"]
    return ["cyclopean"] if "cyclopean" in there else there


def select_gaze(recording: Recording, config: IvtConfig) -> Gaze:
    """Make one gaze signal of a recording: stages 1 to 3 above.

    A recording of one eye, or of gaze that the tracker has joined already ("cyclopean"), is used whatever
    ``config.eye`` says; only asking for an eye that is not there while the other one is, is an error.

    Parameters
    ----------
    recording
        What a reader returned.
    config
        Which eye, and what is done about gaps and noise.

    Returns
    -------
    Gaze
        Times in ms and gaze in screen pixels, ``(n_samples,)``; NaN where it is missing.

    Raises
    ------
    RecordingError
        If the eye asked for was not recorded.
    """
    from gazepipe import _gaze_kernel as kernel

    names = _choose(recording, config.eye)
    edges = block_edges(recording.n_samples, recording.block_start)
    filled_eyes = [_fill(recording.time_ms, recording.eyes[name], edges, config.max_gap_ms) for name in names]
    x, y, missing = filled_eyes[0]
    if len(filled_eyes) == 2:
        strict = config.eye == "strict_average"
        rx, ry, right_missing = filled_eyes[1]
        missing = missing | right_missing if strict else missing & right_missing
        kernel.average(x, y, rx, ry, strict, x, y)
    if config.noise_filter != "none" and config.noise_window > 1:
        parts = stretches(recording.time_ms, edges, config.velocity_window_ms, config.max_gap_ms)
        first, end = np.array([s.first for s in parts], np.int64), np.array([s.end for s in parts], np.int64)
        half, median = config.noise_window // 2, config.noise_filter == "median"
        x, y = (_smooth(v, first, end, half, median) for v in (x, y))
    return Gaze(x, y, missing & ~np.isnan(x), tuple(names))


def _smooth(values: F32, first: I64, end: I64, half: int, median: bool) -> F32:
    from gazepipe import _gaze_kernel as kernel

    out = np.empty_like(values)
    kernel.smooth(values, first, end, half, median, out)
    return out


def _fill(time_ms: F64, eye: EyeSamples, edges: I64, max_gap_ms: float) -> tuple[F32, F32, npt.NDArray[np.bool_]]:
    from gazepipe import _gaze_kernel as kernel

    x, y = np.ascontiguousarray(eye.x_px, np.float32), np.ascontiguousarray(eye.y_px, np.float32)
    out_x, out_y, missing = np.empty_like(x), np.empty_like(y), np.zeros(x.shape, np.bool_)
    kernel.fill(time_ms, x, y, edges, max_gap_ms - SLACK_MS, out_x, out_y, missing)
    return out_x, out_y, missing
