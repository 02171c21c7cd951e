"""Training on a tiny corpus made here, in which each user spreads their looks to a width of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from quiet import quiet

from gazepipe.config import EmbeddingConfig, RefinerConfig
from gazepipe.corpus import Corpus, Split, make_split
from gazepipe.embedding import DescriptorNet
from gazepipe.errors import ConfigError
from gazepipe.identification import precision_at_one
from gazepipe.training import Encoder, Trained, embedding_pools, train_embedding, train_refiner

CPU = torch.device("cpu")
USERS, IMAGES, HEIGHT, WIDTH = 10, 24, 120, 160


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """PSM = a blob common to all at a place of the image, plus one below it whose width is the user's own."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    maps = np.zeros((USERS * IMAGES, HEIGHT, WIDTH), np.float16)
    place = rng.uniform(0.35, 0.65, (IMAGES, 2)) * [WIDTH, HEIGHT]
    width = np.linspace(4, 22, USERS)
    for user in range(USERS):
        for image in range(IMAGES):
            x, y = place[image]
            common = np.exp(-((u - x) ** 2 + (v - y) ** 2) / 200)
            own = np.exp(-((u - x) ** 2 + (v - y - 25) ** 2) / 2 / width[user] ** 2)
            maps[user * IMAGES + image] = common + own
    index = np.arange(USERS * IMAGES).reshape(USERS, IMAGES)
    cells = np.array([int(m.argmax()) for m in maps])
    names = tuple(f"u{i}" for i in range(USERS)), tuple(f"i{i}" for i in range(IMAGES))
    return Corpus(*names, maps, index, cells, np.arange(len(maps) + 1), None)


@pytest.fixture(scope="module")
def split() -> Split:
    return make_split(USERS, IMAGES, users=(0.6, 0.2, 0.2), images=(0.5, 0.25, 0.25), protocol="open", seed=0)


SETTINGS = EmbeddingConfig(
    inputs="psm", widths=(8, 8, 16, 16), m=2, batch=30, steps=60, validate_every=20, dropout=0.1, learning_rate=0.003
)


@pytest.fixture(scope="module")
def trained(corpus: Corpus, split: Split) -> Trained:
    return train_embedding(corpus, split, SETTINGS, seed=0, where=CPU, progress=quiet)


def test_unseen_users_are_told_apart(corpus: Corpus, split: Split, trained: Trained) -> None:
    encoder = Encoder(trained.net, corpus, split.users_train)
    people = split.users_test + split.users_validation
    features = [encoder.table(u, split.images_test) for u in people]
    value = precision_at_one(features, 3, protocol="disjoint", rng=np.random.default_rng(0)).mean()
    assert value > 0.6  # chance is .25
    assert trained.best["d_prime"] == max(r["d_prime"] for r in trained.history)


def test_same_seed_same_weights_other_seed_others(corpus: Corpus, split: Split, trained: Trained) -> None:
    again = train_embedding(corpus, split, SETTINGS, seed=0, where=CPU, progress=quiet)
    for key, value in trained.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[key]), key
    other = train_embedding(corpus, split, SETTINGS, seed=1, where=CPU, progress=quiet)
    assert not torch.equal(trained.net.head.weight, other.net.head.weight)


def spoilt(corpus: Corpus, split: Split) -> Corpus:
    """The corpus with garbage in every map of a test user or a test image."""
    maps = corpus.maps.copy()
    maps[corpus.index[list(split.users_test)].ravel()] = 7
    maps[corpus.index[:, list(split.images_test)].ravel()] = 9
    return dataclasses.replace(corpus, maps=maps)


@pytest.mark.parametrize("inputs", ["psm", "discrepancy"])
def test_test_users_and_images_never_touch_training(corpus: Corpus, split: Split, inputs: str) -> None:
    short = SETTINGS.model_copy(update={"inputs": inputs, "steps": 20})
    clean = train_embedding(corpus, split, short, seed=0, where=CPU, progress=quiet)
    dirty = train_embedding(spoilt(corpus, split), split, short, seed=0, where=CPU, progress=quiet)
    assert clean.history[-1]["d_prime"] == dirty.history[-1]["d_prime"]
    for key, value in clean.net.state_dict().items():
        assert torch.equal(value, dirty.net.state_dict()[key]), key


DESCRIPTORS = EmbeddingConfig(inputs="descriptors", m=2)


def test_descriptors_tell_unseen_users_apart(corpus: Corpus, split: Split) -> None:
    trained = train_embedding(corpus, split, DESCRIPTORS, seed=0, where=CPU, progress=quiet)
    encoder = Encoder(trained.net, corpus, split.users_train)
    features = [encoder.table(u, split.images_test) for u in split.users_test + split.users_validation]
    assert precision_at_one(features, 3, protocol="disjoint", rng=np.random.default_rng(0)).mean() > 0.6  # chance: .25
    assert trained.best["d_prime"] > 1


