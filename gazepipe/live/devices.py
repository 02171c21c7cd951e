"""Sources by name, as ``gazepipe session --device`` has them. What they need is imported when they are asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazepipe.errors import ConfigError
from gazepipe.live.source import GazeSource

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["DEVICES", "open_device"]

DEVICES = ("neon", "tobii", "eyelink", "lsl", "mouse", "replay", "fake")


def open_device(
    name: str, study: Study, *, address: str = "", replay: Path | None = None, speed: float = 1.0, scene: bool = False
) -> GazeSource:
    """Return a source that is not open yet.

    Parameters
    ----------
    name
        One of `DEVICES`.
    study
        Its [screen] is the source's.
    address
        Of the tracker, or the name of the LSL stream; "": the only one there is.
    replay, speed
        The recording that is replayed, and how many times faster.
    scene
        Whether a scene camera's pictures are wanted, too.

    Raises
    ------
    ConfigError
        If the name is unknown or something is missing.
    """
    screen = study.config.screen.screen()
    if name == "neon":
        return _made("neon", "NeonSource", address or "auto", scene=scene)
    if name == "fake":
        return _made("simulated", "SimulatedSource", screen)
    size = screen.width_px, screen.height_px
    if name == "mouse":
        return _made("mouse", "MouseSource", size)
    if name in ("tobii", "eyelink", "lsl"):
        return _made(
            name, {"tobii": "TobiiSource", "eyelink": "EyeLinkSource", "lsl": "LslSource"}[name], size, address
        )
    if name == "replay":
        if replay is None:
            msg = "--device replay needs a recording; name it with --replay."
            raise ConfigError(msg)
        return _made("replay", "ReplaySource", replay, study.config, speed=speed)
    msg = f"device {name!r} is not known; expected {', '.join(DEVICES)}."
    raise ConfigError(msg)


def _made(module: str, name: str, *arguments: Any, **named: Any) -> GazeSource:
    source: GazeSource = getattr(importlib.import_module(f"gazepipe.live.{module}"), name)(*arguments, **named)
    return source
