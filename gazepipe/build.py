"""Stage 2: fixations → personal and universal saliency maps.

One file of personal maps a user, made again only when one of the user's recordings, an image's size or a parameter
changed; one file of universal maps; one of the images at map size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gazepipe import store
from gazepipe.atomic import remove
from gazepipe.config import StudyConfig
from gazepipe.errors import GazepipeError, NothingToDoError, StimulusError
from gazepipe.image_fixations import all_on_images, on_images
from gazepipe.recipe import Recipe, digest_json
from gazepipe.saliency import personal_maps
from gazepipe.shards import WAIT_S, Shard, forget_parts, save_part
from gazepipe.stage_plan import StagePlan
from gazepipe.stimuli import StudyImages
from gazepipe.stored_corpus import stored_usm
from gazepipe.study import Failure, Study
from gazepipe.words import counted

__all__ = [
    "GEOMETRY",
    "VERSION",
    "BuildReport",
    "build_psm",
    "conclude",
    "maps_in_memory",
    "parts_made_of",
    "plan_build",
    "recordings_of_users",
]

#: Raised whenever the stored result changes for the same input.
VERSION = 1

#: Sections of the configuration that maps depend on, beside the recordings.
GEOMETRY = ("psm", "screen", "trials")

Show = Callable[[int, int, str], None]


@dataclass(slots=True)
class BuildReport:
    """What a run did: users written and up to date, what was left out."""

    written: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    n_maps: int = 0
    n_stimuli: int = 0


def build_psm(
    study: Study, *, force: bool = False, shard: Shard | None = None, show: Show | None = None
) -> BuildReport:
    """Build the maps of every user of the store.

    A map is the mean over repeats of blurred fixations, ``(H, W)``, see `gazepipe.saliency`; the universal map of an
    image is the mean of its personal ones (Strohm et al. 2024).

    Parameters
    ----------
    study
        With recordings in its store.
    force
        Build everything again, whatever is up to date.
    shard
        Only users of that part, which `gazepipe.gather` then puts into use together with the other parts.
    show
        Called with users done, all users, and a name.

    Returns
    -------
    BuildReport
        Users whose maps were written, are up to date or were removed, and what was left out.

    Raises
    ------
    NothingToDoError
        If the store has no recording.
    LockedError, StorageError
        If the store cannot be written.

    Examples
    --------
    >>> from gazepipe import Study
    >>> from gazepipe.build import build_psm
    >>> report = build_psm(Study.open("."))
    >>> report.n_maps, report.n_stimuli
    (12, 4)
    """
    report = BuildReport()
    if shard is not None:
        with store.lock(study.store, WAIT_S, part=shard.name("build-psm")):
            users = shard.of(sorted(recordings_of_users(study).items()))
            built = _build(study, dict(users), StudyImages(study), report, force=force, show=show)
            content = {"users": built, "written": report.written, "current": report.current}
            save_part(study, "build-psm", shard, parts_made_of(study), content, report.failures)
        return report
    with store.lock(study.store):
        images = StudyImages(study)
        built = _build(study, recordings_of_users(study), images, report, force=force, show=show)
        conclude(study, built, images, report, force=force)
        forget_parts(study, "build-psm")
    return report


def plan_build(study: Study, *, force: bool = False) -> StagePlan:
    """Find out what `build_psm` would do, without a map being made or anything written.

    Raises
    ------
    NothingToDoError
        If the store has no recording.
    """
    found, images, recordings = StagePlan("build-psm"), StudyImages(study), study.known_recordings()
    users, built, named = recordings_of_users(study), {}, set()
    for user, names in users.items():
        try:
            fixations, recipe, problems = _made_of(study, user, names, recordings, images)
        except GazepipeError as error:
            found.add(f"maps of {user}", "impossible", str(error))
            continue
        stimuli = {str(s) for s in fixations["stimulus"]}
        why = counted(len(stimuli), "map") + (" again: --force" if force else "")
        found.make(f"maps of {user}", not force and store.recipe_of(study.psm_file(user)) == recipe.digest, why)
        found.notes += problems
        enrolled = all(recordings[n]["origin"] == "enrol" for n in names)
        built[user] = {"recipe": recipe.digest, "enrolled": enrolled}
        named |= stimuli
    for gone in study.manifest("build-psm").get("users", {}).keys() - users.keys():
        found.add(f"maps of {gone}", "removed", "no recording is left")
    if built:
        shared = {study.usm_file: _usm_recipe(built), study.stimuli_file: _pack_recipe(_found(named, images), images)}
        for path, recipe in shared.items():
            found.make(path.name, not force and store.recipe_of(path) == recipe.digest)
    return found


def recordings_of_users(study: Study) -> dict[str, list[str]]:
    """User → names of their recordings.

    Raises
    ------
    NothingToDoError
        If the store has no recording.
    """
    recordings = study.known_recordings()
    if not recordings:
        msg = f"{study.store}: holds no recordings; run `gazepipe ingest` (or `gazepipe import`) first."
        raise NothingToDoError(msg)
    users: dict[str, list[str]] = {}
    for name, row in sorted(recordings.items()):
        users.setdefault(row["user"], []).append(name)
    return users


def parts_made_of(study: Study) -> str:
    """What all shards of a build must agree on."""
    rows = {name: row["recipe"] for name, row in study.known_recordings().items()}
    return digest_json([VERSION, *(getattr(study.config, s).model_dump(mode="json") for s in GEOMETRY), rows])


def _build(
    study: Study,
    users: Mapping[str, list[str]],
    images: StudyImages,
    report: BuildReport,
    *,
    force: bool,
    show: Show | None,
) -> dict[str, dict[str, Any]]:
    """Build the maps of some users: their rows of the manifest."""
    recordings = study.known_recordings()
    built: dict[str, dict[str, Any]] = {}
    for done, (user, names) in enumerate(sorted(users.items()), 1):
        try:
            recipe, wrote, row, problems = build_user(study, user, names, recordings, images, force=force)
        except GazepipeError as error:
            if error.exit_code == 7:
                raise
            report.failures.append(Failure("build-psm", user, str(error)))
            continue
        except MemoryError:
            text = f"user {user!r}: building the maps needs more memory than there is; close other programs, run again."
            report.failures.append(Failure("build-psm", user, text))
            continue
        (report.written if wrote else report.current).append(user)
        report.failures += [Failure("build-psm", user, p, partial=True) for p in problems]
        enrolled = all(recordings[n]["origin"] == "enrol" for n in names)
        built[user] = {"recipe": recipe.digest, "enrolled": enrolled, **row}
        report.n_maps += row["n_maps"]
        if show:
            show(done, len(users), user)
    return built


def conclude(
    study: Study, built: dict[str, dict[str, Any]], images: StudyImages, report: BuildReport, *, force: bool = False
) -> None:
    """Put into use the maps of all users, remove those of users who have no recording left, and build what all share.

    Raises
    ------
    StimulusError
        If not one user has a map.
    """
    users = recordings_of_users(study)
    if not built:
        study.write_failures("build-psm", report.failures)
        raise report_nothing(report)
    for gone in study.manifest("build-psm").get("users", {}).keys() - users.keys():
        remove(study.psm_file(gone))
        report.removed.append(gone)
    study.write_manifest("build-psm", {"users": built})
    report.n_stimuli = _build_shared(study, built, images, force=force)
    study.write_failures("build-psm", report.failures)


def report_nothing(report: BuildReport) -> GazepipeError:
    """Return the error for a study where not one user has a map."""
    first = report.failures[0].message if report.failures else "no user has a usable presentation."
    return StimulusError(f"no map could be built; the first reason: {first}")


# ---- one user --------------------------------------------------------------------------------------------------------


def build_user(
    study: Study,
    user: str,
    names: Iterable[str],
    recordings: Mapping[str, Mapping[str, Any]],
    images: StudyImages,
    *,
    force: bool = False,
) -> tuple[Recipe, bool, dict[str, Any], list[str]]:
    """Build one user's maps: recipe, whether written, row for the manifest, and what was left out."""
    fixations, recipe, problems = _made_of(study, user, names, recordings, images)
    path = study.psm_file(user)
    row = {"n_maps": int(fixations["stimulus"].nunique())}
    if not force and store.recipe_of(path) == recipe.digest:
        return recipe, False, row, problems
    arrays = _maps(fixations, study.config)
    attrs = {"user": user, "height": study.config.psm.height, "width": study.config.psm.width}
    store.save(path, "gazepipe.psm", arrays, recipe=recipe, attrs=attrs)
    return recipe, True, row, problems


