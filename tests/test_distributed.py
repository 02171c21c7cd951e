"""Two processes on one study: the course of training is that of one process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from gazepipe.cli import main
from gazepipe.models import load_model
from gazepipe.study import Study

NETWORKS = {"embedding": "d_prime", "refiner": "cc", "universal": "validation_kld"}


def gloo_reason() -> str | None:
    """Why two processes cannot talk here; None where they can."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_gloo_available()):
        return "this torch has no gloo"
    try:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
    except OSError as error:
        return f"no port on the loopback: {error}"
    return None


def train(arguments: list[str], processes: int) -> str:
    """Train in so many processes, in this one if it is one; return what was said to standard output."""
    command = ["train", *arguments, "--threads", "1", "--device", "cpu"]
    if processes == 1:
        alone = CliRunner().invoke(main, command)
        assert alone.exit_code == 0, alone.output
        return alone.stdout
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    together = [*run, "-m", "gazepipe", *command]
    done = subprocess.run(together, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_train_like_one(tiny_networks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEPIPE_FLOAT32", "1")  # two orders of sums differ by more in bfloat16
    reason = gloo_reason()
    if reason:
        pytest.skip(reason)
    study: Study = tiny_networks.open()
    found, said = {}, {}
    for processes in (1, 2):
        to = tmp_path / str(processes)
        shutil.copytree(study.store, to)
        said[processes] = train([str(tiny_networks.root), "--store", str(to)], processes)
        found[processes] = Study.open(tiny_networks.root, to=to)
    assert said[2].count("train: embedding trained") == 1  # the first process alone speaks
    for name, measure in NETWORKS.items():
        one, two = (load_model(found[k], name).info for k in (1, 2))
        assert len(one["history"]) == len(two["history"]) >= 6
        for a, b in zip(one["history"], two["history"], strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=2e-3, abs=1e-5), name
            assert b[measure] == pytest.approx(a[measure], rel=5e-3, abs=2e-3), name
        weights = [load_file(found[k].model_file(name)) for k in (1, 2)]
        for key, value in weights[0].items():
            torch.testing.assert_close(weights[1][key], value, rtol=1e-2, atol=2e-3)
    # What two processes left is up to date for one.
    assert "up to date" in train([str(tiny_networks.root), "--store", str(tmp_path / "2")], 1)
