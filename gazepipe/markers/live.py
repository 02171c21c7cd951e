"""Gaze on the screen while a session runs, by the last picture in which the screen was seen."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import GazepipeError
from gazepipe.live.source import SampleFlag, SceneFrame
from gazepipe.markers.camera import Camera
from gazepipe.markers.detection import MarkerDetector
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.mapping import LONGEST_GAP_MS, MISSING, PlaneSeries, map_gaze
from gazepipe.markers.plane import ScreenPlane, fit_plane
from gazepipe.markers.session_log import GEOMETRY, PICTURES, geometry, pictures

__all__ = ["LiveMapper"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
#: Pictures come later than gaze, by a tenth of a second and more on the way and some for finding the markers. While no
#: newer one has been looked at, the last one counts for so long.
LATEST_MS = 1000.0
_NO_GAZE, _NO_TAGS = np.uint8(SampleFlag.NO_GAZE), np.uint8(SampleFlag.NO_TAGS)
_EXTRAPOLATED = np.uint8(SampleFlag.EXTRAPOLATED)


class LiveMapper:
    """Maps gaze while a session runs (a `gazepipe.live.source.SceneMapper`).

    Parameters
    ----------
    screen
        The layout.
    camera
        What the lens does; or a function that tells it when the first picture is there, for devices that have to be
        connected before they can.
    detector
        Finds the markers; of its own where none is given.
    longest_gap_ms
        How long the screen counts as being where it was last seen, in the time of the pictures.
    background
        Look at pictures in a thread of its own, so that `see` returns at once and whoever records is not held up by the
        thirty milliseconds that a picture takes. A picture that comes while another is looked at replaces the one that
        waits.
    """

    def __init__(
        self,
        screen: MarkerScreen,
        camera: Camera | Callable[[], Camera],
        detector: MarkerDetector | None = None,
        *,
        longest_gap_ms: float = LONGEST_GAP_MS,
        background: bool = False,
    ) -> None:
        self.screen, self.longest_gap_ms = screen, longest_gap_ms
        self._camera = camera
        self.detector = detector or MarkerDetector(screen.layout)
        #: Why pictures cannot be used (the camera's lens is not known), or "".
        self.problem = ""
        #: How much older the picture was than the gaze mapped last.
        self.age_ms = math.nan
        self._found = 0
        self._time: list[int] = []
        self._logged = 0
        self._planes: list[ScreenPlane | None] = []
        self._last: PlaneSeries | None = None
        self._changed = threading.Condition()
        self._waiting: SceneFrame | None = None
        self._busy = self._closed = False
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
            self._thread.start()

    @property
    def camera(self) -> Camera:
        """The scene camera."""
        if not isinstance(self._camera, Camera):
            self._camera = self._camera()
        return self._camera

    def see(self, frame: SceneFrame) -> int:
        """Look for the screen in a picture; returns how many of its markers were found.

        In the background, of the picture looked at last.
        """
        if self._thread is None:
            self._look(frame)
            return self._found
        with self._changed:
            self._waiting = frame
            self._changed.notify_all()
            return self._found

    def to_screen(self, device_ns: I64, x_px: F32, y_px: F32) -> tuple[F32, F32, U8]:
        """Map gaze by the last place of the screen: screen pixels, and `SampleFlag` bits. NaN where it is not known.

        Gaze is mostly newer than the last picture, which takes longer to arrive; if by more than `MISSING` pictures, it
        is flagged.
        """
        time = np.asarray(device_ns, np.int64)
        with self._changed:
            last, step, looked = self._last, self._step_ns(), self._time[-1] if self._time else 0
        if last is None:
            none = np.full(time.size, np.nan, np.float32)
            return none, none.copy(), np.full(time.size, _NO_TAGS, np.uint8)
        seen = int(last.time_ns[0])
        age, longest = np.abs(time - seen), self.longest_gap_ms * 1e6
        gone = (time < seen) | (looked - seen > longest) | (time - looked > LATEST_MS * 1e6)
        lost = (age > longest) & gone
        x, y, flags = map_gaze(last, self.screen, self.camera, np.full(time.size, seen), x_px, y_px, mode="last")
        x[lost] = y[lost] = np.nan
        flags[lost] = flags[lost] & _NO_GAZE | _NO_TAGS
        flags[(age > MISSING * step) & ~lost] |= _EXTRAPOLATED
        self.age_ms = float(np.median(age)) / 1e6
        return x.astype(np.float32), y.astype(np.float32), flags

    def series(self) -> PlaneSeries:
        """All pictures so far, for mapping afterwards."""
        with self._changed:
            return PlaneSeries.of(self._time, self._planes, self.screen)

    def log(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what a session's log is to have of the pictures since the last call: kinds of lines, and values."""
        with self._changed:
            first, self._logged = self._logged, len(self._time)
            time, planes = self._time[first:], self._planes[first:]
        if not time:
            return []
        lines = [(GEOMETRY, geometry(self.screen, self.camera))] if first == 0 else []
        return [*lines, (PICTURES, pictures(time, planes, self.screen))]

    def wait(self, timeout_s: float = 5.0) -> bool:
        """Wait until no picture waits in the background; whether that was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is None and not self._busy, timeout_s)

    def close(self) -> None:
        """End the thread and the second detector's process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5)
        self.detector.close()

    def _look(self, frame: SceneFrame) -> None:
        found = self.detector.detect(frame.grey)
        try:
            plane = fit_plane(found.corners, self.screen, self.camera)
        except GazepipeError as error:  # the next picture asks the device again
            self.problem = str(error).rstrip(".")
            return
        self.problem = ""
        with self._changed:
            self._found = len(found.corners)
            self._time.append(frame.device_ns)
            self._planes.append(plane)
            if plane is not None:
                self._last = PlaneSeries.of([frame.device_ns], [plane], self.screen)

    def _run(self) -> None:
        self.detector.prepare()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                frame, self._waiting = self._waiting, None
                if self._closed or frame is None:
                    return
                self._busy = True
            self._look(frame)

    def _step_ns(self) -> float:
        """Usual time between pictures; of the last ones, as a source may skip some."""
        last = np.diff(self._time[-10:])
        return float(np.median(last)) if last.size else self.longest_gap_ms * 1e6
