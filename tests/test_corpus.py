"""Splits that never overlap, and universal maps as plain means."""

from __future__ import annotations

import numpy as np
import pytest

from gazepipe.corpus import Corpus, Split, make_split

RNG = np.random.default_rng(2)


def corpus() -> Corpus:
    """Three users, four stimuli; the second user missed stimulus 1, nobody but the third saw stimulus 3."""
    index = np.array([[0, 1, 2, -1], [3, -1, 4, -1], [5, 6, 7, 8]])
    maps = RNG.random((9, 4, 5)).astype(np.float16)
    return Corpus(("a", "b", "c"), ("s0", "s1", "s2", "s3"), maps, index, np.arange(18) % 20, np.arange(0, 19, 2), None)


def split(n_users: int, n_images: int, **options: object) -> Split:
    values: dict[str, object] = {"users": (0.6, 0.2, 0.2), "images": (0.8, 0.1, 0.1), "protocol": "open", "seed": 0}
    return make_split(n_users, n_images, **(values | options))  # type: ignore[arg-type]


def parts_of(s: Split, what: str) -> list[tuple[int, ...]]:
    return [getattr(s, f"{what}_{part}") for part in ("train", "validation", "test")]


# ---- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [*range(12), 30, 101])
@pytest.mark.parametrize(
    "shares", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.0, 0.5, 0.5), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)]
)
def test_parts_never_overlap_and_leave_nobody_out(n: int, shares: tuple[float, float, float]) -> None:
    s = split(n, n, users=shares, images=shares)
    for what in ("users", "images"):
        together = [i for part in parts_of(s, what) for i in part]
        assert sorted(together) == list(range(n))


def test_sizes() -> None:
    s = split(30, 100)
    assert [len(p) for p in parts_of(s, "users")] == [18, 6, 6]
    assert [len(p) for p in parts_of(s, "images")] == [80, 10, 10]


def test_every_part_asked_for_has_somebody() -> None:
    s = split(4, 5)
    assert [len(p) for p in parts_of(s, "users")] == [2, 1, 1]
    assert [len(p) for p in parts_of(s, "images")] == [3, 1, 1]


def test_closed_protocol_knows_every_user_and_hides_images() -> None:
    s = split(6, 20, protocol="closed")
    assert s.users_train == s.users_validation == s.users_test == s.users_all == tuple(range(6))
    assert not set(s.images_train) & set(s.images_test)


def test_seed_decides() -> None:
    assert split(30, 100, seed=3) == split(30, 100, seed=3)
    assert split(30, 100, seed=3) != split(30, 100, seed=4)


# ---- universal maps ------------------------------------------------------------------------------------------------


def test_universal_map_is_the_mean_over_those_who_looked() -> None:
    c = corpus()
    mean, count = c.usm([0, 1])
    m = c.maps.astype(np.float64)
    assert count.tolist() == [2, 1, 2, 0]
    np.testing.assert_allclose(mean[0], (m[0] + m[3]) / 2, atol=1e-6)
    np.testing.assert_allclose(mean[1], m[1], atol=1e-6)
    np.testing.assert_allclose(mean[2], (m[2] + m[4]) / 2, atol=1e-6)
    assert (mean[3] == 0).all()


def test_universal_map_without_a_user_is_the_mean_of_the_others() -> None:
    c = corpus()
    for user in range(3):
        others = [u for u in range(3) if u != user]
        mean, count = c.usm(others)
        without = c.usm_without(range(3), user, [0, 2, 1])
        np.testing.assert_allclose(without, mean[[0, 2, 1]], atol=1e-6)
        assert count[[0, 2, 1]].all()


def test_nobody_left_gives_no_universal_map() -> None:
    without = corpus().usm_without(range(3), 2, [0, 3])
    assert np.isfinite(without[0]).all()
    assert np.isnan(without[1]).all()


def test_fixations_of_some_maps() -> None:
    cells, start = corpus().fixations_of(np.array([3, 0, 8]))
    assert cells.tolist() == [6, 7, 0, 1, 16, 17]
    assert start.tolist() == [0, 2, 4, 6]
    cells, start = corpus().fixations_of(np.zeros(0, np.int64))
    assert (cells.size, start.tolist()) == (0, [0])


def test_universal_maps_without_each_are_those_without_one() -> None:
    c = corpus()
    without = c.usm_without_each(range(3))
    few = c.usm_without_each([0, 2])
    for user in range(3):
        for stimuli in ([0, 2, 1], [3]):
            at = np.array(stimuli)
            np.testing.assert_allclose(without(user, at), c.usm_without(range(3), user, at), rtol=1e-6)
            np.testing.assert_allclose(few(user, at), c.usm_without([0, 2], user, at), rtol=1e-6)
