"""Trained networks on disk: safetensors weights with everything needed to use them in the file's own metadata."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gazepipe import __version__
from gazepipe.atomic import write_atomically
from gazepipe.embedding import embedding_net
from gazepipe.errors import NothingToDoError, StoreError, plain
from gazepipe.profile import ProfileNet
from gazepipe.recipe import Recipe
from gazepipe.refiner import MultiCnn, RefinerNet
from gazepipe.sealing import sealed, unsealed
from gazepipe.universal import UniversalNet
from gazepipe.weights_header import weights_header

if TYPE_CHECKING:
    from gazepipe.readout import ReadoutNet
    from gazepipe.study import Study
    from gazepipe.training import Trained

__all__ = [
    "Model",
    "check_weights",
    "load_model",
    "load_refiner",
    "load_tensors",
    "metadata_of",
    "model_info",
    "model_recipe",
    "read_model",
    "save_model",
    "weights_digest",
]

FORMAT = "gazepipe.model"
FORMAT_VERSION = "1.0"


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network and what is known about it.

    `info` holds ``recipe``, ``params``, ``history``, ``best``, ``seconds``, ``arguments`` (of the network's
    constructor) and, for the networks trained on users, ``users_train``, ``users_validation``, ``users_test``,
    ``images_train``, ``images_validation``, ``images_test`` (names).
    """

    net: Any
    info: dict[str, Any]


def _universal_net(backbone: str = "none", **arguments: Any) -> UniversalNet | ReadoutNet:
    from gazepipe.readout import ReadoutNet  # it is trained with checkpoints, which need this module

    return UniversalNet() if backbone == "none" else ReadoutNet(**arguments)


_NETWORKS: dict[str, Any] = {
    "embedding": embedding_net,
    "refiner": RefinerNet,
    "profile": ProfileNet,
    "multicnn": MultiCnn,
    "universal": _universal_net,
}


