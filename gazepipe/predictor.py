"""Personal maps as a call: open a study once, then image in, map out.

>>> from gazepipe import Predictor
>>> p = Predictor.open("study")               # doctest: +SKIP
>>> p("new.png", user="u07").shape            # doctest: +SKIP
(120, 160)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import compute
from gazepipe.content import ContentNet
from gazepipe.enrol import Enrolment, Gallery, load_gallery
from gazepipe.errors import ConfigError, NothingToDoError, StimulusError
from gazepipe.images import read_rgb, resized_rgb
from gazepipe.inference import FastRefiner, People
from gazepipe.models import load_model, load_refiner, model_recipe
from gazepipe.profiling import profiled
from gazepipe.refiner import refine, scene_input
from gazepipe.study import Study
from gazepipe.train import settings
from gazepipe.universal_source import UniversalSource, digest_pixels
from gazepipe.words import counted

__all__ = ["Predictor"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
Image = Path | str | npt.NDArray[Any]

#: People whose kernels are kept (0.15 MB each), unless a single call asks for more.
_KEPT = 256
#: Images whose content maps are kept (0.04 MB each).
_SHOWN = 256


class Predictor:
    """Predicts maps of the people in a study's gallery.

    It reads the store when it is made and never writes; who is enrolled afterwards needs another one. Calls from
    several threads at once are safe.

    Parameters
    ----------
    study
        A study, or its folder.
    usm
        Where universal maps come from unless a call says otherwise: ``"store"`` (people who looked at the image),
        ``"predicted"`` (the built-in predictor), ``"deepgaze"``, a folder of maps, or ``"auto"``: the store where it
        has the image, else what [universal] predictor says.
    device, threads
        Of the networks.
    gallery
        People in place of those enrolled.

    Raises
    ------
    NothingToDoError
        If nobody is enrolled, or with another network than the one there, or nothing is trained.

    Examples
    --------
    >>> from gazepipe import Predictor
    >>> predictor = Predictor(".")
    >>> predictor
    <Predictor: 3 people, maps of 120 × 160 by the network>
    >>> predictor("stimuli/scene01.png", user="sim01").shape
    (120, 160)
    """

    def __init__(
        self,
        study: Study | Path | str,
        *,
        usm: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        gallery: Gallery | None = None,
    ) -> None:
        self.where = compute.device(device)
        compute.use_threads(threads)
        self.study = study = Study.of(study)
        self.gallery = load_gallery(study) if gallery is None else gallery
        if self.gallery.model != model_recipe(study.model_file("embedding")):
            msg = f"{study.gallery_file}: its embeddings are of a network trained before; run `gazepipe enrol` again."
            raise NothingToDoError(msg)
        section = settings(study).refiner
        self.method, self.combine = section.method, section.combine
        self.refiner = None if self.method == "profile" else load_refiner(study, self.gallery.model, self.where)
        if self.refiner is not None:
            self._fast = FastRefiner(self.refiner.net)
        self.content = self._content()
        self.size = (study.config.psm.height, study.config.psm.width)
        self._usm = usm
        self._lock = threading.Lock()
        self._sources = {usm: UniversalSource(study, usm, self.where)}
        self._kernels: OrderedDict[tuple[str, ...], People] = OrderedDict()
        self._shown: OrderedDict[str, torch.Tensor] = OrderedDict()

    @classmethod
    def open(
        cls,
        where: Path | str | None = None,
        *,
        config: Path | str | None = None,
        to: Path | str | None = None,
        usm: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> Predictor:
        """Open a study folder (see `Study.open`) and everything that predicting needs."""
        study = Study.open(where, config=config, to=to)
        return cls(study, usm=usm, device=device, threads=threads)

    def _content(self) -> ContentNet | None:
        """What tells viewing profiles of an image; None where they need nothing of it."""
        if self.refiner is not None or not self.study.model_file("profile").is_file():
            return None
        model = load_model(self.study, "profile")
        content: ContentNet | None = model.net.content
        # Weights say nothing without the directions that they were fitted to. Older galleries know of neither.
        if (content is not None or self.gallery.profile) and self.gallery.profile != model.info["recipe"]:
            msg = (
                f"{self.study.gallery_file}: its viewing profiles are of a training before; run `gazepipe enrol` again."
            )
            raise NothingToDoError(msg)
        return content

    def __repr__(self) -> str:
        people, (height, width) = len(self.gallery.people), self.size
        return f"<Predictor: {counted(people, 'person', 'people')}, maps of {height} × {width} by the {self.method}>"

    @property
    def users(self) -> tuple[str, ...]:
        """Everybody in the gallery."""
        return tuple(p.user for p in self.gallery.people)

    @property
    def recipe(self) -> list[str]:
        """What maps depend on beside the image, its universal map and the person's `vector`."""
        if self.refiner is None:
            return [self.method] if self.content is None else [self.method, self.gallery.profile]
        return [str(self.refiner.info["recipe"]), self.combine]

    def vector(self, user: str) -> F32:
        """What maps of a person are made from: the embedding, or the viewing profile if the study uses profiles.

        Raises
        ------
        NothingToDoError
            If the person is not in the gallery or has no viewing profile there.
        """
        person = self.gallery[user]
        if self.refiner is not None:
            return person.embedding
        if person.profile is None:
            msg = f"{self.study.gallery_file}: {user!r} has no viewing profile there; run `gazepipe enrol` again."
            raise NothingToDoError(msg)
        return person.profile

    def welcome(self, person: Enrolment) -> None:
        """Take in somebody who is not in the stored gallery, or has another embedding there; nothing is stored."""
        with self._lock:
            others = tuple(p for p in self.gallery.people if p.user != person.user)
            self.gallery = replace(self.gallery, people=(*others, person))
            for users in [u for u in self._kernels if person.user in u]:
                del self._kernels[users]

    @overload
    def __call__(self, image: Image, user: str, *, usm: str | F32 | None = None) -> F32: ...

    @overload
    def __call__(self, image: Image, user: Sequence[str], *, usm: str | F32 | None = None) -> F32: ...

    def __call__(self, image: Image, user: str | Sequence[str], *, usm: str | F32 | None = None) -> F32:
        """Predict where a person, or several, will look on an image.

        Parameters
        ----------
        image
            A file, or pixels ``(height, width, 3)`` RGB or ``(height, width)`` grey, uint8, of any size.
        user
            Somebody in the gallery; or several, who share all work but their own part.
        usm
            Another source of the universal map than the predictor's, or the map itself, ``(height, width)``.

        Returns
        -------
        numpy.ndarray
            Map at the study's map size, float32, not negative, ``(H, W)``; for several people ``(n, H, W)``.

        Raises
        ------
        NothingToDoError
            If somebody is not in the gallery.
        StimulusError
            If the image or its universal map cannot be used.
        """
        several = not isinstance(user, str)
        people: list[str] = list(user) if several else [str(user)]
        shown = _checked(image) if isinstance(image, np.ndarray) else Path(image)
        size = (self.size[1], self.size[0])
        small = read_rgb(shown, size) if isinstance(shown, Path) else resized_rgb(shown, size)
        universal = self._given(usm) if isinstance(usm, np.ndarray) else self.universal(shown, small, usm)[0]
        maps = self.maps(small, universal, people)
        return maps if several else maps[0]

    def universal(self, image: Path | U8, small: U8, usm: str | None = None) -> tuple[F32, str]:
        """Universal map of an image, a file or pixels, which come at map size, too; and where it is from."""
        return self._source(self._usm if usm is None else usm).find(image, small)

    @torch.inference_mode()
    def maps(self, small: U8, usm: F32, users: Sequence[str]) -> F32:
        """Maps ``(n, H, W)`` of n people of one image at map size, from its universal map; the trunk runs once."""
        if self.refiner is None:
            profiles = [torch.from_numpy(self.vector(user)) for user in users]
            content = self._content_of(small)
            return np.stack([profiled(usm[None], profile, content)[0] for profile in profiles])
        universal = torch.from_numpy(np.ascontiguousarray(usm, np.float32))[None].to(self.where)
        rgb = torch.from_numpy(small[None]).to(self.where) if self.refiner.net.channels == 4 else None
        delta = self._fast(scene_input(rgb, universal), self._kernels_of(tuple(users)))[0]  # (n, 15, 20)
        found: F32 = refine(universal.expand(len(delta), -1, -1), delta, self.combine).cpu().numpy()
        return found

    def _content_of(self, small: U8) -> torch.Tensor | None:
        """Content maps ``(1, directions, h, w)`` of an image at map size, kept while it is among the last ones shown.

        The backbone takes many times as long as all the rest, and the same image is often asked for again, for others.
        """
        if self.content is None:
            return None
        key = digest_pixels(small)
        with self._lock:
            if key in self._shown:
                self._shown.move_to_end(key)
                return self._shown[key]
        made: torch.Tensor = self.content(torch.from_numpy(small[None]))
        with self._lock:
            self._shown[key] = made
            while len(self._shown) > _SHOWN:
                self._shown.popitem(last=False)
        return made

    def _kernels_of(self, users: tuple[str, ...]) -> People:
        """Kernels of some people, kept until others have been asked for since."""
        with self._lock:
            if users in self._kernels:
                self._kernels.move_to_end(users)
                return self._kernels[users]
        embeddings = torch.from_numpy(np.stack([self.gallery[user].embedding for user in users])).to(self.where)
        made = self._fast.people(embeddings)
        with self._lock:
            self._kernels[users] = made
            while len(self._kernels) > 1 and sum(map(len, self._kernels.values())) > _KEPT:
                self._kernels.popitem(last=False)
        return made

    def _source(self, choice: str) -> UniversalSource:
        with self._lock:
            if choice not in self._sources:
                self._sources[choice] = UniversalSource(self.study, choice, self.where)
            return self._sources[choice]

    def _given(self, usm: F32) -> F32:
        if usm.ndim != 2 or not np.isfinite(usm).all() or usm.min() < 0 or usm.max() <= 0:
            msg = (
                f"usm: an array of shape {usm.shape} is no saliency map; expected two dimensions, values of 0 and more."
            )
            raise StimulusError(msg)
        import cv2

        resized = np.asarray(cv2.resize(usm.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_AREA))
        scaled: F32 = (resized / resized.max()).astype(np.float32)
        return scaled


def _checked(pixels: npt.NDArray[Any]) -> U8:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        msg = (
            f"image: an array of shape {pixels.shape} and type {pixels.dtype}; expected uint8 of shape "
            "(height, width, 3) or (height, width)."
        )
        raise ConfigError(msg)
    if not pixels.size:
        msg = f"image: an array of shape {pixels.shape} has no pixels."
        raise ConfigError(msg)
    rgb: U8 = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
    return rgb
