"""What every data set gives, and how MATLAB files are opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError
from gazepipe.parallel import Aside

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FixationDataset", "Presentation", "fixation_table", "is_sound", "load_mat", "unbox"]

_FAR, _LONG_MS = 1e6, 1e7


@dataclass(frozen=True, slots=True)
class FixationDataset:
    """Fixations of many users on many images.

    Parameters
    ----------
    name
        Short name, for example ``"osie"``.
    pixels_per_degree
        Stimulus pixels in one degree of visual angle.
    stimulus_px
        Image name → (width, height) of the frame that the coordinates are in.
    image_paths
        Image name → file, only for images that were found.
    fixations
        One row a fixation: ``user`` (str), ``stimulus`` (str), ``repeat`` (int, from 1), ``index`` (int, order in the
        presentation, from 0), ``duration_ms``, ``x_px``, ``y_px`` (stimulus pixels, origin at the top-left corner).
    notes
        One sentence for each thing that was left out or decided.
    """

    name: str
    pixels_per_degree: float
    stimulus_px: Mapping[str, tuple[int, int]]
    image_paths: Mapping[str, Path]
    fixations: pd.DataFrame
    notes: Sequence[str] = ()


#: One presentation: user, stimulus, repeat, durations, x, y.
Presentation = tuple[str, str, int, npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def fixation_table(presentations: Sequence[Presentation]) -> pd.DataFrame:
    """Join presentations into the table that `FixationDataset.fixations` is."""
    import pandas as pd

    counts = np.array([len(p[3]) for p in presentations], np.int64)
    first = np.repeat(np.cumsum(counts) - counts, counts)

    def joined(k: int) -> npt.NDArray[np.float64]:
        return np.concatenate([np.asarray(p[k], np.float64) for p in presentations]) if presentations else np.empty(0)

    return pd.DataFrame(
        {
            "user": np.repeat(np.array([p[0] for p in presentations], object), counts),
            "stimulus": np.repeat(np.array([p[1] for p in presentations], object), counts),
            "repeat": np.repeat(np.array([p[2] for p in presentations], np.int64), counts),
            "index": np.arange(counts.sum()) - first,
            "duration_ms": joined(3),
            "x_px": joined(4),
            "y_px": joined(5),
        }
    )


def load_mat(path: Path, variable: str, fields: Sequence[str]) -> npt.NDArray[Any]:
    """Read a flat array of structs from a MATLAB file.

    SciPy's parser runs in a process of its own: some damaged files make it read or write where it must not, which
    ends the process. Files that MATLAB compressed have checksums, others do not.

    Returns
    -------
    ndarray
        The structs, shape ``(n,)``; each element is a record with `fields`.

    Raises
    ------
    RecordingError
        If the file is missing, damaged, or has no such variable with such fields.
    """
    expected = f"a MATLAB file with the struct array {variable} ({', '.join(fields)})"
    if not path.is_file():
        raise RecordingError(path, "there is no such file", expected=expected, remedy="get the data set again")
    structs, there = _PARSER(_parse, path, variable) or (None, "it ends the program that reads it")
    if structs is None:
        found = f"the file is damaged or no MATLAB file ({there})"
        raise RecordingError(path, found, expected=expected, remedy="get the data set again")
    first = structs.flat[0] if structs.size else None
    names = getattr(getattr(first, "dtype", None), "names", None) or ()
    if not set(fields) <= set(names):
        raise RecordingError(path, f"it holds {there}, not in this layout", expected=expected)
    return structs.ravel()


_PARSER = Aside()


def _parse(path: Path, variable: str) -> tuple[npt.NDArray[Any] | None, str]:
    """Return a variable as an array, and the names of all there are; or None, and what is wrong."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=True)
    except Exception as error:  # scipy raises whatever its parser runs into on damaged files
        return None, f"{type(error).__name__}: {str(error)[:80]}"
    names = ", ".join(k for k in content if not k.startswith("__")) or "nothing"
    return np.atleast_1d(content.get(variable, np.empty(0))), names


def is_sound(duration_ms: npt.NDArray[Any], x: npt.NDArray[Any], y: npt.NDArray[Any]) -> bool:
    """Whether fixations have numbers that can be true; files without checksums may have any."""
    return bool((np.abs([x, y]) < _FAR).all() and ((duration_ms >= 0) & (duration_ms < _LONG_MS)).all())


def unbox(value: Any) -> Any:
    """Take a value out of the zero-dimensional arrays that MATLAB structs come in."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        value = value.item()
    return value
