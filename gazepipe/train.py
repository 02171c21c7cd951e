"""Stage 3: train the embedding network, then the refiner on its embeddings, then the universal predictor.

Each network is trained again only when something it was made of changed, and a training that was interrupted goes on
from its checkpoint. Processes that torchrun starts train together; the first of them writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gazepipe import audit, compute, distributed, store
from gazepipe.calibration import load_calibration, save_calibration, summarise
from gazepipe.calibration_draws import observe
from gazepipe.checkpoint import Checkpoint
from gazepipe.combined import load_others, others_digests, settings_of, unseen
from gazepipe.config import EmbeddingConfig, RefinerConfig, Section, StudyConfig
from gazepipe.corpus import Corpus, Split, draw_split
from gazepipe.embedding import DESCRIBED, DescriptorNet
from gazepipe.errors import ConfigError, NothingToDoError, StoreError
from gazepipe.models import load_model, model_recipe, save_model
from gazepipe.profile import VERSION as profile_version
from gazepipe.profiling import content_backbone, knows_content, train_profile
from gazepipe.recipe import Recipe
from gazepipe.stage_plan import StagePlan
from gazepipe.stored_corpus import corpus_digest, load_corpus
from gazepipe.study import Study
from gazepipe.training import (
    Encoder,
    Trained,
    embedding_pools,
    train_embedding,
    train_multicnn,
    train_refiner,
)
from gazepipe.universal_maps import predictor_of, train_predictor
from gazepipe.words import counted

if TYPE_CHECKING:
    import torch

__all__ = ["PRESETS", "TrainReport", "plan_training", "settings", "split_from", "split_of", "train", "with_preset"]

#: Raised whenever the result changes for the same data and parameters.
VERSION = 1
#: Likewise, of the fit of descriptors.
_DESCRIPTOR_VERSION = 2

#: Named settings for [embedding] and [refiner]. The defaults are the paper's but for how the maps are combined.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"embedding": EmbeddingConfig(), "refiner": RefinerConfig(combine="add")},
    "best": {"embedding": EmbeddingConfig(inputs="descriptors+scanpath"), "refiner": {"method": "profile"}},
    "registered": {"embedding": EmbeddingConfig(inputs="descriptors+scanpath", registration=True)},
    "robust": {
        "embedding": EmbeddingConfig(inputs="descriptors+scanpath", recalibration_deg=1.0),
        "refiner": {"method": "profile"},
    },
}

_SECTIONS: dict[str, type[Section]] = {"embedding": EmbeddingConfig, "refiner": RefinerConfig}

#: Called with (network, done, total, what to show).
Show = Callable[[str, int, int, str], None]


@dataclass(slots=True)
class TrainReport:
    """Which networks were trained, which were up to date, and their best validation."""

    trained: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    best: dict[str, dict[str, float]] = field(default_factory=dict)


def split_of(corpus: Corpus, config: StudyConfig) -> Split:
    """Draw the study's split.

    Parameters
    ----------
    corpus
        Whose users and images are drawn from.
    config
        The study; ``config.split`` is used.

    Returns
    -------
    Split
        Users and images to train, validate and test on, as rows and columns of the corpus.

    Raises
    ------
    ConfigError
        If there are too few users or images to train, validate and test.
    """
    split = draw_split(corpus, config.split)
    if len(split.users_train) < 2 or not split.images_train:
        msg = (
            f"[split] leaves {counted(len(split.users_train), 'training user')} and "
            f"{counted(len(split.images_train), 'training image')} of {counted(len(corpus.users), 'user')} and "
            f"{counted(len(corpus.stimuli), 'image')}; two users and some images are needed."
        )
        raise ConfigError(msg)
    return split


def train(
    study: Study,
    *,
    preset: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    show: Show | None = None,
) -> TrainReport:
    """Train what is not up to date.

    Parameters
    ----------
    study
        With maps of its users.
    preset
        One of `PRESETS`, in place of the study's [embedding] and [refiner]; None: these.
    device, threads
        Of the networks, see `gazepipe.compute`.
    force
        Train all networks anew, whatever is there.
    show
        Called with a network's name, steps done, all steps, and what to show; with 0 of 0 as a network's turn comes.

    Returns
    -------
    TrainReport
        Networks trained and up to date, and the best validation of each.

    Raises
    ------
    ConfigError
        If the split or the data do not allow training.
    NothingToDoError
        If there are no maps.

    Examples
    --------
    >>> from gazepipe import Study
    >>> from gazepipe.train import train
    >>> train(Study.open("."), threads=1).trained  # doctest: +SKIP
    ['embedding', 'refiner', 'profile', 'universal']
    """
    with distributed.group(compute.device(device)) as where:
        compute.use_threads(threads)
        first = distributed.rank() == 0
        with store.lock(study.store) if first else contextlib.nullcontext():
            return _train(study, where, preset=preset, force=force, show=show)


def _train(study: Study, where: torch.device, *, preset: str | None, force: bool, show: Show | None) -> TrainReport:
    config = with_preset(study.config, preset)
    tell: Show = show or (lambda *_: None)
    report = TrainReport()
    corpus = load_corpus(study)
    split = split_of(corpus, config)
    names = _names(corpus, split)
    recipes = _recipes(study, config, corpus)

    first = distributed.rank() == 0

    def stage(name: str, run: Callable[[Checkpoint], tuple[Trained, dict[str, Any]]], **extra: Any) -> None:
        recipe = recipes[name]
        current = not force and model_recipe(study.model_file(name)) == recipe.digest
        if distributed.first_decides(current, where):
            report.current.append(name)
            report.best[name] = load_model(study, name).info["best"]
            return
        tell(name, 0, 0, "")  # what comes before its first step takes long, too
        checkpoint = Checkpoint(study.checkpoint_file(name), recipe.digest, writes=first)
        if force:
            checkpoint.remove()
        distributed.first_decides(True, where)  # nobody looks for a checkpoint before it is removed
        trained, arguments = run(checkpoint)
        if first:
            save_model(study, name, trained, recipe, arguments=arguments, extra=names | extra)
            checkpoint.remove()
        distributed.first_decides(True, where)  # nobody goes on before the weights are there
        report.trained.append(name)
        report.best[name] = trained.best

    def embedding(checkpoint: Checkpoint) -> tuple[Trained, dict[str, Any]]:
        section = config.embedding
        result = train_embedding(
            corpus,
            split,
            section,
            others=unseen(load_others(study, section, corpus), corpus, split),
            seed=config.seed,
            where=where,
            progress=lambda *p: tell("embedding", *p),
            checkpoint=checkpoint,
        )
        arguments = section.model_dump(include={"inputs", "widths", "dimension", "dropout", "registration"})
        return result, arguments | (result.net.arguments if isinstance(result.net, DescriptorNet) else {})

    def refiner(checkpoint: Checkpoint) -> tuple[Trained, dict[str, Any]]:
        encoder = Encoder(load_model(study, "embedding", where).net, corpus, split.users_train)
        section = config.refiner
        known = tuple(sorted({*split.users_train, *split.users_validation}))
        pools = embedding_pools(encoder, known, split.images_train, m=section.m, pool=section.pool, seed=config.seed)
        result = train_refiner(
            corpus,
            split,
            section,
            pools,
            seed=config.seed,
            where=where,
            progress=lambda *p: tell("refiner", *p),
            checkpoint=checkpoint,
        )
        sizes = section.model_dump(include={"widths", "personal"})
        return result, {"channels": result.net.channels, "dimension": result.net.dimension, **sizes}

    def multicnn(checkpoint: Checkpoint) -> tuple[Trained, dict[str, Any]]:
        section = config.refiner
        result = train_multicnn(
            corpus, split, section, seed=config.seed, where=where, progress=lambda *p: tell("multicnn", *p)
        )
        sizes = {"users": len(split.users_train), "channels": result.net.channels, "widths": section.widths}
        return result, sizes

    def profile(checkpoint: Checkpoint) -> tuple[Trained, dict[str, Any]]:
        result = train_profile(
            corpus,
            split,
            config.refiner,
            backbone=content_backbone(corpus, config),
            seed=config.seed,
            progress=lambda *p: tell("profile", *p),
        )
        return result, {"content": result.net.directions}

    def universal(checkpoint: Checkpoint) -> tuple[Trained, dict[str, Any]]:
        return train_predictor(
            study,
            corpus,
            split,
            config,
            where=where,
            progress=lambda *p: tell("universal", *p),
            checkpoint=checkpoint,
        )

    stage("embedding", embedding)
    if first:
        _calibrate(study, corpus, split, config, where, force, lambda *p: tell("calibration", *p))
    distributed.first_decides(True, where)  # nobody trains on while the first is not there
    stage("refiner", refiner, embedding=recipes["embedding"].digest)
    if "multicnn" in recipes:
        stage("multicnn", multicnn)
    stage("profile", profile)
    if "universal" in recipes:
        stage("universal", universal)
    resolved = {name: getattr(config, name).model_dump(mode="json") for name in PRESETS.get(preset or "", {})}
    if first:
        study.write_manifest("train", {"preset": preset, "sections": resolved})
        if report.trained:
            audit.record(study, "train", networks=report.trained, people=len(corpus.users))
    return report


def _recipes(study: Study, config: StudyConfig, corpus: Corpus) -> dict[str, Recipe]:
    """What each network is made of, in the order in which they are trained."""
    data = {"corpus": corpus_digest(study, corpus.users)}
    common = {"split": config.split.model_dump(mode="json"), "seed": config.seed}
    section = settings_of(config.embedding)
    others = others_digests(study, config.embedding)
    version = _DESCRIPTOR_VERSION if config.embedding.inputs in DESCRIBED else VERSION
    found = {"embedding": Recipe("train-embedding", version, {**common, "embedding": section}, data | others)}
    # How maps are made of it afterwards does not change the network.
    section = config.refiner.model_dump(mode="json", exclude={"combine", "method", "multicnn", "content"})
    inputs = {**data, "embedding": found["embedding"].digest}
    found["refiner"] = Recipe("train-refiner", VERSION, {**common, "refiner": section}, inputs)
    if config.refiner.multicnn:
        found["multicnn"] = Recipe("train-multicnn", VERSION, {**common, "refiner": section}, data)
    form = {"m": config.refiner.m, "profile": profile_version}
    form["content"] = config.refiner.content if knows_content(corpus, config) else 0
    found["profile"] = Recipe("train-profile", VERSION, {**common, **form}, data)
    if corpus.images is not None:
        # Maps of others do not change the network; which network "auto" means depends on what is installed.
        section = config.universal.model_dump(mode="json", exclude={"predictor", "maps", "weights"})
        section["backbone"], begun = predictor_of(study)
        section |= {"start": begun} if begun else {}
        found["universal"] = Recipe("train-universal", VERSION, {**common, "universal": section}, data)
    return found


def plan_training(study: Study, *, preset: str | None = None, force: bool = False) -> StagePlan:
    """Find out what `train` would do; nothing is trained or written.

    Raises
    ------
    ConfigError
        If the split or the data do not allow training.
    NothingToDoError
        If there are no maps.
    """
    config = with_preset(study.config, preset)
    corpus, found = load_corpus(study), StagePlan("train")
    split = split_of(corpus, config)
    parts = f"{counted(len(split.users_train), 'training user')}, {counted(len(split.images_train), 'training image')}"
    recipes = _recipes(study, config, corpus)
    for name, recipe in recipes.items():
        there = study.model_file(name)
        current = not force and model_recipe(there) == recipe.digest
        why = "--force" if force else "data or settings changed" if there.is_file() else f"not trained; {parts}"
        if not force and study.checkpoint_file(name).is_file():
            why += "; there is a checkpoint to go on from, if it is of these data and settings"
        found.make(f"network {name}", current, why)
    known = False
    with contextlib.suppress(NothingToDoError, StoreError):
        known = not force and bool(load_calibration(study, recipes["embedding"].digest))
    found.make("calibration", known)
    return found


def with_preset(config: StudyConfig, preset: str | None) -> StudyConfig:
    """Put a preset's sections, or its single keys, in place of the file's; None leaves the file's.

    Which other studies are learned from is no setting of a network, and stays.

    Parameters
    ----------
    config
        What the file says.
    preset
        One of `PRESETS`, or None.

    Returns
    -------
    StudyConfig
        Another one; `config` itself if `preset` is None.
    """
    changes = {
        name: getattr(config, name).model_copy(update=values) if isinstance(values, dict) else values
        for name, values in (PRESETS[preset] if preset else {}).items()
    }
    if "embedding" in changes:
        changes["embedding"] = changes["embedding"].model_copy(update={"studies": config.embedding.studies})
    return config.model_copy(update=changes)


def _calibrate(
    study: Study,
    corpus: Corpus,
    split: Split,
    config: StudyConfig,
    where: torch.device,
    force: bool,
    progress: Callable[[int, int, str], None],
) -> None:
    """Find out what the network is worth with people it does not know, unless that is known."""
    model = load_model(study, "embedding", where)
    with contextlib.suppress(NothingToDoError, StoreError):
        if not force and load_calibration(study, model.info["recipe"]):
            return
    encoder = Encoder(model.net, corpus, split.users_train)
    observed = observe(encoder, split, config.embedding, seed=config.seed, progress=progress)
    save_calibration(study, summarise(observed, model.info["recipe"]))


def settings(study: Study) -> StudyConfig:
    """Return the configuration that the networks were trained with: a preset stands in place of the file's sections.

    Raises
    ------
    StoreError
        If what was kept of the training is not understood.
    """
    try:
        kept = study.manifest("train").get("sections", {})
        sections = {name: _SECTIONS[name](**values) for name, values in kept.items()}
    except (KeyError, TypeError, AttributeError, ValidationError):
        msg = f"{study.store / 'manifest' / 'train.json'}: settings of another gazepipe; run `gazepipe train` again."
        raise StoreError(msg) from None
    return study.config.model_copy(update=sections)


def _names(corpus: Corpus, split: Split) -> dict[str, Any]:
    """The split by name, as it is kept with the weights."""
    users = {f"users_{p}": [corpus.users[i] for i in getattr(split, f"users_{p}")] for p in _PARTS}
    images = {f"images_{p}": [corpus.stimuli[i] for i in getattr(split, f"images_{p}")] for p in _PARTS}
    return {**users, **images}


_PARTS = ("train", "validation", "test")


def split_from(corpus: Corpus, info: dict[str, Any]) -> Split:
    """Rebuild the split that a network was trained with; names that the corpus does not have are left out."""
    users = {u: i for i, u in enumerate(corpus.users)}
    images = {s: i for i, s in enumerate(corpus.stimuli)}
    u = [tuple(users[n] for n in info[f"users_{p}"] if n in users) for p in _PARTS]
    i = [tuple(images[n] for n in info[f"images_{p}"] if n in images) for p in _PARTS]
    return Split(*u, *i)
