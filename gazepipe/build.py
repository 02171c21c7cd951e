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
from gazepipe.config import StudyConfig
from gazepipe.corpus import Corpus
from gazepipe.errors import GazepipeError, InputError, NothingToDoError, StimulusError
from gazepipe.geometry import Placement
from gazepipe.recipe import Recipe, digest_json
from gazepipe.saliency import personal_maps
from gazepipe.shards import WAIT_S, Shard, forget_parts, save_part
from gazepipe.stimuli import StudyImages
from gazepipe.study import Failure, Study

__all__ = [
    "GEOMETRY",
    "VERSION",
    "BuildReport",
    "build_psm",
    "conclude",
    "fixations_on_images",
    "load_corpus",
    "maps_in_memory",
    "parts_made_of",
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

    With a `shard`, only those of that part of the users, which `gazepipe.gather` then puts into use together with the
    other parts.

    Raises
    ------
    NothingToDoError
        If the store has no recording.
    LockedError, StorageError
        If the store cannot be written.
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
        study.psm_file(gone).unlink(missing_ok=True)
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
    tables = [
        _usable(study, name, str(recordings[name]["source"]), _stored(study, name), images) for name in sorted(names)
    ]
    problems = [p for t in tables for p in t.problems]
    fixations = pd.concat([t.fixations for t in tables], ignore_index=True)
    if fixations.empty:
        raise StimulusError(problems[0] if problems else f"user {user!r} has no fixation on any image.")
    params = study.config.psm.model_dump(mode="json")
    geometry = fixations[["stimulus", "width", "height", "ppd_x", "ppd_y"]].drop_duplicates("stimulus")
    inputs = {name: str(recordings[name]["recipe"]) for name in sorted(names)}
    inputs["geometry"] = digest_json(geometry.round(9).to_numpy().tolist())
    recipe = Recipe("build-psm", VERSION, params, inputs)
    path = study.psm_file(user)
    row = {"n_maps": int(fixations["stimulus"].nunique())}
    if not force and store.recipe_of(path) == recipe.digest:
        return recipe, False, row, problems
    arrays = _maps(fixations, study.config)
    attrs = {"user": user, "height": study.config.psm.height, "width": study.config.psm.width}
    store.save(path, "gazepipe.psm", arrays, recipe=recipe, attrs=attrs)
    return recipe, True, row, problems


def _all_usable(study: Study, recordings: Mapping[str, store.Contents]) -> list[_Usable]:
    images = StudyImages(study)
    return [_usable(study, name, name, recordings[name], images) for name in sorted(recordings)]


def fixations_on_images(study: Study, recordings: Mapping[str, store.Contents]) -> pd.DataFrame:
    """Fixations of some recordings (source → content) on images of the study, as maps are made of them."""
    return pd.concat([t.fixations for t in _all_usable(study, recordings)], ignore_index=True)


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
    tables = _all_usable(study, recordings)
    problems = [p for t in tables for p in t.problems]
    fixations = pd.concat([t.fixations for t in tables], ignore_index=True)
    if fixations.empty:
        raise StimulusError(problems[0] if problems else f"{min(recordings)}: no fixation on any image of the study.")
    attrs = {"user": user, "height": study.config.psm.height, "width": study.config.psm.width}
    return store.Contents(Path(user), _maps(fixations, study.config), attrs), problems


@dataclass(frozen=True, slots=True)
class _Usable:
    """Fixations on known images: stimulus, repeat, x, y (image px), duration, image size and pixels per degree."""

    fixations: pd.DataFrame
    problems: list[str]


def _stored(study: Study, name: str) -> store.Contents:
    return store.load(study.recording_file(name), "gazepipe.recording", only=("trials/", "fixations/"))


def _usable(study: Study, name: str, source: str, contents: store.Contents, images: StudyImages) -> _Usable:
    trials, fixations = store.to_frame(contents, "trials"), store.to_frame(contents, "fixations")
    problems: list[str] = []
    if contents.attrs["coordinates"] == "stimulus":
        trials["width"], trials["height"] = trials["image_width_px"], trials["image_height_px"]
        trials["ppd_x"] = trials["ppd_y"] = float(contents.attrs["pixels_per_degree"])
    else:
        # One image may be named with or without its suffix, in capitals or not; the file's name is what counts.
        files = {s: images.find(s) for s in trials["stimulus"].unique()}
        trials["stimulus"] = [p.name if (p := files[s]) else s for s in trials["stimulus"]]
        sizes, problems = _sizes(study, source, trials["stimulus"].tolist(), images)
        _add_geometry(trials, sizes, study.config)
    fixations = fixations[fixations["trial"] >= 0]
    if study.config.psm.drop_first_fixation:
        fixations = fixations[~fixations["at_onset"].astype(bool)]
    placed = [c for c in ("origin_x", "origin_y", "scale_x", "scale_y") if c in trials]
    joined = fixations.join(trials[["stimulus", "repeat", "width", "height", "ppd_x", "ppd_y", *placed]], on="trial")
    joined = joined[joined["width"].notna()].copy()
    if placed:
        for axis in "xy":
            joined[f"{axis}_px"] = (joined[f"{axis}_px"] - joined[f"origin_{axis}"]) / joined[f"scale_{axis}"]
    inside = joined["x_px"].between(0, joined["width"], "left") & joined["y_px"].between(0, joined["height"], "left")
    joined["session"] = name
    columns = ["stimulus", "session", "repeat", "x_px", "y_px", "duration_ms", "width", "height", "ppd_x", "ppd_y"]
    return _Usable(joined.loc[inside, columns], problems)


def _sizes(
    study: Study, source: str, stimuli: list[str], images: StudyImages
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Width and height of each image; one sentence if some are missing or cannot be read."""
    found: dict[str, tuple[int, int]] = {}
    missing, unnamed = [], stimuli.count("")
    problems: list[str] = []
    for stimulus in dict.fromkeys(s for s in stimuli if s):
        path = images.find(stimulus)
        if path is None:
            missing.append(stimulus)
            continue
        try:
            found[stimulus] = images.checked_size(path)
        except InputError as error:
            problems.append(str(error))
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        problems.append(
            f"{source}: shows {len(missing)} of {len({*stimuli})} images that are not in {study.stimuli} ({shown}); "
            "their trials were left out; add the images and run again."
        )
    if unnamed:
        problems.append(
            f"{source}: {unnamed} of {len(stimuli)} trials name no image and were left out; "
            "set [trials] stimulus to the message that names it."
        )
    return found, problems


def _add_geometry(trials: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], config: StudyConfig) -> None:
    """Add each presentation's image size, where the image stood on the screen, and its pixels per degree."""
    ppd = config.screen.screen().pixels_per_degree
    screen = (config.screen.width_px, config.screen.height_px)
    use_stated = "placement" in trials and config.trials.placement_from == "recording"
    stated = trials["placement"].tolist() if use_stated else [""] * len(trials)
    known = [
        Placement.on_screen(sizes[str(s)], screen, how or config.trials.placement) if str(s) in sizes else None
        for s, how in zip(trials["stimulus"], stated, strict=True)
    ]
    trials["width"] = [p.width_px if p else np.nan for p in known]
    trials["height"] = [p.height_px if p else np.nan for p in known]
    for name in ("scale_x", "scale_y"):
        trials[name] = [getattr(p, name) if p else np.nan for p in known]
        trials[f"ppd_{name[-1]}"] = ppd[name == "scale_y"] / trials[name]
    for axis in "xy":
        trials[f"origin_{axis}"] = [getattr(p, f"origin_{axis}_px") if p else np.nan for p in known]


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
    members = {u: row for u, row in built.items() if not row["enrolled"]} or dict(built)
    recipe = Recipe(
        "usm", VERSION, {"users": sorted(members)}, {u: str(r["recipe"]) for u, r in sorted(members.items())}
    )
    if force or store.recipe_of(study.usm_file) != recipe.digest:
        corpus = _corpus(study, sorted(members), None)
        mean, count = corpus.usm(range(len(corpus.users)))
        arrays: dict[str, Any] = {
            "maps": mean,
            "table/stimulus": np.array(corpus.stimuli, object),
            "table/n_users": count,
        }
        store.save(study.usm_file, "gazepipe.usm", arrays, recipe=recipe, attrs={"users": sorted(members)})
    names = _stimuli(study, built)
    paths = {s: p for s in names if (p := images.find(s))}
    size = images.size
    digests_of = {s: images.digest(p) for s, p in sorted(paths.items())}
    pack = Recipe("stimuli", VERSION, {"size": size}, digests_of)
    if force or store.recipe_of(study.stimuli_file) != pack.digest:
        pixels = (
            np.stack([images.pixels(p) for _, p in sorted(paths.items())])
            if paths
            else np.zeros((0, size[1], size[0], 3), np.uint8)
        )
        digests = np.array([images.digest(p) for _, p in sorted(paths.items())], dtype=object)
        arrays = {"images": pixels, "table/stimulus": np.array(sorted(paths), object), "table/digest": digests}
        store.save(study.stimuli_file, "gazepipe.stimuli", arrays, recipe=pack)
    return len(names)


def _stimuli(study: Study, users: Iterable[str]) -> list[str]:
    names: set[str] = set()
    for user in users:
        table = store.load(study.psm_file(user), "gazepipe.psm", only=("table/stimulus",)).arrays["table/stimulus"]
        names.update(str(s) for s in table)
    return sorted(names)


def load_corpus(
    study: Study,
    *,
    users: Iterable[str] | None = None,
    enrolled: bool = False,
    guest: store.Contents | None = None,
) -> Corpus:
    """Read maps, fixations and images of a study.

    Parameters
    ----------
    study
        Where to read from.
    users
        Only these users, in this order; None: the study's own users in order of name.
    enrolled
        With `users` None: also the people enrolled later.
    guest
        Maps of somebody who is not in the store; the last user of the corpus, under an empty name. Of theirs, only maps
        of images that the others have seen count, and only these images are in the corpus.

    Raises
    ------
    NothingToDoError
        If there are no maps yet.
    StoreError
        If a stored file is damaged.
    """
    built = study.manifest("build-psm").get("users", {})
    if not built:
        msg = f"{study.store}: holds no maps; run `gazepipe build-psm` first."
        raise NothingToDoError(msg)
    chosen = list(users) if users is not None else sorted(u for u, r in built.items() if enrolled or not r["enrolled"])
    pack = store.load(study.stimuli_file, "gazepipe.stimuli")
    return _corpus(study, chosen, pack, guest)


def _corpus(study: Study, users: list[str], pack: store.Contents | None, guest: store.Contents | None = None) -> Corpus:
    files = [store.load(study.psm_file(u), "gazepipe.psm") for u in users]
    degree = _cells_per_degree(files)
    if guest is not None:
        users = [*users, ""]
        known = {str(s) for f in files for s in f.arrays["table/stimulus"]}
        wanted = known & {str(s) for s in guest.arrays["table/stimulus"]}
        files = [_only(f, wanted) for f in [*files, guest]]
    stimuli = sorted({str(s) for f in files for s in f.arrays["table/stimulus"]})
    column = {s: i for i, s in enumerate(stimuli)}
    index = np.full((len(users), len(stimuli)), -1, np.int64)
    cells, counts, n = [], [], 0
    for row, file in enumerate(files):
        names = file.arrays["table/stimulus"]
        index[row, [column[str(s)] for s in names]] = np.arange(n, n + len(names))
        n += len(names)
        height, width = file.arrays["maps"].shape[1:]
        v = np.minimum(file.arrays["fixations/v"].astype(np.int64), height - 1)
        cells.append(v * width + np.minimum(file.arrays["fixations/u"].astype(np.int64), width - 1))
        counts.append(file.arrays["table/n_fixations"])
    images = None
    if pack is not None and len(pack.arrays["images"]):
        there = {str(s): i for i, s in enumerate(pack.arrays["table/stimulus"])}
        if all(s in there for s in stimuli):
            images = pack.arrays["images"][[there[s] for s in stimuli]]
    return Corpus(
        users=tuple(users),
        stimuli=tuple(stimuli),
        maps=np.concatenate([f.arrays["maps"] for f in files]),
        index=index,
        fixation_cell=np.concatenate(cells),
        fixation_start=np.append(0, np.cumsum(np.concatenate(counts))),
        images=images,
        degree=degree,
    )


def _cells_per_degree(files: list[store.Contents]) -> tuple[float, float]:
    """Median over maps, along the width and the height, from the standard deviations that maps were blurred with."""
    across, down = (
        np.concatenate([f.arrays[f"table/sigma_{axis}"] / json.loads(f.attrs["params"])["sigma_deg"] for f in files])
        for axis in "uv"
    )
    return (float(np.median(across)), float(np.median(down))) if len(across) else (float("nan"), float("nan"))


def _only(maps: store.Contents, wanted: set[str]) -> store.Contents:
    """Maps of some images alone."""
    keep = np.array([str(s) in wanted for s in maps.arrays["table/stimulus"]], bool)
    looks = np.repeat(keep, maps.arrays["table/n_fixations"])
    of_map = {k: v[keep] for k, v in maps.arrays.items() if not k.startswith("fixations/")}
    of_look = {k: v[looks] for k, v in maps.arrays.items() if k.startswith("fixations/")}
    return store.Contents(maps.path, of_map | of_look, maps.attrs)


def corpus_digest(study: Study, users: Iterable[str]) -> str:
    """What a corpus is made of, without reading it."""
    built = study.manifest("build-psm").get("users", {})
    pack = store.recipe_of(study.stimuli_file)
    return digest_json([[u, built[u]["recipe"]] for u in users] + [pack])
