"""Stage 6: how well users are told apart, and how well their maps are predicted, on test users and test images.

Universal maps at test time: *GT-USM* is the paper's, the mean over all users, the tested one included; *GT-USM without
the user* leaves that user out, which is what a lab has when a new person comes in. Precision at one is reported in
the paper's protocol and in the disjoint one (see `gazepipe.identification`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import compute, store
from gazepipe.baselines import multicnn_maps
from gazepipe.build import corpus_digest, load_corpus
from gazepipe.config import StudyConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError
from gazepipe.identification import Tables, d_prime, draw, equal_error_rate, precision_at_one, tables_of
from gazepipe.metrics import METRICS, score
from gazepipe.models import Model, load_model, load_refiner
from gazepipe.predict import predict_maps
from gazepipe.profiling import profiled, profiles_of
from gazepipe.recipe import Recipe
from gazepipe.study import Study
from gazepipe.train import settings, split_from
from gazepipe.training import Encoder, embedding_pools

__all__ = ["Evaluation", "evaluate"]

VERSION = 3
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: Universal maps, and what the rows of the table are called that start from them.
SOURCES = {"mean": "GT-USM", "leave_one_out": "GT-USM without the user", "predicted": "predicted USM"}
#: How a row's map comes from the universal one: as it is, the paper's sum, ours.
KINDS = {None: "{}", "add": "USM + Δ on {}", "gated": "gated Δ on {}"}
#: The baseline, in the paper's sum and in ours.
MULTICNN = {
    "closed": {"add": "MultiCNN on {}", "gated": "MultiCNN, gated, on {}"},
    "open": {"add": "MultiCNN oracle on {}", "gated": "MultiCNN oracle, gated, on {}"},
}


@dataclass(slots=True)
class Evaluation:
    """Figures of one evaluation.

    Parameters
    ----------
    maps
        Row name → measure → mean over test users × test images.
    per_user
        Row name → measure → mean of each test user.
    precision
        Protocol → m → mean and standard deviation of precision at one over repetitions.
    verification
        m → equal error rate and d′ in the disjoint protocol.
    facts
        Split, sizes, chance level, what was trained.
    """

    maps: dict[str, dict[str, float]] = field(default_factory=dict)
    per_user: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    precision: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    verification: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Tables for people."""
        f = self.facts
        lines = [
            f"# Evaluation of {f['study']}",
            "",
            f"{f['protocol'].capitalize()} set: {f['users_test']} test users, {f['images_test']} test images, "
            f"{f['n_maps']} maps of {f['map_size'][1]} × {f['map_size'][0]}. Trained on {f['users_train']} users and "
            f"{f['images_train']} images; split seed {f['split_seed']}, training seed {f['seed']}.",
            "",
            "| map | " + " | ".join(f"{m} {'↑' if up else '↓'}" for m, up in METRICS.items()) + " |",
            "| --- |" + " ---: |" * len(METRICS),
        ]
        for row, values in self.maps.items():
            lines.append(f"| {row} | " + " | ".join(f"{values[m]:.3f}" for m in METRICS) + " |")
        lines += [
            "",
            f"Precision at one (chance {f['chance']:.3f}), {f['embeddings_per_user']} embeddings per user, mean over "
            f"{f['repetitions']} draws:",
            "",
            "| protocol | " + " | ".join(f"m = {m}" for m in f["m"]) + " |",
            "| --- |" + " ---: |" * len(f["m"]),
        ]
        for protocol, by_m in self.precision.items():
            cells = [f"{by_m[str(m)]['mean']:.3f}" if str(m) in by_m else "too few images" for m in f["m"]]
            lines.append(f"| {protocol} | " + " | ".join(cells) + " |")
        if self.verification:
            lines += [
                "",
                "| disjoint | " + " | ".join(f"m = {m}" for m in f["m"]) + " |",
                "| --- |" + " ---: |" * len(f["m"]),
            ]
            for key, label in (("eer", "equal error rate"), ("d_prime", "d′")):
                cells = [f"{self.verification[str(m)][key]:.3f}" if str(m) in self.verification else "" for m in f["m"]]
                lines.append(f"| {label} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def evaluate(
    study: Study,
    *,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    show: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Evaluate the trained networks; writes `evaluation.json` and `evaluation.md` into the store.

    Raises
    ------
    NothingToDoError
        If nothing is trained.
    ConfigError
        If there are no test users or images.
    """
    where = compute.device(device)
    compute.use_threads(threads)
    embedding = load_model(study, "embedding", where)
    refiner = load_refiner(study, embedding.info["recipe"], where)
    universal = load_model(study, "universal", where) if study.model_file("universal").is_file() else None
    profile = load_model(study, "profile") if study.model_file("profile").is_file() else None
    config = settings(study)
    wanted = config.refiner.multicnn and study.model_file("multicnn").is_file()
    multicnn = load_model(study, "multicnn", where) if wanted else None
    recipe = _recipe(study, config, [m for m in (embedding, refiner, profile, multicnn, universal) if m])
    path = study.store / "evaluation.json"
    kept = None if force else _stored(path, recipe)
    if kept is not None:
        return kept
    corpus = load_corpus(study)
    split = split_from(corpus, embedding.info)
    if not split.users_test or not split.images_test:
        found = f"{len(split.users_test)} test users and {len(split.images_test)} test images"
        msg = f"[split] leaves {found}; there is nothing to evaluate on."
        raise ConfigError(msg)
    tell = show or (lambda *_: None)
    result = Evaluation(facts=_facts(config, corpus, split))
    encoder = Encoder(embedding.net, corpus, split.users_train)
    _identify(result, encoder, split, config)
    tell(1, 2, "identification")
    rows = _score_maps(result, corpus, split, encoder, refiner, profile, multicnn, universal, config)
    tell(2, 2, "maps")
    result.facts["n_maps"] = rows
    content = {"recipe": recipe.digest, **{k: getattr(result, k) for k in Evaluation.__slots__}}
    with store.lock(study.store):
        store.write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
        store.write_atomically(study.store / "evaluation.md", result.markdown().encode())
    return result


def _stored(path: Path, recipe: Recipe) -> Evaluation | None:
    """Return the evaluation in the store if it is whole and of this recipe."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        current = kept["recipe"] == recipe.digest and path.with_suffix(".md").is_file()
        return Evaluation(**{k: kept[k] for k in Evaluation.__slots__}) if current else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _recipe(study: Study, config: StudyConfig, models: list[Model]) -> Recipe:
    users = [u for u, r in study.manifest("build-psm").get("users", {}).items() if not r["enrolled"]]
    inputs = {m.info["network"]: m.info["recipe"] for m in models} | {"corpus": corpus_digest(study, sorted(users))}
    params = {"evaluation": config.evaluation.model_dump(mode="json"), "m": config.refiner.m}
    return Recipe("evaluate", VERSION, params, inputs)


def _facts(config: StudyConfig, corpus: Corpus, split: Split) -> dict[str, Any]:
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


def _identify(result: Evaluation, encoder: Encoder, split: Split, config: StudyConfig) -> None:
    """Precision at one, equal error rate and d′ of test users from test images alone."""
    images = np.array(split.images_test)
    features: Sequence[F32] | Tables = [encoder.table(u, images) for u in split.users_test]
    if encoder.net.registration:
        # The gallery's maps are moved by what the gallery's images tell, the probes' by what the probes' tell.
        def features(chosen: I64) -> list[F32]:
            return [encoder.table(u, images[chosen]) for u in split.users_test]

    options = {"per_user": config.evaluation.embeddings_per_user, "repetitions": config.evaluation.repetitions}
    for protocol in ("paper", "disjoint"):
        result.precision[protocol] = {}
        for m in config.evaluation.m:
            rng = np.random.default_rng([config.seed, 0xF1, m])
            values = precision_at_one(features, m, protocol=protocol, n_images=len(images), rng=rng, **options)
            if len(values):
                row = {"mean": float(values.mean()), "sd": float(values.std())}
                result.precision[protocol][str(m)] = row
    for m in config.evaluation.m:
        same, different = _cosines(features, len(images), m, config)
        if same.size and different.size:
            row = {"eer": equal_error_rate(same, different), "d_prime": d_prime(same, different)}
            result.verification[str(m)] = row


def _cosines(
    features: Sequence[F32] | Tables, n_images: int, m: int, config: StudyConfig
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Cosines of disjoint embeddings, same user and different users.

    Each pair of embeddings comes from halves of its own; where features must be made anew for each half, as many
    pairs as there are embeddings of a user come from the same halves.
    """
    rng = np.random.default_rng([config.seed, 0xF2, m])
    same, different = [], []
    repetitions, per_user = config.evaluation.repetitions, config.evaluation.embeddings_per_user
    halvings, draws = (repetitions, per_user) if callable(features) else (repetitions * per_user, 1)
    for _ in range(halvings):
        half = np.zeros(n_images, bool)
        half[rng.permutation(n_images)[: n_images // 2]] = True
        sides = [tables_of(features, np.flatnonzero(side)) for side in (half, ~half)]
        if min(len(t) for side in sides for t in side) < m:
            break
        own = np.eye(len(sides[0]), dtype=bool)
        for _ in range(draws):
            a, b = (np.concatenate([draw(t, m, 1, rng) for t in side]) for side in sides)
            cosines = a @ b.T
            same.append(cosines[own])
            different.append(cosines[~own])
    empty = np.zeros(0)
    return (np.concatenate(same), np.concatenate(different)) if same else (empty, empty)


def _score_maps(
    result: Evaluation,
    corpus: Corpus,
    split: Split,
    encoder: Encoder,
    refiner: Model,
    profile: Model | None,
    multicnn: Model | None,
    universal: Model | None,
    config: StudyConfig,
) -> int:
    """Score every row of the table on test users × test images; embeddings are drawn from each user's pool.

    The pools come from images of the training part, so that no tested pair takes part in its own prediction.
    """
    images = np.array(split.images_test)
    pools = embedding_pools(
        encoder, split.users_test, split.images_train, m=config.refiner.m, pool=config.refiner.pool, seed=config.seed
    )
    rng = np.random.default_rng([config.seed, 0xF3])
    everybody = range(len(corpus.users))
    mean, _ = corpus.usm(everybody)
    predicted = _predicted(universal, corpus, images)
    table: dict[str, dict[int, npt.NDArray[np.float64]]] = {}
    profiles = {} if profile is None else _profiles(profile, corpus, split, config)
    for user in split.users_test:
        seen = images[corpus.index[user, images] >= 0]
        if not len(seen):
            continue
        rows = corpus.index[user, seen]
        truth = corpus.maps[rows].astype(np.float32)
        cells, start = corpus.fixations_of(rows)
        width = corpus.size[1]
        rgb = None if corpus.images is None else corpus.images[seen]
        embedding = pools[user][rng.integers(len(pools[user]), size=len(seen))]
        maps = {
            "mean": mean[seen],
            "leave_one_out": corpus.usm_without(everybody, user, seen),
            "predicted": predicted[np.searchsorted(images, seen)] if predicted is not None else None,
        }
        for source, label in SOURCES.items():
            usm = maps[source]
            if usm is None or not np.isfinite(usm).all():
                continue
            for kind, row in KINDS.items():
                shown = usm if kind is None else predict_maps(refiner.net, embedding, rgb, usm, combine=kind)
                values = score(shown, truth, cells // width, cells % width, start)
                table.setdefault(row.format(label), {})[user] = values
            if multicnn is not None:
                for kind, row in MULTICNN[config.split.protocol].items():
                    shown = multicnn_maps(multicnn.net, corpus, split, user, seen, usm, combine=kind)
                    values = score(shown, truth, cells // width, cells % width, start)
                    table.setdefault(row.format(label), {})[user] = values
            if profiles:
                shown = profiled(usm, profiles[source][user])
                values = score(shown, truth, cells // width, cells % width, start)
                table.setdefault(f"profile on {label}", {})[user] = values
    for name, parts in table.items():
        together = np.concatenate(list(parts.values()))
        result.maps[name] = dict(zip(METRICS, np.nanmean(together, 0).tolist(), strict=True))
        result.per_user[name] = {
            corpus.users[u]: dict(zip(METRICS, np.nanmean(part, 0).tolist(), strict=True)) for u, part in parts.items()
        }
    return max((sum(map(len, parts.values())) for parts in table.values()), default=0)


def _profiles(profile: Model, corpus: Corpus, split: Split, config: StudyConfig) -> dict[str, dict[int, torch.Tensor]]:
    """Profiles of test users from m of their pairs on training images; universal maps there are over known users."""
    known = sorted({*split.users_train, *split.users_validation})
    images = np.array(split.images_train)
    rng = np.random.default_rng([config.seed, 0xF4])
    few = [rng.permutation(images[corpus.index[u, images] >= 0])[: config.refiner.m] for u in split.users_test]
    fitted = {
        source: dict(
            zip(split.users_test, profiles_of(profile.net, source, corpus, split.users_test, few, known), strict=True)
        )
        for source in ("mean", "leave_one_out")
    }
    # A predicted universal map has nobody's own map in it.
    return {**fitted, "predicted": fitted["leave_one_out"]}


@torch.inference_mode()
def _predicted(universal: Model | None, corpus: Corpus, images: I64) -> F32 | None:
    if universal is None or corpus.images is None:
        return None
    where = next(universal.net.parameters()).device
    parts = [
        universal.net.predict(torch.from_numpy(corpus.images[images[a : a + 32]]).to(where), corpus.size)
        .float()
        .cpu()
        .numpy()
        for a in range(0, len(images), 32)
    ]
    return np.concatenate(parts)
