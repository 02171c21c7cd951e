"""Defects that the sweeps found, each with the smallest file that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from child import write
from invariants import check_dataset, check_recording
from samples import MADE, MADE_DATASETS, Sample

from gazepipe.config import StudyConfig
from gazepipe.datasets import load_dataset
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.recording import Recording

HUGE = b"9" * 400


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Recording]:
    """Read a reader's sample with some bytes of one of its files replaced; warnings of numpy are errors here."""

    def changed(name: str, old: bytes, new: bytes, file: str = "", sample: int = 0) -> Recording:
        whole: Sample = MADE[name]()[sample]
        file = file or whole.spoilt[0]
        assert old in whole.files[file]
        write(tmp_path, whole.files | {file: whole.files[file].replace(old, new, 1)})
        recording = read_recording(tmp_path / whole.target, StudyConfig(**whole.config))
        check_recording(recording, 1_000_000)
        return recording

    return changed


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"MSG\t100 TRIALID", b"MSG\t" + HUGE + b" TRIALID", "message lines without a time"),
        (b"101 -1 !V", b"101 -" + HUGE + b" !V", "message lines without a time"),
        (b"0 0 799 599", b"0 0 " + HUGE + b" 599", "unreadable screen coordinates"),
        (b"\t  200.0\t  150.0\t    501", b"\t  1e999\t  150.0\t    501", "event lines that cannot be read"),
    ],
)
def test_numbers_that_no_float_holds_in_asc(read: Callable[..., Recording], old: bytes, new: bytes, said: str) -> None:
    assert any(said in warning for warning in read("eyelink-asc", old, new).warnings)


def test_positions_that_overflow_when_scaled(read: Callable[..., Recording]) -> None:
    recording = read("tobii-sdk", b"0.2502", b"1e308")
    assert np.isnan(recording.eyes["left"].x_px).sum() > np.isnan(recording.eyes["right"].x_px).sum()
    assert np.isnan(read("pupil-core", b",0.25", b",1e308").eyes["cyclopean"].x_px[:60]).any()
    assert np.isnan(read("marker-mapper", b",0.3,", b",1e308,").eyes["cyclopean"].x_px).any()


def test_pupils_that_are_infinite(read: Callable[..., Recording]) -> None:
    recording = read("neon-timeseries", b",3.1,3.2", b",1e999,3.2", "3d_eye_states.csv")
    assert np.isnan(recording.columns["pupil_left_mm"][0])


def test_events_that_are_infinite(read: Callable[..., Recording]) -> None:
    assert np.isnan(read("neon-timeseries", b"100,5,6", b"100,1e999,6", "fixations.csv").native_events["x_px"]).any()


def test_durations_that_overflow_in_other_units(read: Callable[..., Recording]) -> None:
    name = "sub-01_task-x_recording-eye1_physioevents.tsv.gz"
    assert len(read("bids", b"120\t40", b"120\t40", name).native_events["kind"]) == 1
    assert not len(read("bids", b"120\t40", b"120\t1e999", name).native_events.get("kind", []))


def test_rate_of_two_uneven_steps(tmp_path: Path) -> None:
    """The median of 1 and 100 ms is far from both."""
    (tmp_path / "a.csv").write_text("time_ms,x_px,y_px\n0,1,2\n1,3,4\n101,5,6\n")
    recording = read_recording(tmp_path / "a.csv", StudyConfig())
    assert recording.sampling_rate_hz.tolist() == [1000.0]


def test_sidecar_with_a_column_too_many_in_the_wrong_order(tmp_path: Path) -> None:
    sample = MADE["bids"]()[0]
    name = "sub-01_task-x_recording-eye1_physio"
    about = json.loads(sample.files[f"{name}.json"])
    about["Columns"] = ["x_coordinate", "note", "y_coordinate", "timestamp"]
    rows = b"100\t1\t2\t3\n102\t1\t2\t3\n104\t1\t2\t3\n"
    write(tmp_path, sample.files | {f"{name}.json": json.dumps(about).encode(), f"{name}.tsv.gz": rows})
    with pytest.raises(RecordingError, match="the first column is the time"):
        read_recording(tmp_path / sample.target, StudyConfig())


def test_messages_are_short_and_printable(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time_ms,x_px,y_px\n0,1,2\n\x1b[2J" + "x" * 100_000 + ",3,4\n")
    with pytest.raises(RecordingError) as caught:
        read_recording(tmp_path / "a.csv", StudyConfig())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    error = RecordingError("a.csv", "x" * 10_000)
    assert len(str(error)) < 1500


def test_pictures_that_claim_to_be_huge(tmp_path: Path) -> None:
    """A header of 60,000 × 60,000 pixels: its size is read, its pixels are not."""
    import struct

    rows = "".join(f"1,{1_726_564_011_084_656_664 + 5_000_000 * k},5,6\n" for k in range(9))
    gaze = (
        "recording id,timestamp [ns],gaze position in reference image x [px],gaze position in reference image y [px]\n"
    )
    (tmp_path / "gaze.csv").write_text(gaze + rows)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\x02\0\0\0"
    (tmp_path / "reference_image.png").write_bytes(png)
    assert read_recording(tmp_path, StudyConfig()).display_px == (60_000, 60_000)


def test_matlab_file_that_crashes_its_parser(tmp_path: Path) -> None:
    """Damage of a file without checksums made SciPy's parser write where it must not: a sentence is expected."""
    from corruptions import corrupt

    sample = MADE_DATASETS["osie"]()[1]
    name = sample.spoilt[0]
    write(tmp_path, {name: corrupt(sample.files[name], (8, 84))[1]})
    with pytest.raises(RecordingError, match=r"fixations\.mat: "):
        check_dataset(load_dataset("osie", tmp_path))
    write(tmp_path, sample.files)  # the next file is read as if nothing had happened
    assert len(load_dataset("osie", tmp_path).fixations) == 12
