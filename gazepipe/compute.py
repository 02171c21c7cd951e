"""How the networks use this machine: device, threads, memory allocator, number format.

Call `prepare` once, before anything imports torch; the command line does.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from gazepipe.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = ["autocast_dtype", "device", "prepare", "use_threads"]


def prepare() -> None:
    """Set what must be set before torch and OpenCV load; values the user has set stay.

    Waiting OpenMP threads sleep instead of spinning: spinning ones starve each other on shared cores (4 × slower
    measured). glibc keeps freed blocks instead of returning them to the system after each layer, which costs a page
    fault a page (1.5 × slower training measured).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(50_000_000))
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(ctypes.c_int(-3), ctypes.c_int(1 << 30))  # M_MMAP_THRESHOLD
            libc.mallopt(ctypes.c_int(-1), ctypes.c_int(2**31 - 1))  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):
            pass  # another libc: only speed is lost


def use_threads(count: int | None = None) -> int:
    """Tell torch how many threads to use, and return that number.

    Without a count: `GAZEPIPE_THREADS` if set, else the cores that are idle now, at least one.
    """
    import torch

    if count is None:
        count = int(os.environ.get("GAZEPIPE_THREADS", "0")) or _idle_cores()
    torch.set_num_threads(count)
    return count


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _idle_cores() -> int:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, round(cores() - load))


def device(name: str = "auto") -> torch.device:
    """Return the device to run on: the one named, or with ``"auto"`` the GPU where there is one.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(name)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, NotImplementedError):
        msg = f"--device {name}: there is no such device here; expected cpu, cuda (with a GPU of its kind) or auto."
        raise ConfigError(msg) from None
    return where


def autocast_dtype(where: torch.device) -> torch.dtype | None:
    """Return bfloat16 where the hardware multiplies it natively, else None (plain float32).

    ``GAZEPIPE_FLOAT32=1`` asks for float32 everywhere, so that machines with and without differ by rounding alone.
    """
    import torch

    if os.environ.get("GAZEPIPE_FLOAT32", "0") not in ("", "0"):
        return None
    if where.type == "cuda":
        return torch.bfloat16
    native = "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    return torch.bfloat16 if native else None


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""
