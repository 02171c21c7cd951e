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
    folder_of(study).mkdir(parents=True, exist_ok=True)
    with (folder_of(study) / ".lock").open("ab") as file:
        yield file.fileno() if _locked(study, file.fileno()) else None


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
            _locked(study, stack.enter_context((kept / ".lock").open("rb")).fileno(), shared=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gazepipe-"))) / FOLDER
        if kept.is_dir():
            shutil.copytree(kept, folder, ignore=shutil.ignore_patterns("log", ".lock", "locks"))
        there = Path(os.path.normpath(folder / manifest_from(study)))
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(study.store.resolve() / "manifest", target_is_directory=True)
        yield folder


def _locked(study: Study, file: int, *, shared: bool = False) -> bool:
    """Lock an open file, alone or shared with others who look; False where the system or the disk has no such locks.

    Raises
    ------
    LockedError
        If a run holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        msg = f"{folder_of(study)}: another `gazepipe run` is going on there; wait for it to end and run again."
        raise LockedError(msg) from None
    except OSError:
        return False
    return True
