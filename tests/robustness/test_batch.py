"""A folder with dozens of damaged files of every kind: the good ones are stored, the others listed, twice the same."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from corruptions import corrupt
from samples import MADE
from scipy.io import savemat

import gazepipe as package
from gazepipe.cli import main
from gazepipe.config import template

GOOD = ("ann", "bob", "cyd", "dee")
SUFFIXES = ("*.asc", "*.csv", "*.tsv", "*.txt", "*.gz", "*.h5", "*.mat", "*.edf", "*.json")


def gazepipe(*arguments: object, columns: int = 100) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], env={"COLUMNS": str(columns)})


def asc() -> bytes:
    return MADE["eyelink-asc"]()[0].files["a.asc"]


def put_damaged(folder: Path) -> set[str]:
    """Some fifty files that are no recordings any more, or never were."""
    text = asc()
    csv, smi = MADE["csv"]()[0].files["a.csv"], MADE["smi"]()[0].files["a_Samples.txt"]
    lab = MADE["tobii-pro-lab"]()[0].files["a.tsv"]
    bad = {
        "empty.asc": b"",
        "empty.csv": b"",
        "blank.csv": b"\n\n\n",
        "header.csv": csv.split(b"\n")[0] + b"\n",
        "binary.csv": b"\0\1\2\3" * 99,
        "noise.asc": np.random.default_rng(1).bytes(5000),
        "utf32.csv": csv.decode().encode("utf-32"),
        "picture.csv": cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes(),
        "closed.edf": b"SR_RESEARCH_EDF" + bytes(500),
        "list.json": b'{"a": [1, 2, 3]}',
        "lies.asc.gz": text,
        "cut.asc.gz": gzip.compress(text, mtime=0)[:-400],
        "flipped.asc.gz": gzip.compress(text, mtime=0)[:300] + b"\xff" * 50 + gzip.compress(text, mtime=0)[350:],
        "href.asc": text.replace(b"SAMPLES\tGAZE", b"SAMPLES\tHREF"),
        "trialless.asc": re.sub(rb"MSG\t\d+ SYNCTIME\n", b"", text),
        "wide.asc": text.replace(b"799 599", b"1919 1079"),
        "backwards.asc": text.replace(b"\n300\t", b"\n100\t"),
        "word.csv": csv.replace(b"\n40,", b"\nforty,"),
        "wrong_column.csv": csv.replace(b"x_px", b"xpos"),
        "two_people.tsv": lab + lab.split(b"\n", 1)[1].replace(b"P1", b"P2"),
        "no_gaze.tsv": lab.replace(b"Gaze point", b"Gaze poin"),
        "no_gaze_Samples.txt": smi.replace(b"POR", b"PUR"),
        "-dash.asc": text,  # a name that cannot be a user
        "Ann.csv": csv,  # differs in case only
    }
    for k in range(24):
        # 24 copies in which the samples themselves are rubbish
        bad[f"rubbish{k:02d}.asc"] = re.sub(rb"\n1(\d\d)\t[^\n]*", b"\n1\\1\t" + b"#" * (k + 1), text)
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["x"] = np.arange(9)
    savemat(folder / "matlab.mat", {"x": np.arange(9)})
    # Ann's good file clashes with the one above: two spellings of a name are never guessed at.
    (folder / "Ann.csv").rename(folder / "ANN2.csv")
    (folder / "ann2.asc").write_bytes(text)
    return set(bad) - {"Ann.csv"} | {"foreign.h5", "matlab.mat", "ANN2.csv", "ann2.asc"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "my study ü"
    (folder / "rec").mkdir(parents=True)
    for name in GOOD:
        (folder / "rec" / f"{name}.asc").write_bytes(asc())
    screen = {"width_px": 800, "height_px": 600}
    columns = {"trial": "trial", "stimulus": "image", "pupil": "pupil", "message": "message"}
    text = template(recordings="rec", screen=screen, ingest={"include": SUFFIXES}, csv=columns)
    (folder / "gazepipe.toml").write_text(text, encoding="utf-8")
    return folder


def stored(study: Path) -> dict[str, bytes]:
    return {p.stem: p.read_bytes() for p in sorted((study / "store" / "recordings").glob("*.h5"))}


def failures(study: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (study / "store" / "failures.jsonl").read_text().splitlines()]


def test_fifty_damaged_files(study: Path) -> None:
    bad = put_damaged(study / "rec")
    assert len(bad) > 50
    first = gazepipe("ingest", study, "--jobs", 2)
    assert first.exit_code == 3, first.output
    before = stored(study)
    assert set(before) == set(GOOD)
    assert {Path(row["source"]).name for row in failures(study)} == bad
    for columns in (80, 120):
        result = gazepipe("ingest", study, "--jobs", 1, columns=columns)
        assert result.exit_code == 3
        assert "0 written, 4 up to date" in result.stdout
        assert stored(study) == before
        assert {Path(row["source"]).name for row in failures(study)} == bad
        lines = result.stderr.splitlines()
        lines = lines[next(k for k, line in enumerate(lines) if line.startswith("file ")) :]  # notes stand above
        assert max(map(len, lines[: lines.index("")])) in range(columns - 12, columns + 1)
        names = [m[0] for line in lines if (m := re.match(r"[\w-]+\.(asc|csv|tsv|txt|gz|h5|mat|edf|json)\S*", line))]
        assert names == sorted(bad)
        counts = [int(m[1]) for line in lines if (m := re.match(r" *(\d+) × ", line))]
        assert sum(counts) == len(bad)
        assert counts == sorted(counts, reverse=True)
        assert counts[0] >= 24  # the rubbish is one kind
        assert f"{len(bad)} inputs not used" in lines[-1]
    assert "Traceback" not in first.output


def test_random_damage(study: Path) -> None:
    """Thirty copies damaged at random: each is stored, or listed, and nothing else happens."""
    for k in range(30):
        (study / "rec" / f"r{k:02d}.asc").write_bytes(corrupt(asc(), (4, k))[1])
    result = gazepipe("ingest", study, "--jobs", 1)
    assert result.exit_code == 3, result.output
    done = set(stored(study))
    assert done | {Path(row["source"]).stem for row in failures(study)} == set(GOOD) | {f"r{k:02d}" for k in range(30)}
    assert done > set(GOOD)
    assert gazepipe("ingest", study, "--jobs", 1).stderr == result.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_fail_fast(study: Path, jobs: int) -> None:
    assert gazepipe("ingest", study).exit_code == 0
    for k in range(12):
        (study / "rec" / f"e{k:02d}.asc").write_bytes(b"")
    result = gazepipe("ingest", study, "--fail-fast", "--jobs", jobs)
    assert result.exit_code == 3
    assert len(failures(study)) == 1
    assert "1 input not used" in result.stderr
    # What was not reached stays in use.
    known = json.loads((study / "store" / "manifest" / "ingest.json").read_text())["recordings"]
    assert set(known) == set(GOOD)


#: What every process begins with, workers, too.
BEGINNING = """
import os, resource, signal
import gazepipe.ingest as stage
limit = os.environ.get("LIMIT")
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
whole = stage.analyse
def analyse(source, config, *rest):
    if source.name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(source, config, *rest)
