"""A clock that is set by a few or by hundreds of milliseconds, at any time, in a network that delays and loses.

Sessions are drawn: gaze at 200 Hz whose transfer takes at least 0.3 ms, mostly up to 4 ms more, and in bursts of late
samples up to 0.8 s; losses one by one and in gaps; samples out of order; a drift. The truth is the time of each sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from gazepipe.live.clock import Offset
from gazepipe.live.floors import FloorWatch, locate
from gazepipe.live.timing import time_samples

MS, SECOND = 1_000_000, 1_000_000_000
STEPS_MS = (5, -5, 20, -20, 100, -100, 400, -400)


@dataclass(frozen=True)
class Drawn:
    """Samples in order of arrival, their true times, and the device's clock: `lead_ns` of it over ours."""

    true_ns: np.ndarray
    device_ns: np.ndarray
    received_ns: np.ndarray
    first: int  # sample that follows the clock that was set
    step_ns: int
    set_ns: int
    drift: float

    def lead_ns(self, at_ns: int) -> float:
        return 7 * SECOND + self.drift * at_ns + (self.step_ns if at_ns >= self.set_ns else 0)

    def measured(self, rng: np.random.Generator, at_ns: int) -> Offset:
        """A measurement: a round trip of 0.4 to 3 ms, and off by up to half of it."""
        trip = rng.uniform(0.4, 3) * MS
        return Offset(at_ns, -self.lead_ns(at_ns) + rng.uniform(-0.5, 0.5) * trip, round(trip), 100)

    def measurements(self, rng: np.random.Generator, until_ns: float = np.inf) -> list[Offset]:
        """As a recorder makes them: at first, after 5 s, 15 s, ..., where the floor moved, and at the end."""
        watch, end = FloorWatch(200), int(self.received_ns[-1])
        times, last = [0, 5 * SECOND, 15 * SECOND, 35 * SECOND, end], 0
        for begin in range(0, self.received_ns.size, 50):
            part = slice(begin, begin + 50)
            now = int(self.received_ns[part][-1])
            if watch.moved(self.received_ns[part] - self.device_ns[part]) and now > last + 2 * SECOND:
                last = now
                times.append(now + 300 * MS)
        return [self.measured(rng, t) for t in sorted(times) if t <= min(end, until_ns)]


def drawn(rng: np.random.Generator, step_ms: float = 0, loss: float = 0.1, seconds: float = 25) -> Drawn:
    n = round(seconds * 200)
    true = np.arange(n) * 5 * MS
    arrival = true + (0.3 * MS + rng.exponential(0.5 * MS, n) + rng.uniform(0, 4 * MS, n)).astype(np.int64)
    for _ in range(rng.integers(0, 6)):
        begin, length = rng.uniform(0, seconds), rng.choice([0.05, 0.1, 0.3, 0.8])
        held = (true > begin * SECOND) & (true < (begin + length) * SECOND)
        come = round((begin + length) * SECOND) + np.arange(held.sum()) * 2000
        arrival[held] = np.maximum(arrival[held], come)
    arrival = np.maximum.accumulate(arrival)
    late = np.flatnonzero(rng.random(n - 1) < rng.choice([0, 0.1]))
    arrival[late] = arrival[late + 1] + 500
    kept = rng.random(n) > loss
    for _ in range(rng.integers(0, 4)):
        begin = rng.uniform(0, seconds)
        kept &= ~((true > begin * SECOND) & (true < (begin + rng.choice([0.02, 0.1, 0.4])) * SECOND))
    order = np.argsort(arrival, kind="stable")
    order = order[kept[order]]
    true, arrival = true[order], arrival[order]
    drift = float(rng.choice([-50e-6, 0, 50e-6]))
    set_ns = round(rng.uniform(1, seconds - 3) * SECOND)
    first = int(np.searchsorted(np.maximum.accumulate(true), set_ns + rng.uniform(0, 1) * SECOND))  # the next report
    device = true + 7 * SECOND + (drift * true).astype(np.int64)
    device[first:] += round(step_ms * MS)
    return Drawn(true, device, arrival, first, round(step_ms * MS), set_ns, drift)


