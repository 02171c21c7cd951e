"""Live sessions against everything that goes wrong in a lab (suite R11): what was recorded is complete and right.

Each case is a session of some seconds; its truth is what the phone sent and when, by the clock of this computer. With
`--sessions` more of them are drawn (nightly: 40).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fake_neon import FakeNeon, Faults, Trace
from scene import HalfSize
from survival import told

from gazepipe.errors import QualityError, StorageError
from gazepipe.live import recording as live
from gazepipe.live.neon import NeonSource
from gazepipe.live.session import LabSession
from gazepipe.live.source import SampleFlag, SourceError, host_ns
from gazepipe.readers import read_recording
from gazepipe.recording import Recording

if TYPE_CHECKING:
    from conftest import SmallStudy


@dataclass
class Ran:
    """A session that is over: what was found in its folder, and what was true."""

    phone: FakeNeon
    session: LabSession
    recording: Recording
    numbers: np.ndarray
    events: list[tuple[int, str]]

    @property
    def time_error_ms(self) -> np.ndarray:
        true = (self.phone.started_ns - self.recording.meta["time_origin_ns"]) / 1e6 + self.numbers * 5.0
        return self.recording.time_ms - true

    @property
    def uncertain(self) -> np.ndarray:
        """Samples whose times are said to be uncertain."""
        time = self.recording.time_ms
        out = np.zeros(time.size, bool)
        for begin, end, _ in self.recording.meta.get("clock_uncertain", []):
            out |= (time >= begin) & (time <= end)
        return out

    @property
    def log(self) -> list[dict[str, Any]]:
        return live.read_log(self.session.folder)[0]

    @property
    def saw_the_clock_set(self) -> bool:
        """Whether samples before and after were recorded: they follow the phone's clock with its next report."""
        first, last = self.numbers[0], self.numbers[-1]
        known = [ns for number, ns in self.phone.reported if number <= first][-1:]
        known += [ns for number, ns in self.phone.reported if first < number < last]
        return max(known) - min(known) > 5e8

    def warned(self, text: str) -> bool:
        return any(text in w for w in self.recording.warnings)


def run(study: SmallStudy, faults: Faults, seconds: float, timeout_s: float = 1.0, **options: Any) -> Ran:
    """Record for some seconds with an event every fifth of a second; the phone has so long to answer."""
    opened = study.open()
    told = []
    with FakeNeon(Trace.steady(seconds + 3), faults) as phone:
        source = NeonSource(phone.address, timeout_s=timeout_s)
        settings = {"echoes": 40, "clock_s": 0.5, "silence_s": 1.0, **options}
        with LabSession(opened, user="u1", source=source, mapper=HalfSize(), **settings) as session:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(0.2)
                told.append((session.event(f"TARGET {len(told)}"), f"TARGET {len(told)}"))
    recording = read_recording(session.folder, opened.config)
    numbers = np.rint(recording.eyes["cyclopean"].x_px * 8).astype(int)
    return Ran(phone, session, recording, numbers, told)


def check_complete(ran: Ran, *, all_sent: bool = True) -> None:
    """Every sample that came is there once and in order, none is made up, every event is there; times are right."""
    # Samples whose times are said to be uncertain may be on the other side of a step of the clock, out of their turn.
    doubted = np.convolve(ran.uncertain, np.ones(3), "same") > 0
    assert (np.diff(ran.numbers)[~doubted[1:]] > 0).all()
    assert np.unique(ran.numbers).size == ran.numbers.size
    sent = set(ran.phone.sent)
    assert set(ran.numbers.tolist()) <= sent
    if all_sent:  # but for those before the first report and those on the wire at the end
        inner = range(ran.numbers[0] + 1, ran.numbers[-1] - 10)
        assert sent & {*inner} == {*ran.numbers.tolist()} & {*inner}
    gaps = np.append(False, np.diff(ran.numbers) > 1)
    flagged = (ran.recording.columns["flags"] & int(SampleFlag.AFTER_GAP)) > 0
    assert np.flatnonzero((gaps != flagged) & ~doubted).tolist() == []
    origin = ran.recording.meta["time_origin_ns"]
    assert [m.text for m in ran.recording.messages] == [name for _, name in ran.events]
    at = [m.time_ms for m in ran.recording.messages]
    np.testing.assert_allclose(at, [(ns - origin) / 1e6 for ns, _ in ran.events], atol=1e-5)


