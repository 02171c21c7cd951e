"""The maps of a study, read from its store into one corpus."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.corpus import Corpus
from gazepipe.errors import NothingToDoError, StoreError
from gazepipe.recipe import digest_json
from gazepipe.scanpath import scanpath_descriptors
from gazepipe.spill import spacious
from gazepipe.study import Study
from gazepipe.vault import is_sealed
from gazepipe.words import counted

__all__ = ["corpus_digest", "load_corpus", "read_corpus", "scanpath_of", "stored_usm"]

F32 = npt.NDArray[np.float32]


def load_corpus(
    study: Study,
    *,
    users: Iterable[str] | None = None,
    enrolled: bool = False,
    guest: store.Contents | None = None,
) -> Corpus:
    """Read maps, fixations and images of a study.

    Parameters
    ----------
    study
        Where to read from.
    users
        Only these users, in this order; None: the study's own users in order of name.
    enrolled
        With `users` None: also the people enrolled later.
    guest
        Maps of somebody who is not in the store; the last user of the corpus, under an empty name. Of theirs, only maps
        of images that the others have seen count, and only these images are in the corpus.

    Returns
    -------
    Corpus
        Maps ``(n_maps, H, W)``, fixations and images, with the row of each user and image.

    Raises
    ------
    NothingToDoError
        If there are no maps yet.
    StoreError
        If a stored file is damaged.
    """
    built = study.manifest("build-psm").get("users", {})
    chosen = list(users) if users is not None else sorted(u for u, r in built.items() if enrolled or not r["enrolled"])
    if not chosen:
        what, missing = ("maps of people enrolled alone", "ingest") if built else ("no maps", "build-psm")
        msg = f"{study.store}: holds {what}; run `gazepipe {missing}` first."
        raise NothingToDoError(msg)
    pack = store.load(study.stimuli_file, "gazepipe.stimuli")
    return read_corpus(study, chosen, pack, guest)


def read_corpus(
    study: Study, users: list[str], pack: store.Contents | None = None, guest: store.Contents | None = None
) -> Corpus:
    """Read maps and fixations of some users, with the images of a `pack`; `guest` as `load_corpus` has it.

    Maps are read one user after another, into one array; where that is too large for the memory, it is on the disk.
    """
    files = [store.load(study.psm_file(u), "gazepipe.psm", only=("table/", "fixations/")) for u in users]
    degree = _cells_per_degree(files)
    keep = [np.ones(len(f.arrays["table/stimulus"]), bool) for f in files]
    if guest is not None:
        known = {str(s) for f in files for s in f.arrays["table/stimulus"]}
        wanted = known & {str(s) for s in guest.arrays["table/stimulus"]}
        users, files = [*users, ""], [*files, guest]
        keep = [np.array([str(s) in wanted for s in f.arrays["table/stimulus"]], bool) for f in files]
    maps = _joined(study, files, keep)
    if guest is not None:
        files = [_only(f, kept) for f, kept in zip(files, keep, strict=True)]
    stimuli = sorted({str(s) for f in files for s in f.arrays["table/stimulus"]})
    column = {s: i for i, s in enumerate(stimuli)}
    index = np.full((len(users), len(stimuli)), -1, np.int64)
    cells, counts, scanpaths, n = [], [], [], 0
    height, width = maps.shape[1:]
    for row, file in enumerate(files):
        names = file.arrays["table/stimulus"]
        index[row, [column[str(s)] for s in names]] = np.arange(n, n + len(names))
        n += len(names)
        v = np.minimum(file.arrays["fixations/v"].astype(np.int64), height - 1)
        cells.append(v * width + np.minimum(file.arrays["fixations/u"].astype(np.int64), width - 1))
        counts.append(file.arrays["table/n_fixations"])
        scanpaths.append(scanpath_of(file))
    images = None
    if pack is not None and len(pack.arrays["images"]):
        there = {str(s): i for i, s in enumerate(pack.arrays["table/stimulus"])}
        if all(s in there for s in stimuli):
            images = pack.arrays["images"][[there[s] for s in stimuli]]
    return Corpus(
        users=tuple(users),
        stimuli=tuple(stimuli),
        maps=maps,
        index=index,
        fixation_cell=np.concatenate(cells),
        fixation_start=np.append(0, np.cumsum(np.concatenate(counts))),
        images=images,
        degree=degree,
        scanpath=np.concatenate(scanpaths),
    )


def _joined(study: Study, files: list[store.Contents], keep: list[npt.NDArray[np.bool_]]) -> npt.NDArray[Any]:
    """The maps to `keep` in one array; files that were read without their maps are read again, for these alone."""
    count, joined, at = sum(int(k.sum()) for k in keep), None, 0
    for head, kept in zip(files, keep, strict=True):
        file = head if "maps" in head.arrays else store.load(head.path, "gazepipe.psm", only=("maps",))
        if file.attrs.get("recipe_digest") != head.attrs.get("recipe_digest"):
            msg = f"{head.path}: was made again while it was read; run again."
            raise StoreError(msg)
        own = file.arrays["maps"]
        if joined is None:
            folder = None if is_sealed(study.store) else study.store
            joined = spacious((count, *own.shape[1:]), own.dtype, folder, f"{study.store}: {counted(count, 'map')}")
        n = int(kept.sum())
        joined[at : at + n] = own if kept.all() else own[kept]
        at += n
    assert joined is not None
    return joined


def stored_usm(study: Study, users: Iterable[str]) -> tuple[tuple[str, ...], F32, npt.NDArray[np.int64]]:
    """Universal maps over some users as `Corpus.usm` makes them, with the maps of one user in memory at a time.

    Returns
    -------
    tuple
        The stimuli in order of name, means ``(n_stimuli, H, W)``, and how many users each is the mean of.
    """
    users = list(users)
    names = {}
    for user in users:
        table = store.load(study.psm_file(user), "gazepipe.psm", only=("table/stimulus",)).arrays["table/stimulus"]
        names[user] = [str(s) for s in table]
    stimuli = tuple(sorted({s for own in names.values() for s in own}))
    column = {s: i for i, s in enumerate(stimuli)}
    mean, count = np.zeros(0, np.float32), np.zeros(len(stimuli), np.int64)
    for user in users:
        maps = store.load(study.psm_file(user), "gazepipe.psm", only=("maps",)).arrays["maps"]
        if not mean.size:
            mean = np.zeros((len(stimuli), *maps.shape[1:]), np.float32)
        there = [column[s] for s in names[user]]
        mean[there] += maps
        count[there] += 1
    mean /= np.maximum(count, 1)[:, None, None]
    return stimuli, mean, count


def _cells_per_degree(files: list[store.Contents]) -> tuple[float, float]:
    """Median over maps, along the width and the height."""
    across, down = np.concatenate([_degrees(f) for f in files]).T
    return (float(np.median(across)), float(np.median(down))) if len(across) else (float("nan"), float("nan"))


def _degrees(maps: store.Contents) -> npt.NDArray[np.float64]:
    """Cells in a degree of each map, ``(n_maps, 2)``, from the standard deviations that maps were blurred with."""
    sigma = np.stack([maps.arrays["table/sigma_u"], maps.arrays["table/sigma_v"]], 1)
    degrees: npt.NDArray[np.float64] = sigma / json.loads(maps.attrs["params"])["sigma_deg"]
    return degrees


def scanpath_of(maps: store.Contents) -> npt.NDArray[np.float32]:
    """Return the eye movements of each map's fixations, ``(n_maps, 9)``."""
    u, v, duration, repeat = (maps.arrays[f"fixations/{column}"] for column in ("u", "v", "duration_ms", "repeat"))
    first = np.append(0, np.cumsum(maps.arrays["table/n_fixations"]))
    return scanpath_descriptors(u, v, duration, repeat, first, _degrees(maps))


def _only(maps: store.Contents, keep: npt.NDArray[np.bool_]) -> store.Contents:
    """Some of the maps alone."""
    looks = np.repeat(keep, maps.arrays["table/n_fixations"])
    of_map = {k: v[keep] for k, v in maps.arrays.items() if not k.startswith("fixations/")}
    of_look = {k: v[looks] for k, v in maps.arrays.items() if k.startswith("fixations/")}
    return store.Contents(maps.path, of_map | of_look, maps.attrs)


def corpus_digest(study: Study, users: Iterable[str]) -> str:
    """What a corpus is made of, without reading it."""
    built = study.manifest("build-psm").get("users", {})
    pack = store.recipe_of(study.stimuli_file)
    return digest_json([[u, built[u]["recipe"]] for u in users] + [pack])
