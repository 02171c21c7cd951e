"""Sources of gaze: a replay, the mouse, LSL over the loopback, and trackers of which only their interface is here."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alone import bring_up_loopback, run_alone, with_network_of_its_own

from gazepipe.config import StudyConfig
from gazepipe.live._tobii_process import VARIABLE, other_python
from gazepipe.live._tobii_server import DETAIL, GAZE
from gazepipe.live.clock import measure
from gazepipe.live.eyelink import EyeLinkSource
from gazepipe.live.lsl import LslSource
from gazepipe.live.mouse import MouseSource
from gazepipe.live.replay import ReplaySource
from gazepipe.live.session import LabSession
from gazepipe.live.source import GazeSource, SampleBatch, SampleFlag, SceneFrame, SourceError, host_ns
from gazepipe.live.tobii import TobiiSource
from gazepipe.readers import read_recording

SIZE = (1920, 1080)


def test_every_device_of_the_command_is_there(small_study: Any) -> None:
    from gazepipe.cli.live import session
    from gazepipe.live.devices import DEVICES, open_device

    option = next(p for p in session.params if p.name == "device")
    assert list(option.type.choices) == list(DEVICES)  # type: ignore[attr-defined]
    recording = small_study.recording("p.csv", [("a.png", [(100.0, 100.0, 300.0)])])
    for name in DEVICES:
        source = open_device(name, small_study.open(), replay=recording)
        assert (source.name, isinstance(source, GazeSource)) == (name, True)


def drain(source: GazeSource, n: int, seconds: float = 5.0) -> SampleBatch:
    """Read until there are `n` samples."""
    got: list[SampleBatch] = []
    until = time.monotonic() + seconds
    while sum(map(len, got)) < n and time.monotonic() < until:
        got.append(source.read(0.05))
    return SampleBatch.join(got)


def to_the_end(source: GazeSource, pictures: list[SceneFrame] | None = None) -> SampleBatch:
    """All samples of a source that ends, and its pictures meanwhile."""
    got: list[SampleBatch] = []
    with contextlib.suppress(EOFError):
        while True:
            got.append(source.read(0.01))
            if pictures is not None:
                pictures += source.frames()
    if pictures is not None:
        pictures += source.frames()
    return SampleBatch.join(got)


@pytest.mark.parametrize("source", [MouseSource(SIZE), TobiiSource(SIZE), EyeLinkSource(SIZE), LslSource(SIZE)])
def test_what_is_not_open_says_so(source: GazeSource) -> None:
    assert isinstance(source, GazeSource)
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read(0)


# ---- replay ----------------------------------------------------------------------------------------------------------


def table(path: Path, n: int = 100, step: int = 4) -> Path:
    rows = [f"{1000 + k * step},{k},{2 * k}" for k in range(n)]
    path.write_text("time_ms,x_px,y_px\n" + "\n".join(rows).replace(",50,100", ",,") + "\n")
    return path


def test_a_replay_brings_every_sample_once_at_its_time(tmp_path: Path) -> None:
    source = ReplaySource(table(tmp_path / "p.csv"), StudyConfig())
    assert (source.rate_hz, source.space, source.size_px) == (250, "screen", SIZE)
    for _ in range(2):  # it may be opened again
        begun = host_ns()
        source.open()
        found = to_the_end(source)
        took = host_ns() - begun
        # No sample before its time.
        assert (found.device_ns <= found.received_ns).all()
        np.testing.assert_array_equal(np.diff(found.device_ns), [4_000_000] * 99)
        assert abs(int(found.device_ns[0]) - begun) < 1_000_000_000
        assert took >= 0.396e9
        np.testing.assert_array_equal(found.x_px, [math.nan if k == 50 else k for k in range(100)])
        assert found.flags.tolist() == [int(SampleFlag.NO_GAZE) if k == 50 else 0 for k in range(100)]


def test_a_fast_replay_has_the_times_of_the_recording(tmp_path: Path) -> None:
    source = ReplaySource(table(tmp_path / "p.csv", 2000), StudyConfig(), speed=math.inf)
    source.open()
    found = source.read(0)
    assert len(found) == 2000
    assert found.device_ns[-1] - found.device_ns[0] == 1999 * 4_000_000
    with pytest.raises(EOFError):
        source.read(0)
    source = ReplaySource(table(tmp_path / "p.csv", 2000), StudyConfig(), speed=20)  # 8 s in 0.4 s
    source.open()
    begun = time.monotonic()
    assert len(drain(source, 2000)) == 2000
    assert time.monotonic() - begun > 0.39


def test_pauses_of_a_recording_are_no_samples_lost(small_study: Any) -> None:
    """Between its blocks an EyeLink has no samples: two seconds with 0.6 s of pause failed the check of the rate."""
    text = ["** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED"]
    head = "LEFT\tSAMPLES\tEVENTS\nSAMPLES\tGAZE\tLEFT\tRATE\t250.00\tTRACKING\tCR\tFILTER\t2"
    for start, end in ((1000, 1400), (2000, 6000)):
        text.append(f"START\t{start}\t{head}")
        text += [f"{t}\t  10.0\t  20.0\t 900.0\t..." for t in range(start, end, 4)]
        text.append(f"END\t{end}\tSAMPLES\tEVENTS\tRES\t40.0\t40.0")
    path = small_study.root / "p.asc"
    path.write_text("\n".join(text) + "\n")
    study = small_study.open()
    source = ReplaySource(path, study.config)
    with LabSession(study, user="u1", source=source) as session:
        found = {c.name: c for c in session.check(1.2).checks}["rate"]
        begin = source._start_ns
        assert source.expected(begin, begin + 2_000_000_000) == 100 + 250
        assert source.expected(begin + 500_000_000, begin + 900_000_000) == 0
    assert found.ok
    measured, expected = map(int, re.fullmatch(r"(\d+) Hz of (\d+)", found.found).groups())  # type: ignore[union-attr]
    assert measured >= 0.9 * expected
    assert expected < 200


def test_both_eyes_and_blocks_of_a_replay(tmp_path: Path) -> None:
    lines = [
        "START\t{0}\tLEFT\tRIGHT\tSAMPLES\tEVENTS\nSAMPLES\tGAZE\tLEFT\tRIGHT\tRATE\t250.00\tTRACKING\tCR\tFILTER\t2"
    ]
    text = ["** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED"]
    for start in (5000, 1000):  # the clock of the second block begins anew
        text.append(lines[0].format(start))
        text += [f"{start + 4 * k}\t  10.0\t  20.0\t 900.0\t  30.0\t  40.0\t 900.0\t....." for k in range(3)]
        text.append(f"{start + 12}\t   .\t   .\t   0.0\t  30.0\t  40.0\t 900.0\t.....")
        text.append(f"END\t{start + 13}\tSAMPLES\tEVENTS\tRES\t40.0\t40.0")
    (tmp_path / "p.asc").write_text("\n".join(text) + "\n")
    source = ReplaySource(tmp_path / "p.asc", StudyConfig(), speed=math.inf)
    source.open()
    found = source.read(0)
    assert found.x_px.tolist() == [20, 20, 20, 30] * 2
    assert found.y_px.tolist() == [30, 30, 30, 40] * 2
    assert (np.diff(found.device_ns) > 0).all()
    assert np.isnan(found.pupil_mm).all()  # EyeLink's unit is its own


def test_a_real_recording_replayed_is_the_recording(data_dir: Path) -> None:
    folder = data_dir / "raw" / "neon_native" / "demo_recording"
    if not folder.is_dir():
        pytest.skip(f"no native recording in {folder}")
    source, recording = ReplaySource(folder, speed=math.inf), read_recording(folder, StudyConfig())
    source.open()
    found = source.read(0)
    eye = recording.eyes["cyclopean"]
    assert (source.space, source.size_px, source.rate_hz) == ("scene", (1600, 1200), pytest.approx(200, rel=0.01))
    np.testing.assert_array_equal(found.x_px, np.where(np.isnan(eye.y_px), np.nan, eye.x_px))
    np.testing.assert_array_equal(found.pupil_mm, eye.pupil)
    np.testing.assert_allclose((found.device_ns - found.device_ns[0]) / 1e6, recording.time_ms, atol=1e-6)
    assert source.frames() == []  # its video is not among the data


def test_scene_pictures_come_with_the_gaze(tmp_path: Path) -> None:
    import struct

    import cv2

    origin = 1_760_676_790_465_965_534
    video = cv2.VideoWriter(
        str(tmp_path / "Neon Scene Camera v1 ps1.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 20, (64, 48)
    )
    for k in range(10):
        video.write(np.full((48, 64, 3), 20 * k, np.uint8))
    video.release()
    (tmp_path / "Neon Scene Camera v1 ps1.time").write_bytes(
        struct.pack("<10Q", *(origin + 50_000_000 * k for k in range(10)))
    )
    (tmp_path / "gaze ps1.time").write_bytes(struct.pack("<100Q", *(origin + 5_000_000 * k for k in range(100))))
    (tmp_path / "gaze ps1.raw").write_bytes(np.ones(200, "<f4").tobytes())
    (tmp_path / "worn ps1.raw").write_bytes(bytes([255] * 99 + [0]))
    source = ReplaySource(tmp_path, speed=5)
    source.open()
    seen: list[SceneFrame] = []
    last = to_the_end(source, seen)
    assert np.diff([f.device_ns for f in seen]).tolist() == [50_000_000] * (len(seen) - 1)
    assert len(seen) >= 6  # only the newest of each call are kept
    assert [round(float(f.grey.mean()) / 20) for f in seen][-1] == 9
    assert seen[-1].grey.shape == (48, 64)
    assert last.flags.tolist() == [0] * 99 + [int(SampleFlag.NOT_WORN | SampleFlag.NO_GAZE)]
    assert source.status().worn is False


def test_replays_at_no_speed_are_refused(tmp_path: Path) -> None:
    for speed in (0, -1, math.nan):
        with pytest.raises(SourceError, match="positive number"):
            ReplaySource(table(tmp_path / "p.csv"), speed=speed)


# ---- Neon ------------------------------------------------------------------------------------------------------------


def test_the_lens_of_a_neon_comes_from_the_phone(data_dir: Path) -> None:
    from fake_neon import FakeNeon, Trace

    from gazepipe.live.neon import NeonSource
    from gazepipe.markers.camera import camera_of_recording

    folder = data_dir / "raw" / "neon_native" / "demo_recording"
    if not folder.is_dir():
        pytest.skip(f"no native recording in {folder}")
    with FakeNeon(Trace.steady(4)) as phone:
        phone.calibration = (folder / "calibration.bin").read_bytes()
        source = NeonSource(phone.address)
        source.open()
        found = source.camera()
        drain(source, 1)  # the client leaves sockets open where a stream ends before it has begun
        source.close()
    expected = camera_of_recording(folder)
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    np.testing.assert_array_equal(found.distortion, expected.distortion)
    assert found.px == (1600, 1200)


def test_gaze_waits_for_a_busy_program() -> None:
    """The system's usual buffer takes a second of samples, which importing a library may last."""
    import socket

    from fake_neon import FakeNeon, Trace

    from gazepipe.live.neon import NeonSource

    def kept(end: socket.socket) -> int:
        return end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual, socket.socket(type=socket.SOCK_DGRAM) as most:
        most.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        least, possible = kept(usual), kept(most)
    if possible <= least:
        pytest.skip(f"this system gives no socket more than its usual {least} bytes")
    with FakeNeon(Trace.steady(2)) as phone:
        source = NeonSource(phone.address)
        source.open()
        drain(source, 1)
        assert kept(source._datagrams[0]) == possible
        source.close()