@pytest.mark.parametrize("calibration", [{}, {"registration": True}, {"recalibration_deg": 1.0}])
def test_test_users_and_images_never_touch_the_whitening(
    corpus: Corpus, split: Split, calibration: dict[str, Any]
) -> None:
    settings, corpus = DESCRIPTORS.model_copy(update=calibration), dataclasses.replace(corpus, degree=(4.0, 4.0))
    clean = train_embedding(corpus, split, settings, seed=0, where=CPU, progress=quiet)
    dirty = train_embedding(spoilt(corpus, split), split, settings, seed=0, where=CPU, progress=quiet)
    assert clean.best["d_prime"] == dirty.best["d_prime"]
    for key, value in clean.net.state_dict().items():
        assert torch.equal(value, dirty.net.state_dict()[key]), key


def misplaced(corpus: Corpus, user: int, by: tuple[int, int]) -> Corpus:
    """The corpus after one user's eye tracker was calibrated again, now off by some cells of the map."""
    maps = corpus.maps.copy()
    rows = corpus.index[user]
    maps[rows] = np.roll(maps[rows], by[::-1], axis=(1, 2))
    return dataclasses.replace(corpus, maps=maps)


@pytest.mark.parametrize("inputs", ["descriptors", "discrepancy"])
def test_registration_takes_a_calibration_offset_out(corpus: Corpus, split: Split, inputs: str) -> None:
    user, images = split.users_test[0], np.array(split.images_test)
    change = {}
    for registration in (False, True):
        settings = SETTINGS.model_copy(update={"inputs": inputs, "registration": registration, "steps": 4})
        net = train_embedding(corpus, split, settings, seed=0, where=CPU, progress=quiet).net
        before, after = (
            Encoder(net, c, split.users_train).table(user, images).mean(0)
            for c in (corpus, misplaced(corpus, user, (6, -4)))
        )
        change[registration] = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert change[True] < change[False] / 4


def test_a_network_can_be_trained_for_another_calibration(corpus: Corpus, split: Split) -> None:
    """Each embedding of a batch is moved as one, so that its features' mean changes and nothing else."""
    corpus = dataclasses.replace(corpus, degree=(4.0, 4.0))
    settings = SETTINGS.model_copy(update={"recalibration_deg": 2.0, "steps": 3})
    one, again, unmoved = (
        train_embedding(corpus, split, s, seed=0, where=CPU, progress=quiet)
        for s in (settings, settings, settings.model_copy(update={"recalibration_deg": 0.0}))
    )
    assert torch.equal(one.net.head.weight, again.net.head.weight)
    assert not torch.equal(one.net.head.weight, unmoved.net.head.weight)
    with pytest.raises(ConfigError, match="how large a degree"):
        train_embedding(
            dataclasses.replace(corpus, degree=(np.nan, np.nan)), split, settings, seed=0, where=CPU, progress=quiet
        )


def test_a_move_found_for_some_maps_is_the_move_of_all(corpus: Corpus, split: Split) -> None:
    net = train_embedding(
        corpus, split, DESCRIPTORS.model_copy(update={"registration": True}), seed=0, where=CPU, progress=quiet
    ).net
    user, images = split.users_test[0], np.array(split.images_test)
    moved = Encoder(net, misplaced(corpus, user, (8, -4)), split.users_train)
    still = Encoder(net, corpus, split.users_train)
    difference = still.offset(user, images) - moved.offset(user, images)
    torch.testing.assert_close(difference, torch.tensor([2.0, -1.0]), atol=0.1, rtol=0)  # a cell is four of the map's


def test_pairs_that_no_training_user_saw_are_left_out(corpus: Corpus, split: Split) -> None:
    index = corpus.index.copy()
    alone, pair = split.images_test[:2]
    index[list(split.users_train), alone] = -1
    index[list(split.users_train[1:]), pair] = -1
    few = dataclasses.replace(corpus, index=index)
    net = train_embedding(few, split, DESCRIPTORS, seed=0, where=CPU, progress=quiet).net
    encoder = Encoder(net, few, split.users_train)
    known = np.isfinite(encoder.table(split.users_test[0], split.images_test)[:, 0])
    assert known.tolist() == [False, *([True] * (len(known) - 1))]
    # The only training user who saw an image has nobody to be set against.
    assert not np.isfinite(encoder.table(split.users_train[0], (pair,))).any()


