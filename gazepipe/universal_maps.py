"""Where the universal map of an image comes from: people who looked at it, the built-in predictor, or a folder."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import store
from gazepipe.errors import ConfigError, StimulusError
from gazepipe.images import read_rgb
from gazepipe.models import load_model
from gazepipe.recipe import digest_file
from gazepipe.stimuli import stimulus_index
from gazepipe.study import Study
from gazepipe.universal import UniversalNet

__all__ = ["UniversalMaps"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


def _digest_pixels(pixels: U8) -> str:
    return "pixels " + hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()


class UniversalMaps:
    """Finds the universal map of an image, from where the user said."""

    def __init__(self, study: Study, choice: str, where: torch.device) -> None:
        self.size = (study.config.psm.height, study.config.psm.width)
        self.choice, self.where, self.study = choice, where, study
        self.folder = Path(choice) if choice not in ("auto", "store", "predicted") else None
        if self.folder is not None and not self.folder.is_dir():
            msg = f"--usm {choice}: no such folder; expected store, predicted, auto or a folder of maps."
            raise ConfigError(msg)
        self.stored: dict[str, F32] = {}
        if choice in ("auto", "store"):
            self.stored = self._by_content()
        self.net: UniversalNet | None = None
        self._lock = threading.Lock()

    def _by_content(self) -> dict[str, F32]:
        """Stored maps by the digests of the image's file and of its pixels at map size.

        So another image of the same name is not taken for it.
        """
        pack = store.load(self.study.stimuli_file, "gazepipe.stimuli")
        table = pack.group("table")
        usm = store.load(self.study.usm_file, "gazepipe.usm")
        row = {str(s): i for i, s in enumerate(usm.arrays["table/stimulus"])}
        found: dict[str, F32] = {}
        for stimulus, digest, pixels in zip(table["stimulus"], table["digest"], pack.arrays["images"], strict=True):
            if str(stimulus) in row:
                found[str(digest)] = found[_digest_pixels(pixels)] = usm.arrays["maps"][row[str(stimulus)]]
        return found

    def find(self, path: Path | None, small: U8) -> tuple[F32, str]:
        """Return the universal map of an image and where it is from; without a file, pixels at map size tell which."""
        if self.folder is not None and path is None:
            msg = f"--usm {self.choice}: a folder has maps of files only; give the map itself as usm."
            raise ConfigError(msg)
        if self.folder is not None:
            assert path is not None
            return self._from_folder(path), "folder"
        if self.choice != "predicted":
            key = _digest_pixels(small) if path is None else digest_file(path)
            found = self.stored.get(key)
            if found is not None:
                return found, "store"
            if self.choice == "store":
                shown = path or "image"
                msg = f"{shown}: nobody in the store has looked at this image; use --usm predicted or --usm DIR."
                raise StimulusError(msg)
        with self._lock:
            if self.net is None:
                self.net = load_model(self.study, "universal", self.where).net
        with torch.inference_mode():
            maps = self.net.predict(torch.from_numpy(small[None]).to(self.where), self.size)
        result: F32 = maps[0].float().cpu().numpy()
        return result, "predicted"

    def _from_folder(self, path: Path) -> F32:
        assert self.folder is not None
        array = self.folder / f"{path.stem}.npy"
        if array.is_file():
            try:
                values = np.load(array, allow_pickle=False).astype(np.float32)
            except (ValueError, OSError, TypeError) as error:
                msg = f"{array}: not a map ({error}); expected an array of shape (height, width)."
                raise StimulusError(msg) from None
        else:
            picture = stimulus_index(self.folder).get(path.stem.lower())
            if picture is None:
                msg = f"{path}: {self.folder} has no map of it; expected {path.stem}.npy or {path.stem}.png."
                raise StimulusError(msg)
            values = read_rgb(picture).astype(np.float32).mean(2)
        if values.ndim != 2 or not np.isfinite(values).all() or values.min() < 0 or values.max() <= 0:
            msg = f"{path}: its map in {self.folder} is no saliency map; expected two dimensions, values of 0 and more."
            raise StimulusError(msg)
        import cv2

        resized: F32 = cv2.resize(values, self.size[::-1], interpolation=cv2.INTER_AREA)
        resized /= resized.max()
        return resized
