"""Where the screen is in the camera's picture, once the lens is undone: a homography of the markers' corners.

All corners of all markers take part. A corner that does not fit (a marker half covered, a number read wrongly, a
reflection) takes its marker out, and a screen that no camera could see so, too narrow or turned inside out, is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.markers.camera import Camera
from gazepipe.markers.layout import FEWEST, MarkerScreen, signed_area

__all__ = ["ScreenPlane", "apply", "fit_plane", "plane_from_corners", "screen_corners"]

F64 = npt.NDArray[np.float64]
_OUTLIER_PX = 3.0  # of the camera; a corner is exact to a tenth of a pixel, in a blurred picture to a whole one
_ASPECT, _SKEW = 1.25, 0.2


@dataclass(frozen=True)
class ScreenPlane:
    """The screen in one picture.

    Parameters
    ----------
    matrix
        Screen pixels → pixels of the camera without distortion, ``(3, 3)``.
    numbers
        The markers that it was computed from.
    residual_px
        Root mean square of what is left at their corners, in pixels of the camera.
    span
        Left, top, right and bottom of what these markers span, in screen pixels.
    """

    matrix: F64
    numbers: tuple[int, ...]
    residual_px: float
    span: tuple[float, float, float, float]

    def to_camera(self, points: npt.ArrayLike) -> F64:
        """Screen pixels → undistorted pixels of the camera, ``(n, 2)``; NaN behind the camera."""
        return apply(self.matrix, points)

    def to_screen(self, points: npt.ArrayLike) -> F64:
        """Undistorted pixels of the camera → screen pixels, ``(n, 2)``; NaN for what does not meet the plane."""
        return apply(np.asarray(np.linalg.inv(self.matrix)), points)


def apply(matrix: F64, points: npt.ArrayLike) -> F64:
    """Points ``(n, 2)`` through a homography; NaN where they would lie beyond its horizon."""
    p = np.asarray(points, np.float64).reshape(-1, 2)
    mapped = p @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        out = np.where(mapped[:, 2:] > 0, mapped[:, :2] / mapped[:, 2:], np.nan)
    return np.asarray(out)


def screen_corners(screen: MarkerScreen) -> F64:
    """Corners of the screen ``(4, 2)``, clockwise from the top left."""
    width, height = screen.px
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def plane_from_corners(screen: MarkerScreen, corners: npt.ArrayLike) -> F64:
    """Homography of which `corners` ``(4, 2)`` are the screen's corners in the camera."""
    import cv2

    to = np.asarray(corners, np.float32)
    matrix: F64 = cv2.getPerspectiveTransform(screen_corners(screen).astype(np.float32), to).astype(np.float64)
    return matrix


def fit_plane(corners: Mapping[int, F64], screen: MarkerScreen, camera: Camera) -> ScreenPlane | None:
    """Find the screen from the markers in a picture; None if too few of them agree.

    Parameters
    ----------
    corners
        Number → corners in the camera's pixels, as `MarkerDetector` finds them.
    screen, camera
        Where the markers stand, and what the lens does.
    """
    import cv2

    layout = screen.layout
    numbers = [k for k in corners if k in layout]
    if len(numbers) < FEWEST:
        return None
    seen = camera.undistort(np.concatenate([corners[k] for k in numbers])).reshape(-1, 4, 2)
    numbers = [k for k, quad in zip(numbers, seen, strict=True) if np.isfinite(quad).all()]
    seen = seen[np.isfinite(seen).all((1, 2))]
    if len(numbers) < FEWEST:
        return None
    there = np.array([layout[k] for k in numbers])
    # Numbers around 1, as sums of squares of pixels would lose digits.
    size = float(max(screen.px))
    matrix: Any = cv2.findHomography(there.reshape(-1, 2) / size, seen.reshape(-1, 2), cv2.RANSAC, _OUTLIER_PX)[0]
    for _ in range(3):
        if matrix is None:
            return None
        off = np.linalg.norm(apply(_facing(matrix), there.reshape(-1, 2) / size).reshape(-1, 4, 2) - seen, axis=2)
        sound = np.nan_to_num(off, nan=np.inf).max(1) < _OUTLIER_PX
        if np.count_nonzero(sound) < FEWEST:
            return None
        if sound.all():
            break
        numbers = [k for k, ok in zip(numbers, sound, strict=True) if ok]
        there, seen = there[sound], seen[sound]
        matrix = cv2.findHomography(there.reshape(-1, 2) / size, seen.reshape(-1, 2), 0)[0]
    else:
        return None
    if _in_one_line(there):
        return None
    final = _facing(matrix @ np.diag([1 / size, 1 / size, 1]))
    if not _possible(final, screen, camera):
        return None
    low, high = there.min((0, 1)), there.max((0, 1))
    residual = float(np.sqrt(np.mean(off**2)))
    return ScreenPlane(final, tuple(numbers), residual, (float(low[0]), float(low[1]), float(high[0]), float(high[1])))


def _facing(matrix: F64) -> F64:
    """Return the same homography with points in front of the camera having a positive third coordinate."""
    found: F64 = np.asarray(matrix, np.float64)
    found = found / np.linalg.norm(found[2])
    return found if np.linalg.det(found) > 0 else -found


def _in_one_line(there: F64) -> bool:
    """Markers in one row say little about how the screen is turned across it."""
    middle = there.mean(1)
    wide = np.linalg.svd(middle - middle.mean(0), compute_uv=False)
    side = np.sqrt(abs(signed_area(there[0])))
    return bool(wide[1] < side / 2)


def _possible(matrix: F64, screen: MarkerScreen, camera: Camera) -> bool:
    """Whether a flat screen of these millimetres can look so: before the camera, from the front, not stretched."""
    corners = apply(matrix, screen_corners(screen))
    if not np.isfinite(corners).all() or signed_area(corners) <= 0:
        return False
    if not camera.calibrated:
        return True
    to_px = np.diag([screen.px[0] / screen.mm[0], screen.px[1] / screen.mm[1], 1])
    axes = (np.linalg.inv(camera.matrix) @ matrix @ to_px)[:, :2]
    lengths = np.linalg.norm(axes, axis=0)
    cosine = abs(float(axes[:, 0] @ axes[:, 1])) / float(lengths.prod())
    return bool(lengths.max() < _ASPECT * lengths.min() and cosine < _SKEW)
