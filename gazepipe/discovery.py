"""Which files and folders are recordings, and whose they are, without reading any to the end.

Nothing is guessed: where two files would mean one person and session, neither is taken.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazepipe import consent
from gazepipe.config import CONFIG_NAME, IngestConfig
from gazepipe.errors import ConfigError, GazepipeError, NothingToDoError, RecordingError
from gazepipe.readers import find_reader, is_companion, is_recording_folder, recordings_in_archive, unpacked
from gazepipe.recipe import digest_file, digest_folder
from gazepipe.study import Failure, Study, check_label, fold
from gazepipe.subjects import forgotten
from gazepipe.trial_sources import name_pattern

__all__ = ["Job", "check_found", "digest_of", "free_of", "jobs_below", "plan", "recordings_below", "sort_out"]


@dataclass(frozen=True, slots=True)
class Job:
    """One file or folder to read: whose it is and where its result goes."""

    source: Path
    user: str
    session: str
    origin: str

    @property
    def recording(self) -> str:
        """Name of the stored recording."""
        return f"{self.user}_{self.session}" if self.session else self.user


def plan(study: Study) -> tuple[list[Job], list[Failure]]:
    """Which files are recordings and whose they are, without reading them.

    Two files that claim the same user and session, and two users whose names differ only in case, are failures:
    neither is taken, because guessing would mix two people. Of people who were forgotten nothing is said; people
    without the consent that the study requires are failures.

    Raises
    ------
    ConfigError
        If there is no such folder.
    NothingToDoError
        If no file matches.
    """
    jobs, failures = jobs_below(study)
    gone = forgotten(study, {job.user for job in jobs})
    refused = consent.refusal(study, sorted({job.user for job in jobs} - gone), "ingest")
    failures += [Failure("ingest", str(j.source), f"{j.source}: {refused[j.user]}") for j in jobs if j.user in refused]
    if not jobs and not failures:
        msg = f"{study.recordings}: no file matches [ingest] include {list(study.config.ingest.include)}."
        raise NothingToDoError(msg)
    unique, clashes = _without_clashes([job for job in jobs if job.user not in gone and job.user not in refused])
    return unique, failures + clashes


def jobs_below(study: Study) -> tuple[list[Job], list[Failure]]:
    """All files of the study that are recordings, as their names have it, and what has no usable name.

    Raises
    ------
    ConfigError
        If there is no such folder.
    """
    if not study.recordings.is_dir():
        msg = f"{study.recordings}: no such folder; correct `recordings` in {study.root / CONFIG_NAME}."
        raise ConfigError(msg)
    pattern = study.config.ingest.user_pattern
    jobs: list[Job] = []
    failures: list[Failure] = []
    trial_files = name_pattern(study.config.trials)
    locked: list[OSError] = []
    skipped = {study.store, study.stimuli}
    for path in recordings_below(study.recordings, study.config.ingest, skipped, trial_files, locked.append):
        name = path.relative_to(study.recordings).as_posix() if path != study.recordings else path.resolve().name
        groups = _named(name, pattern)
        if groups is None:
            found = f"{path}: the name does not match [ingest] user_pattern {pattern!r}; "
            failures.append(Failure("ingest", str(path), found + "rename the file, correct the pattern or exclude it."))
            continue
        try:
            user = check_label(groups[0], f"{path}: user")
            session = check_label(groups[1], f"{path}: session") if groups[1] else ""
        except ConfigError as error:
            failures.append(Failure("ingest", str(path), str(error)))
            continue
        jobs.append(Job(path, user, session, "ingest"))
    for folder in locked:
        text = f"{folder.filename}: the folder cannot be looked into ({folder.strerror}); let this user read it"
        failures.append(Failure("ingest", str(folder.filename), f"{text}, or leave it out with [ingest] exclude."))
    return jobs, failures


def check_found(study: Study, folder: Path, user: str, session: str) -> None:
    """Refuse the folder of a recording that is to be made, if `ingest` would take it for somebody else's or for none.

    Raises
    ------
    ConfigError
        If [ingest] user_pattern or exclude have it so, or a recording that is there already, ingested or not, is of a
        user whose name differs in its spelling only.
    """
    others = {j.user for j in jobs_below(study)[0]} if study.recordings.is_dir() else set()
    for other in sorted(others):
        if fold(other) == fold(user) and other != user:
            msg = f"user {user!r}: the study already has recordings of {other!r}; use one spelling for one person."
            raise ConfigError(msg)
    config, name = study.config.ingest, folder.relative_to(study.recordings).as_posix()
    if _matches(folder.name, config.exclude):
        why = f"[ingest] exclude {list(config.exclude)} leaves it out"
    elif (found := _named(name, config.user_pattern)) is None:
        why = f"its name does not match [ingest] user_pattern {config.user_pattern!r}"
    elif found != (user, session):
        why = f"[ingest] user_pattern {config.user_pattern!r} takes it for user {found[0]!r}, session {found[1]!r}"
    else:
        return
    msg = f"{folder}: `gazepipe ingest` would not find this session of {user}: {why}; correct gazepipe.toml first."
    raise ConfigError(msg)


def _named(name: str, pattern: str) -> tuple[str, str] | None:
    """User and session that a path below the folder of recordings says."""
    match = re.search(pattern, name)
    return match and (match["user"], match.groupdict().get("session") or "")


def recordings_below(
    root: Path,
    config: IngestConfig,
    skipped: Iterable[Path] = (),
    trial_files: str = "",
    locked: Callable[[OSError], None] | None = None,
) -> Iterator[Path]:
    """Files that match and folders that are recordings, in a fixed order.

    The `skipped` folders and what is hidden are not looked into. A folder that is a recording counts whole, and so does
    a zip archive with one recording; of one with several, each is a path of its own (``cloud.zip/P01``). Files
    whose name fits `trial_files` hold trials and are no recordings. `locked` is told of folders that cannot be looked
    into.
    """
    excluded = (*config.exclude, trial_files) if trial_files else config.exclude
    skipped = {p.resolve() for p in skipped}
    for folder, folders, names in os.walk(root, onerror=locked):
        here = Path(folder)
        if is_recording_folder(here):
            folders.clear()
            yield here
            continue
        folders[:] = sorted(
            d
            for d in folders
            if not d.startswith(".") and (here / d).resolve() not in skipped and not _matches(d, config.exclude)
        )
        for name in sorted(n for n in names if not n.startswith(".")):
            if name == CONFIG_NAME or not _matches(name, config.include) or _matches(name, excluded):
                continue
            if not is_companion(here / name):
                yield from _of_archive(here / name, config)


def _of_archive(path: Path, config: IngestConfig) -> Iterator[Path]:
    """The recordings in an archive that match, if there are several; else the file itself, whatever it is."""
    try:
        names = recordings_in_archive(path)
    except RecordingError:  # reading it will say so again
        names = []
    if len(names) < 2:
        yield path
    for name in names if len(names) > 1 else ():
        parts = name.rstrip("/").split("/")
        wanted = name.endswith("/") or _matches(parts[-1], config.include)
        if wanted and not any(_matches(part, config.exclude) for part in parts):
            yield path.joinpath(*parts)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), p.lower()) for p in patterns)


def _without_clashes(jobs: list[Job]) -> tuple[list[Job], list[Failure]]:
    claims: dict[str, list[Job]] = defaultdict(list)
    spellings: dict[str, set[str]] = defaultdict(set)
    for job in jobs:
        claims[fold(job.recording)].append(job)
        spellings[fold(job.user)].add(job.user)
    unique: list[Job] = []
    failures: list[Failure] = []
    for job in jobs:
        rivals = [j for j in claims[fold(job.recording)] if j is not job]
        if rivals:
            session = f", session {job.session!r}" if job.session else ""
            text = (
                f"{job.source}: claims user {job.user!r}{session}, as {rivals[0].source} does; one name must mean one "
                "person and session, so neither was taken; rename one file or set [ingest] user_pattern."
            )
            failures.append(Failure("ingest", str(job.source), text))
        elif len(spellings[fold(job.user)]) > 1:
            others = sorted(spellings[fold(job.user)] - {job.user})
            text = (
                f"{job.source}: user {job.user!r} differs from user {others[0]!r} only in upper and lower case; use "
                "one spelling for one person."
            )
            failures.append(Failure("ingest", str(job.source), text))
        else:
            unique.append(job)
    return unique, failures


def sort_out(
    study: Study, planned: list[Job], failures: list[Failure]
) -> tuple[list[Job], list[Failure], dict[str, dict[str, Any]]]:
    """What of a plan can be taken in, what cannot, and the recordings in the store that are from elsewhere."""
    root = str(study.recordings.resolve())
    elsewhere = {k: v for k, v in study.known_recordings().items() if v.get("root") != root}
    todo, clashes = free_of(planned, elsewhere)
    return todo, failures + clashes, elsewhere


def free_of(jobs: list[Job], elsewhere: dict[str, dict[str, Any]]) -> tuple[list[Job], list[Failure]]:
    """Refuse what would mix with a recording or a user from another folder, an import or an enrolment.

    A recording of the same name and content is no other one: its folder was moved, or is reached by another path.
    """
    recordings = {fold(name): row for name, row in elsewhere.items()}
    users = {fold(row["user"]): row for row in elsewhere.values()}
    free: list[Job] = []
    clashes: list[Failure] = []
    for job in jobs:
        rival, namesake = recordings.get(fold(job.recording)), users.get(fold(job.user))
        origin = None if rival is None else rival["origin"]
        if rival is not None and origin == "enrol":
            there = Path(rival["source"]).resolve() == job.source.resolve()
            if there or _same_content(job, elsewhere.get(job.recording)):
                continue  # a live session whose person was enrolled at its end
        if rival is not None and not (origin == "ingest" and _same_content(job, elsewhere.get(job.recording))):
            found = f"a recording {job.recording!r}, from {rival['source']}"
        elif namesake is not None and (namesake["origin"] != "ingest" or namesake["user"] != job.user):
            found = f"a user {namesake['user']!r}, from {namesake['source']}"
        else:
            free.append(job)
            continue
        text = f"{job.source}: the store already has {found}; rename the file or use another store."
        clashes.append(Failure("ingest", str(job.source), text))
    return free, clashes


def _same_content(job: Job, row: dict[str, Any] | None) -> bool:
    if row is None or "content" not in row:
        return False
    try:
        return digest_of(job.source) == str(row["content"])
    except GazepipeError:
        return True  # reading it will say what is wrong with it


def digest_of(source: Path) -> str:
    """Digest of all that a recording is read from."""
    with unpacked(source) as place:
        reader = find_reader(place)
        if reader is None or reader.files is None:
            return digest_file(place)
        return digest_folder(place if place.is_dir() else place.parent, reader.files(place))
