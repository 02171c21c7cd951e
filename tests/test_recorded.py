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
from gazepipe.report.recorded import KEPT, Recorded, among, recorded_of
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
        contents = store.load(study.recording_file(name), "gazepipe.recording", only=("blocks/", *KEPT))
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
    assert items["targets of the calibration"].text == "13 targets in 2 of 3 recordings, 9 targets in 1"
    expected = "both eyes in 1 of 3 recordings, the right eye in 1, the left eye in 1"
    assert items["eyes recorded"].text == expected
    assert items["parameters recorded"].text == "gaze, pupil size (area)"
    assert items["calibration and validation"].text.startswith("4 calibrations of an eye (4 good); 4 validations")
    assert items["filters of the tracker"].text == "level 2"
    assert items["sampling rate"].text.startswith("nominally 250 Hz (1 recording), 500 Hz (1 recording), 1000 Hz (1")
    assert all(items[n].known for n in ("head support", "eye tracker", "blinks"))
    assert not items["criterion of the calibration"].known


def test_files_that_tell_nothing_leave_blanks(small_study: Any) -> None:
    small_study.configure()
    small_study.image("a.png")
    small_study.recording("u1.csv", [("a.png", [(400, 300, 400)])])
    study = small_study.open()
    assert not ingest(study).failures
    result = methods(gather(study))
    items = {i.name: i for i in result.items}
    unknown = ("eye tracker", "head support", "targets of the calibration", "calibration and validation")
    assert not any(items[n].known for n in unknown)
    assert items["parameters recorded"].text == "gaze"
    assert items["eyes recorded"].text == "one gaze of both eyes"
    assert "[eye tracker: to be filled in]" in " ".join(result.paragraph)


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
