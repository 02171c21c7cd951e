"""What the exports of Tobii Pro Lab and Tobii Studio share.

Columns are found by what their names mean (see `gazepipe.readers._columns`): ``Gaze point left X [DACS px]``,
``Gaze point left X`` and ``GazePointLeftX (ADCSpx)`` are the same.

* Rows are of several sensors (eye tracker, mouse, gyroscope) or only carry an event. A row is a gaze sample if its
  ``Sensor`` is the eye tracker; in exports without that column, if it has a ``GazePointIndex``, else an eye tracker's
  timestamp, else a validity, else any gaze at all.
* Times are those of the recording. Where these are whole milliseconds, they come from the eye tracker's own clock, set
  to the recording's by the median (where the two drift, by the line) of their difference.
* The eyes are taken singly, and the joined gaze point only where there are no single ones. Gaze is missing where its
  validity says ``Invalid``, or 2, 3 or 4 (0 is certainly, 1 probably the eye).
* A stimulus is the medium's file name, or the stimulus' own name where it has no file; showing the calibration is none.
  `columns` has ``stimulus`` and ``trial`` (the number of the stimulus, NaN between stimuli) only where one is shown.
* `columns` has ``distance_mm`` (mean of both eyes' Z) and ``native_label`` where the export has them. `native_events`
  are the runs of Tobii's own label; ``offset_ms`` is the time of the last sample.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers._columns import (
    LARGEST,
    clean_eye,
    find_column,
    label_runs,
    mean_of_positive,
    normalise,
    number_stimuli,
)
from gazepipe.readers._table import Table, block_starts, clock_breaks, increasing, open_table, sampling_rate
from gazepipe.recording import EyeSamples, Message, Recording
from gazepipe.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Export", "invalid", "read_all", "read_one"]

F64 = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

_MS = {"ms": 1.0, "us": 1e-3, "s": 1e3}
_PX, _MM = ("dacspx", "px", ""), ("dacsmm", "mm", "")
# What is looked for: (stems, units), in the order in which they are preferred.
_NUMBERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "time": (("recordingtimestamp", "timestamp"), ("us", "ms", "")),
    "tracker_time": (("eyetrackertimestamp",), ("us", "ms", "")),
    "left_x": (("gazepointleftx", "gazepointxleft"), _PX),
    "left_y": (("gazepointlefty", "gazepointyleft"), _PX),
    "right_x": (("gazepointrightx", "gazepointxright"), _PX),
    "right_y": (("gazepointrighty", "gazepointyright"), _PX),
    "both_x": (("gazepointx",), _PX),
    "both_y": (("gazepointy",), _PX),
    "left_pupil": (("pupildiameterleft", "pupilleft"), ("mm", "")),
    "right_pupil": (("pupildiameterright", "pupilright"), ("mm", "")),
    "both_pupil": (("pupildiameterfiltered",), ("mm", "")),
    "left_z": (("eyepositionleftz", "eyeposleftz", "distanceleft"), _MM),
    "right_z": (("eyepositionrightz", "eyeposrightz", "distanceright"), _MM),
    "sample": (("gazepointindex",), ("",)),
    "fixation": (("fixationindex",), ("",)),
    "saccade": (("saccadeindex",), ("",)),
    "movement": (("eyemovementtypeindex",), ("",)),
    "fixation_x": (("fixationpointx",), _PX),
    "fixation_y": (("fixationpointy",), _PX),
    "media_fixation_x": (("fixationpointx",), ("mcspx",)),
    "media_fixation_y": (("fixationpointy",), ("mcspx",)),
    "media_x": (("presentedmediapositionx", "mediaposx"), _PX),
    "media_y": (("presentedmediapositiony", "mediaposy"), _PX),
    "media_width": (("presentedmediawidth", "mediawidth"), _PX),
    "media_height": (("presentedmediaheight", "mediaheight"), _PX),
}
_TEXTS: dict[str, tuple[str, ...]] = {
    "participant": ("participantname",),
    "recording": ("recordingname",),
    "sensor": ("sensor",),
    "left_valid": ("validityleft",),
    "right_valid": ("validityright",),
    "label": ("eyemovementtype", "gazeeventtype"),
    "media": ("presentedmedianame", "medianame", "stimuliname"),
    "stimulus": ("presentedstimulusname",),
}
# Columns of events and, for each, the one that says more about it.
_EVENTS = {
    "event": "eventvalue",
    "studioevent": "studioeventdata",
    "externalevent": "externaleventvalue",
    "keypressevent": "",
    "mouseevent": "",
}
# What `meta` takes. Names of participants and recordings are not: they are people's as often as not.
_ABOUT = re.compile(r"^(recording(?!timestamp|name)|project|export|timeline|average(calibration|validation))")
_CALIBRATION = re.compile(r"(?i)^eye\s?tracker calibration")
_DRIFT_MS = 2.0


@dataclass(frozen=True, slots=True)
class Export:
    """What tells one program's exports from the other's.

    Parameters
    ----------
    format
        Name of the reader.
    header
        Finds the line of column names.
    plain_unit
        Unit of ``Recording timestamp`` where its name has none.
    remedy
        How to export what is missing.
    """

    format: str
    header: re.Pattern[str]
    plain_unit: str
    remedy: str


def invalid(codes: Texts) -> npt.NDArray[np.bool_]:
    """Return which validities say that the eye was not found; an empty one does not say so."""
    import pandas as pd

    index, found = pd.factorize(codes)
    bad = [str(c).strip().lower() in {"invalid", "2", "3", "4", "2.0", "3.0", "4.0"} for c in found]
    return np.array(bad, np.bool_)[index]


def read_one(path: Path, export: Export) -> Recording:
    """Read an export of one recording.

    Raises
    ------
    RecordingError
        As `read_all`, and if it has several recordings: who is meant cannot be said in one file's name.
    """
    table, parts = _parts(Path(path), export)
    if len(parts) > 1:
        names = [" ".join(filter(None, key)) or "(no name)" for key in parts]
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise RecordingError(
            path,
            f"it has {len(parts)} recordings ({shown})",
            expected="one recording a file",
            remedy="export each recording to a file of its own, or divide this one by participant and recording name",
        )
    return _recording(table, next(iter(parts.values())), export)


def read_all(path: Path, export: Export) -> dict[tuple[str, str], Recording]:
    """Read an export of several recordings: (participant, recording name) → recording, in the file's order.

    Raises
    ------
    RecordingError
        If columns are missing, a cell is not a number, or a recording has no two samples.
    """
    table, parts = _parts(Path(path), export)
    return {key: _recording(table, part, export) for key, part in parts.items()}


def _parts(path: Path, export: Export) -> tuple[Table, dict[tuple[str, str], pd.DataFrame]]:
    """Parse the export; the rows of each recording, with the keys of the tables above for columns."""
    table = open_table(path, export.header)
    names = [normalise(name) for name in table.names]
    numbers = {key: find_column(names, *wanted) for key, wanted in _NUMBERS.items()}
    texts = {key: find_column(names, stems, ("",)) for key, stems in _TEXTS.items()}
    for event, value in _EVENTS.items():
        texts |= {key: find_column(names, (key,), ("",)) for key in (event, value) if key}
    where = {key: k for key, k in (numbers | texts).items() if k is not None}
    _check(table, where, export)
    if any(stem.startswith(("gyro", "accelerometer")) for stem, _ in names):
        table.warnings.append("it is of eye tracking glasses: gaze is in pixels of their video, not of a screen")
    time = where["time"] if "time" in where else where["tracker_time"]
    with_text = {k for key, k in where.items() if key in texts}

    def keep(chunk: pd.DataFrame) -> pd.DataFrame:
        # A column may serve twice, so that renaming would not do.
        chunk = chunk[list(where.values())].set_axis(list(where), axis=1)
        chunk["is_sample"] = _is_sample(chunk)
        return chunk[chunk["is_sample"] | _has_event(chunk)]

    frame = table.parse(set(where.values()) - with_text, with_text, keep, {time})
    for key in ("time", "tracker_time"):
        if key in where:
            unit = names[where[key]][1] or (export.plain_unit if key == "time" else "us")
            frame[key] *= _MS[unit]
    if not frame["is_sample"].any():
        what = "of the sensor 'Eye Tracker'" if "sensor" in where else "with gaze"
        raise RecordingError(path, f"there are no rows {what}", expected="gaze samples", remedy=export.remedy)
    for key in ("participant", "recording"):
        if key not in frame:
            frame[key] = ""
    keys = frame.groupby(["participant", "recording"], sort=False)
    return table, {(str(a), str(b)): part for (a, b), part in keys if part["is_sample"].any()}


def _check(table: Table, where: dict[str, int], export: Export) -> None:
    """Raise unless there are times and gaze."""
    if not {"time", "tracker_time"} & set(where):
        raise table.no_column(export.remedy, "times")
    if not any({f"{eye}_x", f"{eye}_y"} <= set(where) for eye in ("left", "right", "both")):
        raise table.no_column(export.remedy, "gaze points on the screen in pixels")


def _is_sample(chunk: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows are gaze samples; see the top of this module."""
    if "sensor" in chunk:
        sensors = {s: re.sub(r"[^a-z]", "", s.lower()).startswith("eyetracker") for s in chunk["sensor"].unique()}
        return chunk["sensor"].map(sensors).to_numpy(np.bool_)
    for key in ("sample", "tracker_time"):
        if key in chunk:
            return chunk[key].notna().to_numpy(np.bool_)
    codes = [key for key in ("left_valid", "right_valid") if key in chunk]
    if codes:
        return (chunk[codes] != "").any(axis=1).to_numpy(np.bool_)
    gaze = [f"{eye}_{axis}" for eye in ("left", "right", "both") for axis in "xy" if f"{eye}_{axis}" in chunk]
    return chunk[gaze].notna().any(axis=1).to_numpy(np.bool_) | ~_has_event(chunk)


