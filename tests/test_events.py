"""Fixation detection: answers worked out by hand, invariances, and equality with a slow reference."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.config import IvtConfig
from gazepipe.errors import RecordingError
from gazepipe.events import detect, fixations, select_gaze, velocity_deg_s
from gazepipe.geometry import Screen
from gazepipe.recording import EyeSamples, Recording
from gazepipe.trials import TrialTable


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load(Path(__file__).with_name("ivt_reference.py"))

# 1 px is 1 mm, seen from 1000 px away: the arithmetic below is on these numbers.
SCREEN = Screen(2000, 1000, 2000.0, 1000.0, 1000.0)
CENTRE = (1000.0, 500.0)
NAN = math.nan


def px(deg):
    """Column that lies `deg` to the right of the screen's centre."""
    return 1000.0 + 1000.0 * math.tan(math.radians(deg))


def steps(*parts, start=0.0, dt=1.0):
    """Trace that stands at each (degrees, samples) in turn; None is missing."""
    x = np.concatenate([np.full(n, NAN if deg is None else px(deg)) for deg, n in parts])
    return start + dt * np.arange(x.size), x, np.where(np.isnan(x), NAN, 500.0)


def recording(t, eyes, blocks=(0,), **more):
    gaze = {
        k: EyeSamples(np.asarray(x, np.float32), np.asarray(y, np.float32), np.full(len(t), NAN, np.float32))
        for k, (x, y) in eyes.items()
    }
    return Recording(
        Path("a.asc"), "test", np.asarray(t, float), gaze, np.array(blocks), np.full(len(blocks), 1000.0), **more
    )


def trials(*rows):
    import pandas as pd

    names = ["onset_ms", "offset_ms", "first_sample", "last_sample", "stimulus", "repeat", "block"]
    return TrialTable(pd.DataFrame(rows, columns=names), [])


# --- velocity


def test_velocity_of_a_uniform_rotation_is_exact():
    # 50 deg/s, from 30° left to 30° right: the angle at the eye grows linearly, pixels do not.
    t = np.arange(1201.0)
    x = [px(-30 + 0.05 * i) for i in range(1201)]
    v = velocity_deg_s(t, x, np.full(1201, 500.0), SCREEN, 20.0)
    assert np.allclose(v[10:-10], 50.0, rtol=1e-9)
    assert np.isnan(v[:10]).all()
    assert np.isnan(v[-10:]).all()


@pytest.mark.parametrize(("dt", "before", "after"), [(1.0, 10, 10), (4.0, 3, 2), (10.0, 1, 1), (1000 / 60, 1, 0)])
def test_window_has_the_documented_samples(dt, before, after):
    # 20 ms: 21 samples at 1000 Hz, 6 at 250 Hz, 3 at 100 Hz, 2 at 60 Hz
    t, x, y = steps((0.0, 60), dt=dt)
    known = np.flatnonzero(~np.isnan(velocity_deg_s(t, x, y, SCREEN, 20.0)))
    assert known[0] == before
    assert known[-1] == 59 - after


def test_missing_sample_takes_half_a_window_on_each_side():
    t, x, y = steps((0.0, 100))
    y[50] = NAN
    v = velocity_deg_s(t, x, y, SCREEN)
    assert np.flatnonzero(np.isnan(v)).tolist() == [*range(10), *range(40, 61), *range(90, 100)]


def test_velocity_uses_real_time_differences():
    t = np.array([0.0, 10.0, 25.0, 30.0, 40.0])
    x = [px(d) for d in (0.0, 0.1, 0.2, 0.3, 0.4)]
    v = velocity_deg_s(t, x, np.full(5, 500.0), SCREEN, 20.0)
    assert v[1] == pytest.approx(0.2 / 0.025)
    assert v[2] == pytest.approx(0.2 / 0.020)


# --- stages, by hand


def test_two_fixations_and_the_step_between():
    # The 21-sample window sees the step between samples 99 and 100 from 90 to 109, so those are fast.
    t, x, y = steps((0.0, 100), (10.0, 100))
    e = detect(t, x, y, SCREEN, IvtConfig())
    assert e.first_sample.tolist() == [10, 110]
    assert e.last_sample.tolist() == [89, 189]
    assert e.onset_ms.tolist() == [9.5, 109.5]
    assert e.offset_ms.tolist() == [89.5, 189.5]
    assert e.n_samples.tolist() == [80, 80]
    assert np.allclose(e.x_px, [px(0), px(10)])
    assert np.allclose(e.rms_s2s_deg, 0)
    assert np.allclose(e.std_deg, 0)
    assert e.frame().shape == (2, 9)


