"""Stage 5: embedding and image → the person's saliency map of that image."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import consent, store
from gazepipe.atomic import remove, write_atomically
from gazepipe.documents import digest_bytes, write_json
from gazepipe.errors import ConfigError, GazepipeError, InputError, NothingToDoError, StoreError
from gazepipe.figures import overlay_png
from gazepipe.images import read_rgb
from gazepipe.inference import FastRefiner
from gazepipe.models import model_info
from gazepipe.outside import note_outside
from gazepipe.predicted import SUMMARY, VERSION, predicted_rows
from gazepipe.predictor import Predictor
from gazepipe.recipe import digest_file, digest_json
from gazepipe.refiner import RefinerNet, refine, scene_input
from gazepipe.sealing import sealed, unsealed
from gazepipe.stage_plan import StagePlan
from gazepipe.stimuli import stimulus_index
from gazepipe.study import Failure, Study

__all__ = ["Prediction", "plan_predictions", "predict", "predict_maps", "test_images_of"]


F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
#: Maps predicted at a time.
_CHUNK = 25
_CHOICES = ("auto", "store", "predicted", "deepgaze")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was predicted of one person for one image.

    `psm` and `usm` are maps of shape ``(H, W)``; `source` says where the universal map came from: ``"store"``,
    ``"folder"``, ``"predicted"`` or ``"deepgaze"``; `current`, that the files were up to date.
    """

    image: Path
    user: str
    psm: F32
    usm: F32
    source: str
    overlay_file: Path
    array_file: Path
    current: bool = False


