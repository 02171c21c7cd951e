"""Intervals and the U test against hand calculation."""

from __future__ import annotations

import numpy as np
import pytest

from gazepipe.evaluation.statistics import compare, interval


def test_mann_whitney_by_hand() -> None:
    # a = 3, 4, 6 against b = 1, 2, 5: pairs in which a is above b: 3 > 1, 2; 4 > 1, 2; 6 > 1, 2, 5. U = 7 of 9.
    # Of the 20 ways to rank three among six, 4 have U of 7 and more (7, 7, 8, 9), as many 2 and less: p = 8/20.
    found = compare([3, 4, 6], [1, 2, 5])
    assert found.u == 7
    assert found.p == pytest.approx(0.4)
    assert found.effect == pytest.approx(2 * 7 / 9 - 1)
    assert (found.n, found.n_other) == (3, 3)


def test_all_above_all_is_the_smallest_p_there_is() -> None:
    found = compare([11, 12, 13, 14], [1, 2, 3, 4])
    assert found.u == 16
    assert found.p == pytest.approx(2 / 70)  # 2 of the (8 over 4) orders are as extreme
    assert found.effect == 1


def test_ties_count_one_half() -> None:
    # 1 against 1: half; 1 against 2: none; 2 against 1: one; 2 against 2: half. U = 2 of 4: no difference.
    assert compare([1, 2], [1, 2]).u == 2
    assert compare([1, 2], [1, 2]).effect == 0


def test_effect_is_positive_for_the_better_row_whatever_the_direction() -> None:
    low, high = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    assert compare(low, high, more_is_better=False).effect == 1
    assert compare(low, high, more_is_better=True).effect == -1


def test_missing_scores_are_left_out() -> None:
    found = compare([3, np.nan, 4, 6], [1, 2, 5, np.nan])
    assert (found.u, found.n, found.n_other) == (7, 3, 3)
    assert np.isnan(compare([np.nan], [1.0]).p)


def test_interval_by_hand() -> None:
    # Mean 3, standard deviation √2.5, t of 4 degrees of freedom 2.776: half = 2.776 · √2.5 / √5 = 1.963.
    found = interval([1, 2, 3, 4, 5, np.nan])
    assert (found.mean, found.n) == (3, 5)
    assert found.low == pytest.approx(3 - 1.963, abs=1e-3)
    assert found.high == pytest.approx(3 + 1.963, abs=1e-3)
    assert str(found) == "3.000 [1.037, 4.963]"


def test_one_value_has_no_interval() -> None:
    assert str(interval([0.25])) == "0.250"
    assert interval([]).n == 0
