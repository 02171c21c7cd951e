"""Saccades: the fast movements between fixations, by the same velocities and threshold as the fixations.

A saccade is a run of samples at or above the threshold, with a slow sample on either side. Runs that touch a gap, the
end of a block or a sample whose gaze is filled in are left out: how far such a movement went, or whether the lid made
it, is not known. So are runs inside a fixation, which merging has found to be no movement.

It begins and ends half-way between its outer samples and their neighbours, as fixations do; its place of departure and
of landing are those of the slow samples next to it. With *olsen* velocities a saccade appears longer by up to the
window and its peak velocity too low, the more so the smaller it is; *savgol* follows it better (`gazepipe.velocity`).

References
----------
Bahill, A. T., Clark, M. R. & Stark, L. (1975). The main sequence, a tool for studying human eye movements. Mathematical
Biosciences, 24, 191-204.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe.config import IvtConfig
from gazepipe.gaze import SLACK_MS, Gaze, block_edges, select_gaze
from gazepipe.geometry import Screen
from gazepipe.recording import Recording
from gazepipe.velocity import threshold_of, velocity_of, velocity_stretches

if TYPE_CHECKING:
    import pandas as pd

    from gazepipe.trials import TrialTable

__all__ = ["saccades", "trial_of_samples"]

I64 = npt.NDArray[np.int64]


def saccades(
    recording: Recording,
    screen: Screen,
    config: IvtConfig,
    trials: TrialTable | None = None,
    gaze: Gaze | None = None,
    fixations: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Find the saccades of a recording and the trial each belongs to.

    Parameters
    ----------
    recording
        What a reader returned.
    screen
        Screen and viewing distance.
    config
        Velocity, threshold and ``min_saccade_ms``; shorter runs are noise.
    trials
        Presentations, from `gazepipe.trials.find_trials`; None: all rows have trial −1.
    gaze
        What `gazepipe.gaze.select_gaze` returned for `recording` and `config`, if it is at hand.
    fixations
        From `gazepipe.events.fixations`; runs inside one of them are left out. None: all are kept.

    Returns
    -------
    pandas.DataFrame
        In order of time: ``onset_ms, offset_ms, duration_ms, start_x_px, start_y_px, end_x_px, end_y_px,
        amplitude_deg`` (exact angle between start and end), ``peak_velocity_deg_s, mean_velocity_deg_s``,
        ``direction_deg`` (on the screen, 0 … 360: 0 right, 90 up), ``first_sample, last_sample`` (inclusive) and
        ``trial`` (the one its middle sample lies in, or −1).
    """
    import pandas as pd

    from gazepipe import _velocity_kernel as kernel

    gaze = select_gaze(recording, config) if gaze is None else gaze
    time, edges = recording.time_ms, block_edges(recording.n_samples, recording.block_start)
    seen_x, seen_y = gaze.seen(screen)
    velocity = velocity_of(time, seen_x, seen_y, screen, config, edges)
    parts = velocity_stretches(time, edges, config.velocity_window_ms, config.max_gap_ms)
    table = np.array([(s.first, s.end, s.before, s.after) for s in parts], np.int64).reshape(-1, 4)
    run, value = np.empty((time.size // 2 + 1, 2), np.int64), np.empty((time.size // 2 + 1, 2))
    n = kernel.runs_above(velocity, gaze.filled, table, threshold_of(velocity, config), run, value)
    run, value = run[:n], value[:n]
    onset, offset = ((time[run[:, k] - 1] + time[run[:, k]]) / 2 for k in (0, 1))
    keep = offset - onset >= config.min_saccade_ms - SLACK_MS
    if fixations is not None:
        keep &= ~_inside(run, fixations)
    run, value, onset, offset = run[keep], value[keep], onset[keep], offset[keep]
    ends = run[:, 0] - 1, run[:, 1]
    (x0, y0), (x1, y1) = ((gaze.x_px[i].astype(float), gaze.y_px[i].astype(float)) for i in ends)
    (a0, b0), (a1, b1) = ((seen_x[i].astype(float), seen_y[i].astype(float)) for i in ends)
    mm_x, mm_y = screen.mm_per_px
    return pd.DataFrame(
        {
            "onset_ms": onset,
            "offset_ms": offset,
            "duration_ms": offset - onset,
            "start_x_px": x0,
            "start_y_px": y0,
            "end_x_px": x1,
            "end_y_px": y1,
            "amplitude_deg": screen.angle_deg(a0, b0, a1, b1),
            "peak_velocity_deg_s": value[:, 0],
            "mean_velocity_deg_s": value[:, 1],
            "direction_deg": np.degrees(np.arctan2((y0 - y1) * mm_y, (x1 - x0) * mm_x)) % 360.0,
            "first_sample": run[:, 0],
            "last_sample": run[:, 1] - 1,
            "trial": trial_of_samples((run[:, 0] + run[:, 1] - 1) // 2, trials),
        }
    )


def _inside(run: I64, fixations: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each run lies wholly inside one fixation."""
    first, last = (fixations[name].to_numpy(np.int64) for name in ("first_sample", "last_sample"))
    if not len(first):
        return np.zeros(len(run), np.bool_)
    at = np.searchsorted(first, run[:, 0], "right") - 1
    inside: npt.NDArray[np.bool_] = (at >= 0) & (run[:, 1] - 1 <= last[np.maximum(at, 0)])
    return inside


def trial_of_samples(sample: I64, trials: TrialTable | None) -> I64:
    """Row of the presentation that each sample lies in; −1 outside all of them."""
    if trials is None or not len(trials.frame):
        return np.full(sample.shape, -1, np.int64)
    begin, end = (trials.frame[name].to_numpy(np.int64) for name in ("first_sample", "last_sample"))
    at = np.searchsorted(begin, sample, "right") - 1
    return np.where((at >= 0) & (sample < end[np.maximum(at, 0)]), at, -1)
