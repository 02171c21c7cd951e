"""The lines of an EyeLink ASC file that are no samples: messages, the tracker's events, header and settings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.recording import Message

__all__ = ["AscText", "parse_text"]

# The text may begin with a whole number, an offset in ms; a number alone is the text itself.
_MESSAGE = re.compile(r"MSG\s+(\d+(?:\.\d+)?)(?:\s+(-?\d+)(?=\s+\S))?\s*(.*)", re.DOTALL)
_HEADER = re.compile(r"\*\* (DATE|CAMERA|SERIAL NUMBER|CAMERA_CONFIG): *(.*)")
_CONVERTED = re.compile(r"\*\* CONVERTED FROM (?:.*[/\\])?(.*?)(?: using .*)?$")
_TRACKER = re.compile(r"\*\* (EYELINK.*\bv\d.*)")
_COORDS = re.compile(r"(DISPLAY_COORDS|GAZE_COORDS)\s*=?\s*(-?[\d.]+)[\s,]+(-?[\d.]+)[\s,]+(-?[\d.]+)[\s,]+(-?[\d.]+)")
_VALIDATION = re.compile(
    r"!CAL VALIDATION \S+ \S+ (LEFT|RIGHT)\s+(\S+)\s+ERROR\s+(-?[\d.]+)\s+avg\.\s+(-?[\d.]+)\s+max"
)
_META = {
    "DATE": "recorded",
    "CAMERA": "camera",
    "SERIAL NUMBER": "serial_number",
    "CAMERA_CONFIG": "camera_config",
}
_KINDS = {"EFIX": "fixation", "ESACC": "saccade", "EBLINK": "blink"}
_EYE = {"L": "left", "R": "right"}
_COLUMNS = ("onset_ms", "offset_ms", "x_px", "y_px", "amplitude_deg", "peak_velocity_deg_s")


@dataclass(slots=True)
class AscText:
    """What the lines that are no samples say; the fields are those of `gazepipe.recording.Recording`."""

    messages: list[Message] = field(default_factory=list)
    native_events: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    display_px: tuple[int, int] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """What is collected on the way."""

    out: AscText = field(default_factory=AscText)
    events: list[tuple[str, str, tuple[float, ...]]] = field(default_factory=list)
    events_in_href: bool = False
    coords: dict[str, tuple[float, ...]] = field(default_factory=dict)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: dict[str, int] = field(default_factory=dict)

    def spoiled(self, what: str, line: int) -> None:
        self.bad[what] += 1
        self.first_bad.setdefault(what, line)


def parse_text(lines: Iterable[str], numbers: Iterable[int]) -> AscText:
    """Read the lines that are no samples.

    Parameters
    ----------
    lines, numbers
        The lines in file order and their one-based numbers.

    Returns
    -------
    AscText
        In `native_events`, `offset_ms` is the time of the event's last sample, as the file has it; the position of
        a saccade is where it lands; the amplitude of a saccade whose start or end is not known is NaN (the tracker
        writes values such as 2.3e+06 there).
    """
    state = _State()
    for text, number in zip(lines, numbers, strict=True):
        if text.startswith("MSG"):
            _message(state, text, number)
        elif text.startswith(("EFIX", "ESACC", "EBLINK")):
            _event(state, text, number)
        elif text.startswith("**"):
            _header(state.out.meta, text.strip())
        elif text.startswith(("PUPIL", "SAMPLES", "EVENTS")):
            _setting(state, text.split())
    _finish(state)
    return state.out


def _message(state: _State, text: str, number: int) -> None:
    match = _MESSAGE.match(text)
    if match is None:
        state.spoiled("message lines without a time", number)
        return
    time, offset, body = match.groups()
    body = body.rstrip()
    try:
        message = Message(_finite(time), body, _finite(offset) if offset else 0.0, number)
    except ValueError:
        state.spoiled("message lines without a time", number)
        return
    state.out.messages.append(message)
    if not body.startswith(("DISPLAY_COORDS", "GAZE_COORDS", "!CAL")):
        return
    if "_COORDS" in body:
        coords = _COORDS.match(body)
        if coords:
            _coordinates(state, coords, number)
    elif body.startswith("!CAL VALIDATION"):
        result = _VALIDATION.match(body)
        if result:
            _validation(state.out.meta, result, number)


def _coordinates(state: _State, match: re.Match[str], number: int) -> None:
    try:
        corners = tuple(_finite(v) for v in match.groups()[1:])
    except ValueError:
        state.spoiled("messages with unreadable screen coordinates", number)
        return
    state.coords.setdefault(match[1], corners)


def _validation(meta: dict[str, Any], match: re.Match[str], number: int) -> None:
    eye, quality, mean, largest = match.groups()
    try:
        errors = {"error_avg_deg": _finite(mean), "error_max_deg": _finite(largest)}
    except ValueError:
        return
    meta.setdefault("validations", []).append({"line": number, "eye": eye.lower(), "result": quality, **errors})


def _header(meta: dict[str, Any], text: str) -> None:
    if match := _HEADER.match(text):
        meta.setdefault(_META[match[1]], match[2].strip())
    elif match := _CONVERTED.match(text):
        # The file's name only: the folder can name the person who ran the export.
        meta.setdefault("converted_from", match[1].strip())
    elif match := _TRACKER.match(text):
        meta.setdefault("tracker", match[1].strip())


def _setting(state: _State, words: list[str]) -> None:
    meta = state.out.meta
    if words[0] == "PUPIL" and len(words) > 1:
        meta.setdefault("pupil", words[1].lower())
    elif words[0] == "EVENTS":
        state.events_in_href = "HREF" in words[1:2]
    elif words[0] == "SAMPLES" and "FILTER" in words[:-1]:
        level = words[words.index("FILTER") + 1]
        if level.isdecimal():
            meta.setdefault("filter_level", int(level))


def _finite(text: str) -> float:
    """Return a number; what float64 cannot hold is none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text[:40])
    return value


