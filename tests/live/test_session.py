from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_neon import FakeNeon, Faults, Trace
from scene import HalfSize

from gazepipe import store
from gazepipe.build import build_psm
from gazepipe.errors import ConfigError
from gazepipe.ingest import ingest
from gazepipe.live._defaults import echoes
from gazepipe.live.neon import NeonSource
from gazepipe.live.presenter import SilentPresenter
from gazepipe.live.recording import read_samples
from gazepipe.live.session import LabSession
from gazepipe.live.simulated import SimulatedSource
from gazepipe.live.source import ClockEchoes, SampleBatch, host_ns
from gazepipe.readers import read_recording
from gazepipe.report.contents import gather
from gazepipe.report.methods import methods

if TYPE_CHECKING:
    from conftest import SmallStudy


def test_from_the_wire_to_maps(small_study: SmallStudy) -> None:
    """A session of two images on the loopback; what it recorded is ingested and built like any recording."""
    images = [small_study.image(name) for name in ("one.png", "two.png")]
    study = small_study.open()
    with FakeNeon(Trace.steady(8), Faults(offset_ms=-1234.5)) as phone:
        source = NeonSource(phone.address)
        with LabSession(study, user="u1", source=source, mapper=HalfSize(), echoes=40) as session:
            report = session.check(0.5)
            shown = session.show(SilentPresenter(), images, 0.8)
        began = phone.started_ns
    assert shown == 2
    assert [c.name for c in report.checks if c.ok is False] == ["tags"]  # it has no scene camera
    recording = read_recording(session.folder, study.config)
    number = np.rint(recording.eyes["cyclopean"].x_px * 8).astype(int)
    assert (np.diff(number) == 1).all()
    true_ms = (began - recording.meta["time_origin_ns"]) / 1e6 + number * 5.0
    assert np.abs(recording.time_ms - true_ms).max() < 2
    way, raw = recording.meta["latency_ms"], read_samples(session.folder)[0]
    late = (raw["received_ns"] - began) / 1e6 - np.rint(raw["x_px"] * 4) * 5.0
    np.testing.assert_allclose(way["tracker to arrival"], np.percentile(late, [50, 99]), atol=2)
    assert 0 < way["arrival to file"][0] <= way["arrival to file"][1] < 1000
    report_ = ingest(study, jobs=1)
    assert not report_.failures
    build = build_psm(study)
    assert not build.failures
    contents = store.load(study.recording_file(next(iter(report_.recordings))), "gazepipe.recording")
    assert list(contents.arrays["trials/stimulus"]) == ["one.png", "two.png"]
    latencies = next(i for i in methods(gather(study)).items if i.number == "B1")
    assert re.fullmatch(
        r"gaze and the onsets of images are in the time of the session's computer, to which the tracker's clock was "
        r"brought by \d+ measurements? \(fastest round trip \d\.\d\d ms\); samples arrived -?\d\.\d ms "
        r"after their time",
        latencies.text,
    ), latencies.text
    assert "the tracker's time stamp" in latencies.add
    assert "clocks of tracker and stimuli" not in latencies.add  # that is known


class Strange(SimulatedSource):
    """Says a wrong rate, or times its samples by another clock than the one that it answers with."""

    own_clock = True
    ahead_ns = 0

    def read(self, timeout_s: float) -> SampleBatch:
        batch = super().read(timeout_s)
        return replace(batch, device_ns=batch.device_ns + self.ahead_ns)

    def clock(self, n: int) -> ClockEchoes:
        return echoes(n, host_ns, 1)


def test_samples_of_another_clock_are_told_of(small_study: SmallStudy) -> None:
    study = small_study.open()
    source = Strange(study.config.screen.screen())
    source.ahead_ns = 5_000_000_000_000
    with LabSession(study, user="u1", source=source, echoes=5) as session:
        found = {c.name: c for c in session.check(0.5).checks}
    assert found["clock"].ok is False
    assert found["clock"].found == "samples come 5000 s before their times"
    assert "time them by the clock" in found["clock"].remedy
    assert found["worn"].found == "no samples"
    assert found["rate"].ok is not False  # they come, only at other times


def test_more_samples_than_the_tracker_says_are_told_of(small_study: SmallStudy) -> None:
    study = small_study.open()
    source = Strange(study.config.screen.screen())
    with LabSession(study, user="u1", source=source, echoes=5) as session:
        source.expected = lambda begin_ns, end_ns: (end_ns - begin_ns) / 1e9 * 60  # type: ignore[method-assign]
        found = {c.name: c for c in session.check(0.5).checks}
    assert found["rate"].ok is False
    assert "true rate" in found["rate"].remedy
    assert found["clock"].ok


@pytest.mark.parametrize(
    ("ingest", "why"),
    [
        ({"user_pattern": r"(?P<user>[^/]+)\.asc$"}, "does not match"),
        ({"user_pattern": "(?P<user>[^_/]+)"}, "takes it for user 'u1', session ''"),
        ({"exclude": ("u*",)}, "exclude ['u*'] leaves it out"),
    ],
)
def test_a_recording_that_ingest_would_not_find_is_not_begun(
    small_study: SmallStudy, ingest: dict[str, object], why: str
) -> None:
    small_study.configure(ingest=ingest)
    study = small_study.open()
    before = sorted(study.root.rglob("*"))
    with pytest.raises(ConfigError) as refused:
        LabSession(study, user="u1", source=SimulatedSource(study.config.screen.screen()), session="s")
    assert str(refused.value).startswith(
        f"{study.recordings / 'u1_s'}: `gazepipe ingest` would not find this session of u1"
    )
    assert why in str(refused.value)
    assert sorted(study.root.rglob("*")) == before
