"""Which file a stimulus's name means, and the study's images at map size."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.errors import GazepipeError, StimulusError
from gazepipe.images import image_size, read_rgb
from gazepipe.readers.marker_mapper import reference_digest
from gazepipe.recipe import digest_file
from gazepipe.words import counted, form

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["SUFFIXES", "StudyImages", "stimulus_index", "unmatched_stimuli"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def stimulus_index(folder: Path) -> dict[str, Path]:
    """Images below a folder, by file name and by name without suffix (in lower case).

    Raises
    ------
    StimulusError
        If the folder, or one in it, cannot be looked into: its images would seem to be missing.
    """
    index: dict[str, Path] = {}
    if folder.is_dir():
        for path in sorted(_files_below(folder)):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                index.setdefault(path.name.lower(), path)
                index.setdefault(path.stem.lower(), path)
    return index


def _files_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        msg = f"{error.filename}: the folder of images cannot be looked into ({error.strerror}); let this user read it."
        raise StimulusError(msg) from None

    for here, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(here, name) for name in names)


def unmatched_stimuli(study: Study, named: Mapping[str, Iterable[str]], *, whole: bool) -> list[str]:
    """Sentences about images that trials name and that are not in the folder, and about the reverse.

    Parameters
    ----------
    study
        Whose folder of images it is.
    named
        Recording → the stimuli of its trials.
    whole
        Whether these are all recordings of the study; only then can an image be said not to be shown.
    """
    try:
        files = stimulus_index(study.stimuli)
    except StimulusError as error:
        return [str(error)]
    missing: dict[str, list[str]] = {}
    used: set[Path] = set()
    for recording, stimuli in sorted(named.items()):
        for name in stimuli:
            if path := files.get(name.lower()):
                used.add(path)
            elif name:
                missing.setdefault(name, []).append(recording)
    found = []
    if missing:
        n = len({r for names in missing.values() for r in names})
        where = study.stimuli if study.stimuli.is_dir() else f"{study.stimuli}, which is no folder"
        found.append(
            f"{counted(len(missing), 'image')} that trials of {counted(n, 'recording')} name "
            f"{form(len(missing), 'is', 'are')} not in {where} ({_some(sorted(missing))}); "
            "build-psm will leave their trials out"
        )
    idle = sorted({p.name for p in files.values()} - {p.name for p in used})
    if whole and named and idle:
        are = form(len(idle), "is", "are")
        found.append(f"{counted(len(idle), 'image')} in {study.stimuli} {are} shown in no trial ({_some(idle)})")
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


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
