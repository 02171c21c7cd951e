"""One person's recordings on the way to an embedding: which files, what is in them, and whether that is good enough."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gazepipe import store
from gazepipe.analyse import analyse
from gazepipe.config import EnrolConfig
from gazepipe.discovery import Job, recordings_below
from gazepipe.errors import InputError, NothingToDoError, QualityError, RecordingError
from gazepipe.image_fixations import fixations_on_images
from gazepipe.ingest import each
from gazepipe.study import Failure, Study
from gazepipe.trial_sources import name_pattern, trial_rows
from gazepipe.user_quality import pooled
from gazepipe.words import counted

__all__ = ["PersonData", "data_of", "files_of", "findings", "read_in_memory", "refuse", "session_of"]

_FIGURES = ("data_loss", "effective_rate_hz", "nominal_rate_hz", "rms_s2s_deg", "std_deg", "off_screen", "accuracy_deg")


@dataclass(frozen=True, slots=True)
class PersonData:
    """What there is of a person.

    Parameters
    ----------
    trials, usable_trials
        Presentations, and those of them with a fixation on an image of the study.
    images, new_images
        Images looked at which the network's people have seen, and which they have not.
    fixations
        On images, whether these are known or not.
    data_loss, effective_rate_hz, nominal_rate_hz, rms_s2s_deg, std_deg, off_screen, accuracy_deg
        As in `gazepipe.user_quality`; None where the recordings do not tell.
    """

    trials: int
    usable_trials: int
    images: int
    new_images: int
    fixations: int
    data_loss: float | None = None
    effective_rate_hz: float | None = None
    nominal_rate_hz: float | None = None
    rms_s2s_deg: float | None = None
    std_deg: float | None = None
    off_screen: float | None = None
    accuracy_deg: float | None = None

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return asdict(self)

    def text(self) -> str:
        """Return it as one line."""
        parts = [f"{self.usable_trials} of {self.trials} trials usable", counted(self.fixations, "fixation")]
        shapes = (
            ("data_loss", "data loss {:.1%}"),
            ("effective_rate_hz", "{:.0f} Hz"),
            ("rms_s2s_deg", "RMS-S2S {:.2f}°"),
            ("off_screen", "off-screen {:.1%}"),
        )
        parts += [shape.format(v) for name, shape in shapes if (v := getattr(self, name)) is not None]
        return ", ".join(parts)


def paths_of(recordings: str | Path | Sequence[str | Path]) -> list[Path]:
    """Paths of one file or folder, or of several."""
    return [Path(p) for p in ([recordings] if isinstance(recordings, str | Path) else recordings)]


def files_of(study: Study, recordings: Sequence[Path]) -> list[Path]:
    """Files and folders as given, and what is a recording below a folder.

    Raises
    ------
    RecordingError
        If one does not exist.
    NothingToDoError
        If none is left.
    """
    files: list[Path] = []
    for path in recordings:
        if path.is_dir():
            files += recordings_below(path, study.config.ingest, (), name_pattern(study.config.trials))
        elif not path.exists():
            raise RecordingError(path, "no such file", remedy="check the path")
        else:
            files.append(path)
    if not files:
        msg = f"{recordings[0]}: no file matches [ingest] include {list(study.config.ingest.include)}."
        raise NothingToDoError(msg)
    return files


def session_of(path: Path, user: str) -> str:
    """A session label from the file's name, without the user's own name and the suffixes."""
    stem = re.sub(r"[^A-Za-z0-9-]+", "-", path.name.split(".")[0])
    return stem.removeprefix(user).strip("-")[:60] or "1"


def read_in_memory(
    study: Study, recordings: Sequence[Path], user: str = "", session: str = ""
) -> tuple[dict[str, store.Contents], list[Failure]]:
    """Read a person's recordings as an ingest does, and store nothing; source → content, and what could not be used.

    `user` and `session` matter only where trials stand in a file of their own that names them.

    Raises
    ------
    InputError
        If not one of them can be used.
    """
    jobs = [Job(path, user, session, "enrol") for path in files_of(study, recordings)]
    found: dict[str, store.Contents] = {}
    failures: list[Failure] = []
    for job, outcome in each(study, jobs, 1, _read):
        if isinstance(outcome, Exception):
            failures.append(Failure("enrol", str(job.source), str(outcome)))
        else:
            found[str(job.source)] = outcome
    if not found:
        raise InputError(failures[0].message)
    return found, failures


def _read(study: Study, job: Job) -> store.Contents:
    rows = trial_rows(study.config.trials, study.root, job.source, job.user, job.session)
    arrays, attrs = analyse(job.source, study.config, rows)
    return store.Contents(job.source, arrays, attrs)


def data_of(study: Study, recordings: Mapping[str, store.Contents], known: Iterable[str]) -> PersonData:
    """Measure a person's recordings, given as source → content.

    `known` are the images that the network's people have seen.
    """
    frame = fixations_on_images(study, recordings)
    trials = sum(len(c.arrays["trials/stimulus"]) for c in recordings.values())
    raw = [_quality(c) for c in recordings.values() if c.attrs["coordinates"] != "stimulus"]
    figures: dict[str, float | None] = {}
    if raw:
        whole = pooled(raw)
        figures = {k: None if math.isnan(whole[k]) else whole[k] for k in _FIGURES}
    images = {str(s) for s in frame["stimulus"]}
    return PersonData(
        trials=trials,
        usable_trials=int(frame.groupby(["session", "stimulus", "repeat"]).ngroups) if len(frame) else 0,
        images=len(images & set(known)),
        new_images=len(images - set(known)),
        fixations=len(frame),
        **figures,
    )


def _quality(contents: store.Contents) -> dict[str, float]:
    found = contents.attrs["quality"]
    measured: dict[str, float] = json.loads(found) if isinstance(found, str) else dict(found)
    return measured


def findings(data: PersonData, config: EnrolConfig) -> list[str]:
    """One sentence for everything that is below the study's thresholds."""
    found = []
    if data.images < config.min_images:
        found.append(
            f"{counted(data.images, 'image')} that the network's people have seen, too; expected at least [enrol] "
            f"min_images = {config.min_images}, show more of the study's images"
        )
    if data.usable_trials and data.fixations / data.usable_trials < config.min_fixations:
        found.append(
            f"{data.fixations / data.usable_trials:.1f} fixations an image; expected at least [enrol] min_fixations = "
            f"{config.min_fixations:g}, show images longer or look at the data loss"
        )
    limits = (
        ("data_loss", config.max_data_loss, "a data loss of {:.0%}", "set the tracker up anew"),
        ("off_screen", config.max_off_screen, "{:.0%} of the gaze off the screen", "check calibration and [screen]"),
        ("rms_s2s_deg", config.max_rms_s2s_deg, "a noise (RMS-S2S) of {:.2f}°", "set [ivt] noise_filter"),
        ("accuracy_deg", config.max_accuracy_deg, "a validation error of {:.2f}°", "calibrate again"),
    )
    for name, limit, what, remedy in limits:
        value = getattr(data, name)
        if value is not None and value > limit:
            found.append(f"{what.format(value)}; expected at most [enrol] max_{name} = {limit:g}, {remedy}")
    if data.nominal_rate_hz is not None and data.nominal_rate_hz < config.min_rate_hz:
        found.append(
            f"a rate of {data.nominal_rate_hz:.0f} Hz; expected at least [enrol] min_rate_hz = {config.min_rate_hz:g}"
        )
    return found


def refuse(who: str, found: Sequence[str]) -> None:
    """Raise `QualityError` if there is a finding."""
    if found:
        msg = f"{who}: {found[0]}" + (f" (and {counted(len(found) - 1, 'more finding')})." if len(found) > 1 else ".")
        raise QualityError(msg)
