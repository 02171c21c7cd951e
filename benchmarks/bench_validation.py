"""Accuracy and precision of gazepipe against ETDQualitizer, on its own example recordings.

    python benchmarks/bench_validation.py [DATA]

DATA is the folder that holds `raw/validation`; otherwise the environment variable GAZEPIPE_DATA, or `../shared/data`.
Needs the package ETDQualitizer, which gazepipe itself does not. The screen is that of ETDQualitizer's example script.
Printed: for each file, the largest relative difference of each number over eyes and targets, and the files' means.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from gazepipe.accuracy import accuracy_precision
from gazepipe.geometry import Screen

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


if __name__ == "__main__":
    main()
