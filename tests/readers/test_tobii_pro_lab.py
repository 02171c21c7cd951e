"""Tobii Pro Lab exports: small ones written by hand in every generation of names, and a real one."""

from __future__ import annotations

import csv
import gzip
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.readers._columns import normalise
from gazepipe.readers._tobii import invalid
from gazepipe.readers.tobii_pro_lab import read_recordings
from gazepipe.recording import Recording
from gazepipe.trials import find_trials

NAN = float("nan")
# Names of version 24; each row below has a value for each.
NAMES = (
    "Recording timestamp [ms]",
    "Sensor",
    "Participant name",
    "Recording name",
    "Recording resolution height [px]",
    "Recording resolution width [px]",
    "Eyetracker timestamp [μs]",
    "Event",
    "Event value",
    "Gaze point left X [DACS px]",
    "Gaze point left Y [DACS px]",
    "Gaze point right X [DACS px]",
    "Gaze point right Y [DACS px]",
    "Gaze point left X [DACS mm]",
    "Pupil diameter left [mm]",
    "Pupil diameter right [mm]",
    "Validity left",
    "Validity right",
    "Eye position left Z [DACS mm]",
    "Eye position right Z [DACS mm]",
    "Presented Stimulus name",
    "Presented Media name",
)
ROWS = (
    "0|||RecordingStart||||||||||||||",
    "10|Eye Tracker|5000000|||100|200|110|210|1|3.5|3.25|Valid|Valid|600|610||",
    "12|Mouse||MouseEvent|Down, Left|||||||||||||",
    "18|Eye Tracker|5008333|||101.5|201|||1|3.5||Valid|Invalid|601|||",
    "20|||ImageStimulusStart|a||||||||||||a|a.jpg",
    "27|Eye Tracker|5016667|||102|202|112|212|1|3.5|3.25|Invalid|Valid||612|a|a.jpg",
    "35|Eye Tracker|5025000|||||||||||||||",
)


def export(names: tuple[str, ...] = NAMES, rows: tuple[str, ...] = ROWS, sep: str = "\t") -> str:
    """Rows are given without participant, recording and resolution, which are the same in all."""
    lines = []
    for row in rows:
        time, sensor, *rest = row.split("|")
        lines.append(sep.join([time, sensor, "P1", "R1", "1080", "1920", *rest]))
    return "\n".join([sep.join(names), *lines, ""])


def read_text(tmp_path: Path, text: str | bytes, name: str = "a.tsv") -> Recording:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recording(path, StudyConfig())


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def check(recording: Recording, times: tuple[float, ...] = (10, 18.333, 26.667, 35)) -> None:
    """What `ROWS` say."""
    assert recording.format == "tobii-pro-lab"
    np.testing.assert_allclose(recording.time_ms, times, rtol=1e-12)
    left, right = recording.eyes["left"], recording.eyes["right"]
    same(left.x_px, [100, 101.5, NAN, NAN])
    same(left.y_px, [200, 201, NAN, NAN])
    same(right.x_px, [110, NAN, 112, NAN])
    same(right.pupil, [3.25, NAN, 3.25, NAN])
    same(recording.columns["distance_mm"], [605, 601, 612, NAN])
    assert recording.columns["stimulus"].tolist() == ["", "", "a.jpg", ""]
    same(recording.columns["trial"], [NAN, NAN, 1, NAN])
    assert [m.text for m in recording.messages] == ["RecordingStart", "MouseEvent Down, Left", "ImageStimulusStart a"]
    assert recording.display_px == (1920, 1080)
    assert recording.warnings == []


def microseconds(rows: tuple[str, ...], start: float = 10.0) -> tuple[str, ...]:
    """Recording times in μs: those of samples from the eye tracker's clock, 5 s of which are `start`."""
    out = []
    for row in rows:
        cells = row.split("|")
        us = int(cells[2]) - 5_000_000 + start * 1000 if cells[2] else float(cells[0]) * 1000
        out.append("|".join([f"{us:.0f}", *cells[1:]]))
    return tuple(out)


