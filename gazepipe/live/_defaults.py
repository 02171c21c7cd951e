"""What most sources have in common: no camera, no recording of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np

from gazepipe.live.source import ClockEchoes, DeviceStatus, SampleBatch, SceneFrame, host_ns

__all__ = ["Defaults", "echoes", "wait_for"]

_PAUSE_S = 0.001


class Defaults:
    """A `GazeSource` on the screen, without what a tracker alone can have."""

    name = ""
    rate_hz = 0.0
    space: Literal["screen", "scene"] = "screen"
    size_px = (0, 0)
    own_clock = False

    def expected(self, begin_ns: int, end_ns: int) -> float:
        """Return how many samples the nominal rate gives."""
        return (end_ns - begin_ns) / 1e9 * self.rate_hz

    def status(self) -> DeviceStatus:
        """Return that nothing is known."""
        return DeviceStatus()

    def clock(self, n: int) -> ClockEchoes | None:
        """Return none: samples have this computer's time."""
        return None

    def send_event(self, name: str, device_ns: int) -> None:
        """Do nothing."""

    def frames(self) -> list[SceneFrame]:
        """Return none."""
        return []

    def start_recording(self) -> str:
        """Do nothing."""
        return ""

    def stop_recording(self) -> None:
        """Do nothing."""


def echoes(
    n: int, clock_ns: Callable[[], int], grain_ns: int, before: Callable[[], object] = lambda: None
) -> ClockEchoes:
    """Ask a device's clock `n` times, by a call that returns its time; what is done `before` takes none of it."""
    sent, device, received = (np.zeros(n, np.int64) for _ in range(3))
    for i in range(n):
        before()
        sent[i] = host_ns()
        device[i] = clock_ns()
        received[i] = host_ns()
    return ClockEchoes(sent, device, received, grain_ns)


def wait_for(look: Callable[[], SampleBatch], timeout_s: float) -> SampleBatch:
    """Look for samples until there are some or the time is over."""
    until = time.perf_counter() + timeout_s
    while not len(found := look()) and time.perf_counter() < until:
        time.sleep(_PAUSE_S)
    return found
