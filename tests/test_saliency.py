"""Closed-form maps against blurring an image of the fixations with scipy, and laws that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

from gazepipe.saliency import leave_one_out, personal_maps


def one_map(u, v, weight=None, *, sigma=3.0, width=40, height=30, **options) -> np.ndarray:
    weight = np.ones(len(u)) if weight is None else weight
    return personal_maps(u, v, weight, [0, len(u)], [0, 1], [sigma, sigma], width=width, height=height, **options)[0]


def test_equals_blurring_at_full_resolution() -> None:
    # An 8 × finer image blurred by scipy and summed over cells; fixations sit at centres of fine pixels.
    rng, fine, width, height, sigma = np.random.default_rng(0), 8, 40, 30, 2.5
    columns, rows = rng.integers(0, width * fine, 12), rng.integers(0, height * fine, 12)
    image = np.zeros((height * fine, width * fine))
    np.add.at(image, (rows, columns), 1.0)
    blurred = gaussian_filter(image, sigma * fine, mode="constant", truncate=8)
    expected = blurred.reshape(height, fine, width, fine).sum((1, 3))
    got = one_map((columns + 0.5) / fine, (rows + 0.5) / fine, sigma=sigma, normalisation="sum")
    np.testing.assert_allclose(got, expected / expected.sum(), atol=2e-4 * expected.max() / expected.sum())


def test_equals_the_error_function_exactly() -> None:
    u, v, sigma = 10.3, 7.9, 2.2
    profile_u = np.diff(ndtr((np.arange(41) - u) / sigma))
    profile_v = np.diff(ndtr((np.arange(31) - v) / sigma))
    expected = profile_v[:, None] * profile_u
    np.testing.assert_allclose(one_map([u], [v], sigma=sigma), expected / expected.max(), atol=1e-6)


def test_repeats_are_scaled_each_and_averaged() -> None:
    both = personal_maps([10, 11, 30], [10, 12, 20], np.ones(3), [0, 2, 3], [0, 2], [3, 3], width=40, height=30)[0]
    first, second = one_map([10, 11], [10, 12]), one_map([30], [20])
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)


def test_repeat_without_fixations_does_not_count() -> None:
    got = personal_maps([10], [10], [1], [0, 0, 1], [0, 2], [3, 3], width=40, height=30)[0]
    np.testing.assert_allclose(got, one_map([10], [10]), atol=1e-7)


def test_duration_weights() -> None:
    got = one_map([8, 30], [15, 15], [100, 300], sigma=1.5)
    assert got[15, 30] == pytest.approx(3 * got[15, 8], rel=1e-5)


def test_border_rules() -> None:
    plain = {"normalisation": "sum"}
    # Half of a Gaussian on the left edge is lost, mirrored onto itself, or made up for: after scaling to sum 1
    # all three look alike for one fixation, so a second one in the middle shows the difference.
    edge, middle = 0.0, 20.0
    cut = one_map([edge, middle], [15, 15], border="cut", **plain)
    reflect = one_map([edge, middle], [15, 15], border="reflect", **plain)
    again = one_map([edge, middle], [15, 15], border="renormalise", **plain)
    share = [m[:, :10].sum() for m in (cut, reflect, again)]
    assert share[0] == pytest.approx(1 / 3, abs=2e-3)
    assert share[1] == pytest.approx(1 / 2, abs=2e-3)
    assert share[2] == pytest.approx(1 / 2, abs=2e-3)


@settings(max_examples=50, deadline=None)
@given(
    fixations=st.lists(st.tuples(st.floats(0, 39.99), st.floats(0, 29.99)), min_size=1, max_size=12),
    border=st.sampled_from(["cut", "reflect", "renormalise"]),
)
def test_laws(fixations: list[tuple[float, float]], border: str) -> None:
    u, v = np.array(fixations).T
    got = one_map(u, v, border=border)
    assert got.min() >= 0
    assert got.max() == pytest.approx(1, rel=1e-6)
    shuffled = np.random.default_rng(0).permutation(len(u))
    np.testing.assert_allclose(got, one_map(u[shuffled], v[shuffled], border=border), atol=2e-6)
    mirrored = one_map(40 - u, v, border=border)
    np.testing.assert_allclose(got, mirrored[:, ::-1], atol=5e-6)
    total = one_map(u, v, border=border, normalisation="sum").sum(dtype=np.float64)
    assert total == pytest.approx(1, rel=1e-5)


def test_map_without_fixations_is_zero() -> None:
    assert not one_map([], []).any()


def test_leave_one_out() -> None:
    maps = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    usm = maps.mean(0)
    np.testing.assert_allclose(leave_one_out(usm, maps[2], 5), maps[[0, 1, 3, 4]].mean(0), atol=1e-6)
    assert np.isnan(leave_one_out(usm, usm, 1)).all()


def test_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="finite"):
        one_map([np.nan], [3])
    with pytest.raises(ValueError, match="border"):
        one_map([3], [3], border="wrap")
