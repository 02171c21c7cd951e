from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", default=5, type=int, help="processes killed in each kill -9 sweep (nightly: 100)")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real recordings and data sets, which are not part of the repository."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("GAZEPIPE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set GAZEPIPE_DATA")
    return folder
