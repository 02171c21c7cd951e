"""The viewing distance of each sample, where the tracker measures it and ``[screen] distance = "tracker"``.

What the tracker gives is not believed outside ``distance_min_mm … distance_max_mm``; there, and where it gives nothing,
the distance is a straight line between its neighbours, or that of the nearest one at a block's ends. A head moves
slowly and measurements of its distance are noisy, and where one eye is lost they jump, so that the distance is then
averaged over 200 ms: as it is multiplied into every position, its noise would otherwise become noise of velocity. The
average reaches equally far to both sides, so that steady movement is followed without lag.

Where less than half of a recording's samples with gaze have a distance to believe, the whole recording has the
screen's. The fixed distance also stays in force for the width of saliency maps, whose unit is the image, and for the
speed of lids in blinks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazepipe.config import ScreenConfig
from gazepipe.recording import Recording

__all__ = ["WINDOW_MS", "viewing_distance"]

F64 = npt.NDArray[np.float64]

#: The distance is averaged over this time.
WINDOW_MS = 200.0
_FAR = 0.1


def viewing_distance(recording: Recording, config: ScreenConfig) -> tuple[F64 | None, list[str]]:
    """Find the viewing distance of each sample of a recording.

    Parameters
    ----------
    recording
        What a reader returned; ``columns["distance_mm"]`` is used.
    config
        ``distance``, its limits, and the distance to fall back on.

    Returns
    -------
    distance_mm : numpy.ndarray or None
        Shape ``(n_samples,)``; None where the screen's holds.
    said : list
        One sentence about what was used and why; none for ``distance = "fixed"``.
    """
    if config.distance == "fixed":
        return None, []
    fixed = f"the fixed {config.distance_mm:g} mm was used"
    values = recording.columns.get("distance_mm")
    if values is None:
        return None, [f"the tracker gives no viewing distance: {fixed}"]
    measured = np.asarray(values, np.float64)
    believed = (measured >= config.distance_min_mm) & (measured <= config.distance_max_mm)
    seen = np.any([~np.isnan(eye.x_px) for eye in recording.eyes.values()], axis=0)
    n_seen = int(np.count_nonzero(seen))
    share = np.count_nonzero(believed & seen) / n_seen if n_seen else 0.0
    limits = f"{config.distance_min_mm:g} … {config.distance_max_mm:g} mm"
    if share < 0.5:
        return None, [f"only {100 * share:.1f} % of samples with gaze have a viewing distance of {limits}: {fixed}"]
    out = np.full(measured.shape, config.distance_mm)
    for block in recording.blocks():
        there = np.flatnonzero(believed[block])
        if there.size:
            time = recording.time_ms[block]
            filled = np.interp(time, time[there], measured[block][there])
            step = float(np.median(np.diff(time))) if time.size > 1 else WINDOW_MS
            out[block] = _average(filled, round(WINDOW_MS / step / 2))
    low, middle, high = np.percentile(out[seen & believed], [5, 50, 95])
    said = f"viewing distance from the tracker: {middle:.0f} mm, 90 % of the time {low:.0f} … {high:.0f} mm"
    if share < 0.9995:
        said += f"; {100 * (1 - share):.1f} % of samples with gaze have none of {limits} and were bridged"
    if abs(middle / config.distance_mm - 1) > _FAR:
        said += f"; [screen] distance_mm = {config.distance_mm:g} is far from it"
    return out, [said]


def _average(values: F64, half: int) -> F64:
    """Moving average of up to ``2·half + 1`` values; towards the ends the window shrinks on both sides alike."""
    at = np.arange(values.size)
    reach = np.minimum(half, np.minimum(at, values.size - 1 - at))
    total = np.append(0.0, np.cumsum(values - values[0]))
    mean: F64 = values[0] + (total[at + reach + 1] - total[at - reach]) / (2 * reach + 1)
    return mean
