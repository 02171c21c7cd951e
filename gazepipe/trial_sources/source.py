"""What all trial files share: the `TrialRows` they become, and reading a table as text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe.config import TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._table import MISSING_WORDS, decode, guess_delimiter
from gazepipe.readers.source import read_bytes
from gazepipe.words import counted

__all__ = ["TextTable", "TrialRows", "TrialSource", "base_name", "image_column", "read_table", "unit_ms"]

F64 = npt.NDArray[np.float64]
_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_IMAGE_COLUMNS = ("image", "image_file", "imagefile", "stimulus", "stim_file", "stimfile", "stim", "picture", "img")


@dataclass(frozen=True, slots=True)
class TrialRows:
    """The presentations that a trial file lists, on the file's own clock.

    Parameters
    ----------
    path
        The file.
    format
        Name of the source.
    clock
        What ``[trials] clock = "auto"`` means for such files; "" where it must be said.
    onset_ms, offset_ms
        Shape ``(n,)``; an off-set that the file does not state is NaN.
    stimulus, placement
        "" where not stated.
    repeat
        0 where not stated.
    events
        Name → times in ms, of everything that may also be known to the tracker.
    """

    path: Path
    format: str
    clock: str
    onset_ms: F64
    offset_ms: F64
    stimulus: Sequence[str]
    placement: Sequence[str] = ()
    repeat: Sequence[int] = ()
    events: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialSource:
    """One kind of trial file.

    Parameters
    ----------
    name
        What `TrialRows.format` will say.
    sniff
        Whether a file is of this kind, from the beginning of its text.
    read
        Read it for one user and session; a file beside a recording (the last argument is True) is that recording's
        whether it names a user or not.
    """

    name: str
    sniff: Callable[[str], bool]
    read: Callable[[Path, TrialsConfig, str, str, bool], TrialRows]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table as text: column names and rows of as many cells, with the line each row begins in."""

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def texts(self, name: str) -> list[str]:
        """Return the cells of a column; "" for those that stand for nothing."""
        k = self.names.index(name)
        return ["" if row[k] in MISSING_WORDS else row[k] for row in self.rows]

    def numbers(self, name: str, unit_ms: float = 1.0) -> F64:
        """Return a column as numbers, NaN where there is none.

        Raises
        ------
        RecordingError
            If a cell is neither a number nor empty.
        """
        out = np.empty(len(self.rows))
        for i, cell in enumerate(self.texts(name)):
            try:
                out[i] = float(cell) if cell else math.nan
            except ValueError:
                raise RecordingError(
                    self.path, f"{cell[:40]!r} stands in column {name!r}", expected="a number", line=self.lines[i]
                ) from None
        return out * unit_ms

    def where(self, keep: Sequence[bool]) -> TextTable:
        """Return some of the rows."""
        kept = [i for i, k in enumerate(keep) if k]
        return TextTable(self.path, self.names, [self.rows[i] for i in kept], [self.lines[i] for i in kept])

    def no_column(self, wanted: str, key: str, candidates: Sequence[str]) -> RecordingError:
        """Return the error for a column that is not there."""
        shown = ", ".join(candidates[:12]) + (", …" if len(candidates) > 12 else "")
        return RecordingError(
            self.path,
            f"there is no column {wanted!r} (there are {shown or 'none like it'})",
            expected=f"the column that [trials] {key} names",
            remedy=f"correct [trials] {key}",
        )


def read_table(path: Path) -> TextTable:
    """Read a table of few rows, whatever its delimiter.

    Raises
    ------
    RecordingError
        If the file cannot be read, has no rows, or a row has more cells than there are names.
    """
    try:
        about = path.stat()
    except OSError:
        return _parse(path, 0, 0)  # which says what is wrong
    return _parse(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=2)
def _parse(path: Path, _changed: int, _size: int) -> TextTable:
    """`read_table`, once for a table that all recordings of a study share."""
    text = decode(read_bytes(path))
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=guess_delimiter(first))
    names: list[str] = []
    rows, lines = [], []
    before = 0
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not names:
                names = cells
                continue
            if any(cells[len(names) :]):
                found = f"the row has {counted(len(cells), 'cell')}"
                raise RecordingError(path, found, expected=f"{len(names)}, as there are names", line=line)
            rows.append((cells + [""] * len(names))[: len(names)])
            lines.append(line)
    except csv.Error as error:
        raise RecordingError(path, f"not a table ({error})", line=reader.line_num) from None
    if not rows:
        raise RecordingError(path, "there are no rows below the column names", expected="one row a trial")
    return TextTable(path, names, rows, lines)


def unit_ms(settings: TrialsConfig, usual: str) -> float:
    """Milliseconds in the unit of a file's times."""
    return _MS[settings.time_unit or usual]


def base_name(cell: str) -> str:
    """Image's file name without the folders before it."""
    return cell.strip().strip("\"'").replace("\\", "/").rsplit("/", 1)[-1]


def image_column(table: TextTable, settings: TrialsConfig) -> str | None:
    """Column that names the image: the configured one, else one with a usual name, else none.

    Raises
    ------
    RecordingError
        If the configured one is not there.
    """
    if settings.stimulus_column:
        if settings.stimulus_column not in table.names:
            raise table.no_column(settings.stimulus_column, "stimulus_column", table.names)
        return settings.stimulus_column
    known = {name.lower(): name for name in reversed(table.names)}
    return next((known[name] for name in _IMAGE_COLUMNS if name in known), None)
