"""BIDS: what is written is what is stored, reads back the same, and passes the official validator where that is there.

The validator comes as ``pip install bids-validator-deno`` (no Node.js needed); it is found beside this Python, on the
path, or where BIDS_VALIDATOR names it.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from gazepipe import store
from gazepipe.cli import main
from gazepipe.config import template
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.export import export_study
from gazepipe.export.bids import _texts
from gazepipe.importing import import_dataset
from gazepipe.ingest import ingest
from gazepipe.simulate import simulate_study
from gazepipe.study import Study

SCREEN = {"width_px": 800, "height_px": 600, "width_mm": 400, "height_mm": 300, "distance_mm": 573}
BOTH = ("samples/", "blocks/", "trials/", "fixations/", "saccades/", "blinks/")


def contents(study: Study, recording: str) -> store.Contents:
    return store.load(study.recording_file(recording), "gazepipe.recording")


def same(a: store.Contents, b: store.Contents, prefixes: tuple[str, ...] = BOTH) -> None:
    for key in (k for k in a.arrays if k.startswith(prefixes)):
        # Bit for bit: times, float32 samples, events, image names.
        np.testing.assert_array_equal(a.arrays[key], b.arrays[key], err_msg=key)


def read(path: Path) -> list[list[str]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line.split("\t") for line in text.decode().splitlines()]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """EyeLink and CSV recordings, one of two sessions."""
    root = tmp_path_factory.mktemp("simulated")
    simulate_study(root / "study", users=3, images=6, seconds=1.5, rate_hz=250, seed=4)
    study = Study.open(root / "study")
    assert not ingest(study, jobs=1).failures
    return study


@pytest.fixture(scope="module")
def exported(simulated: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bids") / "data set"
    report = export_study(simulated, out, "bids")
    assert report.failures == []
    assert sorted(report.files) == sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    return out


def test_reads_back_the_same(simulated: Study, exported: Path) -> None:
    again = Study.open(exported / "code", to=exported.parent / "store")
    report = ingest(again, jobs=1)
    assert report.failures == []
    assert report.written == sorted(simulated.known_recordings())
    for name in report.written:
        same(contents(simulated, name), contents(again, name))


def test_files_of_one_person(simulated: Study, exported: Path) -> None:
    name = next(n for n in sorted(simulated.known_recordings()) if contents(simulated, n).attrs["format"] != "csv")
    stored = contents(simulated, name)
    folder = exported / f"sub-{stored.attrs['user']}"
    physio = next(folder.rglob("*_recording-eye1_physio.tsv.gz"))
    about = json.loads(physio.with_name(physio.name.replace(".tsv.gz", ".json")).read_text())
    required = {"SamplingFrequency", "StartTime", "Columns", "PhysioType", "RecordedEye", "SampleCoordinateSystem"}
    assert required <= set(about)
    assert about["Columns"][:3] == ["timestamp", "x_coordinate", "y_coordinate"]
    assert about["x_coordinate"]["Units"] == about["y_coordinate"]["Units"] == "pixel"
    assert about["AverageCalibrationError"] == json.loads(stored.attrs["meta"])["validations"][-1]["error_avg_deg"]
    rows = read(physio)
    assert len(rows) == stored.arrays["samples/timestamp"].size
    assert float(rows[0][0]) == stored.arrays["samples/timestamp"][0]
    lost = int(np.flatnonzero(np.isnan(stored.arrays[f"samples/{about['RecordedEye']}/x_coordinate"]))[0])
    assert rows[lost][1:3] == ["n/a", "n/a"]

    events = read(next(folder.rglob("*_events.tsv")))
    assert events[0] == ["onset", "duration", "trial_type", "stim_file", "repeat"]
    assert [row[3] for row in events[1:]] == stored.arrays["trials/stimulus"].tolist()
    onset = (stored.arrays["trials/onset_ms"] - stored.arrays["samples/timestamp"][0]) / 1000
    np.testing.assert_allclose([float(row[0]) for row in events[1:]], onset, atol=1e-9)

    device = next(folder.rglob("*_physioevents.tsv.gz"))
    said = json.loads(device.with_name(device.name.replace(".tsv.gz", ".json")).read_text())
    assert said["OnsetSource"] == "timestamp"
    table = [dict(zip(said["Columns"], row, strict=True)) for row in read(device)]
    for kind, group in (("fixation", "fixations"), ("saccade", "saccades")):
        mine = [float(row["onset"]) for row in table if row["trial_type"] == kind]
        assert mine == stored.arrays[f"{group}/onset_ms"].tolist()
    closed = [float(row["onset"]) for row in table if row["blink"] == "1"]
    assert closed == stored.arrays["blinks/onset_ms"].tolist()
    assert sum(row["message"] != "n/a" for row in table) == stored.arrays["messages/text"].size
    times = [float(row["onset"]) for row in table]
    assert times == sorted(times)


def test_screen_people_and_images(simulated: Study, exported: Path) -> None:
    shown = json.loads((exported / "task-viewing_events.json").read_text())["StimulusPresentation"]
    s = simulated.config.screen
    assert shown["ScreenOrigin"] == ["top", "left"]
    assert shown["ScreenResolution"] == [s.width_px, s.height_px]
    np.testing.assert_allclose(
        [*shown["ScreenSize"], shown["ScreenDistance"]], np.array([s.width_mm, s.height_mm, s.distance_mm]) / 1000
    )
    users = sorted({row["user"] for row in simulated.known_recordings().values()})
    assert read(exported / "participants.tsv")[1:] == [[f"sub-{u}", u] for u in users]
    assert len(list((exported / "stimuli").iterdir())) == 6
    assert json.loads((exported / "dataset_description.json").read_text())["BIDSVersion"] == "1.11.1"


def test_the_same_bytes_twice(simulated: Study, exported: Path, tmp_path: Path) -> None:
    export_study(simulated, tmp_path / "b", "bids")
    for file in (p for p in exported.rglob("*") if p.is_file() and "derivatives" not in p.parts):
        assert (tmp_path / "b" / file.relative_to(exported)).read_bytes() == file.read_bytes(), file


def find_validator() -> str | None:
    beside = Path(sys.executable).with_name("bids-validator-deno")
    return os.environ.get("BIDS_VALIDATOR") or (str(beside) if beside.exists() else shutil.which("bids-validator-deno"))


def test_official_validator(exported: Path) -> None:
    validator = find_validator()
    if validator is None:
        pytest.skip("the BIDS validator is not installed: pip install bids-validator-deno")
    run = subprocess.run(
        [validator, str(exported), "--format", "json", "--max-rows", "-1"], capture_output=True, text=True
    )
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
    assert run.returncode == 0
    # What is only recommended and not known here (institution, licence, authors …); anything else is ours to mend.
    kinds = {i["code"] for i in issues}
    assert kinds <= {
        "JSON_KEY_RECOMMENDED",
        "SIDECAR_KEY_RECOMMENDED",
        "NO_AUTHORS",
        "TOO_FEW_AUTHORS",
        "README_FILE_SMALL",
    }


# ---- odd recordings --------------------------------------------------------------------------------------------------


def write_study(root: Path, files: dict[str, str], **sections: Any) -> Study:
    (root / "rec").mkdir(parents=True)
    for name, text in files.items():
        (root / "rec" / name).write_text(text)
    values = {"recordings": "rec", "screen": SCREEN, "csv": {"trial": "trial", "stimulus": "image"}} | sections
    (root / "gazepipe.toml").write_text(template(**values))
    return Study.open(root)


def table(restart: bool, columns: str = "time_ms,x_px,y_px,trial,image") -> str:
    """Two trials of half a second at 250 Hz; the clock begins anew with the second, or it does not."""
    rng, lines = np.random.default_rng(1), [columns]
    for trial in range(2):
        for n in range(125):
            time = n * 4 + (0 if restart else trial * 2000) + 0.125
            x, y = rng.normal(400, 2), rng.normal(300 - 50 * trial, 2)
            gaze = f"{x},{y}" if not 60 <= n < 64 else ","
            lines.append(f"{time},{gaze},{trial + 1},a.png")
    return "\n".join(lines) + "\n"


def test_a_clock_that_begins_anew_is_made_to_go_on(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", {"anna.csv": table(True)})
    ingest(study)
    export_study(study, tmp_path / "out", "bids", stimuli=False)
    times = [float(row[0]) for row in read(next((tmp_path / "out").rglob("*_physio.tsv.gz")))]
    assert (np.diff(times) > 0).all()
    about = json.loads(next((tmp_path / "out").rglob("*_physio.json")).read_text())
    # The first block ends at 496.125 ms; more than a second later the second begins.
    assert about["Blocks"][1] == {"FirstRow": 125, "SamplingFrequency": 250.0, "MovedBy": 1497.0}
    again = Study.open(tmp_path / "out" / "code")
    ingest(again)
    a, b = contents(study, "anna"), contents(again, "anna")
    same(a, b, ("samples/cyclopean", "blocks/", "trials/first_sample", "trials/last_sample", "trials/stimulus"))
    for part in ("first_sample", "last_sample", "x_px", "duration_ms", "trial"):
        np.testing.assert_array_equal(a.arrays[f"fixations/{part}"], b.arrays[f"fixations/{part}"])
    moved = np.where(np.arange(250) < 125, 0, 1497.0)
    np.testing.assert_array_equal(a.arrays["samples/timestamp"] + moved, b.arrays["samples/timestamp"])


def test_both_eyes_are_two_files(tmp_path: Path) -> None:
    lines = ["time_ms,lx,ly,rx,ry,trial,image"]
    lines += [f"{n * 4},{400 + n % 3},300,{410 + n % 2},301,1,a.png" for n in range(200)]
    eyes = {"left_x": "lx", "left_y": "ly", "right_x": "rx", "right_y": "ry", "trial": "trial", "stimulus": "image"}
    study = write_study(tmp_path / "study", {"anna.csv": "\n".join(lines) + "\n"}, csv=eyes)
    ingest(study)
    report = export_study(study, tmp_path / "out", "bids", task="free")
    assert report.notes == ["anna: 1 image not there, or not readable (first a.png)"]
    folder = tmp_path / "out" / "sub-anna" / "beh"
    assert sorted(p.name for p in folder.glob("*physio.tsv.gz")) == [
        "sub-anna_task-free_recording-eye1_physio.tsv.gz",
        "sub-anna_task-free_recording-eye2_physio.tsv.gz",
    ]
    assert len(list(folder.glob("*physioevents.tsv.gz"))) == 1
    assert "stimulus" in read(folder / "sub-anna_task-free_events.tsv")[0]  # no stim_file, which must be there
    again = Study.open(tmp_path / "out" / "code")
    ingest(again)
    same(contents(study, "anna"), contents(again, "anna"))


def test_shortest_numbers() -> None:
    rng = np.random.default_rng(2)
    floats = rng.normal(500, 300, 2000).astype(np.float32)
    assert (np.array(_texts(floats), np.float64).astype(np.float32) == floats).all()
    assert _texts(np.array([508.4, 12, np.nan, -0.5, 1e-7], np.float32)) == ["508.4", "12", "n/a", "-0.5", "1e-07"]
    times = rng.uniform(0, 1e7, 2000)
    assert (np.array([float(t) for t in _texts(times)]) == times).all()
    assert _texts(np.array([1.0000000004]), 9) == ["1"]
    assert _texts(np.array(["a", ""], object)) == ["a", "n/a"]


# ---- names and folders -----------------------------------------------------------------------------------------------


def test_pseudonyms_become_labels_and_stay_apart(tmp_path: Path) -> None:
    files = {"P_01.csv": table(False), "P02_ses-pre_1.csv": table(False)}
    study = write_study(
        tmp_path / "study", files, ingest={"user_pattern": r"(?P<user>P_?\d+)(_(?P<session>ses-.+))?\.csv"}
    )
    ingest(study)
    export_study(study, tmp_path / "out", "bids", stimuli=False)
    assert read(tmp_path / "out" / "participants.tsv")[1:] == [["sub-P02", "P02"], ["sub-P01", "P_01"]]
    assert (tmp_path / "out" / "sub-P02" / "ses-pre1" / "beh").is_dir()
    clash = write_study(tmp_path / "clash", {"P_01.csv": table(False), "p-01.csv": table(False)})
    ingest(clash)
    with pytest.raises(ConfigError, match=r"'P_01' and 'p-01' would both be sub-p01"):
        export_study(clash, tmp_path / "no", "bids")
    assert not (tmp_path / "no").exists()
    report = export_study(clash, tmp_path / "yes", "bids", users=["P_01"])
    assert [r["user"] for r in report.recordings] == ["P_01"]


def test_refusals(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", {"anna.csv": table(False), "ben.csv": table(False)})
    with pytest.raises(NothingToDoError, match="holds no recording"):
        export_study(study, tmp_path / "out", "bids")
    ingest(study)
    with pytest.raises(ConfigError, match=r"no user 'zoe'.*anna, ben"):
        export_study(study, tmp_path / "out", "bids", users=["zoe"])
    with pytest.raises(ConfigError, match="letters and digits"):
        export_study(study, tmp_path / "out", "bids", task="free viewing")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match=r"is not empty.*--force"):
        export_study(study, tmp_path / "out", "bids")
    export_study(study, tmp_path / "out", "bids", force=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    with pytest.raises(ConfigError, match="has sub-ben, who is not exported now"):
        export_study(study, tmp_path / "out", "bids", force=True, users=["anna"])


def test_a_damaged_recording_stops_no_other(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", {"anna.csv": table(False), "ben.csv": table(False)})
    ingest(study)
    path = study.recording_file("anna")
    path.write_bytes(path.read_bytes()[:3000])
    run = CliRunner().invoke(main, ["export", str(tmp_path / "out"), str(study.root), "--no-stimuli"])
    assert run.exit_code == 3
    assert "anna.h5: damaged" in run.output
    assert read(tmp_path / "out" / "participants.tsv")[1:] == [["sub-ben", "ben"]]


def test_fixations_without_samples_have_no_place(tmp_path: Path) -> None:
    from scipy.io import savemat

    eye = np.empty((1, 1), object)
    eye[0, 0] = {"fix_x": np.array([1.0]), "fix_y": np.array([2.0]), "fix_duration": np.array([100.0])}
    structs = np.empty((1, 1), object)
    structs[0, 0] = {"img": "1.jpg", "subjects": eye}
    (tmp_path / "osie" / "eye").mkdir(parents=True)
    savemat(tmp_path / "osie" / "eye" / "fixations.mat", {"fixations": structs})
    study, _ = import_dataset("osie", tmp_path / "osie", tmp_path / "study")
    with pytest.raises(NothingToDoError, match="no recording has samples"):
        export_study(study, tmp_path / "out", "bids")


def test_dry_run_and_json(simulated: Study, exported: Path, tmp_path: Path) -> None:
    command = ["export", str(tmp_path / "out"), str(simulated.root), "--dry-run", "--json"]
    run = CliRunner().invoke(main, command)
    assert run.exit_code == 0
    assert not (tmp_path / "out").exists()
    summary = json.loads(run.stdout)
    assert len(summary["recordings"]) == len(simulated.known_recordings())
    assert summary["recordings"][0]["samples"] > 0
    written = sorted(p.relative_to(exported).as_posix() for p in exported.rglob("*") if p.is_file())
    assert sorted(export_study(simulated, tmp_path / "out", "bids", dry_run=True).files) == written
