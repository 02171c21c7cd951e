"""Files and folders that this user may not read or write: a clear sentence, and nothing is lost or taken for damaged.

The super-user may do everything, so the commands run without its capabilities: like anybody else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from process import ENVIRONMENT, Nursery, drop_privileges
from survival import told

import gazepipe
from gazepipe import kernel_cache
from gazepipe.integrity import check_store
from gazepipe.study import Study

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="drops the capabilities of Linux")


@dataclass(frozen=True)
class Case:
    """What is forbidden (a path in the study and its mode), a command, its exit code and what it must say."""

    path: str
    mode: int
    line: tuple[str, ...]
    code: int
    said: str


ROOT, OUT = "{root}", "{out}"
INGEST, BUILD = ("ingest", ROOT, "--jobs", "1"), ("build-psm", ROOT, "--force")
PREDICT = ("predict", "--study", ROOT, "--all-users", "--test-images", "1")
CASES = [
    Case("store", 0o555, (*INGEST, "--force"), 7, r"written, no permission|cannot be written \(Permission"),
    Case("store", 0o555, ("info", ROOT), 0, ""),
    Case("store", 0o555, ("verify", ROOT), 0, ""),
    Case("store", 0o555, ("export", OUT, ROOT), 0, ""),
    Case("store", 0o000, INGEST, 7, r"store: the store cannot be looked into \(Permission denied\)"),
    Case("store/psm", 0o555, BUILD, 7, r"sim01\.h5: could not be written, no permission to write there"),
    Case("store/usm.h5", 0o000, ("verify", ROOT, "--set-aside"), 8, r"unreadable: .*usm\.h5: cannot be read \(Permis"),
    Case(
        "store/recordings/sim02.h5", 0o000, BUILD, 3, r"sim02\.h5: cannot be read \(Permission denied\); let this user"
    ),
    Case("store/recordings/sim02.h5", 0o000, ("export", OUT, ROOT), 3, r"sim02\.h5: cannot be read \(Permission"),
    Case("store/manifest/ingest.json", 0o000, BUILD, 8, r"ingest\.json: cannot be read \(Permission denied\)"),
    Case("store/checksums.txt", 0o000, INGEST, 8, r"checksums\.txt: cannot be read \(Permission denied\)"),
    Case(
        "store/failures.jsonl", 0o000, INGEST, 7, r"failures\.jsonl: Permission denied; .*Let this user read and write"
    ),
    Case("store/gallery.h5", 0o000, PREDICT, 8, r"gallery\.h5: cannot be read \(Permission denied\)"),
    Case("store/models", 0o000, PREDICT, 7, r"Permission denied"),
    Case("store/models/refiner.safetensors", 0o000, ("train", ROOT, "--threads", "1"), 7, r"Permission denied"),
    Case("sim02.csv.gz", 0o000, INGEST, 3, r"sim02\.csv\.gz: the file cannot be read \(Permission denied\)"),
    Case("gazepipe.toml", 0o000, INGEST, 2, r"gazepipe\.toml: cannot be read \(Permission denied\); check its perm"),
    Case("stimuli", 0o000, BUILD, 3, r"stimuli: the folder of images cannot be looked into \(Permission denied\)"),
    Case("stimuli/scene01.png", 0o000, BUILD, 3, r"\d × stimuli.*cannot be read|scene01\.png: cannot be read"),
    Case("stimuli/scene01.png", 0o000, ("export", OUT, ROOT), 0, r"1 image not there, or not readable"),
]


def test_what_may_not_be_read_or_written(whole: Study, nursery: Nursery, tmp_path: Path) -> None:
    survived, failed = 0, []
    for number, case in enumerate(CASES):
        out = tmp_path / f"out{number}"
        path, places = whole.root / case.path, {ROOT: str(whole.root), OUT: str(out)}
        mode = path.stat().st_mode
        before = {p: p.read_bytes() for p in (whole.store / "recordings").glob("*.h5")}
        files = {p for p in whole.store.rglob("*") if p.is_file()}
        kept = (whole.store / "checksums.txt").read_bytes()
        path.chmod(case.mode)
        code, errors = nursery.run(*(places.get(word, word) for word in case.line), plain=1)
        path.chmod(mode)
        try:
            assert code == case.code
            assert re.search(case.said, " ".join(errors.split()))  # tables are broken into lines
            assert not re.search(r"Traceback|unexpectedly|damaged \(|delete it|× *$", errors, re.MULTILINE)
            assert [p for p in (*whole.store.rglob("*.tmp"), *out.rglob("*.tmp")) if p.is_file()] == []
            assert (whole.store / "checksums.txt").read_bytes().count(b"\n") >= kept.count(b"\n")
            assert {p: p.read_bytes() for p in before if p.is_file()} == before
            assert [p for p in files if not p.is_file()] == []
            survived += 1
        except AssertionError as error:
            failed.append(f"{case}: exit code {code}; {errors}\n{str(error)[:500]}")
    told("R14", survived, len(CASES), "no permission")
    assert failed == [], "\n\n".join(failed)
    for words in (INGEST, BUILD):  # with permission it does what it could not
        assert nursery.run(*(str(whole.root) if word == ROOT else word for word in words))[0] in (0, 3)
    assert check_store(whole).bad == []


def test_a_folder_of_recordings_that_is_locked(whole: Study, nursery: Nursery) -> None:
    """Nobody knows what is in it, so that nothing may be taken for gone."""
    folder = whole.root / "second"
    folder.mkdir()
    shutil.copy(whole.root / "sim02.csv.gz", folder / "sim10.csv.gz")
    assert nursery.run("ingest", whole.root, "--jobs", 1)[0] == 3
    stored = whole.recording_file("sim10").read_bytes()
    folder.chmod(0)
    code, errors = nursery.run("ingest", whole.root, "--jobs", 1, plain=1)
    folder.chmod(0o755)
    assert code == 3
    assert re.search(r"second: the folder cannot be looked into \(Permission denied\)", errors)
    assert whole.recording_file("sim10").read_bytes() == stored
    assert nursery.run("ingest", whole.root, "--jobs", 1)[0] == 3
    assert "sim10" in whole.known_recordings()
    assert whole.recording_file("sim10").read_bytes() == stored
    (folder / "sim10.csv.gz").unlink()  # this one is gone
    assert nursery.run("ingest", whole.root, "--jobs", 1)[0] == 3
    assert not whole.recording_file("sim10").exists()
    told("R14", 1, 1, "a locked folder of recordings")


def test_a_disk_that_is_read_only(whole: Study) -> None:
    """Mounted read-only, which the super-user cannot write to either."""
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
    try:
        can = subprocess.run([*private, mount, "sh", str(whole.store)], capture_output=True).returncode == 0
    except OSError:
        can = False
    if not can:
        pytest.skip("a test may not mount anything here")
    before = {p: p.read_bytes() for p in whole.store.rglob("*") if p.is_file()}
    for words, code, said in (
        ("ingest --force --jobs 1", 7, "cannot be written (Read-only file system); choose another folder with --store"),
        ("verify", 0, ""),
    ):
        work = f'{mount} && exec "$2" -m gazepipe {words} "$3"'
        line = [*private, work, "sh", str(whole.store), sys.executable, str(whole.root)]
        done = subprocess.run(line, capture_output=True, text=True, env=os.environ | ENVIRONMENT)
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert {p: p.read_bytes() for p in whole.store.rglob("*") if p.is_file()} == before
    told("R14", 2, 2, "a disk mounted read-only")


@pytest.mark.parametrize("long", ["x" * 300, "/".join(["y" * 200] * 25)], ids=["name", "path"])
def test_names_that_are_too_long(whole: Study, nursery: Nursery, long: str) -> None:
    lines: list[list[object]] = [
        ["ingest", whole.root, "--jobs", 1, "--store", whole.root / long],
        ["export", whole.root / long, whole.root],
        ["predict", "--study", whole.root, "--all-users", "--test-images", 1, "--out", whole.root / long],
    ]
    for line in lines:
        code, errors = nursery.run(*line)
        assert code == 7, errors
        assert "too long" in errors
        assert errors.count("\n") == 1, errors
    told("R14", len(lines), len(lines), "names that are too long")


def locked(folder: Path) -> Callable[[], None]:
    def prepare() -> None:
        drop_privileges()
        os.chdir(folder)

    return prepare


def test_kernels_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A package that is read-only and a user without a home, as in a container: kernels are kept elsewhere."""
    package, temporary, nowhere = (tmp_path / name for name in ("package", "tmp", "nowhere"))
    (package / "gazepipe").mkdir(parents=True)
    for name in ("__init__.py", "kernel_cache.py"):
        shutil.copy(Path(gazepipe.__file__).with_name(name), package / "gazepipe")
    for folder in (temporary, nowhere):
        folder.mkdir()
    for folder in (package / "gazepipe", nowhere):
        folder.chmod(0o555)
    code = "import gazepipe, numba; print(numba.config.CACHE_DIR)"
    env = {"PATH": os.environ["PATH"], "HOME": str(nowhere), "TMPDIR": str(temporary), "PYTHONPATH": str(package)}
    found = []
    for plant in (False, False, True):
        if plant:  # somebody else was there first
            (temporary / f"gazepipe-kernels-{os.getuid()}").chmod(0o777)
        line = [sys.executable, "-B", "-c", code]
        done = subprocess.run(line, capture_output=True, text=True, env=env, preexec_fn=locked(temporary))
        assert done.returncode == 0, done.stderr
        found.append(Path(done.stdout.strip()))
    assert found[0] == found[1] == temporary / f"gazepipe-kernels-{os.getuid()}"
    assert found[2] != found[0]
    assert found[2].parent == temporary
    assert found[2].stat().st_mode & 0o777 == 0o700


def test_kernels_stay_where_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kernel_cache.choose_kernel_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
