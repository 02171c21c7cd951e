"""Work in processes: every outcome comes back, few items are taken ahead, and a killed process costs one item."""

from __future__ import annotations

import os
import signal

from gazepipe.pool import in_processes


def times(factor: int, item: int) -> int:
    if item < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return factor * item


def test_a_killed_process_costs_its_own_item_only() -> None:
    items = [1, 2, -3, *range(4, 40), -40, 41]
    found = dict(in_processes(times, 10, items, 2))
    assert found == {item: 10 * item if item > 0 else None for item in items}


def test_items_are_taken_as_they_are_needed() -> None:
    items = iter(range(10_000))
    outcomes = in_processes(times, 1, items, 1)
    for _ in range(20):
        next(outcomes)
    outcomes.close()
    assert next(items) < 40
