"""The mouse in place of gaze: to try a session, or for experiments on attention with the mouse.

The pointer is asked at an even rate. Where it is comes from Tk, which is part of Python; or, in a script that has a
window of its own, from a function that is given (PsychoPy: ``event.Mouse(units="pix").getPos``, moved to the top-left
corner).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gazepipe.errors import ConfigError
from gazepipe.live._defaults import Defaults
from gazepipe.live.source import DeviceStatus, SampleBatch, SourceError, host_ns

if TYPE_CHECKING:
    from gazepipe.live.tk_window import TkPointer

__all__ = ["MouseSource"]

Position = Callable[[], tuple[float, float]]


class MouseSource(Defaults):
    """Where the mouse points.

    Parameters
    ----------
    size_px
        Width and height of the screen.
    rate_hz
        How often it is looked at.
    position
        Tells where it is, in pixels from the screen's top-left corner; Tk if none is given.
    """

    name = "mouse"

    def __init__(self, size_px: tuple[int, int], rate_hz: float = 100.0, position: Position | None = None) -> None:
        self.size_px, self.rate_hz, self.position = size_px, rate_hz, position
        self._pointer: Position | None = None
        self._window: TkPointer | None = None
        self._next_ns = 0

    def open(self) -> None:
        """Begin.

        Raises
        ------
        SourceError
            If there is no screen.
        """
        self.close()
        self._pointer = self.position or self._tk()
        self._next_ns = host_ns()

    def close(self) -> None:
        """End."""
        window, self._window, self._pointer = self._window, None, None
        if window is not None:
            window.close()

    def read(self, timeout_s: float) -> SampleBatch:
        """Return one sample when its time has come; one that was missed is not made up."""
        if self._pointer is None:
            msg = "the mouse is not open; call open first."
            raise SourceError(msg)
        left = (self._next_ns - host_ns()) / 1e9
        if left > timeout_s:
            time.sleep(timeout_s)
            return SampleBatch.none()
        time.sleep(max(left, 0.0))
        now = host_ns()
        x, y = self._pointer()
        step = round(1e9 / self.rate_hz)
        self._next_ns += step * max(1, -((self._next_ns - now) // step))
        return SampleBatch.of([now], np.array([x]), np.array([y]), received_ns=[now])

    def status(self) -> DeviceStatus:
        """Return that somebody is there."""
        return DeviceStatus(worn=True)

    def _tk(self) -> Position:
        from gazepipe.live.tk_window import TkPointer

        try:
            window = self._window = TkPointer()
        except ConfigError as error:
            msg = f"the mouse cannot be asked ({error}); run it on a computer with a screen, or give a `position`."
            raise SourceError(msg) from None
        return lambda: window.place
