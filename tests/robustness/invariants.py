"""What must hold of every recording that a reader lets through, and of everything that is found in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gazepipe.datasets import FixationDataset
from gazepipe.recording import EYES, Recording

__all__ = ["check_analysis", "check_dataset", "check_recording"]


def check_recording(recording: Recording, n_bytes: int) -> None:
    """Raise `AssertionError` if a recording is not sound; `n_bytes` is the size of what it was read from."""
    time, n = recording.time_ms, recording.n_samples
    assert time.dtype == np.float64, "dtype of time"
    assert time.ndim == 1, "shape of time"
    assert n >= 1, "no sample"
    assert np.isfinite(time).all(), "a time is not finite"
    start, rate = recording.block_start, recording.sampling_rate_hz
    assert start.dtype == np.int64, "dtype of block_start"
    assert start.size, "no block"
    assert start[0] == 0, "the first block does not begin with the first sample"
    assert (np.diff(start) > 0).all(), "blocks are empty or out of order"
    assert start[-1] < n, "a block begins after the last sample"
    assert rate.dtype == np.float64, "dtype of rates"
    assert rate.shape == start.shape, "a rate for each block"
    assert (np.isfinite(rate) & (rate > 0)).all(), f"a rate is not positive: {rate}"
    for part in recording.blocks():
        assert (np.diff(time[part]) > 0).all(), "time does not increase inside a block"
    assert recording.eyes, "no eye"
    assert set(recording.eyes) <= set(EYES), "name of an eye"
    for name, eye in recording.eyes.items():
        for what in ("x_px", "y_px", "pupil"):
            values = getattr(eye, what)
            assert values.dtype == np.float32, f"dtype of {name} {what}"
            assert values.shape == (n,), f"shape of {name} {what}"
            assert not np.isinf(values).any(), f"{name} {what} is infinite"
        assert (np.isnan(eye.x_px) == np.isnan(eye.y_px)).all(), "x without y"
    for name, values in recording.columns.items():
        assert values.shape == (n,), f"shape of column {name}"
        if values.dtype.kind == "f":
            assert not np.isinf(values).any(), f"column {name} is infinite"
    _check_events(recording.native_events)
    for message in recording.messages:
        assert np.isfinite(message.time_ms), "the time of a message is not finite"
        assert np.isfinite(message.offset_ms), "the offset of a message is not finite"
        assert isinstance(message.text, str), "text of a message"
    if recording.display_px is not None:
        assert len(recording.display_px) == 2, "size of the screen"
        assert all(isinstance(v, int) and v > 0 for v in recording.display_px), "size of the screen"
    json.dumps(dict(recording.meta), allow_nan=False)
    assert all(isinstance(w, str) and len(w) < 1000 for w in recording.warnings), "warnings are sentences"
    held = time.nbytes + sum(e.x_px.nbytes * 3 for e in recording.eyes.values())
    assert held < 64 * n_bytes + 1_000_000, f"{held} bytes of samples out of {n_bytes}"


def _check_events(events: Mapping[str, Any]) -> None:
    assert len({len(v) for v in events.values()}) <= 1, "events of different length"
    if events:
        assert np.isfinite(np.asarray(events["onset_ms"], float)).all(), "the onset of an event is not finite"
        for name in ("offset_ms", "x_px", "y_px", "amplitude_deg"):
            if name in events:
                assert not np.isinf(np.asarray(events[name], float)).any(), f"{name} of an event is infinite"


def check_analysis(arrays: Mapping[str, Any], attrs: Mapping[str, Any]) -> None:
    """Raise `AssertionError` if trials, events or quality of a sound recording are not sound."""
    tables: dict[str, dict[str, Any]] = {}
    for key, values in arrays.items():
        group, _, column = key.partition("/")
        if group in ("trials", "fixations", "saccades", "blinks", "quality"):
            tables.setdefault(group, {})[column] = np.asarray(values)
    for group, columns in tables.items():
        assert len({v.shape for v in columns.values()}) == 1, f"columns of {group} differ in length"
        for name, values in columns.items():
            assert values.dtype.kind != "f" or not np.isinf(values).any(), f"{group}/{name} is infinite"
    trials, fixations = tables["trials"], tables["fixations"]
    assert (trials["onset_ms"] < trials["offset_ms"]).all(), "a trial ends before it begins"
    assert (trials["first_sample"] < trials["last_sample"]).all(), "a trial without samples"
    assert (trials["last_sample"] <= arrays["samples/timestamp"].size).all(), "a trial beyond the last sample"
    for name in ("onset_ms", "duration_ms", "x_px", "y_px"):
        assert np.isfinite(fixations[name]).all(), f"{name} of a fixation is not finite"
    assert (fixations["duration_ms"] > 0).all(), "a fixation without duration"
    assert (fixations["trial"] < len(trials["onset_ms"])).all(), "a fixation of no trial"
    assert all(isinstance(w, str) for w in attrs["warnings"]), "warnings are sentences"


def check_dataset(dataset: FixationDataset) -> None:
    """Raise `AssertionError` if a data set is not sound."""
    table = dataset.fixations
    for name in ("duration_ms", "x_px", "y_px"):
        assert table[name].dtype == np.float64, f"dtype of {name}"
        assert np.isfinite(table[name]).all(), f"{name} of a fixation is not finite"
    assert (table["duration_ms"] >= 0).all(), "a fixation shorter than nothing"
    assert (table["repeat"] >= 1).all(), "a repeat before the first"
    assert (table["index"] >= 0).all(), "index"
    assert set(table["stimulus"]) <= set(dataset.stimulus_px), "a stimulus without a size"
    assert all(w > 0 and h > 0 for w, h in dataset.stimulus_px.values()), "size of a stimulus"
    assert dataset.pixels_per_degree > 0, "pixels per degree"
    assert all(isinstance(note, str) for note in dataset.notes), "notes are sentences"
