"""Fixations, saccades and blinks of gazepipe against human experts, as sample labels and as events, class by class.

    python benchmarks/bench_experts.py [DATA]

DATA is the folder that holds `raw/lund2013` and `raw/irf`; otherwise the environment variable GAZEPIPE_DATA, or
`../shared/data`.

* *lund2013*: 14 recordings of people looking at images, 500 and 200 Hz, each labelled by two experts, MN and RA
  (Andersson et al., 2017).
* *irf*: 3 recordings of people looking at points, 1000 Hz, one expert (Zemblys et al., 2018). Samples that the expert
  did not label are left out.

gazepipe's three tables become one label for each sample: fixation, saccade, blink, or nothing. A blink, with the lid's
movement, counts before the others, as experts see it. gazepipe has no class for the wobble after a saccade (PSO) nor
for pursuit; such samples count against it wherever it puts them.

* κ: Cohen's kappa over samples of one class against everything else, and over all classes at once (*all*): fixation,
  saccade, blink, anything else.
* F1: of events of one class; two match if the samples they share are at least half of the samples either covers, and,
  in the columns *any*, if they share one sample; each is used once, those that share most first.

Andersson, R., Larsson, L., Holmqvist, K., Stridh, M. & Nyström, M. (2017). One algorithm to rule them all? Behavior
Research Methods, 49, 616-637.
Zemblys, R., Niehorster, D. C., Komogortsev, O. & Holmqvist, K. (2018). Using machine learning to detect events in
eye-tracking data. Behavior Research Methods, 50, 160-181.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import bench_irf
import bench_lund2013
from bench_lund2013 import matches, runs
from scipy.io import loadmat

from gazepipe.blinks import blinks
from gazepipe.config import IvtConfig
from gazepipe.events import fixations, select_gaze
from gazepipe.saccades import saccades

NOTHING, FIXATION, SACCADE, BLINK = 0, 1, 2, 5
CLASSES = {"fixation": FIXATION, "saccade": SACCADE, "blink": BLINK}
UNLABELLED = -1

SETTINGS = {
    f"{method}, {'30 °/s' if mode == 'fixed' else mode}": {"velocity_method": method, "velocity_threshold_mode": mode}
    for method in ("olsen", "savgol", "fivepoint")
    for mode in ("fixed", "adaptive")
}
#: Stages that people change; the rest is Olsen's.
SETTINGS |= {
    "olsen, 20 °/s": {"velocity_threshold_deg_s": 20.0},
    "olsen, 45 °/s": {"velocity_threshold_deg_s": 45.0},
    "olsen, no gap fill-in": {"max_gap_ms": 0.0},
    "olsen, no merging": {"merge_max_angle_deg": 0.0},
}


def load_lund(folder):
    """Name → (recording, screen, labels by expert), blink and everything unknown to gazepipe as they are."""
    out = {}
    for name, (recording, _, _) in bench_lund2013.load(folder).items():
        labels = {}
        for expert in ("MN", "RA"):
            table = loadmat(folder / f"{name}_labelled_{expert}.mat", squeeze_me=True)["ETdata"]["pos"].item()
            labels[expert] = dict(zip(table[:, 0].tolist(), table[:, 5].astype(int).tolist(), strict=True))
        both = sorted(set(labels["MN"]) & set(labels["RA"]))  # as bench_lund2013 does
        labels = {e: np.array([v[t] for t in both]) for e, v in labels.items()}
        out[name] = (recording, bench_lund2013.SCREEN, labels)
    return out


def load_irf(folder):
    """The same for irf, whose class "other" has blinks and whatever else is no eye movement."""
    out = {}
    for name, (recording, labels) in bench_irf.load(folder).items():
        labels = np.where(labels == bench_irf.UNLABELLED, UNLABELLED, labels)
        out[name] = (recording, bench_irf.SCREEN, {"expert": labels})
    return out


def tables(recording, screen, config):
    """Class → (first, end) of the events that gazepipe finds."""
    gaze = select_gaze(recording, config)
    fix = fixations(recording, screen, config, gaze=gaze)
    sac = saccades(recording, screen, config, gaze=gaze, fixations=fix)
    lid = blinks(recording, screen, config)
    found = {
        kind: np.column_stack([frame["first_sample"], frame["last_sample"] + 1]).astype(int)
        for kind, frame in ((FIXATION, fix), (SACCADE, sac))
    }
    ends = [np.searchsorted(recording.time_ms, lid[name]) for name in ("onset_ms", "offset_ms")]
    return found | {BLINK: np.column_stack(ends).astype(int)}


def labelling(n, events):
    """One label a sample; blinks count before saccades, saccades before fixations."""
    out = np.full(n, NOTHING)
    for kind in (FIXATION, SACCADE, BLINK):
        for first, end in events[kind]:
            out[first:end] = kind
    return out


def simple(labels):
    """Labels with all that gazepipe has no class for as "nothing"."""
    return np.where(np.isin(labels, [*CLASSES.values(), UNLABELLED]), labels, NOTHING)


def kappa(a, b):
    """Cohen's kappa of two lists of labels."""
    kinds = np.union1d(a, b)
    agree = np.mean(a == b)
    chance = sum(np.mean(a == k) * np.mean(b == k) for k in kinds)
    return 1.0 if chance == 1 else float((agree - chance) / (1 - chance))


