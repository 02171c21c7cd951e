"""A whole small study: every kind of file that gazepipe writes is in its store.

Each test here brings about one kind of failure many times and prints ``survived/tried``. Options of pytest raise the
counts (`--kills`, `--flips`, `--soak`); continuous integration uses the small ones.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gazepipe.crossvalidate import crossvalidate
from gazepipe.evaluate import write_tables
from gazepipe.pipeline import run
from gazepipe.study import Study

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests here share


from process import Nursery


@pytest.fixture(scope="session")
def whole_study(
    tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study], whole_sections: dict[str, Any]
) -> Path:
    """A study through all stages; do not change it."""
    root = tmp_path_factory.mktemp("reliability") / "study"
    study = simulated(root, users=8, images=16, seconds=1.5, seed=3, **whole_sections)
    (root / "sim09.csv.gz").write_bytes(b"broken")
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
