"""Speed of fixation detection, in million samples a second on one thread.

    python benchmarks/bench_ivt.py [SAMPLES]

Wall time is the median of the repetitions, CPU time their mean. The bounds, taken in the same run, are what the memory
allows: one copy and one read of x and y; "copies" is how many copies of x and y a row takes the time of (its share of
that bound is one over it). "Threshold pass" is velocity, comparison, runs and their limits and means;
"detect" adds merging, discarding and the spread of each fixation; "whole chain" adds gap fill-in.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from _trace import SCREEN, trace

from gazepipe import _gaze_kernel, _ivt_kernel
from gazepipe.blinks import blinks
from gazepipe.config import IvtConfig
from gazepipe.events import detect
from gazepipe.gaze import block_edges, kernel_geometry, select_gaze
from gazepipe.recording import EyeSamples, Recording
from gazepipe.saccades import saccades
from gazepipe.velocity import velocity_of

CONFIG = IvtConfig()


def measure(work, n, repeat=15):
    """Million samples a second (wall, CPU), and what `work` returned."""
    result = work()  # compiles
    wall, cpu = [], time.process_time()
    for _ in range(repeat):
        began = time.perf_counter()
        result = work()
        wall.append(time.perf_counter() - began)
    return n / np.median(wall) / 1e6, n * repeat / max(time.process_time() - cpu, 1e-9) / 1e6, result


def threshold_pass(t, x, y):
    """Only the compiled loops, as `detect` calls them on an evenly sampled block."""
    stretches, step = np.array([[0, len(t), 10, 10]]), np.array([1.0])
    rad_per_ms = np.radians(CONFIG.velocity_threshold_deg_s) / 1000
    limit, geometry = np.tan(np.array([20 * rad_per_ms])) ** 2, kernel_geometry(SCREEN, x.dtype)
    sample, value = np.empty((len(t) // 2 + 1, 3), np.int64), np.empty((len(t) // 2 + 1, 4))

    def work():
        n = _ivt_kernel.slow_runs(t, x, y, stretches, limit, rad_per_ms, geometry, sample)
        _ivt_kernel.measure(t, x, y, stretches, step, sample[:n], value[:n])
        return n

    return work


def whole_chain(t, x, y):
    edges, missing = block_edges(len(t), None), np.zeros(len(t), bool)
    fx, fy = np.empty_like(x), np.empty_like(y)

    def work():
        _gaze_kernel.fill(t, x, y, edges, CONFIG.max_gap_ms, fx, fy, missing)
        return detect(t, fx, fy, SCREEN, CONFIG)

    return work


def agreement(events, fixating):
    """F1 over samples against the fixations that were put in."""
    found = np.zeros(fixating.size, bool)
    for a, b in zip(events.first_sample, events.last_sample, strict=True):
        found[a : b + 1] = True
    both = np.count_nonzero(found & fixating)
    return 2 * both / (np.count_nonzero(found) + np.count_nonzero(fixating))


def peers(t, x, y):
    """Name and work of other packages' nearest equivalent, where installed (float64, positions in degrees)."""
    try:
        from pymovements.events import ivt
        from pymovements.gaze.transforms_numpy import pos2vel
    except ImportError:
        return
    cx, cy = SCREEN.centre_px
    sx, sy = SCREEN.mm_per_px
    deg = np.degrees(np.arctan2(np.column_stack([(x - cx) * sx, (y - cy) * sy]), SCREEN.distance_mm))
    v = lambda: pos2vel(deg, sampling_rate=1000, method="smooth")  # noqa: E731
    yield "pymovements pos2vel + ivt (degrees in)", lambda: ivt(v(), t.astype(int), 60, CONFIG.velocity_threshold_deg_s)


def main():
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 2_000_000
    t, x64, y64, fixating = trace(n)
    print(
        f"{n} samples at 1000 Hz, {np.isnan(x64).mean():.1%} missing, {np.diff(fixating).sum() // 2} fixations put in\n"
    )
    print("| work | samples | M samples/s (wall) | M samples/s (CPU) | copies of x and y, CPU | found |")
    print("| --- | --- | --- | --- | --- | --- |")
    copy = 1.0

    def row(name, kind, work, found=lambda _: "", repeat=15):
        nonlocal copy
        wall, cpu, result = measure(work, n, repeat)
        copy = cpu if "copy" in name else copy
        print(f"| {name} | {kind} | {wall:.4g} | {cpu:.4g} | {copy / cpu:.2f} | {found(result)} |", flush=True)

    for kind in (np.float32, np.float64):
        x, y, label = x64.astype(kind), y64.astype(kind), np.dtype(kind).name
        to_x, to_y = np.empty_like(x), np.empty_like(y)
        row("bound: copy x and y", label, lambda: (np.copyto(to_x, x), np.copyto(to_y, y)))  # noqa: B023
        row("bound: read x and y", label, lambda: (x.view(f"i{x.itemsize}").max(), y.view(f"i{x.itemsize}").max()))  # noqa: B023
        row("threshold pass", label, threshold_pass(t, x, y), lambda runs: f"{runs} runs")
        row("detect", label, lambda: detect(t, x, y, SCREEN, CONFIG), lambda e: f"{len(e)} fixations")  # noqa: B023
        row(
            "whole chain",
            label,
            whole_chain(t, x, y),
            lambda e: f"{len(e)} fixations, F1 {agreement(e, fixating):.3f}",
        )
        uneven = t.copy()
        uneven[::7] += 0.01
        row("detect, uneven times", label, lambda: detect(uneven, x, y, SCREEN, CONFIG), lambda e: len(e))  # noqa: B023
    for method in ("olsen", "savgol", "fivepoint"):
        config = IvtConfig(velocity_method=method)
        row(f"velocity, {method}", "float64", lambda: velocity_of(t, x64, y64, SCREEN, config, block_edges(n, None)))  # noqa: B023
    eye = EyeSamples(x64.astype(np.float32), y64.astype(np.float32), np.full(n, np.nan, np.float32))
    two = {"left": eye, "right": EyeSamples(eye.y_px[::-1].copy(), eye.x_px[::-1].copy(), eye.pupil)}
    both = Recording(Path("trace"), "trace", t, two, np.array([0]), np.array([1000.0]))
    recording = Recording(Path("trace"), "trace", t, {"right": eye}, np.array([0]), np.array([1000.0]))
    gaze = select_gaze(recording, CONFIG)
    row("gap fill, one eye", "float32", lambda: select_gaze(recording, CONFIG))
    row("gap fill and average of two eyes", "float32", lambda: select_gaze(both, CONFIG))
    row("saccades", "float32", lambda: saccades(recording, SCREEN, CONFIG, gaze=gaze), lambda f: len(f), repeat=5)
    row("blinks, no pupil", "float32", lambda: blinks(recording, SCREEN, CONFIG), lambda f: len(f), repeat=5)
    for name, work in peers(t, x64, y64):
        row(name, "float64", work, repeat=3)


if __name__ == "__main__":
    main()
