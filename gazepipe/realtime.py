"""Personal maps within milliseconds: everything loaded and every person's kernels made beforehand.

predictor = Predictor.open(Study.open(folder), ["anna", "ben"])
maps = predictor(pixels)  # (2, H, W)
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from gazepipe import compute
from gazepipe.enrol import load_gallery
from gazepipe.errors import NothingToDoError, StimulusError
from gazepipe.inference import FastRefiner
from gazepipe.models import load_model, load_refiner, model_recipe
from gazepipe.refiner import RefinerNet, refine, scene_input
from gazepipe.study import Study
from gazepipe.train import settings
from gazepipe.universal import UniversalNet

__all__ = ["Predictor"]

F32 = npt.NDArray[np.float32]


class Predictor:
    """Maps of some people, image after image.

    Parameters
    ----------
    refiner
        The trained refiner.
    embeddings
        Of the people, ``(users, d)``.
    size
        Height and width of the maps.
    universal
        Predictor of universal maps; None if every call brings one.
    combine
        How the discrepancy joins the universal map, see `gazepipe.refiner.refine`.
    """

    def __init__(
        self,
        refiner: RefinerNet,
        embeddings: npt.ArrayLike,
        size: tuple[int, int],
        *,
        universal: UniversalNet | None = None,
        combine: str = "gated",
    ) -> None:
        self.where = next(refiner.parameters()).device
        people = torch.from_numpy(np.atleast_2d(np.ascontiguousarray(embeddings, np.float32))).to(self.where)
        self.refiner = FastRefiner(refiner, people, compute.autocast_dtype(self.where))
        self.pixels, self.size = refiner.channels == 4, size
        self.universal, self.combine = universal, combine

    @classmethod
    def open(cls, study: Study, users: Sequence[str], *, device: str = "auto", threads: int | None = 1) -> Predictor:
        """Load what a study has trained and enrolled.

        One thread answers a single image soonest on a machine that does other work, too.

        Raises
        ------
        NothingToDoError
            If nothing is trained, or a user is not enrolled or was with another network.
        """
        where = compute.device(device)
        compute.use_threads(threads)
        gallery = load_gallery(study)
        if gallery.model != model_recipe(study.model_file("embedding")):
            msg = f"{study.gallery_file}: its embeddings are of a network trained before; run `gazepipe enrol` again."
            raise NothingToDoError(msg)
        embeddings = np.stack([gallery[user].embedding for user in users])
        universal = load_model(study, "universal", where).net if study.model_file("universal").is_file() else None
        psm = study.config.psm
        return cls(
            load_refiner(study, gallery.model, where).net,
            embeddings,
            (psm.height, psm.width),
            universal=universal,
            combine=settings(study).refiner.combine,
        )

    @torch.inference_mode()
    def __call__(self, pixels: npt.NDArray[np.uint8], usm: npt.ArrayLike | None = None) -> F32:
        """Maps of all the people on one image.

        Parameters
        ----------
        pixels
            ``(height, width, 3)`` uint8 RGB, of any size.
        usm
            Universal map of the image, ``(H, W)`` with a maximum of one; predicted if None.

        Returns
        -------
        numpy.ndarray
            Not negative, ``(users, H, W)`` float32.

        Raises
        ------
        StimulusError
            If the image or the universal map has another shape or type, or a map is needed and cannot be predicted.
        """
        small = torch.from_numpy(self._scaled(pixels))[None].to(self.where)
        if usm is not None:
            universal = torch.from_numpy(np.array(usm, np.float32))[None].to(self.where)
            if universal.shape[1:] != self.size:
                found = tuple(universal.shape[1:])
                msg = f"universal map of shape {found}; expected {self.size}, the size of the study's maps."
                raise StimulusError(msg)
        elif self.universal is None:
            msg = "no universal predictor is trained for this study; give the image's universal map with each call."
            raise StimulusError(msg)
        else:
            universal = self.universal.predict(small, self.size).float()
        delta = self.refiner(scene_input(small if self.pixels else None, universal))[0]  # (users, 15, 20)
        result: F32 = refine(universal.expand(len(delta), -1, -1), delta, self.combine).cpu().numpy()
        return result

    def _scaled(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            msg = f"image of shape {pixels.shape}, {pixels.dtype}; expected (height, width, 3) uint8, RGB."
            raise StimulusError(msg)
        height, width = self.size
        if pixels.shape[:2] == self.size:
            return np.ascontiguousarray(pixels)
        smaller = height * width < pixels.shape[0] * pixels.shape[1]
        scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        return np.ascontiguousarray(scaled, np.uint8)
