"""The refiner against plain loops, and how maps are combined."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gazepipe.refiner import RefinerNet, discrepancy_target, refine, refiner_loss


@pytest.fixture
def net() -> RefinerNet:
    torch.manual_seed(0)
    small = RefinerNet(4, 6, (4, 6, 8), personal=5).eval()
    for projection in small.project:  # as if trained: maps that are not near zero
        torch.nn.init.normal_(projection.weight, std=0.3)
    return small


def test_three_maps_of_15_by_20_between_minus_one_and_one(net: RefinerNet) -> None:
    maps = net(torch.randn(3, 4, 120, 160) * 5, torch.randn(3, 6))
    assert len(maps) == 3
    for m in maps:
        assert m.shape == (3, 15, 20)
        assert m.abs().max() <= 1
        assert m.std() > 0


@pytest.mark.parametrize("size", [(30, 40), (37, 50), (90, 120), (121, 161), (240, 320), (9, 12)])
def test_maps_of_any_size(net: RefinerNet, size: tuple[int, int]) -> None:
    scene, people, usm = torch.randn(2, 4, *size), torch.randn(2, 6), torch.rand(2, *size)
    maps = net(scene, people)
    assert [m.shape for m in maps] == [(2, 15, 20)] * 3
    assert torch.isfinite(refiner_loss(maps, discrepancy_target(usm, usm * 0)))
    assert refine(usm, maps[2]).shape == usm.shape
    torch.testing.assert_close(net.for_users(scene[:1], people)[0], maps[2][0])


def test_a_feature_of_another_size_is_the_mean_of_what_each_cell_covers(net: RefinerNet) -> None:
    scene = torch.randn(1, 4, 240, 320)
    trunk = net.trunk(scene)  # (1, 8, 30, 40)
    blocks = trunk.view(1, 8, 15, 2, 20, 2).mean((3, 5))
    torch.testing.assert_close(net.features(scene), blocks)
    same = torch.randn(1, 4, 120, 160)
    assert torch.equal(net.features(same), net.trunk(same))


def test_each_row_is_convolved_with_its_own_kernels(net: RefinerNet) -> None:
    scenes, people = torch.randn(3, 4, 120, 160), torch.randn(3, 6)
    together = net(scenes, people)
    features = net.trunk(scenes)
    for i in range(3):
        kernels = net.kernels(people[i : i + 1]).view(5, 5, 3, 3)
        own = F.relu(F.conv2d(net.reduce(features[i : i + 1]), kernels, padding=1))
        first = net.tail1(torch.cat([features[i : i + 1], own], 1))
        third = net.tail3(net.tail2(first))
        torch.testing.assert_close(together[0][i], torch.tanh(net.project[0](first))[0, 0])
        torch.testing.assert_close(together[2][i], torch.tanh(net.project[2](third))[0, 0])


def test_many_users_on_one_scene_equal_one_by_one(net: RefinerNet) -> None:
    scene, people = torch.randn(1, 4, 120, 160), torch.randn(7, 6)
    expected = torch.cat([net(scene, people[i : i + 1])[2] for i in range(7)])
    torch.testing.assert_close(net.for_users(scene, people), expected)


def test_embeddings_are_standardised(net: RefinerNet) -> None:
    people = torch.randn(500, 6) * 0.01 + 3
    net.standardise(people)
    seen = (people - net.embedding_mean) / net.embedding_scale
    torch.testing.assert_close(seen.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    assert float(seen.square().mean()) == pytest.approx(1, rel=1e-3)
    assert "embedding_mean" in net.state_dict()


def test_target_is_the_mean_difference_over_blocks() -> None:
    psm, usm = torch.rand(2, 120, 160), torch.rand(2, 120, 160)
    target = discrepancy_target(psm, usm)
    assert target.shape == (2, 15, 20)
    torch.testing.assert_close(target[1, 3, 4], (psm - usm)[1, 24:32, 32:40].mean())


def test_loss_by_hand() -> None:
    target = torch.zeros(2, 15, 20)
    maps = tuple(torch.full((2, 15, 20), v) for v in (0.1, 0.2, 0.3))
    assert float(refiner_loss(maps, target)) == pytest.approx(300 * (0.01 + 0.04 + 0.09), rel=1e-5)


def test_sum_of_the_paper() -> None:
    usm = torch.rand(1, 120, 160)
    torch.testing.assert_close(refine(usm, torch.zeros(1, 15, 20), "add"), usm)
    torch.testing.assert_close(refine(usm, torch.full((1, 15, 20), 0.25), "add"), usm + 0.25)
    assert refine(usm, torch.full((1, 15, 20), -1.0), "add").abs().max() == 0


def test_gated_sum_keeps_to_where_people_look() -> None:
    usm = torch.zeros(1, 120, 160)
    usm[:, :60] = 1
    up = refine(usm, torch.ones(1, 15, 20), "gated")
    assert up[:, 60:].abs().max() == 0
    torch.testing.assert_close(up[0, 0, 0], torch.tensor(1 + 1 / 1.05))
    down = refine(usm, -torch.ones(1, 15, 20), "gated")
    torch.testing.assert_close(down, usm / 5)
    torch.testing.assert_close(refine(usm, torch.zeros(1, 15, 20), "gated"), usm)
    with pytest.raises(ValueError, match="combine"):
        refine(usm, torch.zeros(1, 15, 20), "times")
