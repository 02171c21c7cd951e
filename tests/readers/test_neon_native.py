"""Native Neon folders: small ones written here byte by byte, and a real one read a second time with `struct`."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import find_reader, read_recording
from gazepipe.recording import Recording

CONFIG = StudyConfig()
T0 = 1_760_676_790_465_965_534  # a float64 of this size is whole to 256 ns only
NAN = float("nan")
EYE_STATE_20 = [("pupil_diameter_left_mm", "float32"), *((f"a{k}", "float32") for k in range(6))]
EYE_STATE_20 += [("pupil_diameter_right_mm", "float32"), *((f"b{k}", "float32") for k in range(12))]


def put(folder: Path, name: str, form: str, *rows: Any) -> None:
    rows = tuple(r if isinstance(r, tuple) else (r,) for r in rows)
    (folder / name).write_bytes(b"".join(struct.pack("<" + form, *row) for row in rows))


def put_part(folder: Path, stream: str, times: list[int], worn: list[int] | None = None) -> None:
    put(folder, f"{stream}.time", "Q", *times)
    put(folder, f"{stream}.raw", "ff", *((k + 0.5, 2.0 * k) for k in range(len(times))))
    if worn is not None:
        put(folder, f"{stream.replace('gaze', 'worn')}.raw", "B", *worn)


def steps(start: int, n: int) -> list[int]:
    return [start + 5_000_000 * k for k in range(n)]


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def read(folder: Path) -> Recording:
    return read_recording(folder, CONFIG)


def test_one_part(tmp_path: Path) -> None:
    times = [T0, T0 + 5_000_001, T0 + 10_000_003]
    put_part(tmp_path, "gaze ps1", times, [255, 0, 255])
    put(tmp_path, "event.time", "Q", T0 - 1_000_001, T0 + 7_000_000)
    (tmp_path / "event.txt").write_text("recording.begin\nIMAGE_ON a.jpg\n", encoding="utf-8")
    (tmp_path / "info.json").write_text(json.dumps({"recording_id": "ab", "module_serial_number": "1"}))
    (tmp_path / "wearer.json").write_text(json.dumps({"uuid": "x", "name": "Ann"}))
    recording = read(tmp_path)
    eye = recording.eyes["cyclopean"]
    assert (recording.format, recording.path, list(recording.eyes)) == ("neon-native", tmp_path, ["cyclopean"])
    same(recording.time_ms, [0, 5.000001, 10.000003])
    same(eye.x_px, [0.5, NAN, 2.5])
    same(eye.y_px, [0, NAN, 4])
    assert np.isnan(eye.pupil).all()
    assert [(m.time_ms, m.text) for m in recording.messages] == [(-1.000001, "recording.begin"), (7, "IMAGE_ON a.jpg")]
    meta = {"recording_id": "ab", "module_serial_number": "1", "wearer_name": "Ann"}
    assert recording.meta == meta | {"coordinates": "scene", "time_origin_ns": T0}
    assert recording.display_px == (1600, 1200)
    assert len(recording.warnings) == 1
    assert "pixels of the scene camera" in recording.warnings[0]
    assert recording.native_events == {}


def test_parts_are_blocks_in_order_of_their_numbers(tmp_path: Path) -> None:
    # A hole of 20 ms would not divide blocks by itself.
    for k in range(10):
        put_part(tmp_path, f"gaze ps{k + 1}", steps(T0 + 30_000_000 * k, 3), [255] * 3)
    recording = read(tmp_path)
    same(recording.block_start, range(0, 30, 3))
    same(recording.time_ms[recording.block_start], [30 * k for k in range(10)])
    same(recording.sampling_rate_hz, [200] * 10)


def test_full_rate_gaze_is_preferred_and_knows_the_parts(tmp_path: Path) -> None:
    put_part(tmp_path, "gaze ps1", steps(T0, 2))
    put_part(tmp_path, "gaze ps2", steps(T0 + 45_000_000, 2))  # the phone missed the part's first eye image
    put_part(tmp_path, "gaze_200hz", steps(T0, 4) + steps(T0 + 40_000_000, 4), [255] * 6 + [0, 0])
    recording = read(tmp_path)
    assert recording.n_samples == 8
    same(recording.block_start, [0, 4])
    same(np.isnan(recording.eyes["cyclopean"].x_px), [0] * 6 + [1] * 2)


def test_a_long_hole_inside_a_part(tmp_path: Path) -> None:
    put_part(tmp_path, "gaze ps1", steps(T0, 4) + steps(T0 + 1_100_000_000, 4))
    same(read(tmp_path).block_start, [0, 4])


@pytest.mark.parametrize(("n", "layout"), [(14, False), (20, False), (20, True)])
def test_pupils_are_matched_by_time(tmp_path: Path, n: int, layout: bool) -> None:
    put_part(tmp_path, "gaze ps1", steps(T0, 4), [255, 255, 255, 0])
    put(tmp_path, "eye_state ps1.time", "Q", T0 - 5, *steps(T0 + 5_000_000, 3))
    rows = [(3 + 0.25 * k, *[9.0] * 6, 4 + 0.25 * k, *[9.0] * (n - 8)) for k in range(4)]
    rows[2] = (0.0, *rows[2][1:])  # one eye not found
    put(tmp_path, "eye_state ps1.raw", f"{n}f", *rows)
    if layout:
        (tmp_path / "eye_state.dtype").write_text(repr(EYE_STATE_20))
    recording = read(tmp_path)
    same(recording.columns["pupil_left_mm"], [NAN, 3.25, NAN, NAN])
    same(recording.columns["pupil_right_mm"], [NAN, 4.25, 4.5, NAN])
    same(recording.eyes["cyclopean"].pupil, [NAN, 3.75, 4.5, NAN])


def test_events(tmp_path: Path) -> None:
    put_part(tmp_path, "gaze ps1", steps(T0, 4))
    row = (10.0, 20.0, 30.0, 40.0, 15.0, 25.0, 7.0, 1.5, 100.0, 200.0)
    spans = [(0, T0, T0 + 1), (1, T0 + 1_500_000, T0 + 9_000_000), (1, T0 + 9, T0)]  # the last one ends too early
    put(tmp_path, "fixations ps1.raw", "iqq10f", *((*s, *row) for s in spans))
    put(tmp_path, "blinks ps1.raw", "iqq", (4, T0 + 1_000_000, T0 + 2_000_000))
    recording = read(tmp_path)
    events = recording.native_events
    assert events["kind"].tolist() == ["saccade", "blink", "fixation"]
    assert set(events["eye"]) == {"cyclopean"}
    same(events["onset_ms"], [0, 1, 1.5])
    same(events["offset_ms"], [1e-6, 2, 9])
    same(events["x_px"], [30, NAN, 15])  # where a saccade lands, where a fixation is on average
    same(events["y_px"], [40, NAN, 25])
    same(events["amplitude_deg"], [1.5, NAN, NAN])
    assert np.isnan(events["peak_velocity_deg_s"]).all()
    assert recording.warnings[1:] == ["fixations ps1.raw: left out: 1 event with an end before the start"]


def test_invisible(tmp_path: Path) -> None:
    """No layouts, eye states or events; the eyes' videos have their own times."""
    put_part(tmp_path, "gaze ps1", steps(T0, 3), [255] * 3)
    for name in ("PI left v1 ps1.time", "PI world v1 ps1.time", "extimu ps1.raw", "PI world v1 ps1.mp4"):
        (tmp_path / name).write_bytes(bytes(24))
    (tmp_path / "info.json").write_text(json.dumps({"glasses_serial_number": "q"}))
    found = read(tmp_path)
    assert (found.display_px, found.n_samples, len(found.warnings)) == ((1088, 1080), 3, 1)


