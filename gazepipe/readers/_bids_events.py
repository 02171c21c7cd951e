"""BIDS events: the tracker's (``…_physioevents``) and the task's (``…_events``), on the clock of the samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers import _bids_sidecar as sidecar
from gazepipe.readers._columns import LARGEST
from gazepipe.readers._exact import Columns, Kind, read_columns
from gazepipe.readers._pupil_labs import Events, event_table
from gazepipe.readers._table import split_fields
from gazepipe.readers.source import read_head
from gazepipe.recording import Message

__all__ = ["Clock", "Shown", "device_events", "task_events"]

F64 = npt.NDArray[np.float64]
_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_KINDS = ("fixation", "saccade", "blink")
_NONE = ("", "n/a")
_SLACK_MS = 1e-3  # seconds of a decimal fraction are not quite the milliseconds of a sample


@dataclass(frozen=True, slots=True)
class Clock:
    """How times in the files become `Recording.time_ms`."""

    first_ms: float
    start_s: float  # of the first sample on the task's clock
    unit_ms: float  # of the timestamp column
    origin_ns: int | None = None

    @classmethod
    def of(cls, times: npt.NDArray[Any], unit_ms: float, about: dict[str, Any]) -> Clock:
        """Find it from the sample times (ms, or int64 nanoseconds) and the sidecar."""
        start = about.get("StartTime")
        start_s = float(start) if isinstance(start, int | float) and abs(start) < 1e12 else 0.0
        if times.dtype == np.int64:
            return cls(0.0, start_s, unit_ms, int(times[0]))
        if start == times[0] / unit_ms:  # early converters wrote the tracker's time there
            start_s = 0.0
        return cls(float(times[0]), start_s, unit_ms)

    def samples(self, times: npt.NDArray[Any]) -> F64:
        """Sample times in ms."""
        if self.origin_ns is None:
            return times.astype(np.float64)
        return (times - self.origin_ns).astype(np.float64) / 1e6

    def onsets(self, table: Columns, name: str, unit_ms: float, *, on_tracker: bool) -> F64:
        """Onsets of events, on the tracker's clock or the task's, in ms of the samples."""
        values = table[name]
        if values.dtype == np.float64:
            values = _held(values)
        if values.dtype == np.int64:
            return (values - (self.origin_ns or 0)).astype(np.float64) / 1e6
        if on_tracker:
            shift = 0.0 if self.origin_ns is None else self.origin_ns / 1e6
            return values * unit_ms - shift
        return self.first_ms + values * unit_ms - self.start_s * 1000.0


@dataclass(slots=True)
class Shown:
    """What the task's events say: messages, and the image shown at each sample where they name images."""

    messages: list[Message] = field(default_factory=list)
    columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


def _held(values: F64) -> F64:
    """Numbers, without those so large that they are damage and would overflow in other units."""
    return np.where(np.abs(values) < LARGEST, values, np.nan)


def _unit_ms(about: dict[str, Any], column: str, otherwise: float) -> float:
    return _MS.get(sidecar.time_unit(about.get(column)), otherwise)


def device_events(path: Path, clock: Clock, eye: str, warnings: list[str]) -> tuple[list[Events], list[Message]]:
    """Read the tracker's own events and messages of one eye; none where there is no such file."""
    source = sidecar.beside(path, "physioevents")
    if source is None:
        return [], []
    about = sidecar.collect(path, "physioevents")
    names = about.get("Columns")
    if not isinstance(names, list) or "onset" not in names:
        warnings.append(f"{source.name}: no sidecar names its columns; it was passed over")
        return [], []
    on_tracker = str(about.get("OnsetSource", "timestamp")).lower() == "timestamp"
    unit = _unit_ms(about, "onset", clock.unit_ms if on_tracker else 1000.0)
    exact = on_tracker and clock.origin_ns is not None and unit == _MS["ns"]
    kinds: dict[str, Kind] = {"onset": "ns" if exact else "number", "duration": "number"}
    kinds |= dict.fromkeys(("trial_type", "message", "blink"), "text")
    optional = tuple(name for name in kinds if name != "onset")
    table = read_columns(source, kinds, optional=optional, delimiter="\t", names=[str(n) for n in names])
    warnings += table.warnings
    onset = clock.onsets(table, "onset", unit, on_tracker=on_tracker)
    length = np.full(onset.size, np.nan)
    if "duration" in table:
        length = _held(table["duration"]) * _unit_ms(about, "duration", unit)
    return _split(table, onset, length, eye)


