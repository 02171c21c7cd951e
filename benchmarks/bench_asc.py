"""Time the EyeLink ASC reader against other readers and a bare read of the same file.

    python benchmarks/bench_asc.py recording.asc [--runs 5] [--copies 15]

Peers (pymovements, mne) are timed where they are installed. Every reader runs in this process, warmed up once on the
same file; the table has medians of CPU seconds (user and system) and of wall seconds. `--copies` first makes a larger
file from the recording: its header once, its blocks repeated with shifted times.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from gazepipe.config import StudyConfig
from gazepipe.readers import read_recording

_TIMES = {"MSG": 1, "START": 1, "END": 1, "INPUT": 1, "BUTTON": 1, "SFIX": 1, "SSACC": 1, "SBLINK": 1}
_TIMES |= {"EFIX": 2, "ESACC": 2, "EBLINK": 2}


def enlarge(source: Path, copies: int, target: Path) -> None:
    """Write `copies` repetitions of the blocks of `source`, each later than the one before."""
    lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("START"))
    body = [line for line in lines[first:] if line]
    times = [int(line.split(None, 1)[0]) for line in body if line[0].isdigit()]
    span = max(times) - min(times) + 5000
    with target.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines[:first])
        for k in range(copies):
            file.writelines(shifted(line, k * span) + "\n" for line in body)


def shifted(line: str, by: int) -> str:
    """Add `by` to the times of one line."""
    count = 1 if line[0].isdigit() else _TIMES.get(line.split(None, 1)[0], 0)
    return re.sub(r"(?<![\w.])\d+", lambda m: str(int(m[0]) + by), line, count=count) if count else line


def bare_read(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def own(path: Path) -> None:
    read_recording(path, StudyConfig())


def with_pymovements(path: Path) -> None:
    import pymovements

    pymovements.gaze.from_asc(path)


def with_mne(path: Path) -> None:
    import mne

    mne.io.read_raw_eyelink(path, verbose="ERROR")


def measure(read: Callable[[Path], None], path: Path, runs: int) -> tuple[float, float]:
    """Return medians of CPU and wall seconds of `runs` readings after one that is not counted."""
    cpu, wall = [], []
    for _ in range(runs + 1):
        before, start = time.process_time(), time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - before)
    return statistics.median(cpu[1:]), statistics.median(wall[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--copies", type=int, default=0, help="repeat the recording's blocks this many times")
    arguments = parser.parse_args()
    peers = {"pymovements": with_pymovements, "mne": with_mne}
    readers = {"gazepipe": own, "bare read": bare_read}
    readers |= {name: read for name, read in peers.items() if importlib.util.find_spec(name)}
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.recording
        if arguments.copies:
            path = Path(folder) / "large.asc"
            enlarge(arguments.recording, arguments.copies, path)
        megabytes = path.stat().st_size / 1e6
        samples = read_recording(path, StudyConfig()).n_samples
        print(f"{megabytes:.1f} MB, {samples:,} samples, median of {arguments.runs} runs\n")
        print("| reader | CPU s | wall s | MB per CPU s | CPU of gazepipe = 1 |")
        print("| --- | ---: | ---: | ---: | ---: |")
        reference = 0.0
        for name, read in readers.items():
            cpu, wall = measure(read, path, arguments.runs if name not in peers else min(arguments.runs, 3))
            reference = reference or cpu
            print(f"| {name} | {cpu:.3f} | {wall:.3f} | {megabytes / max(cpu, 1e-9):.0f} | {cpu / reference:.2f} |")


if __name__ == "__main__":
    main()
