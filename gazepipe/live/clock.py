"""Which time of the device is which of ours.

Of the round trips in one measurement, the tenth that came back fastest is used: where a network is busy, one way is
slower than the other, and the mean over all round trips is off by half of that (milliseconds); the fast ones have not
waited anywhere. A device that tells whole milliseconds has, on average, half of one more.

The device's clock runs a little faster or slower than ours, by up to some ten millionths. Measurements over at
least `SPAN_S` give a line (the median of the slopes between them, which one bad measurement does not move); nearer ones
their mean. A measurement that is further off what the ones before promise than its round trip and the drift allow tells
that the device's clock was set: there, another line begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gazepipe.live.source import ClockEchoes

__all__ = ["STEP_NS", "ClockMap", "Offset", "measure"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: A clock whose samples leap by this much was set.
STEP_NS = 20_000_000
#: What a measurement is off on a good network, and how much clocks drift apart: unless it is measured, and then.
_OFF_NS, _DRIFT, _KNOWN_DRIFT = 1_000_000, 100e-6, 10e-6
#: Shorter series say more about the network than about the drift.
SPAN_S = 20.0
_STEEPEST = 500e-6
_SHARE = 0.1
#: Round trips that are as good as the fastest: so many times as long, and some more.
_ALIKE, _ALIKE_NS = 3, 1_000_000


@dataclass(frozen=True, slots=True)
class Offset:
    """One measurement: at `host_ns`, our clock was `offset_ns` ahead of the device's (all ns).

    `round_trip_ns` is the mean of the fastest round trips, half of which bounds the error; `n` is how many were made.
    """

    host_ns: int
    offset_ns: float
    round_trip_ns: int
    n: int


def measure(echoes: ClockEchoes) -> Offset:
    """Take the offset from the fastest tenth of some round trips.

    Raises
    ------
    ValueError
        If there is none.
    """
    n = echoes.sent_ns.size
    if not n:
        msg = "no round trips"
        raise ValueError(msg)
    took = echoes.received_ns - echoes.sent_ns
    best = np.argsort(took, kind="stable")[: max(1, round(_SHARE * n))]
    # On a busy computer hardly one of a hundred has not waited: those that took much longer than it tell nothing.
    best = best[took[best] <= _ALIKE * took[best[0]] + _ALIKE_NS]
    sent = echoes.sent_ns[best]
    middle = sent + took[best] / 2 - sent[0]  # counted from the first: float64 has not enough digits for all of it
    offset = middle - ((echoes.device_ns[best] - sent[0]) + echoes.grain_ns / 2)
    # Where the clock was set meanwhile, those afterwards count.
    same = np.abs(offset - offset[np.argmax(sent)]) <= STEP_NS
    return Offset(int(sent[0] + middle[same].mean()), float(offset[same].mean()), int(took[best][same].mean()), n)


@dataclass(frozen=True, slots=True)
class _Line:
    """Offset as a line: ``offset = at_zero + slope · (host − origin)``."""

    begin_ns: int
    origin_ns: int
    at_zero: float
    slope: float
    points: int

    def offset(self, host_ns: npt.ArrayLike) -> F64:
        out: F64 = self.at_zero + self.slope * (np.asarray(host_ns, np.int64) - self.origin_ns).astype(np.float64)
        return out


def _line(points: Sequence[Offset]) -> _Line:
    origin = points[0].host_ns
    t = np.array([p.host_ns - origin for p in points], np.float64)
    y = np.array([p.offset_ns for p in points])
    slope = 0.0
    if len(points) >= 3 and t[-1] - t[0] >= SPAN_S * 1e9:
        i, j = np.triu_indices(len(points), 1)
        far = t[j] - t[i] >= (t[-1] - t[0]) / 4
        slope = float(np.clip(np.median((y[j] - y[i])[far] / (t[j] - t[i])[far]), -_STEEPEST, _STEEPEST))
        return _Line(origin, origin, float(np.median(y - slope * t)), slope, len(points))
    return _Line(origin, origin, float(y.mean()), slope, len(points))


class ClockMap:
    """All measurements of a session and what follows from them.

    Add measurements in order of time.
    """

    def __init__(self, points: Sequence[Offset] = ()) -> None:
        self._parts: list[list[Offset]] = []
        self._lines: list[_Line] = []
        for point in points:
            self.add(point)

    def add(self, point: Offset) -> bool:
        """Take in a measurement; returns whether it found the device's clock set."""
        stepped = False
        if self._parts:
            expected = float(self._lines[-1].offset(point.host_ns))
            drift = _KNOWN_DRIFT if self._lines[-1].slope else _DRIFT
            stepped = abs(point.offset_ns - expected) > self.tolerance_ns(self._parts[-1][-1], point, drift)
        if stepped or not self._parts:
            self._parts.append([])
            self._lines.append(_line([point]))
        self._parts[-1].append(point)
        self._lines[-1] = _line(self._parts[-1])
        return stepped

    @staticmethod
    def tolerance_ns(old: Offset, new: Offset, drift: float = _DRIFT) -> float:
        """By how much two measurements of a clock that was not set may differ."""
        return _OFF_NS + (old.round_trip_ns + new.round_trip_ns) / 2 + drift * (new.host_ns - old.host_ns)

    def split(self, part: int, at: int) -> None:
        """Begin another line with a measurement of a part: what came before it goes by another."""
        halves = self._parts[part][:at], self._parts[part][at:]
        self._parts[part : part + 1] = halves
        self._lines[part : part + 1] = map(_line, halves)

    def divide(self, part: int, at: int) -> None:
        """Have a part begin with measurement `at`, counted from the first of the part before it."""
        self.join(part - 1)
        self.split(part - 1, at)

    def join(self, part: int) -> None:
        """Take back that the clock was set after a part: both are one."""
        both = self._parts[part] + self._parts[part + 1]
        self._parts[part : part + 2], self._lines[part : part + 2] = [both], [_line(both)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def lines(self) -> list[_Line]:
        """One line between two steps of the clock each."""
        return self._lines

    @property
    def parts(self) -> list[list[Offset]]:
        """The measurements between two steps of the clock each."""
        return self._parts

    @property
    def changes(self) -> list[tuple[int, int, float]]:
        """For each step: the last measurement before it, the first after, and by how much our lead changed."""
        out = []
        for (a, b), (old, new) in zip(pairwise(self._parts), pairwise(self._lines), strict=True):
            change = float(new.offset(new.begin_ns) - old.offset(new.begin_ns))
            out.append((a[-1].host_ns, b[0].host_ns, change))
        return out

    def bound_ns(self, host_ns: I64, part: int) -> F64:
        """By how much times of ours may be off: half a round trip, and what the clock may have drifted from there.

        A mean of measurements is off by the mean of that; of a line, the nearest one tells.
        """
        points = self._parts[part]
        at = np.array([p.host_ns for p in points])
        half = np.array([p.round_trip_ns / 2 for p in points])
        if not self._lines[part].slope:
            mean: F64 = half.mean() + _DRIFT / 2 * np.mean([np.abs(host_ns - t) for t in at.tolist()], axis=0)
            return mean
        after = np.searchsorted(at, host_ns)
        sides = [np.clip(k, 0, at.size - 1) for k in (after - 1, after)]
        nearest: F64 = np.minimum(*(half[k] + _KNOWN_DRIFT * np.abs(host_ns - at[k]) for k in sides))
        return nearest

    def device(self, host_ns: int) -> int:
        """Return what the device's clock shows at a time of ours, by the latest line."""
        return host_ns - round(float(self._lines[-1].offset(host_ns))) if self._lines else host_ns

    def host(self, device_ns: I64, part: int = -1) -> I64:
        """Return our time of times of the device, by one line (default: the latest)."""
        if not self._lines:
            return device_ns
        line = self._lines[part]
        # The line is over our time; the device's, moved by about the offset, is near enough for so small a slope.
        about = device_ns + round(line.at_zero)
        return device_ns + np.rint(line.offset(about)).astype(np.int64)
