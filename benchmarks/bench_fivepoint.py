"""Five-point I-VT of gazepipe against pymovements: `pos2vel("smooth")` and `ivt`, on real gaze.

    python benchmarks/bench_fivepoint.py [DATA]

DATA is the folder that holds `raw/eyelink_asc`, `raw/irf` and `raw/lund2013`; otherwise the environment variable
GAZEPIPE_DATA, or `../shared/data`. Needs pymovements. Gaps are not filled, nothing is merged, fixations last 60 ms.

1. *Same velocities*: both threshold gazepipe's velocities.
2. *Flat*: the screen is put a hundred thousand times farther away (and the threshold made as many times smaller), where
   angles and pixels are proportional, and samples are taken to be evenly spaced, as pymovements knows a rate and no
   times. Both then make their own velocities out of the same numbers.
3. *As usual*: pymovements' way from pixels, the arc tangent of x and y apart before the derivative is taken, against
   the exact angle at the eye and the samples' own times.

In 2 and 3 pymovements has velocities where gazepipe has none: at the two samples on either end of a trace, by other
formulas, and at a missing sample between four that are there, which no event should contain. Both are made NaN before
its events are found ("set aside"), and counted.

A duration from half-way before the first sample to half-way after the last one is one step longer than pymovements'
last − first, so that its minimum is one step shorter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import bench_irf
import bench_lund2013

from gazepipe.config import IvtConfig, StudyConfig
from gazepipe.events import detect, select_gaze
from gazepipe.geometry import Screen
from gazepipe.readers import read_recording
from gazepipe.velocity import velocity_deg_s

FAR = 1e5
SHORTEST_MS = 60.0
THRESHOLD = 30.0
CONFIG = IvtConfig(velocity_method="fivepoint", max_gap_ms=0, merge_max_angle_deg=0, min_fixation_ms=SHORTEST_MS)


def load(raw):
    """Data set → list of (time in ms, x, y, screen), one for each block of each recording."""
    out = {}
    asc = raw / "eyelink_asc" / "data1.asc"
    if asc.exists():  # the file does not state the screen's size in mm
        out["data1.asc"] = _blocks(read_recording(asc, StudyConfig()), bench_lund2013.SCREEN)
    if (raw / "irf").is_dir():
        irf = bench_irf.load(raw / "irf").values()
        out["irf"] = [b for recording, _ in irf for b in _blocks(recording, bench_irf.SCREEN)]
    if (raw / "lund2013" / "img").is_dir():
        lund = bench_lund2013.load(raw / "lund2013" / "img").values()
        out["lund2013"] = [b for recording, *_ in lund for b in _blocks(recording, bench_lund2013.SCREEN)]
    return out


def _blocks(recording, screen):
    gaze = select_gaze(recording, CONFIG)
    x, y = gaze.x_px.astype(np.float64), gaze.y_px.astype(np.float64)
    return [(recording.time_ms[b], x[b], y[b], screen) for b in recording.blocks()]


def far(screen):
    """The same screen, seen from far away."""
    return Screen(screen.width_px, screen.height_px, screen.width_mm, screen.height_mm, FAR * screen.distance_mm)


def step_ms(time):
    return float(np.median(np.diff(time)))


def own_events(time, x, y, screen, threshold):
    """First and last sample of each fixation."""
    config = CONFIG.model_copy(update={"velocity_threshold_deg_s": threshold})
    events = detect(time, x, y, screen, config)
    return np.column_stack([events.first_sample, events.last_sample])


def peer_events(velocity, time, threshold):
    """The same by pymovements, from velocities of shape (n, 2)."""
    from pymovements.events import ivt

    shortest = round(SHORTEST_MS / step_ms(time)) - 1
    frame = ivt(velocity, minimum_duration=shortest, velocity_threshold=threshold).frame
    return frame.select("onset", "offset").to_numpy().astype(np.int64).reshape(-1, 2)


def peer_velocity(time, degrees):
    """Velocities by pymovements, NaN where gazepipe has none, and how many were set aside at ends and at gaps."""
    from pymovements.transforms.numpy import pos2vel

    velocity = pos2vel(degrees, sampling_rate=1000 / step_ms(time), method="smooth")
    there = ~np.isnan(velocity).any(axis=1)
    ends = np.zeros(time.size, bool)
    ends[:2] = ends[-2:] = True
    missing = np.isnan(degrees).any(axis=1)
    velocity[ends | missing] = np.nan
    return velocity, int((there & ends).sum()), int((there & missing & ~ends).sum())


def compare(block):
    """One block: events of gazepipe, and for each of the three ways those of pymovements, with what was set aside."""
    time, x, y, screen = block
    own = own_events(time, x, y, screen, THRESHOLD)
    velocity = velocity_deg_s(time, x, y, screen, method="fivepoint", max_gap_ms=0)
    same = peer_events(np.column_stack([velocity, np.zeros_like(velocity)]), time, THRESHOLD)

    distant = far(screen)
    (cx, cy), mm = screen.centre_px, screen.mm_per_px
    flat = np.column_stack([(x - cx) * mm[0], (y - cy) * mm[1]]) / distant.distance_mm
    peer, ends, gaps = peer_velocity(time, np.degrees(flat))
    even = step_ms(time) * np.arange(time.size)
    own_flat = own_events(even, x, y, distant, THRESHOLD / FAR)
    their_flat = peer_events(peer, time, THRESHOLD / FAR)
    own_speed = velocity_deg_s(even, x, y, distant, method="fivepoint", max_gap_ms=0)
    speed = np.linalg.norm(peer, axis=1)
    known = ~np.isnan(own_speed)

    usual, *_ = peer_velocity(time, np.degrees(np.arctan(flat * FAR)))
    return {
        "same": (own, same),
        "flat": (own_flat, their_flat),
        "usual": (own, peer_events(usual, time, THRESHOLD)),
        "ends": ends,
        "gaps": gaps,
        "known_differs": int((np.isnan(speed) != ~known).sum()),
        "largest": float(np.max(np.abs(own_speed - speed)[known] / (THRESHOLD / FAR), initial=0)),
    }


def shared(a, b):
    """How many events are in both."""
    return len(set(map(tuple, a.tolist())) & set(map(tuple, b.tolist())))


def total(blocks):
    """Sums over the blocks of a data set: for each way (ours, theirs, in both), then what was set aside."""
    found = [compare(b) for b in blocks]
    out = {}
    for way in ("same", "flat", "usual"):
        counts = np.array([(len(a), len(b), shared(a, b)) for a, b in (f[way] for f in found)])
        out[way] = tuple(counts.sum(axis=0).tolist())
    return out | {
        "ends": sum(f["ends"] for f in found),
        "gaps": sum(f["gaps"] for f in found),
        "known_differs": sum(f["known_differs"] for f in found),
        "largest": max(f["largest"] for f in found),
    }


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    data = load(root / "raw")
    if not data:
        sys.exit(f"no recordings in {root / 'raw'}")
    print("| data | samples | same velocities | flat | as usual | set aside: ends, gaps | largest difference, flat |")
    print("| --- | ---: | --- | --- | --- | --- | ---: |")
    for name, blocks in data.items():
        sums = total(blocks)
        ways = ("{} / {} / {}".format(*sums[way]) for way in ("same", "flat", "usual"))
        n = sum(b[0].size for b in blocks)
        print(f"| {name} | {n:,} |", " | ".join(ways), f"| {sums['ends']}, {sums['gaps']} | {sums['largest']:.1e} |")
    print("\nEvents: gazepipe / pymovements / the same first and last sample. Difference of velocities: in 30 deg/s.")


if __name__ == "__main__":
    main()
