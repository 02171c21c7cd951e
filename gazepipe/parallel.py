"""Work in several processes, any of which may die: only what it was working on is lost.

The operating system kills a process that takes too much memory, and a library may crash on a damaged file. Python's
pool then gives up on everything it had been given. Here the few items that were under way are tried again one at a
time, in a process of their own, and all others in a new pool: whatever kills its process when it is alone is the
culprit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

__all__ = ["each"]

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R | None]]:
    """Do `work` on each item in worker processes and yield item and result as they come.

    Parameters
    ----------
    work
        A function that can be pickled; it returns anything but None. What it raises is raised here.
    items
        What to work on.
    workers
        Number of processes.

    Yields
    ------
    tuple
        An item and its result, or None if it killed the process that worked on it. In no particular order.
    """
    waiting, suspects = deque(items), deque[T]()
    while waiting or suspects:
        if suspects:
            for item, result in _round(work, suspects, 1, 1):
                yield item, (None if isinstance(result, _Unfinished) else result)
        else:
            for item, result in _round(work, waiting, workers, 2 * workers):
                if isinstance(result, _Unfinished):
                    suspects.append(item)
                else:
                    yield item, result


class _Unfinished:
    """Instead of the result of an item that was under way when a process died."""


def _round(work: Callable[[T], R], queue: deque[T], workers: int, at_once: int) -> Iterator[tuple[T, R | _Unfinished]]:
    """Work through a queue until it is empty or a process dies; what was not begun stays in it."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    under_way: dict[Future[R], T] = {}
    try:
        while queue or under_way:
            while queue and len(under_way) < at_once:
                under_way[pool.submit(work, queue[0])] = queue[0]
                queue.popleft()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield under_way.pop(future), result
    except BrokenProcessPool:
        for future, item in under_way.items():
            finished = future.done() and future.exception() is None
            yield item, (future.result() if finished else _Unfinished())
    finally:
        pool.shutdown(cancel_futures=True)
