"""Fast forms of the trained networks, for use without gradients; the networks themselves stay as they are read.

The identities are exact, up to rounding: batch norm is an affine map that the convolution before it can do, a
convolution of stacked channels is the sum of two convolutions, and the kernels of many people are one kernel with many
outputs. Where the hardware multiplies bfloat16, weights and maps are held in it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.embedding import EmbeddingNet, pair_input
from gazepipe.refiner import DELTA_SIZE, RefinerNet

__all__ = ["FastEncoder", "FastRefiner"]

#: People whose maps go through the last convolutions at a time; more do not fit a core's cache.
_PEOPLE = 25


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that does both: ``γ (w ∗ x − μ) / √(σ² + ε) + β``."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class FastEncoder:
    """An embedding network with its batch norms folded into the convolutions.

    Parameters
    ----------
    net
        The network as it is now; later changes of its weights do not reach this.
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
            weight, bias = _fold(convolution, norm)
            weight = weight.to(self.dtype).contiguous(memory_format=torch.channels_last)
            self.layers.append((weight, bias.to(self.dtype)))

    @torch.inference_mode()
    def __call__(self, rgb: Tensor | None, psm: Tensor, usm: Tensor | None) -> Tensor:
        """Features as `EmbeddingNet` gives them in evaluation mode, of what `pair_input` takes; ``(n, d)`` float32."""
        maps = pair_input(self.inputs, rgb, psm, usm).to(self.dtype)
        for weight, bias in self.layers:
            maps = F.relu_(F.conv2d(maps, weight, bias, stride=2, padding=1))
        features: Tensor = self.head(maps.mean((2, 3), dtype=torch.float32))
        return features


class FastRefiner:
    """A refiner for one scene and many people, or many scenes and one person, whose kernels are made once.

    Only the final map is computed. The first convolution after the personal kernels is split: its half over the
    trunk's features is done once a scene.

    Parameters
    ----------
    net
        The trained network as it is now.
    embeddings
        Of the people, ``(users, d)``.
    dtype
        Number format of weights and maps; None for float32.
    """

    @torch.no_grad()
    def __init__(self, net: RefinerNet, embeddings: Tensor, dtype: torch.dtype | None = None) -> None:
        self.net, self.dtype, p = net, dtype or torch.float32, net.personal
        self.users = len(embeddings)
        kernels = net.kernels(embeddings.to(net.embedding_mean)).view(self.users * p, p, 3, 3)
        self.kernels = torch.split(self._laid(kernels), _PEOPLE * p)

        first = net.tail1[0]
        assert isinstance(first, nn.Conv2d)
        self.shared = self._laid(first.weight[:, :-p]), self._cast(first.bias)
        self.own = self._laid(first.weight[:, -p:])
        tail = [*net.tail2, *net.tail3, net.project[2]]
        self.tail = [(self._laid(c.weight), self._cast(c.bias)) for c in tail if isinstance(c, nn.Conv2d)]
        trunk = [m for m in net.trunk.modules() if isinstance(m, nn.Conv2d)]
        self.trunk = [(self._laid(c.weight), self._cast(c.bias), c.stride, c.padding) for c in trunk]
        self.reduce = self._laid(net.reduce.weight), self._cast(net.reduce.bias)

    def _laid(self, weight: Tensor) -> Tensor:
        return weight.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def _cast(self, bias: Tensor | None) -> Tensor:
        assert bias is not None
        return bias.to(self.dtype)

    @torch.inference_mode()
    def __call__(self, scenes: Tensor) -> Tensor:
        """Final discrepancy maps ``(scenes, users, 15, 20)`` float32 of scenes ``(scenes, channels, H, W)``."""
        return torch.stack([self._one(scene[None]) for scene in scenes])

    def _one(self, scene: Tensor) -> Tensor:
        maps = scene.to(self.dtype)
        for weight, bias, stride, padding in self.trunk:
            maps = F.relu_(F.conv2d(maps, weight, bias, stride, padding))
        if maps.shape[-2:] != DELTA_SIZE:
            maps = F.adaptive_avg_pool2d(maps, DELTA_SIZE)
        reduced = F.conv2d(maps, *self.reduce)  # (1, p, 15, 20)
        shared = F.conv2d(maps, *self.shared, padding=1)  # (1, c, 15, 20)
        height, width = DELTA_SIZE
        out = []
        for kernels in self.kernels:
            # One convolution whose outputs are the channels of all people, then one row a person.
            own = F.relu_(F.conv2d(reduced, kernels, padding=1)).view(-1, self.net.personal, height, width)
            own = own.contiguous(memory_format=torch.channels_last)
            x = F.relu_(F.conv2d(own, self.own, padding=1).add_(shared))
            for weight, bias in self.tail[:-1]:
                x = F.relu_(F.conv2d(x, weight, bias, padding=1))
            weight, bias = self.tail[-1]
            out.append(torch.tanh(F.conv2d(x, weight, bias, padding=1)[:, 0].float()))
        return torch.cat(out)
