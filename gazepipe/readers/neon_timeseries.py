"""Timeseries CSV of Pupil Labs Neon and Invisible: Pupil Cloud's download, or an export of Neon Player.

A folder with ``gaze.csv`` and, where the tracker computed them, ``fixations.csv``, ``saccades.csv``, ``blinks.csv``,
``3d_eye_states.csv``; what was sent during the recording is in ``events.csv``. ``gaze.csv`` may also be given by
itself, and under another name (then nothing beside it is read).

* Neon Player writes fewer columns: without section, recording, worn.
* Samples with ``worn`` 0 are NaN.
* Pupils (of the 3-D eye states) belong to the same eye images as the gaze: they are matched by equal times.

Gaze is in pixels of the scene camera, not of the stimulus (``meta["coordinates"]`` is ``"scene"``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import _pupil_labs as pupil_labs
from gazepipe.readers._columns import LARGEST, clean_eye, mean_of_positive
from gazepipe.readers._exact import Columns, Kind, read_columns
from gazepipe.readers._pupil_labs import TIME
from gazepipe.readers._table import block_starts, clock_breaks, sampling_rate
from gazepipe.readers.source import Reader
from gazepipe.recording import Recording
from gazepipe.words import counted

__all__ = ["READER", "files", "read", "sniff"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_FORMAT = "neon-timeseries"
_GAZE: dict[str, Kind] = {
    TIME: "ns",
    "gaze x [px]": "number",
    "gaze y [px]": "number",
    "worn": "text",
    "section id": "text",
    "recording id": "text",
}
_OPTIONAL = ("worn", "section id", "recording id")
_TABLES = ("fixations.csv", "saccades.csv", "blinks.csv", "3d_eye_states.csv", "events.csv")
_BESIDE = (*_TABLES, "info.json", "scene_camera.json")
_NOT_WORN = ("0", "0.0", "false")
_PUPILS = ("pupil diameter left [mm]", "pupil diameter right [mm]")


def sniff(head: bytes, path: Path) -> bool:
    """Whether a table, or ``gaze.csv`` of a folder, has gaze in scene pixels at nanoseconds."""
    line = pupil_labs.first_line(head, path)
    return TIME in line and "gaze x [px]" in line


def files(path: Path) -> list[Path]:
    """All files of the recording that are read."""
    return pupil_labs.cloud_files(path, _BESIDE)


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a Timeseries CSV recording.

    Parameters
    ----------
    path
        The folder, or its ``gaze.csv``.
    config
        Not used: the gaze is not on the screen.

    Returns
    -------
    Recording
        One eye, ``"cyclopean"``, whose pupil is the mean of both in mm; `columns` has ``"pupil_left_mm"`` and
        ``"pupil_right_mm"`` where there are eye states, and ``"worn"`` where the glasses were taken off.

    Raises
    ------
    RecordingError
        If a table is damaged, or has the gaze of several recordings.
    """
    path = Path(path)
    source, folder = pupil_labs.cloud_place(path)
    table = read_columns(source, _GAZE, optional=_OPTIONAL)
    recording = pupil_labs.only_recording(table)
    warnings = [pupil_labs.SCENE_WARNING, *table.warnings]
    kept, doubled = pupil_labs.new_times(source, table[TIME], table.first_line)
    table, warnings = table.take(kept), warnings + doubled
    if table.n_rows < 2:
        raise RecordingError(source, f"it has {counted(table.n_rows, 'gaze sample')}", expected="two or more")
    origin = int(table[TIME][0])
    time = pupil_labs.to_ms(table[TIME], origin)
    off = _not_worn(table)
    columns = _pupils(folder, table[TIME], off, recording, warnings) if folder else {}
    pupil = mean_of_positive(list(columns.values())).astype(np.float64) if columns else None
    columns |= {"worn": ~off} if off.any() else {}
    rate = sampling_rate(source, time)
    sections = table.get("section id")
    start = block_starts(time, rate)
    warnings += clock_breaks(time)
    if sections is not None:
        start = np.union1d(start, np.flatnonzero(sections[1:] != sections[:-1]) + 1).astype(np.int64)
    info = pupil_labs.read_json(folder / "info.json", warnings) if folder else {}
    meta = pupil_labs.about(info, {}) | (_camera(folder, warnings) if folder else {})
    meta |= {"recording_id": recording} if recording else {}
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes={"cyclopean": clean_eye(table["gaze x [px]"], table["gaze y [px]"], pupil, off)},
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=pupil_labs.messages_of(folder / "events.csv", origin, recording, warnings) if folder else [],
        columns=columns,
        native_events=_events(folder, origin, recording, warnings) if folder else {},
        display_px=pupil_labs.scene_px(info),
        meta=meta | {"coordinates": "scene", "time_origin_ns": origin},
        warnings=warnings,
    )


