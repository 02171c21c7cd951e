"""What the readers of text tables share: finding header and dialect, parsing, and what times say about blocks.

A `Table` keeps the file's bytes and lets pandas parse only the columns asked for, a chunk of rows at a time, so that
the hundred columns of a vendor's export cost no memory. Numbers may have a decimal point or a decimal comma; which one
is found out by trying, the more likely first.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.readers.source import HEAD_BYTES, read_bytes
from gazepipe.words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MISSING_WORDS",
    "UTF16",
    "Table",
    "block_starts",
    "clock_breaks",
    "decode",
    "guess_delimiter",
    "header_of",
    "increasing",
    "is_cut",
    "listed",
    "open_table",
    "plain_text",
    "read_rows",
    "sampling_rate",
    "split_fields",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# What pandas takes for a missing number.
MISSING_WORDS = {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"}
MISSING_WORDS |= {"None", "-NaN", "-nan", "NaN", "n/a", "nan", "null"}
_CHUNK_ROWS = 100_000
_SET_MS = 600_000.0
_NO_NUMBER = sorted(MISSING_WORDS | {"", "-"})


def decode(data: bytes) -> str:
    """Decode UTF-16 that says so, else UTF-8, else what Windows wrote before it."""
    if data.startswith(UTF16):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A head may end inside a character.
        return data.decode("utf-8-sig" if error.start > len(data) - 4 else "cp1252", "replace")


def header_of(head: bytes, pattern: re.Pattern[str]) -> tuple[int, str] | None:
    """Number (from 0) and text of the first line that `pattern` finds, among those in `head`."""
    for number, line in enumerate(decode(head[:HEAD_BYTES]).split("\n")):
        if pattern.search(line):
            return number, line.rstrip("\r")
    return None


def guess_delimiter(line: str) -> str:
    """Return the one of tab, semicolon, comma, bar that a line has most of."""
    return max("\t;,|", key=line.count)


def split_fields(line: str, delimiter: str) -> list[str]:
    """Divide a line at its delimiters, quotes taken into account; empty where that cannot be done."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
    except csv.Error:
        return []


def is_cut(last: str, delimiter: str, n_fields: int) -> bool:
    """Whether a last line, which has no end-of-line, has fewer fields than the others: the file was cut there."""
    return bool(last) and len(split_fields(last, delimiter)) < n_fields


def listed(names: list[str]) -> str:
    """Return columns' names as messages show them."""
    return ", ".join(n[:40] for n in names[:30]) + (", …" if len(names) > 30 else "")


def plain_text(path: Path) -> bytes:
    """Return a file's text without byte-order mark, in UTF-8 where it was UTF-16.

    Raises
    ------
    RecordingError
        If the file cannot be read, or has a zero byte, which no text has.
    """
    data = read_bytes(path)
    if data.startswith(UTF16):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if (nul := data.find(b"\0")) >= 0:
        raise RecordingError(
            path, f"byte {nul} of the text is zero", expected="text", remedy="copy or export the file again"
        )
    return data


def read_rows(
    file: io.BytesIO | io.StringIO, delimiter: str, n_columns: int, types: Mapping[int, Any], **options: Any
) -> Any:
    """Let pandas parse some columns of a table without its line of names; columns are called by their index.

    `options` are pandas' own; with ``chunksize``, the result is an iterator over frames. Names may occur twice, so they
    are of no use here.

    Raises
    ------
    ValueError, OverflowError
        If a cell is not of its column's type, or the table is no table.
    """
    import pandas as pd

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # pandas checks its casts itself
        # A delimiter at the end of every row is harmless, and pandas warns of it.
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        return pd.read_csv(
            file,
            sep=delimiter,
            header=None,
            names=range(n_columns),
            index_col=False,
            usecols=sorted(types),
            dtype=dict(types),
            encoding_errors="replace",
            engine="c",
            **options,
        )


