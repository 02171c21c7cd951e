"""Published fixation data sets, read from the folders that their authors distribute.

A data set is one module that has a `load`; its name in `_MODULES` is all that must be added here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from gazepipe.datasets.dataset import FixationDataset
from gazepipe.errors import RecordingError

__all__ = ["DATASETS", "FixationDataset", "load_dataset"]

_MODULES = {
    "osie": "gazepipe.datasets.osie",
    "ps": "gazepipe.datasets.ps",
}

#: Names that `load_dataset` knows.
DATASETS = tuple(_MODULES)


def load_dataset(name: str, path: Path, **options: Any) -> FixationDataset:
    """Read a data set.

    Parameters
    ----------
    name
        One of `DATASETS`.
    path
        The folder that holds it.
    options
        Passed to the data set's `load` (``ps`` takes ``images``).

    Raises
    ------
    RecordingError
        If a file is missing, damaged or of another layout.
    ValueError
        If there is no data set of that name.
    """
    if name not in _MODULES:
        msg = f"there is no data set {name!r}; expected one of {', '.join(DATASETS)}."
        raise ValueError(msg)
    path = Path(path)
    if not path.is_dir():
        raise RecordingError(path, "there is no such folder", remedy=f"name the folder of the data set {name}")
    dataset: FixationDataset = importlib.import_module(_MODULES[name]).load(path, **options)
    return dataset
