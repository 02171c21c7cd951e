"""Fixations by velocity threshold (I-VT), with the stages of Olsen (2012), in his order.

1. *Gap fill-in*, for each eye: a straight line over gaps shorter than ``max_gap_ms``, measured from the last sample
   before to the first sample after the gap. Never over a block's border, never at a block's ends.
2. *Eye selection*: left, right, average (of the eyes that are there) or strict average (both or nothing).
3. *Noise reduction*, optional: moving average or median.
4. *Velocity*: by one of the methods of `gazepipe.velocity`; his is the angle between the first and the last sample of
   a window, seen from the eye, over their time difference. A sample has no velocity where the window is not wholly
   inside a stretch of valid samples.
5. *Classification*: a sample below the threshold is of a fixation; one at or above it, or without velocity, is not.
   Samples within half a window of a gap are therefore unknown, and end the fixation. A fixation begins and ends
   half-way between its outer samples and their neighbours, so that it lasts one sample longer than last − first.
6. *Merging*: neighbours less than ``merge_max_gap_ms`` apart whose centroids are at most ``merge_max_angle_deg``
   apart become one, from left to right; the centroid is that of all samples so far, without those between the parts.
7. *Discarding*: what is shorter than ``min_fixation_ms`` after merging is dropped.

Where the paper leaves a choice, this module takes: gaps and durations compared with ``<``, the merge angle with ``<=``,
all times with a microsecond to spare, so that the rounding of sample times decides nothing. Lines missing from a file
are a gap, too (`gazepipe.gaze`). Stages 1 to 3 are in `gazepipe.gaze`, the rest is here.

References
----------
Olsen, A. (2012). The Tobii I-VT Fixation Filter: Algorithm description. Tobii Technology.
Salvucci, D. D. & Goldberg, J. H. (2000). Identifying fixations and saccades in eye-tracking protocols. ETRA, 71-78.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import IvtConfig
from gazepipe.gaze import SLACK_MS, Gaze, Stretch, block_edges, kernel_geometry, select_gaze, stretches
from gazepipe.geometry import Screen
from gazepipe.recording import Recording
from gazepipe.velocity import threshold_of, velocity_deg_s, velocity_of

if TYPE_CHECKING:
    import pandas as pd

    from gazepipe.trials import TrialTable

__all__ = ["Events", "Gaze", "detect", "fixations", "select_gaze", "velocity_deg_s"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Real = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Events:
    """Fixations as arrays of shape ``(n_events,)``, in order of time.

    Parameters
    ----------
    onset_ms, offset_ms
        Limits, half-way between samples.
    x_px, y_px
        Centroid: mean of the samples.
    first_sample, last_sample
        Indices, both inclusive.
    n_samples
        Samples that count; fewer than ``last_sample − first_sample + 1`` after a merge over a gap.
    rms_s2s_deg
        Root mean square of the angle between successive samples; NaN for a single sample.
    std_deg
        Root mean square of the angle between the samples and the centroid.
    """

    onset_ms: F64
    offset_ms: F64
    x_px: F64
    y_px: F64
    first_sample: I64
    last_sample: I64
    n_samples: I64
    rms_s2s_deg: F64
    std_deg: F64

    def __len__(self) -> int:
        return int(self.onset_ms.shape[0])

    def frame(self) -> pd.DataFrame:
        """Return a table with one column for each array."""
        import pandas as pd

        return pd.DataFrame({f.name: getattr(self, f.name) for f in fields(self)})


def _tan2(angle_rad: float) -> float:
    return math.tan(angle_rad) ** 2 if angle_rad < math.pi / 2 else math.inf


def _plain(values: npt.ArrayLike) -> Real:
    array = np.ascontiguousarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def detect(
    time_ms: npt.ArrayLike,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    screen: Screen,
    config: IvtConfig,
    block_start: npt.ArrayLike | None = None,
    trial_start: npt.ArrayLike | None = None,
) -> Events:
    """Find fixations in one gaze signal: stages 4 to 7 above.

    Parameters
    ----------
    time_ms
        Sample times, shape ``(n_samples,)``, increasing inside a block.
    x_px, y_px
        Gaze, shape ``(n_samples,)``, float32 or float64 (worked on as they are); NaN where missing.
    screen
        Screen and viewing distance.
    config
        Thresholds.
    block_start
        First sample of each block; one block if None.
    trial_start
        Samples at which something new appears, sorted. Fixations are found as if they were not there, but are not
        merged across them, and one that runs across is cut in two (either part may be short).

    Returns
    -------
    Events
    """
    cuts = np.zeros(0, np.int64) if trial_start is None else np.asarray(trial_start, np.int64)
    return _detect(time_ms, x_px, y_px, screen, config, block_edges(np.size(time_ms), block_start), cuts, cuts)


def _detect(
    time_ms: npt.ArrayLike,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    screen: Screen,
    config: IvtConfig,
    edges: I64,
    cuts: I64,
    barriers: I64,
    on_screen: tuple[Real, Real] | None = None,
) -> Events:
    """`detect`, with the samples that no merge crosses (`barriers`) apart from those that `cuts` fixations.

    `on_screen` is where gaze met the screen, if x and y are only where it would have from another distance.
    """
    from gazepipe import _ivt_kernel as kernel

    time, x, y = np.ascontiguousarray(time_ms, np.float64), _plain(x_px), _plain(y_px)
    y = y.astype(x.dtype, copy=False)
    parts = stretches(time, edges, config.velocity_window_ms, config.max_gap_ms)
    table = np.array([(s.first, s.end, s.before, s.after) for s in parts], np.int64).reshape(-1, 4)
    geometry = kernel_geometry(screen, x.dtype)
    sample = _slow_runs(time, x, y, screen, config, edges, parts, table)
    value = np.empty((len(sample), 4))
    kernel.measure(time, x, y, table, np.array([s.step_ms for s in parts]), sample, value)
    runs = np.empty((len(sample), 2), np.int64)
    merge = config.merge_max_angle_deg > 0
    n = kernel.join(
        sample,
        value,
        np.union1d(barriers, edges),
        config.merge_max_gap_ms - SLACK_MS if merge else -math.inf,
        _tan2(math.radians(config.merge_max_angle_deg)),
        config.min_fixation_ms - SLACK_MS,
        kernel_geometry(screen, np.float64),
        runs,
    )
    runs = runs[:n]
    span = np.column_stack([sample[runs[:, 0], 0], sample[runs[:, 1], 1]])
    limits_ms = np.column_stack([value[runs[:, 0], 0], value[runs[:, 1], 1]])
    if cuts.size:
        runs, span, limits_ms = _cut(time, np.unique(cuts), runs, span, limits_ms)
    means, counts = np.empty((len(runs), 4)), np.empty(len(runs), np.int64)
    kernel.describe(x, y, sample, value, runs, span, geometry, means, counts)
    if on_screen is not None:
        there = np.empty_like(means)
        kernel.measure(time, *on_screen, table, np.array([s.step_ms for s in parts]), sample, value)
        kernel.describe(*on_screen, sample, value, runs, span, geometry, there, counts)
        means[:, :2] = there[:, :2]
    return Events(
        limits_ms[:, 0], limits_ms[:, 1], means[:, 0], means[:, 1], span[:, 0], span[:, 1] - 1, counts, *means[:, 2:].T
    )


def _slow_runs(
    time: F64, x: Real, y: Real, screen: Screen, config: IvtConfig, edges: I64, parts: list[Stretch], table: I64
) -> I64:
    """First sample, end and stretch of each run below the threshold.

    Olsen's velocity is compared with the threshold without being taken; only where its value is needed, for an
    adaptive threshold, and with the other methods, velocities are made.
    """
    from gazepipe import _ivt_kernel

    sample = np.empty((time.size // 2 + 1, 3), np.int64)  # runs are at least a sample apart; unwritten pages are free
    threshold = config.velocity_threshold_deg_s
    if config.velocity_method != "olsen" or config.velocity_threshold_mode != "fixed":
        velocity = velocity_of(time, x, y, screen, config, edges)
        threshold = threshold_of(velocity, config)
        if config.velocity_method != "olsen":
            from gazepipe import _velocity_kernel

            return sample[: _velocity_kernel.runs_below(velocity, table, threshold, sample)]
    rad_per_ms = math.radians(threshold) / 1000.0
    limits = [_tan2(rad_per_ms * s.step_ms * (s.before + s.after)) if s.even else -1.0 for s in parts]
    geometry = kernel_geometry(screen, x.dtype)
    return sample[: _ivt_kernel.slow_runs(time, x, y, table, np.array(limits), rad_per_ms, geometry, sample)]


def _cut(time: F64, cuts: I64, runs: I64, span: I64, limits_ms: F64) -> tuple[I64, I64, F64]:
    """Cut events in two at the samples `cuts` inside them."""
    low, high = np.searchsorted(cuts, span[:, 0], "right"), np.searchsorted(cuts, span[:, 1], "left")
    at = np.concatenate([cuts[:0], *(cuts[a:b] for a, b in zip(low, high, strict=True))])
    first = np.concatenate([span[:, 0], at])
    order = np.argsort(first)  # events do not overlap, so this also brings the parts of one together
    first = first[order]
    onset = np.concatenate([limits_ms[:, 0], (time[at - 1] + time[at]) / 2])[order]
    event = np.concatenate([np.arange(len(span)), np.repeat(np.arange(len(span)), high - low)])[order]
    whole = np.append(event[1:] != event[:-1], True)[: len(event)]  # the event's last part
    end = np.where(whole, span[event, 1], np.append(first[1:], 0)[: len(event)])
    offset = np.where(whole, limits_ms[event, 1], np.append(onset[1:], 0)[: len(event)])
    return runs[event], np.column_stack([first, end]), np.column_stack([onset, offset])


def fixations(
    recording: Recording,
    screen: Screen,
    config: IvtConfig,
    trials: TrialTable | None = None,
    gaze: Gaze | None = None,
) -> pd.DataFrame:
    """Find the fixations of a recording and the trial each belongs to.

    Fixations are found over whole blocks, so that one already running when an image appears is found whole. It is
    then cut at the sample where the trial begins: the part from there on is a row of its own with the centroid of its
    own samples, beginning at the trial's onset (``at_onset`` True). A row belongs to the trial its midpoint lies in;
    it is not cut at the trial's end. Rows shorter than ``config.min_fixation_ms`` (only cut ones can be) and rows
    outside any trial have trial −1. Nothing is merged across the beginning or the end of a trial.

    Parameters
    ----------
    recording
        What a reader returned.
    screen
        Screen and viewing distance.
    config
        Settings of all stages.
    trials
        Presentations, from `gazepipe.trials.find_trials`; None: all rows have trial −1.
    gaze
        What `select_gaze` returned for `recording` and `config`, if it is at hand.

    Returns
    -------
    pandas.DataFrame
        Columns ``onset_ms, offset_ms, duration_ms, x_px, y_px, n_samples, first_sample, last_sample`` (inclusive),
        ``rms_s2s_deg, std_deg, trial`` (row of `trials`, or −1) and ``at_onset``.
    """
    gaze = select_gaze(recording, config) if gaze is None else gaze
    begin = end = np.zeros(0, np.int64)
    if trials is not None:
        begin, end = trials.frame["first_sample"].to_numpy(np.int64), trials.frame["last_sample"].to_numpy(np.int64)
    edges = block_edges(recording.n_samples, recording.block_start)
    barriers = np.concatenate([begin, end])
    on_screen = None if gaze.distance_mm is None else (gaze.x_px, gaze.y_px)
    events = _detect(recording.time_ms, *gaze.seen(screen), screen, config, edges, begin, barriers, on_screen)
    frame = events.frame()
    frame.insert(2, "duration_ms", 0.0)
    frame["trial"], frame["at_onset"] = -1, False
    if trials is not None and len(begin) and len(frame):
        _assign(frame, trials.frame, config.min_fixation_ms)
    frame["duration_ms"] = frame["offset_ms"] - frame["onset_ms"]
    columns = "onset_ms offset_ms duration_ms x_px y_px n_samples first_sample last_sample rms_s2s_deg std_deg"
    return frame[[*columns.split(), "trial", "at_onset"]]


def _assign(frame: pd.DataFrame, trials: pd.DataFrame, min_fixation_ms: float) -> None:
    """Fill the columns ``trial`` and ``at_onset``, and let parts cut at a trial's onset begin there."""
    onset, offset = frame["onset_ms"].to_numpy().copy(), frame["offset_ms"].to_numpy().copy()
    first = frame["first_sample"].to_numpy()
    begin = trials["first_sample"].to_numpy()
    trial = np.searchsorted(begin, first, "right") - 1  # rows are cut there, so none reaches into the next one
    known = np.maximum(trial, 0)

    cut = np.append(False, first[1:] == frame["last_sample"].to_numpy()[:-1] + 1) & (first == begin[known])
    onset[cut] = trials["onset_ms"].to_numpy()[known[cut]]
    before = np.flatnonzero(cut) - 1
    offset[before] = onset[before + 1]

    inside = (onset + offset) / 2 < trials["offset_ms"].to_numpy()[known]
    inside &= first < trials["last_sample"].to_numpy()[known]  # clocks may start anew in the next block
    inside &= (trial >= 0) & (offset - onset >= min_fixation_ms - SLACK_MS)
    frame["onset_ms"], frame["offset_ms"] = onset, offset
    frame["trial"], frame["at_onset"] = np.where(inside, trial, -1), cut
