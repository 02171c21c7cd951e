"""The embedding network's loss against a loop over every triplet, and the laws of aggregation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazepipe.embedding import CHANNELS, EmbeddingNet, aggregate, pair_input, triplet_loss


def loss_by_hand(e: torch.Tensor, user: list[int], group: list[int], margin: float) -> tuple[torch.Tensor, float]:
    """Every (anchor, positive, negative), one by one."""
    losses, allowed = [], 0
    n = len(user)
    for a in range(n):
        for p in range(n):
            for x in range(n):
                if user[a] != user[p] or user[a] == user[x]:
                    continue
                if len({group[a], group[p], group[x]}) < 3:
                    continue
                allowed += 1
                losses.append(torch.clamp(e[a] @ e[x] - e[a] @ e[p] + margin, min=0))
    active = [v for v in losses if v > 0]
    return (torch.stack(active).mean() if active else torch.zeros(())), len(active) / allowed


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_gradient_equal_the_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(4 * 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    user = [u for u in range(4) for _ in range(3)]
    group = [g for _ in range(4) for g in range(3)]
    e = torch.nn.functional.normalize(raw, dim=1)
    got, share = triplet_loss(e, torch.tensor(user), torch.tensor(group), 0.05)
    (gradient,) = torch.autograd.grad(got, raw, retain_graph=True)
    expected, expected_share = loss_by_hand(e, user, group, 0.05)
    (expected_gradient,) = torch.autograd.grad(expected, raw)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    assert float(share) == pytest.approx(expected_share)


def test_equals_pytorch_metric_learning() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="pytorch-metric-learning is not installed")
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.miners import TripletMarginMiner

    e = torch.nn.functional.normalize(torch.randn(24, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    user = torch.arange(6).repeat_interleave(4)
    miner = TripletMarginMiner(margin=0.05, type_of_triplets="all", distance=CosineSimilarity())
    oracle = losses.TripletMarginLoss(margin=0.05, distance=CosineSimilarity())
    # Every embedding from images of its own: only the users matter, as in that library.
    got, _ = triplet_loss(e, user, torch.arange(24), 0.05)
    torch.testing.assert_close(got, oracle(e, user, miner(e, user)))


def test_no_violated_triplet_has_no_loss() -> None:
    e = torch.eye(2).repeat_interleave(3, 0)
    loss, share = triplet_loss(e, torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2]), 0.05)
    assert float(loss) == 0
    assert float(share) == 0


def test_collapsed_embeddings_lose_the_margin() -> None:
    e = torch.ones(6, 1)
    loss, share = triplet_loss(e, torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2]), 0.05)
    assert float(loss) == pytest.approx(0.05)
    assert float(share) == 1


def test_aggregate_is_a_unit_vector_and_ignores_order() -> None:
    features = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))
    got = aggregate(features)
    assert got.shape == (3, 5)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(got, aggregate(features[:, torch.randperm(7)]))


@pytest.mark.parametrize("inputs", CHANNELS)
def test_shapes(inputs: str) -> None:
    rgb = torch.randint(0, 256, (2, 120, 160, 3), dtype=torch.uint8)
    psm, usm = torch.rand(2, 120, 160).half(), torch.rand(2, 120, 160)
    pairs = pair_input(inputs, rgb, psm, usm)
    assert pairs.shape == (2, CHANNELS[inputs], 120, 160)
    last = psm.float() - usm if inputs.endswith("discrepancy") else psm.float()
    torch.testing.assert_close(pairs[:, -1], last)
    if inputs.startswith("rgb"):
        torch.testing.assert_close(pairs[:, :3], rgb.permute(0, 3, 1, 2) / 255)
    net = EmbeddingNet(inputs, (4, 4, 8, 8), 16).eval()
    assert net(pairs).shape == (2, 16)


def test_what_is_needed_is_asked_for() -> None:
    with pytest.raises(ValueError, match="images"):
        pair_input("rgb+psm", None, torch.rand(1, 4, 4), None)
    with pytest.raises(ValueError, match="universal"):
        pair_input("discrepancy", None, torch.rand(1, 4, 4), None)


def test_the_paper_has_four_blocks_of_stride_two() -> None:
    strides = [m.stride for m in EmbeddingNet().blocks if isinstance(m, torch.nn.Conv2d)]
    assert strides == [(2, 2)] * 4
    assert np.isclose(EmbeddingNet().dropout.p, 0.5)
    assert EmbeddingNet().head.out_features == 32
