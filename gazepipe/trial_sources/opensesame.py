"""OpenSesame's log: a row a trial, with ``time_ITEM`` (ms) for each item and a column for each variable.

``[trials] component`` is the item that shows the image (its sketchpad); a presentation ends at ``offset_column``, such
as ``time_blank``, where that is set. Rows in which the item did not run have NA there and are no presentations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.trial_sources.source import TrialRows, TrialSource, base_name, image_column, read_table, unit_ms

__all__ = ["SOURCE", "read", "sniff"]

_FORMAT = "opensesame-csv"
_OWN = ("opensesame_version", "opensesame_codename", "experiment_path", "subject_parity", "subject_nr")


def sniff(head: str) -> bool:
    """Whether there are columns that only OpenSesame writes."""
    first = head.split("\n", 1)[0]
    return "time_" in first and any(word in first for word in _OWN)


def read(path: Path, settings: TrialsConfig, user: str, session: str, beside: bool) -> TrialRows:
    """Read the presentations of one item.

    Raises
    ------
    RecordingError
        If the item never ran, or a time is no number.
    """
    table = read_table(path)
    unit = unit_ms(settings, "ms")
    times = [n for n in table.names if n.startswith("time_")]
    onset_name = settings.onset_column or f"time_{settings.component}"
    if onset_name not in table.names:
        raise table.no_column(onset_name, "onset_column" if settings.onset_column else "component", times)
    onset = table.numbers(onset_name, unit)
    shown = np.isfinite(onset)
    if not shown.any():
        raise RecordingError(path, f"column {onset_name!r} is empty", expected="the time of each presentation")
    if settings.offset_column and settings.offset_column not in table.names:
        raise table.no_column(settings.offset_column, "offset_column", times)
    offset = table.numbers(settings.offset_column, unit) if settings.offset_column else np.full(onset.size, np.nan)
    offset = np.where(offset > onset, offset, np.nan)  # an item that did not run again keeps its time
    column = image_column(table, settings)
    names = [base_name(s) for s in table.texts(column)] if column else [""] * onset.size
    events = {name: _times(table.numbers(name, unit)) for name in times}
    stimulus = [n for n, s in zip(names, shown, strict=True) if s]
    return TrialRows(path, _FORMAT, "", onset[shown], offset[shown], stimulus, events=events)


def _times(values: np.ndarray) -> list[float]:
    """Return the times at which an item ran: rows in which it did not run again keep the one before."""
    there = values[np.isfinite(values)]
    found: list[float] = there[np.append(True, np.diff(there) != 0)[: there.size]].tolist()
    return found


SOURCE = TrialSource(_FORMAT, sniff, read)
