"""Limits of a process that reads what somebody else made: memory, no files to write, no network."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["MEMORY_BYTES", "confine"]

#: What a process may take beyond what it has when it is confined.
MEMORY_BYTES = 4 << 30

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER and CLONE_NEWNET of Linux


def confine() -> None:
    """Confine this process for good; it must have one thread.

    It may take `MEMORY_BYTES` more, write no file longer than nothing and dump no core. On Linux it also loses the
    network, where the system lets users have name spaces. Windows has no such limits.
    """
    try:
        import resource
    except ImportError:
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NETWORK)
    with suppress(OSError, ValueError):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES,) * 2)
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(what, (0, 0))
