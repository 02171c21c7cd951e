"""Tables whose columns ``[csv]`` names: what the readers of text and of Parquet share.

A reader finds the columns and makes a frame whose columns are the keys of ``[csv]``; here that becomes a recording.

* A time that goes backwards starts a new block (files whose clock restarts with every trial), and so does a hole of
  more than a second, or of more than 100 samples where that is longer.
* A row whose time is that of the row before gives no sample; its message is kept.
* The rate, where the configuration has none, is one over the mean of the ordinary time steps (within half of their
  median), because whole milliseconds hide it: 300 Hz is 3, 3, 4, 3 ….
* Times in nanoseconds are whole numbers and counted from the first; that one is ``meta["time_origin_ns"]``.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import CsvConfig, StudyConfig
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.readers._columns import LARGEST
from gazepipe.readers._table import block_starts, clock_breaks, increasing, listed, sampling_rate
from gazepipe.recording import EyeSamples, Message, Recording
from gazepipe.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TEXTS", "EyeKeys", "eye_keys", "find_columns", "recording_of", "too_few"]

F64 = npt.NDArray[np.float64]
#: For each eye the keys of its x, y and pupil.
EyeKeys = dict[str, tuple[str, str, str]]
#: Keys whose columns hold text; those of all others hold numbers.
TEXTS = ("trial", "stimulus", "message")
_TO_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


def eye_keys(config: CsvConfig) -> EyeKeys:
    """Return the eyes that ``[csv]`` has columns for: left and right, or cyclopean.

    Raises
    ------
    ConfigError
        If only one of the x and y of an eye is named.
    """
    eyes: EyeKeys = {}
    for eye in ("left", "right"):
        x, y, pupil = f"{eye}_x", f"{eye}_y", f"{eye}_pupil"
        named = [key for key in (x, y) if getattr(config, key)]
        if len(named) == 1:
            msg = f"[csv] {named[0]} is set without its partner; set both {x} and {y}, or neither."
            raise ConfigError(msg)
        if named:
            eyes[eye] = (x, y, pupil)
    return eyes or {"cyclopean": ("x", "y", "pupil")}


def find_columns(path: Path, names: list[str], config: CsvConfig, eyes: EyeKeys) -> dict[str, int]:
    """Return key of ``[csv]`` → index of its column.

    Raises
    ------
    RecordingError
        If a named column is not there.
    ConfigError
        If one that every table has is not named.
    """
    positions: dict[str, int] = {}
    for key in ["time", *(key for group in eyes.values() for key in group), *TEXTS]:
        name = getattr(config, key)
        if not name and key in ("time", "x", "y"):
            msg = f"[csv] {key} is empty; expected the name of a column."
            raise ConfigError(msg)
        if name and name not in names:
            raise _missing_column(path, names, key, name)
        if name:
            positions[key] = names.index(name)
    return positions


def _missing_column(path: Path, names: list[str], key: str, name: str) -> RecordingError:
    lower = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.4)
    hint = f", perhaps to {lower[near[0]]!r}" if near else ""
    return RecordingError(
        path,
        f"there is no column {name!r} (columns here: {listed(names)})",
        remedy=f"set [csv] {key} to the right name{hint}",
    )


def too_few(path: Path, n_rows: int) -> RecordingError:
    """Return the error for a table with too few rows."""
    return RecordingError(
        path, f"it has {counted(n_rows, 'row')} of samples", expected="two or more", remedy="export the recording again"
    )


def recording_of(
    path: Path, form: str, frame: pd.DataFrame, eyes: EyeKeys, config: StudyConfig, warnings: list[str]
) -> Recording:
    """Make a recording of a frame whose columns are keys of ``[csv]``; times are numbers, none of them missing.

    Whole nanoseconds, whatever the configuration's unit, are those whose column is int64 and called ``time_ns``.
    """
    time, meta = _time(frame, config.csv)
    samples = {name: _eye(frame, keys, config) for name, keys in eyes.items()}
    messages = _messages(frame, time)
    columns = {key: _column(frame, key) for key in ("trial", "stimulus") if key in frame}
    kept = increasing(time)
    if not kept.all():
        warnings.append(f"{counted(int((~kept).sum()), 'row')} with the time of the row before gave no sample")
        time = time[kept]
        samples = {name: EyeSamples(e.x_px[kept], e.y_px[kept], e.pupil[kept]) for name, e in samples.items()}
        columns = {name: values[kept] for name, values in columns.items()}
    rate = config.csv.sampling_rate_hz or sampling_rate(path, time)
    start = block_starts(time, rate)
    warnings += clock_breaks(time)
    return Recording(
        path=path,
        format=form,
        time_ms=time,
        eyes=samples,
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=messages,
        columns=columns,
        meta=meta,
        warnings=warnings,
    )


def _time(frame: pd.DataFrame, config: CsvConfig) -> tuple[F64, dict[str, Any]]:
    if "time_ns" in frame or config.time_unit == "ns":
        values = frame["time_ns" if "time_ns" in frame else "time"].to_numpy(np.int64)
        return (values - values[0]).astype(np.float64) / 1e6, {"time_origin_ns": int(values[0])}
    return frame["time"].to_numpy(np.float64) * _TO_MS[config.time_unit], {}


def _eye(frame: pd.DataFrame, keys: tuple[str, str, str], config: StudyConfig) -> EyeSamples:
    """One eye's samples; where x or y is missing, both are."""
    x, y = (_number(frame, key, config.csv) for key in keys[:2])
    missing = np.isnan(x) | np.isnan(y)
    if config.csv.position_unit == "normalised":
        x, y = x * config.screen.width_px, y * config.screen.height_px
    x[missing], y[missing] = np.nan, np.nan
    pupil = _number(frame, keys[2], config.csv) if keys[2] in frame else np.full(x.size, np.nan)
    return EyeSamples(x.astype(np.float32), y.astype(np.float32), pupil.astype(np.float32))


def _number(frame: pd.DataFrame, key: str, config: CsvConfig) -> F64:
    values: F64 = frame[key].to_numpy(np.float64, copy=True)
    # A number that float32 cannot hold is no gaze position.
    values[~(np.abs(values) < LARGEST) | np.isin(values, config.missing)] = np.nan
    return values


def _messages(frame: pd.DataFrame, time: F64) -> list[Message]:
    if "message" not in frame:
        return []
    there = np.flatnonzero(frame["message"].notna().to_numpy())
    texts = frame["message"].to_numpy(object)[there]
    return [Message(float(time[k]), str(text)) for k, text in zip(there, texts, strict=True)]


def _column(frame: pd.DataFrame, key: str) -> npt.NDArray[Any]:
    """Trial numbers as whole numbers where all are, else as text; stimulus names as text, '' where missing."""
    texts: npt.NDArray[Any] = frame[key].fillna("").to_numpy(object)
    if key == "trial":
        try:
            return texts.astype(np.int64)
        except (ValueError, OverflowError):
            return texts
    return texts
