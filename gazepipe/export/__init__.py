"""Stored recordings → files for other software, one module a format.

A format is one module that has an `export`; its name in `_MODULES` is all that must be added here. Recordings are read
from the store one at a time, so that memory does not grow with the study. A damaged recording never stops the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazepipe import audit, consent, store
from gazepipe.errors import ConfigError, GazepipeError, InputError, NothingToDoError, StorageError
from gazepipe.outside import note_outside
from gazepipe.store import Contents
from gazepipe.study import Failure, Study

__all__ = ["FORMATS", "ExportReport", "Source", "export_study", "stored"]

_MODULES = {
    "bids": "gazepipe.export.bids",
    "parquet": "gazepipe.export.parquet",
}

#: Names that `export_study` knows.
FORMATS = tuple(_MODULES)

Show = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """One stored recording that is to be exported."""

    recording: str
    user: str
    session: str
    path: Path


@dataclass(slots=True)
class ExportReport:
    """What was written, or would be.

    Parameters
    ----------
    format, out
        What was asked for.
    files
        Paths below `out`, in the order of writing.
    recordings
        One entry each: ``recording, user, session`` and what else the format says of it.
    notes
        One sentence for everything that the format cannot hold, and was left out or changed.
    failures
        Recordings that could not be read.
    """

    format: str
    out: Path
    files: list[str] = field(default_factory=list)
    recordings: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "format": self.format,
            "out": str(self.out),
            "files": self.files,
            "recordings": self.recordings,
            "notes": self.notes,
            "failures": [f.row() for f in self.failures],
        }


def export_study(
    study: Study,
    out: Path,
    format: str,
    *,
    users: Sequence[str] = (),
    force: bool = False,
    dry_run: bool = False,
    show: Show | None = None,
    **options: Any,
) -> ExportReport:
    """Export stored recordings.

    Parameters
    ----------
    study
        Whose recordings; only current ones are taken.
    out
        Folder that the files go to; made if it is not there.
    format
        One of `FORMATS`.
    users
        Only these; empty: all.
    force
        Write into a folder that has something in it.
    dry_run
        Write nothing, only report.
    options
        Passed to the format's `export` (``bids`` takes ``task`` and ``stimuli``).

    Raises
    ------
    NothingToDoError
        If there is no recording.
    ConfigError
        If a user is unknown, the folder is not empty, or two users would get one name.
    StorageError
        If the disk is full or read-only.
    InputError
        If nobody has the consent that the study requires.
    """
    if format not in _MODULES:
        msg = f"there is no format {format!r}; expected one of {', '.join(FORMATS)}."
        raise ConfigError(msg)
    sources = _sources(study, users)
    if not dry_run and not force and out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out}: is not empty; name a new folder, or replace what is there with --force."
        raise ConfigError(msg)
    report = ExportReport(format, out)
    refused = consent.refusal(study, [s.user for s in sources], "share")
    report.failures += [Failure("export", user, sentence) for user, sentence in refused.items()]
    sources = [s for s in sources if s.user not in refused]
    if not sources:
        raise InputError(next(iter(refused.values())))
    if not dry_run:
        try:  # before anything is handed out
            audit.record(study, "export", users=users, format=format, recordings=len(sources))
        except StorageError as error:  # a store that can only be read can be exported all the same
            report.notes.append(f"the export is not in the audit log: {error}")
        note_outside(study, f"export ({format})", out, {s.user for s in sources})
    try:
        importlib.import_module(_MODULES[format]).export(
            study, sources, report, force=force, dry_run=dry_run, show=show, **options
        )
    except OSError as error:
        msg = f"{out}: could not be written ({error.strerror or error}); make room or choose another folder."
        raise StorageError(msg) from error
    return report


def _sources(study: Study, users: Sequence[str]) -> list[Source]:
    known = study.known_recordings()
    if not known:
        msg = f"{study.store}: holds no recording; run `gazepipe ingest` or `gazepipe import` first."
        raise NothingToDoError(msg)
    people = {row["user"] for row in known.values()}
    for user in users:
        if user not in people:
            msg = f"--users: there is no user {user!r} in {study.store}; known are {', '.join(sorted(people)[:20])}."
            raise ConfigError(msg)
    return [
        Source(name, row["user"], row["session"], study.recording_file(name))
        for name, row in sorted(known.items())
        if not users or row["user"] in users
    ]


def stored(sources: Iterable[Source], report: ExportReport) -> Iterator[tuple[Source, Contents]]:
    """Load one recording after another; what cannot be read becomes a failure of the report."""
    for source in sources:
        try:
            yield source, store.load(source.path, "gazepipe.recording")
        except StorageError:
            raise
        except GazepipeError as error:
            report.failures.append(Failure("export", str(source.path), str(error)))
