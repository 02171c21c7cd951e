"""Accuracy and precision of gazepipe against ETDQualitizer, on its own example recordings.

    python benchmarks/bench_validation.py [DATA]

DATA is the folder that holds `raw/validation`; otherwise the environment variable GAZEPIPE_DATA, or `../shared/data`.
Needs the package ETDQualitizer, which gazepipe itself does not. The screen is that of ETDQualitizer's example script.
Printed: for each file, the largest relative difference of each number over eyes and targets, and the files' means; then
the quality that `gazepipe ingest` stores, against the same numbers of the whole recording and of each fixation.

At targets all definitions are the same. Inside fixations gazepipe takes RMS-S2S and STD as angles at the eye, while
ETDQualitizer takes distances in the plane of azimuth and elevation, which are a little larger away from straight ahead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from gazepipe.accuracy import accuracy_precision
from gazepipe.config import IvtConfig
from gazepipe.events import fixations, select_gaze
from gazepipe.geometry import Screen
from gazepipe.quality import quality
from gazepipe.recording import EyeSamples, Recording

#: `example/python.py` of ETDQualitizer states 528 × 296.9997 mm, 1920 × 1080 px, 650 mm; the files state nothing.
SCREEN = Screen(1920, 1080, 528.0, 296.9997253417969, 650.0)


def load(path, eye):
    """Arguments of `accuracy_precision` for one eye of a file (px from the screen's centre, y up)."""
    table = pd.read_csv(path, sep="\t")
    cx, cy = SCREEN.centre_px
    return (
        table["timestamp"].to_numpy(float),
        cx + table[f"{eye}_x"].to_numpy(float),
        cy - table[f"{eye}_y"].to_numpy(float),
        table["target_id"].to_numpy(),
        cx + table["tar_x"].to_numpy(float),
        cy - table["tar_y"].to_numpy(float),
        SCREEN,
    )


def ours(path, centre="mean"):
    """One row for each eye and target."""
    parts = {eye: accuracy_precision(*load(path, eye), centre).set_index("target") for eye in ("left", "right")}
    return pd.concat(parts)


def theirs(path, centre="mean"):
    """The same numbers from ETDQualitizer."""
    import ETDQualitizer as etd

    table = pd.read_csv(path, sep="\t")
    screen = etd.ScreenConfiguration(SCREEN.width_mm, SCREEN.height_mm, 1920, 1080, SCREEN.distance_mm)
    rows = {}
    for eye in ("left", "right"):
        for number in sorted(set(table["target_id"]) - {-1}):
            part = table[table["target_id"] == number]
            x, y, t = (part[c].to_numpy(float) for c in (f"{eye}_x", f"{eye}_y", "timestamp"))
            quality = etd.DataQuality(x, y, t / 1000, "pixels", screen)
            place = screen.pix_to_deg(float(part["tar_x"].iloc[0]), float(part["tar_y"].iloc[0]))
            offset = quality.accuracy(*place, central_tendency_fun=np.nanmean if centre == "mean" else np.nanmedian)
            rows[eye, number] = {
                **dict(zip(("accuracy_deg", "accuracy_x_deg", "accuracy_y_deg"), offset, strict=True)),
                "rms_s2s_deg": quality.precision_RMS_S2S()[0],
                "std_deg": quality.precision_STD()[0],
                "bcea_deg2": quality.precision_BCEA()[0],
                "data_loss": quality.data_loss_from_invalid() / 100,
                "effective_rate_hz": quality.effective_frequency(),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def recording_quality(path, eye):
    """Data loss, effective rate, medians over fixations of RMS-S2S, STD and BCEA: ours, theirs; number of fixations."""
    import ETDQualitizer as etd

    time, x, y, *_ = load(path, eye)
    gaze_of_eye = EyeSamples(x.astype(np.float32), y.astype(np.float32), np.full(x.size, np.nan, np.float32))
    rate = np.array([1000 / np.median(np.diff(time))])
    recording = Recording(path, "validation", time - time[0], {eye: gaze_of_eye}, np.array([0]), rate)
    # nothing filled in and nothing merged: samples as the file has them
    config = IvtConfig(eye=eye, max_gap_ms=0, merge_max_angle_deg=0)
    gaze = select_gaze(recording, config)
    found = fixations(recording, SCREEN, config, gaze=gaze)
    own = quality(recording, gaze, found, None, SCREEN).recording

    table = pd.read_csv(path, sep="\t")
    screen = etd.ScreenConfiguration(SCREEN.width_mm, SCREEN.height_mm, 1920, 1080, SCREEN.distance_mm)
    px, py = (table[f"{eye}_{axis}"].to_numpy(float) for axis in "xy")
    whole = etd.DataQuality(px, py, time / 1000, "pixels", screen)
    spans = [slice(a, b + 1) for a, b in zip(found["first_sample"], found["last_sample"], strict=True)]
    parts = [etd.DataQuality(px[s], py[s], time[s] / 1000, "pixels", screen) for s in spans]
    peer = {
        "data_loss": whole.data_loss_from_invalid() / 100,
        "effective_rate_hz": whole.effective_frequency(),
        "rms_s2s_deg": np.median([p.precision_RMS_S2S()[0] for p in parts]),
        "std_deg": np.median([p.precision_STD()[0] for p in parts]),
        "bcea_deg2": np.median([p.precision_BCEA()[0] for p in parts]),
    }
    return {k: own[k] for k in peer}, peer, len(parts)


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    files = sorted((root / "raw" / "validation").glob("*.tsv"))
    if not files:
        sys.exit(f"no recordings in {root / 'raw' / 'validation'}")
    pd.set_option("display.width", 200)
    for path in files:
        for centre in ("mean", "median"):
            a, b = ours(path, centre), theirs(path, centre)
            worst = ((a[b.columns] - b).abs() / b.abs().clip(lower=1e-3)).max()
            print(path.stem, centre, "largest relative difference")
            print(worst.map("{:.1e}".format).to_dict())
            print(b.groupby(level=0).mean().map("{:.12g}".format).T.to_string())
    print("\n| whole recording | eye | fixations | number | gazepipe | ETDQualitizer |")
    print("| --- | --- | ---: | --- | ---: | ---: |")
    for path in files:
        for eye in ("left", "right"):
            own, peer, n = recording_quality(path, eye)
            for name, value in peer.items():
                print(f"| {path.stem} | {eye} | {n} | {name} | {own[name]:.8g} | {value:.8g} |")


if __name__ == "__main__":
    main()
