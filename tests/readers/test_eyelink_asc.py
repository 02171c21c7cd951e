"""EyeLink ASC against an independent line-by-line reading of real files, and small texts with answers by hand."""

from __future__ import annotations

import gzip
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import _asc_scan, read_recording
from gazepipe.readers._asc_number import three_numbers
from gazepipe.readers.eyelink_asc import read
from gazepipe.recording import Recording

CONFIG = StudyConfig()
NAN = float("nan")

REAL = {  # file → samples, counted with `grep -c '^[0-9]'`
    "bino500.asc.gz": 1745,
    "binoRemote250.asc.gz": 5125,
    "data1.asc": 92740,
    "eyelink_binocular_example.asc": 368,
    "eyelink_monocular_2khz_example.asc": 16,
    "eyelink_monocular_example.asc": 16,
    "eyelink_monocular_no_dummy_example.asc": 297,
    "mono1000.asc.gz": 3619,
    "mono2000.asc.gz": 8976,
    "mono250.asc.gz": 914,
    "monoRemote250.asc.gz": 5129,
    "test_eyelink.asc": 30236,
}


def asc(*body: str, header: str = "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED\n") -> str:
    return header + "".join(line + "\n" for line in body)


def block(*body: str, eyes: str = "RIGHT", rate: str = "1000.00", kind: str = "GAZE", start: int = 100) -> list[str]:
    tabbed = eyes.replace(" ", "\t")
    return [
        f"START\t{start} \t{tabbed}\tSAMPLES\tEVENTS",
        "PRESCALER\t1",
        "PUPIL\tAREA",
        f"EVENTS\tGAZE\t{tabbed}\tRATE\t{rate}\tTRACKING\tCR\tFILTER\t2",
        f"SAMPLES\t{kind}\t{tabbed}\tRATE\t{rate}\tTRACKING\tCR\tFILTER\t2",
        *body,
        f"END\t{start + 900} \tSAMPLES\tEVENTS\tRES\t  36.93\t  37.03",
    ]


def read_text(tmp_path: Path, text: str | bytes, name: str = "a.asc") -> Recording:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recording(path, CONFIG)


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


# ---- real files against a plain reading --------------------------------------------------------------------------


