"""A phone that announces itself is found by the unmodified official client.

mDNS listens on all of a computer's addresses, whatever it is told: these tests run where there is but the
loopback.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alone import run_alone, with_network_of_its_own
from click.testing import CliRunner
from fake_neon import FakeNeon, Faults, Trace
from scene import HalfSize

from gazepipe.cli import main
from gazepipe.live.neon import NeonSource
from gazepipe.live.session import LabSession
from gazepipe.live.source import SourceError

if TYPE_CHECKING:
    from conftest import SmallStudy


def test_discovery_in_a_network_of_its_own() -> None:
    run_alone(Path(__file__), "phone", 5)


@with_network_of_its_own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # mDNS then leaves its socket open
def test_without_an_interface_no_phone_is_looked_for() -> None:
    """The first of these tests: the loopback is still switched off."""
    with pytest.raises(SourceError, match=r"^neon: phones cannot be looked for \(.*\); connect this computer"):
        NeonSource(timeout_s=0.5).open()
    gc.collect()


@with_network_of_its_own
def test_the_official_client_finds_a_phone(loopback: None) -> None:
    from pupil_labs.realtime_api.device import Device
    from pupil_labs.realtime_api.discovery import Network

    async def found() -> tuple[str, str, int]:
        async with Network() as network:
            told = await network.wait_for_new_device(10)
        assert told is not None
        async with Device.from_discovered_device(told) as device:
            name = (await device.get_status()).phone.device_name
        await asyncio.sleep(0.1)  # what was closed goes in the loop's next turns
        return name, told.addresses[0], told.port

    with FakeNeon(Trace.steady(5), name="Lab 3") as phone:
        assert asyncio.run(found()) == ("Fake Neon", "127.0.0.1", int(phone.address.split(":")[1]))


@with_network_of_its_own
def test_a_session_finds_the_only_phone_and_stays_with_it(loopback: None, small_study: SmallStudy) -> None:
    faults = Faults(disconnect=(1.0, 1.5))
    with FakeNeon(Trace.steady(30), faults, name="Lab 3") as phone:
        source = NeonSource(timeout_s=2)
        study = small_study.open()
        with LabSession(study, user="u1", source=source, mapper=HalfSize(), echoes=5) as session:
            assert source.status().battery == 0.97
            with FakeNeon(Trace.steady(5), name="Lab 4") as other:
                until = time.monotonic() + 20
                while not session.recorder.reconnected and time.monotonic() < until:
                    time.sleep(0.1)
                assert session.recorder.reconnected
                assert phone.requests.count("/api/status") >= 3  # one of them was refused
                assert not other.requests
    assert session.recorder.writer.samples > 10


@with_network_of_its_own
def test_no_phone_is_said(loopback: None, small_study: SmallStudy) -> None:
    with pytest.raises(SourceError, match=r"^neon: no phone answers on this network within 0\.5 s; give its address"):
        NeonSource(timeout_s=0.5).open()


@with_network_of_its_own
def test_several_phones_are_listed(loopback: None, small_study: SmallStudy) -> None:
    small_study.image("one.png")
    with FakeNeon(Trace.steady(5), name="Lab 3") as one, FakeNeon(Trace.steady(5), name="Lab 4") as two:
        options = ["session", "--study", str(small_study.root), "--user", "u1", "--screen", "none"]
        said = CliRunner().invoke(main, options)
    assert said.exit_code != 0
    assert (
        f"2 phones answer (Lab 3 at {one.address}, Lab 4 at {two.address}); name one by its address (--address)."
        in (said.output)
    )
    assert not list((small_study.root / "rec").glob("u1*"))