def test_an_answer_to_a_withdrawn_question_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions ended with a traceback of the client for each stream whose TEARDOWN was answered too late."""
    import logging

    from aiortsp.rtsp.connection import RTSPConnection
    from fake_neon import FakeNeon, Trace

    from gazepipe.live.neon import NeonSource

    async def late() -> str:
        connection = RTSPConnection("127.0.0.1", 1, logger=logging.getLogger("quiet"))
        question = connection.active_requests[1] = asyncio.get_running_loop().create_future()
        question.cancel()
        connection.data_received(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
        return type(connection.result.exception().__cause__).__name__

    with FakeNeon(Trace.steady(1)) as phone:
        source = NeonSource(phone.address)
        source.open()
        drain(source, 1)
        source.close()
    assert asyncio.run(late()) == "InvalidStateError"
    assert "Traceback" not in capsys.readouterr().err


# ---- mouse -----------------------------------------------------------------------------------------------------------


def test_the_mouse_is_asked_at_an_even_rate() -> None:
    places = iter(range(10_000))
    source = MouseSource(SIZE, 200, lambda: (float(next(places)), 7.0))
    source.open()
    found = drain(source, 40)
    source.close()
    assert found.x_px.tolist() == list(range(len(found)))
    steps = np.diff(found.device_ns) / 1e6
    # A busy computer may be late, but is never early.
    assert np.median(steps) > 4
    assert len(found) <= (found.device_ns[-1] - found.device_ns[0]) / 5e6 + 2


def test_samples_missed_by_the_mouse_are_not_made_up() -> None:
    source = MouseSource(SIZE, 100, lambda: (1.0, 2.0))
    source.open()
    time.sleep(0.1)
    assert len(source.read(0)) == 1
    assert len(source.read(0)) == 0


@pytest.mark.skipif(bool(os.environ.get("DISPLAY")) or sys.platform != "linux", reason="there is a screen")
def test_without_a_screen_there_is_no_mouse() -> None:
    with pytest.raises(SourceError, match="screen"):
        MouseSource(SIZE).open()


# ---- Tobii -----------------------------------------------------------------------------------------------------------


class TobiiTracker:
    """What `tobii_research.EyeTracker` has, as its documentation says."""

    model, serial_number, firmware_version, address = "Tobii Pro Spectrum", "TPSP1-1", "2.6", "tet-tcp://1.2.3.4"

    def __init__(self, address: str = "") -> None:
        self.callbacks: dict[str, Any] = {}
        self.wanted = address

    def get_gaze_output_frequency(self) -> float:
        return 600.0

    def subscribe_to(self, stream: str, callback: Any, as_dictionary: bool = False) -> None:
        assert as_dictionary
        self.callbacks[stream] = callback

    def unsubscribe_from(self, stream: str, callback: Any = None) -> None:
        assert self.callbacks.pop(stream) == callback


@pytest.fixture
def tobii(monkeypatch: pytest.MonkeyPatch) -> Any:
    sdk = types.ModuleType("tobii_research")
    tracker = TobiiTracker()
    found = [tracker]
    sdk.__dict__.update(
        EYETRACKER_GAZE_DATA="eyetracker_gaze_data",
        EYETRACKER_NOTIFICATION_CONNECTION_LOST="eyetracker_notification_connection_lost",
        find_all_eyetrackers=lambda: tuple(found),
        EyeTracker=TobiiTracker,
        get_system_time_stamp=lambda: (host_ns() - 5_000_000_000) // 1000,
        tracker=tracker,
        found=found,
    )
    monkeypatch.setitem(sys.modules, "tobii_research", sdk)
    return sdk


def tobii_gaze(time_us: int, left: Any, right: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"device_time_stamp": time_us + 77, "system_time_stamp": time_us}
    for eye, value in (("left", left), ("right", right)):
        data[f"{eye}_gaze_point_on_display_area"] = value[:2] if value else (math.nan, math.nan)
        data[f"{eye}_gaze_point_validity"] = int(bool(value))
        data[f"{eye}_pupil_diameter"] = value[2] if value else math.nan
        data[f"{eye}_pupil_validity"] = int(bool(value))
    return data


def test_tobii_gaze_is_the_mean_of_the_valid_eyes(tobii: Any) -> None:
    source = TobiiSource(SIZE)
    source.open()
    assert source.rate_hz == 600
    send = tobii.tracker.callbacks["eyetracker_gaze_data"]
    threading.Thread(
        target=lambda: (time.sleep(0.05), send(tobii_gaze(1000, (0.25, 0.5, 3.0), (0.75, 0.7, 4.0))))
    ).start()
    first = source.read(2.0)
    send(tobii_gaze(2667, None, (0.5, 0.5, 4.0)))
    send(tobii_gaze(4333, None, None))
    found = SampleBatch.join([first, source.read(0)])
    assert found.device_ns.tolist() == [1_000_000, 2_667_000, 4_333_000]
    np.testing.assert_allclose(found.x_px, [960, 960, np.nan])
    np.testing.assert_allclose(found.y_px, [648, 540, np.nan])
    np.testing.assert_allclose(found.pupil_mm, [3.5, 4, np.nan])
    assert found.flags.tolist() == [0, 0, int(SampleFlag.NO_GAZE)]
    assert len(source.read(0.01)) == 0
    assert source.status().detail["serial_number"] == "TPSP1-1"
    # The SDK's clock here is five seconds behind ours.
    assert abs(measure(source.clock(20)).offset_ns - 5e9) < 20e6
    source.close()
    assert tobii.tracker.callbacks == {}


def test_a_lost_tobii_ends_after_what_has_arrived(tobii: Any) -> None:
    source = TobiiSource(SIZE)
    source.open()
    tobii.tracker.callbacks["eyetracker_gaze_data"](tobii_gaze(1000, (0.5, 0.5, 3.0), None))
    tobii.tracker.callbacks["eyetracker_notification_connection_lost"]({"system_time_stamp": 1})
    assert len(source.read(0)) == 1
    with pytest.raises(SourceError, match="lost"):
        source.read(0)
    source.open()  # again
    assert len(source.read(0)) == 0
    source.close()


def test_which_tobii_must_be_clear(tobii: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tobii.found.append(TobiiTracker())
    with pytest.raises(SourceError, match="2 Tobii trackers"):
        TobiiSource(SIZE).open()
    chosen = TobiiSource(SIZE, "tet-tcp://9.9.9.9")
    chosen.open()
    assert chosen._tracker.wanted == "tet-tcp://9.9.9.9"
    tobii.found.clear()
    with pytest.raises(SourceError, match="0 Tobii trackers"):
        TobiiSource(SIZE).open()
    monkeypatch.setitem(sys.modules, "tobii_research", None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SourceError, match=r"pip install tobii-research.*for Python 3\.10"):
        TobiiSource(SIZE).open()


#: What an SDK is to the process that serves it: a tracker of 500 Hz, lost after a while.
SDK = """
import threading, time
EYETRACKER_GAZE_DATA, EYETRACKER_NOTIFICATION_CONNECTION_LOST = "gaze", "lost"
get_system_time_stamp = lambda: time.monotonic_ns() // 1000 + 7_000_000
class EyeTracker:
    model, serial_number, firmware_version = "Spectrum", "S1", "2.6"
    def __init__(self, address): self.address = address
    def get_gaze_output_frequency(self): return 500.0
    def subscribe_to(self, what, call, as_dictionary=False):
        if what == "lost": self.lost = call; threading.Thread(target=self.run, daemon=True).start()
        else: self.gaze = call
    def run(self):
        print("a word of its own", flush=True)
        for k in range(200):
            time.sleep(0.002)
            data = {"system_time_stamp": get_system_time_stamp(), "device_time_stamp": k}
            for eye in ("left", "right"):
                there = k % 10 > 0
                data[eye + "_gaze_point_on_display_area"] = (k / 1000, 0.5) if there else (float("nan"),) * 2
                data[eye + "_gaze_point_validity"] = data[eye + "_pupil_validity"] = there
                data[eye + "_pupil_diameter"] = 3.0
            self.gaze(data)
        self.lost({})
