"""What the readers of Pupil Labs' formats share: whole nanoseconds, events, and the words about the scene camera.

Times are UTC nanoseconds of 19 digits. They are counted from the first gaze sample before they become float64
milliseconds, so that every nanosecond is kept; that first one is ``meta["time_origin_ns"]``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers._columns import LARGEST
from gazepipe.readers._exact import Columns, Kind, read_columns
from gazepipe.readers._table import split_fields
from gazepipe.recording import Message
from gazepipe.words import counted

__all__ = [
    "SCENE_WARNING",
    "TIME",
    "about",
    "cloud_files",
    "cloud_place",
    "event_table",
    "first_line",
    "join_events",
    "messages_of",
    "new_times",
    "of_recording",
    "only_recording",
    "read_json",
    "read_spans",
    "recording_ids",
    "scene_px",
    "to_ms",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Events = dict[str, npt.NDArray[Any]]

TIME = "timestamp [ns]"
SCENE_WARNING = (
    "the gaze is in pixels of the scene camera and has to be mapped to the screen before fixations on an image mean "
    "anything"
)
_KEPT = (
    "recording_id",
    "data_format_version",
    "app_version",
    "pipeline_version",
    "start_time",
    "duration",
    "module_serial_number",
    "glasses_serial_number",
    "scene_camera_serial_number",
    "frame_name",
    "gaze_mode",
    "gaze_offset",
    "wearer_id",
    "wearer_name",
)


def first_line(head: bytes, path: Path) -> list[str]:
    """Return the column names of a table, or of ``gaze.csv`` in a folder; none if that is not there."""
    if path.is_dir():
        try:
            with (path / "gaze.csv").open("rb") as file:
                head = file.read(4096)
        except OSError:
            return []
    return split_fields(head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").rstrip("\r"), ",")


def cloud_place(path: Path) -> tuple[Path, Path | None]:
    """Return the table of gaze, and the folder of what belongs to it: none where the table has a name of its own."""
    if path.is_dir():
        return path / "gaze.csv", path
    return path, path.parent if path.name == "gaze.csv" else None


def cloud_files(path: Path, beside: Iterable[str]) -> list[Path]:
    """Return the table of gaze and, of the files `beside` it, those that are there."""
    table, folder = cloud_place(path)
    others = [] if folder is None else [folder / name for name in beside]
    return [table, *(p for p in others if p.is_file())]


def only_recording(table: Columns) -> str:
    """Return the id of the one recording that a table of gaze is of; "" where it does not say.

    Raises
    ------
    RecordingError
        If there are several.
    """
    ids = recording_ids(table)
    if len(ids) > 1:
        raise RecordingError(
            table.path,
            f"it has the gaze of {len(ids)} recordings ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})",
            expected="one recording",
            remedy="write the rows of each 'recording id' to a file of its own, named after the person",
        )
    return ids[0] if ids else ""


def recording_ids(table: Columns) -> list[str]:
    """Return the ids of the recordings in a table, in the order of their first rows."""
    ids = table.get("recording id")
    return [] if ids is None else list(dict.fromkeys(ids.tolist()))


def to_ms(ns: I64, origin_ns: int) -> F64:
    """Nanoseconds → ms from the origin; exact to the nanosecond for a hundred days."""
    return (ns - origin_ns).astype(np.float64) / 1e6


def new_times(path: Path, ns: I64, first_line: int | None = None) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Return which samples have a time of their own, and a warning where some have not.

    Raises
    ------
    RecordingError
        If time goes back.
    """
    steps = np.diff(ns)
    if (steps < 0).any():
        k = int(np.flatnonzero(steps < 0)[0]) + 1
        raise RecordingError(
            path,
            f"sample {k + 1} is at {ns[k]} ns, after one at {ns[k - 1]} ns",
            expected="times that increase",
            remedy="export or copy the recording again",
            line=None if first_line is None else first_line + k,
        )
    kept = np.append(True, steps > 0)[: ns.size]
    doubled = int(np.count_nonzero(~kept))
    return kept, [f"left out: {counted(doubled, 'sample')} with the time of the sample before"] if doubled else []


