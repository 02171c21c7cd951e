"""A viewer who is not there: gaze on the screen in real time, to try a session without a tracker."""

from __future__ import annotations

import time

import numpy as np

from gazepipe.geometry import Screen
from gazepipe.live._defaults import Defaults
from gazepipe.live.source import DeviceStatus, SampleBatch, SourceError, host_ns

__all__ = ["SimulatedSource"]


class SimulatedSource(Defaults):
    """Looks about the middle of the screen: fixations of some hundred milliseconds, quick saccades, noise, blinks.

    Parameters
    ----------
    screen
        Where it looks.
    rate_hz, seed
        Samples in a second; another seed looks elsewhere.
    noise_deg
        Root mean square from sample to sample.
    """

    name = "fake"

    def __init__(self, screen: Screen, *, rate_hz: float = 200.0, seed: int = 0, noise_deg: float = 0.05) -> None:
        self.screen, self.rate_hz, self.noise_deg = screen, rate_hz, noise_deg
        self.size_px = screen.width_px, screen.height_px
        self._rng = np.random.default_rng(seed)
        self._next_ns = 0
        self._place = np.array(screen.centre_px)
        self._from = self._place
        self._begin_ns = self._until_ns = self._shut_until_ns = 0

    def open(self) -> None:
        """Begin."""
        self._next_ns = self._begin_ns = self._until_ns = host_ns()

    def close(self) -> None:
        """End."""
        self._next_ns = 0

    def read(self, timeout_s: float) -> SampleBatch:
        """Return the samples since the last call."""
        if not self._next_ns:
            msg = "nobody looks at the screen; call open first."
            raise SourceError(msg)
        step = round(1e9 / self.rate_hz)
        now = host_ns()
        if self._next_ns > now:
            time.sleep(min(timeout_s, (self._next_ns - now) / 1e9))
        times = np.arange(self._next_ns, host_ns(), step, dtype=np.int64)
        if not times.size:
            return SampleBatch.none()
        self._next_ns = int(times[-1]) + step
        x, y = np.array([self._look(int(t)) for t in times]).T
        return SampleBatch.of(times, x, y, pupil_mm=np.full(times.size, 3.0))

    def _look(self, at_ns: int) -> tuple[float, float]:
        if at_ns >= self._until_ns:
            self._begin_ns, self._from = at_ns, self._place
            self._until_ns = at_ns + round(self._rng.gamma(4, 70) * 1e6) + 100_000_000
            spread = np.array(self.size_px) / 6
            self._place = np.array(self.screen.centre_px) + np.clip(
                self._rng.normal(0, spread), -2.5 * spread, 2.5 * spread
            )
            if self._rng.random() < 0.05:
                self._shut_until_ns = at_ns + 150_000_000
        if at_ns < self._shut_until_ns:
            return float("nan"), float("nan")
        degree = self.screen.pixels_per_degree[0]
        far = float(np.hypot(*(self._place - self._from))) / degree
        phase = min(
            (at_ns - self._begin_ns) / ((2.2 * far + 21) * 1e6), 1.0
        )  # main sequence: 2.2 ms a degree and 21 ms
        way = phase**3 * (10 - 15 * phase + 6 * phase * phase)
        x, y = self._from + way * (self._place - self._from) + self._rng.normal(0, self.noise_deg / 2 * degree, 2)
        return float(x), float(y)

    def status(self) -> DeviceStatus:
        """Return that all is well."""
        return DeviceStatus(worn=True)
