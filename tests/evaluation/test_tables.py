"""Tables out of scores that were made up here, so that every figure in them is known."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from gazepipe.evaluation.rows import ROWS, Row
from gazepipe.evaluation.scores import Scores, join
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

CC, KLD = list(METRICS).index("CC"), list(METRICS).index("KLD")


def nothing(*_: object) -> None:
    return None


#: Two baselines of one group, ours, and a baseline of another group that nothing is compared with.
MADE_UP = [
    Row("weak", "mean", nothing, baseline=True),
    Row("strong", "mean", nothing, baseline=True),
    Row("ours", "mean", nothing),
    Row("elsewhere", "predicted", nothing, baseline=True),
]


@pytest.fixture
def scores() -> Scores:
    """Two people, four maps each; `ours` is above `strong` by .4 in CC for one and by .2 for the other."""
    values = np.full((4, 8, len(METRICS)), 0.5)
    values[0, :, CC] = 0.1
    values[1, :, CC] = np.arange(8) / 100
    values[1, :, CC] += 0.3
    values[2, :, CC] = values[1, :, CC] + np.repeat([0.4, 0.2], 4)
    values[3, :, CC] = 0.95
    values[:2, :, KLD] = [[1.0], [2.0]]  # less is better: here the weak one is the strongest
    values[2, :, KLD] = 1.5
    users = np.array(["a"] * 4 + ["b"] * 4, object)
    stimuli = np.array([f"{i}.jpg" for i in range(4)] * 2, object)
    return Scores(("weak", "strong", "ours", "elsewhere"), users, stimuli, values)


def test_ours_is_compared_with_the_strongest_baseline_of_its_group(scores: Scores) -> None:
    cells = {(c.row, c.measure): c for c in compare_rows(scores, MADE_UP)}
    cc = cells["ours", "CC"]
    assert cc.baseline == "strong"
    assert cc.baseline_mean == pytest.approx(0.335)
    assert cc.mean == pytest.approx(0.635)
    assert cc.u == 64  # each of the eight maps is above each of the eight
    assert cc.effect == 1
    assert cc.significant
    assert (cc.n, cc.users) == (8, 2)
    assert cc.gain == pytest.approx(0.3)
    # Gains of .4 and .2: t of one degree of freedom 12.706, half = 12.706 · 0.1414 / √2.
    assert cc.gain_high - cc.gain == pytest.approx(1.2706, abs=1e-4)
    kld = cells["ours", "KLD"]
    assert kld.baseline == "weak"
    assert kld.gain == pytest.approx(-0.5)
    assert kld.effect == -1
    assert kld.p < 0.05
    assert not kld.significant  # worse, however clearly
    assert cells["strong", "CC"].baseline == ""
    assert np.isnan(cells["strong", "CC"].p)


def test_the_table_has_bold_bests_and_asterisks(scores: Scores) -> None:
    lines = maps_markdown(compare_rows(scores, MADE_UP)).splitlines()
    assert lines[0] == "| map | CC ↑ | SIM ↑ | AUC-Judd ↑ | NSS ↑ | KLD ↓ | AUC ↑ |"
    assert lines[2].startswith("| weak | 0.100 | ")
    assert lines[3].startswith("| strong | 0.335 | ")
    assert lines[4].startswith(r"| ours | **0.635**\* | ")
    assert lines[5].startswith("| elsewhere | **0.950** | ")
    assert lines[2].split(" | ")[5] == "**1.000**"


def test_intervals_are_over_users(scores: Scores) -> None:
    line = maps_markdown(compare_rows(scores, MADE_UP), intervals=True).splitlines()[3]
    # People's means .315 and .355: half = 12.706 · .02828 / √2 = .2541.
    assert line.startswith("| strong | 0.335 [0.081, 0.589] | ")


def test_comparisons_give_test_effect_and_n(scores: Scores) -> None:
    rows = [line for line in comparisons_markdown(compare_rows(scores, MADE_UP)).splitlines() if "| CC" in line]
    assert rows == [r"| ours | CC\* | strong | +0.300 [-0.971, +1.571] | 2 | 64 | < .001 | +1.000 | 8 |"]


def test_csv_can_be_read_back(scores: Scores) -> None:
    cells = compare_rows(scores, MADE_UP)
    rows = list(csv.DictReader(io.StringIO(csv_text(cells))))
    assert len(rows) == len(cells) == 4 * len(METRICS)
    ours = next(r for r in rows if r["row"] == "ours" and r["measure"] == "CC")
    assert (ours["baseline"], ours["significant"], float(ours["mean"])) == ("strong", "1", 0.635)
    assert next(r for r in rows if r["row"] == "weak")["p"] == ""
    maps = list(csv.DictReader(io.StringIO(csv_text(score_records(scores)))))
    assert len(maps) == 4 * 8
    assert (maps[8]["row"], maps[8]["user"], maps[8]["stimulus"], float(maps[8]["CC"])) == ("strong", "a", "0.jpg", 0.3)


def test_folds_are_joined_though_one_lacks_a_row(scores: Scores) -> None:
    fewer = Scores(("strong",), scores.user, scores.stimulus, scores.values[1:2])
    both = join([scores, fewer])
    assert both.rows == scores.rows
    np.testing.assert_array_equal(both.of("strong"), np.concatenate([scores.of("strong")] * 2))
    assert np.isnan(both.of("ours")[8:]).all()
    assert both.means()["ours"]["CC"] == pytest.approx(0.635)
    assert both.per_user()["ours"]["a"]["CC"] == pytest.approx(0.3 + 0.015 + 0.4)


PRECISION = {"disjoint": {"4": {"mean": 0.9, "sd": 0.01, "users": {"a": 1.0, "b": 0.8}}}}


def test_precision_has_intervals_cut_at_one_and_says_where_images_do_not_reach() -> None:
    lines = precision_markdown(PRECISION, [4, 8], intervals=True).splitlines()
    assert lines[2] == "| paper | too few images | too few images |"
    assert lines[3] == "| disjoint | 0.900 [0.000, 1.000] | too few images |"
    [row] = precision_records(PRECISION, {"disjoint": 0.5})
    assert (row["m"], row["users"], row["chance"], row["low"], row["high"]) == (4, 2, 0.5, 0.0, 1.0)


def test_every_group_has_a_baseline_and_names_differ() -> None:
    assert len({r.name for r in ROWS}) == len(ROWS)
    for group in {r.group for r in ROWS}:
        assert any(r.baseline for r in ROWS if r.group == group)
