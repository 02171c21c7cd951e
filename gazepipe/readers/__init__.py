"""Reading recordings: `read_recording` finds the reader by looking at the file.

A reader is one module that has a `READER`; its name in `_MODULES` is all that must be added here. The order is that
in which they are asked, the most particular first. Readers import what is slow to import (numba, pandas) only when
they read.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError, lacks_memory
from gazepipe.readers import archive
from gazepipe.readers.source import Reader, out_of_memory, read_head
from gazepipe.recording import Recording

__all__ = [
    "Reader",
    "find_reader",
    "is_companion",
    "is_recording_folder",
    "read_recording",
    "readers",
    "recordings_in_archive",
    "unpacked",
]

_MODULES = (
    "gazepipe.readers.eyelink_asc",
    "gazepipe.readers.eyelink_edf",
    "gazepipe.readers.tobii_pro_lab",
    "gazepipe.readers.tobii_studio",
    "gazepipe.readers.tobii_sdk",
    "gazepipe.readers.smi",
    "gazepipe.readers.live_session",
    "gazepipe.readers.neon_native",
    "gazepipe.readers.neon_timeseries",
    "gazepipe.readers.marker_mapper",
    "gazepipe.readers.pupil_core",
    "gazepipe.readers.bids",
    "gazepipe.readers.parquet",
    "gazepipe.readers.csv_table",
)


def readers() -> tuple[Reader, ...]:
    """Return all readers.

    Returns
    -------
    tuple of Reader
        In the order in which they are asked.
    """
    found: list[Reader] = [importlib.import_module(name).READER for name in _MODULES]
    return tuple(found)


def read_recording(path: Path, config: StudyConfig) -> Recording:
    """Read one recording of whatever format.

    The format is found from the content (the first 64 kB, unpacked where it is gzip-compressed); the name only
    decides between formats that look alike.

    Parameters
    ----------
    path
        The file, or a folder where a format is a folder; or a zip archive with one recording, or a path into one
        (``cloud.zip/P01``).
    config
        The study; readers use its `csv` and `screen` sections.

    Returns
    -------
    Recording
        As it stands in the file. Times in ms, gaze in screen pixels.

    Raises
    ------
    RecordingError
        If the file is missing, empty, damaged, of no known format, or needs more memory than there is.
    """
    path = Path(path)
    with unpacked(path) as place:
        reader = _find(place)
        if reader is None:
            raise _unknown(b"" if place.is_dir() else read_head(place), place)
        try:
            recording = reader.read(place, config)
        except Exception as error:
            if not lacks_memory(error):
                raise
            raise out_of_memory(place) from None
    return recording if place == path else replace(recording, path=path)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the place where a recording can be read: the path itself, or for a while its copy out of a zip archive.

    Raises
    ------
    RecordingError
        If the archive is damaged, not to be trusted, or does not have exactly one recording where it is named alone.
    """
    with archive.unpacked(path, _find, is_companion) as place:
        yield place


def recordings_in_archive(path: Path) -> list[str]:
    """Return the recordings in a zip archive, folders with a slash at the end; none for any other file.

    Raises
    ------
    RecordingError
        If the archive is damaged or not to be trusted.
    """
    return archive.recordings_in(path, _find, is_companion) if archive.in_archive(path) else []


def find_reader(path: Path) -> Reader | None:
    """Return the reader of a file or folder, or of a recording in an archive; None if it is of no known format.

    Raises
    ------
    RecordingError
        If a file is missing, empty or damaged.
    """
    with archive.unpacked(path, _find, is_companion, whole=False) as place:
        return _find(place)


def _find(path: Path) -> Reader | None:
    folder = path.is_dir()
    head = b"" if folder else read_head(path)
    return next((r for r in readers() if (r.files or not folder) and r.sniff(head, path)), None)


def is_recording_folder(path: Path) -> bool:
    """Whether a folder is one recording, and what is in it none."""
    return path.is_dir() and find_reader(path) is not None


def is_companion(path: Path) -> bool:
    """Whether a file, by its name and place, is part of a recording that goes by another name."""
    return any(r.companion(path) for r in readers() if r.companion)


def _unknown(head: bytes, path: Path) -> RecordingError:
    known = " or ".join(reader.name for reader in readers())
    if path.is_dir():
        return RecordingError(path, "this is a folder", expected="a recording file", remedy="name the file in it")
    if b"\0" in head:
        return RecordingError(path, "the content is binary", expected=f"text ({known})", remedy="export it as text")
    first = head.split(b"\n", 1)[0][:60].decode("utf-8", "replace").strip()
    return RecordingError(
        path, f"the format is not known (it begins with {first!r})", expected=known, remedy="export it as one of these"
    )
