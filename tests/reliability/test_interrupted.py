"""Killed, interrupted, and run again: what was stored is whole, and in the end everything is as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from process import Nursery, command
from survival import told

from gazepipe.audit import AUDIT, problems
from gazepipe.integrity import check_store
from gazepipe.study import Study

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")

#: Files that hold times, paths or a salt, and so are never the same twice.
_TIMED = (
    *("folds", "models", "evaluation", "predictions", "tables", "gallery.h5", "checksums.txt", "train.json"),
    *(AUDIT, "manifest/subjects.json"),
)


def contents(study: Study) -> dict[str, bytes]:
    """What must be the same however often a run was interrupted."""
    found = {}
    for path in sorted(study.store.rglob("*")):
        name = path.relative_to(study.store).as_posix()
        if path.is_file() and not path.name.startswith(".") and not any(part in name for part in _TIMED):
            found[name] = path.read_bytes()
    return found


def hdf5(files: dict[str, bytes]) -> dict[str, bytes]:
    """Those without the paths of the folder that the study is in."""
    return {name: data for name, data in files.items() if name.endswith(".h5")}


def wait(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=120)


def begin(study: Study, stage: str) -> list[object]:
    """Take away what a stage makes; its command line."""
    gone = {
        "ingest": ["recordings", "manifest/ingest.json"],
        "build-psm": ["psm", "usm.h5", "stimuli.h5", "manifest/build-psm.json"],
        "enrol": ["gallery.h5"],
        "predict": ["predictions"],
    }[stage]
    for name in gone:
        path = study.store / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stage == "enrol":
        return ["enrol", "--study", study.root, "--user", "sim03"]
    if stage == "predict":
        return ["predict", "--study", study.root, "--all-users", study.stimuli]
    return [stage, study.root]


@pytest.mark.parametrize("stage", ["ingest", "build-psm", "enrol", "predict"])
def test_kill_minus_nine_and_again(whole: Study, stage: str, nursery: Nursery, request: pytest.FixtureRequest) -> None:
    before = contents(whole)
    line = begin(whole, stage)
    start = time.monotonic()
    nursery.run(*line)
    longest = time.monotonic() - start
    expected = contents(whole)
    assert hdf5(expected) == hdf5(before)
    rng, survived, killed = np.random.default_rng(11), 0, 0
    tried = int(request.config.getoption("--kills"))
    for attempt in range(tried):
        begin(whole, stage)
        running = nursery.start(*line)
        time.sleep(longest * float(rng.random()))
        running.send(signal.SIGKILL)
        fell = running.wait()[0] == -signal.SIGKILL
        killed += fell
        longest *= 1.0 if fell else 0.9  # on a busy machine the first run may have taken longer than most
        report = check_store(whole)
        assert [f for f in report.findings if f.kind == "damaged"] == [], attempt
        code, errors = nursery.run(*line)
        assert code in (0, 3), errors  # 3: the recording that is broken
        assert check_store(whole).findings == [], attempt
        assert problems(whole) == [], attempt
        assert contents(whole) == expected, attempt
        survived += 1
    told("R1" if stage == "ingest" else "R2", survived, tried, f"{stage}, {killed} killed before they were done")
    assert killed


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_order(whole: Study, how: signal.Signals) -> None:
    """Ctrl-C, or the SIGTERM of a cluster: exit code 130, no temporary file, no process left, resumable."""
    expected = hdf5(contents(whole))
    line = [*begin(whole, "ingest"), "--jobs", 2]
    process = command(*line, start_new_session=True)
    _once(lambda: (whole.store / "recordings").is_dir() and any((whole.store / "recordings").glob("*.h5")), process)
    process.send_signal(how)
    _, errors = wait(process)
    if process.returncode == 0 or process.returncode == 3:
        pytest.skip("it was over before the signal came")
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert list(whole.store.rglob("*.tmp")) == []
    _once(lambda: not _alive(process.pid), None)
    wait(command(*line))
    assert hdf5(contents(whole)) == expected
    told("R3", 1, 1, f"a process with two workers, {how.name}")


@pytest.mark.parametrize("stage", ["ingest", "build-psm", "enrol", "predict"])
def test_interrupted_anywhere(whole: Study, stage: str, nursery: Nursery, request: pytest.FixtureRequest) -> None:
    """SIGINT, SIGTERM and SIGHUP at any time: it ends as it should, leaves nothing half, and goes on from there."""
    expected = hdf5(contents(whole))
    line = begin(whole, stage)
    start = time.monotonic()
    nursery.run(*line)
    longest = time.monotonic() - start
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    rng, survived, interrupted = np.random.default_rng(17), 0, 0
    tried = max(3, int(request.config.getoption("--kills")) // 2)
    for attempt in range(tried):
        begin(whole, stage)
        running = nursery.start(*line)
        time.sleep(0.05 + longest * float(rng.random()))
        running.send(signals[attempt % 3])
        code, errors = running.wait()
        assert code in (0, 3, 130), (attempt, errors)
        longest *= 1.0 if code == 130 else 0.9
        if code == 130:
            interrupted += 1
            assert errors.count("\n") == 1, errors
            assert "interrupted" in errors
        assert list(whole.store.rglob("*.tmp")) == [], attempt
        assert [f for f in check_store(whole).findings if f.kind == "damaged"] == [], attempt
        code, errors = nursery.run(*line)
        assert code in (0, 3), errors
        assert hdf5(contents(whole)) == expected, attempt
        survived += 1
    told("R3", survived, tried, f"{stage}, {interrupted} interrupted before they were done")


def test_workers_go_with_a_killed_parent(whole: Study) -> None:
    process = command(*begin(whole, "ingest"), "--jobs", 2, start_new_session=True)
    _once(lambda: len(_alive(process.pid)) > 2, process)
    process.kill()
    wait(process)
    _once(lambda: not _alive(process.pid), None)


def test_a_lock_that_was_left_is_taken_over(whole: Study) -> None:
    (whole.store / ".lock").write_text("12345")
    process = command("build-psm", whole.root, "--force")
    _, errors = wait(process)
    assert process.returncode == 0, errors
    told("R9", 1, 1, "a lock that was left")


def _alive(session: int) -> list[int]:
    """Processes of a session that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def _once(true: Callable[[], bool], process: subprocess.Popen[str] | None) -> None:
    """Wait until something is true, or the process is over."""
    end = time.monotonic() + 60
    while not true() and (process is None or process.poll() is None):
        assert time.monotonic() < end
        time.sleep(0.005)


