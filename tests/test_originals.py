"""Which recordings outside the store are deleted with a person, whatever a manifest says.

Manifests here are written by somebody who wants gazepipe to delete other files: their digests are right, and the files
they name exist. Everything but the person's own recording must be as it was afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gazepipe.cli import main
from gazepipe.config import template
from gazepipe.discovery import digest_of
from gazepipe.ingest import ingest
from gazepipe.study import Study

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two people with a recording each, and files that are none of theirs: a copy, and where it must lie.

    Manifests name full paths, so the study lies at the same place in each test.
    """
    top = tmp_path_factory.mktemp("originals")
    root = top / "here" / "my study ü"
    sections: dict[str, Any] = {
        "recordings": "rec",
        "screen": {"width_px": 800, "height_px": 600, "width_mm": 400, "height_mm": 300, "distance_mm": 573},
        "ingest": {"include": ("*.csv",), "exclude": ("aside",)},
        "csv": {"trial": "trial", "stimulus": "image"},
    }
    for number, name in enumerate(("anna.csv", "ben.csv", "aside/guest.csv")):
        path = root / "rec" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{4 * k},{100 + number + 300 * (k > 100)},300,1,a.png" for k in range(200)]
        path.write_text("\n".join(["time_ms,x_px,y_px,trial,image", *rows, ""]))
    (root / "gazepipe.toml").write_text(template(**sections), encoding="utf-8")
    (top / "here" / "thesis.csv").write_text("years of work\n")
    ingest(Study.open(root), jobs=1)
    shutil.copytree(top / "here", top / "kept")
    return top / "kept", top / "here"


@pytest.fixture
def study(made: tuple[Path, Path]) -> Study:
    kept, here = made
    shutil.rmtree(here)
    shutil.copytree(kept, here)
    return Study.open(here / "my study ü")


def files(study: Study) -> dict[str, bytes]:
    """Everything near the study but its store: paths, links and contents."""
    top, found = study.root.parent, dict[str, bytes]()
    for path in sorted(top.rglob("*")):
        if not path.is_relative_to(study.store):
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(top))] = content
    return found


def named(study: Study, source: object, *, stage: str = "ingest", content: str | None = None) -> None:
    """Say in a manifest that anna has a second recording, from there, with the digest that is right."""
    if content is None:
        try:
            content = digest_of(Path(str(source)))
        except Exception:
            content = "0" * 32
    row = {"user": "anna", "session": "2", "origin": stage, "source": str(source), "content": content, "recipe": "0"}
    manifest = study.manifest(stage)
    study.write_manifest(stage, manifest | {"recordings": manifest.get("recordings", {}) | {"anna_2": row}})


def forgotten(study: Study) -> tuple[Result, list[str]]:
    """What forgetting anna with her recordings says, and what went outside the store."""
    before = files(study)
    listed = gazepipe("forget", "--study", study.root, "--user", "anna", "--recordings", "--dry-run")
    assert files(study) == before
    assert "would be deleted, too" in listed.stderr
    done = gazepipe("forget", "--study", study.root, "--user", "anna", "--recordings", "--yes")
    after = files(study)
    assert {k: v for k, v in before.items() if k in after} == after
    return done, sorted(before.keys() - after.keys())


HERS = "my study ü/rec/anna.csv"


def test_what_is_hers_goes(study: Study) -> None:
    done, gone = forgotten(study)
    assert done.exit_code == 0, done.output
    assert gone == [HERS]


OUTSIDE = "lies outside the study's recordings"
ATTACKS: dict[str, tuple[Callable[[Study], object], str]] = {
    "a file outside": (lambda s: s.root.parent / "thesis.csv", OUTSIDE),
    "by two dots": (lambda s: s.recordings / ".." / ".." / "thesis.csv", OUTSIDE),
    "by a relative path": (lambda s: os.path.relpath(s.root.parent / "thesis.csv"), OUTSIDE),
    "the folder above": (lambda s: s.root.parent, OUTSIDE),
    "the folder of recordings": (lambda s: s.recordings, "more of the study in it than a recording"),
    "another user's file": (lambda s: s.recordings / "ben.csv", "is that of user 'ben' by its name"),
    "another user's by a detour": (
        lambda s: s.recordings / "aside" / ".." / "ben.csv",
        "is that of user 'ben' by its name",
    ),
    "a file of no name": (lambda s: s.recordings / "aside" / "guest.csv", "does not bear the user's name"),
    "the configuration": (lambda s: s.root / "gazepipe.toml", OUTSIDE),
}


@pytest.mark.parametrize(
    ("stage", "attack"),
    [*(("ingest", a) for a in ATTACKS), ("enrol", "another user's file"), ("enrol", "a file of no name")],
)
def test_a_manifest_that_names_something_else(study: Study, stage: str, attack: str) -> None:
    place, why = ATTACKS[attack]
    named(study, place(study), stage=stage)
    done, gone = forgotten(study)
    assert gone == [HERS]
    assert done.exit_code == 3
    (sentence,) = [line for line in done.stderr.splitlines() if ": stays, because it " in line]
    assert why in sentence


