"""Where a device's clock was set, from its samples alone.

A sample takes its time from the device's clock to its arrival, and a network can only add to that: the fastest samples
of some seconds make a floor, which late ones and losses leave where it is. Where the clock is set forward by 20 ms the
floor falls by 20 ms, and the samples' times leap by as much; where it is set back the floor rises. A network that gets
better or worse moves it, too, so that this is a suspicion: measurements of the clock before and after tell which
(`gazepipe.live.timing`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SMALLEST_NS", "FloorWatch", "Shift", "locate", "shifts"]

I64 = npt.NDArray[np.int64]

#: A floor that moves by less is the network's.
SMALLEST_NS = 2_500_000
#: How long a floor is looked at: after a shift, and before it (and after one that losses may hide).
_NEAR_NS, _FAR_NS = 2_000_000_000, 10_000_000_000
#: Samples that a floor needs on each side, in time and in number; fewer where time goes back so far, and stays there.
_ENOUGH_NS, _ENOUGH, _FEW, _BACK_NS = 1_000_000_000, 20, 5, 100_000_000
#: Samples around the first one that is surely after a shift, among which it began.
_ZONE = 20
#: A sample that takes so much longer than the fastest was held back.
_HELD_NS = 10_000_000
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
        hidden = (after_far[part] - before >= SMALLEST_NS) & (n - index >= near)
        some = np.flatnonzero(
            ((sides >= enough) & (falls | rises | hidden)) | ((sides >= _FEW) & gone_back[part] & (rise > _BACK_NS / 2))
        )
        if not some.size:
            begin = part.stop
            continue
        k = begin + int(some[0])
        floor = int(before[k - begin])
        by = int(after_near[k : k + near // 2].max()) - floor if rise[k - begin] > 0 else int(rise[k - begin])
        shift = _place(took, step, usual, by, floor, k, near)
        if shift is not None:
            found.append(shift)
            start = shift.at
            begin = max(shift.last, start + _FEW) + 1
        else:
            begin = k + 1
    return found


def _gone_back(device: I64, step: I64) -> npt.NDArray[np.bool_]:
    """Whether time goes back with a sample, and no single one has come out of turn."""
    out = step < -_BACK_NS
    for k in np.flatnonzero(out).tolist():
        out[k] = device[k : k + _FEW].max() < device[k - 1]
    return out


def _place(took: I64, step: I64, usual: int, by: int, floor: int, k: int, near: int) -> Shift | None:
    """Where, from sample `k` on, a shift began that moves a floor by so much; None for a fall without a leap."""
    if by < 0:
        for _ in range(2):  # the window has but touched what comes after: by how much is known there
            low = np.flatnonzero(took[k:] < floor + by / 2)
            if not low.size:
                return None
            sure = k + int(low[0])  # no sample was so fast before
            by = min(by, int(took[sure : sure + near].min()) - floor)
        # Samples that were held back, and came all at once, do not tell on which side they are.
        zone = np.arange(max(1, sure - _ZONE * _ZONE), sure + 1)
        apart = took[zone] - took[zone - 1] + step[zone] > usual / 4
        fast = np.flatnonzero(apart & (took[zone] < floor + _HELD_NS))
        zone = zone[int(fast[-_ZONE]) :] if fast.size >= _ZONE else zone
        zone = zone[step[zone] > (-by - usual if -by > 3 * usual else usual - by / 2)]
        if not zone.size:
            return None
        like = zone[np.abs(step[zone] - (usual - by)) < usual / 2]
        return Shift(int((like if like.size else zone)[-1]), by, int(zone[0]), int(max(zone[-1], sure)), sure=True)
    zone = np.arange(max(1, k - near // 2), min(k + near // 2, took.size))
    low = np.flatnonzero(took[zone] < floor + by / 2)
    first = int(zone[low[-1]]) + 1 if low.size else k
    zone = np.arange(first, min(first + _ZONE * _ZONE, took.size))
    if not zone.size:
        return None
    if by > 3 * usual:  # hardly another one goes back so far
        far = zone[np.abs(step[zone] - (usual - by)) < usual]
        if far.size:
            return Shift(int(far[0]), by, int(far[0]), int(far[0]), sure=True)
    fast = np.flatnonzero(took[zone] < floor + by + _HELD_NS)[:_ZONE]
    zone = zone[: int(fast[-1]) + 1] if fast.size == _ZONE else zone[:_ZONE]
    back = int(zone[step[zone].argmin()])
    if by > 3 * usual and step[back] < -1.5 * usual:
        return Shift(back, by, first, back, sure=True)
    like = zone[np.abs(step[zone] - (usual - by)) < usual / 2]
    at = int(like[0]) if like.size else first
    return Shift(at, by, first, int((like if like.size else zone)[-1]), sure=bool(like.size))


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
    # A fall is seen from so far ahead as a floor looks; a rise is told by its first.
    k = begin + int(good[0])
    floor = int(took[max(low, k - near) : k].min())
    shift = _place(took, step, usual, round(by_ns), floor, k, near)
    if shift is None and by_ns < 0:
        fast = np.flatnonzero(took[k:] < floor + by_ns / 2)
        at = k + int(fast[0]) if fast.size else k
        shift = Shift(at, round(by_ns), max(1, at - _ZONE), at, sure=False)
    return shift


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
