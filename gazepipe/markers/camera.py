"""The scene camera: what its lens does to straight lines, and how that is undone.

Pixels are OpenCV's: the middle of the first one is at (0, 0). Gaze of Pupil Labs' trackers is in the same picture.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError

__all__ = ["Camera", "camera_of_recording", "parse_calibration", "sound_camera"]

F64 = npt.NDArray[np.float64]
_NEON_PX = (1600, 1200)
#: Version, serial number, and matrix, distortion and pose of scene, right and left camera; last the CRC of all before.
_CALIBRATION = struct.Struct("<B6s" + "9d8d16d" * 3 + "I")
_STEPS, _CLOSE, _SAME, _FAR_PX = 30, 1e-10, 1e-6, 1e5
_REMEDY = "copy the recording again, or give the camera's scene_camera.json with --camera"


@dataclass(frozen=True)
class Camera:
    """A scene camera.

    Parameters
    ----------
    matrix
        Focal lengths and principal point in pixels, ``(3, 3)``.
    distortion
        Coefficients as OpenCV orders them: k1, k2, p1, p2, k3, k4, k5, k6; none: no distortion.
    px
        Width and height of the picture.
    calibrated
        Whether `matrix` was measured.
    """

    matrix: F64
    distortion: F64
    px: tuple[int, int]
    calibrated: bool = True

    @classmethod
    def ideal(cls, px: tuple[int, int] = _NEON_PX) -> Camera:
        """A camera without distortion, for pictures that are straightened already; its focal length means nothing."""
        width, height = px
        matrix = np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1]], np.float64)
        return cls(matrix, np.zeros(0), px, calibrated=False)

    def undistort(self, points: npt.ArrayLike) -> F64:
        """Pixels of the picture → pixels of one without distortion, ``(n, 2)``; NaN where there is no such place.

        In the corners of a wide picture and beyond, the lens model turns back on itself: no direction leads there.
        """
        there = np.asarray(points, np.float64).reshape(-1, 2)
        out = np.full(there.shape, np.nan)
        sound = np.isfinite(there).all(1) & (np.abs(there) < _FAR_PX).all(1)
        focal, centre = self.matrix[[0, 1], [0, 1]], self.matrix[:2, 2]
        wanted = (there[sound] - centre) / focal
        rays = wanted.copy()
        # Newton's method; OpenCV's fixed-point iteration is still a tenth of a pixel off in the corners.
        for _ in range(_STEPS):
            bent, slope = self._bend(rays)
            off = bent - wanted
            if np.abs(off).max(initial=0) < _CLOSE:
                break
            with np.errstate(divide="ignore", invalid="ignore"):
                step = np.einsum("nij,nj->ni", _inverse(slope), off)
            rays = rays - np.clip(np.nan_to_num(step), -1, 1)
        bent, slope = self._bend(rays)
        there_is = (np.abs(bent - wanted).max(1) < _SAME) & (np.linalg.det(slope) > 0)
        out[sound] = np.where(there_is[:, None], rays * focal + centre, np.nan)
        return out

    def distort(self, points: npt.ArrayLike) -> F64:
        """Reverse of `undistort`."""
        there = np.asarray(points, np.float64).reshape(-1, 2)
        focal, centre = self.matrix[[0, 1], [0, 1]], self.matrix[:2, 2]
        return self._bend((there - centre) / focal)[0] * focal + centre

    def _bend(self, rays: F64) -> tuple[F64, F64]:
        """Directions before the lens → behind it, ``(n, 2)``, and the derivatives ``(n, 2, 2)``.

        The rational model of Brown and Conrady, as OpenCV has it.
        """
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion.tolist(), *[0.0] * 8)[:8]
        x, y = rays.T
        r2 = x * x + y * y
        over, under = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = over / under
        bent = rays * radial[:, None]
        bent += np.column_stack([2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y])
        growth = k1 + r2 * (2 * k2 + 3 * k3 * r2) - radial * (k4 + r2 * (2 * k5 + 3 * k6 * r2))
        growth = 2 * growth / under  # of `radial` with r2, times two
        cross = growth * x * y + 2 * (p1 * x + p2 * y)
        slope = np.empty((len(rays), 2, 2))
        slope[:, 0, 0] = radial + growth * x * x + 2 * p1 * y + 6 * p2 * x
        slope[:, 1, 1] = radial + growth * y * y + 6 * p1 * y + 2 * p2 * x
        slope[:, 0, 1] = slope[:, 1, 0] = cross
        return bent, slope

    def content(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "camera_matrix": self.matrix.tolist(),
            "distortion_coefficients": self.distortion.tolist(),
            "px": list(self.px),
        }


def _inverse(m: F64) -> F64:
    """Inverse of 2 × 2 matrices."""
    swapped = np.empty_like(m)
    swapped[:, 0, 0], swapped[:, 1, 1] = m[:, 1, 1], m[:, 0, 0]
    swapped[:, 0, 1], swapped[:, 1, 0] = -m[:, 0, 1], -m[:, 1, 0]
    return swapped / (m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0])[:, None, None]


def parse_calibration(data: bytes, path: Path | str, px: tuple[int, int] = _NEON_PX) -> Camera:
    """Read Neon's ``calibration.bin``, of a native recording or from the device.

    Raises
    ------
    RecordingError
        If it is not of the known length or its CRC is wrong.
    """
    if len(data) != _CALIBRATION.size:
        raise RecordingError(path, f"it has {len(data)} bytes", expected=f"{_CALIBRATION.size}", remedy=_REMEDY)
    values = _CALIBRATION.unpack(data)
    if values[-1] != zlib.crc32(data[:-4]):
        raise RecordingError(path, "its checksum is wrong", expected="an undamaged file", remedy=_REMEDY)
    return sound_camera(np.array(values[2:11]).reshape(3, 3), np.array(values[11:19]), px, path)


def sound_camera(matrix: F64, distortion: F64, px: tuple[int, int], path: Path | str) -> Camera:
    """Make a camera of what `path` says of it.

    Raises
    ------
    RecordingError
        If no camera is like that.
    """
    focal, centre = matrix[[0, 1], [0, 1]], matrix[:2, 2]
    plausible = np.isfinite(matrix).all() and np.isfinite(distortion).all() and matrix[2, 2] == 1
    # Focal lengths from a tenth to ten times the width: from fish-eye to telescope.
    if not plausible or not ((focal > px[0] / 10) & (focal < px[0] * 10) & (centre > 0) & (centre < px[0])).all():
        raise RecordingError(
            path, f"the camera's matrix is {np.round(matrix, 1).tolist()}", expected="focal lengths and a centre in px"
        )
    return Camera(matrix, distortion, px)


def camera_of_recording(folder: Path, px: tuple[int, int] = _NEON_PX) -> Camera:
    """Camera of a recording's folder: ``calibration.bin`` of a native one, else ``scene_camera.json``.

    Raises
    ------
    RecordingError
        If there is neither, or it is damaged.
    """
    path = folder / "calibration.bin"
    if path.is_file():
        return parse_calibration(path.read_bytes(), path, px)
    path = folder / "scene_camera.json" if folder.is_dir() else folder
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        matrix = np.asarray(content["camera_matrix"], np.float64).reshape(3, 3)
        distortion = content.get("distortion_coefficients", content.get("dist_coefs"))
        coefficients = np.asarray(distortion, np.float64).reshape(-1)
    except FileNotFoundError:
        raise RecordingError(
            folder, "there is no calibration of the scene camera", expected="calibration.bin", remedy=_REMEDY
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordingError(path, f"the calibration is not understood ({error})", remedy=_REMEDY) from None
    if coefficients.size not in (0, 4, 5, 8):
        raise RecordingError(path, f"there are {coefficients.size} distortion coefficients", expected="4, 5 or 8")
    return sound_camera(matrix, coefficients, px, path)
