"""A run of the graph that is killed or interrupted leaves nothing behind, and the next one goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph import LOCAL, command, gazepipe, ran, with_engine
from survival import told

from gazepipe.dag import folder_of
from gazepipe.integrity import check_store
from gazepipe.study import Study


def of_run(small: Any) -> list[str]:
    """Command lines of all processes that work on a study: the run, the engine, and its nodes."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = line.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [text] if str(small.root) in text else []
    return found


def once(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@with_engine
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_run_that_is_ended_leaves_nothing_and_is_resumed(
    simulated: Callable[..., Study], whole_sections: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """kill -9, Ctrl-C and SIGTERM to the run alone: nodes end with it, and the next run goes on.

    At four times that are chosen, and in the long sweep (`--kills`) at times that are not.
    """
    small = study = simulated(tmp_path / "study ü", users=8, images=16, seconds=1.5, seed=3, **whole_sections)
    log = folder_of(study) / "log"
    ends = [("ingest", signal.SIGKILL), ("ingest", signal.SIGINT), ("train", signal.SIGTERM)]
    for node, how in ends:
        for path in log.glob(f"{node}.*"):
            path.unlink()
        with subprocess.Popen(command(small, *LOCAL), stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
            once(lambda node=node: (log / f"{node}.log").exists())  # type: ignore[misc]
            if how == signal.SIGINT:
                refused = gazepipe(small, *LOCAL)
                assert refused.returncode == 6
                assert "another `gazepipe run` is going on there" in refused.stderr
            time.sleep(1.0 if node == "train" else 0.0)
            run.send_signal(how)
            _, said = run.communicate(timeout=120)
        if how == signal.SIGKILL:
            once(lambda: not of_run(small))
        else:
            assert run.returncode == 130, said
            assert said == "gazepipe: interrupted; what was finished is stored, run again to go on.\n"
        assert of_run(small) == []
        assert list(study.store.rglob("*.tmp")) == []
        assert not (folder_of(study) / "done" / f"{node}.json").is_file()
    # Killed with its engine, which then cannot give its own lock back.
    with subprocess.Popen(command(small, *LOCAL), start_new_session=True, stdout=subprocess.DEVNULL) as run:
        locks = folder_of(study) / ".snakemake" / "locks"
        once(lambda: any(locks.glob("*.lock")))
        (engine,) = (int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if is_engine(p, small))
        run.kill()
        os.killpg(engine, signal.SIGKILL)
    once(lambda: not of_run(small))
    assert any(locks.glob("*.lock"))
    done = gazepipe(small, *LOCAL)
    assert done.returncode == 0, done.stderr
    assert "8 written" not in json.dumps(ran(study))  # what had been stored was not made again
    assert {"train", "enrol", "predict", "evaluate"} <= set(ran(study))
    tried = len(ends) + 1
    told("R3", tried, tried, "the graph of nodes, ended at chosen times")
    if more := max(0, int(request.config.getoption("--kills")) // 2 - tried):
        end_anywhere(study, more)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


def end_anywhere(study: Study, tried: int) -> None:
    """End runs at any time, each going on where the one before was ended; what they make together is the same."""
    expected = made_in(study)
    shutil.rmtree(study.store)
    start = time.monotonic()
    assert gazepipe(study, *LOCAL).returncode == 0
    longest = time.monotonic() - start
    assert made_in(study) == expected
    rng, ended, complete = np.random.default_rng(23), 0, True
    for attempt in range(tried):
        if complete:
            shutil.rmtree(study.store)
        how = SIGNALS[attempt % len(SIGNALS)]
        line = command(study, *LOCAL)
        run = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        once(lambda run=run: takes_signals(run.pid))  # type: ignore[misc]
        try:
            _, said = run.communicate(timeout=longest * float(rng.random()))
        except subprocess.TimeoutExpired:
            run.send_signal(how)
            _, said = run.communicate(timeout=120)
        complete = run.returncode == 0
        ended += not complete
        if how == signal.SIGKILL:
            once(lambda: not of_run(study))
        if not complete:
            assert run.returncode == (-how if how == signal.SIGKILL else 130), (attempt, said)
            interrupted = "gazepipe: interrupted; what was finished is stored, run again to go on.\n"
            assert said == ("" if how == signal.SIGKILL else interrupted), attempt
        assert of_run(study) == [], attempt
        assert list(study.store.rglob("*.tmp")) == [], attempt
        assert [f for f in check_store(study).findings if f.kind == "damaged"] == [], attempt
        assert not complete or made_in(study) == expected, attempt
    done = gazepipe(study, *LOCAL)
    assert done.returncode == 0, done.stderr
    assert made_in(study) == expected
    told("R3", tried, tried, f"the graph of nodes, ended at any time; {ended} before they were done")


def made_in(study: Study) -> dict[str, bytes]:
    """What must be the same however often a run was ended."""
    names = ("recordings/*.h5", "psm/*.h5", "usm.h5", "stimuli.h5", "gallery.h5", "evaluation.md")
    found = {str(p.relative_to(study.store)): p.read_bytes() for name in names for p in study.store.glob(name)}
    assert len(found) > 2 * 8  # recordings and maps of eight people
    return found


def takes_signals(process: int) -> bool:
    """Whether a process has come so far that it ends in order."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def is_engine(line: Path, small: Any) -> bool:
    try:
        words = line.read_bytes().split(b"\0")
    except OSError:
        return False
    return b"gazepipe.dag.child" in words and any(str(small.root).encode() in word for word in words)
