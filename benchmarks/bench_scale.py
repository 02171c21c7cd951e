"""What users × images cost: time, peak memory and disk of build-psm and enrol, in steps of ten.

    python benchmarks/bench_scale.py 10x100 100x100 1000x100 100x1000

Each case is a study of its own in a temporary folder: fixations are simulated (twelve a presentation; people differ in
how far and how long they look), imported as a published data set of fixations is, and go through `gazepipe build-psm`
and `gazepipe enrol --all` at the default map size, each a process of its own. The embedding network (descriptors) and
the viewing profile are trained on the first ten people, and then count 60 % of the study's people as their training
users, so that enrol does with everybody what it does in a study of that size.

*CPU s* and *peak MB* are of the process, as the operating system has them; *disk MB* is what the stage left.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FIXATIONS = 12
SIZE = (1024, 768)
TAUGHT = 10  # people that networks are really trained on


def table(users: int, images: int):
    import pandas as pd

    n = users * images * FIXATIONS
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(users), images * FIXATIONS)
    image = np.tile(np.repeat(np.arange(images), FIXATIONS), users)
    places = rng.uniform(0.15, 0.85, (images, 5, 2))
    liked = rng.dirichlet(np.ones(5), users).cumsum(1)
    chosen = (rng.random((n, 1)) > liked[user]).sum(1).clip(max=4)
    spread, slow = rng.uniform(0.02, 0.1, users)[user], rng.uniform(0.7, 1.4, users)[user]
    at = places[image, chosen] + spread[:, None] * rng.standard_normal((n, 2))
    at = at.clip(0, 0.999) * SIZE
    people = np.array([f"u{k:05d}" for k in range(users)], object)
    shown = np.array([f"i{k:04d}" for k in range(images)], object)
    return pd.DataFrame(
        {
            "user": people[user],
            "stimulus": shown[image],
            "repeat": 1,
            "index": np.tile(np.arange(FIXATIONS), users * images),
            "duration_ms": slow * rng.gamma(6, 40, n),
            "x_px": at[:, 0],
            "y_px": at[:, 1],
        }
    )


def fill(folder: Path, users: int, images: int) -> None:
    """Simulate and import."""
    from gazepipe.config import template
    from gazepipe.datasets import FixationDataset
    from gazepipe.importing import import_fixations

    folder.mkdir()
    (folder / "gazepipe.toml").write_text(template(name="scale", embedding={"inputs": "descriptors"}))
    sizes = {f"i{k:04d}": SIZE for k in range(images)}
    import_fixations(FixationDataset("simulated", 35.0, sizes, {}, table(users, images)), folder, folder)


def teach(folder: Path, names: list[str]) -> None:
    """Train the networks that enrol needs on a few people, and let them count others as their training users."""
    import torch

    from gazepipe.corpus import draw_split
    from gazepipe.models import save_model
    from gazepipe.profiling import train_profile
    from gazepipe.recipe import Recipe
    from gazepipe.stored_corpus import load_corpus
    from gazepipe.study import Study
    from gazepipe.training import train_embedding

    study = Study.open(folder)
    corpus = load_corpus(study, users=names[:TAUGHT])
    split = draw_split(corpus, study.config.split)
    section = study.config.embedding
    quiet = lambda *_: None  # noqa: E731
    embedding = train_embedding(corpus, split, section, seed=0, where=torch.device("cpu"), progress=quiet)
    profile = train_profile(corpus, split, study.config.refiner, seed=0, progress=quiet)
    many = int(0.6 * len(names))
    extra = {
        **{"users_train": names[:many], "users_validation": [], "users_test": names[many:]},
        **{f"images_{p}": [corpus.stimuli[i] for i in getattr(split, f"images_{p}")] for p in _PARTS},
    }
    recipe = Recipe("scale", 1, {}, {})
    arguments = section.model_dump(include={"inputs", "widths", "dimension", "dropout", "registration"})
    save_model(study, "embedding", embedding, recipe, arguments=arguments, extra=extra)
    save_model(study, "profile", profile, recipe, arguments={}, extra=extra)


_PARTS = ("train", "validation", "test")


def measured(line: list[str]) -> tuple[float, float, float]:
    """Run a process: CPU seconds, seconds and most memory in MB."""
    start = time.perf_counter()
    with subprocess.Popen(line, env=os.environ | {"OMP_NUM_THREADS": "1"}) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(child.returncode)
    return used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss * 1024 / 1e6


def disk(*paths: Path) -> float:
    files = [p for path in paths for p in ([path] if path.is_file() else path.rglob("*"))]
    return sum(p.stat().st_size for p in files if p.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cases", nargs="*", default=["10x100", "100x100", "1000x100", "100x1000"], help="users x images"
    )
    parser.add_argument("--only", choices=["import", "teach"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where studies go, one after another; default: a temporary folder")
    given = parser.parse_args()
    if given.only:
        users, images = map(int, given.cases[0].split("x"))
        if given.only == "import":
            fill(given.folder, users, images)
        else:
            teach(given.folder, [f"u{k:05d}" for k in range(users)])
        return
    print("| users × images | stage | CPU s | s | peak MB | disk MB |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for case in given.cases:
            folder = Path(name) / case
            own = [sys.executable, __file__, case, "--folder", str(folder), "--only"]
            command = [sys.executable, "-m", "gazepipe", "-q"]
            stages = {
                "import": ([*own, "import"], ["store/recordings"]),
                "build-psm": ([*command, "build-psm", str(folder)], ["store/psm", "store/usm.h5"]),
                "teach": ([*own, "teach"], []),
                "enrol": (
                    [*command, "enrol", "--study", str(folder), "--all", "--threads", "1"],
                    ["store/gallery.h5"],
                ),
            }
            for stage, (line, left) in stages.items():
                cpu, wall, memory = measured(line)
                if stage != "teach":
                    size = disk(*(folder / path for path in left))
                    row = f"| {case} | {stage} | {cpu:.1f} | {wall:.1f} | {memory:.0f} | {size:.1f} |"
                    print(row, flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
