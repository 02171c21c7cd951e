"""Who shows the images: `Presenter`, one with OpenCV's windows, and one that shows nothing (of Tk: `tk_window`).

A presenter calls back in the moment something is on the screen, so that the event has that time and not the time
when showing it was asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError
from gazepipe.images import read_rgb

__all__ = [
    "SCREENS",
    "NoWindowError",
    "OpenCVPresenter",
    "Presenter",
    "SilentPresenter",
    "WindowPresenter",
    "canvas",
    "open_presenter",
]

U8 = npt.NDArray[np.uint8]
#: What `open_presenter` knows.
SCREENS = ("auto", "tk", "opencv", "none")
_GREY = 128
_ESCAPE = 27


class NoWindowError(ConfigError):
    """Nothing can be shown here."""


class Presenter(Protocol):
    """Shows images, targets and nothing on the whole screen."""

    def image(self, path: Path, place: Sequence[float], shown: Callable[[], Any]) -> None:
        """Show an image at left, top, width, height (screen px); call `shown` when it is there."""

    def target(self, x_px: float, y_px: float, shown: Callable[[], Any]) -> None:
        """Show a target to look at."""

    def blank(self, shown: Callable[[], Any]) -> None:
        """Show nothing."""

    def wait(self, seconds: float) -> bool:
        """Let time pass; returns whether to go on (false: somebody pressed Escape)."""

    def close(self) -> None:
        """Give the screen back."""


def canvas(
    screen_px: tuple[int, int],
    path: Path | None = None,
    place: Sequence[float] = (),
    frame: U8 | None = None,
    target: tuple[float, float] | None = None,
) -> U8:
    """Draw a screen as BGR ``(height, width, 3)``: grey, or a `frame` with tags, with an image or a target on it."""
    out = np.full((screen_px[1], screen_px[0], 3), _GREY, np.uint8) if frame is None else frame.copy()
    if path is not None:
        left, top, width, height = (round(v) for v in place)
        pixels = read_rgb(path, (width, height))[:, :, ::-1]
        x0, y0 = max(left, 0), max(top, 0)
        part = out[y0 : max(top + height, 0), x0 : max(left + width, 0)]
        part[:] = pixels[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]]
    if target is not None:
        import cv2

        at = round(target[0]), round(target[1])
        cv2.circle(out, at, 16, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(out, at, 3, (255, 255, 255), -1, cv2.LINE_AA)
    return out


def open_presenter(name: str, screen_px: tuple[int, int], frame: U8 | None = None) -> Presenter:
    """Return a presenter by name: ``"tk"``, ``"opencv"``, ``"none"``, or ``"auto"``, the first of them with a window.

    Parameters
    ----------
    name
        Of the presenter.
    screen_px
        Width and height of the screen in pixels.
    frame
        What stands around images, markers for instance: ``(height, width)``, uint8; None: grey.

    Returns
    -------
    Presenter
        With its window open.

    Raises
    ------
    ConfigError
        If there is none.
    """
    from gazepipe.live.tk_window import TkPresenter

    if name == "none":
        return SilentPresenter()
    if name != "auto":
        return TkPresenter(screen_px, frame) if name == "tk" else OpenCVPresenter(screen_px, frame)
    try:
        return TkPresenter(screen_px, frame)
    except NoWindowError as error:  # what everybody can have: what OpenCV lacks is of no interest
        problem = error
    with contextlib.suppress(NoWindowError):
        return OpenCVPresenter(screen_px, frame)
    raise problem


class SilentPresenter:
    """Shows nothing and notes in `shown` what it would have shown; time passes `faster` than it seems to."""

    def __init__(self, faster: float = 1.0) -> None:
        self.faster = faster
        self.shown: list[tuple[str, Any]] = []

    def image(self, path: Path, place: Sequence[float], shown: Callable[[], Any]) -> None:
        """Note an image."""
        self.shown.append(("image", path))
        shown()

    def target(self, x_px: float, y_px: float, shown: Callable[[], Any]) -> None:
        """Note a target."""
        self.shown.append(("target", (x_px, y_px)))
        shown()

    def blank(self, shown: Callable[[], Any]) -> None:
        """Note an empty screen."""
        self.shown.append(("blank", None))
        shown()

    def wait(self, seconds: float) -> bool:
        """Wait."""
        time.sleep(seconds / self.faster)
        return True

    def close(self) -> None:
        """Do nothing."""


class WindowPresenter:
    """What presenters with a window have in common: each has a way of its own to show a whole screen."""

    def __init__(self, screen_px: tuple[int, int], frame: U8 | None) -> None:
        self._screen, self._frame = screen_px, frame

    def _show(self, picture: U8, shown: Callable[[], Any]) -> None:
        """Show a screen, BGR ``(height, width, 3)``, and say so when it is there."""
        raise NotImplementedError

    def image(self, path: Path, place: Sequence[float], shown: Callable[[], Any]) -> None:
        """Show an image."""
        self._show(canvas(self._screen, path, place, self._frame), shown)

    def target(self, x_px: float, y_px: float, shown: Callable[[], Any]) -> None:
        """Show a disc with a dot in it."""
        self._show(canvas(self._screen, frame=self._frame, target=(x_px, y_px)), shown)

    def blank(self, shown: Callable[[], Any]) -> None:
        """Show the frame alone."""
        self._show(canvas(self._screen, frame=self._frame), shown)


class OpenCVPresenter(WindowPresenter):
    """A full-screen window of OpenCV.

    Its `imshow` gives no time of the screen's refresh: onsets are stamped when the window system has taken the picture,
    up to a refresh and the screen's own delay before it is seen. Where milliseconds matter, use PsychoPy.

    Parameters
    ----------
    screen_px
        Width and height of the screen.
    frame
        What is around the images, such as tags: BGR ``(height, width, 3)``.

    Raises
    ------
    NoWindowError
        If this OpenCV has no windows.
    """

    def __init__(self, screen_px: tuple[int, int], frame: U8 | None = None, title: str = "gazepipe") -> None:
        import cv2

        super().__init__(screen_px, frame)
        self._cv2, self._title = cv2, title
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
            cv2.setWindowProperty(title, cv2.WND_PROP_FULLSCREEN, cv2.WINDOW_FULLSCREEN)
        except cv2.error:
            msg = (
                "this OpenCV cannot open a window (it is the headless build, or there is no display); "
                "use Tk's window (--screen tk), or run `pip uninstall opencv-python-headless` and "
                "`pip install opencv-python` in a desktop session."
            )
            raise NoWindowError(msg) from None

    def _show(self, picture: U8, shown: Callable[[], Any]) -> None:
        self._cv2.imshow(self._title, picture)
        self._cv2.pollKey()
        shown()

    def wait(self, seconds: float) -> bool:
        """Wait, and see to the window meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._cv2.waitKey(max(1, min(int(1000 * left), 20))) == _ESCAPE:
                return False
        return True

    def close(self) -> None:
        """Close the window."""
        self._cv2.destroyWindow(self._title)
