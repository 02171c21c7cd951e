"""Viewing profiles: each number's effect by hand, the loss against the measures, and people whose profile is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from quiet import quiet
from torch import Tensor

from gazepipe import metrics, profiling
from gazepipe.config import RefinerConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError
from gazepipe.profile import (
    FIT_SIZE,
    PARAMETERS,
    Looks,
    ProfileNet,
    fit_profiles,
    looks_of,
    map_loss,
    order,
    profile_loss,
    reshape_maps,
)
from gazepipe.profiling import profiled, profiles_of, train_profile

P = len(PARAMETERS)
FLOOR = math.exp(-5)


pytestmark = pytest.mark.usefixtures("one_thread")


def profile(**values: float) -> Tensor:
    return torch.tensor([[values.get(name, 0.0) for name in PARAMETERS]])


def blobs(n: int, seed: int, size: tuple[int, int] = FIT_SIZE) -> Tensor:
    """Maps with two blobs each, ``(1, n, H, W)``, mean 1, well inside the frame."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: size[0], : size[1]] / size[1] * 40
    maps = np.zeros((n, *size), np.float32)
    for one in maps:
        for x, y in rng.uniform([10, 8], [30, 22], (2, 2)):
            one += rng.uniform(0.4, 1) * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8)
    tensor = torch.from_numpy(maps)[None]
    return tensor / tensor.mean((2, 3), keepdim=True)


