"""Parquet tables of gaze, one sample a row, with the same ``[csv]`` section as text tables (the extra "parquet").

What differs from text, because a Parquet column has a type:

* A time may be a timestamp (of any unit, with or without time zone) or a duration: ``time_unit`` is then not used. It
  is kept in whole nanoseconds, counted from the first.
* Numbers may be of any width, whole, decimal or nullable; null and NaN are missing.
* Trial, stimulus and message may be text, dictionary-encoded ("categorical") or numbers.
* ``delimiter`` and ``header`` mean nothing here.

pyarrow is used rather than the lighter fastparquet (170 MB against 10 MB) because it reads all types and encodings, is
what pandas, Polars and R write such files with, and is continuously fuzzed against damaged ones.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazepipe.config import CsvConfig, StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._column_map import TEXTS, eye_keys, find_columns, recording_of, too_few
from gazepipe.readers._columns import LARGEST
from gazepipe.readers.source import Reader, check_file, is_gzip, read_bytes
from gazepipe.recording import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_ROWS", "READER", "read", "sniff"]

_FORMAT = "parquet"
_MAGIC = b"PAR1"
#: Ten hours at 2000 Hz; a table of equal values may state a thousand times as many in a kilobyte.
MAX_ROWS = 72_000_000
_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_REMEDY = "write the table again"


def sniff(head: bytes, path: Path) -> bool:
    """Whether the content begins as Parquet does."""
    return head.startswith(_MAGIC)


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a Parquet table of gaze samples.

    Parameters
    ----------
    path
        The file.
    config
        Its `csv` section names the columns and units, its `screen` section scales normalised positions.

    Returns
    -------
    Recording
        As `gazepipe.readers.csv_table.read` gives it.

    Raises
    ------
    RecordingError
        If pyarrow is not installed, a named column is not there or of the wrong type, a time is missing, or the file is
        damaged.
    ConfigError
        If the `csv` section names only one of the x and y of an eye.
    """
    path = Path(path)
    check_file(path)
    if importlib.util.find_spec("pyarrow") is None:
        raise RecordingError(
            path,
            "this is a Parquet table, and pyarrow, which reads them, is not installed",
            remedy='install it with `pip install "gazepipe[parquet]"`, or export the table as CSV',
        )
    eyes = eye_keys(config.csv)
    table, positions = _columns(path, config.csv)
    frame = _frame(path, table, positions, config.csv)
    if len(frame) < 2:
        raise too_few(path, len(frame))
    return recording_of(path, _FORMAT, frame, eyes, config, [])


def _columns(path: Path, config: CsvConfig) -> tuple[Any, dict[str, int]]:
    """Read the columns that are named, and return key of ``[csv]`` → its place in the table read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(read_bytes(path)) if is_gzip(path) else str(path)) as file:
            rows, names = file.metadata.num_rows, file.schema_arrow.names
            positions = find_columns(path, names, config, eye_keys(config))
            if rows > MAX_ROWS:
                raise RecordingError(path, f"it has {rows} rows", expected=f"at most {MAX_ROWS}", remedy="divide it")
            wanted = sorted({names[k] for k in positions.values()})
            table = file.read(columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        reason = str(error).split("\n", 1)[0].strip()
        raise RecordingError(
            path, f"the table cannot be read ({reason})", expected="a complete Parquet file", remedy=_REMEDY
        ) from None
    return table, {key: table.column_names.index(names[k]) for key, k in positions.items()}


def _frame(path: Path, table: Any, positions: dict[str, int], config: CsvConfig) -> pd.DataFrame:
    """Return the columns by their keys: a time without gaps, float64 with NaN, and text or None."""
    import pandas as pd
    import pyarrow as pa

    found: dict[str, Any] = {}
    for key, k in positions.items():
        column = table.column(k)
        try:
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            if key == "time":
                found |= _time(path, column, config)
            elif key in TEXTS:
                found[key] = np.array(column.cast(pa.string()).to_pylist(), object)
            else:
                _expect_number(path, column, key, config)
                found[key] = column.cast(pa.float64()).to_numpy()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            name = getattr(config, key)
            reason = str(error).split("\n", 1)[0].strip()
            raise RecordingError(path, f"column {name!r} cannot be read ({reason})", remedy=_REMEDY) from None
    return pd.DataFrame(found)


def _time(path: Path, column: Any, config: CsvConfig) -> dict[str, Any]:
    """Times as the key ``time_ns`` in whole nanoseconds, or ``time`` in the configured unit."""
    import pyarrow as pa

    kind = column.type
    if column.null_count:
        row = next(k for k, value in enumerate(column.is_valid().to_pylist()) if not value)
        raise _no_time(path, config, row)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        # Casting checks that nothing is lost; so wide a date as year 2300 in seconds overflows nanoseconds.
        whole = column.cast(pa.int64()).to_numpy()
        largest = (2**63 - 1) // _NS[kind.unit]
        if whole.size and (whole.max() > largest or whole.min() < -largest):
            raise RecordingError(
                path, f"column {config.time!r} has a time outside the years 1678 to 2262", expected="times of samples"
            )
        return {"time_ns": whole * _NS[kind.unit]}
    _expect_number(path, column, "time", config)
    if config.time_unit == "ns":
        if not pa.types.is_integer(kind):
            raise RecordingError(
                path,
                f"column {config.time!r} holds {kind}, which rounds nanoseconds",
                expected="whole numbers, or timestamps",
                remedy="write it as int64, or set [csv] time_unit",
            )
        return {"time": column.cast(pa.int64()).to_numpy()}
    values = column.cast(pa.float64()).to_numpy()
    bad = np.flatnonzero(~(np.abs(values) < LARGEST))
    if bad.size:
        raise _no_time(path, config, int(bad[0]), values[bad[0]])
    return {"time": values}


def _expect_number(path: Path, column: Any, key: str, config: CsvConfig) -> None:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return
    raise RecordingError(
        path,
        f"column {getattr(config, key)!r} holds {kind}",
        expected="numbers" if key != "time" else "numbers or timestamps",
        remedy=f"write it as numbers, or correct [csv] {key}",
    )


def _no_time(path: Path, config: CsvConfig, row: int, value: float = math.nan) -> RecordingError:
    there = "is empty" if math.isnan(value) else f"has {value}"
    return RecordingError(
        path,
        f"column {config.time!r} {there} in row {row + 1}",
        expected="a time in every row",
        remedy="remove the row, or correct [csv] time",
    )


READER = Reader(_FORMAT, sniff, read)
