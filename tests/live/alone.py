"""Tests that run in a process with a network of its own, in which there is but the loopback.

Some libraries listen on all of a computer's addresses, which cannot be configured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ALONE = "GAZEPIPE_TEST_ALONE"
with_network_of_its_own = pytest.mark.skipif(_ALONE not in os.environ, reason="run in a network of its own")


def run_alone(file: Path, words: str, tests: int) -> None:
    """Run the tests of a file that are marked so and whose names have `words`; skip where the system cannot."""
    apart = ["unshare", "--map-root-user", "--net"]
    try:
        able = subprocess.run([*apart, "true"], capture_output=True).returncode == 0
    except OSError:
        able = False
    if not able:
        pytest.skip("this system gives no network of its own to a process (unshare)")
    command = [*apart, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{words} and not network"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {_ALONE: "1"}
    root = Path(__file__).parents[2]
    run = subprocess.run([*command, str(file)], cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{tests} passed" in run.stdout


def bring_up_loopback() -> None:
    """The network's only interface, which begins switched off."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sh14x", b"lo", 0x1041))  # SIOCSIFFLAGS: up, running, multicast