def test_links(study: Study) -> None:
    """Neither links that bear her name, nor folders that are links, lead to a deletion."""
    outside = study.root.parent / "elsewhere"
    outside.mkdir()
    shutil.copy(study.recordings / "anna.csv", outside / "anna_ses-3.csv")
    (study.recordings / "anna_ses-3.csv").symlink_to(outside / "anna_ses-3.csv")
    (study.recordings / "anna_ses-4.csv").symlink_to(study.recordings / "ben.csv")
    (study.recordings / "far").symlink_to(outside)
    named(study, study.recordings / "far" / "anna_ses-3.csv")
    done, gone = forgotten(study)
    assert gone == [HERS]
    assert done.stderr.count("stays, because it is a link;") == 2
    assert done.stderr.count(OUTSIDE) == 1


def test_another_file_in_its_place(study: Study) -> None:
    """The name is hers, the content is not what was ingested."""
    (study.recordings / "anna.csv").write_text("somebody's list of addresses\n")
    before = files(study)
    done = gazepipe("forget", "--study", study.root, "--user", "anna", "--recordings", "--yes")
    assert done.exit_code == 3
    assert "stays, because it is not what was ingested from there;" in done.stderr
    assert files(study) == before
    assert not study.recording_file("anna").exists(), "what the store has goes all the same"


def test_a_file_of_somebody_else_under_her_name(study: Study) -> None:
    shutil.copy(study.recordings / "ben.csv", study.recordings / "anna_ses-2.csv")
    done, gone = forgotten(study)
    assert gone == [HERS]
    assert "anna_ses-2.csv: stays, because it is what was ingested of user 'ben'" in done.stderr


@pytest.mark.parametrize(
    "row",
    ["text", [], {}, {"user": "anna"}, {"user": "../anna", "origin": "ingest", "source": "x"}, {"user": 3}],
)
def test_rows_that_are_none(study: Study, row: Any) -> None:
    study.write_manifest("ingest", {"recordings": {"anna_2": row}})
    before = files(study)
    done = gazepipe("forget", "--study", study.root, "--user", "anna", "--recordings", "--yes")
    assert done.exit_code == 8, done.output
    assert len(done.stderr.strip().splitlines()) == 1
    assert files(study) == before


@pytest.mark.parametrize("source", ["", ".", "/", "\0", "x" * 5000, "~", "rec/anna.csv/../ben.csv"])
def test_sources_that_are_no_paths(study: Study, source: str) -> None:
    named(study, source)
    _, gone = forgotten(study)
    assert gone == [HERS]


def test_a_journal_that_somebody_wrote(study: Study) -> None:
    """It names files to be deleted as if forgetting had been interrupted; the next forgetting must not follow it."""
    ben = study.recordings / "ben.csv"
    content: dict[str, Any] = {"user": "anna", "originals": [str(ben), str(study.root.parent / "thesis.csv")]}
    content |= {"ingested": {str(ben): digest_of(ben)}, "removed": ["../../thesis.csv"], "names": [], "windows": []}
    study.write_manifest("forgetting", content)
    _, gone = forgotten(study)
    assert gone == [HERS]
    study.write_manifest("forgetting", {"user": "ben", "windows": ["no hexadecimal"], "originals": 3})
    done = gazepipe("forget", "--study", study.root, "--user", "ben", "--yes")
    assert done.exit_code == 8
    assert "forgetting.json: was not written by gazepipe" in done.stderr


def test_a_store_whose_folders_are_links(study: Study) -> None:
    """A copied store brings links: what they lead to is not deleted as if it were the store's."""
    outside = study.root.parent / "elsewhere"
    outside.mkdir()
    (outside / "thesis.txt").write_text("years of work\n")
    (study.store / "predictions").mkdir()
    (study.store / "predictions" / "anna").symlink_to(outside)
    before = files(study)
    done = gazepipe("forget", "--study", study.root, "--user", "anna", "--yes")
    assert done.exit_code == 8
    assert done.stderr == (
        f"gazepipe: {study.store / 'predictions' / 'anna' / 'thesis.txt'}: its folder is a link to {outside}; put a "
        "folder in the link's place.\n"
    )
    assert files(study) == before
    assert study.recording_file("anna").exists()
    (study.store / "predictions" / "anna").unlink()
    (study.store / "predictions" / "anna").symlink_to(study.store / "recordings")  # another's files of the same store
    assert gazepipe("forget", "--study", study.root, "--user", "anna", "--yes").exit_code == 8
    assert study.recording_file("ben").exists()


def test_a_store_from_elsewhere(study: Study, tmp_path: Path) -> None:
    """Its manifests name files of the study that it was copied from."""
    root = tmp_path / "copy"
    shutil.copytree(study.store, root / "store")
    (root / "rec").mkdir()
    shutil.copy(study.root / "gazepipe.toml", root)
    before = files(study)
    done = gazepipe("forget", "--study", root, "--user", "anna", "--recordings", "--yes")
    assert done.exit_code == 3
    assert OUTSIDE in done.stderr
    assert files(study) == before
    receipt = json.loads(next((root / "store" / "receipts").iterdir()).read_text())
    assert (receipt["originals_deleted"], receipt["originals_left"]) == (0, 1)
    assert "anna" not in json.dumps(receipt)
    assert hashlib.blake2b(before[HERS], digest_size=16).hexdigest() not in json.dumps(receipt)
