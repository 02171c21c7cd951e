"""A recording of a scene camera → the same recording with gaze on the screen, in a folder that `ingest` takes.

The folder is as Pupil Cloud's Marker Mapper writes it (`gazepipe.readers.marker_mapper`), so that other software reads
it, too:

``gaze.csv``
    Every sample of the recording; positions from 0 to 1 over the screen, empty where they are not known. Further
    columns: ``flags`` (`gazepipe.live.source.SampleFlag` by name, with spaces between) and ``pupil diameter [mm]``.
``sections.csv``, ``events.csv``
    The recording's blocks, and its events.
``markers.npz``
    The corners of all markers in all pictures. While the video is the same, it is not decoded again.
``screen.json``
    Layout, camera, settings and what came of it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.atomic import write_atomically
from gazepipe.config import StudyConfig
from gazepipe.documents import digest_bytes, read_json, write_json
from gazepipe.errors import RecordingError, StoreError
from gazepipe.live.source import SampleFlag
from gazepipe.markers.camera import Camera, camera_of_recording
from gazepipe.markers.detection import MarkerDetector
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.mapping import LONGEST_GAP_MS, Mode, PlaneSeries, map_gaze
from gazepipe.markers.plane import fit_plane
from gazepipe.markers.scene_video import SceneVideo, frames, scene_videos
from gazepipe.readers import read_recording
from gazepipe.recipe import digest_file, digest_json
from gazepipe.recording import Recording
from gazepipe.stage_plan import StagePlan

__all__ = ["VERSION", "Mapped", "Seen", "find_markers", "map_recording", "plan_mapping"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Show = Callable[[int, int, str], None]

#: Raised whenever the markers found in the same video change, or what is made of them.
VERSION = 1
_FLAGS = list(SampleFlag)


@dataclass(frozen=True)
class Seen:
    """The markers in a recording's pictures: times of all pictures, and a row for each marker in each picture.

    `frame` counts pictures from 0, `corners` has shape ``(n_rows, 4, 2)`` in the camera's pixels.
    """

    time_ns: I64
    frame: I64
    number: I64
    corners: F64

    def planes(self, screen: MarkerScreen, camera: Camera) -> PlaneSeries:
        """Where the screen is in each picture."""
        edges = np.searchsorted(self.frame, np.arange(self.time_ns.size + 1))
        found = []
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            corners = {int(self.number[k]): self.corners[k] for k in range(a, b)}
            found.append(fit_plane(corners, screen, camera))
        return PlaneSeries.of(self.time_ns, found, screen)


@dataclass
class Mapped:
    """What came of a recording: shares are of all its samples or pictures, `markers` the median in a picture."""

    folder: Path
    samples: int = 0
    pictures: int = 0
    with_screen: float = 0.0
    markers: float = 0.0
    on_screen: float = 0.0
    flags: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    current: bool = False


def find_markers(
    videos: Sequence[SceneVideo], screen: MarkerScreen, *, fallback: bool = True, show: Show | None = None
) -> tuple[Seen, list[str]]:
    """Look for a layout's markers in all pictures of videos; also what is to be told.

    Raises
    ------
    RecordingError
        If a video cannot be read.
    """
    warnings: list[str] = []
    times: list[int] = []
    rows: list[tuple[int, int]] = []
    corners: list[F64] = []
    total = sum(v.time_ns.size for v in videos)
    with MarkerDetector(screen.layout, fallback=fallback) as detector:
        for video in videos:
            for time, picture in frames(video, warnings):
                found = detector.detect(picture)
                rows += [(len(times), k) for k in found.corners]
                corners += list(found.corners.values())
                times.append(time)
                if show:
                    show(len(times), total, video.path.parent.name)
        second = detector.fallback
        if fallback and second is not None and not second.installed:
            warnings.append('the second detector is not installed: pip install "gazepipe[tags]"')
        if second is not None and second.deaths:
            warnings.append(f"the second detector died {second.deaths} times; those pictures count as without markers")
    table = np.array(rows, np.int64).reshape(-1, 2)
    # As exact as they are stored, so that gaze is the same whether or not the video was looked at.
    exact = np.array(corners, np.float32).reshape(-1, 4, 2).astype(np.float64)
    return Seen(np.array(times, np.int64), table[:, 0], table[:, 1], exact), warnings


def map_recording(
    source: Path,
    screen: MarkerScreen,
    out: Path,
    *,
    camera: Camera | None = None,
    mode: Mode = "interpolated",
    longest_gap_ms: float = LONGEST_GAP_MS,
    smooth: int = 1,
    fallback: bool = True,
    force: bool = False,
    show: Show | None = None,
) -> Mapped:
    """Map a recording's gaze to the screen and write the folder `out`.

    Parameters
    ----------
    source
        Folder of a native recording, or of a Timeseries download, with its scene video.
    screen
        Where the markers stood.
    out
        Where to write; what is there of the same recording is replaced, if it is not up to date.
    camera
        The scene camera, if not the recording's own calibration.
    mode, longest_gap_ms
        See `gazepipe.markers.mapping.map_gaze`.
    smooth
        Pictures over which the screen's corners are smoothed; 1: none. Only for heads at rest, on a chin rest or stand:
        a moving head's way is cut short by more than there is to be gained.
    fallback
        Whether the second detector may look, too.
    force
        Do everything again.

    Raises
    ------
    RecordingError
        If the gaze, the video or the calibration is missing or damaged, or the gaze is on a screen already.
    StorageError
        If `out` cannot be written.
    """
    settings = {"mode": mode, "longest_gap_ms": longest_gap_ms, "smooth": smooth, "fallback": fallback}
    recording, videos, camera, seen_of, digest = _made_of(source, screen, camera, settings)
    if not force and (found := _current(out, digest)) is not None:
        return found
    seen = None if force else _stored(out / "markers.npz", seen_of)
    warnings: list[str] = []
    if seen is None:
        seen, warnings = find_markers(videos, screen, fallback=fallback, show=show)
    series = seen.planes(screen, camera).without_outliers().smoothed(smooth)
    ns = int(recording.meta["time_origin_ns"]) + np.rint(recording.time_ms * 1e6).astype(np.int64)
    eye = recording.eyes["cyclopean"]
    x, y, flags = map_gaze(series, screen, camera, ns, eye.x_px, eye.y_px, mode=mode, longest_gap_ms=longest_gap_ms)
    worn = recording.columns.get("worn")
    if worn is not None:
        flags[~worn.astype(bool)] |= np.uint8(SampleFlag.NOT_WORN)
    result = _summary(out, series, seen, x, y, flags, warnings)
    _write(out, recording, ns, x / screen.px[0], y / screen.px[1], flags)
    _store(out / "markers.npz", seen, seen_of)
    content = {"kind": "gazepipe.mapped", "version": VERSION, "recipe": digest, "source": source.name}
    content |= {"settings": settings, "layout": screen.to_json(), "camera": camera.content()}
    content["result"] = {k: v for k, v in dataclasses.asdict(result).items() if k not in ("folder", "current")}
    write_json(out / "screen.json", content)
    return result


def _made_of(
    source: Path, screen: MarkerScreen, camera: Camera | None, settings: dict[str, Any]
) -> tuple[Recording, list[SceneVideo], Camera, str, str]:
    """What is mapped: gaze, videos, camera; and the recipes of the markers and of the whole."""
    recording = read_recording(source, StudyConfig())
    if recording.meta.get("coordinates") != "scene":
        raise RecordingError(
            source, "its gaze is not in a scene camera's picture", remedy="ingest it as it is", expected="a scene video"
        )
    videos = scene_videos(source)
    camera = camera or camera_of_recording(source, recording.display_px or (1600, 1200))
    seen = [VERSION, sorted(screen.layout), settings["fallback"], *(digest_file(v.path) for v in videos)]
    seen_of = digest_json(seen)
    digest = digest_json([seen_of, screen.to_json(), camera.content(), settings, _content_digest(recording)])
    return recording, videos, camera, seen_of, digest


def plan_mapping(
    source: Path,
    screen: MarkerScreen,
    out: Path,
    found: StagePlan,
    *,
    camera: Camera | None = None,
    force: bool = False,
    **settings: Any,
) -> None:
    """Add to a plan what `map_recording` would do with a recording; no video is decoded.

    Raises
    ------
    RecordingError
        If the gaze, the video or the calibration is missing or damaged, or the gaze is on a screen already.
    """
    _, videos, _, seen_of, digest = _made_of(source, screen, camera, settings)
    pictures = sum(v.time_ns.size for v in videos)
    again = force or _stored(out / "markers.npz", seen_of) is None
    why = f"{pictures} pictures to look at" if again else "markers are known, gaze is mapped anew"
    found.make(str(out), not force and _current(out, digest) is not None, why)


def _summary(
    out: Path, series: PlaneSeries, seen: Seen, x: F64, y: F64, flags: npt.NDArray[np.uint8], warnings: list[str]
) -> Mapped:
    n = max(flags.size, 1)
    counts = np.bincount(seen.frame, minlength=seen.time_ns.size)
    result = Mapped(
        out,
        samples=flags.size,
        pictures=seen.time_ns.size,
        with_screen=float(series.seen.mean()) if series.time_ns.size else 0.0,
        markers=float(np.median(counts)) if counts.size else 0.0,
        on_screen=float(np.count_nonzero(np.isfinite(x) & ((flags & np.uint8(SampleFlag.OFF_SCREEN)) == 0)) / n),
        warnings=warnings,
    )
    result.flags = {flag.name.lower(): np.count_nonzero(flags & np.uint8(flag)) / n for flag in _FLAGS if flag.name}
    if not series.seen.any():
        most = Counter(seen.number.tolist()).most_common(5)
        which = ", ".join(f"{k} in {count}" for k, count in most) if most else "none of its markers"
        warnings.append(f"no picture has enough markers of the layout ({which} of {seen.time_ns.size} pictures)")
    return result


def _content_digest(recording: Recording) -> str:
    eye = recording.eyes["cyclopean"]
    arrays = (recording.time_ms, eye.x_px, eye.y_px, eye.pupil, recording.block_start)
    texts = [(m.time_ms, m.text) for m in recording.messages]
    return digest_json(
        [
            [digest_bytes(np.ascontiguousarray(a).tobytes()) for a in arrays],
            texts,
            str(recording.meta["time_origin_ns"]),
        ]
    )


def _current(out: Path, digest: str) -> Mapped | None:
    try:
        content = read_json(out / "screen.json", "map the recording again with --force")
        if content.get("recipe") != digest or not (out / "gaze.csv").is_file():
            return None
        return Mapped(out, **content["result"], current=True)
    except (FileNotFoundError, StoreError, TypeError, KeyError):
        return None


def _stored(path: Path, digest: str) -> Seen | None:
    try:
        with np.load(path, allow_pickle=False) as content:
            if str(content["made_of"]) != digest:
                return None
            arrays = [content[name] for name in ("time_ns", "frame", "number", "corners")]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
    return Seen(arrays[0], arrays[1].astype(np.int64), arrays[2].astype(np.int64), arrays[3].astype(np.float64))


def _store(path: Path, seen: Seen, digest: str) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        made_of=np.array(digest),
        time_ns=seen.time_ns,
        frame=seen.frame.astype(np.uint32),
        number=seen.number.astype(np.uint16),
        corners=seen.corners.astype(np.float32),
    )
    write_atomically(path, buffer.getvalue())


def _write(out: Path, recording: Recording, ns: I64, x: F64, y: F64, flags: npt.NDArray[np.uint8]) -> None:
    name = str(recording.meta.get("recording_id") or recording.path.name)
    blocks = recording.blocks()
    # Named by what they are of, so that the same recording gives the same bytes.
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {k}")) for k in range(len(blocks))]
    pupil = recording.eyes["cyclopean"].pupil
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    words = {v: " ".join(f.name.lower() for f in _FLAGS if f.name and v & f) for v in np.unique(flags).tolist()}
    rows = [
        (ids[k], name, t, str(on).lower(), _number(a), _number(b), _number(p), words[f])
        for k, block in enumerate(blocks)
        for t, on, a, b, p, f in zip(*(v[block].tolist() for v in (ns, inside, x, y, pupil, flags)), strict=True)
    ]
    position = "gaze position on surface {} [normalized]"
    head = ["section id", "recording id", "timestamp [ns]", "gaze detected on surface"]
    _table(out / "gaze.csv", [*head, position.format("x"), position.format("y"), "pupil diameter [mm]", "flags"], rows)
    origin = int(recording.meta["time_origin_ns"])
    wearer = (str(recording.meta.get("wearer_id", "")), str(recording.meta.get("wearer_name", "")))
    label = str(recording.meta.get("recording_name", recording.path.name))
    sections = [
        (one, name, label, *wearer, int(ns[b][0]), int(ns[b][-1]), "", "") for one, b in zip(ids, blocks, strict=True)
    ]
    times = ("section start time [ns]", "section end time [ns]", "start event name", "end event name")
    _table(
        out / "sections.csv",
        ["section id", "recording id", "recording name", "wearer id", "wearer name", *times],
        sections,
    )
    events = [(name, origin + round(m.time_ms * 1e6), m.text, "recording") for m in recording.messages]
    _table(out / "events.csv", ["recording id", "timestamp [ns]", "name", "type"], events)


def _number(value: float) -> str:
    return "" if value != value else f"{value:.7g}"


def _table(path: Path, head: list[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
