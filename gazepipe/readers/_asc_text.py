"""The lines of an EyeLink ASC file that are no samples: messages, the tracker's events, header and settings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gazepipe.recording import Message

__all__ = ["AscRows", "AscText", "Messages", "parse_text"]

# Columns of `AscRows.table`: kind, begin, begin of a message's body and end in the text, one-based line number.
KIND, BEGIN, BODY, END, NUMBER = range(5)

# Kinds of rows. NOTED is a message that is of use here, too; EVENT + 2 · kind + eye (0 left, 1 right) is an event.
OTHER, MESSAGE, NOTED, EVENT = range(4)
FIXATION, SACCADE, BLINK = range(3)

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
_KINDS = {"EFIX": FIXATION, "ESACC": SACCADE, "EBLINK": BLINK}
_EYES = {"L": 0, "R": 1}
_NAMES = {FIXATION: "fixation", SACCADE: "saccade", BLINK: "blink"}
_COLUMNS = ("onset_ms", "offset_ms", "x_px", "y_px", "amplitude_deg", "peak_velocity_deg_s")


@dataclass(slots=True)
class AscRows:
    """The lines that are no samples, as the compiled loops leave them (see `_asc_kernel`, Columns)."""

    text: bytes
    table: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    ascii_only: bool

    def encoding(self) -> str:
        """Name UTF-8, or what Windows wrote before it."""
        if self.ascii_only:
            return "ascii"
        try:
            self.text.decode("utf-8")
        except UnicodeDecodeError:
            return "cp1252"
        return "utf-8"


class Messages(Sequence[Message]):
    """Messages whose times are read and whose text is decoded when it is asked for.

    Parameters
    ----------
    text, encoding
        Bytes of many lines.
    place
        Shape ``(n, 3)``: where the body of each message begins and ends in `text`, and its line in the file.
    times
        Shape ``(n, 2)``: time and offset in ms.
    odd
        Bodies that are not to be taken from `text`, by the index of their message.
    """

    def __init__(
        self,
        text: bytes,
        encoding: str,
        place: npt.NDArray[np.int64],
        times: npt.NDArray[np.float64],
        odd: dict[int, str],
    ) -> None:
        self._text, self._encoding, self._place, self._times, self._odd = text, encoding, place, times, odd

    def __len__(self) -> int:
        return len(self._place)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        if isinstance(index, slice):
            return list(self._some(range(len(self))[index]))
        return next(self._some([range(len(self))[index]]))

    def __iter__(self) -> Iterator[Message]:
        return self._some(range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def _some(self, which: Sequence[int]) -> Iterator[Message]:
        rows = np.array(which, np.int64)
        place, times = self._place[rows].tolist(), self._times[rows].tolist()
        for k, (begin, end, line), (time, offset) in zip(which, place, times, strict=True):
            body = self._odd.get(k)
            if body is None:
                body = self._text[begin:end].decode(self._encoding, "replace").rstrip()
            yield Message(time, body, offset, line)


@dataclass(slots=True)
class AscText:
    """What the lines that are no samples say; the fields are those of `gazepipe.recording.Recording`."""

    messages: Sequence[Message] = ()
    native_events: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    display_px: tuple[int, int] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """What is collected on the way."""

    rows: AscRows
    out: AscText = field(default_factory=AscText)
    odd: dict[int, str] = field(default_factory=dict)
    events_in_href: bool = False
    coords: dict[str, tuple[float, ...]] = field(default_factory=dict)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: dict[str, int] = field(default_factory=dict)

    def spoiled(self, what: str, line: int) -> None:
        self.bad[what] += 1
        self.first_bad.setdefault(what, line)


def parse_text(rows: AscRows) -> AscText:
    """Read the lines that are no samples, those of them that the compiled loops have not read.

    Parameters
    ----------
    rows
        The lines in file order; rows of messages and events in unusual forms are completed.

    Returns
    -------
    AscText
        In `native_events`, `offset_ms` is the time of the event's last sample, as the file has it; the position of
        a saccade is where it lands; the amplitude of a saccade whose start or end is not known is NaN (the tracker
        writes values such as 2.3e+06 there).
    """
    state, encoding = _State(rows), rows.encoding()
    kind = rows.table[:, KIND]
    at = np.flatnonzero((kind == OTHER) | (kind == NOTED))
    for k, (begin, end, number) in zip(at.tolist(), rows.table[at][:, [BEGIN, END, NUMBER]].tolist(), strict=True):
        text = rows.text[begin:end].decode(encoding, "replace")
        if text.startswith("MSG"):
            _message(state, k, text, number)
        elif text.startswith(("EFIX", "ESACC", "EBLINK")):
            _event(state, k, text, number)
        elif text.startswith("**"):
            _header(state.out.meta, text.strip())
        elif text.startswith(("PUPIL", "SAMPLES", "EVENTS")):
            _setting(state, text.split())
    _finish(state, encoding)
    return state.out


def _message(state: _State, row: int, text: str, number: int) -> None:
    match = _MESSAGE.match(text)
    if match is None:
        state.spoiled("message lines without a time", number)
        return
    time, offset, body = match.groups()
    body = body.rstrip()
    if state.rows.table[row, KIND] == OTHER:
        try:
            state.rows.numbers[row, :2] = _finite(time), _finite(offset) if offset else 0.0
        except ValueError:
            state.spoiled("message lines without a time", number)
            return
        state.rows.table[row, KIND] = MESSAGE
        state.odd[row] = body
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


def _event(state: _State, row: int, text: str, number: int) -> None:
    words = text.split()
    try:
        kind, eye = _KINDS[words[0]], _EYES[words[1]]
        onset, offset, _, *rest = (_number(w) for w in words[2:])
        values = _where(kind, rest, state.events_in_href)
    except (KeyError, ValueError, IndexError):
        state.spoiled("event lines that cannot be read", number)
        return
    state.rows.numbers[row] = onset, offset, *values
    state.rows.table[row, KIND] = EVENT + 2 * kind + eye


def _where(kind: int, rest: list[float], in_href: bool) -> tuple[float, float, float, float]:
    """Return x, y, amplitude and peak velocity from the fields after the duration.

    Events made from HREF data have their fields twice, HREF first; RES adds two fields at the end.
    """
    nan = float("nan")
    if kind == BLINK:
        return nan, nan, nan, nan
    group = 3 if kind == FIXATION else 6
    if len(rest) < group:
        raise IndexError
    fields = rest[group : 2 * group] if len(rest) >= 2 * group else rest[:group]
    unknown_px = in_href and len(rest) < 2 * group
    if kind == FIXATION:
        x, y, _ = fields
        amplitude, velocity = nan, nan
    else:
        x0, y0, x, y, amplitude, velocity = fields
        if any(v != v for v in (x0, y0, x, y)):
            amplitude = nan
    return (nan if unknown_px else x), (nan if unknown_px else y), amplitude, velocity


def _finish(state: _State, encoding: str) -> None:
    out, rows = state.out, state.rows
    for what, count in state.bad.items():
        out.warnings.append(f"{count} {what} passed over, the first in line {state.first_bad[what]}")
    kind = rows.table[:, KIND]
    at = np.flatnonzero((kind == MESSAGE) | (kind == NOTED))
    odd = {int(np.searchsorted(at, row)): body for row, body in state.odd.items()}
    out.messages = Messages(rows.text, encoding, rows.table[at][:, [BODY, END, NUMBER]], rows.numbers[at, :2], odd)
    at = np.flatnonzero(kind >= EVENT)
    if at.size:
        codes = (kind[at] - EVENT).tolist()
        out.native_events = {
            "kind": np.array([_NAMES[code // 2] for code in codes]),
            "eye": np.array(["right" if code % 2 else "left" for code in codes]),
        }
        out.native_events |= {name: rows.numbers[at, k] for k, name in enumerate(_COLUMNS)}
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
