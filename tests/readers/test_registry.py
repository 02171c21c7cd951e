"""Finding the reader, and files that no reader should get."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording, readers

CONFIG = StudyConfig()
ASC = (
    "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED\nSTART\t100 \tLEFT\tSAMPLES\tEVENTS\n"
    "SAMPLES\tGAZE\tLEFT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2\n100\t1.0\t2.0\t3.0\t...\n101\t1.0\t2.0\t3.0\t...\n"
    "END\t102 \tSAMPLES\tEVENTS\tRES\t  36.93\t  37.03\n"
)
CSV = "time_ms,x_px,y_px\n0,1,2\n4,3,4\n"


def test_importing_readers_is_light() -> None:
    code = "import sys, gazepipe.readers as r; r.readers(); print([m for m in ('numba', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_distinct() -> None:
    names = [reader.name for reader in readers()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [("a.asc", ASC, "eyelink-asc"), ("a.txt", ASC, "eyelink-asc"), ("a.csv", CSV, "csv"), ("a.TSV", CSV, "csv")],
)
@pytest.mark.parametrize("packed", [False, True])
def test_content_decides(tmp_path: Path, name: str, text: str, form: str, packed: bool) -> None:
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    recording = read_recording(path, CONFIG)
    assert (recording.format, recording.n_samples, recording.path) == (form, 2, path)


def test_compressed_file_without_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.asc"
    path.write_bytes(gzip.compress(ASC.encode()))
    assert read_recording(path, CONFIG).n_samples == 2


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"b\.asc: there is no such file; check the name"):
        read_recording(tmp_path / "b.asc", CONFIG)


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="this is a folder; expected a recording file"):
        read_recording(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.asc", b"", "the file is empty"),
        ("a.asc.gz", gzip.compress(b"", mtime=0), "the compressed file is empty"),
        ("a.asc.gz", ASC.encode(), r"the name ends in \.gz but the content is not gzip"),
        ("a.asc.gz", gzip.compress(ASC.encode())[:-20], "the compressed data stop too early"),
        ("a.asc.gz", gzip.compress(ASC.encode())[:4] + b"\xff" * 90, "the compressed data are damaged"),
        ("a.csv", b"\0\1\2\3" * 9, "the content is binary"),
        ("a.xyz", CSV.encode(), "the format is not known .it begins with 'time_ms,x_px,y_px'"),
    ],
)
def test_files_that_are_no_recording(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message) as caught:
        read_recording(path, CONFIG)
    assert str(path) in str(caught.value)


def test_gzip_cut_beyond_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.asc.gz"
    lines = "".join(f"{t}\t{t % 977}.{t % 7}\t2.0\t3.0\t...\n" for t in range(101, 30000))
    data = gzip.compress((ASC[: ASC.index("100\t1.0")] + lines).encode())
    for cut in (len(data) * 3 // 4, len(data) - 3):
        path.write_bytes(data[:cut])
        with pytest.raises(RecordingError, match="stop too early"):
            read_recording(path, CONFIG)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions")
def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.asc"
    path.write_text(ASC)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RecordingError, match=r"cannot be read \(Permission denied\)"):
        read_recording(path, CONFIG)
