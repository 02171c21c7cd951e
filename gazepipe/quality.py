"""Data quality of a recording and of each trial.

Terms follow Dunn et al. (2023) and ETDQualitizer (Niehorster et al.): *data loss* is the share of samples without
gaze, before any gap is filled; the *effective rate* is the number of samples with gaze over the duration, without the
pauses between trials in which the file has no lines (missing lines inside a trial are lost data); *RMS-S2S* is
the root mean square of the angle between successive samples, *STD* that of the angle between the samples and their
centroid, both taken inside each fixation, of which the median is reported (saccades would swamp them otherwise).
*BCEA* is the area of the ellipse that holds 68 % of gaze (`gazepipe.accuracy`), the median over the fixations that
were found in one piece. *Accuracy* is what the tracker's own validation states, as only EyeLink does: for each eye used
the last validation in the file, mean error of the eyes and largest error of either; `gazepipe.accuracy` measures it
from gaze at known targets.

References
----------
Dunn, M. J. et al. (2023). Minimal reporting guideline for research involving eye tracking (2023 edition).
Behavior Research Methods, 56, 4351-4357.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe.accuracy import BCEA_FACTOR
from gazepipe.config import IvtConfig
from gazepipe.gaze import HOLE, Gaze, kernel_geometry
from gazepipe.geometry import Screen
from gazepipe.recording import Recording
from gazepipe.velocity import threshold_deg_s

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Quality", "quality"]


@dataclass(frozen=True, slots=True)
class Quality:
    """Data quality.

    Parameters
    ----------
    recording
        ``samples, duration_s, data_loss`` (0 … 1), ``effective_rate_hz, nominal_rate_hz, n_gaps, longest_gap_ms,
        rms_s2s_deg, std_deg, bcea_deg2, off_screen`` (share of the samples with gaze, 0 … 1), ``n_fixations,
        mean_fixation_ms, median_fixation_ms, accuracy_deg, accuracy_max_deg, velocity_threshold_deg_s``. NaN where
        there is nothing to take it from.
    trials
        The same for each trial but for the last three, one row each, in the order of the trial table.
    """

    recording: dict[str, float]
    trials: pd.DataFrame


def quality(
    recording: Recording,
    gaze: Gaze,
    fixations: pd.DataFrame,
    trials: pd.DataFrame | None,
    screen: Screen,
    config: IvtConfig | None = None,
) -> Quality:
    """Measure the data quality of a recording and of its trials.

    Parameters
    ----------
    recording
        What a reader returned.
    gaze
        From `gazepipe.events.select_gaze`.
    fixations
        From `gazepipe.events.fixations`. For the recording all count, for a trial its own.
    trials
        ``frame`` of what `gazepipe.trials.find_trials` returned, or None.
    screen
        For the share of gaze off the screen.
    config
        Settings that `fixations` were found with; None: the threshold is not stated.

    Notes
    -----
    A gap is as long as the time between the samples with gaze around it; at the end of a block or trial it is counted
    to the last sample there.
    """
    import pandas as pd

    blocks = recording.blocks()
    sizes = np.array([b.stop - b.start for b in blocks])
    found = {name: fixations[name].to_numpy(np.float64) for name in ("duration_ms", "rms_s2s_deg", "std_deg")}
    found["bcea_deg2"] = _bcea(gaze, fixations, screen)
    nominal = float(recording.sampling_rate_hz[np.argmax(sizes)]) if sizes.size else np.nan
    whole = _measure(recording, gaze, found, blocks, nominal, screen)
    pauses_s = 0.0 if trials is None else _pauses_ms(recording, trials) / 1000
    if pauses_s:
        seconds = whole["duration_s"] - pauses_s
        whole["effective_rate_hz"] *= whole["duration_s"] / seconds
        whole["duration_s"] = seconds
    rows = []
    if trials is not None:
        # A pandas selection for each of hundreds of trials would take longer than everything else here.
        order = np.argsort(fixations["trial"].to_numpy(np.int64), kind="stable")
        limits = np.searchsorted(fixations["trial"].to_numpy(np.int64)[order], np.arange(len(trials) + 1))
        where = trials[["first_sample", "last_sample", "block"]].to_numpy(np.int64)
        for number, (first, end, block) in enumerate(where.tolist()):
            own = order[limits[number] : limits[number + 1]]
            mine = {name: values[own] for name, values in found.items()}
            nominal = float(recording.sampling_rate_hz[block])
            rows.append(_measure(recording, gaze, mine, [slice(first, end)], nominal, screen))
    per_trial = pd.DataFrame(rows, columns=list(whole))
    threshold = float("nan") if config is None else threshold_deg_s(recording, gaze, screen, config)
    return Quality(whole | _stated_accuracy(recording, gaze) | {"velocity_threshold_deg_s": threshold}, per_trial)


def _stated_accuracy(recording: Recording, gaze: Gaze) -> dict[str, float]:
    """What the tracker's last validation of each eye used states."""
    last = {v["eye"]: v for v in recording.meta.get("validations", ()) if v.get("eye") in gaze.eyes}
    mean, largest = ([float(v[name]) for v in last.values()] for name in ("error_avg_deg", "error_max_deg"))
    nan = float("nan")
    return {
        "accuracy_deg": sum(mean) / len(mean) if mean else nan,
        "accuracy_max_deg": max(largest, default=nan),
    }