find_all_eyetrackers = lambda: TRACKERS
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Python that has an SDK, which this one has not; called with the trackers that are found."""
    if sys.platform == "win32":
        pytest.skip("the other Python is a shell script")
    monkeypatch.setitem(sys.modules, "tobii_research", None)
    monkeypatch.delenv(VARIABLE, raising=False)

    def make(trackers: str) -> str:
        (tmp_path / "tobii_research.py").write_text(SDK + f"TRACKERS = {trackers}\n")
        path = tmp_path / "python"
        path.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
        path.chmod(0o755)
        return str(path)

    return make


def test_a_tobii_through_another_python(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK is there for fewer Pythons than gazepipe."""
    monkeypatch.setenv(VARIABLE, other('[EyeTracker("tet-tcp://1.2.3.4")]'))
    source = TobiiSource(SIZE)
    source.open()
    assert source.rate_hz == 500
    assert source.status().detail["address"] == "tet-tcp://1.2.3.4"
    offset = measure(source.clock(20)).offset_ns
    assert abs(offset - (host_ns() - time.monotonic_ns() - 7e9)) < 20e6
    found = drain(source, 200)
    wanted = np.array([k / 1000 * 1920 if k % 10 else np.nan for k in range(200)])
    np.testing.assert_allclose(found.x_px, wanted, rtol=1e-6)
    assert (found.received_ns - found.device_ns - offset < 1e9).all()
    process = source._process
    assert process is not None
    assert os.getpgid(process._process.pid) != os.getpgid(0)  # a Ctrl-C does not reach it
    with pytest.raises(SourceError, match="lost; look at its cable"):
        drain(source, 1)
    source.close()
    assert process._process.poll() is not None
    with pytest.raises(SourceError, match="not open"):
        source.read(0)
    source.open()  # again
    assert len(drain(source, 1))
    source.close()


