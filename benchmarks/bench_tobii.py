"""Fixations of gazepipe against those of Tobii's own I-VT filter, sample by sample.

    python benchmarks/bench_tobii.py [DATA]

DATA is the folder that holds `raw/tobii_pro_lab` and `raw/tobii_studio_fgd`; otherwise the environment variable
GAZEPIPE_DATA, or `../shared/data`.

* *Pro Lab, A*: 27,801 samples at 120 Hz with the labels of one filter setting (column `gt_event_type`); the table is
  not an export itself but made from one, so that it is read with a `[csv]` section. Times are whole milliseconds.
* *Pro Lab, B*: an export of the first 41 s of the same recording with the labels of another setting, which the file's
  name tells (strict average, moving average).
* *Studio*: 20 people, 8 pictures, 300 Hz; excerpts of 3 s around each picture, cut out of recordings that Studio
  labelled whole. The screen's pixels are not square (0.8125 × 0.566 mm), its size and distance are in the file.

κ is Cohen's kappa, fixation against everything else. "Inside" leaves out the first and last 100 ms of each excerpt.
The settings of "best" were looked for in the product of eye, noise filter, gap fill-in (on, off) and merging (on,
off), all else at its default; the sweeps show that the other values peak at Tobii's published defaults.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
from bench_lund2013 import kappa

from gazepipe.config import CsvConfig, IvtConfig, StudyConfig
from gazepipe.events import fixations
from gazepipe.geometry import Screen
from gazepipe.readers import read_recording
from gazepipe.readers.tobii_studio import read_recordings

PRO_LAB = (1920, 1080, 528.0, 297.0)  # 0.275 mm a pixel, by the export's own mm
STUDIO = (1280, 1024, 1040.0, 580.0)
EDGE_MS = 100.0
CSV = CsvConfig(
    time="time_ms",
    left_x="gaze_left_x_px",
    left_y="gaze_left_y_px",
    right_x="gaze_right_x_px",
    right_y="gaze_right_y_px",
)
BEST = {
    "Pro Lab, A": IvtConfig(eye="average", noise_filter="median", max_gap_ms=0),
    "Pro Lab, B": IvtConfig(eye="strict_average", noise_filter="moving_average"),
    "Studio": IvtConfig(),
}
SWEEPS = {
    "velocity_window_ms": (16, 20, 25, 30),
    "velocity_threshold_deg_s": (25, 28, 30, 32, 35),
    "merge_max_angle_deg": (0.4, 0.5, 0.6),
    "merge_max_gap_ms": (50, 75, 100),
    "min_fixation_ms": (50, 60, 70),
}


def load(raw):
    """Name → list of (recording, screen, mask of Tobii's fixations)."""
    out = {}
    for path in sorted((raw / "tobii_pro_lab").glob("*_eval.tsv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        z = [float(r["eye_z_mm"]) for r in rows if r["eye_z_mm"]]
        labels = np.array([r["gt_event_type"] == "Fixation" for r in rows])
        recording = read_recording(path, StudyConfig(csv=CSV))
        out["Pro Lab, A"] = [(recording, Screen(*PRO_LAB, float(np.median(z))), labels)]
    for path in sorted((raw / "tobii_pro_lab").glob("*_short.tsv")):
        out["Pro Lab, B"] = [_labelled(read_recording(path, StudyConfig()), PRO_LAB)]
    studio = sorted((raw / "tobii_studio_fgd").glob("*.csv.gz"))
    if studio:
        out["Studio"] = [_labelled(r, STUDIO) for path in studio for r in read_recordings(path).values()]
    return out


def _labelled(recording, screen):
    distance = float(np.nanmedian(recording.columns["distance_mm"]))
    return recording, Screen(*screen, distance), recording.columns["native_label"] == "Fixation"


def masks(parts, config):
    """Ours, Tobii's, and which samples are not within `EDGE_MS` of a recording's ends; all parts in a row."""
    found, labels, inside = [], [], []
    for recording, screen, theirs in parts:
        mask = np.zeros(recording.n_samples, bool)
        frame = fixations(recording, screen, config)
        for first, last in zip(frame["first_sample"], frame["last_sample"], strict=True):
            mask[first : last + 1] = True
        found.append(mask)
        labels.append(theirs)
        time = recording.time_ms
        inside.append((time >= time[0] + EDGE_MS) & (time <= time[-1] - EDGE_MS))
    return np.concatenate(found), np.concatenate(labels), np.concatenate(inside)


def compare(parts, config):
    """(samples, agreement, κ, κ inside)."""
    found, labels, inside = masks(parts, config)
    return found.size, float(np.mean(found == labels)), kappa(found, labels), kappa(found[inside], labels[inside])


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    data = load(root / "raw")
    if not data:
        sys.exit(f"no labelled Tobii recordings in {root / 'raw'}")
    print("| data | settings | eye | noise filter | gap fill-in ms | samples | agreement | κ | κ inside |")
    print("| --- |" + " --- |" * 8)
    for name, parts in data.items():
        for what, c in (("default", IvtConfig()), ("best", BEST[name])):
            n, agreement, all_, inside = compare(parts, c)
            print(f"| {name} | {what} | {c.eye} | {c.noise_filter} | {c.max_gap_ms:g} | {n:,} |", end=" ")
            print(f"{agreement:.4f} | {all_:.3f} | {inside:.3f} |")
    print("\n| from best, changed |", " | ".join(f"κ {name}" for name in data), "|")
    print("| --- |" + " --- |" * len(data))
    for key, values in SWEEPS.items():
        for value in values:
            scores = [compare(p, IvtConfig(**(BEST[n].model_dump() | {key: value})))[2] for n, p in data.items()]
            print(f"| {key} {value:g} |", " | ".join(f"{s:.3f}" for s in scores), "|")


if __name__ == "__main__":
    main()