stage.analyse = analyse
"""


def run(study: Path, *options: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Ingest in a process of its own, which begins like its workers."""
    beginning = study.parent / "beginning"
    beginning.mkdir(exist_ok=True)
    (beginning / "sitecustomize.py").write_text(BEGINNING)
    places = os.pathsep.join([str(beginning), str(Path(package.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-m", "gazepipe", "ingest", str(study), *map(str, options)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", **env},
        timeout=300,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_killed_workers_cost_their_files_only(study: Path) -> None:
    for k in range(4):
        (study / "rec" / f"more{k}.asc").write_bytes(asc())
    for k in range(2):
        (study / "rec" / f"deadly{k}.asc").write_bytes(asc())
    done = run(study, "--jobs", 2)
    assert done.returncode == 3, done.stderr
    assert set(stored(study)) == {*GOOD, *(f"more{k}" for k in range(4))}
    assert {Path(row["source"]).name for row in failures(study)} == {"deadly0.asc", "deadly1.asc"}
    assert all("the process reading it was killed" in row["message"] for row in failures(study))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited by Linux")
@pytest.mark.parametrize("jobs", [1, 2])
def test_files_larger_than_memory(study: Path, jobs: int) -> None:
    """2.5 GB in 1.5 GB of address space: sparse files and a gzip bomb are refused in a sentence, the others done."""
    head, _, _ = (MADE["csv"]()[0].files["a.csv"]).partition(b"\n40,")
    for name, text in (("sparse.asc", asc() * 8), ("sparse.csv", head + b"\n" + b"4000,1,2,3,1,a,\n" * 9000)):
        with (study / "rec" / name).open("wb") as file:
            file.write(text)
            file.truncate(2_500_000_000)
    rows = gzip.compress(b"4000,1,2,3,1,a,\n" * 1_000_000, 6, mtime=0)
    (study / "rec" / "bomb.csv.gz").write_bytes(gzip.compress(head + b"\n", mtime=0) + rows * 160)
    assert (study / "rec" / "bomb.csv.gz").stat().st_size < 10_000_000
    done = run(study, "--jobs", jobs, LIMIT="1500000000")
    assert done.returncode == 3, done.stderr
    assert set(stored(study)) == set(GOOD), done.stderr
    said = {Path(row["source"]).name: row["message"] for row in failures(study)}
    assert set(said) == {"sparse.asc", "sparse.csv", "bomb.csv.gz"}
    for message in said.values():
        assert re.search("memory|killed", message), message
    bomb = study / "rec" / "bomb.csv.gz"
    for name in ("sparse.asc", "sparse.csv"):
        (study / "rec" / name).unlink()
    done = run(study, "--jobs", jobs, LIMIT="1500000000", GAZEPIPE_MAX_FILE_GIB="0.125")
    assert done.returncode == 3, done.stderr
    (row,) = failures(study)
    assert row["message"].startswith(f"{bomb}: the file unpacks to more than 0.125 GiB; expected a recording;")
    assert "GAZEPIPE_MAX_FILE_GIB" in row["message"]


def test_limit_that_is_no_number(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (study / "rec" / "eve.csv").write_bytes(MADE["csv"]()[0].files["a.csv"])
    monkeypatch.setenv("GAZEPIPE_MAX_FILE_GIB", "plenty")
    result = gazepipe("ingest", study)
    assert "GAZEPIPE_MAX_FILE_GIB is 'plenty'; expected a number of GiB" in result.stderr
