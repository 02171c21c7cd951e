"""A viewing distance for each sample: angles that can be worked out by hand, and when it is not believed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import IvtConfig, ScreenConfig
from gazepipe.distance import viewing_distance
from gazepipe.events import fixations, select_gaze
from gazepipe.quality import quality
from gazepipe.recording import EyeSamples, Recording
from gazepipe.saccades import saccades
from gazepipe.velocity import velocity_deg_s

#: 1 px is 1 mm; the centre is (1000, 500).
CONFIG = ScreenConfig(width_px=2000, height_px=1000, width_mm=2000, height_mm=1000, distance_mm=500, distance="tracker")
SCREEN = CONFIG.screen()
FIXED = IvtConfig(velocity_threshold_deg_s=30)


def recording(x, y, distance=None, rate=1000.0):
    x, y = (np.asarray(v, np.float32) for v in (x, y))
    time = np.arange(x.size) * 1000 / rate
    columns = {} if distance is None else {"distance_mm": np.broadcast_to(distance, x.shape).astype(np.float32)}
    eyes = {"right": EyeSamples(x, y, np.full(x.size, np.nan, np.float32))}
    return Recording(Path("a"), "t", time, eyes, np.array([0]), np.array([rate]), columns=columns)


def gaze_of(rec, config=CONFIG, ivt=FIXED):
    distance, said = viewing_distance(rec, config)
    return dataclasses.replace(select_gaze(rec, ivt), distance_mm=distance), said


def test_twice_as_far_away_a_step_is_half_as_large():
    x = np.repeat([1000.0, 1100.0], 500)
    rec = recording(x, np.full(1000, 500.0), 1000.0)
    gaze, said = gaze_of(rec)
    assert said == [
        "viewing distance from the tracker: 1000 mm, 90 % of the time 1000 … 1000 mm; "
        "[screen] distance_mm = 500 is far from it"
    ]
    found = saccades(rec, SCREEN, FIXED, gaze=gaze)
    assert found["amplitude_deg"].tolist() == [pytest.approx(np.degrees(np.arctan(0.1)), rel=1e-5)]
    assert found["end_x_px"].tolist() == [1100]  # places stay where they are on the screen
    near = saccades(rec, SCREEN, FIXED, gaze=select_gaze(rec, FIXED))
    assert near["amplitude_deg"].tolist() == [pytest.approx(np.degrees(np.arctan(0.2)), rel=1e-5)]
    both = [fixations(rec, SCREEN, FIXED, gaze=g) for g in (gaze, select_gaze(rec, FIXED))]
    assert both[0][["x_px", "y_px"]].to_numpy().tolist() == both[1][["x_px", "y_px"]].to_numpy().tolist()
    assert both[0]["x_px"].tolist() == pytest.approx([1000, 1100])


@pytest.mark.parametrize("distance", [350.0, 700.0, 1100.0])
def test_a_constant_distance_is_that_screen(distance):
    """Everything equals what a fixed screen at that distance gives."""
    r = np.random.default_rng(0)
    steps = np.repeat(r.uniform([300, 100], [1700, 900], (20, 2)), 150, axis=0)
    x, y = (steps + r.normal(0, 0.5, steps.shape)).T
    rec = recording(x, y, distance, 500.0)
    gaze, _ = gaze_of(rec)
    there = CONFIG.model_copy(update={"distance_mm": distance}).screen()
    plain = select_gaze(rec, FIXED)
    for find in (fixations, saccades):
        got, expected = find(rec, SCREEN, FIXED, gaze=gaze), find(rec, there, FIXED, gaze=plain)
        assert len(got) == len(expected) > 15
        for name in got.columns:
            np.testing.assert_allclose(got[name], expected[name], rtol=2e-3, atol=1e-6, err_msg=name)
    a, b = (
        quality(rec, g, fixations(rec, s, FIXED, gaze=g), None, s, FIXED).recording
        for g, s in ((gaze, SCREEN), (plain, there))
    )
    assert a == pytest.approx(b, rel=1e-3, nan_ok=True)


def test_moving_towards_the_screen_while_looking_at_one_place_turns_the_eye():
    """Gaze stays 300 mm right of the centre; from 900 to 600 mm in 10 s the azimuth atan(300 / d) grows."""
    n = 10_000
    d = np.linspace(900, 600, n)
    rec = recording(np.full(n, 1300.0), np.full(n, 500.0), d)
    gaze, _ = gaze_of(rec)
    np.testing.assert_allclose(gaze.distance_mm, d, atol=1e-3)  # steady movement passes the average
    velocity = velocity_deg_s(rec.time_ms, *gaze.seen(SCREEN), SCREEN)
    azimuth = np.degrees(np.arctan(300 / d))
    expected = (azimuth[20:] - azimuth[:-20]) / 0.02
    np.testing.assert_allclose(velocity[10:-10], expected, atol=0.05)
    assert fixations(rec, SCREEN, FIXED, gaze=gaze)["x_px"].tolist() == pytest.approx([1300])


def test_noise_and_holes_of_the_distance_are_smoothed():
    r = np.random.default_rng(1)
    d = 600 + r.normal(0, 5, 5000)
    d[1000:1500] = np.nan
    d[2000:2100] = 5  # millimetres?
    gaze, said = gaze_of(recording(np.full(5000, 1300.0), np.full(5000, 500.0), d))
    assert np.std(gaze.distance_mm[3000:4900]) < 5 / np.sqrt(150)
    assert abs(gaze.distance_mm - 600).max() < 4
    assert "12.0 % of samples with gaze have none of 200 … 2000 mm and were bridged" in said[0]


def test_what_is_not_believed():
    x, y = np.full(1000, 1300.0), np.full(1000, 500.0)
    assert gaze_of(recording(x, y, 700.0), CONFIG.model_copy(update={"distance": "fixed"}))[1] == []
    gaze, said = gaze_of(recording(x, y))
    assert gaze.distance_mm is None
    assert said == ["the tracker gives no viewing distance: the fixed 500 mm was used"]
    gaze, said = gaze_of(recording(x, y, 65.0))  # centimetres
    assert gaze.distance_mm is None
    assert said == [
        "only 0.0 % of samples with gaze have a viewing distance of 200 … 2000 mm: the fixed 500 mm was used"
    ]


def test_a_distance_for_each_block():
    rec = recording(np.full(1000, 1300.0), np.full(1000, 500.0), np.repeat([600.0, 800.0], 500))
    rec = dataclasses.replace(rec, block_start=np.array([0, 500]), sampling_rate_hz=np.array([1000.0, 1000.0]))
    assert viewing_distance(rec, CONFIG)[0].tolist() == np.repeat([600.0, 800.0], 500).tolist()
