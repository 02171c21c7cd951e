"""Personal maps as a call: image in, map out, of one person and of many.

    python benchmarks/bench_predictor.py STUDY [IMAGE]

STUDY is trained and has people in its gallery; IMAGE is one of its images if none is given. One thread. "First" is in a
new process whose imports are done; the other rows are medians of `CALLS` calls after ten.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe import Predictor
from gazepipe.images import read_rgb
from gazepipe.stimuli import stimulus_index

CALLS = 100


def median_ms(call: Callable[[], object], calls: int = CALLS) -> float:
    for _ in range(10):
        call()
    taken = []
    for _ in range(calls):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return 1000 * statistics.median(taken)


def main(study: Path, image: Path | None) -> None:
    start = time.perf_counter()
    predictor = Predictor.open(study, threads=1)
    print(f"open: {1000 * (time.perf_counter() - start):.0f} ms (wall)")
    image = image or sorted(set(stimulus_index(predictor.study.stimuli).values()))[0]
    user = predictor.users[0]
    start = time.perf_counter()
    predictor(image, user=user)
    print(f"first call: {1000 * (time.perf_counter() - start):.0f} ms (wall)")
    pixels = read_rgb(image)
    small = read_rgb(image, (predictor.size[1], predictor.size[0]))
    usm = predictor.universal(image, small)[0]
    n, count = len(predictor.users), itertools.count()

    def never_shown() -> npt.NDArray[np.uint8]:
        """The image with a corner of another grey each time: what is kept of images shown before is of no use."""
        changed = pixels.copy()
        changed[:16, :16] = next(count) % 256
        return changed

    rows = {
        f"file of {pixels.shape[1]} × {pixels.shape[0]}, universal map of the store": lambda: predictor(
            image, user=user
        ),
        "pixels, universal map of the store": lambda: predictor(pixels, user=user),
        "pixels, universal map predicted": lambda: predictor(pixels, user=user, usm="predicted"),
        "pixels at map size, universal map given (refiner or profile alone)": lambda: predictor.maps(
            small, usm, [user]
        ),
        "pixels never shown before, universal map given": lambda: predictor(never_shown(), user=user, usm=usm),
        "pixels never shown before, universal map predicted": lambda: predictor(
            never_shown(), user=user, usm="predicted"
        ),
        f"pixels, all {n} people": lambda: predictor(pixels, user=predictor.users),
    }
    for name, call in rows.items():
        print(f"{name}: {median_ms(call):.1f} CPU ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
