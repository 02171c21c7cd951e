"""Saccades: answers by hand, a slow reference, and the main sequence of a simulated study."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.config import IvtConfig, load_config
from gazepipe.events import fixations, select_gaze
from gazepipe.geometry import Screen
from gazepipe.readers import read_recording
from gazepipe.recording import EyeSamples, Recording
from gazepipe.saccades import saccades
from gazepipe.simulate import simulate_study
from gazepipe.trials import TrialTable
from gazepipe.velocity import velocity_deg_s

SCREEN = Screen(2000, 1000, 2000.0, 1000.0, 1000.0)  # 1 px is 1 mm, seen from 1000 px away
NAN = math.nan


def px(deg):
    return 1000.0 + 1000.0 * math.tan(math.radians(deg))


def recording(x, y=None, dt=1.0, blocks=(0,)):
    x = np.asarray(x, np.float32)
    y = np.where(np.isnan(x), NAN, 500.0) if y is None else y
    eye = EyeSamples(x, np.asarray(y, np.float32), np.full(x.size, NAN, np.float32))
    rates = np.full(len(blocks), 1000 / dt)
    return Recording(Path("a"), "t", dt * np.arange(x.size), {"right": eye}, np.array(blocks), rates)


def steps(*parts):
    return np.concatenate([np.full(n, NAN if deg is None else px(deg)) for deg, n in parts])


def test_a_step_by_hand():
    # The 21-sample window sees the step between samples 99 and 100 from 90 to 109, always all of it.
    s = saccades(recording(steps((0, 100), (10, 100))), SCREEN, IvtConfig())
    assert len(s) == 1
    row = s.iloc[0]
    assert (row.first_sample, row.last_sample, row.trial) == (90, 109, -1)
    assert (row.onset_ms, row.offset_ms, row.duration_ms) == (89.5, 109.5, 20.0)
    assert row.start_x_px == 1000
    assert row.end_x_px == pytest.approx(px(10), rel=1e-6)
    assert (row.start_y_px, row.end_y_px) == (500, 500)
    assert row.amplitude_deg == pytest.approx(10, rel=1e-5)
    assert row.peak_velocity_deg_s == pytest.approx(500, rel=1e-5)
    assert row.mean_velocity_deg_s == pytest.approx(500, rel=1e-5)
    assert row.direction_deg == pytest.approx(0)


def test_five_points_follow_a_step_more_closely():
    # weights of the step in the four windows that see it: 1, 2, 2, 1 sixths, over 1 ms
    config = IvtConfig(velocity_method="fivepoint", min_saccade_ms=0)
    row = saccades(recording(steps((0, 100), (0.6, 100))), SCREEN, config).iloc[0]
    assert (row.onset_ms, row.offset_ms) == (97.5, 101.5)
    assert row.peak_velocity_deg_s == pytest.approx(200, rel=1e-3)
    assert row.mean_velocity_deg_s == pytest.approx(150, rel=1e-3)


@pytest.mark.parametrize(("shortest", "n"), [(20.0, 1), (20.5, 0)])
def test_short_runs_are_noise(shortest, n):
    trace = recording(steps((0, 100), (10, 100)))
    assert len(saccades(trace, SCREEN, IvtConfig(min_saccade_ms=shortest))) == n


@pytest.mark.parametrize(
    ("dx", "dy", "direction"),
    [(100, 0, 0), (100, -50, 45), (0, -50, 90), (-100, 0, 180), (0, 50, 270), (100, 50, 315)],
)
def test_direction_is_on_the_screen_and_up_is_90(dx, dy, direction):
    tall = Screen(2000, 1000, 2000.0, 2000.0, 1000.0)  # a pixel is twice as high as wide
    late = np.arange(200) >= 100
    s = saccades(recording(1000.0 + dx * late, 500.0 + dy * late), tall, IvtConfig())
    assert s["direction_deg"].tolist() == pytest.approx([direction])


@pytest.mark.parametrize("missing", [1, 30, 200])  # two are filled, one stays a gap
def test_nothing_goes_through_a_gap(missing):
    trace = recording(steps((0, 100), (None, missing), (10, 100), (0, 100)))
    s = saccades(trace, SCREEN, IvtConfig())
    assert len(s) == 1  # the step back
    assert s["first_sample"][0] == 190 + missing
    # without fill-in, a run that the gap's samples without velocity cut short is left out as well
    assert len(saccades(trace, SCREEN, IvtConfig(max_gap_ms=0))) == 1


def test_nothing_goes_over_a_block():
    trace = steps((0, 100), (10, 100), (0, 100))
    assert len(saccades(recording(trace), SCREEN, IvtConfig())) == 2
    s = saccades(recording(trace, blocks=(0, 100)), SCREEN, IvtConfig())
    assert s["first_sample"].tolist() == [190]


def test_what_merging_took_for_noise_is_no_saccade():
    trace = recording(steps((0, 100), (5, 20), (0, 100), (10, 200)))
    found = fixations(trace, SCREEN, IvtConfig())
    assert len(found) == 2
    assert len(saccades(trace, SCREEN, IvtConfig())) == 2
    s = saccades(trace, SCREEN, IvtConfig(), fixations=found)
    assert s["first_sample"].tolist() == [210]
    assert s["onset_ms"][0] == found["offset_ms"][0]
    assert s["offset_ms"][0] == found["onset_ms"][1]


def test_trials_by_the_middle_sample():
    import pandas as pd

    names = ["onset_ms", "offset_ms", "first_sample", "last_sample", "stimulus", "repeat", "block"]
    trace = recording(steps((0, 100), (10, 100), (0, 100), (10, 100)))
    rows = [(0.0, 99.0, 0, 99, "a", 1, 0), (199.0, 400.0, 199, 400, "b", 1, 0)]
    s = saccades(trace, SCREEN, IvtConfig(), TrialTable(pd.DataFrame(rows, columns=names), []))
    assert s["trial"].tolist() == [-1, 1, 1]  # middles 99 (its samples are 90 … 109), 199, 299


def test_empty_tables_have_the_same_columns():
    a = saccades(recording(np.full(50, NAN)), SCREEN, IvtConfig())
    b = saccades(recording(steps((0, 100), (10, 100))), SCREEN, IvtConfig())
    assert list(a.columns) == list(b.columns)
    assert a.dtypes.tolist() == b.dtypes.tolist()
    assert len(a) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(["olsen", "savgol", "fivepoint"]))
def test_equals_the_reference(seed, method):
    r = np.random.default_rng(seed)
    n = 500
    x = 1000 + np.clip(np.cumsum(np.where(r.random(n) < 0.02, r.normal(0, 150, n), 0)), -900, 900) + r.normal(0, 1, n)
    y = 500 + np.clip(np.cumsum(np.where(r.random(n) < 0.02, r.normal(0, 80, n), 0)), -450, 450)
    for at in r.integers(0, n, 3):
        x[at : at + int(r.integers(1, 60))] = NAN
    y[np.isnan(x)] = NAN
    trace = recording(x, y, dt=2.0, blocks=(0, 200))
    config = IvtConfig(velocity_method=method, min_saccade_ms=0)
    gaze = select_gaze(trace, config)
    v = velocity_deg_s(trace.time_ms, gaze.x_px, gaze.y_px, SCREEN, 20.0, [0, 200], method=method)
    expected = []
    for a, b in ((0, 200), (200, n)):
        i = a
        while i < b:
            j = i
            while j < b and v[j] >= 30:
                j += 1
            bounded = j > i and i > a and j < b and v[i - 1] < 30 and v[j] < 30
            if bounded and not gaze.filled[i - 1 : j + 1].any():
                expected.append((i, j - 1, max(v[i:j]), sum(v[i:j]) / (j - i)))
            i = max(j, i + 1)
    s = saccades(trace, SCREEN, config)
    assert s["first_sample"].tolist() == [e[0] for e in expected]
    assert s["last_sample"].tolist() == [e[1] for e in expected]
    np.testing.assert_allclose(s["peak_velocity_deg_s"], [e[2] for e in expected], rtol=1e-9)
    np.testing.assert_allclose(s["mean_velocity_deg_s"], [e[3] for e in expected], rtol=1e-9)
    angle = SCREEN.angle_deg(s["start_x_px"], s["start_y_px"], s["end_x_px"], s["end_y_px"])
    np.testing.assert_allclose(s["amplitude_deg"], angle, rtol=1e-9)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Saccades of one simulated user at 1000 Hz, each with the true one beside it (the tracker's own events)."""
    root = tmp_path_factory.mktemp("study")
    simulate_study(root, users=1, images=8, rate_hz=1000, seconds=3.0)
    config = load_config(root / "gazepipe.toml")
    (path,) = root.rglob("sim01*.asc.gz")
    trace, screen = read_recording(path, config), config.screen.screen()
    ivt = IvtConfig(velocity_method="savgol")
    found = saccades(trace, screen, ivt, fixations=fixations(trace, screen, ivt))
    events = trace.native_events
    truth = {k: v[events["kind"] == "saccade"] for k, v in events.items()}
    middle = (found["onset_ms"] + found["offset_ms"]).to_numpy() / 2
    at = np.searchsorted(truth["onset_ms"], middle, "right") - 1
    inside = (at >= 0) & (middle <= truth["offset_ms"][at])
    return found, {k: v[at] for k, v in truth.items()}, inside, len(truth["onset_ms"])


