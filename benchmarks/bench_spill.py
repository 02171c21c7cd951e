"""How fast maps are that do not fit the memory, and so lie on the disk (`gazepipe.spill`).

    python benchmarks/bench_spill.py [--gigabytes 2] [--folder store]

An array of maps of the default size is made twice, in memory and on the disk of a folder, and is filled person after
person, read in that order, and read in random batches of 256 maps, as training does. What lies on the disk is read
twice: while the system still has it in memory, as it has what was used last, and after it has let go of all of it,
as where maps are many times the memory. Best of three, but for the filling and what comes off the disk itself.
"""

from __future__ import annotations

import argparse
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from gazepipe import spill

MAP = (120, 160)
PERSON, BATCH, BATCHES = 1000, 256, 40


def fill(maps: np.ndarray) -> int:
    """Write all maps, those of a person at a time; return how many."""
    own = np.random.default_rng(0).random((PERSON, *MAP), np.float32).astype(maps.dtype)
    for at in range(0, len(maps), PERSON):
        maps[at : at + PERSON] = own[: len(maps) - at]
    return len(maps)


def in_order(maps: np.ndarray) -> int:
    """Read all maps, those of a person at a time."""
    for at in range(0, len(maps), PERSON):
        np.array(maps[at : at + PERSON])
    return len(maps)


def at_random(maps: np.ndarray) -> int:
    """Read batches of maps."""
    rng = np.random.default_rng(1)
    for _ in range(BATCHES):
        maps[rng.integers(0, len(maps), BATCH)]
    return BATCHES * BATCH


def let_go(maps: np.ndarray, folder: Path) -> None:
    """Write what is not on the disk yet, and have the system keep nothing of it in memory."""
    mapped = maps.base._mmap
    mapped.flush()
    mapped.madvise(mmap.MADV_DONTNEED)
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_symlink() and os.readlink(entry).startswith(str(folder)):
            os.posix_fadvise(int(entry.name), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(work: Callable[[], int], before: Callable[[], None] = lambda: None, times: int = 1) -> float:
    """Maps a second."""
    found = 0.0
    for _ in range(times):
        before()
        began = time.perf_counter()
        done = work()
        found = max(found, done / (time.perf_counter() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk that is measured")
    options = parser.parse_args()
    folder = options.folder.resolve()
    each = int(np.prod(MAP)) * 2
    shape = (int(options.gigabytes * 1e9) // each, *MAP)
    print(f"{shape[0]} maps of {each / 1000:.1f} kB")
    print("| | in memory | on disk, kept in memory | on disk |\n| --- | --- | --- | --- |")
    with mock.patch.object(spill, "free_memory", return_value=float("inf")):
        memory = spill.spacious(shape, np.float16, folder, "maps")
    with mock.patch.object(spill, "free_memory", return_value=0.0):
        disk = spill.spacious(shape, np.float16, folder, "maps")
    filled = [rate(lambda: fill(memory)), rate(lambda: fill(disk))]
    print(f"| fill, maps/s | {filled[0]:,.0f} | {filled[1]:,.0f} | |", flush=True)
    for name, work in (("in order", in_order), ("in random batches of 256", at_random)):
        work(disk)
        kept = [rate(lambda w=work, a=a: w(a), times=3) for a in (memory, disk)]
        cold = rate(lambda w=work: w(disk), lambda: let_go(disk, folder))
        print(f"| read {name}, maps/s | {kept[0]:,.0f} | {kept[1]:,.0f} | {cold:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
