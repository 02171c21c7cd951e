"""The stages as a graph of nodes, stage × shard, that Snakemake runs on one machine or a cluster.

Each node is a gazepipe command that does only what is not up to date. The engine brings order, jobs, resources, logs
and resumption; everything it needs lies in the folder `dag` of the store, or beside a sealed one, which can be deleted
at any time: all nodes then start again and find everything up to date.
"""

from __future__ import annotations

import os
from pathlib import Path

from gazepipe.sealing import is_to_be_whole
from gazepipe.study import Study

__all__ = ["FOLDER", "folder_of", "manifest_from", "node_names"]

#: Folder of the store, or end of the name of the one beside it, that belongs to the engine.
FOLDER = "dag"


def folder_of(study: Study) -> Path:
    """Folder with what nodes depend on (`inputs`), what they have done (`done`) and their logs (`log`).

    The engine reads and writes plain files that name recordings: of a store that is sealed with its texts the folder is
    beside it, and hidden, so that nobody takes it for recordings.
    """
    root = study.store.resolve()
    return root.with_name(f".{root.name}-{FOLDER}") if is_to_be_whole(root) else root / FOLDER


def manifest_from(study: Study) -> str:
    """Where the store's manifests are, from the engine's folder: nodes whose files have another path start again."""
    return os.path.relpath(study.store.resolve() / "manifest", folder_of(study))


def node_names(study: Study, shards: int, images: int) -> list[str]:
    """Nodes of a study in an order in which they can run."""
    cut = ["build-psm"] if study.manifest("import") else ["ingest", "build-psm"]
    names: list[str] = []
    for stage in cut:
        if shards > 1:
            names += [f"{stage}-{k}-of-{shards}" for k in range(1, shards + 1)]
        names.append(stage)
    return [*names, "train", "enrol", *(["predict"] if images else []), "evaluate"]
