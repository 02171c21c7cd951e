"""Which file a stimulus's name means, and the study's images at map size."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.errors import GazepipeError
from gazepipe.images import image_size, read_rgb
from gazepipe.readers.marker_mapper import reference_digest
from gazepipe.recipe import digest_file

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["SUFFIXES", "StudyImages", "stimulus_index"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def stimulus_index(folder: Path) -> dict[str, Path]:
    """Images below a folder, by file name and by name without suffix (in lower case)."""
    index: dict[str, Path] = {}
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                index.setdefault(path.name.lower(), path)
                index.setdefault(path.stem.lower(), path)
    return index


class StudyImages:
    """The images of a study: each is decoded once at most, and not at all where the store has it already."""

    def __init__(self, study: Study) -> None:
        self.files = stimulus_index(study.stimuli)
        self.size = (study.config.psm.width, study.config.psm.height)
        self._pixels: dict[Path, npt.NDArray[np.uint8]] = {}
        self._digests: dict[Path, str] = {}
        self._stored: set[str] = set()
        with contextlib.suppress(GazepipeError):
            pack = store.load(study.stimuli_file, "gazepipe.stimuli", only=("table/digest",))
            self._stored = {str(d) for d in pack.arrays["table/digest"]}

    def find(self, stimulus: str) -> Path | None:
        """File of a stimulus, whether named with or without suffix; a mapper's reference image is found by content."""
        wanted = reference_digest(stimulus)
        if not wanted:
            return self.files.get(stimulus.lower())
        return next((path for path in self.files.values() if self.digest(path).startswith(wanted)), None)

    def digest(self, path: Path) -> str:
        """Digest of the file's bytes."""
        if path not in self._digests:
            self._digests[path] = digest_file(path)
        return self._digests[path]

    def pixels(self, path: Path) -> npt.NDArray[np.uint8]:
        """Return the image at map size."""
        if path not in self._pixels:
            self._pixels[path] = read_rgb(path, self.size)
        return self._pixels[path]

    def checked_size(self, path: Path) -> tuple[int, int]:
        """Width and height in pixels; `StimulusError` if the image cannot be decoded, whatever its header says."""
        if self.digest(path) not in self._stored:
            self.pixels(path)
        return image_size(path)
