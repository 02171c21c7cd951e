"""EyeLink ASC: the text that SR Research's edf2asc makes from an EDF file, plain or gzip-compressed.

Samples are parsed by compiled loops over the file's bytes (`_asc_kernel`); everything else, a few lines in a hundred,
is read in Python (`_asc_text`). A sample line begins with a digit in column 0 and stands between ``START`` and
``END``; each such block states its own rate and eyes.

What the columns are is counted, not believed: time, then x, y and pupil of each eye. What follows them (velocity,
resolution, INPUT, flags, head target) varies with tracker and export options and is not read.

* A lone ``.`` is a missing value. Where x or y is missing, x, y and pupil are NaN.
* At 2000 Hz, old versions of edf2asc print whole milliseconds, each twice; the second is half a millisecond later.
* A last line without an end-of-line is dropped with a warning: nobody can tell whether its last number is whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers.source import Reader, check_file, is_gzip, read_bytes
from gazepipe.recording import EyeSamples, Recording

__all__ = ["READER", "read", "sniff"]

_FORMAT = "eyelink-asc"
_SIGNS = re.compile(rb"^(\*\* (CONVERTED FROM|TYPE: EDF_FILE)|START\t\d|SAMPLES\t|MSG[\t ]+\d+(\.\d+)? )", re.MULTILINE)
_REMEDY = "export the file again with edf2asc"
_HIGHEST_HZ = 4000.0


def sniff(head: bytes, path: Path) -> bool:
    """Whether the content looks like EyeLink ASC."""
    return b"\0" not in head[:4096] and _SIGNS.search(head) is not None


@dataclass(slots=True)
class _Block:
    """One ``START`` … ``END``, and the index of its first sample."""

    line: int
    first: int
    eyes: tuple[str, ...] = ()
    rate_hz: float = 0.0

    @property
    def n_values(self) -> int:
        return 3 * len(self.eyes)

    @property
    def row(self) -> int:
        return 3 if self.eyes == ("right",) else 0


@dataclass(slots=True)
class _Samples:
    """What one pass over the bytes gives."""

    time: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]  # (6, n): x, y, pupil of the left eye, then of the right
    blocks: list[_Block]
    lines: list[str]
    line_numbers: npt.NDArray[np.int64]
    warnings: list[str] = field(default_factory=list)


def read(path: Path, config: StudyConfig) -> Recording:
    """Read an EyeLink ASC file.

    Parameters
    ----------
    path
        The file, ``.asc`` or ``.asc.gz``.
    config
        Not used: the file states all that is needed.

    Returns
    -------
    Recording
        Eyes are ``"left"`` and ``"right"``, as recorded; where the eye changes from block to block, an eye is NaN in
        the blocks without it. A block is one ``START`` … ``END``.

    Raises
    ------
    RecordingError
        If the file has no samples, samples that are not gaze on the screen (HREF or raw pupil positions), or a line
        that cannot be read; the message names the line.
    """
    from gazepipe.readers._asc_text import parse_text

    path = Path(path)
    buf = _load(path)
    samples = _scan(path, buf)
    text = parse_text(samples.lines, samples.line_numbers.tolist())
    if not samples.time.size:
        raise _no_samples(path, buf, samples)
    _halve_repeated_times(samples)
    _settle_rates(samples)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=samples.time,
        eyes=_eyes(samples),
        block_start=np.array([b.first for b in samples.blocks], np.int64),
        sampling_rate_hz=np.array([b.rate_hz for b in samples.blocks], np.float64),
        messages=text.messages,
        native_events=text.native_events,
        display_px=text.display_px,
        meta=text.meta,
        warnings=samples.warnings + _clock_restarts(samples) + text.warnings,
    )


def _load(path: Path) -> npt.NDArray[np.uint8]:
    """Map a plain file (reading it into memory first costs three times the CPU), unpack a compressed one."""
    check_file(path)
    if is_gzip(path):
        return np.frombuffer(read_bytes(path), np.uint8)
    try:
        return np.asarray(np.memmap(path, np.uint8, mode="r"))
    except (OSError, ValueError) as error:
        raise RecordingError(path, f"the file cannot be read ({error})", remedy="check its permissions") from None


def _scan(path: Path, buf: npt.NDArray[np.uint8]) -> _Samples:
    """Go through the file once, from control line to control line."""
    from gazepipe.readers import _asc_kernel as kernel

    n_lines, capacity = kernel.count_lines(buf)
    time, values = np.empty(capacity), np.empty((6, capacity), np.float32)
    offset, length, number = (np.empty(n_lines, np.int64) for _ in range(3))
    blocks, warnings = _Blocks(path), []
    pos = line = n = others = 0
    while True:
        block = blocks.current
        reason, pos, line, n, others = kernel.scan(
            *(buf, pos, line, block.n_values, block.row, block.rate_hz > 1000, block.first, n, time, values),
            *(others, offset, length, number),
        )
        if reason != kernel.CONTROL:
            break
        start = offset[others - 1]
        words = _decode(buf[start : start + length[others - 1]]).split()
        blocks.control(words, line, n, finished=pos <= buf.size)
    if reason == kernel.MALFORMED:
        raise _malformed(path, _line_at(buf, pos), line + 1, block)
    if reason == kernel.DISORDER:
        raise _disorder(path, _line_at(buf, pos), line + 1, float(time[n - 1]))
    if reason == kernel.UNFINISHED:
        warnings.append(f"line {line + 1}, the last, is cut short and was dropped")
    elif buf[-1] != 10 and others:
        last = _decode(buf[offset[others - 1] :])
        if last.startswith(("EFIX", "ESACC", "EBLINK")):
            others -= 1
            warnings.append(f"line {line}, the last, has no end-of-line; the event in it was dropped")
        elif not last.startswith("END"):
            warnings.append(f"line {line}, the last, has no end-of-line; it may be cut short")
    outside = capacity - n - (reason == kernel.UNFINISHED)
    kept = blocks.close(n)
    if kept and outside > 0:
        warnings.append(f"{outside} lines that begin with a number stand outside START … END and were passed over")
    text = _decode(kernel.gather(buf, offset[:others], length[:others]))
    lines = text.split("\n")[:-1]
    return _Samples(time[:n], values[:, :n], kept, lines, number[:others], blocks.warnings + warnings)


def _decode(raw: npt.NDArray[np.uint8]) -> str:
    """Decode UTF-8, or what Windows wrote before it."""
    data = raw.tobytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


class _Blocks:
    """Follows ``START``, ``SAMPLES``, ``EVENTS`` and ``END``; `current` says how the next sample lines are laid out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: list[_Block] = []
        self.current = _Block(0, 0)
        self.inside = False
        self.warnings: list[str] = []

    def control(self, words: list[str], line: int, n: int, *, finished: bool) -> None:
        """Take one control line; `n` samples stand before it."""
        if words[0] == "START":
            self._keep(n)
            self.current = _Block(line, n, _eyes_of(words))
            self.inside = True
        elif words[0] == "END" and self.inside:
            self.inside = False
            self._keep(n)
            self.current = _Block(0, n)
        elif words[0] == "EVENTS" and self.inside and not self.current.rate_hz:
            self.current.rate_hz = _rate(words)
        elif words[0] == "SAMPLES" and self.inside and finished:
            self._layout(words, line, n)

    def close(self, n: int) -> list[_Block]:
        """End of file: return the blocks that have samples."""
        if self.inside:
            self.warnings.append("the file stops without END; the recording may be incomplete")
            self.inside = False
        self._keep(n)
        return self.done

    def _keep(self, n: int) -> None:
        if self.inside:
            self.warnings.append(f"the block that starts in line {self.current.line} has no END")
        if n > self.current.first:
            self.done.append(self.current)

    def _layout(self, words: list[str], line: int, n: int) -> None:
        kind = words[1] if len(words) > 1 else "nothing"
        if kind != "GAZE":
            what = {"HREF": "angles of the eye in the head (HREF)", "PUPIL": "raw pupil positions in the camera"}
            raise RecordingError(
                self.path,
                f"the samples are {what.get(kind, repr(kind))}",
                expected="gaze in screen pixels (SAMPLES GAZE)",
                remedy="export the EDF again with edf2asc's gaze option (-sg)",
                line=line,
            )
        block = self.current
        if n > block.first:  # settings changed without a pause: samples of two kinds must not share a block
            self.done.append(block)
        eyes = _eyes_of(words) or block.eyes
        self.current = _Block(block.line, n, eyes, _rate(words) or block.rate_hz)


