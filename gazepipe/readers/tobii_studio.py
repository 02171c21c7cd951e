"""Exports of Tobii Studio, versions 1 to 3: text with tabs or commas, one row for each sample and each event.

``RecordingTimestamp`` is in milliseconds; the gaze is ``GazePointLeftX (ADCSpx)`` and so on (``GazePointXLeft`` in
version 1, which writes lines about the recording above the names). What rows and columns become stands in
`gazepipe.readers._tobii`; Studio's fixation points count from the medium's corner and are moved to the screen's where
``MediaPosX`` is exported.

One `Recording` is one recording, so an export that has several is refused with their names; `read_recordings` returns
them all. In Studio, *Data export* writes a file for each recording if *One file per recording* is chosen.

Times are whole milliseconds where ``EyeTrackerTimestamp`` is not exported: at 300 Hz the steps are 3, 3, 4 ms.
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

_EXPORT = Export(
    format="tobii-studio",
    header=re.compile(r"^(?=.*\b(?:RecordingTimestamp|EyeTrackerTimestamp|GazePointXLeft)\b)(?=.*(?:Gaze|Validity))"),
    plain_unit="ms",
    remedy="export again with RecordingTimestamp, GazePointLeft and Right X, Y (ADCSpx) and ValidityLeft and Right",
)


def sniff(head: bytes, path: Path) -> bool:
    """Whether a line near the top names Studio's columns."""
    return header_of(head, _EXPORT.header) is not None


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a Tobii Studio export of one recording.

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
