"""Samples of SMI eye trackers as text, from the IDF Converter or from BeGaze.

* *IDF Converter* (``…_Samples.txt``): lines that begin with ``##`` tell of the recording, then ``Time Type Trial`` and
  the columns exported, times in microseconds. Rows of type ``MSG`` carry a message, ``# Message: text``.
* *BeGaze raw data*: ``RecordingTime [ms]``, ``Point of Regard Left X [px]`` …, ``-`` for what is missing.

The gaze is ``POR``, of each eye, or the joined one (``B POR X [px]``, binocular) where there are no single ones; zero
for x and y both is SMI's mark of a lost eye. The pupil is the diameter in mm where there is one, else in px of the
camera. ``[px]`` of the gaze are pixels of the stimulus screen, from its top-left corner.

`columns` has ``stimulus`` and ``trial`` from the column ``Stimulus``; without one, from messages that are the file name
of a picture or film, which Experiment Center sends when it shows it (it is then taken to be shown until the next such
message). Without either, ``trial`` is the column ``Trial`` where it has more than one value. `native_label` and
`native_events` are BeGaze's own (``Event Info``, ``Category``). `meta` has what the lines above the names say, the
screen's size and the viewing distance among it, by which the study's ``[screen]`` can be checked, but not the subject.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._columns import Texts, clean_eye, find_column, label_runs, normalise, number_stimuli
from gazepipe.readers._table import Table, block_starts, clock_breaks, header_of, increasing, open_table, sampling_rate
from gazepipe.readers.source import Reader
from gazepipe.recording import EyeSamples, Message, Recording
from gazepipe.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["READER", "read", "sniff"]

F64 = npt.NDArray[np.float64]
_FORMAT = "smi"
_HEADER = re.compile(r"^\"?Time\"?[\t;,]\"?Type\"?[\t;,]\"?Trial\b|\bPoint of Regard [A-Za-z ]*X \[px\]")
_MESSAGE_ROW = re.compile(rb"^([^\t;,\r\n]*)[\t;,]MSG[\t;,]([^\t;,\r\n]*)[\t;,]?([^\r\n]*)", re.MULTILINE)
_PICTURE = re.compile(r"(?i)^\S(?:.*\S)?\.(?:jpe?g|png|bmp|tiff?|gif|avi|mp4|mpe?g|wmv|mov)$")
_REMEDY = "export again with time, type, trial and POR (gaze position) of each eye"
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "": 1e-3}
_EYES = {"left": ("l", "left"), "right": ("r", "right"), "cyclopean": ("b", "binocular")}


def sniff(head: bytes, path: Path) -> bool:
    """Whether a line near the top names SMI's columns."""
    return header_of(head, _HEADER) is not None


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a text of SMI samples.

    Parameters
    ----------
    path
        The file.
    config
        Not used: the file states all that is needed.

    Returns
    -------
    Recording
        Eyes are ``"left"`` and ``"right"``, or ``"cyclopean"`` where there is only the joined gaze. A block ends where
        time goes back or jumps.

    Raises
    ------
    RecordingError
        If columns are missing, a cell is not a number, there are no two samples, or there are several participants.
    """
    path = Path(path)
    table = open_table(path, _HEADER)
    messages = _take_messages(table)
    names = [normalise(name) for name in table.names]
    numbers, texts, unit = _columns(table, names)

    def keep(chunk: pd.DataFrame) -> pd.DataFrame:
        chunk = chunk[[*numbers.values(), *texts.values()]].set_axis([*numbers, *texts], axis=1)
        return chunk[chunk["type"].isin(("SMP", ""))] if "type" in chunk else chunk

    rows = table.parse(set(numbers.values()), set(texts.values()), keep, {numbers["time"]})
    _check_participants(table, rows)
    warnings = list(table.warnings)
    kept = increasing(rows["time"].to_numpy())
    if not kept.all():
        warnings.append(f"{counted(int((~kept).sum()), 'row')} with the time of the row before gave no sample")
        rows = rows[kept]
    if len(rows) < 2:
        raise table.too_few(len(rows))
    time = rows["time"].to_numpy(np.float64) * _MS[unit]
    about = _about(table.preamble)
    rate = _stated_rate(about) or sampling_rate(path, time)
    measured = sampling_rate(path, time)
    if abs(measured / rate - 1) > 0.2:
        warnings.append(f"the times ({measured:.5g} Hz) do not go with the stated rate ({rate:.5g} Hz)")
    start = block_starts(time, rate)
    warnings += clock_breaks(time)
    messages = [replace(m, time_ms=m.time_ms * _MS[unit]) for m in messages]
    label, events = _native(rows, time, start)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes=_eyes(rows),
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=messages,
        columns=_shown(rows, time, messages) | label,
        native_events=events,
        display_px=_display(about),
        meta=about,
        warnings=warnings,
    )


def _take_messages(table: Table) -> list[Message]:
    """Take the rows of messages, which have columns of their own, out of the table; their lines stay, empty."""
    body = table.data[table.body :]
    if b"MSG" not in body:
        return []
    messages = []
    line = len(table.preamble) + 2
    at = 0
    for match in _MESSAGE_ROW.finditer(body):
        line += body.count(b"\n", at, match.start())
        at = match.start()
        try:
            time = float(match[1])
        except ValueError:
            raise RecordingError(
                table.path,
                f"a message has the time {match[1][:40].decode(errors='replace')!r}",
                expected="a number",
                remedy=_REMEDY,
                line=line,
            ) from None
        text = match[3].decode(table.encoding, "replace").strip()
        messages.append(Message(time, re.sub(r"^# Message:\s*", "", text), line=line))
    table.data = table.data[: table.body] + _MESSAGE_ROW.sub(b"", body)
    return messages


def _columns(table: Table, names: list[tuple[str, str]]) -> tuple[dict[str, int], dict[str, int], str]:
    """Return the indices of the columns of numbers, of those of texts, and the unit of time."""
    numbers: dict[str, int | None] = {
        "time": find_column(names, ("recordingtime", "time", "timestamp"), ("us", "ms", "s", ""))
    }
    texts: dict[str, int | None] = {
        key: find_column(names, (key,), ("",)) for key in ("type", "trial", "stimulus", "participant")
    }
    for eye, (short, word) in _EYES.items():
        for axis in "xy":
            numbers[f"{eye}_{axis}"] = find_column(names, (f"{short}por{axis}", f"pointofregard{word}{axis}"), ("px",))
        pupil = (f"{short}pupildiameter", f"{short}mappeddiameter", f"pupildiameter{word}")
        wide = (f"{short}diax", f"pupilsize{word}x")
        mm = find_column(names, pupil, ("mm",))
        numbers[f"{eye}_pupil"] = find_column(names, wide, ("px",)) if mm is None else mm
        texts[f"{eye}_label"] = find_column(names, (f"{short}eventinfo", f"category{word}"), ("",))
    if numbers["time"] is None:
        raise table.no_column(_REMEDY, "times")
    there = {key: k for key, k in numbers.items() if k is not None}
    if not any({f"{eye}_x", f"{eye}_y"} <= set(there) for eye in _EYES):
        raise table.no_column(_REMEDY, "gaze positions (POR) in pixels")
    return there, {key: k for key, k in texts.items() if k is not None}, names[there["time"]][1]


def _check_participants(table: Table, rows: pd.DataFrame) -> None:
    who = [p for p in rows["participant"].unique() if p not in ("", "-")] if "participant" in rows else []
    if len(who) > 1:
        raise RecordingError(
            table.path,
            f"it has {len(who)} participants ({', '.join(who[:8])}{', …' if len(who) > 8 else ''})",
            expected="one recording a file",
            remedy="export each participant to a file of its own",
        )


def _eyes(rows: pd.DataFrame) -> dict[str, EyeSamples]:
    eyes: dict[str, EyeSamples] = {}
    for eye in _EYES:
        if {f"{eye}_x", f"{eye}_y"} <= set(rows.columns) and not (eye == "cyclopean" and eyes):
            x, y = (rows[f"{eye}_{axis}"].to_numpy(np.float64) for axis in "xy")
            pupil = rows[f"{eye}_pupil"].to_numpy(np.float64) if f"{eye}_pupil" in rows else None
            eyes[eye] = clean_eye(x, y, pupil, (x == 0) & (y == 0))
    return eyes


def _about(preamble: list[str]) -> dict[str, str]:
    """Return ``## Name:<tab>value<tab>value`` as name → "value value"; later lines of the same name are left out."""
    out: dict[str, str] = {}
    for line in preamble:
        name, colon, value = line.lstrip("# ").partition(":")
        if line.startswith("##") and colon and value.strip() and name.strip() != "Subject":  # whose it is, is not said
            out.setdefault(name.strip(), " ".join(value.split()))
    return out


