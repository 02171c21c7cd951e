"""Eye movements of maps: known answers, what they do not depend on, and what they tell of people."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from gazepipe.config import EmbeddingConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.embedding import DescriptorNet, embedding_net
from gazepipe.scanpath import SCANPATH, scanpath_descriptors
from gazepipe.training import Encoder, train_embedding

ONE = np.array([[2.0, 4.0]])  # two cells in a degree across, four down


def described(u: list[float], v: list[float], duration: list[float], repeat: list[int]) -> dict[str, float]:
    columns = (np.array(c, np.float64) for c in (u, v, duration))
    out = scanpath_descriptors(*columns, np.array(repeat), np.array([0, len(u)]), ONE)
    return dict(zip(SCANPATH, out[0].tolist(), strict=True))


def test_by_hand() -> None:
    """Jumps of 3° across and 4° down (5°), then of 2° across; a second repeat of one fixation, which adds no jump."""
    got = described([0, 6, 10, 50], [0, 16, 16, 90], [100, 200, 100, 400], [0, 0, 0, 1])
    logs = np.log([100, 200, 100, 400])
    assert got["duration"] == pytest.approx(logs.mean(), rel=1e-6)
    assert got["duration_spread"] == pytest.approx(logs.std(), rel=1e-6)
    assert got["amplitude"] == pytest.approx((math.log(5) + math.log(2)) / 2, rel=1e-6)
    assert got["amplitude_spread"] == pytest.approx((math.log(5) - math.log(2)) / 2, rel=1e-6)
    assert got["level"] == pytest.approx((3 / 5 + 1) / 2, rel=1e-6)
    assert got["level_spread"] == pytest.approx((1 - 3 / 5) / 2, rel=1e-6)
    assert got["fixations"] == 2
    assert got["first"] == pytest.approx((math.log(100) + math.log(400)) / 2, rel=1e-6)
    assert got["rhythm"] == pytest.approx(math.log(2), rel=1e-6)
    # Directions (0.6, 0.8) and (1, 0); one turn, from the first to the second.
    assert [got["right"], got["down"]] == pytest.approx([0.8, 0.4], rel=1e-6)
    assert [got["flat"], got["falling"]] == pytest.approx([(0.36 - 0.64 + 1) / 2, 0.96 / 2], rel=1e-6)
    assert got["cardinal"] == pytest.approx((0.28**2 - 0.96**2 + 1) / 2, rel=1e-6)
    assert [got["onward"], got["clockwise"], got["back"]] == pytest.approx([0.6, -0.8, 0.0], rel=1e-6)
    assert [got["short"], got["long"]] == [0.5, 0.25]
    assert [got["longest"], got["farthest"]] == pytest.approx([math.log(400), math.log(5)], rel=1e-6)
    assert [got["far"], got["near"]] == [0, 0]
    # Two jumps make no slope; of four durations at numbers 1, 2, 3 and 1 there is one.
    assert all(math.isnan(got[name]) for name in ("widening", "before", "after", "steadiness"))
    number = np.log([1, 2, 3, 1])
    own = number - number.mean()
    assert got["slowing"] == pytest.approx(own @ (logs - logs.mean()) / (own @ own + 4e-3), rel=1e-5)


def test_turns_and_slopes_by_hand() -> None:
    """Jumps of 2°, 8°, 1° and 4° right, back, right and right; durations that grow as the root of what follows them."""
    jumps = np.array([2.0, 8, 1, 4])
    across = jumps * [1, -1, 1, 1]
    duration = 100 * np.append(np.sqrt(jumps), 1)
    got = described((2 * np.append(0, np.cumsum(across))).tolist(), [0.0] * 5, duration.tolist(), [0] * 5)
    assert [got["back"], got["onward"]] == pytest.approx([2 / 3, -1 / 3], rel=1e-6)
    assert [got["far"], got["near"]] == [0.25, 0.25]
    x = np.log(jumps) - np.log(jumps).mean()
    assert got["before"] == pytest.approx(0.5 * (x @ x) / (x @ x + 4e-3), rel=1e-5)
    y = np.log(duration)
    steps = [v - v.mean() for v in (y[1:], y[:-1])]
    assert got["steadiness"] == pytest.approx(steps[0] @ steps[1] / (steps[1] @ steps[1] + 4e-3), rel=1e-5)


def test_what_cannot_be_told_is_nan() -> None:
    alone = described([3], [3], [250], [0])
    assert {name for name, value in alone.items() if not math.isnan(value)} == {
        *("duration", "duration_spread", "fixations", "first", "short", "long", "longest")
    }
    untimed = described([3, 9, 15, 5], [3, 3, 9, 9], [math.nan, 0, 0, math.nan], [0, 0, 0, 0])
    assert {name for name, value in untimed.items() if math.isnan(value)} == {
        *("duration", "duration_spread", "first", "rhythm", "slowing", "before", "after", "steadiness"),
        *("short", "long", "longest"),
    }


def test_maps_do_not_mix() -> None:
    rng = np.random.default_rng(0)
    first = np.array([0, 4, 5, 12])
    u, v, duration = rng.random((3, 12)) * [[160], [120], [400]]
    repeat = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 2, 2])
    degree = rng.random((3, 2)) + 3
    together = scanpath_descriptors(u, v, duration, repeat, first, degree)
    for k in range(3):
        own = slice(first[k], first[k + 1])
        alone = scanpath_descriptors(
            u[own], v[own], duration[own], repeat[own], first[k : k + 2] - first[k], degree[k : k + 1]
        )
        np.testing.assert_array_equal(together[k], alone[0])


@given(
    st.lists(st.tuples(st.floats(0, 160), st.floats(0, 120), st.floats(50, 900)), min_size=2, max_size=12),
    st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
)
def test_an_offset_changes_nothing(looks: list[tuple[float, float, float]], by: tuple[float, float]) -> None:
    u, v, duration = (list(c) for c in zip(*looks, strict=True))
    repeat = [0] * len(u)
    # What is counted may fall on either side of where counting begins; everything else is smooth.
    jumps = np.stack([np.diff(u) / 2, np.diff(v) / 4], 1)
    sizes = np.linalg.norm(jumps, axis=1)
    turns = (jumps[1:] * jumps[:-1]).sum(1) / np.maximum(sizes[1:], 0.1) / np.maximum(sizes[:-1], 0.1)
    assume(np.abs(sizes[:, None] - [1.5, 6]).min() > 1e-9)
    assume(not len(turns) or np.abs(turns + np.sqrt(3) / 2).min() > 1e-9)
    still, moved = (
        described(u, v, duration, repeat),
        described([a + by[0] for a in u], [b + by[1] for b in v], duration, repeat),
    )
    for name in SCANPATH:
        assert moved[name] == pytest.approx(still[name], abs=2e-4, nan_ok=True), name


def hurried(hurry: list[float], seed: int = 0) -> Corpus:
    """People who look at the same places, others in each image, and differ in nothing but how long."""
    rng = np.random.default_rng(seed)
    images, looks = 60, 6
    maps = np.zeros((len(hurry) * images, 30, 40), np.float16)
    durations, cells = [], []
    shown = rng.integers(0, 1200, (images, looks))
    for row in range(len(maps)):
        at = shown[row % images]
        maps[row].flat[at] = 1
        cells.append(at)
        durations.append(250 * hurry[row // images] * np.exp(0.3 * rng.standard_normal(looks)))
    first = np.arange(len(maps) + 1) * looks
    place = np.concatenate(cells)
    scanpath = scanpath_descriptors(
        place % 40,
        place // 40,
        np.concatenate(durations),
        np.zeros(len(place), np.int64),
        first,
        np.ones((len(maps), 2)),
    )
    names = tuple(f"u{i}" for i in range(len(hurry))), tuple(f"s{i:02}" for i in range(images))
    index = np.arange(len(maps)).reshape(len(hurry), images)
    return Corpus(*names, maps, index, place, first, None, degree=(2.0, 2.0), scanpath=scanpath)


SPLIT = Split(tuple(range(8)), (8, 9), (10, 11), tuple(range(40)), tuple(range(40, 50)), tuple(range(50, 60)))
HURRY = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 0.7, 1.2, 0.65, 1.3]


@pytest.mark.parametrize(("inputs", "told"), [("descriptors+scanpath", True), ("descriptors", False)])
def test_unseen_people_who_differ_in_pace_alone(inputs: str, told: bool) -> None:
    corpus = hurried(HURRY)
    config = EmbeddingConfig(inputs=inputs, m=4)  # type: ignore[arg-type]
    where = torch.device("cpu")
    trained = train_embedding(corpus, SPLIT, config, seed=0, where=where, progress=lambda *_: None)
    assert isinstance(trained.net, DescriptorNet)
    encoder = Encoder(trained.net, corpus, SPLIT.users_train)
    halves = [[encoder.table(u, part).mean(0) for u in SPLIT.users_test] for part in (range(50, 55), range(55, 60))]
    one, two = (np.array(h) / np.linalg.norm(h, axis=1, keepdims=True) for h in halves)
    cosines = one @ two.T
    assert (cosines[0, 0] > cosines[0, 1] + 0.5 and cosines[1, 1] > cosines[1, 0] + 0.5) == told


def test_unknown_eye_movements_say_nothing() -> None:
    """A pair of which no duration is known counts as the average person's pair does."""
    corpus = hurried(HURRY)
    net = DescriptorNet(inputs="descriptors+scanpath")
    encoder = Encoder(net, corpus, SPLIT.users_train)
    assert corpus.scanpath is not None
    corpus.scanpath[corpus.index[10, 55]] = np.nan
    unknown = encoder.table(10, np.array([55]))[0]
    own = slice(-len(SCANPATH) - 1, -1)
    assert np.all(unknown[own] == 0)
    assert np.isfinite(unknown).all()
    assert np.any(encoder.table(10, np.array([56]))[0, own] != 0)


