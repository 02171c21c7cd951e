"""Forgetting a person: nothing of theirs is left in the store, says a search that knows nothing of gazepipe.

Canaries are bytes of the person's numbers, taken from the store before.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save
from survival import told

import gazepipe
from gazepipe.atomic import write_atomically
from gazepipe.cli import main
from gazepipe.config import template
from gazepipe.enrol import enrol, load_gallery, take_in
from gazepipe.evaluate import write_tables
from gazepipe.forget import forget
from gazepipe.forget_plan import outlook, plan_of
from gazepipe.integrity import check_store
from gazepipe.pipeline import run
from gazepipe.study import Study
from gazepipe.traces import Traces, scan, windows_of


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study], whole_sections: dict[str, Any]
) -> Path:
    """A study through all stages with a guest enrolled, and one in which somebody is called like part of another."""
    root = tmp_path_factory.mktemp("forget") / "study"
    study = simulated(root, users=9, images=16, seconds=1.5, seed=3, **whole_sections)
    config = study.config.model_dump(mode="json")
    (root / "new").mkdir()
    for path in root.rglob("sim09*"):
        if path.is_file():
            path.rename(root / "new" / path.name)
    (root / "gazepipe.toml").write_text(template(**config | {"ingest": {"exclude": ["new"]}}), encoding="utf-8")
    (root / "sim07_ses-9.csv.gz").write_bytes(b"broken")
    study = Study.open(root)
    report = run(study, jobs=1, threads=1)
    assert report.evaluation is not None
    write_tables(study, report.evaluation)
    take_in(study, "guest", sorted((root / "new").iterdir()))
    enrol(study, ["guest"], threads=1)
    return root


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Study:
    return Study.open(Path(shutil.copytree(made, tmp_path / "study")))


def gazepipe_(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def canaries(study: Study, user: str) -> list[bytes]:
    """Every run of eight different numbers of the person's gaze and fixations, and the embedding."""
    found: list[bytes] = []
    files = [*study.store.glob(f"recordings/{user}*.h5"), study.psm_file(user)]
    for path in files:
        with h5py.File(path) as file:
            for name in (
                "samples/left/x_coordinate",
                "samples/cyclopean/x_coordinate",
                "fixations/x_px",
                "fixations/u",
            ):
                if name in file:
                    values = file[name][()]
                    for k in range(0, len(values) - 8, 8):
                        part = values[k : k + 8]
                        if np.isfinite(part).all() and len(np.unique(part)) == 8:
                            found.append(part.tobytes())
    person = load_gallery(study)[user]
    found.append(person.embedding.tobytes())
    assert len(found) > 20
    return found


