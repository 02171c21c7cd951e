"""Recipe digests: what changes them, and what does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gazepipe.errors import InputError, RecordingError
from gazepipe.recipe import Recipe, digest_file, digest_json

BASE = Recipe("ingest", 1, {"a": 1, "b": {"c": 2.5}}, {"x": "00", "y": "11"})


def test_order_of_keys_does_not_matter() -> None:
    same = Recipe("ingest", 1, {"b": {"c": 2.5}, "a": 1}, {"y": "11", "x": "00"})
    assert same.digest == BASE.digest
    assert len(BASE.digest) == 32


@pytest.mark.parametrize(
    "other",
    [
        Recipe("build-psm", 1, BASE.params, BASE.inputs),
        Recipe("ingest", 2, BASE.params, BASE.inputs),
        Recipe("ingest", 1, {"a": 1, "b": {"c": 2.6}}, BASE.inputs),
        Recipe("ingest", 1, {"a": "1", "b": {"c": 2.5}}, BASE.inputs),
        Recipe("ingest", 1, BASE.params, {"x": "11", "y": "00"}),
        Recipe("ingest", 1, BASE.params, {"x": "00"}),
    ],
    ids=["stage", "version", "parameter", "type", "inputs swapped", "input gone"],
)
def test_everything_else_does(other: Recipe) -> None:
    assert other.digest != BASE.digest


def test_order_of_a_list_matters() -> None:
    assert digest_json([1, 2]) != digest_json([2, 1])


def test_digest_of_a_file_is_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(bytes(range(256)) * 5000)
    assert digest_file(file) == hashlib.blake2b(bytes(range(256)) * 5000, digest_size=16).hexdigest()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nothing\.csv: no such file"):
        digest_file(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder"):
        digest_file(tmp_path)
