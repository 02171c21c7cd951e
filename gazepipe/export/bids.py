"""BIDS 1.11 eye tracking: one folder a person, with samples, events of the tracker's clock, and what was shown.

* ``…_recording-eye1_physio.tsv.gz`` has one eye's samples as they are stored: every number in the shortest form that
  gives the same float again, ``n/a`` where there is none.
* ``…_recording-eye1_physioevents.tsv.gz`` has gazepipe's fixations, saccades and blinks and the messages of the
  recording, in order of time: onsets in the samples' own milliseconds, durations in seconds. They are of the gaze that
  events were found in (which may be the average of both eyes) and stand with the first eye only.
* ``…_events.tsv`` has the presentations, in seconds after the first sample.
* ``code/gazepipe.toml`` is the configuration under which the folder can be ingested again.

BIDS wants times that increase. Where a recording's clock begins anew with each block, blocks follow one another with
a pause (`_continuous`). Of blocks BIDS knows nothing: where there are several, the sidecar's key ``Blocks``, which is
gazepipe's own, says where each begins, its rate, and by how much it was moved.

References
----------
Gorgolewski, K. J. et al. (2016). The brain imaging data structure. Scientific Data, 3, 160044.
BIDS Specification 1.11.1, Physiological recordings: eye tracking.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.atomic import write_atomically
from gazepipe.config import template
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.export import ExportReport, Show, Source, stored
from gazepipe.export import _bids_sidecars as sidecars
from gazepipe.recording import EYES
from gazepipe.store import Contents
from gazepipe.study import Study, fold
from gazepipe.words import counted

__all__ = ["export"]

F64 = npt.NDArray[np.float64]
_NONE = "n/a"
_PAUSE_MS = 1000.0  # a hole of more than this is a new block to a reader


@dataclass(frozen=True, slots=True)
class _Clock:
    """How stored times become times that increase: by block, what is added."""

    shift_ms: F64
    block_of: npt.NDArray[np.int64]  # first sample of each block

    @property
    def restarts(self) -> bool:
        return bool(self.shift_ms.any())

    def at(self, time_ms: F64, sample: npt.NDArray[np.int64]) -> F64:
        """Move times that belong to a sample."""
        return time_ms + self.shift_ms[np.searchsorted(self.block_of, sample, "right") - 1]


def export(
    study: Study,
    sources: Sequence[Source],
    report: ExportReport,
    *,
    force: bool = False,
    dry_run: bool = False,
    show: Show | None = None,
    task: str = "viewing",
    stimuli: bool = True,
) -> None:
    """Write a BIDS data set.

    Parameters
    ----------
    task
        What the people did; letters and digits.
    stimuli
        Copy the images that were shown into ``stimuli``.

    Raises
    ------
    ConfigError
        If two users or sessions get the same label, `task` is no label, or the folder has other people's data.
    NothingToDoError
        If no recording has samples.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+", task):
        msg = f"--task {task!r} cannot be used in BIDS; expected letters and digits."
        raise ConfigError(msg)
    labels = _labels(sources)
    people = {label for label, _ in labels.values()}
    others = {p.name for p in report.out.glob("sub-*") if p.name.removeprefix("sub-") not in people}
    if force and others:
        msg = (
            f"{report.out}: has {sorted(others)[0]}, who is not exported now; name a new folder or remove the old one."
        )
        raise ConfigError(msg)
    write = _Writer(report, dry_run)
    images: set[str] = set()
    for done, (source, contents) in enumerate(stored(sources, report), 1):
        if "samples/timestamp" in contents.arrays:
            _recording(study, source, labels[source.recording], contents, write, task, images, stimuli)
        else:
            report.notes.append(f"{source.recording}: has no samples (an imported data set) and was left out")
        if show:
            show(done, len(sources), source.recording)
    if not report.recordings:
        msg = f"{study.store}: no recording has samples; there is nothing that BIDS could hold."
        raise NothingToDoError(msg)
    if stimuli:
        for name in sorted(images):
            write(f"stimuli/{name}", (study.stimuli / name).read_bytes())
    users = {labels[r["recording"]][0]: r["user"] for r in report.recordings}
    write(f"task-{task}_events.json", _json(sidecars.events(study.config, task)))
    write("participants.tsv", _tsv(["participant_id", "user"], [[f"sub-{k}" for k in users], list(users.values())]))
    write("participants.json", _json(sidecars.PARTICIPANTS))
    write("README.md", sidecars.readme(study.config, len(users), task).encode())
    write("code/gazepipe.toml", _configuration(study).encode())
    # Last: a folder without it is no data set, so that nobody takes half an export for a whole one.
    write("dataset_description.json", _json(sidecars.description(study.config)))


@dataclass(slots=True)
class _Writer:
    report: ExportReport
    dry_run: bool

    def __call__(self, name: str, data: bytes) -> None:
        if not self.dry_run:
            write_atomically(self.report.out / name, data)
        self.report.files.append(name)

    def table(self, name: str, columns: Sequence[Any]) -> None:
        """Write a packed table without column names; packing is what takes time, and a dry run needs none."""
        self(name, b"" if self.dry_run else _packed(columns))


