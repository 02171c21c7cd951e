"""Pupil Player exports: small ones with answers by hand, and real ones read a second time with `csv`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import ScreenConfig, StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import find_reader, read_recording
from gazepipe.readers.pupil_core import files
from gazepipe.recording import Recording

NAN = float("nan")
CONFIG = StudyConfig(screen=ScreenConfig(width_px=1000, height_px=500))
SCENE = "gaze_timestamp,world_index,confidence,norm_pos_x,norm_pos_y,base_data\n"
# As Pupil Player 3.5 writes it; x_scaled is in the unit that the surface was given.
SURFACE = "world_timestamp,world_index,gaze_timestamp,x_norm,y_norm,x_scaled,y_scaled,on_surf,confidence\n"
SCENE_ROWS = "1216.5,3,0.9,0.25,0.75,1.0-0\n1216.504,3,0.59,0.5,0.5,1.0-1\n1216.509,3,0.6,0.5,0.5,1.0-0\n"
SURFACE_ROWS = (
    "1.0,3,1216.5,0.25,0.75,0.25,0.75,True,0.9\n1.0,3,1216.504,0.5,0.5,0.5,0.5,True,0.1\n"
    "1.0,3,1216.509,-0.5,1.5,-0.5,1.5,False,1.0\n"
)


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def read(path: Path) -> Recording:
    return read_recording(path, CONFIG)


def test_scene(tmp_path: Path) -> None:
    put(tmp_path, "gaze_positions.csv", SCENE + SCENE_ROWS)
    recording = read(tmp_path)
    eye = recording.eyes["cyclopean"]
    assert (recording.format, recording.path, recording.display_px) == ("pupil-core", tmp_path, (1280, 720))
    np.testing.assert_allclose(recording.time_ms, [1216500, 1216504, 1216509], rtol=1e-15)
    same(eye.x_px, [320, NAN, 640])
    same(eye.y_px, [180, NAN, 360])  # y counts from below in the file
    assert recording.meta == {"coordinates": "scene"}
    assert "pixels of the scene camera" in recording.warnings[0]
    assert "1280 × 720 px was assumed" in recording.warnings[1]
    assert recording.sampling_rate_hz[0] == pytest.approx(1000 / 4.5)


@pytest.mark.parametrize("given", ["", "surfaces/gaze_positions_on_surface_Monitor 1.csv"])
def test_surface(tmp_path: Path, given: str) -> None:
    put(tmp_path, "gaze_positions.csv", SCENE + SCENE_ROWS)
    put(tmp_path, "surfaces/gaze_positions_on_surface_Monitor 1.csv", SURFACE + SURFACE_ROWS)
    put(tmp_path, "annotations.csv", "index,timestamp,label,duration\n3,1216.5,IMAGE_ON a.jpg,0\n")
    recording = read(tmp_path / given)
    eye = recording.eyes["cyclopean"]
    same(eye.x_px, [250, NAN, -500])
    same(eye.y_px, [125, NAN, -250])
    assert recording.meta == {"coordinates": "screen", "surface": "Monitor 1"}
    assert (recording.display_px, list(recording.warnings)) == (None, [])
    assert [(m.time_ms, m.text) for m in recording.messages] == [(1216500, "IMAGE_ON a.jpg")]


def test_surface_table_by_itself(tmp_path: Path) -> None:
    put(tmp_path, "annotations.csv", "timestamp,label\n1216.5,x\n")
    recording = read(
        put(tmp_path, "ann.csv", SURFACE.replace(",confidence", "") + SURFACE_ROWS.replace(",0.1\n", "\n"))
    )
    same(recording.eyes["cyclopean"].x_px, [250, 500, -500])
    assert (recording.meta, list(recording.messages)) == ({"coordinates": "screen"}, [])


def test_which_surface(tmp_path: Path) -> None:
    put(tmp_path, "surfaces/gaze_positions_on_surface_a.csv", SURFACE + SURFACE_ROWS)
    put(tmp_path, "surfaces/gaze_positions_on_surface_b.csv", SURFACE + SURFACE_ROWS)
    with pytest.raises(RecordingError, match=r"gaze on 2 surfaces \(a, b\); .*name the file .*surface_a\.csv"):
        read(tmp_path)
    put(tmp_path, "surfaces/gaze_positions_on_surface_Screen.csv", SURFACE + SURFACE_ROWS)
    assert read(tmp_path).meta["surface"] == "Screen"


def test_clock_and_events(tmp_path: Path) -> None:
    folder = tmp_path / "exports" / "000"
    put(folder, "gaze_positions.csv", SCENE + SCENE_ROWS)
    put(tmp_path, "info.player.json", json.dumps({"start_time_synced_s": 1216.0, "start_time_system_s": 1.5e9, "x": 1}))
    put(folder, "blinks.csv", "id,start_timestamp,duration,end_timestamp\n1,1216.6,0.25,1216.85\n")
    put(folder, "fixations.csv", "id,start_timestamp,duration,norm_pos_x,norm_pos_y\n1,1216.5,62.5,0.25,0.75\n")
    recording = read(folder)
    assert recording.meta == {"coordinates": "scene", "start_time_synced_s": 1216.0, "start_time_system_s": 1.5e9}
    events = recording.native_events
    assert events["kind"].tolist() == ["fixation", "blink"]
    np.testing.assert_allclose(events["onset_ms"], [1216500, 1216600])
    np.testing.assert_allclose(events["offset_ms"], [1216562.5, 1216850])  # ms for fixations, s for blinks
    same(events["x_px"], [320, NAN])
    same(events["y_px"], [180, NAN])
    assert {p.name for p in files(folder)} == {"gaze_positions.csv", "blinks.csv", "fixations.csv", "info.player.json"}


def test_order(tmp_path: Path) -> None:
    rows = ["10.0,1,0.1", "10.008,1,0.2", "10.004,1,0.3", "10.004,1,0.4", "10.012,1,0.5"]
    text = "gaze_timestamp,confidence,norm_pos_x,norm_pos_y\n" + "".join(f"{r},0.5\n" for r in rows)
    recording = read(put(tmp_path, "a.csv", text))
    np.testing.assert_allclose(recording.time_ms, [10000, 10004, 10008, 10012])
    np.testing.assert_allclose(recording.eyes["cyclopean"].x_px, np.array([0.1, 0.3, 0.2, 0.5]) * 1280, rtol=1e-6)
    found = " ".join(recording.warnings)
    assert "1 sample before an earlier one" in found
    assert "1 sample with the time of the sample before" in found


def test_holes_are_blocks_and_do_not_count_in_the_rate(tmp_path: Path) -> None:
    times = [10 + 0.004 * k for k in range(10)] + [12 + 0.004 * k for k in range(10)]
    text = "gaze_timestamp,confidence,norm_pos_x,norm_pos_y\n" + "".join(f"{t:.6f},1,0.5,0.5\n" for t in times)
    recording = read(put(tmp_path, "a.csv", text))
    same(recording.block_start, [0, 10])
    np.testing.assert_allclose(recording.sampling_rate_hz, 250)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "it has 0 gaze samples"),
        (
            "10.0,1,1,0.5,0.5,\n9.9,1,1,0.5,0.5,\n8.9,1,1,0.5,0.5,\n",
            r"line 4: the time of sample 3 is 8\.9 s, after 10 s",
        ),
        ("10.0,1,1,0.5,0.5,\n,1,1,0.5,0.5,\n", "the time of sample 2 is nan s"),
        ("10.0,1,1,0.5,0.5,\n10.1,1,1,a,0.5,\n", "line 3: column 'norm_pos_x' has 'a'"),
    ],
)
def test_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read(put(tmp_path, "gaze_positions.csv", SCENE + rows))


def test_folder_without_gaze(tmp_path: Path) -> None:
    put(tmp_path, "blinks.csv", "id,start_timestamp\n")
    assert find_reader(tmp_path) is None


# ---- real exports ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n", "doubtful"), [(".", 9302, 1374), ("10_merge", 2054, 441)])
def test_real_exports(data_dir: Path, name: str, n: int, doubtful: int) -> None:
    folder = data_dir / "raw" / "pupil_core" / name
    recording = read(folder)
    with (folder / "gaze_positions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    eye = recording.eyes["cyclopean"]
    assert recording.n_samples == len(rows) == n
    np.testing.assert_allclose(recording.time_ms, [float(r["gaze_timestamp"]) * 1e3 for r in rows], rtol=1e-15)
    sure = np.array([float(r["confidence"]) >= 0.6 for r in rows])
    assert np.count_nonzero(~sure) == doubtful
    x = np.where(sure, [float(r["norm_pos_x"]) * 1280 for r in rows], NAN)
    y = np.where(sure, [(1 - float(r["norm_pos_y"])) * 720 for r in rows], NAN)
    np.testing.assert_allclose(eye.x_px, x, rtol=1e-6)
    np.testing.assert_allclose(eye.y_px, y, rtol=1e-6, atol=1e-4)
    same(recording.block_start, [0])
    assert 200 < recording.sampling_rate_hz[0] < 320


def test_real_events(data_dir: Path) -> None:
    folder = data_dir / "raw" / "pupil_core" / "10_merge"
    events = read(folder).native_events
    for name, kind, unit in (("blinks", "blink", 1e3), ("fixations", "fixation", 1.0)):
        with (folder / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        at = events["kind"] == kind
        onset = [float(r["start_timestamp"]) * 1e3 for r in rows]
        np.testing.assert_allclose(events["onset_ms"][at], onset, rtol=1e-15)
        length = [float(r["duration"]) * unit for r in rows]
        np.testing.assert_allclose(events["offset_ms"][at] - onset, length, atol=1e-6)


def test_real_file_damaged(
    data_dir: Path, tmp_path: Path, read_damaged: Callable[[Path, bytes], list[Recording]]
) -> None:
    source = data_dir / "raw" / "pupil_core" / "10_merge" / "gaze_positions.csv"
    lines = source.read_bytes().splitlines(keepends=True)[:150]
    assert len(read_damaged(tmp_path / "gaze_positions.csv", b"".join(lines))) > 60
    content = (SURFACE + SURFACE_ROWS * 2).encode()
    read_damaged(tmp_path / "gaze_positions_on_surface_x.csv", content)
