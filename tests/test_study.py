"""Names that can be files everywhere, how a study is found, and what it keeps about its inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gazepipe.config import template
from gazepipe.errors import ConfigError, StoreError
from gazepipe.study import Failure, Study, check_label, fold


@pytest.mark.parametrize("label", ["a", "7", "sub-01", "P_3", "x" * 64, "con1", "com10", "Anna"])
def test_labels_that_can_be_used(label: str) -> None:
    assert check_label(label, "user") == label


@pytest.mark.parametrize(
    "label",
    [
        "",
        "-a",
        "_a",
        "..",
        "a.b",
        "a/b",
        "a\\b",
        "a b",
        "a:b",
        "ü",
        "x" * 65,
        "a\n",
        "con",
        "NUL",
        "Com1",
        "lpt9",
        "~a",
    ],
)
def test_labels_that_cannot(label: str) -> None:
    with pytest.raises(ConfigError, match=r"^user .* cannot be used; expected a letter or digit"):
        check_label(label, "user")


def test_what_is_one_file_on_some_systems_folds_alike() -> None:
    assert fold("Anna") == fold("anna")
    assert fold("Mu\u0308ller") == fold("M\u00fcller")
    assert fold("anna") != fold("anne")


# ---- finding it ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my study ü"
    (root / "rec").mkdir(parents=True)
    (root / "gazepipe.toml").write_text(template(name="x", recordings="rec", stimuli="img", store="out"))
    return root


def test_paths_count_from_the_configuration(folder: Path) -> None:
    study = Study.open(folder)
    assert (study.recordings, study.stimuli, study.store) == (folder / "rec", folder / "img", folder / "out")


def test_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert Study.open().store.resolve() == (folder / "out").resolve()


def test_recordings_elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stick").mkdir()
    monkeypatch.chdir(folder)
    study = Study.open(tmp_path / "stick")
    assert study.recordings == tmp_path / "stick"
    assert study.store.resolve() == (folder / "out").resolve()
    assert Study.open(tmp_path / "stick", config=folder / "gazepipe.toml").store == folder / "out"


def test_store_elsewhere(folder: Path, tmp_path: Path) -> None:
    assert Study.open(folder, to=tmp_path / "other").store == tmp_path / "other"


def test_no_folder_and_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        Study.open(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"holds no gazepipe\.toml.*gazepipe init"):
        Study.open(tmp_path)


# ---- what it keeps ---------------------------------------------------------------------------------------------------


def test_manifest_round_trip(folder: Path) -> None:
    study = Study.open(folder)
    assert study.manifest("ingest") == {}
    study.write_manifest("ingest", {"recordings": {"a": {"user": "a"}}})
    study.write_manifest("enrol", {"recordings": {"b_1": {"user": "b"}}})
    assert study.manifest("ingest") == {"recordings": {"a": {"user": "a"}}}
    assert study.known_recordings() == {"a": {"user": "a"}, "b_1": {"user": "b"}}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"recordings": ', b"[]"])
def test_damaged_manifest(folder: Path, content: bytes) -> None:
    study = Study.open(folder)
    study.write_manifest("ingest", {})
    (study.store / "manifest" / "ingest.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"ingest\.json: damaged .*run `gazepipe ingest` again"):
        study.manifest("ingest")


def failures(study: Study) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (study.store / "failures.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(r["stage"], r["message"]) for r in rows]


def test_each_stage_replaces_its_own_failures(folder: Path) -> None:
    study = Study.open(folder)
    study.write_failures("ingest", [])
    assert not (study.store / "failures.jsonl").exists()
    study.write_failures("ingest", [Failure("ingest", "a", "Größe"), Failure("ingest", "b", "two")])
    study.write_failures("build-psm", [Failure("build-psm", "c", "three", partial=True)])
    assert failures(study) == [("ingest", "Größe"), ("ingest", "two"), ("build-psm", "three")]
    study.write_failures("ingest", [Failure("ingest", "b", "two")])
    assert failures(study) == [("build-psm", "three"), ("ingest", "two")]
    study.write_failures("ingest", [])
    study.write_failures("build-psm", [])
    assert failures(study) == []


def test_damaged_failures_do_not_stop_a_stage(folder: Path) -> None:
    study = Study.open(folder)
    study.write_failures("ingest", [Failure("ingest", "a", "one")])
    with (study.store / "failures.jsonl").open("ab") as file:
        file.write(b'{"stage": "train"\n\xff\n[]\n')
    study.write_failures("build-psm", [Failure("build-psm", "c", "three")])
    assert failures(study) == [("ingest", "one"), ("build-psm", "three")]
