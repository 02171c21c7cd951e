"""Other detectors against the same experts (`benchmarks/bench_detectors.py`), so that the comparison keeps running."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
bench = importlib.import_module("bench_detectors")
sys.path.pop(0)


@pytest.fixture(scope="module")
def lund(data_dir):
    folder = data_dir / "raw" / "lund2013" / "img"
    if not folder.is_dir():
        pytest.skip(f"no labelled recordings in {folder}")
    return bench.load_lund(folder)


def test_pymovements(lund):
    pytest.importorskip("pymovements")
    score = bench.compare(lund, bench.pymovements)["MN"]
    assert score.kappa(bench.FIXATION) > 0.5
    assert score.kappa(bench.SACCADE) > 0.5


@pytest.mark.slow
def test_remodnav_as_published(lund):
    # Dar, Wagner & Hanke (2021), images: fixations 0.52 with MN, 0.55 with RA; saccades 0.78 with both
    pytest.importorskip("remodnav")
    scores = bench.compare(lund, bench.remodnav)
    assert scores["MN"].kappa(bench.FIXATION) == pytest.approx(0.52, abs=0.05)
    assert scores["RA"].kappa(bench.FIXATION) == pytest.approx(0.55, abs=0.05)
    for score in scores.values():
        assert score.kappa(bench.SACCADE) == pytest.approx(0.78, abs=0.04)
