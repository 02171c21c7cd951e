"""Other detectors of fixations and saccades against the experts that gazepipe is set against in `bench_experts.py`.

    python benchmarks/bench_detectors.py [DATA]

DATA as there. Detectors are compared where they are installed, each with its own defaults; where it wants no missing
samples or a pixel's size in degrees it gets what its documentation says. Scored in the same way, from the same samples:

* *pymovements*: `pos2vel("smooth")`, `ivt` at 30 deg/s and 60 ms for fixations, `microsaccades` (Engbert & Kliegl) for
  saccades.
* *REMoDNaV* (Dar, Wagner & Hanke, 2021): all classes; pursuit once as itself, so that it counts as nothing, and once as
  fixation, as gazepipe has it.
* *I2MC* (Hessels et al., 2017): fixations only.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bench_experts import FIXATION, NOTHING, SACCADE, Score, labelling, load_irf, load_lund, simple, tables

from gazepipe.config import IvtConfig


def gazepipe(time, x, y, screen, recording):
    return labelling(time.size, tables(recording, screen, IvtConfig()))


def pymovements(time, x, y, screen, recording):
    from pymovements.events import ivt, microsaccades
    from pymovements.transforms.numpy import pos2vel

    step = np.median(np.diff(time))
    (cx, cy), mm = screen.centre_px, screen.mm_per_px
    flat = np.column_stack([(x - cx) * mm[0], (y - cy) * mm[1]]) / screen.distance_mm
    velocity = pos2vel(np.degrees(np.arctan(flat)), sampling_rate=1000 / step, method="smooth")
    out = np.full(time.size, NOTHING)
    fix = ivt(velocity, minimum_duration=round(60 / step) - 1, velocity_threshold=30.0).frame
    for kind, frame in ((FIXATION, fix), (SACCADE, microsaccades(velocity).frame)):
        for first, last in frame.select("onset", "offset").rows():
            out[first : last + 1] = kind
    return out


def remodnav(time, x, y, screen, recording, *, pursuit=NOTHING):
    import logging

    from remodnav import EyegazeClassifier

    logging.getLogger("remodnav").setLevel(logging.WARNING)
    rate = 1000 / np.median(np.diff(time))
    size = np.degrees(2 * np.arctan(screen.width_mm / 2 / screen.distance_mm)) / screen.width_px
    classifier = EyegazeClassifier(px2deg=size, sampling_rate=rate)
    # its filter fails where gaze is missing within its window of 19 ms at the beginning or the end
    window = round(0.019 * rate) + 1
    whole = np.flatnonzero(np.convolve(~np.isnan(x), np.ones(window), "valid") == window)
    first, end = whole[0], whole[-1] + window
    events = classifier(classifier.preproc(np.rec.fromarrays([x[first:end], y[first:end]], names=("x", "y"))))
    kinds = {"FIXA": FIXATION, "SACC": SACCADE, "ISAC": SACCADE, "PURS": pursuit}
    out = np.full(time.size, NOTHING)
    for event in events:
        span = slice(first + round(event["start_time"] * rate), first + round(event["end_time"] * rate))
        out[span] = kinds.get(event["label"], NOTHING)
    return out


def remodnav_pursuit_is_fixation(time, x, y, screen, recording):
    return remodnav(time, x, y, screen, recording, pursuit=FIXATION)


def i2mc(time, x, y, screen, recording):
    import I2MC
    import pandas as pd

    lost = -float(screen.width_px)
    data = {"time": time, "R_X": x, "R_Y": y}
    options = {
        "xres": screen.width_px,
        "yres": screen.height_px,
        "freq": round(1000 / np.median(np.diff(time))),
        "missingx": lost,
        "missingy": lost,
        "scrSz": [screen.width_mm / 10, screen.height_mm / 10],
        "disttoscreen": screen.distance_mm / 10,
    }
    found, *_ = I2MC.I2MC(pd.DataFrame(data).fillna(lost), options, logging=False)
    out = np.full(time.size, NOTHING)
    for first, last in zip(found["start"], found["end"], strict=True):
        out[int(first) : int(last) + 1] = FIXATION
    return out


DETECTORS = {
    "gazepipe": gazepipe,
    "pymovements": pymovements,
    "REMoDNaV": remodnav,
    "REMoDNaV, pursuit as fixation": remodnav_pursuit_is_fixation,
    "I2MC": i2mc,
}


def compare(data, detector):
    """Scores against each expert."""
    scores = {}
    for recording, screen, experts in data.values():
        eye = recording.eyes["right"]
        x, y = eye.x_px.astype(np.float64), eye.y_px.astype(np.float64)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = detector(recording.time_ms, x, y, screen, recording)
        for expert, labels in experts.items():
            scores.setdefault(expert, Score()).add(found, simple(labels))
    return scores


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    sets = {
        "lund2013": load_lund(root / "raw" / "lund2013" / "img"),
        "irf": load_irf(root / "raw" / "irf"),
    }
    print("| data | expert | detector | κ fixation | F1 fixation | n | κ saccade | F1 saccade | n |")
    print("| --- | --- | --- |" + " ---: |" * 6)
    for title, data in sets.items():
        for name, detector in DETECTORS.items():
            try:
                scores = compare(data, detector)
            except ImportError:
                print(f"| {title} | | {name} | not installed |")
                continue
            for expert, score in scores.items():
                cells = []
                for kind in (FIXATION, SACCADE):
                    n, m = score.counts(kind)
                    cells += [f"{score.kappa(kind):.3f}", f"{score.f1(kind):.3f}", f"{n} / {m}"] if n else ["", "", ""]
                print(f"| {title} | {expert} | {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