def _labels(sources: Sequence[Source]) -> dict[str, tuple[str, str]]:
    """Recording → labels of person and session: letters and digits of their names, which must stay apart."""
    claimed: dict[tuple[str, str], tuple[str, str]] = {}
    people: dict[str, str] = {}
    out = {}
    for s in sources:
        person, session = (re.sub(r"[^A-Za-z0-9]", "", part) for part in (s.user, s.session.removeprefix("ses-")))
        rival = people.setdefault(fold(person), s.user)
        if rival != s.user:
            msg = (
                f"users {rival!r} and {s.user!r} would both be sub-{person} in BIDS, which has only letters and "
                "digits; export them apart with --users."
            )
            raise ConfigError(msg)
        other = claimed.setdefault((fold(person), fold(session)), (s.user, s.session))
        if other != (s.user, s.session):
            msg = f"sessions {other[1]!r} and {s.session!r} of {s.user!r} would both be ses-{session} in BIDS."
            raise ConfigError(msg)
        out[s.recording] = (person, session)
    return out


def _recording(
    study: Study,
    source: Source,
    label: tuple[str, str],
    contents: Contents,
    write: _Writer,
    task: str,
    images: set[str],
    stimuli: bool,
) -> None:
    person, session = label
    folder = f"sub-{person}/" + (f"ses-{session}/" if session else "") + "beh/"
    stem = f"{folder}sub-{person}_" + (f"ses-{session}_" if session else "") + f"task-{task}"
    clock = _continuous(contents)
    time = contents.arrays["samples/timestamp"]
    trials = contents.group("trials")
    shown = {str(name) for name in trials.get("stimulus", ()) if name}
    there = {name for name in shown if _is_image(study.stimuli, name)}
    copied = bool(stimuli and shown and shown == there)
    if copied:
        images |= there
    elif stimuli and shown:
        missing = sorted(shown - there)
        write.report.notes.append(
            f"{source.recording}: {counted(len(missing), 'image')} not there, or not readable (first {missing[0]})"
        )
    entry: dict[str, Any] = {"recording": source.recording, "user": source.user, "session": source.session}
    entry |= {"label": f"sub-{person}" + (f"_ses-{session}" if session else ""), "samples": len(time)}
    write.report.recordings.append(entry)
    eyes = [eye for eye in EYES if f"samples/{eye}/x_coordinate" in contents.arrays]
    moved = clock.at(time, np.arange(time.size))
    for eye in eyes:
        name = f"{stem}_recording-{_eye_number(eye, eyes)}"
        columns = [contents.arrays[f"samples/{eye}/{part}"] for part in ("x_coordinate", "y_coordinate", "pupil_size")]
        names = ["timestamp", "x_coordinate", "y_coordinate", "pupil_size"]
        if np.isnan(columns[2]).all():
            columns, names = columns[:2], names[:3]
        write.table(f"{name}_physio.tsv.gz", [moved, *columns])
        write(f"{name}_physio.json", _json(sidecars.physio(contents, eye, names, task, clock.shift_ms)))
        if eye == eyes[0]:
            names, events, left_out = _events(contents, clock)
            write.table(f"{name}_physioevents.tsv.gz", events)
            write(f"{name}_physioevents.json", _json(sidecars.physioevents(names, task, study.config.ivt.eye)))
            write.report.notes += [f"{source.recording}: {text}" for text in left_out]
    onset = clock.at(trials["onset_ms"], trials["first_sample"])
    table: dict[str, Any] = {
        "onset": (onset - moved[0]) / 1000,
        "duration": (trials["offset_ms"] - trials["onset_ms"]) / 1000,
        "trial_type": np.full(onset.size, "image", object),
        "stim_file" if copied else "stimulus": trials["stimulus"],
        "repeat": trials["repeat"],
    }
    write(f"{stem}_events.tsv", _tsv(list(table), [_texts(v, 9) for v in table.values()]))


def _is_image(folder: Path, name: str) -> bool:
    """Whether a name, which comes from a recording, is that of a file in the folder, of none outside, and readable."""
    path = folder / name
    return os.access(path, os.R_OK) and path.is_file() and path.resolve().is_relative_to(folder.resolve())


def _continuous(contents: Contents) -> _Clock:
    """Find by how much blocks must be moved so that times increase; by nothing where they do."""
    time, first = contents.arrays["samples/timestamp"], contents.arrays["blocks/first_sample"]
    shift = np.zeros(first.size)
    if time.size and (np.diff(time) <= 0).any():
        rate = contents.arrays["blocks/sampling_rate_hz"]
        ends = np.append(first[1:], time.size) - 1
        for k in range(1, first.size):
            # More than a second and more than 100 samples, in whole milliseconds.
            pause = np.ceil(max(_PAUSE_MS, 1e5 / min(rate[k - 1], rate[k])) + 1)
            shift[k] = np.ceil(time[ends[k - 1]] + shift[k - 1] + pause - time[first[k]])
    return _Clock(shift, first)


