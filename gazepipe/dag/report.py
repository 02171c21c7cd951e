"""What a run of the graph did: which nodes ran, how long each took, what failed, with which versions."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gazepipe.atomic import write_atomically
from gazepipe.documents import read_json, write_json
from gazepipe.errors import StoreError
from gazepipe.record import versions
from gazepipe.study import Failure

__all__ = ["GraphReport", "NodeRun", "run_of"]


@dataclass(frozen=True, slots=True)
class NodeRun:
    """One node in one run.

    `state` is ``ran``, ``failed``, ``up to date`` or ``not reached``; `said` its summary or its error.
    """

    node: str
    state: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    exit_code: int = 0
    host: str = ""
    said: str = ""

    def line(self) -> str:
        """Return it as one line."""
        return f"{self.node:<20} {self.seconds:7.1f} s  {self.said if self.state == 'ran' else self.state}"


def run_of(folder: Path, node: str, since: float) -> NodeRun | None:
    """Read what a node did since a time; None if it has not ended since."""
    try:
        done = read_json(folder / "log" / f"{node}.json", "")
        started = datetime.datetime.fromisoformat(done["started"]).timestamp()
    except (OSError, StoreError, KeyError, ValueError):
        return None
    if started < since - 1:  # clocks of machines differ a little
        return None
    code = int(done["exit_code"])
    figures = {k: done.get(k, 0.0) for k in ("seconds", "cpu_seconds", "peak_memory_mb")}
    said = str(done["error"]) or _summary(folder / "log" / f"{node}.log", node)
    state = "ran" if code in (0, 3) else "failed"
    return NodeRun(node, state, exit_code=code, host=str(done["host"]), said=said, **figures)


def _summary(log: Path, node: str) -> str:
    """The last line of a log in which the stage tells what it did."""
    stage = node.split("-of-")[0].rstrip("-0123456789")
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.removeprefix(f"{stage}: ") for line in lines if line.startswith(f"{stage}: ")]
    return told[-1] if told else ""


@dataclass(slots=True)
class GraphReport:
    """A run as it is kept: `report.json` and `report.md` in the engine's folder."""

    profile: str
    shards: int
    started: str
    seconds: float
    nodes: list[NodeRun]
    failures: list[Failure] = field(default_factory=list)

    @property
    def failed(self) -> list[NodeRun]:
        """Nodes that ended with an error."""
        return [n for n in self.nodes if n.state == "failed"]

    def write(self, folder: Path) -> None:
        """Write both files."""
        write_json(folder / "report.json", {**asdict(self), "versions": versions()})
        write_atomically(folder / "report.md", self.markdown().encode())

    def markdown(self) -> str:
        """Return it as a page."""
        lines = [
            f"# Run of {self.started}",
            "",
            f"Profile {self.profile}, {self.shards} shards, {self.seconds:.1f} s.",
            "",
            "| node | state | s | CPU s | MB | host | what it said |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for n in self.nodes:
            figures = f"{n.seconds:.1f} | {n.cpu_seconds:.1f} | {n.peak_memory_mb:.0f}" if n.host else " | | "
            lines.append(f"| {n.node} | {n.state} | {figures} | {n.host} | {_cell(n.said)} |")
        lines += ["", f"## Inputs not used, or not fully: {len(self.failures)}", ""]
        lines += [f"* {f.stage}: {_cell(f.message)}" for f in self.failures]
        lines += ["", "## Versions", "", ", ".join(f"{k} {v}" for k, v in versions().items())]
        return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
