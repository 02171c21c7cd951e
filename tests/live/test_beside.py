"""What a Neon tells beside gaze: a stall or a fault of one stream costs the others nothing.

The phone's inertial unit counts: the x of its angular velocity is the reading's number, a hundred a second.
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_neon import Clock, FakeNeon, Faults, Packet, Trace
from scene import HalfSize

from gazepipe.live.beside import EYE_EVENT, EYE_EVENTS, IMU, KINDS, on_our_clock, read_beside
from gazepipe.live.neon import NeonSource
from gazepipe.live.presenter import SilentPresenter
from gazepipe.live.recording import RECORD
from gazepipe.live.session import LabSession
from gazepipe.live.source import SourceError
from gazepipe.readers import read_recording
from gazepipe.readers.live_session import beside

if TYPE_CHECKING:
    from conftest import SmallStudy


def reading(number: int, clock: Clock) -> bytes:
    from pupil_labs.neon_recording.timeseries.imu.imu_pb2 import ImuPacket

    packet = ImuPacket(tsNs=clock(number / 100))
    packet.gyroData.x = number
    packet.accelData.z = packet.rotVecData.w = 1.0
    return bytes(packet.SerializeToString())


def fixation(at_s: float, clock: Clock) -> bytes:
    return struct.pack("!iqq10f", 1, clock(at_s - 0.2), clock(at_s - 0.05), *range(10))


def steady(seconds: float) -> dict[str, list[Packet]]:
    """A hundred readings and four fixations a second."""
    imu = [Packet(k / 100, partial(reading, k)) for k in range(round(seconds * 100))]
    events = [Packet(k / 4 + 0.3, partial(fixation, k / 4 + 0.3)) for k in range(round(seconds * 4))]
    return {"imu": imu, "eye_events": events}


def recorded(study: SmallStudy, faults: Faults, seconds: float) -> tuple[FakeNeon, LabSession]:
    with FakeNeon(Trace.steady(seconds + 3), faults, others=steady(seconds + 3)) as phone:
        source = NeonSource(phone.address, timeout_s=1.0)
        settings = {"echoes": 40, "clock_s": 0.5, "silence_s": 0.5}
        with LabSession(study.open(), user="u1", source=source, mapper=HalfSize(), **settings) as session:
            SilentPresenter().wait(seconds)
    return phone, session


def numbers(session: LabSession) -> np.ndarray:
    return beside(session.folder, IMU)["gyro_x"].astype(int)


def test_gaze_that_stalls_or_falls_costs_the_others_nothing(small_study: SmallStudy) -> None:
    """It is silent for longer than a session waits, and then ends with a payload that the client cannot read."""
    faults = Faults(silence=(0.8, 0.8), strange_payload_at_s=2.2, offset_ms=-1234.5)
    phone, session = recorded(small_study, faults, 4.0)
    assert session.recorder.lost >= 2
    imu = numbers(session)
    assert (np.diff(imu) == 1).all()
    assert imu[-1] - imu[0] > 300
    time = beside(session.folder, IMU)["time_ms"]
    origin = read_recording(session.folder, small_study.open().config).meta["time_origin_ns"]
    assert np.abs(time + (origin - phone.started_ns) / 1e6 - imu * 10.0).max() < 2


def test_others_that_stall_cost_gaze_nothing_and_come_back(small_study: SmallStudy) -> None:
    """They are silent, and an event of a kind that no client knows ends the stream of events."""
    faults = Faults(others_silence=(0.8, 0.7), strange_event_at_s=1.6, offset_ms=77.0)
    phone, session = recorded(small_study, faults, 4.5)
    recording = read_recording(session.folder, small_study.open().config)
    gaze = np.rint(recording.eyes["cyclopean"].x_px * 8).astype(int)
    assert (np.diff(gaze) == 1).all()
    assert session.recorder.lost == 0
    missing = np.flatnonzero(np.diff(numbers(session)) > 1)
    assert missing.size == 1
    told = recording.native_events
    assert set(told["kind"]) == {"fixation"}
    onset = told["onset_ms"] + (recording.meta["time_origin_ns"] - phone.started_ns) / 1e6
    assert np.abs((onset - 100) / 250 - np.rint((onset - 100) / 250)).max() * 250 < 2
    assert onset[0] < 700
    assert onset[-1] > 3000  # the stream has begun again
    np.testing.assert_allclose(told["offset_ms"] - told["onset_ms"], 150, atol=1e-3)
    assert np.isnan(told["x_px"]).all()  # gaze is on the screen, and these are in the scene


def test_what_is_beside_gaze_can_be_left_out(small_study: SmallStudy) -> None:
    with FakeNeon(Trace.steady(3), others=steady(3)) as phone:
        source = NeonSource(phone.address, more=False)
        with LabSession(small_study.open(), user="u1", source=source, mapper=HalfSize(), echoes=5) as session:
            SilentPresenter().wait(0.5)
    assert not (session.folder / IMU).exists()
    assert beside(session.folder, IMU) == {}
    assert not read_recording(session.folder, small_study.open().config).native_events


def test_damaged_records_are_left_out(small_study: SmallStudy, tmp_path: Path) -> None:
    _, session = recorded(small_study, Faults(), 1.2)
    whole = read_beside(session.folder, EYE_EVENTS)[0]
    assert whole.size >= 3
    path = session.folder / EYE_EVENTS
    data = bytearray(path.read_bytes())
    data[EYE_EVENT.itemsize + 30] ^= 8
    path.write_bytes(data[:-1])
    left, damaged = read_beside(session.folder, EYE_EVENTS)
    assert (left.size, damaged) == (whole.size - 2, 2)
    warnings = read_recording(session.folder, small_study.open().config).warnings
    assert "eye_events.bin: 2 damaged records left out" in warnings


def test_times_go_as_those_of_the_gaze_that_arrived_with_them() -> None:
    """By hand: the clock is set forward by a second between the second and the third sample."""
    samples = np.zeros(4, RECORD)
    samples["received_ns"] = [10, 20, 30, 40]
    samples["device_ns"] = [110, 120, 1130, 1140]
    moved = on_our_clock(
        np.array([105, 118, 1128, 1150]), np.array([5, 22, 30, 99]), samples, np.array([9, 19, 29, 39])
    )
    assert moved.tolist() == [4, 17, 27, 49]
    assert KINDS[4] == "blink"


def test_a_template_that_wants_answers_is_named(small_study: SmallStudy) -> None:
    """The phone refuses to record; its own message does not say which answer it misses."""
    item = {"title": "Age", "widget_type": "TEXT", "input_type": "any", "choices": None, "help_text": None}
    items = [item | {"id": "9a3e3a04-f610-48d1-8188-e64fc0b0f492", "required": True}]
    made = {"created_at": "2024-04-24T12:38:23.780524Z", "updated_at": "2024-04-24T12:38:23.780524Z"}
    template = made | {"id": "13b14ebc-a84c-4fd6-8697-bd70d61748bd", "name": "T", "recording_name_format": ["{date}"]}
    with FakeNeon(Trace.steady(3), template=template | {"items": items}) as phone:
        source = NeonSource(phone.address)
        with LabSession(small_study.open(), user="u1", source=source, mapper=HalfSize(), echoes=5) as session:
            with pytest.raises(SourceError, match=r"Template has required fields.*fill in 'Age' in the Companion app"):
                session.record_on_device()
            phone.answers = {items[0]["id"]: ["44"]}
            assert session.record_on_device()
    assert phone.recording is None  # ended with the session
