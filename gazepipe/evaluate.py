"""Stage 6: how well users are told apart, and how well their maps are predicted, on test users and test images.

Universal maps at test time: *GT-USM* is the paper's, the mean over all users, the tested one included; *GT-USM without
the user* leaves that user out, which is what a lab has when a new person comes in. Precision at one is reported in
the paper's protocol and in the disjoint one (see `gazepipe.identification`).

The rows of the tables are in `gazepipe.evaluation.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gazepipe import compute, store
from gazepipe.atomic import write_atomically
from gazepipe.config import StudyConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.documents import write_json, write_listed
from gazepipe.errors import ConfigError, NothingToDoError, StoreError
from gazepipe.evaluation.identify import identify
from gazepipe.evaluation.report import Evaluation, identification_facts, table_files
from gazepipe.evaluation.rows import Tested
from gazepipe.evaluation.scores import load_scores, save_scores, score_rows
from gazepipe.models import Model, load_model, load_refiner
from gazepipe.outside import note_outside
from gazepipe.recipe import Recipe
from gazepipe.sealing import refuse_in_the_clear
from gazepipe.stage_plan import StagePlan
from gazepipe.stored_corpus import corpus_digest, load_corpus
from gazepipe.study import Study
from gazepipe.train import settings, split_from
from gazepipe.training import Encoder
from gazepipe.universal_maps import other_digests, other_maps, predict_stimuli
from gazepipe.words import counted

__all__ = ["Evaluation", "draw_figures", "evaluate", "plan_evaluation", "write_tables"]

VERSION = 4


def evaluate(
    study: Study,
    *,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    show: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Evaluate the trained networks; writes `evaluation.json`, `evaluation.md` and `evaluation.h5` into the store.

    Parameters
    ----------
    study
        With trained networks; its test users and images had no part in them.
    device, threads
        Of the networks, see `gazepipe.compute`.
    force
        Evaluate again, whatever is up to date.
    show
        Called with steps done, all steps, and what to show.

    Returns
    -------
    Evaluation
        Means of the measures for each row of maps, precision at one and verification; without unit but for NSS, which
        is in standard deviations of the map.

    Raises
    ------
    NothingToDoError
        If nothing is trained.
    ConfigError
        If there are no test users or images.

    Examples
    --------
    >>> from gazepipe import Study
    >>> from gazepipe.evaluate import evaluate
    >>> evaluate(Study.open(".")).maps["gated Δ on GT-USM"]["CC"]  # doctest: +SKIP
    0.623
    """
    where = compute.device(device)
    compute.use_threads(threads)
    config = settings(study)
    models = _models(study, config, where)
    recipe = _recipe(study, config, list(models.values()))
    path = study.store / "evaluation.json"
    kept = None if force else _stored(study, recipe)
    if kept is not None:
        return kept
    tested = _tested(study, config, models, where)
    corpus, split = tested.corpus, tested.split
    tell = show or (lambda *_: None)
    result = Evaluation(facts=facts(config, corpus, split))
    found = identify(tested.encoder, split, config.evaluation, seed=config.seed)
    result.precision, result.verification = identification_facts(found, [corpus.users[u] for u in split.users_test])
    steps = 1 + len(split.users_test)
    tell(1, steps, "identification")
    scores = score_rows(tested, show=lambda done, _, user: tell(1 + done, steps, f"maps of {user}"))
    result.maps, result.per_user = scores.means(), scores.per_user()
    result.facts["n_maps"] = len(scores.user)
    tell(steps, steps, "maps")
    content = {"recipe": recipe.digest, **result.content()}
    with store.lock(study.store):
        save_scores(path.with_suffix(".h5"), scores, recipe)
        write_json(path, content)
        write_listed(study.store, {path.with_suffix(".md"): result.markdown().encode()})
    return result


def plan_evaluation(study: Study, *, device: str = "auto", force: bool = False) -> StagePlan:
    """Find out what `evaluate` would do; weights are read, nothing is computed or written.

    Raises
    ------
    NothingToDoError
        If nothing is trained.
    ConfigError
        If there are no test users or images.
    """
    found, config = StagePlan("evaluate"), settings(study)
    models = _models(study, config, compute.device(device))
    embedding = models["embedding"].info
    path = study.store / "evaluation.json"
    current = not force and _stored(study, _recipe(study, config, list(models.values()))) is not None
    if not current:
        _split_to_test(load_corpus(study), embedding)
    tested = (
        f"{counted(len(embedding['users_test']), 'test user')}, {counted(len(embedding['images_test']), 'test image')}"
    )
    why = "--force" if force else "networks, maps or settings changed" if path.is_file() else tested
    for suffix in (".json", ".h5", ".md"):
        found.make(path.with_suffix(suffix).name, current, why)
    return found


def write_tables(study: Study, evaluation: Evaluation, to: Path | None = None) -> list[Path]:
    """Write the paper's tables of an evaluation that is in the store; `tables/` there if `to` is None."""
    scores = load_scores(study.store / "evaluation.h5")
    files = {name: text.encode() for name, text in table_files(evaluation, scores).items()}
    return _written(study, to, "tables", files, map(str, scores.user))