def test_two_ingests_at_once(whole: Study, nursery: Nursery, request: pytest.FixtureRequest) -> None:
    """One of them does it; the other is turned away, or comes when it is done. Nothing is there twice."""
    expected, survived = hdf5(contents(whole)), 0
    tried = max(4, int(request.config.getoption("--kills")) * 2)
    for _ in range(tried):
        line = begin(whole, "ingest")
        both = [nursery.start(*line) for _ in range(2)]
        ends = [running.wait() for running in both]
        assert sorted(code for code, _ in ends) in ([3, 3], [3, 6]), ends
        assert check_store(whole).findings == []
        assert hdf5(contents(whole)) == expected
        survived += 1
    told("R9", survived, tried, "two ingests at once")


def test_readers_need_no_lock(whole: Study, nursery: Nursery) -> None:
    writing = nursery.start("build-psm", whole.root, "--force")
    for _ in range(20):
        assert nursery.run("info", whole.root, "--json") == (0, "")
    assert writing.wait()[0] == 0


def test_workers_do_not_change_the_result(whole: Study, nursery: Nursery) -> None:
    """The same bytes from one process and from three."""
    expected = hdf5(contents(whole))
    survived = 0
    for jobs in (1, 3):
        code, errors = nursery.run(*begin(whole, "ingest"), "--jobs", jobs)
        assert code == 3, errors
        assert hdf5(contents(whole)) == expected
        survived += 1
    told("R19", survived, 2, "one process and three")
