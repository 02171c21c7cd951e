"""Every data set's loader meets damaged MATLAB files, packed ones and ones without checksums."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Child
from samples import MADE_DATASETS, REAL_DATASETS

from gazepipe.datasets import DATASETS


def test_every_data_set_has_a_sample() -> None:
    missing = sorted(set(DATASETS) - set(MADE_DATASETS))
    assert not missing, f"put a small imitation of {missing} into MADE_DATASETS in tests/robustness/samples.py"


@pytest.mark.parametrize("name", DATASETS)
def test_made_data_set(child: Child, corruptions: int, name: str) -> None:
    child.run(name, corruptions, dataset=True)


@pytest.mark.parametrize("name", DATASETS)
def test_real_data_set(child: Child, corruptions: int, name: str, data_dir: Path) -> None:
    if name not in REAL_DATASETS:
        pytest.skip(f"there are no real files of {name}")
    child.run(name, corruptions, dataset=True, data=data_dir, seed=1000)