def everything(folder: Path) -> dict[str, bytes]:
    """All bytes of all files, and of all data sets and attributes as they are when decoded."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        found[f"{path} name"] = path.name.encode()
        if path.is_file():
            found[str(path)] = path.read_bytes()
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                for key, value in file.attrs.items():
                    found[f"{path} {key}"] = str(value).encode()

                def visit(name: str, item: h5py.Dataset | h5py.Group, path: Path = path) -> None:
                    if isinstance(item, h5py.Dataset):
                        found[f"{path} {name}"] = np.asarray(item[()]).tobytes()

                file.visititems(visit)
    return found


def left_of(study: Study, user: str, numbers: list[bytes]) -> list[str]:
    needles = [user.encode(), *numbers]
    return [place for place, data in everything(study.store).items() if any(n in data for n in needles)]


@pytest.mark.parametrize("user", ["sim01", "sim02", "sim07", "guest"])
def test_nothing_is_left(study: Study, user: str) -> None:
    numbers = canaries(study, user)
    assert left_of(study, user, numbers)  # the search finds what is there
    done = forget(study, user)
    assert done.receipt["clean"], done.hits
    assert left_of(study, user, numbers) == []
    assert not (study.store / "manifest" / "forgetting.json").exists()
    assert done.receipt["looked_for"]["windows_of_numbers"] > 20
    assert done.receipt["looked_through"]["hdf5_datasets"] > 100
    assert check_store(study).findings == []
    assert user not in [p.user for p in load_gallery(study).people]
    told("R18", 1, 1, f"bytes of {user} looked for")


def test_what_was_made_of_a_training_user_goes_and_of_a_guest_stays(study: Study) -> None:
    weights = {p: p.read_bytes() for p in (study.store / "models").iterdir()}
    usm, evaluation = study.usm_file.read_bytes(), (study.store / "evaluation.json").read_bytes()
    forget(study, "guest")
    assert {p: p.read_bytes() for p in (study.store / "models").iterdir()} == weights
    assert (study.usm_file.read_bytes(), (study.store / "evaluation.json").read_bytes()) == (usm, evaluation)
    assert list((study.store / "predictions").rglob("*.npy"))
    plan = plan_of(study, "sim02")
    assert plan.trained_on
    done = forget(study, "sim02")
    for name in ("models", "usm.h5", "evaluation.json", "evaluation.h5", "evaluation.md", "tables", "predictions"):
        assert not (study.store / name).exists(), name
    assert any(what.startswith("networks: ") and "embedding" in what for what in done.receipt["to_rebuild"])
    assert len(list((study.store / "recordings").glob("*.h5"))) == len(study.known_recordings())
    text = json.dumps(done.receipt)
    assert "sim02" not in text
    assert "psm/USER.h5" in text


def test_shards_that_were_not_gathered(study: Study) -> None:
    for stage in ("ingest", "build-psm"):
        shutil.copy(study.store / "manifest" / f"{stage}.json", study.store / "manifest" / f"{stage}-1-of-2.json")
    assert forget(study, "sim02").receipt["clean"]
    assert left_of(study, "sim02", []) == []


def test_the_gallery_without_somebody_is_that_of_an_enrolment_without_them(study: Study) -> None:
    """But for d′, which needs the maps: all rows as if the guest had never been there."""
    forget(study, "guest")
    kept = load_gallery(study)
    assert all(np.isnan(p.d_prime) for p in kept.people)
    anew = enrol(study, threads=1)
    assert [p.user for p in kept.people] == [p.user for p in anew.people]
    for old, new in zip(kept.people, anew.people, strict=True):
        assert (old.nearest, old.n_pairs) == (new.nearest, new.n_pairs)
        assert old.nearest_cosine == pytest.approx(new.nearest_cosine, abs=1e-5)
        assert old.margin == pytest.approx(new.margin, abs=1e-5)
        assert np.isfinite(new.d_prime)


def test_a_forgotten_person_stays_out_until_allowed_again(study: Study) -> None:
    forget(study, "sim02")
    assert list(study.root.rglob("sim02*.csv*")), "the originals stay"
    report = run(study, jobs=1, threads=1)
    assert report.gallery is not None
    assert "sim02" not in [p.user for p in report.gallery.people]
    assert left_of(study, "sim02", []) == []
    refused = gazepipe_("enrol", "--study", study.root, "--user", "sim02", next(study.root.rglob("sim02*.csv*")))
    assert refused.exit_code == 2
    assert "user 'sim02' was forgotten in" in refused.stderr
    assert gazepipe_("forget", "--study", study.root, "--user", "sim02", "--allow-again").exit_code == 0
    assert gazepipe_("ingest", study.root).exit_code == 3  # a broken file is in the study
    assert "sim02" in {row["user"] for row in study.known_recordings().values()}
    assert gazepipe_("audit", study.root, "--verify").exit_code == 0


def test_command(study: Study, made: Path) -> None:
    ask = ("forget", "--study", study.root, "--user", "sim02")
    before = {p: p.read_bytes() for p in study.root.rglob("*") if p.is_file() and p.name != ".lock"}
    listed = gazepipe_(*ask, "--dry-run")
    assert listed.exit_code == 0
    assert "psm/sim02.h5" in listed.stderr
    assert "to be made again: networks" in listed.stderr
    assert gazepipe_(*ask).exit_code == 1  # nobody said yes
    assert {p: p.read_bytes() for p in study.root.rglob("*") if p.is_file() and p.name != ".lock"} == before
    done = gazepipe_(*ask, "--yes", "--recordings", "--rebuild")
    # The study was copied, so its manifest names the file of the study it was copied from, too.
    assert done.exit_code == 3, done.output
    assert f"{made / 'sim02.csv.gz'}: stays, because it lies outside the study's recordings" in done.stderr
    assert (made / "sim02.csv.gz").is_file()
    assert "nothing is left." in done.stdout
    assert "people in the gallery." in done.stdout
    assert not list(study.recordings.glob("sim02*"))
    assert len(list(study.recordings.glob("sim01*"))) == 1
    assert study.model_file("embedding").is_file()
    assert left_of(study, "sim02", []) == []
    again = gazepipe_(*ask, "--yes")
    assert again.exit_code == 4
    assert again.stderr == f"gazepipe: user 'sim02' is not in {study.store}; nothing was changed.\n"


def test_killed_anywhere_it_goes_on_where_it_was(made: Path, tmp_path: Path) -> None:
    """The process is killed at its n-th change of the disk, for n = 1, 4, 7 …, until it gets to the end."""
    code = """