def test_what_another_python_lacks_is_said(other: Any, tmp_path: Path) -> None:
    for trackers, said in (
        ("[]", "0 Tobii trackers were found; switch one on"),
        ('[EyeTracker("a"), EyeTracker("b")]', r"2 Tobii trackers were found \(a, b\)"),
        ("1 / 0", "cannot be used|is not there"),
    ):
        with pytest.raises(SourceError, match=said):
            TobiiSource(SIZE, python=other(trackers)).open()
    with pytest.raises(SourceError, match=f"this Python cannot be run .*correct {VARIABLE}"):
        TobiiSource(SIZE, python=str(tmp_path / "nowhere")).open()
    with pytest.raises(SourceError, match=r"is not there .*-m pip install tobii-research"):
        TobiiSource(SIZE, python="/bin/true").open()


def test_the_real_sdk_has_what_is_used() -> None:
    python = other_python()
    code = """
import inspect, json, tobii_research as sdk
print(json.dumps({
    "subscribe": list(inspect.signature(sdk.EyeTracker.subscribe_to).parameters),
    "unsubscribe": list(inspect.signature(sdk.EyeTracker.unsubscribe_from).parameters),
    "names": sorted(set(dir(sdk)) | set(dir(sdk.EyeTracker))),
    "gaze": inspect.getsource(sdk.GazeData.__init__),
}))
"""
    run = subprocess.run([python, "-E", "-c", code], capture_output=True, text=True) if python else None
    if run is None or run.returncode:
        pytest.skip(f"no Python with Tobii's SDK ({VARIABLE})")
    real = json.loads(run.stdout)
    assert real["subscribe"] == ["self", "subscription_type", "callback", "as_dictionary"]
    assert real["unsubscribe"][:3] == ["self", "subscription_type", "callback"]
    used = {"EYETRACKER_GAZE_DATA", "EYETRACKER_NOTIFICATION_CONNECTION_LOST", "EyeTracker", "find_all_eyetrackers"}
    used |= {"get_system_time_stamp", "get_gaze_output_frequency", *DETAIL}
    assert used <= {*real["names"]}
    assert [key for key in GAZE if f'data["{key}"]' not in real["gaze"]] == []