@pytest.mark.parametrize(("threshold", "n"), [(49.9, 0), (50.1, 1)])
def test_threshold_on_a_slow_rotation(threshold, n):
    t = np.arange(500.0)
    x = [px(-12.5 + 0.05 * i) for i in range(500)]
    config = IvtConfig(velocity_threshold_deg_s=threshold)
    assert len(detect(t, x, np.full(500, 500.0), SCREEN, config)) == n


def test_block_end_of_an_even_window_gets_half_a_sample():
    # At 60 Hz the window is 2 samples: the first has no velocity, the last one has and ends its block.
    t, x, y = steps((0.0, 12), (0.0, 12), dt=1000 / 60)
    t[12:] += 5000
    e = detect(t, x, y, SCREEN, IvtConfig(), block_start=[0, 12])
    assert e.first_sample.tolist() == [1, 13]
    assert e.last_sample.tolist() == [11, 23]
    assert np.allclose(e.offset_ms - e.onset_ms, 11 * 1000 / 60)


def test_merge_needs_time_and_angle_and_weighs_by_samples():
    # 0° for 100 samples, an excursion of one window, then 0.4° for 60 samples: samples 90 to 129 are fast
    parts = [(0.0, 100), (5.0, 20), (0.4, 60)]
    t, x, y = steps(*parts)
    e = detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1))
    assert len(e) == 1
    a, b = 80, 40  # samples left of each by the velocity window
    assert e.n_samples[0] == a + b
    assert e.x_px[0] == pytest.approx((a * px(0) + b * px(0.4)) / (a + b))
    assert (e.first_sample[0], e.last_sample[0]) == (10, 169)
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1, merge_max_angle_deg=0.39))) == 2
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1, merge_max_angle_deg=0))) == 2
    # offset 89.5, onset 129.5: 40 ms is not shorter than 40 ms
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1, merge_max_gap_ms=40))) == 2
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1, merge_max_gap_ms=41))) == 1
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1), trial_start=[110])) == 2
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1), trial_start=[90])) == 2
    assert len(detect(t, x, y, SCREEN, IvtConfig(min_fixation_ms=1), trial_start=[130])) == 2


def test_discard_comes_after_merge():
    # Two parts of 40 ms each are too short alone; merged they stay.
    t, x, y = steps((0.0, 60), (5.0, 20), (0.0, 60))
    assert len(detect(t, x, y, SCREEN, IvtConfig())) == 1
    assert len(detect(t, x, y, SCREEN, IvtConfig(merge_max_angle_deg=0))) == 0


def test_duration_equal_to_the_minimum_stays_at_awkward_rates():
    # 300 Hz: 7-sample window, so 24 samples leave 18, which last 60 ms but for rounding
    for start in np.arange(200) * 0.1:
        t, x, y = steps((0.0, 24), start=start, dt=1000 / 300)
        assert len(detect(t, x, y, SCREEN, IvtConfig())) == 1


def test_blocks_are_never_joined():
    t, x, y = steps((0.0, 200))
    assert len(detect(t, x, y, SCREEN, IvtConfig())) == 1
    assert detect(t, x, y, SCREEN, IvtConfig(), block_start=[0, 100]).first_sample.tolist() == [10, 110]


def test_missing_lines_are_a_gap():
    t, x, y = steps((0.0, 300))
    gone = np.r_[0:100, 200:300]
    e = detect(t[gone], x[gone], y[gone], SCREEN, IvtConfig(merge_max_angle_deg=0))
    assert e.last_sample.tolist() == [89, 189]
    assert len(detect(t[gone], x[gone], y[gone], SCREEN, IvtConfig(max_gap_ms=150, merge_max_angle_deg=0))) == 1


def test_short_run_over_a_gap_inside_the_window_is_not_a_fixation():
    # 30-60 and 61-90 are there; samples 40..49 and 51..70 see valid window ends but have sample 60 in between.
    t, x, y = steps((0.0, 60), (None, 1), (0.0, 60))
    e = detect(t, x, y, SCREEN, IvtConfig(max_gap_ms=0, min_fixation_ms=0, merge_max_angle_deg=0))
    assert e.first_sample.tolist() == [10, 71]
    assert e.last_sample.tolist() == [49, 110]