def test_files_that_are_cut_short(tmp_path: Path) -> None:
    put_part(tmp_path, "gaze ps1", steps(T0, 5), [255] * 5)
    raw = tmp_path / "gaze ps1.raw"
    raw.write_bytes(raw.read_bytes()[:-5])
    recording = read(tmp_path)
    assert recording.n_samples == 4
    assert recording.warnings[1:] == [
        "gaze ps1.raw: the last record is cut short and was dropped",
        "gaze ps1.raw and the files that belong to it differ in length; 4 samples read",
    ]


def test_odd_but_readable(tmp_path: Path) -> None:
    put_part(tmp_path, "gaze ps1", [T0, T0, *steps(T0 + 5_000_000, 3)], [255] * 5)
    (tmp_path / "info.json").write_text("{")
    (tmp_path / "wearer.json").write_text("[]")
    put(tmp_path, "event.time", "Q", T0)
    (tmp_path / "event.txt").write_text("a\nb\n")
    recording = read(tmp_path)
    assert recording.n_samples == 4
    found = "\n".join(recording.warnings)
    for text in ("1 sample with the time", "info.json cannot be read", "wearer.json has no JSON object", "2 events"):
        assert text in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "gaze ps1.time").unlink(), r"gaze ps1\.time: there is no such file"),
        (lambda d: (d / "gaze ps1.raw").write_bytes(b""), "it has 0 gaze samples; expected two or more"),
        (lambda d: put(d, "gaze ps1.time", "Q", T0, T0 - 1, T0 + 2), f"sample 2 is at {T0 - 1} ns, after one at {T0}"),
        (lambda d: put(d, "gaze ps1.time", "Q", T0, 2**63, T0 + 2), f"time 2 is {2**63} ns; expected a time in UTC"),
        (lambda d: put_part(d, "gaze ps2", steps(T0 - 99_000_000, 3)), "after one at"),
        (lambda d: (d / "fixations.dtype").write_text("[('a', 'float32')]"), "layout is not understood"),
        (lambda d: (d / "fixations.dtype").write_text("(" * 3000), "layout is not understood"),
        (lambda d: (d / "event.txt").write_text("a\n"), r"event\.time: there is no such file"),
    ],
)
def test_refused(tmp_path: Path, change: Any, message: str) -> None:
    put_part(tmp_path, "gaze ps1", steps(T0, 3))
    change(tmp_path)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path)