# ---- EyeLink ---------------------------------------------------------------------------------------------------------


class EyeLinkSample:
    """What `pylink.Sample` has, as SR Research's guide says."""

    def __init__(self, time_ms: float, left: Any = None, right: Any = None) -> None:
        self.time, self.left, self.right = time_ms, left, right

    def getTime(self) -> float:
        return self.time

    def isLeftSample(self) -> bool:
        return self.left is not None

    def isRightSample(self) -> bool:
        return self.right is not None

    def isBinocular(self) -> bool:
        return self.isLeftSample() and self.isRightSample()

    def getLeftEye(self) -> Any:
        return types.SimpleNamespace(getGaze=lambda: self.left, getPupilSize=lambda: 900.0)

    def getRightEye(self) -> Any:
        return types.SimpleNamespace(getGaze=lambda: self.right, getPupilSize=lambda: 900.0)


class EyeLink:
    """What `pylink.EyeLink` has of what is used."""

    def __init__(self, address: str = "100.1.1.1") -> None:
        self.address, self.log, self.queue, self.recording = address, [], [], False
        self.problem, self.item = 0, None

    def setOfflineMode(self) -> None:
        self.log.append("offline")

    def sendCommand(self, text: str) -> None:
        self.log.append(text)

    def sendMessage(self, text: str) -> None:
        self.log.append(f"MSG {text}")

    def startRecording(self, *what: int) -> int:
        self.log.append(("record", what))
        self.recording = not self.problem
        return self.problem

    def stopRecording(self) -> None:
        self.recording = False

    def isRecording(self) -> int:
        return 0 if self.recording else -1

    def isConnected(self) -> bool:
        return True

    def getNextData(self) -> int:
        if not self.queue:
            return 0
        kind, self.item = self.queue.pop(0)
        return int(kind)

    def getFloatData(self) -> Any:
        return self.item

    def trackerTimeUsec(self) -> float:
        return (host_ns() - 7_000_000_000) / 1e3

    def getTrackerVersionString(self) -> str:
        return "EYELINK CL 5.15"

    def close(self) -> None:
        self.log.append("closed")


@pytest.fixture
def eyelink(monkeypatch: pytest.MonkeyPatch) -> list[EyeLink]:
    made: list[EyeLink] = []

    def connect(address: str) -> EyeLink:
        made.append(EyeLink(address))
        return made[-1]

    module = types.ModuleType("pylink")
    module.EyeLink = connect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pylink", module)
    return made


def test_every_sample_of_the_link_is_taken(eyelink: list[EyeLink]) -> None:
    source = EyeLinkSource(SIZE, rate_hz=500)
    source.open()
    tracker = eyelink[0]
    assert tracker.log[:5] == [
        "offline",
        "screen_pixel_coords = 0 0 1919 1079",
        "MSG DISPLAY_COORDS 0 0 1919 1079",
        "sample_rate 500",
        "link_sample_data = LEFT,RIGHT,GAZE,GAZERES,AREA,STATUS",
    ]
    assert tracker.log[5] == ("record", (1, 1, 1, 1))
    tracker.queue += [
        (200, EyeLinkSample(1000, left=(100.0, 200.0))),
        (7, "a fixation begins"),
        (200, EyeLinkSample(1002.5, right=(300.0, 400.0))),
        (200, EyeLinkSample(1004, left=(100.0, 200.0), right=(300.0, 400.0))),
        (200, EyeLinkSample(1006, left=(-32768.0, -32768.0), right=(300.0, 400.0))),
        (200, EyeLinkSample(1008, left=(-32768.0, -32768.0), right=(-32768.0, -32768.0))),
    ]
    found = source.read(1.0)
    assert found.device_ns.tolist() == [1_000_000_000, 1_002_500_000, 1_004_000_000, 1_006_000_000, 1_008_000_000]
    np.testing.assert_array_equal(found.x_px, [100, 300, 200, 300, np.nan])
    np.testing.assert_array_equal(found.y_px, [200, 400, 300, 400, np.nan])
    assert np.isnan(found.pupil_mm).all()
    assert len(source.read(0.01)) == 0
    assert abs(measure(source.clock(20)).offset_ns - 7e9) < 20e6
    source.send_event("IMAGE_ON a.png", 5)
    assert tracker.log[-1] == "MSG IMAGE_ON a.png"
    tracker.recording = False
    with pytest.raises(SourceError, match="stopped recording"):
        source.read(0)
    source.close()
    assert tracker.log[-1] == "closed"


