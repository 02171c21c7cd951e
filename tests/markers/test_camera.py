"""The scene camera's lens, against OpenCV's and this test's own; calibrations as the tracker writes them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _scene_camera import DISTORTION, MATRIX, Lens
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.errors import RecordingError
from gazepipe.markers.camera import Camera, camera_of_recording, parse_calibration

CAMERA = Camera(np.array(MATRIX), np.array(DISTORTION), (1600, 1200))
K = np.array(MATRIX)

places = st.tuples(st.floats(300, 1300), st.floats(200, 1000))


def calibration(**changes: Any) -> bytes:
    parts = {"version": 1, "serial": b"123456", "matrix": MATRIX, "distortion": DISTORTION} | changes
    head = struct.pack("<B6s", parts["version"], parts["serial"])
    scene = np.concatenate([np.ravel(parts["matrix"]), parts["distortion"], np.eye(4).ravel()]).astype("<f8").tobytes()
    eye = np.zeros(33, "<f8").tobytes()
    data = head + scene + eye + eye
    return data + struct.pack("<I", zlib.crc32(data))


@given(places)
@settings(deadline=None)
def test_distorting_undoes_undistorting(place: tuple[float, float]) -> None:
    np.testing.assert_allclose(CAMERA.distort(CAMERA.undistort([place])), [place], atol=1e-6)


def test_distortion_is_opencvs() -> None:
    rng = np.random.default_rng(0)
    rays = rng.uniform(-0.9, 0.9, (200, 2))
    straight = rays * K[[0, 1], [0, 1]] + K[:2, 2]
    for count in (4, 5, 8):
        camera = Camera(K, np.array(DISTORTION[:count]), (1600, 1200))
        zero = np.zeros(3)
        expected = cv2.projectPoints(np.column_stack([rays, np.ones(200)]), zero, zero, K, camera.distortion)[0][:, 0]
        np.testing.assert_allclose(camera.distort(straight), expected, atol=1e-9)


def test_undistortion_is_exact_where_there_is_a_direction_and_nan_elsewhere() -> None:
    # By this test's own Newton iteration with numerical derivatives.
    grid = np.stack(np.meshgrid(np.linspace(100, 1500, 15), np.linspace(80, 1120, 11)), -1).reshape(-1, 2)
    lens = Lens()
    rays = lens.straighten(grid)
    np.testing.assert_allclose(CAMERA.undistort(grid), rays * K[[0, 1], [0, 1]] + K[:2, 2], atol=1e-6)
    # The model of this very lens reaches a radius of 1.08 and turns back; the picture's corner is at 1.14.
    beyond = [[0, 0], [-3000, -2000], [np.nan, 5], [np.inf, 5], [1e300, 0]]
    assert np.isnan(CAMERA.undistort(beyond)).all()
    assert CAMERA.undistort(np.zeros((0, 2))).shape == (0, 2)


def test_without_distortion_nothing_changes() -> None:
    ideal = Camera.ideal((640, 480))
    points = np.array([[0.0, 0], [-50, 700], [640, 3]])
    np.testing.assert_allclose(ideal.undistort(points), points, atol=1e-9)
    np.testing.assert_allclose(ideal.distort(points), points, atol=1e-9)


def test_calibration_of_a_native_recording(tmp_path: Path) -> None:
    (tmp_path / "calibration.bin").write_bytes(calibration())
    camera = camera_of_recording(tmp_path)
    np.testing.assert_array_equal(camera.matrix, MATRIX)
    np.testing.assert_array_equal(camera.distortion, DISTORTION)
    assert camera.px == (1600, 1200)


def test_calibration_of_a_real_recording(data_dir: Path) -> None:
    folder = data_dir / "raw" / "neon_native" / "demo_recording"
    if not folder.is_dir():
        pytest.skip(f"no native recording in {folder}")
    camera = camera_of_recording(folder)
    data = (folder / "calibration.bin").read_bytes()
    np.testing.assert_array_equal(camera.matrix.ravel(), struct.unpack_from("<9d", data, 7))
    np.testing.assert_array_equal(camera.distortion, struct.unpack_from("<8d", data, 79))
    assert 880 < camera.matrix[0, 0] < 900


@pytest.mark.parametrize("key", ["distortion_coefficients", "dist_coefs"])
def test_calibration_of_a_timeseries_download(key: str, tmp_path: Path) -> None:
    (tmp_path / "scene_camera.json").write_text(json.dumps({"camera_matrix": MATRIX, key: [DISTORTION]}))
    camera = camera_of_recording(tmp_path)
    np.testing.assert_array_equal(camera.distortion, DISTORTION)
    np.testing.assert_array_equal(camera_of_recording(tmp_path / "scene_camera.json").matrix, MATRIX)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "0 bytes"),
        (calibration()[:-1], "802 bytes"),
        (calibration()[:100] + b"\x55" + calibration()[101:], "checksum"),
        (calibration(matrix=np.zeros((3, 3))), "matrix"),
        (calibration(matrix=[[1e9, 0, 800], [0, 1e9, 600], [0, 0, 1]]), "matrix"),
        (calibration(distortion=[np.nan] * 8), "matrix"),
    ],
)
def test_damaged_calibrations_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(RecordingError, match=problem):
        parse_calibration(data, "calibration.bin")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"camera_matrix": [1], "dist_coefs": []}',
        json.dumps({"camera_matrix": MATRIX, "dist_coefs": [1, 2]}),
    ],
)
def test_damaged_camera_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "scene_camera.json").write_text(text)
    with pytest.raises(RecordingError):
        camera_of_recording(tmp_path)


def test_a_recording_without_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no calibration"):
        camera_of_recording(tmp_path)
