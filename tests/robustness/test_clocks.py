"""Clocks that repeat themselves, go back or are set: refused with the place, or counted and a block begun."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from child import write
from invariants import check_recording
from samples import MADE, Sample
from survival import told

from gazepipe.analyse import analyse
from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording, readers
from gazepipe.recording import Recording

HOUR_MS = 3_600_000


def lines_of(sample: Sample) -> tuple[list[bytes], Callable[[bytes], re.Match[bytes] | None]]:
    """The main file's lines, and what finds the time in one."""
    lines = sample.files[sample.spoilt[0]].splitlines(keepends=True)
    k = next(k for k in range(len(lines)) if sum(_time(line) is not None for line in lines[k : k + 40]) > 35)
    return lines[: k + 1] + lines[k + 1 :], _time


_TIME = re.compile(rb"^(?:s,r,|1,1,)?(\d+(?:\.\d+)?)(?=[\t,;])")


def _time(line: bytes) -> re.Match[bytes] | None:
    return _TIME.match(line)


#: What a millisecond is in the time column of each sample.
UNIT = {"tobii-pro-lab": 1e3, "tobii-sdk": 1e3, "smi": 1e3, "pupil-core": 1e-3}
UNIT |= {"neon-timeseries": 1e6, "marker-mapper": 1e6}
#: The time column of Studio is the ninth; the other three are binary (a live session's clocks: tests/live).
_NOT_LINES = ("tobii-studio", "neon-native", "parquet", "live-session")
TEXTS = [r.name for r in readers() if r.name in MADE and r.name not in _NOT_LINES]


def shifted(name: str, shift_ms: float, first: int = 60, last: int | None = None) -> Sample:
    """A sample in which the times of some rows are shifted."""
    sample = MADE[name]()[0]
    lines, find = lines_of(sample)
    rows = [k for k, line in enumerate(lines) if find(line)]
    for k in rows[first:last]:
        match = find(lines[k])
        assert match is not None
        text = match[1].decode()
        digits = len(text.partition(".")[2])
        unit = UNIT.get(name, 1.0)
        value = int(text) + round(shift_ms * unit) if not digits else float(text) + shift_ms * unit
        new = f"{value:.{digits}f}" if digits else str(value)
        lines[k] = lines[k][: match.start(1)] + new.encode() + lines[k][match.end(1) :]
    content = b"".join(lines)
    return Sample(sample.files | {sample.spoilt[0]: content}, sample.target, sample.spoilt, sample.config)


def read(folder: Path, sample: Sample) -> Recording:
    write(folder, sample.files)
    recording = read_recording(folder / sample.target, StudyConfig(**sample.config))
    check_recording(recording, 1_000_000)
    return recording


def read_or_refuse(folder: Path, sample: Sample) -> Recording | str:
    """The recording, or the sentence by which it was refused."""
    try:
        return read(folder, sample)
    except RecordingError as error:
        return str(error)


def analysed(folder: Path, sample: Sample) -> None:
    config = StudyConfig(
        **sample.config, screen={"width_px": 800, "height_px": 600}, trials={"source": "blocks", "min_duration_ms": 50}
    )
    arrays, attrs = analyse(folder / sample.target, config)
    assert np.isfinite(arrays["fixations/x_px"]).all()
    assert attrs["warnings"]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("shift_ms", [-HOUR_MS, -200])
def test_a_clock_that_is_set_back(tmp_path: Path, name: str, shift_ms: float) -> None:
    if shift_ms == -HOUR_MS and name == "eyelink-asc":
        pytest.skip("its clock has no negative times")
    sample = shifted(name, shift_ms)
    recording = read_or_refuse(tmp_path, sample)
    if isinstance(recording, str):
        assert re.search(r"increase|backw|follows", recording), recording
        assert re.search(r"line \d+|sample \d+", recording), recording
        told("R15", 1, 1, f"{name}, set back by {-shift_ms:.0f} ms: refused with its place")
        return
    said = [w for w in recording.warnings if "time goes back 1 times" in w or "put in order of time" in w]
    assert len(said) == 1, recording.warnings
    if "goes back" in said[0]:
        assert recording.block_start.size == read(tmp_path / "whole", MADE[name]()[0]).block_start.size + 1
    if recording.meta.get("coordinates") != "scene":
        analysed(tmp_path, sample)
    told("R15", 1, 1, f"{name}, set back by {-shift_ms:.0f} ms: counted")


@pytest.mark.parametrize("name", TEXTS)
def test_a_clock_that_is_set_ahead(tmp_path: Path, name: str) -> None:
    recording = read(tmp_path, shifted(name, HOUR_MS))
    whole = read(tmp_path / "whole", MADE[name]()[0])
    if name == "eyelink-asc":  # the tracker's own clock is never set; a hole is what it must be
        assert any("holes of more than a second" in w for w in recording.warnings), recording.warnings
        return
    assert any("time jumps ahead by more than ten minutes 1 times" in w for w in recording.warnings)
    assert recording.block_start.size == whole.block_start.size + 1
    assert recording.n_samples == whole.n_samples
    told("R15", 1, 1, f"{name}, set ahead: a block begun")


@pytest.mark.parametrize("name", TEXTS)
def test_times_that_stand_twice(tmp_path: Path, name: str) -> None:
    """Three rows have the time of the row before."""
    sample = MADE[name]()[0]
    lines, find = lines_of(sample)
    rows = [k for k, line in enumerate(lines) if find(line) and b"\tMSG\t" not in line][20:]
    for k in (rows[0], rows[10], rows[30]):
        lines[k] = lines[k] * 2
    whole = read(tmp_path / "whole", sample)
    files = sample.files | {sample.spoilt[0]: b"".join(lines)}
    recording = read_or_refuse(tmp_path, Sample(files, sample.target, sample.spoilt, sample.config))
    if name == "eyelink-asc":
        assert isinstance(recording, str)
        assert "follows" in recording
        return
    assert isinstance(recording, Recording), recording
    assert recording.n_samples == whole.n_samples
    assert any(re.search(r"\b3 (rows|samples) with the time of the", w) for w in recording.warnings)
    told("R15", 1, 1, f"{name}, times that stand twice: counted")


def test_a_tracker_whose_clock_restarts_between_blocks(tmp_path: Path) -> None:
    """The second half of an EyeLink recording is on an earlier clock, as after a restart of the host."""
    text = MADE["eyelink-asc"]()[0].files["a.asc"].replace(b"START\t5000", b"START\t50")
    text = re.sub(rb"(?m)^5(\d\d\d)\t", rb"\1\t", text)
    recording = read(tmp_path, Sample({"a.asc": text}, "a.asc", ("a.asc",)))
    assert recording.block_start.size == 2
    assert any("time goes back 1 times" in w for w in recording.warnings)
