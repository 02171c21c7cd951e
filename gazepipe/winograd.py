"""Convolutions by 3 × 3 kernels with fewer multiplications than they have terms (Winograd), for maps in a CPU's memory.

Four neighbouring outputs of a line take twelve products directly, and six as ``Aᵀ((G w) ⊙ (Bᵀ d))``, where d are the
samples that they depend on and w the three weights; so in two directions a tile of 4 × 4 outputs takes 36 in place of
144. ``U = G w Gᵀ`` is made once; of each tile ``V = Bᵀ d B``; for each of the 36 places the sums over the channels are
a matrix product of all tiles' V by U; and ``Aᵀ M A`` of these are the outputs. The points behind the matrices are 0,
±1, ±2 and infinity:

```
     4  0 −5  0  1  0          1/4    0    0
     0 −4 −4  1  1  0         −1/6 −1/6 −1/6          1  1  1  1  1  0
Bᵀ = 0  4 −4 −1  1  0    G =  −1/6  1/6 −1/6    Aᵀ =  0  1 −1  2 −2  0
     0 −2 −1  2  1  0         1/24 1/12  1/6          0  1  1  4  4  0
     0  2 −1 −2  1  0         1/24 −1/12 1/6          0  1 −1  8 −8  1
     0  4  0 −5  0  1            0    0    1
```

With stride 2 the outputs are sums of two convolutions: of every second sample by the first and the last weight (five
products for four outputs, points 0, ±1, 2 and infinity) and of the samples between by the middle one (four). That is 81
in place of 144 in two directions.

Results differ from direct ones by rounding: up to about 1e-5 of their size with stride 1, a third of it with stride 2,
against 2e-6.

References
----------
Lavin, A. & Gray, S. (2016). Fast algorithms for convolutional neural networks. CVPR, 4013-4021.
Winograd, S. (1980). Arithmetic complexity of computations. SIAM.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gazepipe._winograd_kernel import FORMS, LANES, convolve, space_needed

__all__ = ["WinogradConvolution"]

F32 = npt.NDArray[np.float32]

#: Numbers of a block of tiles and their products: more do not stay in a core's second-level cache.
_BLOCK = 160_000
#: Fewest tiles a block: the weights are read once a block.
_TILES = 12

_spaces = threading.local()


def _space(length: int) -> F32:
    """Memory to work in, one for each thread, which is not given back: new memory costs a page fault a page."""
    space: F32 | None = getattr(_spaces, "space", None)
    if space is None or space.size < length:
        space = _spaces.space = np.empty(length, np.float32)
    return space


def _packed(weight: Tensor, stride: int) -> F32:
    """``(after, before, 3, 3)`` → ``U``, ``(points, before · after)``, sixteen outputs side by side, then the next."""
    form = torch.from_numpy(FORMS[stride][1])
    both = torch.kron(form, form).float()  # acts on rows and columns at once, (points, 9)
    after, before = weight.shape[:2]
    points = (both @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(-1, before, after)
    whole = points.shape[2] // 16 * 16
    panels = points[:, :, :whole].reshape(len(points), before, whole // 16, 16).transpose(1, 2).flatten(1)
    return torch.cat([panels, points[:, :, whole:].flatten(1)], 1).contiguous().numpy()


class WinogradConvolution:
    """A convolution by 3 × 3 kernels, padded by one, of float32 maps on a CPU; bias and ReLU are done with it.

    Parameters
    ----------
    weight
        ``(channels after, channels before, 3, 3)`` as they are now, both numbers multiples of eight.
    bias
        ``(channels after,)``; None for zeros.
    stride
        1 or 2.
    """

    @torch.no_grad()
    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int = 1) -> None:
        if not self.possible(weight, stride):
            msg = f"weight of shape {tuple(weight.shape)}, {weight.dtype} on {weight.device}, stride {stride}"
            raise ValueError(msg)
        self.after, self.before, self.stride = len(weight), weight.shape[1], stride
        self.panels = _packed(weight, stride)
        self.bias = np.zeros(self.after, np.float32) if bias is None else bias.detach().float().numpy().copy()

    @staticmethod
    def possible(weight: Tensor, stride: int) -> bool:
        """Whether there is such a form of a convolution."""
        after, before = weight.shape[:2]
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        return on_cpu and weight.shape[2:] == (3, 3) and stride in FORMS and not after % LANES and not before % LANES

    def __call__(self, maps: Tensor, added: Tensor | None = None, *, relu: bool = True) -> Tensor:
        """``(n, before, H, W)`` → ``(n, after, ⌈H / stride⌉, ⌈W / stride⌉)``, channels last in memory.

        `added`, ``(1, after, …)``, takes the bias's place.
        """
        x = maps.detach().permute(0, 2, 3, 1).contiguous().numpy()
        n, height, width, _ = x.shape
        height, width = (height - 1) // self.stride + 1, (width - 1) // self.stride + 1
        down, across = (height - 1) // 4 + 1, (width - 1) // 4 + 1
        y = torch.empty(n, height, width, self.after)
        if added is None:
            more = self.bias[None, None]
        else:
            padded = F.pad(added[0], (0, 4 * across - width, 0, 4 * down - height))
            more = padded.permute(1, 2, 0).contiguous().numpy()
        side = 6 if self.stride == 1 else 9
        most = max(_BLOCK // (side * side * (self.before + self.after)), _TILES)
        blocks = -(-n * down * across // most)
        block = max(-(-n * down * across // max(blocks, 1)), 1)
        space = _space(space_needed(side, block, self.before, self.after))
        least = np.float32(0 if relu else -np.inf)
        convolve(x, self.panels, self.stride, block, more, least, space, y.numpy())
        return y.permute(0, 3, 1, 2)