def test_a_tracker_that_is_connected_stays_so() -> None:
    tracker = EyeLink()
    source = EyeLinkSource(SIZE, tracker=tracker)
    source.open()
    assert source.status().detail == {"version": "EYELINK CL 5.15"}
    source.close()
    assert "closed" not in tracker.log
    assert not tracker.recording


def test_an_eyelink_that_does_not_answer_is_told_of(eyelink: list[EyeLink], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EyeLink()
    broken.problem = 27
    with pytest.raises(SourceError, match="does not record"):
        EyeLinkSource(SIZE, tracker=broken).open()

    def refuse(address: str) -> None:
        raise RuntimeError("Link terminated")

    monkeypatch.setattr(sys.modules["pylink"], "EyeLink", refuse)
    with pytest.raises(SourceError, match="does not answer"):
        EyeLinkSource(SIZE).open()
    monkeypatch.setattr(sys.modules["pylink"], "EyeLink", None)
    monkeypatch.delattr(sys.modules["pylink"], "EyeLink")  # the other package of that name
    with pytest.raises(SourceError, match="pip install sr-research-pylink"):
        EyeLinkSource(SIZE).open()


def test_an_eyelink_that_is_not_connected_is_told_of() -> None:
    for connected, how in ((-1, "is in dummy mode"), (0, "is not connected")):
        tracker = EyeLink()
        tracker.isConnected = lambda connected=connected: connected  # type: ignore[method-assign, misc]
        with pytest.raises(SourceError, match=f"the EyeLink {how}, and gives no gaze"):
            EyeLinkSource(SIZE, tracker=tracker).open()
        assert not tracker.recording


def test_an_eyelink_that_falls_away_ends_no_session(eyelink: list[EyeLink]) -> None:
    source = EyeLinkSource(SIZE)
    source.open()
    tracker = eyelink[0]
    tracker.trackerTimeUsec = lambda: -1.0  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="tells no time"):
        source.clock(3)

    def broken() -> int:
        raise RuntimeError("link terminated")

    tracker.getNextData = broken  # type: ignore[method-assign]
    with pytest.raises(SourceError, match=r"broke off \(link terminated\)"):
        source.read(0)


def test_the_real_pylink_has_what_is_used() -> None:
    """Its samples are objects of its own, made here; no tracker is there to send them."""
    try:
        import pylink

        real = pylink.EyeLink(None)  # not connected
    except (ImportError, AttributeError):
        pytest.skip("SR Research's pylink is not installed")
    stand_in = [name for name, value in vars(EyeLink).items() if callable(value) and not name.startswith("_")]
    assert [name for name in stand_in if not callable(getattr(real, name, None))] == []
    assert (pylink.SAMPLE_TYPE, pylink.MISSING_DATA) == (200, -32768)
    with pytest.raises(SourceError, match="dummy mode"):
        EyeLinkSource(SIZE, tracker=real).open()

    def sample(time_ms: float, eyes: int, left: Any, right: Any) -> Any:
        nothing: list[Any] = [(0, 0)] * 5
        where = [left[0], right[0]], [left[1], right[1]]
        rest = [0] * (len(inspect.signature(pylink.Sample).parameters) - 10)
        return pylink.Sample(time_ms, 200, eyes, *nothing, *where, *rest)

    gone = (-32768.0, -32768.0)
    tracker = EyeLink()
    tracker.queue = [
        (200, sample(1000.0, 0xC000, (100.0, 200.0), (300.0, 400.0))),
        (200, sample(1000.5, 0x8000, (100.0, 200.0), gone)),
        (200, sample(1001.0, 0x4000, gone, (300.0, 400.0))),
        (200, sample(1001.5, 0xC000, gone, (300.0, 400.0))),
        (200, sample(1002.0, 0xC000, gone, gone)),
    ]
    source = EyeLinkSource(SIZE, tracker=tracker)
    source.open()
    found = source.read(0)
    source.close()
    assert found.device_ns.tolist() == [1_000_000_000 + 500_000 * k for k in range(5)]
    np.testing.assert_array_equal(found.x_px, [200, 100, 300, 300, np.nan])
    np.testing.assert_array_equal(found.y_px, [300, 200, 400, 400, np.nan])


# ---- Lab Streaming Layer ---------------------------------------------------------------------------------------------


def test_lsl_in_a_network_of_its_own() -> None:
    """LSL's sender listens on all of a computer's addresses, which cannot be configured: here there is but one."""
    if importlib.util.find_spec("pylsl") is None:
        pytest.skip("pylsl is not installed")
    run_alone(Path(__file__), "lsl_", 8)


@pytest.fixture(scope="module")
def lsl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """LSL on the loopback, the only network there is."""
    bring_up_loopback()
    path = tmp_path_factory.mktemp("lsl") / "lsl_api.cfg"
    path.write_text(
        "[ports]\nIPv6 = disable\n[multicast]\nResolveScope = machine\nListenAddress = 127.0.0.1\n"
        "AddressesOverride = {127.0.0.1}\n[lab]\nKnownPeers = {127.0.0.1}\n[log]\nlevel = -2\n"
    )
    os.environ["LSLAPICFG"] = str(path)
    import pylsl

    yield pylsl
    del os.environ["LSLAPICFG"]


