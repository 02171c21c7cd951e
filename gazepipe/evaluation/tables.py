"""The paper's tables out of scores: rows by measures, asterisks, effect sizes; as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gazepipe.evaluation.identify import PROTOCOLS
from gazepipe.evaluation.rows import ROWS, Row
from gazepipe.evaluation.scores import Scores
from gazepipe.evaluation.statistics import Interval, compare, interval
from gazepipe.metrics import METRICS

__all__ = [
    "SIGNIFICANT",
    "Cell",
    "Precision",
    "compare_rows",
    "comparisons_markdown",
    "csv_text",
    "maps_markdown",
    "precision_intervals",
    "precision_markdown",
    "precision_records",
    "score_records",
]

#: The paper's threshold of p.
SIGNIFICANT = 0.05

#: Protocol → m → ``{"mean", "sd", "users": {user: share}}``: mean and deviation over draws, and each user's mean.
Precision = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One row's result in one measure, and how it compares with the strongest baseline of its group.

    Parameters
    ----------
    row, group, measure
        Which.
    mean, sd, n
        Over maps.
    users, users_mean, users_low, users_high
        Number of people, mean over them of their mean, Student's 95 % interval of that.
    baseline, baseline_mean
        The strongest baseline: the one of the group with the best mean in this measure. Empty for baselines.
    gain, gain_low, gain_high
        How much better than that baseline, mean over people, with Student's 95 % interval; above 0 is better, whichever
        direction the measure has.
    u, p, effect
        Mann and Whitney's test over maps, see `statistics.compare`.
    significant
        Better, and p below 0.05: the asterisk.
    """

    row: str
    group: str
    measure: str
    mean: float
    sd: float
    n: int
    users: int
    users_mean: float
    users_low: float
    users_high: float
    baseline: str = ""
    baseline_mean: float = float("nan")
    gain: float = float("nan")
    gain_low: float = float("nan")
    gain_high: float = float("nan")
    u: float = float("nan")
    p: float = float("nan")
    effect: float = float("nan")
    significant: bool = False


