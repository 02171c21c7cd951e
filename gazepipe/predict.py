"""Stage 5: embedding and image → the person's saliency map of that image."""

from __future__ import annotations

import glob
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import store
from gazepipe.errors import ConfigError, GazepipeError, NothingToDoError
from gazepipe.figures import overlay_png
from gazepipe.images import read_rgb
from gazepipe.inference import FastRefiner
from gazepipe.predictor import Predictor
from gazepipe.recipe import digest_file, digest_json
from gazepipe.refiner import RefinerNet, refine, scene_input
from gazepipe.stimuli import stimulus_index
from gazepipe.study import Failure, Study

__all__ = ["Prediction", "predict", "predict_maps"]

#: What was predicted, for whom and of what; up-to-date outputs are known by it.
SUMMARY = "summary.json"

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
    force
        Predict everything again.

    Raises
    ------
    NothingToDoError
        If somebody is not enrolled or was with another network, nothing is trained, or there is no image.
    """
    predictor = Predictor(study, usm=usm, device=device, threads=threads)
    names = [users] if isinstance(users, str) else list(users) or list(predictor.users)
    people = [predictor.gallery[name] for name in dict.fromkeys(names)]
    files = _image_files(images)
    root = to or study.store / "predictions"
    folders = {p.user: root if to is not None and isinstance(users, str) else root / p.user for p in people}
    kept = {} if force else _summary(root)
    common = [predictor.gallery.model, *predictor.recipe]
    vectors = {p.user: _digest(predictor.vector(p.user)) for p in people}
    done: list[Prediction] = []
    failures: list[Failure] = []
    rows: dict[str, dict[str, Any]] = {}
    for count, path in enumerate(files, 1):
        try:
            small = read_rgb(path, (predictor.size[1], predictor.size[0]))
            universal, source = predictor.universal(path, small)
            shared = digest_json([*common, digest_file(path), source, _digest(universal)])
            outputs = {
                p.user: (folders[p.user] / f"{path.stem}.png", folders[p.user] / f"{path.stem}.npy") for p in people
            }
            recipes = {p.user: digest_json([shared, vectors[p.user]]) for p in people}
            old = {u: _stored(kept, root, outputs[u], recipes[u]) for u in outputs}
            todo = [u for u, psm in old.items() if psm is None]
            new = dict(zip(todo, predictor.maps(small, universal, todo), strict=True)) if todo else {}
            picture = read_rgb(path) if todo else small
            for user, (overlay, array) in outputs.items():
                if user in new:
                    _write(overlay, array, picture, new[user])
                psm = new[user] if user in new else old[user]
                assert psm is not None
                done.append(Prediction(path, user, psm, universal, source, overlay, array, user not in new))
                row = {"user": user, "image": str(path), "universal_map": source, "recipe": recipes[user]}
                rows[_key(root, array)] = row | {"overlay": _key(root, overlay), "array": _key(root, array)}
        except GazepipeError as error:
            if error.exit_code == 7:
                raise
            failures.append(Failure("predict", str(path), str(error)))
        if show:
            show(count, len(files), path.name)
    if rows:
        content = {"predictions": [r for _, r in sorted((_summary(root) | rows).items())]}
        store.write_atomically(root / SUMMARY, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return done, failures


def _key(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _digest(array: F32) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


def _summary(root: Path) -> dict[str, dict[str, Any]]:
    """Array file → row of the summary there; empty where there is none or it is damaged."""
    try:
        content = json.loads((root / SUMMARY).read_text(encoding="utf-8"))
        return {str(row["array"]): row for row in content["predictions"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _stored(kept: dict[str, dict[str, Any]], root: Path, outputs: tuple[Path, Path], recipe: str) -> F32 | None:
    """Return the map on disk if both files are there and of this recipe."""
    overlay, array = outputs
    if kept.get(_key(root, array), {}).get("recipe") != recipe or not overlay.is_file():
        return None
    try:
        psm: F32 = np.load(array, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return psm


def _write(overlay: Path, array: Path, picture: U8, psm: F32) -> None:
    buffer = io.BytesIO()
    np.save(buffer, psm)
    store.write_atomically(array, buffer.getvalue())
    store.write_atomically(overlay, overlay_png(picture, psm))


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
