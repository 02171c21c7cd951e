"""Descriptors of pairs whose truth is known, and the laws of whitening."""

from __future__ import annotations

import math

import pytest
import torch

from gazepipe.descriptors import DESCRIPTORS, descriptors
from gazepipe.embedding import DescriptorNet, embedding_net

HEIGHT, WIDTH = 30, 40


def blob(u: float, v: float, sigma: float = 3.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return torch.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 2 / sigma**2)[None]


def named(psm: torch.Tensor, usm: torch.Tensor) -> dict[str, float]:
    return dict(zip(DESCRIPTORS, descriptors(psm, usm)[0].tolist(), strict=True))


def test_the_average_person_has_no_descriptor() -> None:
    usm = blob(18, 14)
    assert {k for k, value in named(usm, usm).items() if abs(value) > 1e-5} == {"mass"}
    # The scale of a map tells nothing but its mass.
    half, whole = named(usm * 0.5, usm), named(usm, usm)
    assert half["mass"] - whole["mass"] == pytest.approx(-math.log(2))
    assert half | {"mass": 0} == pytest.approx(whole | {"mass": 0}, abs=1e-5)


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
    torch.testing.assert_close(descriptors((one + two) / 2, usm)[:, :-3], mean[:, :-3], atol=1e-5, rtol=1e-4)


def test_empty_maps_say_nothing() -> None:
    assert float(descriptors(torch.zeros(1, HEIGHT, WIDTH), blob(3, 3)).abs().max()) == 0
    assert torch.isfinite(descriptors(blob(3, 3), torch.zeros(1, HEIGHT, WIDTH))).all()


def test_whitened_features_have_unit_scatter_within_users() -> None:
    generator = torch.Generator().manual_seed(0)
    d = len(DESCRIPTORS)
    mix = torch.eye(d) + 0.1 * torch.randn(d, d, generator=generator)
    tables = [torch.randn(4000, d, generator=generator) @ mix + k for k in range(3)]
    net = DescriptorNet()
    net.fit(tables, shrinkage=0.001)
    features = [(t - net.centre) @ net.whitening.T for t in tables]
    torch.testing.assert_close(torch.stack([f.mean(0) for f in features]).mean(0), torch.zeros(d), atol=1e-3, rtol=0)
    within = torch.stack([torch.cov(f.T) for f in features]).mean(0)
    assert float((within - torch.eye(d)).abs().max()) < 0.2
    # Whatever linear change the descriptors undergo, distances stay: the scale they came in does not matter.
    other = DescriptorNet()
    other.fit([t * 100 for t in tables], shrinkage=0.001)
    torch.testing.assert_close((tables[0] * 100 - other.centre) @ other.whitening.T, features[0], atol=1e-3, rtol=1e-3)


def test_net_comes_back_from_its_arguments() -> None:
    arguments = {"inputs": "descriptors", "widths": (32,), "dimension": 32, "dropout": 0.5, "registration": True}
    net = embedding_net(**arguments)
    assert isinstance(net, DescriptorNet)
    assert net.registration
    assert net(torch.rand(5, 120, 160).half(), torch.rand(5, 120, 160)).shape == (5, len(DESCRIPTORS))
    assert embedding_net(**arguments | {"inputs": "psm", "widths": (2, 2, 2, 2)}).inputs == "psm"
