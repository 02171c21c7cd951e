"""One pass over an EyeLink ASC file, piece by piece: how its blocks follow each other, and what is wrong with it.

The file is read into one small buffer again and again, which stays in the processor's cache: mapping it into memory
costs a page fault for every few pages, and holding all of it costs its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers._asc_text import AscRows
from gazepipe.readers.source import check_file, is_gzip, read_bytes
from gazepipe.words import counted

__all__ = ["REMEDY", "Block", "Scanned", "scan_file"]

REMEDY = "export the file again with edf2asc"
_HIGHEST_HZ = 4000.0
_PIECE = 1 << 18

U8 = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Block:
    """One ``START`` … ``END``, and the index of its first sample."""

    line: int
    first: int
    eyes: tuple[str, ...] = ()
    rate_hz: float = 0.0

    @property
    def n_values(self) -> int:
        """Columns after the time that are read."""
        return 3 * len(self.eyes)

    @property
    def row(self) -> int:
        """First row of the values that they go to."""
        return 3 if self.eyes == ("right",) else 0


@dataclass(slots=True)
class Scanned:
    """What one pass over the bytes gives."""

    time: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]  # (6, n): x, y, pupil of the left eye, then of the right
    blocks: list[Block]
    rows: AscRows
    started: bool  # whether there is a START line
    warnings: list[str] = field(default_factory=list)


def scan_file(path: Path) -> Scanned:
    """Go through the file once, from control line to control line.

    Raises
    ------
    RecordingError
        If it cannot be read, or a sample in it cannot.
    """
    from gazepipe.readers import _asc_kernel as kernel

    size, pieces = _open(path)
    out, blocks = _Output(size), _Blocks(path)
    state, tail, reason = out.state, b"", kernel.MORE
    for buf, end, tail in pieces:  # noqa: B007
        state[kernel.POS] = 0
        while True:
            block = blocks.current
            reason = kernel.scan(
                *(buf, end, block.n_values, block.row, block.rate_hz > 1000, block.first, blocks.in_href),
                *(out.time, out.values, out.text, out.table, out.numbers, state),
            )
            if reason == kernel.FULL:
                out.grow()
            elif reason == kernel.CONTROL:
                begin, pos, line, n = state[[kernel.BEGAN, kernel.POS, kernel.LINE, kernel.SAMPLES]].tolist()
                blocks.control(_decode(buf[begin:pos]).split(), line, n, finished=pos <= end)
            else:
                break
        pos, line, n = state[[kernel.POS, kernel.LINE, kernel.SAMPLES]].tolist()
        if reason == kernel.MALFORMED:
            raise _malformed(path, _line_at(buf, pos, end), line + 1, block)
        if reason == kernel.DISORDER:
            raise _disorder(path, _line_at(buf, pos, end), line + 1, float(out.time[n - 1]))
    warnings = []
    if reason == kernel.UNFINISHED:
        warnings.append(f"line {line + 1}, the last, is cut short and was dropped")
    elif tail.startswith((b"EFIX", b"ESACC", b"EBLINK")):
        state[kernel.ROWS] -= 1
        warnings.append(f"line {line}, the last, has no end-of-line; the event in it was dropped")
    elif tail.strip(b"\r") and not tail.startswith(b"END"):
        warnings.append(f"line {line}, the last, has no end-of-line; it may be cut short")
    kept, outside = blocks.close(n), int(state[kernel.OUTSIDE])
    if kept and outside:
        warnings.append(f"passed over: {counted(outside, 'line')} of numbers outside START … END")
    return Scanned(out.time[:n], out.values[:, :n], kept, out.rows(), blocks.started, blocks.warnings + warnings)


def _open(path: Path) -> tuple[int, Iterator[tuple[U8, int, bytes]]]:
    """Return the number of bytes, unpacked, and the pieces: a buffer, how much of it counts, and a last line cut off.

    Pieces end with a line's end, but for the last one of a file that does not.
    """
    check_file(path)
    if is_gzip(path):
        data = read_bytes(path)
        return len(data), iter([(_array(data), len(data), data[data.rfind(b"\n") + 1 :])])
    return path.stat().st_size, _pieces(path)


def _pieces(path: Path) -> Iterator[tuple[U8, int, bytes]]:
    store, kept = bytearray(_PIECE), 0
    try:
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(memoryview(store)[kept:]):
                size = kept + got
                end = store.rfind(b"\n", kept, size) + 1
                if end:
                    yield _array(store), end, b""
                    store[: size - end] = store[end:size]
                kept = size - end
                if kept == len(store):  # a line longer than the buffer
                    store = store + bytearray(len(store))
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecordingError(path, f"the file cannot be read ({reason})", remedy="check its permissions") from None
    if kept:
        yield _array(store), kept, bytes(store[:kept])


def _array(data: bytes | bytearray) -> U8:
    """Bytes as an array that is not written to: the loops are compiled for one kind."""
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    return array


class _Output:
    """The arrays that the loops fill; what is not written to takes no memory."""

    def __init__(self, size: int) -> None:
        samples, rows = size // 32 + 64, size // 128 + 64
        self.time, self.values = np.empty(samples), np.empty((6, samples), np.float32)
        self.text = np.empty(size // 8 + 4096, np.uint8)
        self.table, self.numbers = np.empty((rows, 5), np.int64), np.empty((rows, 6))
        self.state = np.zeros(8, np.int64)

    def grow(self) -> None:
        """Double what is full."""
        from gazepipe.readers import _asc_kernel as kernel

        if self.state[kernel.SAMPLES] == self.time.size:
            values = np.empty((6, 2 * self.time.size), np.float32)
            values[:, : self.time.size] = self.values
            self.time, self.values = _doubled(self.time), values
        elif self.state[kernel.ROWS] == len(self.table):
            self.table, self.numbers = _doubled(self.table), _doubled(self.numbers)
        else:
            self.text = _doubled(self.text)

    def rows(self) -> AscRows:
        """Lines that are no samples."""
        from gazepipe.readers import _asc_kernel as kernel

        n, end, ascii_only = self.state[kernel.ROWS], self.state[kernel.TEXT], not self.state[kernel.FOREIGN]
        return AscRows(self.text[:end].tobytes(), self.table[:n], self.numbers[:n], ascii_only)


def _doubled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


def _decode(raw: U8) -> str:
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
        self.done: list[Block] = []
        self.current = Block(0, 0)
        self.inside = self.started = self.in_href = False
        self.warnings: list[str] = []

    def control(self, words: list[str], line: int, n: int, *, finished: bool) -> None:
        """Take one control line; `n` samples stand before it."""
        self.started = self.started or words[0].startswith("START")
        if words[0] == "EVENTS":
            self.in_href = "HREF" in words[1:2]
        if words[0] == "START":
            self._keep(n)
            self.current = Block(line, n, _eyes_of(words))
            self.inside = True
        elif words[0] == "END" and self.inside:
            self.inside = False
            self._keep(n)
            self.current = Block(0, n)
        elif words[0] == "EVENTS" and self.inside and not self.current.rate_hz:
            self.current.rate_hz = _rate(words)
        elif words[0] == "SAMPLES" and self.inside and finished:
            self._layout(words, line, n)

    def close(self, n: int) -> list[Block]:
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
        self.current = Block(block.line, n, eyes, _rate(words) or block.rate_hz)


def _eyes_of(words: list[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in ("LEFT", "RIGHT") if name in words)


def _rate(words: list[str]) -> float:
    """Return the number after RATE, 0 where there is none that makes sense."""
    try:
        rate = float(words[words.index("RATE") + 1])
    except (ValueError, IndexError):
        return 0.0
    return rate if 1 <= rate <= _HIGHEST_HZ else 0.0


def _line_at(buf: U8, pos: int, end: int) -> str:
    return _decode(buf[pos : min(pos + 400, end)]).split("\n", 1)[0].rstrip("\r")


def _malformed(path: Path, text: str, line: int, block: Block) -> RecordingError:
    needed = block.n_values + 1
    words = re.split(r"[ \t]+", text.rstrip(" \t"))
    wrong = [w for w in words[:needed] if w != "." and not _is_number(w)]
    if wrong:
        found = f"{wrong[0][:40]!r} stands where a number should"
    elif len(words) < needed:
        found = f"the sample has {counted(len(words), 'column')}"
    else:
        found = f"the sample {text[:60]!r} cannot be read"
    both = "both eyes" if len(block.eyes) == 2 else f"the {block.eyes[0]} eye"
    expected = f"time, x, y and pupil of {both} ({needed} numbers)"
    return RecordingError(path, found, expected=expected, remedy=REMEDY, line=line)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word, re.ASCII) is not None


def _disorder(path: Path, text: str, line: int, previous: float) -> RecordingError:
    return RecordingError(
        path,
        f"the sample's time {text.split()[0]} follows {previous:.10g}",
        expected="times that increase within a block",
        remedy=REMEDY,
        line=line,
    )
