"""Fast forms of the trained networks, for use without gradients; the networks themselves stay as they are read.

The identities are exact, up to rounding: batch norm is an affine map that the convolution before it can do, a
convolution of stacked channels is the sum of two convolutions, and the kernels of many people are one kernel with many
outputs. On a CPU that computes in float32, convolutions by 3 × 3 kernels are done as `gazepipe.winograd` has it. Where
the hardware multiplies bfloat16, weights and maps are held in it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.embedding import EmbeddingNet, pair_input
from gazepipe.refiner import DELTA_SIZE, RefinerNet
from gazepipe.winograd import WinogradConvolution

__all__ = ["FastEncoder", "FastRefiner", "People"]

#: People, or scenes, that go through the last convolutions at a time; more do not fit a core's cache.
_PEOPLE = 25
#: Fewest channels before a convolution of stride 2 at which it is faster by `gazepipe.winograd`; with stride 1, any.
_STRIDE_2 = 32


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that does both: ``γ (w ∗ x − μ) / √(σ² + ε) + β``."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class _Convolution:
    """A convolution as PyTorch does it, called like a `WinogradConvolution`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias, self.stride, self.padding = bias, stride, weight.shape[2] // 2

    def __call__(self, maps: Tensor, added: Tensor | None = None, *, relu: bool = True) -> Tensor:
        out = F.conv2d(maps, self.weight, self.bias if added is None else None, self.stride, self.padding)
        if added is not None:
            out = out.add_(added)
        return F.relu_(out) if relu else out


Convolution = Callable[..., Tensor]


def _convolution(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, stride: int = 1) -> Convolution:
    """The faster form of a convolution with padding, by what was measured with 256-bit instructions.

    PyTorch has wider ones where the processor has; that is more than the little that is saved with stride 2.
    """
    weight, bias = weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype)
    worth_it = stride == 1 or (weight.shape[1] >= _STRIDE_2 and not _wide_instructions())
    if worth_it and WinogradConvolution.possible(weight, stride):
        return WinogradConvolution(weight, bias, stride)
    return _Convolution(weight, bias, stride)


def _wide_instructions() -> bool:
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class FastEncoder:
    """An embedding network with its batch norms folded into the convolutions.

    Parameters
    ----------
    net
        The network; its weights must not change afterwards.
    dtype
        Number format of weights and maps; None for float32.
    """

    @torch.no_grad()
    def __init__(self, net: EmbeddingNet, dtype: torch.dtype | None = None) -> None:
        self.inputs, self.dtype, self.head = net.inputs, dtype or torch.float32, net.head
        modules = list(net.blocks)
        self.layers = []
        for convolution, norm in zip(modules[::3], modules[1::3], strict=True):
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            self.layers.append(_convolution(*_fold(convolution, norm), self.dtype, stride=2))

    @torch.inference_mode()
    def __call__(self, rgb: Tensor | None, psm: Tensor, usm: Tensor | None) -> Tensor:
        """Features as `EmbeddingNet` gives them in evaluation mode, of what `pair_input` takes; ``(n, d)`` float32."""
        maps = pair_input(self.inputs, rgb, psm, usm).to(self.dtype)
        for layer in self.layers:
            maps = layer(maps)
        features: Tensor = self.head(maps.mean((2, 3), dtype=torch.float32))
        return features


class People:
    """The personal convolutions of some people, made by `FastRefiner.people`; they hold for its network alone."""

    def __init__(self, count: int, parts: list[Convolution]) -> None:
        self.count, self.parts = count, parts

    def __len__(self) -> int:
        return self.count


