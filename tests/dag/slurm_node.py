"""A SLURM of one node on this machine, of the system's own programs, in a temporary folder and on free ports.

It needs no root and changes nothing outside its folder. Snakemake's plugin takes SLURM_* out of the environment, so the
way to the configuration is in wrappers of the client programs, which stand first on the PATH.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CLIENTS = ("sbatch", "squeue", "scancel", "srun", "sinfo", "scontrol")
DAEMONS = ("munged", "slurmctld", "slurmd")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmctldParameters=enable_configless
InactiveLimit=0
KillWait=5
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no SLURM here; None if there can."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    absent = [name for name in (*CLIENTS, *DAEMONS) if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurmctld slurmd munge)" if absent else None


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Start everything, yield the environment in which `sbatch` is its, and end everything.

    Raises
    ------
    RuntimeError
        If it does not start; the last lines of the logs say why.
    """
    # A short path, because names of sockets may not be long.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name, contextlib.ExitStack() as children:
        folder = Path(name)
        folder.chmod(0o755)
        environment = _write(folder)
        _start(children, folder, environment)
        yield environment


def _write(folder: Path) -> dict[str, str]:
    for part in ("state", "spool", "bin"):
        (folder / part).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    controller, node = _free_ports(2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    values = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "folder": folder}
    values |= {"controller": controller, "node": node, "cpus": os.cpu_count() or 1, "memory": memory * 9 // 10}
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(**values))
    for client in CLIENTS:
        wrapper = folder / "bin" / client
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which(client)} "$@"\n')
        wrapper.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin"
    return os.environ | {"PATH": path}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _start(children: contextlib.ExitStack, folder: Path, environment: dict[str, str]) -> None:
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key"]
    munged += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    conf = str(folder / "slurm.conf")
    commands = (munged, ["slurmctld", "-D", "-f", conf], ["slurmd", "-D", "-f", conf])
    for command, ready in zip(commands, (folder / "munge.socket", None, None), strict=True):
        log = children.enter_context((folder / f"{command[0]}.out").open("wb"))
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        children.callback(_end, child)
        _until(lambda: ready is None or ready.exists(), folder, child)  # noqa: B023 (called at once)
    _until(lambda: "idle" in _said(["sinfo", "-h", "-o", "%T"], environment), folder, child)


def _said(command: list[str], environment: dict[str, str]) -> str:
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20).stdout
    except subprocess.TimeoutExpired:
        return ""


def _until(ready: object, folder: Path, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while not ready():  # type: ignore[operator]
        if time.monotonic() > end or child.poll() is not None:
            logs = [p.read_text(errors="replace").splitlines()[-4:] for p in sorted(folder.glob("*.[lo][ou][gt]"))]
            msg = f"SLURM did not start: {[line for lines in logs for line in lines]}"
            raise RuntimeError(msg)
        time.sleep(0.2)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def jobs(environment: dict[str, str]) -> list[str]:
    """States of all jobs that there were."""
    return _said(["squeue", "-h", "-t", "all", "-o", "%T"], environment).split()
