"""Who may work in the engine's folder: one run alone, or any number that only plan, on copies of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gazepipe.dag import FOLDER, folder_of, manifest_from
from gazepipe.errors import LockedError
from gazepipe.study import Study

__all__ = ["aside", "held"]


@contextlib.contextmanager
def held(study: Study) -> Iterator[int | None]:
    """Hold the graph of a study: nobody else runs it, or changes what its nodes depend on.

    The engine gets the open file, too, so that the graph is free only when the engine is over, even if the run that
    started it was killed. The operating system drops the lock then; nothing is left to clean up.

    Yields
    ------
    int or None
        The open file's number; None where the system or the disk has no such locks, and Snakemake's own has to do.

    Raises
    ------
    LockedError
        If another run holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    folder_of(study).mkdir(parents=True, exist_ok=True)
    with (folder_of(study) / ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise _going_on(study) from None
        except OSError:
            locked = False
        yield file.fileno() if locked else None


@contextlib.contextmanager
def aside(study: Study) -> Iterator[Path]:
    """Copy what the engine has of a study into a temporary folder, to plan in: the study stays as it is.

    Yields
    ------
    pathlib.Path
        The copy, with the times of change that the engine goes by.

    Raises
    ------
    LockedError
        If a run holds the graph, whose files would change meanwhile.
    """
    kept = folder_of(study)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            _look_at_lock(study, stack.enter_context((kept / ".lock").open("rb")).fileno())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gazepipe-"))) / FOLDER
        if kept.is_dir():
            shutil.copytree(kept, folder, ignore=shutil.ignore_patterns("log", ".lock", "locks"))
        there = Path(os.path.normpath(folder / manifest_from(study)))
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(study.store.resolve() / "manifest", target_is_directory=True)
        yield folder


def _look_at_lock(study: Study, file: int) -> None:
    """Share the lock of `held` with others who look; a run that holds it alone keeps all of them out."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _going_on(study) from None
    except OSError:  # a disk without such locks
        return


def _going_on(study: Study) -> LockedError:
    return LockedError(
        f"{folder_of(study)}: another `gazepipe run` is going on there; wait for it to end and run again."
    )
