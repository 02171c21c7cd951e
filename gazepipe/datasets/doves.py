"""DOVES: raw gaze of 29 people on 101 natural grey images of 1024 x 768 pixels, free viewing for 5 s at 200 Hz.

van der Linde, I., Rajashekar, U., Bovik, A. C., & Cormack, L. K. (2009). DOVES: a database of visual eye movements.
Spatial Vision, 22(2), 161-177. The folder holds one table a person, ``recordings/<person>.csv.gz`` with the columns
``time_ms, x_px, y_px, trial, image`` (a second passes between two images), and the images as ``stimuli/*.jpg``.

The authors' display: 1024 x 768 pixels at 134 cm, 17° x 13°, so that a pixel is about one minute of arc. They give no
size of the picture; a pixel of exactly one minute at the centre makes it 399.2 mm x 299.4 mm.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from gazepipe.errors import RecordingError
from gazepipe.words import form

__all__ = ["PEOPLE", "settings"]

#: People in the whole data set.
PEOPLE = 29

_WIDTH_PX, _HEIGHT_PX = 1024, 768
_DISTANCE_MM = 1340.0
_PIXEL_MM = _DISTANCE_MM * math.tan(math.radians(1 / 60))


def settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration under which DOVES is ingested, and one sentence for everything that is missing.

    Parameters
    ----------
    path
        Folder with ``recordings`` and ``stimuli``.

    Raises
    ------
    RecordingError
        If there is no recording.
    """
    files = sorted((path / "recordings").glob("*.csv.gz"))
    if not files:
        raise RecordingError(path, "there is no recordings/<person>.csv.gz", remedy="name the folder of DOVES")
    notes = (
        [f"{len(files)} of the {PEOPLE} people of DOVES {form(len(files), 'is', 'are')} there"]
        if len(files) != PEOPLE
        else []
    )
    if not (path / "stimuli").is_dir():
        notes.append("there is no folder stimuli; put the images into one and set `stimuli` in gazepipe.toml")
    values = {
        "name": "doves",
        "recordings": str((path / "recordings").resolve()),
        "stimuli": str((path / "stimuli").resolve()),
        "screen": {
            "width_px": _WIDTH_PX,
            "height_px": _HEIGHT_PX,
            "width_mm": round(_WIDTH_PX * _PIXEL_MM, 1),
            "height_mm": round(_HEIGHT_PX * _PIXEL_MM, 1),
            "distance_mm": _DISTANCE_MM,
        },
        "ingest": {"include": ("*.csv.gz",), "user_pattern": r"(?P<user>[^/]+)\.csv\.gz$"},
        "csv": {"trial": "trial", "stimulus": "image", "sampling_rate_hz": 200.0},
        "trials": {"source": "columns"},
    }
    return values, notes
