"""Observers: what they prefer to look at, and the fixations they make on a scene.

Positions are in degrees of visual angle from the screen's centre, horizontally and vertically apart (x right,
y down); times are in milliseconds from image onset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazepipe.geometry import Placement, Screen
from gazepipe.simulate.scenes import CLASSES, SceneObject

__all__ = [
    "LEAD_MS",
    "SCREEN",
    "TAIL_MS",
    "Fixation",
    "Observer",
    "angles_to_pixels",
    "draw_observer",
    "pixels_to_angles",
    "plan_fixations",
    "saccade_duration_ms",
]

F64 = npt.NDArray[np.float64]

#: The screen all observers sit at: 19 inch, 5:4, so that the 4:3 scenes have a bar above and below.
SCREEN = Screen(1280, 1024, 376.0, 301.0, 670.0)

#: Recorded before image onset and after image offset.
LEAD_MS, TAIL_MS = 60.0, 20.0

#: What everybody looks at, before anybody's own taste: faces and text draw the eye most (Cerf et al. 2009).
_COMMON_TASTE = np.array([0.30, 0.27, 0.22, 0.21])
#: Concentration of the Dirichlet distribution of tastes: the smaller, the more people differ.
_CONCENTRATION = 1.5
#: Distance over which the pull of a target falls to 1/e.
_FALLOFF_DEG = 16.0
#: What is left of a target's pull right after it was looked at (inhibition of return), and the
#: share of the rest that comes back with every further fixation.
_INHIBITION, _RECOVERY = 0.25, 0.25
_SMALLEST_SACCADE_DEG = 1.2
_LID_MS = 20.0


@dataclass(frozen=True, slots=True)
class Observer:
    """One person's traits; angles in degrees, times in milliseconds.

    `preference` has one weight for each of `CLASSES` and adds up to one.
    """

    preference: F64
    background_share: float
    centre_bias_deg: float
    fixation_ms: float
    offset_deg: tuple[float, float]
    eye_disparity_deg: tuple[float, float]
    noise_deg: float
    blink_interval_ms: float
    pupil: float

    def eye_offset_deg(self, eye: str) -> tuple[float, float]:
        """Error of the recorded position of one eye, or of ``"cyclopean"``, the mean of both."""
        side = {"left": 0.5, "right": -0.5, "cyclopean": 0.0}[eye]
        (ox, oy), (dx, dy) = self.offset_deg, self.eye_disparity_deg
        return ox + side * dx, oy + side * dy


@dataclass(frozen=True, slots=True)
class Fixation:
    """The eye rests at a place for a while; then comes a saccade, or a blink that hides one.

    `closed_ms` is how long the eye is shut between this fixation and the next, 0 for a bare saccade.
    """

    start_ms: float
    end_ms: float
    x_deg: float
    y_deg: float
    closed_ms: float = 0.0


def draw_observer(rng: np.random.Generator) -> Observer:
    """Draw one person."""
    offset, disparity = rng.normal(0, 0.3, 2), rng.normal(0, 0.2, 2)
    return Observer(
        preference=rng.dirichlet(_COMMON_TASTE * _CONCENTRATION),
        background_share=float(rng.uniform(0.08, 0.2)),
        centre_bias_deg=float(rng.uniform(8, 12)),
        fixation_ms=float(240 * np.exp(rng.normal(0, 0.12))),
        offset_deg=(float(offset[0]), float(offset[1])),
        eye_disparity_deg=(float(disparity[0]), float(disparity[1])),
        noise_deg=float(rng.uniform(0.03, 0.05)),
        blink_interval_ms=float(5000 * np.exp(rng.normal(0, 0.3))),
        pupil=float(rng.uniform(800, 1500)),
    )


def saccade_duration_ms(amplitude_deg: float) -> float:
    """Return the duration of a saccade, ``2.2 ms/° · amplitude + 21 ms``.

    References
    ----------
    Bahill, A. T., Clark, M. R., & Stark, L. (1975). The main sequence, a tool for studying human eye movements.
    Mathematical Biosciences, 24, 191–204; the coefficients are those of Carpenter, R. H. S. (1988), Movements of
    the Eyes.
    """
    return 2.2 * amplitude_deg + 21.0


def pixels_to_angles(screen: Screen, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> tuple[F64, F64]:
    """Screen pixels to degrees right of and below the screen's centre."""
    (sx, sy), (cx, cy) = screen.mm_per_px, screen.centre_px
    x, y = np.asarray(x_px, np.float64), np.asarray(y_px, np.float64)
    return (
        np.degrees(np.arctan2((x - cx) * sx, screen.distance_mm)),
        np.degrees(np.arctan2((y - cy) * sy, screen.distance_mm)),
    )