def read_json(path: Path, warnings: list[str]) -> dict[str, Any]:
    """Return the object in a JSON file that may be missing; a damaged one is warned of, for nothing depends on it."""
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        warnings.append(f"{path.name} cannot be read ({error}); it was passed over")
        return {}
    if not isinstance(found, dict):
        warnings.append(f"{path.name} has no JSON object; it was passed over")
        return {}
    return found


def about(info: Mapping[str, Any], wearer: Mapping[str, Any]) -> dict[str, Any]:
    """What of info.json and wearer.json is worth keeping."""
    meta = {key: info[key] for key in _KEPT if info.get(key) is not None}
    if wearer.get("name") is not None:
        meta.setdefault("wearer_name", wearer["name"])
    template = info.get("template_data")
    if isinstance(template, dict) and template.get("recording_name"):
        meta["recording_name"] = template["recording_name"]
    return meta


def scene_px(info: Mapping[str, Any]) -> tuple[int, int]:
    """Size of the scene camera's picture: Pupil Invisible (whose info.json has the glasses' number), else Neon."""
    return (1088, 1080) if info.get("glasses_serial_number") else (1600, 1200)


def event_table(
    kind: str, onset_ms: F64, offset_ms: F64, x: F64 | None = None, y: F64 | None = None, amplitude: F64 | None = None
) -> Events:
    """Return the tracker's own events of one kind, with NaN for what it does not say (its velocities are in px/s)."""
    n = onset_ms.size
    none = np.full(n, np.nan)

    def clean(values: F64 | None) -> F64:
        return none if values is None else np.where(np.abs(values) < LARGEST, values, np.nan).astype(np.float64)

    return {
        "kind": np.full(n, kind, "U8"),
        "eye": np.full(n, "cyclopean", "U9"),
        "onset_ms": onset_ms,
        "offset_ms": offset_ms,
        "x_px": clean(x),
        "y_px": clean(y),
        "amplitude_deg": clean(amplitude),
        "peak_velocity_deg_s": none,
    }


def join_events(parts: Iterable[Events]) -> Events:
    """One table in order of onset; empty where there are no events."""
    filled = [p for p in parts if p["kind"].size]
    if not filled:
        return {}
    order = np.argsort(np.concatenate([p["onset_ms"] for p in filled]), kind="stable")
    return {name: np.concatenate([p[name] for p in filled])[order] for name in filled[0]}


def read_spans(path: Path, numbers: tuple[str, ...], recording: str, warnings: list[str]) -> Columns | None:
    """Read a table of events with start and end, or None where there is no such file.

    `recording` keeps the rows of one recording where the table has a column for it.
    """
    if not path.is_file():
        return None
    ends: dict[str, Kind] = {"start timestamp [ns]": "ns", "end timestamp [ns]": "ns", "recording id": "text"}
    values: dict[str, Kind] = dict.fromkeys(numbers, "number")
    table = read_columns(path, ends | values, optional=["recording id", *numbers])
    warnings += table.warnings
    return of_recording(table, recording)


def of_recording(table: Columns, recording: str) -> Columns:
    """Return the rows of one recording, where the table has a column for it and the recording has an id."""
    ids = table.get("recording id")
    return table if ids is None or not recording else table.take(ids == recording)


def messages_of(path: Path, origin_ns: int, recording: str, warnings: list[str]) -> list[Message]:
    """Events that the experiment or the wearer sent (events.csv), in file order; none where there is no such file."""
    if not path.is_file():
        return []
    kinds: dict[str, Kind] = {TIME: "ns", "name": "text", "recording id": "text"}
    table = read_columns(path, kinds, optional=["recording id"])
    warnings += table.warnings
    table = of_recording(table, recording)
    times = to_ms(table[TIME], origin_ns).tolist()
    return [Message(t, str(name)) for t, name in zip(times, table["name"], strict=True)]
