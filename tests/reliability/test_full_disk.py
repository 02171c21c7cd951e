"""The disk is full, or fails: exit code 7, one sentence, what was stored stays, and no temporary file is left."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process import ENVIRONMENT, Nursery
from survival import told

from gazepipe.atomic import remove
from gazepipe.build import build_psm
from gazepipe.enrol import enrol
from gazepipe.errors import StorageError
from gazepipe.evaluate import evaluate
from gazepipe.export import export_study
from gazepipe.ingest import ingest
from gazepipe.integrity import check_store
from gazepipe.predict import predict
from gazepipe.predict import test_images_of as images_of_test
from gazepipe.study import Study
from gazepipe.train import train

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")

#: Stage → what it takes away from the store first, so that it writes (others are forced to), and its largest file.
STAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "ingest": ((), "recordings/*"),
    "build-psm": ((), "usm.h5"),
    "train": (("models/refiner.safetensors", "models/profile.safetensors"), "models/refiner.safetensors"),
    "enrol": (("gallery.h5",), "gallery.h5"),
    "predict": (("predictions",), "predictions/*/*.png"),
    "evaluate": (("evaluation.h5", "evaluation.json", "evaluation.md"), "evaluation.h5"),
    "bids": ((), "recordings/*"),
    "parquet": ((), "recordings/*"),
}


def line_of(study: Study, stage: str, out: Path) -> list[object]:
    if stage in ("bids", "parquet"):
        return ["export", out, study.root, "--format", stage, "--force"]
    if stage in ("ingest", "build-psm"):
        return [stage, study.root, "--force"]
    people = {"enrol": ["--all"], "predict": ["--all-users", "--test-images", 1]}
    where = ["--study", study.root] if stage in people else [study.root]
    return [stage, *people.get(stage, []), *where, "--threads", 1]


def take_away(study: Study, stage: str) -> None:
    for name in STAGES[stage][0]:
        path = study.store / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def snapshot(*folders: Path) -> dict[Path, bytes]:
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock")]
    return {p: p.read_bytes() for p in files if p.name != ".lock"}


def check_after(study: Study, before: dict[Path, bytes], stage: str, out: Path) -> None:
    """All that was there is there, as it was or as the stage makes it; nothing is half."""
    after = snapshot(study.store, out)
    # What a training goes on from goes once its weights are there.
    used = {p for p in before if p.suffix == ".checkpoint" and p.with_suffix(".safetensors") in after}
    assert before.keys() <= after.keys() | used
    assert [p for p in after if p.name.endswith(".tmp")] == []
    for path, data in before.items():
        if path.suffix == ".h5" and not path.name.startswith(("gallery", "evaluation")):
            assert after[path] == data, path
    for finding in check_store(study).findings:
        # Not listed yet: nothing vouches for it and it is made again.
        taken = any(finding.file.startswith(name) for name in STAGES[stage][0])
        assert finding.kind == "unguarded" or (finding.kind == "missing" and taken), finding


def test_no_byte_more(whole: Study, nursery: Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A limit on the size of files, somewhere in the largest that a stage writes: EFBIG at that byte."""
    rng, survived, tried = np.random.default_rng(5), 0, 0
    each = -(-int(request.config.getoption("--limits")) // len(STAGES))
    largest = {s: max(p.stat().st_size for p in whole.store.glob(pattern)) for s, (_, pattern) in STAGES.items()}
    for stage in STAGES:
        out = tmp_path / "out" / stage
        line, made = line_of(whole, stage, out), snapshot(whole.store)
        for _ in range(each):
            take_away(whole, stage)
            before = snapshot(whole.store, out)
            limit = int(np.exp(rng.uniform(np.log(16), np.log(largest[stage]))))
            if stage in ("bids", "parquet"):
                limit //= 8  # of how large its files are, the store says little
            code, errors = nursery.run(*line, fsize=limit)
            tried += 1
            assert code == 7, (stage, limit, errors)
            assert errors.count("\n") == 1, (stage, limit, errors)
            assert errors.startswith("gazepipe: "), errors
            check_after(whole, before, stage, out)
            survived += 1
        if stage in ("ingest", "build-psm", "predict"):  # with room it does what it could not
            code, errors = nursery.run(*line)
            assert code in (0, 3), (stage, errors)
            assert [f for f in check_store(whole).findings if f.kind != "unguarded"] == [], stage
        for path, data in made.items():
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    told("R4", survived, tried, "files may grow to a size and no further")


def test_no_room(whole: Study, tmp_path: Path) -> None:
    """A disk that is really full: a small one in memory, which only the command and a copy of the store are on."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    pages = sum(-(-p.stat().st_size // 4096) for p in whole.store.rglob("*"))
    size = 4 * pages + 32  # KiB: what is there fits, and no second copy of a recording
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f'mount -t tmpfs -o size={size}k none "$1"'
    try:
        can = subprocess.run([*private, mount, "sh", str(disk)], capture_output=True, text=True).returncode == 0
    except OSError:
        can = False
    if not can:
        pytest.skip("a test may not mount a disk in memory here")
    work = [
        f'{mount} && cp -R "$2/." "$1" && "$3" -m gazepipe ingest "$4" --store "$1" --force --jobs 1',
        'code=$?; cp -R "$1/." "$5"; exit $code',
    ]
    line = [*private, "; ".join(work), "sh", disk, whole.store, sys.executable, whole.root, copy]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, env=os.environ | ENVIRONMENT)
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("\n") == 1
    assert "the disk is full" in done.stderr
    kept = {p.relative_to(copy): data for p, data in snapshot(copy).items()}
    assert kept == {p.relative_to(whole.store): data for p, data in snapshot(whole.store).items()}
    told("R4", 1, 1, "a disk that is full")


class Disk:
    """Lets the n-th write, sync or rename fail, and counts them."""

    def __init__(self, fails: int = 0, number: int = errno.EIO) -> None:
        self.count, self.fails, self.number = 0, fails, number

    def step(self) -> None:
        self.count += 1
        if self.count == self.fails:
            raise OSError(self.number, os.strerror(self.number))

    def counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **options: Any) -> Any:
            self.step()
            return work(*arguments, **options)

        return instead

    def opened(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def instead(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            made = work(file, mode, *arguments, **options)
            return made if mode.startswith("r") else _Written(made, self)

        return instead

    @contextmanager
    def in_use(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("fsync", "replace", "mkdir", "unlink"):
                patch.setattr(os, name, self.counted(getattr(os, name)))
            patch.setattr(io, "open", self.opened(io.open))
            yield


class _Written:
    """A file whose writes are counted."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> Any:
        self.file.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self.file.__exit__(*error)

    def write(self, data: Any) -> Any:
        self.disk.step()
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_deletion_that_fails(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("stays")
    with Disk(1).in_use(), pytest.raises(StorageError) as error:
        remove(tmp_path / "a")
    assert str(error.value) == (
        f"{tmp_path / 'a'}: could not be deleted (Input/output error). Let this user write there, and run again."
    )
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def work_of(study: Study, stage: str, out: Path) -> Callable[[], object]:
    return {
        "ingest": lambda: ingest(study, jobs=1, force=True),
        "build-psm": lambda: build_psm(study, force=True),
        "train": lambda: train(study, threads=1),
        "enrol": lambda: enrol(study, threads=1),
        "predict": lambda: predict(study, [], images_of_test(study, 1), threads=1),
        "evaluate": lambda: evaluate(study, threads=1),
        "bids": lambda: export_study(study, out, "bids", force=True),
        "parquet": lambda: export_study(study, out, "parquet", force=True),
    }[stage]


def test_every_write_that_may_fail(whole: Study, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The n-th write, fsync, rename, new folder or deletion fails, for every n of whole stages."""
    rng, survived, tried, steps, failed = np.random.default_rng(9), 0, 0, 0, []
    most = int(request.config.getoption("--limits")) // len(STAGES)
    for stage in STAGES:
        if stage == "train" and most < 50:
            continue  # takes the longest and writes as the others do; nightly
        out = tmp_path / "out" / stage
        work = work_of(whole, stage, out)
        take_away(whole, stage)
        counting = Disk()
        with counting.in_use():
            work()
        steps += counting.count
        every = np.arange(1, counting.count + 1)
        # One of each kind follows the other, so that any few of them in a row are all kinds.
        chosen = every if most >= 50 else rng.choice(every, min(most, len(every)), replace=False)
        for n in chosen:
            take_away(whole, stage)
            before = snapshot(whole.store, out)
            disk = Disk(int(n), [errno.EIO, errno.ENOSPC][int(n) % 2])
            said = ""
            try:
                with disk.in_use():
                    work()
            except StorageError as error:
                said = str(error)
            except OSError as error:
                said = f"not in a sentence:\n{error!r}"
            if disk.count < n:
                continue  # one of the first run's steps was a list that is now as it should be
            tried += 1
            try:
                if not said:  # of a deletion that may wait: of what is temporary, or of no use any more
                    assert check_store(whole).bad == []
                assert "\n" not in said
                check_after(whole, before, stage, out)
                survived += 1
            except AssertionError as error:
                failed.append(f"step {n} of {counting.count} of {stage}, which said {said!r}: {str(error)[:1000]}")
        work()  # the last of them may have left something to be made again
    told("R5", survived, tried, "; ".join([f"of {steps} steps", *failed]))
    assert failed == []
