"""Blinks: short losses of every eye at once, with the lid's movement on either side.

1. An eye is lost where its gaze is missing or its pupil is zero; a loss lasts from half a step after the last sample
   before to half a step before the first one after, so that its length is that of the samples lost. Lines missing from
   a file are a loss. What is lost for longer than ``max_blink_ms``, or up to a block's end, is an eye that was not
   tracked: the other eye then decides alone.
2. A blink is where the losses of all eyes meet, from the first eye's loss to the last one's return; eyes seldom go and
   come in the same sample. It counts if it lasts ``min_blink_ms`` … ``max_blink_ms``.
3. Before the pupil is lost the lid has hidden part of it, and the tracker sees the eye dive. From each side of the loss
   the blink is extended over the samples in which the pupil, going away from the loss, still grows: until it is less
   than 1 % larger a hundredth of a second further away. (Hershman et al., 2018, smooth over that time, too, but take
   any growth; slow changes of the pupil then count as lid. The pupil itself hardly changes faster than 1 % in 10 ms.)
   Where there is no pupil, over the samples in which gaze is faster than the velocity threshold over that time. At
   most 100 ms.

A tracker that loses both eyes for another reason, such as a turned head, leaves the same trace.

References
----------
Hershman, R., Henik, A. & Cohen, N. (2018). A novel blink detection method based on pupillometry noise. Behavior
Research Methods, 50, 107-114.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe.config import IvtConfig
from gazepipe.gaze import HOLE, SLACK_MS
from gazepipe.geometry import Screen
from gazepipe.recording import EyeSamples, Recording
from gazepipe.saccades import trial_of_samples

if TYPE_CHECKING:
    import pandas as pd

    from gazepipe.trials import TrialTable

__all__ = ["blinks"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_LID_MS = 100.0
_SMOOTH_MS = 10.0
_GROWTH = 1.01


def blinks(recording: Recording, screen: Screen, config: IvtConfig, trials: TrialTable | None = None) -> pd.DataFrame:
    """Find the blinks of a recording.

    Parameters
    ----------
    recording
        What a reader returned.
    screen
        Screen and viewing distance; for eyes without a pupil.
    config
        ``min_blink_ms, max_blink_ms``, and ``velocity_threshold_deg_s`` for eyes without a pupil.
    trials
        Presentations, from `gazepipe.trials.find_trials`; None: all rows have trial −1.

    Returns
    -------
    pandas.DataFrame
        In order of time: ``onset_ms, offset_ms, duration_ms`` with the lid's movement, ``gap_onset_ms, gap_offset_ms``
        without it, and ``trial`` (the one its middle lies in, or −1).
    """
    import pandas as pd

    rows: list[tuple[float, float, float, float]] = []
    middles: list[int] = []
    for block in recording.blocks():
        time = recording.time_ms[block]
        eyes = [EyeSamples(e.x_px[block], e.y_px[block], e.pupil[block]) for e in recording.eyes.values()]
        seen = [(eye, there) for eye in eyes if (there := _there(eye)).any()]
        if not seen or time.size < 3:
            continue
        step = float(np.median(np.diff(time)))
        losses = [_losses(time, there, step, config.max_blink_ms) for _, there in seen]
        found = _common(losses)
        length = found[:, 1] - found[:, 0]
        found = found[(length >= config.min_blink_ms - SLACK_MS) & (length <= config.max_blink_ms + SLACK_MS)]
        if not len(found):
            continue
        onset, offset = found[:, 0].copy(), found[:, 1].copy()
        for eye, there in seen:
            still = _lid(time, eye, there, step, screen, config.velocity_threshold_deg_s, found)
            for k, (begin, end) in enumerate(found):
                onset[k] = min(onset[k], begin - _reach(time, there, still[0], begin, step, -1))
                offset[k] = max(offset[k], end + _reach(time, there, still[1], end, step, 1))
        offset[:-1] = np.minimum(offset[:-1], np.maximum(onset[1:], found[:-1, 1]))  # one ends where the next begins
        onset[1:] = np.maximum(onset[1:], offset[:-1])
        rows += zip(onset.tolist(), offset.tolist(), *found.T.tolist(), strict=True)
        middles += (np.searchsorted(time, (onset + offset) / 2) + block.start).tolist()
    frame = pd.DataFrame(rows, columns=["onset_ms", "offset_ms", "gap_onset_ms", "gap_offset_ms"], dtype=np.float64)
    frame.insert(2, "duration_ms", frame["offset_ms"] - frame["onset_ms"])
    frame["trial"] = trial_of_samples(np.array(middles, np.int64), trials)
    return frame


def _there(eye: EyeSamples) -> Bool:
    """Where the eye is tracked; a missing pupil with gaze is none lost (some trackers take it at half the rate)."""
    there: Bool = np.isfinite(eye.x_px) & np.isfinite(eye.y_px)
    return there & ~(eye.pupil <= 0) if (eye.pupil > 0).any() else there


def _losses(time: F64, there: Bool, step: float, longest_ms: float) -> tuple[F64, F64]:
    """Limits of an eye's losses, shape ``(n, 2)``: those short enough for a blink, and the others."""
    at = np.flatnonzero(there)
    gap = np.flatnonzero((np.diff(at) > 1) | (np.diff(time[at]) > HOLE * step))
    limits = np.column_stack([time[at[gap]] + step / 2, time[at[gap + 1]] - step / 2])
    short = limits[:, 1] - limits[:, 0] <= longest_ms + SLACK_MS
    ends = np.array([[-np.inf, time[at[0]]], [time[at[-1]], np.inf]])
    return limits[short], np.concatenate([limits[~short], ends])