def _has_event(chunk: pd.DataFrame) -> npt.NDArray[np.bool_]:
    keys = [key for key in _EVENTS if key in chunk]
    return (chunk[keys] != "").any(axis=1).to_numpy(np.bool_)


def _recording(table: Table, part: pd.DataFrame, export: Export) -> Recording:
    """One recording out of its rows."""
    warnings = list(table.warnings)
    rows = part[part["is_sample"]]
    time = _clock(rows, warnings)
    kept = increasing(time)
    if not kept.all():
        warnings.append(f"{counted(int((~kept).sum()), 'row')} with the time of the row before gave no sample")
        rows, time = rows[kept], time[kept]
    if time.size < 2:
        raise table.too_few(time.size)
    rate = sampling_rate(table.path, time)
    start = block_starts(time, rate)
    warnings += clock_breaks(time)
    columns: dict[str, npt.NDArray[Any]] = {}
    shown = _stimulus(rows)
    if (shown != "").any():
        columns |= {"stimulus": shown, "trial": number_stimuli(shown)}
    z = [rows[key].to_numpy(np.float64) for key in ("left_z", "right_z") if key in rows]
    if z:
        columns["distance_mm"] = mean_of_positive(z)
    if "label" in rows:
        columns["native_label"] = rows["label"].to_numpy(object)
    about = {name: cell for name, cell in zip(table.names, _row_of(table, part), strict=True) if cell}
    return Recording(
        path=table.path,
        format=export.format,
        time_ms=time,
        eyes=_eyes(rows, warnings),
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=_messages(part, warnings),
        columns=columns,
        native_events=_native(rows, time, start),
        display_px=_display(about),
        meta={n: c for n, c in about.items() if _ABOUT.match(normalise(n)[0])} | _media(rows, shown),
        warnings=warnings,
    )


