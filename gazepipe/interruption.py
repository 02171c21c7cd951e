"""End in order when somebody presses Ctrl-C, when a cluster is about to kill us, and when the terminal closes.

All three become a `KeyboardInterrupt` of the main thread, which is raised between two steps of Python. Where HDF5's
library has called back into Python there is C code in between that does not expect it: it makes a `SystemError` of the
interrupt, or loses it. There the interrupt waits, some milliseconds, until the library has come back.
"""

from __future__ import annotations

import _thread
import signal
import threading
from types import FrameType

__all__ = ["end_in_order", "was_interrupted"]

_AGAIN_S = 0.005
#: Modules that C code of HDF5 calls, or that call it on behalf of ours.
_NOT_IN = ("h5py.", "gazepipe.hdf5_audit")

_asked = False
_waiting = False


def end_in_order() -> None:
    """Take SIGINT, SIGTERM and SIGHUP as what they are to a command; signals that are ignored stay so, but SIGTERM."""
    global _asked, _waiting
    _asked = _waiting = False
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, _interrupt)


def was_interrupted(error: BaseException) -> bool:
    """Whether an error is what C code made of an interrupt."""
    return _asked and isinstance(error, SystemError)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked, _waiting
    _asked = True
    if _waiting:  # one is enough, however often it is asked for
        return
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_NOT_IN):
            _waiting = True
            later = threading.Timer(_AGAIN_S, _again, (number,))
            later.daemon = True
            later.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _again(number: int) -> None:
    global _waiting
    _waiting = False
    _thread.interrupt_main(signal.Signals(number))