def _common(losses: list[tuple[F64, F64]]) -> F64:
    """Losses that meet one of every other eye; those that overlap are joined. Shape ``(n, 2)``, in order."""
    kept: list[tuple[float, float]] = []
    for k, (own, _) in enumerate(losses):
        others = [np.concatenate(pair) for j, pair in enumerate(losses) if j != k]
        for begin, end in own:
            if all(((other[:, 0] < end) & (other[:, 1] > begin)).any() for other in others):
                kept.append((float(begin), float(end)))
    joined: list[list[float]] = []
    for begin, end in sorted(kept):
        if joined and begin <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([begin, end])
    return np.array(joined, np.float64).reshape(-1, 2)


def _lid(
    time: F64, eye: EyeSamples, there: Bool, step: float, screen: Screen, threshold_deg_s: float, found: F64
) -> tuple[Bool, Bool]:
    """Whether the lid still moves at each sample, seen going back in time and going forward.

    Only the samples that a lid's movement can reach from one of the losses `found` are looked at.
    """
    n = max(1, round(_SMOOTH_MS / step))
    back, ahead = np.zeros(there.shape, np.bool_), np.zeros(there.shape, np.bool_)
    before = _spans(time, found[:, 0] - _LID_MS, found[:, 0])
    after = _spans(time, found[:, 1], found[:, 1] + _LID_MS)
    before, after = before[before >= n], after[after < time.size - n]
    back[before] = _moves(time, eye, there, before - n, before, screen, threshold_deg_s, later=True)
    ahead[after] = _moves(time, eye, there, after, after + n, screen, threshold_deg_s, later=False)
    return back, ahead


def _spans(time: F64, begin: F64, end: F64) -> I64:
    """Samples between any `begin` and its `end`, with one more on either side; those in two spans come twice."""
    low = np.maximum(np.searchsorted(time, begin) - 1, 0)
    length = np.minimum(np.searchsorted(time, end) + 1, time.size) - low
    return np.repeat(low - np.cumsum(length) + length, length) + np.arange(length.sum())


def _moves(
    time: F64,
    eye: EyeSamples,
    there: Bool,
    early: I64,
    late: I64,
    screen: Screen,
    threshold_deg_s: float,
    *,
    later: bool,
) -> Bool:
    """Whether the lid moves between pairs of samples: down if the loss is `later`, up if it was before them."""
    both = there[early] & there[late]
    if (eye.pupil > 0).any():
        large, small = (early, late) if later else (late, early)
        grown: Bool = eye.pupil[large] >= _GROWTH * eye.pupil[small]
        return both & grown
    angle = screen.angle_deg(eye.x_px[early], eye.y_px[early], eye.x_px[late], eye.y_px[late])
    fast: Bool = angle / (time[late] - time[early]) * 1000 >= threshold_deg_s
    return both & fast


def _reach(time: F64, there: Bool, moving: Bool, limit: float, step: float, way: int) -> float:
    """How far the lid's movement reaches from the loss's limit, going `way` (−1 or 1) in time."""
    i = start = int(np.searchsorted(time, limit)) - (way < 0)
    while 0 <= i < time.size and there[i] and moving[i] and abs(time[i] - limit) < _LID_MS:
        i += way
    return abs(i - start) * step
