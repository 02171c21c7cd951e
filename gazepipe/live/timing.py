"""Our times of a session's samples, from everything that was measured while it ran.

Samples between two steps of the device's clock go by measurements between them. Steps are known from the measurements,
which bound them, and from the samples, which tell the place (`gazepipe.live.floors`): phones, for one, tell of a clock
that was set with the stream's next report, seconds later. A floor that moves while measurements before and after agree
is the network's.

Where measurements cannot tell, the fastest transfer is taken to be that of the samples beside it, and those samples
are reported as uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from gazepipe.live.clock import STEP_NS, ClockMap, Offset
from gazepipe.live.floors import SMALLEST_NS, Shift, locate, shifts, unsteady

__all__ = ["Doubt", "Times", "time_samples"]

I64 = npt.NDArray[np.int64]

#: Samples follow a clock that was set with the next report of the stream.
_REPORT_NS = 10_000_000_000
#: Samples that came so near to a step may have overtaken others, across it; and how many tell how late others are.
_REACH, _BESIDE = 8, 200
#: Samples beside a place whose floor is looked at.
_STEADY = 800
#: Times that may be off by less are as good as told.
_GOOD_NS = 2_000_000
#: A step this large is no network's.
_LARGE_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Doubt:
    """Samples from `begin` to before `end`, in order of arrival, may be off by up to `by_ns` in either direction.

    `far` is whether it is because they are far from any measurement, which adds to other doubts.
    """

    begin: int
    end: int
    by_ns: int
    far: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """Our time of each sample; `steps` are the first samples after the clock was set.

    `guessed` is whether samples were timed by their arrival, because no measurement was theirs.
    """

    host_ns: I64
    steps: I64
    doubts: list[Doubt]
    guessed: bool


@dataclass(frozen=True, slots=True)
class _Cut:
    """A shift, and the part of the measurements that samples go by from there on; None: there is none."""

    shift: Shift
    part: int | None


def time_samples(device_ns: I64, received_ns: I64, points: Sequence[Offset]) -> Times:
    """Move the device's times to ours.

    Parameters
    ----------
    device_ns, received_ns
        Of each sample in order of arrival; int64.
    points
        The measurements of the device's clock, in order.
    """
    clock = ClockMap(points)
    doubts: list[Doubt] = []
    cuts = _cuts(device_ns, received_ns, clock, doubts)
    for cut in cuts:
        if cut.part:
            _sort(clock, cut.part, int(received_ns[cut.shift.at]))
    host = np.empty(device_ns.size, np.int64)
    guessed = not len(clock)
    bounds = list(pairwise([0, *(c.shift.at for c in cuts), device_ns.size]))
    runs: list[list[int]] = [[]]  # segments that share a part of the measurements, which is known for one of them
    for k in range(len(bounds)):
        if k and cuts[k - 1].part is not None:
            runs.append([])
        runs[-1].append(k)
    part = 0
    for run in runs:
        part = part if run[0] == 0 else cuts[run[0] - 1].part or 0
        spans = [bounds[k] for k in run]
        guessed |= _time_run(host, device_ns, received_ns, clock, part, spans, cuts[run[0] : run[-1]], doubts)
    doubts += _beside_cuts(host, device_ns, received_ns, clock, cuts)
    if len(clock):
        doubts += _outside(received_ns - host, received_ns, clock)
    for k, a in enumerate(doubts[:]):
        both = ((max(a.begin, b.begin), min(a.end, b.end), b) for b in doubts[k + 1 :] if a.far != b.far)
        doubts.extend(Doubt(i, j, a.by_ns + b.by_ns) for i, j, b in both if i < j)
    return Times(host, np.array([c.shift.at for c in cuts], np.int64), sorted(doubts, key=lambda d: d.begin), guessed)


def _cuts(device: I64, received: I64, clock: ClockMap, doubts: list[Doubt]) -> list[_Cut]:
    """Where the clock was set, in order: what samples and measurements say together."""
    left = shifts(device, received)
    matched: dict[int, Shift] = {}
    j = 0
    while j < len(clock.changes):
        before, after, change = clock.changes[j]
        # What the measurement before the change had to do with a small one, it may not have told yet.
        earlier = clock.parts[j][-2].host_ns if len(clock.parts[j]) > 1 else before
        alike = [s for s in left if abs(s.by_ns - change) < abs(change) / 2]
        spans = ((before, after + _REPORT_NS), (earlier, before))
        near = next(filter(None, ([s for s in alike if a < received[s.at] < b] for a, b in spans)), [])
        begin = max([int(np.searchsorted(received, before, "right")), *(s.at + 1 for s in matched.values())])
        end = int(np.searchsorted(received, after + _REPORT_NS))
        shift = min(near, key=lambda s: abs(s.by_ns - change)) if near else locate(device, received, change, begin, end)
        if shift is not None:
            matched[j] = shift
            left = [s for s in left if s is not shift]
        elif abs(change) < STEP_NS and received[-1] > after + _REPORT_NS:  # samples know nothing of it
            clock.join(j)
            continue
        j += 1
    cuts = [_Cut(s, k + 1) for k, s in matched.items()]
    for shift in left:
        _judge(shift, received, clock, cuts, doubts)
    return sorted(cuts, key=lambda c: c.shift.at)


def _judge(shift: Shift, received: I64, clock: ClockMap, cuts: list[_Cut], doubts: list[Doubt]) -> None:
    """What measurements before and after say of a shift that none of their changes explains."""
    at = int(received[shift.at])
    points = [p for part in clock.parts for p in part]
    old = next((p for p in reversed(points) if p.host_ns <= at), None)
    new = next((p for p in points if p.host_ns > at), None)
    if any(abs(c.shift.at - shift.at) <= max(1, c.shift.last - c.shift.first) for c in cuts):
        return  # the same, found twice
    if old is None or new is None:
        if shift.sure or abs(shift.by_ns) >= _LARGE_NS:
            cuts.append(_Cut(shift, None))
        else:
            end = received.size if new is None else shift.at
            doubts.append(Doubt(0 if old is None else shift.first, end, abs(shift.by_ns)))
        return
    together = next((k for k, part in enumerate(clock.parts) if old in part and new in part), None)
    if together is None:  # another step between the same measurements
        cuts.append(_Cut(shift, None))
        return
    # Samples may have followed the clock long after it was set, and a measurement seen it meanwhile.
    part = clock.parts[together]
    last = part.index(old)
    soon = [k for k in range(last + 1) if k == last or part[k + 1].host_ns > at - _REPORT_NS]
    changes = {k: new.offset_ns - part[k].offset_ns for k in soon}
    k = min(reversed(soon), key=lambda k: abs(changes[k] - shift.by_ns))
    change, off, bound = abs(changes[k]), abs(changes[k] - shift.by_ns), clock.tolerance_ns(part[k], new)
    # Where both would fit, two lines are right whatever it was: each has measurements of its own.
    if off >= bound or (off >= change and change >= bound):
        return  # the clock went on as before: it was the network
    clock.split(together, k + 1)
    cuts[:] = [_Cut(c.shift, c.part + (c.part > together) if c.part is not None else None) for c in cuts]
    cuts.append(_Cut(shift, together + 1))


def _beside_cuts(host: I64, device: I64, received: I64, clock: ClockMap, cuts: list[_Cut]) -> list[Doubt]:
    """Samples that may be on the other side of a step than they were taken to be."""
    found: list[Doubt] = []
    for cut in cuts:
        s = cut.shift
        jump = int(host[s.at] - device[s.at] - host[s.at - 1] + device[s.at - 1])
        if s.last > s.first:
            found.append(Doubt(s.first, s.last, max(abs(s.by_ns), abs(jump))))
        found.extend(_overtaken(host, received, s.at, jump))
        if cut.part:
            found.extend(_hidden(received - device, received, clock, cut))
    return found


def _hidden(took: I64, received: I64, clock: ClockMap, cut: _Cut) -> list[Doubt]:
    """All samples about a step that measurements tell of, if the floor beside the place that was found is no steadier.

    Nothing comes in time on a computer that starves; and a wrong place leaves a floor that is not even.
    """
    at, (before, after, change) = cut.shift.at, clock.changes[(cut.part or 1) - 1]
    sides = took[max(0, at - _STEADY) : at], took[at : at + _STEADY]
    if max(unsteady(side, _usual(received)) for side in sides) <= abs(change) / 2:
        return []
    ends = np.searchsorted(np.maximum.accumulate(received), (before, after + _REPORT_NS))
    return [Doubt(int(ends[0]), int(ends[1]), round(abs(change)))]


def _outside(late: I64, received: I64, clock: ClockMap) -> list[Doubt]:
    """Samples before the first and after the last measurement, if the floor there would hide a clock that was set."""
    points = [p for part in clock.parts for p in part]
    order = np.maximum.accumulate(received)
    first, last = np.searchsorted(order, points[0].host_ns), np.searchsorted(order, points[-1].host_ns, "right")
    found = []
    for begin, end in ((0, int(first)), (int(last), late.size)):
        near = late[max(0, begin - _STEADY) if begin else 0 : end + (0 if begin else _STEADY)]
        if begin < end and unsteady(near, _usual(received)) > _GOOD_NS:
            found.append(Doubt(begin, end, 2 * unsteady(near, _usual(received), 0.5)))
    return found


def _usual(received: I64) -> int:
    """Time between two samples, as they come."""
    return int((received[-1] - received[0]) / (received.size - 1)) if received.size > 1 else 0


def _overtaken(host: I64, received: I64, at: int, jump: int) -> list[Doubt]:
    """Samples near a step that would come more in their turn on its other side, where their times move by `jump`."""
    low, high = max(at - _REACH, 0), min(at + _REACH, host.size)
    fastest = int((received - host)[max(0, low - _BESIDE) : high + _BESIDE].min())
    own, other = host[low:high], host[low:high] + np.where(np.arange(low, high) < at, jump, -jump)
    can = received[low:high] - other >= fastest - _GOOD_NS
    found: list[Doubt] = []
    for i, j in combinations(range(high - low + 1), 2):
        moved = own.copy()
        moved[i:j] = other[i:j]
        if j - i < _REACH // 2 and can[i:j].all() and _disorder(moved) < _disorder(own):
            found.append(Doubt(low + i, low + j, abs(jump)))
    return found


def _disorder(times: I64) -> int:
    """By how much times are behind others that came before them, in all."""
    return int((np.maximum.accumulate(times) - times).sum())


def _far(host: I64, clock: ClockMap, part: int, begin: int) -> list[Doubt]:
    """Samples, the first of which is `begin`, that no measurement of their part tells well enough."""
    off = clock.bound_ns(host, part)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], off > _GOOD_NS, [False]])))
    return [Doubt(begin + i, begin + j, int(off[i:j].max()), far=True) for i, j in edges.reshape(-1, 2).tolist()]


def _sort(clock: ClockMap, part: int, at_ns: int) -> None:
    """Have a part begin with the first measurement that is the clock's after it was set.

    Those after the samples' shift are; of those shortly before, which saw what samples had yet to follow, each that is
    nearer to them than to those long before.
    """
    points = [*clock.parts[part - 1], *clock.parts[part]]
    first = sum(p.host_ns <= at_ns for p in points)
    sure = sum(p.host_ns <= at_ns - _REPORT_NS for p in points)
    if not 0 < first < len(points):
        return
    new = points[first].offset_ns
    for k in range(max(sure, 1), first):
        if abs(points[k].offset_ns - new) < abs(points[k].offset_ns - points[k - 1].offset_ns):
            first = k
            break
    clock.divide(part, first)


def _time_run(
    host: I64,
    device: I64,
    received: I64,
    clock: ClockMap,
    part: int,
    spans: list[tuple[int, int]],
    cuts: list[_Cut],
    doubts: list[Doubt],
) -> bool:
    """Time segments that share a part of the measurements; returns whether some went by their arrival."""
    if not len(clock):
        for i, j in spans:
            host[i:j] = device[i:j] + int((received[i:j] - device[i:j]).min())
        return True
    guessed = False
    # The part is that of the segment in which most of it was measured.
    times = [p.host_ns for p in clock.parts[part]]
    inside = [sum(received[i] <= t <= received[j - 1] for t in times) for i, j in spans]
    late = [received[i:j] - clock.host(device[i:j], part) for i, j in spans]
    floors = [int(v.min()) for v in late]
    fits = [k for k, f in enumerate(floors) if f >= -STEP_NS]
    own = max(fits or range(len(spans)), key=lambda k: (inside[k], -abs(floors[k])))
    for k, (i, j) in enumerate(spans):
        nearest = [abs(c.shift.by_ns) for c in (cuts[own:k] if k > own else cuts[k:own])]
        if k == own or (nearest and abs(floors[k] - floors[own]) < min(nearest) / 2):
            if floors[k] >= -STEP_NS:
                host[i:j] = received[i:j] - late[k]
                doubts.extend(_far(host[i:j], clock, part, i))
                continue
            # No sample arrives before it was taken: from there on the clock was another.
            first = i + int(np.argmax(late[k] < -STEP_NS))
            host[i:first] = received[i:first] - late[k][: first - i]
            doubts.extend(_far(host[i:first], clock, part, i))
            i, floor = first, 0
        else:
            floor = max(floors[own], 0)
        guessed = True
        host[i:j] = device[i:j] + int((received[i:j] - device[i:j]).min()) - floor
        by = max([*(b for b in nearest if b < _LARGE_NS), SMALLEST_NS + floor])
        # Where floors move by themselves, none of the shifts need be the clock's.
        shaky = max(unsteady(received[a:b] - device[a:b], _usual(received), 0.5) for a, b in spans)
        doubts.append(Doubt(i, j, by if shaky < _LARGE_NS / 10 else sum(nearest) + shaky + floor))
    return guessed