def _row_of(table: Table, part: pd.DataFrame) -> list[str]:
    """Return the cells of the recording's first row."""
    name = str(part["participant"].iloc[0]), str(part["recording"].iloc[0])
    names = [normalise(n) for n in table.names]
    at = [find_column(names, _TEXTS[key], ("",)) for key in ("participant", "recording")]
    for _, row in table.rows():
        row = (row + [""] * len(names))[: len(names)]
        if all(k is None or row[k] == n for k, n in zip(at, name, strict=True)):
            return row
    return [""] * len(names)


def _clock(rows: pd.DataFrame, warnings: list[str]) -> F64:
    """Sample times in ms on the recording's clock, from the eye tracker's where the former is coarse."""
    time: F64 | None = rows["time"].to_numpy(np.float64) if "time" in rows else None
    if "tracker_time" not in rows or rows["tracker_time"].isna().any():
        if time is None:
            time = rows["tracker_time"].to_numpy(np.float64)
        return time
    tracker: F64 = rows["tracker_time"].to_numpy(np.float64)
    if time is None or not np.isfinite(tracker).all():
        return tracker if time is None else time
    if (time != np.round(time)).any():
        return time  # microseconds
    difference = time - tracker
    offset = float(np.median(difference))
    if np.abs(difference - offset).max() <= _DRIFT_MS:
        return tracker + offset
    since = tracker - tracker[0]
    line = np.polyfit(since, difference, 1) if np.ptp(since) > 0 else np.zeros(2)
    fitted: F64 = tracker + np.polyval(line, since)
    if np.abs(time - fitted).max() <= _DRIFT_MS:
        return fitted
    warnings.append("the eye tracker's timestamps do not go with the recording's, which were used (whole milliseconds)")
    return time


def _eyes(rows: pd.DataFrame, warnings: list[str]) -> dict[str, EyeSamples]:
    single = {eye: _eye(rows, eye) for eye in ("left", "right") if {f"{eye}_x", f"{eye}_y"} <= set(rows.columns)}
    both = {"cyclopean": _eye(rows, "both")} if {"both_x", "both_y"} <= set(rows.columns) else {}
    if not single:
        return both
    nothing = all(np.isnan(eye.x_px).all() for eye in single.values())
    if nothing and both and not np.isnan(both["cyclopean"].x_px).all():
        warnings.append("there is no gaze of single eyes; that of both together was taken")
        return both
    return single


