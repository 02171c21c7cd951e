"""A recording with its scene video, rendered here, from the phone's files to fixations on an image."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _scene_camera import DISTORTION, MATRIX, Lens, Pose, Scene, clutter, shown
from click.testing import CliRunner

from gazepipe.cli import main
from gazepipe.config import StudyConfig
from gazepipe.ingest import ingest
from gazepipe.live.source import SampleFlag
from gazepipe.markers.camera import camera_of_recording
from gazepipe.markers.drawing import frame
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.live import LiveMapper
from gazepipe.markers.mapping import PlaneSeries, map_gaze
from gazepipe.markers.plane import fit_plane
from gazepipe.readers import read_recording
from gazepipe.readers.marker_mapper import READER

SCREEN = MarkerScreen((800, 600), (400, 300), 8, 80)
T0 = 1_760_676_790_465_965_534
PICTURES, STEP = 20, 50_000_000
#: Half of Neon's picture: the same lens.
LENS = Lens((*(tuple(v / 2 for v in row) for row in MATRIX[:2]), MATRIX[2]), DISTORTION, (800, 600))
LOOKS = np.array([[250.0, 200.0], [500.0, 420.0]])
NO_SCREEN = (12, 13)


def pose(k: float) -> Pose:
    return Pose(15 * np.sin(k / 4), 5 * k / PICTURES, 480, (3 * np.sin(k / 3), 4 * np.cos(k / 5), 2))


def calibrate(folder: Path) -> None:
    content = {"camera_matrix": LENS.matrix, "distortion_coefficients": LENS.distortion}
    (folder / "scene_camera.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a person who looks at two places, 500 ms each, and turns the head."""
    folder = tmp_path_factory.mktemp("rec") / "P01"
    folder.mkdir()
    scene = Scene(shown(frame(SCREEN), clutter(SCREEN.px)), SCREEN.mm, LENS)
    video = cv2.VideoWriter(str(folder / "Neon Scene Camera v1 ps1.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 20, LENS.px)
    for k in range(PICTURES):
        picture = scene.shoot(pose(k), seed=k) if k not in NO_SCREEN else np.full(LENS.px[::-1], 60, np.uint8)
        video.write(np.repeat(picture[..., None], 3, 2))
    video.release()
    (folder / "Neon Scene Camera v1 ps1.time").write_bytes(
        struct.pack(f"<{PICTURES}Q", *(T0 + STEP * np.arange(PICTURES)))
    )
    ns = T0 + 5_000_000 * np.arange(190)
    gaze = np.concatenate([scene.to_camera(LOOKS[k // 95], pose((t - T0) / STEP)) for k, t in enumerate(ns)])
    (folder / "gaze ps1.time").write_bytes(ns.astype("<u8").tobytes())
    (folder / "gaze ps1.raw").write_bytes(gaze.astype("<f4").tobytes())
    worn = np.full(190, 255, np.uint8)
    worn[30:33] = 0
    (folder / "worn ps1.raw").write_bytes(worn.tobytes())
    (folder / "eye_state ps1.time").write_bytes(ns.astype("<u8").tobytes())
    (folder / "eye_state ps1.raw").write_bytes(np.full((190, 14), 3.5, "<f4").tobytes())
    (folder / "event.txt").write_text("recording.begin\nIMAGE_ON a.png\nIMAGE_OFF\n")
    (folder / "event.time").write_bytes(struct.pack("<3Q", T0 - 1000, T0, T0 + 949_000_000))
    (folder / "info.json").write_text(json.dumps({"recording_id": "abc", "template_data": {"recording_name": "one"}}))
    (folder / "wearer.json").write_text(json.dumps({"name": "Ann"}))
    calibrate(folder)
    return folder


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layout") / "layout.json"
    path.write_text(SCREEN.to_json())
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, ["map-screen", *map(str, arguments)])


@pytest.fixture(scope="module")
def mapped(rendered: Path, layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mapped")
    done = run(rendered, "--layout", layout, "--out", out, "--no-fallback")
    assert done.exit_code == 0, done.output
    assert "screen in 90.0% of 20 pictures (8 markers)" in done.output
    return out


def test_the_page_shows_what_is_printed(rendered: Path, layout: Path, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    (told,) = [line for line in page.splitlines() if line.startswith("recordings/P01: written; screen in")]
    done = run(rendered, "--layout", layout, "--out", tmp_path / "recordings")
    assert told.removeprefix("recordings/") in done.output


def test_every_sample_is_there_and_where_the_person_looked(mapped: Path) -> None:
    config = StudyConfig(screen={"width_px": 800, "height_px": 600})
    assert READER.sniff(b"", mapped / "P01")
    recording = read_recording(mapped / "P01", config)
    eye = recording.eyes["cyclopean"]
    np.testing.assert_array_equal(recording.time_ms, 5.0 * np.arange(190))
    assert recording.meta["time_origin_ns"] == T0
    assert np.flatnonzero(np.isnan(eye.x_px)).tolist() == [30, 31, 32]
    off = np.hypot(*(np.column_stack([eye.x_px, eye.y_px]) - np.repeat(LOOKS, 95, 0)).T)
    assert np.nanmedian(off) < 0.5
    # Two pictures without the screen, 150 ms between those with it: the head's way is cut short.
    assert np.nanmax(off) < 5
    worn = ~np.isnan(eye.x_px)
    np.testing.assert_array_equal(eye.pupil[worn], np.float32(3.5))
    texts = [(m.time_ms, m.text) for m in recording.messages]
    assert texts == [(-0.001, "recording.begin"), (0, "IMAGE_ON a.png"), (949, "IMAGE_OFF")]
    assert (recording.meta["recording_name"], recording.meta["wearer_name"]) == ("one", "Ann")


def test_flags_stand_beside_each_sample(mapped: Path) -> None:
    lines = (mapped / "P01" / "gaze.csv").read_text().splitlines()
    head = lines[0].split(",")
    rows = [dict(zip(head, line.split(","), strict=True)) for line in lines[1:]]
    flags = [row["flags"] for row in rows]
    assert flags[30:33] == ["not_worn no_gaze"] * 3
    # Pictures 12 and 13 are at 600 and 650 ms; those at 550 and 700 are the nearest with the screen.
    assert [k for k, f in enumerate(flags) if f == "interpolated"] == list(range(116, 135))
    assert {f for f in flags if f not in ("interpolated", "not_worn no_gaze")} == {""}
    assert rows[0]["gaze detected on surface"] == "true"
    assert (rows[30]["gaze detected on surface"], rows[30]["gaze position on surface x [normalized]"]) == ("false", "")
    result = json.loads((mapped / "P01" / "screen.json").read_text())["result"]
    assert result["samples"] == 190
    assert result["flags"]["not_worn"] == pytest.approx(3 / 190)
    assert result["on_screen"] == pytest.approx(187 / 190)


def test_what_is_written_is_ingested(mapped: Path, small_study: Any) -> None:
    shutil.copytree(mapped / "P01", small_study.root / "rec" / "P01")
    small_study.image("a.png")
    small_study.configure(trials={"min_duration_ms": 100})
    report = ingest(small_study.open(), jobs=1)
    assert report.failures == []
    from gazepipe import store

    found = store.load(small_study.open().recording_file("P01"), "gazepipe.recording")
    places = np.column_stack([found.arrays["fixations/x_px"], found.arrays["fixations/y_px"]])
    np.testing.assert_allclose(places, LOOKS, atol=2)  # the image fills the screen
    assert found.arrays["trials/stimulus"].tolist() == ["a.png"]


def test_a_second_run_does_nothing_and_another_mode_no_video(
    rendered: Path, layout: Path, mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(mapped, tmp_path / "out")
    monkeypatch.setattr("gazepipe.markers.mapped.find_markers", lambda *_, **__: pytest.fail("looked at the video"))
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "P01").iterdir()}
    options = (rendered, "--layout", layout, "--out", tmp_path / "out", "--no-fallback")
    again = run(*options)
    assert again.exit_code == 0, again.output
    assert "up to date; screen in 90.0% of 20 pictures" in again.output
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "P01").iterdir()} == before
    nearest = run(*options, "--mode", "nearest")
    assert "written" in nearest.output
    assert (tmp_path / "out" / "P01" / "gaze.csv").read_bytes() != (mapped / "P01" / "gaze.csv").read_bytes()
    run(*options)
    assert (tmp_path / "out" / "P01" / "gaze.csv").read_bytes() == (mapped / "P01" / "gaze.csv").read_bytes()


def test_a_plan_decodes_no_video_and_writes_nothing(
    rendered: Path, layout: Path, mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gazepipe.markers.mapped.find_markers", lambda *_, **__: pytest.fail("the video was decoded"))
    before = {p: p.read_bytes() for p in mapped.rglob("*") if p.is_file()}

    def planned(*options: object) -> Any:
        done = run(rendered, "--layout", layout, "--no-fallback", "--dry-run", "--json", *options)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["steps"]

    new = {"what": str(tmp_path / "P01"), "action": "made", "why": "20 pictures to look at"}
    assert planned("--out", tmp_path) == [new]
    assert not list(tmp_path.iterdir())
    assert planned("--out", mapped) == [{"what": str(mapped / "P01"), "action": "up to date", "why": ""}]
    assert planned("--out", mapped, "--mode", "nearest")[0]["why"] == "markers are known, gaze is mapped anew"
    assert {p: p.read_bytes() for p in mapped.rglob("*") if p.is_file()} == before


def test_a_timeseries_download_is_mapped_alike(rendered: Path, layout: Path, mapped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "T01"
    folder.mkdir()
    shutil.copy(rendered / "Neon Scene Camera v1 ps1.mp4", folder / "abc_0.0-1.0.mp4")
    recording = read_recording(rendered, StudyConfig())
    ns = T0 + np.rint(recording.time_ms * 1e6).astype(np.int64)
    eye = recording.eyes["cyclopean"]
    rows = [f"s,abc,{t},{x:.6f},{y:.6f},1" for t, x, y in zip(ns, eye.x_px, eye.y_px, strict=True)]
    head = "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn\n"
    (folder / "gaze.csv").write_text(head + "\n".join(rows).replace("nan", "") + "\n")
    times = [f"s,abc,{T0 + STEP * k}" for k in range(PICTURES)]
    (folder / "world_timestamps.csv").write_text("section id,recording id,timestamp [ns]\n" + "\n".join(times) + "\n")
    calibrate(folder)
    done = run(folder, "--layout", layout, "--out", tmp_path / "out", "--no-fallback")
    assert done.exit_code == 0, done.output
    config = StudyConfig(screen={"width_px": 800, "height_px": 600})
    one, other = (read_recording(p, config).eyes["cyclopean"].x_px for p in (mapped / "P01", tmp_path / "out" / "T01"))
    np.testing.assert_allclose(one, other, atol=0.01)


def break_video(folder: Path) -> None:
    (folder / "Neon Scene Camera v1 ps1.mp4").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def cut_video(folder: Path) -> None:
    path = folder / "Neon Scene Camera v1 ps1.mp4"
    path.write_bytes(path.read_bytes()[:1000])


def lose_times(folder: Path) -> None:
    path = folder / "Neon Scene Camera v1 ps1.time"
    path.write_bytes(path.read_bytes()[:80])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (break_video, "only a Git LFS pointer"),
        (cut_video, "cannot be read as a video"),
        (lose_times, "20 pictures and 10 times"),
        (lambda f: (f / "Neon Scene Camera v1 ps1.time").unlink(), "times of the video's pictures"),
        (lambda f: (f / "Neon Scene Camera v1 ps1.mp4").unlink(), "no scene video"),
        (lambda f: (f / "scene_camera.json").unlink(), "no calibration"),
    ],
)
def test_one_bad_recording_stops_no_other(
    damage: Any, problem: str, rendered: Path, layout: Path, mapped: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "P02"
    shutil.copytree(rendered, bad)
    damage(bad)
    shutil.copytree(mapped, tmp_path / "out")
    done = run(bad, rendered, "--layout", layout, "--out", tmp_path / "out", "--no-fallback")
    assert done.exit_code == 3
    assert problem in done.output
    assert "P01: up to date" in done.output
    assert not (tmp_path / "out" / "P02").exists()


def test_other_recordings_and_places_are_refused(rendered: Path, layout: Path, mapped: Path, tmp_path: Path) -> None:
    done = run(mapped / "P01", "--layout", layout, "--out", tmp_path)
    assert done.exit_code == 3
    assert "not in a scene camera's picture" in done.output
    done = run(rendered, "--layout", layout, "--out", rendered.parent)
    assert done.exit_code == 3
    assert "written over" in done.output
    done = run(rendered, rendered, "--layout", layout, "--out", tmp_path)
    assert done.output.count("rename one of the folders") == 2
    assert run(rendered, "--layout", tmp_path / "none.json", "--out", tmp_path).exit_code == 2


def test_a_layout_of_other_markers_is_told_of(rendered: Path, tmp_path: Path) -> None:
    other = MarkerScreen(SCREEN.px, SCREEN.mm, {k + 100: v for k, v in SCREEN.layout.items()})
    (tmp_path / "layout.json").write_text(other.to_json())
    done = run(rendered, "--layout", tmp_path / "layout.json", "--out", tmp_path / "out", "--no-fallback")
    assert done.exit_code == 0
    assert "no picture has enough markers of the layout" in done.output
    flags = {line.rsplit(",", 1)[1] for line in (tmp_path / "out" / "P01" / "gaze.csv").read_text().splitlines()[1:]}
    assert flags == {"no_tags", "not_worn no_gaze no_tags"}


def test_all_gaze_of_a_real_recording_goes_through_its_lens(data_dir: Path) -> None:
    folder = data_dir / "raw" / "neon_native" / "demo_recording"
    if not folder.is_dir():
        pytest.skip(f"no native recording in {folder}")
    # Its video is not among the data; a screen is put before its camera by hand.
    camera, recording = camera_of_recording(folder), read_recording(folder, StudyConfig())
    lens = Lens(tuple(map(tuple, camera.matrix.tolist())), tuple(camera.distortion.tolist()))
    scene = Scene(np.zeros((600, 800), np.uint8), SCREEN.mm, lens)
    here = Pose(0, 0, 500, (5, 10, 2))
    plane = fit_plane({k: scene.to_camera(v, here) for k, v in SCREEN.layout.items()}, SCREEN, camera)
    eye = recording.eyes["cyclopean"]
    ns = np.rint(recording.time_ms * 1e6).astype(np.int64)
    pictures = np.arange(0, ns[-1] + 33_000_000, 33_000_000)
    series = PlaneSeries.of(pictures, [plane] * pictures.size, SCREEN)
    x, y, flags = map_gaze(series, SCREEN, camera, ns, eye.x_px, eye.y_px)
    assert x.size == recording.n_samples == 1788
    gaze = np.isfinite(eye.x_px)
    assert ((flags & SampleFlag.NO_GAZE) > 0).tolist() == (~gaze).tolist()
    known = np.isfinite(x)
    back = scene.to_camera(np.column_stack([x, y])[known], here)
    np.testing.assert_allclose(back, np.column_stack([eye.x_px, eye.y_px])[known], atol=0.01)
    inside = known & (x >= 0) & (x <= 800) & (y >= 0) & (y <= 600)
    np.testing.assert_array_equal(inside, gaze & ((flags & SampleFlag.OFF_SCREEN) == 0))
    assert 0.2 < inside.mean() < 1


def four_times(source: Path, folder: Path) -> Path:
    """A recording that is four times as long: a second is over before a busy computer has looked at a picture."""
    folder.mkdir()
    capture = cv2.VideoCapture(str(source / "Neon Scene Camera v1 ps1.mp4"))
    pictures = [capture.read()[1] for _ in range(PICTURES)]
    capture.release()
    video = cv2.VideoWriter(str(folder / "Neon Scene Camera v1 ps1.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 20, LENS.px)
    for picture in pictures * 4:
        video.write(picture)
    video.release()
    times = T0 + STEP * np.arange(4 * PICTURES)
    (folder / "Neon Scene Camera v1 ps1.time").write_bytes(times.astype("<u8").tobytes())
    ns = np.concatenate([T0 + 5_000_000 * np.arange(190) + STEP * PICTURES * k for k in range(4)])
    (folder / "gaze ps1.time").write_bytes(ns.astype("<u8").tobytes())
    (folder / "gaze ps1.raw").write_bytes((source / "gaze ps1.raw").read_bytes() * 4)
    calibrate(folder)
    return folder


def test_a_session_maps_by_the_markers_while_it_runs(
    rendered: Path, layout: Path, small_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gazepipe.markers.fallback.TagProcess.usable", False)  # starting it takes a second
    # However busy this computer is: a place of the screen that is seconds old counts, too.
    monkeypatch.setitem(LiveMapper.__init__.__kwdefaults__, "longest_gap_ms", 1e6)
    again = four_times(rendered, small_study.root / "again")
    small_study.image("a.png")
    small_study.configure(trials={"min_duration_ms": 100})
    arguments = ["session", "--user", "u1", "--study", str(small_study.root), "--device", "replay", "--screen", "none"]
    options = ["--replay", str(again), "--layout", str(layout), "--points", "0", "--seconds", "0.5", "--force"]
    done = CliRunner().invoke(main, arguments + options)
    assert done.exit_code == 0, done.output
    folder = next(p for p in (small_study.root / "rec").iterdir() if p.is_dir())
    eye = read_recording(folder, small_study.open().config).eyes["cyclopean"]
    there = np.isfinite(eye.x_px)
    assert there.sum() > 50
    off = np.min([np.hypot(eye.x_px[there] - x, eye.y_px[there] - y) for x, y in LOOKS], 0)
    # By a picture of some time ago, of a head that moves.
    assert np.median(off) < 100


def test_a_layout_is_for_glasses_only(layout: Path, small_study: Any) -> None:
    small_study.image("a.png")
    options = ["session", "--user", "u1", "--study", str(small_study.root), "--device", "fake", "--layout", str(layout)]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert "glasses" in done.output