def check_times(ran: Ran) -> tuple[float, int]:
    """Times are within 2 ms, or said to be uncertain by no less; returns the largest error and how many are uncertain.

    A computer that is so busy that nothing comes for seconds cannot know whether the phone's clock was set meanwhile.
    """
    off = np.abs(ran.time_error_ms)
    for begin, end, by in ran.recording.meta.get("clock_uncertain", []):
        there = (ran.recording.time_ms >= begin) & (ran.recording.time_ms <= end)
        assert off[there].max() <= by + 2
    uncertain = ran.uncertain
    assert (off[~uncertain] < 2).all(), ran.recording.warnings
    return float(off[~uncertain].max(initial=0)), int(uncertain.sum())


def test_lost_and_reordered_samples(small_study: SmallStudy) -> None:
    ran = run(small_study, Faults(loss=0.2, reorder=0.1, offset_ms=777.25), 1.5)
    check_complete(ran)
    assert ran.warned("missing sample")
    assert np.abs(ran.time_error_ms).max() < 2


def test_a_late_report_costs_the_first_samples_and_no_times(small_study: SmallStudy) -> None:
    ran = run(small_study, Faults(report_late_s=0.6, offset_ms=-3.5), 1.2)
    check_complete(ran)
    assert ran.numbers[0] >= 100
    assert np.abs(ran.time_error_ms).max() < 2


def test_a_network_that_halts_is_no_step_of_the_clock(small_study: SmallStudy) -> None:
    ran = run(small_study, Faults(stall=(0.5, 0.8)), 2.2, silence_s=5.0)
    check_complete(ran)
    assert ran.session.recorder.lost == 0
    assert not ran.warned("clock was set")
    assert np.abs(ran.time_error_ms).max() < 2


def test_connection_lost_and_found_again(small_study: SmallStudy) -> None:
    ran = run(small_study, Faults(disconnect=(0.6, 0.8)), 3.5)
    check_complete(ran, all_sent=False)
    recorder = ran.session.recorder
    assert recorder.lost >= 1
    assert recorder.reconnected >= 1
    assert {"lost", "back", "end"} <= {e["kind"] for e in ran.log}
    gap = ran.numbers[np.argmax(np.diff(ran.numbers)) + 1]
    assert 0.6 < gap * 0.005 < 3.4  # gaze came back while the session went on
    assert np.abs(ran.time_error_ms).max() < 2
    # The phone knows of every event, also of those while it was away, at their own times.
    assert [e["name"] for e in ran.phone.events] == [name for _, name in ran.events]


@pytest.mark.parametrize("by_s", [1.0, -1.0])
def test_the_phones_clock_is_set(small_study: SmallStudy, by_s: float) -> None:
    ran = run(small_study, Faults(step=(0.9, by_s), offset_ms=40.0), 2.8)
    check_complete(ran)
    assert [w for w in ran.recording.warnings if "clock" in w] == [
        "the device's clock was set once while it recorded; samples follow it"
    ]
    stepped = np.flatnonzero(ran.recording.columns["flags"] & int(SampleFlag.CLOCK_STEP))
    assert len(stepped) == 1
    assert any(e["kind"] == "clock" and e["stepped"] for e in ran.log)
    assert np.abs(ran.time_error_ms).max() < 2


def test_the_phones_clock_is_set_by_a_little(
    small_study: SmallStudy, request: pytest.FixtureRequest, capsys: Any
) -> None:
    """Between two measurements, a minute apart: samples tell of it, and it is measured then."""
    tried = request.config.getoption("--sessions") - 1
    rng = np.random.default_rng(6)
    survived, worst, doubts = 0, 0.0, 0
    problems = []
    for number in range(tried):
        by_s = [0.02, -0.1, -0.02, 0.005, 0.4, -0.005, 0.1, -0.4, 0.0, 0.0][number % 10]
        loss, reorder = float(rng.choice([0, 0.05, 0.2])), float(rng.choice([0, 0.1]))
        faults = Faults(loss=loss, reorder=reorder, step=(float(rng.uniform(1.2, 2.2)), by_s), offset_ms=40.0)
        ran = run(small_study, faults, 6.0, timeout_s=5.0, session=f"ses-{number}", clock_s=60.0)
        known = [ns for _, ns in ran.phone.reported]
        try:
            check_complete(ran, all_sent=ran.session.recorder.lost == 0)
            error, uncertain = check_times(ran)
            assert uncertain or ran.warned("clock was set once") == (max(known) - min(known) > 2e6)
            worst, doubts, survived = max(worst, error), doubts + uncertain, survived + 1
        except AssertionError as problem:
            problems.append(f"{by_s} s, {faults}, {ran.recording.warnings}: {problem}")
    words = f"small steps of the clock, times at most {worst:.2f} ms off, {doubts} samples in doubt"
    with capsys.disabled():
        told("R11", survived, tried, words)
    assert not problems, "\n".join(problems)


