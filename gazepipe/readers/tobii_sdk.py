"""Tables written with Tobii's programming interfaces: one sample a row, positions from 0 to 1 over the screen.

Two generations of names, both with times in microseconds on the tracker's clock:

* Tobii SDK 3 (TX300 and its time): ``Time``, ``LGazePos2dx`` …, ``LPupilDm``, ``LValidity`` 0 (certainly this eye) to 4
  (not found), of which 2 and more are taken for missing; a missing position is −1.
* Tobii Pro SDK: ``device_time_stamp`` (or ``system_time_stamp``), ``left_gaze_point_on_display_area_x`` …,
  ``left_pupil_diameter``, ``left_gaze_point_validity`` 1 (valid) or 0, ``left_gaze_point_valid`` True or False.

Positions become pixels by the study's screen. `columns` has ``distance_mm``, the mean of both eyes' Z.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.readers._columns import Texts, clean_eye, find_column, mean_of_positive, normalise
from gazepipe.readers._table import block_starts, clock_breaks, header_of, increasing, open_table, sampling_rate
from gazepipe.readers._tobii import invalid
from gazepipe.readers.source import Reader
from gazepipe.recording import EyeSamples, Recording
from gazepipe.words import counted

__all__ = ["READER", "read", "sniff"]

F64 = npt.NDArray[np.float64]
_FORMAT = "tobii-sdk"
_HEADER = re.compile(r"(?i)\b(?:[LR]GazePos2dx|(?:left|right)_gaze_point_on_display_area_x)\b")
_REMEDY = "write the table again with time, both coordinates of each eye and their validity"
_TIME = ("devicetimestamp", "systemtimestamp", "time")


def _stems(eye: str) -> dict[str, tuple[str, ...]]:
    """Return names of one eye's columns, the newer interface's last."""
    old = eye[0]
    area = f"{eye}gazepointondisplayarea"
    return {
        "x": (f"{old}gazepos2dx", f"{area}x"),
        "y": (f"{old}gazepos2dy", f"{area}y"),
        "pupil": (f"{old}pupildm", f"{old}pupildiammm", f"{eye}pupildiameter"),
        "z": (f"{old}eyepos3dz", f"{eye}gazeorigininusercoordinatesystemz"),
        "code": (f"{old}validity",),
        "valid": (f"{eye}gazepointvalidity", f"{eye}gazepointvalid"),
    }


def sniff(head: bytes, path: Path) -> bool:
    """Whether a line near the top names the interfaces' columns."""
    return header_of(head, _HEADER) is not None


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a table of Tobii SDK samples.

    Parameters
    ----------
    path
        The file.
    config
        Its `screen` section gives the pixels.

    Returns
    -------
    Recording
        Eyes are those that the table has, ``"left"`` and ``"right"``.

    Raises
    ------
    RecordingError
        If columns are missing, a cell is not a number, or there are no two samples.
    """
    path = Path(path)
    table = open_table(path, _HEADER)
    names = [normalise(name) for name in table.names]
    time_at = find_column(names, _TIME, ("",))
    if time_at is None:
        raise table.no_column(_REMEDY, "times")
    found = {eye: _find(names, eye) for eye in ("left", "right")}
    eyes = {eye: where for eye, where in found.items() if {"x", "y"} <= set(where)}
    if not eyes:
        raise table.no_column(_REMEDY, "both coordinates of an eye")
    texts = {w[key] for w in eyes.values() for key in ("code", "valid") if key in w}
    numbers = {k for w in eyes.values() for k in w.values()} - texts | {time_at}
    rows = table.parse(numbers, texts, lambda chunk: chunk, {time_at})
    warnings = list(table.warnings)
    kept = increasing(rows[time_at].to_numpy())
    if not kept.all():
        warnings.append(f"{counted(int((~kept).sum()), 'row')} with the time of the row before gave no sample")
        rows = rows[kept]
    if len(rows) < 2:
        raise table.too_few(len(rows))
    time = rows[time_at].to_numpy(np.float64) / 1000.0
    rate = sampling_rate(path, time)
    start = block_starts(time, rate)
    warnings += clock_breaks(time)

    samples: dict[str, EyeSamples] = {}
    for eye, where in eyes.items():
        x, y, *pupil = (rows[where[key]].to_numpy(np.float64) for key in ("x", "y", "pupil") if key in where)
        lost = (x == -1) & (y == -1)
        if "code" in where:
            lost |= invalid(rows[where["code"]].to_numpy(object))
        if "valid" in where:
            lost |= _not_valid(rows[where["valid"]].to_numpy(object))
        size = config.screen.width_px, config.screen.height_px
        with np.errstate(over="ignore"):  # of damaged numbers
            samples[eye] = clean_eye(x * size[0], y * size[1], pupil[0] if pupil else None, lost)
    z = [rows[where["z"]].to_numpy(np.float64) for where in eyes.values() if "z" in where]
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=time,
        eyes=samples,
        block_start=start,
        sampling_rate_hz=np.full(start.size, rate, np.float64),
        columns={"distance_mm": mean_of_positive(z)} if z else {},
        warnings=warnings,
    )


def _find(names: list[tuple[str, str]], eye: str) -> dict[str, int]:
    found = {key: find_column(names, stems, ("",)) for key, stems in _stems(eye).items()}
    return {key: k for key, k in found.items() if k is not None}


def _not_valid(values: Texts) -> npt.NDArray[np.bool_]:
    return np.isin(np.char.lower(values.astype(str)), ("0", "0.0", "false"))


READER = Reader(_FORMAT, sniff, read)
