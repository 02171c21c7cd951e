"""Reading recordings: `read_recording` finds the reader by looking at the file.

A reader is one module that has a `READER`; its name in `_MODULES` is all that must be added here. The order is that
in which they are asked, the most particular first. Readers import what is slow to import (numba, pandas) only when
they read.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers.source import Reader, out_of_memory, read_head
from gazepipe.recording import Recording

__all__ = ["Reader", "find_reader", "is_companion", "is_recording_folder", "read_recording", "readers"]

_MODULES = (
    "gazepipe.readers.eyelink_asc",
    "gazepipe.readers.tobii_pro_lab",
    "gazepipe.readers.tobii_studio",
    "gazepipe.readers.tobii_sdk",
    "gazepipe.readers.smi",
    "gazepipe.readers.neon_native",
    "gazepipe.readers.neon_timeseries",
    "gazepipe.readers.marker_mapper",
    "gazepipe.readers.pupil_core",
    "gazepipe.readers.bids",
    "gazepipe.readers.csv_table",
)


def readers() -> tuple[Reader, ...]:
    """Return all readers, in the order in which they are asked."""
    found: list[Reader] = [importlib.import_module(name).READER for name in _MODULES]
    return tuple(found)


def read_recording(path: Path, config: StudyConfig) -> Recording:
    """Read one recording of whatever format.

    The format is found from the content (the first 64 kB, unpacked where it is gzip-compressed); the name only
    decides between formats that look alike.

    Parameters
    ----------
    path
        The file, or a folder where a format is a folder.
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
    reader = find_reader(path)
    if reader is None:
        raise _unknown(b"" if path.is_dir() else read_head(path), path)
    try:
        return reader.read(path, config)
    except MemoryError:
        raise out_of_memory(path) from None


def find_reader(path: Path) -> Reader | None:
    """Return the reader of a file or folder, None if it is of no known format.

    Raises
    ------
    RecordingError
        If a file is missing, empty or damaged.
    """
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
    if head.startswith(b"SR_RESEARCH"):
        return RecordingError(
            path,
            "this is an EyeLink EDF file, a closed format",
            expected="its text export",
            remedy="convert it with SR Research's edf2asc and give the .asc file",
        )
    if b"\0" in head:
        return RecordingError(path, "the content is binary", expected=f"text ({known})", remedy="export it as text")
    first = head.split(b"\n", 1)[0][:60].decode("utf-8", "replace").strip()
    return RecordingError(
        path, f"the format is not known (it begins with {first!r})", expected=known, remedy="export it as one of these"
    )