def _made_of(
    study: Study,
    user: str,
    names: Iterable[str],
    recordings: Mapping[str, Mapping[str, Any]],
    images: StudyImages,
) -> tuple[pd.DataFrame, Recipe, list[str]]:
    """Fixations that one user's maps are made of, the recipe, and what was left out."""
    tables = [
        on_images(study, name, str(recordings[name]["source"]), _stored(study, name), images) for name in sorted(names)
    ]
    problems = [p for t in tables for p in t.problems]
    fixations = pd.concat([t.fixations for t in tables], ignore_index=True)
    if fixations.empty:
        raise StimulusError(problems[0] if problems else f"user {user!r} has no fixation on any image.")
    params = study.config.psm.model_dump(mode="json")
    geometry = fixations[["stimulus", "width", "height", "ppd_x", "ppd_y"]].drop_duplicates("stimulus")
    inputs = {name: str(recordings[name]["recipe"]) for name in sorted(names)}
    inputs["geometry"] = digest_json(geometry.round(9).to_numpy().tolist())
    return fixations, Recipe("build-psm", VERSION, params, inputs), problems


def _stored(study: Study, name: str) -> store.Contents:
    return store.load(study.recording_file(name), "gazepipe.recording", only=("trials/", "fixations/"))


def maps_in_memory(
    study: Study, user: str, recordings: Mapping[str, store.Contents]
) -> tuple[store.Contents, list[str]]:
    """Build one person's maps of recordings that are in no store, and store nothing; what was left out comes second.

    `recordings` is source → what `gazepipe.analyse.analyse` made of it, as it would be stored.

    Raises
    ------
    StimulusError
        If no image of the study was looked at.
    """
    tables = all_on_images(study, recordings)
    problems = [p for t in tables for p in t.problems]
    fixations = pd.concat([t.fixations for t in tables], ignore_index=True)
    if fixations.empty:
        raise StimulusError(problems[0] if problems else f"{min(recordings)}: no fixation on any image of the study.")
    attrs = {"user": user, "height": study.config.psm.height, "width": study.config.psm.width}
    attrs["params"] = json.dumps(study.config.psm.model_dump(mode="json"))  # as `store.save` keeps them
    return store.Contents(Path(user), _maps(fixations, study.config), attrs), problems


