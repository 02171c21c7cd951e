"""Exports of Tobii Pro Lab: tab-separated text, one row for each sample of any sensor and for each event.

All generations of column names are understood, with decimal points or decimal commas, in UTF-8 or UTF-16. A time whose
name has no unit is in microseconds. What rows and columns become stands in `gazepipe.readers._tobii`.

One `Recording` is one recording, so an export that has several is refused with their names; `read_recordings` returns
them all. In Pro Lab, *Data export* writes a file for each recording if *Single file* is not ticked.

Needed are ``Recording timestamp`` or ``Eyetracker timestamp`` and gaze points in DACS px, of each eye or joined; better
with ``Sensor``, ``Validity left`` and ``right``, ``Event``, ``Event value`` and ``Presented Media name``.
"""

from __future__ import annotations

import re
from pathlib import Path

from gazepipe.config import StudyConfig
from gazepipe.readers._table import header_of
from gazepipe.readers._tobii import Export, read_all, read_one
from gazepipe.readers.source import Reader
from gazepipe.recording import Recording

__all__ = ["READER", "read", "read_recordings", "sniff"]

_OTHERS = r"gaze point|sensor\b|participant name|eye movement type|validity left"
_EXPORT = Export(
    format="tobii-pro-lab",
    header=re.compile(rf"(?i)^(?=.*\b(?:recording|eyetracker) timestamp\b)(?=.*\b(?:{_OTHERS}))"),
    plain_unit="us",
    remedy=(
        "export again with Recording timestamp, Sensor, Gaze point left and right X, Y (DACS px) "
        "and Validity left and right"
    ),
)


def sniff(head: bytes, path: Path) -> bool:
    """Whether a line near the top names Pro Lab's columns."""
    return header_of(head, _EXPORT.header) is not None


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a Tobii Pro Lab export of one recording.

    Parameters
    ----------
    path
        The file.
    config
        Not used: the file states all that is needed.

    Returns
    -------
    Recording
        Eyes are ``"left"`` and ``"right"``, or ``"cyclopean"`` where there is only the joined gaze point. `columns` may
        have ``stimulus``, ``trial``, ``distance_mm`` and ``native_label``; `native_events` are Tobii's own.

    Raises
    ------
    RecordingError
        If columns are missing, a cell is not a number, there are no two samples, or there are several recordings.
    """
    return read_one(path, _EXPORT)


def read_recordings(path: Path) -> dict[tuple[str, str], Recording]:
    """Read an export of any number of recordings: (participant, recording name) → recording, in the file's order.

    Raises
    ------
    RecordingError
        As `read`, but for several recordings.
    """
    return read_all(path, _EXPORT)


READER = Reader(_EXPORT.format, sniff, read)
