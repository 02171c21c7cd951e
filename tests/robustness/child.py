"""Reads damaged recordings in a process of its own, which may crash, hang or run out of memory without harm.

One line of JSON on standard input asks for a suite; lines of JSON on standard output say which case is being read
(the last one is the culprit if the process dies) and, at the end, what came of all. A case that takes longer than
`HANG_S` ends the process with a traceback; memory beyond what the undamaged recording needed, plus `HEADROOM`, is
refused by the operating system.
"""

from __future__ import annotations

import faulthandler
import gzip
import json
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from corruptions import corrupt, truncations
from invariants import check_analysis, check_dataset, check_recording
from samples import MADE, MADE_DATASETS, REAL, REAL_DATASETS, Sample

from gazepipe import store
from gazepipe.analyse import analyse
from gazepipe.config import StudyConfig
from gazepipe.datasets import load_dataset
from gazepipe.errors import GazepipeError, InputError
from gazepipe.readers import read_recording
from gazepipe.recipe import Recipe
from gazepipe.recording import Recording

SLOW_S = 5.0  # of this process's own time
HANG_S = 60.0  # by the clock, so that a busy machine is no hang
HEADROOM = 1 << 30
_PAGE = resource.getpagesize()


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def write(folder: Path, files: dict[str, bytes], raw: frozenset[str] = frozenset()) -> None:
    """Write files, packing those whose names say so, unless they are named in `raw`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = name.endswith(".gz") and name not in raw
        path.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)


def cases(sample: Sample, corruptions: int, seed: int) -> Iterator[tuple[str, str, bytes, bool]]:
    """Description, file, content, and whether the content stands in the file as it is (packed files are spoilt too).

    In a short sweep the smaller files of a folder are cut at every eighth part only.
    """
    for name in sample.spoilt:
        every = 8 if corruptions < 500 and name != sample.spoilt[0] else 1
        for what, content in islice(truncations(sample.files[name]), 0, None, every):
            yield f"{name} {what}", name, content, False
    rng = np.random.default_rng(seed)
    for k in range(corruptions):
        first = rng.random() < 0.5
        name = sample.spoilt[0] if first else sample.spoilt[int(rng.integers(0, len(sample.spoilt)))]
        content = sample.files[name]
        packed = rng.random() < (0.2 if name.endswith(".gz") else 0.03)
        what, spoilt = corrupt(gzip.compress(content, 6, mtime=0) if packed else content, (seed, k))
        yield (
            f"{name} corruption {k} of seed {seed}: {what}{' of the packed file' if packed else ''}",
            name,
            spoilt,
            packed,
        )


def check_refusal(error: GazepipeError) -> None:
    """Raise `AssertionError` unless an error is about the input and says so in one sentence."""
    text = str(error)
    assert isinstance(error, InputError), f"a {type(error).__name__} is not about the input: {text}"
    assert text.endswith("."), f"no sentence: {text!r}"
    assert "\n" not in text, f"several lines: {text!r}"
    assert len(text) < 2500, f"a message of {len(text)} letters"


class Suite:
    """One sample, damaged again and again."""

    def __init__(self, sample: Sample, folder: Path) -> None:
        self.sample, self.folder = sample, folder
        self.config = StudyConfig(**sample.config)
        self.size = sum(map(len, sample.files.values()))
        self.read = self.refused = self.analysed = 0
        self.slowest = (0.0, "")
        self.problems: list[str] = []
        write(folder, sample.files)

    def load(self, n_bytes: int, *, analysed: bool) -> None:
        """Read what stands in the folder and check it."""
        recording = read_recording(self.folder / self.sample.target, self.config)
        check_recording(recording, n_bytes)
        if analysed:
            self.analyse(recording)
            self.analysed += 1

    def case(self, name: str, content: bytes, raw: bool, analysed: bool) -> None:
        """Read one damaged copy: refused in a sentence, or sound."""
        write(self.folder, {name: content}, frozenset([name] if raw else []))
        try:
            self.load(self.size + len(content), analysed=analysed)
            self.read += 1
        except GazepipeError as error:
            self.refused += 1
            check_refusal(error)
        finally:
            write(self.folder, {name: self.sample.files[name]})

    def analyse(self, recording: Recording) -> None:
        """All of stage 1, storing included, of a study that has this screen; blocks are trials if nothing else is."""
        changes: dict[str, Any] = dict(self.sample.config)
        if recording.display_px:
            width, height = recording.display_px
            if max(width, height) <= 20_000:
                changes["screen"] = {"width_px": width, "height_px": height}
        for source in ("auto", "blocks"):
            try:
                arrays, attrs = analyse(
                    self.folder / self.sample.target, StudyConfig(**changes, trials={"source": source})
                )
            except InputError:
                if source == "blocks":
                    return
                continue
            check_analysis(arrays, attrs)
            recipe = Recipe("ingest", 1, {}, {})
            store.save(self.folder.parent / "out.h5", "gazepipe.recording", arrays, recipe=recipe, attrs=attrs)
            return


class DatasetSuite(Suite):
    """One data set, damaged again and again."""

    dataset = ""

    def load(self, n_bytes: int, *, analysed: bool) -> None:
        check_dataset(load_dataset(self.dataset, self.folder / self.sample.target, **self.sample.options))


def limit_memory() -> None:
    """Let this process grow by `HEADROOM` from where it is, and no further."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE if sys.platform == "linux" else 0
    if now:
        resource.setrlimit(resource.RLIMIT_AS, (now + HEADROOM, resource.RLIM_INFINITY))


def peak_mb() -> int:
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024


def run(sample: Sample, corruptions: int, seed: int, every: int, kind: type[Suite]) -> dict[str, Any]:
    """Read all damaged copies of one sample."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    scratch = Path(tempfile.mkdtemp())
    try:
        suite = kind(sample, scratch / "rec")
        suite.load(suite.size, analysed=True)
        before = peak_mb()
        limit_memory()
        tried = 0
        for what, name, content, raw in islice(cases(sample, corruptions, seed), 0, None, sample.sparse):
            tried += 1
            say(case=what)
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            began = time.process_time()
            try:
                suite.case(name, content, raw, tried % every == 0)
            except BaseException as error:  # whatever comes is a defect
                where = "".join(traceback.format_exception(error)[-4:])[-1200:]
                suite.problems.append(f"{what}\n{where}")
            took = time.process_time() - began
            if took > SLOW_S:
                suite.problems.append(f"{what}: took {took:.1f} s")
            suite.slowest = max(suite.slowest, (took, what))
        faulthandler.cancel_dump_traceback_later()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "tried": tried,
        "read": suite.read,
        "refused": suite.refused,
        "analysed": suite.analysed,
        "slowest": suite.slowest,
        "grown_mb": peak_mb() - before,
        "peak_mb": peak_mb(),
        "problems": suite.problems,
    }


def main() -> None:
    warnings.simplefilter("error")
    for line in sys.stdin:
        job = json.loads(line)
        name, data = job["name"], job.get("data")
        kind: type[Suite] = DatasetSuite if job["dataset"] else Suite
        if job["dataset"]:
            samples = REAL_DATASETS[name](Path(data)) if data else MADE_DATASETS[name]()
            DatasetSuite.dataset = name
        else:
            samples = REAL[name](Path(data) / "raw") if data else MADE[name]()
        share = -(-job["corruptions"] // len(samples))
        for k, sample in enumerate(samples):
            say(done=run(sample, share, job["seed"] + k, job["every"], kind), last=k == len(samples) - 1)


if __name__ == "__main__":
    main()
