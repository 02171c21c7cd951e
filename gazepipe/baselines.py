"""Maps of the baseline MultiCNN (Xu et al. 2017) and its oracle (Strohm et al. 2024)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from gazepipe.corpus import Corpus, Split
from gazepipe.refiner import MultiCnn, discrepancy_target, refine, refiner_loss, scene_input

__all__ = ["multicnn_maps"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


@torch.inference_mode()
def multicnn_maps(
    model: MultiCnn, corpus: Corpus, split: Split, user: int, seen: I64, usm: F32, *, combine: str = "add"
) -> F32:
    """Maps of a user for some images.

    In the closed set the user has a network of their own. In the open set there is none, and the *oracle* steps in:
    every training user's network is tried on these very images, and the one with the lowest loss counts. No method
    could choose better, since the oracle looks at the maps that are to be predicted.

    Parameters
    ----------
    seen
        Images of which the user has a map, ``(n,)``.
    usm
        Universal maps to refine, ``(n, H, W)``.
    combine
        As `gazepipe.refiner.refine` has it.

    Returns
    -------
    numpy.ndarray
        ``(n, H, W)``.
    """
    where = next(model.parameters()).device
    rgb = None if corpus.images is None or model.channels == 1 else torch.from_numpy(corpus.images[seen]).to(where)
    maps = torch.from_numpy(np.ascontiguousarray(usm, np.float32)).to(where)
    truth = torch.from_numpy(corpus.maps[corpus.index[user, seen]]).to(where)
    own = user in split.users_train
    candidates = [model.nets[split.users_train.index(user)]] if own else list(model.nets)
    lowest, best = float("inf"), torch.zeros(0)
    for net in candidates:
        loss, parts = 0.0, []
        for a in range(0, len(maps), 32):
            rows = slice(a, a + 32)
            out = net(scene_input(None if rgb is None else rgb[rows], maps[rows]))
            loss += float(refiner_loss(out, discrepancy_target(truth[rows], maps[rows]))) * len(out[2])
            parts.append(out[2])
        if loss < lowest:
            lowest, best = loss, torch.cat(parts)
    refined: F32 = refine(maps, best, combine).cpu().numpy()
    return refined
