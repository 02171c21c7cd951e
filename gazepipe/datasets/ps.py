"""PS, personalised saliency: 30 people, 1,606 images, each seen four times.

Xu, Y., Li, N., Wu, J., Yu, J., & Gao, S. (2017). Beyond universal saliency: personalized saliency prediction with
multi-task CNN. IJCAI. The folder is that of the authors' repository: ``fixData/ImfixData_Sub_<number>.mat``. The images
are distributed separately, and not needed.

In the files ``fix_X`` is the row and ``fix_Y`` the column, both counted from 1, on a screen of 1920 x 1080; durations
are in seconds. Images stood on the screen as large as fits, aspect kept, centred.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gazepipe.datasets.dataset import FixationDataset, Presentation, fixation_table, is_sound, load_mat, unbox
from gazepipe.errors import RecordingError
from gazepipe.geometry import Placement
from gazepipe.images import image_size

__all__ = ["load"]

_SCREEN = (1920, 1080)
_PIXELS_PER_DEGREE = 70.0
_REPEATS = 1000
_FIELDS = ("im_name", "testID", "fix_X", "fix_Y", "duration")


def load(path: Path, *, images: Path | None = None) -> FixationDataset:
    """Read PS.

    Parameters
    ----------
    path
        Folder with ``fixData``.
    images
        Folder of the images, where they are at hand. Coordinates are then those of the image, and images without a
        file are left out. None: the frame of every stimulus is the whole screen, 1920 x 1080.

    Returns
    -------
    FixationDataset
        Users ``ps01`` …, numbered as the files are. ``repeat`` is the file's ``testID``; 5 is a re-run of one of the
        four and counts as one more repeat. The data set states no geometry: 70 screen pixels for a degree is the
        value at which the figures published for the mean map of all users come out. With `images`, where the scale
        differs from image to image, it is the median over the images used. Column 1 is 0 px … 1 px of the frame, so
        a fixation in it lies at 0.5 px.

    Raises
    ------
    RecordingError
        If there are no files, or one is damaged or of another layout.
    """
    files = sorted(_number(file) for file in (path / "fixData").glob("ImfixData_Sub_*.mat"))
    if not files:
        raise RecordingError(path, "there is no fixData/ImfixData_Sub_<number>.mat", remedy="name the folder of PS")
    presentations: list[Presentation] = []
    for number, file in files:
        presentations += _user(file, f"ps{number:02d}")
    names = sorted({p[1] for p in presentations})
    if images is None:
        frames = dict.fromkeys(names, _SCREEN)
        return FixationDataset("ps", _PIXELS_PER_DEGREE, frames, {}, fixation_table(presentations), _notes(files))
    found = {name: Path(images) / name for name in names if (Path(images) / name).is_file()}
    if not found:
        raise RecordingError(Path(images), f"none of the {len(names)} images of PS is in this folder")
    placements = {name: Placement.on_screen(image_size(file), _SCREEN, "fit") for name, file in found.items()}
    table = fixation_table([_on_image(p, placements[p[1]]) for p in presentations if p[1] in placements])
    sizes = {name: (placed.width_px, placed.height_px) for name, placed in placements.items()}
    scale = float(np.median([placed.scale_x for placed in placements.values()]))
    notes = _notes(files)
    if len(found) < len(names):
        notes.append(f"{len(names) - len(found)} of {len(names)} images without a file, left out")
    return FixationDataset("ps", _PIXELS_PER_DEGREE / scale, sizes, found, table, notes)


def _number(file: Path) -> tuple[int, Path]:
    match = re.fullmatch(r"ImfixData_Sub_(\d+)", file.stem)
    if match is None:
        raise RecordingError(file, "the name has no user number", expected="ImfixData_Sub_<number>.mat")
    return int(match[1]), file


def _notes(files: list[tuple[int, Path]]) -> list[str]:
    return [f"{len(files)} of the 30 users of PS are there"] if len(files) != 30 else []


def _user(file: Path, user: str) -> list[Presentation]:
    """Read one user's file: one presentation for each image and repeat."""
    presentations: list[Presentation] = []
    for k, struct in enumerate(load_mat(file, "ImfixDataALL", _FIELDS)):
        try:
            name = str(unbox(struct["im_name"]))
            columns = [np.atleast_1d(np.asarray(unbox(struct[f]), np.float64)) for f in _FIELDS[1:]]
        except (ValueError, TypeError, KeyError, IndexError):
            raise RecordingError(file, f"struct {k + 1} is not laid out as in PS", remedy="get it again") from None
        repeat, row, column, seconds = columns
        if not repeat.shape == row.shape == column.shape == seconds.shape:
            raise RecordingError(file, f"the fields of {name} differ in length", remedy="get it again")
        if not (is_sound(seconds, row, column) and ((repeat >= 1) & (repeat < _REPEATS)).all()):
            raise RecordingError(file, f"the fields of {name} have impossible numbers", remedy="get it again")
        for r in np.unique(repeat):
            part = repeat == r
            # Pixel 1 reaches from 0 to 1 in coordinates that count from the frame's corner.
            x, y = column[part] - 0.5, row[part] - 0.5
            presentations.append((user, name, int(r), seconds[part] * 1000.0, x, y))
    return presentations


def _on_image(presentation: Presentation, placement: Placement) -> Presentation:
    user, name, repeat, duration, x, y = presentation
    return (user, name, repeat, duration, *placement.to_image(x, y))
