"""What an ingest would do with each file, found out without writing anything.

Files that are not up to date are read as an ingest reads them, up to their trials; what is known of the others comes
from the store.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from gazepipe import store
from gazepipe.analyse import read_trials
from gazepipe.discovery import Job, free_of, plan
from gazepipe.errors import GazepipeError
from gazepipe.ingest import Show, each, recipe_of_job, stored_summary, workers
from gazepipe.recipe import Recipe
from gazepipe.stage_plan import StagePlan
from gazepipe.stimuli import unmatched_stimuli
from gazepipe.study import Study
from gazepipe.tables import text_table
from gazepipe.words import counted

__all__ = ["Plan", "Planned", "plan_ingest", "preview"]

_UNUSABLE = "cannot be used"


@dataclass(slots=True)
class Planned:
    """One file: whose it is, what is in it, and what would be done.

    `action` is "new", "up to date", "changed" or "cannot be used"; `why` says more where there is more to say.
    """

    file: str
    reader: str = ""
    user: str = ""
    session: str = ""
    trials: int | None = None
    samples: int | None = None
    action: str = ""
    why: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """The plan of a whole run."""

    files: list[Planned]
    notes: list[str]

    @property
    def unusable(self) -> int:
        """Files that cannot be used."""
        return sum(f.action == _UNUSABLE for f in self.files)

    def summary(self) -> dict[str, int]:
        """Return how many files there are of each kind, and how many users, trials and samples they have."""
        actions = Counter(f.action for f in self.files)
        good = [f for f in self.files if f.action != _UNUSABLE]
        return {
            "files": len(self.files),
            "new": actions["new"],
            "changed": actions["changed"],
            "up_to_date": actions["up to date"],
            "cannot_be_used": actions[_UNUSABLE],
            "users": len({f.user for f in good}),
            "trials": sum(f.trials or 0 for f in good),
            "samples": sum(f.samples or 0 for f in good),
        }

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {"files": [asdict(f) for f in self.files], "summary": self.summary(), "notes": self.notes}

    def table(self) -> str:
        """Return it as text."""
        heads = ["file", "reader", "user", "session", "trials", "samples", "would be done"]
        rows = []
        for f in self.files:
            counts = ["" if n is None else f"{n:,}" for n in (f.trials, f.samples)]
            action = {"new": "read: new", "changed": "read again", "up to date": "nothing: up to date"}.get(f.action)
            done = f"{action or f.action}: {f.why}" if f.why else action or f.action
            rows.append([f.file, f.reader, f.user, f.session, *counts, done])
        s = self.summary()
        end = (
            f"{counted(s['files'], 'file')} of {counted(s['users'], 'user')}: {s['new']} new, {s['changed']} changed, "
            f"{s['up_to_date']} up to date, {s['cannot_be_used']} cannot be used; {counted(s['trials'], 'trial')}, "
            f"{counted(s['samples'], 'sample')}. Nothing was written."
        )
        return "\n".join([text_table(heads, rows, text_columns=(0, 1, 2, 3, 6)), "", end])


def preview(study: Study, *, jobs: int | None = None, force: bool = False, show: Show | None = None) -> Plan:
    """Find out what `gazepipe.ingest.ingest` would do.

    Raises
    ------
    ConfigError
        If there is no folder of recordings.
    NothingToDoError
        If no file matches.
    """
    planned, failures = plan(study)
    root = str(study.recordings.resolve())
    known = study.known_recordings()
    elsewhere = {k: v for k, v in known.items() if v.get("root") != root}
    todo, clashes = free_of(planned, elsewhere)
    files = [Planned(f.source, action=_UNUSABLE, why=f.message) for f in failures + clashes]
    stimuli: dict[str, set[str]] = {}
    work = functools.partial(_look, known=frozenset(known), force=force)
    for done, (job, outcome) in enumerate(each(study, todo, jobs or workers(len(todo)), work), 1):
        if isinstance(outcome, GazepipeError):
            outcome = (Planned(str(job.source), "", job.user, job.session, action=_UNUSABLE, why=str(outcome)), set())
        files.append(outcome[0])
        stimuli[job.recording] = outcome[1]
        if show:
            show(done, len(todo), job.recording)
    files.sort(key=lambda f: f.file)
    notes = [f"{f.file}: {note}" for f in files for note in f.notes]
    notes += unmatched_stimuli(study, stimuli, whole=not elsewhere)
    return Plan([_shown(f, study) for f in files], notes)


def plan_ingest(study: Study, *, jobs: int | None = None) -> StagePlan:
    """Return what `preview` finds, in the form of other stages' plans."""
    found, files = StagePlan("ingest"), preview(study, jobs=jobs)
    for file in files.files:
        if file.action == _UNUSABLE:
            found.add(file.file, "impossible", file.why)
        else:
            found.make(file.file, file.action == "up to date", file.why or file.action)
    found.notes = files.notes
    return found


def _shown(planned: Planned, study: Study) -> Planned:
    """Name the file as seen from the folder of recordings, and not again in the reason."""
    planned.why = planned.why.removeprefix(f"{planned.file}: ").rstrip(".")
    planned.file = planned.file.removeprefix(f"{study.recordings}/") or planned.file
    return planned


def _look(study: Study, job: Job, *, known: frozenset[str], force: bool) -> tuple[Planned, set[str]]:
    """What would be done with one file, and the images its trials name."""
    recipe, _, rows = recipe_of_job(study, job)
    path = study.recording_file(job.recording)
    label = {"user": job.user, "session": job.session, "origin": job.origin, "source": job.source.name}
    found = Planned(str(job.source), "", job.user, job.session)
    kept = stored_summary(path) if path.is_file() else None
    current = kept is not None and store.recipe_of(path) == recipe.digest and label.items() <= kept["attrs"].items()
    if kept is not None and current and not force:
        found.action, found.reader = "up to date", str(kept["attrs"]["format"])
        found.trials, found.samples = len(kept["stimuli"]), int(kept["quality"]["samples"])
        found.notes = list(json.loads(str(kept["attrs"]["warnings"])))
        return found, {str(s) for s in kept["stimuli"]}
    recording, trials = read_trials(job.source, study.config, rows)
    found.reader, found.trials, found.samples = recording.format, len(trials.frame), recording.n_samples
    found.notes = [*recording.warnings, *trials.problems]
    found.action = "changed" if path.is_file() and job.recording in known else "new"
    if found.action == "changed":
        found.why = "--force" if current else _difference(kept, recipe)
    return found, {str(s) for s in trials.frame["stimulus"]}


def _difference(kept: dict[str, Any] | None, recipe: Recipe) -> str:
    """Say what is no longer as it was when the recording was stored."""
    if kept is None:
        return "the stored file is damaged"
    attrs = kept["attrs"]
    params, inputs = json.loads(str(attrs["params"])), json.loads(str(attrs["inputs"]))
    now: dict[str, str] = dict(recipe.inputs)  # type: ignore[arg-type]
    reasons = []
    if inputs.get("source") != now.get("source"):
        reasons.append("the file")
    if inputs.get("trials") != now.get("trials"):
        reasons.append("its trials")
    reasons += [f"[{name}]" for name, values in recipe.params.items() if params.get(name) != values]
    if int(attrs["stage_version"]) != recipe.version:
        reasons.append("gazepipe itself")
    return " and ".join(reasons) + " changed" if reasons else "it was somebody else's, or has another name"
