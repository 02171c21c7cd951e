"""Gaze in the camera's picture → gaze on the screen, with what is to be known of each sample as `SampleFlag` bits.

Three ways to choose where the screen was when a sample was taken:

* ``"last"``: in the picture before; all that there is while a session runs.
* ``"nearest"``: in the picture nearest in time.
* ``"interpolated"``: between the picture before and the one after, which follows the head's movement between them. At
  30 pictures a second and a head that turns by 50° a second the others are off by up to a degree.

Samples are never left out. Those that cannot be mapped are NaN.

=================  ================================================================================================
``NOT_WORN``       the glasses lay on the table
``NO_GAZE``        the tracker had no gaze
``NO_TAGS``        no picture with enough markers near enough in time: NaN
``INTERPOLATED``   pictures between which the sample lies had too few markers; the ones around them were used
``EXTRAPOLATED``   only pictures on one side, or too old a one, were there; or gaze lies far outside of the markers seen
``OFF_SCREEN``     beside the screen
=================  ================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gazepipe.live.source import SampleFlag
from gazepipe.markers.camera import Camera
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.plane import ScreenPlane, plane_from_corners, screen_corners

__all__ = ["LONGEST_GAP_MS", "MISSING", "Mode", "PlaneSeries", "map_gaze"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Mode = Literal["last", "nearest", "interpolated"]

#: A head at rest keeps the screen where it was; one that turns by 30° a second moves it by 6° in this time.
LONGEST_GAP_MS = 200.0
#: Pictures further apart than so many of their usual steps have others missing between them.
MISSING = 1.5
#: Gaze is extrapolated if it is further outside of what the markers seen span than this share of it.
_OUTSIDE = 0.5
_NO_GAZE, _NO_TAGS, _EXTRAPOLATED, _OFF_SCREEN, _INTERPOLATED = (
    np.uint8(flag)
    for flag in (
        SampleFlag.NO_GAZE,
        SampleFlag.NO_TAGS,
        SampleFlag.EXTRAPOLATED,
        SampleFlag.OFF_SCREEN,
        SampleFlag.INTERPOLATED,
    )
)


@dataclass(frozen=True)
class PlaneSeries:
    """Where the screen was in one picture after another.

    Parameters
    ----------
    time_ns
        Of all pictures, shape ``(n,)``, increasing.
    corners
        The screen's corners in undistorted pixels of the camera, ``(n, 4, 2)``, clockwise from the top left; NaN where
        too few markers were seen.
    span
        What the markers seen span, left, top, right and bottom in screen pixels, ``(n, 4)``.
    """

    time_ns: I64
    corners: F64
    span: F64

    @classmethod
    def of(cls, time_ns: npt.ArrayLike, planes: Sequence[ScreenPlane | None], screen: MarkerScreen) -> PlaneSeries:
        """Put the screen's places in pictures together, in the order of time; of two of one time the first stays."""
        time = np.asarray(time_ns, np.int64).reshape(-1)
        corners, span = np.full((time.size, 4, 2), np.nan), np.full((time.size, 4), np.nan)
        for k, plane in enumerate(planes):
            if plane is not None:
                corners[k], span[k] = plane.to_camera(screen_corners(screen)), plane.span
        time, first = np.unique(time, return_index=True)
        return cls(time, corners[first], span[first])

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which pictures have the screen, shape ``(n,)``."""
        return np.asarray(np.isfinite(self.corners).all((1, 2)))

    @property
    def step_ns(self) -> float:
        """Usual time from one picture to the next."""
        return float(np.median(np.diff(self.time_ns))) if self.time_ns.size > 1 else 0.0

    def without_outliers(self) -> PlaneSeries:
        """Leave out pictures in which the screen is of another size or shape than in those around.

        A head cannot come nearer by a quarter within a third of a second; a plane of wrongly seen markers does.
        """
        there = np.flatnonzero(self.seen)
        if there.size < 3:
            return self
        quads = self.corners[there]
        x, y = quads[..., 0], quads[..., 1]
        area = (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1) / 2
        sides = np.linalg.norm(np.roll(quads, -1, 1) - quads, axis=2)
        aspect = (sides[:, 0] + sides[:, 2]) / (sides[:, 1] + sides[:, 3])
        odd = np.zeros(there.size, bool)
        for values, limit in ((np.log(np.maximum(area, 1e-9)), 0.25), (np.log(aspect), 0.15)):
            padded = np.pad(values, 5, mode="reflect" if there.size > 5 else "edge")
            middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 11), axis=1)
            odd |= np.abs(values - middle) > limit
        corners = self.corners.copy()
        corners[there[odd]] = np.nan
        return PlaneSeries(self.time_ns, corners, self.span)

    def smoothed(self, pictures: int = 5) -> PlaneSeries:
        """Draw a line in time through each corner over so many pictures, and take its value in their middle.

        A line, and not a mean or median, as a turning head moves the corners evenly; neither pictures without the
        screen nor gaps are bridged.
        """
        half = pictures // 2
        if half < 1:
            return self
        corners = self.corners.copy()
        seconds = self.time_ns.astype(np.float64) / 1e9
        reach = (half + 0.5) * self.step_ns / 1e9
        there = self.seen
        for k in np.flatnonzero(there).tolist():
            near = np.arange(max(k - half, 0), min(k + half + 1, self.time_ns.size))
            near = near[there[near] & (np.abs(seconds[near] - seconds[k]) <= reach)]
            if near.size >= 3:
                t = seconds[near] - seconds[k]
                basis = np.column_stack([np.ones(near.size), t])
                corners[k] = np.linalg.lstsq(basis, self.corners[near].reshape(near.size, 8), rcond=None)[0][0].reshape(
                    4, 2
                )
        return PlaneSeries(self.time_ns, corners, self.span)


def map_gaze(
    series: PlaneSeries,
    screen: MarkerScreen,
    camera: Camera,
    time_ns: npt.ArrayLike,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    *,
    mode: Mode = "interpolated",
    longest_gap_ms: float = LONGEST_GAP_MS,
) -> tuple[F64, F64, U8]:
    """Map gaze to the screen.

    Parameters
    ----------
    series
        Where the screen was.
    screen, camera
        The layout, and what the lens does.
    time_ns, x_px, y_px
        Samples, shape ``(n,)``, on the pictures' clock and in the camera's pixels; NaN where there is no gaze.
    mode
        How the screen's place is chosen, see above.
    longest_gap_ms
        Further than this from a picture with the screen, a sample is not mapped; nor between two of which one is.

    Returns
    -------
    tuple
        x and y in screen pixels, NaN where they are not known, and the flags.
    """
    time = np.asarray(time_ns, np.int64).reshape(-1)
    gaze = np.column_stack([np.asarray(v, np.float64).reshape(-1) for v in (x_px, y_px)])
    flags = np.zeros(time.size, np.uint8)
    flags[~np.isfinite(gaze).all(1)] |= _NO_GAZE
    there = np.flatnonzero(series.seen)
    if not there.size:
        return np.full(time.size, np.nan), np.full(time.size, np.nan), flags | _NO_TAGS
    at, longest = series.time_ns[there], longest_gap_ms * 1e6
    step = series.step_ns or longest
    after = np.searchsorted(at, time, "right")
    before, later = np.maximum(after - 1, 0), np.minimum(after, at.size - 1)
    since, until = (time - at[before]).astype(float), (at[later] - time).astype(float)
    has_before, has_later = (since >= 0) & (since <= longest), (until >= 0) & (until <= longest)
    share = np.zeros(time.size)
    if mode == "last":
        first, too_far = before, ~has_before
        flags[has_before & (since > MISSING * step)] |= _EXTRAPOLATED
    else:
        both = has_before & has_later & (since + until <= longest)
        too_far = ~(has_before | has_later)
        first = np.where(has_before & (~has_later | (since <= until)), before, later)
        close = np.abs(time - at[first]) <= step / 2
        flags[both & ~close & (since + until > MISSING * step)] |= _INTERPOLATED
        flags[~both & ~close & ~too_far] |= _EXTRAPOLATED
        if mode == "interpolated":
            first = np.where(both, before, first)
            share = np.where(both, since / np.maximum(since + until, 1.0), 0.0)
    flags[too_far] |= _NO_TAGS
    place = _through(series, there, screen, camera, gaze, first, later, share)
    with np.errstate(invalid="ignore"):
        width, height = screen.px
        off = (place < 0).any(1) | (place > (width, height)).any(1)
        # Where the lens leads nowhere, or the plane does, gaze is certainly not on the screen.
        off |= np.isfinite(gaze).all(1) & ~too_far & ~np.isfinite(place).all(1)
    place[too_far] = np.nan
    flags[off & ~too_far] |= _OFF_SCREEN
    span = series.span[there[first]]
    low, high = span[:, :2], span[:, 2:]
    margin = _OUTSIDE * (high - low)
    with np.errstate(invalid="ignore"):
        far = (place < low - margin).any(1) | (place > high + margin).any(1)
    flags[far] |= _EXTRAPOLATED
    return place[:, 0], place[:, 1], flags


def _through(
    series: PlaneSeries,
    there: I64,
    screen: MarkerScreen,
    camera: Camera,
    gaze: F64,
    first: I64,
    later: I64,
    share: F64,
) -> F64:
    """Gaze ``(n, 2)`` mapped by the picture `first` and, by its `share`, the one `later`."""
    straight = camera.undistort(gaze)
    place = np.zeros_like(gaze)
    inverse = np.array([np.linalg.inv(plane_from_corners(screen, series.corners[k])) for k in there])
    for index, weight in ((first, 1 - share), (later, share)):
        matrix = inverse[index]
        mapped = np.einsum("nij,nj->ni", matrix[:, :, :2], straight) + matrix[:, :, 2]
        before_camera = mapped[:, 2:] * np.sign(np.linalg.det(matrix))[:, None] > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            point = np.where(before_camera, mapped[:, :2] / mapped[:, 2:], np.nan)
        place += np.where(weight[:, None] > 0, point * weight[:, None], 0)
    return place
