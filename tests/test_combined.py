"""Embeddings of several studies: others' training users take part, and nobody who is tested here does."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazepipe.build import build_psm
from gazepipe.combined import load_others, others_digests, unseen
from gazepipe.config import EmbeddingConfig, load_config, template
from gazepipe.corpus import Corpus, Split
from gazepipe.crossvalidate import crossvalidate
from gazepipe.embedding import DescriptorNet
from gazepipe.errors import ConfigError
from gazepipe.ingest import ingest
from gazepipe.models import load_model
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study
from gazepipe.train import settings, train
from gazepipe.training import train_embedding

CPU = torch.device("cpu")
HEIGHT, WIDTH = 30, 40


def made(users: Sequence[str], stimuli: Sequence[str], seed: int) -> Corpus:
    """Everybody looks at the blob of each image, and at a second one at their own distance to its right."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    place = rng.uniform(0.3, 0.5, (len(stimuli), 2)) * [WIDTH, HEIGHT]
    own = rng.uniform(3, 14, len(users))
    maps = np.stack([
        np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8) + np.exp(-((u - x - d) ** 2 + (v - y) ** 2) / 8)
        for d in own
        for x, y in place
    ])  # fmt: skip
    index = np.arange(len(maps)).reshape(len(users), len(stimuli))
    cells = maps.reshape(len(maps), -1).argmax(1)
    names = tuple(users), tuple(stimuli)
    return Corpus(*names, maps.astype(np.float16), index, cells, np.arange(len(maps) + 1), None)


HERE = made("abcdefg", [f"i{n}.jpg" for n in range(20)], 0)
SPLIT = Split((0, 1, 2), (3, 4), (5, 6), tuple(range(12)), tuple(range(12, 16)), tuple(range(16, 20)))
THERE = made("stuvwxyz", [f"j{n}" for n in range(20)], 1)
THEIRS = Split(tuple(range(6)), (6,), (7,), tuple(range(14)), (14, 15), (16, 17, 18, 19))
NETWORK = EmbeddingConfig(inputs="psm", widths=(4, 4, 8, 8), m=2, batch=12, steps=6, validate_every=3)


def trained(config: EmbeddingConfig, others: Sequence[tuple[Corpus, Split]]) -> dict[str, torch.Tensor]:
    result = train_embedding(
        HERE, SPLIT, config, others=others, seed=0, where=CPU, progress=lambda *_: None
    )  # fmt: skip
    return dict(result.net.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    "config", [NETWORK, EmbeddingConfig(inputs="descriptors", m=2)], ids=["network", "descriptors"]
)
def test_training_users_of_another_study_count_and_nothing_else_of_it(config: EmbeddingConfig) -> None:
    torch.set_num_threads(1)
    alone, together = trained(config, []), trained(config, [(THERE, THEIRS)])
    assert not same(alone, together)
    assert same(together, trained(config, [(THERE, THEIRS)]))
    maps = THERE.maps.copy()
    maps[THERE.index[6:]] = 1  # users that are not trained on
    maps[THERE.index[:, 14:]] = 1  # images that are not trained on
    assert same(together, trained(config, [(dataclasses.replace(THERE, maps=maps), THEIRS)]))


def test_what_all_people_of_a_study_have_in_common_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor] = []
    fit = DescriptorNet.fit

    def watched(net: DescriptorNet, tables: Sequence[torch.Tensor], *others: Any) -> None:
        given.extend(tables)
        fit(net, tables, *others)

    monkeypatch.setattr(DescriptorNet, "fit", watched)
    trained(EmbeddingConfig(inputs="descriptors", m=2), [(THERE, THEIRS)])
    assert [len(t) for t in given] == [12] * 3 + [14] * 6
    means = torch.stack([t.mean(0) for t in given])
    torch.testing.assert_close(means[:3].mean(0), means[3:].mean(0), rtol=1e-4, atol=1e-5)


def test_names_that_are_tested_here_are_left_out_there() -> None:
    there = dataclasses.replace(
        THERE, users=("f", "a", *THERE.users[2:]), stimuli=("I17.png", "i3.jpg", *THERE.stimuli[2:])
    )
    ((corpus, split),) = unseen([(there, THEIRS)], HERE, SPLIT)
    assert corpus is there
    assert split.users_train == (1, 2, 3, 4, 5)  # f is a test user here, a is trained on here, too
    assert split.images_train == tuple(range(1, 14))  # image 17 is tested here, 3 is trained on
    closed = dataclasses.replace(SPLIT, users_train=(0, 1, 5), users_test=(0, 1, 5))
    assert unseen([(there, THEIRS)], HERE, closed)[0][1].users_train == THEIRS.users_train


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study]) -> Path:
    """Two studies beside each other, of other people and other images."""
    root = tmp_path_factory.mktemp("combined")
    for name, seed in (("here", 3), ("there", 4)):
        study = simulated(
            root / name,
            users=8,
            images=20,
            seconds=1,
            seed=seed,
            split={"users": [0.5, 0.25, 0.25], "images": [0.6, 0.2, 0.2]},
            psm={"width": 60, "height": 45},
            embedding={"m": 2},
            evaluation={"m": [2], "embeddings_per_user": 4, "repetitions": 3, "offset_deg": 0},
        )
        ingest(study)
        build_psm(study)
    return root


def with_studies(root: Path, *studies: str) -> Study:
    config = load_config(root / "here" / "gazepipe.toml").model_dump(mode="json")
    config["embedding"]["studies"] = studies
    (root / "here" / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    return Study.open(root / "here")


def test_commands_learn_from_the_other_study_and_notice_its_changes(built: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(built, tmp_path / "studies"))
    study = with_studies(root)
    alone = crossvalidate(study, folds=4, maps=False, preset="best", threads=1)
    train(study, threads=1)
    before = load_model(study, "embedding").info["recipe"]
    study = with_studies(root, "../there")
    together = crossvalidate(study, folds=4, maps=False, preset="best", threads=1)
    assert together.folds[0].best != alone.folds[0].best  # a preset does not say which data are learned from
    train(study, preset="best", threads=1)
    assert settings(study).embedding.studies == ("../there",)
    recipe = load_model(study, "embedding").info["recipe"]
    assert recipe != before
    assert train(study, preset="best", threads=1).trained == []
    digests = others_digests(study, study.config.embedding)
    (root / "there" / "gazepipe.toml").write_text(
        (root / "there" / "gazepipe.toml").read_text().replace("users = [0.5, 0.25", "users = [0.25, 0.5"), "utf-8"
    )
    assert others_digests(study, study.config.embedding) != digests


def test_a_study_is_not_its_own_other_and_maps_must_have_its_size(built: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(built, tmp_path / "studies"))
    study = with_studies(root, "../here")
    with pytest.raises(ConfigError, match="is this study itself"):
        load_others(study, study.config.embedding, HERE)
    study = with_studies(root, "../there")
    section = study.config.embedding
    assert len(load_others(study, section, HERE)) == 1  # descriptors take maps of any size
    with pytest.raises(ConfigError, match=r"cells and those of .* 40 × 30; set the same"):
        load_others(study, section.model_copy(update={"inputs": "psm"}), HERE)
    assert load_corpus(study).size != HERE.size
