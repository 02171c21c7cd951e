"""Windows of Tk, which is part of Python: images on the whole screen, and where the mouse points."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError
from gazepipe.live.presenter import NoWindowError, WindowPresenter

__all__ = ["TkPointer", "TkPresenter"]

U8 = npt.NDArray[np.uint8]
_LOOK_S = 0.005
_START_S = 10.0


def _root() -> Any:
    """Open Tk's first window, still hidden."""
    import tkinter

    if sys.platform == "win32":  # otherwise pixels are of a screen that Windows enlarges afterwards
        import ctypes

        with contextlib.suppress(AttributeError, OSError):
            ctypes.windll.shcore.SetProcessDpiAwareness(2)
    root = tkinter.Tk()
    root.withdraw()
    return root


class TkPresenter(WindowPresenter):
    """A full-screen window of Tk.

    Pictures are prepared first and then shown at once. Onsets are stamped when the window system has answered that it
    has the picture, up to a refresh and the screen's own delay before it is seen. Where milliseconds matter, use
    PsychoPy.

    Parameters
    ----------
    screen_px
        Width and height of the screen.
    frame
        What is around the images, such as tags: BGR ``(height, width, 3)``.

    Raises
    ------
    NoWindowError
        If Tk is not installed or there is no screen.
    ConfigError
        If the screen has fewer pixels than `screen_px`.
    """

    def __init__(self, screen_px: tuple[int, int], frame: U8 | None = None, title: str = "gazepipe") -> None:
        try:
            import tkinter

            root = _root()
        except Exception as error:  # not installed, or Tk says that there is no screen
            msg = (
                f"Tk cannot open a window ({error}); install it (Debian, Ubuntu: python3-tk) and run this in a desktop "
                "session, or show the images by PsychoPy (docs/live.md), or none at all (--screen none)."
            )
            raise NoWindowError(msg) from None
        there = root.winfo_screenwidth(), root.winfo_screenheight()
        if there[0] < screen_px[0] or there[1] < screen_px[1]:
            root.destroy()
            msg = (
                f"the screen has {there[0]} × {there[1]} pixels, [screen] says {screen_px[0]} × {screen_px[1]}; "
                "correct width_px and height_px."
            )
            raise ConfigError(msg)
        super().__init__(screen_px, frame)
        self._tk, self._root = tkinter, root
        self._stopped = False
        root.title(title)
        root.configure(background="#808080", cursor="none")
        root.geometry(f"{there[0]}x{there[1]}+0+0")
        root.bind("<Escape>", self._stop)
        root.protocol("WM_DELETE_WINDOW", self._stop)
        self._label: Any = tkinter.Label(root, borderwidth=0, highlightthickness=0, background="#808080")
        self._label.place(x=0, y=0)
        root.deiconify()
        root.attributes("-fullscreen", True)
        root.update()
        root.focus_force()
        self._picture: Any = None

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def _show(self, picture: U8, shown: Callable[[], Any]) -> None:
        height, width = picture.shape[:2]
        data = b"P6 %d %d 255\n" % (width, height) + np.ascontiguousarray(picture[:, :, ::-1]).tobytes()
        ready = self._tk.PhotoImage(master=self._root, data=data, format="ppm")
        self._label.configure(image=ready)
        self._picture = ready  # Tk does not keep it
        self._root.update()
        self._root.winfo_pointerxy()  # comes back when the window system has done what came before
        shown()

    def wait(self, seconds: float) -> bool:
        """Wait, and see to the window meanwhile; Escape and a window that is closed end it."""
        until = time.monotonic() + seconds
        self._root.update()
        while not self._stopped and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
            self._root.update()
        going_on, self._stopped = not self._stopped, False
        return going_on

    def close(self) -> None:
        """Close the window."""
        if self._root is None:
            return
        self._root.destroy()
        self._root = self._label = self._picture = None
        gc.collect()  # in this thread: what Tk finds collected in another one ends the process


class TkPointer:
    """Where the mouse points, asked by a thread of its own: Tk answers only the thread that has opened it.

    Raises
    ------
    ConfigError
        If Tk is not installed or there is no screen.
    """

    def __init__(self) -> None:
        self.place = (0.0, 0.0)
        self._problem = ""
        self._end, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pointer", daemon=True)
        self._thread.start()
        self._ready.wait(_START_S)
        if self._problem or not self._ready.is_set():
            self.close()
            msg = self._problem or "Tk does not answer"
            raise ConfigError(msg)

    def close(self) -> None:
        """End."""
        self._end.set()
        self._thread.join(_START_S)

    def _run(self) -> None:
        root = None
        try:
            root = _root()
            while not self._end.is_set():
                x, y = root.winfo_pointerxy()
                self.place = float(x), float(y)
                self._ready.set()
                self._end.wait(_LOOK_S / 2)
        except Exception as error:  # not installed, or Tk says that there is no screen
            self._problem = str(error)
        finally:
            if root is not None:
                root.destroy()
            del root
            gc.collect()  # in this thread, as above
            self._ready.set()