def draw_figures(
    study: Study, evaluation: Evaluation, *, to: Path | None = None, device: str = "auto", threads: int | None = None
) -> list[Path]:
    """Draw the paper's Figures 4, 5 and 6 of an evaluation that is in the store; `figures/` there if `to` is None.

    Raises
    ------
    ConfigError
        If matplotlib is missing, or the figures would lie in a sealed store.
    """
    from gazepipe.evaluation.figures import figure_files

    refuse_in_the_clear(study.store, to, "figures show people's maps")
    where = compute.device(device)
    compute.use_threads(threads)
    config = settings(study)
    tested = _tested(study, config, _models(study, config, where), where)
    files = figure_files(tested, evaluation, load_scores(study.store / "evaluation.h5"))
    return _written(study, to, "figures", files, tested.corpus.users)


def _written(study: Study, to: Path | None, name: str, files: Mapping[str, bytes], users: Iterable[str]) -> list[Path]:
    """Write files into a folder, or into one of the store, which then lists their digests."""
    paths = {(to or study.store / name) / file: data for file, data in files.items()}
    if to is None:
        with store.lock(study.store):
            write_listed(study.store, paths)
    else:
        note_outside(study, name, to, users)
        for path, data in paths.items():
            write_atomically(path, data)
    return list(paths)


def facts(config: StudyConfig, corpus: Corpus, split: Split) -> dict[str, Any]:
    """What an evaluation is of: sizes, seeds, chance level."""
    return {
        "study": config.name,
        "protocol": config.split.protocol,
        "users_train": len(split.users_train),
        "users_test": len(split.users_test),
        "images_train": len(split.images_train),
        "images_test": len(split.images_test),
        "map_size": list(corpus.size),
        "chance": 1 / len(split.users_test),
        "m": list(config.evaluation.m),
        "embeddings_per_user": config.evaluation.embeddings_per_user,
        "repetitions": config.evaluation.repetitions,
        "seed": config.seed,
        "split_seed": config.split.seed,
    }


def _split_to_test(corpus: Corpus, info: dict[str, Any]) -> Split:
    """The split of a network, which must leave somebody and something to test on."""
    split = split_from(corpus, info)
    if not split.users_test or not split.images_test:
        found = f"{counted(len(split.users_test), 'test user')} and {counted(len(split.images_test), 'test image')}"
        msg = f"[split] leaves {found}; there is nothing to evaluate on."
        raise ConfigError(msg)
    return split


def _models(study: Study, config: StudyConfig, where: torch.device) -> dict[str, Model]:
    embedding = load_model(study, "embedding", where)
    models = {"embedding": embedding, "refiner": load_refiner(study, embedding.info["recipe"], where)}
    if study.model_file("profile").is_file():
        models["profile"] = load_model(study, "profile")
    if config.refiner.multicnn and study.model_file("multicnn").is_file():
        models["multicnn"] = load_model(study, "multicnn", where)
    if study.model_file("universal").is_file():
        models["universal"] = load_model(study, "universal", where)
    return models


def _tested(study: Study, config: StudyConfig, models: dict[str, Model], where: torch.device) -> Tested:
    corpus = load_corpus(study)
    embedding = models["embedding"]
    split = _split_to_test(corpus, embedding.info)
    encoder = Encoder(embedding.net, corpus, split.users_train)
    networks = {name: model.net for name, model in models.items() if name != "embedding"}
    images = np.array(split.images_test)
    predicted = other_maps(study, corpus, split, images, where)
    universal = networks.get("universal")
    if universal is not None and (maps := predict_stimuli(universal, study, corpus, images)) is not None:
        predicted["predicted"] = maps
    return Tested(corpus, split, encoder, config.refiner.m, config.refiner.pool, config.seed, networks, predicted)


def _stored(study: Study, recipe: Recipe) -> Evaluation | None:
    """Return the evaluation in the store if it is whole and of this recipe."""
    scores = study.store / "evaluation.h5"
    try:
        kept = study.evaluation()
        current = kept["recipe"] == recipe.digest and scores.with_suffix(".md").is_file()
        load_scores(scores)
        current = current and store.recipe_of(scores) == recipe.digest
        return Evaluation(**{k: kept[k] for k in Evaluation.__slots__}) if current else None
    except (OSError, ValueError, KeyError, TypeError, NothingToDoError, StoreError):
        return None


def _recipe(study: Study, config: StudyConfig, models: list[Model]) -> Recipe:
    users = [u for u, r in study.manifest("build-psm").get("users", {}).items() if not r["enrolled"]]
    inputs = {m.info["network"]: m.info["recipe"] for m in models} | {"corpus": corpus_digest(study, sorted(users))}
    params = {"evaluation": config.evaluation.model_dump(mode="json"), "m": config.refiner.m}
    params |= {"universal": other_digests(study)}
    return Recipe("evaluate", VERSION, params, inputs)
