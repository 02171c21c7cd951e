"""A study of some images of a data set, drawn at random, where all of them would take too long.

    python benchmarks/subset_study.py ps DATA STUDY --images 400

Then `gazepipe build-psm STUDY` and whatever is to be measured. The draw depends on the seed and on nothing else.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from gazepipe.datasets import load_dataset
from gazepipe.importing import import_fixations


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("osie", "ps"))
    parser.add_argument("data", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = load_dataset(args.name, args.data)
    names = np.unique(data.fixations["stimulus"].to_numpy(str))
    chosen = np.sort(np.random.default_rng(args.seed).permutation(names)[: args.images])
    table = data.fixations[data.fixations["stimulus"].isin(chosen)]
    kept = set(chosen.tolist())
    sizes, files = ({s: v for s, v in of.items() if s in kept} for of in (data.stimulus_px, data.image_paths))
    part = replace(data, stimulus_px=sizes, image_paths=files, fixations=table)
    import_fixations(part, args.data, args.study)
    print(
        f"{args.study}: {len(chosen)} of {len(names)} images, {table['user'].nunique()} users, {len(table)} fixations"
    )


if __name__ == "__main__":
    main()
