"""Tobii's screen-based trackers, by Tobii Pro SDK for Python (`tobii_research`), which users install themselves.

The SDK is free to use but not free software, and not on all platforms; nothing of it is part of gazepipe. It is there
for fewer versions of Python than gazepipe (2.1.0: 3.10 only). Where this one has none, it runs in a process of another
Python, which is named, or found (`gazepipe.live._tobii_process`). Calibrate with Tobii's Eye Tracker Manager first.

Gaze comes by a callback for each eye, from 0 to 1 over the display area, which is taken for the screen. Where both eyes
are valid it is their mean, as in `[ivt] eye = "average"`. Times are the SDK's `system_time_stamp`: microseconds of its
clock on this computer, to which it has mapped the tracker's.

References
----------
https://developer.tobiipro.com/python.html
"""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from typing import Any

import numpy as np

from gazepipe.live._defaults import Defaults, echoes
from gazepipe.live._tobii_process import VARIABLE, TobiiProcess, other_python, which_one
from gazepipe.live.source import ClockEchoes, DeviceStatus, SampleBatch, SourceError, host_ns

__all__ = ["TobiiSource"]

_US = 1000
_Row = tuple[int, int, float, float, float]


class TobiiSource(Defaults):
    """A Tobii tracker.

    Parameters
    ----------
    size_px
        Width and height of the screen.
    address
        Such as ``"tet-tcp://169.254.6.40"``; "": the only one that is found.
    python
        Executable of a Python that has the SDK, where this one has not; "": what the environment's variable
        ``GAZEPIPE_TOBII_PYTHON`` names, else ``python3.10``.
    """

    name = "tobii"
    own_clock = True

    def __init__(self, size_px: tuple[int, int], address: str = "", *, python: str = "") -> None:
        self.size_px, self.address, self.python, self.rate_hz = size_px, address, python, 0.0
        self._process: TobiiProcess | None = None
        self._sdk: Any = None
        self._tracker: Any = None
        self._arrived = threading.Condition()
        self._rows: list[_Row] = []
        self._lost = ""

    def open(self) -> None:
        """Connect and subscribe.

        Raises
        ------
        SourceError
            If the SDK is not installed, or there is no tracker, or several.
        """
        self.close()
        self._rows, self._lost = [], ""
        try:
            self._sdk = importlib.import_module("tobii_research")
        except ImportError as error:
            self._elsewhere(error)
            return
        try:
            tracker = self._find()
            self.rate_hz = float(tracker.get_gaze_output_frequency())
            tracker.subscribe_to(self._sdk.EYETRACKER_GAZE_DATA, self._gaze, as_dictionary=True)
            tracker.subscribe_to(self._sdk.EYETRACKER_NOTIFICATION_CONNECTION_LOST, self._gone, as_dictionary=True)
        except SourceError:
            raise
        except Exception as error:  # the SDK has an exception for each of its states
            msg = f"the Tobii tracker cannot be used ({error}); look at it in Tobii's Eye Tracker Manager."
            raise SourceError(msg) from None
        self._tracker = tracker

    def close(self) -> None:
        """Unsubscribe."""
        process, self._process = self._process, None
        if process is not None:
            process.close()
            self._lost = ""  # that it has ended
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            for stream, callback in (
                (self._sdk.EYETRACKER_GAZE_DATA, self._gaze),
                (self._sdk.EYETRACKER_NOTIFICATION_CONNECTION_LOST, self._gone),
            ):
                with contextlib.suppress(Exception):
                    tracker.unsubscribe_from(stream, callback)

    def read(self, timeout_s: float) -> SampleBatch:
        """Return what has arrived."""
        with self._arrived:
            if not self._rows and not self._lost:
                self._arrived.wait(timeout_s)
            rows, self._rows = self._rows, []
            lost = self._lost
        if not rows:
            if lost or (self._tracker is None and self._process is None):
                raise SourceError(lost or "the Tobii tracker is not open; call open first.")
            return SampleBatch.none()
        device, received, x, y, pupil = zip(*rows, strict=True)
        width, height = self.size_px
        return SampleBatch.of(
            device, np.array(x) * width, np.array(y) * height, pupil_mm=np.array(pupil), received_ns=received
        )

    def status(self) -> DeviceStatus:
        """Return what the tracker is called."""
        if self._process is not None:
            return DeviceStatus(detail=self._process.detail)
        if self._tracker is None:
            return DeviceStatus()
        wanted = ("model", "serial_number", "firmware_version", "address")
        return DeviceStatus(detail={key: str(getattr(self._tracker, key, "")) for key in wanted})

    def clock(self, n: int) -> ClockEchoes:
        """Ask the SDK's clock `n` times."""
        process = self._process
        if process is not None:
            return echoes(n, lambda: process.time_us() * _US, _US)
        try:
            return echoes(n, lambda: int(self._sdk.get_system_time_stamp()) * _US, _US)
        except Exception as error:
            msg = f"Tobii's clock does not answer ({error})."
            raise SourceError(msg) from None

    def _elsewhere(self, error: ImportError) -> None:
        """Use the SDK of another Python."""
        python = other_python(self.python)
        if not python:
            msg = (
                f"Tobii's SDK cannot be imported ({error}); install it with `pip install tobii-research`, "
                f"for Python 3.10 if there is none for this one, and name that Python in {VARIABLE}."
            )
            raise SourceError(msg)
        self._process = TobiiProcess(python, self.address, self._gaze, self._gone)
        self.rate_hz = self._process.rate_hz

    def _find(self) -> Any:
        if self.address:
            return self._sdk.EyeTracker(self.address)
        found = self._sdk.find_all_eyetrackers()
        if len(found) != 1:
            raise SourceError(which_one([str(t.address) for t in found]))
        return found[0]

    def _gaze(self, data: dict[str, Any]) -> None:
        """Called by the SDK in a thread of its own."""
        received = host_ns()
        eyes = [
            data[f"{eye}_gaze_point_on_display_area"] for eye in ("left", "right") if data[f"{eye}_gaze_point_validity"]
        ]
        pupils = [data[f"{eye}_pupil_diameter"] for eye in ("left", "right") if data[f"{eye}_pupil_validity"]]
        x, y = (sum(e[k] for e in eyes) / len(eyes) if eyes else math.nan for k in (0, 1))
        pupil = sum(pupils) / len(pupils) if pupils else math.nan
        with self._arrived:
            self._rows.append((int(data["system_time_stamp"]) * _US, received, x, y, pupil))
            self._arrived.notify()

    def _gone(self, data: Any) -> None:
        with self._arrived:
            self._lost = "the connection to the Tobii tracker is lost; look at its cable."
            self._arrived.notify()