def test_simulated_saccades_are_found(simulated):
    found, truth, inside, n = simulated
    assert n > 50
    assert inside.mean() > 0.97
    assert inside.sum() > 0.8 * n  # true ones that hide in a blink cannot be
    error = np.abs(found["amplitude_deg"] - truth["amplitude_deg"])[inside]
    assert np.median(error) < 0.1
    assert np.median(np.abs(found["onset_ms"] - truth["onset_ms"])[inside]) < 5


def test_main_sequence(simulated):
    # Durations grow by 2.2 ms/° (Carpenter 1988), peak velocities are about 290 °/s at 5° and 430 °/s at 10°: that is
    # what the simulation states. Smoothing over 20 ms takes a little off the peaks of small saccades.
    found, _, inside, _ = simulated
    amplitude, duration, peak = (
        found[name].to_numpy()[inside] for name in ("amplitude_deg", "duration_ms", "peak_velocity_deg_s")
    )
    slope, intercept = np.polyfit(amplitude, duration, 1)
    assert slope == pytest.approx(2.2, abs=0.5)
    assert intercept == pytest.approx(21, abs=8)
    for size, expected in ((5, 290), (10, 430)):
        near = np.abs(amplitude - size) < 1
        assert near.any()
        assert np.median(peak[near] / amplitude[near]) * size == pytest.approx(expected, rel=0.15)
    assert np.corrcoef(np.log(amplitude), np.log(peak))[0, 1] > 0.95