def test_a_folder_without_gaze_is_none(tmp_path: Path) -> None:
    (tmp_path / "gaze ps1.time").write_bytes(b"")
    assert find_reader(tmp_path) is None


# ---- a real recording --------------------------------------------------------------------------------------------


@pytest.fixture
def demo(data_dir: Path) -> Path:
    return data_dir / "raw" / "neon_native" / "demo_recording"


def unpack(path: Path, form: str) -> list[tuple[Any, ...]]:
    return list(struct.iter_unpack("<" + form, path.read_bytes()))


def test_real_samples(demo: Path) -> None:
    recording = read(demo)
    times = [t for (t,) in unpack(demo / "gaze_200hz.time", "Q")]
    gaze = np.array(unpack(demo / "gaze_200hz.raw", "ff"), np.float32)
    assert recording.n_samples == len(times) == 1788
    assert [round(t * 1e6) + times[0] for t in recording.time_ms.tolist()] == times  # to the nanosecond
    same(recording.eyes["cyclopean"].x_px, gaze[:, 0])
    same(recording.eyes["cyclopean"].y_px, gaze[:, 1])
    states = np.array(unpack(demo / "eye_state ps1.raw", "20f"), np.float32)
    same(recording.columns["pupil_left_mm"], states[:, 0])
    same(recording.columns["pupil_right_mm"], states[:, 7])
    same(recording.block_start, [0])
    assert recording.sampling_rate_hz[0] == pytest.approx(200, abs=0.5)


def test_real_events(demo: Path) -> None:
    recording = read(demo)
    origin, events = recording.meta["time_origin_ns"], recording.native_events
    rows = unpack(demo / "fixations ps1.raw", "iqq10f")
    for kind, code in (("saccade", 0), ("fixation", 1)):
        mine = [r for r in rows if r[0] == code]
        at = events["kind"] == kind
        assert [round(t * 1e6) + origin for t in events["onset_ms"][at].tolist()] == [r[1] for r in mine]
        assert [round(t * 1e6) + origin for t in events["offset_ms"][at].tolist()] == [r[2] for r in mine]
    fixations = [r for r in rows if r[0] == 1]
    same(events["x_px"][events["kind"] == "fixation"], [r[7] for r in fixations])
    assert (len(rows), np.count_nonzero(events["kind"] == "blink")) == (45, 2)
    stamps = [t for (t,) in unpack(demo / "event.time", "Q")]
    assert [round(m.time_ms * 1e6) + origin for m in recording.messages] == stamps
    assert [m.text for m in recording.messages] == ["recording.begin", "recording.end"]


@pytest.mark.parametrize(
    "name", ["gaze_200hz.raw", "gaze_200hz.time", "worn_200hz.raw", "eye_state ps1.time", "fixations ps1.raw"]
)
def test_real_files_damaged(demo: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    for path in demo.iterdir():
        if path.stat().st_size < 200_000 and path.suffix != ".mp4":
            shutil.copyfile(path, folder / path.name)
    content = (demo / name).read_bytes()
    rng = np.random.default_rng(5)
    damaged = [content[: len(content) * k // 20] for k in range(20)]
    for k in range(40):
        data = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(0, data.size, 1 + k % 5)
        data[where] = rng.integers(0, 256, where.size)
        damaged.append(data.tobytes())
    for data in damaged:
        (folder / name).write_bytes(data)
        try:
            recording = read(folder)
        except RecordingError:
            continue
        for part in recording.blocks():
            assert (np.diff(recording.time_ms[part]) > 0).all()
        eye = recording.eyes["cyclopean"]
        assert (np.isnan(eye.x_px) == np.isnan(eye.y_px)).all()
