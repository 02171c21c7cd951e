"""PsychoPy's table of trials: a row a trial, and ``COMPONENT.started`` and ``.stopped`` for each thing shown.

``[trials] component`` is the one that shows the image, "image" if nothing else is said. Rows in which it did not start
are no presentations. Times are seconds of the experiment's clock. Components that PsychoPy times from the start of
their routine instead are refused: such times go back from row to row.

Which image it was stands in a column of the conditions file, ``[trials] stimulus_column``. ``.stopped`` is often
empty, where the routine's end also ended the component.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.trial_sources.source import (
    TextTable,
    TrialRows,
    TrialSource,
    base_name,
    image_column,
    read_table,
    unit_ms,
)

__all__ = ["SOURCE", "read", "sniff"]

_FORMAT = "psychopy-csv"


def sniff(head: str) -> bool:
    """Whether there are columns that only PsychoPy writes."""
    first = head.split("\n", 1)[0]
    return ".started" in first and any(w in first for w in ("thisN", "expName", "psychopyVersion", "frameRate"))


def read(path: Path, settings: TrialsConfig, user: str, session: str, beside: bool) -> TrialRows:
    """Read the presentations of one component.

    Raises
    ------
    RecordingError
        If the component never started, or its times go back.
    """
    table = read_table(path)
    unit = unit_ms(settings, "s")
    onset_name = settings.onset_column or f"{settings.component}.started"
    if onset_name not in table.names:
        started = [n for n in table.names if n.endswith(".started")]
        raise table.no_column(onset_name, "onset_column" if settings.onset_column else "component", started)
    onset = table.numbers(onset_name, unit)
    shown = np.isfinite(onset)
    if not shown.any():
        raise RecordingError(path, f"column {onset_name!r} is empty", expected="the time of each presentation")
    offset_name = settings.offset_column or onset_name.removesuffix(".started") + ".stopped"
    if settings.offset_column and offset_name not in table.names:
        raise table.no_column(offset_name, "offset_column", [n for n in table.names if n.endswith(".stopped")])
    offset = table.numbers(offset_name, unit) if offset_name in table.names else np.full(onset.size, np.nan)
    back = np.flatnonzero(np.diff(onset[shown]) <= 0)
    if back.size:
        line = np.array(table.lines)[shown][back[0] + 1]
        raise RecordingError(
            path,
            f"the times in column {onset_name!r} go back",
            expected="times of the experiment's clock",
            remedy="name another component in [trials] component, or one of its columns in onset_column",
            line=int(line),
        )
    column = image_column(table, settings)
    names = [base_name(s) for s in table.texts(column)] if column else [""] * onset.size
    stimulus = [n for n, s in zip(names, shown, strict=True) if s]
    return TrialRows(path, _FORMAT, "", onset[shown], offset[shown], stimulus, events=_events(table, unit))


def _events(table: TextTable, unit: float) -> dict[str, list[float]]:
    """Everything that started or stopped; columns with something else in them are passed over."""
    found: dict[str, list[float]] = {}
    for name in table.names:
        if name.endswith((".started", ".stopped")):
            try:
                times = table.numbers(name, unit)
            except RecordingError:
                continue
            found[name] = times[np.isfinite(times)].tolist()
    return found


SOURCE = TrialSource(_FORMAT, sniff, read)
