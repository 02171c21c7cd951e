"""No pseudonym in a path: the same results under other names, found again by whoever may know, and by nobody else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gazepipe import ingest, store, vault
from gazepipe.build import build_psm
from gazepipe.cli import main
from gazepipe.dag import folder_of
from gazepipe.errors import ConfigError, StoreError
from gazepipe.file_names import LAYOUT, has_random_names
from gazepipe.gather import gather_ingest, gather_psm
from gazepipe.integrity import check_store
from gazepipe.shards import Shard, part_files
from gazepipe.study import Study

NAMES = ("anna_ses-1", "anna_ses-2", "ben", "Cleo")
USERS = ("Cleo", "anna", "ben")
KINDS = {"random": {"file_names": "random"}, "sealed": {"encryption": {"enabled": True}}}


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase is known, and scrypt is fast; it is not what is tested here."""
    monkeypatch.setenv("GAZEPIPE_PASSPHRASE", "correct horse battery staple")
    monkeypatch.setattr(vault, "_COST", {"n": 1 << 10, "r": 8, "p": 1})
    monkeypatch.setattr(vault, "_open", {})


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "sealed":
        pytest.importorskip("cryptography", reason='needs the extra: pip install "gazepipe[encryption]"')
    return str(request.param)


@pytest.fixture
def people(small_study: Any) -> Any:
    """Three people, one of them recorded twice."""
    small_study.image("a.png")
    for k, name in enumerate(NAMES):
        small_study.recording(f"{name}.csv", [("a.png", [(150 + 100 * k, 300, 400), (200 + 90 * k, 250, 300)])])
    return small_study


def opened(people: Any, kind: str, to: Path | None = None) -> Study:
    """The study with files called as `kind` has it, in a store of its own."""
    people.configure(encryption=KINDS.get(kind, {}).get("encryption", {}))
    path = people.root / "gazepipe.toml"
    wanted = KINDS.get(kind, {}).get("file_names", "pseudonyms")
    path.write_text(path.read_text().replace('file_names = "pseudonyms"', f'file_names = "{wanted}"'))
    study: Study = people.open(to=to)
    return study


def made(people: Any, kind: str, to: Path | None = None) -> Study:
    study = opened(people, kind, to)
    take(study)
    build_psm(study)
    return study


@pytest.fixture(scope="session")
def kept() -> dict[str, Path]:
    """Studies that were made once, of each kind; for copying."""
    return {}


@pytest.fixture
def study(
    people: Any, kind: str, kept: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    """A copy of the study, with recordings and maps."""
    if kind not in kept:
        made(people, kind)
        kept[kind] = Path(shutil.copytree(people.root, tmp_path_factory.mktemp(kind) / "study"))
    return Study.open(Path(shutil.copytree(kept[kind], tmp_path / "copy")))


def take(study: Study) -> list[str]:
    """Recordings that an ingest in this process wrote."""
    return list(ingest.ingest(study, jobs=1).written)


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def of_people(study: Study) -> set[str]:
    return {
        p.relative_to(study.store).as_posix() for part in ("recordings", "psm") for p in study.store.glob(f"{part}/*")
    }


# ---- names -----------------------------------------------------------------------------------------------------------


def test_no_path_tells_a_name(study: Study, people: Any, kind: str, tmp_path: Path) -> None:
    files = of_people(study)
    assert len(files) == len(NAMES) + len(USERS)
    assert all(re.fullmatch(r"(recordings|psm)/[0-9a-f]{32}\.h5", name) for name in files)
    paths = [p.relative_to(study.store).as_posix().lower() for p in study.store.rglob("*")]
    assert [p for p in paths for name in USERS if name.lower() in p] == []
    guessed = {hashlib.blake2b(name.lower().encode(), digest_size=16).hexdigest() for name in (*NAMES, *USERS)}
    assert not guessed & {Path(name).stem for name in files}
    other = made(people, kind, tmp_path / "other")
    assert not of_people(other) & files, "the same people are called otherwise in another store"


def test_a_name_is_one_whatever_its_case(study: Study) -> None:
    """As on a system that does not tell Anna.h5 from anna.h5; that nobody else is called so is checked elsewhere."""
    assert study.psm_file("cleo") == study.psm_file("Cleo")
    assert study.psm_file("cleo2") != study.psm_file("cleo")
    for bad in ("../x", "a/b", "", "nul"):
        with pytest.raises(StoreError, match="is no user or recording"):
            study.psm_file(bad)


def test_the_same_results_under_other_names(people: Any, kind: str, tmp_path: Path) -> None:
    study = made(people, kind)
    plain = made(people, "pseudonyms", tmp_path / "plain")
    assert of_people(plain) == {f"recordings/{n}.h5" for n in NAMES} | {f"psm/{u}.h5" for u in USERS}
    for ours, theirs, encoding in [
        *((study.recording_file(n), plain.recording_file(n), "gazepipe.recording") for n in NAMES),
        *((study.psm_file(u), plain.psm_file(u), "gazepipe.psm") for u in USERS),
        (study.usm_file, plain.usm_file, "gazepipe.usm"),
    ]:
        found, expected = store.load(ours, encoding), store.load(theirs, encoding)
        assert found.attrs == expected.attrs
        assert found.arrays.keys() == expected.arrays.keys()
        for name, values in expected.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], values)
    assert study.known_recordings() == plain.known_recordings()