def test_newest_names(tmp_path: Path) -> None:
    recording = read_text(tmp_path, export())
    check(recording)
    assert list(recording.eyes) == ["left", "right"]
    assert recording.sampling_rate_hz[0] == pytest.approx(120, abs=0.01)
    assert [m.time_ms for m in recording.messages] == [0, 12, 20]
    assert recording.meta == {"Recording resolution height [px]": "1080", "Recording resolution width [px]": "1920"}


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: name.replace("μ", "µ"),
        lambda name: name.replace("[DACS px]", "(DACSpx)").replace("[DACS mm]", "(DACSmm)"),
        lambda name: name.replace("[DACS px]", "(ADCSpx)").replace("[DACS mm]", "(ADCSmm)"),
        lambda name: name if "mm]" in name and "DACS" in name else name.split(" [")[0],
        lambda name: name.upper(),
        lambda name: f'"{name}"',
    ],
)
def test_generations_of_names(tmp_path: Path, change: Any) -> None:
    names = tuple(change(name) for name in NAMES)
    # Without a unit, times are in microseconds.
    plain = names[0].lower().strip('"') == "recording timestamp"
    check(read_text(tmp_path, export(names, microseconds(ROWS) if plain else ROWS)))


def test_recording_time_in_microseconds_is_taken_as_it_is(tmp_path: Path) -> None:
    names = ("Recording timestamp [μs]", *NAMES[1:])
    check(read_text(tmp_path, export(names, microseconds(ROWS, 10.002))), (10.002, 18.335, 26.669, 35.002))


@pytest.mark.parametrize(
    ("encode", "name"),
    [
        (lambda t: t.encode("utf-8-sig"), "a.tsv"),
        (lambda t: t.encode("utf-16"), "a.tsv"),
        (lambda t: t.replace("μ", "µ").encode("cp1252"), "a.txt"),
        (lambda t: t.replace("\n", "\r\n").encode(), "a.tsv"),
        (lambda t: gzip.compress(t.encode()), "a.tsv.gz"),
        (lambda t: t.replace("\t", ";").encode(), "a.csv"),
    ],
)
def test_encodings(tmp_path: Path, encode: Any, name: str) -> None:
    check(read_text(tmp_path, encode(export()), name))


def test_text_without_bom_as_windows_wrote_it(tmp_path: Path) -> None:
    text = export(rows=tuple(row.replace("a.jpg", "Käse.jpg") for row in ROWS)).replace("μ", "µ")
    recording = read_text(tmp_path, text.encode("cp1252"))
    assert recording.columns["stimulus"].tolist() == ["", "", "Käse.jpg", ""]


def test_decimal_commas(tmp_path: Path) -> None:
    check(read_text(tmp_path, export(rows=tuple(re.sub(r"(?<=\d)\.(?=\d)", ",", row) for row in ROWS))))


def test_decimal_comma_so_far_down_that_a_look_at_the_top_misses_it(tmp_path: Path) -> None:
    rows = [f"{k}|Eye Tracker|{k * 1000}|||1|2|3|4|1|3|3|Valid|Valid|600|610||" for k in range(30000)]
    last = "30000|Eye Tracker|30000000|||1,5|2|3|4|1|3|3|Valid|Valid|600|610||"
    recording = read_text(tmp_path, export(rows=(*rows, last)))
    assert recording.eyes["left"].x_px[-1] == 1.5
    assert recording.n_samples == 30001


def test_stems_and_units() -> None:
    assert normalise("Gaze point left X [DACS px]") == ("gazepointleftx", "dacspx")
    assert normalise("GazePointLeftX (ADCSpx)") == normalise("GazePointLeftX(ADCSpx)") == ("gazepointleftx", "dacspx")
    assert normalise("Eyetracker timestamp [\u03bcs]") == normalise("Eyetracker timestamp [\u00b5s]")
    assert normalise("Recording timestamp") == ("recordingtimestamp", "")


def test_validities() -> None:
    codes = np.array(["Valid", "Invalid", "", "0", "1", "2", "3", "4", "4.0", "0.0"], object)
    assert invalid(codes).tolist() == [False, True, False, False, False, True, True, True, True, False]


# ---- times -------------------------------------------------------------------------------------------------------


