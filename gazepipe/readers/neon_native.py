"""Pupil Labs Neon (and Invisible) native recordings: the folder as the phone wrote it, or as Pupil Cloud returns it.

Each stream is a pair of files, ``<stream> ps<n>.raw`` with values and ``<stream> ps<n>.time`` with uint64 nanoseconds,
little-endian. A recording that was interrupted has several parts, n = 1, 2 …; each begins a block, for nothing is known
of the hole between two. ``<stream>.dtype`` says what a record of the stream holds.

* ``gaze_200hz`` is gaze that Pupil Cloud computed for every eye image; where it is, it is read instead of the phone's.
* A ``worn`` byte of 0 means that the glasses lay on the table: gaze and pupils are NaN.
* ``eye_state`` has the pupils' diameters, of the same eye images as the gaze: they are matched by equal times.
* The events are the phone's own, of eye-in-scene movement.

Gaze is in pixels of the scene camera, not of the stimulus (``meta["coordinates"]`` is ``"scene"``).
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import _pupil_labs as pupil_labs
from gazepipe.readers._columns import clean_eye, mean_of_positive
from gazepipe.readers._table import block_starts, clock_breaks, sampling_rate
from gazepipe.readers.source import Reader, read_bytes
from gazepipe.recording import Message, Recording
from gazepipe.words import counted

__all__ = ["READER", "files", "read", "sniff"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_FORMAT = "neon-native"
_STREAM = re.compile(r"(gaze|gaze_200hz|worn|worn_200hz|eye_state|fixations|blinks)(?: ps(\d+))?\.(raw|time)")
_OTHERS = ("event.txt", "event.time", "info.json", "wearer.json", "eye_state.dtype", "fixations.dtype", "blinks.dtype")
_REMEDY = "copy the recording's folder from the phone or download it again"
_FIXATIONS = np.dtype(
    [
        ("event_type", "<i4"),
        ("start_timestamp_ns", "<i8"),
        ("end_timestamp_ns", "<i8"),
        ("start_gaze_x", "<f4"),
        ("start_gaze_y", "<f4"),
        ("end_gaze_x", "<f4"),
        ("end_gaze_y", "<f4"),
        ("mean_gaze_x", "<f4"),
        ("mean_gaze_y", "<f4"),
        ("amplitude_pixels", "<f4"),
        ("amplitude_angle_deg", "<f4"),
        ("mean_velocity", "<f4"),
        ("max_velocity", "<f4"),
    ]
)
_BLINKS = np.dtype(_FIXATIONS.descr[:3])
_TYPES = {"int8": "<i1", "uint8": "<u1", "int32": "<i4", "uint32": "<u4", "int64": "<i8", "uint64": "<u8"}
_TYPES |= {"float32": "<f4", "float64": "<f8"}


def sniff(head: bytes, path: Path) -> bool:
    """Whether this is a folder with a gaze stream."""
    return not head and path.is_dir() and bool(_parts(path, "gaze_200hz") or _parts(path, "gaze"))


def files(path: Path) -> list[Path]:
    """All files of the folder that are read."""
    found = [p for p in path.iterdir() if _STREAM.fullmatch(p.name) or p.name in _OTHERS]
    return sorted(p for p in found if p.is_file())


def _parts(folder: Path, stream: str) -> list[Path]:
    """The ``.raw`` files of a stream, in order of their number (10 after 9)."""
    found = []
    try:
        content = list(folder.iterdir())
    except OSError:
        return []
    for path in content:
        match = _STREAM.fullmatch(path.name)
        if match and match[1] == stream and match[3] == "raw" and path.is_file():
            found.append((int(match[2] or 0), path))
    return [path for _, path in sorted(found)]


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a native recording.

    Parameters
    ----------
    path
        The folder.
    config
        Not used: the gaze is not on the screen.

    Returns
    -------
    Recording
        One eye, ``"cyclopean"``, whose pupil is the mean of both in mm; `columns` has ``"pupil_left_mm"`` and
        ``"pupil_right_mm"``, and ``"worn"`` where the glasses were taken off.

    Raises
    ------
    RecordingError
        If the gaze is missing or a stream is damaged.
    """
    path = Path(path)
    warnings: list[str] = [pupil_labs.SCENE_WARNING]
    ns, xy, worn, first = _gaze(path, warnings)
    if ns.size < 2:
        raise RecordingError(path, f"it has {counted(ns.size, 'gaze sample')}", expected="two or more", remedy=_REMEDY)
    kept, doubled = pupil_labs.new_times(path, ns)
    warnings += doubled
    first = np.cumsum(np.append(0, kept))[first]
    ns, xy, worn = ns[kept], xy[kept], worn[kept]
    origin = int(ns[0])
    time = pupil_labs.to_ms(ns, origin)
    left, right = (np.where(worn, p, np.nan) for p in _pupils(path, ns, warnings))
    eye = clean_eye(xy[:, 0], xy[:, 1], mean_of_positive([left, right]).astype(np.float64), ~worn)
    rate = sampling_rate(path, time)
    start = np.union1d(block_starts(time, rate), first[first < ns.size]).astype(np.int64)
    warnings += clock_breaks(time)
    info = pupil_labs.read_json(path / "info.json", warnings)
    meta = pupil_labs.about(info, pupil_labs.read_json(path / "wearer.json", warnings))
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes={"cyclopean": eye},
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=_messages(path, origin, warnings),
        columns={"pupil_left_mm": left, "pupil_right_mm": right} | ({} if worn.all() else {"worn": worn}),
        native_events=pupil_labs.join_events(_events(path, origin, warnings)),
        display_px=pupil_labs.scene_px(info),
        meta=meta | {"coordinates": "scene", "time_origin_ns": origin},
        warnings=warnings,
    )


