"""A data set's personal maps in memory at any size, kept in a cache folder, for experiments on maps alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazepipe.corpus import Corpus
from gazepipe.datasets import load_dataset
from gazepipe.saliency import personal_maps

__all__ = ["fixation_maps"]


def fixation_maps(
    name: str, path: Path, cache: Path, size: tuple[int, int], *, repeats: tuple[int, ...] | None = None
) -> Corpus:
    """Build (or read from `cache`) all maps of a data set, ``size`` = (height, width), σ = 1°.

    `repeats` limits the looks that count, for noise ceilings; the maps are those of `gazepipe build-psm` otherwise.
    """
    looks = "all" if repeats is None else "".join(map(str, repeats))
    file = cache / f"{name}-{size[1]}x{size[0]}-{looks}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, **_build(name, path, size, repeats))
    with np.load(file, allow_pickle=False) as kept:
        a = {k: kept[k] for k in kept.files}
    users, stimuli = tuple(map(str, a["users"])), tuple(map(str, a["stimuli"]))
    return Corpus(users, stimuli, a["maps"], a["index"], a["cell"], a["start"], None)


def _build(name: str, path: Path, size: tuple[int, int], repeats: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    height, width = size
    data = load_dataset(name, path)
    table = data.fixations
    if repeats is not None:
        table = table[table["repeat"].isin(repeats)]
    frame = np.array([data.stimulus_px[s] for s in table["stimulus"]], float)
    u, v = table["x_px"].to_numpy() * width / frame[:, 0], table["y_px"].to_numpy() * height / frame[:, 1]
    keep = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    table, u, v = table[keep], u[keep], v[keep]
    users, stimuli = np.unique(table["user"].to_numpy(str)), np.unique(table["stimulus"].to_numpy(str))
    who = np.searchsorted(users, table["user"].to_numpy(str))
    what = np.searchsorted(stimuli, table["stimulus"].to_numpy(str))
    look = table["repeat"].to_numpy()
    order = np.lexsort((look, what, who))
    who, what, look, u, v = who[order], what[order], look[order], u[order], v[order]
    pair = who * len(stimuli) + what
    new_map = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]])
    new_look = np.flatnonzero(np.r_[True, (pair[1:] != pair[:-1]) | (look[1:] != look[:-1])])
    size_px = np.array([data.stimulus_px[stimuli[s]] for s in what[new_map]], float)
    sigma = data.pixels_per_degree * np.array([width, height]) / size_px
    maps = personal_maps(
        u, v, np.ones(len(u)), np.r_[new_look, len(u)], np.searchsorted(new_look, np.r_[new_map, len(u)]), sigma,
        width=width, height=height,
    )  # fmt: skip
    index = np.full((len(users), len(stimuli)), -1)
    index[who[new_map], what[new_map]] = np.arange(len(new_map))
    cell = v.astype(np.int64) * width + u.astype(np.int64)
    return {
        "users": users, "stimuli": stimuli, "maps": maps.astype(np.float16), "index": index, "cell": cell,
        "start": np.r_[new_map, len(u)],
    }  # fmt: skip
