"""Descriptors of pairs whose truth is known, and the laws of whitening."""

from __future__ import annotations

import math

import pytest
import torch

from gazepipe.descriptors import DESCRIPTORS, descriptors
from gazepipe.embedding import DescriptorNet, embedding_net

HEIGHT, WIDTH = 30, 40
LINEAR = DESCRIPTORS.index("mass")


def blob(u: float, v: float, sigma: float = 3.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return torch.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 2 / sigma**2)[None]


def named(psm: torch.Tensor, usm: torch.Tensor) -> dict[str, float]:
    return dict(zip(DESCRIPTORS, descriptors(psm, usm)[0].tolist(), strict=True))


def test_the_average_person_has_no_descriptor() -> None:
    usm = blob(18, 14)
    # These are not set against the universal map: `Encoder` takes their mean for the image off.
    own = {"mass", "root", "peaks", "peak_mean", "peak_lowest", "peak_median"}
    assert {k for k, value in named(usm, usm).items() if abs(value) > 1e-5} <= own
    # The scale of a map tells nothing but its mass and the heights of its peaks.
    half, whole = named(usm * 0.5, usm), named(usm, usm)
    for name in ("mass", "peak_mean", "peak_lowest", "peak_median"):
        assert half.pop(name) - whole.pop(name) == pytest.approx(-math.log(2))
    assert half == pytest.approx(whole, abs=1e-5)


def test_peaks_are_counted_and_measured() -> None:
    # Looks at cell centres, far from each other; the first place was looked at twice, so that it is the maximum.
    psm = blob(10.5, 8.5, 1.2) + 0.5 * blob(22.5, 20.5, 1.2) + 0.25 * blob(32.5, 9.5, 1.2)
    got = named(psm, blob(20, 15, 6.0))
    assert got["peaks"] == pytest.approx(math.log(3))
    assert got["peak_mean"] == pytest.approx(math.log(1.75 / 3), abs=1e-4)
    assert got["peak_lowest"] == pytest.approx(math.log(0.25), abs=1e-4)
    assert got["peak_median"] == pytest.approx(math.log(0.5), abs=1e-4)
    # No whole number of cells that everything is moved by changes them.
    names = ("mass", "root", "peaks", "peak_mean", "peak_lowest", "peak_median")
    moved = named(psm.roll((2, -3), (1, 2)), blob(20, 15, 6.0))
    assert [moved[n] for n in names] == pytest.approx([got[n] for n in names], abs=1e-4)


def test_the_root_tells_how_widely_looks_spread() -> None:
    # Σ√p of a Gaussian is √(8 π) σ.
    got = named(blob(20, 15, 2.5), blob(20, 15, 4.0))["root"]
    assert got == pytest.approx(math.log(math.sqrt(8 * math.pi) * 2.5), abs=0.01)


def test_a_move_is_seen_against_its_direction() -> None:
    # Looks right of the peak stand where log-density falls to the right: the mean gradient there is negative.
    right, below = named(blob(20, 15), blob(18, 15)), named(blob(18, 17), blob(18, 15))
    assert right["move_u"] < -0.05
    assert abs(right["move_v"]) < 1e-3
    assert right["u"] == pytest.approx(2 / (WIDTH / 2), rel=0.01)  # two of twenty cells
    assert below["move_v"] < -0.05
    assert below["v"] == pytest.approx(2 / (HEIGHT / 2), rel=0.01)


def test_wider_looks_are_told_by_all_that_measures_width() -> None:
    wide, usm = named(blob(18, 15, 4.0), blob(18, 15, 3.0)), blob(18, 15, 3.0)
    assert wide["entropy"] == pytest.approx(2 * torch.log(torch.tensor(4 / 3)).item(), rel=0.05)  # of a Gaussian
    assert wide["concentration"] == pytest.approx(-2 * torch.log(torch.tensor(4 / 3)).item(), rel=0.05)
    assert wide["follow"] < 0
    assert wide["uu"] > 0
    assert named(usm, usm)["entropy"] == pytest.approx(0, abs=1e-6)


def test_the_scores_are_linear_in_the_looks() -> None:
    usm = blob(20, 15, 6.0)
    one, two = blob(12, 10) / blob(12, 10).sum(), blob(27, 20) / blob(27, 20).sum()
    mean = (descriptors(one, usm) + descriptors(two, usm)) / 2
    torch.testing.assert_close(descriptors((one + two) / 2, usm)[:, :LINEAR], mean[:, :LINEAR], atol=1e-5, rtol=1e-4)


