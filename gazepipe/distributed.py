"""Training in several processes: ``torchrun --nproc-per-node 2 -m gazepipe train``.

Every process draws the same batch and takes its share of the rows. Whatever looks at the whole batch (mining of
triplets, batch norm, dropout, the loss that is shown) sees all of it, so that the course of training is that of one
process, up to rounding. One process writes; all others only compute.

The networks have less than a million parameters: their gradients travel as one block after the backward pass, which
is what DistributedDataParallel would do with its single bucket, and weights keep their names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "average_gradients",
    "first_decides",
    "gathered",
    "group",
    "mean_over_all",
    "rank",
    "share",
    "spread",
    "world",
]

Net = TypeVar("Net", bound=nn.Module)


def rank() -> int:
    """Number of this process; 0 where there is one."""
    return dist.get_rank() if _several() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _several() else 1


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def group(where: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; gives the device of this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _several():
        yield where
        return
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield where
    finally:
        dist.destroy_process_group()


def share(n: int) -> slice:
    """Rows of a batch of n that are this process's: one of as many blocks as there are processes."""
    r, w = rank(), world()
    return slice(n * r // w, n * (r + 1) // w)


def gathered(rows: Tensor, n: int) -> Tensor:
    """All n rows of a batch from each process's share; gradients find their way back."""
    if world() == 1:
        return rows
    own = share(n)
    whole = torch.cat([rows.new_zeros(own.start, *rows.shape[1:]), rows, rows.new_zeros(n - own.stop, *rows.shape[1:])])
    return _sum(whole)


def _sum(value: Tensor) -> Tensor:
    """Sum over the processes, through which gradients flow."""
    from torch.distributed.nn.functional import all_reduce

    total: Tensor = all_reduce(value)  # type: ignore[no-untyped-call]
    return total


def average_gradients(net: nn.Module) -> None:
    """Give all processes the mean of their gradients."""
    if world() == 1:
        return
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    block = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(block)
    block /= world()
    for gradient, part in zip(gradients, torch.split(block, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def mean_over_all(value: Tensor) -> Tensor:
    """Mean of a value over the processes."""
    if world() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world()


def first_decides(choice: bool, where: torch.device) -> bool:
    """Give all processes the first one's choice, where clocks or rounding might part them."""
    if world() == 1:
        return choice
    told = torch.tensor([float(choice)], device=where)
    dist.broadcast(told, 0)
    return bool(told.item())


def spread(net: Net) -> Net:
    """Let batch norm and dropout of a network see the whole batch; nothing changes where there is one process."""
    if world() == 1:
        return net
    for name, child in net.named_children():
        if isinstance(child, nn.BatchNorm2d):
            child.__class__ = _BatchNorm
        elif isinstance(child, nn.Dropout | nn.Dropout2d):
            setattr(net, name, _Dropout(child.p, whole_channels=isinstance(child, nn.Dropout2d)))
        else:
            spread(child)
    return net


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm over the rows of all processes (torch's own synchronised one has no CPU form)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = _sum(x.new_tensor(x.numel() / x.shape[1], dtype=torch.float32))
        wide = x.float()
        mean = _sum(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            track: Any = self  # torch types these as absent in layers that keep no statistics
            track.num_batches_tracked += 1
            track.running_mean.lerp_(mean, self.momentum)
            track.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        out: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)


class _Dropout(nn.Module):
    """Dropout that draws for all rows, from generators that run alike in all processes, and takes its own."""

    def __init__(self, p: float, *, whole_channels: bool) -> None:
        super().__init__()
        self.p, self.whole_channels = p, whole_channels

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        counts = [torch.zeros((), dtype=torch.int64, device=x.device) for _ in range(world())]
        dist.all_gather(counts, torch.tensor(len(x), device=x.device))
        before, total = sum(int(c) for c in counts[: rank()]), sum(map(int, counts))
        shape = (total, x.shape[1], *([1] * (x.dim() - 2))) if self.whole_channels else (total, *x.shape[1:])
        noise = x.new_empty(shape).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * noise[before : before + len(x)]
