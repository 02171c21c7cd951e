"""A whole small study: every kind of file that gazepipe writes is in its store.

Each test here brings about one kind of failure many times and prints ``survived/tried``. Options of pytest raise the
counts (`--kills`, `--flips`, `--soak`); continuous integration uses the small ones.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gazepipe.config import load_config, template
from gazepipe.crossvalidate import crossvalidate
from gazepipe.evaluate import write_tables
from gazepipe.pipeline import run
from gazepipe.simulate import simulate_study
from gazepipe.study import Study

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests here share


from process import Nursery


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study through all stages; do not change it."""
    root = tmp_path_factory.mktemp("reliability") / "study"
    simulate_study(root, users=8, images=16, rate_hz=125, seconds=1.5, seed=3)
    config = load_config(root / "gazepipe.toml").model_dump(mode="json")
    config["split"] |= {"users": [0.5, 0.25, 0.25], "images": [0.5, 0.25, 0.25]}
    config["embedding"] = {"inputs": "descriptors"}
    config["refiner"] |= {"widths": [4, 4, 8], "personal": 4, "m": 2, "pool": 4, "epochs": 1}
    config["universal"] |= {"epochs": 1}
    config["psm"] |= {"width": 40, "height": 30}
    config["evaluation"] |= {"m": [2], "repetitions": 2, "embeddings_per_user": 4}
    (root / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    (root / "sim09.csv.gz").write_bytes(b"broken")
    study = Study.open(root)
    report = run(study, jobs=1, threads=1)
    assert report.evaluation is not None
    write_tables(study, report.evaluation)
    crossvalidate(study, folds=2, maps=False, threads=1)
    return root


@pytest.fixture
def whole(whole_study: Path, tmp_path: Path) -> Study:
    """A copy of the whole study, to be harmed."""
    return Study.open(Path(shutil.copytree(whole_study, tmp_path / "study")))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Processes that start at once."""
    made = Nursery()
    yield made
    made.close()
