"""Generic tables of gaze, one sample a row: CSV, TSV, with any delimiter, plain or gzip-compressed.

Which column is what stands in the ``[csv]`` section of the configuration (`_column_map` says what becomes of them).

* Rows that are too short are filled with missing values; a last row that is cut short is dropped with a warning.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazepipe.config import CsvConfig, StudyConfig
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.readers._column_map import TEXTS, EyeKeys, eye_keys, find_columns, recording_of, too_few
from gazepipe.readers._columns import LARGEST
from gazepipe.readers._table import MISSING_WORDS, UTF16, guess_delimiter, is_cut, read_rows, split_fields
from gazepipe.readers.source import Reader, read_bytes
from gazepipe.recording import Recording
from gazepipe.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["READER", "read", "sniff"]

_FORMAT = "csv"
_SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}


def sniff(head: bytes, path: Path) -> bool:
    """Whether this is text whose name says that it is a table."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    return bool(suffixes) and suffixes[-1] in _SUFFIXES and (b"\0" not in head or head.startswith(UTF16))


@dataclass(slots=True)
class _Table:
    """The text of a table, and where its columns are."""

    path: Path
    text: str
    delimiter: str
    blank_lines: int  # taken off the top
    header_lines: int
    names: list[str]
    positions: dict[str, int]  # key of [csv] → index of the column
    warnings: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each data row with its line number; slow, for messages about errors."""
        reader = csv.reader(io.StringIO(self.text), delimiter=self.delimiter, skipinitialspace=True)
        for k, row in enumerate(reader):
            if k >= self.header_lines and row:
                yield self.blank_lines + reader.line_num, row


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a table of gaze samples.

    Parameters
    ----------
    path
        The file.
    config
        Its `csv` section names the columns and units, its `screen` section scales normalised positions.

    Returns
    -------
    Recording
        Eyes are ``"left"`` and ``"right"`` where `csv` names columns for them, else ``"cyclopean"``. `columns` has
        ``"trial"`` and ``"stimulus"`` where they are named.

    Raises
    ------
    RecordingError
        If a named column is not in the file, a cell is not a number, or there are no two samples.
    ConfigError
        If the `csv` section names only one of the x and y of an eye.
    """
    path = Path(path)
    eyes = eye_keys(config.csv)
    table = _open(path, config.csv, eyes)
    return recording_of(path, _FORMAT, _parse(table, config.csv), eyes, config, table.warnings)


def _open(path: Path, config: CsvConfig, eyes: EyeKeys) -> _Table:
    """Decode the file, find delimiter, columns and a last row that is cut short."""
    data = read_bytes(path)
    encoding = "utf-16" if data.startswith(UTF16) else "utf-8-sig"
    text = data.decode(encoding, "replace").replace("\r\n", "\n")
    blank_lines = len(text) - len(text := text.lstrip("\n"))
    if not text.strip():
        raise RecordingError(path, "the file has only blank lines", expected="a table of samples")
    lines = text.split("\n", 2)
    delimiter = _delimiter(config, lines[0])
    first = split_fields(lines[0], delimiter)
    names = first if config.header else [str(k + 1) for k in range(len(first))]
    positions = find_columns(path, names, config, eyes)
    table = _Table(path, text, delimiter, blank_lines, int(config.header), names, positions)
    second = split_fields(lines[1], delimiter) if config.header and len(lines) > 1 and lines[1] else first
    if any(second[len(names) :]):
        raise RecordingError(
            path,
            f"it has {counted(len(second), 'column')} of values under {counted(len(names), 'name')}",
            expected="a name for each column",
            remedy="check [csv] delimiter, and that decimals are written with a point",
            line=2,
        )
    _drop_cut_row(table, len(second))
    return table


def _delimiter(config: CsvConfig, line: str) -> str:
    """Return the configured delimiter, or the one of tab, semicolon, comma, bar that the first line has most of."""
    if config.delimiter in ("\t", "\\t"):
        return "\t"
    if len(config.delimiter) > 1:
        msg = f"[csv] delimiter is {config.delimiter!r}; expected a single character, or '\\t' for a tab."
        raise ConfigError(msg)
    return config.delimiter or guess_delimiter(line)


def _drop_cut_row(table: _Table, n_fields: int) -> None:
    """Drop a last row without end-of-line that has fewer fields than the others: the file was cut there."""
    end = table.text.rfind("\n") + 1
    last = table.text[end:]
    if end and is_cut(last, table.delimiter, n_fields):
        table.text = table.text[:end]
        table.warnings.append("the last row is cut short and was dropped")


def _parse(table: _Table, config: CsvConfig) -> pd.DataFrame:
    """Parse the columns that are needed; the result's columns are the keys of ``[csv]``."""
    import pandas as pd

    whole_time = config.time_unit == "ns"
    types: dict[int, Any] = dict.fromkeys(table.positions.values(), np.float64)
    types[table.positions["time"]] = np.int64 if whole_time else np.float64
    types |= {k: str for key, k in table.positions.items() if key in TEXTS}
    try:
        frame = read_rows(
            io.StringIO(table.text),
            table.delimiter,
            len(table.names),
            types,
            skiprows=table.header_lines,
            skipinitialspace=True,
        )
    except (ValueError, OverflowError) as error:
        raise _bad_cell(table, whole_time, str(error)) from None
    columns = {key: frame[k] for key, k in table.positions.items()}
    if not whole_time and not (columns["time"].abs() < LARGEST).all():
        raise _bad_cell(table, whole_time, "a time is missing")
    if len(frame) < 2:
        raise too_few(table.path, len(frame))
    return pd.DataFrame(columns)


def _bad_cell(table: _Table, whole_time: bool, reason: str) -> RecordingError:
    """Find the first cell that is not a number, by a slow second reading."""
    numeric = {k: key for key, k in table.positions.items() if key not in TEXTS}
    try:
        for line, row in table.rows():
            for k, key in numeric.items():
                cell = row[k].strip() if k < len(row) else ""
                if not _good(cell, key, whole_time):
                    what = "a whole number" if key == "time" and whole_time else "a number"
                    content = f"has {cell[:40]!r}" if cell else "is empty"
                    return RecordingError(
                        table.path,
                        f"column {table.names[k]!r} {content}",
                        expected=what,
                        remedy=f"check the row, [csv] {key} and [csv] delimiter",
                        line=line,
                    )
    except csv.Error as error:
        reason = str(error)
    return RecordingError(table.path, f"the table cannot be read ({reason.strip()})", remedy="export it again")


def _good(cell: str, key: str, whole_time: bool) -> bool:
    if key != "time" and (not cell or cell in MISSING_WORDS):
        return True
    try:
        if key == "time" and whole_time:
            return -(2**63) <= int(cell) < 2**63
        value = float(cell)
    except ValueError:
        return False
    return key != "time" or abs(value) < LARGEST


READER = Reader(_FORMAT, sniff, read)
