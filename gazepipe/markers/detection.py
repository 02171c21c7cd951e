"""Finding the markers of a layout in a picture of the scene camera.

OpenCV finds them first, in a quick pass; if markers are missing that the picture before had, in a thorough one, too,
which reads blurred ones. What it has of the corners is made exact from their edges (`_edges`). Where both
find fewer than three, the second detector (`gazepipe.markers.fallback`) looks, if it is installed.
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
#: Window of the adaptive threshold: one is enough for clear pictures, and costs a third of OpenCV's three.
_QUICK = {"adaptiveThreshWinSizeMin": 23, "adaptiveThreshWinSizeMax": 23}
#: Blur makes bits wrong, most of all on the border: up to five of 36 can be put right, and the numbers that count are
#: few, so that a wrong one is rare; it would be an outlier of the plane.
_THOROUGH = {
    "adaptiveThreshWinSizeMin": 13,
    "adaptiveThreshWinSizeMax": 33,
    "adaptiveThreshWinSizeStep": 20,
    "maxErroneousBitsInBorderRate": 0.5,
    "perspectiveRemovePixelPerCell": 8,
    "perspectiveRemoveIgnoredMarginPerCell": 0.25,
    "errorCorrectionRate": 1.0,
}


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
        self._quick: Any = None
        self._thorough: Any = None
        self._before = len(self.numbers)

    def detect(self, picture: npt.NDArray[np.uint8]) -> Found:
        """Markers in a picture, grey ``(h, w)`` or BGR ``(h, w, 3)`` as OpenCV reads it."""
        import cv2

        grey: npt.NDArray[Any] = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        if self._quick is None:
            self._quick, self._thorough = _aruco(_QUICK), _aruco(_THOROUGH)
        found = self._look(self._quick, grey)
        if len(found) < self._before or len(found) < self._enough:
            found = self._look(self._thorough, grey) | found
        self._before = len(found)
        if len(found) >= self._enough or self.fallback is None or not self.fallback.usable:
            return Found(found)
        more = {k: v for k, v in self.fallback.detect(grey).items() if k in self.numbers and k not in found}
        return Found(found | _exact(grey, more), True)

    @property
    def _enough(self) -> int:
        return min(FEWEST, len(self.numbers))

    def _look(self, aruco: Any, grey: npt.NDArray[np.uint8]) -> dict[int, F64]:
        corners, numbers, _ = aruco.detectMarkers(grey)
        found: dict[int, F64] = {}
        twice: set[int] = set()
        for number, quad in zip([] if numbers is None else numbers.ravel().tolist(), corners, strict=True):
            if number in self.numbers:
                twice |= {number} & found.keys()
                found[number] = quad.reshape(4, 2).astype(np.float64)
        # A marker that is seen twice is a reflection, or a second screen's: neither can be trusted.
        return _exact(grey, {k: v for k, v in found.items() if k not in twice})

    def prepare(self) -> None:
        """Start the second detector, if there is one, before it is needed."""
        if self.fallback is not None:
            self.fallback.prepare()

    def close(self) -> None:
        """End the second detector's process."""
        if self.fallback is not None:
            self.fallback.close()

    def __enter__(self) -> MarkerDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _aruco(settings: Mapping[str, float]) -> Any:
    import cv2

    parameters = cv2.aruco.DetectorParameters()
    for name, value in settings.items():
        setattr(parameters, name, value)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    return cv2.aruco.ArucoDetector(dictionary, parameters)


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
