"""EyeLink EDF, the closed binary format, through eyelinkio and SR Research's library in it (the extra "edf").

The recording is the one that edf2asc and the ASC reader give, but for digits that edf2asc rounds away (the peak
velocities'): times are the tracker's, a ``START`` … ``END`` is a block with its own rate and eyes.

* The library is compiled and trusts its input. It runs in a process of its own (`_edf_child`), with a limit of time and
  memory, so that a damaged file ends that process and not the batch.
* Missing values are 10⁸, and −32768 where an eye was not recorded. Where x or y is missing, x, y and pupil are NaN.
* A saccade's amplitude is not stored; edf2asc divides by the mean resolution of both ends, and so is done here.
* At 2000 Hz every second sample is flagged "half a millisecond later"; where none is, the second of two equal times is.
"""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._asc_text import BEGIN, END, NUMBER, AscRows, AscText, parse_text
from gazepipe.readers._edf_child import FAILED
from gazepipe.readers.source import Reader, check_file
from gazepipe.recording import EyeSamples, Recording
from gazepipe.words import counted

__all__ = ["MAGIC", "READER", "companion", "read", "recording_of", "sniff"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_FORMAT = "eyelink-edf"
MAGIC = b"SR_RESEARCH"
#: An EEG format of the same suffix: its first field is the version, "0", padded to 8 bytes.
_EUROPEAN_DATA_FORMAT = b"0       "
_REMEDY = "copy the file again, or convert it with edf2asc and give the .asc file"
_SECONDS = 60.0  # and one for each MB; the library takes a tenth of that
_MISSING = 1e8 - 1
_HIGHEST_HZ = 4000.0
_EYES = {1: ("left",), 2: ("right",), 3: ("left", "right")}
_HAS_GAZE = 0x0400  # in a block's flags: samples have gaze positions
_READ_GAZE = 0x1000  # in an event's: its gaze positions are filled in
_EVENTS = {4: "EBLINK", 6: "ESACC", 8: "EFIX"}

Content = Mapping[str, npt.NDArray[Any]]


def sniff(head: bytes, path: Path) -> bool:
    """Whether the content begins as SR Research's files do."""
    return head.startswith(MAGIC)


def companion(path: Path) -> bool:
    """Whether an ``.edf`` is converted already (the ``.asc`` stands beside it), or is an EEG file."""
    if path.suffix.lower() != ".edf":
        return False
    if any(path.with_suffix(suffix).is_file() for suffix in (".asc", ".asc.gz", ".ASC")):
        return True
    try:
        with path.open("rb") as file:
            return file.read(8) == _EUROPEAN_DATA_FORMAT
    except OSError:
        return False


def read(path: Path, config: StudyConfig) -> Recording:
    """Read an EyeLink EDF file.

    Parameters
    ----------
    path
        The file.
    config
        Not used: the file states all that is needed.

    Returns
    -------
    Recording
        As `gazepipe.readers.eyelink_asc.read` gives it; messages have no line.

    Raises
    ------
    RecordingError
        If eyelinkio is not installed, or the file is damaged or has no gaze on the screen.
    """
    path = Path(path)
    check_file(path)
    if importlib.util.find_spec("eyelinkio") is None:
        raise RecordingError(
            path,
            "this is an EyeLink EDF file, and eyelinkio, which reads them, is not installed",
            remedy='install it with `pip install "gazepipe[edf]"`, or convert the file with SR Research\'s edf2asc and '
            "give the .asc file",
        )
    return recording_of(_content(path), path)


def _content(path: Path) -> Content:
    """Let a process of its own take the file apart."""
    seconds = _SECONDS + path.stat().st_size / 1e6
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="gazepipe-edf-", ignore_cleanup_errors=True) as out:
        try:
            # The library writes to standard output what it thinks of a file.
            done = subprocess.run(
                # By its file, so that it imports nothing else of gazepipe, which would take longer than most files.
                [sys.executable, "-P", str(Path(__file__).with_name("_edf_child.py")), str(path.absolute()), out],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=out,
                env=environment,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _damaged(path, f"it was not read within {seconds:.0f} s") from None
        if done.returncode == FAILED:
            raise _damaged(path, Path(out, "problem.txt").read_text(encoding="utf-8"))
        if done.returncode:
            raise _damaged(path, f"SR Research's library crashed on it ({_ending(done.returncode)})")
        with np.load(Path(out, "content.npz"), allow_pickle=False) as content:
            return dict(content)


def _ending(status: int) -> str:
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"exit status {status}"


def _damaged(path: Path, found: str) -> RecordingError:
    return RecordingError(path, found, expected="an undamaged EDF file", remedy=_REMEDY)


def recording_of(content: Content, path: Path) -> Recording:
    """Make a recording of what `_edf_child` found in a file.

    Raises
    ------
    RecordingError
        If there are no samples, no gaze positions, or times that do not increase.
    """
    warnings: list[str] = []
    blocks = content["blocks"]
    time = content["time"]
    lengths = np.diff(np.append(blocks["first_sample"], time.size))
    blocks = blocks[lengths > 0]
    if not blocks.size:
        found = "there are no samples in its blocks" if lengths.size else "there is no START in it, so no samples"
        raise RecordingError(path, found, expected="an EDF file with samples", remedy="record samples to the file, too")
    _check_blocks(path, blocks)
    before = int(blocks["first_sample"][0])
    if before:
        warnings.append(f"passed over: {counted(before, 'sample')} before the first START")
    start = (blocks["first_sample"] - before).astype(np.int64)
    time, values = time[before:].copy(), content["values"][:, before:].copy()
    ends = np.append(start[1:], time.size)
    for k, (a, b) in enumerate(zip(start, ends, strict=True)):
        part = time[a:b]
        if blocks["rate"][k] > 1000 and not (part % 1).any():
            part[1:][part[1:] == part[:-1]] += 0.5
        wrong = np.flatnonzero(np.diff(part) <= 0)
        if wrong.size:
            at = int(wrong[0])
            found = f"the time {part[at + 1]:.10g} of sample {before + a + at + 2} follows {part[at]:.10g}"
            raise RecordingError(path, found, expected="times that increase within a block", remedy=_REMEDY)
    warnings += _doubts(blocks, time, start, ends)
    text = _text(content, blocks)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes=_eyes(blocks, values, start, ends),
        block_start=start,
        sampling_rate_hz=blocks["rate"].astype(np.float64),
        messages=[replace(message, line=None) for message in text.messages],
        native_events=text.native_events,
        display_px=text.display_px,
        meta=text.meta,
        warnings=warnings + text.warnings,
    )


