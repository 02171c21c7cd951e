"""Generic tables of gaze, one sample a row: CSV, TSV, with any delimiter, plain or gzip-compressed.

Which column is what stands in the ``[csv]`` section of the configuration. Rules that a table cannot state itself:

* A time that goes backwards starts a new block (files whose clock restarts with every trial), and so does a hole of
  more than a second, or of more than 100 samples where that is longer.
* A row whose time is that of the row before gives no sample; its message is kept.
* The rate, where the configuration has none, is one over the mean of the ordinary time steps (within half of their
  median), because whole milliseconds hide it: 300 Hz is 3, 3, 4, 3 ….
* Times in nanoseconds are read as whole numbers and counted from the first; that one is ``meta["time_origin_ns"]``.
* Rows that are too short are filled with missing values; a last row that is cut short is dropped with a warning.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import CsvConfig, StudyConfig
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.readers._table import (
    MISSING_WORDS,
    UTF16,
    block_starts,
    clock_breaks,
    guess_delimiter,
    increasing,
    is_cut,
    sampling_rate,
    split_fields,
)
from gazepipe.readers.source import Reader, read_bytes
from gazepipe.recording import EyeSamples, Message, Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["READER", "read", "sniff"]

F64 = npt.NDArray[np.float64]
_FORMAT = "csv"
_SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
_TO_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


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

    def has(self, key: str) -> bool:
        return key in self.positions

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
    eyes = _eye_keys(config.csv)
    table = _open(path, config.csv, eyes)
    frame = _parse(table, config.csv)
    time, meta = _time(table, frame, config.csv)
    samples = {name: _eye(frame, keys, config) for name, keys in eyes.items()}
    messages = _messages(frame, time)
    columns = {key: _column(frame, key) for key in ("trial", "stimulus") if table.has(key)}

    kept = increasing(time)
    if not kept.all():
        table.warnings.append(f"{np.count_nonzero(~kept)} rows with the time of the row before gave no sample")
        time = time[kept]
        samples = {name: EyeSamples(e.x_px[kept], e.y_px[kept], e.pupil[kept]) for name, e in samples.items()}
        columns = {name: values[kept] for name, values in columns.items()}
    rate = config.csv.sampling_rate_hz or sampling_rate(path, time)
    start = block_starts(time, rate)
    table.warnings += clock_breaks(time)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes=samples,
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        messages=messages,
        columns=columns,
        meta=meta,
        warnings=table.warnings,
    )


def _eye_keys(config: CsvConfig) -> dict[str, tuple[str, str, str]]:
    """For each eye the keys of its x, y and pupil."""
    eyes = {}
    for eye in ("left", "right"):
        x, y, pupil = f"{eye}_x", f"{eye}_y", f"{eye}_pupil"
        named = [key for key in (x, y) if getattr(config, key)]
        if len(named) == 1:
            msg = f"[csv] {named[0]} is set without its partner; set both {x} and {y}, or neither."
            raise ConfigError(msg)
        if named:
            eyes[eye] = (x, y, pupil)
    return eyes or {"cyclopean": ("x", "y", "pupil")}


def _open(path: Path, config: CsvConfig, eyes: dict[str, tuple[str, str, str]]) -> _Table:
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
    table = _Table(path, text, delimiter, blank_lines, int(config.header), names, {})
    _find_columns(table, config, eyes)
    second = split_fields(lines[1], delimiter) if config.header and len(lines) > 1 and lines[1] else first
    if any(second[len(names) :]):
        raise RecordingError(
            path,
            f"there are {len(second)} columns of values under {len(names)} names",
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


def _find_columns(table: _Table, config: CsvConfig, eyes: dict[str, tuple[str, str, str]]) -> None:
    keys = ["time", *(key for group in eyes.values() for key in group), "trial", "stimulus", "message"]
    for key in keys:
        name = getattr(config, key)
        if not name and key in ("time", "x", "y"):
            msg = f"[csv] {key} is empty; expected the name of a column."
            raise ConfigError(msg)
        if name and name not in table.names:
            raise _missing_column(table, key, name)
        if name:
            table.positions[key] = table.names.index(name)


def _missing_column(table: _Table, key: str, name: str) -> RecordingError:
    lower = {n.lower(): n for n in table.names}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.4)
    shown = ", ".join(n[:40] for n in table.names[:30]) + (", …" if len(table.names) > 30 else "")
    hint = f", perhaps to {lower[near[0]]!r}" if near else ""
    return RecordingError(
        table.path,
        f"there is no column {name!r} (columns here: {shown})",
        remedy=f"set [csv] {key} to the right name{hint}",
    )


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

    texts = {"stimulus", "message", "trial"}
    whole_time = config.time_unit == "ns"
    used = sorted(set(table.positions.values()))
    types: dict[int, Any] = dict.fromkeys(used, np.float64)
    types[table.positions["time"]] = np.int64 if whole_time else np.float64
    types |= {k: str for key, k in table.positions.items() if key in texts}
    try:
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # pandas checks its casts itself
            # A delimiter at the end of every row is harmless, and pandas warns of it.
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(table.text),
                sep=table.delimiter,
                header=None,
                names=range(len(table.names)),
                index_col=False,
                skiprows=table.header_lines,
                usecols=used,
                dtype=types,
                skipinitialspace=True,
                engine="c",
            )
    except (ValueError, OverflowError) as error:
        raise _bad_cell(table, whole_time, str(error)) from None
    columns = {key: frame[k] for key, k in table.positions.items()}
    if columns["time"].isna().any() or np.isinf(columns["time"].to_numpy(np.float64)).any():
        raise _bad_cell(table, whole_time, "a time is missing")
    if len(frame) < 2:
        raise RecordingError(
            table.path,
            f"there are {len(frame)} rows of samples",
            expected="two or more",
            remedy="export the recording again",
        )
    return pd.DataFrame(columns)


def _bad_cell(table: _Table, whole_time: bool, reason: str) -> RecordingError:
    """Find the first cell that is not a number, by a slow second reading."""
    numeric = {k: key for key, k in table.positions.items() if key not in ("trial", "stimulus", "message")}
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
    return key != "time" or math.isfinite(value)


def _time(table: _Table, frame: pd.DataFrame, config: CsvConfig) -> tuple[F64, dict[str, Any]]:
    values = frame["time"].to_numpy()
    if config.time_unit == "ns":
        origin = int(values[0])
        return (values - values[0]).astype(np.float64) / 1e6, {"time_origin_ns": origin}
    return values * _TO_MS[config.time_unit], {}


def _eye(frame: pd.DataFrame, keys: tuple[str, str, str], config: StudyConfig) -> EyeSamples:
    """One eye's samples; where x or y is missing, both are."""
    x, y = (_number(frame, key, config.csv) for key in keys[:2])
    missing = np.isnan(x) | np.isnan(y)
    if config.csv.position_unit == "normalised":
        x, y = x * config.screen.width_px, y * config.screen.height_px
    x[missing], y[missing] = np.nan, np.nan
    pupil = _number(frame, keys[2], config.csv) if keys[2] in frame else np.full(x.size, np.nan)
    return EyeSamples(x.astype(np.float32), y.astype(np.float32), pupil.astype(np.float32))


def _number(frame: pd.DataFrame, key: str, config: CsvConfig) -> F64:
    values: F64 = frame[key].to_numpy(np.float64, copy=True)
    # A number that float32 cannot hold is no gaze position.
    values[~(np.abs(values) < 1e30) | np.isin(values, config.missing)] = np.nan
    return values


def _messages(frame: pd.DataFrame, time: F64) -> list[Message]:
    if "message" not in frame:
        return []
    there = np.flatnonzero(frame["message"].notna().to_numpy())
    texts = frame["message"].to_numpy(object)[there]
    return [Message(float(time[k]), str(text)) for k, text in zip(there, texts, strict=True)]


def _column(frame: pd.DataFrame, key: str) -> npt.NDArray[Any]:
    """Trial numbers as whole numbers where all are, else as text; stimulus names as text, '' where missing."""
    texts: npt.NDArray[Any] = frame[key].fillna("").to_numpy(object)
    if key == "trial":
        try:
            return texts.astype(np.int64)
        except (ValueError, OverflowError):
            return texts
    return texts


READER = Reader(_FORMAT, sniff, read)
