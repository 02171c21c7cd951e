"""User embeddings on unseen users and unseen images, variant by variant, cross-validated over users.

    python benchmarks/ablate_embedding.py osie DATA/osie
    python benchmarks/ablate_embedding.py osie DATA/osie --pretrained features.npz
    python benchmarks/ablate_embedding.py osie DATA/osie --network discrepancy --folds-run 1
    python benchmarks/ablate_embedding.py ps DATA/ps --m 8 --repetitions 20 --only "with eye movements"

Protocol. Users are cut into `--folds` parts. In each fold one part is tested, the next one is the validation part, and
all others train; a tenth of the images, another in each fold, is tested, another tenth validates, all others train.
Universal maps and what descriptors are weighed by come from training users and training images; nothing is tuned on
test users or images. Test images are halved at random: galleries come from one half, probes from the other. The gallery
holds *all* users of the data set, training and validation ones too; probes are those of the test users alone, so that
over all folds each user is identified once as somebody unseen among everybody. "Own part": the same probes, but the
gallery holds test users only. The interval is Student's 95 % over folds.

*offset*: each single embedding, of gallery and probes alike, has its fixations moved by an offset of its own, uniform
in a disc of one degree, before maps are made. What is registered is registered for each embedding alone, from its m
pairs.

Maps are made from fixations in closed form, on the grid of 40 × 30 cells that descriptors work on. `--pretrained` adds
what is looked at: the first sixteen principal components of the last but one features of EfficientNet-Lite0
(`gazepipe.backbone`, images at 640 × 480), made once and kept in the file.
`--network` trains gazepipe's network on the same folds, inputs of 40 × 30.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazepipe import compute
from gazepipe.backbone import CHANNELS, load_backbone
from gazepipe.datasets import load_dataset
from gazepipe.descriptors import DESCRIPTORS, descriptors
from gazepipe.embedding import DescriptorNet
from gazepipe.identification import d_prime, equal_error_rate
from gazepipe.images import read_rgb
from gazepipe.registration import GRID, REACH, match, offset
from gazepipe.scanpath import FIRST_SCANPATH, SCANPATH, scanpath_descriptors

HEIGHT, WIDTH = GRID
MOVES = ("move_u", "move_v", "stretch_u", "stretch_v", "shear_u", "shear_v")
#: Row → names of descriptors in it.
VARIANTS = {
    "all descriptors": DESCRIPTORS,
    "without moves": tuple(d for d in DESCRIPTORS if d not in ("move_u", "move_v")),
    "without moves, stretches and shears": tuple(d for d in DESCRIPTORS if d not in MOVES),
    "without places": tuple(d for d in DESCRIPTORS if d not in ("u", "v", "uu", "vv", "uv", "uuu", "vvv")),
    "without follow": tuple(d for d in DESCRIPTORS if not d.startswith("follow")),
    "without flank and bend": tuple(d for d in DESCRIPTORS if not d.startswith(("flank", "bend"))),
    "without spread": tuple(d for d in DESCRIPTORS if d not in ("mass", "entropy", "concentration", "root")),
    "without peaks": tuple(d for d in DESCRIPTORS if not d.startswith("peak")),
    "peaks and spread alone": ("mass", "entropy", "concentration", "root", *(d for d in DESCRIPTORS if "peak" in d)),
    "moves alone": MOVES[:2],
}


#: Variants that are fitted a second time so that they expect offsets (`gazepipe.recalibration`).
ROBUST = ("all descriptors", "with the first nine of eye movements", "with eye movements")


@dataclass
class Looks:
    """Fixations in cells, ``(users, images, repeats, fixations)``, −10,000 where there is none; eye movements
    ``(users, images, 9)``, NaN where they are not known; files of images."""

    u: Tensor
    v: Tensor
    scanpath: Tensor
    degree: tuple[float, float]
    files: list[Path | None]

    def maps(self, users: Tensor, images: Tensor, by: Tensor | None = None) -> Tensor:
        """Personal maps of pairs ``(n, 30, 40)``; looks are moved by ``(n, 2)`` cells first and may leave the image."""
        u, v = self.u[users, images], self.v[users, images]  # (n, repeats, fixations)
        if by is not None:
            u, v = u + by[:, 0, None, None], v + by[:, 1, None, None]
        inside = (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
        n, repeats, _ = u.shape
        across = _profiles(u.flatten(0, 1), self.degree[0], WIDTH) * inside.flatten(0, 1)[..., None]
        maps = (_profiles(v.flatten(0, 1), self.degree[1], HEIGHT).mT @ across).view(n, repeats, HEIGHT, WIDTH)
        top = maps.amax((2, 3))
        seen = (top > 0).sum(1).clamp(min=1)[:, None, None]
        return (maps / top.clamp(min=1e-9)[..., None, None]).sum(1) / seen


def _profiles(centre: Tensor, sigma: float, n: int) -> Tensor:
    """Gaussians integrated over n cells: ``(…)`` → ``(…, n)``."""
    edges = (torch.arange(n + 1) - centre[..., None]) / (sigma * 2**0.5)
    return torch.erf(edges).diff(dim=-1) / 2


def read(name: str, folder: Path) -> Looks:
    data = load_dataset(name, folder)
    table = data.fixations
    size = np.array([data.stimulus_px[s] for s in table["stimulus"]], np.float64)
    inside = table["x_px"].between(0, size[:, 0], "left") & table["y_px"].between(0, size[:, 1], "left")
    place = [np.unique(table[c].to_numpy(str), return_inverse=True) for c in ("user", "stimulus")]
    repeat, order = table["repeat"].to_numpy() - 1, table["index"].to_numpy()
    keep = inside.to_numpy() & (repeat < 4) & (order < 18)  # a fifth repeat is a re-run; few looks go on for so long
    shape = (len(place[0][0]), len(place[1][0]), int(repeat[keep].max()) + 1, int(order[keep].max()) + 1)
    at = tuple(i[keep] for i in (place[0][1], place[1][1], repeat, order))
    out = []
    for values in (table["x_px"] / size[:, 0] * WIDTH, table["y_px"] / size[:, 1] * HEIGHT):
        filled = np.full(shape, -1e4, np.float32)
        filled[at] = values.to_numpy()[keep]
        out.append(torch.from_numpy(filled))
    width, height = np.median(size, 0)
    degree = data.pixels_per_degree * WIDTH / width, data.pixels_per_degree * HEIGHT / height
    return Looks(
        *out,
        _scanpaths(table, keep, at, shape, data.pixels_per_degree),
        degree,
        [data.image_paths.get(str(name)) for name in place[1][0]],
    )


def _scanpaths(table: Any, keep: np.ndarray, at: Any, shape: tuple[int, ...], pixels_per_degree: float) -> Tensor:
    """Eye movements of every pair, as gazepipe describes them."""
    kept = table[keep]
    order = np.lexsort((at[3], at[2], at[1], at[0]))
    pair = (at[0] * shape[1] + at[1])[order]
    first = np.append(np.flatnonzero(np.diff(pair, prepend=-1)), len(pair))
    x, y, duration = (kept[c].to_numpy(np.float64)[order] for c in ("x_px", "y_px", "duration_ms"))
    degree = np.full((len(first) - 1, 2), pixels_per_degree)
    out = np.full((shape[0] * shape[1], len(SCANPATH)), np.nan, np.float32)
    out[pair[first[:-1]]] = scanpath_descriptors(x, y, duration, at[2][order], first, degree)
    return torch.from_numpy(out.reshape(*shape[:2], -1))


@dataclass
class Fold:
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    images_train: np.ndarray
    images_validation: np.ndarray
    images_test: np.ndarray


def pretrained(looks: Looks, kept: Path) -> Tensor:
    """Features of what stands at each place, ``(images, 16, 30, 40)``, of unit variance; made once, then read."""
    if not kept.is_file():
        backbone, out = load_backbone(), []
        with torch.inference_mode():
            for file in looks.files:
                out.append(backbone(torch.from_numpy(read_rgb(file, (640, 480))[None]))[CHANNELS.index(192)].half())
        np.savez(kept, s32=torch.cat(out).numpy())
    features = torch.from_numpy(np.load(kept)["s32"]).float()  # (images, 192, 15, 20)
    features = torch.nn.functional.interpolate(features, GRID, mode="bilinear").permute(0, 2, 3, 1)
    sample = features.reshape(-1, features.shape[-1])[::37]
    mean = sample.mean(0)
    _, strength, directions = torch.linalg.svd(sample - mean, full_matrices=False)
    return ((features - mean) @ directions[:16].T / strength[:16] * len(sample) ** 0.5).permute(0, 3, 1, 2)


def folds(users: int, images: int, count: int, seed: int) -> Iterator[Fold]:
    order = np.random.default_rng([seed, users]).permutation(users)
    shown = np.random.default_rng([seed, 7]).permutation(images)
    parts, tenth = np.array_split(order, count), round(images / 10)
    for k in range(count):
        test, validation = parts[k], parts[(k + 1) % count]
        train = np.setdiff1d(order, np.concatenate([test, validation]))
        turned = np.roll(shown, -k * tenth)
        yield Fold(train, validation, test, turned[2 * tenth :], turned[tenth : 2 * tenth], turned[:tenth])


class Describer:
    """Descriptors of pairs in one fold; universal maps are over the training users, without the user among them."""

    def __init__(self, looks: Looks, fold: Fold, things: Tensor | None) -> None:
        self.looks, self.n, self.things = looks, len(fold.train), things
        everything = torch.arange(looks.u.shape[1])
        self.usm = sum(looks.maps(torch.full_like(everything, int(u)), everything) for u in fold.train) / self.n
        self.training = torch.zeros(looks.u.shape[0], dtype=torch.bool)
        self.training[fold.train] = True
        self.reference = torch.from_numpy(fold.train)
        self.typical: Tensor | None = None

    def expected(self, users: Tensor, images: Tensor) -> Tensor:
        """Mean of what training users, the user left out, have on each image: ``(n, d)``."""
        if self.typical is None:
            everything = torch.arange(self.looks.u.shape[1])
            self.typical = torch.stack(
                [
                    torch.cat([self._pairs(u.repeat(len(part)), part, None, None)[0] for part in everything.split(512)])
                    for u in self.reference
                ]
            )
        others = (self.reference[:, None] != users[None])[..., None]
        return torch.where(others, self.typical[:, images], torch.nan).nanmean(0)

    def of_sets(self, users: Tensor, images: Tensor, by: Tensor | None, registered: bool) -> Tensor:
        """Descriptors of sets of pairs: users ``(k,)``, images ``(k, m)``, moves ``(k, 2)`` → ``(k, m, d)``."""
        out = []
        m = images.shape[1]
        step = max(512 // m, 1)
        for a in range(0, len(users), step):
            shown = images[a : a + step]
            who, what = users[a : a + len(shown)].repeat_interleave(m), shown.reshape(-1)
            move = None if by is None else by[a : a + len(shown)].repeat_interleave(m, 0)
            columns, usm = self._pairs(who, what, move, None)
            if registered:
                side = 2 * REACH + 1
                found = match(self.looks.maps(who, what, move), usm).view(-1, m, side, side).sum(1)
                by_found = offset(found).repeat_interleave(m, 0)
                columns, _ = self._pairs(who, what, by_found if move is None else move + by_found, usm)
            out.append((columns - self.expected(who, what)).nan_to_num().view(len(shown), m, -1))
        return torch.cat(out)

    def _pairs(self, who: Tensor, what: Tensor, move: Tensor | None, usm: Tensor | None) -> tuple[Tensor, Tensor]:
        """All columns of pairs ``(n, d)``, and their universal maps, which are made where they are not given."""
        if usm is None:
            usm = self.usm[what]
            if self.training[who].any():
                own = self.looks.maps(who, what)
                others = (self.n * usm - own).clamp(min=0) / (self.n - 1)
                usm = torch.where(self.training[who][:, None, None], others, usm)
        psm = self.looks.maps(who, what, move)
        columns = [descriptors(psm, usm), self.looks.scanpath[who, what]]
        if self.things is not None:
            more = psm / psm.sum((1, 2), keepdim=True).clamp(min=1e-9) - usm / usm.sum((1, 2), keepdim=True)
            columns.append(torch.einsum("nhw,nkhw->nk", more, self.things[what]))
        return torch.cat(columns, 1), usm


def disc(looks: Looks, n: int, rng: np.random.Generator) -> Tensor:
    """Moves uniform in a disc of one degree, in cells."""
    radius, angle = np.sqrt(rng.random(n)), rng.random(n) * 2 * np.pi
    moves = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) * looks.degree
    return torch.from_numpy(moves.astype(np.float32))


def scores(same_part: np.ndarray, gallery: np.ndarray, probe: np.ndarray, who: np.ndarray, whose: np.ndarray) -> Any:
    """Precision at one among all and among the test users, equal error rate, d′; embeddings are unit vectors."""
    cosines = probe @ gallery.T
    own = whose[:, None] == who[None]
    part = np.isin(who, same_part)
    return np.array(
        [
            (who[cosines.argmax(1)] == whose).mean(),
            (who[part][cosines[:, part].argmax(1)] == whose).mean(),
            equal_error_rate(cosines[own], cosines[~own]),
            d_prime(cosines[own], cosines[~own]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("osie", "ps"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--folds-run", type=int, help="only the first so many")
    parser.add_argument("--m", type=int, nargs="+", default=(8, 32))
    parser.add_argument("--per-user", type=int, default=10, help="embeddings of each user in gallery and probes")
    parser.add_argument("--repetitions", type=int, default=2, help="halvings of the test images")
    parser.add_argument("--train-pairs", type=int, default=384, help="pairs of each training user, for the fit")
    parser.add_argument("--shrinkage", type=float, default=0.03)
    parser.add_argument("--pretrained", type=Path, help="file of image features, written where there is none")
    parser.add_argument("--network", nargs="*", default=(), help="inputs of networks to train in place of descriptors")
    parser.add_argument("--only", help="one row, as it is: not registered, no offsets, test users alone")
    parser.add_argument("--steps", type=int, default=300, help="of those networks")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    looks = read(options.data, options.folder)
    things = pretrained(looks, options.pretrained) if options.pretrained else None
    users, images = looks.u.shape[:2]
    results: Results = {}
    for number, fold in enumerate(folds(users, images, options.folds, options.seed)):
        if number == (options.folds_run or options.folds):
            break
        rng = np.random.default_rng([options.seed, number])
        if number == 0 and not options.only:
            for m in options.m:
                scatter, error = registration(looks, fold, m, np.random.default_rng(options.seed))
                print(
                    f"registration, m = {m}: moves scatter by {scatter:.3f}°, known offsets come back to {error:.4f}°"
                )
        if options.network:
            _networks(results, looks, fold, rng, options)
        else:
            _descriptors(results, looks, fold, things, rng, options)
        print(f"fold {number + 1} of {options.folds}, {time.process_time() - start:.0f} CPU s", flush=True)
    print(_markdown(results, options.m, f"{options.data}: {users} users, {images} images, {options.folds} folds"))


def registration(looks: Looks, fold: Fold, m: int, rng: np.random.Generator, sets: int = 20) -> tuple[float, float]:
    """Scatter of the moves found for sets of m maps of one person, and error after a known offset; degrees, rms.

    Over test users, test images and both axes. The error is that of the difference of moves found before and after.
    """
    describe = Describer(looks, fold, None)
    side = 2 * REACH + 1
    scatter, error = [], []
    for user in fold.test:
        shown = torch.from_numpy(np.stack([rng.choice(fold.images_test, m, replace=False) for _ in range(sets)]))
        who, what = torch.full((sets * m,), int(user)), shown.reshape(-1)
        by = disc(looks, sets, rng)
        found = [
            offset(match(looks.maps(who, what, b), describe.usm[what]).view(sets, m, side, side).sum(1))
            for b in (None, by.repeat_interleave(m, 0))
        ]
        scale = torch.tensor(looks.degree)
        scatter.append((found[0] / scale).var(0).mean())
        error.append((((found[0] - found[1] - by) / scale) ** 2).mean())
    return float(torch.stack(scatter).mean().sqrt()), float(torch.stack(error).mean().sqrt())


#: Row, part, attack, m → measures of each fold.
Results = dict[tuple[str, str, str, int], list[np.ndarray]]


def _columns(things: bool) -> dict[str, list[int]]:
    """Variants as columns of what `Describer.of_sets` gives."""
    n = len(DESCRIPTORS)
    variants = {name: [DESCRIPTORS.index(d) for d in chosen] for name, chosen in VARIANTS.items()}
    last = n + len(SCANPATH)
    variants["with the first nine of eye movements"] = list(range(n + len(FIRST_SCANPATH)))
    variants["with eye movements"] = list(range(last))
    variants["eye movements alone"] = list(range(n, last))
    if things:
        variants["with pretrained features"] = [*range(n), *range(last, last + 16)]
        variants["pretrained features alone"] = list(range(last, last + 16))
    return variants


def _descriptors(
    results: Results, looks: Looks, fold: Fold, things: Tensor | None, rng: np.random.Generator, options: Any
) -> None:
    describe = Describer(looks, fold, things)
    for registered in (False,) if options.only else (False, True):
        m = min(options.m)
        shown = torch.from_numpy(rng.permutation(fold.images_train)[: options.train_pairs // m * m].reshape(-1, m))
        training = [
            describe.of_sets(torch.full((len(shown),), int(u)), shown, None, registered).flatten(0, 1)
            for u in fold.train
        ]
        nets = {}
        offsets = (
            None
            if registered or options.only
            else _offset_scatter(describe, fold, np.random.default_rng([options.seed, 3]))
        )
        for name, columns in _columns(things is not None).items():
            if options.only not in (None, name):
                continue
            net = DescriptorNet(registered)
            tables = [t[:, columns] for t in training]
            net.fit(tables, options.shrinkage)
            nets[f"{name}, registered" if registered else name] = net, columns
            if offsets is not None and name in ROBUST:
                robust = DescriptorNet()
                robust.fit(tables, options.shrinkage, offsets[columns][:, columns])
                nets[f"{name}, offsets expected"] = robust, columns

        def embed(who: Tensor, sets: Tensor, by: Tensor | None, nets: Any = nets, registered: bool = registered) -> Any:
            pairs = describe.of_sets(who, sets, by, registered)  # (n, m, d)
            return {
                name: net.weighed(pairs[..., c].flatten(0, 1)).unflatten(0, sets.shape).mean(1)
                for name, (net, c) in nets.items()
            }

        _measure(results, looks, fold, embed, rng, options)


def _offset_scatter(describe: Describer, fold: Fold, rng: np.random.Generator, sets: int = 24, m: int = 32) -> Tensor:
    """What offsets of up to a degree do to means of m pairs of a training user, second moments ``(d, d)``."""
    out = []
    for user in fold.train:
        shown = torch.from_numpy(np.stack([rng.choice(fold.images_train, m, replace=False) for _ in range(sets)]))
        who, by = torch.full((sets,), int(user)), disc(describe.looks, sets, rng)
        change = (describe.of_sets(who, shown, by, False) - describe.of_sets(who, shown, None, False)).mean(1).double()
        out.append(change.T @ change / sets)
    return torch.stack(out).mean(0)


def _networks(results: Results, looks: Looks, fold: Fold, rng: np.random.Generator, options: Any) -> None:
    """gazepipe's network, trained by gazepipe's own loop on maps of 40 × 30."""
    from gazepipe.config import EmbeddingConfig
    from gazepipe.corpus import Corpus, Split
    from gazepipe.images import read_rgb
    from gazepipe.training import Encoder, train_embedding

    users, images = looks.u.shape[:2]
    everything = torch.arange(images)
    maps = torch.cat([looks.maps(torch.full_like(everything, u), everything) for u in range(users)]).half().numpy()
    names = tuple(map(str, range(users))), tuple(map(str, range(images)))
    pixels = None
    if any(i.startswith("rgb") for i in options.network):
        pixels = np.stack([read_rgb(f, (WIDTH, HEIGHT)) for f in looks.files if f])
    corpus = Corpus(*names, maps, np.arange(users * images).reshape(users, images), None, None, pixels)  # type: ignore[arg-type]
    parts = (fold.train, fold.validation, fold.test, fold.images_train, fold.images_validation, fold.images_test)
    split = Split(*(tuple(int(i) for i in p) for p in parts))
    for inputs in options.network:
        batch = 4 * len(fold.train)
        config = EmbeddingConfig(inputs=inputs, batch=batch, steps=options.steps, validate_every=20, patience=99)
        trained = train_embedding(
            corpus, split, config, seed=options.seed, where=torch.device("cpu"), progress=lambda *_: None
        )
        encoder = Encoder(trained.net.eval(), corpus, split.users_train)

        @torch.inference_mode()
        def embed(who: Tensor, sets: Tensor, by: Tensor | None, encoder: Any = encoder, inputs: str = inputs) -> Any:
            m = sets.shape[1]
            out = []
            for a in range(len(who)):
                one = who[a].repeat(m)
                if by is not None:  # the attack is made on fixations, so that maps are made anew
                    encoder.maps[encoder.index[one, sets[a]]] = looks.maps(one, sets[a], by[a].expand(m, 2)).half()
                out.append(encoder.features(one, sets[a]).mean(0))
                if by is not None:
                    encoder.maps[encoder.index[one, sets[a]]] = looks.maps(one, sets[a]).half()
            return {f"network, {inputs}": torch.stack(out)}

        _measure(results, looks, fold, embed, rng, options)


def _measure(results: Results, looks: Looks, fold: Fold, embed: Any, rng: np.random.Generator, options: Any) -> None:
    """Draw galleries and probes, embed them, add each row's measures to the results."""
    everybody = np.arange(looks.u.shape[0])
    parts = (
        ("validation", "none", fold.validation, np.concatenate([fold.train, fold.validation]), fold.images_validation),
        ("test", "none", fold.test, everybody, fold.images_test),
        ("test", "offset", fold.test, everybody, fold.images_test),
    )
    for part, attack, tested, people, images in parts[1:2] if options.only else parts:
        for m in options.m:
            found: dict[str, list[np.ndarray]] = {}
            for _ in range(options.repetitions):
                sides = []
                for half, whom in zip(np.array_split(rng.permutation(images), 2), (people, tested), strict=True):
                    who = np.repeat(whom, options.per_user)
                    sets = np.stack([rng.choice(half, m, replace=False) for _ in who])
                    by = disc(looks, len(who), rng) if attack == "offset" else None
                    sides.append((who, embed(torch.from_numpy(who), torch.from_numpy(sets), by)))
                (who, gallery), (whose, probe) = sides
                for name in gallery:
                    g, p = (torch.nn.functional.normalize(side[name]).numpy() for side in (gallery, probe))
                    found.setdefault(name, []).append(scores(tested, g, p, who, whose))
            for name, rows in found.items():
                results.setdefault((name, part, attack, m), []).append(np.mean(rows, 0))