def sampling_rate(path: Path, time_ms: F64) -> float:
    """One over the mean of the ordinary time steps (within half of their median), in Hz.

    Raises
    ------
    RecordingError
        If no time is later than the one before.
    """
    steps = np.diff(time_ms)
    steps = steps[steps > 0]
    if not steps.size:
        raise RecordingError(path, "no time is later than the one before", expected="times that increase")
    middle = float(np.median(steps))
    ordinary = steps[np.abs(steps - middle) <= middle / 2]
    if not ordinary.size:  # the median of an even number may lie far from all of them
        ordinary = steps[steps <= middle]
    return 1000.0 / float(ordinary.mean())


def block_starts(time_ms: F64, rate_hz: float) -> I64:
    """First sample of each block: where time goes back, or after a hole of a second (and of 100 samples)."""
    steps = np.diff(time_ms)
    hole = (steps < 0) | (steps > max(1000.0, 1e5 / rate_hz))
    return np.append(0, np.flatnonzero(hole) + 1).astype(np.int64)


def clock_breaks(time_ms: F64) -> list[str]:
    """Say how often the clock went back, or ahead by more than ten minutes, as one does that is set."""
    steps = np.diff(time_ms)
    back, ahead = int(np.count_nonzero(steps < 0)), int(np.count_nonzero(steps > _SET_MS))
    said = [f"time goes back {back} times, each of which begins a block"] if back else []
    return said + ([f"time jumps ahead by more than ten minutes {ahead} times"] if ahead else [])


def increasing(time_ms: F64) -> npt.NDArray[np.bool_]:
    """Return which samples have another time than the one before."""
    return np.append(True, np.diff(time_ms) != 0)[: time_ms.size]


