"""Tables that software wrote for software: exact column names, whole nanoseconds, one dialect.

Unlike the vendors' exports for people (`_table`), these never have a decimal comma, units of choice or lines above the
column names. Their times may be integers of 19 digits, which a float64 would round to 256 ns.

A last row without end-of-line is dropped with a warning: nobody can tell whether its last number is whole.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers._table import MISSING_WORDS, guess_delimiter, listed, plain_text, read_rows, split_fields

__all__ = ["Columns", "Kind", "read_columns"]

Kind = Literal["ns", "number", "text"]
_NO_NUMBER = sorted(MISSING_WORDS | {""})
_REMEDY = "export the recording again (a spreadsheet program that saves such a table rounds its times)"


@dataclass(slots=True)
class Columns:
    """Columns of one table by name, each of shape ``(n_rows,)``: int64 for "ns", float64, or str ("" for none)."""

    path: Path
    values: dict[str, npt.NDArray[Any]]
    n_rows: int
    first_line: int = 2
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> npt.NDArray[Any] | None:
        """Return a column, or None if the table does not have it."""
        return self.values.get(name)

    def take(self, rows: npt.NDArray[Any]) -> Columns:
        """Return some of the rows, by index or mask."""
        values = {name: column[rows] for name, column in self.values.items()}
        n_rows = int(np.arange(self.n_rows)[rows].size)
        return Columns(self.path, values, n_rows, self.first_line, self.warnings)


def read_columns(
    path: Path,
    kinds: Mapping[str, Kind],
    *,
    optional: Collection[str] = (),
    delimiter: str = "",
    names: list[str] | None = None,
) -> Columns:
    """Read the columns named in `kinds`; the others are passed over.

    Parameters
    ----------
    path
        The table, plain or gzip-compressed.
    kinds
        What each column holds.
    optional
        Columns that need not be there.
    delimiter
        Found from the first line if empty.
    names
        Names of the columns of a table that should not have them itself; if it has, its first line is passed over.

    Raises
    ------
    RecordingError
        If the file cannot be read, lacks a column, or has a cell that is not what its column holds.
    """
    data = plain_text(path)
    head = data[: data.find(b"\n") + 1 or len(data)].decode("utf-8", "replace").rstrip("\r\n")
    delimiter = delimiter or guess_delimiter(head)
    body = 0
    first = split_fields(head, delimiter)
    if names is None or first[:1] == names[:1]:
        names = first if names is None else names
        body = data.find(b"\n") + 1 or len(data)
    table = _Raw(path, data, body, delimiter, names, _wanted(path, names, kinds, optional))
    warned = table.drop_unfinished()
    values, n_rows = table.parse(kinds)
    return Columns(path, values, n_rows, table.first_line, warned)


def _wanted(path: Path, names: list[str], kinds: Mapping[str, Kind], optional: Collection[str]) -> dict[str, int]:
    missing = [name for name in kinds if name not in names and name not in optional]
    if missing:
        found = f"there is no column {missing[0]!r} (columns here: {listed(names)})"
        raise RecordingError(path, found, expected=f"the columns {', '.join(map(repr, kinds))}", remedy=_REMEDY)
    return {name: names.index(name) for name in kinds if name in names}


@dataclass(slots=True)
class _Raw:
    """The bytes of a table and where the wanted columns stand."""

    path: Path
    data: bytes
    body: int
    delimiter: str
    names: list[str]
    positions: dict[str, int]

    @property
    def first_line(self) -> int:
        return 2 if self.body else 1

    def drop_unfinished(self) -> list[str]:
        end = max(self.data.rfind(b"\n") + 1, self.body)
        if not self.data[end:].strip():
            return []
        self.data = self.data[:end]
        return [f"{self.path.name}: the last row has no end-of-line, may be cut short and was dropped"]

    def parse(self, kinds: Mapping[str, Kind]) -> tuple[dict[str, npt.NDArray[Any]], int]:
        types: dict[str, Any] = {"ns": np.int64, "number": np.float64, "text": object}
        if not self.data[self.body :].strip():
            return {name: np.zeros(0, types[kinds[name]]) for name in self.positions}, 0
        columns: dict[int, Any] = {k: types[kinds[name]] for name, k in self.positions.items()}
        missing = {k: _NO_NUMBER for k, kind in columns.items() if kind is np.float64}
        file = io.BytesIO(self.data)
        file.seek(self.body)
        try:
            frame = read_rows(
                file,
                self.delimiter,
                len(self.names),
                columns,
                na_values=missing,
                keep_default_na=False,
                encoding="utf-8",
            )
        except (ValueError, OverflowError) as error:
            raise self._bad_cell(kinds, str(error)) from None
        values: dict[str, npt.NDArray[Any]] = {}
        for name, k in self.positions.items():
            column = frame[k].fillna("") if kinds[name] == "text" else frame[k]
            values[name] = column.to_numpy()
            if kinds[name] == "ns" and (values[name] < 0).any():
                raise self._bad_cell(kinds, "a time is negative")
        return values, len(frame)

    def _bad_cell(self, kinds: Mapping[str, Kind], reason: str) -> RecordingError:
        """Find the first cell that is not what it should be, by a slow second reading."""
        reader = csv.reader(io.StringIO(self.data[self.body :].decode("utf-8", "replace")), delimiter=self.delimiter)
        try:
            for row in reader:
                for name, k in self.positions.items():
                    cell = row[k].strip() if k < len(row) else ""
                    if not row or _good(cell, kinds[name]):
                        continue
                    content = f"has {cell[:40]!r}" if cell else "is empty"
                    return RecordingError(
                        self.path,
                        f"column {name!r} {content}",
                        expected="a whole number of nanoseconds" if kinds[name] == "ns" else "a number",
                        remedy=_REMEDY,
                        line=reader.line_num + self.first_line - 1,
                    )
        except csv.Error as error:
            reason = str(error)
        return RecordingError(self.path, f"the table cannot be read ({reason.strip()})", remedy=_REMEDY)


def _good(cell: str, kind: Kind) -> bool:
    if kind == "text" or (kind == "number" and cell in _NO_NUMBER):
        return True
    try:
        return 0 <= int(cell) < 2**63 if kind == "ns" else not math.isnan(float(cell)) and "_" not in cell
    except ValueError:
        return False