def clocks(tmp_path: Path, pairs: list[tuple[int, int | str]]) -> Recording:
    """A recording of (recording time in ms, eye tracker's time in μs)."""
    text = (
        "Recording timestamp [ms]\tSensor\tEyetracker timestamp [μs]\tGaze point X [DACS px]\tGaze point Y [DACS px]\n"
    )
    return read_text(tmp_path, text + "".join(f"{t}\tEye Tracker\t{e}\t1\t2\n" for t, e in pairs))


def test_drifting_clocks_are_fitted(tmp_path: Path) -> None:
    # 100 ppm for 100 s: 10 ms between first and last
    pairs = [(round(k * 8.333 * 1.0001), 7_000_000 + k * 8333) for k in range(12000)]
    recording = clocks(tmp_path, pairs)
    np.testing.assert_allclose(recording.time_ms, np.arange(12000) * 8.333 * 1.0001, atol=0.02)
    assert recording.warnings == []


def test_clock_that_jumps_is_not_used(tmp_path: Path) -> None:
    pairs = [(8 * k, 1_000_000 + 8000 * k + (500_000 if k > 50 else 0)) for k in range(100)]
    recording = clocks(tmp_path, pairs)
    same(recording.time_ms, [8.0 * k for k in range(100)])
    assert "do not go with the recording's" in recording.warnings[0]


def test_missing_tracker_time_falls_back(tmp_path: Path) -> None:
    same(clocks(tmp_path, [(0, ""), (8, 8000), (17, 16000)]).time_ms, [0, 8, 17])


def test_holes_and_repeated_times(tmp_path: Path) -> None:
    pairs = [(t, t * 1000) for t in (0, 8, 16, 16, 24, 2000, 2008)]
    recording = clocks(tmp_path, pairs)
    same(recording.time_ms, [0, 8, 16, 24, 2000, 2008])
    same(recording.block_start, [0, 4])
    assert recording.warnings == ["1 row with the time of the row before gave no sample"]


# ---- gaze, stimuli, labels ---------------------------------------------------------------------------------------


