"""Blinks: answers by hand, EyeLink's own blink events, and the truth of a simulated study."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.blinks import blinks
from gazepipe.config import IvtConfig, StudyConfig, load_config
from gazepipe.geometry import Screen
from gazepipe.readers import read_recording
from gazepipe.recording import EyeSamples, Recording
from gazepipe.simulate import simulate_study
from gazepipe.trials import TrialTable

SCREEN = Screen(2000, 1000, 2000.0, 1000.0, 1000.0)
NAN = math.nan


def eye(n, lost=(), pupil=NAN, y=500.0):
    """Steady gaze for `n` samples, missing in the ranges `lost`."""
    x, y, pupil = np.full(n, 1000.0), np.broadcast_to(y, n).astype(float), np.broadcast_to(pupil, n).astype(float)
    for a, b in lost:
        x[a:b] = y[a:b] = pupil[a:b] = NAN
    return EyeSamples(x.astype(np.float32), y.astype(np.float32), pupil.astype(np.float32))


def recording(*eyes, dt=1.0, blocks=(0,), keep=None):
    names = ("left", "right")[: len(eyes)]
    keep = slice(None) if keep is None else keep
    cut = {k: EyeSamples(e.x_px[keep], e.y_px[keep], e.pupil[keep]) for k, e in zip(names, eyes, strict=True)}
    time = dt * np.arange(len(eyes[0].x_px))[keep]
    return Recording(Path("a"), "t", time, cut, np.array(blocks), np.full(len(blocks), 1000 / dt))


def limits(found):
    return list(zip(found["gap_onset_ms"], found["gap_offset_ms"], strict=True))


@pytest.mark.parametrize(("lost", "n"), [(49, 0), (50, 1), (100, 1), (1000, 1), (1001, 0)])
def test_only_losses_of_the_right_length(lost, n):
    found = blinks(recording(eye(2000, [(200, 200 + lost)])), SCREEN, IvtConfig())
    assert limits(found) == [(199.5, 199.5 + lost)] * n
    assert found["duration_ms"].tolist() == [lost] * n  # steady gaze, no pupil: no lid to be seen


def test_zero_pupil_is_a_loss_but_a_missing_one_is_not():
    pupil = np.full(500, 900.0)
    pupil[100:200] = 0
    pupil[300:400:2] = NAN  # some trackers take the pupil at half the rate
    assert limits(blinks(recording(eye(500, pupil=pupil)), SCREEN, IvtConfig())) == [(99.5, 199.5)]
    # a tracker that writes 0 everywhere has no pupil
    assert len(blinks(recording(eye(500, pupil=0.0)), SCREEN, IvtConfig())) == 0


def test_both_eyes_make_one_blink_from_first_loss_to_last_return():
    found = blinks(recording(eye(500, [(100, 150)]), eye(500, [(120, 180)])), SCREEN, IvtConfig())
    assert limits(found) == [(99.5, 179.5)]
    # each alone too short, together long enough
    found = blinks(recording(eye(500, [(100, 130)]), eye(500, [(120, 155)])), SCREEN, IvtConfig())
    assert limits(found) == [(99.5, 154.5)]


def test_one_eye_alone_does_not_blink():
    assert len(blinks(recording(eye(500, [(100, 200)]), eye(500)), SCREEN, IvtConfig())) == 0
    assert len(blinks(recording(eye(500, [(100, 200)]), eye(500, [(200, 300)])), SCREEN, IvtConfig())) == 0


@pytest.mark.parametrize("lost", [[(0, 5000)], [(1000, 3500)], [(0, 3000)], [(1000, 5000)]])
def test_an_eye_that_is_not_tracked_has_no_say(lost):
    found = blinks(recording(eye(5000, [(2000, 2100)]), eye(5000, lost)), SCREEN, IvtConfig())
    assert limits(found) == [(1999.5, 2099.5)]


def test_losses_at_ends_and_over_blocks_are_none():
    trace = eye(1000, [(0, 100), (450, 550), (900, 1000)])
    assert limits(blinks(recording(trace), SCREEN, IvtConfig())) == [(449.5, 549.5)]
    assert len(blinks(recording(trace, blocks=(0, 500)), SCREEN, IvtConfig())) == 0


def test_missing_lines_are_a_loss():
    whole = recording(eye(500, [(200, 300)]))
    keep = np.r_[0:200, 300:500]
    a, b = (blinks(r, SCREEN, IvtConfig()) for r in (whole, recording(eye(500), keep=keep)))
    assert limits(a) == limits(b) == [(199.5, 299.5)]


def test_the_lid_is_part_of_the_blink():
    # The pupil shrinks over the 20 samples before the loss, and grows over the 30 after it.
    pupil = np.interp(np.arange(500), [180, 200, 299, 329], [1000, 600, 400, 1000])
    row = blinks(recording(eye(500, [(200, 300)], pupil)), SCREEN, IvtConfig()).iloc[0]
    # Sample 181 is the first below 1000, sample 328 the last.
    assert (row.gap_onset_ms, row.gap_offset_ms) == (199.5, 299.5)
    assert (row.onset_ms, row.offset_ms, row.duration_ms) == (180.5, 328.5, 148.0)


def test_a_lid_reaches_no_further_than_100_ms():
    pupil = np.interp(np.arange(1000), [0, 500], [1000, 500])
    row = blinks(recording(eye(1000, [(500, 600)], pupil)), SCREEN, IvtConfig()).iloc[0]
    assert row.onset_ms == 499.5 - 100
    assert row.offset_ms == 599.5


def test_without_a_pupil_the_dive_of_gaze_shows_the_lid():
    # 50 px, 2.9°, in 15 ms
    y = np.interp(np.arange(500), [185, 200, 299, 314], [500, 550, 550, 500])
    row = blinks(recording(eye(500, [(200, 300)], y=y)), SCREEN, IvtConfig()).iloc[0]
    assert (row.gap_onset_ms, row.gap_offset_ms) == (199.5, 299.5)
    assert 183 < row.onset_ms < 190  # 30 °/s over 10 ms is 0.3°: a little of the dive's beginning is slower
    assert 309 < row.offset_ms < 316


def test_neighbours_do_not_overlap():
    pupil = np.interp(np.arange(600), [150, 200, 299, 320, 340, 440, 470], [1000, 500, 500, 900, 500, 500, 1000])
    found = blinks(recording(eye(600, [(200, 300), (340, 440)], pupil)), SCREEN, IvtConfig())
    assert len(found) == 2
    assert found["offset_ms"][0] <= found["onset_ms"][1]


def test_trials():
    import pandas as pd

    names = ["onset_ms", "offset_ms", "first_sample", "last_sample", "stimulus", "repeat", "block"]
    table = TrialTable(pd.DataFrame([(100.0, 300.0, 100, 300, "a", 1, 0)], columns=names), [])
    trace = recording(eye(700, [(40, 100), (200, 300), (400, 500)]))
    assert blinks(trace, SCREEN, IvtConfig(), table)["trial"].tolist() == [-1, 0, -1]
    empty = blinks(recording(eye(100)), SCREEN, IvtConfig(), table)
    assert empty["trial"].dtype == np.int64
    assert list(empty.columns) == list(blinks(trace, SCREEN, IvtConfig()).columns)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.integers(-(10**9), 10**9))
def test_order_and_bounds(seed, shift):
    r = np.random.default_rng(seed)
    lost = [[(a, a + int(r.integers(1, 150))) for a in r.integers(0, 2000, 12)] for _ in range(2)]
    pupils = 1000 + np.cumsum(r.normal(0, 3, (2, 2000)), axis=1)
    trace = recording(*(eye(2000, gaps, p) for gaps, p in zip(lost, pupils, strict=True)), blocks=(0, 900))
    found = blinks(trace, SCREEN, IvtConfig())
    assert (found["onset_ms"] <= found["gap_onset_ms"]).all()
    assert (found["offset_ms"] >= found["gap_offset_ms"]).all()
    assert (found["gap_onset_ms"] - found["onset_ms"] <= 101).all()
    assert (found["onset_ms"].to_numpy()[1:] >= found["offset_ms"].to_numpy()[:-1]).all()
    assert (found["gap_offset_ms"] - found["gap_onset_ms"] >= 50).all()
    later = Recording(trace.path, "t", trace.time_ms + shift, trace.eyes, trace.block_start, trace.sampling_rate_hz)
    np.testing.assert_array_equal(blinks(later, SCREEN, IvtConfig())["onset_ms"], found["onset_ms"] + shift)


# --- EyeLink's own blinks

#: File, number of blinks, EyeLink's events that are of one eye alone.
EYELINK = [
    ("test_eyelink.asc", 12, 2),  # 14 blinks of the left eye, 12 of the right
    ("data1.asc", 1, 0),
    ("eyelink_binocular_example.asc", 1, 0),
    ("mono1000.asc.gz", 0, 0),
    ("bino500.asc.gz", 0, 0),
]


@pytest.mark.parametrize(("name", "n", "alone"), EYELINK)
def test_same_blinks_as_the_tracker(data_dir, name, n, alone):
    trace = read_recording(data_dir / "raw" / "eyelink_asc" / name, StudyConfig())
    step = float(np.median(np.diff(trace.time_ms)))
    events = trace.native_events
    rows = [
        (str(e), a, b)
        for k, e, a, b in zip(*(events[c] for c in ("kind", "eye", "onset_ms", "offset_ms")), strict=True)
        if k == "blink"
    ]
    expected, single = [], 0
    if len(trace.eyes) == 1:
        expected = [(a, b) for _, a, b in rows]
    else:
        left, right = ([(a, b) for e, a, b in rows if e == side] for side in trace.eyes)
        pairs = [(p, q) for p in left for q in right if p[0] <= q[1] and q[0] <= p[1]]
        expected = [(min(p[0], q[0]), max(p[1], q[1])) for p, q in pairs]
        single = len(left) + len(right) - 2 * len(pairs)
    assert (len(expected), single) == (n, alone)
    found = blinks(trace, SCREEN, IvtConfig(min_blink_ms=40))
    # EyeLink names the first and the last sample lost; here a loss begins and ends half a step outside them.
    assert limits(found) == [(a - step / 2, b + step / 2) for a, b in expected]


def test_tracker_saccade_around_a_blink_is_about_what_the_lid_takes(data_dir):
    # EyeLink wraps every blink in a saccade: the lid's movement as its own velocity detector sees it.
    trace = read_recording(data_dir / "raw" / "eyelink_asc" / "test_eyelink.asc", StudyConfig())
    found, events = blinks(trace, SCREEN, IvtConfig()), trace.native_events
    saccade = events["kind"] == "saccade"
    before, after = [], []
    for row in found.itertuples():
        around = saccade & (events["onset_ms"] < row.gap_onset_ms) & (events["offset_ms"] > row.gap_offset_ms)
        assert around.sum() >= 1
        before.append(row.onset_ms - events["onset_ms"][around].min())
        after.append(row.offset_ms - events["offset_ms"][around].max())
    assert abs(np.median(before)) < 25
    assert abs(np.median(after)) < 25


def test_simulated_blinks(tmp_path):
    # Simulated lids take 20 ms each to close and to open; the tracker's events name what is wholly hidden.
    simulate_study(tmp_path, users=3, images=10, rate_hz=500, seconds=4.0)
    config = load_config(tmp_path / "gazepipe.toml")
    total = 0
    for path in sorted(tmp_path.rglob("sim*.asc.gz")):
        trace = read_recording(path, config)
        found, events = blinks(trace, config.screen.screen(), config.ivt), trace.native_events
        first = events["eye"] == events["eye"][0]  # both eyes blink alike
        true = np.column_stack([events[c][(events["kind"] == "blink") & first] for c in ("onset_ms", "offset_ms")])
        true = true[true[:, 1] - true[:, 0] > 60]
        assert len(true) > 2
        for begin, end in true:
            at = np.abs(found["gap_onset_ms"] - begin).argmin()
            row = found.iloc[at]
            assert row.gap_onset_ms == pytest.approx(begin, abs=25)  # a drop-out may join it
            assert row.gap_offset_ms == pytest.approx(end, abs=25)
            assert row.onset_ms - (begin - 20) == pytest.approx(0, abs=14)
            assert row.offset_ms - (end + 20) == pytest.approx(0, abs=14)
        assert len(found) == len(true)
        total += len(true)
    assert total > 8
