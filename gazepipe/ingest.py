"""Stage 1: recordings → samples, trials, events and quality, one stored file a recording.

Incremental: a recording whose file and parameters are as they were is not read again. One bad file never stops the
others; what was stored of it before stays, but is not used until the file can be read again. What was stored of a file
that is gone is removed.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import re
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazepipe import audit, compute, consent, parallel, store
from gazepipe.config import CONFIG_NAME, IngestConfig, StudyConfig
from gazepipe.errors import ConfigError, GazepipeError, NothingToDoError, RecordingError, StorageError, StoreError
from gazepipe.readers import find_reader, is_companion, is_recording_folder, recordings_in_archive, unpacked
from gazepipe.readers.source import out_of_memory
from gazepipe.recipe import Recipe, digest_file, digest_folder, digest_json
from gazepipe.shards import WAIT_S, Shard, forget_parts, save_part
from gazepipe.stimuli import unmatched_stimuli
from gazepipe.study import Failure, Study, check_label, fold
from gazepipe.subjects import forgotten
from gazepipe.trial_sources import name_pattern, trial_rows
from gazepipe.user_quality import user_quality

if TYPE_CHECKING:
    from gazepipe.recording import Recording
    from gazepipe.trial_sources import TrialRows
    from gazepipe.trials import TrialTable

__all__ = [
    "VERSION",
    "IngestReport",
    "Job",
    "analyse",
    "conclude",
    "each",
    "free_of",
    "ingest",
    "ingest_files",
    "jobs_below",
    "parts_made_of",
    "plan",
    "read_trials",
    "recipe_of_job",
    "recordings_below",
    "sort_out",
    "stored_summary",
    "workers",
]

#: Raised whenever the stored result changes for the same input.
VERSION = 4

Show = Callable[[int, int, str], None]


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


@dataclass(slots=True)
class IngestReport:
    """What a run did; `quality` and `stimuli` are those of each recording."""

    written: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    recordings: dict[str, dict[str, Any]] = field(default_factory=dict)
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    stimuli: dict[str, set[str]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Recordings that could not be stored."""
        return sum(not f.partial for f in self.failures)


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
    pattern = re.compile(study.config.ingest.user_pattern)
    jobs: list[Job] = []
    failures: list[Failure] = []
    trial_files = name_pattern(study.config.trials)
    for path in recordings_below(study.recordings, study.config.ingest, {study.store, study.stimuli}, trial_files):
        name = path.relative_to(study.recordings).as_posix() if path != study.recordings else path.resolve().name
        match = pattern.search(name)
        if match is None:
            found = f"{path}: the name does not match [ingest] user_pattern {study.config.ingest.user_pattern!r}; "
            failures.append(Failure("ingest", str(path), found + "rename the file, correct the pattern or exclude it."))
            continue
        groups = match.groupdict()
        try:
            user = check_label(groups["user"], f"{path}: user")
            session = check_label(groups["session"], f"{path}: session") if groups.get("session") else ""
        except ConfigError as error:
            failures.append(Failure("ingest", str(path), str(error)))
            continue
        jobs.append(Job(path, user, session, "ingest"))
    return jobs, failures


def recordings_below(
    root: Path, config: IngestConfig, skipped: Iterable[Path] = (), trial_files: str = ""
) -> Iterator[Path]:
    """Files that match and folders that are recordings, in a fixed order.

    The `skipped` folders and what is hidden are not looked into. A folder that is a recording counts whole, and so does
    a zip archive with one recording; of one with several, each is a path of its own (``cloud.zip/P01``). Files
    whose name fits `trial_files` hold trials and are no recordings.
    """
    excluded = (*config.exclude, trial_files) if trial_files else config.exclude
    skipped = {p.resolve() for p in skipped}
    for folder, folders, names in os.walk(root):
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


def ingest(
    study: Study,
    *,
    jobs: int | None = None,
    force: bool = False,
    fail_fast: bool = False,
    shard: Shard | None = None,
    show: Show | None = None,
) -> IngestReport:
    """Ingest a folder of recordings into the study's store.

    With `fail_fast` the first file that cannot be used ends it; what is finished is stored, and what was stored of the
    files that were not reached stays in use. With a `shard`, only that part of the files, which `gazepipe.gather` then
    puts into use together with the other parts.

    Raises
    ------
    NothingToDoError
        If no file matches.
    LockedError, StorageError
        If the store cannot be written.
    """
    planned = plan(study)
    if shard is not None:
        return _ingest_shard(study, planned[0], shard, jobs=jobs, force=force, show=show)
    with store.lock(study.store):
        todo, failures, elsewhere = sort_out(study, *planned)
        stop_now = fail_fast and bool(failures)
        report = ingest_files(study, [] if stop_now else todo, jobs=jobs, force=force, fail_fast=fail_fast, show=show)
        report.failures[:0] = failures
        if fail_fast and report.failures:
            report.recordings |= _not_reached(study, todo, report)
        conclude(study, planned[0], elsewhere, report)
        forget_parts(study, "ingest")
    return report


