"""Parquet: one file a table, for all recordings together.

``samples``, ``trials``, ``fixations``, ``saccades``, ``blinks`` and ``quality``, each with the columns ``user`` and
``session`` first. The others are named as in the store (``docs/store-format.md``); a sample's are ``block``,
``time_ms`` and x, y and pupil of each eye, with nulls where there is none. Each recording is a row group of its own, so
that memory holds one at a time, both here and in software that reads by row groups.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError
from gazepipe.export import ExportReport, Show, Source, stored
from gazepipe.recording import EYES
from gazepipe.store import Contents
from gazepipe.study import Study

__all__ = ["TABLES", "export"]

#: Names of the files, without their ending.
TABLES = ("samples", "trials", "fixations", "saccades", "blinks", "quality")

_PARTS = {"x_coordinate": "x_px", "y_coordinate": "y_px", "pupil_size": "pupil"}


def export(
    study: Study,
    sources: Sequence[Source],
    report: ExportReport,
    *,
    force: bool = False,
    dry_run: bool = False,
    show: Show | None = None,
) -> None:
    """Write the tables.

    Raises
    ------
    ConfigError
        If pyarrow is not installed.
    """
    del study, force  # files of the same name are replaced whole
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        msg = 'writing Parquet needs pyarrow; install it with `pip install "gazepipe[parquet]"`.'
        raise ConfigError(msg) from None
    with _Tables(report.out, dry_run) as tables:
        for done, (source, contents) in enumerate(stored(sources, report), 1):
            counts = {}
            for name in TABLES:
                columns = _samples(contents) if name == "samples" else contents.group(name)
                if columns:
                    counts[name] = tables.add(name, source, columns)
            entry = {"recording": source.recording, "user": source.user, "session": source.session}
            report.recordings.append(entry | counts)
            if show:
                show(done, len(sources), source.recording)
    report.files += tables.files


def _samples(contents: Contents) -> dict[str, npt.NDArray[Any]]:
    """All samples of a recording as columns; empty if it has none."""
    arrays = contents.arrays
    if "samples/timestamp" not in arrays:
        return {}
    time, first = arrays["samples/timestamp"], arrays["blocks/first_sample"]
    out: dict[str, npt.NDArray[Any]] = {
        "block": np.searchsorted(first, np.arange(time.size), "right") - 1,
        "time_ms": time,
    }
    for eye in EYES:
        for part, short in _PARTS.items():
            values = arrays.get(f"samples/{eye}/{part}")
            out[f"{eye}_{short}"] = np.full(time.size, np.nan, np.float32) if values is None else values
    return out


class _Tables:
    """Parquet files that get their names only when all of them are whole."""

    def __init__(self, out: Path, dry_run: bool) -> None:
        self.out, self.dry_run = out, dry_run
        self.writers: dict[str, Any] = {}
        self.files: list[str] = []

    def __enter__(self) -> _Tables:
        return self

    def _temporary(self, name: str) -> Path:
        return self.out / f".{name}.parquet.{os.getpid()}.tmp"

    def add(self, name: str, source: Source, columns: Mapping[str, npt.NDArray[Any]]) -> int:
        """Write a recording's rows of one table; return how many they are."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = len(next(iter(columns.values())))
        if self.dry_run:
            self.writers.setdefault(name, None)
            return rows
        table = {"user": pa.repeat(pa.scalar(source.user, pa.string()), rows)}
        table["session"] = pa.repeat(pa.scalar(source.session or None, pa.string()), rows)
        for key, values in columns.items():
            # An empty name, number or row is none, and so is NaN.
            text = values.dtype.kind in "OU"
            table[key] = pa.array([str(v) or None for v in values], pa.string()) if text else _numbers(values)
        batch = pa.table(table)
        if self.writers.get(name) is None:
            self.out.mkdir(parents=True, exist_ok=True)
            self.writers[name] = None  # if it cannot even be begun, what there is of it goes, too
            self.writers[name] = pq.ParquetWriter(self._temporary(name), batch.schema, compression="zstd")
        schema = self.writers[name].schema
        missing = [n for n in schema.names if n not in table]
        for n in missing:  # a recording stored before a column was added
            batch = batch.append_column(n, pa.nulls(rows, schema.field(n).type))
        self.writers[name].write_table(batch.select(schema.names).cast(schema))
        return rows

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for writer in self.writers.values():
                if writer is not None:
                    writer.close()
            if kind is None:
                self.files = [f"{name}.parquet" for name in TABLES if name in self.writers]
                for name, writer in self.writers.items():
                    if writer is not None:
                        os.replace(self._temporary(name), self.out / f"{name}.parquet")
        finally:
            for name in self.writers:
                self._temporary(name).unlink(missing_ok=True)


def _numbers(values: npt.NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values, from_pandas=values.dtype.kind == "f")
