"""Known answers: the figures in pysaliency's own unit tests (tests/test_saliency_map_models.py there).

The map is exp(−r² / (2·√3200)) around (20, 20) on a 40 × 40 grid; image 0 has five fixations, image 1 three.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from gazepipe import metrics

SIZE = 40
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
MAP = np.exp(-0.5 * ((COLUMNS - 20.0) ** 2 + (ROWS - 20.0) ** 2) / np.sqrt(3200.0))
FIXATIONS = [  # (rows, columns) of each image
    (np.array([10, 11, 12, 12, 12]), np.array([0, 1, 2, 2, 2])),
    (np.array([21, 25, 33]), np.array([1, 5, 3])),
]
CONSTANT = np.full((SIZE, SIZE), 1 / SIZE**2)


def blurred(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    fixated = np.zeros((SIZE, SIZE))
    fixated[rows, columns] = 1
    return gaussian_filter(fixated, 10, mode="reflect")


def weighted(values: list[float]) -> float:
    """Average over fixations, as pysaliency's default has it."""
    return float(np.average(values, weights=[len(r) for r, _ in FIXATIONS]))


def test_auc_per_image_and_per_fixation() -> None:
    per_image = [metrics.auc(MAP, r, c) for r, c in FIXATIONS]
    assert np.mean(per_image) == pytest.approx(0.254875)
    assert weighted(per_image) == pytest.approx(0.2403125)


@pytest.mark.parametrize(("which", "expected"), [(0, 0.291875), (1, 0.509375), (2, 0.138125)])
def test_auc_of_single_fixations(which: int, expected: float) -> None:
    rows, columns = FIXATIONS[1]
    assert metrics.auc(MAP, rows[which : which + 1], columns[which : which + 1]) == pytest.approx(expected)


def test_auc_against_unfixated_cells() -> None:
    values = [metrics.auc(MAP, r, c, unfixated_only=True) for r, c in FIXATIONS]
    assert weighted(values) == pytest.approx(0.2396681277395116)


def test_auc_judd_without_jitter() -> None:
    assert np.mean([metrics.auc_judd(MAP, r, c) for r, c in FIXATIONS]) == pytest.approx(0.44504278856188684)


def test_nss() -> None:
    values = [metrics.nss(MAP, r, c) for r, c in FIXATIONS]
    assert weighted(values) == pytest.approx(-0.721682239593952)
    assert np.mean(values) == pytest.approx(-0.706711609374163)


def test_cc() -> None:
    assert np.mean([metrics.cc(MAP, blurred(*f)) for f in FIXATIONS]) == pytest.approx(-0.1542654, rel=1e-6)


def test_sim() -> None:
    assert metrics.sim(MAP, CONSTANT) == pytest.approx(0.54392, rel=1e-5)
    assert np.mean([metrics.sim(MAP, blurred(*f)) for f in FIXATIONS]) == pytest.approx(0.315899, rel=1e-5)


def test_kld() -> None:
    assert metrics.kld(MAP, CONSTANT) == pytest.approx(0.8396272788909165)
    assert np.mean([metrics.kld(MAP, blurred(*f)) for f in FIXATIONS]) == pytest.approx(2.029283206727416)


def one_by_one(prediction: np.ndarray, truth: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[float]:
    return [
        metrics.cc(prediction, truth),
        metrics.sim(prediction, truth),
        metrics.auc_judd(prediction, rows, columns),
        metrics.nss(prediction, rows, columns),
        metrics.kld(prediction, truth),
        metrics.auc(prediction, rows, columns),
    ]


def test_many_at_once_equal_one_by_one_on_the_known_maps() -> None:
    start = np.cumsum([0, *[len(r) for r, _ in FIXATIONS]])
    truth = np.stack([blurred(*f) for f in FIXATIONS]).astype(np.float32)
    prediction = np.stack([MAP, MAP]).astype(np.float32)
    rows, columns = np.concatenate([r for r, _ in FIXATIONS]), np.concatenate([c for _, c in FIXATIONS])
    got = metrics.score(prediction, truth, rows, columns, start)
    expected = [one_by_one(p, q, *f) for p, q, f in zip(prediction, truth, FIXATIONS, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 5, 1000]), k=st.integers(1, 30))
def test_many_at_once_equal_one_by_one_with_ties_zeros_and_doubled_cells(seed: int, levels: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    prediction = (rng.integers(0, levels, (1, 6, 8)) / levels).astype(np.float32)
    truth = rng.random((1, 6, 8)).astype(np.float32)
    truth[truth < 0.3] = 0
    truth[0, 0, 0] = prediction[0, 0, 0] = 1
    rows, columns = rng.integers(0, 6, k), rng.integers(0, 8, k)
    got = metrics.score(prediction, truth, rows, columns, [0, k])[0]
    np.testing.assert_allclose(got, one_by_one(prediction[0], truth[0], rows, columns), rtol=2e-6, atol=1e-7)


def test_constant_prediction() -> None:
    rows, columns = FIXATIONS[1]
    got = metrics.score(CONSTANT[None], MAP[None], rows, columns, [0, 3])[0]
    assert got[0] == 0
    assert got[3] == 0
    assert got[2] == pytest.approx(0.5)
    assert got[5] == pytest.approx(0.5)


def test_perfect_prediction() -> None:
    got = metrics.score(MAP[None], MAP[None], [20], [20], [0, 1])[0]
    assert got[0] == pytest.approx(1)
    assert got[1] == pytest.approx(1)
    assert got[4] == pytest.approx(0, abs=1e-6)
    assert got[2] == pytest.approx(1)


def test_map_without_fixations_has_no_fixation_measures() -> None:
    got = metrics.score(MAP[None], MAP[None], [], [], [0, 0])[0]
    assert np.isnan(got[[2, 3, 5]]).all()
    assert np.isfinite(got[[0, 1, 4]]).all()


@pytest.mark.parametrize("bad", [-MAP, MAP * 0, MAP * np.nan])
def test_maps_that_are_no_densities_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="densities"):
        metrics.score(bad[None], MAP[None], [0], [0], [0, 1])