def _maps(fixations: pd.DataFrame, config: StudyConfig) -> dict[str, npt.NDArray[Any]]:
    """Maps and grid fixations of one user, stimuli in order of name."""
    psm = config.psm
    ordered = fixations.sort_values(["stimulus", "session", "repeat"], kind="stable")
    u = (ordered["x_px"] / ordered["width"] * psm.width).to_numpy(np.float64)
    v = (ordered["y_px"] / ordered["height"] * psm.height).to_numpy(np.float64)
    stimulus = ordered["stimulus"].to_numpy(object)
    presentation = ordered.groupby(["stimulus", "session", "repeat"], sort=False).ngroup().to_numpy()
    repeat_start = np.flatnonzero(np.diff(presentation, prepend=-1))
    map_first = np.flatnonzero(np.append(True, stimulus[1:] != stimulus[:-1]))
    map_start = np.append(np.searchsorted(repeat_start, map_first), len(repeat_start))
    first = ordered.iloc[map_first]
    ppd = np.full((len(first), 2), psm.pixels_per_degree or np.nan)
    ppd = np.where(np.isnan(ppd), first[["ppd_x", "ppd_y"]].to_numpy(np.float64), ppd)
    frame = first[["width", "height"]].to_numpy(np.float64)
    sigma = psm.sigma_deg * ppd / frame * [psm.width, psm.height]
    weight = ordered["duration_ms"].to_numpy(np.float64) if psm.weighting == "duration" else np.ones(len(u))
    maps = personal_maps(
        u,
        v,
        weight,
        np.append(repeat_start, len(u)),
        map_start,
        sigma,
        width=psm.width,
        height=psm.height,
        border=psm.border,
        normalisation=psm.normalisation,
    )
    if psm.normalisation == "sum":
        # Densities are tiny numbers, so what is stored is scaled to maximum one and the factor kept beside it.
        scale = maps.max((1, 2))
        maps = maps / scale[:, None, None]
    else:
        scale = np.ones(len(maps), np.float32)
    return {
        "maps": maps.astype(np.float16),
        "table/stimulus": stimulus[map_first],
        "table/scale": scale.astype(np.float32),
        "table/n_repeats": np.diff(map_start),
        "table/n_fixations": np.diff(np.append(map_first, len(u))),
        "table/first_fixation": map_first,
        "table/sigma_u": sigma[:, 0],
        "table/sigma_v": sigma[:, 1],
        "fixations/u": u.astype(np.float32),
        "fixations/v": v.astype(np.float32),
        "fixations/duration_ms": ordered["duration_ms"].to_numpy(np.float32),
        "fixations/repeat": presentation - np.repeat(presentation[map_first], np.diff(np.append(map_first, len(u)))),
    }


