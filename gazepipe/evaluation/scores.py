"""Scores of every map of every row, kept one by one so that rows can be tested against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.evaluation.rows import ROWS, Row, Tested
from gazepipe.metrics import METRICS, score
from gazepipe.recipe import Recipe

__all__ = ["Scores", "from_arrays", "join", "load_scores", "save_scores", "score_rows"]

F64 = npt.NDArray[np.float64]
Names = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Scores:
    """Measures of each row on each pair of user and image.

    Parameters
    ----------
    rows
        Names of the rows.
    user, stimulus
        Of each pair, ``(n_pairs,)``.
    values
        ``(n_rows, n_pairs, n_measures)``, measures as in `gazepipe.metrics.METRICS`; NaN where a row has no map of a
        pair, or the map has no fixation to compare with.
    """

    rows: tuple[str, ...]
    user: Names
    stimulus: Names
    values: F64

    def of(self, row: str) -> F64:
        """``(n_pairs, n_measures)`` of one row."""
        part: F64 = self.values[self.rows.index(row)]
        return part

    def means(self) -> dict[str, dict[str, float]]:
        """Row → measure → mean over pairs."""
        return {r: dict(zip(METRICS, np.nanmean(v, 0).tolist(), strict=True)) for r, v in self._rows()}

    def per_user(self) -> dict[str, dict[str, dict[str, float]]]:
        """Row → user → measure → mean over the user's pairs."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for row, values in self._rows():
            found[row] = {}
            for user in dict.fromkeys(self.user.tolist()):
                part = values[self.user == user]
                if np.isfinite(part).any():
                    found[row][user] = dict(zip(METRICS, np.nanmean(part, 0).tolist(), strict=True))
        return found

    def _rows(self) -> list[tuple[str, F64]]:
        return [(r, v) for r, v in zip(self.rows, self.values, strict=True) if np.isfinite(v).any()]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """As it is stored."""
        return {
            "rows": np.array(self.rows, object),
            "table/user": self.user,
            "table/stimulus": self.stimulus,
            "scores": self.values,
        }


def score_rows(
    tested: Tested, rows: Sequence[Row] = ROWS, show: Callable[[int, int, str], None] | None = None
) -> Scores:
    """Score every row on test users × test images; each image takes an embedding at random from the user's pool."""
    rng = np.random.default_rng([tested.seed, 0xF3])
    corpus = tested.corpus
    names, stimuli, parts = list[str](), list[str](), list[F64]()
    for done, user in enumerate(tested.split.users_test):
        if show:
            show(done, len(tested.split.users_test), corpus.users[user])
        seen = tested.seen_by(user)
        if not len(seen):
            continue
        at = corpus.index[user, seen]
        truth = corpus.maps[at].astype(np.float32)
        cells, start = corpus.fixations_of(at)
        pool = tested.pools[user]
        embeddings = pool[rng.integers(len(pool), size=len(seen))]
        values = np.full((len(rows), len(seen), len(METRICS)), np.nan)
        groups = {g: tested.universal_maps(g, user, seen) for g in dict.fromkeys(row.group for row in rows)}
        for k, row in enumerate(rows):
            usm = groups[row.group]
            maps = None if usm is None else row.make(tested, user, seen, usm, embeddings)
            if maps is not None:
                values[k] = score(maps, truth, cells // corpus.size[1], cells % corpus.size[1], start)
        names += [corpus.users[user]] * len(seen)
        stimuli += [corpus.stimuli[s] for s in seen]
        parts.append(values)
    together = np.concatenate(parts, 1) if parts else np.zeros((len(rows), 0, len(METRICS)))
    made = [k for k in range(len(rows)) if np.isfinite(together[k]).any()]
    kept = tuple(rows[k].name for k in made)
    return Scores(kept, np.array(names, object), np.array(stimuli, object), together[made])


def join(parts: Sequence[Scores]) -> Scores:
    """Scores of several folds one after another; a row that a fold lacks is NaN there."""
    rows = tuple(dict.fromkeys(row for part in parts for row in part.rows))
    values = np.full((len(rows), sum(len(p.user) for p in parts), len(METRICS)), np.nan)
    first = 0
    for part in parts:
        last = first + len(part.user)
        values[[rows.index(r) for r in part.rows], first:last] = part.values
        first = last
    users, stimuli = (np.concatenate([getattr(p, name) for p in parts]) for name in ("user", "stimulus"))
    return Scores(rows, users, stimuli, values)


def save_scores(path: Path, scores: Scores, recipe: Recipe) -> None:
    """Write scores, whole or not at all."""
    attrs = {"measures": list(METRICS)}
    store.save(path, "gazepipe.scores", scores.arrays(), recipe=recipe, attrs=attrs)


def load_scores(path: Path) -> Scores:
    """Read what `save_scores` wrote.

    Raises
    ------
    NothingToDoError
        If there is no such file.
    StoreError
        If it is damaged or of another version.
    """
    return from_arrays(store.load(path, "gazepipe.scores"))


def from_arrays(contents: store.Contents) -> Scores:
    """Scores out of a stored file."""
    arrays = contents.arrays
    rows = tuple(str(r) for r in arrays["rows"])
    return Scores(rows, arrays["table/user"], arrays["table/stimulus"], arrays["scores"])
