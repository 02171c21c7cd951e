"""What is expected of new people: known answers for the curve, the odds and the thresholds."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from gazepipe.calibration import (
    LEVELS,
    Calibration,
    Observed,
    load_calibration,
    save_calibration,
    summarise,
)
from gazepipe.calibration_draws import observe
from gazepipe.config import EmbeddingConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError, NothingToDoError, StoreError
from gazepipe.training import Encoder, train_embedding

M = (2, 4)


def observed(same: np.ndarray, different: np.ndarray) -> Observed:
    """The same cosines for every number of pairs; same ``(users, repetitions)``, different ``(…, others)``."""
    n = len(M)
    return Observed(M, np.tile(same, (n, n, 1, 1)), np.tile(different, (n, n, 1, 1, 1)), n)


def gaussian(users: int = 6, others: int = 9, repetitions: int = 200, shift: float = 0.4) -> Observed:
    rng = np.random.default_rng(0)
    return observed(rng.normal(shift, 0.1, (users, repetitions)), rng.normal(0, 0.1, (users, repetitions, others)))


def test_precision_in_smaller_galleries_is_that_of_all_galleries_there_are() -> None:
    rng = np.random.default_rng(1)
    same, different = rng.random((3, 4)), rng.random((3, 4, 5))
    calibration = summarise(observed(same, different), "x")
    for size in (2, 3, 6):
        hits = [
            same[u, r] > max(different[u, r, list(chosen)])
            for u in range(3)
            for r in range(4)
            for chosen in combinations(range(5), size - 1)
        ]
        assert calibration.expected_precision(2, size).value == pytest.approx(np.mean(hits))
    assert calibration.expected_precision(2, 1).value == 1


def test_larger_galleries_go_on_as_a_simulation_with_more_people_does() -> None:
    few = summarise(gaussian(users=40, others=9, shift=0.25), "x")
    many = summarise(gaussian(users=40, others=99, shift=0.25), "x")
    for size, tolerance in ((10, 0.02), (20, 0.03), (100, 0.06)):
        truth = many.expected_precision(4, size).value
        assert few.expected_precision(4, size).value == pytest.approx(truth, abs=tolerance)
    curve = [few.expected_precision(4, size).value for size in (2, 5, 10, 11, 50, 1000)]
    assert curve == sorted(curve, reverse=True)


def test_the_interval_is_students_for_one_more_person() -> None:
    # Two of four users are always found and two never: mean .5, standard deviation .577.
    same = np.array([[1.0] * 5, [1.0] * 5, [0.0] * 5, [0.0] * 5])
    found = summarise(observed(same, np.full((4, 5, 3), 0.5)), "x").expected_precision(4, 2)
    assert (found.value, found.users) == (0.5, 4)
    assert (found.low, found.high) == (0, 1)  # .5 ± 3.18 · .577 · √1.25
    # Four who are all found say nothing about every fifth.
    found = summarise(observed(np.ones((4, 5)), np.full((4, 5, 3), 0.5)), "x").expected_precision(4, 2)
    assert (found.value, found.low, found.high) == (1, pytest.approx(0.8), 1)


def test_between_numbers_of_pairs_it_is_a_line_over_their_logarithm() -> None:
    same, different = np.zeros((2, 2, 1, 2)), np.full((2, 2, 1, 2, 1), 0.5)
    same[0, 0] = [[0, 1]]  # m = 2: half
    same[1, 1] = [[1, 1]]  # m = 4: all
    calibration = summarise(Observed(M, same, different, 2), "x")
    assert [calibration.expected_precision(m, 2).value for m in (1, 2, 3, 4, 50)] == [
        0.5,
        0.5,
        pytest.approx(0.5 + 0.5 * math.log2(1.5)),
        1,
        1,
    ]
    assert calibration.expected_precision(50, 2).m == 4


def test_odds_are_those_of_the_distributions() -> None:
    # Of two normal distributions at 0 and .4 with standard deviation .1, log LR = 40 · (c − .2).
    calibration = summarise(gaussian(), "x")
    for cosine in (0.15, 0.2, 0.25):
        assert math.log(calibration.likelihood_ratio(cosine, 4, 4)) == pytest.approx(40 * (cosine - 0.2), abs=0.35)
    # Six users and nine others are 54 pairs, which cannot tell more.
    assert calibration.likelihood_ratio(1.0, 4, 4) == pytest.approx(54)
    assert calibration.likelihood_ratio(-1.0, 4, 4) == pytest.approx(1 / 54)


def test_without_anything_to_tell_people_by_odds_are_even() -> None:
    assert summarise(gaussian(shift=-0.1), "x").likelihood_ratio(0.3, 4, 4) == 1


def test_thresholds_hold_their_rates() -> None:
    seen = gaussian()
    calibration = summarise(seen, "x")
    for rate in (0.2, 0.05, 0.01):
        threshold = calibration.threshold(rate, 4, 4)
        assert (seen.different[0, 0] >= threshold).mean() == pytest.approx(rate, abs=0.002)
        rejected = (seen.same[0, 0] < threshold).mean()
        assert calibration.rejection(threshold, 4, 4) == pytest.approx(rejected, abs=0.01)
    # Independent impostors: the nearest of nine reaches it as often as asked.
    threshold = calibration.open_threshold(0.05, [4] * 9, 4)
    assert (seen.different[0, 0].max(-1) >= threshold).mean() == pytest.approx(0.05, abs=0.015)


# ---- draws -----------------------------------------------------------------------------------------------------------


def corpus(test_user_noise: int = 0) -> tuple[Corpus, Split]:
    """Eight people who each look at a place of their own, on 24 images; maps of 40 × 30."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:30, :40]
    maps = []
    for user in range(8):
        for _ in range(24):
            u, v = 12 + 2 * user + rng.normal(0, 5), 15 + rng.normal(0, 5)
            maps.append(np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18))
    stack = np.stack(maps).astype(np.float16)
    if test_user_noise:
        other = np.random.default_rng(test_user_noise)
        stack[7 * 24 :] = other.random((24, 30, 40)).astype(np.float16)
    users, stimuli = tuple(f"u{k}" for k in range(8)), tuple(f"i{k:02}.png" for k in range(24))
    index = np.arange(8 * 24).reshape(8, 24)
    empty = np.zeros(0, np.int64)
    split = Split((0, 1, 2, 3), (4, 5, 6), (7,), tuple(range(12)), tuple(range(12, 18)), tuple(range(18, 24)))
    return Corpus(users, stimuli, stack, index, empty, np.zeros(8 * 24 + 1, np.int64), None, (2.0, 2.0)), split


