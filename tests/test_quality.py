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
