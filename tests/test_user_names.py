"""Names of people become names of files: what would be a path, a device, or one file with another name never does."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from gazepipe.cli import main
from gazepipe.config import template
from gazepipe.enrol import take_in
from gazepipe.errors import ConfigError, StoreError
from gazepipe.study import Study, check_label, stored_name

#: Each with what is wrong with it.
BAD = {
    "": "no name",
    ".": "this folder",
    "..": "the folder above",
    "../ben": "a path",
    "/etc/passwd": "a full path",
    "a\\b": "a path on Windows",
    "C:a": "a drive of Windows",
    "a:b": "a stream of NTFS",
    "a.": "dots at the end are dropped by Windows",
    "a ": "so are blanks",
    "-rf": "an option",
    "~": "a home folder for a shell",
    "$HOME": "a variable",
    "%2e%2e": "an escaped path",
    "a\0b": "the end of a text in C",
    "a\nb": "two lines",
    "a\n": "a line's end, which a pattern's $ lets by",
    "\x1b[2J": "clears a terminal",
    "con": "a device of Windows",
    "CON": "the same",
    "Aux": "the same",
    "nul": "the same",
    "COM1": "the same",
    "lpt9": "the same",
    "com0": "the same",
    unicodedata.normalize("NFC", "rené"): "one of two spellings",
    unicodedata.normalize("NFD", "rené"): "the other one, which is the same file on a Mac",
    "مريم": "written from right to left",
    "anna\u202ebne": "shown as another name",
    "an\u200bna": "not seen to differ from anna",
    "аnnа": "Cyrillic letters that look Latin",
    "ａｎｎａ": "full-width letters, which normalise to anna",
    "\u212aim": "the Kelvin sign, which folds to k",
    "ſam": "a long s, which folds to s",
    "ﬁn": "a ligature, which folds to two letters",
    "STRAẞE": "a letter that folds to two",
    "p²": "a digit only for some",
    "p١": "an Arabic digit",
    "😀": "outside the basic plane",
    "\ud800": "half a character",
    "a" * 65: "too long",
}


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two people, some of whose files have odd names; ingested by the first test that needs it."""
    root = tmp_path_factory.mktemp("names") / "study"
    sections = {
        "recordings": "rec",
        "screen": {"width_px": 800, "height_px": 600, "width_mm": 400, "height_mm": 300, "distance_mm": 573},
        "ingest": {"include": ("*.csv",)},
        "csv": {"trial": "trial", "stimulus": "image"},
    }
    (root / "rec").mkdir(parents=True)
    (root / "stimuli").mkdir()
    (root / "stimuli" / "a.png").write_bytes(cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes())
    (root / "gazepipe.toml").write_text(template(**sections), encoding="utf-8")
    rows = [f"{4 * k},{100 + 300 * (k > 100)},300,1,a.png" for k in range(200)]
    text = "\n".join(["time_ms,x_px,y_px,trial,image", *rows, ""])
    for name in (*BAD, "anna", "Ben", "ben", "p07", "p07_ses-1"):
        if (
            name
            and not set(name) & {"/", "\0"}
            and not name.endswith(".")
            and len(name.encode("utf-8", "replace")) < 250
        ):
            try:
                (root / "rec" / f"{name}.csv").write_text(text)
            except (OSError, UnicodeError):  # a system with fewer names
                continue
    return root


def files(root: Path) -> list[Path]:
    """Everything that is there but locks, and the store's own folder, which they are in."""
    return [p for p in sorted(root.parent.rglob("*")) if ".lock" not in p.name and p.name != "store"]


@pytest.mark.parametrize("name", BAD, ids=BAD.values())
def test_no_path_is_made_of_it(name: str, root: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check_label(name, "--user")
    assert str(error.value).isprintable()
    study = Study.open(root)
    for file_of in (stored_name, study.psm_file, study.recording_file):
        if len(name) != 65:  # a user and a session may be that long
            with pytest.raises(StoreError) as refused:
                file_of(name)
            assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["../ben", "anna\u202ebne", "con", "a\n", "\x1b[2J"])
def test_commands_refuse_it(name: str, root: Path) -> None:
    before = files(root)
    file = root / "rec" / "anna.csv"
    for command in (
        ("enrol", "--study", root, "--user", name, file),
        ("forget", "--study", root, "--user", name, "--yes"),
        ("session", "--study", root, "--user", name, "--device", "fake", "--screen", "none"),
        ("consent", "add", "--study", root, "--user", name, "--form", "F1"),
        ("verify", "--study", root, "--user", name, file),
        ("predict", "--study", root, "--user", name, "--test-images", 1),
        ("compare", "--study", root, name, "anna"),
        ("export", root.parent / "out", root, "--users", name),
    ):
        result = gazepipe(*command)
        assert result.exit_code in (2, 4, 8), (command, result.output)
        assert all(line.isprintable() for line in result.output.splitlines()), (command, result.output)
    assert files(root) == before


def test_files_of_such_names_are_told_of_and_left(root: Path) -> None:
    result = gazepipe("ingest", root)
    assert result.exit_code == 3
    assert all(line.isprintable() for line in result.output.splitlines())
    there = len(list((root / "rec").iterdir()))
    assert f"{there - 3} not usable" in result.output  # anna, and p07 twice
    assert sorted(p.name for p in (root / "store" / "recordings").iterdir()) == ["anna.h5", "p07.h5", "p07_ses-1.h5"]
    failures = (root / "store" / "failures.jsonl").read_text()
    assert "ben.csv: claims user 'ben', as " in failures  # and Ben.csv, with which it would be one file
    assert len(failures.splitlines()) == there - 3


@pytest.mark.skipif(os.name != "posix", reason="files have other names there")
def test_names_that_are_one_file_elsewhere(root: Path) -> None:
    """Whoever comes later, by whatever way, is refused: on other disks their files would be those of somebody else."""
    study = Study.open(root)
    if not study.known_recordings():
        gazepipe("ingest", root)
    other = root / "other"
    other.mkdir(exist_ok=True)
    (other / "x.csv").write_bytes((root / "rec" / "anna.csv").read_bytes())
    with pytest.raises(ConfigError, match="already has a user 'anna'"):
        take_in(study, "ANNA", [other / "x.csv"])
    result = gazepipe("session", "--study", root, "--user", "Anna", "--device", "fake", "--screen", "none")
    assert result.exit_code == 2
    assert "the study already has a user 'anna'; use one spelling for one person." in result.output
    assert sorted(p.stem for p in (root / "store" / "recordings").iterdir()) == ["anna", "p07", "p07_ses-1"]
    assert not list((root / "rec").glob("Anna_*"))