def test_events_reach_the_phone_at_its_own_time(small_study: SmallStudy) -> None:
    """With a clock that runs 50 ppm fast, and errors of the server at first."""
    ran = run(small_study, Faults(offset_ms=5000.3, drift_ppm=50, refused={"/api/event": 3}), 2.0)
    check_complete(ran)
    sent = {e["name"]: e["timestamp"] for e in ran.phone.events}
    errors = [(sent[name] - at - ran.phone.offset_ns(at)) / 1e6 for at, name in ran.events]
    assert max(map(abs, errors)) < 2
    assert np.abs(ran.time_error_ms).max() < 2
    assert sorted(e["event"] for e in ran.log if e["kind"] == "posted") == list(range(1, len(ran.events) + 1))


def test_a_stranger_among_payloads_and_messages(small_study: SmallStudy) -> None:
    """One packet that the client cannot read ends its stream; the session begins another."""
    ran = run(small_study, Faults(strange_payload_at_s=0.6), 2.5)
    assert ran.session.recorder.reconnected >= 1
    check_complete(ran, all_sent=False)


def test_checks_say_what_is_wrong_and_what_to_do(small_study: SmallStudy) -> None:
    faults = Faults(battery=8, storage=10_000_000, worn=False, loss=0.3)
    with FakeNeon(Trace.steady(5), faults) as phone:
        source = NeonSource(phone.address)
        with LabSession(small_study.open(), user="u1", source=source, mapper=HalfSize(), echoes=20) as session:
            phone.notify({"model": "Strange", "data": {}})  # a newer app's message ends the client's updates
            report = session.check(0.6)
            with pytest.raises(QualityError, match=r"battery: 8%, needs 20%; charge the device"):
                report.raise_for_status()
    wrong = {c.name for c in report.checks if c.ok is False}
    assert wrong == {"battery", "storage of the device", "rate", "worn", "tags"}
    recording = read_recording(session.folder, small_study.open().config)
    assert np.isnan(recording.eyes["cyclopean"].x_px).all()  # nobody wore it
    assert (recording.columns["flags"] & int(SampleFlag.NOT_WORN) > 0).all()


def test_nobody_there_is_said(small_study: SmallStudy) -> None:
    with FakeNeon(Trace.steady(1)) as phone:
        address = phone.address
    with pytest.raises(SourceError, match=r"check the phone and the network"):
        LabSession(small_study.open(), user="u1", source=NeonSource(address, timeout_s=1)).__enter__()


def test_the_other_transport_and_the_other_layouts() -> None:
    for layout, transport in (("gaze", "tcp"), ("dual", "udp"), ("bino", "udp"), ("eyelid", "udp"), ("full", "tcp")):
        with FakeNeon(Trace.steady(3), layout=layout) as phone:
            source = NeonSource(phone.address, transport=transport)
            source.open()
            until = host_ns() + 2_000_000_000
            batch = source.read(2.0)
            while not len(batch) and host_ns() < until:
                batch = source.read(1.0)
            source.close()
        assert (np.diff(batch.x_px) == 0.25).all() or len(batch) == 1
        assert np.isnan(batch.pupil_mm).all() == (layout in ("gaze", "dual", "bino"))
        with pytest.raises(SourceError, match="closed"):
            source.read(0.1)


