"""A table of trials: one row a presentation, with columns as `[trials]` names them.

Without names in the configuration the columns are ``user, session, onset_ms, offset_ms, duration_ms, stimulus, repeat``
and ``placement``; only the onset must be there. Times are on the tracker's clock unless ``[trials] clock`` says
otherwise. A table for the whole study needs the column of the user; where it has one of the session, that must fit,
too (``1`` and ``ses-1`` are one session; a recording without session takes the only one).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.geometry import parse_placement
from gazepipe.trial_sources.source import (
    TextTable,
    TrialRows,
    TrialSource,
    base_name,
    image_column,
    read_table,
    unit_ms,
)

__all__ = ["SOURCE", "own_rows", "read", "sniff"]

_FORMAT = "trials-table"


def sniff(head: str) -> bool:
    """Any text that is no other kind of file is taken for a table."""
    return "\0" not in head


def read(path: Path, settings: TrialsConfig, user: str, session: str, beside: bool) -> TrialRows:
    """Read the trials of one user and session.

    Raises
    ------
    RecordingError
        If the onset's or the user's column is missing, a cell is not what it should be, or nothing is left.
    """
    table = own_rows(read_table(path), settings, user, session, beside)
    unit = unit_ms(settings, "ms")
    onset_name = settings.onset_column or "onset_ms"
    if onset_name not in table.names:
        raise table.no_column(onset_name, "onset_column", table.names)
    onset = table.numbers(onset_name, unit)
    if not np.isfinite(onset).all():
        line = table.lines[int(np.flatnonzero(~np.isfinite(onset))[0])]
        raise RecordingError(path, f"the trial has no time in column {onset_name!r}", expected="a number", line=line)
    offset = _optional(table, settings.offset_column, "offset_column", "offset_ms", unit)
    length = _optional(table, settings.duration_column, "duration_column", "duration_ms", unit)
    repeat = _optional(table, settings.repeat_column, "repeat_column", "repeat", 1.0)
    column = image_column(table, settings)
    return TrialRows(
        path,
        _FORMAT,
        "tracker",
        onset,
        np.where(np.isfinite(offset), offset, onset + length),
        [base_name(s) for s in table.texts(column)] if column else [""] * onset.size,
        _placements(table, settings),
        [int(r) if r >= 1 else 0 for r in np.nan_to_num(repeat)],
    )


def own_rows(table: TextTable, settings: TrialsConfig, user: str, session: str, beside: bool) -> TextTable:
    """Return the rows of one user and session."""
    names = table.names
    if settings.user_column in names:
        table = table.where([cell == user for cell in table.texts(settings.user_column)])
    elif not beside:
        raise table.no_column(settings.user_column, "user_column", names)
    if settings.session_column in names and table.rows:
        cells = table.texts(settings.session_column)
        if session:
            table = table.where([cell in (session, session.removeprefix("ses-")) for cell in cells])
        elif len(set(cells)) > 1:
            raise RecordingError(
                table.path,
                f"user {user!r} has trials of {len(set(cells))} sessions ({', '.join(sorted(set(cells))[:4])})",
                expected="one, as the recording's name has no session",
                remedy="name it in the recording's name, see [ingest] user_pattern",
                line=table.lines[0],
            )
    if not table.rows:
        whose = f"user {user!r}" + (f", session {session!r}" if session else "")
        raise RecordingError(
            table.path,
            f"there is no trial of {whose}",
            expected="at least one",
            remedy="add them, or exclude the recording",
        )
    return table


def _optional(table: TextTable, name: str, key: str, usual: str, unit: float) -> np.ndarray:
    if name and name not in table.names:
        raise table.no_column(name, key, table.names)
    name = name or usual
    return table.numbers(name, unit) if name in table.names else np.full(len(table.rows), np.nan)


def _placements(table: TextTable, settings: TrialsConfig) -> list[str]:
    name = settings.placement_column
    if name and name not in table.names:
        raise table.no_column(name, "placement_column", table.names)
    name = name or "placement"
    cells = table.texts(name) if name in table.names else [""] * len(table.rows)
    for cell, line in zip(cells, table.lines, strict=True):
        if cell:
            try:
                parse_placement(cell)
            except ValueError as error:
                raise RecordingError(table.path, str(error), line=line) from None
    return cells


SOURCE = TrialSource(_FORMAT, sniff, read)
