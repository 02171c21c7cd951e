"""R17: stores of every version that was released are read by every command that reads (see `tests/stores/make.py`)."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from survival import told

from gazepipe import store
from gazepipe.cli import main
from gazepipe.enrol import load_gallery
from gazepipe.integrity import check_store
from gazepipe.predicted import predicted_rows
from gazepipe.study import Study

RELEASED = sorted((Path(__file__).parent / "stores").glob("*.zip"))
#: Sealed before texts were; the passphrase is that of the test below. It cannot be made again.
SEALED = Path(__file__).parent / "stores" / "sealed" / "0.1.0.zip"
PEOPLE = [f"u{n}" for n in range(8)]


def test_there_is_one_of_the_first_version() -> None:
    assert "0.1.0" in [p.stem for p in RELEASED]


@pytest.fixture(params=RELEASED, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    with zipfile.ZipFile(request.param) as file:
        file.extractall(tmp_path / "study")
    return Study.open(tmp_path / "study")


#: What was done to the network while commands ran; an audit hook cannot be taken out again.
NETWORK: list[str] = []
sys.addaudithook(
    lambda event, _: NETWORK.append(event) if event in ("socket.connect", "socket.bind", "socket.getaddrinfo") else None
)


def gazepipe(*arguments: object) -> str:
    before = len(NETWORK)
    result = CliRunner().invoke(main, ["-q", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert NETWORK[before:] == [], arguments
    return result.stdout


def test_everything_in_it_is_whole(old: Study, request: pytest.FixtureRequest) -> None:
    assert [f.message for f in check_store(old).findings if f.bad] == []
    told("R17", 1, 1, f"a store of version {request.node.callspec.id}")


def test_its_content_is_what_was_put_in(old: Study) -> None:
    """Eight people, eight images, four looks of 160 ms at each."""
    recordings = old.known_recordings()
    assert sorted({r["user"] for r in recordings.values()}) == ["late", *PEOPLE]
    for name in recordings:
        contents = store.load(old.recording_file(name), "gazepipe.recording")
        assert sorted(set(contents.arrays["trials/stimulus"])) == [f"i{n}.png" for n in range(8)]
        assert contents.arrays["samples/cyclopean/x_coordinate"].size == 8 * 4 * 16
        assert np.bincount(contents.arrays["fixations/trial"]).max() <= 4
    for user in PEOPLE:
        maps = store.load(old.psm_file(user), "gazepipe.psm").arrays["maps"]
        assert maps.shape == (8, 15, 20)
        assert maps.reshape(8, -1).max(1).tolist() == [1] * 8
    vectors = np.stack([p.embedding for p in load_gallery(old).people])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert len(predicted_rows(old.store / "predictions")) >= 4


def test_commands_that_read(old: Study, tmp_path: Path) -> None:
    told = json.loads(gazepipe("info", old.root, "--json"))
    assert (told["recordings"], told["maps"], told["enrolled"]) == (9, 72, ["late"])
    for path in sorted(old.store.rglob("*")):
        if path.suffix in (".h5", ".safetensors", ".json"):
            assert path.name in gazepipe("info", path)
    gazepipe("audit", old.root, "--verify")
    gazepipe("consent", "list", old.root)
    gazepipe("export", tmp_path / "bids", old.root)
    assert len(list((tmp_path / "bids").glob("sub-*"))) == 9
    found = json.loads(gazepipe("identify", "--study", old.root, old.root / "later" / "late.csv", "--json"))
    assert found["user"] == "late"


def test_commands_that_go_on_from_it(old: Study, tmp_path: Path) -> None:
    image = old.root / "images" / "i0.png"
    gazepipe("predict", "--study", old.root, "--user", "late", image, "--out", tmp_path / "maps")
    assert np.load(tmp_path / "maps" / "i0.npy").shape == (15, 20)
    gazepipe("enrol", "--study", old.root, "--all")
    gazepipe("evaluate", old.root)
    gazepipe("forget", "--study", old.root, "--user", "late", "--dry-run")
    gazepipe("forget", "--study", old.root, "--user", "late", "--yes")
    assert [f.message for f in check_store(old).findings if f.bad] == []


def test_a_store_that_was_sealed_before_texts_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read and gone on from as it is: called by pseudonyms, texts in the clear."""
    pytest.importorskip("cryptography", reason='needs the extra: pip install "gazepipe[encryption]"')
    monkeypatch.setenv("GAZEPIPE_PASSPHRASE", "correct horse battery staple")
    with zipfile.ZipFile(SEALED) as file:
        file.extractall(tmp_path)
    old = Study.open(tmp_path)
    assert [f.message for f in check_store(old).findings if f.bad] == []
    assert sorted(old.known_recordings()) == ["late_1", "u0", "u1"]
    for user in ("late", "u0", "u1"):
        assert old.psm_file(user) == old.store / "psm" / f"{user}.h5"
        assert store.load(old.psm_file(user), "gazepipe.psm").arrays["maps"].shape == (4, 15, 20)
    assert [Path(f.source).name for f in old.failures()] == ["broken.csv"]
    result = CliRunner().invoke(main, ["ingest", str(old.root)])
    assert result.exit_code == 3
    assert "0 written, 2 up to date, 1 not usable" in result.output
    (old.root / "recordings" / "u2.csv").write_bytes((old.root / "recordings" / "u1.csv").read_bytes())
    assert CliRunner().invoke(main, ["ingest", str(old.root)]).exit_code == 3
    assert (old.store / "recordings" / "u2.h5").read_bytes().startswith(b"GAZESEAL")
    assert b"u2.csv" in old.manifest_file("ingest").read_bytes()
    gazepipe("audit", old.root, "--verify")
    gazepipe("forget", "--study", old.root, "--user", "u0", "--yes")
    assert not (old.store / "recordings" / "u0.h5").exists()
    assert [f.message for f in check_store(old).findings if f.bad] == []