def _bcea(gaze: Gaze, fixations: pd.DataFrame, screen: Screen) -> npt.NDArray[np.float64]:
    """BCEA of each fixation; NaN for those with something between their samples, which would count as spread."""
    from gazepipe import _quality_kernel as kernel

    first, end = fixations["first_sample"].to_numpy(np.int64), fixations["last_sample"].to_numpy(np.int64) + 1
    out = np.empty(len(fixations))
    kernel.ellipses(*gaze.seen(screen), gaze.filled, first, end, kernel_geometry(screen, np.float64), out)
    whole = fixations["n_samples"].to_numpy(np.int64) == end - first
    return np.where(whole, out * BCEA_FACTOR, np.nan)


def _measure(
    recording: Recording,
    gaze: Gaze,
    fixations: dict[str, npt.NDArray[np.float64]],
    parts: list[slice],
    nominal_hz: float,
    screen: Screen,
) -> dict[str, float]:
    samples, duration_ms, n_valid, n_off, gaps = 0, 0.0, 0, 0, [np.zeros(0)]
    for part in parts:
        time, x, y = recording.time_ms[part], gaze.x_px[part], gaze.y_px[part]
        valid = ~(np.isnan(x) | gaze.filled[part])
        samples += time.size
        duration_ms += _duration(time)
        n_valid += int(np.count_nonzero(valid))
        inside = (x >= 0) & (x < screen.width_px) & (y >= 0) & (y < screen.height_px)
        n_off += int(np.count_nonzero(valid & ~inside))
        gaps.append(_gaps(time, valid))
    missing, length = np.concatenate(gaps), fixations["duration_ms"]
    return {
        "samples": samples,
        "duration_s": duration_ms / 1000,
        "data_loss": 1 - n_valid / samples if samples else np.nan,
        "effective_rate_hz": 1000 * n_valid / duration_ms if duration_ms else np.nan,
        "nominal_rate_hz": nominal_hz,
        "n_gaps": missing.size,
        "longest_gap_ms": float(missing.max(initial=0.0)),
        "rms_s2s_deg": _median(fixations["rms_s2s_deg"]),
        "std_deg": _median(fixations["std_deg"]),
        "bcea_deg2": _median(fixations["bcea_deg2"]),
        "off_screen": n_off / n_valid if n_valid else np.nan,
        "n_fixations": length.size,
        "mean_fixation_ms": float(length.mean()) if length.size else np.nan,
        "median_fixation_ms": _median(length),
    }


def _pauses_ms(recording: Recording, trials: pd.DataFrame) -> float:
    """How long the recording paused between trials, beside the pauses that divide its blocks.

    Software that records trial by trial leaves holes of any length in its times. Inside a trial a hole is lost data:
    some exports leave out the lines without gaze.
    """
    first, end = (trials[name].to_numpy(np.int64) for name in ("first_sample", "last_sample"))
    total = 0.0
    for block in recording.blocks():
        steps = np.diff(recording.time_ms[block])
        if not steps.size:
            continue
        usual = float(np.median(steps))
        after = np.flatnonzero(steps > HOLE * usual) + 1 + block.start
        # The last trial to begin before the sample after the hole goes over the hole if it has that sample, too.
        at = np.searchsorted(first, after, "left") - 1
        inside = (at >= 0) & (after < end[np.maximum(at, 0)]) if first.size else np.zeros(after.size, np.bool_)
        total += float(np.sum(steps[after[~inside] - 1 - block.start] - usual))
    return total


def _median(values: npt.NDArray[np.float64]) -> float:
    """Median without NaN; `np.median` takes ten times as long for the few values of a trial."""
    ordered = np.sort(values)
    n = ordered.size - int(np.count_nonzero(np.isnan(values)))  # NaN comes last
    return float(ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if n else float("nan")


def _duration(time_ms: npt.NDArray[np.float64]) -> float:
    """From the first to the last sample, and one usual step for the last one."""
    steps = np.diff(time_ms)
    return float(time_ms[-1] - time_ms[0] + _median(steps)) if steps.size else 0.0


def _gaps(time_ms: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Length of each run of missing samples."""
    if valid.all():
        return np.zeros(0)
    edge = np.diff(np.concatenate([[0], (~valid).astype(np.int8), [0]]))
    begin, end = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    return time_ms[np.minimum(end, time_ms.size - 1)] - time_ms[np.maximum(begin - 1, 0)]
