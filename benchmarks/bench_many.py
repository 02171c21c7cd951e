"""Ingest many recordings in one run, as a user does, and see what each costs and whether memory grows.

    python benchmarks/bench_many.py recording.asc [--counts 300 1000 3000] [--jobs 2]

The recordings are the blocks of one real EyeLink file, each with its header, taken again and again with other times;
every block is one trial. For each count, ``gazepipe ingest`` runs in a process of its own, then once more when all is
up to date. Memory is the largest resident set of the parent and of a worker, from /proc (Linux), ten times a second.
The last table is one recording and the whole file, stage by stage, in this process.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_asc import shifted

from gazepipe import store
from gazepipe.analyse import analyse
from gazepipe.blinks import blinks
from gazepipe.config import StudyConfig, load_config
from gazepipe.events import fixations, select_gaze
from gazepipe.quality import quality
from gazepipe.readers import find_reader, read_recording
from gazepipe.recipe import Recipe, digest_file
from gazepipe.saccades import saccades
from gazepipe.trials import find_trials


def blocks_of(source: Path) -> tuple[list[str], list[list[str]]]:
    """Header and blocks of a recording, as lines."""
    data = source.read_bytes()
    lines = (gzip.decompress(data) if source.suffix == ".gz" else data).decode("utf-8", "replace").splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("START")]
    blocks = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    return lines[: starts[0]], [[line for line in block if line] for block in blocks]


def make(folder: Path, source: Path, count: int) -> float:
    """Write `count` recordings and the configuration; return their size in MB."""
    header, blocks = blocks_of(source)
    folder.mkdir()
    total = 0
    for k in range(count):
        body = [shifted(line, k) for line in blocks[k % len(blocks)]]
        total += (folder / f"user{k:05d}.asc").write_text("\n".join([*header, *body]) + "\n", encoding="utf-8")
    display = read_recording(folder / "user00000.asc", StudyConfig()).display_px or (1920, 1080)
    (folder / "gazepipe.toml").write_text(
        f'[screen]\nwidth_px = {display[0]}\nheight_px = {display[1]}\n[trials]\nsource = "blocks"\n', encoding="utf-8"
    )
    return total / 1e6


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def run(folder: Path, jobs: int) -> tuple[float, float, float, float, str]:
    """Wall and CPU seconds, largest memory of parent and of a worker, and what the run said."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "gazepipe", "ingest", str(folder), "--jobs", str(jobs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    parent = worker = 0.0
    while process.poll() is None:
        parent = max(parent, resident_mb(process.pid))
        worker = max([worker, *map(resident_mb, children_of(process.pid))])
        time.sleep(0.1)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    said = (process.stdout.read() if process.stdout else "").strip().splitlines()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, parent, worker, said[-1] if said else ""


def stages(path: Path, folder: Path, runs: int = 5) -> None:
    """Print what each stage of one recording costs."""
    config = load_config(folder / "gazepipe.toml")
    screen, ivt = config.screen.screen(), config.ivt
    recording = read_recording(path, config)
    trials, gaze = find_trials(recording, config), select_gaze(recording, ivt)
    found = fixations(recording, screen, ivt, trials=trials, gaze=gaze)
    arrays, attrs = analyse(path, config)
    target = folder / "profile" / "one.h5"
    recipe = Recipe("ingest", 1, {}, {"source": "x"})
    work = {
        "find the format": lambda: find_reader(path),
        "digest": lambda: digest_file(path),
        "read": lambda: read_recording(path, config),
        "trials": lambda: find_trials(recording, config),
        "gap fill, eye": lambda: select_gaze(recording, ivt),
        "fixations": lambda: fixations(recording, screen, ivt, trials=trials, gaze=gaze),
        "quality": lambda: quality(recording, gaze, found, trials.frame, screen, ivt),
        "saccades": lambda: saccades(recording, screen, ivt, trials, gaze, found),
        "blinks": lambda: blinks(recording, screen, ivt, trials),
        "store": lambda: store.save(target, "gazepipe.recording", arrays, recipe=recipe, attrs=attrs),
    }
    print(f"\n{recording.n_samples:,} samples, {path.stat().st_size / 1e6:.2f} MB\n")
    print("| stage | CPU ms | wall ms |\n| --- | ---: | ---: |")
    for name, stage in work.items():
        cpu, wall = [], []
        for _ in range(runs):
            c, w = time.process_time(), time.perf_counter()
            stage()
            cpu.append(time.process_time() - c)
            wall.append(time.perf_counter() - w)
        print(f"| {name} | {np.median(cpu) * 1e3:.2f} | {np.median(wall) * 1e3:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--counts", type=int, nargs="*", default=[300, 1000, 3000])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        if arguments.counts:
            print("| recordings | MB | run | wall s | CPU s | CPU ms each | parent MB | worker MB | it says |")
            print("| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |")
        sizes = []
        for count in arguments.counts:
            folder = base / str(count)
            megabytes = make(folder, arguments.recording, count)
            for name in ("first", "up to date"):
                wall, cpu, parent, worker, said = run(folder, arguments.jobs)
                row = f"{wall:.1f} | {cpu:.1f} | {1e3 * cpu / count:.1f} | {parent:.0f} | {worker:.0f}"
                print(f"| {count} | {megabytes:.0f} | {name} | {row} | {said} |", flush=True)
                if name == "first":
                    sizes.append((count, parent, worker))
        if len(sizes) > 1:
            (n0, parent0, worker0), (n1, parent1, worker1) = sizes[0], sizes[-1]
            slopes = (1e3 * (b - a) / (n1 - n0) for a, b in ((parent0, parent1), (worker0, worker1)))
            print("\ngrowth: parent {:.1f} kB, worker {:.1f} kB a recording".format(*slopes))
        folder = base / "profile"
        make(folder, arguments.recording, 1)
        stages(folder / "user00000.asc", folder)
        stages(arguments.recording, folder)


if __name__ == "__main__":
    main()
