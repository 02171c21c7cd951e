"""What looks wrong about the presentations of a recording: one sentence each, with the trial and its time.

Nothing is left out or moved here but one thing: presentations that overlap cannot both be right, and the earlier one is
ended where the later begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.words import counted, form

__all__ = ["Presentation", "check_trials", "end_at_next", "without_stop"]

#: Presentations this many times as long as the usual one are reported.
FAR_LONGER = 3.0
_ENOUGH = 5
_SENTENCES = 6


@dataclass(slots=True)
class Presentation:
    """One presentation as it is being found; `label` is its trial number, `stopped` whether its off-set is stated."""

    onset_ms: float
    offset_ms: float
    first: int
    end: int
    block: int
    stimulus: str = ""
    placement: str = ""
    repeat: int = 0
    label: str = ""
    stopped: bool = True


def _few(sentences: list[str]) -> list[str]:
    """Return the first sentences of a kind, and how many more there are."""
    more = len(sentences) - _SENTENCES
    return (
        sentences
        if more <= 0
        else [*sentences[:_SENTENCES], f"… and {counted(more, 'more trial')} like {form(more, 'this', 'these')}"]
    )


def end_at_next(trials: list[Presentation]) -> list[str]:
    """End presentations (in order of onset) where the next one begins; one sentence for each that overlapped it."""
    found = []
    for number, (trial, following) in enumerate(pairwise(trials), 1):
        if trial.block == following.block and trial.end > following.first:
            over = trial.offset_ms - following.onset_ms
            if trial.stopped:
                found.append(
                    f"trial {number} (starts at {trial.onset_ms:.12g} ms) overlaps the next one by {over:.12g} ms: "
                    f"it was ended where that begins ({following.onset_ms:.12g} ms)"
                )
            trial.offset_ms, trial.end = following.onset_ms, following.first
    return _few(found)


def without_stop(trials: Sequence[Presentation], *, any_stop: bool) -> list[str]:
    """Sentences about presentations whose off-set is not stated; one for all of them where none is."""
    odd = [(number, t) for number, t in enumerate(trials, 1) if not t.stopped]
    if odd and not any_stop:
        return [
            f"no off-set is stated of {len(odd)} of {len(trials)} trials: taken is the next start or the block's end; "
            "set [trials] stop or duration_ms if they were shorter"
        ]
    return _few(
        [
            f"trial {number} (starts at {t.onset_ms:.12g} ms) has no off-set: it was ended at {t.offset_ms:.12g} ms, "
            "where the next one or its block's end is"
            for number, t in odd
        ]
    )


def check_trials(trials: Sequence[Presentation], settings: TrialsConfig) -> list[str]:
    """Report presentations that last longer than is plausible, trial numbers that come again, and odd repeats."""
    return [*_few(_too_long(trials, settings)), *_few(_numbers_again(trials)), *_few(_shown_again(trials))]


def _too_long(trials: Sequence[Presentation], settings: TrialsConfig) -> list[str]:
    lengths = np.array([t.offset_ms - t.onset_ms for t in trials])
    usual = float(np.median(lengths))
    found = []
    for number, (trial, length) in enumerate(zip(trials, lengths.tolist(), strict=True), 1):
        start = f"trial {number} (starts at {trial.onset_ms:.12g} ms) lasts {length:.12g} ms"
        if settings.plausible_ms and length > settings.plausible_ms:
            found.append(f"{start}, more than [trials] plausible_ms = {settings.plausible_ms:g}")
        elif len(trials) >= _ENOUGH and length > FAR_LONGER * usual:
            found.append(f"{start}, {length / usual:.1f} times the usual {usual:.12g} ms")
    return found


def _numbers_again(trials: Sequence[Presentation]) -> list[str]:
    """Numbers that come again, unless all do: then they count anew in each part of the experiment."""
    first: dict[str, Presentation] = {}
    found = []
    for number, trial in enumerate(trials, 1):
        if trial.label and trial.label in first:
            found.append(
                f"trial {number} (starts at {trial.onset_ms:.12g} ms) has the number {trial.label} of the one at "
                f"{first[trial.label].onset_ms:.12g} ms: both were kept"
            )
        first.setdefault(trial.label, trial)
    return found if 2 * len(found) < len(trials) else []


def _shown_again(trials: Sequence[Presentation]) -> list[str]:
    """Images shown more often than most are: a trial that was done again, perhaps."""
    counts = Counter(t.stimulus for t in trials if t.stimulus)
    if not counts:
        return []
    usual = Counter(counts.values()).most_common(1)[0][0]
    seen: Counter[str] = Counter()
    found = []
    for number, trial in enumerate(trials, 1):
        seen[trial.stimulus] += 1
        if trial.stimulus and seen[trial.stimulus] > usual and len(counts) >= _ENOUGH:
            found.append(
                f"trial {number} (starts at {trial.onset_ms:.12g} ms) shows {trial.stimulus} for time "
                f"{seen[trial.stimulus]}; most images are shown {usual} times"
            )
    return found
