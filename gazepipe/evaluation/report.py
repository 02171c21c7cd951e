"""What one evaluation found, as an object, for people, and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gazepipe.evaluation.identify import Identification
from gazepipe.evaluation.scores import Scores
from gazepipe.evaluation.tables import (
    compare_rows,
    comparisons_markdown,
    csv_text,
    maps_markdown,
    precision_markdown,
    precision_records,
    score_records,
)
from gazepipe.metrics import METRICS
from gazepipe.words import counted

__all__ = ["Evaluation", "identification_facts", "table_files"]


@dataclass(slots=True)
class Evaluation:
    """Figures of one evaluation.

    Parameters
    ----------
    maps
        Row name → measure → mean over test users × test images.
    per_user
        Row name → measure → mean of each test user.
    precision
        Protocol → m → mean and standard deviation of precision at one over draws, and each user's mean.
    verification
        m → equal error rate and d′ in the disjoint protocol.
    facts
        Split, sizes, chance level, what was trained.
    """

    maps: dict[str, dict[str, float]] = field(default_factory=dict)
    per_user: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    precision: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    verification: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {name: getattr(self, name) for name in type(self).__slots__}

    def markdown(self) -> str:
        """Tables for people."""
        f = self.facts
        lines = [
            f"# Evaluation of {f['study']}",
            "",
            f"{f['protocol'].capitalize()} set: {counted(f['users_test'], 'test user')}, "
            f"{counted(f['images_test'], 'test image')}, {counted(f['n_maps'], 'map')} of {f['map_size'][1]} × "
            f"{f['map_size'][0]}. Trained on {counted(f['users_train'], 'user')} and "
            f"{counted(f['images_train'], 'image')}; split seed {f['split_seed']}, training seed {f['seed']}.",
            "",
            "| map | " + " | ".join(f"{m} {'↑' if up else '↓'}" for m, up in METRICS.items()) + " |",
            "| --- |" + " ---: |" * len(METRICS),
        ]
        for row, values in self.maps.items():
            lines.append(f"| {row} | " + " | ".join(f"{values[m]:.3f}" for m in METRICS) + " |")
        lines += [
            "",
            f"Precision at one (chance {f['chance']:.3f}), "
            f"{counted(f['embeddings_per_user'], 'embedding')} per user, mean over "
            f"{counted(f['repetitions'], 'draw')}:",
            "",
            precision_markdown(self.precision, f["m"]),
        ]
        if self.verification:
            lines.append(verification_markdown(self.verification, f["m"]))
        return "\n".join(lines)

    def tables_markdown(self, scores: Scores) -> str:
        """The paper's tables, with tests."""
        f = self.facts
        cells = compare_rows(scores)
        lines = [
            f"# Tables of {f['study']}",
            "",
            f"{f['protocol'].capitalize()} set, {counted(f['users_test'], 'test user')} × "
            f"{counted(f['images_test'], 'test image')}, {counted(f['n_maps'], 'map')}. "
            "Bold: the best of those that start from the same universal maps. Asterisk: better than the strongest "
            "baseline among those, p < 0.05 by Mann and Whitney's U over maps (two-sided).",
            "",
            maps_markdown(cells),
            "Gain: how much better than the strongest baseline (above 0 is better, for KLD, too), mean over users with "
            "Student's 95 % interval. Effect: rank-biserial correlation of the test.",
            "",
            comparisons_markdown(cells),
            f"Precision at one (chance {f['chance']:.3f}): mean over {counted(f['users_test'], 'user')} with Student's "
            "95 % interval, cut at 0 and 1.",
            "",
            precision_markdown(self.precision, f["m"], intervals=True),
        ]
        if self.verification:
            lines.append(verification_markdown(self.verification, f["m"]))
        return "\n".join(lines)


def verification_markdown(verification: Mapping[str, Mapping[str, float]], sizes: Sequence[int]) -> str:
    """Equal error rate and d′: a column an m."""
    lines = ["| disjoint | " + " | ".join(f"m = {m}" for m in sizes) + " |", "| --- |" + " ---: |" * len(sizes)]
    for key, label in (("eer", "equal error rate"), ("d_prime", "d′")):
        cells = [f"{verification[str(m)][key]:.3f}" if str(m) in verification else "" for m in sizes]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def identification_facts(
    found: Identification, users: Sequence[str]
) -> tuple[dict[str, dict[str, dict[str, Any]]], dict[str, dict[str, float]]]:
    """Precision and verification as `Evaluation` has them; `users` are the names of those tested."""
    precision = {
        protocol: {
            str(m): {
                "mean": float(shares.mean()),
                "sd": float(shares.mean(1).std()),
                "users": dict(zip(users, shares.mean(0).tolist(), strict=True)),
            }
            for m, shares in by_m.items()
        }
        for protocol, by_m in found.hits.items()
    }
    return precision, {str(m): row for m, row in found.verification().items()}


def table_files(evaluation: Evaluation, scores: Scores) -> dict[str, str]:
    """Name → content of the files that `--tables` writes."""
    chance = evaluation.facts["chance"]
    return {
        "tables.md": evaluation.tables_markdown(scores),
        "maps.csv": csv_text(compare_rows(scores)),
        "precision.csv": csv_text(precision_records(evaluation.precision, dict.fromkeys(evaluation.precision, chance))),
        "verification.csv": csv_text([{"m": int(m), **row} for m, row in evaluation.verification.items()]),
        "scores.csv": csv_text(score_records(scores)),
    }