def outlet(lsl: Any, name: str, channels: list[dict[str, str]], rate: float = 250) -> Any:
    info = lsl.StreamInfo(name, "Gaze", len(channels), rate, "float32", f"id-{name}")
    described = info.desc().append_child("channels")
    for channel in channels:
        node = described.append_child("channel")
        for key, value in channel.items():
            node.append_child_value(key, value)
    return lsl.StreamOutlet(info)


@with_network_of_its_own
def test_lsl_gaze_of_a_stream_that_tells_its_channels(lsl: Any) -> None:
    channels = [
        {"label": "confidence", "type": "Confidence", "unit": "normalized", "eye": "both"},
        {"label": "lx", "type": "ScreenX", "unit": "normalized", "eye": "left"},
        {"label": "rx", "type": "ScreenX", "unit": "normalized", "eye": "right"},
        {"label": "ly", "type": "ScreenY", "unit": "normalized", "eye": "left"},
        {"label": "ry", "type": "ScreenY", "unit": "normalized", "eye": "right"},
        {"label": "pl", "type": "Diameter", "unit": "mm", "eye": "left"},
        {"label": "px", "type": "Diameter", "unit": "pixels", "eye": "left"},
    ]
    sender = outlet(lsl, "told", channels)
    source = LslSource(SIZE, "told", timeout_s=10)
    source.open()
    assert (source.rate_hz, source.space) == (250, "screen")
    assert sender.wait_for_consumers(5)
    stamps = [lsl.local_clock() + k * 0.004 for k in range(3)]
    nan = math.nan
    rows = [[1, 0.25, 0.75, 0.5, 0.5, 3, 40], [1, nan, 0.5, nan, 0.25, 3, 40], [0, nan, nan, nan, nan, nan, 40]]
    for row, stamp in zip(rows, stamps, strict=True):
        sender.push_sample(row, stamp)
    found = drain(source, 3)
    np.testing.assert_allclose(found.x_px, [960, 960, np.nan])
    np.testing.assert_allclose(found.y_px, [540, 270, np.nan])
    np.testing.assert_allclose(found.pupil_mm, [3, 3, np.nan])
    np.testing.assert_allclose(found.device_ns / 1e9, stamps, atol=1e-7)
    # Sender and receiver have one clock here: its offset from ours is that of LSL's clock.
    offset = measure(source.clock(5)).offset_ns
    assert abs(offset - (host_ns() - lsl.local_clock() * 1e9)) < 5e6
    assert source.status().detail["stream"] == "told"
    source.close()


@with_network_of_its_own
def test_lsl_channels_by_label_or_number(lsl: Any) -> None:
    sender = outlet(lsl, "plain", [{"label": "a"}, {"label": "b"}])
    with pytest.raises(SourceError, match=r"does not say which.*0: a \(no type\)"):
        LslSource(SIZE, "plain", timeout_s=10).open()
    with pytest.raises(SourceError, match="no channel 'c'; it has a, b"):
        LslSource(SIZE, "plain", x=["c"], y=["b"], timeout_s=10).open()
    source = LslSource(SIZE, "plain", x=["a"], y=[1], unit="normalised", y_up=True, timeout_s=10)
    source.open()
    assert sender.wait_for_consumers(5)
    sender.push_sample([0.5, 0.25])
    found = drain(source, 1)
    np.testing.assert_allclose([found.x_px[0], found.y_px[0]], [960, 810])
    source.close()


@with_network_of_its_own
def test_lsl_stream_that_ends_is_told_of(lsl: Any) -> None:
    sender = outlet(
        lsl, "ending", [{"label": "x", "type": "ScreenX", "coordinate_system": "world"}, {"type": "ScreenY"}]
    )
    source = LslSource((1600, 1200), "ending", timeout_s=10)
    source.open()
    assert source.space == "scene"
    del sender
    with pytest.raises(SourceError, match="ended"):
        drain(source, 1, 10)
    source.close()


@with_network_of_its_own
def test_lsl_stream_that_is_not_there(lsl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="0 LSL streams of name 'nobody'"):
        LslSource(SIZE, "nobody", timeout_s=0.3).open()
    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(SourceError, match=r"gazepipe\[lsl\]"):
        LslSource(SIZE).open()


@with_network_of_its_own
def test_lsl_stream_that_tells_no_rate(lsl: Any) -> None:
    """As Pupil Labs' relays: the rate is found, and what came meanwhile is there."""
    channels = [
        {"label": "norm_pos_x", "type": "ScreenX", "eye": "both", "unit": "normalized", "coordinate_system": "world"},
        {"label": "norm_pos_y", "type": "ScreenY", "eye": "both", "unit": "normalized", "coordinate_system": "world"},
    ]
    sender = outlet(lsl, "relay", channels, lsl.IRREGULAR_RATE)
    source = LslSource(SIZE, timeout_s=10)
    begin = lsl.local_clock()
    due = [begin + k * 0.005 + (0.0002 if k % 3 else 0) for k in range(200)]

    def send(by: Any) -> None:
        assert by.wait_for_consumers(10)
        for k, stamp in enumerate(due):
            by.push_sample([k / 1000, 0.25], stamp)
            time.sleep(0.002)

    sending = threading.Thread(target=send, args=(sender,))
    sending.start()
    source.open()
    assert source.rate_hz == pytest.approx(200, rel=0.05)
    found = drain(source, 200)
    sending.join()
    source.close()
    np.testing.assert_allclose(found.x_px, np.arange(200) / 1000 * 1920, rtol=1e-5)
    np.testing.assert_allclose(found.device_ns / 1e9, due, atol=1e-6)
    # Pupil Capture counts from below.
    assert source.space == "scene"
    np.testing.assert_allclose(found.y_px, 810)
    still = outlet(lsl, "still", channels, lsl.IRREGULAR_RATE)
    with pytest.raises(SourceError, match=r"'still' tells no rate, and 0 samples came in 1 s; .* or give rate_hz"):
        LslSource(SIZE, "still", timeout_s=1).open()
    told = LslSource(SIZE, "still", rate_hz=120, timeout_s=10)
    told.open()
    assert told.rate_hz == 120
    told.close()
    del sender, still


