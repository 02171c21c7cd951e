"""Rows of the tables: each says how a user's maps of some test images come about.

A new row is a function that makes the maps, and a `Row` in `ROWS`. The strongest baseline that a row is tested against
is the best of its own group: what starts from predicted universal maps is not compared with what starts from true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gazepipe.baselines import multicnn_maps
from gazepipe.content import Scenes
from gazepipe.corpus import Corpus, Split
from gazepipe.predict import predict_maps
from gazepipe.profile import SOURCES
from gazepipe.profiling import profiled, profiles_of
from gazepipe.training import Encoder, embedding_pools

__all__ = ["GROUPS", "ROWS", "Maps", "Row", "Tested"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: Universal maps, and what they are called in rows' names.
GROUPS = {
    "mean": "GT-USM",
    "leave_one_out": "GT-USM without the user",
    "predicted": "predicted USM",
    "as_it_is": "USM of the other study's predictor",
    "folder": "USM of the folder",
    "deepgaze": "DeepGaze IIE",
}


@dataclass
class Tested:
    """What is tested, and on whom: networks that were trained on the split's training part, in evaluation mode.

    Parameters
    ----------
    corpus, split
        Maps, and who is tested on which images.
    encoder
        The embedding network, to make embeddings with.
    m, pool, seed
        Pairs that make one embedding, embeddings made of each user, and the seed of their draw.
    networks
        Name → network: ``"refiner"``, and ``"profile"`` and ``"multicnn"`` for further rows.
    predicted
        Group → universal maps of the test images, in order, ``(n, H, W)``: all groups but the first two.
    """

    corpus: Corpus
    split: Split
    encoder: Encoder
    m: int
    pool: int
    seed: int
    networks: Mapping[str, Any] = field(default_factory=dict)
    predicted: Mapping[str, F32] = field(default_factory=dict)

    @cached_property
    def images(self) -> I64:
        """Test images, in order."""
        return np.array(self.split.images_test)

    @cached_property
    def pools(self) -> dict[int, F32]:
        """Embeddings of each test user from images of the training part, so that no tested pair predicts itself."""
        return embedding_pools(
            self.encoder, self.split.users_test, self.split.images_train, m=self.m, pool=self.pool, seed=self.seed
        )

    @cached_property
    def profiles(self) -> dict[str, dict[int, torch.Tensor]]:
        """Profiles of test users by group, each from m pairs of images of the training part.

        Universal maps of those images are over training and validation users, and the user as far as the group has it.
        A predicted universal map has nobody's own map in it, like one without the user.
        """
        net, users = self.networks["profile"], self.split.users_test
        known = sorted({*self.split.users_train, *self.split.users_validation})
        images = np.array(self.split.images_train)
        rng = np.random.default_rng([self.seed, 0xF4])
        few = [rng.permutation(images[self.corpus.index[u, images] >= 0])[: self.m] for u in users]
        fitted = {s: profiles_of(net, s, self.corpus, users, few, known, scenes=self.content) for s in SOURCES}
        by_user = {s: dict(zip(users, values, strict=True)) for s, values in fitted.items()}
        # Whatever else universal maps come from, the person's own map is not in them.
        return dict.fromkeys(GROUPS, by_user["leave_one_out"]) | by_user

    @cached_property
    def content(self) -> Scenes:
        """What is in the images, as far as profiles weigh it."""
        return Scenes(self.networks["profile"].content, self.corpus)

    @cached_property
    def _mean(self) -> F32:
        return self.corpus.usm(range(len(self.corpus.users)))[0]

    def universal_maps(self, group: str, user: int, seen: I64) -> F32 | None:
        """Universal maps of one of `GROUPS` for some test images; None where there are none for all of them."""
        if group == "mean":
            maps: F32 | None = self._mean[seen]
        elif group == "leave_one_out":
            maps = self.corpus.usm_without(range(len(self.corpus.users)), user, seen)
        else:
            found = self.predicted.get(group)
            maps = None if found is None else found[np.searchsorted(self.images, seen)]
        return maps if maps is not None and np.isfinite(maps).all() else None

    def seen_by(self, user: int) -> I64:
        """Test images that a user has a map of."""
        seen: I64 = self.images[self.corpus.index[user, self.images] >= 0]
        return seen

    def pixels(self, seen: I64) -> npt.NDArray[np.uint8] | None:
        """Images at map size, None where the stimuli have no pixels."""
        return None if self.corpus.images is None else self.corpus.images[seen]


#: Makes maps of a user for images ``(n,)``: given what is tested, the user, the images, universal maps of the row's
#: group ``(n, H, W)`` and an embedding of the user for each image ``(n, d)``; returns ``(n, H, W)``, or None where the
#: networks that it takes are not there.
Maps = Callable[[Tested, int, I64, F32, F32], F32 | None]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the tables.

    Parameters
    ----------
    name
        As it stands in the tables.
    group
        Universal maps that it starts from, one of `GROUPS`.
    make
        How its maps are made.
    baseline
        Whether it is what ours is compared with.
    """

    name: str
    group: str
    make: Maps
    baseline: bool = False


def _as_it_is(tested: Tested, user: int, seen: I64, usm: F32, embeddings: F32) -> F32 | None:
    return usm


def _refined(combine: str) -> Maps:
    def make(tested: Tested, user: int, seen: I64, usm: F32, embeddings: F32) -> F32 | None:
        refiner = tested.networks.get("refiner")
        if refiner is None:
            return None
        return predict_maps(refiner, embeddings, tested.pixels(seen), usm, combine=combine)

    return make


def _profile(group: str) -> Maps:
    def make(tested: Tested, user: int, seen: I64, usm: F32, embeddings: F32) -> F32 | None:
        if "profile" not in tested.networks:
            return None
        return profiled(usm, tested.profiles[group][user], tested.content.of(seen))

    return make


def _multicnn(combine: str) -> Maps:
    def make(tested: Tested, user: int, seen: I64, usm: F32, embeddings: F32) -> F32 | None:
        nets = tested.networks.get("multicnn")
        if nets is None:
            return None
        return multicnn_maps(nets, tested.corpus, tested.split, user, seen, usm, combine=combine)

    return make


#: All rows, in the order of the tables.
ROWS: list[Row] = [
    row
    for group, label in GROUPS.items()
    for row in (
        Row(label, group, _as_it_is, baseline=True),
        Row(f"MultiCNN on {label}", group, _multicnn("add"), baseline=True),
        Row(f"gated MultiCNN on {label}", group, _multicnn("gated"), baseline=True),
        Row(f"USM + Δ on {label}", group, _refined("add")),
        Row(f"gated Δ on {label}", group, _refined("gated")),
        Row(f"profile on {label}", group, _profile(group)),
    )
]
