"""The stores: what is written comes back, damage is always noticed, and nothing stored before is ever lost."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from survival import told

import gazepipe
from gazepipe import store
from gazepipe.atomic import write_atomically
from gazepipe.errors import LockedError, NothingToDoError, StorageError, StoreError
from gazepipe.recipe import Recipe

KIND = "gazepipe.psm"
RECIPE = Recipe("test", 1, {"a": 1}, {"x": "y"})
ARRAYS: dict[str, Any] = {
    "maps": np.random.default_rng(0).random((3, 12, 16)).astype(np.float16),
    "table/name": np.array(["a", "ü", ""], object),
    "table/number": np.arange(3, dtype=np.int64),
    "table/flag": np.array([True, False, True]),
    "empty/number": np.zeros(0),
    "empty/text": np.array([], object),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "deep" / "er" / "file.h5"
    store.save(file, KIND, ARRAYS, recipe=RECIPE, attrs={"user": "Jörg", "quality": {"loss": 0.5}, "n": 3})
    return file


def test_round_trip(path: Path) -> None:
    contents = store.load(path, KIND)
    assert set(contents.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        got = contents.arrays[name]
        assert got.shape == array.shape
        assert got.tolist() == array.tolist()
        if array.dtype != object:
            assert got.dtype == array.dtype
    assert contents.attrs["user"] == "Jörg"
    assert contents.attrs["n"] == 3
    assert contents.attrs["quality"] == '{"loss": 0.5}'
    assert contents.attrs["recipe_digest"] == RECIPE.digest == store.recipe_of(path)
    assert list(contents.group("table")) == ["flag", "name", "number"]
    assert store.to_frame(contents, "table")["name"].tolist() == ["a", "ü", ""]
    assert set(store.load(path, KIND, only=("table/",)).arrays) == {"table/name", "table/number", "table/flag"}


def test_same_content_is_the_same_bytes(path: Path) -> None:
    before = path.read_bytes()
    store.save(path, KIND, ARRAYS, recipe=RECIPE, attrs={"user": "Jörg", "quality": {"loss": 0.5}, "n": 3})
    assert path.read_bytes() == before


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match=r"gone\.h5"):
        store.load(tmp_path / "gone.h5", KIND)
    assert store.recipe_of(tmp_path / "gone.h5") is None


@pytest.mark.parametrize("share", range(32))
def test_truncated(path: Path, share: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * share // 32])
    with pytest.raises(StoreError, match=r"file\.h5"):
        store.load(path, KIND)


def test_flipped_bits_are_never_silently_wrong(path: Path) -> None:
    whole, expected = path.read_bytes(), store.load(path, KIND)
    rng = np.random.default_rng(1)
    refused = 0
    for at, bit in zip(rng.integers(0, len(whole), 400), rng.integers(0, 8, 400), strict=True):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(bit)
        path.write_bytes(damaged)
        try:
            got = store.load(path, KIND)
        except StoreError:
            refused += 1
            continue
        assert dict(got.attrs) == dict(expected.attrs), at
        for name, array in expected.arrays.items():
            assert got.arrays[name].tolist() == array.tolist(), (name, at)
    told("R10", 400, 400, f"one file, {refused} refused")
    assert refused > 0


def test_flipped_bits_in_long_attributes_are_noticed(tmp_path: Path) -> None:
    """HDF5 keeps attributes beyond some kilobytes without a checksum: warnings, or the inputs of many images."""
    path, words = tmp_path / "a.h5", [f"line {k}: something odd" for k in range(400)]
    store.save(path, KIND, ARRAYS, recipe=RECIPE, attrs={"warnings": words})
    whole = path.read_bytes()
    for line in (0, 77, 399):
        damaged = bytearray(whole)
        damaged[whole.index(f"line {line}:".encode()) + 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"a\.h5: damaged"):
            store.load(path, KIND)


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"time_ms,x_px\n1,2\n", b"\x89HDF\r\n\x1a\n" + b"\xff" * 999])
def test_what_is_no_store(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert store.recipe_of(path) is None
    with pytest.raises(StoreError, match=r"file\.h5: damaged or not a gazepipe store"):
        store.load(path, KIND)


def test_other_kind_and_newer_version_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"holds gazepipe\.psm; expected gazepipe\.usm"):
        store.load(path, "gazepipe.usm")
    monkeypatch.setitem(store.ENCODINGS, KIND, "2.0")
    store.save(path, KIND, ARRAYS, recipe=RECIPE)
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"version 2\.0"):
        store.load(path, KIND)


@pytest.mark.parametrize("n", range(3))  # sync of the file, rename, sync of the folder
def test_failing_nth_system_call(path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Every write, sync and rename fails in turn; the old file stays and no temporary file is left."""
    before, calls = path.read_bytes(), 0

    def failing(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == n + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "replace", failing(os.replace))
    with pytest.raises(StorageError, match="disk is full"):
        store.save(path, KIND, ARRAYS, recipe=Recipe("other", 1))
    monkeypatch.undo()
    assert list(path.parent.iterdir()) == [path]
    if n < 2:  # the sync of the folder comes after the rename
        assert path.read_bytes() == before
    store.load(path, KIND)


