"""Personal maps on unseen users and unseen images: what a viewing profile gains, cross-validated over users.

    python benchmarks/ablate_refiner.py osie DATA --folds 0 1 2 3 4
    python benchmarks/ablate_refiner.py ps DATA --folds 0 --m 32 --size 40x30
    python benchmarks/ablate_refiner.py study FOLDER      (a study after `gazepipe build-psm`)

Users are divided into five folds (seed 0); those of a fold are test users, all others training users. A tenth of the
images are test images, a tenth is held out to choose how strong the prior is (on training users), the rest is for
training; a test user's profile comes from m random pairs of the training part. Each universal map in training has the
user's own map in it as much as the universal map it is evaluated on: 1/n of GT-USM, nothing of the leave-one-out one.
Rows: the universal map; the profile that training users have on average (no personalisation); the person's profile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _fixation_maps import fixation_maps
from scipy.stats import mannwhitneyu

from gazepipe.baselines import multicnn_maps
from gazepipe.config import RefinerConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.metrics import METRICS, score
from gazepipe.profile import FIT_SIZE, PARAMETERS, fit_profiles, profile_loss, reshape_maps
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study
from gazepipe.training import train_multicnn

FIT = 64  # training images of each training user that the prior is made from
STRENGTHS = (0.125, 0.25, 0.5, 1.0)


MULTICNN_IMAGES = 300  # training images of each of the baseline's networks


def quiet(*_: object) -> None:
    pass


def pairs(corpus: Corpus, users: np.ndarray, images: list, reference: np.ndarray, share: float) -> tuple:
    """Universal and personal maps ``(users, n, H, W)``; universal ones over `reference`, own map with weight `share`.

    At the size that profiles are fitted at.
    """
    usm, psm = [], []
    for user, shown in zip(users, images, strict=True):
        own = corpus.maps[corpus.index[user, shown]].astype(np.float32)
        others = corpus.usm_without([int(r) for r in reference], int(user), shown)
        usm.append((1 - share) * others + share * own)
        psm.append(own)
    return tuple(F.adaptive_avg_pool2d(torch.from_numpy(np.stack(a)), FIT_SIZE) for a in (usm, psm))


def unit(maps: torch.Tensor) -> torch.Tensor:
    return maps / maps.mean((2, 3), keepdim=True)


def learn(corpus, users, train, held, m, share, rng):
    """Prior over profiles from training users, and the strength that predicts their held-out images best."""
    p = len(PARAMETERS)
    usm, psm = pairs(corpus, users, [rng.permutation(train)[:FIT] for _ in users], users, share)
    each = fit_profiles(usm, psm, torch.zeros(p), torch.ones(p))
    mean, sd = each.mean(0), each.std(0).clamp(min=0.01)
    few = [rng.permutation(train)[:m] for _ in users]
    usm, psm = pairs(corpus, users, few, users, share)
    usm_held, psm_held = (unit(a) for a in pairs(corpus, users, [held[:40]] * len(users), users, share))
    losses = {}
    for k in STRENGTHS:
        fitted = fit_profiles(usm, psm, mean, k / sd**2)
        losses[k] = float(profile_loss(reshape_maps(usm_held, fitted), psm_held).mean())
    return mean, sd, min(losses, key=losses.get), losses


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("osie", "ps", "study"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--m", type=int, default=32)
    parser.add_argument("--size", default="40x30")
    parser.add_argument("--multicnn", type=float, default=0.0, help="minutes for the baseline's networks of a fold")
    parser.add_argument("--cache", type=Path, help="folder that keeps the maps for another run; default: none does")
    args = parser.parse_args()
    torch.set_num_threads(1)
    width, height = map(int, args.size.split("x"))
    if args.name == "study":
        corpus = load_corpus(Study.open(args.data))
        width = corpus.size[1]
        small = corpus
    else:
        with tempfile.TemporaryDirectory() as folder:
            cache = args.cache or Path(folder)
            corpus = fixation_maps(args.name, args.data, cache, (height, width))
            small = fixation_maps(args.name, args.data, cache, (30, 40))
    n, rng = len(corpus.users), np.random.default_rng(0)
    who, what = rng.permutation(n), rng.permutation(len(corpus.stimuli))
    tenth = len(what) // 10
    test_images, held, train = np.sort(what[:tenth]), what[tenth : 2 * tenth], what[2 * tenth :]
    table: dict[str, list[np.ndarray]] = {}
    start = time.process_time()
    for fold in args.folds:
        test = np.sort(who[fold::5])
        known = np.setdiff1d(np.arange(n), test)
        for label, share in (("GT-USM", 1 / n), ("GT-USM without the user", 0.0)):
            draws = np.random.default_rng([0, fold])
            mean, sd, strength, losses = learn(small, known, train, held, args.m, share, draws)
            few = [draws.permutation(train)[: args.m] for _ in test]
            # An unseen user's universal maps of their enrolment images: over everybody known, as in training.
            usm, psm = pairs(small, test, few, known, share)
            mine = fit_profiles(usm, psm, mean, strength / sd**2)
            nets = None
            if args.multicnn:
                shown = tuple(sorted(train[:MULTICNN_IMAGES].tolist()))
                everybody = tuple(known.tolist())
                split = Split(everybody, everybody, tuple(test.tolist()), shown, tuple(held[:60].tolist()), ())
                # As the paper has it, the networks of GT-USM see universal maps with the user's own in them.
                kind = "mean" if share else "leave_one_out"
                config = RefinerConfig(widths=(16, 32, 64), minutes=args.multicnn, usm=kind)
                nets = train_multicnn(corpus, split, config, seed=0, where=torch.device("cpu"), progress=quiet).net
            print(
                f"fold {fold} {label}: strength {strength}, {start and time.process_time() - start:.0f} CPU s",
                flush=True,
            )
            print(
                "  mean", " ".join(f"{k} {v:+.2f}" for k, v in zip(PARAMETERS, mean.tolist(), strict=True)), flush=True
            )
            print(
                "  sd  ",
                " ".join(f"{k} {v:.2f}" for k, v in zip(PARAMETERS, sd.tolist(), strict=True)),
                losses,
                flush=True,
            )
            for i, user in enumerate(test):
                others = corpus.usm_without(range(n), int(user), test_images)
                own = corpus.maps[corpus.index[user, test_images]].astype(np.float32)
                base = torch.from_numpy((1 - share) * others + share * own)[None]
                rows = {"": base, " + average profile": reshape_maps(base, mean[None])}
                rows[" + own profile"] = reshape_maps(base, mine[i : i + 1])
                if nets is not None:
                    for combine in ("add", "gated"):
                        made = multicnn_maps(
                            nets, corpus, split, int(user), test_images, base[0].numpy(), combine=combine
                        )
                        rows[f" + MultiCNN oracle ({combine})"] = torch.from_numpy(made)[None]
                cells, first = corpus.fixations_of(corpus.index[user, test_images])
                for suffix, maps in rows.items():
                    values = score(maps[0].numpy(), own, cells // width, cells % width, first)
                    table.setdefault(label + suffix, []).append(values)
    report(table)
    print(f"{time.process_time() - start:.0f} CPU s")


def report(table: dict[str, list[np.ndarray]]) -> None:
    """Means, gains over the universal map, and how likely chance gives as much (Mann–Whitney U, two-sided)."""
    base = None
    print("| map | " + " | ".join(METRICS) + " |\n| --- |" + " ---: |" * len(METRICS))
    for row, parts in table.items():
        values = np.concatenate(parts)
        print(f"| {row} | " + " | ".join(f"{v:.3f}" for v in np.nanmean(values, 0)) + " |")
        if "+" not in row:
            base = values
            continue
        gain = np.nanmean(values, 0) - np.nanmean(base, 0)
        p = [mannwhitneyu(a[np.isfinite(a)], b[np.isfinite(b)]).pvalue for a, b in zip(values.T, base.T, strict=True)]
        cells = (f"{g:+.4f}{'*' if q < 0.05 else ''}" for g, q in zip(gain, p, strict=True))
        print("| &nbsp;&nbsp;gain | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