@with_network_of_its_own
def test_lsl_streams_of_one_name_are_told_apart(lsl: Any) -> None:
    channels = [{"label": "x", "type": "ScreenX"}, {"label": "y", "type": "ScreenY"}]
    info = [lsl.StreamInfo("twice", "Gaze", 2, 250, "float32", f"id-{k}") for k in range(2)]
    senders = [lsl.StreamOutlet(one) for one in info]
    with pytest.raises(SourceError, match=r"^2 LSL streams of name 'twice' were found .*; end all but one\.$"):
        LslSource(SIZE, "twice", timeout_s=10).open()
    senders += [outlet(lsl, name, channels) for name in ("one", "two")]
    with pytest.raises(SourceError, match=r"of type 'Gaze' were found .*; name one\.$"):
        LslSource(SIZE, timeout_s=10).open()


def sender(clock_s: int, **options: Any) -> subprocess.Popen[str]:
    """A sender whose clock is so far from ours; it says its time when it sends."""
    command = [sys.executable, str(Path(__file__).with_name("lsl_sender.py")), json.dumps(options)]
    apart = ["unshare", "--time", f"--monotonic={clock_s}", f"--boottime={clock_s}", "--fork", "--kill-child"]
    return subprocess.Popen([*apart, *command], stdout=subprocess.PIPE, text=True)


def without_clocks_of_their_own() -> bool:
    return subprocess.run(["unshare", "--time", "--fork", "true"], capture_output=True).returncode != 0


@with_network_of_its_own
def test_lsl_sender_with_another_clock(lsl: Any, small_study: Any) -> None:
    """Times of samples, also of a sender that ends and comes back on a computer with yet another clock."""
    if without_clocks_of_their_own():
        pytest.skip("this system gives no clock of its own to a process (unshare --time)")
    options = {"name": "far", "rate_hz": 250, "told_hz": 250, "seconds": 60}
    begun: list[float] = []
    with contextlib.ExitStack() as all_of_them:

        def begin(clock_s: int) -> subprocess.Popen[str]:
            process = all_of_them.enter_context(sender(clock_s, **options))
            all_of_them.callback(process.kill)
            assert process.stdout is not None
            begun.append(float(process.stdout.readline()) - clock_s)
            return process

        first = begin(12345)
        study = small_study.open()
        source = LslSource(SIZE, "far", timeout_s=10)
        epoch = host_ns() - lsl.local_clock() * 1e9  # LSL's clock to ours
        with LabSession(study, user="u1", source=source, clock_s=1.0, echoes=10) as session:
            time.sleep(2.0)
            first.kill()
            first.wait()
            begin(99)
            until = time.monotonic() + 15
            while not session.recorder.reconnected and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(2.0)
    assert (session.recorder.lost, session.recorder.reconnected) == (1, 1)
    recording = read_recording(session.folder, study.config)
    number = np.rint(recording.eyes["cyclopean"].x_px.astype(float) / 1920 * 4000)
    back = int(np.argmin(np.diff(number))) + 1
    np.testing.assert_allclose(recording.eyes["cyclopean"].y_px, 540, atol=0.01)
    at = recording.meta["time_origin_ns"] + recording.time_ms * 1e6
    for part, start in ((slice(0, back), begun[0]), (slice(back, None), begun[1])):
        true = start * 1e9 + number[part] * 4e6 + epoch
        assert number[part].size > 300
        assert np.abs(at[part] - true).max() < 2e6
    assert (np.diff(number)[: back - 1] == 1).all()
    assert (np.diff(number)[back:] == 1).all()


@with_network_of_its_own
def test_lsl_session_stays_with_its_stream(lsl: Any) -> None:
    channels = [{"label": "x", "type": "ScreenX"}, {"label": "y", "type": "ScreenY"}]
    mine = outlet(lsl, "mine", channels)
    source = LslSource(SIZE, timeout_s=3)
    source.open()
    source.close()
    other = outlet(lsl, "other", channels)
    source.open()
    assert source.status().detail["stream"] == "mine"
    source.close()
    del mine
    with pytest.raises(SourceError, match="0 LSL streams of name 'mine'"):
        source.open()
    del other


def test_a_sample_that_two_streams_bring_is_there_once() -> None:
    """The last one before a stream broke off may come again; after the clock was set back, times alone may."""
    from gazepipe.live.neon import NeonSource

    source = NeonSource("127.0.0.1")

    def arrives(seconds: float, x: float) -> None:
        sizes = {"pupil_diameter_left": math.nan, "pupil_diameter_right": math.nan}
        source._take(types.SimpleNamespace(timestamp_unix_seconds=seconds, x=x, y=5.0, worn=True, **sizes))

    for seconds, x in [(1.0, 1.0), (1.005, 2.0), (1.00501, 2.0), (1.01, 3.0), (1.0, 4.0), (1.015, 3.0)]:
        arrives(seconds, x)
    assert [sample[2] for sample in source._samples] == [1.0, 2.0, 3.0, 4.0, 3.0]
