"""Pupil Cloud's Marker Mapper and Reference Image Mapper: gaze of Neon or Invisible on a surface or an image.

A folder with ``gaze.csv``, ``fixations.csv``, ``sections.csv`` and, of the second, ``reference_image``. ``gaze.csv``
may also be given by itself, and under another name (then nothing beside it is read).

* Marker Mapper: positions are 0 … 1 over the surface, from its top-left corner. The surface is taken to be the screen:
  the study's pixels are what they are multiplied by. Gaze beside the surface keeps its values below 0 or above 1.
* Reference Image Mapper: positions are pixels of the reference image, which is what `display_px` and the study's screen
  are then about. Each section is a trial, and its stimulus the image, called ``reference_image-`` and eight digits of
  its content's digest: all downloads call the file alike, and different images must not be taken for one.
  Where the image was not found, rows may be left out; a section stays one block, with holes.
* A position is NaN where the tags or the image were not found in the scene; "detected" only says whether gaze was
  inside.
* Each section of a recording is a block. Its start and end are messages with the names of the events that Pupil Cloud
  was told to begin and end it with. Pupil Cloud does not export the other events here: ``events.csv`` of the
  recording's Timeseries download is read where it is put into the folder.

A download has all recordings of a project. `read` wants one; `read_recordings` returns all.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError, StimulusError
from gazepipe.readers import _pupil_labs as pupil_labs
from gazepipe.readers._columns import clean_eye
from gazepipe.readers._exact import Columns, Kind, read_columns
from gazepipe.readers._pupil_labs import TIME
from gazepipe.readers._table import block_starts, clock_breaks, sampling_rate
from gazepipe.readers.source import Reader
from gazepipe.recipe import digest_file
from gazepipe.recording import Message, Recording
from gazepipe.words import counted

__all__ = ["READER", "files", "read", "read_recordings", "reference_digest", "sniff"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_FORMAT = "marker-mapper"
_SURFACE = tuple(f"gaze position on surface {axis} [normalized]" for axis in "xy")
_IMAGE = tuple(f"gaze position in reference image {axis} [px]" for axis in "xy")
_PUPIL = "pupil diameter [mm]"
_IMAGE_NAMES = ("reference_image.jpeg", "reference_image.jpg", "reference_image.png")
_REFERENCE = re.compile(r"reference_image-([0-9a-f]{8})")
_BESIDE = ("fixations.csv", "sections.csv", "events.csv", *_IMAGE_NAMES)


def sniff(head: bytes, path: Path) -> bool:
    """Whether a table, or ``gaze.csv`` of a folder, has gaze on a surface or a reference image."""
    line = pupil_labs.first_line(head, path)
    return TIME in line and (_SURFACE[0] in line or _IMAGE[0] in line)


def files(path: Path) -> list[Path]:
    """All files of the recording that are read."""
    return pupil_labs.cloud_files(path, _BESIDE)


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a download with one recording.

    Parameters
    ----------
    path
        The folder, or its ``gaze.csv``.
    config
        Its `screen` gives the pixels of a surface.

    Returns
    -------
    Recording
        One eye, ``"cyclopean"``, with pupils where `gazepipe.markers.mapped` wrote the table.

    Raises
    ------
    RecordingError
        If a table is damaged, or has the gaze of several recordings.
    """
    path = Path(path)
    table, names = _table(path)
    return _recording(path, table, names, pupil_labs.only_recording(table), config)


def reference_digest(stimulus: str) -> str:
    """Return what the digest of a reference image begins with, from its name as a stimulus; "" for any other name."""
    match = _REFERENCE.fullmatch(stimulus)
    return match[1] if match else ""


def read_recordings(path: Path, config: StudyConfig) -> dict[str, Recording]:
    """Read all recordings of a download: id → recording, in the order in which they stand in ``gaze.csv``.

    Raises
    ------
    RecordingError
        If a table is damaged.
    """
    path = Path(path)
    table, names = _table(path)
    ids = pupil_labs.recording_ids(table) or [""]
    return {one: _recording(path, pupil_labs.of_recording(table, one), names, one, config) for one in ids}


def _table(path: Path) -> tuple[Columns, tuple[str, ...]]:
    names = _SURFACE if _SURFACE[0] in pupil_labs.first_line(_head(path), path) else _IMAGE
    kinds: dict[str, Kind] = {TIME: "ns", "section id": "text", "recording id": "text"}
    kinds |= dict.fromkeys((*names, _PUPIL), "number")
    return read_columns(pupil_labs.cloud_place(path)[0], kinds, optional=("section id", "recording id", _PUPIL)), names


def _head(path: Path) -> bytes:
    from gazepipe.readers.source import read_head

    return b"" if path.is_dir() else read_head(path)


