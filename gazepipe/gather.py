"""What the shards of a stage left → the manifest of the stage, as one run over everything writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gazepipe import build, ingest, store
from gazepipe.build import BuildReport
from gazepipe.discovery import plan, sort_out
from gazepipe.ingest import IngestReport
from gazepipe.shards import failures_of, forget_parts, load_parts
from gazepipe.stimuli import StudyImages
from gazepipe.study import Study

__all__ = ["STAGES", "gather_ingest", "gather_psm"]


def gather_ingest(study: Study, shards: int) -> IngestReport:
    """Put into use what the shards of an ingest stored.

    Raises
    ------
    NothingToDoError
        If a shard has not run.
    LockedError, StorageError
        If the store cannot be written.
    """
    planned = plan(study)
    with store.lock(study.store):
        todo, failures, elsewhere = sort_out(study, *planned)
        parts = load_parts(study, "ingest", shards, ingest.parts_made_of(study))
        report = IngestReport(failures=failures)
        wanted = {job.recording for job in todo}  # a file may have gone since its shard ran
        for part in parts:
            report.written += part["written"]
            report.current += part["current"]
            report.warnings += part["warnings"]
            report.recordings |= {k: v for k, v in part["recordings"].items() if k in wanted}
            report.quality |= part["quality"]
            report.stimuli |= {k: set(v) for k, v in part["stimuli"].items()}
            report.failures += sorted(failures_of(part), key=lambda f: f.source)
        ingest.conclude(study, planned[0], elsewhere, report)
        forget_parts(study, "ingest", shards)
    return report


def gather_psm(study: Study, shards: int) -> BuildReport:
    """Put into use the maps that the shards of a build stored, and build what all users share.

    Raises
    ------
    NothingToDoError
        If a shard has not run.
    LockedError, StorageError
        If the store cannot be written.
    """
    with store.lock(study.store):
        parts = load_parts(study, "build-psm", shards, build.parts_made_of(study))
        report = BuildReport()
        built: dict[str, dict[str, Any]] = {}
        for part in parts:
            built |= part["users"]
            report.written += part["written"]
            report.current += part["current"]
            report.failures += failures_of(part)
        report.n_maps = sum(row["n_maps"] for row in built.values())
        report.failures.sort(key=lambda f: f.source)
        build.conclude(study, dict(sorted(built.items())), StudyImages(study), report)
        forget_parts(study, "build-psm", shards)
    return report


#: Stages that can be cut into shards.
STAGES: dict[str, Callable[[Study, int], IngestReport | BuildReport]] = {
    "ingest": gather_ingest,
    "build-psm": gather_psm,
}
