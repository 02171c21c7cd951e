"""Viewing profiles alone, in the folds of `gazepipe crossvalidate`: what the weight of the order of cells does.

    python benchmarks/bench_profile.py STUDY --folds 5 --validation --weights 0 3 5 10
    python benchmarks/bench_profile.py STUDY --folds 5 --weights 0 5 --against STUDY/store/folds/best

STUDY has maps built; its `[split]`, `[refiner] m` and `seed` are used. Priors are made anew in each fold, as in
`gazepipe.profiling`. Printed are means over users of the gain over the universal map, with Student's 95 % interval.

`--validation`: nobody's and nothing's test part is touched. Profiles of validation users are tested on images that no
fold tests (sixty of them, not among those that profiles come from), or, where every image is tested in some fold, on
the fold's own validation images. Otherwise test users are tested on test images, as `crossvalidate` does.

`--against`: folds that `crossvalidate` stored, with `[refiner] multicnn`; the gain over the better of the two forms of
MultiCNN (by the mean over users, for each measure) is printed, too. Its maps must be the same ones.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gazepipe import profile, profiling
from gazepipe.crossvalidate import load_fold
from gazepipe.evaluation.folds import make_folds
from gazepipe.evaluation.rows import GROUPS, ROWS, Tested
from gazepipe.evaluation.scores import Scores, join, score_rows
from gazepipe.evaluation.statistics import interval
from gazepipe.metrics import METRICS
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study

SHOWN = 60  # images that a validation user is tested on


def weighed(weight: float) -> None:
    """Make every fit and every choice of the prior's strength weigh the order so."""
    profile.fit_profiles.__kwdefaults__["order_weight"] = weight
    profile.profile_loss.__defaults__ = (None, weight)


def validation_split(split, never: list[int], number: int):
    """Validation users in the test users' place; nobody else is known."""
    images = split.images_validation
    if len(never) >= SHOWN:
        images = tuple(sorted(np.random.default_rng(number).permutation(never)[:SHOWN].tolist()))
    train = tuple(i for i in split.images_train if i not in set(images))
    return replace(split, users_test=split.users_validation, images_test=images, images_train=train)


def per_user(scores: Scores, row: str) -> np.ndarray:
    """Means over each user's maps, ``(users, measures)``, users by name."""
    found = scores.per_user()[row]
    return np.array([[found[u][m] for m in METRICS] for u in sorted(found)])


def gains(label: str, mine: np.ndarray, other: np.ndarray) -> None:
    cells = []
    for k, (measure, more) in enumerate(METRICS.items()):
        gain = mine[:, k] - other[:, k]
        found, better = interval(gain), int(((gain > 0) == more).sum())
        cells.append(f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] {better}/{len(gain)}")
        if measure == "KLD":
            break
    print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--weights", type=float, nargs="+", default=[profile.ORDER_WEIGHT])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--no-content", action="store_true", help="profiles know nothing of what is in the images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study.open(args.study)
    corpus, config = load_corpus(study), study.config
    cut = make_folds(len(corpus.users), len(corpus.stimuli), config.split, folds=args.folds)
    tested = {i for fold in cut for i in fold.split.images_test}
    never = [i for i in range(len(corpus.stimuli)) if i not in tested]
    groups = ("mean", "leave_one_out")
    rows = [r for r in ROWS if r.group in groups and r.name.startswith((GROUPS[r.group], "profile"))]
    stored = args.against and join([load_fold(f).scores for f in sorted(args.against.glob("fold-1-*.h5"))])
    print("| weight, map | " + " | ".join(list(METRICS)[:5]) + " |\n| --- |" + " ---: |" * 5)
    for weight in args.weights:
        start = time.process_time()
        weighed(weight)
        parts = []
        for fold in cut:
            split = validation_split(fold.split, never, fold.number) if args.validation else fold.split
            trained = profiling.train_profile(
                corpus,
                split,
                config.refiner,
                backbone=None if args.no_content else profiling.content_backbone(corpus, config),
                seed=config.seed,
                progress=lambda *_: None,
            )
            print(f"fold {fold.number}: {trained.best}", flush=True)
            if args.validation:  # the tested ones are known in training, and so they are in GT-USM
                everybody = {*split.users_train, *split.users_validation}
                kept = sorted(everybody)
                assert not everybody & set(fold.split.users_test)
                place = {u: i for i, u in enumerate(kept)}
                used = replace(corpus, users=tuple(corpus.users[u] for u in kept), index=corpus.index[kept])
                turned = {
                    name: tuple(place[u] for u in getattr(split, name))
                    for name in ("users_train", "users_validation", "users_test")
                }
                used_split = replace(split, **turned)
            else:
                used, used_split = corpus, split
            networks = {"profile": trained.net}
            of_nobody = _NoPools(used, used_split, None, config.refiner.m, 1, config.seed, networks)
            parts.append(score_rows(of_nobody, rows))
        scores = join(parts)
        for group in groups:
            base, mine = (per_user(scores, f"{name}{GROUPS[group]}") for name in ("", "profile on "))
            level = [interval(column) for column in mine.T[:5]]
            print(f"| {weight:g}, profile on {GROUPS[group]} | " + " | ".join(map(str, level)) + " |")
            gains(f"{weight:g}, over {GROUPS[group]}", mine, base)
            if stored:
                forms = [per_user(stored, f"{kind}MultiCNN on {GROUPS[group]}") for kind in ("", "gated ")]
                check = per_user(stored, GROUPS[group])
                assert np.allclose(check, base, atol=2e-4), "not the same maps"
                more = np.array(list(METRICS.values()))
                first = np.where(more, forms[0].mean(0) > forms[1].mean(0), forms[0].mean(0) < forms[1].mean(0))
                gains(f"{weight:g}, over the better MultiCNN", mine, np.where(first, *forms))
        print(f"weight {weight:g}: {time.process_time() - start:.0f} CPU s", flush=True)


class _NoPools(Tested):
    """Without an embedding network: no row here needs an embedding."""

    @property
    def pools(self):
        return {user: np.zeros((1, 1), np.float32) for user in self.split.users_test}


if __name__ == "__main__":
    main()
