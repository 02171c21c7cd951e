"""Moved maps: what an offset does to embeddings, with and without registration."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gazepipe.config import EvaluationConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.embedding import DescriptorNet
from gazepipe.evaluation.identify import identify
from gazepipe.evaluation.offsets import disc, moved_embeddings, offset_hits
from gazepipe.training import Encoder

USERS, IMAGES, HEIGHT, WIDTH = 6, 24, 30, 40


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """People who look at the same place of an image, each off by an amount that is theirs: calibration and no more."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    place = rng.uniform(0.4, 0.6, (IMAGES, 2)) * [WIDTH, HEIGHT]
    maps = []
    for user in range(USERS):
        angle = 2 * np.pi * user / USERS
        for x, y in place + 1.5 * np.array([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.3, (IMAGES, 2)):
            maps.append(np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8))
    index = np.arange(USERS * IMAGES).reshape(USERS, IMAGES)
    cells = np.array([int(m.argmax()) for m in maps])
    names = tuple(f"u{i}" for i in range(USERS)), tuple(f"i{i}" for i in range(IMAGES))
    start = np.arange(len(maps) + 1)
    return Corpus(*names, np.array(maps, np.float16), index, cells, start, None, degree=(2.0, 2.0))


SPLIT = Split((0, 1, 2), (), (3, 4, 5), (), (), tuple(range(IMAGES)))


def encoder_of(corpus: Corpus, *, registration: bool = False) -> Encoder:
    encoder = Encoder(DescriptorNet(registration), corpus, SPLIT.users_train)
    encoder.net.fit([torch.from_numpy(encoder.table(u, np.arange(IMAGES))[:, :-1]) for u in SPLIT.users_train], 0.1)
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
    assert change[False] > 0.5
    assert change[True] < 0.1


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
