"""What the JSON files of a BIDS data set say; nothing is stated that is not known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe import __version__
from gazepipe.config import StudyConfig
from gazepipe.store import Contents
from gazepipe.words import counted

__all__ = ["PARTICIPANTS", "VERSION", "description", "events", "physio", "physioevents", "readme"]

#: Version of BIDS that is written.
VERSION = "1.11.1"

PARTICIPANTS = {
    "participant_id": {"Description": "Label of the person in this data set."},
    "user": {
        "LongName": "Pseudonym",
        "Description": "Name of the person in the gazepipe study; the label is its letters and digits.",
    },
}

#: BIDS key → key of a recording's meta, as the readers have it.
_KNOWN = {
    "ManufacturersModelName": ("ManufacturersModelName", "tracker", "model"),
    "DeviceSerialNumber": ("DeviceSerialNumber", "serial_number"),
    "SoftwareVersions": ("SoftwareVersions", "software"),
    "Manufacturer": ("Manufacturer", "manufacturer"),
    "EyeTrackingMethod": ("EyeTrackingMethod",),
    "PupilFitMethod": ("PupilFitMethod",),
    "RawDataFilters": ("RawDataFilters",),
    "CalibrationType": ("CalibrationType",),
    "CalibrationUnit": ("CalibrationUnit",),
    "EyeTrackerDistance": ("EyeTrackerDistance",),
}
_MAKERS = {"eyelink": "SR-Research", "tobii": "Tobii", "smi": "SMI", "pupil": "Pupil Labs", "neon": "Pupil Labs"}


def physio(
    contents: Contents, eye: str, columns: Sequence[str], task: str, shift_ms: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Sidecar of one eye's samples; `shift_ms` is by how much the times of each block were moved."""
    meta: Mapping[str, Any] = json.loads(contents.attrs["meta"])
    rate = contents.arrays["blocks/sampling_rate_hz"]
    first = contents.arrays["blocks/first_sample"]
    sizes = np.diff(np.append(first, contents.arrays["samples/timestamp"].size))
    on_screen = contents.attrs.get("coordinates") == "screen"
    place = "screen, from its top-left corner" if on_screen else "scene camera's picture"
    clock = "Time of the sample on the tracker's own clock."
    if shift_ms.any():
        clock += " That clock began anew with each block; blocks were moved to follow one another, see Blocks."
    out: dict[str, Any] = {
        "TaskName": task,
        "PhysioType": "eyetrack",
        "SamplingFrequency": float(rate[np.argmax(sizes)]),
        "StartTime": 0,
        "Columns": list(columns),
        "RecordedEye": eye,
        "SampleCoordinateSystem": "gaze-on-screen" if on_screen else "gaze-in-world",
        "timestamp": {"Description": clock, "Units": "ms", "Origin": "System startup"},
        "x_coordinate": {
            "LongName": "Gaze position (x)",
            "Description": f"Gaze to the right, on the {place}.",
            "Units": "pixel",
        },
        "y_coordinate": {
            "LongName": "Gaze position (y)",
            "Description": f"Gaze downwards, on the {place}.",
            "Units": "pixel",
        },
    }
    if "pupil_size" in columns:
        kind = meta.get("pupil")
        what = f"Pupil {kind}" if kind in ("area", "diameter") else "Size of the pupil"
        out["pupil_size"] = {"Description": f"{what} as the eye tracker gives it.", "Units": "a.u."}
    for key, names in _KNOWN.items():
        found = next((meta[n] for n in names if meta.get(n) not in (None, "")), None)
        if found is not None:
            out[key] = found
    maker = next((m for word, m in _MAKERS.items() if word in str(contents.attrs["format"])), None)
    if maker and "Manufacturer" not in out:
        out["Manufacturer"] = maker
    out |= _calibration(meta, eye)
    if first.size > 1:
        rows = zip(first.tolist(), rate.tolist(), shift_ms.tolist(), strict=True)
        out["Blocks"] = [{"FirstRow": row, "SamplingFrequency": hz, "MovedBy": ms} for row, hz, ms in rows]
    return out


