"""Processes that die: of sixty items, exactly those that kill their process are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Workers are spawned, so that what they do must stand in a module that they can import.
WORK = """
import os, signal, time
def work(item):
    number, fate = item
    if fate == "kill":
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "exit":
        os._exit(3)
    if fate == "raise":
        raise ValueError(number)
    return number * number
"""
RUN = """
import json, sys
from gazepipe.parallel import each
import some_work
if __name__ == "__main__":
    items = [tuple(i) for i in json.loads(sys.argv[1])]
    print(json.dumps(sorted((item[0], result) for item, result in each(some_work.work, items, 2))))
"""


def run(folder: Path, fates: dict[int, str], n: int) -> subprocess.CompletedProcess[str]:
    (folder / "some_work.py").write_text(WORK)
    (folder / "run.py").write_text(RUN)
    import json

    items = json.dumps([(k, fates.get(k, "")) for k in range(n)])
    root = Path(__file__).resolve().parents[1]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(root)])}
    return subprocess.run(
        [sys.executable, str(folder / "run.py"), items], capture_output=True, text=True, env=env, timeout=120
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_only_the_culprits_are_lost(tmp_path: Path) -> None:
    import json

    done = run(tmp_path, {3: "kill", 17: "exit", 18: "kill"}, 60)
    assert done.returncode == 0, done.stderr
    expected = [[k, None if k in (3, 17, 18) else k * k] for k in range(60)]
    assert json.loads(done.stdout) == expected


def test_errors_are_raised(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(tmp_path, {2: "raise"}, 8)
    assert done.returncode == 1
    assert "ValueError: 2" in done.stderr
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("given", ["a file", "standard input"])
def test_the_callers_script_is_not_run_again(tmp_path: Path, given: str) -> None:
    """Scripts seldom have a guard around what they do, and one from standard input is no file at all."""
    text = "from gazepipe.parallel import Aside, each\nprint('begun')\n"
    text += "print(Aside()(abs, -3), sorted(each(abs, [-1, -2], 2)))\n"
    script = tmp_path / "analysis.py"
    script.write_text(text)
    command = [sys.executable, str(script) if given == "a file" else "-"]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "begun\n3 [(-2, 2), (-1, 1)]\n", ran.stderr
