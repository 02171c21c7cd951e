"""A recording in place of a tracker: any that can be read, in real time or faster.

Times begin anew when it is opened, and run as they did. A recording replayed faster so has times ahead of this
computer's clock: right for events and embeddings while gaze comes in, but a session's own events are then not where its
samples are.

Of a native recording with scene video the pictures come, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.live._defaults import Defaults
from gazepipe.live.source import DeviceStatus, SampleBatch, SampleFlag, SceneFrame, SourceError, host_ns
from gazepipe.recording import EyeSamples, Recording

if TYPE_CHECKING:
    from gazepipe.markers.camera import Camera

__all__ = ["ReplaySource"]

F32 = npt.NDArray[np.float32]
#: Formats whose pupils are in mm.
_MM = ("neon", "marker-mapper", "tobii")
_FRAMES_KEPT = 4


class ReplaySource(Defaults):
    """A recording that comes in again.

    Parameters
    ----------
    path
        Anything that `gazepipe.readers.read_recording` reads.
    config
        The study, for readers that need it.
    speed
        How many times faster; infinite: everything at once.

    Raises
    ------
    RecordingError
        If it cannot be read.
    """

    name = "replay"

    def __init__(self, path: Path, config: StudyConfig | None = None, *, speed: float = 1.0) -> None:
        from gazepipe.readers import read_recording

        if not speed > 0:
            msg = f"{path}: a replay at {speed:g} times its speed; expected a positive number."
            raise SourceError(msg)
        config = config or StudyConfig()
        recording = read_recording(Path(path), config)
        self.speed = speed
        self.rate_hz = float(np.max(recording.sampling_rate_hz))
        self.space: Literal["screen", "scene"] = "scene" if recording.meta.get("coordinates") == "scene" else "screen"
        self.size_px = recording.display_px or (config.screen.width_px, config.screen.height_px)
        self.path = recording.path
        x, y, pupil = _one_signal(recording)
        worn = recording.columns.get("worn")
        off = np.zeros(x.size, bool) if worn is None else ~worn.astype(bool)
        # Clocks that begin anew in each block are strung together.
        steps = np.diff(recording.time_ms, prepend=recording.time_ms[:1])
        since = np.rint(np.cumsum(np.where(steps < 0, 1000 / self.rate_hz, steps)) * 1e6).astype(np.int64)
        flags = np.where(off, SampleFlag.NOT_WORN, 0).astype(np.uint8)
        self._since, self._x, self._y, self._pupil, self._flags = since, x, y, pupil, flags
        self._origin_ns = int(recording.meta.get("time_origin_ns", 0))
        self._start_ns = self._sent = -1
        self._pictures: Iterator[tuple[int, Any]] | None = None
        self._ahead: SceneFrame | None = None

    def open(self) -> None:
        """Begin with the first sample."""
        self._start_ns, self._sent = host_ns(), 0
        self._pictures, self._ahead = self._video(), None

    def close(self) -> None:
        """Stop."""
        self._start_ns, self._pictures, self._ahead = -1, None, None

    def read(self, timeout_s: float) -> SampleBatch:
        """Return the samples whose time has come.

        Raises
        ------
        EOFError
            After the last one.
        """
        if self._start_ns < 0:
            msg = f"{self.path}: the replay is not open; call open first."
            raise SourceError(msg)
        if self._sent >= self._since.size:
            msg = f"{self.path}: the recording is over."
            raise EOFError(msg)
        left = (int(self._since[self._sent]) / self.speed - (host_ns() - self._start_ns)) / 1e9
        if left > 0:
            time.sleep(min(left, timeout_s))
        first, end = self._sent, int(np.searchsorted(self._since, self._now_ns(), "right"))
        self._sent = max(first, end)
        part = slice(first, self._sent)
        return SampleBatch.of(
            self._start_ns + self._since[part],
            self._x[part],
            self._y[part],
            pupil_mm=self._pupil[part],
            flags=self._flags[part],
        )

    def expected(self, begin_ns: int, end_ns: int) -> float:
        """Return how many samples the recording has there: between its blocks it has none."""
        first, end = np.searchsorted(self._since, (begin_ns - self._start_ns, end_ns - self._start_ns))
        return float(end - first)

    def status(self) -> DeviceStatus:
        """Return whether the last sample's glasses were worn."""
        last = max(self._sent - 1, 0)
        return DeviceStatus(worn=not self._flags[last] & SampleFlag.NOT_WORN, detail={"recording": self.path.name})

    def camera(self) -> Camera:
        """Return the scene camera's lens, of the recording's calibration."""
        from gazepipe.markers.camera import camera_of_recording

        return camera_of_recording(self.path, self.size_px)

    def frames(self) -> list[SceneFrame]:
        """Return the scene video's pictures whose time has come."""
        found: list[SceneFrame] = []
        while self._start_ns >= 0:
            self._ahead = self._ahead or self._picture()
            if self._ahead is None or self._ahead.device_ns - self._start_ns > self._now_ns():
                break
            found = [*found[1 - _FRAMES_KEPT :], self._ahead]
            self._ahead = None
        return found

    def _now_ns(self) -> float:
        """Time in the recording."""
        return (host_ns() - self._start_ns) * self.speed if np.isfinite(self.speed) else np.inf

    def _video(self) -> Iterator[tuple[int, Any]] | None:
        from gazepipe.markers.scene_video import frames, scene_videos

        if self.space != "scene" or not self.path.is_dir():
            return None
        try:
            videos = scene_videos(self.path)
        except RecordingError:
            return None  # a recording without its video has gaze all the same
        return (one for video in videos for one in frames(video, []))

    def _picture(self) -> SceneFrame | None:
        import cv2

        try:
            found = None if self._pictures is None else next(self._pictures, None)
        except RecordingError:
            found = self._pictures = None
        if found is None:
            return None
        since = found[0] - self._origin_ns
        return SceneFrame(self._start_ns + since, np.asarray(cv2.cvtColor(found[1], cv2.COLOR_BGR2GRAY), np.uint8))


def _one_signal(recording: Recording) -> tuple[F32, F32, F32]:
    """x, y and pupil in mm: of both eyes their mean, of one where the other is missing."""
    eyes = recording.eyes
    both = [eyes["cyclopean"]] if "cyclopean" in eyes else list(eyes.values())
    known = recording.format.startswith(_MM)

    def mean(values: list[F32]) -> F32:
        stack = np.stack(values)
        count = np.isfinite(stack).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(count > 0, np.nansum(stack, axis=0) / count, np.nan), np.float32)

    def there(eye: EyeSamples, values: F32) -> F32:
        return np.where(np.isfinite(eye.x_px) & np.isfinite(eye.y_px), values, np.nan).astype(np.float32)

    pupil = mean([e.pupil for e in both]) if known else np.full(recording.n_samples, np.nan, np.float32)
    return mean([there(e, e.x_px) for e in both]), mean([there(e, e.y_px) for e in both]), pupil
