"""Snakemake in a child process: what it is told, and what its end means."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gazepipe
from gazepipe import compute
from gazepipe.config import CONFIG_NAME
from gazepipe.dag import manifest_from, node_names
from gazepipe.dag.child import GRACE_S
from gazepipe.dag.report import NodeRun, run_of
from gazepipe.documents import write_json
from gazepipe.errors import ConfigError, GazepipeError, LockedError
from gazepipe.study import Study

__all__ = [
    "Order",
    "Request",
    "check_engine",
    "graph",
    "html_report",
    "order",
    "planned",
    "run_nodes",
    "unlock",
]

PROFILES = ("local", "slurm")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line.

    Parameters
    ----------
    folder, config, to
        As given; together they say where the study is.
    profile
        ``"local"``, ``"slurm"``, or the folder of a profile.
    shards, images
        Parts of ingest and build-psm; test images that maps are drawn of.
    jobs, threads
        Processes of an ingest node, threads of networks; None: what the profile has.
    device, gpus
        Of the networks; more than one GPU is for the training.
    """

    folder: Path | None
    config: Path | None
    to: Path | None
    profile: str
    shards: int = 1
    images: int = 1
    jobs: int | None = None
    threads: int | None = None
    device: str = "auto"
    gpus: int | None = None


@dataclass(slots=True)
class Order:
    """How the engine is called: its `folder`, options in `base`, the file of `hold.held` that it keeps locked."""

    study: Study
    request: Request
    folder: Path
    base: list[str] = field(default_factory=list)
    lock: int | None = None


