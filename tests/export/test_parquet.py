"""Parquet: the tables hold what is stored, recording by recording."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe import store
from gazepipe.errors import ConfigError
from gazepipe.export import export_study
from gazepipe.export.parquet import TABLES
from gazepipe.ingest import ingest
from gazepipe.study import Study

needs_pyarrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")


@pytest.fixture
def study(small_study: Any) -> Study:
    small_study.recording("anna.csv", [("a.png", [(400, 300, 400), (500, 300, 400)]), ("b.png", [(100, 100, 600)])])
    small_study.recording("ben_ses-1.csv", [("a.png", [(200, 300, 800)])])
    found: Study = small_study.open()
    assert not ingest(found).failures
    return found


@needs_pyarrow
def test_tables_hold_what_is_stored(study: Study, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    report = export_study(study, tmp_path / "out", "parquet")
    assert report.files == [f"{name}.parquet" for name in TABLES]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(report.files)
    assert [(r["user"], r["session"]) for r in report.recordings] == [("anna", ""), ("ben", "ses-1")]
    for group in TABLES[1:]:
        table = pq.read_table(tmp_path / "out" / f"{group}.parquet")
        for row in report.recordings:
            mine = table.to_pandas()[lambda t, u=row["user"]: t["user"] == u]
            stored = store.load(study.recording_file(row["recording"]), "gazepipe.recording").group(group)
            for name, values in stored.items():
                there = mine[name].fillna("") if values.dtype == object else mine[name]  # no text is null in Parquet
                np.testing.assert_array_equal(there.to_numpy(values.dtype), values, err_msg=f"{group}/{name}")
    assert set(table.column("session").to_pylist()) == {None, "ses-1"}


@needs_pyarrow
def test_samples_are_float32_with_nulls_and_a_row_group_a_recording(study: Study, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    export_study(study, tmp_path / "out", "parquet")
    file = pq.ParquetFile(tmp_path / "out" / "samples.parquet")
    assert file.num_row_groups == 2
    first = file.read_row_group(0)
    stored = store.load(study.recording_file("anna"), "gazepipe.recording").arrays
    assert first.schema.field("cyclopean_x_px").type == pa.float32()
    x = first.column("cyclopean_x_px")
    assert x.null_count == int(np.isnan(stored["samples/cyclopean/x_coordinate"]).sum()) > 0
    np.testing.assert_array_equal(x.to_numpy(), stored["samples/cyclopean/x_coordinate"])
    np.testing.assert_array_equal(first.column("time_ms").to_numpy(), stored["samples/timestamp"])
    assert first.column("left_x_px").null_count == first.num_rows


@needs_pyarrow
def test_a_failure_leaves_what_was_there(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    export_study(study, tmp_path / "out", "parquet")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(Exception, match="No space left"):
        export_study(study, tmp_path / "out", "parquet", force=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@needs_pyarrow
def test_dry_run_writes_nothing(study: Study, tmp_path: Path) -> None:
    report = export_study(study, tmp_path / "out", "parquet", dry_run=True)
    assert not (tmp_path / "out").exists()
    assert report.recordings[0]["trials"] == 2
    assert report.files == export_study(study, tmp_path / "out", "parquet").files


def test_without_pyarrow(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r'pip install "gazepipe\[parquet\]"'):
        export_study(study, tmp_path / "out", "parquet")
