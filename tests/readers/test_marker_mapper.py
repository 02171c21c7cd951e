"""Mapper exports of Pupil Cloud: small ones with answers by hand, and a real one read a second time with `csv`."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gazepipe.config import ScreenConfig, StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.readers.marker_mapper import read_recordings, reference_digest
from gazepipe.recording import Recording
from gazepipe.trials import find_trials

NAN = float("nan")
CONFIG = StudyConfig(screen=ScreenConfig(width_px=1000, height_px=500))
T0 = 1_754_690_230_077_095_946
SURFACE = (
    "section id,recording id,timestamp [ns],gaze detected on surface,gaze position on surface x [normalized],"
    "gaze position on surface y [normalized],fixation id\n"
)
IMAGE = (
    "section id,recording id,timestamp [ns],gaze detected in reference image,gaze position in reference image x [px],"
    "gaze position in reference image y [px],fixation id\n"
)


def row(t: int, detected: str, x: str, y: str, section: str = "s", recording: str = "r") -> str:
    return f"{section},{recording},{T0 + t},{detected},{x},{y},\n"


ROWS = row(0, "true", "0.25", "0.5") + row(5_000_001, "false", "", "") + row(10_000_003, "false", "-0.5", "1.25")


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def read(path: Path) -> Recording:
    return read_recording(path, CONFIG)


def test_surface_is_the_screen(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", SURFACE + ROWS)
    recording = read(tmp_path)
    eye = recording.eyes["cyclopean"]
    assert (recording.format, recording.path) == ("marker-mapper", tmp_path)
    same(recording.time_ms, [0, 5.000001, 10.000003])
    same(eye.x_px, [250, NAN, -500])  # beside the surface is a place, not found is none
    same(eye.y_px, [250, NAN, 625])
    assert np.isnan(eye.pupil).all()
    assert recording.meta == {"coordinates": "screen", "time_origin_ns": T0, "recording_id": "r"}
    assert (recording.display_px, list(recording.warnings), list(recording.messages)) == (None, [], [])


def test_reference_image(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", IMAGE + ROWS.replace("0.25,0.5", "30.5,40"))
    (tmp_path / "reference_image.jpeg").write_bytes(cv2.imencode(".jpg", np.zeros((60, 80), np.uint8))[1].tobytes())
    recording = read(tmp_path)
    same(recording.eyes["cyclopean"].x_px, [30.5, NAN, -0.5])
    same(recording.eyes["cyclopean"].y_px, [40, NAN, 1.25])
    assert (recording.display_px, recording.meta["coordinates"]) == ((80, 60), "reference image")
    (tmp_path / "reference_image.jpeg").write_bytes(b"no picture")
    recording = read(tmp_path)
    assert recording.display_px is None
    assert recording.warnings == ["reference_image.jpeg cannot be read; its pixels are taken for the screen's"]
    (tmp_path / "reference_image.jpeg").unlink()
    assert "there is no reference_image" in read(tmp_path).warnings[0]


def test_sections_of_a_reference_image_are_its_trials(tmp_path: Path) -> None:
    """Rows of two seconds are missing from the first section: the image was not found there."""
    rows = [row(k * 5_000_000, "true", "30", "40", "s") for k in (*range(100), *range(500, 600))]
    rows += [row(k * 5_000_000, "true", "30", "40", "t") for k in range(1000, 1100)]
    put(tmp_path, "gaze.csv", IMAGE + "".join(rows))
    image = tmp_path / "reference_image.png"
    image.write_bytes(cv2.imencode(".png", np.zeros((60, 80), np.uint8))[1].tobytes())
    recording = read(tmp_path)
    same(recording.block_start, [0, 200])
    same(recording.columns["trial"], [1] * 200 + [2] * 100)
    (name,) = set(recording.columns["stimulus"].tolist())
    digest = hashlib.blake2b(image.read_bytes(), digest_size=16).hexdigest()
    assert (name, reference_digest(name)) == (f"reference_image-{digest[:8]}", digest[:8])
    assert [reference_digest(other) for other in ("reference_image", "cat.png", f"{name}.png")] == [""] * 3
    trials = find_trials(recording, CONFIG).frame
    assert trials[["onset_ms", "offset_ms", "stimulus", "repeat"]].to_numpy().tolist() == [
        [0, 3000, name, 1],
        [5000, 5500, name, 2],
    ]
    image.unlink()
    assert set(read(tmp_path).columns["stimulus"].tolist()) == {""}


def test_messages(tmp_path: Path) -> None:
    put(tmp_path, "gaze.csv", SURFACE + ROWS)
    put(
        tmp_path,
        "sections.csv",
        "section id,recording id,recording name,wearer name,section start time [ns],section end time [ns],"
        f"start event name,end event name\ns,r,n,Ann,{T0 - 1_000_000},{T0 + 11_000_000},recording.begin,stop\n"
        f"q,other,m,Bob,{T0},{T0},x,y\n",
    )
    put(tmp_path, "events.csv", f"recording id,timestamp [ns],name,type\nr,{T0 + 500_000},IMAGE_ON a.jpg,recording\n")
    recording = read(tmp_path)
    found = [(m.time_ms, m.text) for m in recording.messages]
    assert found == [(-1, "recording.begin"), (11, "stop"), (0.5, "IMAGE_ON a.jpg")]
    assert (recording.meta["recording_name"], recording.meta["wearer_name"]) == ("n", "Ann")


@pytest.mark.parametrize(("header", "unit", "place"), [(SURFACE, "normalized", [100, 100]), (IMAGE, "px", [0.1, 0.2])])
def test_fixations(tmp_path: Path, header: str, unit: str, place: list[float]) -> None:
    put(tmp_path, "gaze.csv", header + ROWS)
    put(
        tmp_path,
        "fixations.csv",
        "recording id,fixation id,start timestamp [ns],end timestamp [ns],fixation detected on surface,"
        f"fixation x [{unit}],fixation y [{unit}]\nr,1,{T0},{T0 + 5},true,0.1,0.2\nr,2,{T0 + 6},{T0 + 9},true,,\n",
    )
    events = read(tmp_path).native_events
    assert events["kind"].tolist() == ["fixation", "fixation"]
    same(events["x_px"], [place[0], NAN])
    same(events["y_px"], [place[1], NAN])
    same(events["offset_ms"], [5e-6, 9e-6])


def test_sections_are_blocks_in_order_of_time(tmp_path: Path) -> None:
    late = [row(50_000_000 + 5_000_000 * k, "true", "0.5", "0.5", "late") for k in range(3)]
    early = [row(5_000_000 * k, "true", "0.25", "0.5", "early") for k in range(4)]
    recording = read(put(tmp_path, "x.csv", SURFACE + "".join(late + early)))
    same(recording.block_start, [0, 4])
    same(recording.time_ms[recording.block_start], [0, 50])
    same(recording.eyes["cyclopean"].x_px, [250] * 4 + [500] * 3)


def test_several_recordings(tmp_path: Path) -> None:
    other = "".join(row(10**15 + 5_000_000 * k, "true", "0.5", "0.5", "q", "z") for k in range(2))
    path = put(tmp_path, "gaze.csv", SURFACE + ROWS + other)
    with pytest.raises(RecordingError, match=r"gaze of 2 recordings \(r, z\); expected one recording"):
        read(path)
    both = read_recordings(path, CONFIG)
    assert {name: (r.n_samples, r.meta["time_origin_ns"]) for name, r in both.items()} == {
        "r": (3, T0),
        "z": (2, T0 + 10**15),
    }


def test_table_by_itself_has_nothing_beside_it(tmp_path: Path) -> None:
    put(tmp_path, "events.csv", f"recording id,timestamp [ns],name\nr,{T0},x\n")
    assert len(read(put(tmp_path, "gaze.csv", SURFACE + ROWS)).messages) == 1
    assert len(read(put(tmp_path, "ann.csv", SURFACE + ROWS)).messages) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (row(0, "true", "0.5", "0.5"), "it has 1 gaze sample of recording 'r'; expected two or more"),
        (ROWS + row(1, "true", "0.5", "0.5"), f"sample 4 is at {T0 + 1} ns, after one"),
        (ROWS + row(20, "true", "x", "0.5"), r"line 5: column 'gaze position on surface x \[normalized\]' has 'x'"),
    ],
)
def test_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read(put(tmp_path, "gaze.csv", SURFACE + rows))


# ---- a real export -----------------------------------------------------------------------------------------------


@pytest.fixture
def real(data_dir: Path) -> Path:
    return data_dir / "raw" / "neon_marker_mapper"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_real_recordings(real: Path) -> None:
    found = read_recordings(real, CONFIG)
    rows, fixations = rows_of(real / "gaze.csv"), rows_of(real / "fixations.csv")
    assert [r.n_samples for r in found.values()] == [1444, 1257, 1216]
    for section in rows_of(real / "sections.csv"):
        name = section["recording id"]
        recording, mine = found[name], [r for r in rows if r["recording id"] == name]
        origin, eye = recording.meta["time_origin_ns"], recording.eyes["cyclopean"]
        assert [round(t * 1e6) + origin for t in recording.time_ms.tolist()] == [int(r["timestamp [ns]"]) for r in mine]
        for values, axis, size in ((eye.x_px, "x", 1000), (eye.y_px, "y", 500)):
            expected = [float(r[f"gaze position on surface {axis} [normalized]"]) * size for r in mine]
            np.testing.assert_allclose(values, expected, rtol=1e-6)
        inside = (eye.x_px >= 0) & (eye.x_px <= 1000) & (eye.y_px >= 0) & (eye.y_px <= 500)
        assert inside.tolist() == [r["gaze detected on surface"] == "true" for r in mine]
        starts = [int(r["start timestamp [ns]"]) for r in fixations if r["recording id"] == name]
        assert [round(t * 1e6) + origin for t in recording.native_events["onset_ms"].tolist()] == starts
        times = [int(section[f"section {end} time [ns]"]) for end in ("start", "end")]
        assert [round(m.time_ms * 1e6) + origin for m in recording.messages] == times
        assert [m.text for m in recording.messages] == ["T1encodeBegin", "T1encodeEnd"]
        assert recording.meta["wearer_name"] == section["wearer name"]
        same(recording.block_start, [0])
    with pytest.raises(RecordingError, match="gaze of 3 recordings"):
        read(real)


def test_real_file_damaged(real: Path, tmp_path: Path, read_damaged: Callable[[Path, bytes], list[Recording]]) -> None:
    lines = (real / "gaze.csv").read_bytes().splitlines(keepends=True)[:200]
    (tmp_path / "sections.csv").write_bytes((real / "sections.csv").read_bytes())
    assert len(read_damaged(tmp_path / "gaze.csv", b"".join(lines))) > 60
