"""DOVES: fixations of gazepipe against those of the data set's authors, and its way from csv.gz to stored fixations.

    python benchmarks/bench_doves.py [DATA] [--speed]

DATA is the folder that holds `doves`; otherwise the environment variable GAZEPIPE_DATA, or `../shared/data`. With
--speed only the times are taken; the row of pandas and pymovements needs these two.

The authors give each fixation's centroid and duration in samples, and no onset. It is found again as the place, after
the fixation before, where the mean of that many samples is the centroid; their rounding (0.01 px, that of the samples
0.1 px) leaves an error below `LARGEST_ERROR_PX`. What has no such place is counted and left out.

* F1: two fixations match if the samples they share are at least half of those that either covers (intersection over
  union >= 0.5), each used once, best first.
* distance: between the centroids of matching fixations, degrees; duration: ours less theirs, ms; medians.

The table at the settings of `gazepipe import doves` is the result; those below it are information, not a choice.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from gazepipe.config import IvtConfig, parse_config
from gazepipe.datasets import raw_settings
from gazepipe.events import fixations
from gazepipe.readers import read_recording
from gazepipe.trials import find_trials

LARGEST_ERROR_PX = 0.08


def locate(x, y, table):
    """First sample and end of each of the authors' fixations in one trial; −1 where there is no such place.

    `table` has a row (x, y, samples) each, in order of time.
    """
    sums = np.zeros((2, x.size + 1))
    np.cumsum([x, y], axis=1, out=sums[:, 1:])
    out, free = np.full((len(table), 2), -1), 0
    for k, (cx, cy, n) in enumerate(table):
        n = int(n)
        if n < 1 or free + n > x.size:
            continue
        mean = (sums[:, free + n :] - sums[:, free : sums.shape[1] - n]) / n
        error = np.hypot(mean[0] - cx, mean[1] - cy)
        best = int(error.argmin())
        if error[best] <= LARGEST_ERROR_PX:
            out[k] = free + best, free + best + n
            free += best + n
    return out


def pairs(a, b):
    """Indices of matching events of two lists of (first, end), shape ``(n, 2)``."""
    overlap = np.maximum(np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0]), 0)
    iou = overlap / ((a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - overlap)
    found = []
    while iou.size and iou.max() >= 0.5:
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        iou[i, :] = iou[:, j] = 0
        found.append((i, j))
    return np.array(found, int).reshape(-1, 2)


def load(folder):
    """Configuration, and for each person the recording, its trials and the authors' located fixations by trial."""
    values, _ = raw_settings("doves", folder)
    config = parse_config(values)
    reference = pd.read_csv(folder / "reference_fixations.csv.gz").rename(columns={"duration_samples_200Hz": "samples"})
    stated = {key: part[["x", "y", "samples"]].to_numpy() for key, part in reference.groupby(["observer", "image"])}
    people = {}
    for file in sorted((folder / "recordings").glob("*.csv.gz")):
        recording = read_recording(file, config)
        trials = find_trials(recording, config)
        eye = recording.eyes["cyclopean"]
        theirs = []
        for first, end, image in trials.frame[["first_sample", "last_sample", "stimulus"]].itertuples(index=False):
            table = stated.get((file.name.split(".")[0], int(image[3:6])), np.empty((0, 3)))
            place = locate(eye.x_px[first:end].astype(float), eye.y_px[first:end].astype(float), table)
            place[place[:, 0] >= 0] += first
            theirs.append((place, table))
        people[file.name.split(".")[0]] = (recording, trials, theirs)
    return config, people


def compare(config, people, ivt=None):
    """Counts, F1, and medians of distance and duration, over all trials of all people."""
    ivt, screen = ivt or config.ivt, config.screen.screen()
    n_ours = n_theirs = n_lost = hits = 0
    apart, longer = [], []
    for recording, trials, theirs in people.values():
        found = fixations(recording, screen, ivt, trials)
        found = found[found["trial"] >= 0]
        span = np.column_stack([found["first_sample"], found["last_sample"] + 1])
        place, duration = found[["x_px", "y_px"]].to_numpy(), found["duration_ms"].to_numpy()
        limits = np.searchsorted(found["trial"].to_numpy(), np.arange(len(theirs) + 1))
        for k, (located, table) in enumerate(theirs):
            own = np.arange(limits[k], limits[k + 1])
            there = located[:, 0] >= 0
            match = pairs(span[own], located[there])
            n_ours, n_theirs, n_lost = n_ours + own.size, n_theirs + there.sum(), n_lost + (~there).sum()
            hits += len(match)
            mine, his = own[match[:, 0]], table[there][match[:, 1]]
            apart.append(screen.angle_deg(*place[mine].T, *his[:, :2].T))
            longer.append(duration[mine] - his[:, 2] * 5.0)
    apart, longer = np.concatenate(apart), np.concatenate(longer)
    return {
        "ours": n_ours,
        "theirs": int(n_theirs),
        "not_located": int(n_lost),
        "matched": hits,
        "f1": 2 * hits / (n_ours + n_theirs),
        "distance_deg": float(np.median(apart)),
        "distance_p95_deg": float(np.percentile(apart, 95)),
        "longer_ms": float(np.median(longer)),
        "longer_abs_ms": float(np.median(np.abs(longer))),
    }


