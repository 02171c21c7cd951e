"""Presentations of images in a recording.

Where they come from is ``[trials] source``: the tracker's *messages* (patterns for start, stop and the image's name),
*columns* of the file (a trial number, an image name), *blocks* (each block of samples is one presentation), or a *file*
of their own (`gazepipe.trial_sources`).

A message tells of an event at its time plus its offset. EyeLink writes the offset before the text
(``MSG 7427430 -11 Initial_display``: 11 ms before the message); adding it is what MNE-Python does, too.

A presentation lasts to the first stop message, the longest duration allowed, the next start or the end of its block,
whichever comes first. What looks wrong about them is reported (`gazepipe.trial_checks`).

Where the image stands on the screen is taken from the trial file, from EyeLink's ``!V IMGLOAD`` message that names the
image, or from Tobii's position and size of the medium; else it is left to ``[trials] placement``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig, TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.recording import Recording
from gazepipe.trial_checks import Presentation, check_trials, end_at_next, without_stop
from gazepipe.trial_messages import Events, name_by_time, name_trials, naming_windows, read_messages
from gazepipe.trial_sources.clock import align

if TYPE_CHECKING:
    import pandas as pd

    from gazepipe.trial_sources import TrialRows

__all__ = ["TrialTable", "find_trials"]


@dataclass(frozen=True, slots=True)
class TrialTable:
    """The presentations of one recording.

    Parameters
    ----------
    frame
        One row each, in order: ``onset_ms, offset_ms, first_sample, last_sample`` (exclusive), ``stimulus`` (the name
        as the file has it, "" where unknown), ``repeat`` (1 for the first time this stimulus is shown in the recording;
        unknown ones are all 1) and ``block``.
    problems
        One sentence for each thing that was odd or left out.
    """

    frame: pd.DataFrame
    problems: list[str]


def find_trials(recording: Recording, config: StudyConfig, rows: TrialRows | None = None) -> TrialTable:
    """Find the presentations in a recording.

    Parameters
    ----------
    recording
        What a reader returned.
    config
        The study; ``config.trials`` is used.
    rows
        What `gazepipe.trial_sources.trial_rows` found for the recording, if its trials stand in a file.

    Returns
    -------
    TrialTable
        A row a presentation, times in ms, and sentences about what is odd.

    Raises
    ------
    RecordingError
        If there is none, or the trial file's clock cannot be set to the recording's.
    """
    settings = config.trials
    events = read_messages(recording, settings)
    source: str = settings.source
    if source == "auto":
        here = "columns" if {"trial", "stimulus"} & set(recording.columns) else "messages"
        source = here if rows is None else "file"
    problems: list[str] = []
    if source == "messages":
        trials = _from_messages(recording, settings, events, problems)
    elif source == "columns":
        trials = _from_columns(recording, settings, events, problems)
    elif source == "file":
        trials = _from_file(recording, settings, rows, events, problems)
    else:
        trials = [_block_trial(recording, b, block, settings) for b, block in enumerate(recording.blocks())]
        trials = _long_enough(trials, settings, problems)
        name_by_time(trials, events)
    if not trials:
        raise _none_found(recording, source, problems)
    _place_media(recording, trials)
    frame = _frame(trials, problems, "stimulus_column" if source == "file" else "stimulus")
    problems += check_trials(trials, settings)
    return TrialTable(frame, problems)


def _step_ms(recording: Recording, block: slice) -> float:
    steps = np.diff(recording.time_ms[block])
    return float(np.median(steps)) if steps.size else 0.0


def _trial(recording: Recording, block: int, onset: float, offset: float, settings: TrialsConfig) -> Presentation:
    """Presentation from `onset` to `offset` at most, inside one block."""
    starts = recording.block_start
    end = int(starts[block + 1]) if block + 1 < len(starts) else recording.n_samples
    samples = slice(int(starts[block]), end)
    times = recording.time_ms[samples]
    offset = min(offset, float(times[-1]) + _step_ms(recording, samples))
    if settings.duration_ms:
        offset = min(offset, onset + settings.duration_ms)
    first, end = np.searchsorted(times, [onset, offset], "left") + samples.start
    return Presentation(onset, offset, int(first), int(end), block)


def _block_trial(recording: Recording, number: int, block: slice, settings: TrialsConfig) -> Presentation:
    return _trial(recording, number, float(recording.time_ms[block.start]), np.inf, settings)


def _from_messages(
    recording: Recording, settings: TrialsConfig, events: Events, problems: list[str]
) -> list[Presentation]:
    trials, used = [], []
    last_ms = np.array([recording.time_ms[b.stop - 1] for b in recording.blocks()])
    for k, i in enumerate(events.start):
        following = events.start[k + 1] if k + 1 < len(events.start) else len(events.messages)
        stop = next((j for j in events.stop if i < j < following), following)
        onset = events.times[i]
        offset = events.times[stop] if stop < len(events.times) else np.inf
        late = np.flatnonzero(last_ms >= onset)
        trial = _trial(recording, int(late[0]), onset, offset, settings) if late.size else None
        if trial is not None:
            trial.stopped = stop < following or (settings.duration_ms > 0 and trial.offset_ms < offset)
            trial.label = next(
                (events.labels[j] for j in range(i, events.start[k - 1] if k else -1, -1) if j in events.labels), ""
            )
        if trial is None or trial.end <= trial.first:
            problems.append(f"trial {k + 1} (starts at {onset:.12g} ms) has no samples: left out")
            continue
        trials.append(trial)
        used.append(i)
    kept = _long_enough(trials, settings, problems)
    spans = naming_windows([i for t, i in zip(trials, used, strict=True) if any(t is other for other in kept)], events)
    name_trials(kept, spans, events, problems)
    problems += without_stop(kept, any_stop=bool(events.stop))
    return kept


def _from_file(
    recording: Recording, settings: TrialsConfig, rows: TrialRows | None, events: Events, problems: list[str]
) -> list[Presentation]:
    if rows is None:
        raise RecordingError(recording.path, "no trial file was read for it", remedy="name it in [trials] file")
    begins = np.array([recording.time_ms[b.start] for b in recording.blocks()])
    last_ms = np.array([recording.time_ms[b.stop - 1] for b in recording.blocks()])
    if (begins[1:] < last_ms[:-1]).any():
        raise RecordingError(
            recording.path,
            "its clock starts anew within the recording",
            expected="one clock, on which the times of a trial file have a place",
            remedy='use [trials] source = "columns" or "blocks", or a file for each part',
        )
    rows, said = align(rows, recording, settings)
    trials: list[Presentation] = []
    for number, k in enumerate(np.argsort(rows.onset_ms, kind="stable").tolist(), 1):
        onset, offset = float(rows.onset_ms[k]), float(rows.offset_ms[k])
        late = np.flatnonzero(last_ms >= onset)
        stated = np.isfinite(offset)
        trial = _trial(recording, int(late[0]), onset, offset if stated else np.inf, settings) if late.size else None
        if trial is None or trial.end <= trial.first:
            problems.append(f"trial {number} of {rows.path.name} (starts at {onset:.12g} ms) has no samples: left out")
            continue
        trial.stopped = bool(stated) or settings.duration_ms > 0
        trial.stimulus, trial.repeat = rows.stimulus[k], rows.repeat[k] if rows.repeat else 0
        trial.placement = rows.placement[k] if rows.placement else ""
        trials.append(trial)
    problems += end_at_next(trials)
    problems += without_stop(trials, any_stop=bool(np.isfinite(rows.offset_ms).any()))
    trials = _long_enough(trials, settings, problems)
    if not any(rows.stimulus):
        name_by_time(trials, events)
    if trials:
        problems += said
    return trials


def _long_enough(trials: list[Presentation], settings: TrialsConfig, problems: list[str]) -> list[Presentation]:
    kept = []
    for number, trial in enumerate(trials, 1):
        length = trial.offset_ms - trial.onset_ms
        if length < settings.min_duration_ms:
            problems.append(
                f"trial {number} (starts at {trial.onset_ms:.12g} ms) lasts {length:.12g} ms, less than "
                f"[trials] min_duration_ms = {settings.min_duration_ms:g}: left out"
            )
        else:
            kept.append(trial)
    return kept


def _place_media(recording: Recording, trials: list[Presentation]) -> None:
    """Take where media stood from the recording, where the trials do not say it."""
    places = recording.meta.get("media_px", {})
    for trial in trials:
        place = places.get(trial.stimulus, places.get(""))
        if not trial.placement and place and min(place[2:]) > 0:
            trial.placement = "rect " + " ".join(f"{v:.12g}" for v in place)


def _codes(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Give equal values equal numbers; empty ones (NaN, None, "") get −1."""
    import pandas as pd

    codes, uniques = pd.factorize(values)
    empty = [i for i, v in enumerate(uniques) if isinstance(v, str) and not v.strip()]
    return np.where(np.isin(codes, empty), -1, codes)


