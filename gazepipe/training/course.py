"""What all trainings share: the best weights so far, when to stop, and the way into a checkpoint and back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gazepipe import distributed
from gazepipe.checkpoint import Checkpoint, restore_optimiser

Net = TypeVar("Net", bound=nn.Module)
#: Called after each step or epoch with (done, total, what to show).
Progress = Callable[[int, int, str], None]


@dataclass
class Trained:
    """Best weights of a run and what happened on the way."""

    net: Any
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Best:
    """Keeps the weights of the best validation so far, and says when to stop."""

    patience: int
    weights: dict[str, Tensor] = field(default_factory=dict)
    value: float = -float("inf")
    row: dict[str, float] = field(default_factory=dict)
    waited: int = 0

    def offer(self, net: nn.Module, value: float, row: dict[str, float]) -> bool:
        """Take a validation (more is better); False when patience is used up."""
        if value > self.value:
            self.weights, self.value, self.row, self.waited = copy.deepcopy(net.state_dict()), value, row, 0
        else:
            self.waited += 1
        return self.waited < self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"weights": self.weights, "value": self.value, "row": self.row, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.weights, self.value, self.row, self.waited = (state[k] for k in ("weights", "value", "row", "waited"))


@dataclass
class Course:
    """All that the next step of a training depends on, and its way into a checkpoint and back."""

    net: nn.Module
    optimiser: torch.optim.Optimizer
    best: Best
    rng: np.random.Generator
    where: torch.device
    checkpoint: Checkpoint
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    done: int = 0
    over: bool = False
    start: float = field(default_factory=lambda: time.perf_counter())

    def seconds(self) -> float:
        """Time trained so far, with that before an interruption."""
        return time.perf_counter() - self.start

    def out_of_time(self, minutes: float) -> bool:
        """Whether a limit in minutes is reached; 0 is none."""
        return distributed.first_decides(minutes > 0 and self.seconds() > 60 * minutes, self.where)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        state = self.checkpoint.read(self.rng, self.where)
        if state is None:
            return
        self.net.load_state_dict(state["net"])
        restore_optimiser(self.optimiser, state["optimiser"], self.net)
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.best.restore(state["best"])
        self.history, self.done, self.over = state["history"], state["done"], state["over"]
        self.losses = [loss.to(self.where) for loss in state["losses"]]
        self.start = time.perf_counter() - state["seconds"]

    def keep(self, done: int, over: bool = False) -> None:
        """Write a checkpoint after so many steps or epochs, if it is time for one; the last is always written."""
        self.done, self.over = done, over
        if not (over or self.checkpoint.due()):
            return
        state = {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "best": self.best.state(),
            "history": self.history,
            "losses": self.losses,
            "done": done,
            "over": over,
            "seconds": self.seconds(),
        }
        self.checkpoint.write(state, self.rng, self.where)

    def trained(self) -> Trained:
        """The network with its best weights."""
        self.net.load_state_dict(self.best.weights)
        return Trained(self.net.eval(), self.history, self.best.row, self.seconds())


def no_checkpoint() -> Checkpoint:
    """A checkpoint that is never written."""
    return Checkpoint(None, "")


def on_device(net: Net, where: torch.device) -> Net:
    """Put a network on its device, with channels last in memory, which convolutions are fastest on."""
    return net.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
