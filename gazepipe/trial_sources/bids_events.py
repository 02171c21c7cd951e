"""BIDS events: ``onset`` and ``duration`` in seconds from the first sample, and ``stim_file``.

Beside BIDS recordings they are read with the recording; this is for events beside recordings of other formats. Rows
that name no image (responses, fixation crosses) are no presentations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.trial_sources.source import TrialRows, TrialSource, base_name, image_column, read_table, unit_ms
from gazepipe.trial_sources.table import own_rows

__all__ = ["SOURCE", "read", "sniff"]

_FORMAT = "bids-events"


def sniff(head: str) -> bool:
    """Whether the first two columns are those that BIDS wants first."""
    return head.removeprefix("\ufeff").split("\n", 1)[0].rstrip("\r").split("\t")[:2] == ["onset", "duration"]


def read(path: Path, settings: TrialsConfig, user: str, session: str, beside: bool) -> TrialRows:
    """Read the presentations of images.

    Raises
    ------
    RecordingError
        If no column or no row names an image, or a time is no number.
    """
    table = read_table(path)
    if not beside:
        table = own_rows(table, settings, user, session, beside)
    column = image_column(table, settings)
    if column is None:
        raise table.no_column(settings.stimulus_column or "stim_file", "stimulus_column", table.names)
    unit = unit_ms(settings, "s")
    onset, length = table.numbers("onset", unit), table.numbers("duration", unit)
    names = [base_name(s) for s in table.texts(column)]
    shown = np.array([bool(n) for n in names]) & np.isfinite(onset)
    if not shown.any():
        raise RecordingError(path, f"no row has an image in column {column!r}", expected="at least one")
    onset, length = onset[shown], length[shown]
    offset = np.where(length > 0, onset + length, np.nan)
    kinds = table.texts("trial_type") if "trial_type" in table.names else [""] * len(table.rows)
    events: dict[str, list[float]] = {}
    for kind, time in zip(kinds, table.numbers("onset", unit).tolist(), strict=True):
        if kind and np.isfinite(time):
            events.setdefault(kind, []).append(time)
    return TrialRows(
        path, _FORMAT, "start", onset, offset, [n for n, s in zip(names, shown, strict=True) if s], events=events
    )


SOURCE = TrialSource(_FORMAT, sniff, read)
