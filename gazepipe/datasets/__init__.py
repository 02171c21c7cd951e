"""Published data sets, read from the folders that their authors distribute.

A data set is one module; its name in `_MODULES` or `_RAW_MODULES` is all that must be added here. One of fixations has
a `load`. One of raw gaze has `settings`: it says how its files are ingested like a lab's own, and nothing more. The one
called ``table`` is whatever data set somebody has written as one table.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from gazepipe.datasets.dataset import FixationDataset
from gazepipe.errors import RecordingError

__all__ = ["DATASETS", "RAW_DATASETS", "FixationDataset", "load_dataset", "raw_settings"]

_MODULES = {
    "osie": "gazepipe.datasets.osie",
    "ps": "gazepipe.datasets.ps",
    "crowd": "gazepipe.datasets.crowd",
    "table": "gazepipe.datasets.table",
}

_RAW_MODULES = {
    "doves": "gazepipe.datasets.doves",
}

#: Names that `load_dataset` knows.
DATASETS = tuple(_MODULES)

#: Names that `raw_settings` knows.
RAW_DATASETS = tuple(_RAW_MODULES)


def load_dataset(name: str, path: Path, **options: Any) -> FixationDataset:
    """Read a data set.

    Parameters
    ----------
    name
        One of `DATASETS`.
    path
        The folder that holds it; of ``table`` the file.
    options
        Passed to the data set's `load` (``ps`` takes ``images``, ``table`` more).

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
    dataset: FixationDataset = importlib.import_module(_MODULES[name]).load(
        Path(path) if name == "table" else _folder(name, path), **options
    )
    return dataset


def raw_settings(name: str, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration under which a data set of raw gaze is ingested.

    Parameters
    ----------
    name
        One of `RAW_DATASETS`.
    path
        The folder that holds it.

    Returns
    -------
    tuple
        Values for `gazepipe.config.template`, nested like the file, and one sentence for everything that is missing.

    Raises
    ------
    RecordingError
        If the folder does not hold the data set.
    """
    found: tuple[dict[str, Any], list[str]] = importlib.import_module(_RAW_MODULES[name]).settings(_folder(name, path))
    return found


def _folder(name: str, path: Path) -> Path:
    path = Path(path)
    if not path.is_dir():
        raise RecordingError(path, "there is no such folder", remedy=f"name the folder of the data set {name}")
    return path