def _eyes_of(words: list[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in ("LEFT", "RIGHT") if name in words)


def _rate(words: list[str]) -> float:
    """Return the number after RATE, 0 where there is none that makes sense."""
    try:
        rate = float(words[words.index("RATE") + 1])
    except (ValueError, IndexError):
        return 0.0
    return rate if 1 <= rate <= _HIGHEST_HZ else 0.0


def _line_at(buf: npt.NDArray[np.uint8], pos: int) -> str:
    return _decode(buf[pos : pos + 400]).split("\n", 1)[0].rstrip("\r")


def _malformed(path: Path, text: str, line: int, block: _Block) -> RecordingError:
    needed = block.n_values + 1
    words = re.split(r"[ \t]+", text.rstrip(" \t"))
    wrong = [w for w in words[:needed] if w != "." and not _is_number(w)]
    if wrong:
        found = f"{wrong[0][:40]!r} stands where a number should"
    elif len(words) < needed:
        found = f"the sample has {len(words)} columns"
    else:
        found = f"the sample {text[:60]!r} cannot be read"
    both = "both eyes" if len(block.eyes) == 2 else f"the {block.eyes[0]} eye"
    expected = f"time, x, y and pupil of {both} ({needed} numbers)"
    return RecordingError(path, found, expected=expected, remedy=_REMEDY, line=line)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word, re.ASCII) is not None