def check_engine(profile: str) -> Path:
    """Return the folder of a profile, if everything it needs is installed.

    Raises
    ------
    ConfigError
        If it is not, or there is no such profile.
    """
    needed = ["snakemake", *(["snakemake_executor_plugin_slurm"] if profile == "slurm" else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        name = missing[0].replace("_", "-")
        msg = (
            f"--profile {profile} needs {name}, which is not installed; run pip install 'gazepipe[cluster]', or leave "
        )
        raise ConfigError(msg + "--profile out to run all stages in one process.")
    folder = pipelines() / "profiles" / profile if profile in PROFILES else Path(profile).resolve()
    if not folder.is_dir() or not list(folder.glob("config*.yaml")):
        msg = f"--profile {profile}: no such profile; expected local, slurm or a folder with a config.yaml."
        raise ConfigError(msg)
    return folder


def check_cluster(profile: str) -> None:
    """Refuse a profile for SLURM where nothing takes its jobs, which the engine would find out node by node.

    Raises
    ------
    ConfigError
        If there is no `sbatch`.
    """
    texts = [path.read_text(encoding="utf-8") for path in check_engine(profile).glob("config*.yaml")]
    if any(re.search(r"^executor:\s*[\"']?slurm\b", text, re.M) for text in texts) and shutil.which("sbatch") is None:
        msg = f"--profile {profile}: there is no `sbatch` on this computer; expected one that sends jobs to SLURM. "
        raise ConfigError(msg + "Run it on the cluster's login node, or take --profile local.")


def pipelines() -> Path:
    """Folder of the Snakefile: in the package where it is installed, beside it in a checkout."""
    package = Path(gazepipe.__file__).resolve().parent
    inside = package / "_pipelines"
    return inside if inside.is_dir() else package.parent / "pipelines"


def order(study: Study, request: Request, folder: Path, lock: int | None = None) -> Order:
    """Write the settings that the Snakefile reads, and put the call together.

    With the `lock` of `hold.held`, a lock of Snakemake's is one that a killed engine left, and is taken off. The engine
    works in `folder`.
    """
    profile = check_engine(request.profile)
    options = _study_options(study, request)
    where = [] if request.folder is None else [str(request.folder.resolve())]
    settings = {
        "python": sys.executable,
        "study": where + options,
        "study_option": (["--study", *where] if where else []) + options,
        "network": ["--device", request.device],
        "ingest": not study.manifest("import"),
        "shards": request.shards,
        "images": request.images,
        "jobs": request.jobs or 0,
        "threads": request.threads or 0,
        "cores": _cores(profile),
        "manifest": manifest_from(study),
    }
    write_json(folder / "run.json", settings)
    base = ["--snakefile", str(pipelines() / "Snakefile"), "--directory"]
    base += [str(folder), "--profile", str(profile), "--rerun-incomplete", "--rerun-triggers", "mtime", "input"]
    if request.gpus is not None:
        base += ["--set-resources", f"train:gpu={request.gpus}"]
    call = Order(study, request, folder, base, lock)
    if lock is not None and any((folder / ".snakemake" / "locks").glob("*.lock")):
        unlock(call)
    return call


def _cores(profile: Path) -> int:
    """Cores of this machine if a profile runs nodes on it."""
    lines = [line for path in profile.glob("config*.yaml") for line in path.read_text(encoding="utf-8").splitlines()]
    executors = {line.split(":", 1)[1].split("#")[0].strip(" '\"") for line in lines if line.startswith("executor:")}
    if executors - {"local"}:
        return 1
    return compute.cores()


def _study_options(study: Study, request: Request) -> list[str]:
    """Absolute, because jobs run in another folder."""
    config = request.config
    if config is None and (request.folder is None or not (request.folder / CONFIG_NAME).is_file()):
        config = Path(CONFIG_NAME)
    found = [] if config is None else ["--config", str(config.resolve())]
    return [*found, "--store", str(study.store.resolve())]


def _captured(call: Order, *options: str) -> str:
    line = [sys.executable, "-m", "snakemake", *call.base, *options]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise _told(call, done.stderr)
    return done.stdout


def _told(call: Order, said: str) -> GazepipeError:
    """Return the error for an engine that stopped and no node is to blame."""
    if "cannot be locked" in said or "LockException" in said:
        msg = (
            f"{call.folder}: locked by a run that is still going on or was killed; wait for it to end, or, "
            "if there is none, give --unlock."
        )
        return LockedError(msg)
    lines = [line for line in said.splitlines() if line.strip()]
    msg = f"Snakemake stopped: {lines[-1].strip() if lines else 'it said nothing'}"
    return GazepipeError(f"{msg} (see {_log(call)}).")


def _log(call: Order) -> Path:
    return call.folder / "log" / "snakemake.log"


def unlock(call: Order) -> None:
    """Remove the lock that a killed run left."""
    _captured(call, "--unlock")


def graph(call: Order) -> str:
    """Return the graph of nodes in the language of Graphviz; nodes that are up to date are dashed."""
    return _captured(call, "--dag", "dot")


def planned(call: Order) -> list[str]:
    """Return the nodes that would run."""
    _captured(call, "--dry-run", "--quiet", "rules")  # tells of what is wrong, which a summary does not
    listing = _captured(call, "--summary").splitlines()
    head, rows = listing[0].split("\t"), [line.split("\t") for line in listing[1:]]
    file, plan = head.index("output_file"), head.index("plan")
    waiting = {Path(row[file]).stem for row in rows if row[file].startswith("done/") and row[plan] == "update pending"}
    request = call.request
    return [n for n in node_names(call.study, request.shards, request.images) if n in waiting]


def html_report(call: Order, to: Path) -> None:
    """Write Snakemake's own report."""
    if importlib.util.find_spec("pygments") is None:
        msg = "--report needs pygments; run pip install 'gazepipe[cluster]'."
        raise ConfigError(msg)
    to.parent.mkdir(parents=True, exist_ok=True)
    _captured(call, "--report", str(to.resolve()))


def run_nodes(call: Order, show: Callable[[NodeRun], None]) -> list[NodeRun]:
    """Run everything that is not up to date and tell of each node as it ends.

    Raises
    ------
    LockedError
        If another run holds the graph, or was killed.
    GazepipeError
        If the engine stops and no node is to blame.
    """
    started, seen = time.time(), set[str]()
    request = call.request
    names = node_names(call.study, request.shards, request.images)
    _log(call).parent.mkdir(parents=True, exist_ok=True)
    with _log(call).open("w", encoding="utf-8") as log, _engine(call, log) as engine:
        while True:
            ended = engine.poll() is not None
            for node in names:
                if node not in seen and (done := run_of(call.folder, node, started)):
                    seen.add(node)
                    show(done)
            if ended:
                break
            time.sleep(0.2)
    runs = [run_of(call.folder, node, started) or NodeRun(node, "up to date") for node in names]
    if engine.returncode and not any(r.state == "failed" for r in runs):
        raise _told(call, _log(call).read_text(encoding="utf-8", errors="replace"))
    if engine.returncode:
        complete = call.folder / "done"
        runs = [NodeRun(r.node, "not reached") if _waits(r, complete) else r for r in runs]
    return runs


def _waits(run: NodeRun, complete: Path) -> bool:
    return run.state == "up to date" and not (complete / f"{run.node}.json").is_file()


@contextlib.contextmanager
def _engine(call: Order, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The engine and its jobs, all in a process group of their own, which is ended with us.

    A terminal's Ctrl-C reaches us alone; the engine gets it from us, and with it the jobs, which it would wait for.
    """
    ours, theirs = os.pipe()
    line = [sys.executable, "-m", "gazepipe.dag.child", str(ours), *call.base]
    kept = [ours] if call.lock is None else [ours, call.lock]
    try:
        with _interruptible():
            child = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, pass_fds=kept, start_new_session=True)
    except BaseException:
        os.close(theirs)
        raise
    finally:
        os.close(ours)
    try:
        yield child
    finally:
        try:
            if child.poll() is None:
                _end(child)
        finally:
            os.close(theirs)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Children that start in here take SIGINT, also where a shell that put us in the background had us ignore it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(engine: subprocess.Popen[bytes]) -> None:
    """Interrupt the engine and its jobs, wait until all are over, and kill what is left after `GRACE_S` seconds.

    On an interrupt the engine cancels jobs of a cluster, too, and gives its lock back. Who interrupts us again does not
    want to wait.
    """
    group = engine.pid
    try:
        os.killpg(group, signal.SIGINT)
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end and (engine.poll() is None or _running(group)):
            time.sleep(0.1)
    finally:
        while engine.poll() is None or _running(group):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            time.sleep(0.1)


def _running(group: int) -> bool:
    """Whether a process group has a process that is not over; dead ones may wait long for a parent that is not us."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stats = Path("/proc").glob("[0-9]*/stat")
    states = [fields[0] for fields in map(_fields, stats) if len(fields) > 2 and fields[2] == str(group)]
    return not states or any(state not in "ZX" for state in states)  # no /proc: believe the signal


def _fields(stat: Path) -> list[str]:
    """State, parent, group … of a process: what stands behind its name in Linux's description of it."""
    try:
        return stat.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
