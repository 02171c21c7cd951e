"""Parquet: the recording is the one of the same table as CSV, whatever the columns' types."""

from __future__ import annotations

import datetime
import decimal
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig, parse_config
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.readers import parquet, read_recording
from gazepipe.recording import Recording

MAP = {"trial": "trial", "stimulus": "image", "message": "event"}
CONFIG = parse_config({"csv": MAP})
CSV = (
    "time_ms,x_px,y_px,trial,image,event,unused\n"
    "0,512,384.5,1,cat.jpg,on,a\n4,513,,1,cat.jpg,,b\n8,,386,1,cat.jpg,,c\n12,640,300,2,dög.jpg,off,d\n"
)
NAN = float("nan")


def test_library_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1....PAR1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecordingError, match=r'pyarrow, which reads them, is not installed.*"gazepipe\[parquet\]"'):
        read_recording(path, CONFIG)


@pytest.fixture(scope="module")
def pa() -> Any:
    return pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra parquet)")


@pytest.fixture
def write(pa: Any, tmp_path: Path) -> Callable[..., Path]:
    def put(**columns: Any) -> Path:
        import pyarrow.parquet as pq

        path = tmp_path / "P01.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return put


def same(found: Recording, expected: Recording) -> None:
    np.testing.assert_array_equal(found.time_ms, expected.time_ms)
    np.testing.assert_array_equal(found.block_start, expected.block_start)
    np.testing.assert_array_equal(found.sampling_rate_hz, expected.sampling_rate_hz)
    assert list(found.messages) == list(expected.messages)
    for name, eye in expected.eyes.items():
        for part in ("x_px", "y_px", "pupil"):
            np.testing.assert_array_equal(getattr(found.eyes[name], part), getattr(eye, part))
    assert list(found.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        assert found.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(found.columns[name], column)


@pytest.mark.parametrize("kind", ["plain", "integers", "dictionary", "decimal", "chunks"])
def test_same_as_csv(pa: Any, write: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    columns: dict[str, Any] = {
        "time_ms": pa.array([0.0, 4.0, 8.0, 12.0]),
        "x_px": pa.array([512, 513, None, 640], pa.int16() if kind == "integers" else pa.float64()),
        "y_px": pa.array([384.5, NAN, 386, 300], pa.float32()),
        "trial": pa.array([1, 1, 1, 2], pa.uint8() if kind == "integers" else pa.int64()),
        "image": pa.array(["cat.jpg", "cat.jpg", "cat.jpg", "dög.jpg"]),
        "event": pa.array(["on", None, None, "off"]),
        "unused": pa.array([[1], [2], None, [3]]),
    }
    if kind == "integers":
        columns["time_ms"] = pa.array([0, 4, 8, 12], pa.uint32())
    if kind == "dictionary":
        columns |= {name: columns[name].dictionary_encode() for name in ("trial", "image", "event", "x_px", "time_ms")}
    if kind == "decimal":
        columns["y_px"] = pa.array([decimal.Decimal("384.5"), None, decimal.Decimal("386.0"), decimal.Decimal("300.0")])
        columns["image"] = columns["image"].cast(pa.large_string())
    if kind == "chunks":
        columns = {name: pa.chunked_array([c.slice(0, 1), c.slice(1)]) for name, c in columns.items()}
    table = tmp_path / "P01.csv"
    table.write_text(CSV, encoding="utf-8")
    found = read_recording(write(**columns), CONFIG)
    assert found.format == "parquet"
    same(found, read_recording(table, CONFIG))


def test_frames_of_pandas(pa: Any, tmp_path: Path) -> None:
    """Nullable, categorical and date columns as pandas writes them, its index beside them."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "time_ms": pd.to_datetime([0, 5_000_001, 10_000_000], unit="ns", utc=True),
            "x_px": pd.array([1, None, 3], "Int64"),
            "y_px": pd.array([1.5, 2.5, None], "Float32"),
            "trial": pd.Categorical(["a", "a", "b"]),
            "image": pd.array(["p.png", None, "q.png"], "string"),
            "event": pd.Categorical([None, "go", None]),
        },
        index=["r", "s", "t"],
    )
    frame.to_parquet(tmp_path / "a.parquet")
    found = read_recording(tmp_path / "a.parquet", CONFIG)
    np.testing.assert_array_equal(found.time_ms, [0, 5.000001, 10])
    np.testing.assert_array_equal(found.eyes["cyclopean"].x_px, [1, NAN, NAN])
    assert found.columns["trial"].tolist() == ["a", "a", "b"]
    assert found.columns["stimulus"].tolist() == ["p.png", "", "q.png"]
    assert [(m.time_ms, m.text) for m in found.messages] == [(5.000001, "go")]


@pytest.mark.parametrize(("unit", "step"), [("s", 1000.0), ("ms", 1.0), ("us", 1e-3), ("ns", 1e-6)])
def test_timestamps_and_durations(pa: Any, write: Callable[..., Path], unit: str, step: float) -> None:
    start = int(datetime.datetime(2024, 9, 17, tzinfo=datetime.UTC).timestamp() * 1000 / step)
    for kind, first in (
        (pa.timestamp(unit, "Europe/Berlin"), start),
        (pa.timestamp(unit), start),
        (pa.duration(unit), 7),
    ):
        stamps = pa.array([first, first + 3, first + 6], pa.int64()).cast(kind)
        found = read_recording(write(time_ms=stamps, x_px=[1, 2, 3], y_px=[1, 2, 3]), StudyConfig())
        np.testing.assert_allclose(found.time_ms, [0, 3 * step, 6 * step], rtol=1e-15)
        assert found.meta["time_origin_ns"] == round(first * step * 1e6)


def test_nanoseconds_are_kept(pa: Any, write: Callable[..., Path]) -> None:
    t0 = 1_726_571_209_123_456_789
    config = parse_config({"csv": {"time_unit": "ns"}})
    stamps = pa.array([t0, t0 + 5_000_001, t0 + 10_000_003], pa.int64())
    found = read_recording(write(time_ms=stamps, x_px=[1, 2, 3], y_px=[1, 2, 3]), config)
    np.testing.assert_array_equal(found.time_ms, [0, 5.000001, 10.000003])
    with pytest.raises(RecordingError, match="holds double, which rounds nanoseconds; expected whole numbers"):
        read_recording(write(time_ms=stamps.cast(pa.float64(), safe=False), x_px=[1, 2, 3], y_px=[1, 2, 3]), config)


def test_missing_numbers_and_normalised(pa: Any, write: Callable[..., Path]) -> None:
    config = parse_config({"csv": {"position_unit": "normalised", "missing": [-1]}, "screen": {"width_px": 1000}})
    found = read_recording(write(time_ms=[0, 4, 8], x_px=[0.5, -1, 1e38], y_px=[0, 0, 0]), config)
    np.testing.assert_array_equal(found.eyes["cyclopean"].x_px, [500, NAN, NAN])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_px": ["a", "b", "c"]}, "column 'x_px' holds string; expected numbers"),
        ({"x_px": [[1], [2], [3]]}, "column 'x_px' holds list"),
        ({"time_ms": [True, False, True]}, "column 'time_ms' holds bool; expected numbers or timestamps"),
        ({"time_ms": [0, None, 8]}, "column 'time_ms' is empty in row 2; expected a time in every row"),
        ({"time_ms": [0, 4.0, NAN]}, "column 'time_ms' is empty in row 3"),
        ({"time_ms": [0, 4.0, 1e308]}, "column 'time_ms' has 1e[+]308 in row 3; expected a time"),
        ({"time_ms": [4, 4, 4]}, "no time is later than the one before"),
        ({"time_ms": [1], "x_px": [1], "y_px": [1]}, "it has 1 row of samples; expected two or more"),
        ({"x_px": None, "X_px": [1, 2, 3]}, "no column 'x_px' .columns here: time_ms, y_px, X_px.*perhaps to 'X_px'"),
    ],
)
def test_refusals(write: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    columns: dict[str, Any] = {"time_ms": [0, 4, 8], "x_px": [1, 2, 3], "y_px": [1, 2, 3]} | changes
    path = write(**{name: values for name, values in columns.items() if values is not None})
    with pytest.raises(RecordingError, match=message):
        read_recording(path, StudyConfig())


def test_half_a_position(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="left_x is set without its partner"):
        read_recording(write(time_ms=[0, 4], x_px=[1, 2], y_px=[1, 2]), parse_config({"csv": {"left_x": "x_px"}}))


def test_too_many_rows(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_ROWS", 2)
    with pytest.raises(RecordingError, match="it has 3 rows; expected at most 2"):
        read_recording(write(time_ms=[0, 4, 8], x_px=[1, 2, 3], y_px=[1, 2, 3]), StudyConfig())


def test_damaged_files(write: Callable[..., Path], read_damaged: Callable[[Path, bytes], list[Recording]]) -> None:
    path = write(time_ms=np.arange(500) * 4.0, x_px=np.arange(500) * 1.5, y_px=np.arange(500))
    read_damaged(path, path.read_bytes())


def test_real_samples(data_dir: Path, pa: Any, tmp_path: Path) -> None:
    """A real table as CSV and as Parquet gives one recording."""
    import pandas as pd

    source = data_dir / "raw" / "csv_generic" / "dec_C1_P107_Exp6.csv"
    csv = {"header": False, "time": "1", "x": "2", "y": "3", "trial": "4"}
    frame = pd.read_csv(source, header=None)
    frame.columns = [str(k + 1) for k in range(frame.shape[1])]
    frame.to_parquet(tmp_path / "a.parquet")
    config = parse_config({"csv": csv})
    same(read_recording(tmp_path / "a.parquet", config), read_recording(source, config))
