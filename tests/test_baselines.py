"""MultiCNN: a network for each training user, and the oracle that picks among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazepipe.baselines import multicnn_maps
from gazepipe.config import RefinerConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.refiner import MultiCnn, MultiCnnNet, RefinerNet
from gazepipe.training import train_multicnn

CPU = torch.device("cpu")
HEIGHT, WIDTH = 120, 160


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Everybody looks at a blob; users 0, 2 and 4 look below it too, users 1, 3 and 5 above it."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    place = rng.uniform(0.35, 0.65, (16, 2)) * [WIDTH, HEIGHT]
    maps = np.zeros((6, 16, HEIGHT, WIDTH), np.float16)
    for user in range(6):
        for image, (x, y) in enumerate(place):
            side = 30 if user % 2 == 0 else -30
            common = np.exp(-((u - x) ** 2 + (v - y) ** 2) / 200)
            maps[user, image] = common + np.exp(-((u - x) ** 2 + (v - y - side) ** 2) / 200)
    flat = maps.reshape(-1, HEIGHT, WIDTH)
    names = tuple(f"u{i}" for i in range(6)), tuple(f"i{i}" for i in range(16))
    cells = flat.reshape(len(flat), -1).argmax(1)
    return Corpus(*names, flat, np.arange(96).reshape(6, 16), cells, np.arange(97), None)


SPLIT = Split((0, 1), (2, 3), (4, 5), tuple(range(10)), tuple(range(10, 13)), tuple(range(13, 16)))
SETTINGS = RefinerConfig(widths=(4, 6, 8), epochs=40, batch=5, patience=40, learning_rate=0.02)


def test_it_is_the_refiner_without_the_embedding_path() -> None:
    net, refiner = MultiCnnNet(4, (4, 6, 8)), RefinerNet(4, 6, (4, 6, 8), personal=5)
    assert [p.shape for p in net.trunk.parameters()] == [p.shape for p in refiner.trunk.parameters()]
    maps = net(torch.randn(2, 4, HEIGHT, WIDTH))
    assert [m.shape for m in maps] == [(2, 15, 20)] * 3
    assert all(m.abs().max() <= 1 for m in maps)


def test_maps_of_another_size_give_discrepancy_maps_all_the_same() -> None:
    maps = MultiCnnNet(1, (4, 6, 8))(torch.randn(2, 1, 30, 40))
    assert [m.shape for m in maps] == [(2, 15, 20)] * 3


def test_each_network_learns_its_user_and_the_oracle_finds_the_like(corpus: Corpus) -> None:
    trained = train_multicnn(corpus, SPLIT, SETTINGS, seed=0, where=CPU, progress=lambda *_: None)
    assert {row["user"] for row in trained.history} == {0, 1}
    images = np.array(SPLIT.images_test)
    usm = corpus.usm(range(6))[0][images]
    below = {}
    for user in (4, 5):
        moved = multicnn_maps(trained.net, corpus, SPLIT, user, images, usm) - usm
        truth = corpus.maps[corpus.index[user, images]].astype(np.float32)
        agreement = np.corrcoef(moved.ravel(), (truth - usm).ravel())[0, 1]
        assert agreement > 0.3
        below[user] = moved
    # Users 4 and 5 differ in opposite ways from everybody, so that the oracle must have taken different networks.
    assert np.abs(below[4] - below[5]).max() > 0


def test_a_training_does_not_depend_on_what_was_drawn_before(corpus: Corpus) -> None:
    short = SETTINGS.model_copy(update={"epochs": 1})
    weights = []
    for before in (1, 2):
        torch.manual_seed(before)
        trained = train_multicnn(corpus, SPLIT, short, seed=0, where=CPU, progress=lambda *_: None)
        weights.append(torch.cat([p.detach().flatten() for p in trained.net.parameters()]))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_the_oracle_takes_the_lowest_loss(corpus: Corpus) -> None:
    model, images = MultiCnn(2, 1, (4, 6, 8)), np.array(SPLIT.images_test)
    usm = corpus.usm(range(6))[0][images]
    with torch.no_grad():
        for net, level in zip(model.nets, (0.5, 0.01), strict=True):
            for head in net.project:
                head.weight.zero_()
                head.bias.fill_(level)
    # An unseen user's map lies nearer to the universal map plus a hundredth than plus a half.
    got = multicnn_maps(model, corpus, SPLIT, 4, images, usm)
    np.testing.assert_allclose(got, usm + np.tanh(0.01), atol=1e-6)
    # A training user has a network of their own, even where it is the worse one.
    got = multicnn_maps(model, corpus, SPLIT, 0, images, usm)
    np.testing.assert_allclose(got, usm + np.tanh(0.5), atol=1e-6)
