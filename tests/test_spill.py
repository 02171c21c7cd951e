"""Arrays that do not fit the memory lie on the disk, are the same, and leave nothing there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe import Study, spill, store
from gazepipe.build import build_psm
from gazepipe.errors import OutOfMemoryError, StoreError
from gazepipe.ingest import ingest
from gazepipe.stored_corpus import load_corpus, read_corpus


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study]) -> Study:
    study = simulated(
        tmp_path_factory.mktemp("spill"), users=3, images=6, seconds=1.0, seed=0, psm={"width": 40, "height": 30}
    )
    ingest(study, jobs=1)
    build_psm(study)
    return study


def on_disk(array: Any) -> bool:
    """Whether an array's memory is that of a file."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_free_memory_is_the_least_of_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(spill, "_CGROUP", tmp_path)
    assert spill.free_memory() == float("inf")
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable:    3000 kB\n")
    assert spill.free_memory() == 3000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert spill.free_memory() == 3000 * 1024
    (tmp_path / "memory.max").write_text("1500000\n")
    assert spill.free_memory() == 500_000
    (tmp_path / "memory.current").write_text("1600000\n")
    assert spill.free_memory() == 0


def test_memory_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "free_memory", lambda: 2 * 24.0)
    assert not on_disk(spill.spacious((2, 3), np.float32, tmp_path, "maps"))
    larger = spill.spacious((2, 7), np.float16, tmp_path, "maps")
    assert on_disk(larger)
    assert type(larger) is np.ndarray
    larger[:] = np.arange(14).reshape(2, 7)
    assert larger[1].tolist() == [7, 8, 9, 10, 11, 12, 13]
    assert list(tmp_path.iterdir()) == []
    assert not on_disk(spill.spacious((2, 7), np.float16, None, "maps"))


def test_neither_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "free_memory", lambda: 0.0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    assert not on_disk(spill.spacious((2, 7), np.float16, tmp_path, "maps"))
    with pytest.raises(OutOfMemoryError) as error:
        spill.spacious((1 << 20, 1 << 20, 1 << 10), np.float16, tmp_path, "s: 9 maps")
    assert str(error.value) == (
        f"s: 9 maps take 2251799.8 GB, more than memory and disk have ({tmp_path}: No space left on device); make room "
        "and run again."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_on_the_disk_is_the_same(built: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = store.load(built.psm_file("sim03"), "gazepipe.psm")
    wanted: list[dict[str, Any]] = [{}, {"users": ["sim02", "sim01"], "guest": guest}]
    before = {p for p in built.store.rglob("*")}
    in_memory = [load_corpus(built, **options) for options in wanted]
    monkeypatch.setattr(spill, "free_memory", lambda: 0.0)
    for options, expected in zip(wanted, in_memory, strict=True):
        found = load_corpus(built, **options)
        assert on_disk(found.maps)
        assert not on_disk(expected.maps)
        for field in fields(found):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)
    assert {p for p in built.store.rglob("*")} == before
    files = {u: store.load(built.psm_file(u), "gazepipe.psm").arrays["maps"] for u in ("sim02", "sim01", "sim03")}
    np.testing.assert_array_equal(found.maps, np.concatenate(list(files.values())))


def test_maps_of_a_sealed_store_are_never_written_down(built: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "free_memory", lambda: 0.0)
    monkeypatch.setattr("gazepipe.stored_corpus.is_sealed", lambda _: True)
    assert not on_disk(load_corpus(built).maps)


def test_maps_that_are_made_again_meanwhile(built: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(built.root, tmp_path / "study")
    study = Study.open(tmp_path / "study")
    load = store.load

    def later(path: Path, encoding: str, *, only: tuple[str, ...] | None = None) -> store.Contents:
        found = load(path, encoding, only=only)
        return store.Contents(path, found.arrays, found.attrs | ({"recipe_digest": "0"} if only == ("maps",) else {}))

    monkeypatch.setattr(store, "load", later)
    with pytest.raises(StoreError, match=r"sim01.h5: was made again while it was read; run again\."):
        read_corpus(study, ["sim01"])