def test_shards_agree_on_names(people: Any, kind: str) -> None:
    study = opened(people, kind)
    for shard in (Shard(1, 2), Shard(2, 2)):
        ingest.ingest(study, jobs=1, shard=shard)
    texts = b"".join(p.read_bytes() for p in part_files(study))
    assert (b"anna" in texts) == (kind == "random"), "what shards leave is sealed, too"
    gather_ingest(study, 2)
    for shard in (Shard(1, 2), Shard(2, 2)):
        build_psm(study, shard=shard)
    gather_psm(study, 2)
    before = of_people(study)
    assert before == {p.relative_to(study.store).as_posix() for p in map(study.recording_file, NAMES)} | {
        p.relative_to(study.store).as_posix() for p in map(study.psm_file, USERS)
    }
    assert take(study) == []
    assert build_psm(study).written == []
    assert of_people(study) == before


def test_what_is_gone_goes(people: Any, kind: str) -> None:
    study = made(people, kind)
    gone = [study.recording_file("ben"), study.psm_file("ben")]
    assert all(p.is_file() for p in gone)
    (study.recordings / "ben.csv").unlink()
    take(study)
    build_psm(study)
    assert not any(p.exists() for p in gone)
    assert len(of_people(study)) == len(NAMES) + len(USERS) - 2


# ---- a store keeps its names -----------------------------------------------------------------------------------------


def test_a_store_keeps_the_names_it_began_with(people: Any) -> None:
    study = opened(people, "pseudonyms")
    take(study)
    with pytest.raises(ConfigError) as error:
        opened(people, "random")
    assert str(error.value) == (
        f"{study.store}: its files are called by pseudonyms (it has no layout.json), and a store keeps the names it "
        'began with; set file_names = "pseudonyms", or make a new store with --store.'
    )
    shutil.rmtree(study.store)
    study = opened(people, "random")
    take(study)
    again = opened(people, "pseudonyms")  # says nothing against it
    assert has_random_names(again.store)
    assert take(again) == []
    assert of_people(again) == {p.relative_to(study.store).as_posix() for p in map(study.recording_file, NAMES)}


def test_a_store_without_people_can_still_begin(people: Any) -> None:
    """A form of consent is on record before there is a recording."""
    study = opened(people, "random")
    assert gazepipe("consent", "add", "--study", study.root, "--user", "ben", "--form", "F-1").exit_code == 0
    assert study.store.is_dir()
    take(opened(people, "random"))
    assert has_random_names(study.store)


@pytest.mark.parametrize("damage", ["{}", '{"key": "00"}', '{"key": 7}', "no json"])
def test_a_damaged_layout_is_one_sentence(people: Any, damage: str) -> None:
    study = opened(people, "random")
    take(study)
    (study.store / LAYOUT).write_text(damage)
    result = gazepipe("build-psm", study.root)
    assert result.exit_code == 8, result.output
    assert "put it back from a backup: without it files of people are not found." in result.output
    assert len(result.output.strip().splitlines()) == 1
    (study.store / LAYOUT).unlink()
    assert "it has no layout.json" in gazepipe("build-psm", study.root).output


