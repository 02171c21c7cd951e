"""What one command did, for reports of runs: how long it took, how it ended, with which versions of what."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

__all__ = ["record", "versions"]

_PACKAGES = ("gazepipe", "h5py", "numba", "numpy", "opencv-python-headless", "pandas", "scipy", "snakemake", "torch")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, as far as they are installed."""
    # Not at the top: `gazepipe --help` would wait for it, and so for `email` and `socket`.
    import importlib.metadata
    import platform

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def record(path: Path | None) -> Iterator[None]:
    """Write, when the command ends, what it did; of several processes that torchrun started, the first one does.

    Raises
    ------
    StorageError
        If that cannot be written.
    """
    if path is None or int(os.environ.get("RANK", "0")) > 0:
        yield
        return
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    code, said = 1, ""
    try:
        yield
        code = 0
    except click.exceptions.Exit as end:
        code = end.exit_code
        raise
    except KeyboardInterrupt:
        code, said = 130, "interrupted"
        raise
    except click.ClickException as error:
        code, said = error.exit_code, error.format_message()
        raise
    except Exception as error:
        code, said = getattr(error, "exit_code", 1), str(error) or type(error).__name__
        raise
    finally:
        _write(path, started, time.perf_counter() - clock, code, said)


def _write(path: Path, started: datetime.datetime, seconds: float, code: int, said: str) -> None:
    import platform

    from gazepipe.documents import write_json

    content: dict[str, Any] = {
        "arguments": sys.argv[1:],
        "started": started.isoformat(timespec="milliseconds"),
        "seconds": round(seconds, 3),
        "exit_code": code,
        "error": said,
        "host": platform.node(),
        "versions": versions(),
    }
    write_json(path, content | _resources())


def _resources() -> dict[str, Any]:
    """CPU time of this process and those it waited for, and the most memory that one of them had."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return {
        "cpu_seconds": round(own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime, 3),
        "peak_memory_mb": round(max(own.ru_maxrss, others.ru_maxrss) * unit / 1e6, 1),
    }
