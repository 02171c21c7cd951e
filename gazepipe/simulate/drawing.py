"""How backgrounds and objects are drawn. Few, flat colours: a scene stays below ten kilobytes as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gazepipe.simulate.scenes import SceneObject

__all__ = ["draw_background", "draw_object"]

Image = npt.NDArray[Any]
Colour = tuple[int, int, int]

# Sub-pixel drawing: OpenCV takes integer coordinates with this many binary places.
_SHIFT = 4

_SKIN = ((164, 200, 241), (128, 172, 224), (92, 134, 198), (66, 96, 146))
_HAIR = ((30, 36, 48), (36, 62, 104), (70, 130, 190), (150, 156, 160), (28, 50, 120))
_GREEN = ((46, 110, 40), (60, 150, 62), (84, 176, 96), (40, 132, 74), (90, 196, 140))
_BLUE = ((180, 92, 30), (200, 70, 52), (214, 130, 40), (150, 60, 24))


def draw_background(size_px: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return a soft, empty scene of `size_px` (width, height): hills, a room, bokeh or a table."""
    width, height = size_px
    kinds = (_hills, _room, _bokeh, _stripes)
    image = np.zeros((height, width, 3), np.uint8)
    kinds[int(rng.integers(len(kinds)))](image, rng)
    return image


def draw_object(image: Image, item: SceneObject, rng: np.random.Generator) -> None:
    """Draw one object into its box, with colours and details of its own."""
    {"face": _face, "text": _text, "plant": _plant, "vehicle": _vehicle}[item.kind](image, item, rng)


def _muted(rng: np.random.Generator, low: float = 120, high: float = 215) -> npt.NDArray[np.float64]:
    """Return a greyish colour, so that objects stand out by their saturation."""
    grey = rng.uniform(low, high)
    return np.clip(grey + rng.normal(0, 14, 3), 0, 255)


def _colour(values: npt.ArrayLike) -> Colour:
    b, g, r = (int(v) for v in np.clip(np.asarray(values, np.float64), 0, 255))
    return b, g, r


def _pick(palette: Sequence[Colour], rng: np.random.Generator) -> Colour:
    chosen = np.asarray(palette[int(rng.integers(len(palette)))], np.float64)
    return _colour(chosen + rng.normal(0, 6, 3))


def _gradient(image: Image, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64]) -> None:
    """Fill with horizontal bands from one colour to the other; whole rows of one colour cost next to nothing."""
    rows = np.linspace(0, 1, image.shape[0])[:, None]
    image[:] = np.round(top * (1 - rows) + bottom * rows).astype(np.uint8)[:, None, :]


