"""Where compiled kernels are kept, if numba would find no place for them.

numba keeps what it compiled beside the source, else in the user's cache folder. Where neither can be written (a
container that is read-only and whose user has no home) it does not compile at all, and no recording could be read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["choose_kernel_cache"]

_VARIABLE = "NUMBA_CACHE_DIR"


def choose_kernel_cache() -> None:
    """Name a folder of this user's own among the temporary ones, if neither of numba's own places can be written."""
    if os.environ.get(_VARIABLE) or any(map(_can_be_written, _usual())):
        return
    folder = _private()
    os.environ[_VARIABLE] = folder
    if "numba" in sys.modules:  # which has read its variables
        sys.modules["numba"].config.CACHE_DIR = folder


def _usual() -> list[Path]:
    package = Path(__file__).parent
    home = Path(os.path.expanduser("~"))
    caches = {
        "win32": Path(os.environ.get("LOCALAPPDATA", "")),
        "darwin": home / "Library" / "Caches",
        "linux": Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache"),
    }
    return [package / "__pycache__", caches.get(sys.platform, caches["linux"]) / "numba"]


def _can_be_written(folder: Path) -> bool:
    """Whether a folder is there and can be written to, or can be made."""
    there = next((f for f in (folder, *folder.parents) if f.is_dir()), folder)
    return os.access(there, os.W_OK | os.X_OK)


def _private() -> str:
    """Return a folder that nobody else can put anything into: what is found in it is run."""
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = os.path.join(tempfile.gettempdir(), f"gazepipe-kernels-{user}")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        if found.st_uid != user or found.st_mode & 0o170077 != 0o040000:
            return tempfile.mkdtemp(prefix="gazepipe-kernels-")
    return folder
