"""A synthetic gaze trace with what makes real ones hard: drift, noise, main-sequence saccades, blinks, drop-outs."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from gazepipe.geometry import Screen

SCREEN = Screen(1920, 1080, 530.0, 298.125, 650.0)


def trace(n=2_000_000, seed=1):
    """`n` samples at 1000 Hz: times in ms, x and y in px (float64, NaN where missing), and which are of a fixation."""
    r = np.random.default_rng(seed)
    deg, fixating = np.empty((n, 2)), np.zeros(n, bool)
    at, i = np.zeros(2), 0
    while i < n:
        m = min(int(np.clip(r.lognormal(5.4, 0.45), 60, 1500)), n - i)
        deg[i : i + m] = at + np.arange(m)[:, None] * r.normal(0, 0.35, 2) / 1000
        fixating[i : i + m] = True
        i += m
        target = r.uniform([-15, -9], [15, 9])
        length = np.hypot(*(target - deg[i - 1]))
        target = deg[i - 1] + (target - deg[i - 1]) * min(1.0, r.gamma(1.6, 3.0) / length)
        m = min(round(21 + 2.2 * np.hypot(*(target - deg[i - 1]))), n - i)  # main sequence, ms
        u = (np.arange(1, m + 1) / max(m, 1)) ** 0.85  # faster at first
        deg[i : i + m] = deg[i - 1] + (u**3 * (10 - 15 * u + 6 * u**2))[:, None] * (target - deg[i - 1])
        at, i = target, i + m
    deg += r.normal(0, 0.012, deg.shape) + lfilter([0.002], [1, -0.995], r.normal(size=deg.shape), axis=0)
    for a in np.cumsum(r.exponential(4500, n // 5000).astype(int) + 500):
        b = a + int(r.uniform(80, 250))
        if b + 15 < n:
            deg[a - 15 : a, 1] += np.linspace(0, 3, 15)  # the lid closes over the pupil
            deg[b : b + 15, 1] += np.linspace(3, 0, 15)
            deg[a:b], fixating[a - 15 : b + 15] = np.nan, False
    for a in r.integers(0, n, n // 20_000):
        deg[a : a + int(r.integers(1, 20))] = np.nan
    cx, cy = SCREEN.centre_px
    mm = np.tan(np.radians(deg)) * SCREEN.distance_mm
    return np.arange(float(n)), mm[:, 0] / SCREEN.mm_per_px[0] + cx, mm[:, 1] / SCREEN.mm_per_px[1] + cy, fixating