def _events(contents: Contents, clock: _Clock) -> tuple[list[str], list[Any], list[str]]:
    """Columns of physioevents, in order of time, and what could not be placed on the clock."""
    left_out = []
    rows: list[tuple[float, float, str, str, float, float, float, float, str]] = []
    nan = float("nan")
    for kind, group in (("fixation", contents.group("fixations")), ("saccade", contents.group("saccades"))):
        if group:
            onset = clock.at(group["onset_ms"], group["first_sample"]).tolist()
            size = len(onset)
            place = [group[c].tolist() if c in group else [nan] * size for c in ("x_px", "y_px")]
            speed = [
                group[c].tolist() if c in group else [nan] * size for c in ("amplitude_deg", "peak_velocity_deg_s")
            ]
            values = zip(onset, _seconds(group["duration_ms"]), *place, *speed, strict=True)
            rows += [(at, length, kind, "0", x, y, a, v, _NONE) for at, length, x, y, a, v in values]
    blinks, trials = contents.group("blinks"), contents.group("trials")
    if blinks:
        onset, trial = blinks["onset_ms"], blinks["trial"]
        placed = np.full(onset.size, not clock.restarts) | (trial >= 0)
        if clock.restarts and onset.size:
            onset = clock.at(onset, trials["first_sample"][np.maximum(trial, 0)])
        for at, length in zip(onset[placed].tolist(), _seconds(blinks["duration_ms"][placed]), strict=True):
            rows.append((at, length, _NONE, "1", nan, nan, nan, nan, _NONE))
        if not placed.all():
            left_out.append(f"{counted(int((~placed).sum()), 'blink')} between trials left out: the clock begins anew")
    messages = contents.group("messages")
    times = messages.get("time_ms", np.zeros(0)) + messages.get("offset_ms", np.zeros(0))
    if clock.restarts and times.size:
        left_out.append(f"{counted(times.size, 'message')} left out: the clock begins anew with each block")
    else:
        for at, text in zip(times.tolist(), messages.get("text", ()), strict=True):
            rows.append((at, nan, _NONE, "0", nan, nan, nan, nan, _one_line(str(text))))
    rows.sort(key=lambda row: row[0])
    names = ["onset", "duration", "trial_type", "blink", "x_coordinate", "y_coordinate"]
    names += ["amplitude", "peak_velocity", "message"]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in names]
    numeric = {0, 1, 4, 5, 6, 7}
    return names, [np.array(c, np.float64) if k in numeric else c for k, c in enumerate(columns)], left_out


def _seconds(duration_ms: F64) -> list[float]:
    """Return what BIDS wants, to a nanosecond, so that 0.1 s is not written 0.10000000000000009."""
    seconds: list[float] = np.round(duration_ms / 1000, 9).tolist()
    return seconds


def _one_line(text: str) -> str:
    """Text that fits into a cell; an empty one is no message."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split(" ")).strip() or _NONE


def _eye_number(eye: str, eyes: Sequence[str]) -> str:
    """BIDS numbers eyes; the third is by convention what was made of both."""
    return "eye3" if eye == "cyclopean" and len(eyes) > 1 else f"eye{list(eyes).index(eye) + 1}"


# ---- text ------------------------------------------------------------------------------------------------------------


def _texts(values: Any, decimals: int | None = None) -> list[str]:
    """Numbers in the shortest form that gives them again, or rounded; whole ones without a point; texts as they are."""
    array = np.asarray(values)
    if array.dtype.kind in "OU":
        return [str(v) or _NONE for v in array.tolist()]
    if array.dtype.kind in "iu":
        return [str(v) for v in array.tolist()]
    if decimals is not None:
        array = np.round(array, decimals)
    text = [t.removesuffix(".0") for t in array.astype("U32").tolist()]
    for k in np.flatnonzero(~np.isfinite(array)).tolist():
        text[k] = _NONE
    return text


def _packed(columns: Sequence[Any]) -> bytes:
    """Return a table without column names, the same bytes for the same values."""
    texts = [_texts(c) for c in columns]
    lines = "\n".join(map("\t".join, zip(*texts, strict=True)))
    return gzip.compress((lines + "\n" if lines else "").encode(), 6, mtime=0)


def _tsv(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bytes:
    rows = [names, *zip(*columns, strict=True)]
    return ("\n".join("\t".join(map(_one_line, row)) for row in rows) + "\n").encode()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _configuration(study: Study) -> str:
    """Return the study's configuration, with the folders and names of the exported data set."""
    values = study.config.model_dump()
    values |= {"recordings": "..", "stimuli": "../stimuli", "store": "../derivatives/gazepipe"}
    pattern = r"sub-(?P<user>[A-Za-z0-9]+)/(?:(?P<session>ses-[A-Za-z0-9]+)/)?beh/[^/]+$"
    values["ingest"] |= {"include": ("*_physio.tsv.gz",), "exclude": (), "user_pattern": pattern}
    if study.config.trials.source != "blocks":
        values["trials"]["source"] = "auto"  # columns, where images are named; else the messages
    return template(**values)
