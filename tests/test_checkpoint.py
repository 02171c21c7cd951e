"""Interrupted trainings: killed with SIGKILL and run again, they end with the weights of one that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quiet import quiet
from safetensors.torch import load_file
from survival import told

from gazepipe import checkpoint as module
from gazepipe.checkpoint import Checkpoint
from gazepipe.config import EmbeddingConfig, RefinerConfig, UniversalConfig
from gazepipe.corpus import Corpus, make_split
from gazepipe.models import load_model
from gazepipe.study import Study
from gazepipe.training import Trained, course, train_embedding, train_refiner, train_universal

CPU = torch.device("cpu")
NETWORKS = ("embedding", "refiner", "universal")
SPLIT = make_split(8, 24, users=(0.5, 0.25, 0.25), images=(0.5, 0.25, 0.25), protocol="open", seed=0)


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    users, images, height, width = 8, 24, 48, 64
    maps = rng.random((users * images, height, width), np.float32).astype(np.float16)
    index = np.arange(len(maps)).reshape(users, images)
    pixels = rng.integers(0, 256, (images, height, width, 3), np.uint8)
    names = tuple(f"u{i}" for i in range(users)), tuple(f"i{i}" for i in range(images))
    return Corpus(*names, maps, index, np.zeros(len(maps), np.int64), np.arange(len(maps) + 1), pixels)


def run(name: str, corpus: Corpus, checkpoint: Checkpoint | None, progress: Any, minutes: float = 0.0) -> Trained:
    common: dict[str, Any] = {"seed": 3, "where": CPU, "progress": progress, "checkpoint": checkpoint}
    if name == "embedding":
        sizes = {"widths": (4, 4, 8, 8), "m": 2, "batch": 12, "steps": 17, "validate_every": 5, "mirror": True}
        return train_embedding(corpus, SPLIT, EmbeddingConfig(**sizes, minutes=minutes), **common)
    if name == "refiner":
        rng = np.random.default_rng(1)
        pools = {u: rng.standard_normal((6, 32)).astype(np.float32) for u in range(8)}
        config = RefinerConfig(widths=(4, 4, 8), personal=4, batch=8, epochs=7, halve_every=2, minutes=minutes)
        return train_refiner(corpus, SPLIT, config, pools, **common)
    return train_universal(corpus, SPLIT, UniversalConfig(epochs=7, minutes=minutes), **common)


class Stopped(Exception):
    pass


def stop_at(step: int) -> Any:
    def progress(done: int, *_: object) -> None:
        if done == step:
            raise Stopped

    return progress


def same(a: Trained, b: Trained) -> None:
    for key, value in a.net.state_dict().items():
        assert torch.equal(value, b.net.state_dict()[key]), key
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in t.history] for t in (a, b)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_stopped_anywhere_and_again(name: str, corpus: Corpus, tmp_path: Path) -> None:
    whole = run(name, corpus, None, quiet)
    assert len(whole.history) >= 4
    for stop in (1, 3, 6):
        path = tmp_path / f"{stop}.checkpoint"
        for again in (stop, min(stop + 2, 7)):
            with pytest.raises(Stopped):
                run(name, corpus, Checkpoint(path, "r"), stop_at(again))
        assert path.is_file() or stop == 1
        same(whole, run(name, corpus, Checkpoint(path, "r"), quiet))


@pytest.mark.parametrize("name", NETWORKS)
def test_minutes_count_the_time_before(
    name: str, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock on which each step or epoch takes two seconds: six seconds are three or four, however they are cut."""
    clock = [0.0]
    monkeypatch.setattr(course.time, "perf_counter", lambda: clock[0])
    path = tmp_path / "x.checkpoint"

    def ticking(limit: int) -> Any:
        def progress(done: int, *_: object) -> None:
            clock[0] += 2
            if done == limit:
                raise Stopped

        return progress

    whole = run(name, corpus, None, ticking(99), minutes=0.1)
    last = whole.history[-1]
    assert 3 <= last.get("step", last.get("epoch", 0)) <= 5
    with pytest.raises(Stopped):
        run(name, corpus, Checkpoint(path, "r"), ticking(3), minutes=0.1)
    clock[0] += 1000  # time that nobody trained in
    # What was done after the checkpoint is done again, and its seconds were not kept.
    parts = run(name, corpus, Checkpoint(path, "r"), ticking(99), minutes=0.1)
    same(whole, parts)
    assert parts.seconds < 100


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_that_was_over_is_not_prolonged(name: str, corpus: Corpus, tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "x.checkpoint", "r")
    whole = run(name, corpus, kept, quiet)
    steps: list[int] = []
    again = run(name, corpus, kept, lambda done, *_: steps.append(done))
    assert steps == []
    same(whole, again)