def compare_rows(scores: Scores, rows: Sequence[Row] = ROWS) -> list[Cell]:
    """Every row of `scores` in every measure; those that are no baselines against the strongest of their group."""
    present = [r for r in rows if r.name in scores.rows]
    people = list(dict.fromkeys(scores.user.tolist()))
    by_user = {
        r.name: np.array([_mean(scores.of(r.name)[scores.user == u]) for u in people]).reshape(len(people), -1)
        for r in present
    }
    cells = []
    for row in present:
        for k, (measure, more_is_better) in enumerate(METRICS.items()):
            sign = 1 if more_is_better else -1
            values = scores.of(row.name)[:, k]
            there = values[np.isfinite(values)]
            over = interval(by_user[row.name][:, k])
            facts: dict[str, Any] = {
                "row": row.name,
                "group": row.group,
                "measure": measure,
                "mean": float(there.mean()) if there.size else float("nan"),
                "sd": float(there.std(ddof=1)) if there.size > 1 else float("nan"),
                "n": int(there.size),
                "users": over.n,
                "users_mean": over.mean,
                "users_low": over.low,
                "users_high": over.high,
            }
            baselines = [r for r in present if r.baseline and r.group == row.group]
            if baselines and not row.baseline:
                best = max(baselines, key=lambda r: sign * float(_mean(scores.of(r.name))[k]))
                test = compare(values, scores.of(best.name)[:, k], more_is_better=more_is_better)
                gain = interval(sign * (by_user[row.name][:, k] - by_user[best.name][:, k]))
                mean = float(_mean(scores.of(best.name))[k])
                facts |= {"baseline": best.name, "baseline_mean": mean, "u": test.u, "p": test.p}
                facts |= {"effect": test.effect, "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
                facts["significant"] = bool(test.p < SIGNIFICANT and sign * (facts["mean"] - mean) > 0)
            cells.append(Cell(**facts))
    return cells


def _mean(values: Any) -> Any:
    """Mean over maps of each measure; NaN where no map has one."""
    count = np.isfinite(values).sum(0)
    return np.where(count, np.nansum(values, 0) / np.maximum(count, 1), np.nan)


def _layout(cells: Iterable[Cell]) -> dict[str, dict[str, Cell]]:
    table: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        table.setdefault(cell.row, {})[cell.measure] = cell
    return table


def maps_markdown(cells: Sequence[Cell], *, intervals: bool = False) -> str:
    """The paper's table: a row a model; the best of each group bold, an asterisk where it beats its baselines.

    With `intervals`, means are over people and have their 95 % interval.
    """
    table = _layout(cells)
    best: dict[tuple[str, str], float] = {}
    for cell in cells:
        sign = 1 if METRICS[cell.measure] else -1
        key = cell.group, cell.measure
        best[key] = max(best.get(key, -np.inf), sign * cell.mean)
    heads = [f"{m} {'↑' if up else '↓'}" for m, up in METRICS.items()]
    lines = [f"| map | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for row, by_measure in table.items():
        shown = []
        for measure, up in METRICS.items():
            cell = by_measure[measure]
            over = Interval(cell.users_mean, cell.users_low, cell.users_high, cell.users)
            text = str(over) if intervals else f"{cell.mean:.3f}"
            if (1 if up else -1) * cell.mean == best[cell.group, measure]:
                text = f"**{text}**"
            shown.append(text + (r"\*" if cell.significant else ""))
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def comparisons_markdown(cells: Sequence[Cell]) -> str:
    """Each of our rows against its strongest baseline: gain over people, and the test over maps."""
    lines = [
        "| map | measure | strongest baseline | gain [95 % over users] | users | U | p | effect | maps |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for c in cells:
        if c.baseline:
            gain = Interval(c.gain, c.gain_low, c.gain_high, c.users)
            mark = r"\*" if c.significant else ""
            p = "< .001" if c.p < 0.001 else f"{c.p:.3f}"
            facts = (
                c.row,
                c.measure + mark,
                c.baseline,
                signed(gain),
                c.users,
                f"{c.u:.0f}",
                p,
                f"{c.effect:+.3f}",
                c.n,
            )
            lines.append("| " + " | ".join(map(str, facts)) + " |")
    return "\n".join(lines) + "\n"


def signed(gain: Interval) -> str:
    """An interval of a difference, with its signs."""
    return f"{gain.mean:+.3f}" if gain.n < 2 else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def precision_intervals(precision: Precision) -> dict[str, dict[int, Interval]]:
    """Protocol → m → mean over people with Student's 95 % interval, cut at 0 and 1."""
    found: dict[str, dict[int, Interval]] = {}
    for protocol, by_m in precision.items():
        for m, row in by_m.items():
            over = interval(list(row["users"].values()))
            cut = Interval(over.mean, float(np.maximum(over.low, 0)), float(np.minimum(over.high, 1)), over.n)
            found.setdefault(protocol, {})[int(m)] = cut
    return found


def precision_markdown(precision: Precision, sizes: Sequence[int], *, intervals: bool = False) -> str:
    """Precision at one: a row a protocol, a column an m."""
    found = precision_intervals(precision)
    lines = ["| protocol | " + " | ".join(f"m = {m}" for m in sizes) + " |", "| --- |" + " ---: |" * len(sizes)]
    for protocol in dict.fromkeys([*(p for p in ("paper", "disjoint")), *precision]):
        by_m = found.get(protocol, {})
        shown = [str(by_m[m]) if intervals else f"{by_m[m].mean:.3f}" for m in sizes if m in by_m]
        cells = iter(shown)
        row = [next(cells) if m in by_m else "too few images" for m in sizes]
        lines.append(f"| {PROTOCOLS[protocol]} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def precision_records(precision: Precision, chances: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of a table of precision at one: protocol, m, mean over people with interval, spread over draws, chance."""
    return [
        {
            "protocol": protocol,
            "m": m,
            "precision": over.mean,
            "low": over.low,
            "high": over.high,
            "users": over.n,
            "sd_over_draws": precision[protocol][str(m)]["sd"],
            "chance": chances[protocol],
        }
        for protocol, by_m in precision_intervals(precision).items()
        for m, over in by_m.items()
    ]


def score_records(scores: Scores) -> list[dict[str, Any]]:
    """Every map's scores: user, image, row, measures."""
    return [
        {"user": user, "stimulus": stimulus, "row": row, **dict(zip(METRICS, values.tolist(), strict=True))}
        for row, table in zip(scores.rows, scores.values, strict=True)
        for user, stimulus, values in zip(scores.user, scores.stimulus, table, strict=True)
    ]


def csv_text(records: Sequence[Any]) -> str:
    """Records (mappings or dataclasses) as CSV with a line of names; a missing number is empty."""
    rows = [r if isinstance(r, Mapping) else asdict(r) for r in records]
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _field(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