def _ingest_shard(
    study: Study, planned: list[Job], shard: Shard, *, jobs: int | None, force: bool, show: Show | None
) -> IngestReport:
    with store.lock(study.store, WAIT_S, part=shard.name("ingest")):
        todo, _, _ = sort_out(study, planned, [])
        report = ingest_files(study, shard.of(todo), jobs=jobs, force=force, show=show)
        content: dict[str, Any] = {k: getattr(report, k) for k in ("written", "current", "recordings", "quality")}
        content |= {"warnings": report.warnings, "stimuli": {k: sorted(v) for k, v in report.stimuli.items()}}
        save_part(study, "ingest", shard, parts_made_of(study), content, report.failures)
    return report


def parts_made_of(study: Study) -> str:
    """What all shards of an ingest must agree on."""
    return digest_json([VERSION, _params(study.config), str(study.recordings.resolve())])


def sort_out(
    study: Study, planned: list[Job], failures: list[Failure]
) -> tuple[list[Job], list[Failure], dict[str, dict[str, Any]]]:
    """What of a plan can be taken in, what cannot, and the recordings in the store that are from elsewhere."""
    root = str(study.recordings.resolve())
    elsewhere = {k: v for k, v in study.known_recordings().items() if v.get("root") != root}
    todo, clashes = free_of(planned, elsewhere)
    return todo, failures + clashes, elsewhere


def conclude(study: Study, planned: list[Job], elsewhere: dict[str, dict[str, Any]], report: IngestReport) -> None:
    """Put into use what was ingested, and remove what was stored of files that are gone."""
    root = str(study.recordings.resolve())
    for row in report.recordings.values():
        row["root"] = root
    before = study.manifest("ingest").get("recordings", {})
    _remove_gone(study, planned, before, report, root)
    others = {k: v for k, v in elsewhere.items() if v["origin"] == "ingest"}
    users = user_quality({name: row["user"] for name, row in report.recordings.items()}, report.quality)
    study.write_manifest("ingest", {"recordings": others | report.recordings, "users": users})
    dropped = len(before.keys() - {*others, *report.recordings})
    if report.written or dropped:
        audit.record(study, "ingest", written=len(report.written), dropped=dropped, failed=report.failed)
    report.warnings += unmatched_stimuli(study, report.stimuli, whole=not elsewhere)
    study.write_failures("ingest", report.failures)


def _remove_gone(
    study: Study, planned: list[Job], before: dict[str, dict[str, Any]], report: IngestReport, root: str
) -> None:
    """Files come before the manifest, so that a run which is killed in between finds the rest the next time."""
    here = {fold(job.recording) for job in planned}
    refused = {failure.source for failure in report.failures}  # they are there, whatever is wrong with them
    for name, row in before.items():
        if row.get("root") == root and fold(name) not in here and row["source"] not in refused:
            study.recording_file(name).unlink(missing_ok=True)
            report.removed.append(name)


def _not_reached(study: Study, todo: list[Job], report: IngestReport) -> dict[str, dict[str, Any]]:
    """What the manifest has of the files that a run which stopped early did not come to."""
    known = study.manifest("ingest").get("recordings", {})
    failed = {failure.source for failure in report.failures}
    left = (j for j in todo if j.recording not in report.recordings and str(j.source) not in failed)
    return {j.recording: known[j.recording] for j in left if j.recording in known}


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
        if rival is not None and rival["origin"] == "enrol" and Path(rival["source"]).resolve() == job.source.resolve():
            continue  # a live session whose person was enrolled at its end
        if rival is not None and not _same_content(job, elsewhere.get(job.recording)):
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
    if row is None or row["origin"] != "ingest" or "content" not in row:
        return False
    try:
        return _digest(job.source) == str(row["content"])
    except GazepipeError:
        return False


def ingest_files(
    study: Study,
    todo: list[Job],
    *,
    jobs: int | None = None,
    force: bool = False,
    fail_fast: bool = False,
    show: Show | None = None,
) -> IngestReport:
    """Ingest some files, in worker processes where it pays; the caller holds the lock and writes the manifest."""
    report = IngestReport()
    jobs = jobs or workers(len(todo))
    outcomes = each(study, todo, jobs, partial(_ingest_one, force=force))
    for done, (job, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, StorageError):
            raise outcome
        if isinstance(outcome, GazepipeError):
            report.failures.append(Failure(job.origin, str(job.source), str(outcome)))
        else:
            (report.written if outcome["written"] else report.current).append(job.recording)
            report.recordings[job.recording] = outcome["row"]
            report.warnings += outcome["warnings"]
            report.quality[job.recording] = outcome["quality"]
            report.stimuli[job.recording] = outcome["stimuli"]
        if show:
            show(done, len(todo), job.recording)
        if fail_fast and report.failures:
            outcomes.close()
            break
    report.written.sort()
    report.current.sort()
    report.failures.sort(key=lambda f: f.source)
    return report