def _disorder(path: Path, text: str, line: int, previous: float) -> RecordingError:
    return RecordingError(
        path,
        f"the sample's time {text.split()[0]} follows {previous:.10g}",
        expected="times that increase within a block",
        remedy=_REMEDY,
        line=line,
    )


def _no_samples(path: Path, buf: npt.NDArray[np.uint8], samples: _Samples) -> RecordingError:
    if (buf[:65536] == 0).any():
        found, remedy = "the content is binary, not text", "if it is an EDF file, convert it with edf2asc"
    elif any(text.startswith("START") for text in samples.lines):
        found, remedy = "there are no samples in its blocks", f"{_REMEDY}, with samples"
    else:
        found, remedy = "there is no START line, so no samples", f"{_REMEDY}, with samples and events"
    return RecordingError(path, found, expected="EyeLink ASC text with samples", remedy=remedy)


def _halve_repeated_times(samples: _Samples) -> None:
    """Rebuild half milliseconds where a block at 2000 Hz has whole milliseconds twice."""
    ends = [b.first for b in samples.blocks[1:]] + [samples.time.size]
    for block, end in zip(samples.blocks, ends, strict=True):
        time = samples.time[block.first : end]
        if block.rate_hz <= 1000 or time.size < 2:
            continue
        second = np.flatnonzero(time[1:] == time[:-1]) + 1
        if second.size:
            # A block that begins on a half millisecond shows its first number once, the next one twice.
            begins_on_half = second[0] == 2 and time[2] == time[0] + 1
            time[second] += 0.5
            if begins_on_half:
                time[0] += 0.5


def _settle_rates(samples: _Samples) -> None:
    """Take the rate from the times where the file has none, and say where the two do not agree."""
    ends = [b.first for b in samples.blocks[1:]] + [samples.time.size]
    holes, off = 0, 0
    for block, end in zip(samples.blocks, ends, strict=True):
        steps = np.diff(samples.time[block.first : end])
        step = float(np.median(steps[:2000])) if steps.size else 0.0
        if not block.rate_hz:
            block.rate_hz = 1000.0 / step if step > 0 else 1000.0
            samples.warnings.append(
                f"the block that starts in line {block.line} states no rate; its times give {block.rate_hz:.5g} Hz"
            )
        elif step and abs(step * block.rate_hz / 1000 - 1) > 0.2:
            off += 1
        holes += int(np.count_nonzero(steps > max(1000.0, 1e5 / block.rate_hz)))
    if off:
        samples.warnings.append(f"in {off} blocks the times do not go with the stated rate")
    if holes:
        samples.warnings.append(f"{holes} holes of more than a second stand inside blocks")


def _clock_restarts(samples: _Samples) -> list[str]:
    back = int(np.count_nonzero(np.diff(samples.time) < 0))
    return [f"time goes back {back} times, each of which begins a block"] if back else []


def _eyes(samples: _Samples) -> dict[str, EyeSamples]:
    """One entry for each eye recorded anywhere; NaN in the blocks without it."""
    eyes: dict[str, EyeSamples] = {}
    ends = [b.first for b in samples.blocks[1:]] + [samples.time.size]
    for row, name in ((0, "left"), (3, "right")):
        with_eye = [name in b.eyes for b in samples.blocks]
        if not any(with_eye):
            continue
        for block, end, there in zip(samples.blocks, ends, with_eye, strict=True):
            if not there:
                samples.values[row : row + 3, block.first : end] = np.nan
        eyes[name] = EyeSamples(*samples.values[row : row + 3])
    return eyes


READER = Reader(_FORMAT, sniff, read)