def _number(text: str) -> float:
    return float("nan") if text == "." else _finite(text)


def _event(state: _State, text: str, number: int) -> None:
    words = text.split()
    try:
        kind, eye = _KINDS[words[0]], _EYE[words[1]]
        onset, offset, _, *rest = (_number(w) for w in words[2:])
        values = _where(kind, rest, state.events_in_href)
    except (KeyError, ValueError, IndexError):
        state.spoiled("event lines that cannot be read", number)
        return
    state.events.append((kind, eye, (onset, offset, *values)))


def _where(kind: str, rest: list[float], in_href: bool) -> tuple[float, float, float, float]:
    """Return x, y, amplitude and peak velocity from the fields after the duration.

    Events made from HREF data have their fields twice, HREF first; RES adds two fields at the end.
    """
    nan = float("nan")
    if kind == "blink":
        return nan, nan, nan, nan
    group = 3 if kind == "fixation" else 6
    if len(rest) < group:
        raise IndexError
    fields = rest[group : 2 * group] if len(rest) >= 2 * group else rest[:group]
    unknown_px = in_href and len(rest) < 2 * group
    if kind == "fixation":
        x, y, _ = fields
        amplitude, velocity = nan, nan
    else:
        x0, y0, x, y, amplitude, velocity = fields
        if any(v != v for v in (x0, y0, x, y)):
            amplitude = nan
    return (nan if unknown_px else x), (nan if unknown_px else y), amplitude, velocity


def _finish(state: _State) -> None:
    out = state.out
    for what, count in state.bad.items():
        out.warnings.append(f"{count} {what} passed over, the first in line {state.first_bad[what]}")
    if state.events:
        kinds, eyes, values = zip(*state.events, strict=True)
        table = np.array(values, np.float64)
        out.native_events = {"kind": np.array(kinds), "eye": np.array(eyes)}
        out.native_events |= {name: table[:, k].copy() for k, name in enumerate(_COLUMNS)}
    _display(state)


def _display(state: _State) -> None:
    """Find the screen's size; the gaze's own coordinate system counts before the display software's.

    ``0 0 1919 1079`` are the centres of the corner pixels, 1920 x 1080; OpenSesame writes ``0 0 1024.00 768.00`` and
    means that size. No screen has an odd number of pixels, so an odd difference is one short.
    """
    sizes = {}
    for name, (left, top, right, bottom) in state.coords.items():
        width, height = (int(v) + (v % 2 == 1) for v in (abs(right - left), abs(bottom - top)))
        if width > 0 and height > 0:
            sizes[name] = (width, height)
            if (left, top) != (0, 0):
                state.out.warnings.append(
                    f"{name} begins at {left:g}, {top:g}; gaze is expected to count from the top-left corner"
                )
    state.out.display_px = sizes.get("GAZE_COORDS", sizes.get("DISPLAY_COORDS"))
    if len(set(sizes.values())) > 1:
        both = " and ".join(f"{name} {w} x {h}" for name, (w, h) in sizes.items())
        state.out.warnings.append(f"the file states two screen sizes, {both}; GAZE_COORDS is used")