def _check_blocks(path: Path, blocks: npt.NDArray[Any]) -> None:
    for block in blocks:
        where = f"the block that starts at {block['time']} ms"
        if int(block["eyes"]) not in _EYES or not 1 <= block["rate"] <= _HIGHEST_HZ:
            raise _damaged(path, f"{where} states the eyes {block['eyes']} and {block['rate']:g} Hz")
        if not int(block["flags"]) & _HAS_GAZE:
            raise RecordingError(
                path,
                f"{where} has no gaze positions, only angles of the eye in the head or pupil positions in the camera",
                expected="gaze in screen pixels",
                remedy="record with the tracker's file_sample_data set to GAZE",
            )


def _doubts(blocks: npt.NDArray[Any], time: F64, start: I64, ends: I64) -> list[str]:
    """One sentence for each thing that was odd."""
    off = holes = 0
    for rate, a, b in zip(blocks["rate"], start, ends, strict=True):
        steps = np.diff(time[a:b])
        off += bool(steps.size) and abs(float(np.median(steps)) * rate / 1000 - 1) > 0.2
        holes += int(np.count_nonzero(steps > max(1000.0, 1e5 / rate)))
    found = []
    if off:
        found.append(f"in {counted(off, 'block')} the times do not go with the stated rate")
    if holes:
        found.append(f"{holes} holes of more than a second stand inside blocks")
    if not blocks["ended"][-1]:
        found.append("the file stops without END; the recording may be incomplete")
    return found