def _calibration(meta: Mapping[str, Any], eye: str) -> dict[str, Any]:
    """Last validation of the eye, as EyeLink has it; BIDS' own keys where a BIDS recording was ingested."""
    keys = ("AverageCalibrationError", "MaximalCalibrationError", "CalibrationCount")
    stated = {key: meta[key] for key in keys if key in meta}
    mine = [v for v in meta.get("validations", ()) if v.get("eye") == eye]
    if not mine:
        return stated
    return stated | {
        "CalibrationCount": len(mine),
        "AverageCalibrationError": mine[-1]["error_avg_deg"],
        "MaximalCalibrationError": mine[-1]["error_max_deg"],
    }


def physioevents(columns: Sequence[str], task: str, eye: str) -> dict[str, Any]:
    """Sidecar of what happened on the tracker's clock."""
    return {
        "TaskName": task,
        "Columns": list(columns),
        "Description": (
            "Fixations, saccades and blinks found by gazepipe (velocity threshold, Olsen 2012; eye: "
            f"{eye}), and the messages of the recording."
        ),
        "OnsetSource": "timestamp",
        "onset": {"Description": "Begin of the event, in the samples' timestamps.", "Units": "ms"},
        "duration": {"Description": "Length of the event; none for messages.", "Units": "s"},
        "trial_type": {
            "Description": "Kind of event; blinks are in the column blink.",
            "Levels": {"fixation": "The eye rests.", "saccade": "The eye moves from one place to another."},
        },
        "blink": {
            "Description": "Whether the event is a blink.",
            "Levels": {"0": "It is none.", "1": "The eye is closed."},
        },
        "x_coordinate": {"Description": "Centroid of a fixation, as the samples' x.", "Units": "pixel"},
        "y_coordinate": {"Description": "Centroid of a fixation, as the samples' y.", "Units": "pixel"},
        "amplitude": {"Description": "Visual angle between start and end of a saccade.", "Units": "degree"},
        "peak_velocity": {"Description": "Largest velocity of a saccade.", "Units": "degree/s"},
        "message": {"Description": "Text that the experiment or the tracker wrote."},
    }


def events(config: StudyConfig, task: str) -> dict[str, Any]:
    """Sidecar of what was shown, with the screen."""
    s = config.screen
    return {
        "TaskName": task,
        "onset": {"Description": "The image appears, after the first sample of the recording.", "Units": "s"},
        "duration": {"Description": "How long it is shown.", "Units": "s"},
        "trial_type": {"Description": "Kind of trial.", "Levels": {"image": "One image is shown."}},
        "stim_file": {"LongName": "Stimulus file", "Description": "The image shown, in the folder stimuli."},
        "stimulus": {"Description": "Name of the image shown, which is not part of this data set."},
        "repeat": {"Description": "How many times this image has been shown in the recording, this one included."},
        "StimulusPresentation": {
            "ScreenDistance": _metres(s.distance_mm),
            "ScreenOrigin": ["top", "left"],
            "ScreenResolution": [s.width_px, s.height_px],
            "ScreenSize": [_metres(s.width_mm), _metres(s.height_mm)],
        },
    }


def _metres(mm: float) -> float:
    return round(mm / 1000, 9)


def description(config: StudyConfig) -> dict[str, Any]:
    """Return the data set's own description."""
    return {
        "Name": config.name,
        "BIDSVersion": VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "gazepipe", "Version": __version__}],
    }


def readme(config: StudyConfig, people: int, task: str) -> str:
    """Return what the folder's README says."""
    return (
        f"# {config.name}\n\n"
        f"Eye tracking of {counted(people, 'person', 'people')} (task: {task}), exported from a gazepipe study in BIDS "
        f"{VERSION}.\n\n"
        "* `sub-*/…/beh/*_recording-eye*_physio.tsv.gz`: samples of one eye: time in ms, gaze in pixels, pupil.\n"
        "* `*_physioevents.tsv.gz`: fixations, saccades and blinks found by gazepipe, and messages.\n"
        "* `*_events.tsv`: the images shown, in seconds after the first sample.\n"
        "* `participants.tsv`: the pseudonym that each label stands for in the study.\n"
        "* `code/gazepipe.toml`: the settings that events were found with. "
        "`gazepipe ingest code` reads the data set again.\n\n"
        "Add here what others must know: who the people are, what they were asked to do, how the images were chosen,\n"
        "the licence, and whom to cite.\n"
    )
