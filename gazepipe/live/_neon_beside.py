"""What a Neon tells beside gaze, by the official client: its inertial unit, and what its app finds in the gaze."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from gazepipe.live.beside import EYE_EVENTS, FILES, IMU, Records
from gazepipe.live.source import host_ns

__all__ = ["NeonBeside"]

_PAUSE_S = 1.0


class NeonBeside:
    """Keeps what two streams tell until it is asked for; a stream that breaks off begins again, by itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in FILES}

    def taken(self) -> dict[str, Records]:
        """Return what has come since the last call."""
        with self._lock:
            rows, self._rows = self._rows, {name: [] for name in FILES}
        return {name: np.array(rows[name], FILES[name]) for name in FILES}

    async def follow(self, name: str, url: str, timeout_s: float) -> None:
        """Receive one of the streams for ever.

        An event of a kind that the client does not know ends its stream; so does silence.
        """
        receive, row = _streams()[name]
        while True:
            try:
                async for datum in receive(url, run_loop=False, timeout=timeout_s, log_level=50):
                    with self._lock:
                        self._rows[name].append(row(datum, host_ns()))
            except asyncio.CancelledError:
                raise
            except Exception:  # gaze does not depend on it
                pass
            await asyncio.sleep(_PAUSE_S)


def _streams() -> dict[str, tuple[Callable[..., AsyncIterator[Any]], Callable[[Any, int], tuple[Any, ...]]]]:
    from pupil_labs.realtime_api.streaming.eye_events import receive_eye_events_data
    from pupil_labs.realtime_api.streaming.imu import receive_imu_data

    return {IMU: (receive_imu_data, _reading), EYE_EVENTS: (receive_eye_events_data, _event)}


def _reading(datum: Any, received: int) -> tuple[Any, ...]:
    turned = datum.quaternion
    values = (*datum.gyro_data, *datum.accel_data, turned.w, turned.x, turned.y, turned.z)
    return (round(datum.timestamp_unix_seconds * 1e9), 0, received, *values, 0, 0)


def _event(datum: Any, received: int) -> tuple[Any, ...]:
    end = getattr(datum, "end_time_ns", datum.start_time_ns)
    names = [f"{where}_gaze_{axis}" for where in ("start", "end", "mean") for axis in "xy"]
    names += ["amplitude_pixels", "amplitude_angle_deg", "mean_velocity", "max_velocity"]
    values = [getattr(datum, name, np.nan) for name in names]
    times = (round(datum.rtp_ts_unix_seconds * 1e9), 0, received, datum.start_time_ns, end)
    return (*times, *values, datum.event_type, 0)
