"""What a tracker's messages say about presentations: which of them mean something, and which image each trial shows.

A message is tried as a start, then as a stop, then as the name of an image (``[trials] start``, ``stop``,
``stimulus``). EyeLink's drawing commands that name an image may also say where it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.recording import Message, Recording
from gazepipe.trial_checks import Presentation

__all__ = ["Events", "name_by_time", "name_trials", "naming_windows", "read_messages"]


@dataclass(frozen=True, slots=True)
class Events:
    """Messages in order of time, and which of them mean something."""

    messages: list[Message]
    times: list[float]
    start: list[int]
    stop: list[int]
    names: dict[int, str]  # message → image it names
    placements: dict[int, str]  # message → where that image stands
    labels: dict[int, str]  # message → number of the trial that begins


_IMGLOAD = re.compile(r"(?i)^!V IMGLOAD (TOP_LEFT|CENTER)\s+\S+((?:\s+-?\d+(?:\.\d+)?)*)\s*$")
_LABEL = re.compile(r"(?i)^(?:TRIALID|start_trial)\s+(\S.*)$")


def _imgload(text: str) -> str:
    """Where EyeLink's drawing command puts the image, in the words of ``[trials] placement``.

    ``FILL`` says nothing: scripts write it out of habit, whatever their own display does with the image.
    """
    match = _IMGLOAD.match(text)
    if not match:
        return ""
    kind, numbers = match[1].upper(), match[2].split()
    word = {("TOP_LEFT", 2): "topleft", ("TOP_LEFT", 4): "rect", ("CENTER", 2): "centre", ("CENTER", 4): "centre"}
    found = word.get((kind, len(numbers)))
    sized = len(numbers) < 4 or min(float(n) for n in numbers[2:]) > 0
    return " ".join([found, *numbers]) if found and sized else ""


def _name(match: re.Match[str]) -> str:
    """Image name in the first filled group called 'stimulus…'."""
    found = (v for k, v in match.groupdict().items() if k.startswith("stimulus") and v)
    return next(found, "").strip("\"'")


def read_messages(recording: Recording, config: TrialsConfig) -> Events:
    """Put a recording's messages in order of their events, and find those that begin, end or name something."""
    messages = sorted(recording.messages, key=lambda m: m.time_ms + m.offset_ms)
    start, stop, stimulus = (re.compile(p) for p in (config.start, config.stop, config.stimulus))
    out = Events(messages, [m.time_ms + m.offset_ms for m in messages], [], [], {}, {}, {})
    for i, message in enumerate(messages):
        text = message.text.strip()
        if match := _LABEL.match(text):
            out.labels[i] = match[1]
        if match := start.search(text):
            out.start.append(i)
            if name := _name(match):
                out.names[i] = name
        elif stop.search(text):
            out.stop.append(i)
        elif (match := stimulus.search(text)) and (name := _name(match)):
            out.names[i] = name
            out.placements[i] = _imgload(text)
    return out


def naming_windows(starts: list[int], events: Events) -> list[tuple[int, int, int]]:
    """Messages that may name each presentation's image: after `low`, before `high`; and the start message.

    From the stop message before the start (without one: from the beginning) to the last stop message before the next
    start: EyeLink experiments write ``!V TRIAL_VAR image …`` after the display is off and before ``TRIAL_RESULT``.
    """
    out = []
    for k, i in enumerate(starts):
        following = starts[k + 1] if k + 1 < len(starts) else len(events.messages)
        low = max((j for j in events.stop if j < i), default=-1)
        high = max((j for j in events.stop if i < j < following), default=following)
        out.append((low, i, high))
    return out


def name_trials(
    trials: list[Presentation], windows: list[tuple[int, int, int]], events: Events, problems: list[str]
) -> None:
    """Give each presentation the name in its start message, else the last one before it, else the first one after."""
    used: set[int] = set()
    for trial, (low, start, high) in zip(trials, windows, strict=True):
        before = [j for j in events.names if low < j < start and j not in used]
        after = [j for j in events.names if start < j < high and j not in used]
        if start in events.names:
            trial.stimulus = events.names[start]
        elif before or after:
            named = before[-1] if before else after[0]
            trial.stimulus, trial.placement = events.names[named], _placement(named, before or after, events)
            seen = {events.names[j]: None for j in before or after}
            if len(seen) > 1:
                problems.append(
                    f"the messages around the trial at {trial.onset_ms:.12g} ms name {len(seen)} images "
                    f"({', '.join(seen)}): {trial.stimulus} was taken"
                )
        used.update(before or after)


def _placement(named: int, near: list[int], events: Events) -> str:
    """Where the image stands that message `named` names: said there, or in the drawing command of the same image."""
    same = [j for j in near if events.names[j].lower() == events.names[named].lower() and events.placements.get(j)]
    return events.placements[named if named in same else same[-1]] if same else ""


def name_by_time(trials: list[Presentation], events: Events) -> None:
    """Name presentations by the first message inside them, else the last one since the presentation before."""
    previous = -np.inf
    for trial in trials:
        if not trial.stimulus:
            inside = [j for j in events.names if trial.onset_ms <= events.times[j] < trial.offset_ms]
            before = [j for j in events.names if previous <= events.times[j] < trial.onset_ms]
            if inside or before:
                named = inside[0] if inside else before[-1]
                trial.stimulus = events.names[named]
                trial.placement = trial.placement or _placement(named, inside or before, events)
        previous = trial.offset_ms
