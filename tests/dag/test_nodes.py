"""Nodes of the graph: what each depends on, their order, the profiles that run them, and how they are drawn."""

from __future__ import annotations

import importlib.util
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from graph import with_engine

from gazepipe import build, descriptors, enrol, evaluate, ingest, predicted, profile, train
from gazepipe.dag import folder_of, node_names
from gazepipe.dag.engine import check_cluster, check_engine
from gazepipe.dag.inputs import write_inputs
from gazepipe.dag.picture import parse, write_picture
from gazepipe.errors import ConfigError


@pytest.fixture
def four(small_study: Any) -> Any:
    small_study.image("a.png")
    for name in ("anna", "ben", "cleo", "dora"):
        small_study.recording(f"{name}.csv", [("a.png", [(400, 300, 400)])])
    (small_study.root / "rec" / "notes.txt").write_text("about the sessions")
    write_inputs(small_study.open(), 2, 1)
    return small_study


def changed(small: Any, shards: int = 2) -> set[str]:
    """Nodes whose input file is another one than before."""
    folder = folder_of(small.open()) / "inputs"
    before = {p.stem: p.read_bytes() for p in folder.glob("*.json")}
    write_inputs(small.open(), shards, 1)
    return {p.stem for p in folder.glob("*.json") if before.get(p.stem) != p.read_bytes()}


INGEST = {"ingest", "ingest-1-of-2", "ingest-2-of-2"}
BUILD = {"build-psm", "build-psm-1-of-2", "build-psm-2-of-2"}


def test_nothing_changed(four: Any) -> None:
    assert changed(four) == set()


def test_a_changed_recording_concerns_its_shard_alone(four: Any) -> None:
    four.recording("ben.csv", [("a.png", [(100, 100, 400)])])  # second of four in order of name
    assert changed(four) == {"ingest-2-of-2"}


def test_a_removed_recording_concerns_whoever_lists_it(four: Any) -> None:
    (four.root / "rec" / "dora.csv").unlink()
    assert changed(four) == {"ingest", "ingest-2-of-2"}


def test_what_may_belong_to_any_recording_concerns_all(four: Any) -> None:
    (four.root / "rec" / "notes.txt").write_text("more about the sessions")
    assert changed(four) == INGEST


def test_an_image_concerns_maps(four: Any) -> None:
    four.image("b.png")
    assert changed(four) == BUILD


@pytest.mark.parametrize(
    ("section", "nodes"),
    [
        ({"ivt": {"min_fixation_ms": 80}}, INGEST),
        ({"psm": {"sigma_deg": 2}}, BUILD),
        ({"trials": {"placement": "centre"}}, INGEST | BUILD),
        ({"embedding": {"steps": 7}}, {"train"}),
        ({"refiner": {"combine": "gated"}}, {"train", "predict", "evaluate"}),
        ({"evaluation": {"repetitions": 3}}, {"evaluate"}),
        ({"split": {"seed": 5}}, {"train", "predict", "evaluate"}),
    ],
)
def test_a_parameter_concerns_its_stages(four: Any, section: Any, nodes: set[str]) -> None:
    four.configure(refiner={"combine": "add"})
    write_inputs(four.open(), 2, 1)
    four.configure(**{"refiner": {"combine": "add"}, **section})
    assert changed(four) == nodes


@pytest.mark.parametrize(
    ("module", "nodes"),
    [
        (ingest, INGEST),
        (build, BUILD),
        *((module, {"train"}) for module in (train, profile, descriptors)),
        (enrol, {"enrol"}),
        (predicted, {"predict"}),
    ],
)
def test_a_version_concerns_its_stage(four: Any, module: Any, nodes: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert changed(four) == nodes
    monkeypatch.setattr(evaluate, "VERSION", evaluate.VERSION + 1)
    assert changed(four) == {"evaluate"}


def test_nodes(four: Any) -> None:
    study = four.open()
    assert node_names(study, 1, 0) == ["ingest", "build-psm", "train", "enrol", "evaluate"]
    assert {p.stem for p in (folder_of(study) / "inputs").iterdir()} == set(node_names(study, 2, 1))


@with_engine
def test_no_such_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such profile; expected local, slurm or a folder"):
        check_engine(str(tmp_path))


@with_engine
def test_slurm_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    profile = tmp_path / "profile"
    shutil.copytree(check_engine("slurm"), profile)
    for name in ("slurm", str(profile)):
        with pytest.raises(ConfigError, match=r"there is no `sbatch` on this computer; .* or take --profile local\."):
            check_cluster(name)
    check_cluster("local")
    (tmp_path / "sbatch").touch(mode=0o755)
    check_cluster("slurm")


def test_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(ConfigError, match=r"pip install 'gazepipe\[cluster\]'"):
        check_engine("local")


DOT = """digraph snakemake_dag {
    0[label = "all", color = "0.1 0.6 0.85", style="rounded"];
    1[label = "shard\\nk: <1>", color = "0.2 0.6 0.85", style="rounded,dashed"];
    2[label = "shard\\nk: 2", color = "0.2 0.6 0.85", style="rounded"];
    1 -> 0
    2 -> 0
}"""


def test_picture(tmp_path: Path) -> None:
    nodes, edges = parse(DOT)
    assert nodes == {0: ("all", False), 1: ("shard k: <1>", True), 2: ("shard k: 2", False)}
    assert edges == [(1, 0), (2, 0)]
    write_picture(tmp_path / "a.svg", DOT)
    drawn = ET.fromstring((tmp_path / "a.svg").read_text())
    texts = {t.text: float(t.get("y", 0)) for t in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert texts["all"] > texts["shard k: <1>"] == texts["shard k: 2"]  # arrows lead down
    assert len([r for r in drawn.iter("{http://www.w3.org/2000/svg}rect") if r.get("stroke-dasharray")]) == 1
    write_picture(tmp_path / "a.mmd", DOT)
    assert 'n1["shard k: &lt;1&gt;"]:::current' in (tmp_path / "a.mmd").read_text()
    with pytest.raises(ConfigError, match=r"ends in \.svg, \.dot, \.mmd"):
        write_picture(tmp_path / "a.png", DOT)
