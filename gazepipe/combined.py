"""Other studies whose people the embedding learns from, too: the paper's CD, which is PS and ID together.

Their training users on their training images take part, as their own `[split]` says. Nobody and nothing that this
study validates or tests on does: an image or a user of the same name is left out of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gazepipe import descriptors, scanpath
from gazepipe.config import EmbeddingConfig
from gazepipe.corpus import Corpus, Others, Split, draw_split
from gazepipe.embedding import DESCRIBED
from gazepipe.errors import ConfigError
from gazepipe.stimuli import SUFFIXES
from gazepipe.stored_corpus import corpus_digest, load_corpus
from gazepipe.study import Study

__all__ = ["load_others", "others_digests", "settings_of", "unseen"]


def settings_of(section: EmbeddingConfig) -> dict[str, Any]:
    """The section as recipes have it: where other studies lie does not matter, and what they hold is an input."""
    settings = section.model_dump(mode="json", exclude={"studies"})
    if not section.recalibration_deg:
        del settings["recalibration_deg"]  # as before there was any
    if section.inputs in DESCRIBED:
        settings["descriptors"] = descriptors.VERSION
    if section.inputs.endswith("scanpath"):
        settings["scanpath"] = scanpath.VERSION
    return settings


def others_digests(study: Study, section: EmbeddingConfig) -> dict[str, str]:
    """What the other studies hold and how they are split, for recipes; empty without any."""
    found = {}
    for number, other in enumerate(_open(study, section)):
        built = other.manifest("build-psm").get("users", {})
        users = sorted(u for u, row in built.items() if not row["enrolled"])
        split = other.config.split
        found[f"study-{number}"] = f"{corpus_digest(other, users)} {split.model_dump_json()}"
    return found


def load_others(study: Study, section: EmbeddingConfig, corpus: Corpus) -> list[tuple[Corpus, Split]]:
    """Read the maps of the other studies.

    Parameters
    ----------
    study, section
        The study, and the settings that name the others.
    corpus
        The study's own maps.

    Raises
    ------
    ConfigError
        If one is this study, or its maps have another size, which networks cannot take.
    NothingToDoError
        If one has no maps.
    """
    found = []
    for other in _open(study, section):
        theirs = load_corpus(other)
        if theirs.size != corpus.size and section.inputs not in DESCRIBED:
            msg = (
                f"[embedding] studies: maps of {other.root} have {theirs.size[1]} × {theirs.size[0]} cells and those "
                f"of {study.root} {corpus.size[1]} × {corpus.size[0]}; set the same [psm] width and height, and run "
                "`gazepipe build-psm` again."
            )
            raise ConfigError(msg)
        found.append((theirs, draw_split(theirs, other.config.split)))
    return found


def unseen(others: Others, corpus: Corpus, split: Split) -> list[tuple[Corpus, Split]]:
    """The others without users and images by whose names somebody or something here is validated or tested.

    Known people stay in the closed protocol, where they are training users, too.
    """
    held = {*split.users_validation, *split.users_test} - set(split.users_train)
    users = {corpus.users[u] for u in held}
    images = {_plain(corpus.stimuli[i]) for i in (*split.images_validation, *split.images_test)}
    return [
        (
            theirs,
            replace(
                their_split,
                users_train=tuple(u for u in their_split.users_train if theirs.users[u] not in users),
                images_train=tuple(i for i in their_split.images_train if _plain(theirs.stimuli[i]) not in images),
            ),
        )
        for theirs, their_split in others
    ]


def _plain(stimulus: str) -> str:
    """An image's name without folder and suffix, since studies may name the same file differently."""
    path = Path(stimulus.lower())
    return path.stem if path.suffix in SUFFIXES else path.name


def _open(study: Study, section: EmbeddingConfig) -> Iterable[Study]:
    for folder in section.studies:
        other = Study.open(study.root / folder)
        if other.store.resolve() == study.store.resolve():
            msg = f"[embedding] studies: {folder!r} is this study itself; name others, or none."
            raise ConfigError(msg)
        yield other
