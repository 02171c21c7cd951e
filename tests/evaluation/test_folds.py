"""Folds cover everybody once and keep test users and images out of training."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazepipe.config import SplitConfig
from gazepipe.errors import ConfigError
from gazepipe.evaluation.folds import make_folds


@given(st.integers(8, 40), st.integers(20, 90), st.integers(2, 5), st.integers(1, 3), st.integers(0, 5))
def test_each_user_is_unseen_exactly_once_in_a_repeat(users: int, images: int, k: int, repeats: int, seed: int) -> None:
    config = SplitConfig(seed=seed, users=(0.7, 0.15, 0.15))
    folds = make_folds(users, images, config, folds=k, repeats=repeats)
    assert len({f.name for f in folds}) == k * repeats
    for repeat in range(1, repeats + 1):
        tested = Counter(u for f in folds if f.repeat == repeat for u in f.split.users_test)
        assert tested == dict.fromkeys(range(users), 1)
    for fold in folds:
        s = fold.split
        assert sorted(s.users_train + s.users_validation + s.users_test) == list(range(users))
        assert sorted(s.images_train + s.images_validation + s.images_test) == list(range(images))
        assert len(s.images_test) == max(round(images / 10), 1)
        assert len(s.users_validation) == max(round(users * 0.15), 2)


def test_repeats_cut_differently_and_the_same_seed_cuts_the_same() -> None:
    config = SplitConfig()
    folds = make_folds(15, 700, config, folds=5, repeats=2)
    assert [f.split.users_test for f in folds[:5]] != [f.split.users_test for f in folds[5:]]
    assert folds == make_folds(15, 700, config, folds=5, repeats=2)
    # Test images move on from fold to fold: five tenths of all.
    assert len({i for f in folds[:5] for i in f.split.images_test}) == 350
    assert len({f.split.users_validation for f in folds[:5]}) == 5


def test_closed_set_cuts_images_and_knows_everybody() -> None:
    folds = make_folds(4, 23, SplitConfig(protocol="closed"), folds=5)
    everybody = tuple(range(4))
    for fold in folds:
        s = fold.split
        assert s.users_train == s.users_validation == s.users_test == everybody
        assert sorted(s.images_train + s.images_validation + s.images_test) == list(range(23))
    assert sorted(i for f in folds for i in f.split.images_test) == list(range(23))


def test_too_many_folds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"7 folds leave .* 0 test users"):
        make_folds(6, 40, SplitConfig(), folds=7)
    with pytest.raises(ConfigError, match="2 folds leave 0 training"):
        make_folds(4, 40, SplitConfig(), folds=2)
