"""People through the command line: enrolled, found again, refused; and maps of many at once.

Ten simulated observers are the study and descriptors take the network's place, so that figures mean something; two more
come in from outside.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gazepipe as package
from gazepipe import GazepipeError, Predictor, Study
from gazepipe.cli import main
from gazepipe.config import EnrolConfig
from gazepipe.enrol import enrol as enrol_stage
from gazepipe.errors import ConfigError, NothingToDoError, StimulusError
from gazepipe.images import read_rgb
from gazepipe.person_recordings import PersonData, findings
from gazepipe.simulate import simulate_study


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study]) -> Path:
    """`study`, trained and with its own ten people in the gallery, and recordings of two others in `new`."""
    folder = tmp_path_factory.mktemp("people")
    split = {"users": [0.6, 0.2, 0.2], "images": [0.7, 0.15, 0.15]}
    simulated(folder / "study", users=12, images=24, seconds=1.5, seed=5, split=split)
    (folder / "new").mkdir()
    for path in [*(folder / "study").glob("sim11*"), *(folder / "study").glob("sim12*")]:
        shutil.move(path, folder / "new" / path.name)
    for stage in ("ingest", "build-psm", "train"):
        result = gazepipe(stage, folder / "study")
        assert result.exit_code == 0, result.output
    enrol_stage(Study.open(folder / "study"), threads=1)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "people"))


def newcomer(folder: Path, user: str = "sim11") -> list[Path]:
    return sorted((folder / "new").glob(f"{user}*"))


def state(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in (folder / "study" / "store").rglob("*") if p.is_file() and p.name != ".lock"}


# ---- enrol -----------------------------------------------------------------------------------------------------------


def test_enrol_says_what_may_be_expected_and_what_the_data_are_like(folder: Path) -> None:
    ask = ("enrol", "--study", folder / "study", "--user", "guest", *newcomer(folder))
    result = gazepipe(*ask)
    assert result.exit_code == 0, result.output
    assert "24 image-PSM pairs" in result.stdout
    assert "24 of 24 trials usable" in result.stdout
    assert "expected, not measured: at m = " in result.stdout
    content = json.loads(gazepipe(*ask, "--json").stdout)
    assert content["n_pairs"] == 24
    assert content["people"] == 11
    assert len(content["embedding"]) == 34
    expected = content["expected_precision"]
    assert 1 / 11 < expected["value"] <= 1
    assert expected["low"] <= expected["value"] <= expected["high"]
    assert content["data"]["nominal_rate_hz"] == pytest.approx(125, rel=0.01)


def first_trials(source: Path, to: Path, count: int) -> Path:
    """The first trials of a CSV recording."""
    import gzip

    lines = gzip.decompress(source.read_bytes()).decode().splitlines()
    at = lines[0].split(",").index("trial")
    kept = [x for x in lines[1:] if x.split(",")[at] in {str(k) for k in range(count + 1)} | {""}]
    last = max(k for k, x in enumerate(kept) if x.split(",")[at] == str(count))
    to.write_text("\n".join([lines[0], *kept[: last + 1]]) + "\n")
    return to


def csv_of(folder: Path) -> Path:
    return next(p for p in (folder / "new").iterdir() if ".csv" in p.name)


def test_four_images_are_enough_and_three_are_said_to_be_too_few(folder: Path, tmp_path: Path) -> None:
    four = first_trials(csv_of(folder), tmp_path / "four.csv", 4)
    result = gazepipe("enrol", "--study", folder / "study", "--user", "guest", four, "--strict-qc")
    assert result.exit_code == 0, result.output
    assert "4 image-PSM pairs" in result.stdout
    assert "at m = 4 about" in result.stdout
    assert "min_images" not in result.stderr
    before = state(folder)
    three = first_trials(csv_of(folder), tmp_path / "three.csv", 3)
    result = gazepipe("enrol", "--study", folder / "study", "--user", "guest", three, "--strict-qc")
    assert result.exit_code == 5
    assert result.stdout == ""
    assert "guest: 3 images that the network's people have seen, too; expected at least" in result.stderr
    assert state(folder) == before
    result = gazepipe("enrol", "--study", folder / "study", "--user", "guest", three)
    assert result.exit_code == 0, result.output
    assert "min_images = 4" in result.stderr


def test_enrolling_again_replaces_and_a_session_adds(folder: Path, tmp_path: Path) -> None:
    study = Study.open(folder / "study")
    one = first_trials(csv_of(folder), tmp_path / "one.csv", 8)
    two = first_trials(csv_of(folder), tmp_path / "two.csv", 6)

    def recordings() -> set[str]:
        return {k for k, v in study.known_recordings().items() if v["user"] == "guest"}

    ask = ("enrol", "--study", folder / "study", "--user", "guest")
    assert gazepipe(*ask, one).exit_code == 0
    assert recordings() == {"guest_one"}
    assert "6 image-PSM pairs" in gazepipe(*ask, two).stdout
    assert recordings() == {"guest_two"}
    assert not study.recording_file("guest_one").exists()
    assert "8 image-PSM pairs" in gazepipe(*ask, one, "--session", "later").stdout
    assert recordings() == {"guest_two", "guest_later"}
    assert gazepipe(*ask, two, "--session", "later").exit_code == 0
    assert recordings() == {"guest_two", "guest_later"}
    assert gazepipe(*ask, one, two, "--session", "later").exit_code == 2
    assert gazepipe(*ask, "--session", "later").exit_code == 2


def test_a_person_under_another_name_is_noticed(folder: Path) -> None:
    ask = ("enrol", "--study", folder / "study", *newcomer(folder))
    assert "already" not in gazepipe(*ask, "--user", "guest").stderr.replace(
        "may be in the gallery already, as 'sim", ""
    )
    result = gazepipe(*ask, "--user", "twin")
    assert result.exit_code == 0
    assert "twin: may be in the gallery already, as 'guest'" in result.stderr


def test_images_of_another_study_are_told_about(folder: Path, tmp_path: Path) -> None:
    before = state(folder)
    simulate_study(tmp_path / "other", users=1, images=4, rate_hz=125, seconds=1, seed=9)
    source = next((tmp_path / "other").glob("sim01*"))
    text = source.read_bytes()
    if source.suffix == ".gz":
        import gzip

        text = gzip.decompress(text)
    strange = tmp_path / "strange.asc"
    strange.write_bytes(text.replace(b"scene", b"photo"))
    result = gazepipe("enrol", "--study", folder / "study", "--user", "guest", strange)
    assert result.exit_code == 3
    assert "shows 4 of 4 images that are not in" in result.stderr
    after = state(folder)
    assert {p: b for p, b in after.items() if "guest" not in p.name} == before
    result = gazepipe("identify", "--study", folder / "study", strange)
    assert result.exit_code == 3
    assert "shows 4 of 4 images that are not in" in result.stderr


def test_findings_by_hand() -> None:
    good = PersonData(10, 10, 8, 0, 60, data_loss=0.05, nominal_rate_hz=250, rms_s2s_deg=0.05, off_screen=0.01)
    assert findings(good, EnrolConfig()) == []
    bad = PersonData(10, 10, 3, 0, 15, 0.5, 20, 40, 0.35, 0.4, 0.3, 1.5)
    found = findings(bad, EnrolConfig())
    assert len(found) == 7
    for key in (
        "min_images = 4",
        "min_fixations = 2",
        "max_data_loss = 0.4",
        "max_off_screen = 0.2",
        "max_rms_s2s_deg = 0.3",
        "max_accuracy_deg = 1",
        "min_rate_hz = 50",
    ):
        assert sum(key in text for text in found) == 1, key
    assert findings(PersonData(10, 10, 8, 0, 60), EnrolConfig()) == []  # imported fixations tell no more


# ---- identify and verify ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["validation", "test"])
def test_the_same_recording_is_the_same_person_and_nothing_is_written(folder: Path, role: str) -> None:
    study = Study.open(folder / "study")
    person = next(p for p in package.load_gallery(study).people if p.role == role)
    before = state(folder)
    files = sorted((folder / "study").glob(f"{person.user}[._]*"))
    result = gazepipe("identify", "--study", folder / "study", *files, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["user"] == person.user
    assert found["candidates"][0]["cosine"] == pytest.approx(1, abs=1e-4)
    everybody = gazepipe("identify", "--study", folder / "study", *files, "--json", "--top", 100)
    chances = [c["probability"] for c in json.loads(everybody.stdout)["candidates"]]
    assert len(chances) == 10
    assert sum(chances) + found["probability_nobody"] == pytest.approx(1)
    result = gazepipe("verify", "--study", folder / "study", *files, "--user", person.user)
    assert result.exit_code == 0, result.output
    assert f"{person.user}: accepted" in result.stdout
    assert state(folder) == before


def test_somebody_else_is_rejected_with_a_code_of_its_own(folder: Path) -> None:
    study = Study.open(folder / "study")
    files = newcomer(folder)
    ranked = package.identify(study, files, top=100, threads=1).candidates
    result = gazepipe("verify", "--study", folder / "study", *files, "--user", ranked[-1].user)
    assert result.exit_code == 9
    assert f"{ranked[-1].user}: rejected" in result.stdout
    content = json.loads(
        gazepipe("verify", "--study", folder / "study", *files, "--user", ranked[-1].user, "--json").stdout
    )
    assert content["accepted"] is False
    assert content["far"] == 0.01
    # A threshold that lets fewer strangers in turns more of the person's own away.
    loose = package.verify(study, files, ranked[0].user, far=0.2, threads=1)
    strict = package.verify(study, files, ranked[0].user, far=0.01, threads=1)
    assert strict.threshold > loose.threshold
    assert strict.frr >= loose.frr


def test_bad_files_among_good_ones(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("")
    result = gazepipe("identify", "--study", folder / "study", tmp_path / "broken.csv", *newcomer(folder))
    assert result.exit_code == 3
    assert "cosine" in result.stdout
    assert "broken.csv" in result.stderr
    result = gazepipe("identify", "--study", folder / "study", tmp_path / "broken.csv")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert gazepipe("identify", "--study", folder / "study", tmp_path / "none.csv").exit_code == 3


def test_who_cannot_be_compared(folder: Path) -> None:
    study, files = folder / "study", newcomer(folder)
    result = gazepipe("verify", "--study", study, *files, "--user", "nobody")
    assert result.exit_code == 4
    assert "user 'nobody' is not in the gallery" in result.stderr
    assert gazepipe("identify", "--study", study, *files, "--far", "0").exit_code == 2
    (study / "store" / "models" / "calibration.json").unlink()
    result = gazepipe("identify", "--study", study, *files)
    assert result.exit_code == 4
    assert "there is no calibration" in result.stderr
    result = gazepipe("enrol", "--study", study, *files, "--user", "guest")
    assert result.exit_code == 0
    assert "no expectation: " in result.stderr
    assert gazepipe("train", study).exit_code == 0  # makes it again, and nothing else
    assert gazepipe("identify", "--study", study, *files).exit_code == 0
    (study / "store" / "gallery.h5").unlink()
    assert gazepipe("identify", "--study", study, *files).exit_code == 4


def test_poor_data_are_refused_where_asked(folder: Path) -> None:
    text = (folder / "study" / "gazepipe.toml").read_text(encoding="utf-8")
    (folder / "study" / "gazepipe.toml").write_text(text.replace("min_images = 4", "min_images = 25"))
    result = gazepipe("identify", "--study", folder / "study", *newcomer(folder))
    assert result.exit_code == 0
    assert "24 images that the network's people have seen, too" in result.stderr
    assert gazepipe("identify", "--study", folder / "study", *newcomer(folder), "--strict-qc").exit_code == 5
    assert gazepipe("enrol", "--study", folder / "study", "--user", "sim01", "--strict-qc").exit_code == 5


# ---- predict ---------------------------------------------------------------------------------------------------------


def test_maps_of_many_are_written_once(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pattern = folder / "study" / "stimuli" / "scene0*.png"
    ask = ("predict", "--study", folder / "study", "--out", out, pattern)
    result = gazepipe(*ask, "--users", "sim01,sim02")
    assert result.exit_code == 0, result.output
    n = len(list(pattern.parent.glob(pattern.name)))
    assert f"{2 * n} maps written, 0 up to date" in result.stdout
    rows = json.loads((out / "summary.json").read_text())["predictions"]
    assert len(rows) == 2 * n
    assert all((out / r["array"]).is_file() and (out / r["overlay"]).is_file() for r in rows)
    before = {p: p.stat().st_mtime_ns for p in out.glob("*/*")}
    (out / "sim02" / "scene01.png").unlink()
    assert f"1 map written, {2 * n - 1} up to date" in gazepipe(*ask, "--users", "sim01,sim02").stdout
    changed = [p for p in before if p.stat().st_mtime_ns != before[p]]
    assert {p.stem for p in changed} == {"scene01"}
    assert {p.parent.name for p in changed} == {"sim02"}
    assert f"{10 * n} maps written" in gazepipe(*ask, "--all-users", "--force").stdout
    assert gazepipe(*ask).exit_code == 2
    assert gazepipe(*ask, "--user", "sim01", "--all-users").exit_code == 2
    assert gazepipe(*ask, "--users", ",").exit_code == 2
    assert gazepipe(*ask, "--users", "sim01,nobody").exit_code == 4


def test_predictor_says_what_predict_writes(folder: Path, tmp_path: Path) -> None:
    predictor = Predictor.open(folder / "study", threads=1)
    assert predictor.users == tuple(f"sim{k:02}" for k in range(1, 11))
    image = folder / "study" / "stimuli" / "scene03.png"
    gazepipe("predict", "--study", folder / "study", "--user", "sim04", "--out", tmp_path, image)
    found = predictor(image, user="sim04")
    assert (found.shape, found.dtype) == ((120, 160), np.float32)
    np.testing.assert_allclose(found, np.load(tmp_path / "scene03.npy"), atol=1e-6)
    # Pixels are known again as those of an image that people looked at.
    np.testing.assert_array_equal(predictor(read_rgb(image), user="sim04"), found)
    many = predictor(image, user=["sim01", "sim04"])
    assert many.shape == (2, 120, 160)
    np.testing.assert_allclose(many[1], found, atol=1e-5)
    assert not np.allclose(many[0], many[1], atol=3e-5)
    own = np.zeros((60, 80), np.float32)
    own[20:30, 40:50] = 3
    assert predictor(image, user="sim01", usm=own)[50, 90] > predictor(image, user="sim01", usm=own)[10, 10]
    grey = np.full((50, 70), 128, np.uint8)
    assert predictor(grey, user="sim01").shape == (120, 160)  # nobody saw it: predicted


def test_predictor_refuses_what_it_cannot_use(folder: Path) -> None:
    predictor = Predictor.open(folder / "study", threads=1)
    grey = np.full((50, 70), 128, np.uint8)
    with pytest.raises(NothingToDoError, match="'nobody' is not in the gallery"):
        predictor(grey, user="nobody")
    with pytest.raises(StimulusError, match="nobody in the store has looked at this image"):
        predictor(grey, user="sim01", usm="store")
    with pytest.raises(ConfigError, match="expected uint8"):
        predictor(grey.astype(float), user="sim01")
    with pytest.raises(StimulusError, match="is no saliency map"):
        predictor(grey, user="sim01", usm=np.zeros((3, 3), np.float32))
    with pytest.raises(ConfigError, match="no such folder"):
        predictor(grey, user="sim01", usm=str(folder / "nowhere"))


def test_predictor_in_several_threads(folder: Path) -> None:
    predictor = Predictor.open(folder / "study", threads=1)
    images = sorted((folder / "study" / "stimuli").glob("*.png"))[:6]
    alone = [predictor(i, user=u) for i, u in zip(images, predictor.users, strict=False)]
    fresh = Predictor.open(folder / "study", threads=1)
    together: dict[int, np.ndarray] = {}

    def work(k: int) -> None:
        for _ in range(3):
            together[k] = fresh(images[k], user=fresh.users[k], usm="predicted" if k == 5 else None)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(5):
        np.testing.assert_allclose(together[k], alone[k], atol=1e-6)


# ---- the package -----------------------------------------------------------------------------------------------------


def test_importing_the_package_waits_for_nothing_heavy() -> None:
    code = (
        "import sys, gazepipe\n"
        "print([m for m in ('torch', 'numba', 'pandas', 'matplotlib', 'numpy', 'h5py', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_package_offers() -> None:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert issubclass(NothingToDoError, GazepipeError)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_predictor_with_many_sets_of_people(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of a set that made way for others are made again, the same."""
    monkeypatch.setattr("gazepipe.predictor._KEPT", 3)
    predictor = Predictor.open(folder / "study", threads=1)
    image = folder / "study" / "stimuli" / "scene03.png"
    sets = [predictor.users[:2], predictor.users[2:4], predictor.users[:5], predictor.users[1:2]]
    first = [predictor(image, user=users) for users in sets]
    for users, maps in zip(sets, first, strict=True):
        np.testing.assert_array_equal(predictor(image, user=users), maps)
        assert sum(len(kept) for kept in predictor._kernels.values()) <= max(3, len(users))
    np.testing.assert_allclose(first[2][:2], first[0], atol=1e-6)
