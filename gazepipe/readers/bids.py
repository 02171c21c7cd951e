"""BIDS 1.11 eye tracking: ``…_recording-eye1_physio.tsv.gz``, a table without column names, and its JSON sidecar.

* The sidecar is put together from the JSON files that apply, from the data set's root down to the table's folder; a
  nearer one overrides.
* The files of one recording (eye1, eye2 …) are joined where their times are the same; ``RecordedEye`` tells which eye.
* The unit of time is the sidecar's; without one it is the one that goes with ``SamplingFrequency``. Nanoseconds are
  counted from the first, which is ``meta["time_origin_ns"]``.
* Positions are pixels of the screen (``SampleCoordinateSystem`` "gaze-on-screen"), from the corner that is
  ``ScreenOrigin``; "gaze-in-world" is kept in its own pixels as ``meta["coordinates"]`` ``"scene"``.
* Blocks are what a hole of more than a second parts, unless the sidecar has the key ``Blocks`` of gazepipe's export.
* ``…_physioevents`` has the tracker's events and messages. Their onsets are in units of the column that ``OnsetSource``
  names, so are durations, unless the sidecar gives a unit.
* ``…_events.tsv`` has what was shown, in seconds after the first sample (less ``StartTime``), or on the tracker's clock
  where ``OnsetSource`` is "timestamp". Each row is a message; ``stim_file``, or ``stimulus`` without it, also makes the
  columns trial and stimulus.

Early converters wrote the columns in another order than their sidecars say, time first as BIDS now demands. Where the
sidecar's time does not increase and the first column does, the latter is the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import _bids_sidecar as sidecar
from gazepipe.readers._bids_events import Clock, device_events, task_events
from gazepipe.readers._columns import clean_eye
from gazepipe.readers._exact import Columns, Kind, read_columns
from gazepipe.readers._pupil_labs import join_events, new_times
from gazepipe.readers._table import block_starts, clock_breaks, sampling_rate
from gazepipe.readers.source import Reader
from gazepipe.recording import EYES, EyeSamples, Recording
from gazepipe.words import counted

__all__ = ["READER", "companion", "files", "read", "sniff"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_FORMAT = "bids"
_KEPT = (
    "Manufacturer",
    "ManufacturersModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "SamplingFrequency",
    "StartTime",
    "SampleCoordinateSystem",
    "EyeTrackerDistance",
    "EyeTrackingMethod",
    "PupilFitMethod",
    "RawDataFilters",
    "CalibrationType",
    "CalibrationCount",
    "CalibrationUnit",
    "AverageCalibrationError",
    "MaximalCalibrationError",
)
_POSITIONS = ("x_coordinate", "y_coordinate")


def sniff(head: bytes, path: Path) -> bool:
    """Whether the name is that of a physio table of an eye, or its sidecar says so."""
    name = sidecar.parse(path.name)
    if path.is_dir() or name is None or name.suffix != "physio":
        return False
    if name.eye:
        return True
    try:
        return str(sidecar.collect(path, "physio").get("PhysioType")).lower() == "eyetrack"
    except RecordingError:
        return False


def files(path: Path) -> list[Path]:
    """All files that the recording is read from."""
    found = [path, *_siblings(path)]
    found += [p for eye in found for p in (*sidecar.applying(eye, "physio"), *sidecar.applying(eye, "physioevents"))]
    found += [p for eye in (path, *_siblings(path)) if (p := sidecar.beside(eye, "physioevents"))]
    found += sidecar.applying(path, "events")
    events = sidecar.beside(path, "events")
    return list(dict.fromkeys(found + ([events] if events else [])))


def companion(path: Path) -> bool:
    """Whether this is a BIDS table that is no recording of its own: events, or a second eye."""
    name = sidecar.parse(path.name)
    if name is None or not path.name.lower().startswith("sub-"):
        return path.name.lower() == "participants.tsv"
    if name.suffix in ("events", "physioevents", "channels", "electrodes", "scans", "sessions"):
        return True
    first = min((p.name for p in _siblings(path)), default=path.name)
    return name.suffix == "physio" and bool(name.eye) and first < path.name


def _siblings(path: Path) -> list[Path]:
    """The other eyes of the same recording."""
    name = sidecar.parse(path.name)
    if name is None or not name.eye:
        return []
    try:
        others = sorted(p for p in path.parent.iterdir() if p.name != path.name)
    except OSError:
        return []
    return [p for p in others if (found := sidecar.parse(p.name)) and found.eye and found.shared == name.shared]


def read(path: Path, config: StudyConfig) -> Recording:
    """Read the eyes of one recording.

    Parameters
    ----------
    path
        The table of either eye.
    config
        Its `screen` is compared with the one that the data set states.

    Returns
    -------
    Recording
        Eyes by ``RecordedEye``.

    Raises
    ------
    RecordingError
        If there is no sidecar, the positions are not pixels, or a table is damaged.
    """
    path = Path(path)
    about = sidecar.collect(path, "physio")
    presented = sidecar.collect(path, "events")
    screen = sidecar.screen_of(path, presented)
    warnings: list[str] = screen.differences(config.screen)
    table = _samples(path, about, warnings)
    clock = Clock.of(table.times, table.unit_ms, about)
    time = clock.samples(table.times)
    eyes = {_eye_name(path, about, warnings): _eye(path, table, about, screen, warnings)}
    native, messages = device_events(path, clock, next(iter(eyes)), warnings)
    for other in _siblings(path):
        told = sidecar.collect(other, "physio")
        samples = _samples(other, told, warnings)
        name = _eye_name(other, told, warnings)
        if name in eyes or not np.array_equal(samples.times, table.times):
            why = f"is also of the {name} eye" if name in eyes else "has other times"
            warnings.append(f"{other.name} {why} and was not joined to this recording")
            continue
        eyes[name] = _eye(other, samples, told, screen, warnings)
        more, texts = device_events(other, clock, name, warnings)
        native += more
        known = {(m.time_ms, m.text) for m in messages}
        messages += [m for m in texts if (m.time_ms, m.text) not in known]
    shown = task_events(path, presented, clock, time, warnings)
    rate = sampling_rate(path, time)
    warnings += clock_breaks(time)
    blocks = _stated_blocks(about, time.size)
    if blocks is None:
        start = block_starts(time, rate)
        blocks = start, np.full(start.size, _stated_rate(about, rate, warnings), np.float64)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes={name: eyes[name] for name in EYES if name in eyes},
        block_start=blocks[0],
        sampling_rate_hz=blocks[1],
        messages=messages + shown.messages,
        columns=shown.columns,
        native_events=join_events(native),
        display_px=screen.size_px,
        meta=_meta(about, screen, clock),
        warnings=warnings,
    )


def _meta(about: dict[str, Any], screen: sidecar.BidsScreen, clock: Clock) -> dict[str, Any]:
    world = _system(about) == "gaze-in-world"
    meta = {key: about[key] for key in _KEPT if key in about}
    meta |= screen.meta() | {"coordinates": "scene" if world else "screen"}
    return meta | ({} if clock.origin_ns is None else {"time_origin_ns": clock.origin_ns})


def _system(about: dict[str, Any]) -> str:
    return str(about.get("SampleCoordinateSystem", "")).lower()


def _stated_blocks(about: dict[str, Any], n: int) -> tuple[I64, F64] | None:
    """First sample and rate of each block, where gazepipe wrote the data set; the specification has no such key."""
    stated = about.get("Blocks")
    if not isinstance(stated, list) or not all(isinstance(b, dict) for b in stated):
        return None
    rows = [b.get("FirstRow") for b in stated]
    rates = [r for b in stated if (r := sidecar.number(b.get("SamplingFrequency"))) is not None]
    if not all(type(r) is int for r in rows) or len(rates) != len(rows) or rows[:1] != [0]:
        return None
    starts = np.array(rows, np.int64) if max(rows) < n else np.zeros(0, np.int64)
    fits = starts.size > 0 and bool((np.diff(starts) > 0).all())
    return (starts, np.array(rates)) if fits else None


def _stated_rate(about: dict[str, Any], found: float, warnings: list[str]) -> float:
    """Return the sidecar's rate if the times agree with it, else theirs."""
    stated = sidecar.number(about.get("SamplingFrequency"))
    if stated is None or abs(found / stated - 1) > 0.2:
        if stated is not None:
            warnings.append(f"SamplingFrequency is {stated:g} Hz, but the times give {found:.5g} Hz: this was taken")
        return found
    return stated


