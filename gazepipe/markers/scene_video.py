"""The scene camera's pictures in a recording, each with its time on the recording's clock.

* Neon and Invisible, native: ``Neon Scene Camera v1 ps1.mp4`` (``PI world v1 ps1.mp4``), one for each part, and beside
  it ``….time`` with a time for each picture.
* Pupil Cloud's Timeseries download with scene video: one ``.mp4`` in the folder, and ``world_timestamps.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers._exact import read_columns
from gazepipe.readers._pupil_labs import TIME

__all__ = ["SceneVideo", "frames", "scene_videos"]

I64 = npt.NDArray[np.int64]
_NATIVE = re.compile(r"(?:Neon Scene Camera|PI world) v\d+ ps(\d+)\.mp4")
_REMEDY = "download the recording with its scene video, or copy its whole folder from the phone"


@dataclass(frozen=True)
class SceneVideo:
    """One video file and the times of its pictures, in ns."""

    path: Path
    time_ns: I64


def scene_videos(folder: Path) -> list[SceneVideo]:
    """Videos of a recording's folder, in order.

    Raises
    ------
    RecordingError
        If there is none, or the times are missing.
    """
    native = sorted((int(m[1]), p) for p in _content(folder) if (m := _NATIVE.fullmatch(p.name)))
    if native:
        return [SceneVideo(path, _native_times(path.with_suffix(".time"))) for _, path in native]
    times = folder / "world_timestamps.csv"
    videos = [p for p in _content(folder) if p.suffix.lower() == ".mp4"]
    if not videos or not times.is_file():
        found = "there is no scene video" if not videos else "there is no world_timestamps.csv beside the video"
        raise RecordingError(folder, found, expected="the scene camera's .mp4 with its times", remedy=_REMEDY)
    if len(videos) > 1:
        names = ", ".join(p.name for p in videos[:3])
        raise RecordingError(folder, f"there are {len(videos)} videos ({names})", expected="one", remedy=_REMEDY)
    return [SceneVideo(videos[0], read_columns(times, {TIME: "ns"})[TIME])]


def _content(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise RecordingError(folder, f"the folder cannot be read ({error.strerror or error})") from None


def _native_times(path: Path) -> I64:
    try:
        data = path.read_bytes()
    except OSError as error:
        found = f"it cannot be read ({error.strerror or error})"
        raise RecordingError(path, found, expected="the times of the video's pictures", remedy=_REMEDY) from None
    return np.frombuffer(data[: len(data) // 8 * 8], "<u8").astype(np.int64)


def frames(video: SceneVideo, warnings: list[str]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Pictures (BGR) with their times, one after another.

    Raises
    ------
    RecordingError
        If the file is no video that can be read, or has another number of pictures than there are times.
    """
    import cv2

    with video.path.open("rb") as file:
        head = file.read(32)
    if head[4:8] != b"ftyp":  # FFmpeg would print a line of its own
        found = (
            "it is only a Git LFS pointer to the video" if head.startswith(b"version https") else "it is no MP4 file"
        )
        raise RecordingError(video.path, found, expected="the scene camera's video", remedy=_REMEDY)
    capture: Any = cv2.VideoCapture(str(video.path))
    try:
        if not capture.isOpened():
            found = f"the {video.path.stat().st_size} bytes cannot be read as a video"
            raise RecordingError(video.path, found, expected="the scene camera's video", remedy=_REMEDY)
        count = 0
        while True:
            done, picture = capture.read()
            if not done or count >= video.time_ns.size:
                break
            yield int(video.time_ns[count]), picture
            count += 1
        further = int(done)
        while further and capture.grab():
            further += 1
    finally:
        capture.release()
    if abs(count + further - video.time_ns.size) > max(2, video.time_ns.size // 100):
        # Which picture has which time is then anybody's guess, and gaze would be mapped by the wrong ones.
        raise RecordingError(
            video.path,
            f"it has {count + further} pictures and {video.time_ns.size} times",
            expected="as many of both",
            remedy=_REMEDY,
        )
    if count + further != video.time_ns.size:
        warnings.append(f"{video.path.name} has {count + further} pictures and {video.time_ns.size} times")