def _stated_rate(about: dict[str, str]) -> float:
    match = re.match(r"\d+(?:\.\d+)?", about.get("Sample Rate", ""))
    rate = float(match[0]) if match else 0.0
    return rate if 1 <= rate <= 4000 else 0.0


def _display(about: dict[str, str]) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{2,5}) (\d{2,5})", about.get("Calibration Area", ""))
    return (int(match[1]), int(match[2])) if match else None


def _shown(rows: pd.DataFrame, time: F64, messages: list[Message]) -> dict[str, npt.NDArray[Any]]:
    """Stimulus and trial of each sample; see the top of this module."""
    trial = rows["trial"].to_numpy(object) if "trial" in rows else np.full(len(rows), "", object)
    several = len(set(trial) - {"", "-"}) > 1
    stimulus = rows["stimulus"].to_numpy(object) if "stimulus" in rows else np.full(len(rows), "", object)
    stimulus = np.where(stimulus == "-", "", stimulus).astype(object)
    if (stimulus != "").any():
        return {"stimulus": stimulus, "trial": trial if several else number_stimuli(stimulus)}
    pictures = sorted(((m.time_ms, m.text) for m in messages if _PICTURE.match(m.text)), key=lambda p: p[0])
    if pictures:
        which = np.searchsorted([t for t, _ in pictures], time, "right")
        names: Texts = np.array(["", *(text for _, text in pictures)], object)
        return {"stimulus": names[which], "trial": np.where(which > 0, which, np.nan).astype(np.float64)}
    return {"trial": trial} if several else {}


def _native(
    rows: pd.DataFrame, time: F64, start: npt.NDArray[np.int64]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """SMI's own label of each sample, and its runs as events; of the joined eyes, else the left, else the right."""
    eye = next((e for e in ("cyclopean", "left", "right") if f"{e}_label" in rows), None)
    if eye is None:
        return {}, {}
    labels = rows[f"{eye}_label"].to_numpy(object)
    first, events = label_runs(labels, time, start, [], ("fixation", "saccade", "blink"))
    nowhere = np.full(first.size, np.nan)
    events |= {"eye": np.full(first.size, eye), "x_px": nowhere, "y_px": nowhere}
    return {"native_label": labels}, events


READER = Reader(_FORMAT, sniff, read)
