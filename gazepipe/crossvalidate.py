"""Cross-validation over users: every user is unseen once, and every network is trained anew without them.

Each fold's figures are stored as soon as it is done, so that a run that was killed goes on after the last whole fold.
Embeddings of different folds are of different networks (or differently whitened descriptors) and cannot be compared, so
that people are identified within a fold alone: among its test users, and among all users by that fold's network.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gazepipe import compute, store
from gazepipe.combined import load_others, others_digests, settings_of, unseen
from gazepipe.config import StudyConfig
from gazepipe.corpus import Corpus, Others
from gazepipe.documents import write_listed
from gazepipe.evaluation.crossvalidation import CrossValidation, FoldResult
from gazepipe.evaluation.folds import Fold, make_folds
from gazepipe.evaluation.identify import identify
from gazepipe.evaluation.report import identification_facts
from gazepipe.evaluation.rows import Tested
from gazepipe.evaluation.scores import Scores, from_arrays, score_rows
from gazepipe.metrics import METRICS
from gazepipe.profiling import content_backbone, train_profile
from gazepipe.readout import Features
from gazepipe.recipe import Recipe
from gazepipe.stage_plan import StagePlan
from gazepipe.stored_corpus import corpus_digest, load_corpus
from gazepipe.study import Study
from gazepipe.train import with_preset
from gazepipe.training import (
    Encoder,
    embedding_pools,
    train_embedding,
    train_multicnn,
    train_refiner,
)
from gazepipe.universal_maps import other_digests, other_maps, predict_stimuli, predictor_of, train_predictor
from gazepipe.words import counted

__all__ = ["crossvalidate", "folder_of", "load_fold", "plan_folds", "save_fold"]

#: Raised whenever the result changes for the same data and parameters.
VERSION = 5

#: Called with (what is being done, done, total, what to show).
Show = Callable[[str, int, int, str], None]

#: Shares of a fold's time that embedding and universal predictor may take; the refiner has the rest.
_EMBEDDING, _UNIVERSAL = 0.4, 0.15


def crossvalidate(
    study: Study,
    *,
    folds: int = 5,
    repeats: int = 1,
    preset: str | None = None,
    maps: bool = True,
    minutes: float = 0.0,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    show: Show | None = None,
) -> CrossValidation:
    """Train and test in each fold; writes `folds/NAME/` into the store (see `folder_of`).

    Parameters
    ----------
    study
        With maps built.
    folds, repeats
        Parts that users (closed set: images) are cut into, and how often that is done anew.
    preset
        Settings in place of ``[embedding]`` and ``[refiner]``; None: the file's.
    maps
        Train the refiner and the universal predictor, too, and score maps; otherwise only embeddings.
    minutes
        Training of a fold takes at most about so long; 0: as the configuration says.
    force
        Do folds again that are stored.

    Raises
    ------
    NothingToDoError
        If there are no maps.
    ConfigError
        If there are too few users or images for so many folds.
    """
    where = compute.device(device)
    compute.use_threads(threads)
    config = with_preset(study.config, preset)
    corpus = load_corpus(study)
    folder = folder_of(study, preset, maps)
    tell: Show = show or (lambda *_: None)
    results, kept = [], Features()
    others: Others | None = None  # read when the first fold has to be trained
    todo = _folds(study, corpus, config, folds, repeats, maps, minutes)
    cut = [fold for fold, _ in todo]
    for done, (fold, recipe) in enumerate(todo):
        path = folder / f"{fold.name}.h5"
        if force or store.recipe_of(path) != recipe.digest:
            label = f"fold {done + 1} of {len(cut)}"
            if others is None:
                others = load_others(study, config.embedding, corpus)
            say = functools.partial(_tell_fold, tell, label)
            result = _run(study, corpus, fold, config, maps, minutes, where, others, kept, say)
            with store.lock(study.store):
                save_fold(path, result, recipe)
        results.append(load_fold(path))
    within = float(np.mean([1 / len(f.split.users_test) for f in cut]))
    facts = {
        "study": config.name,
        "preset": preset,
        "protocol": config.split.protocol,
        "folds": folds,
        "repeats": repeats,
        "users": len(corpus.users),
        "images": len(corpus.stimuli),
        "users_train": sorted({len(f.split.users_train) for f in cut}),
        "users_test": sorted({len(f.split.users_test) for f in cut}),
        "images_train": sorted({len(f.split.images_train) for f in cut}),
        "images_test": sorted({len(f.split.images_test) for f in cut}),
        "chance": {p: 1 / len(corpus.users) if p.startswith("all") else within for p in results[0].precision},
        "m": list(config.evaluation.m),
        "offset_deg": config.evaluation.offset_deg,
        "minutes": minutes,
        "seed": config.seed,
        "split_seed": config.split.seed,
    }
    whole = CrossValidation(results, facts)
    with store.lock(study.store):
        write_listed(study.store, {folder / name: text.encode() for name, text in whole.files().items()})
    return whole


def _folds(
    study: Study, corpus: Corpus, config: StudyConfig, folds: int, repeats: int, maps: bool, minutes: float
) -> list[tuple[Fold, Recipe]]:
    """All folds, and what each is made of."""
    cut = make_folds(len(corpus.users), len(corpus.stimuli), config.split, folds=folds, repeats=repeats)
    params = _params(study, config, maps, minutes)
    data = {"corpus": corpus_digest(study, corpus.users), **others_digests(study, config.embedding)}
    return [(f, Recipe("fold", VERSION, {**params, "fold": [folds, f.repeat, f.number]}, data)) for f in cut]


def plan_folds(
    study: Study,
    *,
    folds: int = 5,
    repeats: int = 1,
    preset: str | None = None,
    maps: bool = True,
    minutes: float = 0.0,
    force: bool = False,
) -> StagePlan:
    """Find out which folds `crossvalidate` would train, with the same arguments.

    Raises
    ------
    NothingToDoError
        If there are no maps.
    ConfigError
        If there are too few users or images for so many folds.
    """
    found, config = StagePlan("crossvalidate"), with_preset(study.config, preset)
    corpus, folder = load_corpus(study), folder_of(study, preset, maps)
    for fold, recipe in _folds(study, corpus, config, folds, repeats, maps, minutes):
        path, split = folder / f"{fold.name}.h5", fold.split
        why = f"{counted(len(split.users_train), 'user')} to train on, {len(split.users_test)} to test"
        found.make(str(path.relative_to(study.store)), not force and store.recipe_of(path) == recipe.digest, why)
    found.add(str((folder / "crossvalidation.md").relative_to(study.store)), "made", "written anew with its tables")
    return found


def _tell_fold(tell: Show, label: str, network: str, done: int, total: int, note: str) -> None:
    tell(f"{label}: {network}", done, total, note)


def folder_of(study: Study, preset: str | None, maps: bool = True) -> Path:
    """Return where a cross-validation is kept: `folds/PRESET`, or `folds/PRESET-embeddings` without maps."""
    return study.store / "folds" / ((preset or "configuration") + ("" if maps else "-embeddings"))


def _params(study: Study, config: StudyConfig, maps: bool, minutes: float) -> dict[str, Any]:
    sections = ["split", "evaluation", *(["refiner", "universal"] if maps else [])]
    params = {name: getattr(config, name).model_dump(mode="json") for name in sections}
    params["embedding"] = settings_of(config.embedding)
    # How maps are combined is a row of the table; pairs and pool are in `refiner`.
    for name in ("combine", "method"):
        params.get("refiner", {}).pop(name, None)
    if maps:
        # Which network "auto" means depends on what is installed; weights and maps of others are files.
        params["universal"]["backbone"], begun = predictor_of(study)
        params["universal"] |= {"start": begun, "others": other_digests(study)}
    return {**params, "seed": config.seed, "maps": maps, "minutes": minutes}


def _run(
    study: Study,
    corpus: Corpus,
    fold: Fold,
    config: StudyConfig,
    maps: bool,
    minutes: float,
    where: torch.device,
    others: Others,
    kept: Features,
    tell: Show,
) -> FoldResult:
    """Train all networks on the training part of a fold, and test them on its test part; images' features are kept."""
    start, split, seed = time.perf_counter(), fold.split, config.seed
    section = config.embedding.model_copy(update=_limit(config.embedding.minutes, _EMBEDDING * minutes))
    trained = train_embedding(
        corpus,
        split,
        section,
        others=unseen(others, corpus, split),
        seed=seed,
        where=where,
        progress=lambda *p: tell("embedding", *p),
    )
    seconds, best = {"embedding": trained.seconds}, {"embedding": trained.best}
    encoder = Encoder(trained.net, corpus, split.users_train)
    found = identify(encoder, split, config.evaluation, seed=seed, everybody=True)
    precision, verification = identification_facts(found, [corpus.users[u] for u in split.users_test])
    scores = Scores((), np.zeros(0, object), np.zeros(0, object), np.zeros((0, 0, len(METRICS))))
    if maps:
        networks, refiner = {}, config.refiner
        images = np.array(split.images_test)
        predicted = other_maps(study, corpus, split, images, where)
        if corpus.images is not None:
            limited = config.universal.model_copy(update=_limit(config.universal.minutes, _UNIVERSAL * minutes))
            made, _ = train_predictor(
                study,
                corpus,
                split,
                config.model_copy(update={"universal": limited}),
                where=where,
                progress=lambda *p: tell("universal", *p),
                kept=kept,
            )
            networks["universal"], seconds["universal"], best["universal"] = made.net, made.seconds, made.best
            shown = predict_stimuli(made.net, study, corpus, images)
            assert shown is not None
            predicted["predicted"] = shown
        known = tuple(sorted({*split.users_train, *split.users_validation}))
        pools = embedding_pools(encoder, known, split.images_train, m=refiner.m, pool=refiner.pool, seed=seed)
        left = max(minutes - sum(seconds.values()) / 60, 0.01) if minutes else 0.0
        limited_refiner = refiner.model_copy(update=_limit(refiner.minutes, left))
        made = train_refiner(
            corpus, split, limited_refiner, pools, seed=seed, where=where, progress=lambda *p: tell("refiner", *p)
        )
        networks["refiner"], seconds["refiner"], best["refiner"] = made.net, made.seconds, made.best
        own_profile = train_profile(
            corpus,
            split,
            refiner,
            backbone=content_backbone(corpus, config),
            seed=seed,
            progress=lambda *p: tell("profile", *p),
        )
        networks["profile"], seconds["profile"], best["profile"] = (
            own_profile.net,
            own_profile.seconds,
            own_profile.best,
        )
        if refiner.multicnn:
            made = train_multicnn(
                corpus, split, limited_refiner, seed=seed, where=where, progress=lambda *p: tell("multicnn", *p)
            )
            networks["multicnn"], seconds["multicnn"], best["multicnn"] = made.net, made.seconds, made.best
        scores = score_rows(Tested(corpus, split, encoder, refiner.m, refiner.pool, seed, networks, predicted))
    seconds["all"] = time.perf_counter() - start
    return FoldResult(fold.repeat, fold.number, scores, precision, verification, best, seconds)


def _limit(own: float, allowed: float) -> dict[str, float]:
    """Tighter of two limits in minutes, of which 0 is none."""
    return {"minutes": min((v for v in (own, allowed) if v > 0), default=0.0)}


def save_fold(path: Path, result: FoldResult, recipe: Recipe) -> None:
    """Write the figures of one fold, whole or not at all."""
    attrs: dict[str, Any] = {
        "repeat": result.repeat,
        "fold": result.number,
        "measures": list(METRICS),
        "precision": result.precision,
        "verification": result.verification,
        "best": result.best,
        "seconds": result.seconds,
    }
    store.save(path, "gazepipe.fold", result.scores.arrays(), recipe=recipe, attrs=attrs)


def load_fold(path: Path) -> FoldResult:
    """Read what `save_fold` wrote.

    Raises
    ------
    NothingToDoError
        If there is no such file.
    StoreError
        If it is damaged or of another version.
    """
    contents = store.load(path, "gazepipe.fold")
    a: Mapping[str, Any] = contents.attrs
    parts = (json.loads(a[name]) for name in ("precision", "verification", "best", "seconds"))
    return FoldResult(a["repeat"], a["fold"], from_arrays(contents), *parts)
