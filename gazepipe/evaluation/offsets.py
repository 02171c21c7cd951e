"""What is left of an embedding after another calibration: all its maps moved by one random offset.

An eye tracker's calibration leaves an offset that stays through a session, so that it tells people apart on the day and
not after. Each embedding, of gallery and probes alike, has its maps moved by an offset of its own, uniform in a disc,
before anything is made from them; with registration, the move back is found from these m moved maps alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from gazepipe.recalibration import disc
from gazepipe.registration import REACH, coarse, match, moved, offset
from gazepipe.training import Encoder

__all__ = ["moved_embeddings", "offset_hits"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_CHUNK = 256


@torch.inference_mode()
def moved_embeddings(encoder: Encoder, user: int, sets: I64, by: F32) -> F32:
    """Embeddings of one user from sets of images, each set's maps moved by an offset.

    Parameters
    ----------
    encoder
        The embedding network, in evaluation mode.
    user
        Whose maps.
    sets
        Images of each embedding, all usable, ``(k, m)``.
    by
        How far the maps of each set are moved, ``(k, 2)`` in cells of `registration.GRID`.

    Returns
    -------
    numpy.ndarray
        ``(k, d)``, of unit length.
    """
    encoder.net.eval()
    k, m = sets.shape
    out, step = [], max(_CHUNK // m, 1)
    for a in range(0, k, step):
        shown = torch.from_numpy(sets[a : a + step].reshape(-1)).to(encoder.where)
        users = torch.full_like(shown, user)
        each = torch.from_numpy(by[a : a + step]).to(encoder.where)
        if encoder.net.registration:
            psm, usm = encoder.pair_maps(users, shown)
            assert usm is not None
            matches = match(moved(coarse(psm), each.repeat_interleave(m, 0)), coarse(usm))
            each = each + offset(matches.view(-1, m, 2 * REACH + 1, 2 * REACH + 1).sum(1))
        features = encoder.features(users, shown, by=each.repeat_interleave(m, 0))
        out.append(torch.nn.functional.normalize(features.view(-1, m, features.shape[1]).mean(1), dim=1).cpu().numpy())
    return np.concatenate(out)


def offset_hits(
    encoder: Encoder,
    gallery: tuple[int, ...],
    probes: tuple[int, ...],
    images: I64,
    m: int,
    *,
    radius_deg: float,
    per_user: int,
    repetitions: int,
    rng: np.random.Generator,
) -> F64:
    """Precision at one of each probed user in the disjoint protocol, every embedding moved; as `identification.hits`.

    Returns
    -------
    numpy.ndarray
        ``(repetitions, len(probes))``; empty if somebody has too few pairs.
    """
    usable = {user: images[encoder.usable(user, images)] for user in {*gallery, *probes}}
    results = []
    for _ in range(repetitions):
        order = rng.permutation(images)
        sides = order[: len(order) // 2], order[len(order) // 2 :]
        drawn = []
        for side, people in zip(sides, (gallery, probes), strict=True):
            made = []
            for user in people:
                have = np.intersect1d(side, usable[user])
                if len(have) < m:
                    return np.zeros((0, len(probes)))
                sets = np.stack([rng.choice(have, m, replace=False) for _ in range(per_user)])
                made.append(moved_embeddings(encoder, user, sets, disc(per_user, radius_deg, encoder.corpus, rng)))
            drawn.append(np.concatenate(made))
        nearest = np.repeat(gallery, per_user)[(drawn[1] @ drawn[0].T).argmax(1)]
        results.append((nearest == np.repeat(probes, per_user)).reshape(-1, per_user).mean(1))
    return np.array(results)
