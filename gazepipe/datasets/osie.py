"""OSIE: 15 people, 700 colour images of 800 x 600 pixels, free viewing for 3 s.

Xu, J., Jiang, M., Wang, S., Kankanhalli, M. S., & Zhao, Q. (2014). Predicting human gaze beyond pixels. Journal of
Vision, 14(1):28. The folder is that of the authors' repository: ``eye/fixations.mat`` and ``stimuli/*.jpg``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.datasets.dataset import FixationDataset, Presentation, fixation_table, is_sound, load_mat, unbox
from gazepipe.errors import RecordingError
from gazepipe.images import image_size

__all__ = ["load"]

F64 = npt.NDArray[np.float64]
_FRAME = (800, 600)
_PIXELS_PER_DEGREE = 24.0  # the authors blur fixations with 24 px for one degree


def load(path: Path) -> FixationDataset:
    """Read OSIE.

    Parameters
    ----------
    path
        Folder with ``eye`` and ``stimuli``. Images may be missing; their frame is then taken as 800 x 600.

    Returns
    -------
    FixationDataset
        Users ``osie01`` … ``osie15``, numbered as in the file; one presentation each, so that ``repeat`` is 1.

    Raises
    ------
    RecordingError
        If ``eye/fixations.mat`` is missing, damaged or of another layout.
    """
    source = path / "eye" / "fixations.mat"
    structs = load_mat(source, "fixations", ("img", "subjects"))
    presentations: list[Presentation] = []
    images = []
    for k, struct in enumerate(structs):
        try:
            images.append(str(unbox(struct["img"])))
            eyes = [_eye(eye) for eye in np.atleast_1d(unbox(struct["subjects"]))]
        except (ValueError, TypeError, KeyError, IndexError):
            raise RecordingError(source, f"struct {k + 1} is not laid out as in OSIE", remedy="get it again") from None
        for u, (duration, x, y) in enumerate(eyes):
            if not x.shape == y.shape == duration.shape:
                problem = f"x, y and duration of user {u + 1} on {images[-1]} differ in length"
                raise RecordingError(source, problem, remedy="get it again")
            if not is_sound(duration, x, y):
                problem = f"the fixations of user {u + 1} on {images[-1]} have impossible numbers"
                raise RecordingError(source, problem, remedy="get it again")
            presentations.append((f"osie{u + 1:02d}", images[-1], 1, duration, x, y))
    files: dict[str, Path] = {name: path / "stimuli" / name for name in images}
    found = {name: file for name, file in files.items() if file.is_file()}
    sizes = {name: image_size(found[name]) if name in found else _FRAME for name in images}
    missing = len(images) - len(found)
    notes = [f"{missing} of {len(images)} images are not there; their frame is taken as 800 x 600"] if missing else []
    return FixationDataset("osie", _PIXELS_PER_DEGREE, sizes, found, fixation_table(presentations), notes)


def _eye(struct: Any) -> tuple[F64, F64, F64]:
    """Durations, x and y of one user on one image."""
    duration, x, y = (
        np.atleast_1d(np.asarray(unbox(struct[n]), np.float64)) for n in ("fix_duration", "fix_x", "fix_y")
    )
    return duration, x, y