def test_what_an_image_does_to_everybody_is_taken_off(corpus: Corpus, split: Split) -> None:
    """An unfitted network's features are descriptors less the mean over training users, without the user."""
    encoder = Encoder(DescriptorNet(), corpus, split.users_train)
    images = torch.tensor(split.images_train[:3])

    def described(user: int, others: tuple[int, ...]) -> torch.Tensor:
        usm = torch.from_numpy(corpus.usm(others)[0])[images]
        return encoder.net.describe(torch.from_numpy(corpus.maps[corpus.index[user, images]]), usm)

    known = split.users_train
    own = {u: described(u, tuple(k for k in known if k != u)) for u in known}
    stranger = split.users_test[0]
    wanted = {
        stranger: described(stranger, known) - torch.stack(list(own.values())).mean(0),
        known[0]: own[known[0]] - torch.stack([own[k] for k in known[1:]]).mean(0),
    }
    for user, want in wanted.items():
        table = torch.from_numpy(encoder.table(user, split.images_train[:3]))
        torch.testing.assert_close(table[:, :-1], want, atol=2e-3, rtol=2e-3)
        assert (table[:, -1] == 1).all()


REFINER = RefinerConfig(widths=(8, 8, 16), personal=8, m=4, pool=20, batch=8, epochs=30)


def refined(corpus: Corpus, split: Split, trained: Trained, settings: RefinerConfig = REFINER) -> Trained:
    encoder = Encoder(trained.net, corpus, split.users_train)
    known = split.users_train + split.users_validation
    pools = embedding_pools(encoder, known, split.images_train, m=settings.m, pool=settings.pool, seed=0)
    return train_refiner(corpus, split, settings, pools, seed=0, where=CPU, progress=quiet)


def test_refined_maps_beat_the_universal_map_for_users_never_trained_on(
    corpus: Corpus, split: Split, trained: Trained
) -> None:
    result = refined(corpus, split, trained)
    assert result.net.channels == 1  # no pixels here: the universal map is the only channel
    assert result.best["cc"] > result.best["cc_usm"] + 0.01
    # The embedding is what does it: everybody's mean embedding in its place makes the maps worse.
    encoder = Encoder(trained.net, corpus, split.users_train)
    known = split.users_train + split.users_validation
    pools = embedding_pools(encoder, known, split.images_train, m=4, pool=20, seed=0)
    mean = np.mean([pools[u].mean(0) for u in split.users_train], axis=0)
    usm, _ = corpus.usm(known)
    from gazepipe.metrics import cc
    from gazepipe.predict import predict_maps

    personal, anonymous = [], []
    for user in split.users_validation:
        images = list(split.images_validation)
        truth = corpus.maps[corpus.index[user, images]].astype(np.float32)
        for people, out in ((pools[user].mean(0), personal), (mean, anonymous)):
            maps = predict_maps(result.net, people, None, usm[images], combine="add")
            out += [cc(m, t) for m, t in zip(maps, truth, strict=True)]
    assert np.mean(personal) > np.mean(anonymous)


def test_refiner_never_sees_test_users_or_images(corpus: Corpus, split: Split, trained: Trained) -> None:
    short = REFINER.model_copy(update={"epochs": 2})
    clean, dirty = refined(corpus, split, trained, short), refined(spoilt(corpus, split), split, trained, short)
    for key, value in clean.net.state_dict().items():
        assert torch.equal(value, dirty.net.state_dict()[key]), key


def test_training_stops_in_time_and_out_of_patience(corpus: Corpus, split: Split) -> None:
    timed = SETTINGS.model_copy(update={"minutes": 1e-4, "steps": 500})
    assert train_embedding(corpus, split, timed, seed=0, where=CPU, progress=quiet).history[-1]["step"] < 500
    still = SETTINGS.model_copy(update={"learning_rate": 1e-12, "patience": 2, "steps": 500, "validate_every": 2})
    assert train_embedding(corpus, split, still, seed=0, where=CPU, progress=quiet).history[-1]["step"] < 100


def test_too_few_images_are_refused_with_a_way_out(corpus: Corpus, split: Split) -> None:
    greedy = SETTINGS.model_copy(update={"m": 5})
    with pytest.raises(ConfigError, match=r"m is 5, which needs 15 images .* found 12 images"):
        train_embedding(corpus, split, greedy, seed=0, where=CPU, progress=quiet)


def test_images_that_are_not_there_are_refused(corpus: Corpus, split: Split) -> None:
    with pytest.raises(ConfigError, match="need an image"):
        train_embedding(
            corpus, split, SETTINGS.model_copy(update={"inputs": "rgb+psm"}), seed=0, where=CPU, progress=quiet
        )
