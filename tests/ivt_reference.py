"""Olsen's filter written once more, sample by sample, with trigonometry and lists only: what the kernels must equal."""

from __future__ import annotations

import itertools
import math

SLACK = 1e-3


def angle(screen, x0, y0, x1, y1):
    """Visual angle in degrees, from the law of cosines on the triangle eye, point, point."""
    sx, sy = screen.width_mm / screen.width_px, screen.height_mm / screen.height_px
    (ax, ay), (bx, by) = [
        ((x - screen.width_px / 2) * sx, (y - screen.height_px / 2) * sy) for x, y in ((x0, y0), (x1, y1))
    ]
    a, b = math.hypot(ax, ay, screen.distance_mm), math.hypot(bx, by, screen.distance_mm)
    c = math.hypot(ax - bx, ay - by)
    # Kahan's form of the law of cosines, which stays exact for tiny angles
    a, b = max(a, b), min(a, b)
    mu = c - (a - b) if b >= c else b - (a - c)
    ratio = ((a - b) + c) * max(mu, 0.0) / ((a + (b + c)) * ((a - c) + b))
    return math.degrees(2 * math.atan(math.sqrt(max(ratio, 0.0))))


def there(x, y, i):
    return math.isfinite(x[i]) and math.isfinite(y[i])


def spans(n, blocks):
    return list(zip(blocks, [*blocks[1:], n], strict=True))


def fill(t, x, y, blocks, max_gap):
    x, y = list(map(float, x)), list(map(float, y))
    for a, b in spans(len(t), blocks):
        valid = [i for i in range(a, b) if there(x, y, i)]
        for p, q in itertools.pairwise(valid):
            if q > p + 1 and t[q] - t[p] < max_gap - SLACK:
                for i in range(p + 1, q):
                    w = (t[i] - t[p]) / (t[q] - t[p])
                    x[i], y[i] = x[p] + w * (x[q] - x[p]), y[p] + w * (y[q] - y[p])
    for i in range(len(x)):
        if not there(x, y, i):
            x[i] = y[i] = math.nan
    return x, y


def windows(t, a, b, window_ms):
    steps = [t[i + 1] - t[i] for i in range(a, min(a + 100, b - 1))]
    if not steps:
        return None
    middle = sorted(steps)[len(steps) // 2] if len(steps) % 2 else None
    if middle is None:
        s = sorted(steps)
        middle = (s[len(s) // 2 - 1] + s[len(s) // 2]) / 2
    steps = [s for s in steps if s <= 2.5 * middle]
    step = sum(steps) / len(steps)
    samples = max(2, math.floor(window_ms / step + 0.5) + 1)
    return step, samples // 2, samples - 1 - samples // 2


def velocity(t, x, y, screen, window_ms, blocks, max_gap):
    v, step_at = [math.nan] * len(t), {}
    for a, b in spans(len(t), blocks):
        if (found := windows(t, a, b, window_ms)) is None:
            continue
        step, before, after = found
        for i in range(a, b):
            step_at[i] = step
            lo, hi = i - before, i + after
            if lo < a or hi >= b or not all(there(x, y, j) for j in range(lo, hi + 1)):
                continue
            if any(t[j + 1] - t[j] >= max(max_gap - SLACK, 2.5 * step) for j in range(lo, hi)):
                continue
            v[i] = angle(screen, x[lo], y[lo], x[hi], y[hi]) / (t[hi] - t[lo]) * 1000
    return v, step_at


def detect(t, x, y, screen, config, blocks=(0,), barriers=()):
    """List of dicts, one for each fixation."""
    t, x, y, blocks = [float(v) for v in t], [float(v) for v in x], [float(v) for v in y], [int(b) for b in blocks]
    v, step_at = velocity(t, x, y, screen, config.velocity_window_ms, blocks, config.max_gap_ms)
    slow = [value < config.velocity_threshold_deg_s for value in v]

    def near(i, j):  # may i and j = i + 1 be neighbours?
        return (
            i >= 0
            and j < len(t)
            and j not in blocks
            and not t[j] - t[i] >= max(config.max_gap_ms - SLACK, 2.5 * step_at[i])
        )

    runs = []
    for i in range(len(t)):
        if slow[i]:
            if i > 0 and slow[i - 1] and near(i - 1, i):
                runs[-1].append(i)
            else:
                runs.append([i])
    events = []
    for run in runs:
        p, q = run[0], run[-1]
        events.append(
            {
                "onset_ms": (t[p - 1] + t[p]) / 2 if near(p - 1, p) else t[p] - step_at[p] / 2,
                "offset_ms": (t[q] + t[q + 1]) / 2 if near(q, q + 1) else t[q] + step_at[q] / 2,
                "samples": run,
            }
        )

    def centre(event):
        s = event["samples"]
        return sum(x[i] for i in s) / len(s), sum(y[i] for i in s) / len(s)

    merged = []
    for event in events:
        if merged and config.merge_max_angle_deg > 0:
            last = merged[-1]
            free = not any(last["samples"][-1] < b <= event["samples"][0] for b in [*blocks, *barriers])
            close = event["onset_ms"] - last["offset_ms"] < config.merge_max_gap_ms - SLACK
            if free and close and angle(screen, *centre(last), *centre(event)) <= config.merge_max_angle_deg:
                last["offset_ms"] = event["offset_ms"]
                last["samples"] = last["samples"] + event["samples"]
                continue
        merged.append(dict(event))
    kept = [e for e in merged if e["offset_ms"] - e["onset_ms"] >= config.min_fixation_ms - SLACK]
    for e in kept:
        s = e["samples"]
        e["x_px"], e["y_px"] = centre(e)
        pairs = [(i, j) for i, j in itertools.pairwise(s) if j == i + 1]
        squares = [angle(screen, x[i], y[i], x[j], y[j]) ** 2 for i, j in pairs]
        e["rms_s2s_deg"] = math.sqrt(sum(squares) / len(squares)) if squares else math.nan
        e["std_deg"] = math.sqrt(sum(angle(screen, *centre(e), x[i], y[i]) ** 2 for i in s) / len(s))
    return kept
