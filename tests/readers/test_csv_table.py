"""Tables of gaze: small texts with answers by hand, and a real headerless file."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import CsvConfig, ScreenConfig, StudyConfig
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.readers import read_recording
from gazepipe.recording import Recording

NAN = float("nan")


def read_text(tmp_path: Path, text: str | bytes, name: str = "a.csv", **settings: Any) -> Recording:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    screen = ScreenConfig(width_px=1000, height_px=500)
    return read_recording(path, StudyConfig(csv=CsvConfig(**settings), screen=screen))


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def test_plain_table(tmp_path: Path) -> None:
    recording = read_text(tmp_path, "time_ms,x_px,y_px\n0,1.5,2\n4,,3\n8,2,NaN\n12,5,6\n")
    eye = recording.eyes["cyclopean"]
    assert recording.format == "csv"
    same(recording.time_ms, [0, 4, 8, 12])
    same(eye.x_px, [1.5, NAN, NAN, 5])
    same(eye.y_px, [2, NAN, NAN, 6])
    assert np.isnan(eye.pupil).all()
    assert (list(recording.eyes), list(recording.sampling_rate_hz), list(recording.block_start)) == (
        ["cyclopean"],
        [250.0],
        [0],
    )
    assert (eye.x_px.dtype, recording.time_ms.dtype, recording.warnings) == (np.float32, np.float64, [])


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("time_ms\tx_px\ty_px\n0\t1\t2\n4\t3\t4\n", ""),
        ("time_ms;x_px;y_px\n0;1;2\n4;3;4\n", ""),
        ("time_ms|x_px|y_px\n0|1|2\n4|3|4\n", ""),
        ("\ufefftime_ms,x_px,y_px\r\n0,1,2\r\n4,3,4\r\n", ""),
        ('"time_ms", "x_px" ,y_px\n0, 1, 2\n4, 3,4', ""),
        ("time_ms,x_px,y_px\n0,1,2,\n4,3,4,\n", ""),
        ("time_ms\tx_px\ty_px\n0\t1\t2\n4\t3\t4\n", "\\t"),
        ("\n\ntime_ms,x_px,y_px\n\n0,1,2\n\n4,3,4\n\n", ","),
    ],
)
def test_dialects(tmp_path: Path, text: str, setting: str) -> None:
    eye = read_text(tmp_path, text, delimiter=setting).eyes["cyclopean"]
    same(eye.x_px, [1, 3])
    same(eye.y_px, [2, 4])


def test_utf16_and_gzip(tmp_path: Path) -> None:
    text = "time_ms\tx_px\ty_px\n0\t1\t2\n4\t3\t4\n"
    same(read_text(tmp_path, text.encode("utf-16"), "a.tsv").eyes["cyclopean"].x_px, [1, 3])
    same(read_text(tmp_path, gzip.compress(text.encode()), "a.tsv.gz").eyes["cyclopean"].x_px, [1, 3])


def test_eyes_by_themselves_with_normalised_positions(tmp_path: Path) -> None:
    text = "t,lx,ly,lp,rx,ry\n0,0.5,0.5,3,-1,-1\n0.002,0.25,1,3,0.1,0.2\n"
    recording = read_text(
        tmp_path,
        text,
        time="t",
        time_unit="s",
        left_x="lx",
        left_y="ly",
        left_pupil="lp",
        right_x="rx",
        right_y="ry",
        position_unit="normalised",
        missing=(-1.0,),
    )
    assert list(recording.eyes) == ["left", "right"]
    same(recording.time_ms, [0, 2])
    same(recording.eyes["left"].x_px, [500, 250])  # of 1000
    same(recording.eyes["left"].y_px, [250, 500])  # of 500
    same(recording.eyes["left"].pupil, [3, 3])
    same(recording.eyes["right"].x_px, [NAN, 100])
    assert recording.sampling_rate_hz[0] == pytest.approx(500)


@pytest.mark.parametrize(("unit", "text"), [("s", "0.004"), ("ms", "4"), ("us", "4000")])
def test_time_units(tmp_path: Path, unit: str, text: str) -> None:
    recording = read_text(tmp_path, f"time_ms,x_px,y_px\n0,1,2\n{text},3,4\n", time_unit=unit)
    np.testing.assert_allclose(recording.time_ms, [0, 4], rtol=1e-15)


def test_nanoseconds_keep_their_precision(tmp_path: Path) -> None:
    start = 1726563969312137421  # a float64 of this size is whole to 256 ns only
    text = f"time_ms,x_px,y_px\n{start},1,2\n{start + 5_000_001},3,4\n{start + 10_000_003},5,6\n"
    recording = read_text(tmp_path, text, time_unit="ns")
    same(recording.time_ms, [0, 5.000001, 10.000003])
    assert recording.meta == {"time_origin_ns": start}


def test_blocks_begin_where_time_goes_back_or_jumps(tmp_path: Path) -> None:
    times = [0, 10, 20, 1015, 1025, 2026, 2036, 0, 10]  # 995 ms is no block's end, 1001 ms is
    text = "time_ms,x_px,y_px\n" + "".join(f"{t},1,2\n" for t in times)
    recording = read_text(tmp_path, text)
    same(recording.block_start, [0, 5, 7])
    same(recording.sampling_rate_hz, [100, 100, 100])


def test_slow_tracker_has_longer_holes(tmp_path: Path) -> None:
    times = [0, 50, 100, 5050, 5100, 10200]  # 20 Hz: 100 samples are 5 s
    same(read_text(tmp_path, "time_ms,x_px,y_px\n" + "".join(f"{t},1,2\n" for t in times)).block_start, [0, 5])


def test_trials_stimuli_messages(tmp_path: Path) -> None:
    text = (
        "time_ms,x_px,y_px,n,img,msg\n0,1,2,1,a.jpg,\n4,1,2,1,a.jpg,IMAGE_ON\n4,,,1,a.jpg,KEY 1\n"
        '8,3,4,2,"b, c.jpg",NA\n12,3,4,2,,\n'
    )
    recording = read_text(tmp_path, text, trial="n", stimulus="img", message="msg")
    same(recording.time_ms, [0, 4, 8, 12])
    assert recording.columns["trial"].dtype == np.int64
    assert recording.columns["trial"].tolist() == [1, 1, 2, 2]
    assert recording.columns["stimulus"].tolist() == ["a.jpg", "a.jpg", "b, c.jpg", ""]
    assert [(m.time_ms, m.text) for m in recording.messages] == [(4, "IMAGE_ON"), (4, "KEY 1")]
    assert recording.warnings == ["1 row with the time of the row before gave no sample"]
    named = read_text(tmp_path, text.replace(",1,a", ",one,a"), trial="n")
    assert named.columns["trial"].tolist() == ["one", "one", "2", "2"]


def test_one_column_for_two_things(tmp_path: Path) -> None:
    text = "time_ms,x_px,y_px,img\n0,1,2,a.jpg\n4,1,2,b.jpg\n"
    recording = read_text(tmp_path, text, trial="img", stimulus="img")
    assert recording.columns["trial"].tolist() == recording.columns["stimulus"].tolist() == ["a.jpg", "b.jpg"]


def test_real_headerless_file(data_dir: Path) -> None:
    path = data_dir / "raw" / "csv_generic" / "dec_C1_P107_Exp6.csv"
    settings = CsvConfig(header=False, time="1", x="2", y="3", trial="4")
    recording = read_recording(path, StudyConfig(csv=settings))
    with path.open(newline="") as file:
        rows = [[float(cell) for cell in row] for row in csv.reader(file)]
    expected = np.array(rows)
    np.testing.assert_array_equal(recording.time_ms, expected[:, 0])
    np.testing.assert_array_equal(recording.eyes["cyclopean"].x_px, expected[:, 1].astype(np.float32))
    np.testing.assert_array_equal(recording.eyes["cyclopean"].y_px, expected[:, 2].astype(np.float32))
    np.testing.assert_array_equal(recording.columns["trial"], expected[:, 3])
    # Each of its 72 trials follows a hole of seconds.
    same(recording.block_start, np.append(0, np.flatnonzero(np.diff(expected[:, 3])) + 1).tolist())
    assert recording.block_start.size == 72
    assert recording.sampling_rate_hz[0] == pytest.approx(300, abs=0.1)


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("time_ms,x_px,y_px\n0,1,2\n4,abc,4\n", 3, "column 'x_px' has 'abc'; expected a number"),
        ("\n\ntime_ms,x_px,y_px\n0,1,2\n\n4,abc,4\n", 6, "column 'x_px' has 'abc'"),
        ("time_ms;x_px;y_px\n0;1;2\n4;3;4,5\n", 3, "column 'y_px' has '4,5'"),
        ("time_ms,x_px,y_px\n0,1,2\n,3,4\n", 3, "column 'time_ms' is empty"),
        ("time_ms,x_px,y_px\n0,1,2\ninf,3,4\n", 3, "column 'time_ms' has 'inf'"),
        ("time_ms,x_px,y_px\n0,1,2\n1e308,3,4\n", 3, "column 'time_ms' has '1e308'"),
        ("time_ms,x_px,y_px\n0,1,2,5,6\n", 2, "it has 5 columns of values under 3 names"),
    ],
)
def test_bad_cells(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(RecordingError, match=f"a.csv, line {line}: {message}") as caught:
        read_text(tmp_path, text)
    assert caught.value.line == line


@pytest.mark.parametrize("cell", ["1.5", "", "99999999999999999999", "1e2.5"])
def test_nanoseconds_must_be_whole(tmp_path: Path, cell: str) -> None:
    text = f"time_ms,x_px,y_px\n17265639693121374,1,2\n{cell},3,4\n"
    with pytest.raises(RecordingError, match=r"line 3: column 'time_ms' .*expected a whole number"):
        read_text(tmp_path, text, time_unit="ns")


def test_missing_column_names_the_nearest(tmp_path: Path) -> None:
    message = r"no column 'x_px' \(columns here: time_ms, X, Y\); set \[csv\] x to the right name, perhaps to 'X'"
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, "time_ms,X,Y\n0,1,2\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_ms,x_px,y_px\n", "it has 0 rows of samples; expected two or more"),
        ("time_ms,x_px,y_px", "it has 0 rows"),
        ("time_ms,x_px,y_px\n0,1,2\n", "it has 1 row"),
        ("\n\n", "only blank lines"),
        ("time_ms,x_px,y_px\n5,1,2\n5,1,2\n", "no time is later than the one before"),
        ('time_ms,x_px,y_px\n5,1,2\n5,1,"2\n6,1,2\n', "column 'y_px' has|cannot be read"),
    ],
)
def test_too_little(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"left_x": "x_px"}, "left_x is set without"), ({"delimiter": ", "}, "single character"), ({"time": ""}, "empty")],
)
def test_configuration_that_cannot_be(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_text(tmp_path, "time_ms,x_px,y_px\n0,1,2\n4,1,2\n", **settings)


def test_cut_anywhere(tmp_path: Path) -> None:
    text = "time_ms,x_px,y_px,n\n" + "".join(f"{4 * k},{k}.25,{k + 7}.5,{k // 50}\n" for k in range(1000, 1200))
    whole = read_text(tmp_path, text, trial="n")
    read_back = 0
    for cut in range(0, len(text), 61):
        try:
            part = read_text(tmp_path, text[:cut], trial="n")
        except RecordingError:
            continue
        read_back += 1
        # Only the last value of the last row can be a cut one: a row with all its fields is kept.
        same(part.time_ms, whole.time_ms[: part.n_samples].tolist())
    assert read_back > 40


def test_last_row_cut_short_is_dropped(tmp_path: Path) -> None:
    recording = read_text(tmp_path, "time_ms,x_px,y_px\n0,1,2\n4,3,4\n8,5")
    assert recording.n_samples == 2
    assert recording.warnings == ["the last row is cut short and was dropped"]


def test_random_damage(tmp_path: Path) -> None:
    text = "time_ms,x_px,y_px,n\n" + "".join(f"{4 * k},{k}.25,{k + 7}.5,{k // 50}\n" for k in range(200))
    rng = np.random.default_rng(3)
    read_back = 0
    for k in range(200):
        damaged = np.frombuffer(text.encode(), np.uint8).copy()
        where = rng.integers(0, damaged.size, 1 + k % 5)
        damaged[where] = rng.integers(0, 256, where.size)
        try:
            recording = read_text(tmp_path, damaged.tobytes(), trial="n")
        except RecordingError:
            continue
        read_back += 1
        for part in recording.blocks():
            assert (np.diff(recording.time_ms[part]) > 0).all()
    assert 0 < read_back < 200
