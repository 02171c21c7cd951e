"""Distance of the head target in EyeLink's remote mode: a pass of its own, made only where it is asked for.

Sample lines of such recordings end with x, y and distance of the target in the camera's picture, and 13 flags; the
distance is in mm. Files in which edf2asc announces ``HTARGET`` but writes no such columns have none.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe.readers.source import read_bytes

__all__ = ["target_distance"]

_LINE = re.compile(rb"^(\d+(?:\.\d+)?)[ \t][^\n]*[ \t](\d+(?:\.\d+)?)[ \t]+[.A-Z]{13}[ \t]*\r?$", re.MULTILINE)


def target_distance(path: Path, time_ms: npt.NDArray[np.float64]) -> npt.NDArray[np.float32] | None:
    """Return the distance in mm at each sample time, NaN where there is none; None where there are none at all."""
    found = _LINE.findall(read_bytes(path))
    if not found:
        return None
    table = np.array(found, dtype=np.bytes_).astype(np.float64)
    time, first = np.unique(table[:, 0], return_index=True)
    at = np.minimum(np.searchsorted(time, time_ms), time.size - 1)
    distance = table[first[at], 1]
    return np.where((time[at] == time_ms) & (distance > 0), distance, np.nan).astype(np.float32)
