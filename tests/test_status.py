"""Commands about a study's state and this computer, and reading in memory."""

from __future__ import annotations

import email
import importlib.metadata
import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from gazepipe import read, store
from gazepipe.build import build_psm
from gazepipe.cli import main
from gazepipe.enrol import load_gallery, take_in
from gazepipe.errors import NothingToDoError
from gazepipe.ingest import ingest
from gazepipe.status import doctor, extras
from gazepipe.stored_corpus import load_corpus


@pytest.fixture
def looked(small_study: Any) -> Any:
    small_study.image("i.png", 800, 600)
    for user in ("a", "b"):
        small_study.recording(f"{user}.csv", [("i.png", [(200, 150, 200.0), (600, 450, 300.0)])])
    return small_study


def rows_of(study: Any) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(main, ["status", str(study.root), "--json"])
    assert done.exit_code == 0, done.output
    return {row["stage"]: row for row in json.loads(done.output)}


def test_status_follows_a_study(looked: Any) -> None:
    assert [r["stage"] for r in rows_of(looked).values() if not r["done"]][:2] == ["ingest", "build-psm"]
    ingest(looked.open(), jobs=1)
    assert rows_of(looked)["ingest"] == {
        "stage": "ingest", "done": True, "what": "2 recordings of 2 users", "next": ""
    }  # fmt: skip
    # Somebody new is seen before anything is read, and a file that could not be used is not new.
    looked.recording("c.csv", [("i.png", [(200, 150, 200.0), (600, 450, 300.0)])])
    (looked.root / "rec" / "d.csv").write_text("no gaze here\n", encoding="utf-8")
    waits = rows_of(looked)["ingest"]
    assert (waits["done"], waits["next"]) == (False, "gazepipe ingest")
    assert waits["what"] == "2 recordings of 2 users; 2 new ones not read yet"
    ingest(looked.open(), jobs=1)
    assert rows_of(looked)["ingest"]["what"] == "3 recordings of 3 users"
    (looked.root / "rec" / "c.csv").unlink()
    ingest(looked.open(), jobs=1)
    build_psm(looked.open())
    found = rows_of(looked)
    assert (found["build-psm"]["done"], found["build-psm"]["what"]) == (True, "2 maps of 2 users")
    assert found["train"]["next"] == "gazepipe train"


def test_without_a_network_nobody_is_taken_in(looked: Any, tmp_path: Path) -> None:
    """A store that holds maps of a newcomer alone is told of in a sentence, however it came about."""
    guest = shutil.copy(looked.root / "rec" / "a.csv", tmp_path / "guest.csv")
    words = ["enrol", "--study", str(looked.root), "--user", "guest", str(guest)]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.output.count("\n")) == (4, 1), done.output
    assert "run `gazepipe train` first" in done.output
    assert not looked.open().store.exists()
    take_in(looked.open(), "guest", [Path(guest)])
    with pytest.raises(NothingToDoError, match="holds maps of people enrolled alone; run `gazepipe ingest`"):
        load_corpus(looked.open())
    with pytest.raises(NothingToDoError, match=r"gallery\.h5: no such file; run `gazepipe enrol` first"):
        load_gallery(looked.open())
    assert rows_of(looked)["enrol"]["what"] == "nobody in a gallery"


def test_doctor_writes_nothing_that_stays(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["doctor", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = {f["what"]: f for f in json.loads(done.output)}
    assert found["writing"]["state"] == "ok"
    assert "torch" in found
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(main, ["doctor", str(tmp_path / "none")]).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert "_GAZEPIPE_COMPLETE" in done.output
    assert 'string split ","' not in done.output
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=done.output, text=True, check=True, timeout=60)


def test_read_gives_what_an_ingest_stores(looked: Any) -> None:
    study = looked.open()
    ingest(study, jobs=1)
    build_psm(study)
    seen = read(looked.root / "rec" / "a.csv", study)
    assert seen.stimuli == ("i.png",)
    kept = store.to_frame(store.load(study.recording_file("a"), "gazepipe.recording"), "fixations")
    pd.testing.assert_frame_equal(seen.fixations[kept.columns], kept)
    assert list(seen.samples.columns) == ["recording", "time_ms", "cyclopean_x_px", "cyclopean_y_px", "cyclopean_pupil"]
    corpus = load_corpus(study)
    np.testing.assert_array_equal(seen.map("i.png"), corpus.maps[corpus.index[0, 0]].astype(np.float32))
    assert seen.quality["n_fixations"] == 2
    # Its own map fits perfectly; one that lies elsewhere does not.
    own = seen.score({"i.png": seen.map("i.png")}).loc["i.png"]
    assert own["CC"] == pytest.approx(1, abs=1e-6)
    assert seen.score({"i.png": seen.map("i.png")[:, ::-1]}).loc["i.png", "CC"] < 0.1
    with pytest.raises(NothingToDoError, match="no trained embedding network"):
        _ = seen.embedding
    with pytest.raises(NothingToDoError, match=r"other\.png: there is no map of it; there are i\.png"):
        seen.map("other.png")


def test_extras_are_those_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "Metadata-Version: 2.4",
        "Name: gazepipe",
        "Version: 1",
        "Provides-Extra: edf",
        "Provides-Extra: figures",
        "Provides-Extra: report",
        "Provides-Extra: test",
        "Requires-Dist: numpy>=1.26",
        "Requires-Dist: no-such-package>=0.3; extra == 'edf'",
        "Requires-Dist: gazepipe[report]; extra == 'figures'",
        "Requires-Dist: click>=8; (python_version >= '3.8') and extra == 'report'",
        'Requires-Dist: pytest>=8; extra == "test"',
    ]
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: email.message_from_string("\n".join(lines)))
    assert extras() == {"edf": ("no-such-package",), "report": ("click",)}
    found = {f["what"]: (f["state"], f["text"]) for f in doctor(Path())}
    assert found["extra report"] == ("ok", "installed")
    assert found["extra edf"] == ("note", "not installed: no-such-package; `pip install gazepipe[edf]`")


def test_every_extra_of_the_project_is_looked_for() -> None:
    """What pyproject.toml declares, as an installation of it writes it down."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = {e for e, needs in project["optional-dependencies"].items() if needs[0] != "gazepipe[report]" or needs[1:]}
    if set(importlib.metadata.metadata("gazepipe").get_all("Provides-Extra") or ()) < wanted:
        pytest.skip("what is installed here is of an older pyproject.toml")
    assert set(extras()) == wanted - {"test", "peers"}
