"""Stage 5: embedding and image → the person's saliency map of that image."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import compute, store
from gazepipe.build import load_corpus
from gazepipe.deepgaze import DeepGaze
from gazepipe.enrol import Enrolment, load_gallery
from gazepipe.errors import ConfigError, GazepipeError, NothingToDoError, StimulusError
from gazepipe.figures import overlay_png
from gazepipe.images import read_rgb
from gazepipe.map_folder import MapFolder
from gazepipe.models import load_model, load_refiner, model_recipe
from gazepipe.profiling import profiled
from gazepipe.readout import ReadoutNet
from gazepipe.recipe import digest_file
from gazepipe.refiner import RefinerNet, refine, scene_input
from gazepipe.stimuli import stimulus_index
from gazepipe.study import Failure, Study
from gazepipe.train import settings, split_from
from gazepipe.universal import UniversalNet
from gazepipe.universal_maps import deepgaze_of

__all__ = ["Prediction", "predict", "predict_maps"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
_CHOICES = ("auto", "store", "predicted", "deepgaze")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was predicted for one image.

    `psm` and `usm` are maps of shape ``(H, W)``; `source` says where the universal map came from: ``"store"``,
    ``"folder"``, ``"predicted"`` or ``"deepgaze"``.
    """

    image: Path
    user: str
    psm: F32
    usm: F32
    source: str
    overlay_file: Path
    array_file: Path


@torch.inference_mode()
def predict_maps(
    net: RefinerNet,
    embedding: npt.ArrayLike,
    images: U8 | None,
    usm: npt.ArrayLike,
    *,
    combine: str = "gated",
    chunk: int = 32,
) -> F32:
    """Personal maps of one person for some images.

    Parameters
    ----------
    net
        Trained refiner.
    embedding
        ``(d,)``, or one for each image ``(n, d)``.
    images
        ``(n, H, W, 3)`` uint8 at map size; None for a refiner trained without images.
    usm
        Universal maps ``(n, H, W)``.
    combine
        How the discrepancy joins them, see `gazepipe.refiner.refine`.
    chunk
        Maps predicted at a time.

    Returns
    -------
    numpy.ndarray
        Personal maps, not negative, ``(n, H, W)``.
    """
    where = next(net.parameters()).device
    maps = torch.from_numpy(np.ascontiguousarray(usm, np.float32)).to(where)
    people = torch.from_numpy(np.ascontiguousarray(embedding, np.float32)).to(where).expand(len(maps), -1)
    out = []
    for a in range(0, len(maps), chunk):
        part = maps[a : a + chunk]
        rgb = None
        if net.channels == 4:
            if images is None:
                msg = "this refiner was trained with images; give them at map size"
                raise ValueError(msg)
            rgb = torch.from_numpy(np.ascontiguousarray(images[a : a + chunk])).to(where)
        delta = net(scene_input(rgb, part), people[a : a + chunk])[2]
        out.append(refine(part, delta, combine).cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, *maps.shape[1:]), np.float32)


def predict(
    study: Study,
    user: str,
    images: Sequence[Path],
    *,
    usm: str = "auto",
    to: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    show: Callable[[int, int, str], None] | None = None,
) -> tuple[list[Prediction], list[Failure]]:
    """Predict a person's maps of some images; writes an overlay (PNG) and the map (NPY) of each.

    Parameters
    ----------
    study, user
        Somebody of the study's gallery.
    images
        Image files, or folders of images.
    usm
        Where universal maps come from: ``"store"`` (people who looked at the image), ``"predicted"`` (the built-in
        predictor), ``"deepgaze"`` (DeepGaze IIE, if installed), a folder of maps named like the images (see
        `gazepipe.map_folder`), or ``"auto"``: the store where it has the image, else what [universal] predictor says.
    to
        Folder for the results; `predictions/<user>` in the store if None.

    Raises
    ------
    NothingToDoError
        If the user is not enrolled or was with another network, nothing is trained, or there is no image.
    """
    where = compute.device(device)
    compute.use_threads(threads)
    gallery = load_gallery(study)
    person = gallery[user]
    if gallery.model != model_recipe(study.model_file("embedding")):
        msg = f"{study.gallery_file}: its embeddings are of a network trained before; run `gazepipe enrol` again."
        raise NothingToDoError(msg)
    refine_map = _method(study, person, gallery.model, where)
    files = _image_files(images)
    maps = _UniversalMaps(study, usm, where)
    folder = to or study.store / "predictions" / user
    done: list[Prediction] = []
    failures: list[Failure] = []
    for count, path in enumerate(files, 1):
        try:
            done.append(_predict_one(study, refine_map, user, path, maps, folder))
        except GazepipeError as error:
            if error.exit_code == 7:
                raise
            failures.append(Failure("predict", str(path), str(error)))
        if show:
            show(count, len(files), path.name)
    return done, failures


