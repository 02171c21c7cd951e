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

__all__ = ["Placement", "Screen", "parse_placement"]

F64 = npt.NDArray[np.float64]

#: Words of a placement → how many numbers may follow them.
_PLACEMENTS = {"fit": (0,), "stretch": (0,), "centre": (0, 2, 4), "topleft": (2,), "rect": (4,)}


def parse_placement(text: str) -> tuple[str, tuple[float, ...]]:
    """Divide a placement such as ``"rect 359 131 562 762"`` into its word and its numbers.

    Raises
    ------
    ValueError
        If it is none; the message says what is expected.
    """
    word, *rest = text.replace(",", " ").split() or [""]
    word = {"center": "centre"}.get(word.lower(), word.lower())
    try:
        numbers = tuple(float(n) for n in rest)
    except ValueError:
        numbers = (math.nan,)
    sizes = numbers[2:]
    if (
        len(numbers) not in _PLACEMENTS.get(word, ())
        or not all(map(math.isfinite, numbers))
        or min(sizes, default=1) <= 0
    ):
        msg = (
            f"{text!r} says nothing about where an image stands; expected fit, centre, stretch, 'centre X Y', "
            "'centre X Y WIDTH HEIGHT', 'topleft X Y' or 'rect LEFT TOP WIDTH HEIGHT', in screen pixels"
        )
        raise ValueError(msg)
    return word, numbers


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
        centred), ``"stretch"`` (fills the screen), ``"rect LEFT TOP WIDTH HEIGHT"`` (fills that part of it),
        ``"topleft X Y"`` (one to one, its corner there), ``"centre X Y"`` (one to one, its middle there) or
        ``"centre X Y WIDTH HEIGHT"``; all numbers are screen pixels.

        Raises
        ------
        ValueError
            If `how` is none of these.
        """
        (w, h), (sw, sh) = image_px, screen_px
        word, numbers = parse_placement(how)
        if word == "stretch":
            return cls(w, h, sw / w, sh / h)
        if word == "rect":
            left, top, width, height = numbers
            return cls(w, h, width / w, height / h, left, top)
        if word == "topleft":
            return cls(w, h, 1.0, 1.0, *numbers)
        if numbers:
            x, y, width, height = (*numbers, w, h)[:4] if len(numbers) == 2 else numbers
            return cls(w, h, width / w, height / h, x - width / 2, y - height / 2)
        scale = min(sw / w, sh / h) if word == "fit" else 1.0
        return cls(w, h, scale, scale, (sw - w * scale) / 2, (sh - h * scale) / 2)

    def to_image(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> tuple[F64, F64]:
        """Screen pixels to image pixels."""
        x, y = np.asarray(x_px, np.float64), np.asarray(y_px, np.float64)
        return (x - self.origin_x_px) / self.scale_x, (y - self.origin_y_px) / self.scale_y

    def to_screen(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> tuple[F64, F64]:
        """Image pixels to screen pixels."""
        x, y = np.asarray(x_px, np.float64), np.asarray(y_px, np.float64)
        return x * self.scale_x + self.origin_x_px, y * self.scale_y + self.origin_y_px
