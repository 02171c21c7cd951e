"""Runs of the graph of nodes as users start them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gazepipe.dag import folder_of
from gazepipe.study import Study

__all__ = ["LOCAL", "change_the_last_stage", "command", "gazepipe", "planned", "ran", "with_engine"]

with_engine = pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="Snakemake is not installed")
#: Options of a run on this machine.
LOCAL = ("--profile", "local", "--threads", "1")


def command(small: Any, *options: str) -> list[str]:
    return [sys.executable, "-m", "gazepipe", "run", str(small.root), *options]


def gazepipe(small: Any, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(small, *options), env=env, capture_output=True, text=True, timeout=400)


def ran(study: Study) -> dict[str, str]:
    """Node → what it said, of those that ran the last time."""
    nodes = json.loads((folder_of(study) / "report.json").read_text())["nodes"]
    return {n["node"]: n["said"] for n in nodes if n["state"] == "ran"}


def planned(small: Any, *options: str) -> str:
    """What a dry run says; it must leave every file as it is, those of the engine among them, and make no folder."""

    def state() -> dict[Path, tuple[int, bytes]]:
        paths = [small.root, *small.root.rglob("*")]
        return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in paths}

    before = state()
    done = gazepipe(small, *LOCAL, *options, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert state() == before
    return done.stdout


def change_the_last_stage(small: Any) -> None:
    """Change a parameter that evaluate alone depends on."""
    path = small.root / "gazepipe.toml"
    text = path.read_text(encoding="utf-8")
    assert text.count("repetitions = 20") == 1
    path.write_text(text.replace("repetitions = 20", "repetitions = 3"), encoding="utf-8")