# ---- all users -------------------------------------------------------------------------------------------------------


def _build_shared(study: Study, built: Mapping[str, Mapping[str, Any]], images: StudyImages, *, force: bool) -> int:
    """Universal maps over the study's users (not over people enrolled later), and the images at map size."""
    members = _members(built)
    recipe = _usm_recipe(built)
    if force or store.recipe_of(study.usm_file) != recipe.digest:
        stimuli, mean, count = stored_usm(study, sorted(members))
        arrays: dict[str, Any] = {
            "maps": mean,
            "table/stimulus": np.array(stimuli, object),
            "table/n_users": count,
        }
        store.save(study.usm_file, "gazepipe.usm", arrays, recipe=recipe, attrs={"users": sorted(members)})
    names = _stimuli(study, built)
    paths, size = _found(names, images), images.size
    pack = _pack_recipe(paths, images)
    if force or store.recipe_of(study.stimuli_file) != pack.digest:
        pixels = (
            np.stack([images.pixels(p) for p in paths.values()])
            if paths
            else np.zeros((0, size[1], size[0], 3), np.uint8)
        )
        digests = np.array([images.digest(p) for p in paths.values()], dtype=object)
        arrays = {"images": pixels, "table/stimulus": np.array(list(paths), object), "table/digest": digests}
        store.save(study.stimuli_file, "gazepipe.stimuli", arrays, recipe=pack)
    return len(names)


def _members(built: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Users whose maps universal maps are the mean of."""
    return {u: row for u, row in built.items() if not row["enrolled"]} or dict(built)


def _usm_recipe(built: Mapping[str, Mapping[str, Any]]) -> Recipe:
    members = _members(built)
    inputs = {u: str(r["recipe"]) for u, r in sorted(members.items())}
    return Recipe("usm", VERSION, {"users": sorted(members)}, inputs)


def _found(names: Iterable[str], images: StudyImages) -> dict[str, Path]:
    """Stimuli that there are files of, in order of name."""
    return {s: p for s in sorted(names) if (p := images.find(s))}


def _pack_recipe(paths: Mapping[str, Path], images: StudyImages) -> Recipe:
    return Recipe("stimuli", VERSION, {"size": images.size}, {s: images.digest(p) for s, p in paths.items()})


def _stimuli(study: Study, users: Iterable[str]) -> list[str]:
    names: set[str] = set()
    for user in users:
        table = store.load(study.psm_file(user), "gazepipe.psm", only=("table/stimulus",)).arrays["table/stimulus"]
        names.update(str(s) for s in table)
    return sorted(names)
