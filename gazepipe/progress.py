"""Progress on standard error: a bar on a terminal, one line every ten seconds otherwise, nothing when quiet.

A step may take minutes. So a thread of its own keeps the clock: the bar's seconds go on, and there is a line all the
same.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

__all__ = ["EVERY_S", "Progress"]

#: Seconds from one line to the next, where there is no terminal.
EVERY_S = 10.0


class Progress:
    """Shows how far one task is.

    Parameters
    ----------
    task
        What is being done, as a present participle or a noun.
    total
        Number of steps.
    unit
        What one step is ("recording").
    quiet
        Show nothing.
    """

    def __init__(self, task: str, total: int, unit: str = "it", *, quiet: bool = False) -> None:
        self.task, self.total, self.unit, self.quiet = task, total, unit, quiet
        self.done, self.note = 0, ""
        self.started = self.last_line = time.monotonic()
        self.bar: Any = None
        self.over = threading.Event()
        self.clock = threading.Thread(target=self._keep_time, daemon=True)
        if quiet:
            return
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, desc=task, unit=unit, leave=True, file=sys.stderr, dynamic_ncols=True)
        self.clock.start()

    def _keep_time(self) -> None:
        while not self.over.wait(1.0 if self.bar is not None else EVERY_S / 4):
            if self.bar is not None:
                self.bar.refresh()
            else:
                self._line_if_due()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Tell that `done` of `total` steps are over; `note` stays until the next one."""
        self.done, self.total, self.note = done, total, note or self.note
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.total = total
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
        else:
            self._line_if_due()

    def _line_if_due(self) -> None:
        if time.monotonic() - self.last_line >= EVERY_S:
            self.last_line = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        seconds = time.monotonic() - self.started
        of = f"{self.done}/{self.total} {self.unit}" if self.total else f"{self.done} {self.unit}" if self.done else ""
        left = ""
        if 0 < self.done < self.total:
            left = f", about {seconds / self.done * (self.total - self.done):.0f} s left"
        note = f" ({self.note})" if self.note else ""
        of = f"{of.rstrip()}, " if of else ""
        return f"{self.task}: {of}{seconds:.0f} s{left}{note}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.clock.is_alive():
            self.clock.join(1.0)
        if self.bar is not None:
            self.bar.close()
