"""A run of the graph leaves what one process leaves, on this machine and on a SLURM of one node."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import slurm_node
from graph import LOCAL, change_the_last_stage, gazepipe, planned, ran, with_engine

from gazepipe import store
from gazepipe.dag import folder_of, node_names
from gazepipe.dag.engine import check_engine
from gazepipe.enrol import load_gallery
from gazepipe.pipeline import run


@pytest.mark.slow
@with_engine
def test_runs_on_one_machine(tiny_networks: Any, tmp_path: Path) -> None:
    small = tiny_networks
    study = small.open()
    shutil.rmtree(study.store)
    (small.root / "rec" / "bad.csv").write_text("time_ms\n")
    assert planned(small, "--shards", "2").startswith("run: 10 nodes would run: ingest-1-of-2, ")
    # The first run: everything, with an input that cannot be used, as one process leaves it.
    first = gazepipe(small, *LOCAL, "--shards", "2")
    assert first.returncode == 3, first.stderr
    assert "bad.csv" in first.stderr
    assert list(ran(study)) == node_names(study, 2, 1)
    whole = small.open(to=tmp_path / "whole")
    run(whole, threads=1)
    kept = ["usm.h5", "stimuli.h5", "gallery.h5", "evaluation.md", "recordings/u3.h5", "psm/u3.h5", "failures.jsonl"]
    for name in kept:
        assert (study.store / name).read_bytes() == (whole.store / name).read_bytes(), name
    assert "# Run of" in (folder_of(study) / "report.md").read_text()
    # Nothing changed.
    assert gazepipe(small, *LOCAL, "--shards", "2").returncode == 3
    assert ran(study) == {}
    # A node that fails: its sentence, and its exit code.
    change_the_last_stage(small)
    with store.lock(study.store):
        refused = gazepipe(small, *LOCAL, "--shards", "2")
    assert refused.returncode == 6
    assert "another gazepipe run is writing there" in refused.stderr


@pytest.mark.slow
@with_engine
def test_runs_on_slurm(tiny_networks: Any, tmp_path: Path) -> None:
    reason = slurm_node.missing()
    if reason or importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip(reason or "snakemake-executor-plugin-slurm is not installed")
    study = tiny_networks.open()
    shutil.rmtree(study.store)
    profile = shutil.copytree(check_engine("slurm"), tmp_path / "profile")
    text = (profile / "config.yaml").read_text().replace("mem_mb: 2000", "mem_mb: 1000")
    text += "slurm-init-seconds-before-status-checks: 1\nseconds-between-status-checks: 2\nset-threads:\n  train: 2\n"
    (profile / "config.yaml").write_text(text)
    try:
        with slurm_node.running() as environment:
            done = gazepipe(tiny_networks, "--profile", str(profile), "--shards", "2", env=environment)
            jobs = slurm_node.jobs(environment)
    except RuntimeError as error:
        pytest.skip(str(error))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(ran(study)) == node_names(study, 2, 1)
    assert jobs == ["COMPLETED"] * len(node_names(study, 2, 1))
    assert len(load_gallery(study).people) == 8
    arguments = json.loads((folder_of(study) / "log" / "train.json").read_text())["arguments"]
    assert arguments[-2:] == ["--threads", "2"]  # the profile's, not all cores that the job sees
