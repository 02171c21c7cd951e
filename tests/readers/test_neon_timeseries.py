"""Timeseries CSV folders: small ones with answers by hand, and a real one read a second time with `csv`."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import find_reader, read_recording
from gazepipe.recording import Recording

CONFIG = StudyConfig()
NAN = float("nan")
T0 = 1_726_563_969_312_137_421
HEADER = "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn,fixation id,blink id,azimuth [deg]\n"


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def gaze(rows: list[tuple[int, str, str, str]], section: str = "s", recording: str = "r") -> str:
    return "".join(f"{section},{recording},{T0 + t},{x},{y},{worn},1,,0.5\n" for t, x, y, worn in rows)


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def read(path: Path) -> Recording:
    return read_recording(path, CONFIG)


ROWS = [(0, "1.5", "2", "1.0"), (5_000_001, "3", "4", "0.0"), (10_000_003, "", "6", "1.0"), (15_000_000, "7", "8", "")]


def test_pupil_cloud(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))
    put(
        tmp_path,
        "events.csv",
        f"recording id,timestamp [ns],name,type\nr,{T0 - 1_000_000},recording.begin,recording\n"
        f'r,{T0 + 7_000_000},"IMAGE_ON a, b.jpg",cloud\nother,{T0},x,recording\n',
    )
    put(tmp_path, "info.json", json.dumps({"wearer_name": "Ann", "template_data": {"recording_name": "n"}}))
    recording = read(tmp_path)
    eye = recording.eyes["cyclopean"]
    assert (recording.format, recording.path) == ("neon-timeseries", tmp_path)
    same(recording.time_ms, [0, 5.000001, 10.000003, 15])
    same(eye.x_px, [1.5, NAN, NAN, 7])
    same(eye.y_px, [2, NAN, NAN, 8])
    assert np.isnan(eye.pupil).all()
    assert [(m.time_ms, m.text) for m in recording.messages] == [(-1, "recording.begin"), (7, "IMAGE_ON a, b.jpg")]
    known = {"wearer_name": "Ann", "recording_name": "n", "recording_id": "r"}
    assert recording.meta == known | {"coordinates": "scene", "time_origin_ns": T0}
    assert (recording.display_px, list(recording.columns), len(recording.warnings)) == ((1600, 1200), ["worn"], 1)
    same(recording.columns["worn"], [True, False, True, True])


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_neon_player(tmp_path: Path, start: str, end: str) -> None:
    lines = ["timestamp [ns],gaze x [px],gaze y [px]", f"{T0},1,2", f"{T0 + 5_000_000},3,4", ""]
    put(tmp_path, "gaze.csv", start + end.join(lines))
    put(tmp_path, "events.csv", f"timestamp [ns],name\n{T0},go\n")
    recording = read(tmp_path)
    same(recording.eyes["cyclopean"].x_px, [1, 3])
    assert [(m.time_ms, m.text) for m in recording.messages] == [(0, "go")]
    assert "recording_id" not in recording.meta


def test_the_table_by_itself(tmp_path: Path) -> None:
    put(tmp_path, "events.csv", f"timestamp [ns],name\n{T0},go\n")
    assert len(read(put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))).messages) == 1
    alone = read(put(tmp_path, "ann.csv", HEADER + gaze(ROWS)))  # whose events these are, nobody knows
    assert (alone.n_samples, len(alone.messages)) == (4, 0)


def test_sections_are_blocks(tmp_path: Path) -> None:
    rows = [(5_000_000 * k, "1", "2", "1") for k in range(6)]
    text = HEADER + gaze(rows[:2], "a") + gaze(rows[2:], "b")
    same(read(put(tmp_path, "x.csv", text)).block_start, [0, 2])
    late = [(t + 1_500_000_000 * (k > 2), *rest) for k, (t, *rest) in enumerate(rows)]
    same(read(put(tmp_path, "x.csv", HEADER + gaze(late))).block_start, [0, 3])


def test_pupils_are_matched_by_time(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))
    put(
        tmp_path,
        "3d_eye_states.csv",
        "recording id,timestamp [ns],pupil diameter left [mm],pupil diameter right [mm]\n"
        f"r,{T0},3,4\nr,{T0 + 5_000_001},3,4\nr,{T0 + 10_000_000},3,4\nr,{T0 + 15_000_000},,5\n",
    )
    recording = read(tmp_path)
    same(recording.columns["pupil_left_mm"], [3, NAN, NAN, NAN])
    same(recording.columns["pupil_right_mm"], [4, NAN, NAN, 5])
    same(recording.eyes["cyclopean"].pupil, [3.5, NAN, NAN, 5])


def test_events(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))
    ends = "recording id,start timestamp [ns],end timestamp [ns]"
    put(tmp_path, "fixations.csv", f"{ends},fixation x [px],fixation y [px]\nr,{T0 + 10},{T0 + 2_000_000},5,6\n")
    put(tmp_path, "saccades.csv", f"{ends},amplitude [deg]\nr,{T0 + 2_000_000},{T0 + 3_000_000},2.5\n")
    put(tmp_path, "blinks.csv", f"{ends}\nr,{T0},{T0 + 1}\nother,{T0},{T0 + 1}\n")
    events = read(tmp_path).native_events
    assert events["kind"].tolist() == ["blink", "fixation", "saccade"]
    same(events["onset_ms"], [0, 1e-5, 2])
    same(events["offset_ms"], [1e-6, 2, 3])
    same(events["x_px"], [NAN, 5, NAN])
    same(events["amplitude_deg"], [NAN, NAN, 2.5])


@pytest.mark.parametrize("key", ["distortion_coefficients", "dist_coefs"])
def test_camera(tmp_path: Path, key: str) -> None:
    put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))
    camera = {"camera_matrix": [[1, 0, 2], [0, 3, 4], [0, 0, 1]], key: [[0.1, 0.2]]}
    put(tmp_path, "scene_camera.json", json.dumps(camera))
    meta = read(tmp_path).meta
    assert meta["camera_matrix"] == [[1, 0, 2], [0, 3, 4], [0, 0, 1]]
    assert meta["distortion_coefficients"] == [0.1, 0.2]
    put(tmp_path, "scene_camera.json", json.dumps({"camera_matrix": [1, 2]}))
    assert "camera_matrix is not understood" in read(tmp_path).warnings[-1]


def test_invisible(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))
    put(tmp_path, "info.json", json.dumps({"glasses_serial_number": "q", "scene_camera_serial_number": "z"}))
    assert read(tmp_path).display_px == (1088, 1080)


@pytest.mark.parametrize("worn", ["1.0,0.0", "True,False", "255,0"])
def test_invisible_as_pupil_cloud_wrote_it_first(tmp_path: Path, worn: str) -> None:
    """Without azimuth and elevation, eye states and saccades; fixations in pixels only."""
    on, off = worn.split(",")
    header = "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn,fixation id,blink id\n"
    rows = [
        (0, "544.0", "540.5", on, "1"),
        (4_000_000, "545.0", "540.0", off, "1"),
        (8_000_000, "546.0", "541.0", on, ""),
    ]
    put(tmp_path, "gaze.csv", header + "".join(f"s,r,{T0 + t},{x},{y},{w},{f},\n" for t, x, y, w, f in rows))
    spans = "section id,recording id,{} id,start timestamp [ns],end timestamp [ns],duration [ms]"
    fixations = spans.format("fixation") + ",fixation x [px],fixation y [px]\n"
    put(tmp_path, "fixations.csv", fixations + f"s,r,1,{T0},{T0 + 4_000_000},4,544.5,540.25\n")
    put(tmp_path, "blinks.csv", spans.format("blink") + f"\ns,r,1,{T0 + 5_000_000},{T0 + 7_000_000},2\n")
    put(tmp_path, "world_timestamps.csv", f"section id,recording id,timestamp [ns]\ns,r,{T0}\n")
    info = {
        "glasses_serial_number": "g",
        "scene_camera_serial_number": "c",
        "gaze_offset": [0.0, 0.0],
        "wearer_name": "A",
    }
    put(tmp_path, "info.json", json.dumps(info))
    camera = {
        "camera_matrix": [[766, 0, 543], [0, 766, 551], [0, 0, 1]],
        "dist_coefs": [[-0.1, 0.1, 0, 0, 0, 0.2, 0, 0]],
    }
    put(tmp_path, "scene_camera.json", json.dumps(camera))
    found = read(tmp_path)
    assert (found.format, found.display_px, list(found.columns)) == ("neon-timeseries", (1088, 1080), ["worn"])
    same(found.columns["worn"], [True, False, True])
    same(found.eyes["cyclopean"].x_px, [544, NAN, 546])
    assert found.sampling_rate_hz[0] == 250
    assert found.native_events["kind"].tolist() == ["fixation", "blink"]
    same(found.native_events["x_px"], [544.5, NAN])
    assert found.meta["distortion_coefficients"][0] == -0.1
    assert len(found.warnings) == 1  # that the gaze is in the scene


def test_last_row_without_an_end(tmp_path: Path) -> None:
    # "8" might have been "812.5".
    text = f"timestamp [ns],gaze x [px],gaze y [px]\n{T0},1,2\n{T0 + 5_000_000},3,4\n{T0 + 10_000_000},7,8"
    recording = read(put(tmp_path, "gaze.csv", text))
    assert recording.n_samples == 2
    assert recording.warnings[1:] == ["gaze.csv: the last row has no end-of-line, may be cut short and was dropped"]


def test_same_time_twice(tmp_path: Path) -> None:
    recording = read(put(tmp_path, "gaze.csv", HEADER + gaze([ROWS[0], *ROWS])))
    assert recording.n_samples == 4
    assert recording.warnings[1:] == ["left out: 1 sample with the time of the sample before"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + gaze([(5, "1", "2", "1"), (0, "1", "2", "1")]), rf"line 3: sample 2 is at {T0} ns, after one at"),
        (HEADER + gaze([(0, "1", "2", "1"), (5, "a", "2", "1")]), r"line 3: column 'gaze x \[px\]' has 'a'"),
        (HEADER + gaze(ROWS[:1]), "it has 1 gaze sample; expected two or more"),
        (HEADER, "it has 0 gaze samples"),
        (HEADER + gaze(ROWS[:2]) + gaze(ROWS[2:], "s", "q"), r"the gaze of 2 recordings \(r, q\); .*'recording id'"),
        (
            HEADER + "s,r,1.72656E+18,1,2,1,1,,\ns,r,,1,2,1,1,,\n",
            "line 2: .*'1.72656E.18'; .*whole number.*spreadsheet",
        ),
        (HEADER + gaze(ROWS).replace(str(T0), "-5", 1), "has '-5'"),
        (HEADER + gaze(ROWS).replace(str(T0), "9" * 25, 1), "has '9999"),
        (HEADER + gaze(ROWS) + "\0", "is zero; expected text"),
        (HEADER.replace("gaze y [px]", "gaze y") + gaze(ROWS), r"there is no column 'gaze y \[px\]' \(columns here:"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read(put(tmp_path, "gaze.csv", text))


def test_a_damaged_table_beside_it(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", HEADER + gaze(ROWS))
    put(tmp_path, "blinks.csv", "start timestamp [ns],end timestamp [ns]\n1,x\n")
    with pytest.raises(RecordingError, match=r"blinks\.csv, line 2: column 'end timestamp \[ns\]' has 'x'"):
        read(tmp_path)


def test_another_gaze_csv_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", "time,x,y\n0,1,2\n")
    assert find_reader(tmp_path) is None


# ---- a real recording --------------------------------------------------------------------------------------------


@pytest.fixture
def real(data_dir: Path) -> Path:
    return next((data_dir / "raw" / "neon_timeseries").iterdir())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_real_samples(real: Path) -> None:
    recording, rows = read(real), rows_of(real / "gaze.csv")
    eye, origin = recording.eyes["cyclopean"], recording.meta["time_origin_ns"]
    assert recording.n_samples == len(rows) == 6644
    assert [round(t * 1e6) + origin for t in recording.time_ms.tolist()] == [int(r["timestamp [ns]"]) for r in rows]
    same(eye.x_px, [float(r["gaze x [px]"]) for r in rows])
    same(eye.y_px, [float(r["gaze y [px]"]) for r in rows])
    states = rows_of(real / "3d_eye_states.csv")
    same(recording.columns["pupil_left_mm"], [float(r["pupil diameter left [mm]"]) for r in states])
    same(recording.columns["pupil_right_mm"], [float(r["pupil diameter right [mm]"]) for r in states])
    same(recording.block_start, [0])
    assert recording.sampling_rate_hz[0] == pytest.approx(200, abs=0.5)


def test_real_events(real: Path) -> None:
    recording = read(real)
    origin, events = recording.meta["time_origin_ns"], recording.native_events
    for kind, count in (("fixation", 100), ("saccade", 99), ("blink", 3)):
        rows, at = rows_of(real / f"{kind}s.csv"), events["kind"] == kind
        assert len(rows) == np.count_nonzero(at) == count
        for name, end in (("onset_ms", "start"), ("offset_ms", "end")):
            stamps = [int(r[f"{end} timestamp [ns]"]) for r in rows]
            assert [round(t * 1e6) + origin for t in events[name][at].tolist()] == stamps
    fixations = events["kind"] == "fixation"
    same(events["x_px"][fixations], [float(r["fixation x [px]"]) for r in rows_of(real / "fixations.csv")])
    sent = rows_of(real / "events.csv")
    assert [m.text for m in recording.messages] == [r["name"] for r in sent]
    assert [round(m.time_ms * 1e6) + origin for m in recording.messages] == [int(r["timestamp [ns]"]) for r in sent]
    assert len(recording.meta["distortion_coefficients"]) == 8


def test_real_file_damaged(real: Path, tmp_path: Path, read_damaged: Callable[[Path, bytes], list[Recording]]) -> None:
    for path in real.glob("*s.csv"):
        if path.stat().st_size < 100_000:
            shutil.copyfile(path, tmp_path / path.name)
    lines = (real / "gaze.csv").read_bytes().splitlines(keepends=True)[:300]
    assert len(read_damaged(tmp_path / "gaze.csv", b"".join(lines))) > 60
    (tmp_path / "gaze.csv").write_bytes(b"".join(lines))
    content = (real / "fixations.csv").read_bytes()[:4000]
    rng = np.random.default_rng(6)
    for k in range(40):
        data = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(0, data.size, 1 + k % 5)
        data[where] = rng.integers(0, 256, where.size)
        (tmp_path / "fixations.csv").write_bytes(data.tobytes())
        try:
            recording = read(tmp_path)
        except RecordingError:
            continue
        assert recording.n_samples == 299
