"""The engine's process: Snakemake, and a thread that ends it and its jobs when the run that started it is gone.

Started by `gazepipe.dag.engine` as the leader of a process group, with the number of a pipe's end as first argument.
The run holds the other end. The operating system closes that with the run, however the run ended; then nobody is there
who would wait for the jobs, tell of them or give the lock back.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from typing import Any

__all__ = ["GRACE_S", "main"]

#: Seconds that jobs have to end in order before they are killed; clusters give about thirty themselves.
GRACE_S = 20.0


def main() -> None:
    """Run Snakemake with the arguments that are left."""
    pipe = int(sys.argv.pop(1))
    threading.Thread(target=_go_with_the_run, args=(pipe,), daemon=True).start()
    snakemake: Any = importlib.import_module("snakemake.cli")
    snakemake.main()


def _go_with_the_run(pipe: int) -> None:
    while os.read(pipe, 1):
        pass  # nothing is ever written
    # As Ctrl-C at a terminal: Snakemake cancels jobs of a cluster, and jobs here get it themselves.
    os.killpg(0, signal.SIGINT)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
