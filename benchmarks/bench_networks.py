"""The networks' speed on one CPU core, against the plain PyTorch loop, in one run.

    python benchmarks/bench_networks.py [--rounds 3] [--study STUDY]

The plain loop is what one writes first: a DataLoader that makes float32 pairs of four channels, NCHW, batch norm as it
is, PyTorch's defaults in all else. Both run in processes of their own, in turns, on one thread; rows are medians over
the rounds. Peaks are those of a convolution of this machine (128 to 128 channels, 3 × 3, 60 × 80), measured in between.
Pools are what the product does: 100 embeddings of a person, each from 32 of their pairs. The plain loop sends the pairs
of every set through the network; gazepipe sends every pair once and takes means: no faster network, but less to do.
With --study, a trained study is evaluated with the fast forms and with the networks themselves, and compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH, IMAGES, USERS = 120, 160, 48, 8
M, EMBEDDINGS = 8, 32
SET, POOL = 32, 100
#: Floating-point operations of a pair's features, and of one refined map.
ENCODE, REFINE = 146.7e6, 684.6e6


def clock(run: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Median CPU and wall seconds."""
    run()
    cpu, wall = [], []
    for _ in range(repeat):
        c, w = time.process_time(), time.perf_counter()
        run()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return float(np.median(cpu)), float(np.median(wall))


def data() -> Any:
    from gazepipe.corpus import Corpus

    rng = np.random.default_rng(0)
    n = USERS * IMAGES
    maps = rng.random((n, HEIGHT, WIDTH), np.float32).astype(np.float16)
    pixels = rng.integers(0, 256, (IMAGES, HEIGHT, WIDTH, 3), np.uint8)
    names = tuple(f"u{i}" for i in range(USERS)), tuple(f"i{i}" for i in range(IMAGES))
    index = np.arange(n).reshape(USERS, IMAGES)
    return Corpus(*names, maps, index, np.zeros(n, np.int64), np.arange(n + 1), pixels)