def check(session: Drawn, points: list[Offset]) -> tuple[int, int]:
    """Times are right within 2 ms, or said to be uncertain by as much; returns steps found and samples in doubt."""
    times = time_samples(session.device_ns, session.received_ns, points)
    allowed = np.full(session.true_ns.size, 2.0 * MS)
    for doubt in times.doubts:
        allowed[doubt.begin : doubt.end] = np.maximum(allowed[doubt.begin : doubt.end], doubt.by_ns + 2 * MS)
    wrong = np.abs(times.host_ns - session.true_ns) > allowed
    assert not wrong.any(), (np.flatnonzero(wrong)[[0, -1]], wrong.sum(), session.first, times.steps, times.doubts)
    return times.steps.size, int(np.count_nonzero(allowed > 2 * MS))


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_delays_and_losses_are_no_clock_that_was_set(loss: float, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(1)
    for _ in range(request.config.getoption("--sessions") * 5):
        session = drawn(rng, loss=loss)
        assert check(session, session.measurements(rng)) == (0, 0)


@pytest.mark.parametrize("step_ms", STEPS_MS)
def test_a_clock_that_was_set(step_ms: float, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(abs(step_ms))
    tried = request.config.getoption("--sessions") * 4
    found = doubted = 0
    for _ in range(tried):
        session = drawn(rng, step_ms, loss=float(rng.choice([0, 0.1, 0.3])))
        steps, doubts = check(session, session.measurements(rng))
        found += steps == 1
        doubted += doubts
    assert found >= 0.9 * tried  # else two, or one that measurements tell apart as well
    assert doubted / tried < 60  # samples of 5000, around the step


@pytest.mark.parametrize("step_ms", STEPS_MS)
def test_a_clock_that_was_set_when_nothing_measures_it_any_more(step_ms: float, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(abs(step_ms))
    for _ in range(request.config.getoption("--sessions") * 4):
        session = drawn(rng, step_ms)
        points = session.measurements(rng, until_ns=session.set_ns - 1)
        steps, doubts = check(session, points)
        assert steps == 1 or doubts


@pytest.mark.parametrize("step_ms", [20, -20, 100, -100])
def test_a_sample_that_is_overtaken_across_a_step_is_uncertain(step_ms: int) -> None:
    n, first = 4000, 2000
    true = np.arange(n) * 5 * MS
    device = true + 7 * SECOND
    device[first:] += step_ms * MS
    received = true + 3 * MS
    received[first - 1] = received[first + 1] + 500  # set before the step, it comes after two that follow it
    order = np.argsort(received)
    lead = [7 * SECOND + (step_ms * MS if at >= true[first] else 0) for at in (0, 5 * SECOND, 12 * SECOND, 19 * SECOND)]
    points = [
        Offset(at, -ahead, MS // 2, 100)
        for at, ahead in zip((0, 5 * SECOND, 12 * SECOND, 19 * SECOND), lead, strict=True)
    ]
    times = time_samples(device[order], received[order], points)
    assert 1 <= times.steps.size <= 2  # the late one may look like a step back and again
    error = np.abs(times.host_ns - true[order])
    off = np.flatnonzero(error > 2 * MS)
    assert off.size <= 3  # which is which, no clock tells
    by = np.zeros(n)
    for doubt in times.doubts:
        by[doubt.begin : doubt.end] = np.maximum(by[doubt.begin : doubt.end], doubt.by_ns)
    assert (by[off] + 2 * MS >= error[off]).all()
    assert np.count_nonzero(by) <= 8


def measured(set_ns: int, step_ns: int, *times_s: float) -> list[Offset]:
    """Good measurements of a clock that is 7 s ahead and was set at a time, at some times."""
    times = [round(t * SECOND) for t in times_s]
    return [Offset(t, -(7 * SECOND + (step_ns if t >= set_ns else 0)), MS // 2, 100) for t in times]


def test_one_sample_out_of_its_turn_does_not_hide_where_the_clock_was_set() -> None:
    """Losses hide the leap of −20 ms, to sample 400; a later one, that others overtook, leaps by −15 ms."""
    n, first = 4000, 400
    true = np.arange(n) * 5 * MS
    device = true + 7 * SECOND
    device[first:] -= 20 * MS
    received = true + np.random.default_rng(2).integers(1, 5, n) * MS
    received[451] = received[454] + 100_000
    order = np.delete(np.argsort(received, kind="stable"), [398, 399, 452, 453])
    order = np.concatenate([order[:398][order[:398] < first], order[order >= first]])
    times = time_samples(device[order], received[order], measured(int(true[first]), -20 * MS, 0, 3, 8, 19.9))
    assert order[times.steps].tolist() == [first]
    assert np.abs(times.host_ns - true[order]).max() < 2 * MS
    assert sum(d.end - d.begin for d in times.doubts) <= 5


def test_measurements_go_with_the_samples_on_their_side_of_a_small_step() -> None:
    """Half of their round trips bounds what they may be off, so that the first one after it tells."""
    rng = np.random.default_rng(4)
    n, first, drift = 5000, 2922, -50e-6
    true = np.arange(n) * 5 * MS
    device = true + 7 * SECOND + (drift * true).astype(np.int64)
    device[first:] -= 5 * MS
    received = true + rng.integers(1, 5, n) * MS
    points = []
    for at_s, off_ms, trip_ms in ((0, 0.2, 1.1), (5, 0.1, 2.9), (15, 0.1, 0.5), (15.9, -0.2, 0.6), (24.9, 1.0, 2.7)):
        lead = 7 * SECOND + drift * at_s * SECOND - (5 * MS if at_s > 14 else 0)
        points.append(Offset(round(at_s * SECOND), -lead + off_ms * MS, round(trip_ms * MS), 100))
    times = time_samples(device, received, points)
    assert times.steps.tolist() == [first]
    assert np.abs(times.host_ns - true).max() < 2 * MS


def test_samples_long_after_the_only_measurement_are_uncertain() -> None:
    """A clock that drifts by 50 ppm is off by 3 ms after a minute, if nobody asks it."""
    true = np.arange(12_000) * 5 * MS
    device = true + 7 * SECOND + (50e-6 * true).astype(np.int64)
    times = time_samples(device, true + MS, measured(true[-1], 0, 0))
    sure = min(d.begin for d in times.doubts)
    assert np.abs(times.host_ns - true)[:sure].max() < 2 * MS
    assert [(d.end, d.by_ns >= 3 * MS) for d in times.doubts] == [(12_000, True)]
    assert 30 * SECOND < true[sure] < 40 * SECOND
    often = time_samples(device, true + MS, [Offset(t, -7e9 - 50e-6 * t, MS, 99) for t in true[::3000].tolist()])
    assert not often.doubts


@pytest.mark.parametrize("late_first", [False, True])
@pytest.mark.parametrize("step_ms", [20, -20])
def test_a_computer_that_starves_knows_no_place_and_says_so(step_ms: int, late_first: bool) -> None:
    """Samples come tens to hundreds of ms late, never in time for a second, so that no floor tells of 20 ms.

    Measurements tell that the clock was set, between them; or, where the first one comes too late, nothing does.
    """
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, first = 2400, 900
        true = np.arange(n) * 5 * MS
        device = true + 7 * SECOND
        device[first:] += step_ms * MS
        seconds = np.interp(np.arange(n), np.arange(0, n + 100, 100), rng.uniform(10, 300, n // 100 + 1))
        received = np.maximum.accumulate(true + ((seconds + rng.exponential(40, n)) * MS).astype(np.int64))
        lost = rng.random(n) < 0.2
        points = measured(int(true[first]), step_ms * MS, *((5.5, 11.9) if late_first else (0, 5.5, 11.9)))
        times = time_samples(device[~lost], received[~lost], points)
        allowed = np.zeros(n)
        for doubt in times.doubts:
            inside = np.flatnonzero(~lost)[doubt.begin : doubt.end]
            allowed[inside] = np.maximum(allowed[inside], doubt.by_ns)
        assert (np.abs(times.host_ns - true[~lost]) <= allowed[~lost] + 2 * MS).all(), seed


def test_where_a_measured_step_is() -> None:
    """Half a second before the end a floor tells little; a measurement at the end tells the size."""
    rng = np.random.default_rng(3)
    session = drawn(rng, 20, loss=0)
    end = session.first + 100
    device, received = session.device_ns[:end], session.received_ns[:end]
    found = locate(device, received, -20 * MS, 1, end)
    assert found is not None
    assert found.at == session.first
