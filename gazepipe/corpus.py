"""All personal maps of a study in memory, ready for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gazepipe.config import SplitConfig

__all__ = ["Corpus", "Others", "Split", "draw_split", "make_split"]

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Maps, fixations and images of a study.

    Parameters
    ----------
    users, stimuli
        Names, in the order of `index`.
    maps
        Personal saliency maps, ``(n_maps, H, W)`` float16.
    index
        Which map is of which user and stimulus, ``(n_users, n_stimuli)``; −1 where there is none.
    fixation_cell
        Fixated cells (row · W + column) of all maps one after another, ``(n_fixations,)``.
    fixation_start
        Index of each map's first fixation and, last, n_fixations, ``(n_maps + 1,)``.
    images
        ``(n_stimuli, H, W, 3)`` uint8 RGB, or None where the stimuli have no pixels.
    degree
        Cells in a degree of visual angle, along the width and along the height; the median over maps.
    scanpath
        How each map's fixations follow one another, ``(n_maps, 28)``, see `gazepipe.scanpath`; None: not known.
    """

    users: tuple[str, ...]
    stimuli: tuple[str, ...]
    maps: F16
    index: I64
    fixation_cell: I64
    fixation_start: I64
    images: U8 | None
    degree: tuple[float, float] = (float("nan"), float("nan"))
    scanpath: F32 | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.maps.shape[1], self.maps.shape[2]

    def usm(self, users: Sequence[int]) -> tuple[F32, I64]:
        """Universal maps over some users: means ``(n_stimuli, H, W)`` and how many users each is the mean of."""
        mean = np.zeros((len(self.stimuli), *self.size), np.float32)
        count = np.zeros(len(self.stimuli), np.int64)
        for user in users:
            there = np.flatnonzero(self.index[user] >= 0)
            mean[there] += self.maps[self.index[user, there]]
            count[there] += 1
        mean /= np.maximum(count, 1)[:, None, None]
        return mean, count

    def usm_without(self, users: Sequence[int], user: int, stimuli: Sequence[int] | I64) -> F32:
        """Universal maps of some stimuli over `users` except `user`, ``(n, H, W)``; NaN where nobody is left."""
        others = [u for u in users if u != user]
        chosen = np.asarray(stimuli)
        mean = np.zeros((chosen.size, *self.size), np.float32)
        count = np.zeros(chosen.size, np.int64)
        for other in others:
            row = self.index[other, chosen]
            mean[row >= 0] += self.maps[row[row >= 0]]
            count += row >= 0
        with np.errstate(invalid="ignore", divide="ignore"):
            return mean / np.where(count, count, np.nan).astype(np.float32)[:, None, None]

    def usm_without_each(self, users: Sequence[int]) -> Callable[[int, I64], F32]:
        """Return `usm_without` over `users` for one user after another, which sums their maps only once.

        Sums are float64, in which those of half-precision maps are exact, so that a map can be taken out again.
        """
        total = np.zeros((len(self.stimuli), *self.size), np.float64)
        number = np.zeros(len(self.stimuli), np.int64)
        for user in users:
            there = np.flatnonzero(self.index[user] >= 0)
            total[there] += self.maps[self.index[user, there]]
            number[there] += 1
        among = set(users)

        def without(user: int, stimuli: I64) -> F32:
            chosen = np.asarray(stimuli)
            rest, count = total[chosen], number[chosen]
            if user in among:
                row = self.index[user, chosen]
                rest[row >= 0] -= self.maps[row[row >= 0]]
                count -= row >= 0
            with np.errstate(invalid="ignore", divide="ignore"):
                mean: F32 = (rest / np.where(count, count, np.nan)[:, None, None]).astype(np.float32)
            return mean

        return without

    def fixations_of(self, rows: I64) -> tuple[I64, I64]:
        """Fixated cells of some maps and where each map's begin, as `gazepipe.metrics.score` takes them."""
        start, end = self.fixation_start[rows], self.fixation_start[rows + 1]
        cells = np.concatenate(
            [self.fixation_cell[a:b] for a, b in zip(start, end, strict=True)] or [np.zeros(0, np.int64)]
        )
        return cells, np.concatenate([[0], np.cumsum(end - start)])


@dataclass(frozen=True, slots=True)
class Split:
    """Who and what is trained on (indices into `Corpus.users` and `Corpus.stimuli`)."""

    users_train: tuple[int, ...]
    users_validation: tuple[int, ...]
    users_test: tuple[int, ...]
    images_train: tuple[int, ...]
    images_validation: tuple[int, ...]
    images_test: tuple[int, ...]

    @property
    def users_all(self) -> tuple[int, ...]:
        """Every user once, in order."""
        return tuple(sorted({*self.users_train, *self.users_validation, *self.users_test}))


#: Corpora of other studies, and who and what of each is trained on.
Others = Sequence[tuple[Corpus, Split]]


def draw_split(corpus: Corpus, section: SplitConfig) -> Split:
    """Draw the split of a study, as its `[split]` says."""
    return make_split(
        len(corpus.users),
        len(corpus.stimuli),
        users=section.users,
        images=section.images,
        protocol=section.protocol,
        seed=section.seed,
    )


def make_split(
    n_users: int,
    n_images: int,
    *,
    users: tuple[float, float, float],
    images: tuple[float, float, float],
    protocol: str,
    seed: int,
) -> Split:
    """Draw a split at random.

    In the closed protocol every user is in all three parts (test images are unseen, users are not); in the open
    one the three parts share no user. Images never overlap.
    """
    rng = np.random.default_rng([seed, 0x59])
    i = _cut(rng.permutation(n_images), images)
    everybody = tuple(range(n_users))
    u = (everybody,) * 3 if protocol == "closed" else _cut(rng.permutation(n_users), users)
    return Split(*u, *i)


def _cut(order: I64, fractions: tuple[float, float, float]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Cut a permutation by fractions; a part asked for is never empty while there is something to give."""
    n = len(order)
    wanted = [round(n * f) for f in fractions]
    for part in (1, 2):
        if fractions[part] > 0 and wanted[part] == 0 and n >= 3:
            wanted[part] = 1
    wanted[2] = min(wanted[2], n - wanted[1])  # two halves of an odd number may both be rounded up
    first = n - wanted[1] - wanted[2]
    parts = order[:first], order[first : first + wanted[1]], order[first + wanted[1] :]
    a, b, c = (tuple(sorted(int(v) for v in part)) for part in parts)
    return a, b, c
