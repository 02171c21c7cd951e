"""Work in several processes, any of which may die: only what it was working on is lost.

The operating system kills a process that takes too much memory, and a library may crash on a damaged file. Python's
pool then gives up on everything it had been given. Here the few items that were under way are tried again one at a
time, in a process of their own, and all others in a new pool: whatever kills its process when it is alone is the
culprit.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

from gazepipe.confined import confine

__all__ = ["Aside", "each"]

_AHEAD = 4  # items under way for each process
_LONGEST_S = 120.0
T = TypeVar("T")
R = TypeVar("R")


class _Process(SpawnProcess):
    """A fresh process that leaves the caller's script alone.

    `spawn` would run the script again in it, and most scripts of a lab are not written for that.
    """

    @staticmethod
    def _Popen(process: Any) -> Any:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = script


class _Context(SpawnContext):
    Process = _Process


def each(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R | None]]:
    """Do `work` on each item in worker processes and yield item and result as they come.

    Parameters
    ----------
    work
        A function that can be pickled, sent once to each process; it returns anything but None. What it raises is
        raised here.
    items
        What to work on.
    workers
        Number of processes. Only a few items for each are under way, so that memory does not grow with their number.

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
            for item, result in _round(work, waiting, workers, _AHEAD * workers):
                if isinstance(result, _Unfinished):
                    suspects.append(item)
                else:
                    yield item, result


class _Unfinished:
    """Instead of the result of an item that was under way when a process died."""


def _round(work: Callable[[T], R], queue: deque[T], workers: int, at_once: int) -> Iterator[tuple[T, R | _Unfinished]]:
    """Work through a queue until it is empty or a process dies; what was not begun stays in it."""
    pool = ProcessPoolExecutor(workers, _Context(), _begin, (work,))
    under_way: dict[Future[R], T] = {}
    try:
        while queue or under_way:
            while queue and len(under_way) < at_once:
                under_way[pool.submit(_one, queue[0])] = queue[0]
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


_work: list[Callable[[Any], Any]] = []  # in a worker process: what it does with each item


def _begin(work: Callable[[Any], Any]) -> None:
    _belong_to_the_parent()
    _work[:] = [work]


def _one(item: Any) -> Any:
    return _work[0](item)


def _belong_to_the_parent() -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the parent; and go when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_go_with_the_parent, daemon=True).start()


def _go_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Aside:
    """A process beside this one for parsers that a damaged file may crash or hang: started when it is first needed.

    It has the limits of `gazepipe.confined`.
    """

    def __init__(self) -> None:
        self.process: Any = None
        self.pipe: Any = None

    def __call__(self, work: Callable[..., R], *arguments: Any) -> R | None:
        """Return what `work` returns (not None), or None if it ended the process or took two minutes."""
        if self.process is None or not self.process.is_alive():
            self._start()
        try:
            self.pipe.send((work, arguments))
            if self.pipe.poll(_LONGEST_S):
                result: R = self.pipe.recv()
                return result
        except (EOFError, OSError):
            pass
        self.close()
        return None

    def _start(self) -> None:
        context = _Context()
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there,), daemon=True)
        self.process.start()
        there.close()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def _serve(pipe: Connection) -> None:
    """Do what comes through the pipe until it closes."""
    confine()
    _belong_to_the_parent()
    with suppress(EOFError, OSError):
        while True:
            work, arguments = pipe.recv()
            pipe.send(work(*arguments))
