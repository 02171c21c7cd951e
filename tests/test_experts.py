"""Agreement with human experts, class by class: the figures `benchmarks/bench_experts.py` prints.

The bounds are a guard against getting worse, a little below what was measured; they are no claim.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import IvtConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
bench = importlib.import_module("bench_experts")
sys.path.pop(0)


def test_kappa_of_several_classes_by_hand():
    # Agreement 3/6; by chance (3·2 + 2·3 + 1·1) / 36 = 13/36
    a = np.array([1, 1, 1, 2, 2, 5])
    b = np.array([1, 1, 2, 2, 5, 2])
    assert bench.kappa(a, b) == pytest.approx((3 / 6 - 13 / 36) / (1 - 13 / 36))
    assert bench.kappa(a, a) == 1


def test_labelling_by_hand():
    events = {1: np.array([[0, 4], [6, 9]]), 2: np.array([[4, 6]]), 5: np.array([[8, 11]])}
    assert bench.labelling(12, events).tolist() == [1, 1, 1, 1, 2, 2, 1, 1, 5, 5, 5, 0]


def test_classes_that_gazepipe_lacks_count_as_nothing():
    assert bench.simple(np.array([1, 2, 3, 4, 5, 6, -1])).tolist() == [1, 2, 0, 0, 5, 0, -1]


def test_scores_by_hand():
    score = bench.Score()
    score.add(np.array([1, 1, 0, 2, 0, 1, 1, 1]), np.array([1, 1, 1, 2, 2, -1, 1, 1]))
    # the sample without label is left out of κ: fixation 5 of 7 and 4 of 7 with 6 alike ...
    assert score.kappa(1) == pytest.approx((6 / 7 - (4 * 5 + 3 * 2) / 49) / (1 - (4 * 5 + 3 * 2) / 49))
    assert score.counts(1) == (2, 2)
    # ... and of events 0-2 shares two of three samples with 0-3, 5-8 two of three with 6-8
    assert score.f1(1) == 1
    assert score.counts(2) == (1, 1)
    assert score.f1(2) == 1
    assert np.isnan(score.f1(5))


@pytest.fixture(scope="module")
def lund(data_dir):
    folder = data_dir / "raw" / "lund2013" / "img"
    if not folder.is_dir():
        pytest.skip(f"no labelled recordings in {folder}")
    return bench.load_lund(folder)


@pytest.fixture(scope="module")
def irf(data_dir):
    folder = data_dir / "raw" / "irf"
    if not folder.is_dir():
        pytest.skip(f"no labelled recordings in {folder}")
    return bench.load_irf(folder)


def test_experts_agree_as_published(lund):
    # Dar, Wagner & Hanke (2021), table of κ, images: fixations 0.84, saccades 0.91
    score = bench.between(lund)
    assert score.kappa(bench.FIXATION) == pytest.approx(0.84, abs=0.005)
    assert score.kappa(bench.SACCADE) == pytest.approx(0.91, abs=0.005)
    assert score.counts(bench.FIXATION) == (403, 391)
    assert score.counts(bench.SACCADE) == (377, 374)


# κ of all classes, of fixations, saccades and blinks, F1 of fixations, saccades and (any overlap) blinks
@pytest.mark.parametrize(
    ("expert", "expected"),
    [
        ("MN", (0.672, 0.789, 0.778, 0.640, 0.940, 0.796, 0.844)),
        ("RA", (0.603, 0.704, 0.788, 0.594, 0.916, 0.804, 0.818)),
    ],
)
def test_defaults_on_lund2013(lund, expert, expected):
    score, limit = bench.compare(lund, IvtConfig())[expert], bench.between(lund)
    found = _figures(score)
    assert all(f > e - 0.015 for f, e in zip(found, expected, strict=True)), found
    assert all(f < e for f, e in zip(found, _figures(limit), strict=True)), found


def test_defaults_on_irf(irf):
    found = _figures(bench.compare(irf, IvtConfig())["expert"])
    expected = (0.665, 0.871, 0.845, 0.473, 0.862, 0.788, 0.943)
    assert all(e - 0.015 < f < 1 for f, e in zip(found, expected, strict=True)), found


def test_most_saccades_no_expert_sees_are_oscillations(lund):
    found = bench.strangers(lund, IvtConfig())
    assert found["PSO"] > 0.75 * sum(found.values())
    assert found["fixation"] < 0.03 * 467


def _figures(score):
    kinds = (bench.FIXATION, bench.SACCADE, bench.BLINK)
    f1 = score.f1(bench.FIXATION), score.f1(bench.SACCADE), score.f1(bench.BLINK, whole=False)
    return (score.kappa(), *(score.kappa(k) for k in kinds), *f1)
