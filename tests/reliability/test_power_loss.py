"""The power fails: what was committed is readable, nothing else is half, and the next run makes up for the rest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from power import Log
from survival import told

from gazepipe.atomic import write_atomically
from gazepipe.build import build_psm
from gazepipe.documents import write_listed
from gazepipe.enrol import enrol
from gazepipe.ingest import ingest
from gazepipe.integrity import check_store
from gazepipe.predict import predict
from gazepipe.predict import test_images_of as images_of_test
from gazepipe.study import Study

pytestmark = pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX alone")


def files(root: Path) -> dict[str, bytes]:
    found = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}
    return {name: p.read_bytes() for name, p in found.items() if not name.endswith(".lock")}


def test_the_log_drops_what_was_not_synced(tmp_path: Path) -> None:
    """By hand: a file written without fsync is empty, one without a sync of its folder is not there."""
    root = tmp_path / "root"
    root.mkdir()
    log = Log(root)
    with log.recording():
        for name, sync in (("a", True), ("b", False)):
            with (root / name).open("wb") as file:
                file.write(b"data")
                file.flush()
                if sync:
                    os.fsync(file.fileno())
        number = os.open(root, os.O_RDONLY)
        os.fsync(number)
        os.close(number)
        os.replace(root / "a", root / "c")
        (root / "d").mkdir()
    assert [step[0] for step in log.steps] == [
        *("create", "write", "sync", "create", "write", "sync folder", "move", "folder")
    ]
    for steps, expected in ((5, {"kept": b"x"}), (8, {"kept": b"x", "a": b"data", "b": b""})):
        to = tmp_path / str(steps)
        log.after_power_loss({"kept": b"x"}, steps, None, to)
        assert files(to) == expected


def test_what_was_written_is_there(tmp_path: Path) -> None:
    """After `write_atomically` came back, whatever folders it had to make."""
    root = tmp_path / "root"
    root.mkdir()
    log, done = Log(root), {}
    with log.recording():
        for k in range(20):
            name = ["x", "new/y", "new/er/z"][k % 3]
            write_atomically(root / name, b"%d" % k)
            done[log.here] = {**done.get(max(done, default=0), {}), name: b"%d" % k}
        write_listed(root, {root / "t.csv": b"table"})
        done[log.here] = {**done[max(done)], "t.csv": b"table"}
    for step in range(log.here + 1):
        to = tmp_path / "after"
        log.after_power_loss({}, step, None, to)
        found = files(to) if to.exists() else {}
        committed = done.get(max((s for s in done if s <= step), default=0), {})
        following = done[min(s for s in done if s >= step)]
        for name, data in committed.items():
            assert found.get(name) in (data, following[name]), (step, name)
        shutil.rmtree(to, ignore_errors=True)


STAGES = {
    "ingest": (("recordings", "manifest/ingest.json"), lambda study: ingest(study, jobs=1)),
    "build-psm": (("psm", "usm.h5", "stimuli.h5", "manifest/build-psm.json"), build_psm),
    "enrol": (("gallery.h5",), lambda study: enrol(study, threads=1)),
    "predict": (
        ("predictions",),
        lambda study: predict(study, [], images_of_test(study, 1), threads=1),
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_power_loss_in_a_stage(whole: Study, stage: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    taken, work = STAGES[stage]
    for name in taken:
        path = whole.store / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before, log = files(whole.store), Log(whole.store)
    with log.recording():
        work(whole)
    expected = {name: data for name, data in files(whole.store).items() if name.endswith((".h5", ".npy", ".png"))}
    committed = {s[2]: k for k, s in enumerate(log.steps) if s[0] == "move"}  # name → its last rename
    rng, survived = np.random.default_rng(3), 0
    tried = int(request.config.getoption("--losses"))
    for attempt in range(tried):
        step = int(rng.integers(log.here + 1))
        shutil.rmtree(whole.store)
        log.after_power_loss(before, step, rng if attempt % 2 else None, whole.store)
        assert [f for f in check_store(whole).findings if f.kind == "damaged"] == [], (attempt, step)
        found = files(whole.store)
        synced = [k for k, s in enumerate(log.steps[:step]) if s[0] == "sync folder"]
        for name, at in committed.items():
            if at < max(synced, default=-1) - 1 and name in expected:
                assert found.get(name) == expected[name], (attempt, step, name)
        if attempt == tried - 1:
            work(whole)
            assert check_store(whole).findings == [], (attempt, step)
            after = files(whole.store)
            assert {name: after.get(name) for name in expected if "gallery" not in name} == {
                name: data for name, data in expected.items() if "gallery" not in name
            }
        survived += 1
    told("R6", survived, tried, f"{stage}, of {log.here} steps")
