"""Stage 1: recordings → samples, trials, events and quality, one stored file a recording.

Incremental: a recording whose file and parameters are as they were is not read again. One bad file never stops the
others; what was stored of it before stays, but is not used until the file can be read again. What was stored of a file
that is gone is removed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazepipe import audit, compute, parallel, store
from gazepipe.analyse import analyse
from gazepipe.atomic import remove
from gazepipe.config import StudyConfig
from gazepipe.discovery import Job, digest_of, plan, sort_out
from gazepipe.errors import GazepipeError, NothingToDoError, RecordingError, StorageError, StoreError, lacks_memory
from gazepipe.interruption import was_interrupted
from gazepipe.readers.source import out_of_memory
from gazepipe.recipe import Recipe, digest_json
from gazepipe.shards import WAIT_S, Shard, forget_parts, save_part
from gazepipe.stimuli import unmatched_stimuli
from gazepipe.study import Failure, Study, fold
from gazepipe.trial_sources import trial_rows
from gazepipe.user_quality import user_quality

if TYPE_CHECKING:
    from gazepipe.trial_sources import TrialRows

__all__ = [
    "VERSION",
    "IngestReport",
    "conclude",
    "each",
    "ingest",
    "ingest_files",
    "parts_made_of",
    "recipe_of_job",
    "stored_summary",
    "workers",
]

#: Raised whenever the stored result changes for the same input.
VERSION = 4

#: Bytes about recordings that are kept in memory until all are read; more goes to a temporary file.
_IN_MEMORY = 1 << 16

Show = Callable[[int, int, str], None]


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

    Parameters
    ----------
    study
        Where recordings are, and where what was read of them goes.
    jobs
        Processes; None: the cores, for sixteen files and more.
    force
        Read everything again, whatever is up to date.
    fail_fast
        End at the first file that cannot be used; what is finished is stored, and what was stored of the files that
        were not reached stays in use.
    shard
        Only that part of the files, which `gazepipe.gather` then puts into use together with the other parts.
    show
        Called with recordings done, all recordings, and a name.

    Returns
    -------
    IngestReport
        Recordings written, up to date and removed; files that could not be used are in its `failures`.

    Raises
    ------
    NothingToDoError
        If no file matches.
    LockedError, StorageError
        If the store cannot be written.

    Examples
    --------
    >>> from gazepipe import Study
    >>> from gazepipe.ingest import ingest
    >>> report = ingest(Study.open("."))
    >>> len(report.written), len(report.current), report.failures
    (0, 3, [])
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
    # They are there, whatever is wrong with them; of a folder that cannot be looked into, nobody knows what is gone.
    refused = {failure.source for failure in report.failures}
    for name, row in before.items():
        there = refused.intersection([row["source"], *map(str, Path(row["source"]).parents)])
        if row.get("root") == root and fold(name) not in here and not there:
            remove(study.recording_file(name))
            report.removed.append(name)


def _not_reached(study: Study, todo: list[Job], report: IngestReport) -> dict[str, dict[str, Any]]:
    """What the manifest has of the files that a run which stopped early did not come to."""
    known = study.manifest("ingest").get("recordings", {})
    failed = {failure.source for failure in report.failures}
    left = (j for j in todo if j.recording not in report.recordings and str(j.source) not in failed)
    return {j.recording: known[j.recording] for j in left if j.recording in known}


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
    # What is known of a recording is some kilobytes, which nobody looks at until all are read.
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as kept:
        for done, (job, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, StorageError):
                raise outcome
            if isinstance(outcome, GazepipeError):
                report.failures.append(Failure(job.origin, str(job.source), str(outcome)))
            else:
                outcome |= {"recording": job.recording, "stimuli": sorted(outcome["stimuli"])}
                kept.write(json.dumps(outcome).encode() + b"\n")
            if show:
                show(done, len(todo), job.recording)
            if fail_fast and report.failures:
                outcomes.close()
                break
        kept.seek(0)
        for line in kept:
            _add(report, json.loads(line))
    report.written.sort()
    report.current.sort()
    report.failures.sort(key=lambda f: f.source)
    return report


def _add(report: IngestReport, outcome: Mapping[str, Any]) -> None:
    recording = outcome["recording"]
    (report.written if outcome["written"] else report.current).append(recording)
    report.recordings[recording] = outcome["row"]
    report.warnings += outcome["warnings"]
    report.quality[recording] = outcome["quality"]
    # Recordings of a study show the same images: one name for all of them.
    report.stimuli[recording] = {sys.intern(name) for name in outcome["stimuli"]}


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
    except Exception as error:  # a defect of a reader must not cost the other recordings
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        if lacks_memory(error):
            return out_of_memory(job.source)
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"reading it failed unexpectedly ({type(error).__name__} in {Path(where.filename).name}:{where.lineno})"
        return RecordingError(job.source, found, remedy="report it to the authors of gazepipe, with the file")


def _params(config: StudyConfig) -> dict[str, Any]:
    return {name: getattr(config, name).model_dump(mode="json") for name in ("screen", "csv", "trials", "ivt")}


def recipe_of_job(study: Study, job: Job) -> tuple[Recipe, dict[str, str], TrialRows | None]:
    """Recipe of a recording's stored file, the inputs in it, and its trials where they stand in a file of their own.

    Raises
    ------
    RecordingError
        If a file cannot be read, or the trials are not there.
    """
    inputs = {"source": digest_of(job.source)}
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
