"""Cross-validation's splits: which users and images are trained on and tested on in each fold.

Open set: in each repeat every user is a test user once. Closed set: users are known, so that images are cut instead,
and every image is a test image once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe.corpus import Split
from gazepipe.errors import ConfigError

if TYPE_CHECKING:
    from gazepipe.config import SplitConfig

__all__ = ["Fold", "make_folds"]

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: which repeat and which fold in it, from 1, and who is trained on and tested on."""

    repeat: int
    number: int
    split: Split

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"fold-{self.repeat}-{self.number}"


def make_folds(n_users: int, n_images: int, config: SplitConfig, *, folds: int, repeats: int = 1) -> list[Fold]:
    """Cut users (open set) or images (closed set) into folds, anew in each repeat.

    Open set: the validation users, as many as `config.users` says and at least two, come from the training part, other
    ones in each fold; test and validation images are drawn as `config.images` says and move on from fold to fold, so
    that all folds together test on as many images as they can. Closed set: everybody is trained on; validation images
    come from the training part.

    Raises
    ------
    ConfigError
        If a fold would leave fewer than two training users, or too few images.
    """
    found = []
    for repeat in range(1, repeats + 1):
        rng = np.random.default_rng([config.seed, 0xF01D, repeat])
        users, images = rng.permutation(n_users), rng.permutation(n_images)
        everybody = tuple(range(n_users))
        validation, test = (_count(n_images, share) for share in config.images[1:])
        for number in range(folds):
            if config.protocol == "closed":
                u = (everybody,) * 3
                i = _turn(images, np.array_split(np.arange(n_images), folds)[number], validation)
            else:
                u = _turn(users, np.array_split(np.arange(n_users), folds)[number], _count(n_users, config.users[1], 2))
                first = number * test % n_images
                i = _turn(images, (first + np.arange(test)) % n_images, validation)
            _check(folds, u, i)
            found.append(Fold(repeat, number + 1, Split(*u, *i)))
    return found


def _count(n: int, share: float, least: int = 1) -> int:
    return max(round(n * share), least)


_Parts = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _turn(order: I64, tested: I64, validation: int) -> _Parts:
    """Training, validation and test part of an order: tested places, the next ones, all others."""
    last = int(tested[-1]) if len(tested) else -1
    rest = np.setdiff1d(np.arange(len(order)), tested)
    after = np.roll(rest, -int(np.searchsorted(rest, last)))
    parts = after[validation:], after[:validation], tested
    train, valid, test = (tuple(sorted(order[p].tolist())) for p in parts)
    return train, valid, test


def _check(folds: int, users: _Parts, images: _Parts) -> None:
    if len(users[0]) < 2 or not all(map(len, users)) or not all(map(len, images)):
        msg = (
            f"{folds} folds leave {len(users[0])} training, {len(users[1])} validation and {len(users[2])} test users, "
            f"and {len(images[0])}, {len(images[1])} and {len(images[2])} images, in one of them; two training users "
            "and something in each other part are needed. Use other --folds, or change [split]."
        )
        raise ConfigError(msg)
