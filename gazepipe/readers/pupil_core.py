"""Exports of Pupil Player for Pupil Core: gaze in the scene, or on a surface that it tracked.

``gaze_positions.csv`` has gaze in the scene camera's picture; ``surfaces/gaze_positions_on_surface_<name>.csv`` has it
on a surface. Either file may be given, or the export's folder: of that the surface is read, if there is exactly one
or one is called "screen", else the scene.

* Positions are 0 … 1 from the bottom-left corner, y up. A surface is taken to be the screen, whose pixels are the
  study's. Gaze beside it keeps its values.
* Gaze of a confidence below 0.6 is NaN: Pupil Labs' own limit.
* Two eyes that are filmed in turn make the samples irregular (2 to 13 ms apart at a nominal 250 Hz): the rate is that
  of all samples outside holes.
* Times are seconds of a clock that starts anywhere; ``meta["start_time_synced_s"]`` and ``meta["start_time_system_s"]``
  of the recording's ``info.player.json``, two folders up, tie it to the wall's.
* Annotations are messages. Fixations (of the scene) and blinks are native events.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import _pupil_labs as pupil_labs
from gazepipe.readers._columns import clean_eye
from gazepipe.readers._exact import Columns, Kind, read_columns
from gazepipe.readers._table import block_starts, clock_breaks, split_fields
from gazepipe.readers.source import Reader
from gazepipe.recording import Message, Recording
from gazepipe.words import counted

__all__ = ["MIN_CONFIDENCE", "READER", "files", "read", "sniff"]

F64 = npt.NDArray[np.float64]
_FORMAT = "pupil-core"
#: Gaze below it is taken for missing.
MIN_CONFIDENCE = 0.6
_TIME = "gaze_timestamp"
_SCENE = "gaze_positions.csv"
_SURFACE = re.compile(r"gaze_positions_on_surface_(.+)\.csv")
# Pupil Capture's default; neither the export nor its info file states what was used.
_SCENE_PX = (1280, 720)
_BESIDE = ("annotations.csv", "blinks.csv")
_LATE_S = 1.0
_LATEST_S = 1e12  # no clock counts so far
_KEPT = (
    "recording_uuid",
    "recording_name",
    "recording_software_version",
    "start_time_synced_s",
    "start_time_system_s",
    "duration_s",
)


def sniff(head: bytes, path: Path) -> bool:
    """Whether this is a table with a gaze timestamp and normalised positions, or a folder with one."""
    if path.is_dir():
        try:
            with _of_folder(path)[0].open("rb") as file:
                head = file.read(4096)
        except (OSError, RecordingError):
            return bool(_surfaces(path))
    names = _first_line(head)
    return _TIME in names and ("norm_pos_x" in names or "x_norm" in names)


def _first_line(head: bytes) -> list[str]:
    return split_fields(head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r"), ",")


def _surfaces(folder: Path) -> dict[str, Path]:
    """Tables of gaze on a surface, by the surface's name."""
    try:
        found = sorted((folder / "surfaces").iterdir())
    except OSError:
        return {}
    return {match[1]: path for path in found if (match := _SURFACE.fullmatch(path.name))}


def _of_folder(folder: Path) -> tuple[Path, str]:
    """Return the table to read of an export, and the name of its surface ("" for the scene)."""
    surfaces = _surfaces(folder)
    screens = [name for name in surfaces if name.lower() == "screen"] or list(surfaces)
    if len(screens) > 1:
        raise RecordingError(
            folder,
            f"it has gaze on {len(screens)} surfaces ({', '.join(screens)})",
            expected='one, or one called "screen"',
            remedy=f"name the file of the surface that is the screen, such as {surfaces[screens[0]]}",
        )
    return (surfaces[screens[0]], screens[0]) if screens else (folder / _SCENE, "")


def _place(path: Path) -> tuple[Path, str, Path | None]:
    """Return the table of gaze, its surface, and the export's folder if the table still stands in one."""
    if path.is_dir():
        return *_of_folder(path), path
    match = _SURFACE.fullmatch(path.name)
    if match:
        return path, match[1], path.parent.parent if path.parent.name == "surfaces" else None
    return path, "", path.parent if path.name == _SCENE else None


def files(path: Path) -> list[Path]:
    """All files of the recording that are read."""
    table, surface, folder = _place(path)
    if folder is None:
        return [table]
    others = [folder / name for name in _BESIDE] + [_info(folder)] + ([] if surface else [folder / "fixations.csv"])
    return [table, *(p for p in others if p.is_file())]


def _info(folder: Path) -> Path:
    """``<recording>/exports/<number>`` is where Pupil Player writes."""
    return folder.resolve().parent.parent / "info.player.json"