@pytest.mark.parametrize("spoil", ["recipe", "garbage", "truncated", "bit"])
def test_what_cannot_be_trusted_is_not_gone_on_from(corpus: Corpus, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "x.checkpoint"
    with pytest.raises(Stopped):
        run("embedding", corpus, Checkpoint(path, "r"), stop_at(6))
    data = bytearray(path.read_bytes())
    if spoil == "bit":
        data[-100] ^= 4
    path.write_bytes({"garbage": b"x" * 900, "truncated": bytes(data[:-9])}.get(spoil, bytes(data)))
    steps: list[int] = []
    run("embedding", corpus, Checkpoint(path, "other" if spoil == "recipe" else "r"), lambda d, *_: steps.append(d))
    assert steps[0] == 1


def test_checkpoints_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoint(tmp_path / "x", "r")
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module, "INTERVAL_S", 30.0)
    kept.last, kept.cost = 1000.0, 0.5
    assert [kept.due() for clock[0] in (1029.0, 1031.0)] == [False, True]
    kept.cost = 4.0  # a slow disk: no more than a twentieth of the time goes there
    assert [kept.due() for clock[0] in (1079.0, 1081.0)] == [False, True]
    assert not Checkpoint(tmp_path / "x", "r", writes=False).due()


# ---- the real command, really killed ------------------------------------------------------------------------------

COMMAND = """
import sys
from gazepipe import checkpoint
from gazepipe.cli import main
checkpoint.INTERVAL_S = 0.0
main(["train", *sys.argv[1:]])
"""


def start(study: Path, to: Path) -> subprocess.Popen[bytes]:
    arguments = [str(study), "--store", str(to), "--threads", "1", "--device", "cpu"]
    return subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_processes_end_with_the_same_weights(
    tiny_networks: Any, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Fault R2/R16: SIGKILL whenever a checkpoint of each network has come up, then the same command again."""
    folder, study = tiny_networks.root, tiny_networks.open()
    stores = {}
    for name in ("whole", "killed"):
        stores[name] = tmp_path / name
        shutil.copytree(study.store, stores[name])
    assert start(folder, stores["whole"]).wait() == 0
    rng = np.random.default_rng(5)
    killed = []
    tries = max(3, pytestconfig.getoption("kills") // 5)
    for _ in range(tries):
        process = start(folder, stores["killed"])
        waiting = [stores["killed"] / "models" / f"{n}.checkpoint" for n in NETWORKS if n not in killed]
        while process.poll() is None and not any(p.is_file() for p in waiting):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        with contextlib.suppress(ProcessLookupError):  # it may have just finished
            os.kill(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += [p.name.split(".")[0] for p in waiting if p.is_file()]
    assert killed
    assert start(folder, stores["killed"]).wait() == 0
    for name in NETWORKS:
        whole, resumed = (load_file(s / "models" / f"{name}.safetensors") for s in stores.values())
        assert max(float((whole[k].double() - resumed[k].double()).abs().max()) for k in whole) == 0, name
        assert not (stores["killed"] / "models" / f"{name}.checkpoint").exists()
    assert load_model(Study.open(folder, to=stores["killed"]), "refiner").info["history"]
    told("R16", tries, tries, f"{len(killed)} checkpoints gone on from, largest difference of a weight 0")