def test_wild_gaze_is_no_fixation():
    # From far left to far right and back: more than 90° apart, where the sine would be small again
    t = np.arange(400.0)
    x = np.where(np.arange(400) // 20 % 2, 1e6, -1e6)
    assert len(detect(t, x, np.full(400, 500.0), SCREEN, IvtConfig(min_fixation_ms=0))) == 0


@pytest.mark.parametrize("deg", [5.0, 25.0])  # below and above where the series is used
def test_precision_of_wide_steps_is_exact(deg):
    # Left and right by turns: the ends of every 21-sample window are on the same side, so all samples are slow.
    t = np.arange(400.0)
    x = np.where(np.arange(400) % 2, px(-deg / 2), px(deg / 2))
    e = detect(t, x, np.full(400, 500.0), SCREEN, IvtConfig())
    assert e.rms_s2s_deg == pytest.approx([deg], rel=1e-7)
    assert e.std_deg == pytest.approx([deg / 2], rel=1e-7)


def test_nothing_in_nothing_out():
    for n in (0, 1, 2, 30):
        t = np.arange(float(n))
        assert len(detect(t, np.full(n, NAN), np.full(n, NAN), SCREEN, IvtConfig())) == 0
        assert velocity_deg_s(t, np.zeros(n), np.zeros(n), SCREEN).shape == (n,)


# --- fill-in, eyes, noise


@pytest.mark.parametrize(("missing", "filled"), [(73, 73), (74, 0)])  # 74 ms and 75 ms between the samples around
def test_only_gaps_shorter_than_the_limit_are_filled(missing, filled):
    t, x, y = steps((0.0, 50), (None, missing), (1.0, 50))
    gaze = select_gaze(recording(t, {"right": (x, y)}), IvtConfig())
    assert gaze.filled.sum() == filled
    if filled:
        assert np.allclose(np.diff(gaze.x_px[49:124]), (px(1) - px(0)) / 74, atol=1e-3)


def test_gaps_at_ends_and_borders_stay():
    t, x, y = steps((None, 5), (0.0, 50), (None, 5), (None, 5), (0.0, 50), (None, 5))
    gaze = select_gaze(recording(t, {"left": (x, y)}, blocks=(0, 60)), IvtConfig())
    assert not gaze.filled.any()
    assert np.isnan(gaze.x_px).sum() == 20


def test_half_a_sample_is_missing():
    t, x, y = steps((0.0, 30))
    y[10] = NAN
    x[20] = math.inf
    gaze = select_gaze(recording(t, {"left": (x, y)}), IvtConfig(max_gap_ms=0))
    assert np.flatnonzero(np.isnan(gaze.x_px)).tolist() == [10, 20]
    assert np.flatnonzero(np.isnan(gaze.y_px)).tolist() == [10, 20]


def test_eyes():
    t = np.arange(4.0)
    left = ([100, NAN, 100, NAN], [10, NAN, 10, NAN])
    right = ([200, 200, NAN, NAN], [30, 30, NAN, NAN])
    both = recording(t, {"left": left, "right": right})

    def x_of(rec, **options):
        return select_gaze(rec, IvtConfig(max_gap_ms=0, **options)).x_px.tolist()

    def same(a, b):
        np.testing.assert_array_equal(a, b)

    same(x_of(both), [150, 200, 100, NAN])
    same(x_of(both, eye="strict_average"), [150, NAN, NAN, NAN])
    same(x_of(both, eye="left"), left[0])
    same(x_of(both, eye="right"), right[0])
    only = recording(t, {"right": right})
    same(x_of(only, eye="strict_average"), right[0])
    same(x_of(recording(t, {"cyclopean": left}), eye="left"), left[0])
    with pytest.raises(RecordingError, match=r'a\.asc: only the right eye was recorded; .* set \[ivt\] eye to "right"'):
        x_of(only, eye="left")


def test_eyes_are_filled_before_they_are_averaged():
    t, x, y = steps((0.0, 100))
    lx, rx = x.copy(), x + 50
    lx[40:60] = NAN
    gaze = select_gaze(recording(t, {"left": (lx, y), "right": (rx, y)}), IvtConfig())
    assert np.allclose(gaze.x_px, x + 25)
    assert not gaze.filled.any()  # the right eye was there


def test_noise_filters_shrink_towards_gaps():
    t = np.arange(9.0)
    x = np.array([0, 9, 0, 0, NAN, 3, 0, 6, 0], float)
    rec = recording(t, {"left": (x, np.zeros(9))})
    options = {"max_gap_ms": 0, "noise_window": 3}
    mean = select_gaze(rec, IvtConfig(noise_filter="moving_average", **options)).x_px
    np.testing.assert_allclose(mean, [0, 3, 3, 0, NAN, 3, 3, 2, 0])
    median = select_gaze(rec, IvtConfig(noise_filter="median", **options)).x_px
    np.testing.assert_allclose(median, [0, 0, 0, 0, NAN, 3, 3, 0, 0])
    wide = select_gaze(rec, IvtConfig(noise_filter="moving_average", max_gap_ms=0, noise_window=5)).x_px
    np.testing.assert_allclose(wide, [0, 3, 3, 0, NAN, 3, 3, 2, 0])


# --- trials


def test_fixation_running_at_image_onset_is_cut():
    t, x, y = steps((0.0, 100), (10.0, 300), (0.0, 200))
    rec = recording(t, {"left": (x, y)})
    table = trials([250.2, 580.0, 251, 580, "a.png", 1, 0])
    f = fixations(rec, SCREEN, IvtConfig(), table)
    assert f["trial"].tolist() == [-1, -1, 0, 0]
    assert f["at_onset"].tolist() == [False, False, True, False]
    assert f["first_sample"].tolist() == [10, 110, 251, 410]
    assert f["onset_ms"].tolist() == [9.5, 109.5, 250.2, 409.5]
    assert f["offset_ms"].tolist()[1:3] == [250.2, 389.5]
    assert f["n_samples"].tolist() == [80, 141, 139, 180]  # the last one ends after the trial, its middle inside
    assert np.allclose(f["duration_ms"], f["offset_ms"] - f["onset_ms"])


def test_cut_parts_too_short_belong_to_no_trial():
    t, x, y = steps((0.0, 200), (10.0, 200))
    f = fixations(recording(t, {"left": (x, y)}), SCREEN, IvtConfig(), trials([150.0, 400.0, 150, 400, "", 1, 0]))
    assert f["trial"].tolist() == [-1, -1, 0]
    assert f["at_onset"].tolist() == [False, True, False]


def test_cut_parts_have_their_own_centroid():
    t = np.arange(400.0)
    x = 1000 + np.arange(400) * 0.1  # 5.7 deg/s
    table = trials([100.0, 200.0, 100, 200, "a", 1, 0], [200.0, 300.0, 200, 300, "b", 1, 0])
    f = fixations(recording(t, {"left": (x, np.full(400, 500.0))}), SCREEN, IvtConfig(), table)
    assert f["trial"].tolist() == [-1, 0, 1]
    assert np.allclose(f["x_px"], [1000 + 0.1 * 54.5, 1014.95, 1000 + 0.1 * 294.5], atol=1e-3)


@pytest.mark.parametrize(("end", "n"), [(89, 1), (90, 2), (130, 2), (131, 1)])
def test_nothing_is_merged_over_the_end_of_a_trial(end, n):
    # slow samples 10 to 89 and 130 to 169 at the same place; a trial whose end lies between them keeps them apart
    t, x, y = steps((0.0, 100), (5.0, 20), (0.0, 60))
    table = trials([0.0, float(end), 0, end, "a", 1, 0])
    f = fixations(recording(t, {"left": (x, y)}), SCREEN, IvtConfig(min_fixation_ms=1), table)
    assert len(f) == n


def test_without_trials_or_fixations_the_columns_stay():
    t, x, y = steps((None, 50))
    f = fixations(recording(t, {"left": (x, y)}), SCREEN, IvtConfig(), trials([0.0, 50.0, 0, 50, "a", 1, 0]))
    assert list(f.columns) == [
        *("onset_ms", "offset_ms", "duration_ms", "x_px", "y_px", "n_samples", "first_sample", "last_sample"),
        *("rms_s2s_deg", "std_deg", "trial", "at_onset"),
    ]
    assert len(f) == 0
    t, x, y = steps((0.0, 100))
    assert fixations(recording(t, {"left": (x, y)}), SCREEN, IvtConfig())["trial"].tolist() == [-1]


# --- against the reference

MONITOR = Screen(1920, 1080, 531.0, 299.0, 650.0)


def random_trace(seed, n=3000, rate=500.0, jitter=0.0):
    """Fixations with noise and drift, steps of a few samples, gaps of all lengths, and some outliers."""
    r = np.random.default_rng(seed)
    t = np.arange(n) * 1000 / rate + 17.0
    if jitter:
        t = np.cumsum(1000 / rate * r.uniform(1 - jitter, 1 + jitter, n))
    x, y, at, i = np.empty(n), np.empty(n), np.array([960.0, 540.0]), 0
    while i < n:
        m = int(r.integers(3, max(4, int(rate * 0.5))))
        drift = r.normal(0, 60, 2) / rate
        x[i : i + m], y[i : i + m] = (at[:, None] + drift[:, None] * np.arange(m))[:, : min(m, n - i)]
        i += m
        if i >= n:
            break
        at = r.uniform([100, 100], [1800, 1000]) if r.random() < 0.7 else at + r.normal(0, 15, 2)
        k = min(int(r.integers(1, 12)), n - i)
        x[i : i + k], y[i : i + k] = np.linspace(x[i - 1], at[0], k), np.linspace(y[i - 1], at[1], k)
        i += k
    x, y = x + r.normal(0, 1.0, n), y + r.normal(0, 1.0, n)
    for _ in range(n // 150):
        a = int(r.integers(0, n))
        x[a : a + int(r.integers(1, 60))] = NAN
    x[r.integers(0, n, 5)] = 1e5
    y[np.isnan(x)] = NAN
    return t, x, y


def assert_same(events, expected):
    assert events.first_sample.tolist() == [e["samples"][0] for e in expected]
    assert events.last_sample.tolist() == [e["samples"][-1] for e in expected]
    assert events.n_samples.tolist() == [len(e["samples"]) for e in expected]
    for name in ("onset_ms", "offset_ms", "x_px", "y_px", "rms_s2s_deg", "std_deg"):
        got, want = getattr(events, name), [e[name] for e in expected]
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6, err_msg=name)


SETTINGS = [
    {},
    {"min_fixation_ms": 0, "merge_max_angle_deg": 0},
    {"velocity_window_ms": 6, "velocity_threshold_deg_s": 60, "merge_max_angle_deg": 2.0},
    {"max_gap_ms": 200, "merge_max_gap_ms": 300, "merge_max_angle_deg": 5.0, "velocity_threshold_deg_s": 15},
    {"max_gap_ms": 0, "velocity_window_ms": 50},
]


@pytest.mark.parametrize("options", SETTINGS)
@pytest.mark.parametrize(("rate", "jitter"), [(1000.0, 0), (500.0, 0), (250.0, 0), (60.0, 0), (300.0, 0), (120.0, 0.3)])
def test_whole_chain_equals_the_reference(options, rate, jitter):
    config = IvtConfig(**options)
    t, x, y = random_trace(int(rate), rate=rate, jitter=jitter)
    blocks = [0, 700, 701, 2100]
    t[700:] += 400
    t[1500:] += 300  # missing lines inside the last block but one
    rec = recording(t, {"left": (x, y)}, blocks=blocks)
    gaze = select_gaze(rec, config)
    fx, fy = reference.fill(t, x.astype(np.float32), y.astype(np.float32), blocks, config.max_gap_ms)
    np.testing.assert_allclose(gaze.x_px, fx, rtol=1e-6)
    got = detect(t, fx, fy, MONITOR, config, block_start=blocks)
    expected = reference.detect(t, fx, fy, MONITOR, config, blocks)
    assert len(expected) > 3
    assert_same(got, expected)


def test_realistic_trace_equals_the_reference():
    trace = _load(Path(__file__).parents[1] / "benchmarks" / "_trace.py")
    t, x, y, _ = trace.trace(40_000)
    x, y = reference.fill(t, x, y, [0], 75.0)
    expected = reference.detect(t, x, y, trace.SCREEN, IvtConfig())
    assert len(expected) > 100
    assert_same(detect(t, x, y, trace.SCREEN, IvtConfig()), expected)


@pytest.mark.parametrize("options", SETTINGS)
def test_even_and_uneven_paths_agree(options):
    config = IvtConfig(**options)
    t, x, y = random_trace(5, n=20_000)
    even = detect(t, x, y, MONITOR, config)
    late = t.copy()
    late[-1] += 1e-3  # one late sample takes the whole stretch to the uneven path
    uneven = detect(late, x, y, MONITOR, config)
    assert len(even) > 20
    for name in ("first_sample", "last_sample", "n_samples", "x_px", "y_px", "rms_s2s_deg", "std_deg"):
        np.testing.assert_array_equal(getattr(even, name), getattr(uneven, name))


def test_float32_agrees_with_float64():
    t, x, y = random_trace(11, n=50_000, rate=1000.0)
    x, y = x.astype(np.float32), y.astype(np.float32)
    small = detect(t, x, y, MONITOR, IvtConfig())
    large = detect(t, x.astype(float), y.astype(float), MONITOR, IvtConfig())
    # a window whose speed equals the threshold to seven digits may fall either way; this trace has none
    np.testing.assert_array_equal(small.first_sample, large.first_sample)
    np.testing.assert_array_equal(small.last_sample, large.last_sample)
    np.testing.assert_allclose(small.x_px, large.x_px, atol=1e-3)
    np.testing.assert_allclose(small.rms_s2s_deg, large.rms_s2s_deg, rtol=1e-4)
    np.testing.assert_allclose(small.std_deg, large.std_deg, rtol=1e-4)


@pytest.mark.parametrize("rate", [1000.0, 60.0])
def test_velocity_equals_the_reference(rate):
    t, x, y = random_trace(3, n=1500, rate=rate)
    v = velocity_deg_s(t, x, y, MONITOR, 20.0, block_start=[0, 600])
    expected, _ = reference.velocity(t.tolist(), x.tolist(), y.tolist(), MONITOR, 20.0, [0, 600], 75.0)
    np.testing.assert_allclose(v, expected, rtol=1e-9, atol=1e-7)


# --- properties

few = settings(max_examples=40, deadline=None)


@few
@given(seed=st.integers(0, 10_000), shift=st.integers(-(10**9), 10**9))
def test_shifting_time_shifts_events(seed, shift):
    t, x, y = random_trace(seed, n=800, rate=500.0)
    a, b = detect(t, x, y, MONITOR, IvtConfig()), detect(t + shift, x, y, MONITOR, IvtConfig())
    np.testing.assert_array_equal(a.first_sample, b.first_sample)
    np.testing.assert_array_equal(a.onset_ms + shift, b.onset_ms)
    np.testing.assert_array_equal(a.x_px, b.x_px)


@few
@given(seed=st.integers(0, 10_000), power=st.integers(-3, 3))
def test_only_the_ratio_of_screen_and_distance_matters(seed, power):
    t, x, y = random_trace(seed, n=800)
    s = 2.0**power
    scaled = Screen(1920, 1080, 531.0 * s, 299.0 * s, 650.0 * s)
    a, b = detect(t, x, y, MONITOR, IvtConfig()), detect(t, x, y, scaled, IvtConfig())
    np.testing.assert_array_equal(a.frame(), b.frame())


@few
@given(seed=st.integers(0, 10_000), at=st.integers(0, 799), length=st.integers(60, 200))
def test_no_fixation_reaches_over_a_long_gap(seed, at, length):
    t, x, y = random_trace(seed, n=800)
    x[at : at + length] = y[at : at + length] = NAN  # 120 ms and more
    e = detect(t, x, y, MONITOR, IvtConfig())
    assert not ((e.first_sample < at + length) & (e.last_sample >= at)).any()
    assert (e.first_sample[1:] > e.last_sample[:-1]).all()
    assert (e.onset_ms[1:] >= e.offset_ms[:-1]).all()


@few
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 799), min_size=1, max_size=4, unique=True))
def test_cutting_loses_no_sample(seed, cuts):
    t, x, y = random_trace(seed, n=800)
    config = IvtConfig(merge_max_angle_deg=0, min_fixation_ms=0)
    whole = detect(t, x, y, MONITOR, config)
    parts = detect(t, x, y, MONITOR, config, trial_start=sorted(cuts))
    assert parts.n_samples.sum() == whole.n_samples.sum()
    assert (parts.n_samples * parts.x_px).sum() == pytest.approx((whole.n_samples * whole.x_px).sum())
    for c in cuts:
        assert not ((parts.first_sample < c) & (parts.last_sample >= c)).any()


def test_importing_does_not_load_pandas_or_numba():
    code = "import sys, gazepipe.events, gazepipe.trials, gazepipe.quality"
    code += "; assert not {'pandas', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_times_a_hair_apart_make_no_endless_window():
    """Damaged times may lie so close together that a window of 20 ms would hold more samples than there are numbers."""
    time = np.arange(50) * 1e-300
    assert len(detect(time, np.full(50, 500.0), np.full(50, 500.0), SCREEN, IvtConfig())) == 0