def seen(config: EmbeddingConfig, test_user_noise: int = 0) -> Observed:
    data, split = corpus(test_user_noise)
    where = torch.device("cpu")
    trained = train_embedding(data, split, config, seed=0, where=where, progress=lambda *_: None)
    return observe(Encoder(trained.net, data, split.users_train), split, config, seed=0)


@pytest.mark.parametrize("calibration", [{}, {"registration": True}, {"recalibration_deg": 1.0}])
def test_test_users_have_no_part(calibration: dict[str, Any]) -> None:
    config = EmbeddingConfig(inputs="descriptors", m=4, **calibration)
    one, other = seen(config), seen(config, test_user_noise=5)
    np.testing.assert_array_equal(one.same, other.same)
    np.testing.assert_array_equal(one.different, other.different)


def test_who_is_looked_for_among_whom() -> None:
    found = seen(EmbeddingConfig(inputs="descriptors", m=4))
    # 18 images that are not tested: halves of nine, and all of them.
    assert (found.m, found.disjoint) == ((1, 2, 4, 8, 16, 18), 4)
    assert found.same.shape[2] == 7  # three validation users, and four training users left out of their fit
    assert found.different.shape[-1] == 6
    assert (np.abs(found.different) <= 1 + 1e-9).all()
    network = EmbeddingConfig(inputs="psm", m=2, widths=(4, 4, 4, 4), steps=2, validate_every=1)
    assert seen(network).same.shape[2] == 3  # validation users alone


def test_whom_nobody_can_be_compared_with() -> None:
    data, split = corpus()
    config = EmbeddingConfig(inputs="descriptors", m=4)
    where = torch.device("cpu")
    trained = train_embedding(data, split, config, seed=0, where=where, progress=lambda *_: None)
    alone = Split((0, 1), (), split.users_test, split.images_train, (), split.images_test)
    with pytest.raises(ConfigError, match=r"\[split\] leaves 2 users of training and validation"):
        observe(Encoder(trained.net, data, (0, 1)), alone, config, seed=0)


# ---- file ------------------------------------------------------------------------------------------------------------


def test_it_comes_back_as_it_was(small_study) -> None:
    study = small_study.open()
    before = summarise(gaussian(), "recipe")
    save_calibration(study, before)
    after = load_calibration(study, "recipe")
    for name in Calibration.__slots__:
        kept, there = getattr(before, name), getattr(after, name)
        assert there == kept if isinstance(kept, str | tuple) else there == pytest.approx(kept, abs=1e-5)
    assert after.different.shape == (2, 2, len(LEVELS))
    with pytest.raises(NothingToDoError, match="is of another embedding network"):
        load_calibration(study, "another")
    study.calibration_file.write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        load_calibration(study, "recipe")
    study.calibration_file.unlink()
    with pytest.raises(NothingToDoError, match="run `gazepipe train` first"):
        load_calibration(study, "recipe")
