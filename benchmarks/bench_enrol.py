"""Enrolment from few images: expected against realised precision, on people and images that nothing was made of.

    python benchmarks/bench_enrol.py osie DATA/osie
    python benchmarks/bench_enrol.py simulated

For each of `--splits` split seeds (open set, [split] as it comes) descriptors of maps and eye movements are fitted
(`--inputs descriptors`: of maps alone; `--registration`: registered) and the calibration is made as `gazepipe train`
does. Each test user is enrolled from m random test images and looked for with m others among *all* people of the data
set, `--draws` times; that is the realised precision. The expected one is what `gazepipe enrol` prints for m and that
gallery. *Inside*: share of test users whose realised precision lies in the 95 % interval that was printed. FAR and FRR:
false acceptances and rejections at the threshold for `verify --far 0.01`.

"simulated" makes 20 observers who look at 130 scenes (seed 1), whose truth is known, and runs ingest and build-psm.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from gazepipe.build import build_psm
from gazepipe.calibration import summarise
from gazepipe.calibration_draws import observe
from gazepipe.config import EmbeddingConfig, SplitConfig
from gazepipe.corpus import Corpus, draw_split
from gazepipe.embedding import DESCRIBED
from gazepipe.importing import import_dataset
from gazepipe.ingest import ingest
from gazepipe.simulate import simulate_study
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study
from gazepipe.training import Encoder, train_embedding

CPU = torch.device("cpu")


def corpus_of(name: str, data: Path | None, folder: Path, users: int, images: int) -> Corpus:
    if name == "simulated":
        simulate_study(folder / "study", users=users, images=images, seed=1)
        study = Study.open(folder / "study")
        ingest(study, jobs=1)
    else:
        assert data is not None
        (folder / "study").mkdir()
        study, _ = import_dataset(name, data, folder / "study")
    build_psm(study)
    return load_corpus(study)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["osie", "simulated"])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--m", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--images", type=int, default=130)
    parser.add_argument("--test-images", type=float, default=None, help="share; default 0.1, simulated 0.5")
    parser.add_argument("--registration", action="store_true")
    parser.add_argument("--inputs", choices=tuple(DESCRIBED), default="descriptors+scanpath")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of(options.name, options.data, Path(folder), options.users, options.images)
    config = EmbeddingConfig(inputs=options.inputs, registration=options.registration)
    tested = options.test_images or (0.5 if options.name == "simulated" else 0.1)
    images = (0.9 - tested, 0.1, tested)
    rows: dict[int, list[tuple[float, ...]]] = {m: [] for m in options.m}
    start = time.process_time()
    for seed in range(options.splits):
        split = draw_split(corpus, SplitConfig(images=images, seed=seed))
        trained = train_embedding(corpus, split, config, seed=0, where=CPU, progress=lambda *_: None)
        encoder = Encoder(trained.net, corpus, split.users_train)
        calibration = summarise(observe(encoder, split, config, seed=0), "")
        shown = np.array(split.images_test)
        whole = None if options.registration else [encoder.table(u, shown) for u in range(len(corpus.users))]
        rng = np.random.default_rng([seed, 1])
        for m in options.m:
            hits: dict[int, list[bool]] = {u: [] for u in split.users_test}
            accepted: list[bool] = []
            rejected: list[bool] = []
            limit = calibration.threshold(0.01, m, m)
            for _ in range(options.draws if whole is not None else max(options.draws // 4, 1)):
                order = rng.permutation(len(shown))
                half = len(order) // 2
                sides = []
                for part in (order[:half], order[half:]):
                    chosen = [rng.permutation(part)[:m] for _ in corpus.users]
                    tables = [
                        encoder.table(u, shown[c]) if whole is None else whole[u][c] for u, c in enumerate(chosen)
                    ]
                    sides.append(unit(np.stack([np.nanmean(t, 0) for t in tables])))
                for u in split.users_test:
                    cosines = sides[0] @ sides[1][u]
                    hits[u].append(int(cosines.argmax()) == u)
                    rejected.append(bool(cosines[u] < limit))
                    accepted += (np.delete(cosines, u) >= limit).tolist()
            expected = calibration.expected_precision(m, len(corpus.users))
            for values in hits.values():
                realised = float(np.mean(values))
                inside = expected.low <= realised <= expected.high
                rows[m].append((expected.value, expected.low, expected.high, realised, inside, np.mean(accepted)))
                rows[m][-1] += (float(np.mean(rejected)), calibration.rejection(limit, m, m))
    n = len(rows[options.m[0]])
    print(f"{options.name}: gallery of {len(corpus.users)}, {n} test users over {options.splits} splits, "
          f"{time.process_time() - start:.0f} CPU s")  # fmt: skip
    print(
        "| m | expected | 95 % interval | realised | lowest … highest person | inside | FAR (.01 asked) | FRR "
        "| expected FRR |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for m, found in rows.items():
        a = np.array(found, float)
        mean = a.mean(0)
        print(f"| {m} | {mean[0]:.3f} | {mean[1]:.2f} … {mean[2]:.2f} | {mean[3]:.3f} | {a[:, 3].min():.2f} … "
              f"{a[:, 3].max():.2f} | {mean[4]:.2f} | {mean[5]:.3f} | {mean[6]:.3f} | {mean[7]:.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