@dataclass(frozen=True, slots=True)
class _Table:
    """One eye's columns: time in ms, or int64 nanoseconds, and the others by name."""

    times: npt.NDArray[Any]
    unit_ms: float
    columns: dict[str, F64]


def _samples(path: Path, about: dict[str, Any], warnings: list[str]) -> _Table:
    """Read the table of one eye."""
    names = _column_names(path, about)
    unit = sidecar.time_unit(about.get("timestamp"))
    used = [n for n in names if n in ("timestamp", *_POSITIONS, "pupil_size")]
    kinds: dict[str, Kind] = dict.fromkeys([names[0], *used], "number")
    if "timestamp" in kinds and unit == "ns":
        kinds["timestamp"] = "ns"
    table = read_columns(path, kinds, delimiter="\t", names=names)
    warnings += table.warnings
    if table.n_rows < 2:
        raise RecordingError(path, f"it has {counted(table.n_rows, 'row')} of samples", expected="two or more")
    values = _in_true_order(path, names, table, warnings)
    if "timestamp" not in values:
        times, unit_ms = _counted(path, about, table.n_rows), 1.0
    elif unit == "ns":
        times, unit_ms = values["timestamp"], 1e-6
    else:
        unit_ms = sidecar.ms_of(path, unit, values["timestamp"], about, warnings)
        times = values["timestamp"] * unit_ms
    kept, doubled = _increasing(path, times, table.first_line)
    warnings += doubled
    return _Table(times[kept], unit_ms, {n: v.astype(np.float64)[kept] for n, v in values.items()})