def test_a_network_comes_back_from_its_arguments() -> None:
    net = DescriptorNet(True, "descriptors+scanpath")
    arguments = {"widths": (32,), "dimension": 32, "dropout": 0.5} | net.arguments
    again = embedding_net(**arguments)
    again.load_state_dict(net.state_dict())
    assert isinstance(again, DescriptorNet)
    assert again.arguments == net.arguments
    assert (again.dimension, again.registration, again.unfitted().inputs) == (62, True, "descriptors+scanpath")


def test_a_network_from_before_sees_the_first_nine_numbers() -> None:
    old = embedding_net(inputs="descriptors+scanpath", registration=False)
    assert isinstance(old, DescriptorNet)
    assert (old.dimension, old.limited) == (43, False)
    features = Encoder(old, hurried(HURRY), SPLIT.users_train).table(10, np.array([56]))
    assert features.shape == (1, 43)


def test_a_corpus_without_eye_movements_is_refused() -> None:
    corpus = hurried(HURRY)
    bare = Corpus(
        *(
            getattr(corpus, n)
            for n in ("users", "stimuli", "maps", "index", "fixation_cell", "fixation_start", "images")
        )
    )
    with pytest.raises(ValueError, match="scanpath"):
        Encoder(DescriptorNet(inputs="descriptors+scanpath"), bare, SPLIT.users_train)
