"""Gaze while it is being recorded: sources, sessions in the lab, and events as they end.

>>> from gazepipe.live import LabSession, NeonSource       # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "LabSession",
    "LiveEnrolment",
    "NeonSource",
    "OpenCVPresenter",
    "SilentPresenter",
    "SimulatedSource",
    "TkPresenter",
]

_PLACES = {
    "LabSession": "session",
    "LiveEnrolment": "enrolment",
    "NeonSource": "neon",
    "OpenCVPresenter": "presenter",
    "SilentPresenter": "presenter",
    "SimulatedSource": "simulated",
    "TkPresenter": "tk_window",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: some of it needs a network's client, some torch."""
    if name not in _PLACES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
