"""Sealed stores: what a study needs works, and who has no passphrase, or changes a byte, gets nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from survival import told

from gazepipe import Predictor, audit, identify, read, sealing, store, vault
from gazepipe.cli import main
from gazepipe.config import load_config, template
from gazepipe.crossvalidate import crossvalidate, folder_of
from gazepipe.datasets import load_dataset
from gazepipe.enrol import load_gallery
from gazepipe.errors import ConfigError, StoreError
from gazepipe.file_names import file_name
from gazepipe.importing import import_fixations
from gazepipe.integrity import check_store
from gazepipe.live.recording import RECORD
from gazepipe.models import check_weights, load_model
from gazepipe.predict import predict
from gazepipe.predicted import predicted_rows
from gazepipe.recipe import Recipe
from gazepipe.study import Study

pytest.importorskip("cryptography", reason='needs the extra: pip install "gazepipe[encryption]"')

PHRASE = "correct horse battery staple"
KIND = "gazepipe.psm"


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase is known, and scrypt is fast; it is not what is tested here."""
    monkeypatch.setenv("GAZEPIPE_PASSPHRASE", PHRASE)
    monkeypatch.delenv("GAZEPIPE_PASSPHRASE_FILE", raising=False)
    monkeypatch.setattr(vault, "_COST", {"n": 1 << 10, "r": 8, "p": 1})
    monkeypatch.setattr(vault, "_open", {})


@pytest.fixture(scope="session")
def plain_study(
    tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study], whole_sections: dict[str, Any]
) -> Path:
    root = tmp_path_factory.mktemp("sealing") / "study"
    simulated(root, users=6, images=8, seconds=1.0, seed=3, universal={"backbone": "none"}, **whole_sections)
    return root


def configure(root: Path, **encryption: Any) -> None:
    config = load_config(root / "gazepipe.toml").model_dump(mode="json")
    config["encryption"] |= encryption
    (root / "gazepipe.toml").write_text(template(**config), encoding="utf-8")