import os, signal, sys
from pathlib import Path
from gazepipe.forget import forget
from gazepipe.study import Study
left = [int(sys.argv[2])]
def counted(function):
    def call(*a, **k):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*a, **k)
    return call
os.replace, Path.unlink = counted(os.replace), counted(Path.unlink)
forget(Study.open(Path(sys.argv[1])), "sim02")
"""
    killed = 0
    env = os.environ | {"PYTHONPATH": str(Path(gazepipe.__file__).parents[1])}
    for n in range(1, 400, 9):
        root = Path(shutil.copytree(made, tmp_path / f"study{n}"))
        study = Study.open(root)
        numbers = canaries(study, "sim02")
        done = subprocess.run(
            [sys.executable, "-c", code, str(root), str(n)], capture_output=True, env=env, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        if (study.store / "manifest" / "forgetting.json").exists():
            assert outlook(study, "sim02").user == "sim02"
        try:
            receipt = forget(study, "sim02").receipt
        except gazepipe.GazepipeError as error:  # it was killed after the last step
            assert "is not in" in str(error)  # noqa: PT017
            receipt = json.loads(max((study.store / "receipts").iterdir()).read_text())
        assert receipt["clean"]
        assert "psm/USER.h5" in receipt["removed"]
        assert receipt["to_rebuild"]
        assert left_of(study, "sim02", numbers) == []
        shutil.rmtree(root)
    told("R18", killed, killed, "killed while somebody is forgotten")
    assert killed >= 5


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    """Names and numbers in compressed chunks, attributes, headers and names of files; and nothing of a namesake."""
    gaze = np.random.default_rng(0).normal(400, 90, 500).astype(np.float32)
    windows = windows_of(gaze, 8)
    traces = Traces(["anna-1", "anna-1_ses-2"], ["anna-1-b"], windows)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/x", data=np.tile(gaze, (3, 1)), compression="gzip", shuffle=True)
        file["g"].attrs["by"] = "seen by ANNA-1"
        file.create_dataset("t", data=np.array([b"x", b"anna-1_ses-2"]), compression="gzip")
        file.create_dataset("wide", data=gaze.astype(np.float64), compression="gzip")
    (tmp_path / "b.json").write_text(json.dumps({"list": [{"source": "/data/anna-1.csv"}]}))
    (tmp_path / "anna-1.txt").write_text("")
    found = {(h.file, h.place) for h in scan(tmp_path, traces).hits}
    assert ("a.h5", "data of g/x") in found
    assert ("a.h5", "data of wide") in found
    assert ("a.h5", "attribute by of g") in found
    assert ("a.h5", "text of t") in found
    assert ("b.json", "its content") in found
    assert ("anna-1.txt", "its name") in found
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "c.json").write_text(json.dumps({"anna-1-b": "hanna-1", "x": "anna-10"}))
    write_atomically(tmp_path / "anna-1-b.csv", b"anna-1-b,2\n")
    assert scan(tmp_path, traces).hits == []


@pytest.mark.parametrize(
    "name",
    [
        "report.html",
        "a.svg",
        "x.log",
        "run.yaml",
        "t.tsv",
        "notes",
        "a.jsonl",
        "Li4vbWFuaWZlc3Q=",
        "n.csv.gz",
        "m.checkpoint",
    ],
)
def test_a_short_name_is_found_in_text_of_every_kind(tmp_path: Path, name: str) -> None:
    """Names below six bytes are not looked for in other bytes, so what is text must be known as such."""
    for who, found in (("p07", 1), ("p070", 0)):
        text = json.dumps({"a": 1, "user": f"recordings/{who}.csv"})
        data = text.encode()
        if name.endswith(".gz"):
            data = gzip.compress(data)
        elif name.endswith(".checkpoint"):
            data = save({"x": torch.zeros(3)}, {"gazepipe": text})
        (tmp_path / name).write_bytes(data)
        assert len(scan(tmp_path, Traces(["p07"], [], [])).hits) == found


@pytest.mark.parametrize("user", ["guest", "sim02"])
def test_canaries_everywhere(study: Study, user: str) -> None:
    """What commands leave beside the stages' files: it goes, or it is told of."""
    numbers = np.frombuffer(canaries(study, user)[0], np.float32)
    places = {
        "report.html": user.encode(),
        "dag/report.md": user.encode(),
        "dag/log/ingest-1-of-2.log": f"{user}.csv: unreadable".encode(),
        "dag/.snakemake/metadata/ZG9uZS9pbmdlc3QuanNvbg==": json.dumps({"input": [f"/data/{user}.csv"]}).encode(),
        "dag/.snakemake/log/a.snakemake.log": user.encode(),
        "damaged/recordings/x": numbers.tobytes(),
        f"predictions/{user}/old.npy": numbers.tobytes(),
    }
    for name, data in places.items():
        (study.store / name).parent.mkdir(parents=True, exist_ok=True)
        (study.store / name).write_bytes(data)
    assert len([p for p in left_of(study, user, [numbers.tobytes()]) if any(p.endswith(n) for n in places)]) == 7
    done = forget(study, user)
    assert done.receipt["clean"], done.hits
    assert left_of(study, user, [numbers.tobytes()]) == []
    # What somebody else put there is not deleted, but the receipt says that it is there.
    kept = {"tables/mine.csv": user.encode(), "folds/mine.npy": numbers.tobytes(), "mine.checkpoint": numbers.tobytes()}
    for name, data in kept.items():
        (study.store / name).parent.mkdir(parents=True, exist_ok=True)
        (study.store / name).write_bytes(data)
    traces = Traces([user], [], [numbers.tobytes()])
    assert {hit.file for hit in scan(study.store, traces).hits} == set(kept)


