"""Trials that stand in a file of their own: `trial_rows` finds the file of a recording and reads it by its content.

A kind of file is one module that has a `SOURCE`; its name in `_MODULES` is all that must be added here. The order is
that in which they are asked, the most particular first.
"""

from __future__ import annotations

import glob
import importlib
import re
from functools import lru_cache
from pathlib import Path

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._table import decode
from gazepipe.readers.source import read_head
from gazepipe.trial_sources.source import TrialRows, TrialSource

__all__ = ["TrialRows", "TrialSource", "is_beside", "name_pattern", "trial_path", "trial_rows"]

_MODULES = (
    "gazepipe.trial_sources.psychopy_csv",
    "gazepipe.trial_sources.psychopy_log",
    "gazepipe.trial_sources.opensesame",
    "gazepipe.trial_sources.bids_events",
    "gazepipe.trial_sources.table",
)


def is_beside(settings: TrialsConfig) -> bool:
    """Whether each recording has a trial file of its own."""
    return bool(re.search(r"[*?]|\{(stem|user|session)\}", settings.file))


def name_pattern(settings: TrialsConfig) -> str:
    """Pattern of the names of trial files, which are no recordings; "" where there are none."""
    return re.sub(r"\{(stem|user|session)\}", "*", settings.file).replace("\\", "/").rsplit("/", 1)[-1]


def trial_path(settings: TrialsConfig, root: Path, recording: Path, user: str, session: str) -> Path:
    """Find the trial file of a recording; `root` is the configuration's folder.

    Raises
    ------
    RecordingError
        If there is none beside the recording, or more than one fits.
    """
    if not is_beside(settings):
        return root / settings.file
    name = recording.name.removesuffix(".gz")
    stem = recording.name if recording.is_dir() else name.rsplit(".", 1)[0]
    pattern = settings.file
    for key, value in (("stem", stem), ("user", user), ("session", session)):
        pattern = pattern.replace(f"{{{key}}}", glob.escape(value))
    # A recording in an archive has its trials beside the archive.
    place = next(p for p in recording.parents if p.is_dir())
    places = [recording, place] if recording.is_dir() else [place]
    for place in places:
        found = sorted(p for p in place.glob(pattern) if p.is_file() and p != recording)
        if len(found) > 1:
            names = ", ".join(p.name for p in found[:4])
            raise RecordingError(
                recording,
                f"{len(found)} files beside it fit [trials] file {settings.file!r} ({names})",
                expected="one",
                remedy="make [trials] file say which",
            )
        if found:
            return found[0]
    raise RecordingError(
        recording,
        f"there is no file {pattern!r} beside it",
        expected="the trials that [trials] file names",
        remedy="put it there, or correct [trials] file",
    )


def trial_rows(settings: TrialsConfig, root: Path, recording: Path, user: str, session: str) -> TrialRows | None:
    """Read the trials of a recording from its trial file; None if the study has none.

    Raises
    ------
    RecordingError
        If the file is missing, cannot be read, or has nothing for this user and session.
    """
    if not settings.file or settings.source not in ("auto", "file"):
        return None
    path = trial_path(settings, root, recording, user, session)
    head = decode(read_head(path))
    source = next((s for s in _sources() if s.sniff(head)), None)
    if source is None:
        raise RecordingError(path, "the content is binary", expected="a table or log of trials")
    return source.read(path, settings, user, session, is_beside(settings))


@lru_cache(maxsize=1)
def _sources() -> tuple[TrialSource, ...]:
    return tuple(importlib.import_module(name).SOURCE for name in _MODULES)