def table(columns: dict[str, list[Any]]) -> str:
    rows = ["\t".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(["\t".join(columns), *rows, ""])


BASE: dict[str, list[Any]] = {
    "Recording timestamp [ms]": [0, 8, 16, 24, 32, 40],
    "Sensor": ["Eye Tracker"] * 6,
    "Gaze point X [DACS px]": [1, 2, 3, 4, 5, 6],
    "Gaze point Y [DACS px]": [9] * 6,
}


def test_gaze_of_both_eyes_where_there_is_no_other(tmp_path: Path) -> None:
    validity = {
        "Validity left": ["Valid", "Invalid", "Invalid", "", "Valid", "Valid"],
        "Validity right": ["Invalid"] * 6,
    }
    pupils = {"Pupil diameter left [mm]": [3, 3, "", 3, 3, 3], "Pupil diameter right [mm]": [4, "", "", 4, 4, 4]}
    recording = read_text(tmp_path, table(BASE | validity | pupils))
    assert list(recording.eyes) == ["cyclopean"]
    same(recording.eyes["cyclopean"].x_px, [1, NAN, NAN, 4, 5, 6])
    same(recording.eyes["cyclopean"].pupil, [3.5, 3, NAN, 3.5, 3.5, 3.5])
    empty = {f"Gaze point {eye} {axis} [DACS px]": [""] * 6 for eye in ("left", "right") for axis in "XY"}
    recording = read_text(tmp_path, table(BASE | empty))
    assert list(recording.eyes) == ["cyclopean"]
    assert recording.warnings == ["there is no gaze of single eyes; that of both together was taken"]


@pytest.mark.parametrize(
    "columns",
    [
        {"Eyetracker timestamp [μs]": [0, "", 16000, 24000, 32000, 40000]},
        {"Validity left": ["Valid", "", "Valid", "Valid", "Valid", "Valid"]},
        {"Event": ["", "MouseEvent", "", "", "", ""], "Gaze point X [DACS px]": [1, "", 3, 4, 5, 6]},
    ],
)
def test_rows_of_the_mouse_without_the_column_of_sensors(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    base = {name: cells for name, cells in BASE.items() if name != "Sensor"}
    if "Event" in columns:
        columns = columns | {"Gaze point Y [DACS px]": [9, "", 9, 9, 9, 9]}
    same(read_text(tmp_path, table(base | columns)).time_ms, [0, 16, 24, 32, 40])


def test_stimuli_are_trials(tmp_path: Path) -> None:
    names = {
        "Recording timestamp [ms]": [0, 300, 600, 900, 1200, 1500],
        "Presented Stimulus name": ["Eyetracker Calibration", "a", "a", "", "a", "b"],
        "Presented Media name": ["", "a.png", "a.png", "", "a.png", ""],
    }
    places = {f"Presented Media {p} [px]": [""] + [v] * 5 for p, v in (("width", 800), ("height", 600))}
    places |= {f"Presented Media position {a} [DACS px]": [""] + [v] * 5 for a, v in (("X", 560), ("Y", 240))}
    recording = read_text(tmp_path, table(BASE | names | places))
    assert recording.columns["stimulus"].tolist() == ["", "a.png", "a.png", "", "a.png", "b"]
    same(recording.columns["trial"], [NAN, 1, 1, NAN, 2, 3])
    assert recording.meta["media_px"] == {"a.png": [560, 240, 800, 600], "b": [560, 240, 800, 600]}
    trials = find_trials(recording, StudyConfig()).frame
    assert trials["stimulus"].tolist() == ["a.png", "a.png", "b"]
    assert trials["onset_ms"].tolist() == [300, 1200, 1500]
    assert trials["repeat"].tolist() == [1, 2, 1]


def test_calibration_alone_is_no_stimulus(tmp_path: Path) -> None:
    recording = read_text(tmp_path, table(BASE | {"Presented Stimulus name": ["Eyetracker Calibration"] * 6}))
    assert set(recording.columns) == set()


def test_native_events(tmp_path: Path) -> None:
    labels = {
        "Eye movement type": ["Fixation", "Fixation", "Fixation", "Saccade", "Unclassified", "Saccade"],
        "Eye movement type index": [1, 1, 2, 1, 1, 2],
        "Fixation point X [DACS px]": [5, 5, 7, "", "", ""],
        "Fixation point Y [DACS px]": [6, 6, 8, "", "", ""],
    }
    recording = read_text(tmp_path, table(BASE | labels))
    events = recording.native_events
    assert events["kind"].tolist() == ["fixation", "fixation", "saccade", "saccade"]
    assert events["onset_ms"].tolist() == [0, 16, 24, 40]
    assert events["offset_ms"].tolist() == [8, 16, 24, 40]
    same(events["x_px"], [5, 7, NAN, NAN])
    assert recording.columns["native_label"].tolist() == labels["Eye movement type"]


def test_glasses_are_warned_of(tmp_path: Path) -> None:
    recording = read_text(tmp_path, table(BASE | {"Gyro X [°/s]": [""] * 6}))
    assert "not of a screen" in recording.warnings[0]


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_several_recordings(tmp_path: Path) -> None:
    who = {"Participant name": ["P1"] * 3 + ["P2"] * 3, "Recording name": ["R1"] * 3 + ["R2"] * 3}
    text = table(BASE | who)
    with pytest.raises(RecordingError, match=r"it has 2 recordings \(P1 R1, P2 R2\); expected one recording a file"):
        read_text(tmp_path, text)
    both = read_recordings(tmp_path / "a.tsv")
    assert list(both) == [("P1", "R1"), ("P2", "R2")]
    same(both["P2", "R2"].time_ms, [24, 32, 40])
    same(both["P2", "R2"].eyes["cyclopean"].x_px, [4, 5, 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Gaze point X [DACS px]": [1, 2, "abc", 4, 5, 6]}, r"line 4: column 'Gaze point X \[DACS px\]' has 'abc'"),
        ({"Gaze point X [DACS px]": [1, 2, "1,5", "1.5", 5, 6]}, r"line 5: column .* has '1\.5'; expected a number"),
        ({"Recording timestamp [ms]": [0, "", 2, 3, 4, 5]}, "line 3: column 'Recording timestamp.*' is empty"),
        ({"Recording timestamp [ms]": [0, 1, "inf", 3, 4, 5]}, "line 4: .*has 'inf'"),
        ({"Sensor": ["Mouse"] * 6}, "there are no rows of the sensor 'Eye Tracker'; expected gaze samples"),
        ({"Sensor": ["Eye Tracker"] + ["Mouse"] * 5}, "it has 1 row of samples; expected two or more"),
        ({"Recording timestamp [ms]": [5] * 6}, "it has 1 row"),
    ],
)
def test_bad_cells(tmp_path: Path, change: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, table(BASE | change))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("Recording timestamp [ms]", "the format is not known|there is no column"),
        ("Gaze point X [DACS px]", "no column with gaze points on the screen in pixels .*export again with Recording"),
    ],
)
def test_missing_columns(tmp_path: Path, gone: str, message: str) -> None:
    columns = {name: cells for name, cells in BASE.items() if name != gone}
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, table(columns))


