"""Universal maps that somebody else made: a folder of files named like the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError, GazepipeError, StimulusError
from gazepipe.images import read_rgb
from gazepipe.parallel import Aside
from gazepipe.recipe import digest_folder
from gazepipe.stimuli import SUFFIXES

__all__ = ["MapFolder"]

F32 = npt.NDArray[np.float32]
_ARRAYS = (".npy", ".mat")


class MapFolder:
    """Maps by the name of their image, without suffix: NumPy or MATLAB arrays, or grey images, of any size.

    Parameters
    ----------
    folder
        Searched with all folders below it.
    size
        Height and width of the maps wanted.
    option
        What the user wrote to name the folder, for messages.

    Raises
    ------
    ConfigError
        If there is no such folder.
    """

    def __init__(self, folder: Path, size: tuple[int, int], option: str) -> None:
        if not folder.is_dir():
            msg = f"{option}: no such folder; expected a folder of maps named like the images."
            raise ConfigError(msg)
        self.folder, self.size = folder, size
        found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in {*_ARRAYS, *SUFFIXES} and p.is_file()]
        self.files: dict[str, Path] = {}
        for path in sorted(found, key=lambda p: p.suffix.lower() not in _ARRAYS):  # an array tells more than a picture
            if not path.name.startswith("."):
                self.files.setdefault(path.stem.lower(), path)

    def digest(self) -> str:
        """Digest of the names and bytes of all maps."""
        return digest_folder(self.folder, self.files.values())

    def find(self, image: Path) -> F32:
        """Map of an image with maximum one, ``size``.

        Raises
        ------
        StimulusError
            If there is none, or what is there is no saliency map.
        """
        stem = image.stem
        path = self.files.get(stem.lower())
        if path is None:
            msg = f"{image}: {self.folder} has no map of it; expected {stem}.npy, {stem}.mat or {stem}.png."
            raise StimulusError(msg)
        values = _read(path)
        if (
            values.ndim != 2
            or not values.size
            or not np.isfinite(values).all()
            or values.min() < 0
            or values.max() <= 0
        ):
            low, high = (f"{v:g}" for v in (values.min(), values.max())) if values.size else ("none", "none")
            found = f"shape {values.shape}, values {low} to {high}"
            msg = f"{path}: no saliency map ({found}); expected two dimensions, finite values of 0 and more, not all 0."
            raise StimulusError(msg)
        import cv2

        height, width = self.size
        smaller = values.shape[0] * values.shape[1] > height * width
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        resized: F32 = np.asarray(cv2.resize(values, (width, height), interpolation=how), np.float32)
        resized /= resized.max()
        return resized


def _read(path: Path) -> F32:
    kind = path.suffix.lower()
    try:
        if kind == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float32)
        if kind == ".mat":
            return _only_matrix(path)
        grey: F32 = read_rgb(path).astype(np.float32).mean(2, dtype=np.float32)
        return grey
    except GazepipeError:
        raise
    except Exception as error:  # whatever a damaged array makes the readers raise
        msg = f"{path}: not a map ({error or type(error).__name__}); expected an array of shape (height, width)."
        raise StimulusError(msg) from None


_PARSER = Aside()


def _only_matrix(path: Path) -> F32:
    """Read the matrix of a MATLAB file; SciPy's parser runs in a process of its own, which a damaged file may end."""
    found, names, problem = _PARSER(_matrices, path) or ([], [], "it ends the program that reads it")
    if problem:
        msg = f"{path}: not a map ({problem}); expected an array of shape (height, width)."
        raise StimulusError(msg)
    if len(found) != 1:
        msg = f"{path}: holds {len(found)} matrices of numbers ({', '.join(names) or 'nothing'}); expected one."
        raise StimulusError(msg)
    return found[0]


def _matrices(path: Path) -> tuple[list[F32], list[str], str]:
    """Matrices of numbers, the names of all that is there, and what is wrong."""
    from scipy.io import loadmat

    try:
        content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    except Exception as error:  # whatever a damaged file makes the parser raise
        return [], [], f"{type(error).__name__}: {str(error)[:80]}"
    found = [v for v in content.values() if isinstance(v, np.ndarray) and v.dtype.kind in "fiub" and min(v.shape) > 1]
    return [v.astype(np.float32) for v in found], sorted(content), ""