def plain() -> dict[str, tuple[float, float]]:
    """Seconds per pair or map."""
    import torch

    torch.set_num_threads(1)
    from gazepipe.embedding import EmbeddingNet, aggregate, triplet_loss
    from gazepipe.refiner import RefinerNet

    corpus = data()

    class Pairs(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(corpus.maps)

        def __getitem__(self, i: int) -> torch.Tensor:
            rgb = torch.from_numpy(corpus.images[i % IMAGES]).permute(2, 0, 1).float() / 255
            return torch.cat([rgb, torch.from_numpy(corpus.maps[i]).float()[None]])

    net = EmbeddingNet()
    optimiser = torch.optim.Adam(net.parameters())
    loader = torch.utils.data.DataLoader(Pairs(), batch_size=M * EMBEDDINGS, shuffle=True, drop_last=True)
    user, group = torch.arange(EMBEDDINGS) // 4, torch.arange(EMBEDDINGS) % 4

    def train() -> None:
        for pairs in loader:
            embeddings = aggregate(net(pairs).view(EMBEDDINGS, M, -1))
            loss, _ = triplet_loss(embeddings, user, group, 0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    rows = {"train": [s / (M * EMBEDDINGS) for s in clock(train, 2)]}
    net.eval()
    loader = torch.utils.data.DataLoader(Pairs(), batch_size=64)

    @torch.no_grad()
    def infer() -> None:
        for pairs in loader:
            net(pairs)

    rows["infer"] = [s / len(corpus.maps) for s in clock(infer, 2)]
    rng, pairs = np.random.default_rng(0), Pairs()

    @torch.no_grad()
    def embed() -> None:
        aggregate(net(torch.stack([pairs[int(i)] for i in rng.permutation(IMAGES)[:SET]]))[None])

    rows["pool"] = list(clock(embed, 10))
    refiner = RefinerNet().eval()
    scene, people = torch.rand(1, 4, HEIGHT, WIDTH), torch.randn(100, 32)
    with torch.no_grad():
        rows["refine"] = list(clock(lambda: refiner(scene, people[:1]), 30))
        many = clock(lambda: [refiner(scene, person[None]) for person in people], 1)
        rows["users"] = [s / 100 for s in many]
        wide = clock(lambda: refiner(scene.expand(100, -1, -1, -1), people), 2)
        rows["users together"] = [s / 100 for s in wide]
    return rows  # type: ignore[return-value]


def ours() -> dict[str, tuple[float, float]]:
    from gazepipe import compute

    compute.prepare()
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    from gazepipe.config import EmbeddingConfig
    from gazepipe.corpus import Split
    from gazepipe.embedding import EmbeddingNet
    from gazepipe.inference import FastRefiner
    from gazepipe.refiner import RefinerNet
    from gazepipe.training import Encoder, embedding_pools, train_embedding

    corpus, cpu = data(), torch.device("cpu")
    rows: dict[str, Any] = {}
    for name, dtype in (("peak fp32", torch.float32), ("peak bf16", torch.bfloat16)):
        x, w = torch.randn(4, 128, 60, 80), torch.randn(128, 128, 3, 3)
        x, w = (t.to(dtype).to(memory_format=torch.channels_last) for t in (x, w))
        with torch.inference_mode():
            rows[name] = [
                2 * 4 * 4800 * 128 * 128 * 9 / s for s in clock(lambda x=x, w=w: F.conv2d(x, w, padding=1), 3)
            ]

    # The product's own loop, from its first step to its last; validation costs are those of the last step alone.
    everybody, images = tuple(range(USERS)), tuple(range(IMAGES))
    split = Split(everybody, everybody[:2], (), images[:44], images[44:], ())
    config = EmbeddingConfig(m=M, batch=EMBEDDINGS, steps=3, validate_every=100)
    ticks: list[tuple[float, float]] = []
    tick = lambda *_: ticks.append((time.process_time(), time.perf_counter()))  # noqa: E731
    train_embedding(corpus, split, config, seed=0, where=cpu, progress=tick)
    pairs = min(USERS, max(EMBEDDINGS // 3, 2)) * 4 * M
    rows["train"] = [(b - a) / pairs for a, b in zip(ticks[0], ticks[1], strict=True)]
    encoder = Encoder(EmbeddingNet().to(memory_format=torch.channels_last), corpus, everybody)
    seconds = clock(lambda: [encoder.table(u, images) for u in everybody], 2)
    rows["infer"] = [s / len(corpus.maps) for s in seconds]
    seconds = clock(lambda: embedding_pools(encoder, everybody, images, m=SET, pool=POOL, seed=0), 2)
    rows["pool"] = [s / POOL / USERS for s in seconds]

    refiner, people = RefinerNet().eval(), torch.randn(100, 32)
    scene = torch.rand(1, 4, HEIGHT, WIDTH).to(memory_format=torch.channels_last)
    for name, dtype in (("", None), (" bf16", torch.bfloat16)):
        if dtype is None or compute.autocast_dtype(cpu):
            fast = FastRefiner(refiner, dtype)
            one, many = fast.people(people[:1]), fast.people(people)
            rows["refine" + name] = list(clock(lambda f=fast, p=one: f(scene, p), 30))
            rows["users" + name] = [s / 100 for s in clock(lambda f=fast, p=many: f(scene, p), 3)]
    rows["users together"] = rows["users"]
    return rows


def accuracy(folder: Path) -> None:
    """All measures of a trained study, with the fast forms and with the networks themselves."""
    from gazepipe.evaluate import evaluate
    from gazepipe.inference import FastRefiner
    from gazepipe.study import Study
    from gazepipe.training import Encoder

    study = Study.open(folder)
    results = [evaluate(study, threads=1, force=True)]
    FastRefiner.pairs = lambda self, scenes, embeddings: self.net(scenes, embeddings)[2]  # type: ignore[method-assign]
    Encoder._fast = lambda self: None  # type: ignore[method-assign]
    results.append(evaluate(study, threads=1, force=True))
    fast, plain = results
    print(f"{plain.facts['n_maps']} maps; fast / plain\n")
    measures = list(next(iter(plain.maps.values())))
    print(f"| row | {' | '.join(measures)} |\n| --- |{' ---: |' * len(measures)}")
    for row, values in plain.maps.items():
        print(f"| {row} | {' | '.join(f'{fast.maps[row][k]:.5f} / {values[k]:.5f}' for k in measures)} |")
    print()
    for protocol, by_m in plain.precision.items():
        shown = ", ".join(
            f"m = {m}: {fast.precision[protocol][m]['mean']:.4f} / {value['mean']:.4f}" for m, value in by_m.items()
        )
        print(f"precision at one, {protocol}: {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--part", choices=["plain", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps({"plain": plain, "ours": ours}[options.part]()))
        return
    if options.study:
        accuracy(options.study)
        return
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
    for _ in range(options.rounds):
        for part, rounds in found.items():
            command = [sys.executable, __file__, "--part", part]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds.append(json.loads(done.stdout.splitlines()[-1]))
    p, o = ({k: np.median([r[k] for r in rounds], 0) for k in rounds[0]} for rounds in found.values())
    print(
        f"convolution peak of a core: fp32 {o['peak fp32'][0] / 1e9:.0f}, bf16 {o['peak bf16'][0] / 1e9:.0f} GFLOP/s\n"
    )
    print("| work | plain, per CPU s | gazepipe, per CPU s | per wall s | CPU ratio | share of the fp32 peak |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    work = {
        "train": 2.925 * ENCODE,
        "infer": ENCODE,
        "pool": 0.0,
        "refine": REFINE,
        "users": 0.0,
        "users together": 0.0,
    }
    for name, flop in work.items():
        share = f"{flop / o[name][0] / o['peak fp32'][0]:.0%}" if flop else ""
        rates = f"{1 / p[name][0]:.0f} | {1 / o[name][0]:.0f} | {1 / o[name][1]:.0f} | {p[name][0] / o[name][0]:.1f}"
        print(f"| {name} | {rates} | {share} |")
    for name in [k for k in o if k.endswith("bf16") and not k.startswith("peak")]:
        print(f"| {name} | | {1 / o[name][0]:.0f} | {1 / o[name][1]:.0f} | {p[name[:-5]][0] / o[name][0]:.1f} | |")


if __name__ == "__main__":
    main()
