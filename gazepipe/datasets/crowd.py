"""NUS crowd: 16 people, 500 images of crowds of 1024 x 768 pixels, free viewing.

Jiang, M., Xu, J., & Zhao, Q. (2014). Saliency in crowd. ECCV, 17-32. The folder is that of the authors' repository,
``data/eye/fixations.mat`` and ``data/stimuli/*.jpg``, in OSIE's layout. That it is OSIE's is taken from the authors'
own programs that read the file (``computeFixationMaps.m``, ``showEyeData.m``); the file itself was not at hand.
"""

from __future__ import annotations

from pathlib import Path

from gazepipe.datasets.dataset import FixationDataset
from gazepipe.datasets.osie import load_layout

__all__ = ["load"]

_FRAME = (1024, 768)
_PIXELS_PER_DEGREE = 26.0  # the authors blur fixations with 26 px for one degree


def load(path: Path) -> FixationDataset:
    """Read NUS crowd.

    Parameters
    ----------
    path
        Folder of the repository, or its ``data``. Images may be missing; their frame is then taken as 1024 x 768.

    Returns
    -------
    FixationDataset
        Users ``crowd01`` …, numbered as in the file; one presentation each, so that ``repeat`` is 1.

    Raises
    ------
    RecordingError
        If ``eye/fixations.mat`` is missing, damaged or of another layout.
    """
    return load_layout(path, "crowd", "NUS crowd", _FRAME, _PIXELS_PER_DEGREE)
