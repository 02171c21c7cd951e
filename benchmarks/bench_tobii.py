"""Fixations of gazepipe against those of Tobii's own I-VT filter, sample by sample.

    python benchmarks/bench_tobii.py [DATA] [--wide]

DATA is the folder that holds `raw/tobii_pro_lab` and `raw/tobii_studio_fgd`; otherwise the environment variable
GAZEPIPE_DATA, or `../shared/data`.

* *Pro Lab, A*: 27,801 samples at 120 Hz with the labels of one filter setting (column `gt_event_type`); the table is
  not an export itself but made from one, so that it is read with a `[csv]` section. Times are whole milliseconds.
* *Pro Lab, B*: an export of the first 41 s of the same recording with the labels of another setting, which the file's
  name tells (strict average, moving average).
* *Studio*: 20 people, 8 pictures, 300 Hz; excerpts of 3 s around each picture, cut out of recordings that Studio
  labelled whole. The screen's pixels are not square (0.8125 × 0.566 mm), its size and distance are in the file.

κ is Cohen's kappa, fixation against everything else; F1 is of fixations, which match if the samples they share are at
least half of the samples either covers. "Inside" leaves out the first and last 100 ms of each excerpt.

Settings are chosen on one half of the data and reported on the other: Studio by picture (000-003, 004-007), Pro Lab by
time (first and second half of the recording). Chosen are the stages that Tobii's user switches (`STAGES`), all numbers
being those of Olsen (2012); `BEST` are the settings with the highest κ, of equals the nearest to the defaults.
`--wide` chooses two of the numbers as well. The sweeps change one setting of `BEST` at a time, on the half that they
were chosen on.

Olsen, A. (2012). The Tobii I-VT Fixation Filter: Algorithm description. Tobii Technology.
"""

from __future__ import annotations

import csv
import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
from bench_lund2013 import kappa, matches, runs

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
    "eye": ("average", "strict_average"),
    "noise_filter": ("none", "moving_average", "median"),
    "max_gap_ms": (0, 75),
    "velocity_window_ms": (16, 20, 23, 27),  # at 300 Hz 6, 7, 8 and 9 samples, at 120 Hz 3, 3, 4 and 4
    "velocity_threshold_deg_s": (25, 28, 30, 32, 35),
    "merge_max_angle_deg": (0, 0.4, 0.5, 0.6),
    "merge_max_gap_ms": (50, 75, 100),
    "min_fixation_ms": (50, 60, 70),
}
STAGES = {
    "noise_filter": SWEEPS["noise_filter"],
    "eye": SWEEPS["eye"],
    "max_gap_ms": (75, 0),
    "merge_max_angle_deg": (0.5, 0),
}
NUMBERS = {"velocity_window_ms": (20, 16, 23), "velocity_threshold_deg_s": (30, 25, 35)}
CHOOSE, REPORT = 0, 1


def load(raw):
    """Name → list of (recording, screen, mask of Tobii's fixations, half that each sample belongs to)."""
    out = {}
    for path in sorted((raw / "tobii_pro_lab").glob("*_eval.tsv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        z = [float(r["eye_z_mm"]) for r in rows if r["eye_z_mm"]]
        labels = np.array([r["gt_event_type"] == "Fixation" for r in rows])
        recording = read_recording(path, StudyConfig(csv=CSV))
        out["Pro Lab, A"] = [(recording, Screen(*PRO_LAB, float(np.median(z))), labels, _by_time(recording))]
    for path in sorted((raw / "tobii_pro_lab").glob("*_short.tsv")):
        recording = read_recording(path, StudyConfig())
        out["Pro Lab, B"] = [(*_labelled(recording, PRO_LAB), _by_time(recording))]
    studio = sorted((raw / "tobii_studio_fgd").glob("*.csv.gz"))
    for k, path in enumerate(studio):
        for recording in read_recordings(path).values():
            half = np.full(recording.n_samples, CHOOSE if k < len(studio) / 2 else REPORT)
            out.setdefault("Studio", []).append((*_labelled(recording, STUDIO), half))
    return out


def _by_time(recording):
    return np.where(np.arange(recording.n_samples) < recording.n_samples / 2, CHOOSE, REPORT)


def _labelled(recording, screen):
    distance = float(np.nanmedian(recording.columns["distance_mm"]))
    return recording, Screen(*screen, distance), recording.columns["native_label"] == "Fixation"


def compare(parts, config, half=None):
    """(samples, agreement, κ, κ inside, F1) over all data, or over the half that settings are chosen or reported on."""
    found, labels, inside, totals = [], [], [], np.zeros(3)
    for recording, screen, theirs, halves in parts:
        use = np.ones(halves.size, bool) if half is None else halves == half
        if not use.any():
            continue
        frame = fixations(recording, screen, config)
        events = np.column_stack([frame["first_sample"], frame["last_sample"] + 1])
        mask = np.zeros(recording.n_samples, bool)
        for first, end in events:
            mask[first:end] = True
        ours, tobii = (e[use[e.sum(axis=1) // 2]] for e in (events, runs(theirs)))
        totals += [matches(ours, tobii), len(ours), len(tobii)]
        time = recording.time_ms
        found.append(mask[use])
        labels.append(theirs[use])
        inside.append(((time >= time[0] + EDGE_MS) & (time <= time[-1] - EDGE_MS))[use])
    found, labels, inside = (np.concatenate(m) for m in (found, labels, inside))
    return (
        found.size,
        float(np.mean(found == labels)),
        kappa(found, labels),
        kappa(found[inside], labels[inside]),
        float(2 * totals[0] / (totals[1] + totals[2])),
    )


def choose(parts, grid):
    """The settings of a grid with the highest κ on the half to choose on; the first, nearest to defaults, of equals."""
    every = [IvtConfig(**dict(zip(grid, values, strict=True))) for values in product(*grid.values())]
    return max(every, key=lambda config: round(compare(parts, config, CHOOSE)[2], 4))


def describe(config):
    """What is not the default."""
    changed = {k: v for k, v in config.model_dump().items() if v != IvtConfig().model_dump()[k]}
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in changed.items()) or "defaults"


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    arguments, wide = [a for a in sys.argv[1:] if a != "--wide"], "--wide" in sys.argv
    root = Path(arguments[0] if arguments else os.environ.get("GAZEPIPE_DATA", default))
    data = load(root / "raw")
    if not data:
        sys.exit(f"no labelled Tobii recordings in {root / 'raw'}")
    print("| data | settings | half | samples | agreement | κ | κ inside | F1 |")
    print("| --- | --- | --- |" + " ---: |" * 5)
    for name, parts in data.items():
        settings = [("defaults", IvtConfig())]
        best = choose(parts, STAGES | NUMBERS) if wide else BEST[name]
        settings += [(describe(best), best)] if best != IvtConfig() else []
        for what, config in settings:
            for title, half in (("choose", CHOOSE), ("report", REPORT), ("all", None)):
                n, *scores = compare(parts, config, half)
                print(f"| {name} | {what} | {title} | {n:,} |", " | ".join(f"{s:.3f}" for s in scores), "|")
    if wide:
        return
    print("\n| from best, changed |", " | ".join(f"κ {name}" for name in data), "|")
    print("| --- |" + " --- |" * len(data))
    for key, values in SWEEPS.items():
        for value in values:
            scores = [
                compare(p, IvtConfig(**(BEST[n].model_dump() | {key: value})), CHOOSE)[2] for n, p in data.items()
            ]
            print(f"| {key} {value} |", " | ".join(f"{s:.3f}" for s in scores), "|")


if __name__ == "__main__":
    main()