def plain_reading(path: Path) -> dict[str, Any]:
    """Read an ASC file line by line with str.split and float, knowing nothing of the reader under test."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().split("\n")
    rows: dict[str, list[tuple[float, ...]]] = {"left": [], "right": []}
    times, starts, messages, events, eyes = [], [], [], [], []
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == "START":
            starts.append(len(times))
            eyes = [e for e in ("left", "right") if e.upper() in words]
        elif line[0] in "0123456789":
            times.append(float(words[0]))
            for k, eye in enumerate(eyes):
                x, y, p = words[1 + 3 * k : 4 + 3 * k]
                gone = x == "." or y == "."
                rows[eye].append((NAN, NAN, NAN) if gone else (float(x), float(y), float(p)))
        elif words[0] == "MSG":
            messages.append((float(words[1]), words[2:]))
        elif words[0] in ("EFIX", "ESACC", "EBLINK"):
            events.append((words[0], words[1], float(words[2]), float(words[3])))
    return {"times": times, "rows": rows, "starts": starts, "messages": messages, "events": events}


@pytest.mark.parametrize("name", REAL)
def test_real_file_equals_plain_reading(data_dir: Path, name: str) -> None:
    path = data_dir / "raw" / "eyelink_asc" / name
    plain, recording = plain_reading(path), read_recording(path, CONFIG)
    assert recording.format == "eyelink-asc"
    assert recording.n_samples == REAL[name]
    same(recording.block_start, plain["starts"])
    if name != "mono2000.asc.gz":
        same(recording.time_ms, plain["times"])
    assert set(recording.eyes) == {eye for eye, rows in plain["rows"].items() if rows}
    for eye, samples in recording.eyes.items():
        expected = np.array(plain["rows"][eye], np.float64).astype(np.float32)
        np.testing.assert_array_equal(np.stack([samples.x_px, samples.y_px, samples.pupil], axis=1), expected)
    assert len(recording.messages) == len(plain["messages"])
    for message, (time, words) in zip(recording.messages, plain["messages"], strict=True):
        assert message.time_ms == time
        shifted = len(words) > 1 and words[0].lstrip("-").isdecimal()
        assert message.offset_ms == (int(words[0]) if shifted else 0)
        assert message.text.split() == words[shifted:]
    kinds = {"fixation": "EFIX", "saccade": "ESACC", "blink": "EBLINK"}
    native = recording.native_events
    found = [
        (kinds[k], e[0].upper(), a, b)
        for k, e, a, b in zip(native["kind"], native["eye"], native["onset_ms"], native["offset_ms"], strict=True)
    ]
    assert found == plain["events"]


def test_real_2000_hz_times_are_half_milliseconds(data_dir: Path) -> None:
    recording = read_recording(data_dir / "raw/eyelink_asc/mono2000.asc.gz", CONFIG)
    for part in recording.blocks():
        steps = np.diff(recording.time_ms[part])
        assert (steps > 0).all()
        assert np.mean(steps == 0.5) > 0.999
    assert set(recording.sampling_rate_hz) == {2000.0}


def test_real_head_referenced_file_is_refused(data_dir: Path) -> None:
    with pytest.raises(RecordingError, match=r"line 95: the samples are angles .*HREF.*-sg"):
        read_recording(data_dir / "raw/eyelink_asc/test_eyelink_HREF.asc", CONFIG)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("data1.asc", (1024, 768)),  # GAZE_COORDS 0.00 0.00 1024.00 768.00
        ("test_eyelink.asc", (1920, 1080)),  # DISPLAY_COORDS = 0 0 1919 1079
        ("eyelink_monocular_example.asc", (1280, 1024)),
    ],
)
def test_real_screen_size(data_dir: Path, name: str, size: tuple[int, int]) -> None:
    assert read_recording(data_dir / "raw/eyelink_asc" / name, CONFIG).display_px == size


def test_real_meta(data_dir: Path) -> None:
    meta = read_recording(data_dir / "raw/eyelink_asc/test_eyelink.asc", CONFIG).meta
    assert meta["converted_from"] == "sub-00_task-aeAHA_eye.edf"
    assert meta["recorded"] == "Thu Mar 10 11:38:16 2022"
    assert meta["tracker"] == "EYELINK II CL v5.09 Nov 17 2015"
    assert meta["serial_number"] == "CLG-BCF05"
    assert (meta["pupil"], meta["filter_level"]) == ("diameter", 2)
    left, right = meta["validations"]
    assert (left["eye"], left["error_avg_deg"], left["error_max_deg"]) == ("left", 0.30, 0.90)
    assert (right["eye"], right["error_avg_deg"], right["error_max_deg"]) == ("right", 0.31, 0.52)


# ---- samples -----------------------------------------------------------------------------------------------------


def test_one_eye_with_missing_values(tmp_path: Path) -> None:
    body = ["100\t  1.5\t  2.5\t 900.0\t...", "101\t   .\t   .\t    0.0\t...", "102\t -3.2\t1e+08\t 901.0\t.C."]
    recording = read_text(tmp_path, asc(*block(*body)))
    eye = recording.eyes["right"]
    assert list(recording.eyes) == ["right"]
    same(recording.time_ms, [100, 101, 102])
    same(eye.x_px, [1.5, NAN, -3.2])
    same(eye.y_px, [2.5, NAN, 1e8])
    same(eye.pupil, [900, NAN, 901])
    assert recording.warnings == []


def test_both_eyes_each_missing_alone(tmp_path: Path) -> None:
    body = [
        "100\t  1.0\t  2.0\t 3.0\t  4.0\t  5.0\t 6.0\t.....",
        "102\t   .\t   .\t 0.0\t  4.1\t  5.1\t 6.1\t.C...",
        "104\t  1.2\t  2.2\t 3.2\t   .\t   .\t 0.0\t...C.",
    ]
    recording = read_text(tmp_path, asc(*block(*body, eyes="LEFT RIGHT", rate=" 500.00")))
    same(recording.eyes["left"].x_px, [1.0, NAN, 1.2])
    same(recording.eyes["left"].pupil, [3.0, NAN, 3.2])
    same(recording.eyes["right"].y_px, [5.0, 5.1, NAN])
    assert list(recording.sampling_rate_hz) == [500.0]


@pytest.mark.parametrize(
    ("extra", "flags"),
    [
        ("\t 127.0", "..."),
        ("", "... \t 4717.0\t 2908.0\t  611.2 ............."),
        ("", ""),
        ("\t1.1\t-2.2\t36.1", ".C."),
    ],
    ids=["input", "head target", "no flags", "velocity"],
)
def test_further_columns_do_not_matter(tmp_path: Path, extra: str, flags: str) -> None:
    body = [f"{t}\t  1.0\t  2.0\t 3.0{extra}\t{flags}" for t in (100, 101)]
    recording = read_text(tmp_path, asc(*block(*body)))
    same(recording.eyes["right"].x_px, [1, 1])
    same(recording.eyes["right"].pupil, [3, 3])


def test_numbers_are_those_of_python(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = [f"{rng.uniform(-4000, 9000):.{rng.randint(0, 9)}f}" for _ in range(3000)]
    texts += [".5", "-.25", "7.", "123456789.125", "0.1", "-0.0", "2.3e+06", "1E-3", "0.000001"]
    body = [f"{100 + k}\t{text}\t{text}\t1.0\t..." for k, text in enumerate(texts)]
    eye = read_text(tmp_path, asc(*block(*body))).eyes["right"]
    np.testing.assert_array_equal(eye.x_px, np.array([float(t) for t in texts]).astype(np.float32))


def test_windows_line_ends(tmp_path: Path) -> None:
    text = asc(*block("100\t1.0\t2.0\t3.0\t...", "101\t1.0\t2.0\t3.0\t...", "MSG\t101 hello"))
    recording = read_text(tmp_path, text.replace("\n", "\r\n"))
    same(recording.eyes["right"].pupil, [3, 3])
    assert recording.messages[0].text == "hello"
    assert recording.warnings == []


def test_calibration_continuation_lines_are_no_samples(tmp_path: Path) -> None:
    lines = [
        "MSG\t50 !CAL Cal coeff:(X=a+bx+cy+dxx+eyy,Y=f+gx+goaly+ixx+jyy)",
        "  -4.1313e-05  136.49 -29.812 -0.058469 -0.60587 ",
        "   212.24  13.72  154.96 -0.01833",
        "-66 4 -61 -20",
    ]
    recording = read_text(tmp_path, asc(*lines, *block("100\t1.0\t2.0\t3.0\t...")))
    assert recording.n_samples == 1
    assert recording.warnings == []


# ---- times and blocks --------------------------------------------------------------------------------------------


def test_whole_milliseconds_twice_at_2000_hz(tmp_path: Path) -> None:
    times = [100, 100, 101, 101, 105, 105, 106]  # a hole of 3 ms stays a hole
    body = [f"{t}\t1.0\t2.0\t3.0\t..." for t in times]
    recording = read_text(tmp_path, asc(*block(*body, rate="2000.00")))
    same(recording.time_ms, [100, 100.5, 101, 101.5, 105, 105.5, 106])


def test_2000_hz_block_that_begins_on_a_half(tmp_path: Path) -> None:
    body = [f"{t}\t1.0\t2.0\t3.0\t..." for t in (100, 101, 101, 102, 102)]
    same(read_text(tmp_path, asc(*block(*body, rate="2000.00"))).time_ms, [100.5, 101, 101.5, 102, 102.5])


def test_fractional_times(tmp_path: Path) -> None:
    text = asc(*block("100.0\t1.0\t2.0\t3.0\t...", "100.5\t1.0\t2.0\t3.0\t...", rate="2000.00"))
    same(read_text(tmp_path, text.replace("START\t100 ", "START\t100.0 ")).time_ms, [100, 100.5])


@pytest.mark.parametrize(
    ("times", "rate", "line"),
    [((100, 100), "1000.00", 8), ((100, 99), "1000.00", 8), ((100, 100, 100), "2000.00", 9), ((5, 4), "2000.00", 8)],
)
def test_times_must_increase(tmp_path: Path, times: tuple[int, ...], rate: str, line: int) -> None:
    body = [f"{t}\t1.0\t2.0\t3.0\t..." for t in times]
    with pytest.raises(RecordingError, match=f"line {line}: the sample's time {times[-1]} follows") as caught:
        read_text(tmp_path, asc(*block(*body, rate=rate)))
    assert caught.value.line == line


def test_eye_and_rate_change_between_blocks(tmp_path: Path) -> None:
    first = block("100\t1.0\t2.0\t3.0\t...", "102\t1.1\t2.1\t3.1\t...", eyes="LEFT", rate=" 500.00")
    second = block("2000\t4.0\t5.0\t6.0\t...", "2001\t4.1\t5.1\t6.1\t...", eyes="RIGHT", start=2000)
    third = block("4000\t1.0\t2.0\t3.0\t4.0\t5.0\t6.0\t.....", eyes="LEFT RIGHT", start=4000)
    recording = read_text(tmp_path, asc(*first, *second, *third))
    same(recording.block_start, [0, 2, 4])
    same(recording.sampling_rate_hz, [500, 1000, 1000])
    same(recording.eyes["left"].x_px, np.float32([1.0, 1.1, NAN, NAN, 1.0]).tolist())
    same(recording.eyes["right"].x_px, np.float32([NAN, NAN, 4.0, 4.1, 4.0]).tolist())


def test_empty_block_is_left_out(tmp_path: Path) -> None:
    recording = read_text(tmp_path, asc(*block(start=10), *block("100\t1.0\t2.0\t3.0\t...")))
    same(recording.block_start, [0])


def test_rate_from_times_where_not_stated(tmp_path: Path) -> None:
    body = [f"{t}\t1.0\t2.0\t3.0\t..." for t in range(100, 120, 4)]
    recording = read_text(tmp_path, asc(*block(*body)).replace("\tRATE\t1000.00", ""))
    assert list(recording.sampling_rate_hz) == [250.0]
    assert "states no rate; its times give 250 Hz" in recording.warnings[0]


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("101\t1.0\t2.0", "the sample has 3 columns; expected time, x, y and pupil of the right eye \\(4 numbers\\)"),
        ("101\t1.0\t2.0\t...", "'...' stands where a number should"),
        ("101\t1.0\tabc\t3.0\t...", "'abc' stands where a number should"),
        ("101\t1.0\t2.0.0\t3.0\t...", "'2.0.0' stands where a number should"),
        ("101x\t1.0\t2.0\t3.0\t...", "'101x' stands where a number should"),
        ("101", "the sample has 1 column;"),
    ],
)
def test_malformed_line_in_the_middle(tmp_path: Path, line: str, message: str) -> None:
    text = asc(*block("100\t1.0\t2.0\t3.0\t...", line, "102\t1.0\t2.0\t3.0\t..."))
    with pytest.raises(RecordingError, match=f"a.asc, line 8: {message}") as caught:
        read_text(tmp_path, text)
    assert caught.value.line == 8
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_one_eye_where_two_are_announced(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"line 7: .*pupil of both eyes \(7 numbers\)"):
        read_text(tmp_path, asc(*block("100\t1.0\t2.0\t3.0\t...", eyes="LEFT RIGHT")))


@pytest.mark.parametrize("kind", ["HREF", "PUPIL", "GAZ"])
def test_samples_that_are_no_gaze(tmp_path: Path, kind: str) -> None:
    with pytest.raises(RecordingError, match=r"line 6: the samples are .*expected gaze in screen pixels.*edf2asc"):
        read_text(tmp_path, asc(*block("100\t1.0\t2.0\t3.0\t...", kind=kind)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (asc("MSG\t1 hello"), "there is no START line"),
        (asc(*block("MSG\t101 hello")), "there are no samples in its blocks"),
        (asc("100\t1.0\t2.0\t3.0\t..."), "there is no START line"),
        (b"SR_RESEARCH_COMBFILE_BETA\0" * 9, "EDF file.*edf2asc"),
        (bytes(range(256)) * 100, "the content is binary"),
        (b"hello\nworld\n", "the format is not known"),
    ],
)
def test_no_recording(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_text(tmp_path, content)


def test_reader_itself_refuses_binary(tmp_path: Path) -> None:
    path = tmp_path / "a.asc"
    path.write_bytes(b"\0\1\2\n" * 1000)
    with pytest.raises(RecordingError, match="binary, not text"):
        read(path, CONFIG)


# ---- messages and events -----------------------------------------------------------------------------------------


def test_messages(tmp_path: Path) -> None:
    lines = [
        "MSG\t90 TRIALID 7",
        "MSG\t100.5 -11 Initial_display",
        "MSG 102 42",
        "MSG\t103 3 4",
        "MSG\t104",
        "MSG\t105 var name \u00e9  two  blanks ",
        "MSG\t106 1.5 seconds",
        "MSG hello",
    ]
    recording = read_text(tmp_path, asc(*lines, *block("100\t1.0\t2.0\t3.0\t...")))
    found = [(m.time_ms, m.text, m.offset_ms, m.line) for m in recording.messages]
    assert found == [
        (90, "TRIALID 7", 0, 2),
        (100.5, "Initial_display", -11, 3),
        (102, "42", 0, 4),
        (103, "4", 3, 5),
        (104, "", 0, 6),
        (105, "var name \u00e9  two  blanks", 0, 7),
        (106, "1.5 seconds", 0, 8),
    ]
    assert recording.warnings == ["1 message lines without a time passed over, the first in line 9"]


def test_messages_in_windows_encoding(tmp_path: Path) -> None:
    text = asc("MSG\t90 image b\u00e4r.jpg", *block("100\t1.0\t2.0\t3.0\t..."))
    assert read_text(tmp_path, text.encode("cp1252")).messages[0].text == "image b\u00e4r.jpg"


def test_native_events(tmp_path: Path) -> None:
    lines = [
        "100\t1.0\t2.0\t3.0\t...",
        "SFIX R   100",
        "EFIX R   100\t150\t51\t  236.1\t  381.9\t   1531",
        "ESACC R  151\t160\t10\t  232.0\t  386.5\t  775.2\t  345.2\t  14.80\t    487",
        "EBLINK R 161\t170\t10",
        "ESACC R  171\t180\t10\t   .\t   .\t  852.1\t  616.2\t 2.3e+06\t    102",
        "EFIX L   181\t190\t10\t  1.0\t  2.0\t   3\t 36.1\t 37.2",
        "EFIX R   oops",
    ]
    recording = read_text(tmp_path, asc(*block(*lines)))
    events = recording.native_events
    assert events["kind"].tolist() == ["fixation", "saccade", "blink", "saccade", "fixation"]
    assert events["eye"].tolist() == ["right"] * 4 + ["left"]
    same(events["onset_ms"], [100, 151, 161, 171, 181])
    same(events["offset_ms"], [150, 160, 170, 180, 190])
    same(events["x_px"], [236.1, 775.2, NAN, 852.1, 1.0])
    same(events["y_px"], [381.9, 345.2, NAN, 616.2, 2.0])
    same(events["amplitude_deg"], [NAN, 14.8, NAN, NAN, NAN])
    same(events["peak_velocity_deg_s"], [NAN, 487, NAN, 102, NAN])
    assert recording.warnings == ["1 event lines that cannot be read passed over, the first in line 14"]


def test_native_events_with_head_referenced_fields(tmp_path: Path) -> None:
    lines = [
        "100\t1.0\t2.0\t3.0\t...",
        "EFIX R   100\t150\t51\t -1000.0\t -2000.0\t   1531\t  236.1\t  381.9\t   1531",
        "ESACC R  151\t160\t10\t1.0\t2.0\t3.0\t4.0\t5.0\t6.0\t  232.0\t  386.5\t  775.2\t  345.2\t  14.80\t    487",
        "EFIX R   161\t170\t51\t -1000.0\t -2000.0\t   1531",
    ]
    text = asc(*block(*lines)).replace("EVENTS\tGAZE", "EVENTS\tHREF")
    events = read_text(tmp_path, text).native_events
    same(events["x_px"], [236.1, 775.2, NAN])
    same(events["peak_velocity_deg_s"], [NAN, 487, NAN])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("DISPLAY_COORDS 0 0 1919 1079", (1920, 1080)),
        ("DISPLAY_COORDS = 0 0 1023 767", (1024, 768)),
        ("GAZE_COORDS 0.00 0.00 1024.00 768.00", (1024, 768)),
        ("GAZE_COORDS 0.00 0.00 1679.00 1049.00", (1680, 1050)),
        ("GAZE_COORDS 0 0 x", None),
        ("GAZE_COORDS 0 0 1.2.3 4", None),
    ],
)
def test_screen_size(tmp_path: Path, text: str, size: tuple[int, int] | None) -> None:
    assert read_text(tmp_path, asc(f"MSG\t90 {text}", *block("100\t1.0\t2.0\t3.0\t..."))).display_px == size


# ---- cut and damaged files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["102\t1", "102\t1.0\t2.0\t3.0\t...", "102", "102\t1.0\t..."])
def test_cut_in_a_sample(tmp_path: Path, tail: str) -> None:
    lines = block("100\t1.0\t2.0\t3.0\t...", "101\t1.0\t2.0\t3.0\t...")[:-1]
    recording = read_text(tmp_path, asc(*lines) + tail)
    assert recording.n_samples == 2
    assert recording.warnings == [
        "the file stops without END; the recording may be incomplete",
        "line 9, the last, is cut short and was dropped",
    ]


def test_cut_in_an_event_or_message(tmp_path: Path) -> None:
    lines = block("100\t1.0\t2.0\t3.0\t...")[:-1]
    event = read_text(tmp_path, asc(*lines) + "EFIX R   100\t150\t51\t  236.1\t  381.9\t   15")
    assert event.native_events == {}
    assert "the event in it was dropped" in event.warnings[-1]
    message = read_text(tmp_path, asc(*lines) + "MSG\t101 TRIAL")
    assert [m.text for m in message.messages] == ["TRIAL"]
    assert "may be cut short" in message.warnings[-1]


def outcome(path: Path) -> Recording | None:
    """Read; None for the one error allowed. A result must be sound."""
    try:
        recording = read_recording(path, CONFIG)
    except RecordingError:
        return None
    n = recording.n_samples
    assert n > 0
    assert all(e.x_px.shape == e.y_px.shape == e.pupil.shape == (n,) for e in recording.eyes.values())
    for part in recording.blocks():
        assert part.stop > part.start
        assert (np.diff(recording.time_ms[part]) > 0).all()
    assert (recording.sampling_rate_hz > 0).all()
    return recording


@pytest.mark.parametrize("name", ["mono2000.asc.gz", "bino500.asc.gz", "eyelink_monocular_no_dummy_example.asc"])
def test_cut_anywhere(data_dir: Path, tmp_path: Path, name: str) -> None:
    source = data_dir / "raw/eyelink_asc" / name
    data = gzip.decompress(source.read_bytes()) if name.endswith("gz") else source.read_bytes()
    path = tmp_path / "cut.asc"
    whole = read_recording(source, CONFIG)
    for k in range(64):
        path.write_bytes(data[: len(data) * k // 64])
        recording = outcome(path)
        if recording is None:
            continue
        n = recording.n_samples
        same(recording.time_ms, whole.time_ms[:n].tolist())
        assert recording.warnings or data[len(data) * k // 64 - 1 :].startswith(b"\n")


def test_random_damage(data_dir: Path, tmp_path: Path) -> None:
    data = (data_dir / "raw/eyelink_asc/eyelink_binocular_example.asc").read_bytes()
    rng = np.random.default_rng(20)
    path = tmp_path / "damaged.asc"
    read_back = 0
    for k in range(200):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = rng.integers(0, damaged.size, 1 + k % 20)
        damaged[where] = rng.integers(0, 256, where.size)
        path.write_bytes(damaged.tobytes())
        read_back += outcome(path) is not None
    assert 0 < read_back < 200


@pytest.mark.parametrize("size", [64, 1000])
def test_pieces_and_room_of_any_size(data_dir: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = data_dir / "raw/eyelink_asc/eyelink_binocular_example.asc"
    whole = read_recording(path, CONFIG)
    monkeypatch.setattr(_asc_scan, "_PIECE", size)
    monkeypatch.setattr(Path, "stat", lambda self: os.stat_result([0o100644, *[1] * 9]))  # claims one byte
    pieces = read(path, CONFIG)
    monkeypatch.undo()
    assert list(pieces.messages) == list(whole.messages)
    assert pieces.warnings == whole.warnings
    same(pieces.time_ms, whole.time_ms.tolist())
    for name, eye in whole.eyes.items():
        same(pieces.eyes[name].x_px, eye.x_px.tolist())
        same(pieces.eyes[name].pupil, eye.pupil.tolist())
    for name, column in whole.native_events.items():
        np.testing.assert_array_equal(pieces.native_events[name], column)


def test_columns_as_printed_are_those_of_python() -> None:
    rng = random.Random(5)
    for _ in range(20_000):
        three = [f"\t{rng.choice([1, 1, 1, -1]) * 10 ** rng.uniform(-2, 7):7.1f}" for _ in range(3)]
        text = list("".join(three) + rng.choice("\t\n 5x"))
        if rng.random() < 0.5:
            text[rng.randrange(len(text))] = rng.choice("0 .-\tx\n%")
        buffer = np.frombuffer("".join(text).encode() + bytes(40), np.uint8)
        *found, good = three_numbers(buffer.ctypes.data)
        columns = "".join(text[:24]).split("\t")
        if good:
            assert len(columns) == 4
            assert text[24] in "\t\n "
            assert found == [float(c) for c in columns[1:]]
        elif text[:25] == [*"".join(three), "\t"]:  # untouched: refused for a sign or for being too long only
            assert any(len(c) > 8 or "-" in c for c in three)


def test_messages_are_a_sequence(tmp_path: Path) -> None:
    lines = ["MSG\t90 one", "MSG\t91\u00a05 two", "MSG\t92 -3 b\u00e4r "]
    messages = read_text(tmp_path, asc(*lines, *block("100\t1.0\t2.0\t3.0\t..."))).messages
    assert len(messages) == 3
    assert [(m.time_ms, m.offset_ms, m.text) for m in messages] == [
        (90, 0, "one"),
        (91, 5, "two"),
        (92, -3, "b\u00e4r"),
    ]
    assert messages[-1] == messages[2] == list(messages)[2]
    assert list(messages[1:]) == list(messages)[1:]
    with pytest.raises(IndexError):
        messages[3]
    assert pickle.loads(pickle.dumps(messages)) == messages  # noqa: S301
