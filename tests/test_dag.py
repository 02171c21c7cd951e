"""The graph of nodes: what changed is done again and nothing else, on this machine and on a SLURM of one node."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from survival import told

from gazepipe import build, evaluate, ingest, store, train
from gazepipe.dag import folder_of, node_names
from gazepipe.dag.engine import check_cluster, check_engine
from gazepipe.dag.inputs import write_inputs
from gazepipe.dag.picture import parse, write_picture
from gazepipe.enrol import load_gallery
from gazepipe.errors import ConfigError
from gazepipe.pipeline import run
from gazepipe.study import Study

sys.path.insert(0, str(Path(__file__).parent))
import slurm_node

sys.path.pop(0)

with_engine = pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="Snakemake is not installed")


# ---- what nodes depend on --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("module", "nodes"), [(ingest, INGEST), (build, BUILD), (train, {"train"})])
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


# ---- the picture -----------------------------------------------------------------------------------------------------

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


# ---- runs ------------------------------------------------------------------------------------------------------------


def command(small: Any, *options: str) -> list[str]:
    return [sys.executable, "-m", "gazepipe", "run", str(small.root), *options]


def gazepipe(small: Any, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(small, *options), env=env, capture_output=True, text=True, timeout=400)


def ran(study: Study) -> dict[str, str]:
    """Node → what it said, of those that ran the last time."""
    nodes = json.loads((folder_of(study) / "report.json").read_text())["nodes"]
    return {n["node"]: n["said"] for n in nodes if n["state"] == "ran"}


LOCAL = ("--profile", "local", "--threads", "1")


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
    # One recording changed, one removed, a parameter of the last stage: exactly what depends on them.
    (small.root / "rec" / "bad.csv").unlink()
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
    text = (small.root / "gazepipe.toml").read_text()
    (small.root / "gazepipe.toml").write_text(text.replace("repetitions = 20", "repetitions = 3", 1))
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
    # A node that fails: its sentence, and its exit code.
    study.psm_file("u1").unlink()
    with store.lock(study.store):
        refused = gazepipe(small, *LOCAL, "--shards", "3")
    assert refused.returncode == 6
    assert "another gazepipe run is writing there" in refused.stderr


def of_run(small: Any) -> list[str]:
    """Command lines of all processes that work on a study: the run, the engine, and its nodes."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = line.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [text] if str(small.root) in text else []
    return found


def once(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@with_engine
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_run_that_is_ended_leaves_nothing_and_is_resumed(
    simulated: Callable[..., Study], whole_sections: dict[str, Any], tmp_path: Path
) -> None:
    """kill -9, Ctrl-C and SIGTERM to the run alone: nodes end with it, and the next run goes on."""
    small = study = simulated(tmp_path / "study ü", users=8, images=16, seconds=1.5, seed=3, **whole_sections)
    log = folder_of(study) / "log"
    ends = [("ingest", signal.SIGKILL), ("ingest", signal.SIGINT), ("train", signal.SIGTERM)]
    for node, how in ends:
        for path in log.glob(f"{node}.*"):
            path.unlink()
        with subprocess.Popen(command(small, *LOCAL), stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
            once(lambda node=node: (log / f"{node}.log").exists())  # type: ignore[misc]
            if how == signal.SIGINT:
                refused = gazepipe(small, *LOCAL)
                assert refused.returncode == 6
                assert "another `gazepipe run` is going on there" in refused.stderr
            time.sleep(1.0 if node == "train" else 0.0)
            run.send_signal(how)
            _, said = run.communicate(timeout=120)
        if how == signal.SIGKILL:
            once(lambda: not of_run(small))
        else:
            assert run.returncode == 130, said
            assert said == "gazepipe: interrupted; what was finished is stored, run again to go on.\n"
        assert of_run(small) == []
        assert list(study.store.rglob("*.tmp")) == []
        assert not (folder_of(study) / "done" / f"{node}.json").is_file()
    # Killed with its engine, which then cannot give its own lock back.
    with subprocess.Popen(command(small, *LOCAL), start_new_session=True, stdout=subprocess.DEVNULL) as run:
        locks = folder_of(study) / ".snakemake" / "locks"
        once(lambda: any(locks.glob("*.lock")))
        (engine,) = (int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if is_engine(p, small))
        run.kill()
        os.killpg(engine, signal.SIGKILL)
    once(lambda: not of_run(small))
    assert any(locks.glob("*.lock"))
    done = gazepipe(small, *LOCAL)
    assert done.returncode == 0, done.stderr
    assert "8 written" not in json.dumps(ran(study))  # what had been stored was not made again
    assert {"train", "enrol", "predict", "evaluate"} <= set(ran(study))
    told("R3", len(ends) + 1, len(ends) + 1, "the graph of nodes")


def is_engine(line: Path, small: Any) -> bool:
    try:
        words = line.read_bytes().split(b"\0")
    except OSError:
        return False
    return b"gazepipe.dag.child" in words and any(str(small.root).encode() in word for word in words)


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
