"""BIDS eye tracking: small data sets with answers by hand, and real files read a second time with `gzip`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import ScreenConfig, StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import find_reader, is_companion, read_recording
from gazepipe.readers.bids import files
from gazepipe.recording import Recording

NAN = float("nan")
CONFIG = StudyConfig(
    screen=ScreenConfig(width_px=800, height_px=600, width_mm=290, height_mm=180, distance_mm=680),
)
STEM = "sub-01_task-x_run-1"
ROWS = "100\t1.5\t2\t3\n102\tn/a\tn/a\t0\n104\t5\t6\t7\n"
PX = {"Units": "pixel"}
SCREEN = {
    "ScreenDistance": 0.68,
    "ScreenOrigin": ["top", "left"],
    "ScreenResolution": [800, 600],
    "ScreenSize": [0.29, 0.18],
}


def sidecar(**changes: Any) -> dict[str, Any]:
    about: dict[str, Any] = {
        "PhysioType": "eyetrack",
        "SamplingFrequency": 500,
        "StartTime": 0,
        "Columns": ["timestamp", "x_coordinate", "y_coordinate", "pupil_size"],
        "RecordedEye": "left",
        "SampleCoordinateSystem": "gaze-on-screen",
        "timestamp": {"Units": "ms"},
        "x_coordinate": PX,
        "y_coordinate": PX,
    }
    return {k: v for k, v in (about | changes).items() if v is not None}


def put(folder: Path, name: str, content: str | dict[str, Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def put_eye(folder: Path, rows: str = ROWS, eye: int = 1, kind: str = "tsv.gz", **changes: Any) -> Path:
    put(folder, f"{STEM}_recording-eye{eye}_physio.json", sidecar(**changes))
    return put(folder, f"{STEM}_recording-eye{eye}_physio.{kind}", rows)


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def read(path: Path) -> Recording:
    return read_recording(path, CONFIG)


@pytest.mark.parametrize("start", ["", "\ufeff", "timestamp\tx_coordinate\ty_coordinate\tpupil_size\n"])
@pytest.mark.parametrize("kind", ["tsv", "tsv.gz"])
def test_one_eye(tmp_path: Path, start: str, kind: str) -> None:
    recording = read(put_eye(tmp_path, start + ROWS, kind=kind))
    assert (recording.format, list(recording.eyes)) == ("bids", ["left"])
    eye = recording.eyes["left"]
    same(recording.time_ms, [100, 102, 104])
    same(eye.x_px, [1.5, NAN, 5])
    same(eye.y_px, [2, NAN, 6])
    same(eye.pupil, [3, NAN, 7])
    same(recording.sampling_rate_hz, [500])
    assert (recording.display_px, list(recording.warnings), list(recording.messages)) == (None, [], [])
    assert recording.meta["coordinates"] == "screen"


@pytest.mark.parametrize(
    ("unit", "times"),
    [("s", ["1.0", "1.002", "1.004"]), ("ms", ["1000", "1002", "1004"]), ("µs", ["1000000", "1002000", "1004000"])],
)
@pytest.mark.parametrize("stated", [True, False])
def test_units_of_time(tmp_path: Path, unit: str, times: list[str], stated: bool) -> None:
    rows = "".join(f"{t}\t1\t2\t3\n" for t in times)
    recording = read(put_eye(tmp_path, rows, timestamp={"Units": unit} if stated else None))
    np.testing.assert_allclose(recording.time_ms, [1000, 1002, 1004], rtol=1e-15)
    assert len(recording.warnings) == (0 if stated else 1)


def test_nanoseconds_are_exact(tmp_path: Path) -> None:
    start = 1_726_563_969_312_137_421
    rows = "".join(f"{start + t}\t1\t2\t3\n" for t in (0, 2_000_001, 4_000_003))
    put(tmp_path, f"{STEM}_recording-eye1_physioevents.json", {"Columns": ["onset", "message"]})
    put(tmp_path, f"{STEM}_recording-eye1_physioevents.tsv.gz", f"{start + 1_000_001}\tgo\n")
    recording = read(put_eye(tmp_path, rows, timestamp={"Units": "ns"}))
    same(recording.time_ms, [0, 2.000001, 4.000003])
    assert recording.meta["time_origin_ns"] == start
    assert [(m.time_ms, m.text) for m in recording.messages] == [(1.000001, "go")]


def test_without_times(tmp_path: Path) -> None:
    columns = ["x_coordinate", "y_coordinate"]
    recording = read(put_eye(tmp_path, "1\t2\n3\t4\n5\t6\n", Columns=columns, timestamp=None))
    same(recording.time_ms, [0, 2, 4])
    same(recording.eyes["left"].x_px, [1, 3, 5])


def test_columns_in_another_order(tmp_path: Path) -> None:
    columns = ["other", "y_coordinate", "timestamp", "x_coordinate"]
    recording = read(put_eye(tmp_path, "9\t2\t100\t1\n8\t4\t102\t3\n", Columns=columns))
    same(recording.time_ms, [100, 102])
    same(recording.eyes["left"].x_px, [1, 3])
    # Early converters: the sidecar says that time is last, and it is first.
    columns = ["x_coordinate", "y_coordinate", "pupil_size", "timestamp"]
    recording = read(put_eye(tmp_path, Columns=columns))
    same(recording.time_ms, [100, 102, 104])
    same(recording.eyes["left"].pupil, [3, NAN, 7])
    assert "the first column is the time, not column 4" in recording.warnings[0]


def test_inheritance(tmp_path: Path) -> None:
    put(tmp_path, "dataset_description.json", {"Name": "d"})
    put(tmp_path, "task-x_physio.json", sidecar(RecordedEye="right", Manufacturer="M", SamplingFrequency=123))
    put(tmp_path, "task-y_physio.json", sidecar(Manufacturer="not this task's"))
    put(tmp_path, "sub-01/sub-01_task-x_physio.json", {"SamplingFrequency": 500})
    put(tmp_path, "sub-01/sub-02_task-x_physio.json", {"SamplingFrequency": 5})
    put(tmp_path, "physio.json", {"Manufacturer": "overridden", "DeviceSerialNumber": "7"})
    put(tmp_path, f"sub-01/beh/{STEM}_recording-eye1_physio.json", {"StartTime": 2.5})
    put(tmp_path, "task-x_events.json", {"StimulusPresentation": SCREEN})
    put(tmp_path.parent, "task-x_physio.json", {"Manufacturer": "outside the data set"})
    path = put(tmp_path, f"sub-01/beh/{STEM}_recording-eye1_physio.tsv.gz", ROWS)
    recording = read(path)
    assert list(recording.eyes) == ["right"]
    assert {k: recording.meta[k] for k in ("Manufacturer", "SamplingFrequency", "StartTime", "DeviceSerialNumber")} == {
        "Manufacturer": "M",
        "SamplingFrequency": 500,
        "StartTime": 2.5,
        "DeviceSerialNumber": "7",
    }
    assert recording.display_px == (800, 600)
    assert {p.name for p in files(path)} == {
        f"{STEM}_recording-eye1_physio.tsv.gz",
        f"{STEM}_recording-eye1_physio.json",
        "sub-01_task-x_physio.json",
        "task-x_physio.json",
        "physio.json",
        "task-x_events.json",
    }


def test_without_a_root_only_the_own_folder_counts(tmp_path: Path) -> None:
    put(tmp_path, "task-x_physio.json", sidecar())
    path = put(tmp_path, f"sub-01/{STEM}_recording-eye1_physio.tsv.gz", ROWS)
    with pytest.raises(RecordingError, match="there is no sidecar; expected a JSON file whose Columns"):
        read(path)


def test_screen(tmp_path: Path) -> None:
    path = put_eye(tmp_path)
    put(tmp_path, f"{STEM}_events.json", {"StimulusPresentation": SCREEN})
    recording = read(path)
    assert recording.display_px == (800, 600)
    assert recording.meta["screen_size_mm"] == [290, 180]
    assert recording.meta["screen_distance_mm"] == 680
    assert list(recording.warnings) == []
    other = StudyConfig(screen=ScreenConfig(width_px=800, height_px=600, width_mm=531, height_mm=180, distance_mm=600))
    assert read_recording(path, other).warnings == [
        "the data set gives 680 mm as the screen's distance, [screen] distance_mm is 600",
        "the data set gives 290 mm as the screen's width, [screen] width_mm is 531",
    ]


@pytest.mark.parametrize(
    ("origin", "x", "y"),
    [(["top", "left"], 1.5, 2), (["bottom", "left"], 1.5, 598), (["bottom", "right"], 798.5, 598)],
)
def test_origin(tmp_path: Path, origin: list[str], x: float, y: float) -> None:
    path = put_eye(tmp_path)
    put(tmp_path, f"{STEM}_events.json", {"StimulusPresentation": SCREEN | {"ScreenOrigin": origin}})
    eye = read(path).eyes["left"]
    assert (eye.x_px[0], eye.y_px[0]) == (x, y)


def test_two_eyes(tmp_path: Path) -> None:
    first = put_eye(tmp_path, RecordedEye="Right")
    second = put_eye(tmp_path, ROWS.replace("1.5", "2.5"), eye=2, RecordedEye="left")
    for path in (first, second):
        recording = read(path)
        assert list(recording.eyes) == ["left", "right"]
        same(recording.eyes["left"].x_px, [2.5, NAN, 5])
        same(recording.eyes["right"].x_px, [1.5, NAN, 5])
        assert list(recording.warnings) == []
    put_eye(tmp_path, ROWS.replace("104", "105"), eye=2, RecordedEye="left")
    recording = read(first)
    assert list(recording.eyes) == ["right"]
    assert recording.warnings == [second.name + " has other times and was not joined to this recording"]
    put_eye(tmp_path, eye=2, RecordedEye="right")
    assert "is also of the right eye" in read(first).warnings[0]


def test_device_events(tmp_path: Path) -> None:
    path = put_eye(tmp_path)
    put_eye(tmp_path, eye=2, RecordedEye="right")
    columns = {"Columns": ["onset", "duration", "trial_type", "blink", "message"], "OnsetSource": "timestamp"}
    put(tmp_path, "physioevents.json", columns)
    first = "100\t2\tsaccade\t0\tn/a\n102\t1\tn/a\t1\tn/a\n101\tn/a\tn/a\tn/a\tIMAGE_ON a.jpg\n103\t0\tcue\tn/a\tn/a\n"
    put(tmp_path, f"{STEM}_recording-eye1_physioevents.tsv.gz", "\ufeff" + first)
    second = "100\t4\tFixation\t0\tn/a\n101\tn/a\tn/a\tn/a\tIMAGE_ON a.jpg\n104\tn/a\tn/a\tn/a\tn/a\n"
    put(tmp_path, f"{STEM}_recording-eye2_physioevents.tsv.gz", second)
    recording = read(path)
    events = recording.native_events
    assert list(zip(events["kind"], events["eye"], events["onset_ms"], events["offset_ms"], strict=True)) == [
        ("saccade", "left", 100, 102),
        ("fixation", "right", 100, 104),
        ("blink", "left", 102, 103),
    ]
    # Both eyes' files tell of what was shown; once is enough.
    assert [(m.time_ms, m.text) for m in recording.messages] == [(101, "IMAGE_ON a.jpg"), (103, "cue")]


@pytest.mark.parametrize(
    ("about", "row"),
    [
        ({"onset": {"Units": "s"}, "duration": {"Units": "s"}}, "0.102\t0.002"),
        ({"duration": {"Units": "s"}}, "102\t0.002"),
        ({"OnsetSource": "n/a"}, "0.002\t0.002"),
    ],
)
def test_units_of_device_events(tmp_path: Path, about: dict[str, Any], row: str) -> None:
    columns = {"Columns": ["onset", "duration", "trial_type"], "OnsetSource": "timestamp"}
    put(tmp_path, f"{STEM}_recording-eye1_physioevents.json", columns | about)
    put(tmp_path, f"{STEM}_recording-eye1_physioevents.tsv", f"{row}\tfixation\n")
    events = read(put_eye(tmp_path)).native_events
    np.testing.assert_allclose(events["onset_ms"], [102], rtol=1e-15)
    np.testing.assert_allclose(events["offset_ms"], [104], rtol=1e-15)


def test_task_events(tmp_path: Path) -> None:
    rows = "".join(f"{100 + 2 * k}\t1\t2\t3\n" for k in range(10))
    path = put_eye(tmp_path, rows, StartTime=-0.5)
    text = "onset\tduration\ttrial_type\tstim_file\tn\n"
    text += "-0.498\t0.004\tshow\timages/a.jpg\t1\n-0.49\t0.004\tn/a\tb.jpg\tn/a\n"
    text += "-0.486\t0\tstop\tn/a\tn/a\nn/a\t1\tx\tn/a\t2\n"
    put(tmp_path, f"{STEM}_events.tsv", "\ufeff" + text)
    recording = read(path)
    np.testing.assert_allclose([m.time_ms for m in recording.messages], [102, 110, 114], rtol=1e-12)
    assert [m.text for m in recording.messages] == ["show stim_file=images/a.jpg n=1", "event stim_file=b.jpg", "stop"]
    assert recording.columns["stimulus"].tolist() == ["", "a.jpg", "a.jpg", "", "", "b.jpg", "b.jpg", "", "", ""]
    same(recording.columns["trial"], [NAN, 1, 1, NAN, NAN, 2, 2, NAN, NAN, NAN])


def test_task_events_on_the_trackers_clock(tmp_path: Path) -> None:
    path = put_eye(tmp_path)
    put(tmp_path, f"{STEM}_events.tsv", "onset\tduration\n0.102\t0.002\n")
    put(tmp_path, f"{STEM}_events.json", {"OnsetSource": "timestamp"})
    recording = read(path)
    assert [(m.time_ms, m.text) for m in recording.messages] == [(102, "event")]
    assert recording.columns == {}


def test_blocks(tmp_path: Path) -> None:
    rows = "".join(f"{t}\t1\t2\t3\n" for t in (0, 2, 4, 2000, 2002, 2004))
    same(read(put_eye(tmp_path, rows)).block_start, [0, 3])


def test_gaze_in_the_world(tmp_path: Path) -> None:
    recording = read(put_eye(tmp_path, SampleCoordinateSystem="gaze-in-world"))
    assert recording.meta["coordinates"] == "scene"


def test_odd_but_readable(tmp_path: Path) -> None:
    changes = {"x_coordinate": {"Units": "a.u."}, "y_coordinate": {}, "RecordedEye": "both", "SamplingFrequency": 50}
    recording = read(put_eye(tmp_path, ROWS + "104\t8\t8\t8\n106\t9", **changes))
    assert list(recording.eyes) == ["cyclopean"]
    assert recording.n_samples == 3
    assert recording.sampling_rate_hz[0] == 500
    found = "\n".join(recording.warnings)
    for text in (
        "the last row has no end-of-line",
        "1 sample with the time of the sample before",
        "RecordedEye is 'both'",
        "says 'a.u.' for the unit of x_coordinate",
        "does not say for the unit of y_coordinate",
        "SamplingFrequency is 50 Hz, but the times give 500 Hz",
    ):
        assert text in found


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ("100\t1\t2\t3\n", {}, "it has 1 row of samples; expected two or more"),
        (ROWS, {"Columns": ["timestamp"]}, r"the sidecar's Columns are \['timestamp'\]; expected a JSON file"),
        (ROWS, {"x_coordinate": {"Units": "deg"}}, "the Units of x_coordinate are 'deg'; expected pixel"),
        (ROWS, {"SampleCoordinateSystem": "eye-in-head"}, "SampleCoordinateSystem is 'eye-in-head'"),
        (ROWS, {"timestamp": {"Units": "min"}}, "the timestamp's Units are 'min'; expected s, ms, us or ns"),
        (ROWS, {"timestamp": None, "SamplingFrequency": 3}, "no unit makes it go with SamplingFrequency"),
        (ROWS + "90\t1\t2\t3\n", {}, "line 4: the time 90 ms follows 104 ms; expected times that increase"),
        (ROWS + "106\tx\t2\t3\n", {}, "line 4: column 'x_coordinate' has 'x'"),
        (ROWS + "n/a\t1\t2\t3\n", {}, "line 4: the time is missing"),
        (ROWS + "106.5\t1\t2\t3\n", {"timestamp": {"Units": "ns"}}, "line 4: .*'106.5'; expected a whole number"),
    ],
)
def test_refused(tmp_path: Path, rows: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read(put_eye(tmp_path, rows, **changes))


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_sidecar(tmp_path: Path, text: str) -> None:
    path = put_eye(tmp_path)
    path.with_name(f"{STEM}_recording-eye1_physio.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecordingError, match=r"_physio\.json: it "):
        read(path)


def test_which_files_are_recordings(tmp_path: Path) -> None:
    first, second = put_eye(tmp_path), put_eye(tmp_path, eye=2)
    heart = put(tmp_path, f"{STEM}_recording-cardiac_physio.tsv.gz", ROWS)
    events = put(tmp_path, f"{STEM}_events.tsv", "onset\tduration\n")
    people = put(tmp_path, "participants.tsv", "participant_id\n")
    assert [is_companion(p) for p in (first, second, heart, events, people)] == [False, True, False, True, True]
    reader = find_reader(heart)
    assert reader is None or reader.name != "bids"
    first.unlink()
    assert not is_companion(second)


# ---- real files --------------------------------------------------------------------------------------------------


def test_real_recording(data_dir: Path) -> None:
    """One of an early converter, whose sidecar names the columns in the wrong order and lacks units."""
    path = data_dir / "raw" / "bids" / "satf_search_recording-eye1_physio.tsv.gz"
    recording = read(path)
    with gzip.open(path, "rt") as file:
        rows = [[NAN if c == "n/a" else float(c) for c in line.split("\t")] for line in file]
    table = np.array(rows)
    lost = np.isnan(table[:, 1])
    assert recording.n_samples == len(rows) == 531_153
    same(recording.time_ms, table[:, 0])
    same(recording.eyes["right"].x_px, table[:, 1].astype(np.float32))
    same(recording.eyes["right"].y_px, table[:, 2].astype(np.float32))
    same(recording.eyes["right"].pupil, np.where(lost | (table[:, 3] == 0), NAN, table[:, 3]).astype(np.float32))
    same(recording.block_start, [0, *(np.flatnonzero(np.diff(table[:, 0]) > 2) + 1)])
    same(recording.sampling_rate_hz, [500] * 4)


def test_real_data_set(data_dir: Path) -> None:
    folder = data_dir / "raw" / "bids" / "bids-examples" / "eyetracking_eeg_ds007338"
    path = next(folder.rglob("*_physio.tsv.gz"))
    recording = read(path)
    lines = gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines()
    table = np.array([[float(c) for c in line.split("\t")] for line in lines])
    np.testing.assert_allclose(recording.time_ms, table[:, 0] * 1000)
    same(recording.eyes["left"].x_px, table[:, 1].astype(np.float32))
    same(recording.eyes["left"].pupil, table[:, 3].astype(np.float32))
    events = gzip.decompress(path.with_name(path.name.replace("physio", "physioevents")).read_bytes())
    rows = [line.split("\t") for line in events.decode("utf-8-sig").splitlines()]
    assert recording.native_events["kind"].tolist() == [r[2] for r in rows]
    np.testing.assert_allclose(recording.native_events["onset_ms"], [float(r[0]) * 1000 for r in rows])
    ends = [1000 * (float(r[0]) + float(r[1])) for r in rows]
    np.testing.assert_allclose(recording.native_events["offset_ms"], ends)
    assert [m.text for m in recording.messages][:2] == ["12 value=2 sample=0", "1 value=1 sample=1"]
    assert (recording.display_px, recording.meta["screen_distance_mm"]) == ((800, 600), 680)


def test_empty_examples_are_refused(data_dir: Path) -> None:
    folder = data_dir / "raw" / "bids" / "bids-examples"
    for name in ("eyetracking_binocular", "eyetracking_fmri"):
        for path in sorted((folder / name).rglob("*_physio.tsv.gz")):
            with pytest.raises(RecordingError, match=r"compressed file is empty|0 rows of samples"):
                read(path)


def test_damage(tmp_path: Path, read_damaged: Callable[[Path, bytes], list[Recording]]) -> None:
    rows = "".join(f"{100 + 2 * k}\t{k}.5\t{k + 3}\t{k % 7}\n" for k in range(200))
    path = put_eye(tmp_path, rows, kind="tsv")
    put(tmp_path, f"{STEM}_events.tsv", "onset\tduration\tstim_file\n0.01\t0.1\ta.jpg\n")
    assert len(read_damaged(path, rows.encode())) > 60
    packed = put_eye(tmp_path / "packed", rows)
    read_damaged(packed, packed.read_bytes())


@pytest.mark.parametrize("name", ["_recording-eye1_physio.json", "_events.tsv", "_recording-eye1_physioevents.tsv"])
def test_damage_beside_it(tmp_path: Path, name: str) -> None:
    path = put_eye(tmp_path)
    put(tmp_path, f"{STEM}_events.tsv", "onset\tduration\tstim_file\n0.001\t0.1\ta.jpg\n0.2\t0.1\tb.jpg\n")
    put(tmp_path, "physioevents.json", {"Columns": ["onset", "duration", "trial_type"]})
    put(tmp_path, f"{STEM}_recording-eye1_physioevents.tsv", "100\t2\tsaccade\n102\t2\tfixation\n")
    target = tmp_path / f"{STEM}{name}"
    content = target.read_bytes()
    rng = np.random.default_rng(7)
    for k in range(100):
        data = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(0, data.size, 1 + k % 5)
        data[where] = rng.integers(0, 256, where.size)
        target.write_bytes(data.tobytes() if k % 2 else content[: len(content) * k // 100])
        try:
            recording = read(path)
        except RecordingError:
            continue
        assert (np.diff(recording.time_ms) > 0).all()
