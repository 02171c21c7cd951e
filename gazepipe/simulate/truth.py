"""What is true of a simulated study: who prefers what, what stands where, where the eye really was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gazepipe.errors import ConfigError
from gazepipe.geometry import Placement
from gazepipe.simulate.observers import SCREEN, Fixation, Observer, angles_to_pixels
from gazepipe.simulate.scenes import CLASSES, Scene, object_at
from gazepipe.simulate.trace import Trial
from gazepipe.simulate.writers import write_text

__all__ = [
    "MARK",
    "MIN_FIXATION_MS",
    "SimulatedStudy",
    "is_simulated",
    "load_truth",
    "object_table",
    "true_fixations",
    "user_row",
    "write_truth",
]

#: What the README of every simulated study says.
MARK = "Made by `gazepipe simulate`"

#: Shorter pieces of a fixation at the image's onset or end are not listed as true fixations.
MIN_FIXATION_MS = 60.0

_FILES = ("fixations.csv.gz", "users.csv", "objects.csv")


@dataclass(frozen=True)
class SimulatedStudy:
    """A simulated study and what is true of it.

    Parameters
    ----------
    path
        The study folder.
    users
        One row a user: ``user, face, text, plant, vehicle`` (preference weights, adding up to one),
        ``background_share, offset_x_deg, offset_y_deg, noise_deg, fixation_ms, format, eyes``.
    objects
        One row an object: ``stimulus, class, x, y, width, height`` (image pixels, left top corner and size).
    fixations
        One row a true fixation: ``user, stimulus, repeat, index, onset_ms, offset_ms, x_px, y_px, class``, in the
        recording's clock and in screen pixels, the user's calibration offset included.
    """

    path: Path
    users: pd.DataFrame
    objects: pd.DataFrame
    fixations: pd.DataFrame


def load_truth(path: Path) -> SimulatedStudy:
    """Read what is true of a simulated study from its folder.

    Raises
    ------
    ConfigError
        If `path` is not a simulated study.
    """
    path = Path(path)
    if not (is_simulated(path) and all((path / "truth" / name).is_file() for name in _FILES)):
        msg = f"{path}: not a simulated study, or not all of it; give a folder that `gazepipe simulate` wrote."
        raise ConfigError(msg)
    fixations, users, objects = (pd.read_csv(path / "truth" / name) for name in _FILES)
    return SimulatedStudy(path, users, objects, fixations)


def is_simulated(path: Path) -> bool:
    """Tell whether a folder was written, perhaps not to the end, by `simulate_study`."""
    readme = path / "README.md"
    return readme.is_file() and MARK in readme.read_text(encoding="utf-8", errors="replace")


def true_fixations(
    plan: Sequence[Fixation],
    trial: Trial,
    scene: Scene,
    observer: Observer,
    placement: Placement,
) -> list[dict[str, object]]:
    """Return the fixations while the image was shown, cut at its onset and end."""
    shift = np.mean([observer.eye_offset_deg(eye) for eye in trial.eyes], axis=0)
    rows: list[dict[str, object]] = []
    for fixation in plan:
        begin = max(trial.onset_ms + fixation.start_ms, trial.onset_ms)
        end = min(trial.onset_ms + fixation.end_ms, trial.offset_ms)
        if end - begin < MIN_FIXATION_MS:
            continue
        # What is looked at is decided where the eye is; the recording shows it off by the calibration error.
        x, y = placement.to_image(*angles_to_pixels(SCREEN, fixation.x_deg, fixation.y_deg))
        x_px, y_px = angles_to_pixels(SCREEN, fixation.x_deg + shift[0], fixation.y_deg + shift[1])
        rows.append(
            {
                "stimulus": trial.stimulus,
                "repeat": trial.repeat,
                "index": len(rows),
                "onset_ms": round(begin, 1),
                "offset_ms": round(end, 1),
                "x_px": round(float(x_px), 1),
                "y_px": round(float(y_px), 1),
                "class": object_at(scene.objects, float(x), float(y)),
            }
        )
    return rows


def user_row(name: str, observer: Observer, suffix: str, eyes: Sequence[str]) -> dict[str, object]:
    """Return one row of `SimulatedStudy.users`."""
    shift = np.mean([observer.eye_offset_deg(eye) for eye in eyes], axis=0)
    return {
        "user": name,
        **{kind: round(float(w), 4) for kind, w in zip(CLASSES, observer.preference, strict=True)},
        "background_share": round(observer.background_share, 4),
        "offset_x_deg": round(float(shift[0]), 4),
        "offset_y_deg": round(float(shift[1]), 4),
        "noise_deg": round(observer.noise_deg, 4),
        "fixation_ms": round(observer.fixation_ms, 1),
        "format": suffix,
        "eyes": "+".join(eyes),
    }


def object_table(scenes: Sequence[Scene]) -> pd.DataFrame:
    """Return `SimulatedStudy.objects`."""
    rows = [
        {"stimulus": s.name, "class": o.kind, "x": o.x, "y": o.y, "width": o.width, "height": o.height}
        for s in scenes
        for o in s.objects
    ]
    return pd.DataFrame(rows)


def write_truth(study: SimulatedStudy) -> None:
    """Write the tables to the study's ``truth`` folder."""
    tables = (study.fixations, study.users, study.objects)
    for name, table in zip(_FILES, tables, strict=True):
        write_text(study.path / "truth" / name, table.to_csv(index=False, lineterminator="\n"))
