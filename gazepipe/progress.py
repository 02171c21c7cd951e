"""Progress on standard error: a bar on a terminal, one line every ten seconds otherwise, nothing when quiet."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress"]


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
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, desc=task, unit=unit, leave=True, file=sys.stderr, dynamic_ncols=True)

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
        elif time.monotonic() - self.last_line >= 10:
            self.last_line = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        seconds = time.monotonic() - self.started
        left = seconds / self.done * (self.total - self.done) if self.done else float("nan")
        note = f" ({self.note})" if self.note else ""
        return f"{self.task}: {self.done}/{self.total} {self.unit}, {seconds:.0f} s, about {left:.0f} s left{note}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