def _eye(rows: pd.DataFrame, eye: str) -> EyeSamples:
    """One eye's samples, NaN where its validity (for both eyes together: each one's) says that it was not found."""
    x, y = (rows[f"{eye}_{axis}"].to_numpy(np.float64) for axis in "xy")
    codes = [rows[f"{e}_valid"] for e in ("left", "right") if eye in (e, "both") and f"{e}_valid" in rows]
    lost = np.full(x.size, bool(codes))
    for code in codes:
        lost &= invalid(code.to_numpy(object))
    pupils = [rows[p].to_numpy(np.float64) for p in ("left_pupil", "right_pupil") if eye == "both" and p in rows]
    if f"{eye}_pupil" in rows:
        pupils = [rows[f"{eye}_pupil"].to_numpy(np.float64)]
    return clean_eye(x, y, mean_of_positive(pupils).astype(np.float64) if pupils else None, lost)


def _stimulus(rows: pd.DataFrame) -> Texts:
    """Name of what is shown at each sample, "" for nothing."""
    shown = np.full(len(rows), "", object)
    for key in ("stimulus", "media"):
        if key in rows:
            names = rows[key].to_numpy(object)
            shown = np.where(names != "", names, shown)
    none = {name for name in set(shown) if _CALIBRATION.match(name)}
    return np.where(np.isin(shown, list(none)), "", shown).astype(object) if none else shown


def _messages(part: pd.DataFrame, warnings: list[str]) -> list[Message]:
    """Events with what is said about them, in the file's order."""
    out: list[tuple[int, Message]] = []
    times = part["time" if "time" in part else "tracker_time"].to_numpy(np.float64)
    untimed = 0
    for event, value in _EVENTS.items():
        if event not in part:
            continue
        texts = part[event].to_numpy(object)
        values = part[value].to_numpy(object) if value in part else np.full(len(part), "", object)
        for k in np.flatnonzero(texts != "").tolist():
            if np.isfinite(times[k]):
                out.append((k, Message(float(times[k]), f"{texts[k]} {values[k]}".strip())))
            else:
                untimed += 1
    if untimed:
        warnings.append(f"left out: {counted(untimed, 'event')} without a time")
    return [message for _, message in sorted(out, key=lambda pair: pair[0])]


def _native(rows: pd.DataFrame, time: F64, start: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Tobii's own fixations and saccades: runs of its label and index."""
    if "label" not in rows:
        return {}
    indices = [rows[key].to_numpy(np.float64) for key in ("movement", "fixation", "saccade") if key in rows]
    first, events = label_runs(rows["label"].to_numpy(object), time, start, indices, ("fixation", "saccade"))
    x, y = _fixation_points(rows)
    return events | {"eye": np.full(first.size, "cyclopean"), "x_px": x[first], "y_px": y[first]}


def _fixation_points(rows: pd.DataFrame) -> tuple[F64, F64]:
    """Return Tobii's fixation points on the screen; Studio gives them on the medium."""
    if {"fixation_x", "fixation_y"} <= set(rows.columns):
        return _place(rows["fixation_x"]), _place(rows["fixation_y"])
    if {"media_fixation_x", "media_fixation_y", "media_x", "media_y"} <= set(rows.columns):
        x, y = (_place(rows[f"media_fixation_{a}"]) + _place(rows[f"media_{a}"]) for a in "xy")
        return x, y
    return np.full(len(rows), np.nan), np.full(len(rows), np.nan)


def _place(column: pd.Series) -> F64:
    """Pixels, NaN where there are none or more than there can be."""
    values: F64 = column.to_numpy(np.float64)
    return np.where(np.abs(values) < LARGEST, values, np.nan)


def _display(about: dict[str, str]) -> tuple[int, int] | None:
    found = {normalise(name)[0]: cell for name, cell in about.items()}
    text = found.get("recordingresolution")
    if text is None:
        text = f"{found.get('recordingresolutionwidth')}x{found.get('recordingresolutionheight')}"
    match = re.fullmatch(r"\s*(\d{2,5})\D+(\d{2,5})\s*", text)
    return (int(match[1]), int(match[2])) if match else None


def _media(rows: pd.DataFrame, shown: Texts) -> dict[str, Any]:
    """Where each stimulus stood on the screen: name → [left, top, width, height] in px."""
    import pandas as pd

    keys = ["media_x", "media_y", "media_width", "media_height"]
    if not set(keys) <= set(rows.columns):
        return {}
    sizes = pd.DataFrame({key: _place(rows[key]) for key in keys})
    if not (shown != "").any():
        # One medium without a name, as in exports that are divided by medium.
        place = sizes.dropna().drop_duplicates()
        return {"media_px": {"": place.to_numpy().tolist()[0]}} if len(place) == 1 else {}
    places = sizes.assign(shown=shown)
    places = places[places["shown"] != ""].dropna().drop_duplicates("shown")
    return {"media_px": dict(zip(places["shown"], places[keys].to_numpy().tolist(), strict=True))}
