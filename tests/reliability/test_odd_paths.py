"""Studies where files stand that are no usual ones: long and odd names, and folders that nothing may be written to."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from process import Nursery
from survival import told

from gazepipe.cli import main
from gazepipe.integrity import check_store
from gazepipe.study import Study


def test_odd_names(whole: Study, nursery: Nursery, tmp_path: Path) -> None:
    """Spaces, quotes, letters of every script, and a path of more than 260 characters."""
    names = ["a b 'c' \"d\" & $e;", "眼動 ü ñ 👁", "x" * 200 + "/" + "y" * 100]
    for name in names:
        root = tmp_path / "odd" / name
        shutil.copytree(whole.root, root, ignore=shutil.ignore_patterns("store"))
        for line in (["ingest", root, "--jobs", 1], ["build-psm", root], ["verify", root], ["info", root]):
            code, errors = nursery.run(*line)
            assert code in (0, 3), (name, errors)
        assert check_store(Study.open(root)).findings == []
    told("R14", len(names), len(names), "odd and long names")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_no_lock_or_no_permission(whole: Study, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a read-only disk, a folder of somebody else and a disk without locks answer; all may be read."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    before = {p: p.read_bytes() for p in whole.store.rglob("*") if p.is_file()}
    monkeypatch.setattr(fcntl, "flock", refuse)
    if number != errno.EACCES:  # which a lock that somebody holds may answer, too
        result = CliRunner().invoke(main, ["ingest", str(whole.root), "--force", "--jobs", "1"])
        assert result.exit_code == 7, result.output
        assert result.stderr.count("\n") == 1
        assert "cannot be written" in result.stderr
    else:
        result = CliRunner().invoke(main, ["ingest", str(whole.root), "--force", "--jobs", "1"])
        assert result.exit_code == 6, result.output
    assert {p: p.read_bytes() for p in whole.store.rglob("*") if p.is_file()} == before
    assert CliRunner().invoke(main, ["-q", "info", str(whole.root)]).exit_code == 0
    assert CliRunner().invoke(main, ["-q", "verify", str(whole.root)]).exit_code == 0
    told("R14", 1, 1, f"locks that answer {errno.errorcode[number]}")
