"""Setting the clock of a trial file to the tracker's: said by the configuration or shown by events, never guessed.

``events``
    Each of ``[trials] clock_events`` is in the file and among the recording's messages, the same number of times. The
    offset is the median difference of their times. What is left of the differences is the residual; if it is more
    than ``clock_tolerance_ms``, and there are three pairs and more, a line is tried, for clocks drift (at most one
    part in a thousand). What is still further off is refused.
``tracker``, ``start``
    The file's times are the recording's, or count from its first sample; ``clock_offset_ms`` is added. Where
    ``clock_events`` are named as well, they must then agree within the tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.recording import Recording
from gazepipe.trial_sources.source import TrialRows
from gazepipe.words import counted

__all__ = ["LARGEST_DRIFT", "align"]

F64 = npt.NDArray[np.float64]

#: A clock that gains or loses more than this is no clock.
LARGEST_DRIFT = 1e-3


def align(rows: TrialRows, recording: Recording, settings: TrialsConfig) -> tuple[TrialRows, list[str]]:
    """Return the trials on the recording's clock, and one sentence about how it was set.

    Raises
    ------
    RecordingError
        If nothing says how the clocks are related, an event is not in both, or they do not agree.
    """
    clock = rows.clock if settings.clock == "auto" else settings.clock
    if not clock:
        raise RecordingError(
            rows.path,
            f"nothing says how the clock of this {rows.format} is related to the tracker's",
            expected="[trials] clock",
            remedy='set clock = "events" and clock_events, or clock = "tracker" or "start" and clock_offset_ms',
        )
    pairs = [_pair(rows, recording, text) for text in settings.clock_events]
    own = np.concatenate([np.zeros(0), *(p[0] for p in pairs)])
    there = np.concatenate([np.zeros(0), *(p[1] for p in pairs)])
    if clock == "events":
        rate, offset = _fit(own, there, rows, settings)
        offset += settings.clock_offset_ms
        how = f"by {counted(own.size, 'event')}"
    else:
        rate, offset = 0.0, settings.clock_offset_ms + (float(recording.time_ms[0]) if clock == "start" else 0.0)
        how = "as [trials] clock says"
        _check(own + offset - there, rows, settings)
    said = []
    if own.size:
        left = np.abs(own * (1 + rate) + offset - there)
        said.append(
            f"the clock of {rows.path.name} was set {how}: offset {offset:.1f} ms"
            + (f", drift {rate * 6e4:.2f} ms a minute" if rate else "")
            + (f", residual at most {left.max():.1f} ms" if own.size > 1 else "; one event cannot show an error")
        )
    onset, end = (values * (1 + rate) + offset for values in (rows.onset_ms, rows.offset_ms))
    return replace(rows, onset_ms=onset, offset_ms=end), said


def _pair(rows: TrialRows, recording: Recording, text: str) -> tuple[F64, F64]:
    """Times of one kind of event in the file and in the recording."""
    name, _, pattern = (part.strip() for part in text.partition(" = "))
    compiled = re.compile(pattern or re.escape(name) + r"\Z")
    find = compiled.search if pattern else compiled.match
    there = sorted(m.time_ms + m.offset_ms for m in recording.messages if find(m.text.strip()))
    own = sorted(rows.events.get(name, ()))
    if not own:
        raise RecordingError(
            rows.path,
            f"there is no event {name!r} (there are {_some(list(rows.events))})",
            expected="the events that [trials] clock_events names",
            remedy="correct [trials] clock_events",
        )
    if len(own) != len(there):
        texts = _some(list(dict.fromkeys(m.text.strip() for m in recording.messages)))
        raise RecordingError(
            rows.path,
            f"the event {name!r} is {len(own)} times in it and {len(there)} times in {recording.path.name} "
            f"(its messages are {texts})",
            expected="the same number",
            remedy="name events in [trials] clock_events that both have",
        )
    return np.array(own), np.array(there)


def _some(names: Sequence[str]) -> str:
    return (", ".join(map(repr, names[:6])) + (", …" if len(names) > 6 else "")) or "none"


def _fit(own: F64, there: F64, rows: TrialRows, settings: TrialsConfig) -> tuple[float, float]:
    """Return drift and offset."""
    difference = there - own
    offset = float(np.median(difference))
    far = float(np.abs(difference - offset).max())
    if far > settings.clock_tolerance_ms and own.size > 2 and np.ptp(own) > 0:
        rate, start = np.polyfit(own - own[0], difference, 1)
        left = np.abs(difference - rate * (own - own[0]) - start)
        if left.max() <= settings.clock_tolerance_ms and abs(rate) <= LARGEST_DRIFT:
            return float(rate), float(start - rate * own[0])
    _check(difference - offset, rows, settings)
    return 0.0, offset


def _check(residual: F64, rows: TrialRows, settings: TrialsConfig) -> None:
    far = float(np.abs(residual).max(initial=0.0))
    if far > settings.clock_tolerance_ms:
        raise RecordingError(
            rows.path,
            f"its events are up to {far:.1f} ms off the recording's once the clocks are set",
            expected=f"at most [trials] clock_tolerance_ms = {settings.clock_tolerance_ms:g}",
            remedy="make sure that file and recording belong together and that clock_events are the same events",
        )
