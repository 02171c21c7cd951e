"""What recordings tell of how they were made: real EyeLink files, and sentences about several recordings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from gazepipe import store
from gazepipe.ingest import ingest
from gazepipe.report.contents import gather
from gazepipe.report.methods import methods
from gazepipe.report.recorded import LOOKED_THROUGH, Recorded, among, recorded_of
from gazepipe.study import Study

#: File → eyes, step, mount's first word, pupil, calibration targets; read off the files by eye.
REAL = {
    "bino500.asc.gz": (("left", "right"), 2.0, "head to be kept still (mount BTABLER)", "pupil size (area)", [13]),
    "monoRemote250.asc.gz": (("left",), 4.0, "head free, found by a target sticker (mount RTABLER)", "", [13]),
    "data1.asc": (("right",), 1.0, "head to be kept still (mount MTABLER)", "pupil size (area)", [9]),
}


@pytest.fixture(scope="module")
def eyelink(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Study:
    root = tmp_path_factory.mktemp("eyelink")
    for name in REAL:
        shutil.copy(data_dir / "raw" / "eyelink_asc" / name, root / name)
    text = '[screen]\nwidth_px = 1024\nheight_px = 768\n[trials]\nsource = "blocks"\n'
    (root / "gazepipe.toml").write_text(text, encoding="utf-8")
    study = Study.open(root)
    assert not ingest(study).failures
    return study


def told(study: Study) -> dict[str, Recorded]:
    found = {}
    for name, row in study.known_recordings().items():
        contents = store.load(study.recording_file(name), "gazepipe.recording", only=("blocks/", *LOOKED_THROUGH))
        found[Path(row["source"]).name] = recorded_of(contents)
    return found


def test_an_eyelink_tells_how_it_was_set(eyelink: Study) -> None:
    recorded = told(eyelink)
    assert set(recorded) == set(REAL)
    for name, (eyes, step, head, pupil, targets) in REAL.items():
        one = recorded[name]
        assert one.maker.startswith("SR Research (EyeLink), camera Eye"), name
        assert one.software.startswith("host software EYELINK II CL v"), name
        assert one.technique == "video of the eyes, pupil and corneal reflection (recording mode CR)"
        assert one.eyes == eyes
        assert one.steps_ms == (step, step, step)
        assert one.head == f"camera on the desk, {head}"
        assert one.pupil
        assert one.pupil_kind.startswith(pupil)
        assert one.targets == targets
    assert recorded["bino500.asc.gz"].calibrations() == [("HV13", "left", "GOOD"), ("HV13", "right", "GOOD")]
    assert recorded["bino500.asc.gz"].errors_deg == [0.33, 0.30]
    assert recorded["bino500.asc.gz"].drifts_deg == [0.63, 0.3, 0.13, 0.65, 0.5, 0.43, 0.26, 0.59]


def test_the_methods_have_what_the_files_tell(eyelink: Study) -> None:
    items = {i.name: i for i in methods(gather(eyelink)).items}
    design, validation = items["calibration: design"], items["calibration: validation"]
    assert design.text == "13 targets in 2 of 3 recordings, 9 targets in 1"
    assert not design.add.startswith("number of targets")
    assert validation.text.startswith(
        "4 calibrations of an eye (4 good, in the tracker's words); 4 validations of an eye (4 good, in the tracker's "
        "words); mean error of 4 validations median 0.32°, 0.20 to 0.37°; 32 drift checks of an eye in 3 recordings"
    )
    assert "whether drift was checked" not in validation.add
    assert "criterion of acceptance" in validation.add
    assert items["calibration: method"].add == ""
    expected = "the gaze of both eyes in 1 of 3 recordings, the right eye in 1, the left eye in 1"
    assert items["eyes recorded"].text == expected
    corner = "on the screen, from its top left corner, x to the right and y down"
    assert items["parameters recorded"].text == f"gaze in pixels {corner}; pupil size (area)"
    assert items["filter of the tracker"].text == "heuristic filter at level 2"
    latencies = items["signal latencies"]
    assert latencies.text.startswith(
        "the onsets of images are in the recording's own file, on the clock of the samples"
    )
    assert "how the clocks of tracker and stimuli were brought together" in latencies.add
    assert items["sampling frequency"].text.startswith(
        "nominally 250 Hz (1 recording), 500 Hz (1 recording), 1000 Hz (1"
    )
    assert all(items[n].text for n in ("restriction of the head", "manufacturer and model", "technology", "blinks"))


def test_files_that_tell_nothing_leave_blanks(small_study: Any) -> None:
    small_study.configure()
    small_study.image("a.png")
    small_study.recording("u1.csv", [("a.png", [(400, 300, 400)])])
    study = small_study.open()
    assert not ingest(study).failures
    result = methods(gather(study))
    items = {i.name: i for i in result.items}
    for name in ("manufacturer and model", "restriction of the head", "calibration: design", "calibration: validation"):
        assert not items[name].text, name
        assert items[name].add, name
    assert items["parameters recorded"].text.startswith("gaze in pixels on the screen")
    assert "pupil" not in items["parameters recorded"].text
    assert items["eyes recorded"].text == "one gaze, of both eyes or of an eye that is not named"
    assert "Eye tracker: [to be added: manufacturer and model" in " ".join(result.paragraphs)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        (["", ""], ""),
        (["A"], "A"),
        (["A", "A"], "A"),
        (["A", "B", "A"], "A in 2 of 3 recordings, B in 1"),
        (["A", "", "A", ""], "A in 2 of 4 recordings; nothing about it in the other 2"),
        ([*"AABBCCDDEF"], "A in 2 of 10 recordings, B in 2, C in 2, D in 2, others in 2"),
    ],
)
def test_among(values: list[str], text: str) -> None:
    assert among(values) == text


def test_what_is_not_stated_is_not_told() -> None:
    validations = [{"eye": "left", "error_avg_deg": v} for v in (0.5, None, "nan", "0,25")] + [{"eye": "right"}]
    one = Recorded("bids", (), False, (), (), {"validations": validations, "Manufacturer": "SR Research"}, (), "0")
    assert one.errors_deg == [0.5, 0.25]
    assert one.technique == "video of the eyes"
    assert (one.head, one.targets, one.drifts_deg, one.calibrations()) == ("", [], [], [])


def session(source: str, **meta: Any) -> Recorded:
    return Recorded(
        "live-session", ("cyclopean",), False, (), (), {"source": source, "own_clock": False} | meta, (), "0"
    )


def test_a_session_tells_whose_time_it_is_in() -> None:
    """Gaze of no tracker is not said to be of one; a tracker's clock is brought to the computer's, or is not."""
    computer = "gaze and the onsets of images are in the time of the session's computer"
    simulated = session("fake")
    assert (simulated.maker, simulated.clock, simulated.transfer_ms) == ("none (simulated gaze)", computer, None)
    assert session("replay", device={"recording": "anna.asc"}).maker == "none (a recording played again)"
    measured = {"clock_offsets": [[0, 5, 900_000], [60, 5, 800_000]], "latency_ms": {"tracker to arrival": [3.25, 9.0]}}
    tracker = session("neon", own_clock=True, **measured, clock_uncertain=[[0.0, 9.0, 2.5], [20.0, 30.0, 1.5]])
    assert tracker.clock.endswith("the tracker's clock was brought by 2 measurements (fastest round trip 0.80 ms)")
    assert (tracker.transfer_ms, tracker.uncertain_ms) == (3.25, 2.5)
    lost = session("neon", own_clock=True, clock_offsets=[])
    assert lost.clock == f"{computer}, gaze by when samples arrived, for the tracker's clock was not measured"
    assert Recorded("csv", (), False, (), (), {}, (), "0").clock == ""


def test_the_latencies_of_a_session_are_of_all_its_recordings() -> None:
    from gazepipe.config import TrialsConfig
    from gazepipe.report.guideline import _ask_latencies, _clocks

    told = [session("fake"), Recorded("csv", (), False, (), (), {}, (), "0", (8.0, 12.0, 12.0))]
    own, delays = _clocks(told, TrialsConfig())
    assert own.startswith(
        "gaze and the onsets of images are in the time of the session's computer in 1 of 2 recordings"
    )
    assert own.endswith("the onsets of images are in the recording's own file, on the clock of the samples in 1")
    assert delays == "delays that messages state (median 12 ms, 8 to 12 ms) are taken into account"
    assert "clocks of tracker and stimuli" in _ask_latencies(told)
    assert "clocks of tracker and stimuli" not in _ask_latencies(told[:1])
