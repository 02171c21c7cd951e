"""Finding the markers of a layout in a picture of the scene camera.

OpenCV finds them first; what it has of the corners is made exact from the edges (`gazepipe.markers._edges`). Where it
finds fewer than three, the second detector (`gazepipe.markers.fallback`) looks, too, if it is installed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.markers._edges import refine
from gazepipe.markers.fallback import TagProcess
from gazepipe.markers.layout import FEWEST, signed_area

__all__ = ["Found", "MarkerDetector"]

F64 = npt.NDArray[np.float64]
_SMALLEST_PX = 12.0
_MOST_OBLIQUE = 6.0


@dataclass(frozen=True)
class Found:
    """The markers in one picture.

    Parameters
    ----------
    corners
        Number → corners ``(4, 2)`` in the camera's pixels, clockwise from the marker's top left.
    fallback
        Whether the second detector had to look.
    """

    corners: Mapping[int, F64] = field(default_factory=dict)
    fallback: bool = False


class MarkerDetector:
    """Finds markers in one picture after another; close it, or use it in a ``with``, to end the second detector.

    Parameters
    ----------
    numbers
        Those that count, of a layout; all others are passed over.
    fallback
        Whether the second detector may be used where fewer than three are found: True if it is installed, or one to
        use.
    """

    def __init__(self, numbers: Collection[int], *, fallback: bool | TagProcess = True) -> None:
        self.numbers = frozenset(numbers)
        self.fallback = fallback if isinstance(fallback, TagProcess) else TagProcess() if fallback else None
        self._aruco: Any = None

    def detect(self, picture: npt.NDArray[np.uint8]) -> Found:
        """Markers in a picture, grey ``(h, w)`` or BGR ``(h, w, 3)`` as OpenCV reads it."""
        import cv2

        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        found = self._first(grey)
        if len(found) >= min(FEWEST, len(self.numbers)) or self.fallback is None or not self.fallback.usable:
            return Found(found)
        more = {k: v for k, v in self.fallback.detect(grey).items() if k in self.numbers and k not in found}
        return Found(found | _exact(grey, more), True)

    def _first(self, grey: npt.NDArray[np.uint8]) -> dict[int, F64]:
        import cv2

        if self._aruco is None:
            dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
            self._aruco = cv2.aruco.ArucoDetector(dictionary, cv2.aruco.DetectorParameters())
        corners, numbers, _ = self._aruco.detectMarkers(grey)
        found: dict[int, F64] = {}
        twice: set[int] = set()
        for number, quad in zip([] if numbers is None else numbers.ravel().tolist(), corners, strict=True):
            if number in self.numbers:
                twice |= {number} & found.keys()
                found[number] = quad[0].astype(np.float64)
        # A marker that is seen twice is a reflection, or the experimenter's second screen: neither can be trusted.
        return _exact(grey, {k: v for k, v in found.items() if k not in twice})

    def close(self) -> None:
        """End the second detector's process."""
        if self.fallback is not None:
            self.fallback.close()

    def __enter__(self) -> MarkerDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _exact(grey: npt.NDArray[np.uint8], found: dict[int, F64]) -> dict[int, F64]:
    if not found:
        return {}
    refined = refine(grey, np.array(list(found.values())))
    return {k: quad for k, quad in zip(found, refined, strict=True) if _plausible(quad)}


def _plausible(quad: F64) -> bool:
    """Whether it can be the picture of a square: clockwise, convex, not tiny, not too narrow."""
    sides = np.roll(quad, -1, 0) - quad
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    lengths = np.hypot(*sides.T)
    big = signed_area(quad) > _SMALLEST_PX**2
    return bool(big and (turns > 0).all() and lengths.max() < _MOST_OBLIQUE * lengths.min())
