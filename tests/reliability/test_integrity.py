"""`gazepipe verify` finds whatever is not as it was written, and says nothing of what is."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from survival import told

from gazepipe import store
from gazepipe.cli import main
from gazepipe.documents import CHECKSUMS, listed, read_json, strike, write_json, write_listed
from gazepipe.errors import NothingToDoError, StoreError
from gazepipe.integrity import check_store
from gazepipe.pipeline import run
from gazepipe.study import Study

#: Files that hold the digests of others.
LISTS = (CHECKSUMS, "summary.json")


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def stored(study: Study) -> list[Path]:
    return sorted(p for p in study.store.rglob("*") if p.is_file() and not p.name.startswith("."))


def content(path: Path) -> Any:
    """What a reader gets of a file of HDF5."""
    found = store.load(path, store.encoding_of(path))
    return repr((dict(found.attrs), {name: array.tolist() for name, array in found.arrays.items()}))  # NaN = NaN


def test_a_whole_store_is_whole(whole: Study) -> None:
    before = {p: p.read_bytes() for p in stored(whole)}
    report = check_store(whole)
    assert report.findings == []
    assert report.files == len(before)
    assert report.size == sum(map(len, before.values()))
    assert {p: p.read_bytes() for p in stored(whole)} == before
    kinds = {p.suffix for p in before}
    assert kinds == {".h5", ".json", ".safetensors", ".npy", ".png", ".md", ".csv", ".txt", ".jsonl"}


def test_flipped_bits_are_found(whole: Study, request: pytest.FixtureRequest) -> None:
    """One bit in each file, again and again. What is not reported must read as before: HDF5 keeps nothing there."""
    files = {p: p.read_bytes() for p in stored(whole) if p.name not in LISTS}
    expected = {p: content(p) for p in files if p.suffix == ".h5"}
    tried = found = harmless = 0
    rng = np.random.default_rng(7)
    while tried < int(request.config.getoption("--flips")):
        for path, data in files.items():
            at, bit = int(rng.integers(len(data))), int(rng.integers(8))
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        named = {f.file for f in check_store(whole).findings}  # unguarded where the name of the digest was hit
        for path in files:
            tried += 1
            if path.relative_to(whole.store).as_posix() in named:
                found += 1
            else:
                assert path in expected, path
                assert content(path) == expected[path], path
                harmless += 1
    told("R10", tried, tried, f"{found} reported, {harmless} changed nothing that is read")
    assert found > 0.8 * tried


@pytest.mark.parametrize("name", [CHECKSUMS, "predictions/summary.json"])
def test_flipped_bits_in_lists_are_found(whole: Study, name: str) -> None:
    path = whole.store / name
    data = path.read_bytes()
    for at in range(0, len(data), len(data) // 16):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert check_store(whole).bad, at


@pytest.mark.parametrize("keep", [0, 0.5, 0.97])
def test_truncated_files_are_found(whole: Study, keep: float) -> None:
    files = [p for p in stored(whole) if p.name not in LISTS]
    for path in files:
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    bad = {f.file for f in check_store(whole).bad}
    assert [p for p in files if p.relative_to(whole.store).as_posix() not in bad] == []
    told("R10", len(files), len(files), f"cut to {keep}")


def test_each_kind_of_finding(whole: Study) -> None:
    root = whole.store
    user = sorted(whole.manifest("build-psm")["users"])[0]
    (root / "psm" / f"{user}.h5").unlink()
    (root / "evaluation.md").write_text("# Better figures\n")
    (root / "psm" / "stranger.h5").write_bytes((root / "usm.h5").read_bytes())
    (root / "notes.txt").write_text("by hand")
    (root / ".usm.h5.1.tmp").write_bytes(b"half")
    (root / "predictions" / "x").mkdir()
    (root / "models" / "refiner.safetensors").write_bytes(b"\0" * 100)
    found = {(f.file, f.kind) for f in check_store(whole).findings}
    assert found == {
        (f"psm/{user}.h5", "missing"),
        ("evaluation.md", "damaged"),
        ("psm/stranger.h5", "unused"),
        ("notes.txt", "unguarded"),
        (".usm.h5.1.tmp", "left"),
        ("models/refiner.safetensors", "damaged"),
    }


def test_a_file_of_another_run_is_not_the_one_named(whole: Study) -> None:
    first, second = sorted(whole.manifest("build-psm")["users"])[:2]
    whole.psm_file(first).write_bytes(whole.psm_file(second).read_bytes())
    (finding,) = check_store(whole).findings
    assert finding.kind == "missing"
    assert "is not the one that the manifest names" in finding.message


def test_command_and_setting_aside(whole: Study) -> None:
    assert gazepipe("verify", whole.root).exit_code == 0
    path = whole.recording_file("sim02")
    data = path.read_bytes()
    path.write_bytes(data[:2000] + b"\xff" * 64 + data[2064:])
    result = gazepipe("verify", whole.root)
    assert result.exit_code == 8
    assert "damaged:" in result.stderr
    assert "1 damaged, unreadable or missing" in result.stdout
    found = json.loads(gazepipe("-q", "verify", whole.root, "--json").stdout)
    assert (found["whole"], found["findings"][0]["file"]) == (False, "recordings/sim02.h5")
    assert gazepipe("verify", whole.root, "--set-aside").exit_code == 8
    assert not path.exists()
    assert (whole.store / "damaged" / "recordings" / "sim02.h5").is_file()
    run(whole, jobs=1, threads=1)
    assert path.read_bytes() == data  # made again, to the byte
    assert gazepipe("verify", whole.root).exit_code == 0


def test_verify_says_what_goes_together(whole: Study, tmp_path: Path) -> None:
    assert "give one study folder" in gazepipe("verify", whole.root, tmp_path).output
    assert "--user says whose" in gazepipe("verify", whole.root, "--far", "0.1").output
    assert "needs recordings" in gazepipe("verify", "--user", "sim01").output
    assert "is for stores" in gazepipe("verify", "--user", "sim01", "--set-aside", whole.root / "sim02.csv.gz").output


def test_no_store(whole: Study, tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="there is no store"):
        check_store(Study.open(whole.root, to=tmp_path / "none"))
    for name in ("verify", "info"):
        assert gazepipe(name, whole.root, "--store", tmp_path / "none").exit_code == 4


# ---- text files ------------------------------------------------------------------------------------------------------


def test_json_comes_back_and_notices_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    written = {"b": [1, 2.5, None, True], "a": {"ü": "\udcff", "path": Path("x")}, "n": float("inf")}
    write_json(path, written)
    assert read_json(path, "") == {"b": [1, 2.5, None, True], "a": {"ü": "\udcff", "path": "x"}, "n": float("inf")}
    assert list(read_json(path, "")) == ["b", "a", "n"]  # in order
    path.write_text(path.read_text(encoding="utf-8").replace("2.5", "2.6"), encoding="utf-8")
    with pytest.raises(StoreError, match=r"a\.json: damaged \(its content is not what was written\); do that\."):
        read_json(path, "do that")


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1', "\x00", '{"a": ' * 100_000])
def test_what_is_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        read_json(tmp_path / "a.json", "do that")


def test_json_of_before_there_were_digests(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}\n')
    assert read_json(tmp_path / "a.json", "") == {"a": 1}


def test_the_list_is_one_that_coreutils_can_check(tmp_path: Path) -> None:
    write_listed(tmp_path, {tmp_path / "t" / "a.md": b"one", tmp_path / "b.csv": b"two"})
    write_listed(tmp_path, {tmp_path / "b.csv": b"three"})
    assert sorted(listed(tmp_path)) == ["b.csv", "t/a.md"]
    run_ = subprocess.run(["b2sum", "-l", "128", "-c", CHECKSUMS], cwd=tmp_path, capture_output=True, text=True)
    assert run_.stdout == "b.csv: OK\nt/a.md: OK\n", run_.stderr
    strike(tmp_path, ["b.csv"])
    assert sorted(listed(tmp_path)) == ["t/a.md"]


def test_a_damaged_list_is_begun_anew(tmp_path: Path) -> None:
    write_listed(tmp_path, {tmp_path / "a": b"one"})
    (tmp_path / CHECKSUMS).write_text("nonsense\n")
    with pytest.raises(StoreError, match="line 1: damaged"):
        listed(tmp_path)
    write_listed(tmp_path, {tmp_path / "b": b"two"})
    assert list(listed(tmp_path)) == ["b"]


# ---- info ------------------------------------------------------------------------------------------------------------


def test_info_of_a_store(whole: Study) -> None:
    found = json.loads(gazepipe("info", whole.root, "--json").stdout)
    assert found["users"] == [f"sim{n:02d}" for n in range(1, 9)]
    assert found["maps"] == 8 * 16
    assert set(found["networks"]) == {"embedding", "refiner", "profile", "universal"}
    assert found["gallery_model"] == found["networks"]["embedding"]["recipe"]
    files = stored(whole)
    assert sum(p["files"] for p in found["parts"].values()) == len(files)
    assert sum(p["bytes"] for p in found["parts"].values()) == sum(p.stat().st_size for p in files)
    text = gazepipe("info", whole.root).stdout
    assert "recordings of 8 users; 128 maps." in text


def test_info_of_each_kind_of_file(whole: Study) -> None:
    kinds: Counter[str] = Counter()
    for path in stored(whole):
        result = gazepipe("info", path)
        if path.suffix in (".h5", ".safetensors", ".json"):
            assert result.exit_code == 0, (path, result.output)
            assert path.name in result.stdout
            kinds[path.suffix] += 1
        elif path.suffix in (".md", ".csv", ".jsonl", ".txt"):
            assert result.exit_code == 0, (path, result.output)
            assert path.read_text().splitlines()[0] in result.stdout
        else:
            assert result.exit_code == 2
            assert "is no file that `info` knows" in result.output
    assert min(kinds.values()) > 3
    found = json.loads(gazepipe("info", whole.psm_file("sim01"), "--json").stdout)
    assert found["arrays"]["maps"] == {"dtype": "float16", "shape": [16, 30, 40]}
    assert found["arrays"]["table/stimulus"]["dtype"] == "text"
    assert found["attributes"]["params"]["sigma_deg"] == 1
    whole.usm_file.write_bytes(b"")
    assert gazepipe("info", whole.usm_file).exit_code == 8
    assert gazepipe("info", whole.root / "nothing.h5").exit_code == 4