FULL_DISK = """
import resource, signal, sys, numpy as np
from pathlib import Path
from gazepipe import store
from gazepipe.atomic import write_atomically
from gazepipe.errors import StorageError
from gazepipe.recipe import Recipe
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
noise = np.random.default_rng(0).random((40, 32, 32)).astype("f4")
try:
    store.save(Path(sys.argv[1]), "gazepipe.psm", {"maps": noise}, recipe=Recipe("big", 1))
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [0, 1000, 50_000])
def test_full_disk_loses_nothing(path: Path, limit: int) -> None:
    before = path.read_bytes()
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(path), str(limit)], capture_output=True, text=True)
    assert run.returncode == 7, run.stderr
    assert len(run.stdout.splitlines()) == 1
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


HOLDER = """
import sys, time
from pathlib import Path
from gazepipe import store
from gazepipe.atomic import write_atomically
with store.lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_turned_away_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError), store.lock(tmp_path, timeout_s=0.1):
            pass
        holder.kill()
        holder.wait()
    with store.lock(tmp_path, timeout_s=5):
        pass


PART = HOLDER.replace("store.lock(Path(sys.argv[1]))", "store.lock(Path(sys.argv[1]), part=sys.argv[2])")


def test_parts_write_at_once_and_whole_runs_alone(tmp_path: Path) -> None:
    held = [sys.executable, "-c", PART, str(tmp_path), "ingest-1-of-2"]
    with subprocess.Popen(held, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with store.lock(tmp_path, timeout_s=5, part="ingest-2-of-2"):
            pass
        for part in ("ingest-1-of-2", ""):
            with pytest.raises(LockedError), store.lock(tmp_path, timeout_s=0.1, part=part):
                pass
        (tmp_path / ".a.h5.1.tmp").touch()  # of somebody who is still writing it
        with store.lock(tmp_path, part="ingest-2-of-2"):
            assert (tmp_path / ".a.h5.1.tmp").exists()
        holder.kill()
        holder.wait()
    with store.lock(tmp_path, timeout_s=5):
        assert not (tmp_path / ".a.h5.1.tmp").exists()
        with pytest.raises(LockedError), store.lock(tmp_path, timeout_s=0.1, part="ingest-3-of-3"):
            pass
    with store.lock(tmp_path, timeout_s=0.1, part="ingest-1-of-2"):  # and both locks are free again
        pass


def test_lock_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StorageError, match="store: cannot be written"), store.lock(tmp_path / "store"):
        pass


def test_errors_inside_a_lock_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="recording"), store.lock(tmp_path):
        raise PermissionError(errno.EACCES, "recording")
    with store.lock(tmp_path, timeout_s=0.1):  # and the lock is free again
        pass


def test_ctrl_c_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}


WRITER = """
import sys, numpy as np
from pathlib import Path
from gazepipe import store
from gazepipe.atomic import write_atomically
from gazepipe.recipe import Recipe
folder = Path(sys.argv[1])
maps = np.random.default_rng(0).random((64, 60, 80)).astype("f2")
with store.lock(folder):
    for i in range(10000):
        store.save(folder / f"{i}.h5", "gazepipe.psm", {"maps": maps, "i": np.array([i])}, recipe=Recipe("k", 1))
        print(i, flush=True)
"""


def test_kill_minus_nine_keeps_every_acknowledged_file(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    survived, tried = 0, int(request.config.getoption("--kills"))
    for attempt in range(tried):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            last = writer.stdout.readline()
            time.sleep(0.01 * attempt)
            writer.kill()
            rest = writer.stdout.read().splitlines()
        acknowledged = int(rest[-1] if rest and rest[-1].isdigit() else last)
        for i in range(acknowledged + 1):
            assert store.load(folder / f"{i}.h5", KIND).arrays["i"].tolist() == [i]
        with store.lock(folder):
            assert list(folder.glob(".*.tmp")) == []  # what the killed one was writing is swept away
        survived += 1
    told("R1", survived, tried, "a writer of many files")


SOURCES = sorted(Path(gazepipe.__file__).parent.rglob("*.py"))


def test_one_module_touches_hdf5() -> None:
    """And one that looks at files for it before they are read."""
    found = [p.name for p in SOURCES if re.search(r"^\s*(import|from) h5py", p.read_text("utf-8"), re.M)]
    assert found == ["hdf5_audit.py", "store.py"]


@pytest.mark.parametrize(
    "banned",
    [
        *(r"\bpickle\b(?!=False)", r"torch\.load\b", r"yaml\.load\b", r"(?<![.\w])(eval|exec)\(", r"allow_pickle=True"),
        *(r"shell=True", r"os\.(system|popen)\b", r"^\s*(import|from) (marshal|shelve|dill|joblib|cloudpickle)\b"),
    ],
)
def test_nothing_that_runs_code_from_files(banned: str) -> None:
    for path in SOURCES:
        code = re.sub(r"#.*", "", path.read_text("utf-8"))
        # Weights of a package, of known digest, which only torch reads; with weights_only it runs no code.
        code = re.sub(r"torch\.load\([^\n]*weights_only=True\)", "", code) if path.name == "backbone.py" else code
        assert not re.search(banned, code, re.M), (path.name, banned)


def test_no_module_uses_the_network() -> None:
    """But `gazepipe.live`, which talks to the tracker, and `gazepipe.fetch`; trainings talk through torch."""
    network = r"^\s*(import|from) (socket|ssl|urllib|http|requests|httpx|aiohttp|websockets?|zmq|ftplib|smtplib)\b"
    found = [p for p in SOURCES if re.search(network, p.read_text("utf-8"), re.M)]
    places = [p.relative_to(Path(gazepipe.__file__).parent) for p in found]
    assert [p for p in places if p.parts[0] not in ("live", "fetch.py")] == []
