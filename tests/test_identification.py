"""Precision at one and its companions on features whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from gazepipe.identification import d_prime, draw, equal_error_rate, precision_at_one, separation

PROTOCOLS = ["paper", "disjoint"]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_users_in_corners_are_always_found(protocol: str) -> None:
    features = [np.tile(np.eye(4, dtype=np.float32)[u], (20, 1)) for u in range(4)]
    assert precision_at_one(features, 4, protocol=protocol, rng=rng()).tolist() == [1.0] * 20


def test_features_that_know_only_the_image_are_at_chance_in_the_disjoint_protocol_alone() -> None:
    images = rng().normal(size=(40, 64)).astype(np.float32)
    noise = np.random.default_rng(1).normal(scale=1e-3, size=(5, 40, 64)).astype(np.float32)
    features = [images + n for n in noise]
    disjoint = precision_at_one(features, 8, protocol="disjoint", repetitions=60, rng=rng()).mean()
    assert disjoint == pytest.approx(0.2, abs=0.05)


def test_shared_pairs_inflate_the_paper_protocol() -> None:
    # Pure noise: nothing to tell users by, but two draws of 30 out of 40 pairs share most of them.
    features = list(np.random.default_rng(2).normal(size=(5, 40, 16)).astype(np.float32))
    paper = precision_at_one(features, 30, protocol="paper", rng=rng()).mean()
    disjoint = precision_at_one(features, 15, protocol="disjoint", repetitions=60, rng=rng()).mean()
    assert paper > 0.95
    assert disjoint < 0.45


def test_too_few_pairs_give_nothing() -> None:
    features = [np.ones((10, 3), np.float32)] * 2
    assert precision_at_one(features, 6, protocol="disjoint", rng=rng()).size == 0
    assert precision_at_one(features, 6, protocol="paper", rng=rng()).size == 20


def test_unseen_images_are_left_out() -> None:
    features = [np.tile(np.eye(2, dtype=np.float32)[u], (20, 1)) for u in range(2)]
    features[0][:5] = np.nan
    assert precision_at_one(features, 3, protocol="disjoint", rng=rng()).mean() == 1


def test_draw_makes_unit_means_of_different_pairs() -> None:
    drawn = draw(np.eye(6, dtype=np.float32), 3, 50, rng())
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, rtol=1e-6)
    assert set((drawn > 0).sum(1)) == {3}


def test_equal_error_rate_by_hand() -> None:
    assert equal_error_rate([0.9, 0.8, 0.7], [0.1, 0.2, 0.3]) == 0
    assert equal_error_rate([0.9, 0.8, 0.2, 0.7], [0.1, 0.3, 0.85, 0.0]) == pytest.approx(0.25)
    same = np.linspace(0, 1, 1001)
    assert equal_error_rate(same, same) == pytest.approx(0.5, abs=0.01)


def test_d_prime_by_hand() -> None:
    assert d_prime([1, 3], [0, 2]) == pytest.approx(1.0)
    assert d_prime([1, 1], [1, 1]) == 0


def test_separation() -> None:
    own = np.tile(np.array([1, 0, 0], np.float32), (8, 1))
    others = np.array([[0, 1, 0], [0.6, 0.8, 0]], np.float32)
    place = separation(own, others, rng=rng())
    assert place.dispersion == pytest.approx(0, abs=1e-6)
    assert place.nearest == 1
    assert place.nearest_cosine == pytest.approx(0.6)
    assert place.margin == pytest.approx(0.4)
    assert place.d_prime > 3
    alone = separation(own, np.zeros((0, 3), np.float32), rng=rng())
    assert alone.nearest == -1
