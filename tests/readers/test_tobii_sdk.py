"""Tables of Tobii's programming interfaces: small ones by hand, and real ones of a TX300."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import ScreenConfig, StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.recording import Recording

NAN = float("nan")
OLD = (
    "Time\tLEyePos3dz\tLGazePos2dx\tLGazePos2dy\tLPupilDm\tLValidity\tREyePos3dz\tRGazePos2dx\tRGazePos2dy\t"
    "RPupilDm\tRValidity\tRelTimestamp\n"
    "2619771723\t0.0\t-1.0\t-1.0\t-1.0\t4\t600\t0.5\t0.5\t3.5\t0\t0.0\n"
    "2619775056\t610\t0.25\t0.5\t4.25\t1\t600\t0.5\t1.1\t3.5\t2\t3.333\n"
)


def read_text(tmp_path: Path, text: str, name: str = "a.tsv") -> Recording:
    (tmp_path / name).write_bytes(text.encode())
    screen = ScreenConfig(width_px=1000, height_px=500)
    return read_recording(tmp_path / name, StudyConfig(screen=screen))


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


@pytest.mark.parametrize("text", [OLD, OLD.replace(".", ","), OLD.replace("\t", ";"), OLD.replace("\t", ",")])
def test_old_interface(tmp_path: Path, text: str) -> None:
    recording = read_text(tmp_path, text)
    assert recording.format == "tobii-sdk"
    np.testing.assert_allclose(recording.time_ms, [2619771.723, 2619775.056], rtol=1e-15)
    same(recording.eyes["left"].x_px, [NAN, 250])
    same(recording.eyes["left"].y_px, [NAN, 250])
    same(recording.eyes["left"].pupil, [NAN, 4.25])
    same(recording.eyes["right"].x_px, [500, NAN])  # validity 2
    same(recording.columns["distance_mm"], [600, 605])


def test_pro_interface(tmp_path: Path) -> None:
    names = "system_time_stamp,device_time_stamp"
    for eye in ("left", "right"):
        names += f",{eye}_gaze_point_on_display_area_x,{eye}_gaze_point_on_display_area_y,{eye}_gaze_point_validity"
        names += f",{eye}_pupil_diameter,{eye}_gaze_origin_in_user_coordinate_system_z"
    text = f"{names}\n7,1000,0.5,0.5,1,3.5,600,nan,nan,0,nan,nan\n9,2667,0.6,0.5,0,3.5,600,0.1,0.1,1,3,620\n"
    recording = read_text(tmp_path, text, "a.csv")
    same(recording.time_ms, [1, 2.667])
    same(recording.eyes["left"].x_px, [500, NAN])
    same(recording.eyes["right"].x_px, [NAN, 100])
    same(recording.columns["distance_mm"], [600, 610])
    words = text.replace("_validity", "_valid").replace(",1,3", ",True,3").replace(",0,", ",False,")
    same(read_text(tmp_path, words, "a.csv").eyes["left"].x_px, [500, NAN])


def test_one_eye(tmp_path: Path) -> None:
    recording = read_text(tmp_path, "Time\tLGazePos2dx\tLGazePos2dy\n1000\t0.5\t0.5\n2000\t-1\t-1\n")
    assert list(recording.eyes) == ["left"]
    same(recording.eyes["left"].x_px, [500, NAN])
    assert recording.columns == {}


def test_holes_and_repeated_times(tmp_path: Path) -> None:
    times = [0, 3000, 3000, 6000, 2_000_000, 2_003_000]
    rows = "".join(f"{t}\t0.5\t0.5\n" for t in times)
    recording = read_text(tmp_path, f"Time\tLGazePos2dx\tLGazePos2dy\n{rows}")
    same(recording.block_start, [0, 3])
    assert recording.warnings == ["1 row with the time of the row before gave no sample"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OLD.replace("Time\t", "When\t", 1), "no column with times"),
        (OLD.replace("GazePos2dy", "y"), "no column with both coordinates of an eye"),
        (OLD.replace("0.25", "abc"), "line 3: column 'LGazePos2dx' has 'abc'; expected a number"),
        (OLD.replace("2619775056", ""), "line 3: column 'Time' is empty"),
        (OLD.split("\n")[0], "it has 0 rows of samples"),
        ("\n".join(OLD.split("\n")[:2]) + "\n", "it has 1 row of samples"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, text)


@pytest.fixture(scope="module")
def real(data_dir: Path) -> list[Path]:
    found = sorted((data_dir / "raw" / "tobii_sdk").glob("*/*.tsv"))
    if not found:
        pytest.skip("no tables of Tobii's SDK")
    return found


def test_real_files(real: list[Path]) -> None:
    lengths = []
    for path in real:
        recording = read_recording(path, StudyConfig())
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        lengths.append(recording.n_samples)
        assert recording.n_samples == len(rows)
        np.testing.assert_allclose(recording.time_ms, [int(row["Time"]) / 1000 for row in rows], rtol=1e-15)
        for eye, samples in recording.eyes.items():
            e = eye[0].upper()
            lost = np.array([int(row[f"{e}Validity"]) > 1 for row in rows])
            for found, name, size in ((samples.x_px, "GazePos2dx", 1920), (samples.y_px, "GazePos2dy", 1080)):
                expected = np.array([float(row[e + name]) * size for row in rows])
                np.testing.assert_allclose(found, np.where(lost, np.nan, expected), rtol=1e-6)
            expected = np.array([float(row[f"{e}PupilDm"]) for row in rows])
            np.testing.assert_allclose(samples.pupil, np.where(expected > 0, expected, np.nan), rtol=1e-6)
        assert recording.sampling_rate_hz[0] == pytest.approx(300, abs=0.1)
        assert recording.warnings == []
    assert lengths == [651, 1206, 1207, 434, 1210]


def test_damage(real: list[Path], tmp_path: Path, read_damaged: Any) -> None:
    assert len(read_damaged(tmp_path / "a.tsv", min(real, key=lambda p: p.stat().st_size).read_bytes())) > 60