def test_empty_maps_say_nothing() -> None:
    assert float(descriptors(torch.zeros(1, HEIGHT, WIDTH), blob(3, 3)).abs().max()) == 0
    assert torch.isfinite(descriptors(blob(3, 3), torch.zeros(1, HEIGHT, WIDTH))).all()


def features(net: DescriptorNet, table: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(table, (0, 1), value=1.0) @ net.affine.T


def people(shift: torch.Tensor, n: int = 4000, seed: int = 0) -> list[torch.Tensor]:
    """Descriptors of pairs of some people, correlated within them; `shift` ``(people, d)`` is their mean."""
    generator = torch.Generator().manual_seed(seed)
    d = shift.shape[1]
    mix = torch.eye(d) + 0.1 * torch.randn(d, d, generator=generator)
    return [(torch.randn(n, d, generator=generator) + s) @ mix for s in shift]


def test_features_are_centred_and_uncorrelated_within_people() -> None:
    d = len(DESCRIPTORS)
    tables = people(torch.randn(6, d, generator=torch.Generator().manual_seed(1)))
    net = DescriptorNet()
    net.fit(tables, shrinkage=0.001)
    made = [features(net, t) for t in tables]
    means = torch.stack([f.mean(0) for f in made])
    torch.testing.assert_close(means[:, :-1].mean(0), torch.zeros(d), atol=1e-3, rtol=0)
    within = torch.stack([torch.cov(f[:, :-1].T) for f in made]).mean(0)
    scale = within.diagonal().sqrt()
    assert float((within / scale / scale[:, None] - torch.eye(d)).abs().max()) < 0.05
    assert float(scale.max()) <= 1.01  # weights are at most one
    # The last number is the same for every pair, and as long as people's vectors are on average.
    assert {round(float(v), 4) for f in made for v in f[:, -1]} == {round(float(made[0][0, -1]), 4)}
    assert float(made[0][0, -1]) == pytest.approx(float(means[:, :-1].square().sum(1).mean().sqrt()), rel=1e-3)


def test_the_scale_descriptors_come_in_does_not_matter() -> None:
    tables = people(torch.randn(6, len(DESCRIPTORS), generator=torch.Generator().manual_seed(1)))
    one, other = DescriptorNet(), DescriptorNet()
    one.fit(tables, shrinkage=0.001)
    other.fit([t * 100 for t in tables], shrinkage=0.001)
    a, b = features(one, tables[0][:50]), features(other, tables[0][:50] * 100)
    torch.testing.assert_close(a @ a.T, b @ b.T, atol=1e-2, rtol=1e-3)


def test_directions_in_which_people_differ_weigh_more() -> None:
    d = len(DESCRIPTORS)
    shift = torch.zeros(30, d)
    shift[:, 0] = 2 * torch.randn(30, generator=torch.Generator().manual_seed(2))
    tables = people(shift, n=400)
    generator = torch.Generator().manual_seed(0)
    mix = torch.eye(d) + 0.1 * torch.randn(d, d, generator=generator)
    net = DescriptorNet()
    net.fit(tables, shrinkage=0.001)

    def length(direction: int) -> float:
        step = torch.zeros(1, d)
        step[0, direction] = 1.0
        return float((features(net, step @ mix) - features(net, torch.zeros(1, d))).norm())

    # λ is about 4 there, and near its thirtieth part of it elsewhere: both weights by hand.
    assert length(0) == pytest.approx(1.0, abs=0.1)
    assert max(length(k) for k in range(1, d)) < 0.95 * length(0)


def test_somebody_like_everybody_is_found_by_being_so() -> None:
    """Without a common number, the direction of a short vector is chance, and an average person is never found."""
    d = len(DESCRIPTORS)
    shift = torch.randn(12, d, generator=torch.Generator().manual_seed(3)) * 0.5
    shift -= shift.mean(0)
    net = DescriptorNet()
    net.fit(people(shift), shrinkage=0.01)
    newcomers = people(torch.cat([shift * 0, shift[:6].flip(0)]), n=64, seed=0)[11:]  # the first of these is average
    first, second = (
        torch.nn.functional.normalize(torch.stack([features(net, t)[half].mean(0) for t in newcomers]), dim=1)
        for half in (slice(0, 32), slice(32, 64))
    )
    cosines = first @ second.T
    assert int(cosines[0].argmax()) == 0
    bare = torch.nn.functional.normalize(first[:, :-1], dim=1) @ torch.nn.functional.normalize(second[:, :-1], dim=1).T
    assert float(cosines[0, 0]) > 0.9
    assert float(bare[0, 0]) < 0.6


def test_no_pair_is_longer_than_half_of_the_training_pairs() -> None:
    d = len(DESCRIPTORS)
    tables = people(torch.randn(6, d, generator=torch.Generator().manual_seed(1)), n=500)
    net = DescriptorNet()
    net.fit(tables, shrinkage=0.01)
    straight = torch.cat([features(net, t) for t in tables])
    made = torch.cat([net.weighed(t) for t in tables])
    before, after = straight[:, :-1].norm(dim=1), made[:, :-1].norm(dim=1)
    assert float(net.longest) == pytest.approx(float(before.median()))
    torch.testing.assert_close(after, before.clamp(max=float(before.median())))
    directions = (torch.nn.functional.normalize(x[:, :-1], dim=1) for x in (straight, made))
    torch.testing.assert_close(*directions)
    torch.testing.assert_close(made[:, -1], straight[:, -1])  # the common number stays
    nothing = net.weighed(torch.full((1, d), torch.nan))
    torch.testing.assert_close(nothing, net.weighed(torch.zeros(1, d)))


def test_an_odd_pair_hardly_moves_a_mean_of_few() -> None:
    d = len(DESCRIPTORS)
    shift = torch.randn(6, d, generator=torch.Generator().manual_seed(1))
    net = DescriptorNet()
    net.fit(people(shift, n=500), shrinkage=0.01)
    usual = people(shift, n=64, seed=5)[0]
    odd = usual.clone()
    odd[0] *= -30
    whole, with_odd = (net.weighed(t[:8]).mean(0) for t in (usual, odd))
    plain, plain_odd = (features(net, t[:8]).mean(0) for t in (usual, odd))
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(whole, with_odd, dim=0)) > 0.9
    assert float(cosine(plain, plain_odd, dim=0)) < 0.5