def workers(count: int) -> int:
    """A worker takes about two seconds to start, so a few files are read in this process."""
    if count < 16:
        return 1
    return min(compute.cores(), count)


Outcomes = Generator[tuple[Job, Any], None, None]


def each(study: Study, todo: list[Job], jobs: int, work: Callable[[Study, Job], Any]) -> Outcomes:
    """Do something with each file, in this process or in others: its result, or the error it ended with."""
    if jobs == 1:
        for job in todo:
            yield job, _guarded(job, work, study)
        return
    for job, outcome in parallel.each(partial(_guarded, work=work, study=study), todo, jobs):
        if outcome is None:
            text = "the process reading it was killed, alone, too (out of memory?)"
            outcome = RecordingError(
                job.source, text, remedy="split the recording or leave it out with [ingest] exclude"
            )
        yield job, outcome


def _guarded(job: Job, work: Callable[[Study, Job], Any], study: Study) -> Any:
    """Do it with one file; whatever happens is about this file, so that the others go on."""
    try:
        return work(study, job)
    except GazepipeError as error:
        return error
    except MemoryError:
        return out_of_memory(job.source)
    except Exception as error:  # a defect of a reader must not cost the other recordings
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"reading it failed unexpectedly ({type(error).__name__} in {Path(where.filename).name}:{where.lineno})"
        return RecordingError(job.source, found, remedy="report it to the authors of gazepipe, with the file")


def _params(config: StudyConfig) -> dict[str, Any]:
    return {name: getattr(config, name).model_dump(mode="json") for name in ("screen", "csv", "trials", "ivt")}


def _digest(source: Path) -> str:
    """Digest of all that a recording is read from."""
    with unpacked(source) as place:
        reader = find_reader(place)
        if reader is None or reader.files is None:
            return digest_file(place)
        return digest_folder(place if place.is_dir() else place.parent, reader.files(place))


def recipe_of_job(study: Study, job: Job) -> tuple[Recipe, dict[str, str], TrialRows | None]:
    """Recipe of a recording's stored file, the inputs in it, and its trials where they stand in a file of their own.

    Raises
    ------
    RecordingError
        If a file cannot be read, or the trials are not there.
    """
    inputs = {"source": _digest(job.source)}
    rows = trial_rows(study.config.trials, study.root, job.source, job.user, job.session)
    if rows is not None:
        # What this recording takes from a file that others share, so that theirs may change without it.
        taken = [rows.onset_ms.tolist(), rows.offset_ms.tolist(), rows.stimulus, rows.placement, rows.repeat]
        inputs["trials"] = digest_json([repr(part) for part in (rows.format, *taken, sorted(rows.events.items()))])
    return Recipe("ingest", VERSION, _params(study.config), inputs), inputs, rows


def _ingest_one(study: Study, job: Job, *, force: bool) -> dict[str, Any]:
    """Read one file and store it, unless what is stored is of the same recipe."""
    recipe, inputs, rows = recipe_of_job(study, job)
    path = study.recording_file(job.recording)
    label = {"user": job.user, "session": job.session, "origin": job.origin, "source": job.source.name}
    row = {
        "user": job.user,
        "session": job.session,
        "origin": job.origin,
        "source": str(job.source),
        "content": inputs["source"],
        "recipe": recipe.digest,
    }
    if not force and store.recipe_of(path) == recipe.digest:
        kept = stored_summary(path)
        if kept is not None and label.items() <= kept["attrs"].items():
            return {"written": False, "row": row, "warnings": _listed(job, kept["attrs"])} | _summary(kept)
    arrays, attrs = analyse(job.source, study.config, rows)
    store.save(path, "gazepipe.recording", arrays, recipe=recipe, attrs=attrs | label)
    found = {"quality": attrs["quality"], "stimuli": arrays["trials/stimulus"]}
    return {"written": True, "row": row, "warnings": _listed(job, attrs)} | _summary(found)


def _summary(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"quality": dict(found["quality"]), "stimuli": {str(s) for s in found["stimuli"]}}


def stored_summary(path: Path) -> dict[str, Any] | None:
    """Attributes, quality and the stimulus of each trial of a stored recording; None if it is damaged.

    A damaged one is made again.
    """
    try:
        contents = store.load(path, "gazepipe.recording", only=("trials/stimulus",))
        measured = json.loads(str(contents.attrs["quality"]))
        return {"attrs": contents.attrs, "quality": measured, "stimuli": contents.arrays["trials/stimulus"]}
    except (StoreError, NothingToDoError, KeyError, ValueError):
        return None


