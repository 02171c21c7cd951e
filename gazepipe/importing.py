"""Published data sets → stored recordings, one a user, so that every later stage is the same.

Data sets of fixations become recordings without samples. Data sets of raw gaze get a configuration and go through
`gazepipe.ingest` like a lab's own files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazepipe import audit, store
from gazepipe.atomic import write_atomically
from gazepipe.config import CONFIG_NAME, template
from gazepipe.errors import ConfigError
from gazepipe.recipe import Recipe, digest_json
from gazepipe.sealing import is_to_be_whole
from gazepipe.stage_plan import StagePlan
from gazepipe.study import Study
from gazepipe.subjects import forgotten
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.datasets import FixationDataset
    from gazepipe.ingest import IngestReport

__all__ = ["VERSION", "import_dataset", "import_fixations", "import_recordings", "plan_import"]

#: Raised whenever the stored result changes for the same input.
VERSION = 1


def import_dataset(
    name: str, path: Path, study_folder: Path, *, show: Callable[[int, int, str], None] | None = None, **options: Any
) -> tuple[Study, list[str]]:
    """Import a data set into a study folder; writes its `gazepipe.toml` unless there is one.

    Parameters
    ----------
    name
        ``"osie"``, ``"ps"`` or ``"crowd"``.
    path
        The data set's folder.
    study_folder
        Where the study is, or is to be.
    options
        Passed on to the data set's loader (``images`` for PS).

    Returns
    -------
    tuple
        The study, and one sentence for everything the loader left out or decided.

    Raises
    ------
    RecordingError
        If the data set is not there or is damaged.
    """
    from gazepipe.datasets import load_dataset

    return import_fixations(load_dataset(name, path, **options), path, study_folder, show=show)


def import_fixations(
    dataset: FixationDataset,
    path: Path,
    study_folder: Path,
    *,
    show: Callable[[int, int, str], None] | None = None,
) -> tuple[Study, list[str]]:
    """Import a data set that is in memory, from wherever; otherwise as `import_dataset`.

    Parameters
    ----------
    dataset
        Fixations of many users on many images.
    path
        Where it came from, for the manifest.
    study_folder
        Where the study is, or is to be.
    """
    name = dataset.name
    config = study_folder / "gazepipe.toml"
    if not config.exists():
        folders = {str(p.parent) for p in dataset.image_paths.values()}
        stimuli = str(Path(next(iter(folders))).resolve()) if len(folders) == 1 else "stimuli"
        overrides: dict[str, Any] = {"name": name, "stimuli": stimuli}
        if not dataset.image_paths:
            overrides["embedding"] = {"inputs": "psm"}
        write_atomically(config, template(**overrides).encode())
    study = Study.open(study_folder)
    with store.lock(study.store):
        _check_free(study)
        rows: dict[str, dict[str, Any]] = {}
        users = sorted(map(str, dataset.fixations["user"].unique()))
        gone, written = forgotten(study, users), 0
        for done, (user, arrays, recipe) in enumerate(_recordings(dataset), 1):
            if user in gone:
                continue
            file = study.recording_file(user)
            if store.recipe_of(file) != recipe.digest:
                attrs = {
                    "user": user,
                    "session": "",
                    "origin": "import",
                    "source": name,
                    "format": f"dataset-{name}",
                    "coordinates": "stimulus",
                    "pixels_per_degree": dataset.pixels_per_degree,
                    "quality": {},
                    "meta": {},
                    "warnings": [],
                }
                store.save(file, "gazepipe.recording", arrays, recipe=recipe, attrs=attrs)
                written += 1
            rows[user] = {
                "user": user,
                "session": "",
                "origin": "import",
                "source": str(path),
                "recipe": recipe.digest,
            }
            if show:
                show(done, len(users), user)
        study.write_manifest(
            "import", {"dataset": name, "recordings": rows, "notes": json.loads(json.dumps(dataset.notes))}
        )
        if written:
            # The log is plain, and what people were shown is not to be told by a sealed store.
            named = {} if is_to_be_whole(study.store) else {"dataset": name}
            audit.record(study, "import", **named, written=written)
    return study, list(dataset.notes)


def _check_free(study: Study) -> None:
    if study.manifest("ingest").get("recordings"):
        msg = f"{study.store}: holds ingested recordings; import a data set into a store of its own."
        raise ConfigError(msg)


def _recordings(dataset: FixationDataset) -> Iterator[tuple[str, dict[str, Any], Recipe]]:
    """User after user: their fixations as they are stored, and the recipe of that."""
    content = digest_json([dataset.pixels_per_degree, sorted(dataset.stimulus_px.items())])
    for user, table in dataset.fixations.groupby("user", sort=True):
        arrays = _arrays(table, dataset.stimulus_px)
        columns = [a.tobytes().hex() if a.dtype.kind != "O" else list(a) for a in arrays.values()]
        inputs = {"fixations": digest_json([content, columns])}
        yield str(user), arrays, Recipe("import", VERSION, {"dataset": dataset.name}, inputs)


def plan_import(name: str, path: Path, study_folder: Path, **options: Any) -> StagePlan:
    """Find out what `import_dataset` or `import_recordings` would do; the data set is read, nothing is written.

    Raises
    ------
    RecordingError
        If the data set is not there or is damaged.
    """
    from gazepipe.datasets import RAW_DATASETS, load_dataset, raw_settings

    found, config = StagePlan("import"), study_folder / CONFIG_NAME
    known = config.is_file()
    found.make(str(config), known)
    if name in RAW_DATASETS:
        from gazepipe.preview import plan_ingest

        values, found.notes = raw_settings(name, path)
        if known:
            found.steps += plan_ingest(Study.open(study_folder)).steps
        else:
            for recording in sorted(Path(values["recordings"]).glob(values["ingest"]["include"][0])):
                found.add(recording.name, "made")
        return found
    dataset = load_dataset(name, path, **options)
    found.notes = list(dataset.notes)
    study = Study.open(study_folder) if known else None
    if study is not None:
        _check_free(study)
    for user, arrays, recipe in _recordings(dataset):
        if study is not None and forgotten(study, [user]):
            found.add(f"user {user}", "impossible", "was forgotten, and is kept out")
            continue
        there = study is not None and store.recipe_of(study.recording_file(user)) == recipe.digest
        found.make(f"user {user}", there, counted(len(arrays["fixations/x_px"]), "fixation"))
    return found


def import_recordings(
    name: str,
    path: Path,
    study_folder: Path,
    *,
    jobs: int | None = None,
    show: Callable[[int, int, str], None] | None = None,
) -> tuple[Study, list[str], IngestReport]:
    """Write the `gazepipe.toml` of a data set of raw gaze, unless there is one, and ingest it.

    The recordings stay where they are. `gazepipe ingest` does the same again after a change to the configuration.

    Parameters
    ----------
    name
        ``"doves"``.
    path
        The data set's folder.
    study_folder
        Where the study is, or is to be.
    jobs
        Processes, as `gazepipe.ingest.ingest` has it.

    Raises
    ------
    RecordingError
        If the data set is not there.
    """
    from gazepipe.datasets import raw_settings
    from gazepipe.ingest import ingest

    values, notes = raw_settings(name, path)
    config = study_folder / "gazepipe.toml"
    if not config.exists():
        write_atomically(config, template(**values).encode())
    study = Study.open(study_folder)
    return study, notes, ingest(study, jobs=jobs, show=show)


def _arrays(table: Any, sizes: Any) -> dict[str, Any]:
    """One user's fixations as the columns of a stored recording."""
    trials = table[["stimulus", "repeat"]].drop_duplicates().reset_index(drop=True)
    keys = {key: row for row, key in enumerate(zip(trials["stimulus"], trials["repeat"], strict=True))}
    row = [keys[key] for key in zip(table["stimulus"], table["repeat"], strict=True)]
    size = np.array([sizes[s] for s in trials["stimulus"]], np.int64).reshape(-1, 2)
    nothing = np.full(len(table), np.nan)
    return {
        "trials/stimulus": trials["stimulus"].to_numpy(object),
        "trials/repeat": trials["repeat"].to_numpy(np.int64),
        "trials/image_width_px": size[:, 0],
        "trials/image_height_px": size[:, 1],
        "fixations/trial": np.array(row, np.int64),
        "fixations/onset_ms": nothing,
        "fixations/duration_ms": table["duration_ms"].to_numpy(np.float64),
        "fixations/x_px": table["x_px"].to_numpy(np.float64),
        "fixations/y_px": table["y_px"].to_numpy(np.float64),
        "fixations/at_onset": (table["index"] == 0).to_numpy(bool),
    }
