"""Agreement with two human experts on real recordings: the figures `benchmarks/bench_lund2013.py` prints.

The bounds are a guard against getting worse, a little below what was measured (κ 0.789 and 0.704, F1 0.940 and 0.916);
they are no claim. That agreement stays below the experts' with each other is part of the guard: above it, something
would be wrong with the comparison.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

_path = Path(__file__).parents[1] / "benchmarks" / "bench_lund2013.py"
_spec = importlib.util.spec_from_file_location("bench_lund2013", _path)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


def test_kappa_by_hand():
    # Agreement 0.7, by chance 0.5·0.6 + 0.5·0.4 = 0.5
    a = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    b = np.array([1, 1, 1, 1, 0, 1, 1, 0, 0, 0], bool)
    assert bench.kappa(a, b) == pytest.approx(0.4)
    assert bench.kappa(a, a) == 1


def test_matches_by_hand():
    # 0-10 and 0-20 share half; of two candidates for 30-40 one is taken; 60-70 and 66-76 share a quarter
    a, b = np.array([[0, 10], [30, 40], [60, 70]]), np.array([[0, 20], [30, 39], [39, 40], [66, 76]])
    assert bench.matches(a, b) == 2
    assert bench.matches(a, np.zeros((0, 2), int)) == 0


@pytest.fixture(scope="module")
def data(data_dir):
    folder = data_dir / "raw" / "lund2013" / "img"
    if not folder.is_dir():
        pytest.skip(f"no labelled recordings in {folder}")
    return bench.load(folder)


def test_rates_come_from_the_times(data):
    rates = {round(float(recording.sampling_rate_hz[0])) for recording, _, _ in data.values()}
    assert rates == {200, 500}
    assert len(data) == 14


def test_agreement_with_experts(data):
    name, _, mn, ra, experts, f1_mn, f1_ra, f1_experts, *counts = bench.compare(data)[-1]
    assert name == "all"
    assert counts[1:] == [403, 391]
    assert 0.77 < mn < experts
    assert 0.68 < ra < experts
    assert 0.92 < f1_mn < f1_experts
    assert 0.89 < f1_ra < f1_experts
