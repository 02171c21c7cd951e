"""Where the screen is in the camera's picture, once the lens is undone: a homography of the markers' corners.

All corners of all markers take part. A corner that does not fit (a marker half covered, a number read wrongly, a
reflection) takes its marker out, and a screen that no camera could see so, too narrow or turned inside out, is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.markers.camera import Camera
from gazepipe.markers.layout import FEWEST, MarkerScreen, signed_area

__all__ = ["ScreenPlane", "apply", "fit_plane", "plane_from_corners", "screen_corners"]

F64 = npt.NDArray[np.float64]
_OUTLIER_PX = 2.0  # of the camera; a corner is exact to a tenth of a pixel, in a blurred picture to a whole one
_MOST_PAIRS = 100
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
    layout = screen.layout
    numbers = [k for k in corners if k in layout]
    if len(numbers) < FEWEST:
        return None
    seen = camera.undistort(np.concatenate([corners[k] for k in numbers])).reshape(-1, 4, 2)
    numbers = [k for k, quad in zip(numbers, seen, strict=True) if np.isfinite(quad).all()]
    seen = seen[np.isfinite(seen).all((1, 2))]
    if len(numbers) < FEWEST:
        return None
    # Numbers around 1, as sums of squares of pixels would lose digits.
    size = float(max(screen.px))
    there = np.array([layout[k] for k in numbers]) / size
    kept = _agreeing(there, seen)
    if np.count_nonzero(kept) < FEWEST:
        return None
    numbers, there, seen = [k for k, ok in zip(numbers, kept, strict=True) if ok], there[kept], seen[kept]
    matrix = _least_squares(there, seen)
    off = _distances(matrix, there, seen)
    there = there * size
    if _in_one_line(there):
        return None
    final = _facing(matrix @ np.diag([1 / size, 1 / size, 1]))
    if not _possible(final, screen, camera):
        return None
    low, high = there.min((0, 1)), there.max((0, 1))
    residual = float(np.sqrt(np.mean(off**2)))
    return ScreenPlane(final, tuple(numbers), residual, (float(low[0]), float(low[1]), float(high[0]), float(high[1])))


def _agreeing(there: F64, seen: F64) -> npt.NDArray[np.bool_]:
    """Which markers, shape ``(n,)``, lie on one plane; most often all.

    If not all do, the planes of any two of them are tried: the one that most others agree with counts, and of those
    with as many the one that fits best. All corners of a marker have to fit, for a marker is right or wrong as a whole.
    """
    n = len(there)
    everything = np.ones(n, bool)
    if _distances(_least_squares(there, seen), there, seen).max() < _OUTLIER_PX:
        return everything
    best, fit = np.zeros(n, bool), np.inf
    for pair in islice(combinations(range(n), 2), _MOST_PAIRS):
        kept = np.isin(np.arange(n), pair)
        for _ in range(3):  # two markers alone are inexact at a distance: those that agree are taken in
            off = _distances(_least_squares(there[kept], seen[kept]), there, seen).max(1)
            kept, before = off < _OUTLIER_PX, kept
            if np.count_nonzero(kept) < 2 or np.array_equal(kept, before):
                break
        count, rest = np.count_nonzero(kept), float(off[kept].sum())
        if count > np.count_nonzero(best) or (count == np.count_nonzero(best) and rest < fit):
            best, fit = kept, rest
    if not best.any() or _distances(_least_squares(there[best], seen[best]), there, seen)[best].max() >= _OUTLIER_PX:
        return np.zeros(n, bool)
    return best


def _least_squares(there: F64, seen: F64) -> F64:
    import cv2

    found: Any = cv2.findHomography(there.reshape(-1, 2), seen.reshape(-1, 2), 0)[0]
    return np.eye(3) if found is None else _facing(found)


def _distances(matrix: F64, there: F64, seen: F64) -> F64:
    """Of each corner from its place by the plane, ``(n, 4)``; infinite behind the camera."""
    off = np.linalg.norm(apply(matrix, there).reshape(-1, 4, 2) - seen, axis=2)
    return np.asarray(np.nan_to_num(off, nan=np.inf))


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