def test_text_with_zero_bytes(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"byte \d+ of the text is zero"):
        read_text(tmp_path, table(BASE).replace("32", "3\0"))


def test_header_alone(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"there are no rows|it has 0 rows"):
        read_text(tmp_path, "\t".join(BASE) + "\n")


def test_last_row_cut_short_is_dropped(tmp_path: Path) -> None:
    recording = read_text(tmp_path, table(BASE)[:-3])
    assert recording.n_samples == 5
    assert recording.warnings == ["the last row is cut short and was dropped"]


# ---- a real export -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(data_dir: Path) -> Path:
    found = sorted((data_dir / "raw" / "tobii_pro_lab").glob("*_short.tsv"))
    if not found:
        pytest.skip("no Tobii Pro Lab export")
    return found[0]


def test_real_file(real: Path) -> None:
    recording = read_recording(real, StudyConfig())
    with real.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    samples = [row for row in rows if row["Sensor"] == "Eye Tracker"]
    assert recording.n_samples == len(samples) == 4910

    def number(text: str) -> float:
        return float(text.replace(",", ".")) if text else math.nan

    tracker = np.array([int(row["Eyetracker timestamp [μs]"]) for row in samples])
    np.testing.assert_allclose(np.diff(recording.time_ms), np.diff(tracker) / 1000, atol=1e-6)
    whole = np.array([int(row["Recording timestamp [ms]"]) for row in samples])
    assert np.abs(recording.time_ms - whole).max() < 0.6
    for eye, samples_of in recording.eyes.items():
        lost = np.array([row[f"Validity {eye}"] == "Invalid" for row in samples])
        for axis, found in (("X", samples_of.x_px), ("Y", samples_of.y_px)):
            expected = np.array([number(row[f"Gaze point {eye} {axis} [DACS px]"]) for row in samples], np.float32)
            np.testing.assert_array_equal(found, np.where(lost, np.nan, expected))
        expected = np.array([number(row[f"Pupil diameter {eye} [mm]"]) for row in samples])
        np.testing.assert_allclose(samples_of.pupil, expected, rtol=1e-6)
    assert recording.columns["native_label"].tolist() == [row["Eye movement type"] for row in samples]
    z = np.array([[number(row[f"Eye position {eye} Z [DACS mm]"]) for eye in ("left", "right")] for row in samples])
    both = ~np.isnan(z).any(axis=1)
    np.testing.assert_allclose(recording.columns["distance_mm"][both], z[both].mean(axis=1), rtol=1e-6)
    assert [(m.time_ms, m.text) for m in recording.messages] == [
        (int(row["Recording timestamp [ms]"]), f"{row['Event']} {row['Event value']}".strip())
        for row in rows
        if row["Event"]
    ]
    # It only has the calibration, which is no stimulus.
    assert "stimulus" not in recording.columns
    assert recording.display_px == (1920, 1080)
    fixations = {row["Eye movement type index"] for row in samples if row["Eye movement type"] == "Fixation"}
    assert np.count_nonzero(recording.native_events["kind"] == "fixation") == len(fixations)
    assert recording.warnings == []


def test_damage(real: Path, tmp_path: Path, read_damaged: Any) -> None:
    content = b"".join(real.read_bytes().splitlines(keepends=True)[:250])
    assert len(read_damaged(tmp_path / "a.tsv", content)) > 100
