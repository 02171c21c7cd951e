"""The screen, and what a pixel on it means in degrees of visual angle.

The eye is taken to be `distance_mm` in front of the screen's centre. Pixels need not be square. All angles between
gaze points are exact three-dimensional angles at the eye; nothing here uses a single pixels-per-degree factor
except `pixels_per_degree`, which is the value at the screen's centre and only sets the width of Gaussian maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError

__all__ = ["Placement", "Screen"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Screen:
    """A flat screen seen from a fixed distance.

    Raises
    ------
    ConfigError
        If a length is not positive.
    """

    width_px: int
    height_px: int
    width_mm: float
    height_mm: float
    distance_mm: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                msg = f"[screen] {name} is {value}; expected a positive number."
                raise ConfigError(msg)

    @property
    def mm_per_px(self) -> tuple[float, float]:
        """Width and height of one pixel."""
        return self.width_mm / self.width_px, self.height_mm / self.height_px

    @property
    def centre_px(self) -> tuple[float, float]:
        """The point opposite the eye; pixel coordinates count from the screen's top-left corner."""
        return self.width_px / 2, self.height_px / 2

    @property
    def pixels_per_degree(self) -> tuple[float, float]:
        """Pixels in one degree at the screen's centre, along x and along y."""
        mm = 2 * self.distance_mm * math.tan(math.radians(0.5))
        return mm / self.mm_per_px[0], mm / self.mm_per_px[1]

    def direction(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> F64:
        """Gaze vectors in mm from the eye, shape ``(…, 3)``."""
        x, y = np.asarray(x_px, np.float64), np.asarray(y_px, np.float64)
        (sx, sy), (cx, cy) = self.mm_per_px, self.centre_px
        return np.stack([(x - cx) * sx, (y - cy) * sy, np.full(np.shape(x), self.distance_mm)], axis=-1)

    def angle_deg(self, x0_px: npt.ArrayLike, y0_px: npt.ArrayLike, x1_px: npt.ArrayLike, y1_px: npt.ArrayLike) -> F64:
        """Visual angle between two gaze points, in degrees, ``atan2(|a × b|, a · b)`` (exact, also when tiny)."""
        a, b = self.direction(x0_px, y0_px), self.direction(x1_px, y1_px)
        cross = np.linalg.norm(np.cross(a, b), axis=-1)
        angle: F64 = np.degrees(np.arctan2(cross, np.sum(a * b, axis=-1)))
        return angle


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image stands on the screen: ``image px = (screen px − origin) / scale``, apart for x and y."""

    width_px: int
    height_px: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    origin_x_px: float = 0.0
    origin_y_px: float = 0.0

    @classmethod
    def on_screen(cls, image_px: tuple[int, int], screen_px: tuple[int, int], how: str) -> Placement:
        """Place an image of `image_px` (width, height) on a screen of `screen_px`.

        `how` is ``"fit"`` (as large as fits, aspect kept, centred), ``"centre"`` (one image pixel a screen pixel,
        centred) or ``"stretch"`` (fills the screen).
        """
        (w, h), (sw, sh) = image_px, screen_px
        if how == "stretch":
            return cls(w, h, sw / w, sh / h)
        scale = min(sw / w, sh / h) if how == "fit" else 1.0
        return cls(w, h, scale, scale, (sw - w * scale) / 2, (sh - h * scale) / 2)

    def to_image(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> tuple[F64, F64]:
        """Screen pixels to image pixels."""
        x, y = np.asarray(x_px, np.float64), np.asarray(y_px, np.float64)
        return (x - self.origin_x_px) / self.scale_x, (y - self.origin_y_px) / self.scale_y

    def to_screen(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> tuple[F64, F64]:
        """Image pixels to screen pixels."""
        x, y = np.asarray(x_px, np.float64), np.asarray(y_px, np.float64)
        return x * self.scale_x + self.origin_x_px, y * self.scale_y + self.origin_y_px