def angles_to_pixels(screen: Screen, x_deg: npt.ArrayLike, y_deg: npt.ArrayLike) -> tuple[F64, F64]:
    """Degrees right of and below the screen's centre to screen pixels."""
    (sx, sy), (cx, cy) = screen.mm_per_px, screen.centre_px
    x, y = np.radians(np.asarray(x_deg, np.float64)), np.radians(np.asarray(y_deg, np.float64))
    return cx + screen.distance_mm * np.tan(x) / sx, cy + screen.distance_mm * np.tan(y) / sy


def plan_fixations(
    observer: Observer,
    objects: Sequence[SceneObject],
    screen: Screen,
    placement: Placement,
    duration_ms: float,
    rng: np.random.Generator,
) -> list[Fixation]:
    """Let an observer look at a scene from `LEAD_MS` before its onset until `TAIL_MS` after its end.

    The first fixation is at the screen's centre, carried over from before the image; the next ones are drawn one by
    one, with chances in proportion to preference, nearness, central position and novelty of each object.
    """
    chooser = _Chooser(observer, objects, screen, placement, rng)
    x, y = rng.normal(0, 0.3, 2)
    start, first, stop = -LEAD_MS, LEAD_MS, duration_ms + TAIL_MS
    plan: list[Fixation] = []
    while True:
        end = start + first + max(70.0, observer.fixation_ms * math.exp(rng.normal(0, 0.35)))
        next_x, next_y = chooser.next_target(float(x), float(y))
        gap = saccade_duration_ms(math.hypot(next_x - x, next_y - y))
        closed = 0.0
        if end > 0 and rng.random() < -math.expm1(-(end - start + gap) / observer.blink_interval_ms):
            closed = float(rng.uniform(80, 250))
            gap = closed + 2 * _LID_MS
        # A saccade that would not land before the recording stops is not begun.
        if end + gap >= stop:
            plan.append(Fixation(start, stop, float(x), float(y)))
            return plan
        plan.append(Fixation(start, end, float(x), float(y), closed))
        start, first, x, y = end + gap, 0.0, next_x, next_y


class _Chooser:
    """Where an observer looks next, remembering where it has looked."""

    def __init__(
        self,
        observer: Observer,
        objects: Sequence[SceneObject],
        screen: Screen,
        placement: Placement,
        rng: np.random.Generator,
    ) -> None:
        self.observer, self.rng = observer, rng
        centres = np.array([o.centre for o in objects])
        sizes = np.array([(o.width, o.height) for o in objects])
        self.x, self.y = pixels_to_angles(screen, *placement.to_screen(centres[:, 0], centres[:, 1]))
        degrees = np.asarray(screen.pixels_per_degree) / (placement.scale_x, placement.scale_y)
        self.spread = 0.17 * sizes / degrees
        self.half = 0.5 * sizes / degrees
        # The image's half width and half height, less a rim that nobody looks at.
        self.reach = 0.46 * np.array([placement.width_px, placement.height_px]) / degrees
        eccentricity = np.hypot(self.x, self.y)
        preference = np.array([observer.preference[CLASSES.index(o.kind)] for o in objects])
        self.pull = preference * np.exp(-0.5 * (eccentricity / observer.centre_bias_deg) ** 2)
        self.novelty = np.ones(len(objects))

    def next_target(self, x: float, y: float) -> tuple[float, float]:
        """Draw the next place to look at, at least `_SMALLEST_SACCADE_DEG` away from the present one."""
        while True:
            target = self._background() if self.rng.random() < self.observer.background_share else self._object(x, y)
            if math.hypot(target[0] - x, target[1] - y) >= _SMALLEST_SACCADE_DEG:
                return target

    def _background(self) -> tuple[float, float]:
        while True:
            x, y = self.rng.normal(0, 0.6 * self.observer.centre_bias_deg, 2)
            if abs(x) < self.reach[0] and abs(y) < self.reach[1]:
                return float(x), float(y)

    def _object(self, x: float, y: float) -> tuple[float, float]:
        weight = self.pull * self.novelty * np.exp(-np.hypot(self.x - x, self.y - y) / _FALLOFF_DEG)
        chosen = int(self.rng.choice(len(weight), p=weight / weight.sum()))
        self.novelty += (1 - self.novelty) * _RECOVERY
        self.novelty[chosen] = _INHIBITION
        scatter = np.clip(self.rng.normal(0, self.spread[chosen]), -0.9 * self.half[chosen], 0.9 * self.half[chosen])
        return float(self.x[chosen] + scatter[0]), float(self.y[chosen] + scatter[1])
