"""What all folds found together: means over people with intervals, tests over maps, as text and files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazepipe.evaluation.scores import Scores, join
from gazepipe.evaluation.statistics import Interval, interval
from gazepipe.evaluation.tables import (
    compare_rows,
    comparisons_markdown,
    csv_text,
    maps_markdown,
    precision_markdown,
    precision_records,
    score_records,
)

__all__ = ["CrossValidation", "FoldResult"]


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Figures of one fold.

    Parameters
    ----------
    repeat, number
        Which, from 1.
    scores
        Of each test map; empty where no maps were asked for.
    precision, verification
        As in `gazepipe.evaluation.report.Evaluation`.
    best, seconds
        Network → best validation, and network → time of training; ``"all"`` is the whole fold.
    """

    repeat: int
    number: int
    scores: Scores
    precision: dict[str, dict[str, dict[str, Any]]]
    verification: dict[str, dict[str, float]]
    best: dict[str, dict[str, float]]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Figures of all folds.

    Means are over people: each is tested once in a repeat, and the repeats of a person are averaged first. Intervals
    are Student's 95 % over people; they take people for independent, though folds share training users. Verification
    has one figure a fold, and its interval is over folds.
    """

    folds: list[FoldResult]
    facts: dict[str, Any]

    @property
    def scores(self) -> Scores:
        """Every test map of every fold."""
        return join([f.scores for f in self.folds])

    @property
    def precision(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Protocol → m → over people: mean, deviation over draws within a fold, each person's mean over repeats."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for protocol in dict.fromkeys(p for f in self.folds for p in f.precision):
            for m in dict.fromkeys(m for f in self.folds for m in f.precision.get(protocol, {})):
                rows = [f.precision[protocol][m] for f in self.folds if m in f.precision.get(protocol, {})]
                people: dict[str, list[float]] = {}
                for row in rows:
                    for user, share in row["users"].items():
                        people.setdefault(user, []).append(share)
                users = {user: float(np.mean(shares)) for user, shares in people.items()}
                spread = float(np.mean([row["sd"] for row in rows]))
                found.setdefault(protocol, {})[m] = {
                    "mean": float(np.mean(list(users.values()))),
                    "sd": spread,
                    "users": users,
                }
        return found

    @property
    def verification(self) -> dict[str, dict[str, Interval]]:
        """Equal error rate and d′ of each m, over folds."""
        sizes = dict.fromkeys(m for f in self.folds for m in f.verification)
        return {
            m: {
                key: interval([f.verification[m][key] for f in self.folds if m in f.verification])
                for key in ("eer", "d_prime")
            }
            for m in sizes
        }

    def markdown(self) -> str:
        """Tables for people."""
        f = self.facts
        what = "images" if f["protocol"] == "closed" else "users"
        repeated = f", {f['repeats']} times" if f["repeats"] > 1 else ""
        took = sum(fold.seconds["all"] for fold in self.folds) / 60
        lines = [
            f"# Cross-validation of {f['study']}",
            "",
            f"{f['protocol'].capitalize()} set, {f['folds']} folds over {what}{repeated}; "
            f"{f['preset'] or 'configuration'} settings; {f['users']} users, {f['images']} images; in a fold "
            f"{_range(f['users_train'])} training and {_range(f['users_test'])} test users, "
            f"{_range(f['images_train'])} and {_range(f['images_test'])} images. Split seed {f['split_seed']}, "
            f"training seed {f['seed']}; {took:.1f} min in all.",
            "",
        ]
        cells = compare_rows(self.scores)
        if cells:
            lines += [
                "Mean over users with Student's 95 % interval. Bold: the best of those that start from the same "
                "universal maps. Asterisk: better than the strongest baseline among those, p < 0.05 by Mann and "
                f"Whitney's U over all {len(self.scores.user)} maps (two-sided).",
                "",
                maps_markdown(cells, intervals=True),
                "Gain: how much better than the strongest baseline (above 0 is better, for KLD, too), mean over users "
                "with Student's 95 % interval. Effect: rank-biserial correlation of the test.",
                "",
                comparisons_markdown(cells),
            ]
        chance = f["chance"]
        if "disjoint" not in chance:
            lines += ["No precision: too few images in a fold for [evaluation] m.", ""]
            return "\n".join(lines)
        among_all = f" and {chance['all']:.3f} among all users" if "all" in chance else ""
        lines += [
            f"Precision at one, within each fold (chance {chance['disjoint']:.3f} among its test users{among_all}): "
            "mean over users with Student's 95 % interval, cut at 0 and 1. "
            + (f"Offsets: up to {f['offset_deg']:g}° for each embedding." if "offset" in chance else ""),
            "",
            precision_markdown(self.precision, f["m"], intervals=True),
        ]
        verification = self.verification
        if verification:
            head = "disjoint, test users of a fold, mean over folds"
            lines += [
                f"| {head} | " + " | ".join(f"m = {m}" for m in f["m"]) + " |",
                "| --- |" + " ---: |" * len(f["m"]),
            ]
            for key, label in (("eer", "equal error rate"), ("d_prime", "d′")):
                row = [str(verification[str(m)][key]) if str(m) in verification else "" for m in f["m"]]
                lines.append(f"| {label} | " + " | ".join(row) + " |")
        return "\n".join(lines) + "\n"

    def files(self) -> dict[str, str]:
        """Name → content of the files that a cross-validation leaves beside its folds."""
        scores = self.scores
        verification = [
            {"repeat": f.repeat, "fold": f.number, "m": int(m), **row}
            for f in self.folds
            for m, row in f.verification.items()
        ]
        precision = self.precision
        content = {
            "facts": self.facts,
            "precision": precision,
            "folds": [{"repeat": f.repeat, "fold": f.number, "best": f.best, "seconds": f.seconds} for f in self.folds],
        }
        files = {
            "crossvalidation.md": self.markdown(),
            "crossvalidation.json": json.dumps(content, indent=1) + "\n",
            "precision.csv": csv_text(precision_records(precision, self.facts["chance"])),
            "verification.csv": csv_text(verification),
        }
        if scores.rows:
            files |= {"maps.csv": csv_text(compare_rows(scores)), "scores.csv": csv_text(score_records(scores))}
        return files


def _range(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
