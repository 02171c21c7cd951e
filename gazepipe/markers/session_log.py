"""Where the screen was, in the log of a live session: gaze is mapped anew from it when the session is read.

While a session runs, gaze is mapped by the last picture; afterwards there are pictures on both sides of each sample,
and a head that turned costs nothing. The log has the layout and the lens once, and the screen's corners in each
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import GazepipeError
from gazepipe.live.source import SampleFlag
from gazepipe.markers.camera import Camera, sound_camera
from gazepipe.markers.layout import MarkerScreen, signed_area
from gazepipe.markers.mapping import PlaneSeries, map_gaze
from gazepipe.markers.plane import ScreenPlane, screen_corners

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GEOMETRY", "PICTURES", "again", "geometry", "pictures"]

#: Kinds of lines.
GEOMETRY, PICTURES = "screen-geometry", "screen"
_BITS = int(SampleFlag.NO_TAGS | SampleFlag.EXTRAPOLATED | SampleFlag.INTERPOLATED | SampleFlag.OFF_SCREEN)


def geometry(screen: MarkerScreen, camera: Camera) -> dict[str, Any]:
    """Layout and lens, for one line."""
    tags = {str(k): v.tolist() for k, v in screen.layout.items()}
    return {"px": list(screen.px), "mm": list(screen.mm), "tags": tags, "camera": camera.content()}


def pictures(
    time_ns: Sequence[int], planes: Sequence[ScreenPlane | None], screen: MarkerScreen
) -> dict[str, list[list[Any]]]:
    """Pictures for one line, of each its time, the screen's corners to a thousandth of a pixel, and what was seen."""
    corners = screen_corners(screen)
    rows: list[list[Any]] = []
    for at, plane in zip(time_ns, planes, strict=True):
        row: list[Any] = [at]
        if plane is not None:
            row += [np.round(plane.to_camera(corners), 3).tolist(), np.round(plane.span, 1).tolist()]
        rows.append(row)
    return {"pictures": rows}


def again(
    records: npt.NDArray[Any], log: Sequence[dict[str, Any]], path: Path, warnings: list[str]
) -> npt.NDArray[Any]:
    """Return a session's records with gaze on the screen mapped anew, in place of how it was while it ran.

    Samples that cannot be mapped so (the log ends before them) stay as they were.
    """
    first = next((e for e in log if e["kind"] == GEOMETRY), None)
    lines = [e for e in log if e["kind"] == PICTURES]
    if first is None or not lines:
        return records
    try:
        rows = [row for e in lines for row in e["pictures"]]
        lens = first["camera"]
        screen = MarkerScreen(tuple(first["px"]), tuple(first["mm"]), first["tags"])
        matrix, distortion = np.array(lens["camera_matrix"], float), np.array(lens["distortion_coefficients"], float)
        camera = sound_camera(matrix.reshape(3, 3), distortion.reshape(-1), tuple(lens["px"]), path)
        time = np.array([row[0] for row in rows], np.int64)
        corners, span = np.full((len(rows), 4, 2), np.nan), np.full((len(rows), 4), np.nan)
        for k, row in enumerate(rows):
            if len(row) > 1 and signed_area(row[1]) > 1:
                corners[k], span[k] = row[1], row[2]
        time, kept = np.unique(time, return_index=True)
        series = PlaneSeries(time, corners[kept], span[kept]).without_outliers()
        x, y, flags = map_gaze(series, screen, camera, records["device_ns"], records["x_px"], records["y_px"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, GazepipeError) as error:
        warnings.append(f"the screen's places in the log are not understood ({error}); gaze is as it was mapped live")
        return records
    known = np.isfinite(x) & np.isfinite(y)
    out = records.copy()
    out["screen_x_px"][known], out["screen_y_px"][known] = x[known], y[known]
    out["flags"][known] = (records["flags"][known] & (0xFF ^ _BITS)) | flags[known]
    return out
