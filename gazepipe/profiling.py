"""From a corpus to viewing profiles: the prior from training users, and the profile of anybody who has a few maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError
from gazepipe.profile import (
    FIT_SIZE,
    SOURCES,
    ProfileNet,
    fit_profiles,
    looks_of,
    profile_loss,
    reshape_maps,
)
from gazepipe.training import Progress, Trained

if TYPE_CHECKING:
    from gazepipe.config import RefinerConfig

__all__ = ["profiled", "profiles_of", "train_profile"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
#: What `Corpus.usm_without_each` returns.
Without = Callable[[int, I64], F32]

#: Pairs of each training user that the prior is made from.
_PAIRS = 64
#: Pairs that are fitted at once: each needs some 0.3 MB while it lasts, and no person knows of the others.
_AT_ONCE = 1600
#: How strong the prior may be, as multiples of what the training users' scatter says.
_STRENGTHS = (0.125, 0.25, 0.5, 1.0)


def _pairs(
    corpus: Corpus, users: Sequence[int], images: Sequence[I64], without: Without, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Universal and personal maps of users, small, ``(users, n, h, w)``, and which are there, ``(users, n)``.

    The universal map is that of others (`without`), with the user's own map in it by the weight `share`.
    """
    n = max(map(len, images), default=0)
    usm, psm = torch.ones(len(users), n, *FIT_SIZE), torch.ones(len(users), n, *FIT_SIZE)
    there = torch.zeros(len(users), n)
    for row, (user, chosen) in enumerate(zip(users, images, strict=True)):
        others = without(user, chosen)
        own = corpus.maps[np.maximum(corpus.index[user, chosen], 0)].astype(np.float32)
        use = np.flatnonzero((corpus.index[user, chosen] >= 0) & np.isfinite(others).all((1, 2)))
        use = use[(others[use].max((1, 2)) > 0) & (own[use].max((1, 2)) > 0)]
        mixed = (1 - share) * others[use] + share * own[use]
        usm[row, : len(use)] = F.adaptive_avg_pool2d(torch.from_numpy(mixed), FIT_SIZE)
        psm[row, : len(use)] = F.adaptive_avg_pool2d(torch.from_numpy(own[use]), FIT_SIZE)
        there[row, : len(use)] = 1
    return usm, psm, there


def _share(corpus: Corpus, source: str) -> float:
    """Weight of a person's own map in the universal map."""
    return 1 / len(corpus.users) if source == "mean" else 0.0


def profiles_of(
    net: ProfileNet,
    source: str,
    corpus: Corpus,
    users: Sequence[int],
    images: Sequence[I64],
    reference: Sequence[int],
) -> Tensor:
    """Profiles of some users, each from the pairs that they have of some images.

    Parameters
    ----------
    source
        One of `profile.SOURCES`.
    users
        Indices into the corpus; they need not be among the training users.
    images
        Images of each user.
    reference
        Over whom universal maps are taken: training users, and whoever else is known.

    Returns
    -------
    torch.Tensor
        ``(users, len(PARAMETERS))``; the prior's mean for a user without a usable pair.
    """
    without, share = corpus.usm_without_each(reference), _share(corpus, source)
    return _fitted(net, source, corpus, users, images, without, share)


def _fitted(
    net: ProfileNet,
    source: str,
    corpus: Corpus,
    users: Sequence[int],
    images: Sequence[I64],
    without: Without,
    share: float,
) -> Tensor:
    """Profiles of users, some of them at a time."""
    people = max(_AT_ONCE // max(max(map(len, images), default=0), 1), 1)
    parts = [slice(a, a + people) for a in range(0, max(len(users), 1), people)]
    return torch.cat([net.fit(source, *_pairs(corpus, users[p], images[p], without, share)) for p in parts])


@torch.inference_mode()
def profiled(usm: npt.ArrayLike, profile: Tensor) -> F32:
    """A person's maps ``(n, H, W)`` from universal ones, whose means they keep, and a profile ``(p,)``."""
    maps = torch.from_numpy(np.ascontiguousarray(usm, np.float32))
    out: F32 = (reshape_maps(maps[None], profile[None])[0] * maps.mean((1, 2), keepdim=True)).numpy()
    return out


def train_profile(corpus: Corpus, split: Split, config: RefinerConfig, *, seed: int, progress: Progress) -> Trained:
    """Learn from training users how people's profiles are distributed, and from validation users how far to trust it.

    Raises
    ------
    ConfigError
        If a part of the split has no pair that is of use.
    """
    start, rng = time.perf_counter(), np.random.default_rng([seed, 0x9F1])
    net, best, history = ProfileNet(), dict[str, float](), list[dict[str, float]]()
    train, held = np.array(split.images_train), np.array(split.images_validation)
    of_training = corpus.usm_without_each(split.users_train)
    of_known = corpus.usm_without_each(sorted({*split.users_train, *split.users_validation}))
    for row, source in enumerate(SOURCES):
        share = _share(corpus, source)
        shown = [rng.permutation(train)[:_PAIRS] for _ in split.users_train]
        each = _fitted(net, source, corpus, split.users_train, shown, of_training, share)
        few = [rng.permutation(train[corpus.index[u, train] >= 0])[: config.m] for u in split.users_validation]
        pairs = _pairs(corpus, split.users_validation, few, of_known, share)
        usm, psm, there_held = _pairs(
            corpus, split.users_validation, [held] * len(split.users_validation), of_known, share
        )
        if not each.any() or not there_held.any():  # without a pair of use a profile stays at the mean, still 0
            msg = "[split] leaves training or validation users without a map of an image that others saw, too."
            raise ConfigError(msg)
        mean, spread = each.mean(0), each.std(0, correction=0).clamp(min=0.01)
        usm, psm = usm / usm.mean((2, 3), keepdim=True), psm / psm.mean((2, 3), keepdim=True)
        looks, losses = looks_of(psm), {}
        for strength in _STRENGTHS:
            fitted = fit_profiles(pairs[0], pairs[1], mean, strength / spread**2, pairs[2])
            loss = (profile_loss(reshape_maps(usm, fitted), psm, looks) * there_held).sum() / there_held.sum()
            losses[strength] = float(loss)
            history.append({"source": row, "strength": strength, "validation_loss": float(loss)})
            progress(row * len(_STRENGTHS) + len(losses), len(SOURCES) * len(_STRENGTHS), f"{source}: loss {loss:.3f}")
        chosen = min(losses, key=lambda k: losses[k])
        net.mean[row], net.precision[row] = mean, chosen / spread**2
        best |= {f"strength_{source}": chosen, f"validation_loss_{source}": losses[chosen]}
    return Trained(net.eval(), history, best, time.perf_counter() - start)
