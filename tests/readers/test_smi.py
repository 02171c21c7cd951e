"""Texts of SMI samples, written by hand in the layouts of the IDF Converter and of BeGaze."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.recording import Recording
from gazepipe.trials import find_trials

NAN = float("nan")
HEAD = (
    "## [iView]\n## Converted from:\tD:\\data\\anna.idf\n## Sample Rate:\t500\n## [Run]\n## Subject:\tAnna\n"
    "## [Calibration]\n## Calibration Area:\t1680\t1050\n## [Geometry]\n## Stimulus Dimension [mm]:\t474\t297\n"
    "## Head Distance [mm]:\t700\n## [Presentation]\n## Format:\tLEFT, RIGHT, POR, MSG\n##\n"
)
NAMES = (
    "Time\tType\tTrial\tL POR X [px]\tL POR Y [px]\tR POR X [px]\tR POR Y [px]\tL Pupil Diameter [mm]\t"
    "R Mapped Diameter [mm]\tL Dia X [px]\n"
)
ROWS = (
    "8000000000\tSMP\t1\t800.50\t500.25\t810.00\t510.00\t3.50\t3.25\t30\n"
    "8000001000\tMSG\t1\t# Message: face 01.jpg\n"
    "8000002000\tSMP\t1\t0.00\t0.00\t811.00\t511.00\t0.00\t3.25\t30\n"
    "8000004000\tSMP\t1\t801.50\t0.00\t0.00\t0.00\t3.50\t0.00\t30\n"
    "8000005000\tMSG\t1\tUE-keypress Space\n"
    "8000006000\tSMP\t1\t802.50\t502.25\t812.00\t512.00\t3.50\t3.25\t30\n"
)


def read_text(tmp_path: Path, text: str | bytes, name: str = "a_Samples.txt") -> Recording:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recording(tmp_path / name, StudyConfig())


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


@pytest.mark.parametrize(
    "encode",
    [
        lambda t: t.encode(),
        lambda t: t.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda t: t.encode("utf-16"),
        lambda t: t.replace(".", ",").replace("face 01,jpg", "face 01.jpg").encode(),
        lambda t: t.replace("\nTime", "\n\nTime").replace("\n8000005000", "\n\n\n8000005000").encode(),
    ],
)
def test_idf_converter(tmp_path: Path, encode: Any) -> None:
    recording = read_text(tmp_path, encode(HEAD + NAMES + ROWS))
    assert recording.format == "smi"
    same(recording.time_ms, [8000000, 8000002, 8000004, 8000006])
    left, right = recording.eyes["left"], recording.eyes["right"]
    same(left.x_px, [800.5, NAN, 801.5, 802.5])  # only zero for both is a lost eye
    same(left.y_px, [500.25, NAN, 0, 502.25])
    same(left.pupil, [3.5, NAN, 3.5, 3.5])
    same(right.x_px, [810, 811, NAN, 812])
    same(right.pupil, [3.25, 3.25, NAN, 3.25])
    assert [(m.time_ms, m.text) for m in recording.messages] == [
        (8000001, "face 01.jpg"),
        (8000005, "UE-keypress Space"),
    ]
    assert recording.columns["stimulus"].tolist() == ["", *["face 01.jpg"] * 3]
    same(recording.columns["trial"], [NAN, 1, 1, 1])
    assert list(recording.sampling_rate_hz) == [500]
    assert recording.display_px == (1680, 1050)
    assert recording.meta["Head Distance [mm]"] == "700"
    assert recording.meta["Stimulus Dimension [mm]"] == "474 297"
    assert "Subject" not in recording.meta
    assert recording.warnings == []


def test_binocular_gaze_where_there_is_no_other(tmp_path: Path) -> None:
    names = "Time\tType\tTrial\tB POR X [px]\tB POR Y [px]\tL Dia X [px]\tB Event Info\tStimulus\n"
    rows = (
        "1000\tSMP\t1\t5\t6\t30\tFixation\t-\n3000\tSMP\t1\t5\t6\t30\tFixation\ta.bmp\n"
        "4000\tMSG\t1\tMarker:1.00\n\n\n5000\tSMP\t1\t0\t0\t30\tSaccade\ta.bmp\n7000\tSMP\t2\t5\t6\t30\tBlink\ta.bmp\n"
    )
    recording = read_text(tmp_path, names + rows)
    assert list(recording.eyes) == ["cyclopean"]
    same(recording.eyes["cyclopean"].x_px, [5, 5, NAN, 5])
    assert recording.columns["stimulus"].tolist() == ["", "a.bmp", "a.bmp", "a.bmp"]
    assert recording.columns["trial"].tolist() == ["1", "1", "1", "2"]
    assert recording.columns["native_label"].tolist() == ["Fixation", "Fixation", "Saccade", "Blink"]
    assert recording.native_events["kind"].tolist() == ["fixation", "saccade", "blink"]
    assert recording.native_events["offset_ms"].tolist() == [3, 5, 7]
    assert recording.sampling_rate_hz[0] == pytest.approx(500)


def test_left_eye_only_with_pupil_in_camera_pixels(tmp_path: Path) -> None:
    names = "Time\tType\tTrial\tL Dia X [px]\tL POR X [px]\tL POR Y [px]\n"
    recording = read_text(tmp_path, names + "1000\tSMP\t1\t30\t5\t6\n3000\tSMP\t1\t31\t7\t8\n")
    assert list(recording.eyes) == ["left"]
    same(recording.eyes["left"].pupil, [30, 31])


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_begaze_raw_data(tmp_path: Path, sep: str) -> None:
    names = (
        "RecordingTime [ms]|Trial|Stimulus|Participant|Category Left|Pupil Diameter Left [mm]|"
        "Point of Regard Left X [px]|Point of Regard Left Y [px]"
    )
    rows = (
        "100.5|Trial001|a.jpg|P01|Fixation|3.5|10.5|20.5",
        "104.5|Trial001|a.jpg|P01|-|-|-|-",
        "108.5|Trial002|b.jpg|P01|Saccade|3.5|11|21",
    )
    text = "\n".join([names, *rows, ""]).replace("|", sep)
    recording = read_text(tmp_path, text, "a.csv")
    same(recording.time_ms, [100.5, 104.5, 108.5])
    same(recording.eyes["left"].x_px, [10.5, NAN, 11])
    assert recording.columns["stimulus"].tolist() == ["a.jpg", "a.jpg", "b.jpg"]
    assert recording.columns["trial"].tolist() == ["Trial001", "Trial001", "Trial002"]
    with pytest.raises(RecordingError, match=r"it has 2 participants \(P02, P01\); expected one recording a file"):
        read_text(tmp_path, text.replace("P01", "P02", 1), "a.csv")


def test_trials_by_pictures(tmp_path: Path) -> None:
    rows = "".join(f"{2000 * k}\tSMP\t1\t5\t6\n" for k in range(600))
    parts = [rows[: rows.index("\n100000\t") + 1], rows[rows.index("\n100000\t") + 1 :]]
    text = "Time\tType\tTrial\tL POR X [px]\tL POR Y [px]\n" + parts[0] + "99000\tMSG\t1\t# Message: a.png\n"
    at = parts[1].index("600000\t")
    text += parts[1][:at] + "599000\tMSG\t1\t# Message: a.png\n" + parts[1][at:]
    recording = read_text(tmp_path, text)
    trials = find_trials(recording, StudyConfig()).frame
    assert trials["stimulus"].tolist() == ["a.png", "a.png"]
    assert trials["onset_ms"].tolist() == [100, 600]


def test_rate_that_does_not_go_with_the_times(tmp_path: Path) -> None:
    recording = read_text(tmp_path, (HEAD + NAMES + ROWS).replace("Rate:\t500", "Rate:\t120"))
    assert recording.warnings == ["the times (500 Hz) do not go with the stated rate (120 Hz)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + NAMES + ROWS.replace("811.00", "abc"), "line 17: column 'R POR X .px.' has 'abc'; expected a number"),
        (HEAD + NAMES + ROWS.replace("8000005000", "now"), "line 19: a message has the time 'now'"),
        (HEAD + NAMES.replace("POR", "CR1") + ROWS, r"no column with gaze positions \(POR\) in pixels"),
        (HEAD + NAMES, "it has 0 rows of samples; expected two or more"),
        (HEAD + NAMES + ROWS.split("\n")[0] + "\n", "it has 1 row of samples"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, text)


def test_last_row_cut_short_is_dropped(tmp_path: Path) -> None:
    recording = read_text(tmp_path, (HEAD + NAMES + ROWS)[:-12])
    assert recording.n_samples == 3
    assert recording.warnings == ["the last row is cut short and was dropped"]


def test_damage(tmp_path: Path, read_damaged: Any) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for k in range(300):
        x, y = rng.uniform(100, 900, 2)
        rows.append(f"{8_000_000_000 + 2000 * k}\tSMP\t1\t{x:.2f}\t{y:.2f}\t{x:.2f}\t{y:.2f}\t3.50\t3.25\t30\n")
        if k % 100 == 50:
            rows.append(f"{8_000_000_001 + 2000 * k}\tMSG\t1\t# Message: picture{k}.jpg\n")
    assert len(read_damaged(tmp_path / "a.txt", (HEAD + NAMES + "".join(rows)).encode())) > 60