def test_weights_from_before_there_was_a_limit_have_none() -> None:
    arguments = {"inputs": "descriptors", "registration": False}
    old, new = embedding_net(**arguments), embedding_net(**arguments, limited=True)
    assert set(new.state_dict()) - set(old.state_dict()) == {"longest"}
    assert isinstance(old, DescriptorNet)
    odd = 1e6 * torch.ones(1, len(DESCRIPTORS))
    torch.testing.assert_close(old.weighed(odd)[:, :-1], odd)
    old.fit(people(torch.randn(6, len(DESCRIPTORS), generator=torch.Generator().manual_seed(1)), n=50), 0.01)
    torch.testing.assert_close(old.weighed(odd), features(old, odd))


def test_net_comes_back_from_its_arguments() -> None:
    arguments = {"inputs": "descriptors", "widths": (32,), "dimension": 32, "dropout": 0.5, "registration": True}
    net = embedding_net(**arguments)
    assert isinstance(net, DescriptorNet)
    assert net.registration
    assert net(torch.rand(5, 120, 160).half(), torch.rand(5, 120, 160)).shape == (5, len(DESCRIPTORS) + 1)
    assert embedding_net(**arguments | {"inputs": "psm", "widths": (2, 2, 2, 2)}).inputs == "psm"


def test_another_calibration_is_whitened_by_like_scatter_between_pairs() -> None:
    """Scatter of 1/32 in the mean over 32 pairs halves the weight of a direction in which all pairs scatter by one."""
    d = len(DESCRIPTORS)
    tables = people(torch.randn(12, d, generator=torch.Generator().manual_seed(1)), n=1000)
    generator = torch.Generator().manual_seed(0)
    mix = torch.eye(d) + 0.1 * torch.randn(d, d, generator=generator)
    moved = torch.zeros(d, d)
    moved[0, 0] = 3 / 32  # with W = I before mixing: W + 32 C is 4 there
    same, other, none = DescriptorNet(), DescriptorNet(), DescriptorNet()
    same.fit(tables, 0.001)
    other.fit(tables, 0.001, mix.T @ moved @ mix)
    none.fit(tables, 0.001, torch.zeros(d, d))
    torch.testing.assert_close(none.affine.T @ none.affine, same.affine.T @ same.affine, atol=1e-3, rtol=1e-3)

    def length(net: DescriptorNet, direction: int) -> float:
        step = torch.zeros(1, d)
        step[0, direction] = 1.0
        return float((features(net, step @ mix) - features(net, torch.zeros(1, d))).norm())

    assert length(other, 0) / length(same, 0) == pytest.approx(0.5, abs=0.05)
    assert [length(other, k) / length(same, k) for k in range(1, d)] == pytest.approx([1.0] * (d - 1), abs=0.05)
