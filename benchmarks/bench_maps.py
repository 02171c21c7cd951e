"""Maps and measures per second, against scipy's blur and the plain NumPy measures, in one run on one core.

    python benchmarks/bench_maps.py [--maps 300]

Work: maps of 160 × 120 cells from an image of 800 × 600 pixels with nine fixations, σ 24 px. scipy blurs the full image
and takes the mean over 5 × 5 pixels, which is what labs' scripts do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from gazepipe import metrics
from gazepipe.saliency import personal_maps

FIXATIONS, WIDTH, HEIGHT, CELL, SIGMA = 9, 160, 120, 5, 24.0


def by_scipy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    image = np.zeros((HEIGHT * CELL, WIDTH * CELL))
    np.add.at(image, (y.astype(int), x.astype(int)), 1.0)
    blurred = gaussian_filter(image, SIGMA, mode="constant")
    return blurred.reshape(HEIGHT, CELL, WIDTH, CELL).mean((1, 3))


def clock(run: Callable[[], object], repeat: int = 5) -> tuple[float, float]:
    """Median wall and CPU seconds."""
    run()
    wall, cpu = [], []
    for _ in range(repeat):
        w, c = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return float(np.median(wall)), float(np.median(cpu))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=300)
    n = parser.parse_args().maps
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, WIDTH * CELL, (n, FIXATIONS)), rng.uniform(0, HEIGHT * CELL, (n, FIXATIONS))
    start = np.arange(n + 1)

    def ours() -> np.ndarray:
        u, v = x.ravel() / CELL, y.ravel() / CELL
        sigma = [SIGMA / CELL] * 2
        return personal_maps(u, v, np.ones(u.size), start * FIXATIONS, start, sigma, width=WIDTH, height=HEIGHT)

    few = min(n, 20)
    rows = [("gazepipe", n, clock(ours)), ("scipy", few, clock(lambda: [by_scipy(x[i], y[i]) for i in range(few)], 1))]
    _table("maps", rows)
    maps = ours()
    other = maps[rng.permutation(n)]
    r, c = (y / CELL).astype(int), (x / CELL).astype(int)
    everything = lambda: metrics.score(other, maps, r.ravel(), c.ravel(), start * FIXATIONS)  # noqa: E731

    def plain() -> None:
        for i in range(n):
            metrics.cc(other[i], maps[i]), metrics.sim(other[i], maps[i]), metrics.kld(other[i], maps[i])
            metrics.nss(other[i], r[i], c[i]), metrics.auc_judd(other[i], r[i], c[i]), metrics.auc(other[i], r[i], c[i])

    _table(
        "six measures", [("gazepipe.metrics.score", n, clock(everything)), ("NumPy, one by one", n, clock(plain, 1))]
    )


def _table(work: str, rows: list[tuple[str, int, tuple[float, float]]]) -> None:
    print(f"\n| {work} | per wall second | per CPU second | ratio (CPU) |\n| --- | ---: | ---: | ---: |")
    slowest = rows[-1][1] / rows[-1][2][1]
    for name, n, (wall, cpu) in rows:
        print(f"| {name} | {n / wall:,.0f} | {n / cpu:,.0f} | {n / cpu / slowest:,.1f} |")


if __name__ == "__main__":
    main()