def _from_columns(
    recording: Recording, settings: TrialsConfig, events: Events, problems: list[str]
) -> list[Presentation]:
    column = next((c for c in ("trial", "stimulus") if c in recording.columns), None)
    if column is None:
        return []
    codes = _codes(recording.columns[column])
    names = recording.columns.get("stimulus")
    named = np.zeros(0, np.int64) if names is None else np.flatnonzero(_codes(names) >= 0)
    trials = []
    for number, block in enumerate(recording.blocks()):
        part = codes[block]
        starts = np.flatnonzero(np.append(True, part[1:] != part[:-1])) + block.start
        for first, end in zip(starts, [*starts[1:], block.stop], strict=True):
            if codes[first] < 0:
                continue
            if column == "trial" and first == block.start > 0 and codes[first - 1] == codes[first]:
                problems.append(
                    f"trial {recording.columns['trial'][first]} goes on after a pause of the tracker: "
                    f"the part from {recording.time_ms[first]:.12g} ms on was left out"
                )
                continue
            stop = float(recording.time_ms[end]) if end < block.stop else np.inf
            trial = _trial(recording, number, float(recording.time_ms[first]), stop, settings)
            at = int(np.searchsorted(named, trial.first))
            if names is not None and at < named.size and named[at] < trial.end:
                trial.stimulus = str(names[named[at]]).strip()
            if column == "trial":
                trial.label = str(recording.columns["trial"][first])
            trials.append(trial)
    trials = _long_enough(trials, settings, problems)
    name_by_time(trials, events)
    return trials