class Score:
    """Sums over recordings of two people's, or programs', labels."""

    def __init__(self):
        self.samples = [], []
        self.events = {kind: np.zeros(4) for kind in CLASSES.values()}

    def add(self, a, b):
        known = (a != UNLABELLED) & (b != UNLABELLED)
        for store, labels in zip(self.samples, (a, b), strict=True):
            store.append(labels[known])
        for kind, total in self.events.items():
            ours, theirs = runs(a == kind), runs(b == kind)
            total += [matches(ours, theirs), matches(ours, theirs, 0), len(ours), len(theirs)]

    def kappa(self, kind=None):
        a, b = (np.concatenate(s) for s in self.samples)
        return kappa(a, b) if kind is None else kappa(a == kind, b == kind)

    def f1(self, kind, *, whole=True):
        half, any_, n, m = self.events[kind]
        return float(2 * (half if whole else any_) / (n + m)) if n + m else float("nan")

    def counts(self, kind):
        return tuple(int(v) for v in self.events[kind][2:])


def compare(data, config):
    """Scores of gazepipe against each expert, by the expert's name."""
    scores = {}
    for recording, screen, experts in data.values():
        ours = labelling(recording.n_samples, tables(recording, screen, config))
        for expert, labels in experts.items():
            scores.setdefault(expert, Score()).add(ours, simple(labels))
    return scores


def between(data):
    """Score of the two experts against each other."""
    score = Score()
    for _, _, experts in data.values():
        score.add(*(simple(labels) for labels in experts.values()))
    return score


def durations(data, config):
    """Number, mean and SD in ms of gazepipe's fixations and saccades, as in tables 3 and 4 of Andersson et al."""
    lengths = {FIXATION: [], SACCADE: []}
    for recording, screen, _ in data.values():
        fix = fixations(recording, screen, config)
        lengths[FIXATION].append(fix["duration_ms"].to_numpy())
        lengths[SACCADE].append(saccades(recording, screen, config, fixations=fix)["duration_ms"].to_numpy())
    joined = {kind: np.concatenate(v) for kind, v in lengths.items()}
    return {kind: (v.size, float(v.mean()), float(v.std())) for kind, v in joined.items()}


def strangers(data, config):
    """What the first expert mostly calls those of gazepipe's saccades that share no sample with one of the expert's."""
    names = {1: "fixation", 3: "PSO", 4: "pursuit", 5: "blink or other", 6: "undefined", UNLABELLED: "unlabelled"}
    found = {}
    for recording, screen, experts in data.values():
        labels = next(iter(experts.values()))
        for first, end in tables(recording, screen, config)[SACCADE]:
            if not (labels[first:end] == SACCADE).any():
                kinds, counts = np.unique(labels[first:end], return_counts=True)
                name = names[int(kinds[counts.argmax()])]
                found[name] = found.get(name, 0) + 1
    return found


def row(name, score):
    cells = [f"{score.kappa():.3f}"]
    for kind in CLASSES.values():
        n, m = score.counts(kind)
        cells += [
            f"{score.kappa(kind):.3f}",
            f"{score.f1(kind):.3f}",
            f"{score.f1(kind, whole=False):.3f}",
            f"{n} / {m}",
        ]
    print(f"| {name} |", " | ".join(cells), "|")


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    lund, irf = load_lund(root / "raw" / "lund2013" / "img"), load_irf(root / "raw" / "irf")
    if not lund and not irf:
        sys.exit(f"no labelled recordings in {root / 'raw'}")
    heads = [f"{what} {name}" for name in CLASSES for what in ("κ", "F1", "F1 any", "n")]
    for title, data in (("lund2013", lund), ("irf", irf)):
        print(f"\n| {title} | κ all |", " | ".join(heads), "|")
        print("| --- |" + " ---: |" * (1 + len(heads)))
        if title == "lund2013":
            row("MN – RA", between(data))
        for name, options in SETTINGS.items():
            for expert, score in compare(data, IvtConfig(**options)).items():
                row(f"{name} – {expert}", score)
        print(
            "\nSaccades that share no sample with an expert's, at the defaults, are called:",
            strangers(data, IvtConfig()),
        )
    for kind, found in durations(lund, IvtConfig()).items():
        name = {v: k for k, v in CLASSES.items()}[kind]
        print("lund2013, defaults: {} {}s, mean {:.0f} ms, SD {:.0f} ms".format(found[0], name, *found[1:]))


if __name__ == "__main__":
    main()
