"""Time the EyeLink ASC reader against other readers and bare reads of the same file.

    python benchmarks/bench_asc.py recording.asc [more.asc ...] [--megabytes 52] [--runs 5]

Every recording is first made larger: its header once, its blocks repeated with shifted times. The first one is read by
all readers (pymovements and mne where they are installed), and its compressed form by gazepipe; the others (binocular,
with a head target, at 2000 Hz ...) by gazepipe only. Everything runs in this process, warmed up once on the same file;
the tables have medians of CPU seconds (user and system) and of wall seconds. "In pieces" reads 1 MB after another into
one buffer, "read()" the whole file into new memory, "lines" is ``for line in file`` of the bytes: the bare reads that a
reader can be held against. All of gazepipe's rows have samples, events and messages; messages are decoded when they are
asked for, which the second row does for all of them. pymovements keeps messages only on request, which is not made.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
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


def enlarge(source: Path, megabytes: float, target: Path) -> None:
    """Repeat the blocks of `source` up to a size, each later than the one before."""
    data = source.read_bytes()
    lines = (gzip.decompress(data) if source.suffix == ".gz" else data).decode("utf-8", "replace").splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("START"))
    body = [line for line in lines[first:] if line]
    times = [int(line.split(None, 1)[0].split(".")[0]) for line in body if line[0].isdigit()]
    span = max(times) - min(times) + 5000
    copies = max(1, round(megabytes * 1e6 / sum(len(line) + 1 for line in body)))
    with target.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines[:first])
        for k in range(copies):
            file.writelines(shifted(line, k * span) + "\n" for line in body)


def shifted(line: str, by: int) -> str:
    """Add `by` to the times of one line."""
    count = 1 if line[0].isdigit() else _TIMES.get(line.split(None, 1)[0], 0)
    return re.sub(r"(?<![\w.])\d+", lambda m: str(int(m[0]) + by), line, count=count) if count else line


def in_pieces(path: Path) -> None:
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def in_lines(path: Path) -> None:
    with path.open("rb") as file:
        for _ in file:
            pass


def own(path: Path) -> None:
    read_recording(path, StudyConfig())


def own_with_every_message(path: Path) -> None:
    list(read_recording(path, StudyConfig()).messages)


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


def table(readers: dict[str, Callable[[Path], None]], path: Path, runs: int) -> None:
    print("| reader | CPU s | wall s | MB per CPU s | CPU, gazepipe = 1 | wall, gazepipe = 1 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    megabytes, first = path.stat().st_size / 1e6, None
    for name, read in readers.items():
        cpu, wall = measure(read, path, runs if name not in PEERS else min(runs, 3))
        first = first or (cpu, wall)
        speed = f"{megabytes / max(cpu, 1e-9):.0f} | {cpu / first[0]:.2f} | {wall / first[1]:.2f}"
        print(f"| {name} | {cpu:.3f} | {wall:.3f} | {speed} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=52, help="size of the files made")
    arguments = parser.parse_args()
    readers = {"gazepipe": own, "gazepipe, every message made": own_with_every_message}
    readers |= {"bare read, in pieces": in_pieces, "bare read, read()": Path.read_bytes, "bare read, lines": in_lines}
    readers |= {name: read for name, read in PEERS.items() if importlib.util.find_spec(name)}
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.asc"
        for k, recording in enumerate(arguments.recordings):
            enlarge(recording, arguments.megabytes, large)
            read = read_recording(large, StudyConfig())
            rows = f"{read.n_samples:,} samples of {len(read.eyes)} eyes at {read.sampling_rate_hz[0]:g} Hz"
            texts = f"{len(read.messages):,} messages, {len(read.native_events.get('kind', ())):,} events"
            print(f"\n{recording.name}: {large.stat().st_size / 1e6:.1f} MB, {rows}, {texts}\n")
            table(readers if not k else {"gazepipe": own, "bare read, in pieces": in_pieces}, large, arguments.runs)
            if not k:
                packed = Path(folder) / "large.asc.gz"
                packed.write_bytes(gzip.compress(large.read_bytes(), 6))
                print(f"\n{recording.name}, compressed: {packed.stat().st_size / 1e6:.1f} MB\n")
                table(
                    {"gazepipe": own, "bare gunzip": lambda p: gzip.decompress(p.read_bytes())}, packed, arguments.runs
                )


PEERS = {"pymovements": with_pymovements, "mne": with_mne}


if __name__ == "__main__":
    main()