@torch.inference_mode()
def predict_maps(
    net: RefinerNet,
    embedding: npt.ArrayLike,
    images: U8 | None,
    usm: npt.ArrayLike,
    *,
    combine: str = "gated",
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

    Returns
    -------
    numpy.ndarray
        Personal maps, not negative, ``(n, H, W)``.
    """
    where = next(net.parameters()).device
    maps = torch.from_numpy(np.ascontiguousarray(usm, np.float32)).to(where)
    people = torch.from_numpy(np.ascontiguousarray(embedding, np.float32)).to(where).expand(len(maps), -1)
    refiner, out = FastRefiner(net), []
    for a in range(0, len(maps), _CHUNK):
        part = maps[a : a + _CHUNK]
        rgb = None
        if net.channels == 4:
            if images is None:
                msg = "this refiner was trained with images; give them at map size"
                raise ValueError(msg)
            rgb = torch.from_numpy(np.ascontiguousarray(images[a : a + _CHUNK])).to(where)
        delta = refiner.pairs(scene_input(rgb, part), people[a : a + _CHUNK])
        out.append(refine(part, delta, combine).cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, *maps.shape[1:]), np.float32)


def predict(
    study: Study,
    users: str | Sequence[str],
    images: Sequence[Path],
    *,
    usm: str = "auto",
    to: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    show: Callable[[int, int, str], None] | None = None,
) -> tuple[list[Prediction], list[Failure]]:
    """Predict people's maps of some images; writes an overlay (PNG) and the map (NPY) of each, and a summary (JSON).

    What is there and up to date is not written again.

    Parameters
    ----------
    study, users
        Somebody of the study's gallery, or several; none means everybody.
    images
        Image files, folders of images, or patterns such as ``images/*.png``.
    usm
        Where universal maps come from: ``"store"`` (people who looked at the image), ``"predicted"`` (the built-in
        predictor), ``"deepgaze"`` (DeepGaze IIE, if installed), a folder of maps named like the images (see
        `gazepipe.map_folder`), or ``"auto"``: the store where it has the image, else what [universal] predictor says.
    to
        Folder for the results; `predictions` in the store if None. Each person has a folder in it, unless `to` is given
        and `users` is a single name.
    device, threads
        Of the networks, see `gazepipe.compute`.
    force
        Predict everything again.
    show
        Called with images done, all images, and a name.

    Returns
    -------
    predictions : list of Prediction
        Of each person and image: the map and the universal map ``(H, W)``, and the files.
    failures : list of Failure
        Images that could not be used.

    Raises
    ------
    NothingToDoError
        If somebody is not enrolled or was with another network, nothing is trained, or there is no image.
    InputError
        If nobody of them agreed to it, in a study that requires consent.
    LockedError
        If the results go into the store and another run is writing there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gazepipe import Study
    >>> from gazepipe.predict import predict
    >>> (made,), failures = predict(Study.open("."), "sim01", [Path("stimuli/scene01.png")])
    >>> made.psm.shape, made.array_file.name, failures
    ((120, 160), 'scene01.npy', [])
    """
    predictor = Predictor(study, usm=usm, device=device, threads=threads)
    with store.lock(study.store) if to is None else contextlib.nullcontext():
        return _predict(predictor, users, images, to, force, show)


def _predict(
    predictor: Predictor,
    users: str | Sequence[str],
    images: Sequence[Path],
    to: Path | None,
    force: bool,
    show: Callable[[int, int, str], None] | None,
) -> tuple[list[Prediction], list[Failure]]:
    order = _Order(predictor, users, images, to, force)
    root, kept, failures = order.root, order.kept, order.failures
    done: list[Prediction] = []
    rows: dict[str, dict[str, Any]] = {}
    for count, path in enumerate(order.files, 1):
        try:
            small, universal, source, outputs, recipes = order.of(path)
            old = {u: _stored(kept, root, outputs[u], recipes[u]) for u in outputs}
            todo = [u for u, psm in old.items() if psm is None]
            new = dict(zip(todo, predictor.maps(small, universal, todo), strict=True)) if todo else {}
            picture = read_rgb(path) if todo else small
            for user, (overlay, array) in outputs.items():
                digests = kept.get(_key(root, array), {}).get("digests", {})
                if user in new:
                    digests = _write(user, overlay, array, picture, new[user])
                psm = new[user] if user in new else old[user]
                assert psm is not None
                done.append(Prediction(path, user, psm, universal, source, overlay, array, user not in new))
                row = {"user": user, "image": str(path), "universal_map": source, "recipe": recipes[user]}
                row |= {"overlay": _key(root, overlay), "array": _key(root, array)}
                rows[_key(root, array)] = row | {"digests": digests}
        except GazepipeError as error:
            if error.exit_code == 7:
                raise
            failures.append(Failure("predict", str(path), str(error)))
        if show:
            show(count, len(order.files), path.name)
    kept = predicted_rows(root)
    if to is None:
        kept = _of_the_gallery(root, kept, {p.user for p in predictor.gallery.people})
    if rows and to is not None:
        note_outside(predictor.study, "maps", to, {row["user"] for row in rows.values()})
    if rows:
        write_json(root / SUMMARY, {"predictions": [r for _, r in sorted((kept | rows).items())]})
    return done, failures


class _Order:
    """What was asked for: which people and images, where the results go, and what is there already."""

    def __init__(
        self, predictor: Predictor, users: str | Sequence[str], images: Sequence[Path], to: Path | None, force: bool
    ) -> None:
        names = [users] if isinstance(users, str) else list(users) or list(predictor.users)
        refused = consent.refusal(predictor.study, names, "embed")
        self.people = [predictor.gallery[name] for name in dict.fromkeys(names) if name not in refused]
        if refused and not self.people:
            raise InputError(next(iter(refused.values())))
        self.predictor, self.files = predictor, _image_files(images)
        study = predictor.study
        people = [p.user for p in self.people]
        self._name: Callable[[Path], str] = lambda path: path.stem
        if to is None:
            self.root, self._name = study.predictions, study.prediction_name
            self.folders = {user: study.predictions_of(user) for user in people}
        else:
            self.root = to
            self.folders = {user: to if isinstance(users, str) else to / user for user in people}
        self.kept = {} if force else predicted_rows(self.root)
        self.failures = [Failure("predict", user, sentence) for user, sentence in refused.items()]
        self._common = [VERSION, predictor.gallery.model, *predictor.recipe]
        self._vectors = {p.user: _digest(predictor.vector(p.user)) for p in self.people}

    def of(self, path: Path) -> tuple[U8, F32, str, dict[str, tuple[Path, Path]], dict[str, str]]:
        """One image: at map size, its universal map and where that is from, each user's two files and their recipe."""
        small = read_rgb(path, (self.predictor.size[1], self.predictor.size[0]))
        universal, source = self.predictor.universal(path, small)
        shared = digest_json([*self._common, digest_file(path), source, _digest(universal)])
        name = self._name(path)
        outputs = {u: (folder / f"{name}.png", folder / f"{name}.npy") for u, folder in self.folders.items()}
        return small, universal, source, outputs, {u: digest_json([shared, v]) for u, v in self._vectors.items()}


def plan_predictions(
    study: Study,
    users: str | Sequence[str],
    images: Sequence[Path],
    *,
    usm: str = "auto",
    to: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
) -> StagePlan:
    """Find out what `predict` would do with the same arguments; universal maps are looked up, no personal one is made.

    Raises
    ------
    GazepipeError
        What `predict` would raise.
    """
    order = _Order(Predictor(study, usm=usm, device=device, threads=threads), users, images, to, force)
    found = StagePlan("predict")
    for failure in order.failures:
        found.add(failure.source, "impossible", failure.message)
    for path in order.files:
        try:
            _, _, source, outputs, recipes = order.of(path)
        except GazepipeError as error:
            found.add(str(path), "impossible", str(error))
            continue
        for user, files in outputs.items():
            current = _stored(order.kept, order.root, files, recipes[user]) is not None
            found.make(str(files[1].with_suffix("")), current, f"{user}, universal map {source}")
    return found


def test_images_of(study: Study, count: int) -> list[Path]:
    """Return files of the first test images of the embedding network, as many as there are up to a number."""
    known = stimulus_index(study.stimuli)
    names = model_info(study, "embedding")["images_test"]
    return [known[name.lower()] for name in names if name.lower() in known][:count]


def _of_the_gallery(root: Path, rows: dict[str, dict[str, Any]], people: set[str]) -> dict[str, dict[str, Any]]:
    """Remove the maps of people who are no longer in the gallery, and return the rows of the others."""
    for row in rows.values():
        if row.get("user") not in people:
            for what in ("overlay", "array"):
                remove(root / str(row[what]))
            with contextlib.suppress(OSError):  # something else is in it
                (root / str(row["array"])).parent.rmdir()
    return {key: row for key, row in rows.items() if row.get("user") in people}


def _key(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _digest(array: F32) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


def _stored(kept: dict[str, dict[str, Any]], root: Path, outputs: tuple[Path, Path], recipe: str) -> F32 | None:
    """Return the map on disk if both files are there and of this recipe."""
    overlay, array = outputs
    if kept.get(_key(root, array), {}).get("recipe") != recipe or not overlay.is_file():
        return None
    try:
        data = unsealed(array)
        psm: F32 = np.load(array if data is None else io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, StoreError):
        return None
    return psm


def _write(user: str, overlay: Path, array: Path, picture: U8, psm: F32) -> dict[str, str]:
    """Write both files; their digests."""
    buffer = io.BytesIO()
    np.save(buffer, psm)
    files = {"array": (array, buffer.getvalue()), "overlay": (overlay, overlay_png(picture, psm))}
    digests = {}
    for name, (path, content) in files.items():
        data = sealed(path, content, kind=f"prediction {name}", version="1.0", user=user)
        write_atomically(path, data)
        digests[name] = digest_bytes(data)
    return digests


def _image_files(images: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in images:
        if path.is_dir():
            files += sorted(set(stimulus_index(path).values()))
        elif not path.exists() and glob.has_magic(str(path)):
            files += sorted(Path(p) for p in glob.glob(str(path)))
        else:
            files.append(path)
    if not files:
        msg = f"{images[0] if images else 'no image'}: holds no image; expected image files or a folder of them."
        raise NothingToDoError(msg)
    stems = [f.stem for f in files]
    doubled = next((s for s in stems if stems.count(s) > 1), None)
    if doubled is not None:
        msg = f"two images are named {doubled!r}, so that their results would overwrite each other; predict them apart."
        raise ConfigError(msg)
    return files
