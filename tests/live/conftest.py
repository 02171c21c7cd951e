from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gazepipe import Study

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests here share


@pytest.fixture(scope="package")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    simulated: Callable[..., Study],
    whole_sections: dict[str, Any],
) -> Study:
    """A study of eight people with networks and a gallery; tests add recordings of people of their own."""
    from gazepipe.build import build_psm
    from gazepipe.enrol import enrol
    from gazepipe.ingest import ingest
    from gazepipe.train import train

    study = simulated(tmp_path_factory.mktemp("live"), users=8, images=12, seconds=1.0, seed=3, **whole_sections)
    ingest(study, jobs=1)
    build_psm(study)
    train(study, threads=1)
    enrol(study, threads=1)
    return study


@pytest.fixture
def loopback() -> None:
    """The only network there is, of a process that has one of its own."""
    from alone import bring_up_loopback

    bring_up_loopback()
