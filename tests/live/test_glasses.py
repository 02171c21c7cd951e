"""Glasses: a real recording's gaze over the wire, and a session whose gaze is mapped by what the scene camera sees."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_neon import FakeNeon, Faults, Trace, eye_packets, imu_packets
from fake_scene import SceneVideo, calibration

from gazepipe.config import StudyConfig
from gazepipe.live.beside import EYE_EVENTS, IMU, KINDS
from gazepipe.live.neon import NeonSource
from gazepipe.live.presenter import SilentPresenter
from gazepipe.live.recording import read_samples
from gazepipe.live.session import LabSession
from gazepipe.live.source import SampleFlag
from gazepipe.markers.drawing import frame
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.live import LATEST_MS, LiveMapper
from gazepipe.markers.mapping import LONGEST_GAP_MS
from gazepipe.readers import read_recording
from gazepipe.readers.live_session import beside

if TYPE_CHECKING:
    from conftest import SmallStudy

    from gazepipe import Study

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # the renderer lives with its benchmark

from _scene_camera import DISTORTION, MATRIX, Pose, Scene, shown


def test_a_real_recording_over_the_wire_is_the_recording(small_study: SmallStudy, data_dir: Path) -> None:
    """Every value bit by bit; times to the grain of the stream's clock (90 kHz) and of the clocks' comparison."""
    folder = data_dir / "raw" / "neon_native" / "demo_recording"
    if not folder.is_dir():
        pytest.skip(f"no native recording in {folder}")
    trace = Trace.of_recording(folder)
    others = {"imu": imu_packets(folder), "eye_events": eye_packets(folder)}
    with FakeNeon(trace, Faults(offset_ms=321.5), others=others) as phone:
        phone.calibration = (folder / "calibration.bin").read_bytes()
        with LabSession(small_study.open(), user="u1", source=NeonSource(phone.address), echoes=40) as session:
            assert session.source.camera().calibrated
            while phone.elapsed_s() < trace.time_s[-1] + 0.3:
                SilentPresenter().wait(0.1)
        began = phone.started_ns
    raw, damaged = read_samples(session.folder)
    assert damaged == 0
    assert len(raw) == len(trace.time_s) == 1788
    np.testing.assert_array_equal(raw["x_px"], trace.x_px)
    np.testing.assert_array_equal(raw["y_px"], trace.y_px)
    there = (trace.pupil_mm > 0) & (trace.pupil_right_mm > 0)
    mean = (trace.pupil_mm.astype(float) + trace.pupil_right_mm) / 2
    np.testing.assert_allclose(raw["pupil_mm"][there], mean[there], rtol=1e-6)
    np.testing.assert_array_equal(raw["flags"] & int(SampleFlag.NOT_WORN) > 0, trace.worn == 0)

    got, native = read_recording(session.folder, StudyConfig()), read_recording(folder, StudyConfig())
    assert got.meta["coordinates"] == native.meta["coordinates"] == "scene"
    ours, theirs = got.eyes["cyclopean"], native.eyes["cyclopean"]
    np.testing.assert_array_equal(ours.x_px, theirs.x_px)
    np.testing.assert_array_equal(ours.y_px, theirs.y_px)
    assert np.abs(np.diff(got.time_ms) - np.diff(native.time_ms)).max() < 0.05
    later = (got.meta["time_origin_ns"] - began) / 1e6
    assert np.abs(got.time_ms + later - trace.time_s * 1000).max() < 2

    # The head's movements and the app's own events: every value, by the same clock.
    imu = beside(session.folder, IMU)
    raw_imu = np.fromfile(folder / "imu ps1.raw", [("ns", "<i8"), ("values", "<f4", 10)])
    raw_imu = raw_imu[raw_imu["ns"] >= np.fromfile(folder / "gaze_200hz.time", "<i8")[0]][-imu["time_ms"].size :]
    assert imu["time_ms"].size > 900
    names = [f"{what}_{axis}" for what in ("gyro", "accel") for axis in "xyz"] + [f"quaternion_{a}" for a in "wxyz"]
    np.testing.assert_array_equal(np.column_stack([imu[name] for name in names]), raw_imu["values"])
    true = (raw_imu["ns"] - np.fromfile(folder / "gaze_200hz.time", "<i8")[0]) / 1e6
    assert np.abs(imu["time_ms"] + later - true).max() < 2
    ours, theirs = got.native_events, native.native_events
    first = np.searchsorted(theirs["onset_ms"], ours["onset_ms"][0] + later - 2)  # before it, nobody listened
    theirs = {name: values[first:] for name, values in theirs.items()}
    assert sorted(set(ours["kind"])) == ["blink", "fixation", "saccade"]
    for name in ("kind", "x_px", "y_px", "amplitude_deg"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    for name in ("onset_ms", "offset_ms"):
        assert np.abs(ours[name] + later - theirs[name]).max() < 2
    told = beside(session.folder, EYE_EVENTS)
    assert {KINDS[k] for k in told["kind"]} == set(KINDS)
    onsets = np.isin(told["kind"], [KINDS.index("saccade onset"), KINDS.index("fixation onset")])
    assert (told["end_ns"] == told["start_ns"])[onsets].all()
    assert (told["received_ns"] - told["device_ns"] > -321.5e6 - 2e6).all()


# ---- gaze mapped by markers ------------------------------------------------------------------------------------------

SECONDS = 40.0
HEAD_S = 3.0  # for so long the head stands still
#: Gaze that is mapped at all is mapped by a picture no older than this, however busy the computer is.
OLDEST_S = (LATEST_MS + LONGEST_GAP_MS) / 1000
POSES = [
    Pose(0, 0, 600, (4.0, -8.0, 3.0)),
    Pose(25, -15, 640, (-6.0, 7.0, -4.0)),
    Pose(-30, 10, 560, (2.0, 10.0, 6.0)),
]


class Glasses:
    """Somebody with glasses before a screen with markers, who looks about where the images are shown."""

    def __init__(self, study: Study) -> None:
        screen = study.config.screen
        px, mm = (screen.width_px, screen.height_px), (screen.width_mm, screen.height_mm)
        self.markers = MarkerScreen(px, mm, 8, 120)
        scene = Scene(shown(frame(self.markers)), mm)
        pictures = [scene.shoot(pose, noise=1.0, seed=k) for k, pose in enumerate(POSES)]
        rate = 5.0  # thirty would keep a computer busy that does other things, too
        which = [int(k / rate / HEAD_S) % len(POSES) for k in range(round(SECONDS * rate))]
        self.video = SceneVideo(pictures, which, rate)
        time = np.arange(round(SECONDS * 200)) / 200
        rng = np.random.default_rng(5)
        left, top, width, height = self.markers.free_px
        looks = np.array([left, top]) + rng.uniform(0.1, 0.9, (150, 2)) * (width, height)
        self.screen_px = looks[(time / 0.3).astype(int)]  # three places a second
        heads = (time / HEAD_S).astype(int) % len(POSES)
        gaze = np.empty((len(time), 2), np.float32)
        for k, pose in enumerate(POSES):
            gaze[heads == k] = scene.to_camera(self.screen_px[heads == k], pose)
        self.trace = Trace(time, gaze[:, 0], gaze[:, 1], np.full(len(time), 255, "u1"), np.full(len(time), 3, "f4"))


def test_a_session_with_glasses_from_the_camera_to_the_map(trained: Study) -> None:
    """The official client decodes the scene video; markers map gaze while it comes in; the person is enrolled by it."""
    from gazepipe import Predictor, store
    from gazepipe.ingest import ingest
    from gazepipe.live.enrolment import LiveEnrolment
    from gazepipe.study import Study

    glasses = Glasses(trained)
    rect = " ".join(f"{v:g}" for v in glasses.markers.free_px)
    config = trained.config.model_copy(
        update={"trials": trained.config.trials.model_copy(update={"placement": f"rect {rect}"})}
    )
    study = Study(config, trained.root, trained.recordings, trained.stimuli, trained.store)
    images = sorted(study.stimuli.glob("*.png"))[:3]
    person = LiveEnrolment(study, "glasses", images, threads=1)
    presenter = SilentPresenter()
    with FakeNeon(glasses.trace, Faults(offset_ms=-77.25), scene=glasses.video) as phone:
        phone.calibration = calibration(MATRIX, DISTORTION)
        source = NeonSource(phone.address, scene=True)
        mapper = LiveMapper(glasses.markers, source.camera, background=True)
        try:
            with LabSession(study, user="glasses", source=source, mapper=mapper, echoes=40) as session:
                for _ in range(10):
                    report = {c.name: c for c in session.check(0.5).checks}
                    if report["tags"].ok:
                        break
                updates = []
                for image, trial in session.trials(images):
                    presenter.image(image, trial.place, trial.onset)
                    presenter.wait(1.5)
                    trial.end()
                    updates.append(person.add(session, trial))
        finally:
            mapper.close()
        began = phone.started_ns
    assert re.search(r"8 tags, gaze mapped in \d+% of the samples by pictures \d+ ms old", report["tags"].found)
    assert report["tags"].ok
    assert [u.problem for u in updates] == [""] * 3
    assert [u.n_pairs for u in updates] == [1, 2, 3]

    # What was mapped while it ran, against where the person looked.
    raw, _ = read_samples(session.folder)
    number = np.rint((raw["host_ns"] - began) / 5e6).astype(int)
    np.testing.assert_array_equal(raw["x_px"], glasses.trace.x_px[number])
    found = np.column_stack([raw["screen_x_px"], raw["screen_y_px"]])
    mapped = np.isfinite(found[:, 0])
    error = np.hypot(*(found - glasses.screen_px[number])[mapped].T)
    # A head that turned is known of when the next picture has been looked at.
    still = (number[mapped] * 0.005) % HEAD_S > OLDEST_S
    assert still.sum() > 300
    assert np.median(error[still]) < 0.5
    assert error[still].max() < 2
    # Read, it is mapped by pictures on both sides of each sample: a head that turned costs nothing any more.
    recording = read_recording(session.folder, study.config)
    eye = recording.eyes["cyclopean"]
    number = np.rint((recording.time_ms + (recording.meta["time_origin_ns"] - began) / 1e6) / 5).astype(int)
    later = np.hypot(eye.x_px - glasses.screen_px[number, 0], eye.y_px - glasses.screen_px[number, 1])
    between = (number * 0.005 + 0.6) % HEAD_S < 1.2  # pictures before and after a turn, of which one may be lost
    known = np.isfinite(later) & ~between
    assert np.median(later[known]) < 0.5
    assert np.percentile(later[known], 99) < 2
    assert np.isfinite(later).mean() >= mapped.mean()

    # An ingest of the recording has the same presentations; the person has maps.
    result = ingest(study, jobs=1)
    assert not result.failures
    stored = store.load(study.recording_file(f"glasses_{session.label}"), "gazepipe.recording")
    assert list(stored.arrays["trials/stimulus"]) == [p.name for p in images]
    found = {k: stored.arrays[f"fixations/{k}"] for k in ("trial", "onset_ms", "offset_ms", "x_px", "y_px")}
    assert {0, 1, 2} <= set(found["trial"].tolist())
    middle = (found["onset_ms"] + found["offset_ms"]) / 2 + (recording.meta["time_origin_ns"] - began) / 1e6
    looked = glasses.screen_px[np.rint(middle / 5).astype(int)]
    assert np.median(np.hypot(found["x_px"] - looked[:, 0], found["y_px"] - looked[:, 1])) < 0.5
    predictor = Predictor(study, threads=1)
    predictor.welcome(person.person())
    assert predictor(images[0], "glasses").shape == predictor.size
