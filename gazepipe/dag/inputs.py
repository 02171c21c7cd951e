"""What each node depends on, as a small file that changes exactly when that does.

The engine starts a node again when its file is another one, or a node before it ran. Files are known by size and time
of change; whether their content is another one, the node itself finds out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gazepipe import build, descriptors, enrol, evaluate, ingest, predicted, profile, train
from gazepipe.backbone import installed_weights
from gazepipe.dag import folder_of, node_names
from gazepipe.discovery import plan, sort_out
from gazepipe.documents import read_json, write_json
from gazepipe.errors import StoreError
from gazepipe.shards import Shard
from gazepipe.study import Study

__all__ = ["note_left", "start_again", "write_inputs"]

Signature = dict[str, list[int]]


def write_inputs(study: Study, shards: int, images: int, folder: Path | None = None) -> None:
    """Write what each node depends on now; files that would stay the same are not touched.

    They lie in the engine's `folder`; in the study's own if None.

    Raises
    ------
    NothingToDoError
        If there are no recordings.
    """
    contents = {"build-psm": _build(study), "train": _train(study), "enrol": {"version": enrol.VERSION}}
    contents["predict"] = {"version": predicted.VERSION, **_sections(study, "refiner", "universal"), "images": images}
    contents["predict"] |= _predictors(study)
    contents["evaluate"] = {"version": evaluate.VERSION, **_sections(study, "evaluation", "refiner", "universal")}
    contents["evaluate"] |= _predictors(study)
    if not study.manifest("import"):
        contents |= _ingest(study, shards)
    for node in node_names(study, shards, images):
        content = contents.get(node, contents["build-psm"])
        path = (folder or folder_of(study)) / "inputs" / f"{node}.json"
        if _read(path) != content:
            write_json(path, content)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path, "")
    except (FileNotFoundError, StoreError):
        return None


def _sections(study: Study, *names: str) -> dict[str, Any]:
    content: dict[str, Any] = study.config.model_dump(mode="json", include={"seed", "split", *names})
    return content


def _ingest(study: Study, shards: int) -> dict[str, dict[str, Any]]:
    planned, failures = plan(study)
    todo, clashes, _ = sort_out(study, planned, [])
    files = _tree(study.recordings, (study.store, study.stimuli))
    common: dict[str, Any] = {"made_of": ingest.parts_made_of(study)}
    trials = study.root / study.config.trials.file
    if study.config.trials.file and trials.is_file():
        common["trials"] = _stat(trials)
    own = {job.recording: _of_source(study.recordings, job.source, files) for job in todo}
    taken = {name for names in own.values() for name in names}
    # Any of the others may be a companion of a recording, or its trials.
    common["others"] = {name: s for name, s in files.items() if name not in taken}
    contents = {}
    for shard in (Shard(k, shards) for k in range(1, shards + 1)):
        sources = {job.recording: {n: files[n] for n in own[job.recording]} for job in shard.of(todo)}
        contents[shard.name("ingest")] = {**common, "sources": sources}
    everything: dict[str, Any] = {"problems": [f.message for f in failures + clashes]}
    everything |= contents["ingest-1-of-1"] if shards == 1 else common | {"sources": sorted(own)}
    return contents | {"ingest": everything}


def _of_source(root: Path, source: Path, files: Signature) -> list[str]:
    """Files of a recording: itself, those in its folder, or the archive it is in."""
    name = Path(os.path.relpath(source, root)).as_posix()
    if name in files:
        return [name]
    if source.is_dir():
        return [n for n in files if name == "." or n.startswith(name + "/")]
    return [n for n in files if name.startswith(n + "/")]


def _build(study: Study) -> dict[str, Any]:
    rows = {k: v["recipe"] for k, v in study.known_recordings().items() if v["origin"] != "ingest"}
    sections = study.config.model_dump(mode="json", include=set(build.GEOMETRY))
    return {"version": build.VERSION, **sections, "images": _tree(study.stimuli), "recordings": rows}


def _train(study: Study) -> dict[str, Any]:
    found = {"version": train.VERSION, "profile": profile.VERSION, "descriptors": descriptors.VERSION}
    found |= _sections(study, "embedding", "refiner", "universal")
    return found | {"backbone": installed_weights() is not None, **_predictors(study)}


def _predictors(study: Study) -> dict[str, Any]:
    config = study.config.universal
    found: dict[str, Any] = {}
    if config.weights:
        found["weights"] = _stat(study.root / config.weights)
    if config.maps:
        found["maps"] = _tree(study.root / config.maps)
    return found


def _stat(path: Path) -> list[int]:
    try:
        state = path.stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns]


def _tree(root: Path, skipped: Iterable[Path] = ()) -> Signature:
    """Size and time of change of all files below a folder that are not hidden."""
    return {path.relative_to(root).as_posix(): _stat(path) for path in sorted(_below(root, skipped))}


def _below(root: Path, skipped: Iterable[Path]) -> Iterator[Path]:
    not_there = {p.resolve() for p in skipped}
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [d for d in folders if not d.startswith(".") and (here / d).resolve() not in not_there]
        yield from (here / name for name in names if not name.startswith("."))


# ---- what stages left ------------------------------------------------------------------------------------------------


def _left(study: Study) -> dict[str, Signature]:
    """Stage → size and time of the files that it is answerable for."""
    built = study.manifest("build-psm").get("users", {})
    models = study.store / "models"
    files = {
        "ingest": [study.recording_file(name) for name in study.known_recordings()],
        "build-psm": [study.usm_file, study.stimuli_file, *(study.psm_file(user) for user in built)],
        "train": sorted(p for p in models.glob("*") if p.suffix in (".safetensors", ".json")),
        "enrol": [study.gallery_file],
        "predict": sorted(study.predictions.rglob("*.npy")),
        "evaluate": [study.store / f"evaluation.{suffix}" for suffix in ("h5", "json", "md")],
    }
    for stage in ("ingest", "build-psm", "train"):
        files[stage].append(study.manifest_file(stage))
    return {stage: {p.relative_to(study.store).as_posix(): _stat(p) for p in paths} for stage, paths in files.items()}


def note_left(study: Study) -> None:
    """Keep what the stages left, for `start_again`."""
    write_json(folder_of(study) / "left.json", _left(study))


def start_again(study: Study, folder: Path) -> None:
    """Let nodes start again whose files have since been changed, lost or replaced by something else than the engine.

    With them go all nodes after them: the engine does not miss a node's record while the ones after it are there.
    """
    kept, now = _read(folder / "left.json") or {}, _left(study)
    stages = list(now)  # in order; nothing comes after the last two
    for at, stage in enumerate(stages):
        if kept.get(stage) == now[stage]:
            continue
        for other in stages[at:] if stage not in ("predict", "evaluate") else [stage]:
            for path in (folder / "done").glob(f"{other}*.json"):
                path.unlink(missing_ok=True)