def read(path: Path, config: StudyConfig) -> Recording:
    """Read an export of Pupil Player.

    Parameters
    ----------
    path
        A folder of the export, or a table of gaze in it.
    config
        Its `screen` gives the pixels of a surface.

    Returns
    -------
    Recording
        One eye, ``"cyclopean"``, without pupils; of the scene, ``meta["coordinates"]`` is ``"scene"``.

    Raises
    ------
    RecordingError
        If a table is damaged, or it is not clear which surface is the screen.
    """
    path = Path(path)
    source, surface, folder = _place(path)
    on_surface, table = _table(source)
    warnings = table.warnings + ([] if on_surface else [pupil_labs.SCENE_WARNING])
    table = _in_order(table, warnings)
    if table.n_rows < 2:
        raise RecordingError(source, f"it has {counted(table.n_rows, 'gaze sample')}", expected="two or more")
    time = table[_TIME] * 1e3
    scale = (config.screen.width_px, config.screen.height_px) if on_surface else _SCENE_PX
    if not on_surface:
        size = f"{_SCENE_PX[0]} × {_SCENE_PX[1]} px"
        warnings.append(f"the export does not state the size of the scene camera's picture: {size} was assumed")
    eye_x, eye_y = _pixels(table, ("x_norm", "y_norm") if on_surface else ("norm_pos_x", "norm_pos_y"), scale)
    doubtful = ~(table["confidence"] >= MIN_CONFIDENCE) if "confidence" in table else np.zeros(time.size, bool)
    rate = _rate(time)
    start = block_starts(time, rate)
    warnings += clock_breaks(time)
    meta: dict[str, Any] = {"coordinates": "screen" if on_surface else "scene"}
    meta |= {"surface": surface} if surface else {}
    meta |= _clock(folder, warnings) if folder else {}
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes={"cyclopean": clean_eye(eye_x, eye_y, None, doubtful)},
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=_messages(folder, warnings) if folder else [],
        native_events=_events(folder, on_surface, warnings) if folder else {},
        display_px=None if on_surface else _SCENE_PX,
        meta=meta,
        warnings=warnings,
    )


def _table(source: Path) -> tuple[bool, Columns]:
    """Whether gaze is on a surface, and its columns."""
    from gazepipe.readers.source import read_head

    on_surface = "x_norm" in _first_line(read_head(source))
    names = ("x_norm", "y_norm") if on_surface else ("norm_pos_x", "norm_pos_y")
    kinds: dict[str, Kind] = dict.fromkeys((_TIME, *names, "confidence"), "number")
    return on_surface, read_columns(source, kinds, optional=("confidence",) if on_surface else ())


def _in_order(table: Columns, warnings: list[str]) -> Columns:
    """Sort what the two eyes' pipelines wrote out of turn; refuse what is out by more than a second."""
    time = table[_TIME]
    wrong = ~((time >= 0) & (time < _LATEST_S))
    latest = np.maximum.accumulate(np.where(wrong, 0, time)) if time.size else time
    wrong |= latest - time > _LATE_S
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        found = f"the time of sample {k + 1} is {time[k]:.12g} s"
        found += f", after {latest[k - 1]:.12g} s" if k else ""
        remedy, line = "export the recording again", k + table.first_line
        raise RecordingError(table.path, found, expected="times in seconds that increase", remedy=remedy, line=line)
    late = int(np.count_nonzero(np.diff(time) < 0))
    if late:
        warnings.append(f"{counted(late, 'sample')} before an earlier one: put in order of time")
    table = table.take(np.argsort(time, kind="stable"))
    kept = np.append(True, np.diff(table[_TIME] * 1e3) > 0)[: table.n_rows]
    if not kept.all():
        doubled = int(np.count_nonzero(~kept))
        warnings.append(f"left out: {counted(doubled, 'sample')} with the time of the sample before")
    return table.take(kept)


def _pixels(table: Columns, names: tuple[str, str], scale: tuple[int, int]) -> tuple[F64, F64]:
    """Normalised positions from the bottom-left corner → pixels from the top-left one."""
    with np.errstate(over="ignore"):  # of damaged numbers
        return table[names[0]] * scale[0], (1.0 - table[names[1]]) * scale[1]


def _rate(time_ms: F64) -> float:
    """Samples per second outside holes, which are five times as long as the middle step."""
    steps = np.diff(time_ms)
    return 1000.0 / float(steps[steps <= 5 * np.median(steps)].mean())


def _clock(folder: Path, warnings: list[str]) -> dict[str, Any]:
    info = pupil_labs.read_json(_info(folder), warnings)
    return {key: info[key] for key in _KEPT if info.get(key) is not None}


def _messages(folder: Path, warnings: list[str]) -> list[Message]:
    path = folder / "annotations.csv"
    if not path.is_file():
        return []
    table = read_columns(path, {"timestamp": "number", "label": "text"})
    warnings += table.warnings
    table = table.take(np.abs(table["timestamp"]) < _LATEST_S)
    times = (table["timestamp"] * 1e3).tolist()
    return [Message(t, str(text)) for t, text in zip(times, table["label"], strict=True)]


def _events(folder: Path, on_surface: bool, warnings: list[str]) -> pupil_labs.Events:
    """Player's blinks, whose duration is in seconds, and fixations, whose duration is in ms."""
    found = []
    for name, kind, to_ms in (("blinks.csv", "blink", 1e3), ("fixations.csv", "fixation", 1.0)):
        path = folder / name
        if not path.is_file() or (on_surface and kind == "fixation"):
            continue
        kinds: dict[str, Kind] = {"start_timestamp": "number", "duration": "number"}
        places: dict[str, Kind] = {"norm_pos_x": "number", "norm_pos_y": "number"} if kind == "fixation" else {}
        table = read_columns(path, kinds | places)
        warnings += table.warnings
        start, duration = table["start_timestamp"], table["duration"]
        table = table.take((np.abs(start) < _LATEST_S) & (duration >= 0) & (duration < _LATEST_S))
        onset = table["start_timestamp"] * 1e3
        x, y = _pixels(table, ("norm_pos_x", "norm_pos_y"), _SCENE_PX) if places else (None, None)
        found.append(pupil_labs.event_table(kind, onset, onset + table["duration"] * to_ms, x, y))
    return pupil_labs.join_events(found)


READER = Reader(_FORMAT, sniff, read, files)
