"""What a device tells beside gaze: how the head moves, and events that its own software finds in the gaze.

Both are records like the samples (`gazepipe.live.recording`), with the device's time, the same in ours by what was
known then, and their arrival. Each stream has a file of its own, which is there if the device told anything.

``imu.bin``
    Angular velocity (deg/s), acceleration (g) and the head's rotation (a quaternion), about 100 times a second.
``eye_events.bin``
    Saccades, fixations and blinks when they are over, and the onset of the first two as soon as it is known. Places are
    in pixels of the scene camera, velocities in px/s.

The client's text has accelerations in m/s²; a Neon that lies still tells 1, and so do its own files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = [
    "EYE_EVENT",
    "EYE_EVENTS",
    "FILES",
    "IMU",
    "IMU_RECORD",
    "KINDS",
    "Records",
    "TellsMore",
    "on_our_clock",
    "read_beside",
]

I64 = npt.NDArray[np.int64]
#: Of one of the `FILES`.
Records = npt.NDArray[Any]

IMU, EYE_EVENTS = "imu.bin", "eye_events.bin"
_TIMES = [("device_ns", "<i8"), ("host_ns", "<i8"), ("received_ns", "<i8")]
_AXES = [f"{what}_{axis}" for what in ("gyro", "accel") for axis in "xyz"] + [f"quaternion_{axis}" for axis in "wxyz"]
_PLACES = [f"{where}_{axis}_px" for where in ("start", "end", "mean") for axis in "xy"]
_SIZES = ["amplitude_px", "amplitude_deg", "mean_velocity_px_s", "max_velocity_px_s"]

#: One reading of the inertial unit.
IMU_RECORD = np.dtype([*_TIMES, *((name, "<f4") for name in _AXES), ("spare", "<u2"), ("check", "<u2")])
#: One event: `kind` is a place in `KINDS`; `end_ns` is that of its beginning where only this is known yet.
EYE_EVENT = np.dtype(
    [
        *_TIMES,
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        *((name, "<f4") for name in (*_PLACES, *_SIZES)),
        ("kind", "<u2"),
        ("check", "<u2"),
    ]
)
KINDS = ("saccade", "fixation", "saccade onset", "fixation onset", "blink")
FILES = {IMU: IMU_RECORD, EYE_EVENTS: EYE_EVENT}


@runtime_checkable
class TellsMore(Protocol):
    """A source (`gazepipe.live.source.GazeSource`) whose device tells more than gaze."""

    def beside(self) -> dict[str, Records]:
        """Return what has come since the last call, by name in `FILES`; never waits, and never raises."""


def read_beside(folder: Path, name: str) -> tuple[Records, int]:
    """Read one of the `FILES` of a session, in order of arrival, and how many records are damaged; none without it.

    Raises
    ------
    RecordingError
        If the file cannot be read.
    """
    from gazepipe.live.recording import read_records

    if not (folder / name).is_file():
        return np.zeros(0, FILES[name]), 0
    return read_records(folder / name, FILES[name])


def on_our_clock(device_ns: I64, received_ns: I64, samples: Records, host_ns: I64) -> I64:
    """Move times of the device to ours as those of the gaze that arrived at the same time were moved.

    Parameters
    ----------
    device_ns, received_ns
        Of what is to be moved, shape ``(n,)``.
    samples, host_ns
        The session's samples in order of arrival, and our times of them (`gazepipe.readers.live_session.to_host`).
    """
    if not samples.size:
        return device_ns.copy()
    last = np.searchsorted(np.maximum.accumulate(samples["received_ns"]), received_ns, "right") - 1
    at = np.clip(last, 0, samples.size - 1)
    moved: I64 = device_ns + (host_ns[at] - samples["device_ns"][at])
    return moved
