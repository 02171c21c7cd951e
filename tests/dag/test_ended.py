"""A run of the graph that is killed or interrupted leaves nothing behind, and the next one goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graph import LOCAL, command, gazepipe, ran, with_engine
from survival import told

from gazepipe.dag import folder_of
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
    simulated: Callable[..., Study], whole_sections: dict[str, Any], tmp_path: Path
) -> None:
    """kill -9, Ctrl-C and SIGTERM to the run alone: nodes end with it, and the next run goes on."""
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
    told("R3", len(ends) + 1, len(ends) + 1, "the graph of nodes")


def is_engine(line: Path, small: Any) -> bool:
    try:
        words = line.read_bytes().split(b"\0")
    except OSError:
        return False
    return b"gazepipe.dag.child" in words and any(str(small.root).encode() in word for word in words)
