"""Data quality of each user, over all of the user's recordings.

Counts and durations add up. Data loss weighs each recording by its samples, the share off the screen by its samples
with gaze, the mean fixation by its fixations, so that these are what they would be were the recordings one; the
effective rate is all samples with gaze over the whole duration. The medians of fixations (RMS-S2S, STD, BCEA, duration)
are weighted medians of the recordings' medians, each weighing as many fixations as it has. Accuracy is the recordings'
mean weighted by samples, the largest error the largest of all. A figure that a recording does not have (NaN) does not
count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe.errors import NothingToDoError
from gazepipe.tables import text_table

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["pooled", "quality_table", "stored_quality", "user_quality"]

F64 = npt.NDArray[np.float64]
Figures = dict[str, float | None]

_MEDIANS = ("rms_s2s_deg", "std_deg", "bcea_deg2", "median_fixation_ms")


def user_quality(users: Mapping[str, str], quality: Mapping[str, Mapping[str, float]]) -> dict[str, Figures]:
    """Return user → quality over the user's recordings.

    Parameters
    ----------
    users
        Recording → its user.
    quality
        Recording → ``recording`` of what `gazepipe.quality.quality` returned for it.

    Returns
    -------
    dict
        ``recordings`` (their number), then the figures of `gazepipe.quality.Quality`; None for those that no recording
        has, so that it is valid JSON.
    """
    found: dict[str, Figures] = {}
    for user in sorted(set(users.values())):
        own = [quality[name] for name in sorted(users) if users[name] == user and name in quality]
        if own:
            figures = {"recordings": float(len(own))} | pooled(own)
            found[user] = {k: _plain(v) for k, v in figures.items()}
    return found


def _plain(value: float) -> float | None:
    if math.isnan(value):
        return None
    return int(value) if value == int(value) and abs(value) < 2**53 else value


def pooled(recordings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the quality of several recordings as if they were one; see above for what that means."""

    def column(name: str) -> F64:
        values = [r.get(name, math.nan) for r in recordings]
        return np.array([math.nan if v is None else v for v in values], np.float64)

    samples, seconds, fixations = column("samples"), column("duration_s"), np.nan_to_num(column("n_fixations"))
    valid = samples * (1 - np.nan_to_num(column("data_loss"), nan=1.0))
    total_s = float(np.nansum(seconds))
    out = {
        "samples": float(np.nansum(samples)),
        "duration_s": total_s,
        "data_loss": _mean(column("data_loss"), samples),
        "effective_rate_hz": float(np.nansum(valid)) / total_s if total_s else math.nan,
        "nominal_rate_hz": _most(column("nominal_rate_hz"), samples),
        "n_gaps": float(np.nansum(column("n_gaps"))),
        "longest_gap_ms": _largest(column("longest_gap_ms")),
        "off_screen": _mean(column("off_screen"), valid),
        "n_fixations": float(fixations.sum()),
        "mean_fixation_ms": _mean(column("mean_fixation_ms"), fixations),
        "accuracy_deg": _mean(column("accuracy_deg"), samples),
        "accuracy_max_deg": _largest(column("accuracy_max_deg")),
    }
    return out | {name: _median(column(name), fixations) for name in _MEDIANS}


def _mean(values: F64, weights: F64) -> float:
    known = ~np.isnan(values) & (weights > 0)
    return float(np.average(values[known], weights=weights[known])) if known.any() else math.nan


def _median(values: F64, weights: F64) -> float:
    """Value at which half of the weight is reached; the mean of two where it is reached exactly between them."""
    known = ~np.isnan(values) & (weights > 0)
    if not known.any():
        return math.nan
    order = np.argsort(values[known], kind="stable")
    values, reached = values[known][order], np.cumsum(weights[known][order])
    low = int(np.searchsorted(reached, reached[-1] / 2, "left"))
    high = int(np.searchsorted(reached, reached[-1] / 2, "right"))
    return float((values[low] + values[min(high, values.size - 1)]) / 2)


def _most(values: F64, weights: F64) -> float:
    """Value with the most weight."""
    known = ~np.isnan(values)
    there, at = np.unique(values[known], return_inverse=True)
    return float(there[np.argmax(np.bincount(at, weights[known]))]) if there.size else math.nan


def _largest(values: F64) -> float:
    return float(np.nanmax(values)) if not np.isnan(values).all() else math.nan


def stored_quality(study: Study, by: str = "user") -> dict[str, Figures]:
    """Read the quality of all recordings of a store; user (or recording) → figures.

    Raises
    ------
    NothingToDoError
        If nothing was ingested.
    StoreError
        If a stored recording is damaged.
    """
    import json

    from gazepipe import store

    quality: dict[str, dict[str, float]] = {}
    known = {name: row for name, row in study.known_recordings().items() if row["origin"] != "import"}
    for name in known:
        attrs = store.load(study.recording_file(name), "gazepipe.recording", only=("none",)).attrs
        quality[name] = json.loads(str(attrs["quality"]))
    if not quality:
        msg = f"{study.store}: holds no raw recordings, so no data quality; run `gazepipe ingest` first."
        raise NothingToDoError(msg)
    users = {name: str(row["user"]) if by == "user" else name for name, row in known.items()}
    return user_quality(users, quality)


def quality_table(figures: Mapping[str, Figures], by: str = "user") -> str:
    """Return the figures that matter most as a table of text, one row a user or recording."""
    heads = [by, "recordings", "minutes", "loss %", "rate Hz", "RMS-S2S °", "STD °", "off-screen %", "fixations"]
    keys = ("recordings", "duration_s", "data_loss", "effective_rate_hz", "rms_s2s_deg", "std_deg", "off_screen")
    shapes = ((1, 0), (1 / 60, 1), (100, 1), (1, 1), (1, 3), (1, 3), (100, 1), (1, 0))
    rows = []
    for name, own in figures.items():
        values = [own.get(key) for key in (*keys, "n_fixations")]
        cells = ["" if v is None else f"{v * f:.{d}f}" for v, (f, d) in zip(values, shapes, strict=True)]
        rows.append([name, *cells])
    return text_table(heads, rows, text_columns=1)