def _gaze(folder: Path, warnings: list[str]) -> tuple[I64, F64, npt.NDArray[np.bool_], I64]:
    """Times, positions (n, 2), whether worn, and the first sample of each part."""
    full = _parts(folder, "gaze_200hz")
    raws = full or _parts(folder, "gaze")
    if not raws:
        raise RecordingError(folder, "there is no gaze stream", expected="gaze ps1.raw", remedy=_REMEDY)
    worns = {_number(p): p for p in _parts(folder, "worn_200hz" if full else "worn")}
    times, points, worn = [], [], []
    for raw in raws:
        ns, values = _times(raw.with_suffix(".time"), warnings), _records(raw, np.dtype("<f4"), warnings)
        flags = _records(worns[_number(raw)], np.dtype("u1"), warnings) if _number(raw) in worns else None
        n = min(ns.size, values.size // 2, ns.size if flags is None else flags.size)
        if not (n == ns.size == values.size / 2) or (flags is not None and flags.size != n):
            warnings.append(f"{raw.name} and the files that belong to it differ in length; {counted(n, 'sample')} read")
        times.append(ns[:n])
        points.append(_wide(values[: 2 * n]).reshape(n, 2))
        worn.append(np.ones(n, bool) if flags is None else flags[:n] > 0)
    ns = np.concatenate(times)
    first = np.cumsum([0] + [t.size for t in times[:-1]]).astype(np.int64)
    if full and ns.size:
        first = np.union1d(first, _holes_of_parts(folder, ns)).astype(np.int64)
    return ns, np.concatenate(points), np.concatenate(worn), first


def _holes_of_parts(folder: Path, ns: I64) -> I64:
    """Return where parts begin in gaze that has all of them in one file.

    The phone's own gaze tells between which times the hole is: the longest step there. (It may lack the first samples
    of a part, so that its own first time is not where the part begins.)
    """
    parts = [t for p in _parts(folder, "gaze") if (t := _times(p.with_suffix(".time"), [])).size]
    found = []
    for before, after in pairwise(parts):
        low = max(int(np.searchsorted(ns, before[-1], "right")), 1)
        high = int(np.searchsorted(ns, after[0]))
        steps = np.diff(ns[low - 1 : high + 1])
        if steps.size:
            found.append(low + int(np.argmax(steps)))
    return np.array(found, np.int64)


def _number(path: Path) -> str:
    match = _STREAM.fullmatch(path.name)
    return match[2] or "" if match else ""


def _records(path: Path, kind: np.dtype[Any], warnings: list[str]) -> npt.NDArray[Any]:
    """Return a file as an array; what is left over of a last record that is cut short is dropped."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RecordingError(path, "there is no such file", expected=f"{path.suffix} data", remedy=_REMEDY) from None
    except OSError as error:
        found = f"the file cannot be read ({error.strerror or error})"
        raise RecordingError(path, found, remedy="check its permissions and the disk") from None
    rest = len(data) % kind.itemsize
    if rest:
        warnings.append(f"{path.name}: the last record is cut short and was dropped")
    return np.frombuffer(data[: len(data) - rest], kind)


def _times(path: Path, warnings: list[str]) -> I64:
    found = _records(path, np.dtype("<u8"), warnings)
    if (found >> 63).any():
        k = int(np.flatnonzero(found >> 63)[0])
        raise RecordingError(path, f"time {k + 1} is {found[k]} ns", expected="a time in UTC", remedy=_REMEDY)
    return found.astype(np.int64)


def _wide(values: npt.NDArray[Any]) -> F64:
    with np.errstate(invalid="ignore"):  # damaged floats may be signalling NaN
        return values.astype(np.float64)


def _layout(folder: Path, stream: str, needed: tuple[str, ...]) -> np.dtype[Any] | None:
    """What ``<stream>.dtype`` says a record holds; None without such a file."""
    path = folder / f"{stream}.dtype"
    if not path.is_file():
        return None
    try:
        fields = ast.literal_eval(read_bytes(path).decode("utf-8").strip())
        layout = np.dtype([(str(name), _TYPES[kind]) for name, kind in fields])
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        layout = np.dtype([])
    if not set(needed) <= set(layout.names or ()):
        expected = f"a list of names and types with {', '.join(needed)}"
        raise RecordingError(path, "the layout is not understood", expected=expected, remedy=_REMEDY)
    return layout


def _pupils(folder: Path, ns: I64, warnings: list[str]) -> tuple[F64, F64]:
    """Diameters in mm at the gaze samples, left and right."""
    names = ("pupil_diameter_left_mm", "pupil_diameter_right_mm")
    layout = _layout(folder, "eye_state", names)
    sizes = np.full((2, ns.size), np.nan)
    for raw in _parts(folder, "eye_state"):
        times = _times(raw.with_suffix(".time"), warnings)
        if layout is None:
            # Without a layout: 14 numbers a record, or 20 with the eyelids; the right eye's follow the left eye's.
            flat = _records(raw, np.dtype("<f4"), warnings)
            width = 20 if flat.size >= 20 * times.size else 14
            table = flat[: flat.size // width * width].reshape(-1, width)
            found = [table[:, 0], table[:, 7]]
        else:
            records = _records(raw, layout, warnings)
            found = [records[name] for name in names]
        n = min(times.size, found[0].size)
        at = np.searchsorted(ns, times[:n])
        same = at < ns.size
        same[same] = ns[at[same]] == times[:n][same]
        for row, values in zip(sizes, found, strict=True):
            row[at[same]] = _wide(values[:n][same])
    sizes[~((sizes > 0) & (sizes < 100))] = np.nan
    return sizes[0], sizes[1]


def _events(folder: Path, origin: int, warnings: list[str]) -> list[pupil_labs.Events]:
    """Return the phone's fixations and saccades (one stream, by ``event_type``) and blinks."""
    found = []
    layout = _layout(folder, "fixations", tuple(_FIXATIONS.names or ()))
    for raw in _parts(folder, "fixations"):
        records = _spans(raw, layout or _FIXATIONS, warnings)
        for kind, code, place in (("saccade", 0, "end_gaze"), ("fixation", 1, "mean_gaze")):
            some = records[records["event_type"] == code]
            x, y = (_wide(some[f"{place}_{axis}"]) for axis in "xy")
            size = _wide(some["amplitude_angle_deg"]) if kind == "saccade" else None
            found.append(pupil_labs.event_table(kind, *_ends(some, origin), x, y, size))
    layout = _layout(folder, "blinks", tuple(_BLINKS.names or ()))
    for raw in _parts(folder, "blinks"):
        records = _spans(raw, layout or _BLINKS, warnings)
        found.append(pupil_labs.event_table("blink", *_ends(records, origin)))
    return found


def _ends(records: npt.NDArray[Any], origin: int) -> tuple[F64, F64]:
    onset, offset = (pupil_labs.to_ms(records[f"{end}_timestamp_ns"], origin) for end in ("start", "end"))
    return onset, offset


def _spans(path: Path, layout: np.dtype[Any], warnings: list[str]) -> npt.NDArray[Any]:
    """Records of events, without those that end before they start."""
    records = _records(path, layout, warnings)
    onset, offset = records["start_timestamp_ns"], records["end_timestamp_ns"]
    sound = (onset >= 0) & (offset >= onset)
    if not sound.all():
        warnings.append(f"{path.name}: left out: {counted(int((~sound).sum()), 'event')} with an end before the start")
    return records[sound]


def _messages(folder: Path, origin: int, warnings: list[str]) -> list[Message]:
    """Events that the experiment or the wearer sent: a name a line, a time each."""
    path = folder / "event.txt"
    if not path.is_file():
        return []
    times = _times(path.with_suffix(".time"), warnings)
    names = _records(path, np.dtype("u1"), []).tobytes().decode("utf-8", "replace").splitlines()
    n = min(times.size, len(names))
    if times.size != len(names):
        warnings.append(f"event.txt has {counted(len(names), 'event')}, event.time has {times.size}; {n} read")
    return [Message(t, name) for t, name in zip(pupil_labs.to_ms(times[:n], origin).tolist(), names[:n], strict=True)]


READER = Reader(_FORMAT, sniff, read, files)
