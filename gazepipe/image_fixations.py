"""Fixations of stored recordings on images of the study, in pixels of the image, as maps are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gazepipe import store
from gazepipe.config import StudyConfig
from gazepipe.errors import InputError
from gazepipe.geometry import Placement
from gazepipe.stimuli import StudyImages
from gazepipe.study import Study
from gazepipe.words import form

__all__ = ["OnImages", "all_on_images", "fixations_on_images", "on_images"]


@dataclass(frozen=True, slots=True)
class OnImages:
    """Fixations on known images: stimulus, repeat, x, y (image px), duration, image size and pixels per degree."""

    fixations: pd.DataFrame
    problems: list[str]


def fixations_on_images(study: Study, recordings: Mapping[str, store.Contents]) -> pd.DataFrame:
    """Fixations of some recordings (source → content) on images of the study, as maps are made of them."""
    return pd.concat([t.fixations for t in all_on_images(study, recordings)], ignore_index=True)


def all_on_images(study: Study, recordings: Mapping[str, store.Contents]) -> list[OnImages]:
    """Find them of several recordings (source → content), in order of source."""
    images = StudyImages(study)
    return [on_images(study, name, name, recordings[name], images) for name in sorted(recordings)]


def on_images(study: Study, name: str, source: str, contents: store.Contents, images: StudyImages) -> OnImages:
    """Find them of one recording; `name` is that of its session, and `source` stands in sentences about it."""
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
    return OnImages(joined.loc[inside, columns], problems)


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
            f"{source}: {unnamed} of {len(stimuli)} trials {form(unnamed, 'names', 'name')} no image and "
            f"{form(unnamed, 'was', 'were')} left out; "
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