def save_model(
    study: Study, name: str, trained: Trained, recipe: Recipe, *, arguments: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Write weights and metadata, whole or not at all."""
    from safetensors.torch import save

    info = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "gazepipe_version": __version__,
        "network": name,
        "recipe": recipe.digest,
        "params": recipe.params,
        "arguments": arguments,
        "history": trained.history,
        "best": trained.best,
        "seconds": trained.seconds,
        **extra,
    }
    weights = {key: value.detach().cpu().contiguous() for key, value in trained.net.state_dict().items()}
    text = json.dumps(info, sort_keys=True)
    data = save(weights, {"gazepipe": text, "digest": weights_digest(text, weights)})
    path = study.model_file(name)
    write_atomically(path, sealed(path, data, kind=FORMAT, version=FORMAT_VERSION))


def weights_digest(text: str, weights: Mapping[str, torch.Tensor]) -> str:
    """Digest of metadata and weights; safetensors has no checksum of its own."""
    total = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def model_recipe(path: Path) -> str | None:
    """Recipe digest of stored weights, None where there are none."""
    try:
        return str(_info(path)[0]["recipe"])
    except PermissionError:
        raise  # it is not to be trained again for that
    except (OSError, StoreError, KeyError):
        return None


def metadata_of(path: Path, data: bytes | None = None) -> tuple[str, str | None]:
    """Text of the metadata of weights or a checkpoint, and the digest written with it (None in older files).

    `data` is what `unsealed` gave, where that was asked for already: opening a seal takes reading the whole file.
    """
    from safetensors import safe_open

    data = unsealed(path) if data is None else data
    if data is not None:
        metadata = weights_header(io.BytesIO(data), len(data))[0]
    else:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    return metadata["gazepipe"], metadata.get("digest")


def load_tensors(path: Path, data: bytes | None = None) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file, sealed or not; `data` as in `metadata_of`.

    Raises
    ------
    SafetensorError
        If it is no such file.
    """
    from safetensors.torch import load, load_file

    data = unsealed(path) if data is None else data
    return load_file(path) if data is None else load(data)


def _check_digest(path: Path, digest: str | None, text: str, weights: Mapping[str, torch.Tensor]) -> None:
    if digest is not None and digest != weights_digest(text, weights):
        msg = f"{path}: damaged (its content is not what was written); delete it and run `gazepipe train` again."
        raise StoreError(msg)


def _info(path: Path, data: bytes | None = None) -> tuple[dict[str, Any], str, str | None]:
    """Metadata, the text they stood in, and the digest that was written with them (None in older files)."""
    from safetensors import SafetensorError

    try:
        text, digest = metadata_of(path, data)
        info: dict[str, Any] = json.loads(text)
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        msg = f"{path}: damaged or not weights of gazepipe ({error}); delete it and run `gazepipe train` again."
        raise StoreError(msg) from None
    if str(info.get("format_version", "")).split(".")[0] != FORMAT_VERSION.split(".")[0]:
        found = info.get("format_version")
        msg = f"{path}: weights of version {found}; this gazepipe reads {FORMAT_VERSION}; run `gazepipe train` again."
        raise StoreError(msg)
    return info, text, digest


def load_model(study: Study, name: str, where: torch.device | None = None) -> Model:
    """Read a trained network, ready for use (evaluation mode).

    Raises
    ------
    NothingToDoError
        If it has not been trained.
    StoreError
        If the file is damaged or of another version.
    """
    return read_model(_trained(study, name), name, where)


def model_info(study: Study, name: str) -> dict[str, Any]:
    """What is known about a trained network (`Model.info`), without reading its weights.

    Raises
    ------
    NothingToDoError
        If it has not been trained.
    StoreError
        If the file is damaged or of another version.
    """
    return _info(_trained(study, name))[0]


def _trained(study: Study, name: str) -> Path:
    path = study.model_file(name)
    if not path.is_file():
        msg = f"{path}: there is no trained {name} network; run `gazepipe train` first."
        raise NothingToDoError(msg)
    return path


def read_model(path: Path, name: str, where: torch.device | None = None) -> Model:
    """Read the weights of a network of this name from any file that gazepipe wrote.

    Raises
    ------
    StoreError
        If the file is damaged, of another version or of another network.
    """
    from safetensors import SafetensorError

    data = unsealed(path)
    info, text, digest = _info(path, data)
    if info.get("network", name) != name:
        msg = f"{path}: weights of the {info['network']} network; expected those of the {name} one."
        raise StoreError(msg)
    try:
        weights = load_tensors(path, data)
        net = _network(name, info["arguments"], weights)
        net.load_state_dict(weights)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        msg = f"{path}: damaged ({plain(str(error))}); delete it and run `gazepipe train` again."
        raise StoreError(msg) from None
    _check_digest(path, digest, text, weights)
    net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(net.to(where) if where else net, info)


def _network(name: str, arguments: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build a network of the size that its weights have: what the file says of it could fill the memory."""
    with torch.device("meta"):
        sizes = {key: value.shape for key, value in _NETWORKS[name](**arguments).state_dict().items()}
    if sizes != {key: value.shape for key, value in weights.items()}:
        msg = "its weights are not those of the network that it describes"
        raise ValueError(msg)
    net: nn.Module = _NETWORKS[name](**arguments)
    return net


def check_weights(path: Path) -> None:
    """Read weights, or a checkpoint, in full and compare them with their digest.

    Raises
    ------
    StoreError
        If they are damaged.
    """
    from safetensors import SafetensorError

    try:
        data = unsealed(path)
        text, digest = metadata_of(path, data)
        weights = load_tensors(path, data)
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        msg = f"{path}: damaged or not weights of gazepipe ({error}); delete it and run `gazepipe train` again."
        raise StoreError(msg) from None
    _check_digest(path, digest, text, weights)


def load_refiner(study: Study, embedding: str, where: torch.device | None = None) -> Model:
    """Read the refiner that was trained on embeddings of the network of this recipe.

    Raises
    ------
    NothingToDoError
        If there is none, or it was trained on those of another network (training was interrupted between the two).
    StoreError
        If the file is damaged or of another version.
    """
    refiner = load_model(study, "refiner", where)
    if refiner.info.get("embedding", embedding) != embedding:
        path = study.model_file("refiner")
        msg = f"{path}: was trained on embeddings of another network than the one there; run `gazepipe train` again."
        raise NothingToDoError(msg)
    return refiner
