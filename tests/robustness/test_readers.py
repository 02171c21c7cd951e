"""Every reader meets every kind of damage: an error in one sentence or a sound recording, and nothing else.

``pytest tests/robustness --corruptions 2000 -s`` is the long sweep.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Child
from samples import CLOSED, MADE, REAL

from gazepipe.readers import readers

NAMES = [reader.name for reader in readers()]


def test_every_reader_has_a_sample() -> None:
    missing = sorted(set(NAMES) - set(MADE) - CLOSED & set(REAL))
    assert not missing, f"put a small recording of {missing} into MADE in tests/robustness/samples.py"
    assert set(REAL) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_made_recording(child: Child, corruptions: int, name: str) -> None:
    if name in CLOSED:
        pytest.skip(f"nothing but its maker's software writes {name}")
    if name not in MADE:
        pytest.fail(f"no sample of {name}: put one into MADE in tests/robustness/samples.py")
    child.run(name, corruptions)


@pytest.mark.parametrize("name", NAMES)
def test_real_recording(child: Child, corruptions: int, name: str, data_dir: Path) -> None:
    if name not in REAL:
        pytest.skip(f"there is no real recording of {name}")
    child.run(name, corruptions, data=data_dir, seed=1000)