def _not_worn(table: Columns) -> npt.NDArray[np.bool_]:
    worn = table.get("worn")
    if worn is None:
        return np.zeros(table.n_rows, bool)
    return np.isin(np.char.lower(np.char.strip(worn.astype(str))), _NOT_WORN)


def _pupils(
    folder: Path, ns: I64, off: npt.NDArray[np.bool_], recording: str, warnings: list[str]
) -> dict[str, npt.NDArray[Any]]:
    """Diameters in mm at the gaze samples; nothing where they were not computed."""
    path = folder / "3d_eye_states.csv"
    if not path.is_file():
        return {}
    kinds: dict[str, Kind] = {TIME: "ns", "recording id": "text", _PUPILS[0]: "number", _PUPILS[1]: "number"}
    states = read_columns(path, kinds, optional=("recording id", *_PUPILS))
    warnings += states.warnings
    states = pupil_labs.of_recording(states, recording)
    at = np.searchsorted(ns, states[TIME])
    same = at < ns.size
    same[same] = ns[at[same]] == states[TIME][same]
    out: dict[str, npt.NDArray[Any]] = {}
    for key, name in zip(("pupil_left_mm", "pupil_right_mm"), _PUPILS, strict=True):
        values = states.get(name)
        if values is not None:
            sizes = np.full(ns.size, np.nan)
            sizes[at[same]] = values[same]
            sizes[off | ~((sizes > 0) & (sizes < LARGEST))] = np.nan
            out[key] = sizes
    return out


def _events(folder: Path, origin: int, recording: str, warnings: list[str]) -> pupil_labs.Events:
    """Fixations, saccades and blinks as Pupil Cloud or Neon Player computed them, in scene pixels."""
    found = []
    for kind, numbers in (
        ("fixation", ("fixation x [px]", "fixation y [px]")),
        ("saccade", ("amplitude [deg]",)),
        ("blink", ()),
    ):
        spans = pupil_labs.read_spans(folder / f"{kind}s.csv", numbers, recording, warnings)
        if spans is not None:
            onset, offset = (pupil_labs.to_ms(spans[f"{end} timestamp [ns]"], origin) for end in ("start", "end"))
            x, y, size = (spans.get(name) for name in ("fixation x [px]", "fixation y [px]", "amplitude [deg]"))
            found.append(pupil_labs.event_table(kind, onset, offset, x, y, size))
    return pupil_labs.join_events(found)


def _camera(folder: Path, warnings: list[str]) -> dict[str, Any]:
    """Return the scene camera's matrix and distortion, which older and newer files name differently."""
    camera = pupil_labs.read_json(folder / "scene_camera.json", warnings)
    distortion = camera.get("distortion_coefficients", camera.get("dist_coefs"))
    found: dict[str, Any] = {}
    for key, value in (("camera_matrix", camera.get("camera_matrix")), ("distortion_coefficients", distortion)):
        if value is not None:
            try:
                found[key] = np.asarray(value, np.float64).reshape((3, 3) if key == "camera_matrix" else -1).tolist()
            except (ValueError, TypeError, OverflowError):
                warnings.append(f"scene_camera.json: {key} is not understood; it was passed over")
    return found


READER = Reader(_FORMAT, sniff, read, files)
