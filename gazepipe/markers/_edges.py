"""Corners of a marker from its edges.

OpenCV finds a marker's corners to about half a pixel; its corner refinement is drawn off by the modules inside. The
border between the black square and its white quiet zone is straight and long: places on it, found to a fraction of a
pixel from the brightness across it, give four lines, and these meet in the corners.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["refine"]

F64 = npt.NDArray[np.float64]

_ALONG = 24  # places along an edge
_SPARED = 0.08  # share of an edge at either end that the neighbouring edges reach into
_MODULES = 8
_REACHES = (0.7, 0.5, 0.5)  # how far across the edge is looked, in modules, time after time
_STEP_PX = 0.25
_CONTRAST = 20.0  # grey levels from black to white without which a place is passed over


def refine(grey: npt.NDArray[np.uint8], corners: F64) -> F64:
    """Corners ``(n, 4, 2)``, clockwise, made exact; those whose edges are not clear stay as they were."""
    found = corners.astype(np.float64)
    for modules in _REACHES if len(corners) else ():
        found = _once(grey, found, modules)
    return found


def _once(grey: npt.NDArray[np.uint8], corners: F64, modules: float) -> F64:
    import cv2

    n = len(corners)
    first, last = corners, np.roll(corners, -1, 1)
    along = last - first  # (n, 4, 2)
    length = np.linalg.norm(along, axis=2)
    across = np.stack([along[..., 1], -along[..., 0]], 2) / length[..., None]  # outwards, as corners go clockwise
    share = np.linspace(_SPARED, 1 - _SPARED, _ALONG)
    middle = first[:, :, None] + along[:, :, None] * share[:, None]  # (n, 4, _ALONG, 2)
    reach = max(1.5, float(np.median(length)) / _MODULES * modules)
    offsets = np.arange(-reach, reach + _STEP_PX / 2, _STEP_PX)
    at = middle[..., None, :] + across[:, :, None, None] * offsets[:, None]
    flat = at.reshape(n * 4, -1, 2).astype(np.float32)
    seen = cv2.remap(grey, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    profile = seen.reshape(n, 4, _ALONG, offsets.size).astype(np.float64)
    # The middle of the rise from black to white, each step weighed by its square: blur does not move it, and what
    # lies beyond the quiet zone, darker again, has no rise outwards.
    rise = np.maximum(np.diff(profile, axis=-1), 0)
    weight = rise**2
    total = weight.sum(-1)
    between = (offsets[1:] + offsets[:-1]) / 2
    place = (weight * between).sum(-1) / np.maximum(total, 1e-9)
    clear = rise.sum(-1) > _CONTRAST
    points = middle + across[:, :, None] * place[..., None]
    lines, sound = _lines(points, clear)
    meet = np.cross(np.roll(lines, 1, 1), lines)  # corner k is where edge k - 1 meets edge k
    with np.errstate(divide="ignore", invalid="ignore"):
        out = meet[..., :2] / meet[..., 2:]
    near = np.linalg.norm(out - corners, axis=2) < 2 * reach
    good = (near & sound & np.roll(sound, 1, 1)).all(1)
    return np.where(good[:, None, None], out, corners)


def _lines(points: F64, clear: npt.NDArray[np.bool_]) -> tuple[F64, npt.NDArray[np.bool_]]:
    """Homogeneous lines ``(n, 4, 3)`` through the places on each edge, and whether enough of them agree."""
    weight = clear.astype(np.float64)
    for _ in range(3):
        total = np.maximum(weight.sum(-1, keepdims=True), 1e-9)
        centre = (points * weight[..., None]).sum(-2) / total
        off = points - centre[..., None, :]
        spread = np.einsum("...k,...ki,...kj->...ij", weight, off, off)
        normal = np.linalg.eigh(spread)[1][..., 0]
        distance = np.abs(np.einsum("...ki,...i->...k", off, normal))
        scale = np.maximum(np.median(np.where(clear, distance, 0), -1, keepdims=True), 0.03)
        weight = clear / (1 + (distance / (3 * scale)) ** 4)
    lines = np.concatenate([normal, -np.einsum("...i,...i->...", normal, centre)[..., None]], -1)
    return lines, clear.sum(-1) >= _ALONG // 2