def _method(study: Study, person: Enrolment, embedding: str, where: torch.device) -> Callable[[U8, F32], F32]:
    """How the study makes a person's maps: from an image at map size and its universal map."""
    section = settings(study).refiner
    if section.method == "profile":
        if person.profile is None:
            msg = f"{study.gallery_file}: {person.user!r} has no viewing profile there; run `gazepipe enrol` again."
            raise NothingToDoError(msg)
        profile = torch.from_numpy(person.profile)
        return lambda small, usm: profiled(usm[None], profile)[0]
    net = load_refiner(study, embedding, where).net
    return lambda small, usm: predict_maps(net, person.embedding, small[None], usm[None], combine=section.combine)[0]


def _predict_one(
    study: Study,
    refine_map: Callable[[U8, F32], F32],
    user: str,
    path: Path,
    maps: _UniversalMaps,
    folder: Path,
) -> Prediction:
    picture = read_rgb(path)
    size = (study.config.psm.width, study.config.psm.height)
    small = read_rgb(path, size)
    usm, source = maps.find(path, small)
    psm = refine_map(small, usm)
    overlay, array = folder / f"{path.stem}.png", folder / f"{path.stem}.npy"
    buffer = io.BytesIO()
    np.save(buffer, psm)
    store.write_atomically(array, buffer.getvalue())
    store.write_atomically(overlay, overlay_png(picture, psm))
    return Prediction(path, user, psm, usm, source, overlay, array)


def _image_files(images: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in images:
        files += sorted(set(stimulus_index(path).values())) if path.is_dir() else [path]
    if not files:
        msg = f"{images[0] if images else 'no image'}: holds no image; expected image files or a folder of them."
        raise NothingToDoError(msg)
    stems = [f.stem for f in files]
    doubled = next((s for s in stems if stems.count(s) > 1), None)
    if doubled is not None:
        msg = f"two images are named {doubled!r}, so that their results would overwrite each other; predict them apart."
        raise ConfigError(msg)
    return files


class _UniversalMaps:
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

    def _by_content(self) -> dict[str, F32]:
        """Stored maps by the digest of the image file, so that another image of the same name is not taken for it."""
        pack = store.load(self.study.stimuli_file, "gazepipe.stimuli", only=("table/",)).group("table")
        usm = store.load(self.study.usm_file, "gazepipe.usm")
        row = {str(s): i for i, s in enumerate(usm.arrays["table/stimulus"])}
        pairs = zip(pack["stimulus"], pack["digest"], strict=True)
        return {str(d): usm.arrays["maps"][row[str(s)]] for s, d in pairs if str(s) in row}

    def find(self, path: Path, small: U8) -> tuple[F32, str]:
        if self.folder is not None:
            return self.folder.find(path), "folder"
        if self.choice in ("auto", "store"):
            found = self.stored.get(digest_file(path))
            if found is not None:
                return found, "store"
            if self.choice == "store":
                msg = f"{path}: nobody in the store has looked at this image; use --usm predicted or --usm DIR."
                raise StimulusError(msg)
        if self.choice == "deepgaze" or (self.choice == "auto" and self.study.config.universal.predictor == "deepgaze"):
            return self._from_deepgaze(path), "deepgaze"
        return self._predicted(path, small), "predicted"

    @torch.inference_mode()
    def _predicted(self, path: Path, small: U8) -> F32:
        if self.net is None:
            self.net = load_model(self.study, "universal", self.where).net
        assert self.net is not None
        shown = small if self.net.size is None else read_rgb(path, self.net.size[::-1])
        maps = self.net.predict(torch.from_numpy(shown[None]).to(self.where), self.size)
        result: F32 = maps[0].float().cpu().numpy()
        return result

    def _from_deepgaze(self, path: Path) -> F32:
        if self.deepgaze is None:
            corpus = load_corpus(self.study)
            split = split_from(corpus, load_model(self.study, "embedding").info)
            self.deepgaze = deepgaze_of(self.study, corpus, split, self.where)
        return self.deepgaze.find(path)