def _listed(job: Job, attrs: Any) -> list[str]:
    found = attrs["warnings"]
    return [f"{job.source}: {w}" for w in (json.loads(found) if isinstance(found, str) else found)]


def read_trials(source: Path, config: StudyConfig, rows: TrialRows | None = None) -> tuple[Recording, TrialTable]:
    """Read one recording, check that it can be used, and find its trials.

    Raises
    ------
    RecordingError
        If the file cannot be read, has no gaze on a screen, states another screen than the configuration, or has no
        trial.
    """
    from gazepipe.readers import read_recording
    from gazepipe.trials import find_trials

    recording = read_recording(source, config)
    _check_coordinates(recording)
    _check_display(recording, config)
    return recording, find_trials(recording, config, rows)


def analyse(source: Path, config: StudyConfig, rows: TrialRows | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read one recording and find its trials, events and quality; arrays and attributes as they are stored.

    Parameters
    ----------
    source, config
        The recording and its study.
    rows
        Its trials, where they stand in a file of their own.

    Raises
    ------
    RecordingError
        As `read_trials`.
    """
    from gazepipe.blinks import blinks
    from gazepipe.distance import viewing_distance
    from gazepipe.events import fixations, select_gaze
    from gazepipe.quality import quality
    from gazepipe.saccades import saccades

    recording, trials = read_trials(source, config, rows)
    screen = config.screen.screen()
    distance_mm, said = viewing_distance(recording, config.screen)
    gaze = dataclasses.replace(select_gaze(recording, config.ivt), distance_mm=distance_mm)
    found = fixations(recording, screen, config.ivt, trials=trials, gaze=gaze)
    measured = quality(recording, gaze, found, trials.frame, screen, config.ivt)
    arrays: dict[str, Any] = {"samples/timestamp": recording.time_ms}
    for eye, samples in recording.eyes.items():
        arrays[f"samples/{eye}/x_coordinate"] = samples.x_px
        arrays[f"samples/{eye}/y_coordinate"] = samples.y_px
        arrays[f"samples/{eye}/pupil_size"] = samples.pupil
    arrays["blocks/first_sample"] = recording.block_start
    arrays["blocks/sampling_rate_hz"] = recording.sampling_rate_hz
    messages = list(recording.messages)
    arrays["messages/time_ms"] = np.array([m.time_ms for m in messages])
    arrays["messages/offset_ms"] = np.array([m.offset_ms for m in messages])
    arrays["messages/text"] = np.array([m.text for m in messages], object)
    arrays |= {f"native_events/{k}": v for k, v in recording.native_events.items()}
    tables = {"trials": trials.frame, "fixations": found, "quality": measured.trials}
    tables["saccades"] = saccades(recording, screen, config.ivt, trials, gaze, found)
    tables["blinks"] = blinks(recording, screen, config.ivt, trials)
    for name, frame in tables.items():
        arrays |= {f"{name}/{column}": frame[column].to_numpy() for column in frame.columns}
    attrs = {
        "format": recording.format,
        "coordinates": recording.meta.get("coordinates", "screen"),
        "quality": measured.recording,
        "meta": dict(recording.meta),
        "warnings": [*recording.warnings, *trials.problems, *said],
    }
    return arrays, attrs


def _check_coordinates(recording: Recording) -> None:
    """Gaze in a picture that moves with the head says nothing about an image until it is mapped to the screen."""
    if recording.meta.get("coordinates") == "scene":
        raise RecordingError(
            recording.path,
            "its gaze is in pixels of the scene camera",
            expected="gaze on the screen",
            remedy="map it with `gazepipe map-screen` (or Pupil Cloud's Marker Mapper, Pupil Player's Surface Tracker, "
            "the screen being the surface) and ingest what that writes",
        )


def _check_display(recording: Recording, config: StudyConfig) -> None:
    """Degrees would be silently wrong on another screen than the configuration's."""
    if recording.display_px is None:
        return
    (w, h), want = recording.display_px, (config.screen.width_px, config.screen.height_px)
    if abs(w - want[0]) > 1 or abs(h - want[1]) > 1:
        if recording.meta.get("coordinates") == "reference image":
            raise RecordingError(
                recording.path,
                f"its gaze is in the {w} × {h} px of a reference image",
                expected=f"the {want[0]} × {want[1]} px of [screen]",
                remedy="set [screen] to the image's pixels and to the size and distance of what it shows",
            )
        raise RecordingError(
            recording.path,
            f"was made on a screen of {w} × {h} px",
            expected=f"the {want[0]} × {want[1]} px of [screen]",
            remedy="set [screen] to the screen of these recordings; recordings of another screen need another study",
        )
