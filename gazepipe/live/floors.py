"""Where a device's clock was set, from its samples alone.

A sample takes its time from the device's clock to its arrival, and a network can only add to that: the fastest samples
of some seconds make a floor, which late ones and losses leave where it is. Where the clock is set forward by 20 ms the
floor falls by 20 ms, and the samples' times leap by as much; where it is set back the floor rises. A network that gets
better or worse moves it, too, so that this is a suspicion: measurements of the clock before and after tell which
(`gazepipe.live.timing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["SMALLEST_NS", "FloorWatch", "Shift", "locate", "shifts", "unsteady"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: A floor that moves by less is the network's.
SMALLEST_NS = 2_500_000
#: How long a floor is looked at: after a shift, and before it (and after one that losses may hide).
_NEAR_NS, _FAR_NS = 2_000_000_000, 10_000_000_000
#: Samples that a floor needs on each side, in time and in number; fewer where time goes back so far, and stays there.
_ENOUGH_NS, _ENOUGH, _FEW, _BACK_NS = 1_000_000_000, 20, 5, 100_000_000
#: Samples before the first fast one among which a fall began that no leap tells of.
_ZONE = 20
#: Log odds: that one sample's lateness gives, that a sample faster than the floor gives, and to be sure of a place.
_ONE_SAYS, _CANNOT, _SURE = 3.0, 50.0, 12.0
#: Log odds from which samples' own times are said to leap.
_LEAP = 4.0
_NEVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True, slots=True)
class Shift:
    """From sample `at` on the floor lies higher by `by_ns`: the device's clock went back by as much.

    It may have begun with any sample from `first` to `last`. `sure` is whether the samples' own times leap, too.
    """

    at: int
    by_ns: int
    first: int
    last: int
    sure: bool


def _usual(step: I64) -> int:
    """Time between two samples."""
    return int(np.median(step[step > 0])) if (step > 0).any() else 0


def _ahead(took: I64, n: int) -> I64:
    """Smallest of each value and the `n` − 1 after it."""
    whole = -(-(took.size + n - 1) // n) * n
    # A window of n is the end of one block of n and the beginning of the next.
    blocks = np.append(took, np.full(whole - took.size, _NEVER)).reshape(-1, n)
    head = np.minimum.accumulate(blocks, axis=1).ravel()
    tail = np.minimum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    found: I64 = np.minimum(tail[: took.size], head[n - 1 : n - 1 + took.size])
    return found


def _behind(took: I64, n: int) -> I64:
    """Smallest of the `n` values before each."""
    found: I64 = np.append(_NEVER, _ahead(took[::-1], n)[::-1][:-1])
    return found


def shifts(device_ns: I64, received_ns: I64) -> list[Shift]:
    """Find where the floor moved at once and stayed, in samples in order of arrival.

    A fall counts where samples leap by as much at the same place; a rise where they come closer than they can, or,
    where losses may hide that, if it lasts longer.
    """
    n = device_ns.size
    step = np.diff(device_ns, prepend=device_ns[:1])
    usual = _usual(step)
    if n < 2 * _FEW or not usual:
        return []
    took = received_ns - device_ns
    near, far = max(_ENOUGH, round(_NEAR_NS / usual)), max(_ENOUGH, round(_FAR_NS / usual))
    enough = max(_ENOUGH, round(_ENOUGH_NS / usual))
    after_near, after_far = _ahead(took, near), _ahead(took, far)
    gone_back = _gone_back(device_ns, step)
    found: list[Shift] = []
    start, begin = 0, _FEW
    while begin <= n - _FEW:  # a piece at a time: what a shift was found in is not gone through again
        part = slice(begin, min(begin + far, n - _FEW + 1))
        low = max(start, begin - far)
        before = _behind(took[low : part.stop], far)[begin - low :]
        rise = after_near[part] - before
        index = np.arange(part.start, part.stop)
        sides = np.minimum(index - start, n - index)
        falls = (rise <= -SMALLEST_NS) & (step[part] > usual - rise / 2)
        rises = (rise >= SMALLEST_NS) & (step[part] < usual / 2)
        hidden = (after_far[part] - before >= SMALLEST_NS) & (n - index >= enough)
        some = np.flatnonzero(
            ((sides >= enough) & (falls | rises | hidden)) | ((sides >= _FEW) & gone_back[part] & (rise > _BACK_NS / 2))
        )
        if not some.size:
            begin = part.stop
            continue
        k = begin + int(some[0])
        floor = int(before[k - begin])
        full = k + max(1, min(near, n - k) // 2)  # of the last samples alone, the fastest may be late
        by = int(after_near[k:full].max()) - floor if rise[k - begin] > 0 else int(rise[k - begin])
        shift = _place(took, step, usual, by, floor, k, near, start)
        if shift is not None:
            found.append(shift)
            start = shift.at
            begin = max(begin, shift.last, start + _FEW) + 1
        else:
            begin = k + 1
    return found


def _gone_back(device: I64, step: I64) -> npt.NDArray[np.bool_]:
    """Whether time goes back with a sample, and no single one has come out of turn."""
    out = step < -_BACK_NS
    for k in np.flatnonzero(out).tolist():
        out[k] = device[k : k + _FEW].max() < device[k - 1]
    return out


def _place(took: I64, step: I64, usual: int, by: int, floor: int, k: int, near: int, start: int = 0) -> Shift | None:
    """Where, near sample `k` and after `start`, a shift began that moves a floor by so much.

    None for a fall without a leap.
    """
    if by < 0:
        for _ in range(2):  # the window has but touched what comes after: by how much is known there
            low = np.flatnonzero(took[k:] < floor + by / 2)
            if not low.size:
                return None
            k = k + int(low[0])  # no sample was so fast before
            by = min(by, int(took[k : k + near].min()) - floor)
    if k >= took.size:
        return None
    # At an end, a part of what there is has to tell how late samples are.
    zone = np.arange(max(start + 1, k - near, (start + k) // 2), min(k + near, (k + took.size + 1) // 2 + 1, took.size))
    odds, leap = _odds(took, step, usual, by, floor, zone)
    likely = zone[odds > odds.max() - _SURE]
    if by < 0 and not (step[likely] > (-by - usual if -by > 3 * usual else usual - by / 2)).any():
        return None
    at = int(odds.argmax())
    return Shift(int(zone[at]), by, int(likely[0]), int(likely[-1]), by < 0 or bool(leap[at] > _LEAP))


def _odds(took: I64, step: I64, usual: int, by: int, floor: int, zone: I64) -> tuple[F64, F64]:
    """Log odds of each sample of a zone to be the first after a shift, up to a constant; and what its step gives.

    No sample is faster than the floor on its side. One that did not wait for the next is as likely on a side as those
    beside the zone are so late; a step in time, the shift taken out of it, is as likely as it is there.
    """
    begin, end = int(zone[0]), int(zone[-1]) + 1
    earlier, later = slice(max(1, 2 * begin - end), begin), slice(end, 2 * end - begin)
    fresh = np.append(np.diff(took) + step[1:] > usual / 4, True)  # the next one arrived after a pause
    late = np.sort(np.concatenate([took[earlier][fresh[earlier]] - floor, took[later][fresh[later]] - floor - by]))
    steps = np.sort(np.concatenate([step[earlier], step[later]]))

    def so_late(lateness: I64) -> F64:
        found: F64 = np.log(late.size - np.searchsorted(late, lateness) + 0.5)
        return found

    def stepped(ns: I64) -> F64:
        found: F64 = np.log(np.searchsorted(steps, ns + usual // 4) - np.searchsorted(steps, ns - usual // 4) + 0.5)
        return found

    old, new = took[zone] - floor, took[zone] - floor - by
    older = np.where(fresh[zone], np.clip(so_late(old) - so_late(new), -_ONE_SAYS, _ONE_SAYS), 0.0)
    slack = min(max(SMALLEST_NS, abs(by) // 8), abs(by) // 4)
    older += _CANNOT * (1.0 * (new < -slack) - (old < -slack))
    leap = stepped(step[zone] + by) - stepped(step[zone])
    return np.cumsum(older) - older + leap, leap


def locate(device_ns: I64, received_ns: I64, by_ns: float, begin: int, end: int) -> Shift | None:
    """Find where, from sample `begin` to before `end`, the floor moved by what a measurement of the clock tells.

    None if it did nowhere.
    """
    n = device_ns.size
    step = np.diff(device_ns, prepend=device_ns[:1])
    usual = _usual(step)
    begin, end = max(begin, 1), min(end, n)
    if not usual or begin >= end:
        return None
    took = received_ns - device_ns
    near = max(_ENOUGH, round(_NEAR_NS / usual))
    low = max(0, begin - near)
    rise = _ahead(took, near)[begin:end] - _behind(took[low:end], near)[begin - low :]
    off = np.abs(rise - by_ns)
    good = np.flatnonzero(off < min(abs(by_ns) / 2, off.min() + SMALLEST_NS))
    if not good.size:
        return None
    # A rise is told by its first sample; a fall is seen from so far ahead as a floor looks.
    k = begin + int(good[0] if by_ns > 0 else good[good.size // 2])
    floor = int(took[max(low, k - near) : k].min())
    by = int(np.median(rise[good]))  # floors tell better than two measurements by how much
    shift = _place(took, step, usual, by, floor, k, near)
    if shift is None and by < 0:
        fast = np.flatnonzero(took[k:] < floor + by / 2)
        at = k + int(fast[0]) if fast.size else k
        shift = Shift(at, by, max(1, at - _ZONE), at, sure=False)
    return shift


def unsteady(took_ns: I64, usual_ns: int, seconds: float = 2.0) -> int:
    """By how much the floor of some seconds differs from the one before: less cannot be told from the network.

    0 where samples are too few to tell.
    """
    size = max(_ENOUGH, round(seconds * 1e9 / usual_ns)) if usual_ns else 0
    if not size or took_ns.size < 2 * size:
        return 0
    floors = [int(took_ns[k : k + size].min()) for k in range(0, took_ns.size - size + 1, size)]
    return max(abs(b - a) for a, b in pairwise(floors))


class FloorWatch:
    """Notices while samples come in that the floor may have moved, half a second after it did.

    It is quick to do so: what follows is a measurement of the clock.
    """

    def __init__(self, rate_hz: float) -> None:
        self._n = max(_ENOUGH, round(rate_hz / 2))
        self._floors: list[int] = []
        self._now, self._count = _NEVER, 0

    def moved(self, took_ns: I64) -> int:
        """Take in how long samples took; returns by how much the floor rose over the seconds before (ns), or 0."""
        out = 0
        for took in took_ns.tolist():
            self._now, self._count = min(self._now, took), self._count + 1
            if self._count == self._n:
                rise = self._now - min(self._floors, default=self._now)
                out = rise if abs(rise) >= SMALLEST_NS else out
                self._floors = [*self._floors[-3:], self._now]
                self._now, self._count = _NEVER, 0
        return out
