"""Shards of a stage, joined, leave exactly what one run over everything leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from gazepipe import build, ingest
from gazepipe.build import build_psm
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.gather import gather_ingest, gather_psm
from gazepipe.shards import Shard
from gazepipe.study import Study

NAMES = ("anna", "ben", "cleo", "dora", "emil")


@pytest.fixture
def five(small_study: Any) -> Any:
    small_study.image("a.png")
    for k, name in enumerate(NAMES):
        small_study.recording(f"{name}.csv", [("a.png", [(150 + 100 * k, 300, 400)])])
    (small_study.root / "rec" / "bad.csv").write_text("time_ms\n")
    return small_study


def in_shards(study: Study, count: int) -> tuple[list[str], list[str]]:
    """Recordings and users that shards wrote."""
    parts = [Shard(k, count) for k in range(1, count + 1)]
    recordings = [n for part in parts for n in ingest.ingest(study, shard=part).written]
    gather_ingest(study, count)
    users = [n for part in parts for n in build_psm(study, shard=part).written]
    gather_psm(study, count)
    return sorted(recordings), sorted(users)


def contents(study: Study) -> dict[str, bytes]:
    kept = [*study.store.glob("*.h5"), *study.store.glob("*/*.h5"), study.store / "failures.jsonl"]
    kept += [study.store / "manifest" / f"{stage}.json" for stage in ("ingest", "build-psm")]
    return {p.relative_to(study.store).as_posix(): p.read_bytes() for p in kept}


@pytest.mark.parametrize("count", [1, 2, 7])  # seven: more shards than files
def test_shards_leave_what_one_run_leaves(five: Any, tmp_path: Path, count: int) -> None:
    whole, cut = five.open(to=tmp_path / "whole"), five.open(to=tmp_path / "cut")
    ingest.ingest(whole)
    build_psm(whole)
    assert in_shards(cut, count) == (list(NAMES), list(NAMES))
    assert contents(cut) == contents(whole)
    assert b"bad.csv" in (cut.store / "failures.jsonl").read_bytes()


def test_another_number_of_shards_makes_nothing_again(five: Any) -> None:
    study = five.open()
    in_shards(study, 2)
    before = contents(study)
    assert in_shards(study, 3) == ([], [])
    assert contents(study) == before
    parts = {p.name for p in (study.store / "manifest").glob("*-of-*.json")}
    assert parts == {f"{stage}-{k}-of-3.json" for stage in ("ingest", "build-psm") for k in (1, 2, 3)}
    ingest.ingest(study)
    build_psm(study)
    assert list((study.store / "manifest").glob("*-of-*.json")) == []


def test_what_is_gone_goes_with_shards_too(five: Any) -> None:
    study = five.open()
    in_shards(study, 2)
    (five.root / "rec" / "ben.csv").unlink()
    assert in_shards(study, 2) == ([], [])
    assert sorted(study.known_recordings()) == ["anna", "cleo", "dora", "emil"]
    assert not study.recording_file("ben").exists()
    assert not study.psm_file("ben").exists()


def test_gather_waits_for_all_shards(five: Any) -> None:
    study = five.open()
    ingest.ingest(study, shard=Shard(1, 2))
    with pytest.raises(NothingToDoError, match="shard 2/2 of ingest has not run; run `gazepipe ingest --shard 2/2`"):
        gather_ingest(study, 2)
    assert study.known_recordings() == {}  # what one shard stored is not in use before


def test_gather_refuses_shards_of_other_settings(five: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    study = five.open()
    in_shards(study, 2)
    monkeypatch.setattr(ingest, "VERSION", ingest.VERSION + 1)
    with pytest.raises(NothingToDoError, match="shard 1/2 of ingest has run with another configuration"):
        gather_ingest(study, 2)
    monkeypatch.undo()
    monkeypatch.setattr(build, "VERSION", build.VERSION + 1)
    with pytest.raises(NothingToDoError, match="shard 1/2 of build-psm"):
        gather_psm(study, 2)


def test_a_user_without_maps_is_listed_by_both(five: Any, tmp_path: Path) -> None:
    five.recording("fred.csv", [("gone.png", [(400, 300, 400)])])
    whole, cut = five.open(to=tmp_path / "whole"), five.open(to=tmp_path / "cut")
    ingest.ingest(whole)
    build_psm(whole)
    in_shards(cut, 2)
    assert contents(cut) == contents(whole)
    assert not cut.psm_file("fred").exists()


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "1/0", "a/b", "-1/2"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected K/N"):
        Shard.parse(text)


def test_every_item_is_in_one_shard() -> None:
    items = list(range(10))
    assert sorted(i for k in (1, 2, 3) for i in Shard(k, 3).of(items)) == items
    assert [len(Shard(k, 3).of(items)) for k in (1, 2, 3)] == [4, 3, 3]
    assert str(Shard.parse("2/3")) == "2/3"


def test_a_copied_store_is_up_to_date(five: Any, tmp_path: Path) -> None:
    in_shards(five.open(), 2)
    shutil.copytree(five.open().store, tmp_path / "copy")
    assert in_shards(five.open(to=tmp_path / "copy"), 2) == ([], [])
