"""Which markers stand where on the screen.

A marker is an AprilTag of the family tag36h11: 8 × 8 modules, the outermost black, with numbers from 0 to 586. Its
corners go clockwise from the top left one of the upright marker, in screen pixels: x to the right, y down, from the
top-left corner of the screen's first pixel (whose middle is at 0.5, 0.5). A marker drawn into the pixels 24 … 143 so
has its corners at 24 and 144.

Markers may also be stuck beside the screen; their places are then below 0 or beyond its size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError
from gazepipe.words import counted

__all__ = ["FAMILY", "FEWEST", "LARGEST_ID", "MODULES", "MarkerScreen", "load_layout", "signed_area"]

F64 = npt.NDArray[np.float64]

FAMILY = "tag36h11"
LARGEST_ID = 586
#: Modules along a marker's side, and how many of white must surround it.
MODULES, QUIET = 8, 1
#: Markers without which a place on the screen is not computed; two give it, but a bad corner then goes unseen.
FEWEST = 3
_KIND = "gazepipe.markers"


def signed_area(corners: npt.ArrayLike) -> float:
    """Area of a quadrangle, positive if its corners go clockwise as seen (y down)."""
    x, y = np.asarray(corners, np.float64).T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


@dataclass(frozen=True)
class MarkerScreen:
    """A screen with markers.

    Parameters
    ----------
    px
        Width and height in pixels.
    mm
        Width and height of the visible picture in mm.
    tags
        How many markers are spread along the border: 4, 6, 8 …; or where markers stand, a mapping of number to
        corners ``(4, 2)``.
    tag_px
        Side of a marker's black square in pixels, a multiple of 8; only where `tags` is a number.

    Raises
    ------
    ConfigError
        If markers overlap, do not fit, are too few, or are no upright squares seen from the front.
    """

    px: tuple[int, int]
    mm: tuple[float, float]
    tags: int | Mapping[int, Any] = 8
    tag_px: int = 120

    def __post_init__(self) -> None:
        for name, unit in (("px", "pixels"), ("mm", "mm")):
            sizes = tuple(getattr(self, name))
            if len(sizes) != 2 or not all(math.isfinite(v) and v > 0 for v in sizes):
                msg = f"the screen is {sizes} {unit}; expected its width and height."
                raise ConfigError(msg)
        layout = self._spread(self.tags) if isinstance(self.tags, int) else _checked(self.tags)
        object.__setattr__(self, "_layout", layout)

    @property
    def layout(self) -> dict[int, F64]:
        """Number of each marker → its corners ``(4, 2)`` in screen pixels, clockwise from the top left."""
        return {k: v.copy() for k, v in self._layout.items()}  # type: ignore[attr-defined]

    @property
    def free_px(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the largest part of the screen without markers and their quiet zones.

        For images: ``placement = "rect LEFT TOP WIDTH HEIGHT"``, or a smaller part inside.
        """
        width, height = map(float, self.px)
        taken = [(*_reach(c, -1), *_reach(c, 1)) for c in self.layout.values()]
        best = (0.0, 0.0, 0.0, 0.0)
        for left in {0.0, *(float(t[2]) for t in taken if 0 < t[2] < width)}:
            for right in {width, *(float(t[0]) for t in taken if left < t[0] < width)}:
                # Gaps from top to bottom between all that reaches into these columns.
                spans = sorted((float(t[1]), float(t[3])) for t in taken if t[0] < right and t[2] > left)
                top = 0.0
                for low, high in [*spans, (height, height)]:
                    found = (left, top, right - left, min(low, height) - top)
                    if found[3] > 0:
                        best = max(best, found, key=lambda f: (f[2] * f[3], f))
                    top = max(top, high)
        return best

    def _spread(self, count: int) -> dict[int, F64]:
        """Markers along the border, number 0 at the top left, then row by row."""
        size = self.tag_px
        if count < 4 or count % 2 or size < MODULES or size % MODULES:
            msg = f"{counted(count, 'marker')} of {size} px; expected 4, 6, 8 … markers of a multiple of {MODULES} px."
            raise ConfigError(msg)
        width, height = self.px
        quiet = size // MODULES * QUIET
        span = width - size - 2 * quiet, height - size - 2 * quiet
        most = 2 * (_fit(span[0], size + quiet) + _fit(span[1], size + quiet)) - 4
        if min(span) < size + quiet or count > most:
            msg = (
                f"{count} markers of {size} px do not fit on a screen of {width} × {height} px; "
                f"expected smaller ones or at most {max(most, 0)}."
            )
            raise ConfigError(msg)
        # As many along each side as gives the most even distances.
        sides = range(
            max(0, count // 2 - _fit(span[0], size + quiet)), min(count // 2 - 2, _inner(span[1], size, quiet)) + 1
        )
        side = min(sides, key=lambda n: (max(span[0] / (count // 2 - n - 1), span[1] / (n + 1)), n))
        across = count // 2 - side
        corners = [(round(span[0] * k / (across - 1)), y) for y in (0, span[1]) for k in range(across)]
        corners += [(x, round(span[1] * k / (side + 1))) for k in range(1, side + 1) for x in (0, span[0])]
        corners.sort(key=lambda c: (c[1], c[0]))
        square = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64)
        return {k: square + quiet + np.array(c, np.float64) for k, c in enumerate(corners)}

    def to_json(self) -> str:
        """Text of a layout file; `load_layout` reads it."""
        content: dict[str, Any] = {
            "kind": _KIND,
            "version": 1,
            "family": FAMILY,
            "screen_px": list(self.px),
            "screen_mm": list(self.mm),
            "tags": {str(k): v.tolist() for k, v in self.layout.items()},
        }
        return json.dumps(content, indent=1) + "\n"


def _fit(span: float, step: float) -> int:
    """How many markers stand along a side whose first and last are `span` apart."""
    return math.floor(span / step) + 1


def _inner(span: float, size: int, quiet: int) -> int:
    return max(_fit(span, size + quiet) - 2, 0)


def _reach(corners: F64, sign: int) -> F64:
    """The corner of a marker's box, quiet zone included, to the top left (-1) or the bottom right (1)."""
    quiet = math.sqrt(abs(signed_area(corners))) / MODULES * QUIET
    found: F64 = corners.min(0) - quiet if sign < 0 else corners.max(0) + quiet
    return found


def _checked(tags: Mapping[int, Any]) -> dict[int, F64]:
    layout: dict[int, F64] = {}
    for key, value in tags.items():
        try:
            number, corners = int(key), np.array(value, np.float64)
        except (TypeError, ValueError):
            number, corners = -1, np.zeros(0)
        if not 0 <= number <= LARGEST_ID or corners.shape != (4, 2) or not np.isfinite(corners).all():
            msg = (
                f"marker {key!r} has the corners {str(value)[:80]}; expected a number from 0 to {LARGEST_ID} and four "
                "points x, y."
            )
            raise ConfigError(msg)
        if not _is_square(corners):
            msg = (
                f"marker {number}: its corners {corners.tolist()} are no square; expected them clockwise from the top "
                "left one, in screen pixels."
            )
            raise ConfigError(msg)
        if number in layout:
            msg = f"marker {number} stands there twice; each number may be used once."
            raise ConfigError(msg)
        layout[number] = corners
    if len(layout) < FEWEST:
        msg = f"it has {counted(len(layout), 'marker')}; expected {FEWEST} or more, better 8."
        raise ConfigError(msg)
    numbers = list(layout)
    for k, one in enumerate(numbers):
        for other in numbers[k + 1 :]:
            apart = np.maximum(layout[one].min(0) - layout[other].max(0), layout[other].min(0) - layout[one].max(0))
            if apart.max() < 0:
                msg = f"markers {one} and {other} overlap; move one of them."
                raise ConfigError(msg)
    return dict(sorted(layout.items()))


def _is_square(corners: F64) -> bool:
    """Sides equal and right-angled to 5 %: a layout measured by hand is not exact, pixels may be not quite square."""
    area = signed_area(corners)
    sides = np.roll(corners, -1, 0) - corners
    lengths = np.hypot(*sides.T)
    if not area > 0 or lengths.min() <= 0 or lengths.max() > 1.25 * lengths.min():
        return False
    cosines = np.abs(np.sum(sides * np.roll(sides, -1, 0), 1)) / (lengths * np.roll(lengths, -1))
    return bool(cosines.max() < 0.05)


def load_layout(path: Path) -> MarkerScreen:
    """Read a layout file.

    Raises
    ------
    ConfigError
        If it is missing or says something that is not understood.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except FileNotFoundError:
        msg = f"{path}: no such file; write one with `gazepipe markers`."
        raise ConfigError(msg) from None
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path}: cannot be read ({error}); write one with `gazepipe markers`."
        raise ConfigError(msg) from None
    wanted = {"kind": _KIND, "version": 1, "family": FAMILY}
    for key, value in wanted.items():
        found = content.get(key) if isinstance(content, dict) else None
        if found != value:
            msg = f"{path}: {key} is {found!r}; expected {value!r}: a layout that `gazepipe markers` wrote."
            raise ConfigError(msg)
    try:
        px, mm = tuple(map(int, content["screen_px"])), tuple(map(float, content["screen_mm"]))
        tags = dict(content["tags"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: screen_px, screen_mm or tags are not understood ({error}); write it with `gazepipe markers`."
        raise ConfigError(msg) from None
    try:
        return MarkerScreen((px[0], px[-1]) if len(px) == 2 else px, mm, tags)  # type: ignore[arg-type]
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [k for k, _ in pairs]
        twice = next(k for k in names if names.count(k) > 1)
        msg = f"{twice!r} stands there twice"
        raise ValueError(msg)
    return found
