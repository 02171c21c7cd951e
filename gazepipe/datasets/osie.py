"""OSIE: 15 people, 700 colour images of 800 x 600 pixels, free viewing for 3 s.

Xu, J., Jiang, M., Wang, S., Kankanhalli, M. S., & Zhao, Q. (2014). Predicting human gaze beyond pixels. Journal of
Vision, 14(1):28. The folder is that of the authors' repository: ``eye/fixations.mat`` and ``stimuli/*.jpg``.

Other data sets of the same group have the same layout; `load_layout` reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.datasets.dataset import FixationDataset, Presentation, fixation_table, is_sound, load_mat, unbox
from gazepipe.errors import RecordingError
from gazepipe.images import image_size

__all__ = ["load", "load_layout"]

F64 = npt.NDArray[np.float64]
_FRAME = (800, 600)
_PIXELS_PER_DEGREE = 24.0  # the authors blur fixations with 24 px for one degree


def load(path: Path) -> FixationDataset:
    """Read OSIE.

    Parameters
    ----------
    path
        Folder with ``eye`` and ``stimuli``, or the repository's, which has them in ``data``. Images may be missing;
        their frame is then taken as 800 x 600.

    Returns
    -------
    FixationDataset
        Users ``osie01`` … ``osie15``, numbered as in the file; one presentation each, so that ``repeat`` is 1.

    Raises
    ------
    RecordingError
        If ``eye/fixations.mat`` is missing, damaged or of another layout.
    """
    return load_layout(path, "osie", "OSIE", _FRAME, _PIXELS_PER_DEGREE)


def load_layout(path: Path, name: str, title: str, frame: tuple[int, int], pixels_per_degree: float) -> FixationDataset:
    """Read a data set in OSIE's layout: a cell array ``fixations`` of ``img`` and ``subjects``.

    Parameters
    ----------
    path
        Folder with ``eye/fixations.mat`` and ``stimuli``, themselves or in ``data``.
    name, title
        Its short name, which users are named after, and what messages call it.
    frame
        Width and height of images that are not there.
    pixels_per_degree
        Stimulus pixels in one degree of visual angle.

    Raises
    ------
    RecordingError
        If the file is missing, damaged or of another layout.
    """
    if not (path / "eye").is_dir() and (path / "data" / "eye").is_dir():
        path = path / "data"
    source = path / "eye" / "fixations.mat"
    structs = load_mat(source, "fixations", ("img", "subjects"))
    presentations: list[Presentation] = []
    images = []
    for k, struct in enumerate(structs):
        try:
            images.append(str(unbox(struct["img"])))
            eyes = [_eye(eye) for eye in np.atleast_1d(unbox(struct["subjects"]))]
        except (ValueError, TypeError, KeyError, IndexError):
            found = f"struct {k + 1} is not laid out as in {title}"
            raise RecordingError(source, found, remedy="get it again") from None
        for u, (duration, x, y) in enumerate(eyes):
            if not x.shape == y.shape == duration.shape:
                problem = f"x, y and duration of user {u + 1} on {images[-1]} differ in length"
                raise RecordingError(source, problem, remedy="get it again")
            if not is_sound(duration, x, y):
                problem = f"the fixations of user {u + 1} on {images[-1]} have impossible numbers"
                raise RecordingError(source, problem, remedy="get it again")
            presentations.append((f"{name}{u + 1:02d}", images[-1], 1, duration, x, y))
    files: dict[str, Path] = {image: path / "stimuli" / image for image in images}
    there = {image: file for image, file in files.items() if file.is_file()}
    sizes = {image: image_size(there[image]) if image in there else frame for image in images}
    missing = len(images) - len(there)
    text = f"no file of {missing} of {len(images)} images; their frame is taken as {frame[0]} x {frame[1]}"
    notes = [text] if missing else []
    return FixationDataset(name, pixels_per_degree, sizes, there, fixation_table(presentations), notes)


def _eye(struct: Any) -> tuple[F64, F64, F64]:
    """Durations, x and y of one user on one image."""
    duration, x, y = (
        np.atleast_1d(np.asarray(unbox(struct[n]), np.float64)) for n in ("fix_duration", "fix_x", "fix_y")
    )
    return duration, x, y
