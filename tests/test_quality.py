"""Data quality of traces whose numbers can be counted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import IvtConfig, StudyConfig, TrialsConfig
from gazepipe.events import fixations, select_gaze
from gazepipe.geometry import Screen
from gazepipe.quality import quality
from gazepipe.recording import EyeSamples, Recording
from gazepipe.trials import find_trials

SCREEN = Screen(2000, 1000, 2000.0, 1000.0, 1000.0)


def measure(x, y, trial=None, blocks=(0,), time=None):
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    time = np.arange(float(x.size)) if time is None else time
    columns = {} if trial is None else {"trial": np.asarray(trial)}
    eyes = {"right": EyeSamples(x, y, np.full(x.size, np.nan, np.float32))}
    rec = Recording(Path("a"), "t", time, eyes, np.array(blocks), np.full(len(blocks), 1000.0), columns=columns)
    config = StudyConfig(trials=TrialsConfig(source="columns"))
    trials = None if trial is None else find_trials(rec, config)
    gaze = select_gaze(rec, config.ivt)
    found = fixations(rec, SCREEN, IvtConfig(), trials, gaze)
    return quality(rec, gaze, found, None if trials is None else trials.frame, SCREEN)


def test_counts():
    x = np.full(1000, 1000.0)
    x[100:150] = np.nan  # 51 ms: filled, but lost all the same
    x[300:400] = np.nan  # 101 ms
    x[990:] = np.nan  # to the end: 10 ms from the last sample with gaze to the last sample
    x[500:600] = 2000.0  # one pixel too far right
    q = measure(x, np.where(np.isnan(x), np.nan, 500)).recording
    assert q["samples"] == 1000
    assert q["duration_s"] == 1.0
    assert q["data_loss"] == pytest.approx(0.16)
    assert q["effective_rate_hz"] == pytest.approx(840)
    assert q["nominal_rate_hz"] == 1000
    assert q["n_gaps"] == 3
    assert q["longest_gap_ms"] == 101
    assert q["off_screen"] == pytest.approx(100 / 840)
    assert q["n_fixations"] == 4


def test_precision_of_known_noise():
    # Independent Gaussian noise of σ px at the centre, 1 px = 1/1000 rad: STD √2·σ, RMS-S2S 2·σ
    r = np.random.default_rng(0)
    x, y = r.normal(1000, 0.3, 50_000), r.normal(500, 0.3, 50_000)
    q = measure(x, y).recording
    sigma = math.degrees(0.3 / 1000)
    assert q["std_deg"] == pytest.approx(math.sqrt(2) * sigma, rel=0.02)
    assert q["rms_s2s_deg"] == pytest.approx(2 * sigma, rel=0.02)


def test_trials():
    x = np.r_[np.full(500, 1000.0), np.full(500, 1200.0), np.full(1000, np.nan)]
    table = measure(x, np.where(np.isnan(x), np.nan, 500.0), np.repeat([1, 2, 3], [500, 500, 1000])).trials
    assert table["samples"].tolist() == [500, 500, 1000]
    assert table["data_loss"].tolist() == [0, 0, 1]
    assert table["n_fixations"].tolist() == [1, 1, 0]
    assert table["mean_fixation_ms"].tolist()[:2] == [480.0, 480.0]  # half a window is unknown on each side
    assert np.isnan(table["median_fixation_ms"][2])
    assert np.isnan(table["off_screen"][2])


def test_pauses_between_blocks_are_no_loss():
    q = measure(np.full(400, 1000.0), np.full(400, 500.0), blocks=(0, 200), time=np.r_[0:200.0, 9000:9200.0])
    assert q.recording["duration_s"] == pytest.approx(0.4)
    assert q.recording["effective_rate_hz"] == pytest.approx(1000)
    assert q.recording["n_gaps"] == 0
    assert q.trials.empty
    assert "data_loss" in q.trials


def test_short_pauses_between_trials_are_no_loss_but_lines_missing_in_a_trial_are():
    # 200 ms of trial 1, 500 ms without a line, 100 ms of trial 2, 50 ms without a line, 100 ms more of trial 2
    time = np.r_[0:200.0, 700:800.0, 850:950.0]
    q = measure(np.full(400, 1000.0), np.full(400, 500.0), np.repeat([1, 2], 200), time=time)
    assert q.recording["duration_s"] == pytest.approx(0.45)
    assert q.recording["effective_rate_hz"] == pytest.approx(400 / 0.45)
    assert q.trials["effective_rate_hz"].tolist() == pytest.approx([1000, 800])
    # a hole before the first trial and after the last one is a pause, too
    trial = np.repeat([np.nan, 1, np.nan], [100, 200, 100])
    time = np.r_[0:100.0, 600:800.0, 900:1000.0]
    q = measure(np.full(400, 1000.0), np.full(400, 500.0), trial, time=time)
    assert q.recording["effective_rate_hz"] == pytest.approx(1000)


def test_bcea_of_known_noise():
    # σ px along x and 2σ along y at the centre, 1 px = 1/1000 rad: 2 · ln(1 / 0.32) · π · σ · 2σ
    r = np.random.default_rng(1)
    x, y = r.normal(1000, 0.2, 50_000), r.normal(500, 0.4, 50_000)
    q = measure(x, y).recording
    area = 2 * math.log(1 / 0.32) * math.pi * math.degrees(0.2 / 1000) * math.degrees(0.4 / 1000)
    assert q["bcea_deg2"] == pytest.approx(area, rel=0.02)


def test_bcea_is_that_of_numpy_and_leaves_merged_fixations_out():
    r = np.random.default_rng(2)
    x, y = r.normal(1300, 0.5, 700), r.normal(400, 0.5, 700)
    x[300:320] += 90  # an excursion that merging bridges; it would be half of the spread
    x[500:510] = np.nan
    y = np.where(np.isnan(x), np.nan, y)
    rec = Recording(
        *(Path("a"), "t", np.arange(700.0)),
        {"right": EyeSamples(x.astype(np.float32), y.astype(np.float32), np.full(700, np.nan, np.float32))},
        *(np.array([0]), np.array([1000.0])),
    )
    whole = IvtConfig(merge_max_angle_deg=0)
    gaze = select_gaze(rec, whole)
    parts = fixations(rec, SCREEN, whole, gaze=gaze)
    assert len(parts) == 2
    areas = []
    for a, b in zip(parts["first_sample"], parts["last_sample"] + 1, strict=True):
        p = SCREEN.direction(x[a:b], y[a:b])[~np.isnan(x[a:b])]
        azimuth = np.degrees(np.arctan2(p[:, 0], p[:, 2]))
        elevation = np.degrees(np.arctan2(p[:, 1], np.hypot(p[:, 0], p[:, 2])))
        sx, sy, rho = azimuth.std(ddof=1), elevation.std(ddof=1), np.corrcoef(azimuth, elevation)[0, 1]
        areas.append(2 * math.log(1 / 0.32) * math.pi * sx * sy * math.sqrt(1 - rho**2))
    got = quality(rec, gaze, parts, None, SCREEN).recording["bcea_deg2"]
    assert got == pytest.approx(np.median(areas), rel=1e-4)
    merged = fixations(rec, SCREEN, IvtConfig(), gaze=gaze)
    assert len(merged) == 1
    assert np.isnan(quality(rec, gaze, merged, None, SCREEN).recording["bcea_deg2"])


def test_the_trackers_own_accuracy():
    def stated(eye, *validations):
        rec = Recording(
            *(Path("a"), "t", np.arange(3.0), {e: EyeSamples(*np.ones((3, 3), np.float32)) for e in eye}),
            *(np.array([0]), np.array([1000.0])),
            meta={
                "validations": [
                    {"eye": e, "result": "GOOD", "error_avg_deg": m, "error_max_deg": w} for e, m, w in validations
                ]
            },
        )
        gaze = select_gaze(rec, IvtConfig())
        q = quality(rec, gaze, fixations(rec, SCREEN, IvtConfig(), gaze=gaze), None, SCREEN).recording
        return q["accuracy_deg"], q["accuracy_max_deg"]

    both = (("left", 2.0, 3.0), ("left", 0.4, 0.9), ("right", 0.6, 0.7))
    assert stated(("left", "right"), *both) == pytest.approx((0.5, 0.9))  # the last one of each eye
    assert stated(("right",), *both) == pytest.approx((0.6, 0.7))
    assert np.isnan(stated(("left",))).all()


def test_the_threshold_is_stated():
    r = np.random.default_rng(3)
    x, y = (r.normal(c, 1, 5000).astype(np.float32) for c in (1000, 500))
    rec = Recording(
        *(Path("a"), "t", np.arange(5000.0), {"right": EyeSamples(x, y, x)}, np.array([0]), np.array([1000.0]))
    )
    gaze = select_gaze(rec, IvtConfig())
    found = fixations(rec, SCREEN, IvtConfig(), gaze=gaze)

    def threshold(**options):
        config = IvtConfig(**options) if options else None
        return quality(rec, gaze, found, None, SCREEN, config).recording["velocity_threshold_deg_s"]

    assert np.isnan(threshold())
    assert threshold(velocity_threshold_deg_s=25.0) == 25
    # Velocity over 20 ms of noise of 1 px: σ = √2 px / 20 ms; λ = 6 is 3.87 σ
    sigma = math.degrees(math.sqrt(2) / 1000) / 0.02
    assert threshold(velocity_threshold_mode="adaptive") == pytest.approx(3.87 * sigma, rel=0.05)
