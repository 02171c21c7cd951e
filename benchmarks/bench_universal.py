"""Universal predictors on unseen images: predicted maps against unseen users' maps and against the mean over all users.

    python benchmarks/bench_universal.py STUDY
    python benchmarks/bench_universal.py STUDY --backbone none
    python benchmarks/bench_universal.py STUDY --weights OTHER/store/models/universal.safetensors
    python benchmarks/bench_universal.py STUDY --save FOLDER

STUDY holds maps (`gazepipe build-psm`). The split is the study's: the predictor sees training users on training images,
validation images say when to stop, and test users on test images are scored. `--weights` applies the predictor of
another study as it is, and then fine-tuned on this one; images that the other study trained on are not tested.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from gazepipe import compute
from gazepipe.corpus import Corpus
from gazepipe.metrics import METRICS, score
from gazepipe.models import read_model, save_model
from gazepipe.recipe import Recipe
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study
from gazepipe.train import split_of
from gazepipe.universal_maps import predict_stimuli, train_predictor


def against_users(corpus: Corpus, users: tuple[int, ...], rows: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Mean measures of maps of images against the personal maps of some users."""
    parts = []
    for user in users:
        seen = corpus.index[user, rows] >= 0
        found = corpus.index[user, rows[seen]]
        cells, start = corpus.fixations_of(found)
        width = corpus.size[1]
        truth = corpus.maps[found].astype(np.float32)
        parts.append(score(maps[seen], truth, cells // width, cells % width, start))
    return np.nanmean(np.concatenate(parts), 0)


def against_mean(mean: np.ndarray, maps: np.ndarray) -> tuple[float, float]:
    """CC and KLD against the mean over all users."""
    a, b = (m.reshape(len(m), -1).astype(np.float64) for m in (mean, maps))
    cc = np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])
    p, q = (m / m.sum(1, keepdims=True) for m in (a, b))
    return float(cc), float((p * np.log(1e-12 + p / (q + 1e-12))).sum(1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--backbone", choices=("auto", "none", "efficientnet-lite0"), default="auto")
    parser.add_argument("--weights", type=Path, help="universal predictor of another study")
    parser.add_argument("--save", type=Path, help="folder for the trained predictor")
    parser.add_argument("--only-as-it-is", action="store_true", help="do not train")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    compute.use_threads(options.threads)
    study = Study.open(options.study)
    weights = str(options.weights.resolve()) if options.weights else ""
    universal = study.config.universal.model_copy(update={"backbone": options.backbone, "weights": weights})
    config = study.config.model_copy(update={"universal": universal})
    study = Study(config, study.root, study.recordings, study.stimuli, study.store)
    corpus = load_corpus(study)
    split = split_of(corpus, config)
    rows = np.array(split.images_test)
    there = torch.device("cpu")
    other = read_model(options.weights, "universal") if weights else None
    if other is not None:
        known = set(other.info.get("images_train", [])) | set(other.info.get("images_validation", []))
        rows = np.array([i for i in rows if corpus.stimuli[i] not in known])
    everybody = corpus.usm(range(len(corpus.users)))[0][rows]
    table = {
        "GT-USM": everybody,
        "mean over training users": corpus.usm(split.users_train)[0][rows],
    }
    places = corpus.usm(split.users_train)[0][np.array(split.images_train)].mean(0)
    table["mean of all training images"] = np.repeat(places[None], len(rows), 0)
    if other is not None:
        table["as it is"] = predict_stimuli(other.net, study, corpus, rows)
    if not options.only_as_it_is:
        start = time.process_time()
        trained, arguments = train_predictor(study, corpus, split, config, where=there, progress=lambda *_: None)
        print(f"trained in {time.process_time() - start:.0f} CPU s, best {trained.best}", flush=True)
        table["fine-tuned" if weights else "trained here"] = predict_stimuli(trained.net, study, corpus, rows)
        if options.save:
            names = {"images_train": [corpus.stimuli[i] for i in split.images_train]}
            names["images_validation"] = [corpus.stimuli[i] for i in split.images_validation]
            to = Study(config, study.root, study.recordings, study.stimuli, options.save)
            recipe = Recipe("bench-universal", 1, {"study": config.name, "seed": config.seed})
            save_model(to, "universal", trained, recipe, arguments=arguments, extra=names)
    print(f"{len(split.users_test)} unseen users × {len(rows)} unseen images\n")
    print("| map | " + " | ".join(METRICS) + " | CC to GT-USM | KLD to GT-USM |")
    print("| --- |" + " ---: |" * (len(METRICS) + 2))
    for name, maps in table.items():
        values = [*against_users(corpus, split.users_test, rows, maps), *against_mean(everybody, maps)]
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |")


if __name__ == "__main__":
    compute.prepare()
    main()
