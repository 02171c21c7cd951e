"""Pictures of a screen as a scene camera takes them: known pose, lens distortion, blur, noise, things in the way.

Written without anything of gazepipe but the picture of the markers: the way of light is computed here a second time.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import RectBivariateSpline

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

#: As a real Neon states them.
MATRIX = ((888.4, 0.0, 805.1), (0.0, 888.4, 618.6), (0.0, 0.0, 1.0))
DISTORTION = (-0.1302, 0.1085, 7.7e-5, -1.99e-4, 3.5e-5, 0.1697, 0.0522, 0.0249)


@dataclass(frozen=True)
class Lens:
    matrix: tuple[tuple[float, ...], ...] = MATRIX
    distortion: tuple[float, ...] = DISTORTION
    px: tuple[int, int] = (1600, 1200)

    def bend(self, rays: F64) -> F64:
        """Directions (n, 2) → pixels, by the rational model of Brown and Conrady."""
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *[0.0] * 8)[:8]
        x, y = rays.T
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        m = np.array(self.matrix)
        return np.column_stack([m[0, 0] * xd + m[0, 2], m[1, 1] * yd + m[1, 2]])

    def straighten(self, pixels: F64) -> F64:
        """Pixels → directions, by Newton's method with differences."""
        m = np.array(self.matrix)
        rays = (pixels - m[:2, 2]) / m[[0, 1], [0, 1]]
        for _ in range(12):
            off = self.bend(rays) - pixels
            e = 1e-6
            dx, dy = ((self.bend(rays + d) - self.bend(rays - d)) / (2 * e) for d in e * np.eye(2))
            det = dx[:, 0] * dy[:, 1] - dy[:, 0] * dx[:, 1]
            rays = rays - np.column_stack(
                [
                    (off[:, 0] * dy[:, 1] - off[:, 1] * dy[:, 0]) / det,
                    (off[:, 1] * dx[:, 0] - off[:, 0] * dx[:, 1]) / det,
                ]
            )
        return rays


@functools.cache
def _rays(lens: Lens) -> F64:
    """Direction of every pixel (h, w, 2), from a grid of every eighth, between which the lens is smooth."""
    w, h = lens.px
    x, y = np.arange(-8, w + 17, 8.0), np.arange(-8, h + 17, 8.0)
    grid = np.stack(np.meshgrid(x, y), -1)
    coarse = lens.straighten(grid.reshape(-1, 2)).reshape(grid.shape)
    # In its corners a wide lens has no direction for a pixel; nothing is seen there.
    lost = np.hypot(*(lens.bend(coarse.reshape(-1, 2)) - grid.reshape(-1, 2)).T).reshape(grid.shape[:2]) > 1e-6
    coarse[lost] = 3.0
    splines = [RectBivariateSpline(y, x, coarse[..., c]) for c in (0, 1)]
    return np.stack([s(np.arange(h, dtype=float), np.arange(w, dtype=float)) for s in splines], -1)


@dataclass(frozen=True)
class Pose:
    """Where the screen's middle stands before the camera in mm, and how it is turned (degrees about x, y, z)."""

    x_mm: float = 0.0
    y_mm: float = 0.0
    distance_mm: float = 650.0
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def plane(self, px: tuple[int, int], mm: tuple[float, float]) -> F64:
        """Screen pixels (edges at whole numbers) → directions, as a homography."""
        rotation = np.eye(3)
        for axis, angle in enumerate(np.radians(self.turn_deg)):
            i, j = [k for k in range(3) if k != axis]
            one = np.eye(3)
            one[i, i] = one[j, j] = np.cos(angle)
            one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
            rotation = one @ rotation
        (w, h), (wide, high) = px, mm
        to_mm = np.array([[wide / w, 0, -wide / 2], [0, high / h, -high / 2], [0, 0, 1]])
        return np.column_stack([rotation[:, :2], (self.x_mm, self.y_mm, self.distance_mm)]) @ to_mm


@dataclass(frozen=True)
class Scene:
    """A screen that shows a picture (RGBA frames lie over grey), seen by a camera."""

    picture: U8
    mm: tuple[float, float]
    lens: Lens = field(default_factory=Lens)

    @property
    def px(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    def to_camera(self, points: npt.ArrayLike, pose: Pose) -> F64:
        """Screen pixels → pixels of the camera: the truth."""
        p = np.column_stack([np.asarray(points, float).reshape(-1, 2), np.ones(np.size(points) // 2)])
        ray = p @ pose.plane(self.px, self.mm).T
        return self.lens.bend(ray[:, :2] / ray[:, 2:])

    def shoot(
        self,
        pose: Pose,
        *,
        blur_px: float = 0.6,
        noise: float = 3.0,
        hidden: tuple[tuple[int, int, int, int], ...] = (),
        light: float = 1.0,
        seed: int = 0,
    ) -> U8:
        """Grey picture of the camera; `hidden` are boxes (left, top, right, bottom) in its pixels."""
        rng = np.random.default_rng(seed)
        back = np.linalg.inv(pose.plane(self.px, self.mm))
        rays = _rays(self.lens)
        ray = rays @ back[:, :2].T + back[:, 2]
        at = (ray[..., :2] / ray[..., 2:] - 0.5).astype(np.float32)
        at[ray[..., 2] * np.sign(back[2, 2]) <= 0] = -1e4
        room = 90.0
        # The screen is blurred by half a pixel of the camera first, as its pixels have an area.
        scale = self.px[0] / self.mm[0] * pose.distance_mm / self.lens.matrix[0][0]
        shown = cv2.GaussianBlur(self.picture.astype(np.float32), (0, 0), max(0.45 * scale, 0.4))
        seen = cv2.remap(shown, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=room)
        if blur_px > 0:
            seen = cv2.GaussianBlur(seen, (0, 0), blur_px)
        for left, top, right, bottom in hidden:
            seen[top:bottom, left:right] = 60
        seen = seen * light + 8 + rng.normal(0, noise, seen.shape)
        return np.clip(seen + 0.5, 0, 255).astype(np.uint8)


def shown(frame: U8, stimulus: U8 | None = None) -> U8:
    """Grey picture of a frame of markers (RGBA) over a stimulus."""
    height, width = frame.shape[:2]
    under = np.full((height, width), 128, np.uint8) if stimulus is None else cv2.resize(stimulus, (width, height))
    return np.where(frame[..., 3] > 0, frame[..., 0], under).astype(np.uint8)


def clutter(px: tuple[int, int], seed: int = 0) -> U8:
    """A stimulus with edges and corners of all sizes."""
    rng = np.random.default_rng(seed)
    picture = np.full((px[1], px[0]), 128, np.uint8)
    for _ in range(150):
        x, y = int(rng.integers(0, px[0])), int(rng.integers(0, px[1]))
        w, h = (int(v) for v in rng.integers(10, 250, 2))
        picture[y : y + h, x : x + w] = int(rng.integers(0, 256))
    return picture