def _recording(path: Path, table: Columns, names: tuple[str, ...], one: str, config: StudyConfig) -> Recording:
    folder = pupil_labs.cloud_place(path)[1]
    warnings = list(table.warnings)
    table = _in_order_of_sections(table)
    kept, doubled = pupil_labs.new_times(table.path, table[TIME])
    table, warnings = table.take(kept), warnings + doubled
    if table.n_rows < 2:
        which = f" of recording {one!r}" if one else ""
        raise RecordingError(
            table.path, f"it has {counted(table.n_rows, 'gaze sample')}{which}", expected="two or more"
        )
    origin = int(table[TIME][0])
    time = pupil_labs.to_ms(table[TIME], origin)
    rate = sampling_rate(table.path, time)
    warnings += clock_breaks(time)
    on_surface = names is _SURFACE
    holes = block_starts(time, rate) if on_surface else np.zeros(1, np.int64)
    start = np.union1d(holes, _section_starts(table)).astype(np.int64)
    scale = (config.screen.width_px, config.screen.height_px) if on_surface else (1, 1)
    with np.errstate(over="ignore"):  # of damaged numbers
        x, y = (table[name] * size for name, size in zip(names, scale, strict=True))
    meta: dict[str, Any] = {"coordinates": "screen" if on_surface else "reference image", "time_origin_ns": origin}
    meta |= {"recording_id": one} if one else {}
    messages: list[Message] = []
    native: pupil_labs.Events = {}
    if folder is not None:
        sections = _sections(folder, one, warnings)
        meta |= _named(sections)
        messages = _messages(sections, origin)
        messages += pupil_labs.messages_of(folder / "events.csv", origin, one, warnings)
        native = _fixations(folder, origin, one, scale, on_surface, warnings)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes={"cyclopean": clean_eye(x, y, table.get(_PUPIL), np.zeros(x.size, bool))},
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=messages,
        columns={} if on_surface else _trials(start, time.size, folder),
        native_events=native,
        display_px=None if on_surface or folder is None else _image_px(folder, warnings),
        meta=meta,
        warnings=warnings,
    )


def _section_starts(table: Columns) -> I64:
    ids = table.get("section id")
    return np.zeros(0, np.int64) if ids is None else np.flatnonzero(ids[1:] != ids[:-1]) + 1


def _in_order_of_sections(table: Columns) -> Columns:
    """Sections of one recording may stand in any order: sort them by their first times."""
    starts = np.append(0, _section_starts(table)) if table.n_rows else np.zeros(0, np.int64)
    if starts.size < 2:
        return table
    parts = np.split(np.arange(table.n_rows), starts[1:])
    parts.sort(key=lambda rows: int(table[TIME][rows[0]]))
    return table.take(np.concatenate(parts))


def _sections(folder: Path, one: str, warnings: list[str]) -> Columns | None:
    path = folder / "sections.csv"
    if not path.is_file():
        return None
    times: dict[str, Kind] = {"section start time [ns]": "ns", "section end time [ns]": "ns"}
    texts = ("recording id", "recording name", "wearer name", "start event name", "end event name")
    table = read_columns(path, times | dict.fromkeys(texts, "text"), optional=texts)
    warnings += table.warnings
    return pupil_labs.of_recording(table, one)


def _named(sections: Columns | None) -> dict[str, Any]:
    """Name of the recording and its wearer."""
    found = {}
    for key, name in (("recording_name", "recording name"), ("wearer_name", "wearer name")):
        values = None if sections is None else sections.get(name)
        if values is not None and values.size:
            found[key] = str(values[0])
    return found


def _messages(sections: Columns | None, origin: int) -> list[Message]:
    found = []
    for end in ("start", "end"):
        names = None if sections is None else sections.get(f"{end} event name")
        if sections is not None and names is not None:
            times = pupil_labs.to_ms(sections[f"section {end} time [ns]"], origin).tolist()
            found += [Message(t, str(name)) for t, name in zip(times, names, strict=True) if name]
    return sorted(found, key=lambda m: m.time_ms)


def _fixations(
    folder: Path, origin: int, one: str, scale: tuple[int, int], on_surface: bool, warnings: list[str]
) -> pupil_labs.Events:
    names = tuple(f"fixation {axis} [{'normalized' if on_surface else 'px'}]" for axis in "xy")
    spans = pupil_labs.read_spans(folder / "fixations.csv", names, one, warnings)
    if spans is None:
        return {}
    onset, offset = (pupil_labs.to_ms(spans[f"{end} timestamp [ns]"], origin) for end in ("start", "end"))
    x, y = (spans.get(name) for name in names)
    x, y = (None if v is None else v * size for v, size in zip((x, y), scale, strict=True))
    return pupil_labs.join_events([pupil_labs.event_table("fixation", onset, offset, x, y)])


def _image_file(folder: Path | None) -> Path | None:
    return next((folder / name for name in _IMAGE_NAMES if (folder / name).is_file()), None) if folder else None


def _trials(start: I64, n: int, folder: Path | None) -> dict[str, npt.NDArray[Any]]:
    """Each section is a presentation of the reference image."""
    path = _image_file(folder)
    name = f"reference_image-{digest_file(path)[:8]}" if path else ""
    number = np.searchsorted(start, np.arange(n), "right").astype(np.int64)
    return {"trial": number, "stimulus": np.full(n, name, object)}


def _image_px(folder: Path, warnings: list[str]) -> tuple[int, int] | None:
    """Width and height of the reference image."""
    from gazepipe.images import image_size

    path = _image_file(folder)
    if path is None:
        warnings.append("there is no reference_image beside gaze.csv; its pixels are taken for the screen's")
        return None
    try:
        return image_size(path)  # of the header: a small file may claim a picture that fills the memory
    except StimulusError:
        warnings.append(f"{path.name} cannot be read; its pixels are taken for the screen's")
        return None


READER = Reader(_FORMAT, sniff, read, files)
