"""Which time of a device is which of ours, where its clock or the computer does not behave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazepipe.live.clock import measure
from gazepipe.live.recording import RECORD
from gazepipe.live.source import ClockEchoes
from gazepipe.readers.live_session import to_host

MS = 1_000_000
SECOND = 1000 * MS


def test_round_trips_that_waited_do_not_count_however_few_did_not() -> None:
    """Of 40 round trips, one took 0.2 ms there and back; all others waited 100 ms on the way back."""
    sent = np.arange(40) * SECOND
    took = np.where(np.arange(40) == 7, 200_000, 100 * MS)
    device = sent + 100_000 + 5 * SECOND
    assert measure(ClockEchoes(sent, device, sent + took)).offset_ns == pytest.approx(-5 * SECOND, abs=1)


def samples(seconds: float, sets: list[tuple[float, float]], transfer_ms: float = 3.0) -> tuple[Any, np.ndarray]:
    """Records at 200 Hz of a device whose clock is set, each time (s) by so much (s); and the true times."""
    true = np.arange(round(seconds * 200)) * 5 * MS
    records = np.zeros(len(true), RECORD)
    records["device_ns"] = true + 7 * SECOND
    for at_s, by_s in sets:
        records["device_ns"][true >= at_s * SECOND] += round(by_s * SECOND)
    records["received_ns"] = true + round(transfer_ms * MS)
    return records, true


def measured(*points: tuple[float, float]) -> list[dict[str, Any]]:
    """Log of measurements: at a time (s), how far the device is ahead (s)."""
    return [
        {"kind": "clock", "host_ns": round(at * SECOND), "offset_ns": -ahead * SECOND, "round_trip_ns": MS, "n": 40}
        for at, ahead in points
    ]


@pytest.mark.parametrize("by_s", [1.0, -1.0])
@pytest.mark.parametrize("known", ["before", "after", "never", "both"])
def test_a_clock_that_was_set_and_not_measured_on_both_sides(by_s: float, known: str) -> None:
    records, true = samples(4, [(2.0, by_s)])
    log = measured((0.5, 7.0)) if known in ("before", "both") else []
    log += measured((3.0, 7.0 + by_s)) if known in ("after", "both") else []
    warnings: list[str] = []
    host, steps = to_host(records, log, own_clock=True, warnings=warnings)
    assert steps.tolist() == [400]
    assert np.abs(host - true).max() <= 3 * MS  # by arrival: late by the fastest transfer
    good = {"before": slice(0, 400), "after": slice(400, None), "never": slice(0), "both": slice(None)}[known]
    np.testing.assert_array_equal(host[good], true[good])
    assert any("was set once" in w for w in warnings)
    assert any("was not measured" in w for w in warnings) == (known != "both")


def test_a_halt_and_losses_are_no_clock_that_was_set() -> None:
    """Samples held back for half a second arrive at once, then a hundred are lost and the next one is in time."""
    records, true = samples(4, [])
    held = (true > 1.5 * SECOND) & (true < 2 * SECOND)
    records["received_ns"][held] = 2 * SECOND
    keep = (true < 1.8 * SECOND) | (true > 2 * SECOND)
    warnings: list[str] = []
    host, steps = to_host(records[keep], measured((0.5, 7.0)), own_clock=True, warnings=warnings)
    assert not steps.size
    assert not warnings
    np.testing.assert_array_equal(host, true[keep])


def test_half_of_what_is_told_of_round_trips_bounds_the_error() -> None:
    """On a computer that is busy all of the fastest wait somewhere, here on the way back."""
    sent = np.arange(40) * 20 * MS
    took = np.where(np.arange(40) < 3, np.array([4, 11, 12] + [0] * 37), 15) * MS
    found = measure(ClockEchoes(sent, sent + MS, sent + took))
    assert found.round_trip_ns / 2 >= abs(found.offset_ns - 0) > 2 * MS


def test_a_clock_that_is_set_while_it_is_measured() -> None:
    """Two of the four fastest round trips see the new time; a mean over old and new would be neither."""
    sent = np.arange(40) * 5 * MS
    device = sent + 100_000 + np.where(np.arange(40) < 30, 0, SECOND)
    took = np.where(np.isin(np.arange(40), [3, 20, 35, 38]), 200_000, 900_000)
    assert measure(ClockEchoes(sent, device, sent + took)).offset_ns == pytest.approx(-SECOND, abs=10_000)


def test_losses_in_what_a_busy_network_held_back_are_no_clock_that_was_set() -> None:
    """A third of the samples is lost, and what is left comes in bursts."""
    records, true = samples(6, [])
    rng = np.random.default_rng(1)
    burst = np.ceil(true / (0.4 * SECOND)) * 0.4 * SECOND
    records["received_ns"] = np.maximum(records["received_ns"], np.where(true > SECOND, burst, 0)).astype(np.int64)
    records = records[(rng.random(len(true)) > 0.35) & ~((true > 3.05 * SECOND) & (true < 3.15 * SECOND))]
    warnings: list[str] = []
    host, steps = to_host(records, measured((0.5, 7.0), (5.0, 7.0)), own_clock=True, warnings=warnings)
    assert not steps.size
    np.testing.assert_array_equal(host, records["device_ns"] - 7 * SECOND)