def _split(table: Columns, onset: F64, length: F64, eye: str) -> tuple[list[Events], list[Message]]:
    """Fixations, saccades and blinks are events; everything else that has a text is a message."""
    empty = np.full(onset.size, "", object)
    kind = np.char.lower(table.values.get("trial_type", empty).astype(str))
    blinks = np.isin(table.values.get("blink", empty).astype(str), ("1", "1.0"))
    kind[blinks & np.isin(kind, _NONE)] = "blink"
    rows = np.isin(kind, _KINDS) & np.isfinite(onset) & (length >= 0) & (length < LARGEST)
    events = event_table("", onset[rows], onset[rows] + length[rows])
    events |= {"kind": kind[rows].astype("U8"), "eye": np.full(np.count_nonzero(rows), eye, "U9")}
    messages = []
    texts = table.values.get("message", empty)
    for k in np.flatnonzero(np.isfinite(onset)):
        words = str(texts[k])
        if words in _NONE and kind[k] not in (*_KINDS, *_NONE):
            words = str(table["trial_type"][k])
        if words not in _NONE:
            messages.append(Message(float(onset[k]), words))
    return [events], messages


def task_events(path: Path, about: dict[str, Any], clock: Clock, time_ms: F64, warnings: list[str]) -> Shown:
    """Read what was shown; nothing where there is no such file."""
    source = sidecar.beside(path, "events")
    if source is None:
        return Shown()
    try:
        names = split_fields(read_head(source).split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r"), "\t")
    except RecordingError as error:
        warnings.append(f"{source.name} cannot be read ({error.found}); it was passed over")
        return Shown()
    if "onset" not in names:
        warnings.append(f"{source.name} has no column onset; it was passed over")
        return Shown()
    kinds: dict[str, Kind] = {n: "number" if n in ("onset", "duration") else "text" for n in names}
    table = read_columns(source, kinds, delimiter="\t")
    warnings += table.warnings
    on_tracker = str(about.get("OnsetSource", "")).lower() == "timestamp"
    # BIDS has the onsets of a task in seconds, whatever the unit of the tracker's clock.
    onset = clock.onsets(table, "onset", _unit_ms(about, "onset", 1000.0), on_tracker=on_tracker)
    length = _held(table["duration"]) * _unit_ms(about, "duration", 1000.0) if "duration" in table else onset * np.nan
    known = np.isfinite(onset)
    shown = Shown([Message(float(onset[k]), _text(table, int(k))) for k in np.flatnonzero(known)])
    named = next((n for n in ("stim_file", "stimulus") if n in table), None)
    if named:
        files = table[named]
        trial, stimulus = np.full(time_ms.size, np.nan), np.full(time_ms.size, "", object)
        for k in np.flatnonzero(known & (length > 0)):
            if str(files[k]).strip() not in _NONE:
                limits = np.array([onset[k], onset[k] + length[k]])
                part = slice(*np.searchsorted(time_ms, limits - _SLACK_MS))
                trial[part], stimulus[part] = k + 1, str(files[k]).strip().replace("\\", "/").rsplit("/", 1)[-1]
        if np.isfinite(trial).any():
            shown.columns = {"trial": trial, "stimulus": stimulus}
    return shown


def _text(table: Columns, k: int) -> str:
    """``trial_type`` (or "event"), then whatever else the row has, as ``name=value``."""
    kind = str(table["trial_type"][k]) if "trial_type" in table else ""
    said = [f"{n}={v[k]}" for n, v in table.values.items() if n not in ("onset", "duration", "trial_type")]
    return " ".join(["event" if kind in _NONE else kind, *(s for s in said if s.split("=", 1)[1] not in _NONE)])
