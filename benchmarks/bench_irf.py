"""Fixations and saccades of gazepipe against an expert, by velocity method and threshold, at 1000 Hz.

    python benchmarks/bench_irf.py [DATA]

DATA is the folder that holds `raw/irf`; otherwise the environment variable GAZEPIPE_DATA, or `../shared/data`. Three
people look at points that jump over the screen, 81 s each (Zemblys et al., 2018). All settings but those named are the
defaults; the table is information, not a choice of settings.

* κ: Cohen's kappa over samples, of one class against everything else; samples the expert did not label are left out.
* F1: of events; two match if the samples they share are at least half of the samples either covers, each used once.

The expert labels the wobble after a saccade (PSO) as a class of its own; gazepipe has no such class, so that it counts
against it wherever it puts those samples.

Zemblys, R., Niehorster, D. C., Komogortsev, O. & Holmqvist, K. (2018). Using machine learning to detect events in
eye-tracking data. Behavior Research Methods, 50, 160-181.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np

from gazepipe.config import IvtConfig
from gazepipe.events import fixations, select_gaze
from gazepipe.geometry import Screen
from gazepipe.recording import EyeSamples, Recording
from gazepipe.saccades import saccades
from gazepipe.velocity import threshold_deg_s

_spec = importlib.util.spec_from_file_location("bench_lund2013", Path(__file__).with_name("bench_lund2013.py"))
lund = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lund)

#: From the data set's `db_config.json`.
SCREEN = Screen(1920, 1080, 533.0, 301.0, 565.0)
UNLABELLED, FIXATION, SACCADE = 0, 1, 2

SETTINGS = {
    "olsen, 30 °/s": {},
    "olsen, adaptive": {"velocity_threshold_mode": "adaptive"},
    "savgol, 30 °/s": {"velocity_method": "savgol"},
    "savgol, adaptive": {"velocity_method": "savgol", "velocity_threshold_mode": "adaptive"},
    "fivepoint, 30 °/s": {"velocity_method": "fivepoint"},
    "fivepoint, adaptive": {"velocity_method": "fivepoint", "velocity_threshold_mode": "adaptive"},
}


def load(folder):
    """Name → (recording, expert's labels)."""
    out = {}
    for path in sorted(folder.glob("lookAtPoint_*.npy")):
        table = np.load(path)
        (cx, cy), (mm_x, mm_y) = SCREEN.centre_px, SCREEN.mm_per_px
        x = cx + SCREEN.distance_mm * np.tan(np.radians(table["x"].astype(float))) / mm_x
        y = cy + SCREEN.distance_mm * np.tan(np.radians(table["y"].astype(float))) / mm_y
        lost = ~table["status"]
        x[lost] = y[lost] = np.nan
        eye = EyeSamples(x.astype(np.float32), y.astype(np.float32), np.full(len(x), np.nan, np.float32))
        time = np.round(table["t"] * 1000)
        recording = Recording(path, "irf", time, {"right": eye}, np.array([0]), np.array([1000.0]))
        out[path.stem.removeprefix("lookAtPoint_")] = (recording, table["evt"].astype(int))
    return out


def compare(data, config):
    """κ and F1 of fixations, κ and F1 of saccades (all recordings pooled), and the thresholds used."""
    masks, totals, thresholds = {FIXATION: [], SACCADE: []}, {FIXATION: np.zeros(3), SACCADE: np.zeros(3)}, []
    for recording, labels in data.values():
        gaze = select_gaze(recording, config)
        thresholds.append(threshold_deg_s(recording, gaze, SCREEN, config))
        fix = fixations(recording, SCREEN, config, gaze=gaze)
        sac = saccades(recording, SCREEN, config, gaze=gaze, fixations=fix)
        for kind, frame in ((FIXATION, fix), (SACCADE, sac)):
            events = np.column_stack([frame["first_sample"], frame["last_sample"] + 1])
            mask = np.zeros(recording.n_samples, bool)
            for first, end in events:
                mask[first:end] = True
            truth, known = labels == kind, labels != UNLABELLED
            masks[kind].append((mask[known], truth[known]))
            expert = lund.runs(truth)
            totals[kind] += [lund.matches(events, expert), len(events), len(expert)]
    out = []
    for kind in (FIXATION, SACCADE):
        ours, theirs = (np.concatenate(m) for m in zip(*masks[kind], strict=True))
        hits, n, m = totals[kind]
        out += [lund.kappa(ours, theirs), 2 * hits / (n + m), int(n), int(m)]
    return out, thresholds


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    data = load(root / "raw" / "irf")
    if not data:
        sys.exit(f"no labelled recordings in {root / 'raw' / 'irf'}")
    print("| velocity | κ fixation | F1 fixation | fixations ours / expert | κ saccade | F1 saccade |", end=" ")
    print("saccades ours / expert | thresholds °/s |")
    print("| --- |" + " --- |" * 7)
    for name, options in SETTINGS.items():
        (kf, ff, nf, mf, ks, fs, ns, ms), thresholds = compare(data, IvtConfig(**options))
        used = ", ".join(f"{t:.1f}" for t in thresholds)
        print(f"| {name} | {kf:.3f} | {ff:.3f} | {nf} / {mf} | {ks:.3f} | {fs:.3f} | {ns} / {ms} | {used} |")


if __name__ == "__main__":
    main()