@dataclass(slots=True)
class Table:
    """The bytes of a table, and what its columns are called."""

    path: Path
    data: bytes
    encoding: str
    delimiter: str
    names: list[str]
    preamble: list[str]  # lines above the names
    body: int  # where the rows begin in `data`
    warnings: list[str] = field(default_factory=list)

    def first_row(self) -> list[str]:
        """Return the fields of the first row, with as many as there are names."""
        row = next((cells for _, cells in self.rows()), [])
        return (row + [""] * len(self.names))[: len(self.names)]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with its line number; slow, for messages about errors and for tables with odd rows."""
        file = io.TextIOWrapper(io.BytesIO(self.data), self.encoding, "replace", newline="")
        skipped = len(self.preamble) + 1
        for _ in range(skipped):
            file.readline()
        reader = csv.reader(file, delimiter=self.delimiter)
        try:
            for row in reader:
                if row:
                    yield skipped + reader.line_num, [cell.strip() for cell in row]
        except csv.Error as error:
            raise self.unreadable(str(error), skipped + reader.line_num) from None

    def parse(
        self,
        numbers: Collection[int],
        texts: Collection[int],
        keep: Callable[[pd.DataFrame], pd.DataFrame],
        required: Collection[int] = (),
    ) -> pd.DataFrame:
        """Parse columns, by index; `keep` says what is kept of each chunk of rows.

        Numbers become float64 with NaN for missing ones, texts become str with "" for missing ones.

        Raises
        ------
        RecordingError
            If a cell is not a number, or one of a `required` column is missing; the message names column and line.
        """
        if not re.compile(rb"\S").search(self.data, self.body):
            raise self.too_few(0)
        likely = b"," if self._has_decimal_comma() else b"."
        for decimal in (likely, b"." if likely == b"," else b","):
            if decimal.decode() == self.delimiter:
                continue
            try:
                return self._parse(numbers, texts, keep, required, decimal.decode())
            except (ValueError, OverflowError, IndexError) as error:
                reason = str(error)
        raise self._bad_cell(numbers, required, likely.decode(), reason)

    def _has_decimal_comma(self) -> bool:
        sep = re.escape(self.delimiter.encode())
        comma = re.compile(rb'(?:^|%b)"?-?\d+,\d+"?(?:%b|\r?$)' % (sep, sep), re.MULTILINE)
        return self.delimiter != "," and comma.search(self.data, self.body, self.body + (1 << 20)) is not None

    def _parse(
        self,
        numbers: Collection[int],
        texts: Collection[int],
        keep: Callable[[pd.DataFrame], pd.DataFrame],
        required: Collection[int],
        decimal: str,
    ) -> pd.DataFrame:
        import pandas as pd

        types: dict[int, Any] = dict.fromkeys(numbers, np.float64) | dict.fromkeys(texts, object)
        file = io.BytesIO(self.data)
        file.seek(self.body)
        reader = read_rows(
            file,
            self.delimiter,
            len(self.names),
            types,
            na_values=dict.fromkeys(numbers, _NO_NUMBER),
            keep_default_na=False,
            decimal=decimal,
            skipinitialspace=True,
            encoding=self.encoding,
            chunksize=_CHUNK_ROWS,
        )
        parts = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # chunks are parsed here
            for chunk in reader:
                # A row that is too short has NaN for its texts.
                chunk[list(texts)] = chunk[list(texts)].fillna("")
                for k in required:
                    if not np.isfinite(chunk[k].to_numpy(np.float64)).all():
                        msg = f"{self.names[k]!r} is missing in a row"
                        raise ValueError(msg)
                parts.append(keep(chunk))
        return pd.concat(parts, ignore_index=True)

    def _bad_cell(self, numbers: Collection[int], required: Collection[int], decimal: str, why: str) -> RecordingError:
        """Find the first cell that is not a number, by a slow second reading."""
        for line, row in self.rows():
            for k in numbers:
                cell = row[k] if k < len(row) else ""
                if _is_good(cell, decimal, k in required):
                    continue
                content = f"has {cell[:40]!r}" if cell else "is empty"
                return RecordingError(
                    self.path,
                    f"column {self.names[k]!r} {content}",
                    expected="a number",
                    remedy="export the recording again",
                    line=line,
                )
        return self.unreadable(why)

    def unreadable(self, why: str, line: int | None = None) -> RecordingError:
        """Return the error for a table that is no table."""
        return RecordingError(
            self.path, f"the table cannot be read ({why.strip()})", remedy="export the recording again", line=line
        )

    def too_few(self, n: int, what: str = "samples") -> RecordingError:
        """Return the error for a table with too few rows."""
        return RecordingError(
            self.path,
            f"it has {counted(n, 'row')} of {what}",
            expected="two or more",
            remedy="export the recording again",
        )

    def no_column(self, remedy: str, what: str) -> RecordingError:
        """Return the error for a column that is not there."""
        found = f"there is no column with {what} (columns here: {listed(self.names)})"
        return RecordingError(self.path, found, remedy=remedy)


def _is_good(cell: str, decimal: str, required: bool) -> bool:
    """Whether a cell is a number, or empty where it need not be one."""
    if not required and cell in _NO_NUMBER:
        return True
    if "_" in cell or (decimal != "." and "." in cell):  # Python takes 1_000 for a number, nobody else does
        return False
    try:
        value = float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return math.isfinite(value) or not required


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(data), 1 << 24):
            decoder.decode(data[at : at + (1 << 24)])
    except UnicodeDecodeError:
        return False
    return True


def open_table(path: Path, pattern: re.Pattern[str]) -> Table:
    """Read a table whose line of column names is the first that `pattern` finds.

    A last row without end-of-line that has too few fields is dropped with a warning: the file was cut there.

    Raises
    ------
    RecordingError
        If the file cannot be read or has no such line.
    """
    data = plain_text(path)
    found = header_of(data, pattern)
    if found is None:
        raise RecordingError(path, "there is no line of column names", remedy="export the recording again")
    body = 0
    for _ in range(found[0] + 1):
        body = data.find(b"\n", body) + 1 or len(data)
    head = data[:body]
    # One damaged byte must not turn the units' μ into something else, so the head decides where it can.
    encoding = "utf-8" if _is_utf8(data if head.isascii() else head) else "cp1252"
    lines = head.decode(encoding, "replace").replace("\r", "").split("\n")
    delimiter = guess_delimiter(lines[found[0]])
    names = split_fields(lines[found[0]], delimiter)
    end, warned = max(data.rfind(b"\n") + 1, body), []
    if is_cut(data[end:].decode(encoding, "replace"), delimiter, len(names)):
        data = data[:end]
        warned.append("the last row is cut short and was dropped")
    return Table(path, data, encoding, delimiter, names, lines[: found[0]], body, warned)
