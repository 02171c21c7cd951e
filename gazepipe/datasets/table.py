"""Any data set of fixations that is, or can be written as, one table: CSV, TSV or Parquet, one row a fixation.

Columns name the user, the image, the position and the duration, and, where images were shown several times, the repeat.
Rows of one presentation stand in order of time. Positions are pixels of the image, from its top-left corner.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazepipe.datasets.dataset import FixationDataset, Presentation, fixation_table, is_sound
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.images import image_size
from gazepipe.labels import LABEL, is_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "load"]

#: What a column is → what it is called unless said otherwise; there need be none of the last two.
COLUMNS = {"user": "user", "stimulus": "stimulus", "x": "x_px", "y": "y_px", "duration": "duration_ms", "repeat": ""}
_TO_MS = {"ms": 1.0, "s": 1000.0}


def load(
    path: Path,
    *,
    pixels_per_degree: float,
    images: Path | None = None,
    frame: tuple[int, int] | None = None,
    columns: Mapping[str, str] | None = None,
    duration_unit: str = "ms",
) -> FixationDataset:
    """Read a table of fixations.

    Parameters
    ----------
    path
        The table; gzipped CSV is read, too.
    pixels_per_degree
        Image pixels in one degree of visual angle.
    images
        Folder of the images. An image's own size is the frame that its positions are in.
    frame
        Width and height of images without a file.
    columns
        Names of columns where they are not those of `COLUMNS`; an empty name says that there is none, which only
        ``duration`` and ``repeat`` may have. Durations are then taken as 0, repeats as 1.
    duration_unit
        ``"ms"`` or ``"s"``.

    Returns
    -------
    FixationDataset
        Fixations outside their image, which belong to no place on it, are left out and counted in the notes.

    Raises
    ------
    ConfigError
        If a column is named that there is no such thing as, or an image has neither file nor frame.
    RecordingError
        If the table cannot be read, lacks a column, or a cell is not what its column says.
    """
    path = Path(path)
    names = _names(columns or {})
    rows = _read(path, names)
    stimuli = sorted(rows["stimulus"].unique())
    found = {s: images / s for s in stimuli if images is not None and _is_image(images, s)}
    sizes = {s: image_size(found[s]) if s in found else _frame(frame, s, images) for s in stimuli}
    width, height = (rows["stimulus"].map({s: size[k] for s, size in sizes.items()}).to_numpy() for k in (0, 1))
    inside = (rows["x"] >= 0) & (rows["x"] < width) & (rows["y"] >= 0) & (rows["y"] < height)
    presentations: list[Presentation] = []
    for key, part in rows[inside].groupby(["user", "stimulus", "repeat"], sort=True):
        user, stimulus, repeat = map(str, key)
        x, y, duration = (part[name].to_numpy(np.float64) for name in ("x", "y", "duration"))
        presentations.append((user, stimulus, int(repeat), duration * _TO_MS[duration_unit], x, y))
    notes = []
    if not inside.all():
        notes.append(f"{np.count_nonzero(~inside)} of {len(rows)} fixations outside their image, left out")
    if images is not None and len(found) < len(stimuli):
        notes.append(f"{len(stimuli) - len(found)} of {len(stimuli)} images without a file in {images}")
    if not names["duration"]:
        notes.append("there are no durations; maps cannot be weighted by them")
    return FixationDataset("table", pixels_per_degree, sizes, found, fixation_table(presentations), notes)


def _names(given: Mapping[str, str]) -> dict[str, str]:
    for key in given:
        if key not in COLUMNS:
            near = difflib.get_close_matches(key, COLUMNS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = f"there is no column {key!r} to name; expected one of {', '.join(COLUMNS)}{hint}"
            raise ConfigError(msg)
    names = {**COLUMNS, **given}
    empty = [key for key in ("user", "stimulus", "x", "y") if not names[key]]
    if empty:
        msg = f"the column {empty[0]!r} has no name; every table of fixations needs one."
        raise ConfigError(msg)
    return names


def _is_image(images: Path, name: str) -> bool:
    """Whether a file of that name is in the folder; a table may come from anybody, so a name that leads out is none."""
    file = images / name
    return file.is_file() and file.resolve().is_relative_to(images.resolve())


def _frame(frame: tuple[int, int] | None, stimulus: str, images: Path | None) -> tuple[int, int]:
    if frame is None:
        where = f"is not in {images}" if images is not None else "has no file"
        msg = f"image {stimulus!r} {where}, so that its size is not known; name the folder of images, or the frame."
        raise ConfigError(msg)
    return frame


def _read(path: Path, names: Mapping[str, str]) -> pd.DataFrame:
    """Read the columns needed, checked, and called by what they are."""
    import pandas as pd

    if not path.is_file():
        raise RecordingError(path, "there is no such file", expected="a table of fixations", remedy="check the name")
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig")
    except Exception as error:  # of whatever kind: parsers of tables raise many
        found = f"the table cannot be read ({type(error).__name__}: {str(error)[:80]})"
        raise RecordingError(path, found, expected="CSV, TSV or Parquet", remedy="export it again") from None
    there = [str(c) for c in table.columns]
    for key, name in names.items():
        if name and name not in there:
            raise RecordingError(
                path,
                f"there is no column {name!r} (columns here: {', '.join(there[:20])})",
                remedy=f"say which one it is: --column {key}=NAME",
            )
    if table.empty:
        raise RecordingError(path, "there are no rows", expected="one row a fixation", remedy="export it again")
    rows = pd.DataFrame({key: table[name] for key, name in names.items() if name})
    for key in ("user", "stimulus"):
        empty = np.flatnonzero(rows[key].isna().to_numpy())
        if empty.size:
            raise RecordingError(path, f"row {empty[0] + 1} has no {key}", remedy="export the table again")
        rows[key] = rows[key].astype(str)
    named = {user: is_label(user) for user in rows["user"].unique()}
    nameless = np.flatnonzero(~rows["user"].map(named).to_numpy(np.bool_))
    if nameless.size:
        raise RecordingError(
            path,
            f"row {nameless[0] + 1} has the user {rows['user'].iloc[nameless[0]][:40]!r}",
            expected=LABEL,
            remedy="rename this user, or say which column names users: --column user=NAME",
        )
    for key in ("x", "y", "duration", "repeat"):
        if key not in rows:
            rows[key] = {"duration": 0.0, "repeat": 1.0}[key]
        values = _numbers(rows[key])
        bad = np.flatnonzero(~np.isfinite(values.to_numpy(np.float64)))
        if bad.size:
            cell = str(rows[key].iloc[bad[0]])[:40]
            raise RecordingError(
                path,
                f"row {bad[0] + 1} has {cell!r} in {names[key]!r}",
                expected="a number",
                remedy="correct the table",
            )
        rows[key] = values
    if not is_sound(rows["duration"].to_numpy(), rows["x"].to_numpy(), rows["y"].to_numpy()):
        raise RecordingError(path, "some fixations have impossible numbers", remedy="check units and columns")
    if ((rows["repeat"] % 1 != 0) | (rows["repeat"] < 0)).any():
        raise RecordingError(path, f"{names['repeat']!r} has other than whole numbers", remedy="name another column")
    rows["repeat"] = rows["repeat"].astype(np.int64)
    return rows


def _numbers(cells: pd.Series) -> pd.Series:
    """Cells as numbers, NaN or infinite where they are none; a whole number may have any number of digits."""
    import pandas as pd

    try:
        return pd.to_numeric(cells, errors="coerce")
    except OverflowError:
        return pd.to_numeric(cells.astype(str), errors="coerce")
