"""The second detector: pupil_apriltags (the extra "tags") in a process of its own.

It finds tags in blurred pictures in which OpenCV finds none, at three times the cost. If its process dies or hangs,
the picture has no tags, and a new process is started for the next one; after three deaths in a row it is left alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.markers._tags_child import HEAD, read_exactly
from gazepipe.markers.layout import FAMILY

__all__ = ["TagProcess"]

F64 = npt.NDArray[np.float64]
_CHILD = Path(__file__).with_name("_tags_child.py")
_DEATHS = 3
_START_S = 30.0


class TagProcess:
    """Finds tags in another process, which is started with the first picture.

    Parameters
    ----------
    timeout_s
        How long a picture may take.
    decimate
        The library's `quad_decimate`; 1 finds a few more and takes four times as long.
    command
        What to start instead of the built-in child.
    """

    def __init__(self, timeout_s: float = 2.0, decimate: float = 2.0, command: Sequence[str] = ()) -> None:
        self.timeout_s = timeout_s
        self.command = list(command) or [sys.executable, "-P", str(_CHILD), FAMILY, f"{decimate:g}"]
        self.installed = bool(command) or importlib.util.find_spec("pupil_apriltags") is not None
        self.deaths = 0
        self._in_a_row = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[list[Any] | None] = queue.Queue()

    @property
    def usable(self) -> bool:
        """Whether the library is installed and has not died three times in a row."""
        return self.installed and self._in_a_row < _DEATHS

    def prepare(self) -> None:
        """Start the process now, which takes a second, and not with the first picture that needs it."""
        if self.usable and self._child is None:
            with contextlib.suppress(OSError, queue.Empty):
                self._start()

    def detect(self, grey: npt.NDArray[np.uint8]) -> dict[int, F64]:
        """Tags in a picture: number → corners ``(4, 2)`` as OpenCV orders and counts them; none if the process died."""
        if not self.usable:
            return {}
        rows = self._ask(grey)
        if rows is None:
            self.close()
            self.deaths += 1
            self._in_a_row += 1
            return {}
        self._in_a_row = 0
        found: dict[int, F64] = {}
        for number, *corners in rows:
            # Counter-clockwise from the bottom left of a marker that OpenCV has upside down, and counted from a
            # pixel's edge instead of its middle.
            found[int(number)] = np.roll(np.array(corners).reshape(4, 2)[::-1], 2, 0) - 0.5
        return found

    def _ask(self, grey: npt.NDArray[np.uint8]) -> list[Any] | None:
        """Rows of the answer, or None if there was none in time."""
        try:
            if self._child is None:
                self._start()
            child: Any = self._child
            # A process that hangs does not take the picture either, and writing to its pipe would wait for ever.
            watch = threading.Timer(self.timeout_s, child.kill)
            watch.start()
            try:
                child.stdin.write(HEAD.pack(*grey.shape))
                child.stdin.write(np.ascontiguousarray(grey).tobytes())
                child.stdin.flush()
                return self._answers.get(timeout=self.timeout_s)
            finally:
                watch.cancel()
        except (OSError, ValueError, queue.Empty):
            return None

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()

    def __enter__(self) -> TagProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._child, self._answers = child, queue.Queue()
        threading.Thread(target=_listen, args=(child, self._answers), daemon=True).start()
        if self._answers.get(timeout=_START_S) is None:
            raise OSError


def _listen(child: subprocess.Popen[bytes], answers: queue.Queue[list[Any] | None]) -> None:
    """Put each answer into the queue, and None when the process is gone: a pipe cannot be waited for everywhere."""
    pipe: Any = child.stdout
    with contextlib.suppress(OSError, ValueError, struct.error):
        while True:
            (count,) = struct.unpack("<i", read_exactly(pipe, 4))
            data = read_exactly(pipe, max(count, 0) * 72)
            answers.put(np.frombuffer(data, "<f8").reshape(-1, 9).tolist())
    answers.put(None)