def agreement(folder):
    config, people = load(folder)
    r = compare(config, people)
    print(f"{len(people)} people; {r['not_located']} of the authors' fixations have no place in the samples\n")
    print(
        "| settings | gazepipe / authors | matched | F1 | distance | distance, 95 % | ours longer | abs. difference |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("| of the import |", _row(r))
    for threshold, shortest, angle in product((15, 20, 30, 40), (60, 100), (0.5, 1.0)):
        ivt = IvtConfig(
            velocity_threshold_deg_s=threshold, min_fixation_ms=shortest, merge_max_angle_deg=angle, merge_max_gap_ms=75
        )
        name = f"{threshold} deg/s, shortest {shortest} ms, merged to {angle} deg"
        print(f"| {name} |", _row(compare(config, people, ivt)))


def _row(r):
    return (
        f"{r['ours']} / {r['theirs']} | {r['matched']} | {r['f1']:.3f} | {r['distance_deg']:.3f}° | "
        f"{r['distance_p95_deg']:.2f}° | {r['longer_ms']:+.1f} ms | {r['longer_abs_ms']:.1f} ms |"
    )


# ---- speed -----------------------------------------------------------------------------------------------------------


def cpu():
    """CPU seconds of this process and its ended children."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def timed(work):
    """Result, wall seconds and CPU seconds of `work`."""
    start, used = time.perf_counter(), cpu()
    result = work()
    return result, time.perf_counter() - start, cpu() - used


def speed(folder):
    from gazepipe.importing import import_recordings
    from gazepipe.ingest import ingest

    files = sorted((folder / "recordings").glob("*.csv.gz"))
    values, _ = raw_settings("doves", folder)
    config = parse_config(values)
    with tempfile.TemporaryDirectory() as work:
        study, _, report = import_recordings("doves", folder, Path(work), jobs=1)  # compiles what is compiled
        assert not report.failures
        shutil.rmtree(study.store)
        rows = [("gazepipe, one process", *timed(lambda: ingest(study, jobs=1))[1:])]
        shutil.rmtree(study.store)
        rows.append(("gazepipe, pool of 2", *timed(lambda: ingest(study, jobs=2))[1:]))
        rows.append(("gazepipe, nothing changed", *timed(lambda: ingest(study, jobs=1))[1:]))
    n = sum(read_recording(f, config).n_samples for f in files)
    packed = [f.read_bytes() for f in files]
    texts, *gunzip = timed(lambda: [gzip.decompress(p) for p in packed])
    rows.append(("of it: gunzip", *gunzip))
    rows.append(("of it: CSV → numbers (pandas)", *timed(lambda: [pd.read_csv(io.BytesIO(t)) for t in texts])[1:]))
    rows.append(("of it: reader (both, and checks)", *timed(lambda: [read_recording(f, config) for f in files])[1:]))
    try:
        import pymovements  # noqa: F401
    except ImportError:
        print("pymovements is not installed: no row for it")
    else:
        with tempfile.TemporaryDirectory() as work:
            peer(files[0], config, Path(work))
            rows.append(
                ("pandas + pymovements", *timed(lambda: [peer(f, config, Path(work)) for f in files])[1:]),
            )
    base = rows[0][2]
    print(f"{len(files)} recordings, {n:,} samples\n")
    print("| work | wall s | CPU s | M samples/s CPU | CPU, gazepipe = 1 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, wall, used in rows:
        print(f"| {name} | {wall:.2f} | {used:.2f} | {n / used / 1e6:.2f} | {used / base:.2f} |")


def peer(file, config, to):
    """The same way with other tools: degrees, velocity, I-VT by trial, centroids; samples and events stored."""
    import polars as pl
    import pymovements as pm

    s = config.screen
    size = (s.width_mm / 10, s.height_mm / 10, s.distance_mm / 10)
    experiment = pm.Experiment(s.width_px, s.height_px, *size, "upper left", 200.0)
    gaze = pm.Gaze(
        pl.from_pandas(pd.read_csv(file)),
        experiment,
        trial_columns=["trial", "image"],
        time_column="time_ms",
        time_unit="ms",
        pixel_columns=["x_px", "y_px"],
    )
    gaze.pix2deg()
    gaze.pos2vel("fivepoint")
    ivt = config.ivt
    gaze.detect(
        "ivt",
        velocity_threshold=ivt.velocity_threshold_deg_s,
        minimum_duration=int(ivt.min_fixation_ms),
        name="fixation",
    )
    gaze.compute_event_properties(("location", {"position_column": "pixel"}))
    gaze.save_samples(to / f"{file.name}.feather")
    gaze.save_events(to / f"{file.name}.events.feather")
    return gaze


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("data", nargs="?", type=Path, default=Path(os.environ.get("GAZEPIPE_DATA", default)))
    parser.add_argument("--speed", action="store_true", help="only the times")
    options = parser.parse_args()
    folder = options.data / "doves"
    if not folder.is_dir():
        parser.exit(1, f"no data set in {folder}\n")
    if options.speed:
        speed(folder)
    else:
        agreement(folder)


if __name__ == "__main__":
    main()