def _in_true_order(path: Path, names: list[str], table: Columns, warnings: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the columns by name; time is the first one where only that increases."""
    values = table.values
    if names[0] == "timestamp" or "timestamp" not in values:
        return values
    if _increases(values["timestamp"]) or not _increases(values[names[0]]):
        return values
    at = names.index("timestamp")
    warnings.append(f"{path.name}: the first column is the time, not column {at + 1} as the sidecar says")
    shifted = ["timestamp", *names[:at], *names[at + 1 :]]
    found = {new: values[old] for new, old in zip(shifted, names, strict=True) if old in values}
    if not set(_POSITIONS) <= set(found):
        what = "the first column is the time, not the one that the sidecar says, and positions cannot be told"
        raise RecordingError(path, what, remedy="put the sidecar's Columns in the order of the table")
    return found


def _increasing(path: Path, times: npt.NDArray[Any], line: int) -> tuple[npt.NDArray[np.bool_], list[str]]:
    if times.dtype == np.int64:
        return new_times(path, times, line)
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise RecordingError(path, "the time is missing", expected="a number", line=int(bad[0]) + line)
    steps = np.diff(times)
    if (steps < 0).any():
        k = int(np.flatnonzero(steps < 0)[0]) + 1
        found = f"the time {times[k]:.12g} ms follows {times[k - 1]:.12g} ms"
        raise RecordingError(path, found, expected="times that increase", remedy="convert it again", line=line + k)
    kept = np.append(True, steps > 0)
    doubled = int(np.count_nonzero(~kept))
    return kept, [f"left out: {counted(doubled, 'sample')} with the time of the sample before"] if doubled else []


def _column_names(path: Path, about: dict[str, Any]) -> list[str]:
    names = about.get("Columns")
    if not isinstance(names, list) or not names or not set(_POSITIONS) <= {str(n) for n in names}:
        found = "there is no sidecar" if not about else f"the sidecar's Columns are {str(names)[:80]}"
        raise RecordingError(
            path,
            found,
            expected="a JSON file whose Columns have timestamp, x_coordinate and y_coordinate",
            remedy="put the sidecar beside it, or above it in the data set",
        )
    return [str(n) for n in names]


def _increases(values: npt.NDArray[Any]) -> bool:
    return bool(np.isfinite(values).all() and (np.diff(values) > 0).all())


def _counted(path: Path, about: dict[str, Any], n: int) -> F64:
    """Return times of a table without them."""
    rate = sidecar.number(about.get("SamplingFrequency"))
    if rate is None:
        found = "there is neither a timestamp column nor a SamplingFrequency"
        raise RecordingError(path, found, remedy="add one to the sidecar")
    return np.arange(n, dtype=np.float64) * (1000.0 / rate)


def _eye_name(path: Path, about: dict[str, Any], warnings: list[str]) -> str:
    eye = str(about.get("RecordedEye", "")).lower()
    if eye not in EYES:
        warnings.append(f"{path.name}: RecordedEye is {eye!r}; cyclopean was taken")
    return eye if eye in EYES else "cyclopean"


def _eye(
    path: Path, table: _Table, about: dict[str, Any], screen: sidecar.BidsScreen, warnings: list[str]
) -> EyeSamples:
    """One eye's samples in pixels from the top-left corner."""
    system = _system(about)
    if system not in ("", "gaze-on-screen", "gaze-in-world"):
        raise RecordingError(
            path,
            f"SampleCoordinateSystem is {system!r}",
            expected="gaze-on-screen",
            remedy="convert the recording again, with gaze in pixels of the screen",
        )
    sidecar.check_pixels(path, about, _POSITIONS, warnings)
    x, y = (table.columns[name] for name in _POSITIONS)
    if system != "gaze-in-world":
        x, y = screen.from_top_left(path, x, y)
    return clean_eye(x, y, table.columns.get("pupil_size"), np.isnan(x) | np.isnan(y))


READER = Reader(_FORMAT, sniff, read, files, companion)
