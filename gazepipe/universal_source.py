"""Where the universal map of an image comes from: people who looked at it, a predictor, or a folder."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import store
from gazepipe.deepgaze import DeepGaze
from gazepipe.errors import ConfigError, StimulusError
from gazepipe.images import read_rgb, resized_rgb
from gazepipe.map_folder import MapFolder
from gazepipe.models import load_model
from gazepipe.readout import ReadoutNet
from gazepipe.recipe import digest_file
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study
from gazepipe.train import split_from
from gazepipe.universal import UniversalNet
from gazepipe.universal_maps import deepgaze_of

__all__ = ["UniversalSource", "digest_pixels"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
_CHOICES = ("auto", "store", "predicted", "deepgaze")


def digest_pixels(pixels: U8) -> str:
    """Digest of an image's pixels, that no digest of a file is."""
    return "pixels " + hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()


class UniversalSource:
    """Finds the universal map of an image, from where the user said."""

    def __init__(self, study: Study, choice: str, where: torch.device) -> None:
        self.size = (study.config.psm.height, study.config.psm.width)
        self.choice, self.where, self.study = choice, where, study
        self.folder: MapFolder | None = None
        if choice not in _CHOICES:
            if not Path(choice).is_dir():
                msg = f"--usm {choice}: no such folder; expected {', '.join(_CHOICES)} or a folder of maps."
                raise ConfigError(msg)
            self.folder = MapFolder(Path(choice), self.size, f"--usm {choice}")
        self.stored: dict[str, F32] = {}
        if choice in ("auto", "store"):
            self.stored = self._by_content()
        self.net: UniversalNet | ReadoutNet | None = None
        self.deepgaze: DeepGaze | None = None
        self._lock = threading.Lock()

    def _by_content(self) -> dict[str, F32]:
        """Stored maps by the digests of the image's file and, where there are any, of its pixels at map size.

        So another image of the same name is not taken for it.
        """
        pack = store.load(self.study.stimuli_file, "gazepipe.stimuli")
        table = pack.group("table")
        usm = store.load(self.study.usm_file, "gazepipe.usm")
        row = {str(s): i for i, s in enumerate(usm.arrays["table/stimulus"])}
        found: dict[str, F32] = {}
        for i, (stimulus, digest) in enumerate(zip(table["stimulus"], table["digest"], strict=True)):
            if str(stimulus) in row:
                found[str(digest)] = usm.arrays["maps"][row[str(stimulus)]]
                if "images" in pack.arrays:
                    found[digest_pixels(pack.arrays["images"][i])] = found[str(digest)]
        return found

    def find(self, image: Path | U8, small: U8) -> tuple[F32, str]:
        """Return the universal map of an image and where it is from; without a file, pixels at map size tell which."""
        if self.folder is not None:
            return self.folder.find(self._file(image, "a folder has maps")), "folder"
        if self.choice in ("auto", "store"):
            found = self.stored.get(digest_file(image) if isinstance(image, Path) else digest_pixels(small))
            if found is not None:
                return found, "store"
            if self.choice == "store":
                shown = image if isinstance(image, Path) else "image"
                msg = f"{shown}: nobody in the store has looked at this image; use --usm predicted or --usm DIR."
                raise StimulusError(msg)
        if self.choice == "deepgaze" or (self.choice == "auto" and self.study.config.universal.predictor == "deepgaze"):
            return self._from_deepgaze(self._file(image, "DeepGaze IIE has maps")), "deepgaze"
        return self._predicted(image, small), "predicted"

    def _file(self, image: Path | U8, what: str) -> Path:
        if isinstance(image, Path):
            return image
        msg = f"--usm {self.choice}: {what} of files only; give the map itself as usm."
        raise ConfigError(msg)

    @torch.inference_mode()
    def _predicted(self, image: Path | U8, small: U8) -> F32:
        with self._lock:
            if self.net is None:
                self.net = load_model(self.study, "universal", self.where).net
            net = self.net
        assert net is not None
        shown = small
        if net.size is not None:
            size = (net.size[1], net.size[0])
            shown = read_rgb(image, size) if isinstance(image, Path) else resized_rgb(image, size)
        maps = net.predict(torch.from_numpy(shown[None]).to(self.where), self.size)
        result: F32 = maps[0].float().cpu().numpy()
        return result

    def _from_deepgaze(self, path: Path) -> F32:
        with self._lock:
            if self.deepgaze is None:
                corpus = load_corpus(self.study)
                split = split_from(corpus, load_model(self.study, "embedding").info)
                self.deepgaze = deepgaze_of(self.study, corpus, split, self.where)
        return self.deepgaze.find(path)