def test_what_went_elsewhere_is_told_of(study: Study, tmp_path: Path) -> None:
    out = {name: tmp_path / name for name in ("bids", "parquet", "only", "maps", "gone")}
    gazepipe_("export", out["bids"], study.root)
    gazepipe_("export", out["parquet"], study.root, "--format", "parquet", "--users", "sim01,sim02")
    gazepipe_("export", out["only"], study.root, "--users", "sim01")
    gazepipe_("export", out["gone"], study.root, "--users", "sim02")
    shutil.rmtree(out["gone"])
    gazepipe_("predict", "--study", study.root, "--user", "sim02", "--test-images", 1, "--out", out["maps"])
    listed = gazepipe_("forget", "--study", study.root, "--user", "sim02", "--dry-run").stderr
    done = gazepipe_("forget", "--study", study.root, "--user", "sim02", "--yes")
    assert done.exit_code == 0, done.output
    for what, name in (("export (bids)", "bids"), ("export (parquet)", "parquet"), ("maps", "maps")):
        assert f"stays, because it is outside the store: {what}: {out[name]}\n" in listed
        assert f"gazepipe: yours to delete, {what}: {out[name]}\n" in done.stderr
    assert str(out["only"]) not in done.stderr
    assert str(out["gone"]) not in done.stderr
    assert "sim02" not in (study.store / "manifest" / "outside.json").read_text()
    assert "sim01" in (study.store / "manifest" / "outside.json").read_text()


@pytest.mark.parametrize(("name", "text", "there"), [("7", "7", True), ("7", "v7/7.csv", True), ("7", "0.7 s", False)])
def test_a_number_for_a_name_counts_only_by_itself(name: str, text: str, there: bool) -> None:
    assert Traces([name], [], []).in_text(text) is there


def test_runs_of_equal_numbers_are_no_windows() -> None:
    assert windows_of(np.zeros(100, np.float32), 4) == []
    assert windows_of(np.full(100, np.nan, np.float32), 4) == []
    assert re.fullmatch(r"\w+", Traces(["abc"], [], []).names[0])
