"""EyeLink EDF: what the library's process hands over, by hand; a real file against eyelinkio's own reading of it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import eyelink_edf as edf
from gazepipe.readers import is_companion, read_recording
from gazepipe.readers._edf_child import BLOCK, EVENT
from gazepipe.recording import Recording

CONFIG = StudyConfig()
MAGIC = b"SR_RESEARCH_COMBINED_FILE\n"
GAZE = 0x2000 | 0x0400 | 0x0100
LOST, NOT_RECORDED, NAN = 1e8, -32768.0, float("nan")


def block(
    first: int, time: int, eyes: int = 1, rate: float = 1000.0, flags: int = GAZE, ended: int = 1
) -> tuple[Any, ...]:
    return (first, time, eyes, flags, 0, 2, ended, rate)


def event(
    kind: int, eye: int, start: int, end: int, *places: float, ppd: float = 40.0, read: int = 0x1000
) -> tuple[Any, ...]:
    return (kind, eye, start, end, read, *places, ppd, ppd)


def content(
    time: list[float],
    values: list[list[float]],
    blocks: list[tuple[Any, ...]],
    messages: tuple[tuple[int, str], ...] = (),
    events: tuple[tuple[Any, ...], ...] = (),
) -> dict[str, np.ndarray[Any, Any]]:
    texts = [text.encode() for _, text in messages]
    return {
        "time": np.array(time, np.float64),
        "values": np.array(values, np.float32),
        "blocks": np.array(blocks, BLOCK),
        "events": np.array(list(events), EVENT),
        "message_time": np.array([t for t, _ in messages], np.int64),
        "message_length": np.array([len(t) for t in texts], np.int64),
        "message_text": np.frombuffer(b"".join(texts), np.uint8),
        "preamble": np.frombuffer(b"** DATE: Fri Mar 14 14:03:21 2014\n** CAMERA: EyeLink CL\n", np.uint8),
    }


def rows(
    n: int, left: tuple[float, ...] = (1, 2, 3), right: tuple[float, ...] = (NOT_RECORDED,) * 3
) -> list[list[float]]:
    return [[v] * n for v in (*left, *right)]


def test_blocks_eyes_and_missing_values(tmp_path: Path) -> None:
    values = rows(5)
    values[0][1] = LOST  # x alone is lost in the second sample
    for k in (3, 4):  # the second block is of the right eye
        for row in range(6):
            values[row][k] = NOT_RECORDED if row < 3 else 7.5
    found = edf.recording_of(content([10, 11, 12, 500, 502], values, [block(0, 10), block(3, 500, 2, 500)]), tmp_path)
    assert (found.format, list(found.eyes)) == ("eyelink-edf", ["left", "right"])
    np.testing.assert_array_equal(found.time_ms, [10, 11, 12, 500, 502])
    np.testing.assert_array_equal(found.block_start, [0, 3])
    np.testing.assert_array_equal(found.sampling_rate_hz, [1000, 500])
    np.testing.assert_array_equal(found.eyes["left"].x_px, [1, NAN, 1, NAN, NAN])
    np.testing.assert_array_equal(found.eyes["left"].pupil, [3, NAN, 3, NAN, NAN])
    np.testing.assert_array_equal(found.eyes["right"].y_px, [NAN, NAN, NAN, 7.5, 7.5])
    assert found.meta == {
        "recorded": "Fri Mar 14 14:03:21 2014",
        "camera": "EyeLink CL",
        "pupil": "area",
        "filter_level": 2,
    }
    assert found.warnings == []


def test_messages_and_display(tmp_path: Path) -> None:
    messages = (
        (5, "GAZE_COORDS 0.00 0.00 1919.00 1079.00"),
        (12, "-11 IMAGE_ONSET für Ü.png"),
        (13, "!CAL VALIDATION HV5 L LEFT GOOD ERROR 0.29 avg. 0.65 max OFFSET 0.1 deg. 1.0,2.0 pix."),
    )
    found = edf.recording_of(content([10, 11], rows(2), [block(0, 10)], messages), tmp_path)
    assert found.display_px == (1920, 1080)
    assert [(m.time_ms, m.offset_ms, m.text, m.line) for m in found.messages][1] == (
        12,
        -11,
        "IMAGE_ONSET für Ü.png",
        None,
    )
    assert found.meta["validations"] == [
        {"eye": "left", "result": "GOOD", "error_avg_deg": 0.29, "error_max_deg": 0.65}
    ]


def test_events(tmp_path: Path) -> None:
    events = (
        event(8, 0, 10, 15, 0, 0, 0, 0, 400.5, 300.25, 9.0),
        event(6, 1, 16, 30, 100, 100, 220, 260, 0, 0, 336.5),  # 3° right and 4° down at 40 px a degree: 5°
        event(6, 0, 31, 40, LOST, 100, 220, 260, 0, 0, LOST),  # from nowhere
        event(4, 1, 41, 90, 0, 0, 0, 0, 0, 0, 0, read=0x40),
    )
    found = edf.recording_of(content([10, 11], rows(2), [block(0, 10)], (), events), tmp_path).native_events
    assert found["kind"].tolist() == ["fixation", "saccade", "saccade", "blink"]
    assert found["eye"].tolist() == ["left", "right", "left", "right"]
    np.testing.assert_array_equal(found["onset_ms"], [10, 16, 31, 41])
    np.testing.assert_array_equal(found["offset_ms"], [15, 30, 40, 90])
    np.testing.assert_array_equal(found["x_px"], [400.5, 220, 220, NAN])
    np.testing.assert_array_equal(found["amplitude_deg"], [NAN, 5, NAN, NAN])
    np.testing.assert_array_equal(found["peak_velocity_deg_s"], [NAN, 336.5, NAN, NAN])


@pytest.mark.parametrize("time", [[10, 10.5, 11, 11.5], [10, 10, 11, 11]])
def test_2000_hz(tmp_path: Path, time: list[float]) -> None:
    found = edf.recording_of(content(time, rows(4), [block(0, 10, rate=2000)]), tmp_path)
    np.testing.assert_array_equal(found.time_ms, [10, 10.5, 11, 11.5])


def test_what_is_odd_is_told(tmp_path: Path) -> None:
    time = [1, 10, 12, 14, 16, 5000]
    found = edf.recording_of(content(time, rows(6), [block(1, 10, ended=0), block(6, 9000, ended=0)]), tmp_path)
    assert found.n_samples == 5
    assert found.warnings == [
        "passed over: 1 sample before the first START",
        "in 1 block the times do not go with the stated rate",
        "1 holes of more than a second stand inside blocks",
        "the file stops without END; the recording may be incomplete",
    ]


@pytest.mark.parametrize(
    ("time", "blocks", "message"),
    [
        ([], [block(0, 10)], "there are no samples in its blocks"),
        ([10, 11], [], "there is no START in it"),
        ([10, 11], [block(0, 10, flags=0x2800)], "has no gaze positions, only angles of the eye in the head.*GAZE"),
        ([10, 11], [block(0, 10, eyes=9)], "the block that starts at 10 ms states the eyes 9"),
        ([10, 11], [block(0, 10, rate=NAN)], "nan Hz"),
        ([11, 10], [block(0, 10)], "the time 10 of sample 2 follows 11; expected times that increase"),
        ([10, 10], [block(0, 10)], "the time 10 of sample 2 follows 10"),
    ],
)
def test_refusals(tmp_path: Path, time: list[float], blocks: list[tuple[Any, ...]], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        edf.recording_of(content(time, rows(len(time)), blocks), tmp_path / "a.edf")


def test_library_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(MAGIC)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        RecordingError, match=r'eyelinkio.*is not installed; install it with `pip install "gazepipe\[edf\]"'
    ):
        read_recording(path, CONFIG)


def test_companion(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    path.write_bytes(MAGIC)
    assert not is_companion(path)
    (tmp_path / "a.asc").write_text("")
    assert is_companion(path)  # converted already
    eeg = tmp_path / "eeg.edf"
    eeg.write_bytes(b"0       X X X")
    assert is_companion(eeg)  # European Data Format


@pytest.fixture
def false_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Install a library that behaves as given; returns an EDF file to try it on."""

    def install(code: str) -> Path:
        package = tmp_path / "site" / "eyelinkio" / "edf"
        package.mkdir(parents=True)
        for name in ("../__init__.py", "__init__.py"):
            (package / name).write_text("")
        (package / "_edf2py.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        for name in [m for m in sys.modules if m.partition(".")[0] == "eyelinkio"]:
            monkeypatch.delitem(sys.modules, name)
        path = tmp_path / "a.edf"
        path.write_bytes(MAGIC)
        return path

    return install


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
            "library crashed on it .SIGSEGV.*convert it with edf2asc",
        ),
        ("raise OSError('libedfapi.so: wrong machine')", "eyelinkio cannot be used .libedfapi.so: wrong machine"),
        ("def edf_open_file(*a):\n    return None", "library cannot open the file .its error 0"),
        ("def edf_open_file(*a):\n    return bytearray(1 << 40)", "exit status|would take more than 4 GB"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
def test_library_that_fails(false_library: Callable[[str], Path], code: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_recording(false_library(code), CONFIG)


def test_library_that_hangs(false_library: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = false_library("import time\ntime.sleep(60)")
    monkeypatch.setattr(edf, "_SECONDS", 2.0)
    with pytest.raises(RecordingError, match="it was not read within 2 s"):
        read_recording(path, CONFIG)


@pytest.fixture(scope="module")
def real(data_dir: Path) -> Path:
    pytest.importorskip("eyelinkio", reason="eyelinkio is not installed (the extra edf)")
    return data_dir / "raw" / "eyelink_edf" / "test_raw.edf"


def test_real_file(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts by SR Research's library; samples as eyelinkio returns them, whose times are one even grid."""
    found = read_recording(real, CONFIG)
    assert (found.n_samples, found.display_px, list(found.eyes)) == (66827, (1920, 1080), ["left"])
    np.testing.assert_array_equal(found.block_start, [0, 136])
    assert (found.time_ms[0], found.time_ms[135], found.time_ms[136]) == (415839, 415974, 464321)
    kinds, counts = np.unique(found.native_events["kind"], return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == {"blink": 7, "fixation": 21, "saccade": 19}
    assert len(found.messages) == 101
    assert [m.text for m in found.messages[:1]] == ["RECCFG CR 1000 2 1 L"]
    assert found.meta["validations"][0]["error_avg_deg"] == 0.29

    import eyelinkio

    theirs = eyelinkio.read_edf(real)
    x, y, pupil = theirs["samples"]
    eye = found.eyes["left"]
    there = ~np.isnan(x)
    np.testing.assert_array_equal(np.isnan(eye.x_px), ~there)
    np.testing.assert_array_equal(eye.x_px[there], x[there].astype(np.float32))
    np.testing.assert_array_equal(eye.y_px[there], y[there].astype(np.float32))
    np.testing.assert_array_equal(eye.pupil[there], pupil[there].astype(np.float32))


def test_real_events_go_with_the_samples(real: Path) -> None:
    """The tracker's own means over its fixations, to a tenth of a pixel; blinks have no gaze."""
    found = read_recording(real, CONFIG)
    events, x = found.native_events, found.eyes["left"].x_px
    for kind, onset, offset, mean in zip(*(events[k] for k in ("kind", "onset_ms", "offset_ms", "x_px")), strict=True):
        inside = x[(found.time_ms >= onset) & (found.time_ms <= offset)]
        if kind == "fixation":
            assert inside.mean(dtype=np.float64) == pytest.approx(mean, abs=0.1)
        elif kind == "blink":
            assert np.isnan(inside).all()


def test_name_with_other_letters(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "Jürgen 目.edf"
    shutil.copy(real, path)
    assert read_recording(path, CONFIG).n_samples == 66827


def test_damaged_files(real: Path, tmp_path: Path) -> None:
    """Cut copies and copies with changed bytes: a sound recording or one sentence, never the end of this process."""
    whole, path = real.read_bytes(), tmp_path / "a.edf"
    rng = np.random.default_rng(7)
    copies = [whole[: len(whole) * k // 64] for k in (1, 20, 63)]
    for k in range(5):
        data = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(0, 4000 if k % 2 else data.size, 20)
        data[where] = rng.integers(0, 256, where.size)
        copies.append(data.tobytes())
    outcomes: list[Recording | RecordingError] = []
    for data in copies:
        path.write_bytes(data)
        try:
            found = read_recording(path, CONFIG)
        except RecordingError as error:
            outcomes.append(error)
            continue
        for part in found.blocks():
            assert (np.diff(found.time_ms[part]) > 0).all()
        outcomes.append(found)
    cut = outcomes[2]
    assert isinstance(cut, RecordingError) or cut.warnings
