"""Tobii Studio exports: small ones written by hand, and real excerpts of 20 people in a file."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.readers.tobii_studio import read_recordings
from gazepipe.recording import Recording

NAN = float("nan")

COLUMNS: dict[str, list[Any]] = {
    "ParticipantName": ["P1"] * 6,
    "RecordingName": ["Rec 01"] * 6,
    "RecordingResolution": ["1280 x 1024"] * 6,
    "MediaName": ["", "a.jpg", "a.jpg", "a.jpg", "a.jpg", ""],
    "MediaPosX (ADCSpx)": ["", 100, 100, 100, 100, ""],
    "MediaPosY (ADCSpx)": ["", 50, 50, 50, 50, ""],
    "MediaWidth": ["", 800, 800, 800, 800, ""],
    "MediaHeight": ["", 600, 600, 600, 600, ""],
    "RecordingTimestamp": [0, 3, 5, 7, 10, 13],
    "StudioEvent": ["", "", "ImageStart", "", "", ""],
    "StudioEventData": ["", "", "a.jpg", "", "", ""],
    "KeyPressEvent": ["", "", "", "", "", "Space"],
    "FixationIndex": ["", 1, "", 1, "", 2],
    "SaccadeIndex": ["", "", "", "", 1, ""],
    "GazeEventType": ["Unclassified", "Fixation", "", "Fixation", "Saccade", "Fixation"],
    "FixationPointX (MCSpx)": ["", 20, "", 20, "", ""],
    "FixationPointY (MCSpx)": ["", 30, "", 30, "", ""],
    "GazePointIndex": [1, 2, "", 3, 4, 5],
    "GazePointLeftX (ADCSpx)": [10.5, 11, "", 12, 13, 14],
    "GazePointLeftY (ADCSpx)": [20, 21, "", 22, 23, 24],
    "GazePointRightX (ADCSpx)": [10, 11, "", 12, 13, 14],
    "GazePointRightY (ADCSpx)": [20, 21, "", 22, 23, 24],
    "GazePointX (ADCSpx)": [99] * 6,
    "GazePointY (ADCSpx)": [99] * 6,
    "GazePointLeftX (ADCSmm)": [1.5] * 6,
    "DistanceLeft": [600, 601, "", 602, 603, 604],
    "PupilLeft": [3.1, 3.2, "", 3.3, 3.4, 3.5],
    "PupilRight": [3.1, 3.2, "", -1, 3.4, 3.5],
    "ValidityLeft": [0, 1, "", 2, 3, 4],
    "ValidityRight": [0, 0, "", 0, 0, 0],
}


def table(columns: dict[str, list[Any]], sep: str = "\t") -> str:
    rows = [sep.join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    return "\n".join([sep.join(columns), *rows, ""])


def read_text(tmp_path: Path, text: str, name: str = "a.tsv") -> Recording:
    (tmp_path / name).write_bytes(text.encode())
    return read_recording(tmp_path / name, StudyConfig())


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


@pytest.mark.parametrize("sep", ["\t", ",", ";"])
@pytest.mark.parametrize("space", [True, False])
def test_names_and_delimiters(tmp_path: Path, sep: str, space: bool) -> None:
    columns = COLUMNS if space else {name.replace(" (", "("): cells for name, cells in COLUMNS.items()}
    recording = read_text(tmp_path, table(columns, sep), "a.csv")
    assert recording.format == "tobii-studio"
    same(recording.time_ms, [0, 3, 7, 10, 13])
    left, right = recording.eyes["left"], recording.eyes["right"]
    same(left.x_px, [10.5, 11, NAN, NAN, NAN])  # validities 2, 3, 4 are no gaze
    same(right.x_px, [10, 11, 12, 13, 14])
    same(right.pupil, [3.1, 3.2, NAN, 3.4, 3.5])
    assert recording.display_px == (1280, 1024)
    assert recording.columns["stimulus"].tolist() == ["", "a.jpg", "a.jpg", "a.jpg", ""]
    same(recording.columns["trial"], [NAN, 1, 1, 1, NAN])
    same(recording.columns["distance_mm"], [600, 601, 602, 603, 604])
    assert [(m.time_ms, m.text) for m in recording.messages] == [(5, "ImageStart a.jpg"), (13, "Space")]
    assert recording.meta == {"RecordingResolution": "1280 x 1024", "media_px": {"a.jpg": [100, 50, 800, 600]}}


def test_native_fixations_are_moved_to_the_screen(tmp_path: Path) -> None:
    events = read_text(tmp_path, table(COLUMNS)).native_events
    assert events["kind"].tolist() == ["fixation", "saccade", "fixation"]
    assert events["onset_ms"].tolist() == [3, 10, 13]
    assert events["offset_ms"].tolist() == [7, 10, 13]
    same(events["x_px"], [120, NAN, NAN])
    same(events["y_px"], [80, NAN, NAN])


def test_no_place_of_a_medium_is_infinite(tmp_path: Path) -> None:
    spoilt = COLUMNS | {"MediaPosX (ADCSpx)": ["", "1e999", "1e999", 100, 100, ""]}
    recording = read_text(tmp_path, table(spoilt))
    same(recording.native_events["x_px"], [NAN, NAN, NAN])
    assert recording.meta["media_px"] == {"a.jpg": [100, 50, 800, 600]}


def test_tracker_timestamps_are_finer(tmp_path: Path) -> None:
    tracker = {"EyeTrackerTimestamp": [1000000, 1003333, "", 1006667, 1010000, 1013333]}
    recording = read_text(tmp_path, table(COLUMNS | tracker))
    np.testing.assert_allclose(recording.time_ms, [0, 3.333, 6.667, 10, 13.333], atol=1e-9)


def test_first_version_with_lines_above_the_names(tmp_path: Path) -> None:
    text = (
        "System Properties:\nOperating System:\tMicrosoft Windows XP\nRecording name:\tRec 7\n\nExport Data:\n\n"
        "Timestamp\tNumber\tGazePointXLeft\tGazePointYLeft\tDistanceLeft\tPupilLeft\tValidityLeft\tGazePointXRight\t"
        "GazePointYRight\tDistanceRight\tPupilRight\tValidityRight\tEvent\tStimuliName\n"
        "5\t0\t10,5\t20\t600,5\t3,5\t0\t12\t22\t601,5\t3,6\t0\t\tb.jpg\n"
        "21\t1\t-1280\t-1024\t-1\t-1\t4\t13\t23\t602\t3,6\t0\tKeyPress\tb.jpg\n"
        "38\t2\t11\t20\t600\t3,5\t0\t14\t24\t602\t3,6\t0\t\tb.jpg\n"
    )
    recording = read_text(tmp_path, text)
    same(recording.time_ms, [5, 21, 38])
    same(recording.eyes["left"].x_px, [10.5, NAN, 11])
    same(recording.eyes["left"].pupil, [3.5, NAN, 3.5])
    same(recording.columns["distance_mm"], [601, 602, 601])
    assert [m.text for m in recording.messages] == ["KeyPress"]
    broken = text.replace("\t12\t", "\tx\t")
    with pytest.raises(RecordingError, match="line 8: column 'GazePointXRight' has 'x'"):
        read_text(tmp_path, broken)


def test_missing_gaze(tmp_path: Path) -> None:
    columns = {name: cells for name, cells in COLUMNS.items() if "px)" not in name or "Media" in name}
    with pytest.raises(RecordingError, match=r"no column with gaze points .*export again with RecordingTimestamp"):
        read_text(tmp_path, table(columns))


# ---- real excerpts -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(data_dir: Path) -> Path:
    path = data_dir / "raw" / "tobii_studio_fgd" / "000.csv.gz"
    if not path.is_file():
        pytest.skip("no Tobii Studio export")
    return path


def test_real_file(real: Path) -> None:
    with pytest.raises(RecordingError, match=r"it has 20 recordings \(00, 02, 01, 03, 04, 05, 06, 07, …\)"):
        read_recording(real, StudyConfig())
    recordings = read_recordings(real)
    with gzip.open(real, "rt", newline="") as file:
        people: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(file):
            people.setdefault(row["ParticipantName"], []).append(row)
    assert [who for who, _ in recordings] == list(people)
    assert sum(r.n_samples for r in recordings.values()) == 18162
    for (who, _), recording in recordings.items():
        rows = people[who]
        same(recording.time_ms, [float(row["RecordingTimestamp"]) for row in rows])
        for eye, samples in recording.eyes.items():
            for axis, found in (("X", samples.x_px), ("Y", samples.y_px)):
                same(found, [float(row[f"GazePoint{eye.title()}{axis}(ADCSpx)"] or "nan") for row in rows])
            same(samples.pupil, [float(row[f"Pupil{eye.title()}"] or "nan") for row in rows])
        assert recording.columns["native_label"].tolist() == [row["GazeEventType"] for row in rows]
        fixations = {row["FixationIndex"] for row in rows} - {""}
        assert np.count_nonzero(recording.native_events["kind"] == "fixation") == len(fixations)
        assert (recording.display_px, recording.warnings) == ((1280, 1024), [])
        assert recording.sampling_rate_hz[0] == pytest.approx(300, abs=0.5)


def test_damage(real: Path, tmp_path: Path, read_damaged: Any) -> None:
    content = b"".join(gzip.decompress(real.read_bytes()).splitlines(keepends=True)[:500])
    assert len(read_damaged(tmp_path / "a.csv", content)) > 60
