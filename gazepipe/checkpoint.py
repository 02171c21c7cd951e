"""Checkpoints: an interrupted training goes on where it was, to the bit.

One safetensors file beside the weights to be holds everything that the next step depends on: weights, optimiser,
learning-rate schedule, best weights so far, history, and the states of all random number generators. Numbers that are
no tensors stand in its metadata as JSON, where floats keep every digit; nothing in it can run code. It is removed when
the finished weights are there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gazepipe.atomic import remove, write_atomically
from gazepipe.errors import StoreError
from gazepipe.models import load_tensors, metadata_of, weights_digest
from gazepipe.sealing import sealed, unsealed

__all__ = ["INTERVAL_S", "Checkpoint"]

FORMAT = "gazepipe.checkpoint"
FORMAT_VERSION = "1.0"

#: Seconds of training between two checkpoints; what a killed run loses at most, beside the step or epoch it is in.
INTERVAL_S = 30.0


class Checkpoint:
    """Where one training run leaves its state and finds it again.

    Parameters
    ----------
    path
        The file; None keeps nothing.
    recipe
        Digest of what the training is made of: a checkpoint of another recipe is as good as none.
    writes
        Whether this process writes; of several that train together only one does.
    """

    def __init__(self, path: Path | None, recipe: str, *, writes: bool = True) -> None:
        self.path, self.recipe, self.writes = path, recipe, writes
        self.last, self.cost = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether it is time again: after `INTERVAL_S`, later where writing would take a twentieth of the time."""
        waited = time.monotonic() - self.last
        return self.path is not None and self.writes and waited >= INTERVAL_S and waited >= 20 * self.cost

    def write(self, state: Mapping[str, Any], rng: np.random.Generator, where: torch.device) -> None:
        """Keep `state` (mappings, lists, plain values and tensors) and the random number generators."""
        if self.path is None or not self.writes:
            return
        from safetensors.torch import save

        start = time.monotonic()
        random = {"numpy": rng.bit_generator.state, "torch": torch.get_rng_state()}
        if where.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(where)
        tensors: dict[str, Tensor] = {}
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "recipe": self.recipe,
            "state": _pack(dict(state), "state", tensors),
            "random": _pack(random, "random", tensors),
        }
        text = json.dumps(content)
        data = save(tensors, {"gazepipe": text, "digest": weights_digest(text, tensors)})
        write_atomically(self.path, sealed(self.path, data, kind=FORMAT, version=FORMAT_VERSION))
        self.last, self.cost = time.monotonic(), time.monotonic() - start

    def read(self, rng: np.random.Generator, where: torch.device) -> dict[str, Any] | None:
        """Give back what `write` was given and set the random number generators; None where there is nothing to go on.

        A checkpoint that is damaged, of another version or of another recipe counts as none: training then starts
        from the beginning, which is always right.
        """
        found = None if self.path is None else _read(self.path, self.recipe)
        if found is None:
            return None
        state, random = found
        rng.bit_generator.state = random["numpy"]
        torch.set_rng_state(random["torch"])
        if where.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], where)
        return state

    def remove(self) -> None:
        """Forget it: the training is over, or is to start anew."""
        if self.path is not None and self.writes:
            remove(self.path)


def _read(path: Path, recipe: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    from safetensors import SafetensorError

    try:
        data = unsealed(path)
        text, digest = metadata_of(path, data)
        content = json.loads(text)
        if content["recipe"] != recipe or content["format_version"] != FORMAT_VERSION:
            return None
        tensors = load_tensors(path, data)
        if digest != weights_digest(text, tensors):
            return None
        return _unpack(content["state"], tensors), _unpack(content["random"], tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError, StoreError):
        return None


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of a nested value; its tensors go into `tensors` under their place in it."""
    if isinstance(value, Tensor):
        # A copy, for two names of one tensor, as of tied weights, are more than safetensors takes.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):
        # Pairs, for optimisers number their parameters and JSON has text keys alone.
        return {"pairs": [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpack(item, tensors) for key, item in value["pairs"]}
    return [_unpack(item, tensors) for item in value] if isinstance(value, list) else value


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any], net: nn.Module) -> None:
    """Load an optimiser's state with each tensor laid out in memory like its parameter, as it grew in training.

    The order of elements decides which of them a vector instruction takes together, and so their last bit.
    """
    optimiser.load_state_dict(state)
    for parameter in net.parameters():
        kept = optimiser.state[parameter]
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[key] = torch.empty_like(parameter).copy_(value)