def _markdown(results: Results, sizes: Any, title: str) -> str:
    lines = [f"### {title}", ""]
    if not any(key[2] == "offset" for key in results):
        for (name, *_, m), rows in results.items():
            own, everybody = np.array(rows)[:, 1], np.array(rows)[:, 0]
            of_folds = " ".join(f"{v:.4f}" for v in own)
            lines.append(f"{name}, m = {m}: own part {own.mean():.4f} ({of_folds}), among all {everybody.mean():.4f}")
        return "\n".join(lines)
    head = "p@1 among all | own part | EER | d′"
    for m in sizes:
        lines += [f"| m = {m} | validation d′ | {head} | offset: {head} |", "| --- |" + " ---: |" * 9]
        for name in dict.fromkeys(key[0] for key in results):
            cells = [f"{np.mean([r[3] for r in results[name, 'validation', 'none', m]]):.2f}"]
            for attack in ("none", "offset"):
                rows = np.array(results[name, "test", attack, m])
                cells.append(f"{rows[:, 0].mean():.3f} ± {_half_interval(rows[:, 0]):.3f}")
                cells += [f"{rows[:, 1].mean():.3f}", f"{rows[:, 2].mean():.3f}", f"{rows[:, 3].mean():.2f}"]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _half_interval(values: np.ndarray) -> float:
    """Half of Student's 95 % interval of the mean."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


if __name__ == "__main__":
    compute.prepare()
    main()