class FastRefiner:
    """A refiner of which only the final map is computed, and nothing twice.

    The first convolution after the personal kernels is split: its half over the trunk's features is done once a scene.

    Parameters
    ----------
    net
        The network; its weights must not change afterwards.
    dtype
        Number format of weights and maps; None for float32.
    """

    @torch.no_grad()
    def __init__(self, net: RefinerNet, dtype: torch.dtype | None = None) -> None:
        self.net, self.dtype, p = net, dtype or torch.float32, net.personal
        trunk = [m for m in net.trunk.modules() if isinstance(m, nn.Conv2d)]
        self.trunk = [self._of(c) for c in trunk]
        self.reduce = self._of(net.reduce)
        first = net.tail1[0]
        assert isinstance(first, nn.Conv2d)
        self.shared = _convolution(first.weight[:, :-p], first.bias, self.dtype)
        self.own = _convolution(first.weight[:, -p:], None, self.dtype)
        self.tail = [self._of(c) for c in (*net.tail2, *net.tail3) if isinstance(c, nn.Conv2d)]
        last = net.project[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # One output is too narrow for a convolution: nine products a cell, then nine shifted sums of them.
        self.last = last.weight[0].flip(1, 2).flatten(1).T.to(self.dtype).contiguous(), last.bias.clone()

    def _of(self, convolution: nn.Module) -> Convolution:
        assert isinstance(convolution, nn.Conv2d)
        return _convolution(convolution.weight, convolution.bias, self.dtype, convolution.stride[0])

    @torch.inference_mode()
    def people(self, embeddings: Tensor) -> People:
        """Make the kernels of some people from their embeddings ``(users, d)``."""
        parts = []
        for part in torch.split(embeddings.to(self.net.embedding_mean), _PEOPLE):
            weight = self.net.kernels(part).view(-1, self.net.personal, 3, 3)
            parts.append(_convolution(weight, None, self.dtype))
        return People(len(embeddings), parts)

    @torch.inference_mode()
    def __call__(self, scenes: Tensor, people: People) -> Tensor:
        """Final discrepancy maps ``(scenes, users, 15, 20)`` float32 of scenes ``(scenes, channels, H, W)``."""
        out = scenes.new_empty((len(scenes), len(people), *DELTA_SIZE), dtype=torch.float32)
        for scene, row in zip(scenes, out, strict=True):
            features, reduced = self._trunk(scene[None])
            shared = self.shared(features, relu=False)  # (1, c, 15, 20)
            for part, maps in zip(people.parts, torch.split(row, _PEOPLE), strict=True):
                # One convolution whose outputs are the channels of all people, then one row a person.
                own = part(reduced).view(len(maps), -1, *DELTA_SIZE)
                maps.copy_(self._tail(self.own(own.contiguous(memory_format=torch.channels_last), shared)))
        return out

    @torch.inference_mode()
    def pairs(self, scenes: Tensor, embeddings: Tensor) -> Tensor:
        """Final discrepancy maps ``(n, 15, 20)`` float32 of scenes ``(n, channels, H, W)``, each for one embedding."""
        if not len(scenes):
            return scenes.new_empty((0, *DELTA_SIZE), dtype=torch.float32)
        p, out = self.net.personal, []
        for scene, part in zip(torch.split(scenes, _PEOPLE), torch.split(embeddings, _PEOPLE), strict=True):
            features, reduced = self._trunk(scene)
            kernels = self.net.kernels(part.to(self.net.embedding_mean)).view(-1, p, 3, 3).to(self.dtype)
            # A convolution with other kernels in each row is a grouped one over all rows side by side.
            n, side_by_side = len(part), reduced.reshape(1, -1, *DELTA_SIZE)
            own = F.relu_(F.conv2d(side_by_side, kernels, padding=1, groups=n)).view(n, p, *DELTA_SIZE)
            own = self.own(own.contiguous(memory_format=torch.channels_last), relu=False)
            out.append(self._tail(F.relu_(own.add_(self.shared(features, relu=False)))))
        return torch.cat(out)

    def _trunk(self, scenes: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, c, 15, 20)`` and what personal kernels act on, ``(n, p, 15, 20)``."""
        maps = scenes.to(self.dtype)
        for layer in self.trunk:
            maps = layer(maps)
        if maps.shape[-2:] != DELTA_SIZE:
            maps = F.adaptive_avg_pool2d(maps, DELTA_SIZE)
        return maps, self.reduce(maps, relu=False)

    def _tail(self, maps: Tensor) -> Tensor:
        for layer in self.tail:
            maps = layer(maps)
        weight, bias = self.last
        products = torch.bmm(weight.expand(len(maps), -1, -1), maps.flatten(2))  # (n, 9, 300)
        return torch.tanh(F.fold(products, DELTA_SIZE, 3, padding=1)[:, 0].float() + bias)
