"""Of a graph that has run, what changed is done again, and nothing else."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from graph import LOCAL, change_the_last_stage, gazepipe, planned, ran, with_engine

from gazepipe import store
from gazepipe.dag import node_names
from gazepipe.enrol import load_gallery
from gazepipe.pipeline import run


@pytest.mark.slow
@with_engine
def test_what_changed_is_done_again_and_nothing_else(tiny_networks: Any) -> None:
    small = tiny_networks
    study = small.open()
    bad = small.root / "rec" / "bad.csv"
    bad.write_text("time_ms\n")
    run(study, threads=1)
    made = {p: p.stat().st_mtime_ns for pattern in ("[rp]*/*.h5", "models/*") for p in study.store.glob(pattern)}
    # What one process made is taken over.
    assert gazepipe(small, *LOCAL, "--shards", "2").returncode == 3
    assert list(ran(study)) == node_names(study, 2, 1)
    assert {p: p.stat().st_mtime_ns for p in made} == made
    # A recording changed, two removed: exactly what depends on them.
    bad.unlink()
    (small.root / "rec" / "u7.csv").unlink()
    shutil.copy(small.root / "rec" / "u5.csv", small.root / "rec" / "u6.csv")
    before = {p: p.stat().st_mtime_ns for p in study.store.glob("[rp]*/*.h5")}
    done = gazepipe(small, *LOCAL, "--shards", "2")
    assert done.returncode == 0, done.stderr
    after = {p: p.stat().st_mtime_ns for p in study.store.glob("[rp]*/*.h5")}
    assert {p.stem for p in before if before[p] != after.get(p)} == {"u6", "u7"}
    assert not any(p.stem == "u7" for p in after)
    assert "u7" not in json.loads(str(store.load(study.usm_file, "gazepipe.usm").attrs["users"]))
    assert [p.user for p in load_gallery(study).people] == [f"u{k}" for k in range(7)]
    assert {p.name for p in (study.store / "predictions").iterdir()} == {f"u{k}" for k in range(7)} | {"summary.json"}
    # A parameter of the last stage.
    change_the_last_stage(small)
    assert "1 nodes would run: evaluate." in planned(small, "--shards", "2")
    assert gazepipe(small, *LOCAL, "--shards", "2").returncode == 0
    assert list(ran(study)) == ["evaluate"]
    # Another number of shards, and a file lost behind the engine's back: nodes start, and make what is missing.
    study.psm_file("u1").unlink()
    assert gazepipe(small, *LOCAL, "--shards", "3").returncode == 0
    said = ran(study)
    assert said["ingest"].startswith("0 written, 7 up to date")
    assert said["build-psm"].startswith("1 written, 6 up to date")
    assert study.psm_file("u1").is_file()