def _eyes(blocks: npt.NDArray[Any], values: npt.NDArray[np.float32], start: I64, ends: I64) -> dict[str, EyeSamples]:
    """One entry for each eye recorded anywhere; NaN in the blocks without it."""
    eyes = {}
    for row, name in ((0, "left"), (3, "right")):
        with_eye = [name in _EYES[int(code)] for code in blocks["eyes"]]
        if not any(with_eye):
            continue
        x, y, pupil = values[row : row + 3]
        lost = ~((np.abs(x) < _MISSING) & (np.abs(y) < _MISSING)) | (x == -32768) | (y == -32768)
        for there, a, b in zip(with_eye, start, ends, strict=True):
            lost[a:b] |= not there
        x[lost], y[lost], pupil[lost] = np.nan, np.nan, np.nan
        eyes[name] = EyeSamples(x, y, pupil)
    return eyes


def _text(content: Content, blocks: npt.NDArray[Any]) -> AscText:
    """Read the file's header, messages and events as the lines that edf2asc would write."""
    lines = bytes(content["preamble"]).decode("cp1252", "replace").splitlines()
    lines += [
        f"PUPIL\t{'DIAMETER' if blocks['pupil'][0] else 'AREA'}",
        f"SAMPLES\tGAZE\tFILTER\t{blocks['filter'][0]}",
        "EVENTS\tGAZE",
    ]
    texts, end = bytes(content["message_text"]), np.cumsum(content["message_length"])
    for time, size, stop in zip(content["message_time"], content["message_length"], end, strict=True):
        lines.append(f"MSG\t{time} {_decode(texts[stop - size : stop])}")
    lines += [_event_line(event) for event in content["events"]]
    parts = [f"{line}\n".encode() for line in lines]
    table, stop = np.zeros((len(parts), 5), np.int64), np.cumsum([len(part) for part in parts])
    table[:, BEGIN], table[:, END] = np.append(0, stop[:-1]), stop - 1
    table[:, NUMBER] = np.arange(1, len(parts) + 1)
    found = parse_text(AscRows(b"".join(parts), table, np.full((len(parts), 6), np.nan), ascii_only=False))
    for validation in found.meta.get("validations", ()):
        validation.pop("line", None)
    found.warnings = [warning.partition(", the first in line")[0] for warning in found.warnings]
    return found


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _event_line(event: Any) -> str:
    """Write one event, one record of `_edf_child.EVENT`, as edf2asc does; a missing number is a point."""
    name = _EVENTS[int(event["type"])]
    there = bool(int(event["read"]) & _READ_GAZE)
    x0, y0, x1, y1, x, y = (_or_missing(event[k], there) for k in ("x0", "y0", "x1", "y1", "x", "y"))
    values: list[float] = []
    if name == "EFIX":
        values = [x, y, math.nan]
    elif name == "ESACC":
        ppd = float(event["ppd_x"]), float(event["ppd_y"])
        amplitude = math.hypot((x1 - x0) / ppd[0], (y1 - y0) / ppd[1]) if min(ppd) > 0 else math.nan
        values = [x0, y0, x1, y1, amplitude, _or_missing(event["peak_velocity"])]
    numbers = [f"{v:.2f}" if math.isfinite(v) else "." for v in values]
    first, last = int(event["start"]), int(event["end"])
    return " ".join([name, "R" if event["eye"] == 1 else "L", str(first), str(last), str(last - first), *numbers])


def _or_missing(value: Any, there: bool = True) -> float:
    return float(value) if there and abs(value) < _MISSING and value != -32768 else math.nan


READER = Reader(_FORMAT, sniff, read, companion=companion)
