"""Arrays that may be larger than the memory: where they do not fit, the disk holds them, without a name.

The operating system keeps in memory what is used and lets go of the rest. The file has no name (or none that outlives
the process), so that nothing of it is left, however the program ends.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import OutOfMemoryError

__all__ = ["free_memory", "spacious"]

#: Of the free memory, what one array may take; copies and results need the rest.
SHARE = 0.5
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def free_memory() -> float:
    """Bytes that this process may still take, as Linux tells; infinity elsewhere.

    The lesser of what the machine has left and what the limit of the control group (jobs of a cluster, containers)
    leaves.
    """
    left = [float("inf")]
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                left.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left.append(int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return max(0.0, min(left))


def spacious(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None, what: str) -> npt.NDArray[Any]:
    """Make an array to be filled: in memory, or on the disk of `folder` where it would take over half of what is free.

    Parameters
    ----------
    shape, dtype
        Of the array.
    folder
        Where the file may be; None: nowhere, because what it will hold must not be written down.
    what
        What it will hold, for the message.

    Raises
    ------
    OutOfMemoryError
        If neither has room.
    """
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    why = "a sealed store's maps are never on a disk in the clear" if folder is None else ""
    if folder is not None and size > SHARE * free_memory():
        try:
            return _on_disk(shape, dtype, folder, size)
        except OSError as error:
            why = f"{folder}: {error.strerror}"
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        told = f" ({why})" if why else ""
        msg = f"{what} take {size / 1e9:.1f} GB, more than memory and disk have{told}; make room and run again."
        raise OutOfMemoryError(msg) from None


def _on_disk(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path, size: int) -> npt.NDArray[Any]:
    with tempfile.TemporaryFile(dir=folder, prefix=".maps-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that is full later would end the process
        else:
            file.truncate(size)
        return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)
