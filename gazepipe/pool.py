"""Many independent pieces of work in several processes, of which one may be killed without harm to the others."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

__all__ = ["in_processes"]

Given = TypeVar("Given")
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_AHEAD = 4  # pieces under way for each process


def in_processes(
    work: Callable[[Given, Item], Outcome], given: Given, items: Iterable[Item], processes: int
) -> Iterator[tuple[Item, Outcome | None]]:
    """Do ``work(given, item)`` for every item, and yield item and outcome as they come.

    Only a few items are under way at a time, so that memory does not grow with their number. Where a process is
    killed, it is not known which item it had: each of those under way is done again in a process of its own, and the
    others go on.

    Parameters
    ----------
    work
        A function of a module; it returns something else than None.
    given
        What all items have in common, sent once to each process.
    items
        What to work on.
    processes
        How many.

    Yields
    ------
    tuple
        The item, and what `work` returned or None if it killed its process.
    """
    waiting = iter(items)
    while first := list(itertools.islice(waiting, _AHEAD * processes)):
        interrupted = yield from _until_one_dies(work, given, first, waiting, processes)
        for item in interrupted:
            with _Pool(given, 1) as pool:
                try:
                    outcome: Outcome | None = pool.submit(_one, work, item).result()
                except BrokenProcessPool:
                    outcome = None
            yield item, outcome


def _until_one_dies(
    work: Callable[[Given, Item], Outcome], given: Given, first: list[Item], waiting: Iterator[Item], processes: int
) -> Generator[tuple[Item, Outcome], None, list[Item]]:
    """Work on `first` and on what is `waiting` in one pool; return what was under way when a process of it died."""
    under_way: dict[Future[Outcome], Item] = {}
    unsent = first
    with _Pool(given, processes) as pool:
        try:
            while unsent or under_way:
                while unsent:
                    under_way[pool.submit(_one, work, unsent[0])] = unsent[0]
                    unsent = unsent[1:]
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    yield under_way.pop(future), outcome
                    unsent += itertools.islice(waiting, 1)
        except BrokenProcessPool:
            return [*under_way.values(), *unsent]
    return []


class _Pool(ProcessPoolExecutor):
    """A pool that leaves out what it has not begun when its block is left early, as by Ctrl-C."""

    def __init__(self, given: Any, processes: int) -> None:
        super().__init__(processes, get_context("spawn"), _begin, (given,))

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)


_given: list[Any] = []  # in a worker process: what all of its items have in common


def _begin(given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches workers, too; the parent ends them in order
    _given[:] = [given]


def _one(work: Callable[[Any, Any], Any], item: Any) -> Any:
    return work(_given[0], item)
