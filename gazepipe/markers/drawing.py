"""Markers as pictures: one by one, as a frame that lies over the whole screen, and on sheets to print.

Their bits come from OpenCV's dictionary. A marker is only found with a white border, its quiet zone, of at least one
module around the black square.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError, StorageError
from gazepipe.markers.layout import LARGEST_ID, MODULES, QUIET, MarkerScreen, signed_area

__all__ = ["frame", "marker", "modules", "png", "sheet_svg"]

U8 = npt.NDArray[np.uint8]
_A4_MM = (210.0, 297.0)
_MARGIN_MM = 12.0
_LABEL_MM = 6.0
_SCALE_MM = 100


def modules(number: int) -> U8:
    """The 8 × 8 modules of a marker, 0 black and 1 white."""
    import cv2

    if not 0 <= number <= LARGEST_ID:
        msg = f"there is no marker {number}; expected a number from 0 to {LARGEST_ID}."
        raise ConfigError(msg)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, number, MODULES) // 255, np.uint8)


def marker(number: int, tag_px: int) -> U8:
    """Grey picture of a marker with its quiet zone, ``(n, n)`` with n = `tag_px` × 10 / 8.

    Raises
    ------
    ConfigError
        If there is no such marker, or `tag_px` is no multiple of 8: modules would differ in size.
    """
    if tag_px < MODULES or tag_px % MODULES:
        msg = f"a marker of {tag_px} px; expected a multiple of {MODULES}."
        raise ConfigError(msg)
    step = tag_px // MODULES
    bits = np.pad(modules(number), QUIET, constant_values=1)
    return np.asarray(np.kron(bits * 255, np.ones((step, step))), np.uint8)


def frame(screen: MarkerScreen, *, background: int = 128, skip_beside: bool = False) -> npt.NDArray[np.uint8]:
    """Picture of the whole screen with its markers, ``(height, width, 4)`` RGBA; see-through where no marker is.

    Draw it over the stimulus. `background` is the grey under what can be seen through, for software without
    transparency. `skip_beside` leaves out markers that are not wholly on the screen, which are printed then.

    Raises
    ------
    ConfigError
        If a marker is not on whole pixels inside the screen; those beside it are printed.
    """
    width, height = screen.px
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., :3] = background
    for number, corners in screen.layout.items():
        left, top = corners[0]
        size = corners[2, 0] - left
        square = np.array([[0, 0], [size, 0], [size, size], [0, size]]) + corners[0]
        whole = np.array_equal(square, corners) and np.array_equal(corners, corners.round()) and size % MODULES == 0
        quiet = int(size) // MODULES * QUIET
        x, y, n = int(left) - quiet, int(top) - quiet, int(size) + 2 * quiet
        beside = min(x, y) < 0 or x + n > width or y + n > height
        if beside and skip_beside:
            continue
        if not whole or beside:
            msg = f"marker {number} cannot be drawn at {corners[0].tolist()}; expected whole pixels inside the screen."
            raise ConfigError(msg)
        picture[y : y + n, x : x + n, :3] = marker(number, int(size))[..., None]
        picture[y : y + n, x : x + n, 3] = 255
    return picture


def png(picture: U8) -> bytes:
    """Bytes of a PNG file of a grey, RGB or RGBA picture."""
    import cv2

    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[picture.shape[2] if picture.ndim == 3 else 2]
    done, data = cv2.imencode(".png", picture if order is None else cv2.cvtColor(picture, order))
    if not done:
        msg = "the picture could not be encoded as PNG."
        raise StorageError(msg)
    return bytes(data)


def sheet_svg(screen: MarkerScreen) -> list[str]:
    """Pages (SVG, A4, to be printed at 100 %) with the markers in their size on the screen, to cut out.

    A thin line goes around each quiet zone; under it stand which way is up, the number and the size of the black
    square. A line of 100 mm at the foot tells whether the printer kept the size.
    """
    px_mm = screen.mm[0] / screen.px[0]
    cells = [(k, float(np.sqrt(signed_area(c))) * px_mm) for k, c in screen.layout.items()]
    pages: list[list[str]] = [[]]
    x = y = _MARGIN_MM
    row = 0.0
    for number, size in cells:
        side = size * (1 + 2 * QUIET / MODULES)
        if side > _A4_MM[0] - 2 * _MARGIN_MM:
            msg = f"marker {number} is {size:.0f} mm wide and does not fit on A4; use smaller ones."
            raise ConfigError(msg)
        if x + side > _A4_MM[0] - _MARGIN_MM:
            x, y, row = _MARGIN_MM, y + row + _MARGIN_MM / 2, 0.0
        if y + side + _LABEL_MM > _A4_MM[1] - 2 * _MARGIN_MM:
            pages.append([])
            x, y, row = _MARGIN_MM, _MARGIN_MM, 0.0
        pages[-1].append(_cell(number, size, x, y))
        x, row = x + side + _MARGIN_MM / 2, max(row, side + _LABEL_MM)
    return [_page(page) for page in pages]


def _cell(number: int, size: float, x: float, y: float) -> str:
    step = size / MODULES
    quiet, side = step * QUIET, size + 2 * step * QUIET
    black = "".join(
        f"M{c * step:.4f} {r * step:.4f}h{step:.4f}v{step:.4f}h{-step:.4f}z"
        for r, c in np.argwhere(modules(number) == 0)
    )
    return (
        f'<g transform="translate({x:.4f} {y:.4f})">'
        f'<rect width="{side:.4f}" height="{side:.4f}" fill="white" stroke="#999" stroke-width="0.1"/>'
        f'<path transform="translate({quiet:.4f} {quiet:.4f})" d="{black}" fill="black" shape-rendering="crispEdges"/>'
        f'<text y="{side + 4:.4f}" font-size="3.2" font-family="sans-serif" fill="#555">'
        f"↑ {number} · {size:.1f} mm</text></g>"
    )


def _page(cells: list[str]) -> str:
    width, height = _A4_MM
    y = height - _MARGIN_MM
    scale = (
        f'<path d="M{_MARGIN_MM:g} {y:g}v-3v1.5h{_SCALE_MM}v-1.5v3" fill="none" stroke="#555" stroke-width="0.2"/>'
        f'<text x="{_MARGIN_MM + _SCALE_MM + 2:g}" y="{y:g}" font-size="3.2" font-family="sans-serif" fill="#555">'
        f"{_SCALE_MM} mm if printed at 100 %</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}">\n' + "\n".join([*cells, scale]) + "\n</svg>\n"
    )
