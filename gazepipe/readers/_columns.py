"""Columns by what their names mean, and what several trackers' tables have in common.

Vendors rename their columns from version to version and put units into the names. A column is found by its *stem*, the
letters and digits before the brackets in lower case, and the *unit* in the brackets, with ADCS for DACS (Tobii's old
and new word for the screen's coordinates) and one μ for Unicode's two.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.recording import EyeSamples

__all__ = ["LARGEST", "clean_eye", "find_column", "label_runs", "mean_of_positive", "normalise", "number_stimuli"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

_UNITS = re.compile(r"\A(.*?)\s*[\[(]([^\[\]()]*)[\])]\s*\Z", re.DOTALL)
#: Numbers beyond it are damage.
LARGEST = 1e30  # float32 holds more, but no gaze, pupil or distance is near


def normalise(name: str) -> tuple[str, str]:
    """Return stem and unit of a column's name: ``Gaze point X [DACS px]`` → ``("gazepointx", "dacspx")``."""
    match = _UNITS.match(name)
    stem, unit = match.groups() if match else (name, "")
    unit = re.sub(r"\s", "", unicodedata.normalize("NFKC", unit).lower()).replace("μ", "u")
    return re.sub(r"[^a-z0-9]", "", stem.lower()), re.sub(r"^adcs", "dacs", unit)


def find_column(names: list[tuple[str, str]], stems: tuple[str, ...], units: tuple[str, ...]) -> int | None:
    """Index of the first column with one of the stems and units, the earlier ones preferred."""
    wanted = ((stem, unit) for stem in stems for unit in units)
    return next((names.index(key) for key in wanted if key in names), None)


def mean_of_positive(values: list[F64]) -> F32:
    """Mean of what is there of each sample; a distance or diameter that is not positive is not there."""
    table = np.stack(values)
    there = (table > 0) & (table < LARGEST)
    count = there.sum(axis=0)
    total = np.where(there, table, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def number_stimuli(shown: Texts) -> F64:
    """Number of the stimulus, counted from 1, NaN where there is none."""
    new = np.append(True, shown[1:] != shown[:-1]) & (shown != "")
    return np.where(shown != "", np.cumsum(new), np.nan).astype(np.float64)


def clean_eye(x: F64, y: F64, pupil: F64 | None, lost: npt.NDArray[np.bool_]) -> EyeSamples:
    """Return one eye's samples; x and y are NaN where either is missing or `lost`, a pupil where it is not positive."""
    missing = ~((np.abs(x) < LARGEST) & (np.abs(y) < LARGEST)) | lost
    size = np.full(x.size, np.nan) if pupil is None else pupil
    size = np.where((size > 0) & (size < LARGEST), size, np.nan)
    x, y = np.where(missing, np.nan, x), np.where(missing, np.nan, y)
    return EyeSamples(x.astype(np.float32), y.astype(np.float32), size.astype(np.float32))


def label_runs(
    labels: Texts, time_ms: F64, block_start: npt.NDArray[np.int64], indices: list[F64], kinds: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[Any]]]:
    """Events as runs of equal labels, of those in `kinds`.

    Parameters
    ----------
    labels
        Of each sample, upper or lower case.
    time_ms, block_start
        Of the samples; no run goes over a block's start.
    indices
        Further values per sample that end a run by changing, NaN being a value of its own.
    kinds
        Labels that are events, in lower case.

    Returns
    -------
    first : numpy.ndarray
        First sample of each event.
    events : dict
        ``kind, onset_ms, offset_ms``, the last being the time of the last sample.
    """
    words = np.char.lower(labels.astype(str))
    new = np.append(True, words[1:] != words[:-1])[: words.size]
    new[block_start] = True
    for index in indices:
        filled = np.nan_to_num(index, nan=-1.0)
        new[1:] |= filled[1:] != filled[:-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], words.size) - 1
    events = np.isin(words[first], kinds)
    first, last = first[events], last[events]
    return first, {"kind": words[first], "onset_ms": time_ms[first], "offset_ms": time_ms[last]}
