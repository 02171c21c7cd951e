"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from gazepipe.errors import StorageError

__all__ = ["make_folder", "remove", "write_atomically"]


#: What the system says, in words, and what to do.
_REASONS = {
    errno.ENOSPC: ("the disk is full", "Make room"),
    errno.EFBIG: ("the file would be larger than this system or user may write", "Make room"),
    errno.EDQUOT: ("the disk quota is used up", "Make room"),
    errno.EROFS: ("the disk is read-only", "Choose a folder that can be written"),
    errno.EACCES: ("no permission to write there", "Let this user write there, or choose another folder,"),
    errno.EPERM: ("no permission to write there", "Let this user write there, or choose another folder,"),
    errno.ENAMETOOLONG: ("the path is too long for this system", "Choose a folder with a shorter path"),
}


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name beside `path`, sync it, and move it into place.

    Raises
    ------
    StorageError
        If any step fails; the temporary file is removed and what was at `path` stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        make_folder(path.parent)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:  # Ctrl-C, too, leaves nothing behind
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        reason, remedy = _REASONS.get(error.errno or 0, (str(error.strerror or error), "Make room"))
        msg = f"{path}: could not be written, {reason}; nothing stored before was changed. {remedy} and run again."
        raise StorageError(msg) from error


def remove(path: Path, *, then: str = "run again") -> None:
    """Delete a file, or a folder with all that is in it, if it is there.

    `then` is what to do once it can be deleted.

    Raises
    ------
    StorageError
        If that fails; the file stays.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path}: could not be deleted ({error.strerror or error}). Let this user write there, and {then}."
        raise StorageError(msg) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; what is written into it is only safe when it is itself."""
    made = [f for f in (folder, *folder.parents) if not f.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for new in reversed(made):
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; folders cannot be opened for that on Windows."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
