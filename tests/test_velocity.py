"""Velocity methods and the adaptive threshold: answers by hand, scipy's filters, and a slow reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_coeffs, savgol_filter

from gazepipe import _velocity_kernel as kernel
from gazepipe.config import IvtConfig, parse_config
from gazepipe.errors import ConfigError
from gazepipe.events import detect
from gazepipe.geometry import Screen
from gazepipe.velocity import threshold_of, velocity_deg_s

SCREEN = Screen(2000, 1000, 2000.0, 1000.0, 1000.0)  # 1 px is 1 mm, seen from 1000 px away
METHODS = ["olsen", "savgol", "fivepoint"]
NAN = math.nan


def turning(deg_per_ms, axis, start, times):
    """Pixels of a gaze that turns steadily around `axis`, from the direction `start` (Rodrigues' formula)."""
    axis, start = np.asarray(axis, float), np.asarray(start, float)
    axis /= np.linalg.norm(axis)
    angle = np.radians(deg_per_ms * np.asarray(times))[:, None]
    along = axis * (axis @ start)
    v = along + (start - along) * np.cos(angle) + np.cross(axis, start) * np.sin(angle)
    return 1000 + 1000 * v[:, 0] / v[:, 2], 500 + 1000 * v[:, 1] / v[:, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_great_circle_far_from_the_centre_has_its_own_speed(method):
    # 40 deg/s along a slanted great circle that begins 25° to the right and 20° down; a component-wise conversion of
    # pixels to degrees would be several per cent off here.
    start = [math.tan(math.radians(25)), math.tan(math.radians(20)), 1.0]
    axis = np.cross(start, [0.3, -0.8, 0.1])  # at right angles to the start: a great circle
    t = np.arange(400.0)
    x, y = turning(0.04, axis, start, t)
    v = velocity_deg_s(t, x, y, SCREEN, method=method)
    known = v[~np.isnan(v)]
    assert len(known) > 370
    assert known == pytest.approx(40.0, rel=2e-4)


def test_five_point_by_hand():
    # x = 0, 1, 4, 9, 16 px right of the centre: (16 + 9 − 1 − 0) / 6 = 4 px/ms, at 4 px from the centre
    t, x = np.arange(5.0), 1000.0 + np.arange(5.0) ** 2
    v = velocity_deg_s(t, x, np.full(5, 500.0), SCREEN, method="fivepoint")
    assert np.isnan(v[[0, 1, 3, 4]]).all()
    assert v[2] == pytest.approx(math.degrees(0.004 / (1 + 0.004**2)) * 1000, rel=1e-12)


def test_five_point_at_uneven_times_divides_by_what_passed():
    t = np.array([0.0, 10.0, 25.0, 30.0, 40.0])
    v = velocity_deg_s(t, 1000.0 + 0.5 * t, np.full(5, 500.0), SCREEN, method="fivepoint")
    assert v[2] == pytest.approx(math.degrees(0.0005 / (1 + 0.0125**2)) * 1000, rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("half", [3, 10, 25])
def test_weights_are_those_of_savitzky_and_golay(order, half):
    weights = np.empty(2 * half + 1)
    kernel.slope_weights(np.arange(-half, half + 1) * 2.0, order, weights)
    expected = savgol_coeffs(2 * half + 1, order, deriv=1, delta=2.0, use="dot")
    np.testing.assert_allclose(weights, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(("rate", "order", "length"), [(1000.0, 2, 21), (500.0, 3, 11), (250.0, 2, 7), (60.0, 2, 3)])
def test_savgol_has_the_documented_window_and_equals_scipy(rate, order, length):
    r = np.random.default_rng(1)
    x, y = 1000 + np.cumsum(r.normal(0, 1, (2, 300)), axis=1)
    v = velocity_deg_s(np.arange(300) * 1000 / rate, x, y, SCREEN, 20.0, method="savgol", savgol_order=order)
    half = length // 2
    assert np.flatnonzero(~np.isnan(v)).tolist() == list(range(half, 300 - half))
    rate_x, rate_y = (savgol_filter(a, length, order, deriv=1, delta=1000 / rate) for a in (x, y))
    p = np.column_stack([x - 1000, y - 500, np.full(300, 1000.0)])
    turn = np.linalg.norm(np.cross(p, np.column_stack([rate_x, rate_y, np.zeros(300)])), axis=1) / (p * p).sum(axis=1)
    np.testing.assert_allclose(v[half:-half], np.degrees(turn)[half:-half] * 1000, rtol=1e-7)


def test_savgol_is_exact_for_its_polynomial_at_uneven_times():
    r = np.random.default_rng(2)
    t = np.cumsum(r.uniform(2, 6, 200))
    x = 900 + 0.4 * t + 3e-4 * t**2
    v = velocity_deg_s(t, x, np.full(200, 500.0), SCREEN, 20.0, method="savgol")
    px, ux = (x - 1000) / 1000, (0.4 + 6e-4 * t) / 1000
    known = ~np.isnan(v)
    assert known.sum() > 180
    np.testing.assert_allclose(v[known], np.degrees(ux / (1 + px**2))[known] * 1000, rtol=1e-8)


def test_even_and_uneven_paths_agree():
    r = np.random.default_rng(3)
    x, y = 1000 + np.cumsum(r.normal(0, 1, (2, 300)), axis=1)
    t = np.arange(300.0)
    late = t.copy()
    late[-1] += 0.4
    a, b = (velocity_deg_s(time, x, y, SCREEN, method="savgol", savgol_order=3) for time in (t, late))
    np.testing.assert_allclose(a[10:-11], b[10:-11], rtol=1e-9)


@pytest.mark.parametrize(("method", "half"), [("savgol", 10), ("fivepoint", 2)])
@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_missing_sample_takes_half_a_window_on_each_side(method, half, bad):
    t, x, y = np.arange(100.0), np.full(100, 1000.0), np.full(100, 500.0)
    y[50] = bad
    v = velocity_deg_s(t, x, y, SCREEN, method=method)
    expected = [*range(half), *range(50 - half, 51 + half), *range(100 - half, 100)]
    assert np.flatnonzero(np.isnan(v)).tolist() == expected


def reference(t, x, y, method, blocks, half, order):
    """Speed from numpy's polynomial fit or the five points, the angle from two directions a moment apart."""
    out = np.full(len(t), NAN)
    usual = np.median(np.diff(t))
    for a, b in zip(blocks, [*blocks[1:], len(t)], strict=True):
        for i in range(a + half, b - half):
            w = slice(i - half, i + half + 1)
            if np.isnan(x[w]).any() or (np.diff(t[w]) > 20 * usual).any():
                continue
            if method == "fivepoint":
                span = t[i + 2] + t[i + 1] - t[i - 1] - t[i - 2]
                rate = [(c[i + 2] + c[i + 1] - c[i - 1] - c[i - 2]) / span for c in (x, y)]
            else:
                rate = [np.polynomial.Polynomial.fit(t[w] - t[i], c[w], order).deriv()(0.0) for c in (x, y)]
            e = 1e-4
            angle = SCREEN.angle_deg(x[i] - e * rate[0], y[i] - e * rate[1], x[i] + e * rate[0], y[i] + e * rate[1])
            out[i] = angle / (2 * e) * 1000
    return out


def trace(seed, n=600, jitter=0.0):
    r = np.random.default_rng(seed)
    t = np.cumsum(2.0 * r.uniform(1 - jitter, 1 + jitter, n)) if jitter else 2.0 * np.arange(n)
    jumps = np.where(r.random(n) < 0.01, r.normal(0, 200, n), 0)
    x = 1000 + np.clip(np.cumsum(jumps), -900, 900) + r.normal(0, 0.5, n)
    y = 500 + np.clip(np.cumsum(jumps[::-1]), -450, 450) + r.normal(0, 0.5, n)
    x[r.integers(0, n, 4)] = NAN
    return t, x, np.where(np.isnan(x), NAN, y)


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize(("method", "half", "order"), [("savgol", 5, 2), ("savgol", 5, 4), ("fivepoint", 2, 2)])
def test_equals_the_reference(method, half, order, jitter):
    t, x, y = trace(4, jitter=jitter)
    t[400:] += 200.0  # missing lines
    if jitter:
        t -= t[0]
    blocks = [0, 150]
    v = velocity_deg_s(t, x, y, SCREEN, 20.0, blocks, method=method, savgol_order=order)
    expected = reference(t, x, y, method, blocks, half, order)
    np.testing.assert_allclose(v, expected, rtol=1e-6, atol=1e-6)


# --- detection with them


@pytest.mark.parametrize("method", ["savgol", "fivepoint"])
@pytest.mark.parametrize("seed", range(3))
def test_fixations_are_the_runs_below_the_threshold(method, seed):
    t, x, y = trace(seed)
    config = IvtConfig(velocity_method=method, merge_max_angle_deg=0, min_fixation_ms=0, velocity_threshold_deg_s=25)
    e = detect(t, x, y, SCREEN, config, block_start=[0, 250])
    v = velocity_deg_s(t, x, y, SCREEN, 20.0, [0, 250], method=method)
    slow = np.r_[False, v < 25, False]
    edges = np.flatnonzero(slow[1:] != slow[:-1]).reshape(-1, 2)
    assert len(edges) > 5
    assert e.first_sample.tolist() == edges[:, 0].tolist()
    assert (e.last_sample + 1).tolist() == edges[:, 1].tolist()


def test_two_fixations_and_a_step_with_five_points():
    # the step between samples 99 and 100 is seen from 98 to 101; two samples at each end have no velocity
    t, x = np.arange(200.0), np.where(np.arange(200) < 100, 1000.0, 1100.0)
    e = detect(t, x, np.full(200, 500.0), SCREEN, IvtConfig(velocity_method="fivepoint"))
    assert e.first_sample.tolist() == [2, 102]
    assert e.last_sample.tolist() == [97, 197]
    assert e.onset_ms.tolist() == [1.5, 101.5]


# --- threshold


def test_adaptive_threshold_by_hand():
    # 0 … 200: median 100, median absolute deviation 50
    v = np.r_[np.arange(201.0), NAN, NAN]
    adaptive = {"velocity_threshold_mode": "adaptive"}
    assert threshold_of(v, IvtConfig(**adaptive, velocity_threshold_cap_deg_s=1000)) == 400
    assert threshold_of(v, IvtConfig(**adaptive, velocity_threshold_cap_deg_s=1000, velocity_lambda=1)) == 150
    assert threshold_of(v, IvtConfig(**adaptive)) == 100
    assert threshold_of(v / 1000, IvtConfig(**adaptive)) == 10
    assert threshold_of(v, IvtConfig()) == 30
    assert threshold_of(v[:99], IvtConfig(**adaptive)) == 30  # too few to tell
    assert threshold_of(np.full(500, NAN), IvtConfig(**adaptive)) == 30


def test_lambda_six_is_four_sigma_of_noise():
    # Rayleigh: median σ·√(2 ln 2) = 1.1774 σ; MAD 0.4485 σ
    speed = np.hypot(*np.random.default_rng(5).normal(0, 10, (2, 400_000)))
    assert threshold_of(speed, IvtConfig(velocity_threshold_mode="adaptive")) == pytest.approx(38.7, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_adaptive_detection_is_detection_at_that_threshold(method):
    t, x, y = trace(7)
    options = {"velocity_threshold_mode": "adaptive", "velocity_threshold_floor_deg_s": 1}
    adaptive = IvtConfig(velocity_method=method, **options)
    threshold = threshold_of(velocity_deg_s(t, x, y, SCREEN, method=method), adaptive)
    assert 1 < threshold < 100
    fixed = IvtConfig(velocity_method=method, velocity_threshold_deg_s=threshold)
    np.testing.assert_array_equal(detect(t, x, y, SCREEN, adaptive).frame(), detect(t, x, y, SCREEN, fixed).frame())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS))
def test_a_slower_clock_scales_velocities_and_threshold(seed, method):
    t, x, y = trace(seed, n=300)
    a = velocity_deg_s(t, x, y, SCREEN, 20.0, method=method)
    b = velocity_deg_s(2 * t, x, y, SCREEN, 40.0, method=method, max_gap_ms=150)
    np.testing.assert_allclose(a, 2 * b, rtol=1e-9, atol=1e-9)
    wide = {"velocity_threshold_floor_deg_s": 1e-6, "velocity_threshold_cap_deg_s": 1e9}
    config = IvtConfig(velocity_threshold_mode="adaptive", **wide)
    assert threshold_of(a, config) == pytest.approx(2 * threshold_of(b, config))


@pytest.mark.parametrize("values", [{"velocity_threshold_floor_deg_s": 150}, {"velocity_threshold_cap_deg_s": 5}])
def test_cap_below_floor_is_refused(values):
    with pytest.raises(ConfigError, match=r"\[ivt\] velocity_threshold_cap_deg_s is .* must be at least"):
        parse_config({"ivt": values})


def test_nothing_in_nothing_out():
    for n in (0, 1, 2, 30):
        for method in METHODS:
            assert np.isnan(
                velocity_deg_s(np.arange(float(n)), np.full(n, NAN), np.zeros(n), SCREEN, method=method)
            ).all()
            config = IvtConfig(velocity_method=method, velocity_threshold_mode="adaptive")
            assert len(detect(np.arange(float(n)), np.full(n, NAN), np.full(n, NAN), SCREEN, config)) == 0
