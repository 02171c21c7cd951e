from __future__ import annotations

import itertools
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.config import IvtConfig
from gazepipe.errors import ConfigError
from gazepipe.events import Events, detect
from gazepipe.gaze import select_gaze
from gazepipe.geometry import Screen
from gazepipe.live.stream import StreamingFixations, joined
from gazepipe.recording import EyeSamples, Recording

SCREEN = Screen(800, 600, 400, 300, 573)


def trace(seed: int, n: int, *, even: bool, step_ms: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixations of random lengths with saccades, lost samples, missing lines and noise near the threshold."""
    rng = np.random.default_rng(seed)
    time = np.arange(n) * step_ms
    if not even:
        time = time + rng.uniform(0, 0.4 * step_ms, n)
    x, y = np.empty(n), np.empty(n)
    i = 0
    while i < n:
        length = int(rng.choice([2, 5, 12, 30, 90], p=[0.15, 0.2, 0.25, 0.25, 0.15]))
        far = rng.choice([2.0, 8.0, 150.0], p=[0.3, 0.3, 0.4])
        where = (400, 300) if i == 0 else (x[i - 1], y[i - 1])
        for v, centre in ((x, where[0]), (y, where[1])):
            v[i : i + length] = centre + rng.normal(0, far) + rng.normal(0, rng.choice([0.2, 1.5]), min(length, n - i))
        i += length
    for _ in range(rng.integers(0, 12)):
        a, length = rng.integers(0, n), rng.choice([1, 3, 10, 40])
        x[a : a + length] = np.nan
    keep = np.ones(n, bool)
    for _ in range(rng.integers(0, 5)):
        a, length = rng.integers(0, n), rng.choice([1, 4, 60])
        keep[a : a + length] = even
    return time[keep], x[keep].astype("f4"), y[keep].astype("f4")


def batch(time: np.ndarray, x: np.ndarray, y: np.ndarray, config: IvtConfig, blocks: list[int]) -> Events:
    none = np.zeros(x.shape, np.float32)
    recording = Recording(
        Path("live"), "live", time, {"left": EyeSamples(x, y, none)}, np.array(blocks), np.full(len(blocks), 250.0)
    )
    gaze = select_gaze(recording, config)
    return detect(time, gaze.x_px, gaze.y_px, SCREEN, config, blocks)


def stream(
    time: np.ndarray, x: np.ndarray, y: np.ndarray, config: IvtConfig, blocks: list[int], cuts: list[int]
) -> Events:
    live, parts = StreamingFixations(SCREEN, config), []
    edges = sorted({*cuts, *blocks, len(time)})
    for a, b in itertools.pairwise(edges):
        parts.append(live.push(time[a:b], x[a:b], y[a:b]))
        if b in blocks or b == len(time):
            parts.append(live.finish())
    return joined(parts)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 900),
    even=st.booleans(),
    step=st.sampled_from([1.0, 4.0, 5.0, 1000 / 120]),
    chunk=st.sampled_from([1, 2, 7, 50, 10_000]),
    merge=st.sampled_from([0.0, 0.5, 3.0]),
    gap=st.sampled_from([0.0, 75.0]),
    window=st.sampled_from([5.0, 20.0]),
    second=st.booleans(),
    data=st.data(),
)
def test_events_are_those_of_the_whole(seed, n, even, step, chunk, merge, gap, window, second, data) -> None:  # type: ignore[no-untyped-def]
    time, x, y = trace(seed, n, even=even, step_ms=step)
    if not time.size:
        return
    config = IvtConfig(merge_max_angle_deg=merge, max_gap_ms=gap, velocity_window_ms=window)
    blocks = [0, len(time) // 2] if second and len(time) > 3 else [0]
    cuts = list(range(0, len(time), chunk))
    cuts += data.draw(st.lists(st.integers(0, len(time)), max_size=5))
    want, got = batch(time, x, y, config, blocks), stream(time, x, y, config, blocks, [0, *cuts])
    for name in ("first_sample", "last_sample", "n_samples"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    for field in fields(Events):
        np.testing.assert_allclose(getattr(got, field.name), getattr(want, field.name), rtol=1e-6, atol=1e-9)


def test_memory_is_that_of_the_fixation_that_goes_on() -> None:
    n = 3000
    x = np.repeat(np.random.default_rng(0).uniform(100, 700, n // 60), 60).astype("f4")
    live, held, events = StreamingFixations(SCREEN, IvtConfig()), 0, 0
    for i in range(0, n, 10):
        events += len(live.push(np.arange(i, i + 10) * 5.0, x[i : i + 10], x[i : i + 10]))
        held = max(held, live.held)
    assert events >= n // 60 - 3
    assert held < 300


def test_a_fixation_that_ends_is_told_of_before_it_is_final() -> None:
    live = StreamingFixations(SCREEN, IvtConfig())
    x = np.r_[np.full(150, 400.0), np.full(30, 600.0)]
    assert not len(live.push(np.arange(180) * 5.0, x, np.full(180, 300.0)))
    (first,) = live.ended()
    assert (first.first_sample, first.x_px, first.y_px) == (2, 400.0, 300.0)  # half a window of samples is unknown
    assert live.current is not None
    assert live.current.x_px == 600.0
    assert list(live.finish().x_px) == [400.0, 600.0]


def test_settings_that_need_the_whole_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'velocity_threshold_mode is "adaptive"; expected "fixed"'):
        StreamingFixations(SCREEN, IvtConfig(velocity_threshold_mode="adaptive"))


def test_time_that_goes_back_is_refused() -> None:
    live = StreamingFixations(SCREEN, IvtConfig())
    live.push([0.0, 5.0], [1.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="must increase"):
        live.push([5.0], [1.0], [1.0])
