"""Fixations of gazepipe against two human experts, on the image recordings of Andersson et al. (2017).

    python benchmarks/bench_lund2013.py [DATA]

DATA is the folder that holds `raw/lund2013`; otherwise the environment variable GAZEPIPE_DATA, or `../shared/data`.
The headline is the table at default settings; the tables below it are information, not a choice of settings.

* κ: Cohen's kappa over samples, fixation against everything else (saccade, PSO, pursuit, blink, undefined).
* F1: of fixations; two match if the samples they share are at least half of the samples either covers
  (intersection over union >= 0.5), each used once, best first.

Andersson, R., Larsson, L., Holmqvist, K., Stridh, M. & Nyström, M. (2017). One algorithm to rule them all? Behavior
Research Methods, 49, 616-637.
"""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from gazepipe.config import IvtConfig
from gazepipe.events import fixations
from gazepipe.geometry import Screen
from gazepipe.recording import EyeSamples, Recording

SCREEN = Screen(1024, 768, 380.0, 300.0, 670.0)
FIXATION = 1


def load(folder):
    """Name → (recording, labels of MN, labels of RA), for the files that both experts labelled."""
    out = {}
    for first in sorted(folder.glob("*_MN.mat")):
        second = first.with_name(first.name.replace("_MN", "_RA"))
        if not second.exists():
            continue
        tables = [loadmat(f, squeeze_me=True)["ETdata"]["pos"].item() for f in (first, second)]
        # One file has two samples more with impossible times; only samples that both experts saw are compared.
        _, a, b = np.intersect1d(tables[0][:, 0], tables[1][:, 0], return_indices=True)
        mn, ra = tables[0][a], tables[1][b]
        assert np.array_equal(mn[:, 3:5], ra[:, 3:5])
        x, y = mn[:, 3].astype(np.float32), mn[:, 4].astype(np.float32)
        lost = (x == 0) & (y == 0)
        x[lost] = y[lost] = np.nan
        time = (mn[:, 0] - mn[0, 0]) / 1000.0
        eyes = {"right": EyeSamples(x, y, mn[:, 1].astype(np.float32))}
        rate = np.array([1000.0 / np.median(np.diff(time))])  # `sampFreq` says 500 Hz in files of 200 Hz
        recording = Recording(first, "lund2013", time, eyes, np.array([0]), rate)
        out[first.stem.removesuffix("_labelled_MN")] = (recording, mn[:, 5] == FIXATION, ra[:, 5] == FIXATION)
    return out


def runs(mask):
    """(first, end) of each run of True."""
    edge = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return edge.reshape(-1, 2)


def kappa(a, b):
    """Cohen's kappa of two masks."""
    agree, p, q = np.mean(a == b), np.mean(a), np.mean(b)
    chance = p * q + (1 - p) * (1 - q)
    return 1.0 if chance == 1 else float((agree - chance) / (1 - chance))


def matches(a, b, least=0.5):
    """Number of one-to-one matches of two lists of (first, end); with `least` 0 a single shared sample is a match."""
    overlap = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    overlap = np.maximum(overlap, 0)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - overlap
    iou = overlap / union
    found = 0
    while iou.size and iou.max() >= max(least, 1e-9):
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        iou[i, :] = iou[:, j] = 0
        found += 1
    return found


def ours(recording, config):
    """Mask and (first, end) of the fixations found."""
    frame = fixations(recording, SCREEN, config)
    events = np.column_stack([frame["first_sample"], frame["last_sample"] + 1])
    mask = np.zeros(recording.n_samples, bool)
    for first, end in events:
        mask[first:end] = True
    return mask, events


def compare(data, config=None):
    """One row a file and "all": (name, Hz, κ of ours-MN, ours-RA, MN-RA, F1 of the same, fixations of ours, MN, RA)."""
    config = config or IvtConfig()
    rows, masks, totals = [], [[], [], []], np.zeros(6)
    for name, (recording, mn, ra) in data.items():
        mask, events = ours(recording, config)
        lists = [events, runs(mn), runs(ra)]
        counts = [len(e) for e in lists]
        hits = [matches(lists[i], lists[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        rows.append((name, recording.sampling_rate_hz[0], *_scores([mask, mn, ra], hits, counts), *counts))
        totals += [*hits, *counts]
        for store, m in zip(masks, (mask, mn, ra), strict=True):
            store.append(m)
    pooled = _scores([np.concatenate(m) for m in masks], totals[:3], totals[3:])
    return [*rows, ("all", np.nan, *pooled, *totals[3:].astype(int))]


def _scores(masks, hits, counts):
    pairs = ((0, 1), (0, 2), (1, 2))
    return (
        *(kappa(masks[i], masks[j]) for i, j in pairs),
        *(2 * h / (counts[i] + counts[j]) for h, (i, j) in zip(hits, pairs, strict=True)),
    )


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    data = load(root / "raw" / "lund2013" / "img")
    if not data:
        sys.exit(f"no labelled recordings in {root / 'raw' / 'lund2013' / 'img'}")
    pairs = ("gazepipe–MN", "gazepipe–RA", "MN–RA")
    print("| recording | Hz |", " | ".join([f"κ {p}" for p in pairs] + [f"F1 {p}" for p in pairs]), end=" ")
    print("| fixations gazepipe / MN / RA |")
    print("| --- |" + " --- |" * 8)
    for name, rate, *scores, n, mn, ra in compare(data):
        hz = "" if np.isnan(rate) else f"{rate:.0f}"
        print(f"| {name} | {hz} |", " | ".join(f"{s:.3f}" for s in scores), f"| {n} / {mn} / {ra} |")
    heads = [f"{kind} {p}" for kind in ("κ", "F1") for p in pairs[:2]]
    print("\n| velocity | threshold |", " | ".join(heads), "|")
    print("| --- |" + " --- |" * 5)
    for method, mode in product(("olsen", "savgol", "fivepoint"), ("fixed", "adaptive")):
        score = compare(data, IvtConfig(velocity_method=method, velocity_threshold_mode=mode))[-1]
        print(f"| {method} | {mode} |", " | ".join(f"{score[i]:.3f}" for i in (2, 3, 5, 6)), "|")
    print("\n| threshold deg/s | shortest ms |", " | ".join(heads), "|")
    print("| --- |" + " --- |" * 5)
    for threshold, shortest in product((20, 30, 40, 50, 60), (40, 60)):
        config = IvtConfig(velocity_threshold_deg_s=threshold, min_fixation_ms=shortest)
        score = compare(data, config)[-1]
        print(f"| {threshold} | {shortest} |", " | ".join(f"{score[i]:.3f}" for i in (2, 3, 5, 6)), "|")


if __name__ == "__main__":
    main()
