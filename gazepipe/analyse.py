"""One recording → samples, trials, events and quality, as they are stored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError

if TYPE_CHECKING:
    from gazepipe.recording import Recording
    from gazepipe.trial_sources import TrialRows
    from gazepipe.trials import TrialTable

__all__ = ["analyse", "read_trials"]


def read_trials(source: Path, config: StudyConfig, rows: TrialRows | None = None) -> tuple[Recording, TrialTable]:
    """Read one recording, check that it can be used, and find its trials.

    Raises
    ------
    RecordingError
        If the file cannot be read, has no gaze on a screen, states another screen than the configuration, or has no
        trial.
    """
    from gazepipe.readers import read_recording
    from gazepipe.trials import find_trials

    recording = read_recording(source, config)
    _check_coordinates(recording)
    _check_display(recording, config)
    return recording, find_trials(recording, config, rows)


def analyse(source: Path, config: StudyConfig, rows: TrialRows | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read one recording and find its trials, events and quality; arrays and attributes as they are stored.

    Parameters
    ----------
    source, config
        The recording and its study.
    rows
        Its trials, where they stand in a file of their own.

    Raises
    ------
    RecordingError
        As `read_trials`.
    """
    from gazepipe.blinks import blinks
    from gazepipe.distance import viewing_distance
    from gazepipe.events import fixations, select_gaze
    from gazepipe.quality import quality
    from gazepipe.saccades import saccades

    recording, trials = read_trials(source, config, rows)
    screen = config.screen.screen()
    distance_mm, said = viewing_distance(recording, config.screen)
    gaze = dataclasses.replace(select_gaze(recording, config.ivt), distance_mm=distance_mm)
    found = fixations(recording, screen, config.ivt, trials=trials, gaze=gaze)
    measured = quality(recording, gaze, found, trials.frame, screen, config.ivt)
    arrays: dict[str, Any] = {"samples/timestamp": recording.time_ms}
    for eye, samples in recording.eyes.items():
        arrays[f"samples/{eye}/x_coordinate"] = samples.x_px
        arrays[f"samples/{eye}/y_coordinate"] = samples.y_px
        arrays[f"samples/{eye}/pupil_size"] = samples.pupil
    arrays["blocks/first_sample"] = recording.block_start
    arrays["blocks/sampling_rate_hz"] = recording.sampling_rate_hz
    messages = list(recording.messages)
    arrays["messages/time_ms"] = np.array([m.time_ms for m in messages])
    arrays["messages/offset_ms"] = np.array([m.offset_ms for m in messages])
    arrays["messages/text"] = np.array([m.text for m in messages], object)
    arrays |= {f"native_events/{k}": v for k, v in recording.native_events.items()}
    tables = {"trials": trials.frame, "fixations": found, "quality": measured.trials}
    tables["saccades"] = saccades(recording, screen, config.ivt, trials, gaze, found)
    tables["blinks"] = blinks(recording, screen, config.ivt, trials)
    for name, frame in tables.items():
        arrays |= {f"{name}/{column}": frame[column].to_numpy() for column in frame.columns}
    attrs = {
        "format": recording.format,
        "coordinates": recording.meta.get("coordinates", "screen"),
        "quality": measured.recording,
        "meta": dict(recording.meta),
        "warnings": [*recording.warnings, *trials.problems, *said],
    }
    return arrays, attrs


def _check_coordinates(recording: Recording) -> None:
    """Gaze in a picture that moves with the head says nothing about an image until it is mapped to the screen."""
    if recording.meta.get("coordinates") == "scene":
        raise RecordingError(
            recording.path,
            "its gaze is in pixels of the scene camera",
            expected="gaze on the screen",
            remedy="map it with `gazepipe map-screen` (or Pupil Cloud's Marker Mapper, Pupil Player's Surface Tracker, "
            "the screen being the surface) and ingest what that writes",
        )


def _check_display(recording: Recording, config: StudyConfig) -> None:
    """Degrees would be silently wrong on another screen than the configuration's."""
    if recording.display_px is None:
        return
    (w, h), want = recording.display_px, (config.screen.width_px, config.screen.height_px)
    if abs(w - want[0]) > 1 or abs(h - want[1]) > 1:
        if recording.meta.get("coordinates") == "reference image":
            raise RecordingError(
                recording.path,
                f"its gaze is in the {w} × {h} px of a reference image",
                expected=f"the {want[0]} × {want[1]} px of [screen]",
                remedy="set [screen] to the image's pixels and to the size and distance of what it shows",
            )
        raise RecordingError(
            recording.path,
            f"was made on a screen of {w} × {h} px",
            expected=f"the {want[0]} × {want[1]} px of [screen]",
            remedy="set [screen] to the screen of these recordings; recordings of another screen need another study",
        )