def test_no_deviation_gives_the_universal_map_back_over_a_thin_floor() -> None:
    maps = blobs(3, 0)
    torch.testing.assert_close(reshape_maps(maps * 7, profile()), (maps + FLOOR) / (1 + FLOOR), atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("size", [(30, 40), (120, 160)])
def test_shift_moves_the_centre_of_mass_by_fortieths_of_the_width(size: tuple[int, int]) -> None:
    maps = blobs(1, 1, size)
    at = torch.arange(size[1]).float()

    def centre(m: Tensor) -> float:
        # The floor pulls towards the middle of the frame; it is taken off.
        columns = (m[0, 0] - m.min()).sum(0)
        return float((columns * at).sum() / columns.sum())

    moved = centre(reshape_maps(maps, profile(shift_x=0.5, floor=-20))) - centre(reshape_maps(maps, profile(floor=-20)))
    assert moved == pytest.approx(0.5 * size[1] / 40, abs=0.03 * size[1] / 40)


def test_tilt_is_the_logarithm_of_a_ratio() -> None:
    flat = torch.ones(1, 1, *FIT_SIZE)
    maps = reshape_maps(flat, profile(x=0.7, yy=-0.4, floor=-20))[0, 0]
    assert float(torch.log(maps[0, -1] / maps[0, 0])) == pytest.approx(2 * 0.7, abs=1e-4)
    assert float(torch.log(maps[0, 0] / maps[:, 0].max())) == pytest.approx(-0.4, abs=2e-3)


def test_power_raises_what_everybody_looks_at() -> None:
    maps = blobs(1, 2)
    got = reshape_maps(maps, profile(power=math.log(2), floor=-20))
    expected = (maps + 1e-4) ** 2
    torch.testing.assert_close(got, expected / expected.mean(), atol=1e-3, rtol=1e-3)


def test_loss_is_made_of_the_measures() -> None:
    a, b = blobs(2, 3)[0], blobs(2, 4)[0]
    loss = map_loss(a, b, cc_weight=3.0)
    for i in range(2):
        p, q = a[i].double().numpy(), b[i].double().numpy()
        expected = metrics.kld(p + 1e-8, q) - 3 * metrics.cc(p, q) - metrics.sim(p, q)
        assert float(loss[i]) == pytest.approx(expected, abs=1e-3)


def test_looks_are_the_peaks_of_a_map() -> None:
    maps = torch.zeros(2, 10, 10)
    maps[0, 2, 3], maps[0, 2, 4], maps[0, 7, 7], maps[0, 0, 9] = 1.0, 0.9, 0.5, 0.07  # beside a peak; a peak; too low
    maps[1, 4, 4] = 0.3
    looks = looks_of(maps)
    for row, expected in enumerate(({23: 0.5, 77: 0.5}, {44: 1.0})):
        there = looks.weights[row] > 0
        found = dict(zip(looks.cells[row][there].tolist(), looks.weights[row][there].tolist(), strict=True))
        assert found == expected


def test_order_is_the_share_of_lower_cells_softly() -> None:
    # Rows 1 and 6 and columns 1 and 6 are the others: 1, 2, 4 and 8; one look on 2, one on 16.
    maps = torch.ones(1, 10, 10)
    maps[0, 1, 1], maps[0, 1, 6], maps[0, 6, 1], maps[0, 6, 6], maps[0, 3, 3], maps[0, 4, 4] = 1, 2, 4, 8, 2, 16
    looks = Looks(torch.tensor([[33, 44]]), torch.tensor([[0.5, 0.5]]))

    def soft(ratio: float) -> float:
        return 1 / (1 + math.exp(-math.log(ratio) / 0.15))

    expected = sum(soft(look / other) for look in (2, 16) for other in (1, 2, 4, 8)) / 8
    assert float(order(maps, looks)) == pytest.approx(expected, abs=1e-6)


def test_order_is_near_the_auc_and_knows_no_scale() -> None:
    maps, truth = blobs(6, 11)[0] + 0.01, blobs(6, 11)[0]
    looks = looks_of(truth)
    torch.testing.assert_close(order(maps * 7, looks), order(maps, looks), atol=1e-5, rtol=0)
    for i in range(6):
        cells = looks.cells[i][looks.weights[i] > 0].numpy()
        exact = metrics.auc(maps[i].numpy(), cells // FIT_SIZE[1], cells % FIT_SIZE[1])
        assert float(order(maps, looks)[i]) == pytest.approx(exact, abs=0.02)


def test_loss_weighs_the_order() -> None:
    a, b = blobs(2, 3)[0], blobs(2, 4)[0]
    expected = map_loss(a, b) - 3 * order(a, looks_of(b))
    torch.testing.assert_close(profile_loss(a, b, order_weight=3.0), expected)
    torch.testing.assert_close(profile_loss(a, b, order_weight=0.0), map_loss(a, b))


def test_a_person_like_everybody_gets_the_universal_map_back() -> None:
    seen, unseen = blobs(32, 12), blobs(10, 13)
    fitted = fit_profiles(seen, seen, torch.zeros(P), torch.ones(P))
    for own, usm in zip(reshape_maps(unseen, fitted)[0].numpy(), unseen[0].numpy(), strict=True):
        assert metrics.cc(own, usm) > 0.999
        assert metrics.sim(own, usm) > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_cells_gains_where_it_is_weighed(seed: int) -> None:
    # Lone looks beside everybody's: a blur would help the heights and bury them.
    rng = np.random.default_rng(seed)
    usm, lone = blobs(24, 20 + seed), blobs(24, 40 + seed)
    person = torch.from_numpy(rng.uniform(0.3, 1, (1, 24, 1, 1))).float() * usm + 0.3 * lone
    person = person / person.mean((2, 3), keepdim=True)
    mixed = 0.93 * usm + 0.07 * person
    looks = looks_of(person)
    aucs = []
    for weight in (0.0, 5.0):
        fitted = fit_profiles(mixed, person, torch.zeros(P), torch.ones(P), order_weight=weight)
        aucs.append(float(order(reshape_maps(mixed, fitted), looks).mean()))
    assert aucs[1] > aucs[0]


def test_a_person_is_found_again_from_their_maps() -> None:
    true = profile(x=0.6, xx=-0.5, shift_x=0.8, shift_y=-0.5, power=0.2)
    seen, unseen = blobs(32, 5), blobs(20, 6)
    fitted = fit_profiles(seen, reshape_maps(seen, true), torch.zeros(P), torch.full((P,), 1e-3), steps=150)
    for name in ("x", "shift_x", "shift_y"):
        i = PARAMETERS.index(name)
        assert float(fitted[0, i]) == pytest.approx(float(true[0, i]), abs=0.15)
    truth = reshape_maps(unseen, true)
    assert map_loss(reshape_maps(unseen, fitted), truth).mean() < map_loss(unseen, truth).mean() - 0.05


def test_a_sure_prior_and_no_pairs_leave_the_mean() -> None:
    seen, mean = blobs(4, 7), torch.linspace(-0.1, 0.1, P)
    person = reshape_maps(seen, profile(shift_x=2.0))
    torch.testing.assert_close(fit_profiles(seen, person, mean, torch.full((P,), 1e6))[0], mean, atol=0.02, rtol=0)
    nothing = fit_profiles(seen, person, mean, torch.ones(P), torch.zeros(1, 4))
    torch.testing.assert_close(nothing[0], mean, atol=1e-6, rtol=0)


# ---- a corpus in which every user's gaze lies to a side of their own -------------------------------------------------

USERS, IMAGES = 9, 40


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    common = blobs(IMAGES, 8, (60, 80))
    offset = np.random.default_rng(0).permutation(np.linspace(-1.5, 1.5, USERS))
    maps = np.concatenate([reshape_maps(common, profile(shift_x=float(o)))[0].numpy() for o in offset])
    maps = (maps / maps.max((1, 2), keepdims=True)).astype(np.float16)
    index = np.arange(USERS * IMAGES).reshape(USERS, IMAGES)
    cells = np.array([int(m.argmax()) for m in maps])
    names = tuple(f"u{i}" for i in range(USERS)), tuple(f"i{i}" for i in range(IMAGES))
    return Corpus(*names, maps, index, cells, np.arange(len(maps) + 1), None)


SPLIT = Split((0, 1, 2, 3, 4), (5, 6), (7, 8), tuple(range(24)), tuple(range(24, 32)), tuple(range(32, 40)))


def test_profiles_of_unseen_users_fit_their_unseen_images(corpus: Corpus) -> None:
    trained = train_profile(corpus, SPLIT, RefinerConfig(m=8), seed=0, progress=quiet)
    known = [*SPLIT.users_train, *SPLIT.users_validation]
    few = [np.arange(8)] * 2
    test = np.array(SPLIT.images_test)
    fitted = profiles_of(trained.net, "leave_one_out", corpus, SPLIT.users_test, few, known)
    for row, user in enumerate(SPLIT.users_test):
        usm = corpus.usm_without(range(USERS), user, test)
        truth = corpus.maps[corpus.index[user, test]].astype(np.float32)
        own = profiled(usm, fitted[row])
        np.testing.assert_allclose(own.mean((1, 2)), usm.mean((1, 2)), rtol=1e-4)
        gain = [metrics.cc(a, t) - metrics.cc(b, t) for a, b, t in zip(own, usm, truth, strict=True)]
        assert min(gain) > 0.005


def test_the_prior_knows_no_test_user_and_no_test_image(corpus: Corpus) -> None:
    trained = train_profile(corpus, SPLIT, RefinerConfig(m=8), seed=0, progress=quiet)
    maps = corpus.maps.copy()
    maps[corpus.index[list(SPLIT.users_test)]] = 1
    maps[corpus.index[:, list(SPLIT.images_test)]] = 1
    other = Corpus(
        corpus.users, corpus.stimuli, maps, corpus.index, corpus.fixation_cell, corpus.fixation_start, corpus.images
    )
    again = train_profile(other, SPLIT, RefinerConfig(m=8), seed=0, progress=quiet)
    for a, b in zip(trained.net.state_dict().values(), again.net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_pairs_that_are_missing_do_not_count(corpus: Corpus) -> None:
    net = ProfileNet()
    index = corpus.index.copy()
    index[7, 4:] = -1
    index[:7, 3] = -1  # nobody else saw it
    part = Corpus(
        corpus.users, corpus.stimuli, corpus.maps, index, corpus.fixation_cell, corpus.fixation_start, corpus.images
    )
    some = profiles_of(net, "mean", part, [7], [np.arange(12)], range(7))
    torch.testing.assert_close(some, profiles_of(net, "mean", corpus, [7], [np.arange(3)], range(7)))


def test_people_are_fitted_one_by_one_as_together(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ProfileNet()
    users, few = list(range(USERS)), [np.arange(3 + u % 4) for u in range(USERS)]
    together = profiles_of(net, "leave_one_out", corpus, users, few, range(5))
    monkeypatch.setattr(profiling, "_AT_ONCE", 1)  # pairs, so one person at a time
    torch.testing.assert_close(
        profiles_of(net, "leave_one_out", corpus, users, few, range(5)), together, rtol=1e-5, atol=1e-5
    )


def test_training_needs_pairs_that_others_saw(corpus: Corpus) -> None:
    index = np.full_like(corpus.index, -1)
    for user in range(USERS):
        index[user, user::USERS] = corpus.index[user, user::USERS]
    alone = Corpus(
        corpus.users, corpus.stimuli, corpus.maps, index, corpus.fixation_cell, corpus.fixation_start, corpus.images
    )
    with pytest.raises(ConfigError, match="that others saw"):
        train_profile(alone, SPLIT, RefinerConfig(m=8), seed=0, progress=quiet)
