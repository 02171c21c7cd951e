"""Markers in rendered pictures of a scene camera, whose places are known."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _scene_camera import Pose, Scene, clutter, shown

from gazepipe.markers.detection import MarkerDetector
from gazepipe.markers.drawing import frame
from gazepipe.markers.fallback import TagProcess
from gazepipe.markers.layout import MarkerScreen

SCREEN = MarkerScreen((1920, 1080), (531, 299), 8, 120)
POSE = Pose(20, -10, 650, (8, -12, 3))
with_tags = pytest.mark.skipif(
    importlib.util.find_spec("pupil_apriltags") is None, reason="pupil_apriltags is not installed"
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(shown(frame(SCREEN), clutter(SCREEN.px)), SCREEN.mm)


def errors(found: Any, scene: Scene, pose: Pose = POSE) -> Any:
    """Distance of each corner from its true place, in the camera's pixels."""
    off = [corners - scene.to_camera(SCREEN.layout[k], pose) for k, corners in found.items()]
    return np.linalg.norm(np.concatenate(off), axis=1)


@pytest.mark.parametrize(("blur", "most"), [(0.3, 0.1), (1.0, 0.1), (2.0, 0.35)])
def test_corners_are_exact(scene: Scene, blur: float, most: float) -> None:
    with MarkerDetector(SCREEN.layout, fallback=False) as detector:
        found = detector.detect(scene.shoot(POSE, blur_px=blur))
    assert set(found.corners) == set(SCREEN.layout)
    assert not found.fallback
    assert np.median(errors(found.corners, scene)) < most


def test_corners_are_not_off_to_one_side(scene: Scene) -> None:
    # Half a pixel would be two pixels on the screen; libraries differ in where a pixel's middle is.
    with MarkerDetector(SCREEN.layout, fallback=False) as detector:
        found = detector.detect(scene.shoot(POSE)).corners
    off = np.concatenate([corners - scene.to_camera(SCREEN.layout[k], POSE) for k, corners in found.items()])
    assert np.abs(off.mean(0)).max() < 0.03


def test_dark_and_colour_pictures_do_as_well(scene: Scene) -> None:
    dark = scene.shoot(POSE, light=0.25)
    with MarkerDetector(SCREEN.layout, fallback=False) as detector:
        assert np.median(errors(detector.detect(dark).corners, scene)) < 0.25
        grey, colour = detector.detect(dark), detector.detect(np.repeat(dark[..., None], 3, 2))
    assert grey.corners.keys() == colour.corners.keys()


def test_covered_and_strange_markers_are_passed_over(scene: Scene) -> None:
    middle = scene.to_camera(SCREEN.layout[1], POSE).mean(0).astype(int)
    hidden = ((middle[0] - 8, middle[1] - 40, middle[0] + 60, middle[1] + 40),)
    numbers = set(SCREEN.layout) - {4}
    with MarkerDetector(numbers, fallback=False) as detector:
        found = detector.detect(scene.shoot(POSE, hidden=hidden))
    assert set(found.corners) == numbers - {1}
    assert np.median(errors(found.corners, scene)) < 0.1


def test_a_number_that_is_seen_twice_is_not_believed() -> None:
    again = frame(SCREEN)
    again[300:450, 500:650] = again[0:150, 0:150]  # number 0 a second time
    scene = Scene(shown(again), SCREEN.mm)
    with MarkerDetector(SCREEN.layout, fallback=False) as detector:
        assert set(detector.detect(scene.shoot(POSE)).corners) == set(SCREEN.layout) - {0}


def test_a_picture_without_markers_has_none() -> None:
    rng = np.random.default_rng(0)
    with MarkerDetector(SCREEN.layout, fallback=False) as detector:
        for picture in (np.zeros((600, 800), np.uint8), rng.integers(0, 256, (600, 800), np.uint8)):
            assert detector.detect(picture).corners == {}


@with_tags
def test_both_detectors_agree_on_corners_and_their_order(scene: Scene) -> None:
    picture = scene.shoot(POSE)
    with TagProcess(timeout_s=60) as process:
        # It may die of a picture that nothing is wrong with; three times would be strange.
        second = next(filter(None, (process.detect(picture) for _ in range(3))), {})
    assert set(second) == set(SCREEN.layout)
    # Without the half pixel that it counts differently its error would be 0.7.
    assert np.median(errors(second, scene)) < 0.2


@with_tags
def test_the_second_detector_looks_where_the_first_finds_too_few(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = scene.shoot(POSE)
    with MarkerDetector(SCREEN.layout, fallback=TagProcess(timeout_s=60)) as detector:
        assert not detector.detect(picture).fallback
        monkeypatch.setattr(detector, "_look", lambda *_: {})
        found = next(filter(lambda f: f.corners, (detector.detect(picture) for _ in range(3))))
    assert found.fallback
    assert set(found.corners) == set(SCREEN.layout)
    assert np.median(errors(found.corners, scene)) < 0.1  # made exact from the edges, too


def child(tmp_path: Path, body: str) -> list[str]:
    """A second detector that says it is ready, and then does something else."""
    path = tmp_path / "child.py"
    head = "import os, struct, sys, time\nos.write(1, struct.pack('<i', -1))\n"
    path.write_text(head + textwrap.dedent(body))
    return [sys.executable, str(path)]


@pytest.mark.parametrize(
    "body",
    [
        "os.read(0, 8); os.abort()",
        "os.read(0, 8); os._exit(0)",
        "time.sleep(60)",
        "os.write(1, struct.pack('<i', 2) + b'too short'); time.sleep(60)",
        "os.close(0); time.sleep(60)",
    ],
)
def test_a_second_detector_that_dies_or_hangs_costs_one_picture(body: str, tmp_path: Path) -> None:
    with TagProcess(timeout_s=0.5, command=child(tmp_path, body)) as process:
        assert process.detect(np.zeros((400, 400), np.uint8)) == {}
        assert (process.deaths, process.usable) == (1, True)


def test_a_second_detector_that_always_dies_is_left_alone(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    body = f"open({str(calls)!r}, 'a').write('x'); os.abort()"
    with MarkerDetector([0], fallback=TagProcess(command=child(tmp_path, body))) as detector:
        for _ in range(6):
            assert detector.detect(np.zeros((300, 300), np.uint8)).corners == {}
    assert calls.read_text() == "xxx"


def test_a_second_detector_that_recovers_goes_on(tmp_path: Path) -> None:
    body = f"""
        first = not os.path.exists({str(tmp_path / "been")!r})
        open({str(tmp_path / "been")!r}, 'w').close()
        while True:
            size = 8 + 300 * 300
            while size:
                size -= len(os.read(0, size))
            if first:
                os.abort()
            corners = (0, 3, 3, 3, 3, 0, 0, 0)
            os.write(1, struct.pack('<i9d', 1, 7, *corners))
    """
    with TagProcess(timeout_s=10, command=child(tmp_path, body)) as process:
        picture = np.zeros((300, 300), np.uint8)
        assert process.detect(picture) == {}
        for _ in range(2):
            # There counter-clockwise from the bottom left, here clockwise from the top left of a marker upside down.
            assert process.detect(picture)[7].tolist() == [[2.5, 2.5], [-0.5, 2.5], [-0.5, -0.5], [2.5, -0.5]]
        assert process.deaths == 1


def test_without_the_library_there_is_no_second_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    process = TagProcess()
    assert not process.usable
    assert process.detect(np.zeros((9, 9), np.uint8)) == {}
