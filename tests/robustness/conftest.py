from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Child


@pytest.fixture(scope="session")
def child() -> Iterator[Child]:
    """A process that may die of what it reads."""
    process = Child()
    yield process
    process.close()


@pytest.fixture(scope="session")
def corruptions(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--corruptions"))
