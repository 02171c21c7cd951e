"""Weights on disk: they come back, and damage is always noticed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gazepipe import models
from gazepipe.embedding import EmbeddingNet
from gazepipe.errors import NothingToDoError, StoreError
from gazepipe.models import load_model, model_recipe, save_model
from gazepipe.recipe import Recipe
from gazepipe.study import Study
from gazepipe.training import Trained

ARGUMENTS: dict[str, Any] = {"inputs": "psm", "widths": (2, 3, 3, 4), "dimension": 5, "dropout": 0.5}
RECIPE = Recipe("train-embedding", 1, {"seed": 3}, {"corpus": "ab"})


@pytest.fixture
def study(small_study: Any) -> Study:
    study: Study = small_study.open()
    torch.manual_seed(0)
    trained = Trained(EmbeddingNet(**ARGUMENTS), [{"step": 1.0, "loss": 0.25}], {"d_prime": 1.5}, 2.0)
    save_model(study, "embedding", trained, RECIPE, arguments=ARGUMENTS, extra={"users_train": ["änna"]})
    return study


def test_network_comes_back_ready_for_use(study: Study) -> None:
    model = load_model(study, "embedding")
    torch.manual_seed(0)
    want = EmbeddingNet(**ARGUMENTS).state_dict()
    got = model.net.state_dict()
    assert list(got) == list(want)
    assert all(torch.equal(got[k], want[k]) for k in want)
    assert not model.net.training
    assert model.info["users_train"] == ["änna"]
    assert model.info["best"] == {"d_prime": 1.5}
    assert model_recipe(study.model_file("embedding")) == RECIPE.digest == model.info["recipe"]


def test_not_trained_yet(study: Study) -> None:
    assert model_recipe(study.model_file("refiner")) is None
    with pytest.raises(NothingToDoError, match=r"no trained refiner network; run `gazepipe train`"):
        load_model(study, "refiner")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04" + b"x" * 500])
def test_garbage(study: Study, content: bytes) -> None:
    study.model_file("embedding").write_bytes(content)
    assert model_recipe(study.model_file("embedding")) is None
    with pytest.raises(StoreError, match=r"embedding\.safetensors: damaged"):
        load_model(study, "embedding")


@pytest.mark.parametrize("part", [1, 5, 10, 15])
def test_truncated(study: Study, part: int) -> None:
    path = study.model_file("embedding")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * part // 16])
    with pytest.raises(StoreError, match=r"embedding\.safetensors: damaged"):
        load_model(study, "embedding")


def test_weights_of_somebody_else(study: Study) -> None:
    save_file({"x": torch.zeros(3)}, study.model_file("embedding"))
    with pytest.raises(StoreError, match="not weights of gazepipe"):
        load_model(study, "embedding")


def test_weights_of_another_network(study: Study) -> None:
    study.model_file("refiner").write_bytes(study.model_file("embedding").read_bytes())
    with pytest.raises(
        StoreError, match=r"refiner\.safetensors: weights of the embedding network; expected those of the refiner"
    ):
        load_model(study, "refiner")


def test_newer_version(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FORMAT_VERSION", "2.0")
    with pytest.raises(StoreError, match=r"weights of version 1\.0; this gazepipe reads 2\.0"):
        load_model(study, "embedding")


def test_metadata_are_plain_text(study: Study) -> None:
    """Whoever gets a file of weights can read what it is without this package, and without running anything."""
    raw = study.model_file("embedding").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["gazepipe"])["arguments"]["dimension"] == 5
    assert len(load_file(study.model_file("embedding"))) > 8


def test_flipped_bits_are_never_silently_wrong(study: Study) -> None:
    path = study.model_file("embedding")
    data = path.read_bytes()
    intact = load_model(study, "embedding")
    weights = intact.net.state_dict()
    for bit in np.random.default_rng(7).choice(len(data) * 8, 300, replace=False).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            model = load_model(study, "embedding")
        except StoreError:
            continue
        got = model.net.state_dict()
        assert model.info == intact.info, bit
        assert all(torch.equal(got[k], weights[k]) for k in weights), bit
