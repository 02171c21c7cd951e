"""From markers to gaze on the screen: planes, their course in time, flags."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _scene_camera import DISTORTION, MATRIX, Pose, Scene, clutter, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.live.recording import RECORD
from gazepipe.live.source import SampleFlag, SceneFrame, SceneMapper, SourceError
from gazepipe.markers import session_log
from gazepipe.markers.camera import Camera
from gazepipe.markers.detection import Found, MarkerDetector
from gazepipe.markers.drawing import frame
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.live import LiveMapper
from gazepipe.markers.mapping import PlaneSeries, map_gaze
from gazepipe.markers.plane import ScreenPlane, fit_plane, screen_corners

SCREEN = MarkerScreen((1920, 1080), (531, 299), 8, 120)
CAMERA = Camera(np.array(MATRIX), np.array(DISTORTION), (1600, 1200))
BLANK = Scene(np.zeros((1080, 1920), np.uint8), SCREEN.mm)  # for places only
GRID = np.stack(np.meshgrid(np.linspace(20, 1900, 9), np.linspace(20, 1060, 7)), -1).reshape(-1, 2)
STEP = 33_000_000
NONE = SampleFlag(0)

poses = st.builds(
    Pose,
    st.floats(-80, 80),
    st.floats(-80, 80),
    st.floats(500, 1000),
    st.tuples(st.floats(-25, 25), st.floats(-25, 25), st.floats(-30, 30)),
)


def seen(pose: Pose, numbers: Any = None, noise: float = 0.0, seed: int = 0) -> dict[int, Any]:
    rng = np.random.default_rng(seed)
    wanted = SCREEN.layout if numbers is None else numbers
    return {k: BLANK.to_camera(SCREEN.layout[k], pose) + rng.normal(0, noise, (4, 2)) for k in wanted}


def plane(pose: Pose) -> ScreenPlane:
    found = fit_plane(seen(pose), SCREEN, CAMERA)
    assert found is not None
    return found


def course(poses: list[Pose | None], start: int = 0) -> PlaneSeries:
    times = start + STEP * np.arange(len(poses))
    return PlaneSeries.of(times, [None if p is None else plane(p) for p in poses], SCREEN)


def flags_of(bits: Any) -> list[SampleFlag]:
    return [SampleFlag(int(b)) for b in bits]


# ---- planes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blur", [0.6, 1.5])
@pytest.mark.parametrize("distance", [650, 900])
def test_rendered_pictures_give_the_screen_to_less_than_a_pixel(blur: float, distance: float) -> None:
    scene = Scene(shown(frame(SCREEN), clutter(SCREEN.px)), SCREEN.mm)
    off = []
    with MarkerDetector(SCREEN.layout, fallback=False) as detector:
        for k in range(2):
            rng = np.random.default_rng(k)
            pose = Pose(*rng.uniform(-50, 50, 2), distance, tuple(rng.uniform(-20, 20, 3)))
            middle = scene.to_camera(SCREEN.layout[k], pose).mean(0).astype(int)
            hidden = ((middle[0] - 10, middle[1] - 10, middle[0] + 30, middle[1] + 30),)
            found = fit_plane(
                detector.detect(scene.shoot(pose, blur_px=blur, hidden=hidden, seed=k)).corners, SCREEN, CAMERA
            )
            assert found is not None
            assert k not in found.numbers
            off.append(found.to_screen(CAMERA.undistort(scene.to_camera(GRID, pose))) - GRID)
    distances = np.linalg.norm(np.concatenate(off), axis=1)
    assert np.median(distances) < 0.4
    assert distances.max() < 2


@given(poses)
@settings(deadline=None, max_examples=30)
def test_exact_corners_give_the_exact_plane(pose: Pose) -> None:
    found = plane(pose)
    assert found.residual_px < 1e-3
    np.testing.assert_allclose(found.to_screen(CAMERA.undistort(BLANK.to_camera(GRID, pose))), GRID, atol=0.01)


@given(poses, st.tuples(st.floats(0, 1920), st.floats(0, 1080)))
@settings(deadline=None, max_examples=30)
def test_mapping_undoes_unmapping(pose: Pose, place: tuple[float, float]) -> None:
    found = plane(pose)
    np.testing.assert_allclose(found.to_screen(found.to_camera([place])), [place], atol=1e-6)
    x, y, flags = map_gaze(course([pose]), SCREEN, CAMERA, [0], *CAMERA.distort(found.to_camera([place])).T)
    np.testing.assert_allclose([x[0], y[0]], place, atol=0.02)
    assert not int(flags[0]) & ~int(SampleFlag.OFF_SCREEN)


@given(poses, st.integers(0, 7), st.floats(8, 200), st.floats(0, 2 * np.pi))
@settings(deadline=None, max_examples=30)
def test_a_marker_in_the_wrong_place_is_left_out(pose: Pose, which: int, far: float, angle: float) -> None:
    corners = seen(pose)
    corners[which] = corners[which] + far * np.array([np.cos(angle), np.sin(angle)])
    found = fit_plane(corners, SCREEN, CAMERA)
    assert found is not None
    assert set(found.numbers) == set(SCREEN.layout) - {which}
    np.testing.assert_allclose(found.to_screen(CAMERA.undistort(BLANK.to_camera(GRID, pose))), GRID, atol=0.02)


def test_two_exchanged_numbers_are_left_out() -> None:
    corners = seen(Pose())
    corners[1], corners[6] = corners[6], corners[1]
    found = fit_plane(corners, SCREEN, CAMERA)
    assert found is not None
    assert found.numbers == (0, 2, 3, 4, 5, 7)


@pytest.mark.parametrize("numbers", [(), (0,), (0, 7), (0, 1, 2)], ids=str)
def test_too_few_markers_or_one_row_of_them_give_none(numbers: tuple[int, ...]) -> None:
    assert fit_plane(seen(Pose(), numbers), SCREEN, CAMERA) is None


def test_three_markers_are_enough_and_a_number_from_elsewhere_does_no_harm() -> None:
    found = fit_plane(seen(Pose(), (0, 2, 5)) | {99: np.zeros((4, 2))}, SCREEN, CAMERA)
    assert found is not None
    assert found.numbers == (0, 2, 5)
    assert found.span == (15, 15, 1905, 1065)


def test_a_screen_that_cannot_look_so_is_none() -> None:
    mirrored = {k: v * [-1, 1] + [1600, 0] for k, v in seen(Pose()).items()}
    assert fit_plane(mirrored, SCREEN, Camera.ideal()) is None
    # The same markers on a screen of other millimetres: the picture is that of a stretched one.
    wide = MarkerScreen(SCREEN.px, (531, 199), 8, 120)
    straight = {k: CAMERA.undistort(v) for k, v in seen(Pose()).items()}
    assert fit_plane(straight, SCREEN, Camera(np.array(MATRIX), np.zeros(0), (1600, 1200))) is not None
    assert fit_plane(straight, wide, Camera(np.array(MATRIX), np.zeros(0), (1600, 1200))) is None
    assert fit_plane(straight, wide, Camera.ideal()) is not None


@given(st.lists(st.tuples(st.integers(0, 7), st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8)), max_size=8))
@settings(deadline=None, max_examples=50)
def test_any_corners_give_a_possible_plane_or_none(rows: list[Any]) -> None:
    found = fit_plane({k: np.array(v).reshape(4, 2) for k, v in rows}, SCREEN, CAMERA)
    if found is not None:
        assert np.isfinite(found.to_camera(screen_corners(SCREEN))).all()


# ---- course in time --------------------------------------------------------------------------------------------------


def turning(k: float) -> Pose:
    """What a head that turns by 50° a second sees: 1.65° more from one picture to the next."""
    angle = 1.65 * k - 8
    return Pose(650 * np.sin(np.radians(angle)), 0, 650 * np.cos(np.radians(angle)), (0, angle, 0))


def test_between_pictures_the_head_has_moved() -> None:
    poses = [turning(k) for k in range(10)]
    time = np.arange(0, 9 * STEP, 5_000_000)
    truth = np.array([960.0, 540.0])
    gaze = np.concatenate([BLANK.to_camera(truth, turning(t / STEP)) for t in time])
    off = {}
    for mode in ("interpolated", "nearest", "last"):
        x, y, flags = map_gaze(course(poses), SCREEN, CAMERA, time, *gaze.T, mode=mode)
        assert set(flags_of(flags)) == {NONE}
        off[mode] = np.hypot(x - truth[0], y - truth[1])
    assert off["interpolated"].max() < 2
    # Up to half and up to a whole step of 1.65°, which is 68 px here.
    assert 25 < off["nearest"].max() < 45
    assert 50 < off["last"].max() < 80


def test_flags_where_pictures_have_no_screen() -> None:
    # Pictures 0 … 19; the screen in 0 … 4, 7 … 9 and 17 on. 200 ms are six steps.
    there = [k for k in range(20) if k < 5 or 7 <= k < 10 or k >= 17]
    series = course([Pose() if k in there else None for k in range(20)])
    time = np.array([0.5, 4.4, 5.5, 6.6, 8.2, 9.4, 12.0, 15.9, 16.6, 19.4, 21.0, 40.0, -0.4, -3.0]) * STEP
    gaze = np.repeat(BLANK.to_camera([[960, 540]], Pose()), time.size, 0)
    x, _, flags = map_gaze(series, SCREEN, CAMERA, time, *gaze.T)
    between, outside, lost = SampleFlag.INTERPOLATED, SampleFlag.EXTRAPOLATED, SampleFlag.NO_TAGS
    expected = [NONE, NONE, between, NONE, NONE, NONE, outside, outside, NONE, NONE, outside, lost, NONE, outside]
    assert flags_of(flags) == expected
    np.testing.assert_array_equal(np.isnan(x), [f == lost for f in expected])
    np.testing.assert_allclose(x[~np.isnan(x)], 960, atol=0.01)
    _, _, nearest = map_gaze(series, SCREEN, CAMERA, time, *gaze.T, mode="nearest")
    assert flags_of(nearest) == expected
    _, _, last = map_gaze(series, SCREEN, CAMERA, time, *gaze.T, mode="last")
    # Before the first picture nothing is known yet; one and a half steps old is old.
    is_last = [NONE, NONE, NONE, outside, NONE, NONE, outside, outside, lost, NONE, outside, lost, lost, lost]
    is_last[7] = is_last[8] = lost  # 6.9 and 7.6 steps after picture 9: more than 200 ms
    assert flags_of(last) == is_last


def test_no_sample_is_lost_or_invented() -> None:
    series = course([Pose()] * 4)
    x, y, flags = map_gaze(
        series, SCREEN, CAMERA, np.arange(5) * 10_000_000, [np.nan, 800, 0, 1e7, 800], [3, np.nan, 0, 5, 618]
    )
    assert np.isnan(x).tolist() == np.isnan(y).tolist() == [True, True, True, True, False]
    off = SampleFlag.OFF_SCREEN  # the lens leads nowhere from the picture's corner
    assert flags_of(flags) == [SampleFlag.NO_GAZE, SampleFlag.NO_GAZE, off, off, NONE]
    x, _, flags = map_gaze(course([None] * 3), SCREEN, CAMERA, [0, 1], [800, np.nan], [600, 600])
    assert np.isnan(x).all()
    assert flags_of(flags) == [SampleFlag.NO_TAGS, SampleFlag.NO_TAGS | SampleFlag.NO_GAZE]
    x, _, flags = map_gaze(course([]), SCREEN, CAMERA, [], [], [])
    assert x.size == flags.size == 0


def test_beside_the_screen_and_far_from_the_markers() -> None:
    places = np.array([[-1, 540], [1921, 540], [960, -1], [960, 1081], [1, 1], [1919, 1079]])
    gaze = BLANK.to_camera(places, Pose())
    x, y, flags = map_gaze(course([Pose()] * 2), SCREEN, CAMERA, [0] * 6, *gaze.T)
    np.testing.assert_allclose(np.column_stack([x, y]), places, atol=0.01)
    assert flags_of(flags) == [SampleFlag.OFF_SCREEN] * 4 + [NONE] * 2
    # With the markers of the left half only, what lies on the right is an extrapolation.
    left = fit_plane(seen(Pose(), (0, 1, 5, 6)), SCREEN, CAMERA)
    series = PlaneSeries.of([0, STEP], [left, left], SCREEN)
    gaze = BLANK.to_camera([[500, 500], [1400, 500], [1900, 500]], Pose())
    assert flags_of(map_gaze(series, SCREEN, CAMERA, [0] * 3, *gaze.T)[2]) == [NONE, NONE, SampleFlag.EXTRAPOLATED]


def test_pictures_with_an_odd_screen_are_left_out() -> None:
    series = course([turning(k / 4) for k in range(20)])
    corners = series.corners.copy()
    middle = corners[9].mean(0)
    corners[9] = (corners[9] - middle) * 1.5 + middle
    corners[15] = (corners[15] - corners[15].mean(0)) * [1.25, 0.9] + corners[15].mean(0)
    kept = PlaneSeries(series.time_ns, corners, series.span).without_outliers().seen
    assert np.flatnonzero(~kept).tolist() == [9, 15]
    assert series.without_outliers().seen.all()


def test_smoothing_takes_noise_out_and_leaves_movement() -> None:
    rng = np.random.default_rng(0)
    series = course([turning(k / 4) for k in range(40)])
    noisy = PlaneSeries(series.time_ns, series.corners + rng.normal(0, 0.3, series.corners.shape), series.span)
    smooth = noisy.smoothed(5)
    # A line through five points has in their middle the error of their mean: 1/√5 of one.
    left = (smooth.corners - series.corners)[3:-3].std()
    assert 0.3 / np.sqrt(5) * 0.8 < left < 0.3 / np.sqrt(5) * 1.2
    np.testing.assert_allclose(series.smoothed(5).corners, series.corners, atol=0.1)
    missing = course([Pose() if k % 7 else None for k in range(20)]).smoothed(5)
    assert np.flatnonzero(~missing.seen).tolist() == [0, 7, 14]


# ---- live ------------------------------------------------------------------------------------------------------------


class Detector:
    """Finds what a test says, instead of looking at a picture."""

    def __init__(self, poses: list[Pose | None]) -> None:
        self.poses = poses

    def detect(self, picture: Any) -> Found:
        pose = self.poses.pop(0)
        return Found({} if pose is None else seen(pose))

    def prepare(self) -> None:
        pass

    def close(self) -> None:
        pass


def live(poses: list[Pose | None], **options: Any) -> LiveMapper:
    return LiveMapper(SCREEN, CAMERA, Detector(poses), **options)  # type: ignore[arg-type]


def test_live_gaze_is_mapped_by_the_last_screen_seen() -> None:
    mapper: SceneMapper = live([None, turning(0), turning(1), *[None] * 7])
    gaze = BLANK.to_camera([[960, 540]], turning(1)).astype(np.float32)
    picture = np.zeros((10, 10), np.uint8)

    def place(steps: float) -> tuple[float, SampleFlag]:
        x, _, flags = mapper.to_screen(np.array([round(steps * STEP)]), gaze[:, 0], gaze[:, 1])
        return float(x[0]), SampleFlag(int(flags[0]))

    assert place(0)[1] == SampleFlag.NO_TAGS
    found = []
    for k in range(3):
        found.append(mapper.see(SceneFrame(k * STEP, picture)))
    assert found == [0, 8, 8]
    for steps in (2, 2.9, 1.5):  # pictures arrive later than gaze
        x, flags = place(steps)
        assert abs(x - 960) < 0.1
        assert flags == NONE
    mapper.see(SceneFrame(3 * STEP, picture))
    mapper.see(SceneFrame(4 * STEP, picture))
    assert place(4)[1] == SampleFlag.EXTRAPOLATED
    assert place(9)[1] == SampleFlag.EXTRAPOLATED  # the next pictures are still on their way
    assert place(40)[1] == SampleFlag.NO_TAGS  # no pictures come any more
    for k in range(5, 10):
        mapper.see(SceneFrame(k * STEP, picture))
    assert place(9)[1] == SampleFlag.NO_TAGS  # seven pictures without the screen
    assert np.isnan(place(9)[0])


def test_what_was_seen_live_maps_afterwards() -> None:
    mapper = live([turning(k) for k in range(10)])
    for k in range(10):
        mapper.see(SceneFrame(k * STEP, np.zeros((10, 10), np.uint8)))
    time = np.arange(0, 9 * STEP, 5_000_000)
    gaze = np.concatenate([BLANK.to_camera([[960, 540]], turning(t / STEP)) for t in time])
    x, _, flags = map_gaze(mapper.series(), SCREEN, CAMERA, time, *gaze.T)
    assert np.abs(x - 960).max() < 2
    assert not flags.any()
    mapper.close()


def test_in_the_background_pictures_are_looked_at_one_by_one_and_the_newest_wins() -> None:
    entered, go = threading.Event(), threading.Event()

    class Slow(Detector):
        def detect(self, picture: Any) -> Found:
            entered.set()
            go.wait(5)
            return super().detect(picture)

    mapper = LiveMapper(SCREEN, CAMERA, Slow([Pose()] * 9), background=True)  # type: ignore[arg-type]
    picture = np.zeros((10, 10), np.uint8)
    assert mapper.see(SceneFrame(0, picture)) == 0  # returns at once
    assert entered.wait(5)
    for k in range(1, 5):
        assert mapper.see(SceneFrame(k * STEP, picture)) == 0
    go.set()
    assert mapper.wait()
    assert mapper.series().time_ns.tolist() == [0, 4 * STEP]
    assert mapper.see(SceneFrame(5 * STEP, picture)) == 8
    gaze = BLANK.to_camera([[960, 540]], Pose()).astype(np.float32)
    x, _, flags = mapper.to_screen(np.array([5 * STEP]), gaze[:, 0], gaze[:, 1])
    assert abs(x[0] - 960) < 0.1
    assert flags[0] == 0
    mapper.close()
    assert mapper._thread is not None
    assert not mapper._thread.is_alive()


def test_a_camera_that_is_asked_for_with_the_first_picture() -> None:
    asked: list[int] = []

    def camera() -> Camera:
        asked.append(1)
        return CAMERA

    mapper = LiveMapper(SCREEN, camera, Detector([Pose(), Pose()]))  # type: ignore[arg-type]
    assert mapper.to_screen(np.array([0]), np.zeros(1, "f4"), np.zeros(1, "f4"))[2] == SampleFlag.NO_TAGS
    assert asked == []
    for k in range(2):
        mapper.see(SceneFrame(k * STEP, np.zeros((10, 10), np.uint8)))
    assert asked == [1]


def test_a_lens_that_cannot_be_asked_for_is_said_and_asked_for_again() -> None:
    answers: list[Camera | Exception] = [SourceError("the phone does not answer."), CAMERA]

    def camera() -> Camera:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    mapper = LiveMapper(SCREEN, camera, Detector([Pose(), Pose()]))  # type: ignore[arg-type]
    picture = np.zeros((10, 10), np.uint8)
    assert mapper.see(SceneFrame(0, picture)) == 0
    assert mapper.problem == "the phone does not answer"
    assert mapper.see(SceneFrame(STEP, picture)) == 8
    assert mapper.problem == ""


def test_a_sessions_log_maps_its_gaze_anew(tmp_path: Path) -> None:
    """A head that turns by the place of the screen in the log, through JSON, against the truth; what it lacks stays."""
    mapper = live([turning(k) for k in range(10)])
    log: list[dict[str, Any]] = []
    for k in range(10):
        mapper.see(SceneFrame(k * STEP, np.zeros((10, 10), np.uint8)))
        if k in (4, 9):
            log += [{"kind": kind, **json.loads(json.dumps(values))} for kind, values in mapper.log()]
    assert [e["kind"] for e in log] == [session_log.GEOMETRY, session_log.PICTURES, session_log.PICTURES]
    assert mapper.log() == []
    records = np.zeros(100, RECORD)
    time = records["device_ns"] = np.arange(100) * 5_000_000
    gaze = np.concatenate([BLANK.to_camera([[960, 540]], turning(t / STEP)) for t in time])
    records["x_px"], records["y_px"] = gaze.T
    records["screen_x_px"], records["flags"] = 930, SampleFlag.EXTRAPOLATED | SampleFlag.AFTER_GAP
    warnings: list[str] = []
    found = session_log.again(records, log, tmp_path, warnings)
    inner = time <= 9 * STEP
    assert np.abs(found["screen_x_px"][inner] - 960).max() < 2
    assert np.abs(found["screen_y_px"][inner] - 540).max() < 2
    assert (found["flags"][inner] == SampleFlag.AFTER_GAP).all()
    assert (found["screen_x_px"][time > 9 * STEP + 200_000_000] == 930).all()  # no picture: as it was
    assert not warnings
    log[1]["pictures"][0] = [0, [[0, 0]] * 4, [0, 0, 1, 1]]  # no screen looks like this
    mapped = session_log.again(records, log, tmp_path, warnings)["screen_x_px"]
    assert np.abs(mapped[inner & (time >= STEP)] - 960).max() < 2
    assert not warnings
    for nonsense in ([0, "nowhere"], [2**70], {}):
        log[1]["pictures"][0] = nonsense
        assert session_log.again(records, log, tmp_path, warnings) is records
        assert "not understood" in warnings.pop()