@pytest.fixture(scope="session")
def sealed_study(plain_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed study through all stages; do not change it."""
    root = Path(shutil.copytree(plain_study, tmp_path_factory.mktemp("sealed") / "study"))
    configure(root, enabled=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAZEPIPE_PASSPHRASE", PHRASE)
        patch.setattr(vault, "_COST", {"n": 1 << 10, "r": 8, "p": 1})
        assert gazepipe("run", root, "--jobs", "2", "--threads", "1").exit_code == 0
    return root


@pytest.fixture
def study(sealed_study: Path, tmp_path: Path) -> Study:
    return Study.open(Path(shutil.copytree(sealed_study, tmp_path / "study")))


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def told_by(root: Path, words: Iterable[str]) -> list[tuple[str, str]]:
    """Paths in a folder that one of some words is in, or that hold one, whatever its case."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        data = name.lower().encode() + b"\n" + (path.read_bytes().lower() if path.is_file() else b"")
        found += [(name, word) for word in words if word.lower().encode() in data]
    return found


def of_people(study: Study) -> list[Path]:
    """Files that hold gaze, maps, embeddings or weights."""
    kinds = (".h5", ".safetensors", ".npy", ".png")
    return [p for p in sorted(study.store.rglob("*")) if p.suffix in kinds and "figures" not in p.parts]


# ---- a study ---------------------------------------------------------------------------------------------------------


def test_every_file_of_people_is_sealed(study: Study) -> None:
    files = of_people(study)
    assert {p.suffix for p in files} == {".h5", ".safetensors", ".npy", ".png"}
    assert [p for p in files if not p.read_bytes().startswith(b"GAZESEAL")] == []
    row = store.load(study.psm_file("sim01"), KIND).arrays["maps"]
    for run in (row[0, 10, :8].tobytes(), b"x_coordinate", b"sim01"):
        assert [p for p in files if run in p.read_bytes()] == []


def test_a_lost_disk_tells_neither_who_nor_what(study: Study, tmp_path: Path) -> None:
    """After all that writes into a store: no pseudonym, no image, no recording and no path of one, whatever is read."""
    (study.root / "sim09.csv.gz").write_bytes(b"of nobody")
    assert gazepipe("ingest", study.root, "--shard", "1/1").exit_code == 3
    assert gazepipe("gather", "ingest", study.root, "--shards", "1").exit_code == 3
    assert gazepipe("evaluate", study.root, "--tables").exit_code == 0
    assert gazepipe("export", tmp_path / "bids", study.root).exit_code == 0
    assert gazepipe("consent", "add", "--study", study.root, "--user", "sim02", "--form", "F-1").exit_code == 0
    assert gazepipe("forget", "--study", study.root, "--user", "sim06", "--yes").exit_code == 0
    images = [p.stem for p in study.stimuli.iterdir()]
    recordings = [p.name for p in study.root.glob("sim*")]
    words = ["sim0", *images, *recordings, ".asc", ".csv.gz", str(study.root), study.root.name]
    assert told_by(study.store, words) == []
    assert {"manifest", "psm", "recordings", "receipts"} <= {p.name for p in study.store.iterdir()}
    assert {f.source for f in study.failures()} == {str(study.root / "sim09.csv.gz")}
    assert told_by(study.root, ["sim09"]), "the search finds what there is"
    found = [f for f in check_store(study).findings if f.kind != "unused"]
    assert found == []


def test_texts_are_shown_to_who_has_the_passphrase(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study.store / "evaluation.md"
    assert b"Evaluation" not in path.read_bytes()
    assert "# Evaluation of sample" in gazepipe("info", path).stdout
    assert (
        "sim01"
        in json.loads(gazepipe("info", study.manifest_file("build-psm"), "--json").stdout)["attributes"]["users"]
    )
    monkeypatch.setenv("GAZEPIPE_PASSPHRASE", "wrong horse")
    monkeypatch.setattr(vault, "_open", {})
    assert gazepipe("info", path).exit_code == 2


def test_results_are_those_of_a_plain_store(study: Study, plain_study: Path, tmp_path: Path) -> None:
    plain = Study.open(plain_study, to=tmp_path / "plain")
    assert gazepipe("ingest", plain_study, "--store", plain.store).exit_code == 0
    assert gazepipe("build-psm", plain_study, "--store", plain.store).exit_code == 0
    for user in ("sim01", "sim06"):
        ours, theirs = (store.load(s.psm_file(user), KIND) for s in (study, plain))
        assert ours.attrs == theirs.attrs
        for name, values in theirs.arrays.items():
            np.testing.assert_array_equal(ours.arrays[name], values)


def test_cross_validation_of_a_sealed_store(study: Study, plain_study: Path, tmp_path: Path) -> None:
    """The figures of a plain store; folds and their tables are sealed, and are gone on from."""
    plain = Study.open(plain_study, to=tmp_path / "plain")
    assert gazepipe("ingest", plain_study, "--store", plain.store).exit_code == 0
    assert gazepipe("build-psm", plain_study, "--store", plain.store).exit_code == 0
    expected, found = (crossvalidate(s, folds=3, threads=1) for s in (plain, study))
    assert [f.precision for f in found.folds] == [f.precision for f in expected.folds]
    for ours, theirs in zip(found.folds, expected.folds, strict=True):
        np.testing.assert_array_equal(ours.scores.values, theirs.scores.values)
    written = {p for p in folder_of(study, None).rglob("*") if p.is_file()}
    assert {p.suffix for p in written} >= {".h5", ".md"}
    assert [p for p in written if not p.read_bytes().startswith(b"GAZESEAL")] == []
    assert told_by(study.store, ["sim0", *(p.stem for p in study.stimuli.iterdir()), str(study.root)]) == []
    assert [f.message for f in check_store(study).findings if f.bad] == []
    assert "# Cross-validation of sample" in gazepipe("info", folder_of(study, None) / "crossvalidation.md").stdout
    times = {p: p.stat().st_mtime_ns for p in written if p.suffix == ".h5"}
    result = gazepipe("crossvalidate", study.root, "--folds", "3", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert {p: p.stat().st_mtime_ns for p in times} == times


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_imported_data_set_is_not_named(tmp_path: Path, encrypted: bool) -> None:
    """A sealed store says in the clear neither what was imported nor who is in it; a plain one says both."""
    rows = [f"{user},cat.png,{5 * k + 1},{4 * k + 2},{100 + k}" for user in ("anna", "ben") for k in range(5)]
    table = tmp_path / "f.csv"
    table.write_text("user,stimulus,x_px,y_px,duration_ms\n" + "\n".join(rows) + "\n")
    dataset = load_dataset("table", table, pixels_per_degree=24, frame=(80, 60))
    root = tmp_path / "study"
    root.mkdir()
    (root / "gazepipe.toml").write_text(template(encryption={"enabled": encrypted}), encoding="utf-8")
    study, _ = import_fixations(replace(dataset, name="ward3"), table, root)
    (line,) = audit.entries(study)
    assert line["command"] == "import"
    assert line["detail"] == {"written": 2} | ({} if encrypted else {"dataset": "ward3"})
    assert {word for _, word in told_by(study.store, ["ward3", "anna", "cat"])} == (
        set() if encrypted else {"ward3", "anna", "cat"}
    )


def test_commands_on_a_sealed_store(study: Study, tmp_path: Path) -> None:
    assert [f.message for f in check_store(study).findings if f.bad] == []
    again = gazepipe("run", study.root, "--threads", "1")
    assert "0 written, 7 up to date, 0 failed" in again.output
    assert "nothing trained, embedding, refiner, profile, universal up to date" in again.output
    assert json.loads(gazepipe("info", study.root, "--json").stdout)["maps"] == 6 * 8
    for path in (study.psm_file("sim01"), study.model_file("embedding")):
        assert gazepipe("info", path).exit_code == 0
    out = tmp_path / "bids"
    assert gazepipe("export", out, study.root).exit_code == 0
    assert b"GAZESEAL" not in next(out.rglob("*_physio.tsv.gz")).read_bytes()  # an export is to be read by others
    (recording,) = study.root.glob("sim02*")
    found = json.loads(gazepipe("identify", "--study", study.root, recording, "--json").stdout)
    assert {c["user"] for c in found["candidates"]} <= {f"sim0{n}" for n in range(1, 7)}


def test_a_map_that_is_there_is_not_predicted_again(study: Study) -> None:
    row = next(iter(predicted_rows(study.store / "predictions").values()))
    (done,), _ = predict(study, row["user"], [Path(row["image"])], threads=1)
    assert done.current


def test_nothing_shows_gaze_in_the_clear(study: Study, tmp_path: Path) -> None:
    """Reports and figures are for browsers and viewers, which open no seal: they go elsewhere, or nowhere."""
    plain = {p for p in study.store.rglob("*") if p.is_file()}
    for command in (("report", study.root), ("evaluate", study.root, "--figures")):
        for out in ((), ("--out", study.store / "x")):
            result = gazepipe(*command, *out)
            assert result.exit_code == 2
            assert f"gazepipe: {study.store}: the store is sealed, and " in result.output
            assert "in the clear; name a place outside the store with --out." in result.output
    assert {p for p in study.store.rglob("*") if p.is_file()} == plain
    study.report_file.write_text("of before the store was sealed")
    found = [f for f in check_store(study).findings if f.file == "report.html"]
    assert "shows people's gaze in the clear" in found[-1].message
    assert (
        gazepipe("predict", "--study", study.root, "--user", "sim01", "--test-images", 1, "--out", tmp_path).exit_code
        == 0
    )
    assert next(tmp_path.rglob("*.png")).read_bytes().startswith(b"\x89PNG")


def test_a_live_session(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is a recording like any other, in the clear; what gets into the store is sealed, and is forgotten."""
    options = (
        "--device",
        "fake",
        "--screen",
        "none",
        "--seconds",
        0.4,
        "--count",
        5,
        "--points",
        0,
        "--force",
        "--enrol",
    )
    monkeypatch.chdir(study.root.parent)
    result = gazepipe("session", "--study", study.root.name, "--user", "livia", "--force", "--enrol", *options)
    assert result.exit_code == 0, result.output
    (folder,) = study.recordings.glob("livia_*")
    monkeypatch.chdir(study.root)  # the manifest has its path as seen from the folder above
    assert "store already has" not in gazepipe("ingest", ".").output
    samples = np.frombuffer((folder / "samples.bin").read_bytes(), RECORD)
    runs = [samples["screen_x_px"][k : k + 8].tobytes() for k in range(0, len(samples) - 8, 8)]
    assert [p for p in study.store.rglob("*.h5") if any(r in p.read_bytes() for r in runs)] == []
    assert [p for p in of_people(study) if not p.read_bytes().startswith(b"GAZESEAL")] == []
    assert "livia" in [p.user for p in load_gallery(study).people]
    done = gazepipe("forget", "--study", study.root, "--user", "livia", "--recordings", "--yes")
    assert done.exit_code == 0, done.output
    assert "nothing is left." in done.output
    assert not folder.exists()


def test_from_python(study: Study) -> None:
    seen = read(next(study.root.glob("sim02*")), study)
    assert len(seen.fixations)
    assert np.linalg.norm(seen.embedding) == pytest.approx(1, abs=1e-5)
    predictor = Predictor.open(study.root)
    image = next(p for p in study.stimuli.iterdir() if p.suffix == ".png")
    assert predictor(image, "sim01").max() > 0
    assert identify(study, [next(study.root.glob("sim02*"))]).candidates


# ---- passphrases -----------------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_is_one_sentence(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEPIPE_PASSPHRASE", "wrong horse")
    monkeypatch.setattr(vault, "_open", {})
    for command in ("info", "verify", "run", "ingest", "export"):
        places = [study.root.parent / "x", study.root] if command == "export" else [study.root]
        result = gazepipe(command, *places)
        assert result.exit_code == 2, (command, result.output)
        assert result.output.strip().splitlines() == [
            f"gazepipe: {study.store}: the passphrase is not the one that the store was sealed with; give that one."
        ]
    monkeypatch.delenv("GAZEPIPE_PASSPHRASE")
    assert "there is no passphrase; set GAZEPIPE_PASSPHRASE" in gazepipe("info", study.root).output


def test_passphrase_from_a_file(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAZEPIPE_PASSPHRASE")
    monkeypatch.setattr(vault, "_open", {})
    (study.root / "phrase.txt").write_text(f"{PHRASE}\n")
    configure(study.root, passphrase_file="phrase.txt")
    assert len(load_gallery(Study.open(study.root)).people) == 6
    assert os.environ["GAZEPIPE_PASSPHRASE_FILE"] == str(study.root / "phrase.txt")  # for the workers
    (study.root / "phrase.txt").write_text("")
    monkeypatch.setattr(vault, "_open", {})
    with pytest.raises(ConfigError, match="there is no passphrase"):
        Study.open(study.root)


def in_memory(monkeypatch: pytest.MonkeyPatch, *, locked: bool = False) -> dict[tuple[str, str], str]:
    """Give the package keyring a keyring that is in memory; the passphrases in it."""
    keyring = pytest.importorskip("keyring", reason="needs the package keyring")
    from keyring.backend import KeyringBackend
    from keyring.errors import KeyringLocked

    kept: dict[tuple[str, str], str] = {}

    class InMemory(KeyringBackend):  # type: ignore[misc]
        priority = 1.0

        def get_password(self, service: str, username: str) -> str | None:
            if locked:
                raise KeyringLocked("the user said no")
            return kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            kept[service, username] = password

    before = keyring.get_keyring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", before)  # put back afterwards
    keyring.set_keyring(InMemory())
    monkeypatch.delenv("GAZEPIPE_PASSPHRASE")
    monkeypatch.setattr(vault, "_open", {})
    return kept


def test_passphrase_from_the_keyring(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = in_memory(monkeypatch)
    configure(study.root, keyring=True)
    result = gazepipe("info", study.root)
    assert result.exit_code == 2
    assert "the system's keyring has no passphrase of this store; run `keyring set gazepipe /" in result.output
    kept["gazepipe", str(study.store.resolve())] = PHRASE
    assert len(load_gallery(Study.open(study.root)).people) == 6
    assert os.environ["GAZEPIPE_PASSPHRASE"] == PHRASE  # for the workers
    kept["gazepipe", str(study.store.resolve())] = "wrong horse"
    monkeypatch.setattr(vault, "_open", {})
    assert "the passphrase is not the one" in gazepipe("info", study.root).output


def test_a_new_store_is_sealed_with_the_passphrase_of_the_keyring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = in_memory(monkeypatch)
    (tmp_path / "gazepipe.toml").write_text(template(encryption={"enabled": True, "keyring": True}), encoding="utf-8")
    kept["gazepipe", str((tmp_path / "store").resolve())] = PHRASE
    study = Study.open(tmp_path)
    with store.lock(study.store):
        store.save(study.psm_file("a"), KIND, {"maps": np.ones((1, 2, 2))}, recipe=Recipe("t", 1, {}, {}))
    monkeypatch.setattr(vault, "_open", {})
    assert store.load(study.psm_file("a"), KIND).arrays["maps"].sum() == 4
    (tmp_path / "gazepipe.toml").write_text(template(encryption={"keyring": False}), encoding="utf-8")
    monkeypatch.setattr(vault, "_open", {})
    with pytest.raises(ConfigError, match="there is no passphrase"):  # that of a study opened before is not left
        Study.open(tmp_path)


def test_a_keyring_that_is_locked(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory(monkeypatch, locked=True)
    configure(study.root, keyring=True)
    result = gazepipe("info", study.root)
    assert result.exit_code == 2
    assert "the system's keyring cannot be asked (the user said no); run" in result.output


@pytest.mark.parametrize("phrase", ["", "short"])
def test_a_bad_passphrase_seals_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phrase: str) -> None:
    monkeypatch.setenv("GAZEPIPE_PASSPHRASE", phrase)
    assert gazepipe("init", tmp_path, "--encrypt").exit_code == 0
    study = Study.open(tmp_path)
    with pytest.raises(ConfigError, match=r"no passphrase|5 characters; expected 8"), store.lock(study.store):
        pass
    assert not sealing.is_sealed(study.store)


# ---- tampering -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A sealed store with files of two users."""
    (tmp_path / "gazepipe.toml").write_text(template(encryption={"enabled": True}), encoding="utf-8")
    study = Study.open(tmp_path)
    with store.lock(study.store):
        for user in ("anna", "ben"):
            arrays = {"maps": np.full((1, 2, 2), len(user), np.float16)}
            recipe = Recipe("build-psm", 1, {}, {"user": user})
            store.save(study.psm_file(user), KIND, arrays, recipe=recipe, attrs={"user": user})
    return study.store


def maps_of(root: Path, user: str) -> Path:
    return root / "psm" / f"{file_name(root, user)}.h5"


def test_every_changed_byte_is_found(small: Path) -> None:
    path = maps_of(small, "anna")
    data = path.read_bytes()
    rng, survived = np.random.default_rng(5), 0
    places = [*range(120), *(int(i) for i in rng.integers(120, len(data), 200))]
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
        with pytest.raises(StoreError) as error:
            store.load(path, KIND)
        assert error.value.exit_code == 8
        assert "\n" not in str(error.value)
        survived += 1
    for keep in (0, 7, 8, 20, 100, len(data) - 1):
        path.write_bytes(data[:keep])
        with pytest.raises(StoreError):
            store.load(path, KIND)
    told("R10", survived, len(places), "a sealed file")


def test_a_file_cannot_pass_as_another_ones(small: Path) -> None:
    """Whose it is and what it is are sealed with it, so that neither can be changed."""
    anna, ben = (maps_of(small, name) for name in ("anna", "ben"))
    data, other = anna.read_bytes(), ben.read_bytes()
    size = int.from_bytes(data[9:11], "little")
    anna.write_bytes(other[: 11 + size] + data[11 + size :])  # ben's header, anna's data
    with pytest.raises(StoreError, match="damaged or tampered with"):
        store.load(anna, KIND)
    anna.write_bytes(data.replace(b'"version": "1.0"', b'"version": "2.0"'))
    with pytest.raises(StoreError, match="damaged or tampered with"):
        store.load(anna, KIND)


def test_a_text_cannot_pass_as_another_one(small: Path) -> None:
    """A manifest in the place of another, one of another version of it in the clear, and every changed byte."""
    study = Study.open(small.parent)
    study.write_manifest("ingest", {"recordings": {"anna": {"user": "anna"}}})
    study.write_manifest("enrol", {"recordings": {}})
    path, other = study.manifest_file("ingest"), study.manifest_file("enrol")
    data = path.read_bytes()
    assert b"anna" not in data
    shutil.copy(other, path)
    with pytest.raises(StoreError, match="damaged or tampered with"):
        study.manifest("ingest")
    path.write_text('{"recordings": {}}')
    with pytest.raises(StoreError, match="is not sealed, and its store is"):
        study.manifest("ingest")
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(StoreError):
            study.manifest("ingest")
    path.write_bytes(data)
    assert study.known_recordings() == {"anna": {"user": "anna"}}


def test_a_plain_store_that_is_sealed_keeps_what_its_manifests_say(
    plain_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(plain_study, tmp_path / "study"))
    assert gazepipe("ingest", root).exit_code == 0
    before = Study.open(root)
    known, left = before.known_recordings(), before.recording_file("sim01")
    configure(root, enabled=True)
    assert "7 written" in gazepipe("ingest", root).output
    study = Study.open(root)
    assert study.known_recordings() == known
    assert told_by(study.store / "manifest", ["sim0"]) == []
    assert store.load(study.recording_file("sim01"), "gazepipe.recording").attrs["user"] == "sim01"
    told = {f.file for f in check_store(study).findings if f.bad}
    assert told == {f"recordings/{name}.h5" for name in known}, "what is there in the clear is told"
    assert left.is_file()


def test_a_plain_file_in_a_sealed_store_is_refused(small: Path, tmp_path: Path) -> None:
    path, anna = tmp_path / "plain.h5", maps_of(small, "anna")
    store.save(path, KIND, {"maps": np.ones((1, 2, 2))}, recipe=Recipe("t", 1, {}, {}))
    shutil.copy(path, anna)
    with pytest.raises(StoreError, match="is not sealed, and its store is"):
        store.load(anna, KIND)
    assert store.recipe_of(anna) is None  # so that it is made again, sealed
    shutil.copy(maps_of(small, "ben"), tmp_path / "ben.h5")
    with pytest.raises(StoreError, match="there are no keys of its store"):
        store.load(tmp_path / "ben.h5", KIND)


@pytest.mark.parametrize(
    "change",
    [{"sealed_key": "00"}, {"scrypt": {"n": 1 << 40}}, {"nonce": None}, {"format_version": "1.0"}],
    ids=lambda change: next(iter(change)),
)
def test_damaged_keys(small: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path, anna = small / "keys" / "store.json", maps_of(small, "anna")
    content = json.loads(path.read_text()) | change
    del content["digest"]
    path.write_text(json.dumps(content))
    monkeypatch.setattr(vault, "_open", {})
    with pytest.raises((StoreError, ConfigError), match=r"store\.json: damaged|not the one that"):
        store.load(anna, KIND)


def test_keys_of_a_later_version(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small / "keys" / "store.json"
    content = json.loads(path.read_text()) | {"format_version": "3.0"}
    del content["digest"]
    path.write_text(json.dumps(content))
    monkeypatch.setattr(vault, "_open", {})
    with pytest.raises(StoreError, match=r"is of version 3; this gazepipe opens 2\. Update gazepipe\."):
        Study.open(small.parent)


def test_large_files_are_sealed_in_parts(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_PART", 1000)
    path, data = small / "x.bin", bytes(range(256)) * 20
    box = sealing.sealed(path, data, kind="x", version="1.0")
    path.write_bytes(box)
    assert sealing.unsealed(path) == data
    parts = [box[i : i + 1016] for i in range(len(box) % 1016, len(box), 1016)]
    for wrong in (box[:-1016], b"".join([box[: len(box) % 1016], *parts[::-1]])):  # one left out; another order
        path.write_bytes(wrong)
        with pytest.raises(StoreError, match="damaged or tampered with"):
            sealing.unsealed(path)


def test_two_seals_of_the_same_differ(small: Path) -> None:
    first, second = (sealing.sealed(small / "x", b"same", kind="x", version="1.0") for _ in range(2))
    assert first[-28:] != second[-28:]


# ---- forgetting ------------------------------------------------------------------------------------------------------


def test_forgetting_destroys_the_key(study: Study, tmp_path: Path) -> None:
    copy = Path(shutil.copy(study.psm_file("sim03"), tmp_path / "backup.h5"))
    keys = {p.name for p in (study.store / "keys").glob("*")}
    assert len(keys) == 7  # six people and the store
    result = gazepipe("forget", "--study", study.root, "--user", "sim03", "--yes")
    assert result.exit_code == 0, result.output
    assert "key was destroyed" in result.output
    left = {p.name for p in (study.store / "keys").glob("*")}
    assert len(keys - left) == 1
    assert left < keys
    shutil.copy(copy, study.psm_file("sim03"))  # somebody puts a backup back
    with pytest.raises(StoreError, match="its key is gone"):
        store.load(study.psm_file("sim03"), KIND)
    study.psm_file("sim03").unlink()
    assert [f.message for f in check_store(study).findings if f.bad] == []
    assert "sim04" in {str(r["user"]) for r in study.known_recordings().values()}


def test_traces_are_found_in_sealed_files(study: Study) -> None:
    """The search after forgetting opens what is sealed: a copy of somebody's maps under another's name is found."""
    contents = store.load(study.psm_file("sim03"), KIND)
    arrays, recipe = dict(contents.arrays), Recipe("t", 1, {}, {})
    store.save(study.store / "psm" / "copy.h5", KIND, arrays, recipe=recipe, attrs={"user": "sim04"})
    result = gazepipe("forget", "--study", study.root, "--user", "sim03", "--yes")
    assert result.exit_code == 8
    assert "psm/copy.h5" in result.output


def test_traces_are_found_in_what_is_plain(study: Study) -> None:
    """Files that are not sealed, or not as they should be, are searched as well."""
    maps = store.load(study.psm_file("sim03"), KIND).arrays["maps"]
    plain = {"notes.txt": b"sim03 was late", "log/x.log": b"read sim03.csv", "list.json": b'{"a": ["sim03"]}'}
    for name, data in plain.items():
        (study.store / name).parent.mkdir(exist_ok=True)
        (study.store / name).write_bytes(data)
    with h5py.File(study.store / "left.h5", "w") as file:  # of before the store was sealed
        file.create_dataset("maps", data=maps, compression="gzip")
    result = gazepipe("forget", "--study", study.root, "--user", "sim03", "--yes", "--json")
    assert result.exit_code == 8
    receipt = json.loads(result.stdout)
    assert {hit["file"] for hit in receipt["found"]} == {*plain, "left.h5"}
    assert [f for f in receipt["looked_through"]["could_not_be_decoded"] if "lock" not in f] == []


def test_weights_are_read_from_sealed_files(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    once = sealing._unseal
    monkeypatch.setattr(sealing, "_unseal", lambda path, *a: [opened.append(path), once(path, *a)][1])
    assert load_model(study, "embedding").info["users_train"]
    check_weights(study.model_file("refiner"))
    assert opened == [study.model_file("embedding"), study.model_file("refiner")], "each seal is opened once"
    path = study.model_file("embedding")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match="damaged or tampered with"):
        load_model(study, "embedding")
