"""Moved maps: what an offset does to embeddings, with and without registration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from gazepipe.config import EvaluationConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.descriptors import DESCRIPTORS
from gazepipe.embedding import DescriptorNet
from gazepipe.errors import ConfigError
from gazepipe.evaluation.identify import identify
from gazepipe.evaluation.offsets import moved_embeddings, offset_hits
from gazepipe.recalibration import disc, mean_scatter, offset_scatter
from gazepipe.training import Encoder

USERS, IMAGES, HEIGHT, WIDTH = 6, 24, 30, 40


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_of(())


def corpus_of(widths: Sequence[float]) -> Corpus:
    """People who look at the same place of an image, each off by an amount that is theirs: calibration and no more.

    With `widths` they differ in how wide they look, too, which is them and not their calibration.
    """
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    place = rng.uniform(0.4, 0.6, (IMAGES, 2)) * [WIDTH, HEIGHT]
    maps = []
    for user in range(USERS):
        angle = 2 * np.pi * user / USERS
        spread = 2 * widths[user] ** 2 if widths else 8
        for x, y in place + 1.5 * np.array([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.3, (IMAGES, 2)):
            maps.append(np.exp(-((u - x) ** 2 + (v - y) ** 2) / spread))
    index = np.arange(USERS * IMAGES).reshape(USERS, IMAGES)
    cells = np.array([int(m.argmax()) for m in maps])
    names = tuple(f"u{i}" for i in range(USERS)), tuple(f"i{i}" for i in range(IMAGES))
    start = np.arange(len(maps) + 1)
    return Corpus(*names, np.array(maps, np.float16), index, cells, start, None, degree=(2.0, 2.0))


SPLIT = Split((0, 1, 2), (), (3, 4, 5), (), (), tuple(range(IMAGES)))


def encoder_of(corpus: Corpus, *, registration: bool = False, expected_deg: float = 0.0) -> Encoder:
    encoder = Encoder(DescriptorNet(registration), corpus, SPLIT.users_train)
    tables = [torch.from_numpy(encoder.table(u, np.arange(IMAGES))[:, :-1]) for u in SPLIT.users_train]
    rng = np.random.default_rng(0)
    found = offset_scatter(encoder, SPLIT.users_train, np.arange(IMAGES), expected_deg, rng) if expected_deg else {}
    encoder.net.fit(tables, 0.1, mean_scatter(found))
    return encoder


def test_offsets_are_uniform_in_a_disc_of_degrees(corpus: Corpus) -> None:
    moves = disc(4000, 1.5, corpus, np.random.default_rng(0))
    radius = np.hypot(*moves.T)
    assert radius.max() <= 3  # 1.5° of two cells each
    assert np.mean(radius < 1.5) == pytest.approx(0.25, abs=0.03)  # half the radius is a quarter of the area
    assert np.abs(moves.mean(0)).max() < 0.1
    wide = dataclasses.replace(corpus, degree=(4.0, 1.0))
    assert np.abs(disc(4000, 1.0, wide, np.random.default_rng(0))).max(0) == pytest.approx([4, 1], rel=0.05)


def test_unmoved_embeddings_are_those_of_the_table(corpus: Corpus) -> None:
    encoder = encoder_of(corpus)
    sets = np.array([[0, 3, 5], [7, 8, 9]])
    made = moved_embeddings(encoder, 4, sets, np.zeros((2, 2), np.float32))
    mean = encoder.table(4, np.arange(IMAGES))[sets].mean(1)
    np.testing.assert_allclose(made, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-4)


def test_a_move_changes_embeddings_unless_maps_are_registered(corpus: Corpus) -> None:
    sets, by = np.arange(8)[None], np.array([[1.0, -1.5]], np.float32)
    change = {}
    for registration in (False, True):
        encoder = encoder_of(corpus, registration=registration)
        still, moved = (moved_embeddings(encoder, 4, sets, b)[0] for b in (0 * by, by))
        change[registration] = float(np.linalg.norm(still - moved))
    assert change[False] > 0.3
    assert change[True] < 0.1


def test_what_is_not_calibration_is_left_where_offsets_are_expected() -> None:
    corpus, sets = corpus_of([1.6, 1.8, 2.0, 2.2, 2.4, 2.6]), np.arange(8)[None]
    by = np.array([[1.0, -1.5]], np.float32)
    change = {}
    for expected_deg in (0.0, 1.0):
        encoder = encoder_of(corpus, expected_deg=expected_deg)
        still, moved = (moved_embeddings(encoder, 5, sets, b)[0] for b in (0 * by, by))
        change[expected_deg] = float(np.linalg.norm(still - moved))
    assert change[1.0] < change[0.0] / 2


def test_offsets_scatter_by_the_square_of_their_size(corpus: Corpus) -> None:
    """The place looked at is linear in the move: its variance is a quarter of the radius squared, along each axis."""
    encoder = Encoder(DescriptorNet(), corpus, SPLIT.users_train)
    u, v = DESCRIPTORS.index("u"), DESCRIPTORS.index("v")
    for radius in (0.5, 1.0):
        found = offset_scatter(encoder, SPLIT.users_train, np.arange(IMAGES), radius, np.random.default_rng(0))
        assert sorted(found) == list(SPLIT.users_train)
        scatter = mean_scatter(found)
        assert scatter is not None
        cell = 2 * radius  # two cells in a degree; u goes from −1 to 1 over 40 cells, v over 30
        assert float(scatter[u, u]) == pytest.approx((cell / 20) ** 2 / 4, rel=0.15)
        assert float(scatter[v, v]) == pytest.approx((cell / 15) ** 2 / 4, rel=0.15)
    assert mean_scatter(found, SPLIT.users_train) is None


def test_a_degree_must_be_known(corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match="how large a degree"):
        encoder_of(dataclasses.replace(corpus, degree=(float("nan"), float("nan"))), expected_deg=1.0)


def test_people_told_apart_by_calibration_alone_are_lost_after_offsets(corpus: Corpus) -> None:
    config = EvaluationConfig(m=(4,), embeddings_per_user=10, repetitions=4, offset_deg=2.0, offset_repetitions=4)
    found = identify(encoder_of(corpus), SPLIT, config, seed=0, everybody=True)
    assert found.hits["disjoint"][4].shape == (4, 3)
    assert found.hits["disjoint"][4].mean() > 0.95
    assert found.hits["all"][4].mean() > 0.8
    assert found.hits["offset"][4].mean() < 0.6  # chance is a third
    assert found.hits["all_offset"][4].mean() < found.hits["all"][4].mean()
    verification = found.verification()[4]
    assert verification["eer"] < 0.1
    assert verification["d_prime"] > 1.5


def test_too_few_images_give_nothing(corpus: Corpus) -> None:
    options = {"radius_deg": 1.0, "per_user": 2, "repetitions": 1, "rng": np.random.default_rng(0)}
    people = SPLIT.users_test
    assert offset_hits(encoder_of(corpus), people, people, np.arange(IMAGES), 13, **options).shape == (0, 3)
    assert offset_hits(encoder_of(corpus), people, people, np.arange(IMAGES), 12, **options).shape == (1, 3)
