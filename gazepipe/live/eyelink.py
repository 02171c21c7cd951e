"""SR Research's EyeLink over its link, by `pylink`, which users install (``pip install sr-research-pylink``).

`pylink` is SR Research's, also part of the EyeLink Developers Kit, and nothing of it is part of gazepipe (the package
``pylink`` on PyPI is another thing).
Calibrate first, with SR's or PsychoPy's screens; give the connected tracker, or the host's address.

Samples are taken from the link one by one, none is passed over. Of two eyes the mean is used, as in
`[ivt] eye = "average"`. The pupil's size is in the tracker's own unit and is left out. The EDF file on the host goes on
beside it: it is the better record, and `gazepipe ingest` reads it.

References
----------
SR Research, Pylink API user guide; EyeLink Programmer's Guide.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from typing import Any

import numpy as np

from gazepipe.live._defaults import Defaults, echoes, wait_for
from gazepipe.live.source import ClockEchoes, DeviceStatus, SampleBatch, SourceError

__all__ = ["EyeLinkSource"]

_HOST = "100.1.1.1"
_SAMPLE = 200  # pylink.SAMPLE_TYPE
_MISSING = -32768  # pylink.MISSING_DATA
_OK = 0
_DUMMY = -1
_LINK_DATA = "link_sample_data = LEFT,RIGHT,GAZE,GAZERES,AREA,STATUS"


class EyeLinkSource(Defaults):
    """An EyeLink.

    Parameters
    ----------
    size_px
        Width and height of the screen; the tracker is told them as its coordinates.
    address
        Of the host computer; "": where SR Research puts it.
    tracker
        A `pylink.EyeLink` that is connected already, and stays so; its file and calibration are its owner's.
    """

    name = "eyelink"
    own_clock = True

    def __init__(
        self, size_px: tuple[int, int], address: str = "", *, rate_hz: float = 1000.0, tracker: Any = None
    ) -> None:
        self.size_px, self.address, self.rate_hz = size_px, address or _HOST, rate_hz
        self._given: Any = tracker
        self._tracker: Any = None

    def open(self) -> None:
        """Connect if need be, and start recording.

        Raises
        ------
        SourceError
            If `pylink` is not installed, or the tracker is not connected, or does not answer or record.
        """
        self.close()
        tracker = self._given
        try:
            if tracker is None:
                tracker = importlib.import_module("pylink").EyeLink(self.address)
            connected = tracker.isConnected()
            if connected in (0, _DUMMY):
                how = "is in dummy mode" if connected else "is not connected"
                msg = f"{self.address}: the EyeLink {how}, and gives no gaze; connect it first."
                raise SourceError(msg)
            width, height = self.size_px
            tracker.setOfflineMode()
            tracker.sendCommand(f"screen_pixel_coords = 0 0 {width - 1} {height - 1}")
            tracker.sendMessage(f"DISPLAY_COORDS 0 0 {width - 1} {height - 1}")
            tracker.sendCommand(f"sample_rate {self.rate_hz:g}")
            tracker.sendCommand(_LINK_DATA)
            problem = tracker.startRecording(1, 1, 1, 1)
        except (ImportError, AttributeError) as error:
            msg = f"pylink cannot be used ({error}); install SR Research's: `pip install sr-research-pylink`."
            raise SourceError(msg) from None
        except RuntimeError as error:
            msg = f"{self.address}: the EyeLink does not answer ({error}); switch it on and check the cable."
            raise SourceError(msg) from None
        if problem:
            msg = f"{self.address}: the EyeLink does not record (error {problem}); look at its screen."
            raise SourceError(msg)
        self._tracker = tracker

    def close(self) -> None:
        """Stop recording; a connection that was made here ends."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            with contextlib.suppress(Exception):
                tracker.stopRecording()
            if tracker is not self._given:
                with contextlib.suppress(Exception):
                    tracker.close()

    def read(self, timeout_s: float) -> SampleBatch:
        """Return the samples in the link's queue."""
        try:
            return wait_for(self._queue, timeout_s)
        except RuntimeError as error:
            msg = f"{self.address}: the link to the EyeLink broke off ({error}); check the cable."
            raise SourceError(msg) from None

    def status(self) -> DeviceStatus:
        """Return the tracker's version."""
        if self._tracker is None:
            return DeviceStatus()
        return DeviceStatus(detail={"version": str(self._tracker.getTrackerVersionString())})

    def clock(self, n: int) -> ClockEchoes:
        """Ask for the tracker's time `n` times; `pylink` keeps in step with it."""
        tracker = self._open()

        def time_ns() -> int:
            us = float(tracker.trackerTimeUsec())
            if us < 0:
                msg = f"{self.address}: the EyeLink tells no time; look at its screen."
                raise SourceError(msg)
            return round(us * 1e3)

        return echoes(n, time_ns, 1000)

    def send_event(self, name: str, device_ns: int) -> None:
        """Write a message into the EDF file, at the time at which it gets there."""
        try:
            self._open().sendMessage(name)
        except RuntimeError as error:
            msg = f"the EyeLink did not take a message ({error})."
            raise SourceError(msg) from None

    def _open(self) -> Any:
        if self._tracker is None:
            msg = "the EyeLink is not open; call open first."
            raise SourceError(msg)
        return self._tracker

    def _queue(self) -> SampleBatch:
        tracker = self._open()
        times: list[int] = []
        places: list[tuple[float, float]] = []
        while kind := tracker.getNextData():
            if kind != _SAMPLE:
                continue  # the tracker's own events
            sample = tracker.getFloatData()
            times.append(round(float(sample.getTime()) * 1e6))
            places.append(_place(sample))
        if not times and (not tracker.isConnected() or tracker.isRecording() != _OK):
            msg = f"{self.address}: the EyeLink stopped recording; look at its screen."
            raise SourceError(msg)
        x, y = np.array(places, np.float64).reshape(-1, 2).T
        return SampleBatch.of(times, x, y)


def _place(sample: Any) -> tuple[float, float]:
    """Gaze of a sample, the mean of its eyes; NaN where it is missing."""
    eyes = []
    if sample.isLeftSample() or sample.isBinocular():
        eyes.append(sample.getLeftEye().getGaze())
    if sample.isRightSample() or sample.isBinocular():
        eyes.append(sample.getRightEye().getGaze())
    seen = [(float(x), float(y)) for x, y in eyes if x > _MISSING and y > _MISSING]
    if not seen:
        return math.nan, math.nan
    return sum(x for x, _ in seen) / len(seen), sum(y for _, y in seen) / len(seen)
