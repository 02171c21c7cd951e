"""gazepipe as a process of its own, to be killed.

Most of the time of such a process goes into imports. A `Nursery` is a process that has done them and forks one for each
command, so that kills fall into the work and there can be many.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gazepipe

__all__ = ["Command", "Nursery", "command", "drop_privileges"]

ENVIRONMENT = {"PYTHONPATH": str(Path(gazepipe.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def drop_privileges() -> None:
    """Be a user like any other, who may not read and write whatever there is: the super-user without capabilities."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        no_root = libc.prctl(28, 1, 0, 0, 0)  # PR_SET_SECUREBITS, SECBIT_NOROOT: nor get them back with a new program
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        if no_root or libc.capset(header, (ctypes.c_uint32 * 6)()):
            raise OSError(ctypes.get_errno(), "capset")


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

    def send(self, signal: int) -> None:
        """Send a signal, if it is not over."""
        self.nursery.ask(["kill", self.pid, signal])

    def wait(self) -> tuple[int, str]:
        """Exit code, negative for a signal, and what it wrote to standard error."""
        code, errors = self.nursery.ask(["wait", self.pid])
        return int(code), str(errors)


class Nursery:
    """Forks commands."""

    def __init__(self) -> None:
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

    def start(self, *arguments: object, **limits: int | str) -> Command:
        """Start a command, with limits of the system on it: ``fsize=1000`` is RLIMIT_FSIZE, in bytes.

        ``grow=1000`` lets it take so many bytes more memory than it begins with, ``plain=1`` takes from the super-user
        what other users have not, and a name in capitals is a variable of its environment.
        """
        return Command(self, self.ask(["start", limits, *map(str, arguments)]))

    def run(self, *arguments: object, **limits: int | str) -> tuple[int, str]:
        """Start a command and wait for it."""
        return self.start(*arguments, **limits).wait()

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def _serve() -> None:
    import numba
    import pandas
    import scipy.optimize
    import torch
    import torch._dynamo  # which every optimiser imports

    import gazepipe.cli
    import gazepipe.pipeline
    import gazepipe.predict

    torch.set_num_threads(1)
    assert all((numba, pandas, scipy, gazepipe.pipeline))
    _warm()
    pipes: dict[int, int] = {}
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        if what == "start":
            sys.stdout.flush()
            # Not a file, which limits would hold for, too.
            ours, theirs = os.pipe()
            answer = os.fork()
            if not answer:
                _child(theirs, *arguments)
            os.close(theirs)
            pipes[answer] = ours
        elif what == "kill":
            os.kill(*arguments)  # not waited for yet: it is there, if only as a zombie
            answer = 0
        else:
            with open(pipes.pop(arguments[0]), "rb") as pipe:
                errors = pipe.read().decode(errors="replace")
            answer = [os.waitstatus_to_exitcode(os.waitpid(arguments[0], 0)[1]), errors]
        print(json.dumps(answer), flush=True)


def _warm() -> None:
    """Load compiled kernels, which takes longer than reading the recordings of the tests."""
    from gazepipe.ingest import ingest
    from gazepipe.simulate import simulate_study

    with tempfile.TemporaryDirectory() as folder:
        simulate_study(Path(folder), users=1, images=1, rate_hz=125, seconds=1, seed=0)
        ingest(gazepipe.pipeline.Study.open(Path(folder)), jobs=1)


def _child(errors: int, limits: dict[str, Any], *arguments: str) -> None:
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.closerange(3, 256)
    os.environ.update({name: value for name, value in limits.items() if name.isupper()})
    tempfile.tempdir = None
    if limits.pop("plain", 0):
        drop_privileges()
    if grow := limits.pop("grow", 0):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits["as"] = now + grow
    for name, value in limits.items():
        if not name.isupper():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
    try:
        gazepipe.cli.main(list(arguments), prog_name="gazepipe")
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


if __name__ == "__main__":
    _serve()