_CHILD = """
import sys, time
from pathlib import Path
from gazepipe.live.neon import NeonSource
from gazepipe.live.session import LabSession
with LabSession(Path(sys.argv[1]), user="u1", source=NeonSource(sys.argv[2]), session="ses-1", echoes=20) as session:
    for k in range(1000):
        time.sleep(0.01)
        session.event(f"TARGET {k}")
        print(k, flush=True)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_killed_sessions_are_complete_until_then(small_study: SmallStudy, end: signal.Signals) -> None:
    with FakeNeon(Trace.steady(60)) as phone:
        command = [sys.executable, "-c", _CHILD, str(small_study.root), phone.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line) >= 40:
                    break
            os.kill(child.pid, end)
            told = [int(line) for line in child.stdout.read().split()] or [40]
        folder = small_study.root / "rec" / "u1_ses-1"
        recording = read_recording(folder, small_study.open().config)
        numbers = np.rint(recording.eyes["cyclopean"].x_px * 4).astype(int)
        assert (np.diff(numbers) == 1).all()
        assert len(numbers) > 40
    messages = [m.text for m in recording.messages]
    assert messages[: told[-1] + 1] == [f"TARGET {k}" for k in range(told[-1] + 1)]
    ended = [e for e in live.read_log(folder)[0] if e["kind"] == "end"]
    if end == signal.SIGKILL:
        assert not ended
        assert any("cut short" in w for w in recording.warnings)
    else:
        assert ended[0]["reason"] == "KeyboardInterrupt"


def drawn(n: int) -> Iterator[tuple[Faults, float]]:
    """Sessions with several faults at once."""
    rng = np.random.default_rng(11)
    for _ in range(n):
        kind = rng.integers(4)
        faults = Faults(
            loss=float(rng.choice([0.01, 0.1, 0.3])),
            reorder=float(rng.choice([0, 0.1])),
            offset_ms=float(rng.uniform(-1e5, 1e5)),
            drift_ppm=float(rng.choice([-50, 0, 50])),
            report_late_s=float(rng.choice([0, 0.4])),
            refused={"/api/event": int(rng.integers(0, 4))},
        )
        extra: dict[str, Any] = [
            {},
            {"stall": (0.9, 0.5)},
            {"disconnect": (0.9, 0.5)},
            {"step": (1.1, float(rng.choice([-1, 1])))},
        ][kind]
        yield replace(faults, **extra), 3.2 if kind == 2 else 2.6


def test_sessions_with_several_faults(small_study: SmallStudy, request: pytest.FixtureRequest, capsys: Any) -> None:
    tried = request.config.getoption("--sessions")
    survived, worst, doubts, away = 0, 0.0, 0, 0
    problems = []
    for number, (faults, seconds) in enumerate(drawn(tried)):
        ran = run(small_study, faults, seconds, timeout_s=5.0, session=f"ses-{number}")
        try:
            # On a computer that starves it, a session takes the phone for gone, and looks for it.
            lost = faults.disconnect[0] < 0 and ran.session.recorder.lost > 0
            check_complete(ran, all_sent=faults.disconnect[0] < 0 and not lost)
            error, uncertain = check_times(ran)
            assert uncertain or ran.warned("clock was set") == ran.saw_the_clock_set
            worst, doubts, away = max(worst, error), doubts + uncertain, away + lost
            survived += 1
        except AssertionError as problem:
            problems.append(f"{faults}: {problem}")
    with capsys.disabled():
        words = f"sessions, times at most {worst:.2f} ms off, {doubts} samples in doubt, {away} starved"
        told("R11", survived, tried, words)
    assert not problems, "\n".join(problems)


def test_a_full_disk_is_said_and_leaves_what_was_written(
    small_study: SmallStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study.open()
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) % live.RECORD.itemsize == 0 and os.fstat(file).st_size > 50 * live.RECORD.itemsize:
            real(file, data[:11])  # the disk takes a part
            raise OSError(28, "No space left on device")
        return real(file, data)

    folder = study.recordings / "u1_ses-1"

    def record() -> None:
        with LabSession(study, user="u1", source=source, mapper=HalfSize(), echoes=5, session="ses-1") as session:
            for _ in range(500):
                time.sleep(0.01)
                session.event("TARGET")

    with FakeNeon(Trace.steady(8)) as phone:
        source = NeonSource(phone.address)
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageError, match=r"No space left on device\); free some"):
            record()
    monkeypatch.undo()
    recording = read_recording(folder, study.config)
    assert recording.n_samples > 50
    assert any("damaged" in w for w in recording.warnings)


def test_damaged_records_are_left_out(small_study: SmallStudy) -> None:
    ran = run(small_study, Faults(), 0.6)
    path = ran.session.folder / live.SAMPLES
    data = bytearray(path.read_bytes())
    data[10 * live.RECORD.itemsize + 25] ^= 4
    data[20 * live.RECORD.itemsize : 21 * live.RECORD.itemsize] = bytes(live.RECORD.itemsize)
    path.write_bytes(data[:-5])
    log = ran.session.folder / live.LOG
    log.write_bytes(log.read_bytes()[:-9])
    again = read_recording(ran.session.folder, small_study.open().config)
    assert again.n_samples == ran.recording.n_samples - 3
    assert "samples.bin: 3 damaged records left out" in again.warnings
    assert "session.jsonl: 1 damaged line left out" in again.warnings
    assert json.loads((ran.session.folder / live.SESSION).read_text())["user"] == "u1"