# ---- commands --------------------------------------------------------------------------------------------------------


def test_who_may_know_is_told_which_files_are_whose(study: Study) -> None:
    found = json.loads(gazepipe("info", study.root, "--user", "anna", "--json").stdout)
    assert {row["what"]: study.store / row["file"] for row in found["files"]} == {
        "maps": study.psm_file("anna"),
        "recording anna_ses-1": study.recording_file("anna_ses-1"),
        "recording anna_ses-2": study.recording_file("anna_ses-2"),
    }
    assert (
        f"maps                  psm/{study.psm_file('anna').name}"
        in gazepipe("info", study.root, "--user", "anna").stdout
    )
    whole = json.loads(gazepipe("info", study.root, "--json").stdout)
    assert whole["file_names"] == "random"
    assert {row["file"]: row["user"] for row in whole["files"]}.keys() == of_people(study)
    assert "`gazepipe info --user` tells which files are somebody's." in gazepipe("info", study.root).stdout
    missing = gazepipe("info", study.root, "--user", "nobody")
    assert (missing.exit_code, "user 'nobody' is not in" in missing.output) == (4, True)


def test_verify_says_whose_a_missing_file_is(study: Study) -> None:
    assert [f.message for f in check_store(study).findings if f.bad or f.kind == "unused"] == []
    study.recording_file("anna_ses-2").unlink()
    (finding,) = check_store(study).bad
    assert finding.kind == "missing"
    assert "a manifest names it (anna_ses-2); run the stage" in finding.message


def test_forgetting(study: Study) -> None:
    theirs = {study.recording_file("anna_ses-1"), study.recording_file("anna_ses-2"), study.psm_file("anna")}
    listed = json.loads(gazepipe("forget", "--study", study.root, "--user", "anna", "--dry-run", "--json").stdout)
    assert {study.store / name for name in listed["remove"]} >= theirs
    result = gazepipe("forget", "--study", study.root, "--user", "anna", "--yes", "--json")
    assert result.exit_code == 0, result.output
    receipt = json.loads(result.stdout)
    assert receipt["found"] == []
    assert not any(path.stem in result.stdout for path in theirs), "nor does a receipt say what their files were called"
    assert not any(path.exists() for path in theirs)
    assert of_people(study) == {f"recordings/{study.recording_file(n).name}" for n in ("ben", "Cleo")} | {
        f"psm/{study.psm_file(u).name}" for u in ("ben", "Cleo")
    }
    assert "anna" not in {row["user"] for row in study.known_recordings().values()}


@pytest.mark.parametrize("damaged", [False, True])
def test_forgetting_finds_a_recording_that_no_manifest_names(study: Study, kind: str, damaged: bool) -> None:
    """By what is in it; where it cannot be read, by whose key it was sealed with."""
    path = study.recording_file("anna_ses-2")
    rows = study.manifest("ingest")
    study.write_manifest(
        "ingest", rows | {"recordings": {k: v for k, v in rows["recordings"].items() if k != "anna_ses-2"}}
    )
    if damaged:
        path.write_bytes(path.read_bytes()[:-7])
    gazepipe("forget", "--study", study.root, "--user", "anna", "--yes")
    assert path.exists() == (damaged and kind == "random")
    assert study.recording_file("ben").exists()


def test_the_engine_keeps_its_folder_out_of_a_sealed_store(people: Any, kind: str) -> None:
    """It reads plain files that name recordings; the folder is the same before the store is made."""
    study = opened(people, kind)
    before = folder_of(study)
    expected = study.store.parent / ".store-dag" if kind == "sealed" else study.store / "dag"
    assert before == expected.resolve()
    take(study)
    assert folder_of(study) == before
    if kind == "sealed":
        (before / "log").mkdir(parents=True)
        (before / "log" / "ingest.log").write_text("read anna_ses-1.csv")
        result = gazepipe("forget", "--study", study.root, "--user", "anna", "--dry-run")
        assert f"and the workflow engine's folder, {before}" in result.output
        assert gazepipe("forget", "--study", study.root, "--user", "anna", "--yes").exit_code == 0
        assert not before.exists()
