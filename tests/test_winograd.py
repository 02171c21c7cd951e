"""Winograd's convolutions against direct ones in double precision."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gazepipe.winograd import WinogradConvolution

CHANNELS = st.sampled_from([8, 16, 24, 40])


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 3), CHANNELS, CHANNELS, st.integers(1, 23), st.integers(1, 23), st.sampled_from([1, 2]),
    st.booleans(), st.sampled_from(["bias", "added", "nothing"]), st.integers(0, 2**31),
)  # fmt: skip
def test_any_shape(
    n: int, before: int, after: int, height: int, width: int, stride: int, relu: bool, more: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(n, before, height, width, generator=generator)
    weight = torch.randn(after, before, 3, 3, generator=generator) / (9 * before) ** 0.5
    bias = torch.randn(after, generator=generator) if more == "bias" else None
    want = F.conv2d(maps.double(), weight.double(), None if bias is None else bias.double(), stride, padding=1)
    added = torch.randn(1, *want.shape[1:], generator=generator) if more == "added" else None
    want = want if added is None else want + added
    got = WinogradConvolution(weight, bias, stride)(maps, added, relu=relu)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got.double(), want.clamp(min=0) if relu else want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_counting_neighbours(stride: int) -> None:
    """Ones everywhere: an output is the number of channels times that of the neighbours inside the map."""
    maps, weight = torch.ones(1, 8, 7, 9), torch.ones(16, 8, 3, 3)
    got = WinogradConvolution(weight, torch.zeros(16), stride)(maps)
    rows, columns = torch.full((7,), 3.0), torch.full((9,), 3.0)
    rows[[0, -1]] = columns[[0, -1]] = 2
    want = 8 * rows[::stride, None] * columns[None, ::stride]
    torch.testing.assert_close(got, want.expand(1, 16, -1, -1), rtol=0, atol=1e-4)


def test_a_shift() -> None:
    weight = torch.zeros(8, 8, 3, 3)
    weight[torch.arange(8), torch.arange(8).flip(0), 1, 0] = 1  # each cell takes its left neighbour, channels reversed
    maps = torch.randn(2, 8, 15, 20)
    want = F.pad(maps, (1, 0))[..., :-1].flip(1)
    torch.testing.assert_close(WinogradConvolution(weight, None)(maps, relu=False), want, rtol=0, atol=1e-5)


def test_a_map_is_the_same_in_any_company() -> None:
    """Also where many maps are worked on in several blocks."""
    torch.manual_seed(0)
    maps, convolution = torch.randn(40, 64, 15, 20), WinogradConvolution(torch.randn(128, 64, 3, 3), torch.randn(128))
    alone = torch.cat([convolution(one[None]) for one in maps])
    assert torch.equal(convolution(maps), alone)


def test_nothing_in_nothing_out() -> None:
    assert WinogradConvolution(torch.randn(16, 8, 3, 3), None, 2)(torch.randn(0, 8, 5, 6)).shape == (0, 16, 3, 3)


def test_several_threads() -> None:
    torch.manual_seed(0)
    convolutions = [WinogradConvolution(torch.randn(16, 8 * k, 3, 3), None) for k in (1, 2, 3, 4)]
    maps = [torch.randn(4, 8 * k, 30, 40) for k in (1, 2, 3, 4)]
    want = [c(m) for c, m in zip(convolutions, maps, strict=True)]
    same: list[bool] = []

    def work(k: int) -> None:
        same.extend(torch.equal(convolutions[k](maps[k]), want[k]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 80


@pytest.mark.parametrize(
    ("weight", "stride"),
    [
        (torch.zeros(8, 7, 3, 3), 1),
        (torch.zeros(12, 8, 3, 3), 1),
        (torch.zeros(8, 8, 5, 5), 1),
        (torch.zeros(8, 8, 3, 3), 3),
        (torch.zeros(8, 8, 3, 3, dtype=torch.bfloat16), 1),
    ],
)
def test_what_has_no_such_form(weight: torch.Tensor, stride: int) -> None:
    assert not WinogradConvolution.possible(weight, stride)
    with pytest.raises(ValueError, match=r"weight of shape"):
        WinogradConvolution(weight, None, stride)
