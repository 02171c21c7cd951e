"""Drawn scenes with labelled objects: where each object stands, and what the picture looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BACKGROUND", "CLASSES", "IMAGE_PX", "Scene", "SceneObject", "draw_scene", "object_at"]

#: Classes of objects. They differ in shape and in colour, so that a small network can tell them apart.
CLASSES = ("face", "text", "plant", "vehicle")
#: Class of a fixation that is on no object.
BACKGROUND = "background"
#: Width and height of every scene.
IMAGE_PX = (320, 240)

#: Height divided by width of each class's box.
_ASPECT = {"face": 1.3, "text": 0.8, "plant": 1.25, "vehicle": 0.55}
_MARGIN_PX = 5


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: its class and its box in image pixels (left, top, width, height)."""

    kind: str
    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box in image pixels."""
        return self.x + self.width / 2, self.y + self.height / 2

    def overlaps(self, other: SceneObject, margin: float) -> bool:
        """Tell whether two boxes are closer than `margin` pixels."""
        apart_x = self.x > other.x + other.width + margin or other.x > self.x + self.width + margin
        apart_y = self.y > other.y + other.height + margin or other.y > self.y + self.height + margin
        return not (apart_x or apart_y)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, ``(height, width, 3)`` uint8 in OpenCV's blue-green-red order, and what is on it."""

    name: str
    image: npt.NDArray[Any]
    objects: tuple[SceneObject, ...]


def draw_scene(name: str, rng: np.random.Generator) -> Scene:
    """Place five to eight objects on a background and draw them."""
    # OpenCV takes long to import and nothing but the drawing needs it.
    from gazepipe.simulate.drawing import draw_background, draw_object

    objects = _place_objects(rng)
    background = draw_background(IMAGE_PX, rng)
    image = background.copy()
    for item in objects:
        draw_object(image, item, rng)
    # On the objects, 16 levels a channel look much the same and make the file a third smaller.
    image = np.where(image == background, image, (image & 0xF0) + 8)
    return Scene(name, image, objects)


def object_at(objects: Sequence[SceneObject], x: float, y: float) -> str:
    """Return the class of the object whose box holds a point (image pixels), or ``"background"``."""
    for item in objects:
        if item.x <= x <= item.x + item.width and item.y <= y <= item.y + item.height:
            return item.kind
    return BACKGROUND


def _place_objects(rng: np.random.Generator) -> tuple[SceneObject, ...]:
    """Put boxes down at random, none over another; one in ten scenes lacks a class."""
    wanted = list(CLASSES)
    if rng.random() < 0.1:
        wanted.pop(int(rng.integers(len(wanted))))
    total = int(rng.integers(5, 9))
    wanted += [CLASSES[i] for i in rng.integers(len(CLASSES), size=total - len(wanted))]
    while True:
        placed: list[SceneObject] = []
        for kind in wanted:
            item = _free_place(kind, placed, rng)
            if item is None:
                break
            placed.append(item)
        else:
            return tuple(placed)


def _free_place(kind: str, placed: Sequence[SceneObject], rng: np.random.Generator) -> SceneObject | None:
    """Try a number of places for one object; None if the scene is too full for it."""
    aspect = _ASPECT[kind]
    width_px, height_px = IMAGE_PX
    for _ in range(60):
        side = rng.uniform(38, 66)
        width, height = round(side / aspect**0.5), round(side * aspect**0.5)
        x = float(rng.integers(_MARGIN_PX, width_px - width - _MARGIN_PX))
        y = float(rng.integers(_MARGIN_PX, height_px - height - _MARGIN_PX))
        item = SceneObject(kind, x, y, float(width), float(height))
        if not any(item.overlaps(other, _MARGIN_PX) for other in placed):
            return item
    return None