def _hills(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    sky = _muted(rng, 185, 225) + np.array([14.0, 4.0, -10.0])
    _gradient(image, np.clip(sky, 0, 255), np.clip(sky + 24, 0, 255))
    x = np.arange(width)
    level = rng.uniform(0.4, 0.55) * height
    ground = _muted(rng, 140, 190) + np.array([-22.0, 2.0, 6.0])
    for _ in range(3):
        wave = sum(rng.uniform(4, 12) * np.sin(x / rng.uniform(25, 80) + rng.uniform(0, 6)) for _ in range(2))
        ridge = np.stack([x, level + wave], axis=1)
        outline = np.vstack([ridge, [[width, height], [0, height]]])
        _polygon(image, outline, _colour(ground))
        level += rng.uniform(0.13, 0.2) * height
        ground = ground * 0.9


def _room(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    wall = _muted(rng, 170, 225)
    _gradient(image, np.clip(wall - 12, 0, 255), wall)
    floor_y = int(rng.uniform(0.55, 0.75) * height)
    floor = _muted(rng, 110, 160) + np.array([-18.0, 0.0, 14.0])
    image[floor_y:] = _colour(floor)
    image[floor_y : floor_y + 4] = _colour(wall * 0.8)
    vanish = rng.uniform(0.3, 0.7) * width
    for x in np.linspace(-width, 2 * width, 22):
        near, far = (x, float(height)), (vanish + (x - vanish) * 0.45, floor_y + 4.0)
        _line(image, near, far, _colour(floor * 0.9), 1)
    window = rng.uniform(0.1, 0.6) * width
    cv2.rectangle(image, (int(window), 18), (int(window) + 86, 84), _colour(wall * 0.9), -1)
    cv2.rectangle(image, (int(window) + 5, 23), (int(window) + 81, 79), _colour(_muted(rng, 205, 235)), -1)


def _bokeh(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    base = _muted(rng, 95, 165)
    _gradient(image, base, base * 0.8)
    for _ in range(14):
        centre = rng.uniform(0, width), rng.uniform(0, height)
        _disc(image, centre, rng.uniform(12, 40), _colour(base * rng.uniform(0.86, 1.18)))


def _stripes(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    base = _muted(rng, 140, 205) + np.array([-16.0, 0.0, 12.0])
    _gradient(image, base, base * 0.93)
    slope, step = rng.uniform(-0.35, 0.35), rng.uniform(22, 40)
    for k, y in enumerate(np.arange(-width * 0.4, height + width * 0.4, step)):
        if k % 2:
            band = [(0, y), (width, y + slope * width), (width, y + step + slope * width), (0, y + step)]
            _polygon(image, np.asarray(band), _colour(base * 0.96))


def _face(image: Image, item: SceneObject, rng: np.random.Generator) -> None:
    (cx, cy), w, h = item.centre, item.width, item.height
    skin, hair = _pick(_SKIN, rng), _pick(_HAIR, rng)
    _ellipse(image, (cx, cy - 0.04 * h), (0.5 * w, 0.46 * h), hair)
    _ellipse(image, (cx, cy + 0.06 * h), (0.42 * w, 0.43 * h), skin)
    for side in (-1, 1):
        eye = (cx + side * 0.18 * w, cy - 0.02 * h)
        _ellipse(image, eye, (0.105 * w, 0.06 * h), (245, 245, 245))
        _disc(image, (eye[0] + rng.uniform(-0.02, 0.02) * w, eye[1]), 0.05 * w, (40, 30, 25))
        brow = (eye[1] - 0.11 * h, 0.1 * w)
        _line(image, (eye[0] - brow[1], brow[0]), (eye[0] + brow[1], brow[0]), hair, 2)
    shade = _colour(np.asarray(skin) * 0.82)
    _line(image, (cx, cy + 0.04 * h), (cx - 0.04 * w, cy + 0.14 * h), shade, 2)
    _ellipse(image, (cx, cy + 0.27 * h), (0.16 * w, rng.uniform(0.02, 0.06) * h), (70, 62, 176))


def _text(image: Image, item: SceneObject, rng: np.random.Generator) -> None:
    x, y, w, h = item.x, item.y, item.width, item.height
    paper = _colour(np.array([232.0, 244.0, 250.0]) + rng.normal(0, 4, 3))
    corners = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
    _polygon(image, corners, (60, 60, 60))
    _polygon(image, corners + np.array([(1.5, 1.5), (-1.5, 1.5), (-1.5, -1.5), (1.5, -1.5)]), paper)
    rows = int(rng.integers(4, 7))
    pitch = (h - 8) / rows
    for row in range(rows):
        left, top = x + 6, y + 5 + row * pitch
        thick = pitch * (0.66 if row == 0 else 0.5)
        end = x + w - 6 - (rng.uniform(0, 0.4) * w if row == rows - 1 else 0)
        while left < end - 3:
            right = min(left + rng.uniform(0.09, 0.24) * w, end)
            word = np.array([(left, top), (right, top), (right, top + thick), (left, top + thick)])
            _polygon(image, word, (34, 30, 30))
            left = right + 3


def _plant(image: Image, item: SceneObject, rng: np.random.Generator) -> None:
    (cx, _), w, h = item.centre, item.width, item.height
    pot_top, bottom = item.y + 0.74 * h, item.y + h
    crown = (cx, item.y + 0.4 * h)
    for _ in range(26):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.8) ** 0.7
        leaf = crown[0] + 0.42 * w * reach * np.cos(angle), crown[1] + 0.34 * h * reach * np.sin(angle)
        size = 0.13 * w, 0.055 * w
        _ellipse(image, leaf, size, _pick(_GREEN, rng), np.degrees(angle) + rng.uniform(-25, 25))
    pot = [(cx - 0.24 * w, pot_top), (cx + 0.24 * w, pot_top), (cx + 0.16 * w, bottom), (cx - 0.16 * w, bottom)]
    _polygon(image, np.asarray(pot), (56, 84, 120))


def _vehicle(image: Image, item: SceneObject, rng: np.random.Generator) -> None:
    x, y, w, h = item.x, item.y, item.width, item.height
    paint = _pick(_BLUE, rng)
    flip = -1 if rng.random() < 0.5 else 1

    def at(points: Sequence[tuple[float, float]]) -> npt.NDArray[np.float64]:
        unit = np.asarray(points, np.float64)
        along = unit[:, 0] if flip == 1 else 1 - unit[:, 0]
        return np.stack([x + along * w, y + unit[:, 1] * h], axis=1)

    _polygon(image, at([(0.2, 0.42), (0.34, 0.0), (0.7, 0.0), (0.84, 0.42)]), _colour(np.asarray(paint) * 0.85))
    _polygon(image, at([(0.0, 0.42), (0.9, 0.4), (1.0, 0.55), (1.0, 0.82), (0.0, 0.82)]), paint)
    for pane in (
        [(0.27, 0.38), (0.37, 0.09), (0.5, 0.09), (0.5, 0.38)],
        [(0.54, 0.38), (0.54, 0.09), (0.67, 0.09), (0.76, 0.38)],
    ):
        _polygon(image, at(pane), (236, 226, 206))
    for wheel in at([(0.22, 0.8), (0.78, 0.8)]):
        _disc(image, (wheel[0], wheel[1]), 0.2 * h, (30, 30, 30))
        _disc(image, (wheel[0], wheel[1]), 0.09 * h, (190, 190, 190))
    lamp = at([(0.97, 0.58)])[0]
    _disc(image, (lamp[0], lamp[1]), 0.05 * h + 1, (120, 230, 250))


def _fixed(value: float) -> int:
    return round(value * (1 << _SHIFT))


def _polygon(image: Image, points: npt.NDArray[np.float64], colour: Colour) -> None:
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(image, [fixed], colour, cv2.LINE_AA, _SHIFT)


def _disc(image: Image, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    cv2.circle(image, (_fixed(centre[0]), _fixed(centre[1])), _fixed(radius), colour, -1, cv2.LINE_AA, _SHIFT)


def _ellipse(
    image: Image, centre: tuple[float, float], radii: tuple[float, float], colour: Colour, angle_deg: float = 0.0
) -> None:
    middle, axes = (_fixed(centre[0]), _fixed(centre[1])), (_fixed(radii[0]), _fixed(radii[1]))
    cv2.ellipse(image, middle, axes, angle_deg, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)


def _line(image: Image, a: tuple[float, float], b: tuple[float, float], colour: Colour, thickness: int) -> None:
    start, end = (_fixed(a[0]), _fixed(a[1])), (_fixed(b[0]), _fixed(b[1]))
    cv2.line(image, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)
