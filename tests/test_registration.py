"""Moving maps and finding out how far they were moved, against maps drawn at known places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazepipe.registration import GRID, REACH, coarse, match, moved, offset
from gazepipe.saliency import personal_maps

HEIGHT, WIDTH = GRID


def drawn(looks: np.ndarray, by: tuple[float, float] = (0.0, 0.0), sigma: float = 1.2) -> torch.Tensor:
    """Maps ``(n, 30, 40)`` of looks ``(n, k, 2)``, all moved by some cells, in closed form."""
    n, k, _ = looks.shape
    u, v = (looks + by).reshape(-1, 2).T
    start = np.arange(n + 1)
    maps = personal_maps(u, v, np.ones(n * k), start * k, start, sigma, width=WIDTH, height=HEIGHT)
    return torch.from_numpy(maps)


@pytest.fixture
def looks() -> np.ndarray:
    """Nine looks at each of sixteen images, well inside."""
    return np.random.default_rng(0).uniform([8, 8], [WIDTH - 8, HEIGHT - 8], (16, 9, 2))


def seen_by_many(looks: np.ndarray) -> torch.Tensor:
    """Universal maps of twenty people who all look at the same places, give or take a degree."""
    rng = np.random.default_rng(1)
    return torch.stack([drawn(looks + rng.normal(0, 1.2, looks.shape)) for _ in range(20)]).mean(0)


@pytest.mark.parametrize("by", [(0.0, 0.0), (0.5, -0.25), (-1.2, 1.1), (2.0, 0.3)])
def test_moved_is_what_moved_looks_would_give(looks: np.ndarray, by: tuple[float, float]) -> None:
    got = moved(drawn(looks), torch.tensor([by]).expand(len(looks), 2))
    want = drawn(looks, by)
    # The highest cell, which is one, depends on where in it one looks; the mass does not.
    got, want = (m / m.sum((1, 2), keepdim=True) for m in (got, want))
    assert float((got - want).abs().max()) < 0.01 * float(want.max())


def test_whole_cells_are_moved_exactly_and_nothing_comes_in() -> None:
    maps = torch.rand(2, *GRID)
    got = moved(maps, torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    torch.testing.assert_close(got[0, :, 2:], maps[0, :, :-2], atol=1e-5, rtol=1e-5)
    assert float(got[0, :, :2].abs().max()) < 1e-5
    torch.testing.assert_close(got[1, :-1], maps[1, 1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("by", [(0.4, -0.3), (-1.2, 0.8), (1.0, 1.0)])
def test_an_offset_is_found_to_a_twentieth_of_a_cell(looks: np.ndarray, by: tuple[float, float]) -> None:
    usm = seen_by_many(looks)
    before = offset(match(drawn(looks), usm).sum(0))
    after = offset(match(drawn(looks, by), usm).sum(0))
    torch.testing.assert_close(before - after, torch.tensor(by), atol=0.05, rtol=0)


def test_offsets_of_several_sets_at_once(looks: np.ndarray) -> None:
    usm = seen_by_many(looks)
    one, two = match(drawn(looks), usm).sum(0), match(drawn(looks, (1.0, 0.0)), usm).sum(0)
    both = offset(torch.stack([one, two]))
    torch.testing.assert_close(both, torch.stack([offset(one), offset(two)]))


def test_matches_add_up_over_any_division(looks: np.ndarray) -> None:
    psm, usm = drawn(looks), seen_by_many(looks)
    torch.testing.assert_close(match(psm, usm)[:5], match(psm[:5], usm[:5]))
    assert match(psm, usm).shape == (len(looks), 2 * REACH + 1, 2 * REACH + 1)


def test_empty_maps_stay_where_they_are_known_to_be() -> None:
    found = offset(match(torch.zeros(3, *GRID), torch.rand(3, *GRID)).sum(0))
    assert torch.isfinite(found).all()


def test_coarse_keeps_the_mean() -> None:
    maps = torch.rand(2, 120, 160).half()
    assert coarse(maps).shape == (2, *GRID)
    torch.testing.assert_close(coarse(maps).mean((1, 2)), maps.float().mean((1, 2)))
    torch.testing.assert_close(coarse(maps)[0, 0, 0], maps[0, :4, :4].float().mean())