def _frame(trials: list[Presentation], problems: list[str], key: str) -> pd.DataFrame:
    import pandas as pd

    unknown = [t for t in trials if not t.stimulus]
    if unknown:
        problems.append(
            f"no stimulus name of {len(unknown)} of {len(trials)} trials (first at {unknown[0].onset_ms:.12g} ms): "
            f"set [trials] {key} to the {'message' if key == 'stimulus' else 'column'} that names the image"
        )
    times_seen: dict[str, int] = {}
    repeats = []
    for trial in trials:
        times_seen[trial.stimulus] = times_seen.get(trial.stimulus, 0) + 1
        trial.repeat = trial.repeat or (times_seen[trial.stimulus] if trial.stimulus else 1)
        repeats.append(trial.repeat)
    return pd.DataFrame(
        {
            "onset_ms": np.array([t.onset_ms for t in trials], np.float64),
            "offset_ms": np.array([t.offset_ms for t in trials], np.float64),
            "first_sample": np.array([t.first for t in trials], np.int64),
            "last_sample": np.array([t.end for t in trials], np.int64),
            "stimulus": [t.stimulus for t in trials],
            "repeat": np.array(repeats, np.int64),
            "block": np.array([t.block for t in trials], np.int64),
            "placement": [t.placement for t in trials],
        }
    )


def _examples(recording: Recording) -> list[str]:
    """Choose up to three messages to show: sent while samples were taken, the most frequent first words first."""
    times = recording.time_ms
    spans = [(times[b.start], times[b.stop - 1]) for b in recording.blocks() if b.stop > b.start]
    during = [m.text.strip() for m in recording.messages if any(a <= m.time_ms <= z for a, z in spans)]
    kinds: dict[str, list[str]] = {}
    for text in [t for t in during if not t.startswith("!")] or [m.text.strip() for m in recording.messages]:
        kinds.setdefault(text.split(" ")[0], []).append(text)
    return [same[0] for same in sorted(kinds.values(), key=len, reverse=True)[:3]]


def _none_found(recording: Recording, source: str, problems: list[str]) -> RecordingError:
    if problems:
        found, expected = f"no usable trial: {problems[0]}", "at least one presentation long enough to use"
        return RecordingError(recording.path, found, expected=expected, remedy="check [trials] in the configuration")
    if source == "columns":
        return RecordingError(
            recording.path,
            f"no trial in its columns ({', '.join(recording.columns) or 'there are none'})",
            expected="a column of trial numbers or image names",
            remedy='name it in [csv] trial or stimulus, or set [trials] source = "messages" or "blocks"',
        )
    texts = _examples(recording)
    found = "no message matches [trials] start" if texts else "it has no messages"
    if texts:
        found += f"; messages during its blocks are, for example, {', '.join(map(repr, texts))}"
    return RecordingError(
        recording.path,
        found,
        expected="a message at the start of each presentation",
        remedy='set [trials] start to a pattern for it, or source = "blocks" if each block is one presentation',
    )
