"""PsychoPy's log: lines of a time in seconds, a level and a text, with tabs between.

A presentation begins at ``COMPONENT: autoDraw = True`` and ends at ``COMPONENT: autoDraw = False``; the image is that
of the last ``COMPONENT: image = 'file'`` before. ``[trials] component`` names the component. PsychoPy must log at level
EXP, as it does unless told otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._table import decode
from gazepipe.readers.source import read_bytes
from gazepipe.trial_sources.source import TrialRows, TrialSource, base_name, unit_ms

__all__ = ["SOURCE", "read", "sniff"]

_FORMAT = "psychopy-log"
_LINE = re.compile(r"^\s*(-?\d+\.\d+)\s*\t\s*([A-Z]+)\s*\t\s?(.*?)\s*$")
_PROPERTY = re.compile(r"^(.+?): (autoDraw|image) = (.*)$")


def sniff(head: str) -> bool:
    """Whether most of the first lines are of a log; texts may have line breaks in them."""
    lines = [line for line in head.split("\n")[:20] if line.strip()]
    return bool(lines) and 2 * sum(bool(_LINE.match(line)) for line in lines) > len(lines)


def read(path: Path, settings: TrialsConfig, user: str, session: str, beside: bool) -> TrialRows:
    """Read the presentations of one component.

    Raises
    ------
    RecordingError
        If it was never drawn.
    """
    unit = unit_ms(settings, "s")
    onset: list[float] = []
    offset: list[float] = []
    stimulus: list[str] = []
    events: dict[str, list[float]] = {}
    image, drawn, others = "", False, set()
    for line in decode(read_bytes(path)).split("\n"):
        match = _LINE.match(line)
        if not match:
            continue
        time, text = float(match[1]) * unit, match[3]
        said = _PROPERTY.match(text)
        if said and said[2] == "image" and said[1] == settings.component:
            image = base_name(said[3])
        elif said and said[2] == "autoDraw":
            begins = said[3] == "True"
            events.setdefault(f"{said[1]}.{'started' if begins else 'stopped'}", []).append(time)
            if said[1] != settings.component:
                others.add(said[1])
            elif begins and not drawn:
                onset.append(time)
                offset.append(np.nan)
                stimulus.append(image)
                drawn = True
            elif not begins and drawn:
                offset[-1], drawn = time, False
        elif not said:
            events.setdefault(text, []).append(time)
    if not onset:
        shown = ", ".join(sorted(others)[:12])
        raise RecordingError(
            path,
            f"{settings.component!r} was never drawn (drawn were {shown or 'none'})",
            expected="lines 'COMPONENT: autoDraw = True' of the component that shows the image",
            remedy="set [trials] component, and let PsychoPy log at level EXP",
        )
    return TrialRows(path, _FORMAT, "", np.array(onset), np.array(offset), stimulus, events=events)


SOURCE = TrialSource(_FORMAT, sniff, read)
