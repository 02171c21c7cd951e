"""gazepipe as a process of its own, to be killed.

Most of the time of such a process goes into imports. A `Nursery` is a process that has done them and forks one for each
command, so that kills fall into the work and there can be many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gazepipe

__all__ = ["Command", "Nursery", "command"]

ENVIRONMENT = {"PYTHONPATH": str(Path(gazepipe.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def command(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start gazepipe as a user does."""
    return subprocess.Popen(
        [sys.executable, "-m", "gazepipe", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRONMENT,
        **options,
    )


@dataclass
class Command:
    """One that was started in a nursery."""

    nursery: Nursery
    pid: int
    errors: Path

    def send(self, signal: int) -> None:
        """Send a signal, if it is not over."""
        self.nursery.ask(["kill", self.pid, signal])

    def wait(self) -> tuple[int, str]:
        """Exit code, negative for a signal, and what it wrote to standard error."""
        return int(self.nursery.ask(["wait", self.pid])), self.errors.read_text()


class Nursery:
    """Forks commands."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ENVIRONMENT,
        )

    def ask(self, what: list[object]) -> Any:
        """One request, one answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments: object) -> Command:
        """Start a command."""
        self.count += 1
        errors = Path(self.folder.name) / str(self.count)
        return Command(self, self.ask(["start", str(errors), *map(str, arguments)]), errors)

    def run(self, *arguments: object) -> tuple[int, str]:
        """Start a command and wait for it."""
        return self.start(*arguments).wait()

    def close(self) -> None:
        """End it."""
        self.process.communicate()
        self.folder.cleanup()


def _serve() -> None:
    import numba
    import pandas
    import scipy.optimize
    import torch

    import gazepipe.cli
    import gazepipe.pipeline
    import gazepipe.predict

    torch.set_num_threads(1)
    assert all((numba, pandas, scipy, gazepipe.pipeline))
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "start":
            sys.stdout.flush()
            answer = os.fork()
            if not answer:
                _child(*arguments)
        elif what == "kill":
            os.kill(*arguments)  # not waited for yet: it is there, if only as a zombie
            answer = 0
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(arguments[0], 0)[1])
        print(json.dumps(answer), flush=True)


def _child(errors: str, *arguments: str) -> None:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    try:
        gazepipe.cli.main(list(arguments), prog_name="gazepipe")
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    finally:
        os._exit(1)


if __name__ == "__main__":
    _serve()
