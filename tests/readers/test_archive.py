"""Zip archives: every reader reads from one what it reads from the unpacked files; traps are refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.discovery import plan
from gazepipe.errors import RecordingError
from gazepipe.ingest import ingest
from gazepipe.readers import archive, find_reader, read_recording, recordings_in_archive
from gazepipe.recording import Recording

CONFIG = StudyConfig()
T0 = 1_726_571_209_000_000_007
CSV = "time_ms,x_px,y_px\n" + "".join(f"{4 * k},{k},2\n" for k in range(50))
ASC = (
    "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED\nSTART\t100 \tLEFT\tSAMPLES\tEVENTS\n"
    "SAMPLES\tGAZE\tLEFT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2\n100\t1.0\t2.0\t3.0\t...\n101\t1.0\t2.0\t3.0\t...\n"
    "END\t102 \tSAMPLES\tEVENTS\tRES\t  36.93\t  37.03\n"
)
GAZE = "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn\n" + "".join(
    f"s,r,{T0 + 5_000_000 * k},{800 + k},600.5,1.0\n" for k in range(40)
)
EVENTS = f"recording id,timestamp [ns],name,type\nr,{T0 + 5_000_000},recording.begin,recording\n"
Members = Mapping[str, str | bytes]


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Temporary folders in a place of their own, which must be empty afterwards."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def pack(path: Path, members: Members, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def same(found: Recording, expected: Recording) -> None:
    assert (found.format, found.display_px, list(found.messages)) == (
        expected.format,
        expected.display_px,
        list(expected.messages),
    )
    assert (found.meta, found.warnings) == (expected.meta, expected.warnings)
    np.testing.assert_array_equal(found.time_ms, expected.time_ms)
    for name, eye in expected.eyes.items():
        np.testing.assert_array_equal(found.eyes[name].x_px, eye.x_px)
        np.testing.assert_array_equal(found.eyes[name].pupil, eye.pupil)
    for name, column in expected.native_events.items():
        np.testing.assert_array_equal(found.native_events[name], column)


@pytest.mark.parametrize("name", ["P01.asc", "deep/er/P01.asc", "P01.csv", "P01.asc.gz", "P01.csv.gz"])
def test_one_file(tmp_path: Path, name: str) -> None:
    content = (ASC if ".asc" in name else CSV).encode()
    content = gzip.compress(content) if name.endswith(".gz") else content
    plain = tmp_path / Path(name).name
    plain.write_bytes(content)
    path = pack(tmp_path / "P01.zip", {name: content, "README.txt": "read me", "__MACOSX/._P01.asc": "x"})
    for place in (path, path / name):
        found = read_recording(place, CONFIG)
        assert found.path == place
        same(found, read_recording(plain, CONFIG))
        reader = find_reader(place)
        assert reader is not None
        assert reader.name == found.format


@pytest.mark.parametrize("folder", ["", "2024-09-17-171c4f52/", "Timeseries Data/2024-09-17-171c4f52/"])
def test_one_folder(tmp_path: Path, folder: str) -> None:
    members = {
        "gaze.csv": GAZE,
        "events.csv": EVENTS,
        "info.json": '{"wearer_name": "Ann"}',
        "Neon.mp4": bytes(300_000),
    }
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, text in members.items():
        (plain / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    inside: Members = {folder + name: text for name, text in members.items()}
    path = pack(tmp_path / "P01.zip", inside | ({"enrichment_info.txt": "Version 2"} if folder else {}))
    assert recordings_in_archive(path) == [folder or "./"]
    found = read_recording(path, CONFIG)
    same(found, read_recording(plain, CONFIG))
    assert found.messages[0].text == "recording.begin"  # of a file beside the one that was sniffed


def test_whole_files_are_read_where_the_reader_needs_them(tmp_path: Path) -> None:
    """Larger than the head that finding the reader takes."""
    rows = "".join(f"s,r,{T0 + 5_000_000 * k},{800 + k % 97},600.5,1.0\n" for k in range(20_000))
    path = pack(tmp_path / "a.zip", {"rec/gaze.csv": GAZE.split("\n", 1)[0] + "\n" + rows, "rec/events.csv": EVENTS})
    assert read_recording(path, CONFIG).n_samples == 20_000


def test_several_recordings(tmp_path: Path) -> None:
    members = {
        f"Timeseries/{p}/{n}": t for p in ("P01", "P02") for n, t in (("gaze.csv", GAZE), ("events.csv", EVENTS))
    }
    path = pack(tmp_path / "cloud.zip", members | {"Timeseries/enrichment_info.txt": "x", "P03.asc": ASC})
    assert recordings_in_archive(path) == ["P03.asc", "Timeseries/P01/", "Timeseries/P02/"]
    assert read_recording(path / "P03.asc", CONFIG).format == "eyelink-asc"
    assert read_recording(path / "Timeseries" / "P02", CONFIG).format == "neon-timeseries"
    with pytest.raises(RecordingError, match=r"3 recordings in the archive \(P03.asc, .*such as .*zip/P03"):
        read_recording(path, CONFIG)
    with pytest.raises(RecordingError, match=r"cloud\.zip/P09: there is no such file in the archive"):
        read_recording(path / "P09", CONFIG)


def test_bids_sidecars_of_folders_above(tmp_path: Path) -> None:
    sidecar = {
        "PhysioType": "eyetrack",
        "SamplingFrequency": 500,
        "StartTime": 0,
        "Columns": ["timestamp", "x_coordinate", "y_coordinate"],
        "timestamp": {"Units": "ms"},
        "RecordedEye": "left",
        "SampleCoordinateSystem": "gaze-on-screen",
        "x_coordinate": {"Units": "pixel"},
        "y_coordinate": {"Units": "pixel"},
    }
    rows = gzip.compress("".join(f"{2 * k}\t{k}\t7\n" for k in range(30)).encode())
    events = "onset\tduration\tstim_file\n0.01\t0.02\tcat.png\n"
    members: dict[str, str | bytes] = {
        "dataset_description.json": '{"Name": "x", "BIDSVersion": "1.11.0"}',
        "task-view_physio.json": json.dumps(sidecar),
        "participants.tsv": "participant_id\n",
    }
    for user in ("01", "02"):
        stem = f"sub-{user}/beh/sub-{user}_task-view"
        members |= {f"{stem}_recording-eye1_physio.tsv.gz": rows, f"{stem}_events.tsv": events}
    path = pack(tmp_path / "bids.zip", members)
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "plain")
    found = recordings_in_archive(path)
    assert found == [f"sub-{user}/beh/sub-{user}_task-view_recording-eye1_physio.tsv.gz" for user in ("01", "02")]
    for name in found:
        recording = read_recording(path / name, CONFIG)
        assert (recording.format, len(recording.messages)) == ("bids", 1)
        same(recording, read_recording(tmp_path / "plain" / name, CONFIG))


@pytest.mark.parametrize(
    "name",
    [
        "neon_native/demo_recording",
        "neon_timeseries/2024-09-17_11-06-49-171c4f52",
        "tobii_sdk/participant1/1.tsv",
        "eyelink_asc/mono250.asc.gz",
        "pupil_core/10_merge",
    ],
)
def test_real_recordings(data_dir: Path, tmp_path: Path, name: str) -> None:
    source = data_dir / "raw" / name
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in [source] if source.is_file() else sorted(source.rglob("*")):
            if member.is_file() and member.suffix != ".mp4":
                file.write(member, member.relative_to(source.parent).as_posix())
    same(read_recording(path, CONFIG), read_recording(source, CONFIG))


def test_errors_name_the_place_in_the_archive(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"in/P01.asc": ASC.replace("101\t1.0", "101\tq")})
    with pytest.raises(RecordingError) as caught:
        read_recording(path, CONFIG)
    assert str(caught.value).startswith(f"{path}{os.sep}in{os.sep}P01.asc, line 5: 'q' stands where a number")


# ---- ingest ----------------------------------------------------------------------------------------------------------


def study_csv(seed: int) -> str:
    rng = np.random.default_rng(seed)
    rows = [f"{4 * k},{400 + rng.normal():.2f},{300 + rng.normal():.2f},1,cat.png\n" for k in range(400)]
    return "time_ms,x_px,y_px,trial,image\n" + "".join(rows)


def test_ingest_plans_a_job_for_each_recording(small_study: Any) -> None:
    small_study.configure(ingest={"include": ("*.csv", "*.zip"), "exclude": ("notes*",)})
    rec = small_study.root / "rec"
    pack(rec / "P01.zip", {"data.csv": study_csv(1)})
    pack(rec / "more.zip", {"P02.csv": study_csv(2), "x/P03_ses-2.csv": study_csv(3), "notes.csv": study_csv(9)})
    pack(rec / "bad.zip", {"../P04.csv": study_csv(4)})
    study = small_study.open()
    jobs, failures = plan(study)
    assert not failures
    assert {(j.user, j.session, j.source.relative_to(rec).as_posix()) for j in jobs} == {
        ("P01", "", "P01.zip"),
        ("P02", "", "more.zip/P02.csv"),
        ("P03", "ses-2", "more.zip/x/P03_ses-2.csv"),
        ("bad", "", "bad.zip"),
    }
    report = ingest(study)
    assert report.written == ["P01", "P02", "P03_ses-2"]
    assert ["would lead out of it" in f.message for f in report.failures] == [True]
    again = ingest(study)
    assert (again.written, again.current) == ([], ["P01", "P02", "P03_ses-2"])
    pack(rec / "more.zip", {"P02.csv": study_csv(2), "x/P03_ses-2.csv": study_csv(5), "notes.csv": study_csv(9)})
    assert ingest(study).written == ["P03_ses-2"]  # the other one in the archive is as it was


def test_ingest_gives_the_same_from_an_archive(small_study: Any) -> None:
    small_study.configure(ingest={"include": ("*.csv", "*.zip")})
    rec = small_study.root / "rec"
    pack(rec / "P01.zip", {"P01.csv": study_csv(1)})
    study = small_study.open()
    ingest(study)
    packed = study.known_recordings()["P01"]["content"]
    (rec / "P01.zip").unlink()
    (rec / "P01.csv").write_text(study_csv(1))
    ingest(study)
    assert study.known_recordings()["P01"]["content"] == packed


# ---- traps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../P01.asc", "/etc/P01.asc", "a/../../P01.asc", "a//P01.asc", "..\\P01.asc", "a/./P01.asc", "P\x0701.asc"]
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / "a.zip", {name: ASC})
    before = sorted(tmp_path.parent.iterdir())
    with pytest.raises(RecordingError, match="would lead out of it; expected plain names"):
        read_recording(path, CONFIG)
    assert sorted(tmp_path.parent.iterdir()) == before


def test_links(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("P01.asc")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(RecordingError, match=r"'P01\.asc' in the archive is a link"):
        read_recording(path, CONFIG)


def test_bomb_by_its_own_account(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"P01.asc": ASC, "zeros.csv": bytes(3 << 20)})
    with pytest.raises(RecordingError, match=r"'zeros.csv' in the archive is more than 200 times as large"):
        read_recording(path, CONFIG)


def test_bomb_that_understates_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter stops it while inflating, whatever the table of contents says."""
    text = ASC.replace("101\t1.0", "".join(f"{t}\t1.0\t2.0\t3.0\t...\n" for t in range(101, 90_000)) + "90000\t1.0")
    path = pack(tmp_path / "a.zip", {"P01.asc": text})
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(archive, "_checked", lambda path, members: {m.filename: m for m in members})
    with pytest.raises(RecordingError, match="times as large as its compressed data"):
        read_recording(path, CONFIG)
    monkeypatch.setattr(archive, "MAX_BYTES", 10**9)
    assert read_recording(path, CONFIG).n_samples == 89_901
    monkeypatch.setattr(archive, "MAX_RATIO", 2)
    with pytest.raises(RecordingError, match="more than 2 times as large"):
        read_recording(path, CONFIG)


def test_small_files_of_equal_bytes_are_no_bombs(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"P01.asc": ASC, "worn.raw": b"\xff" * 900_000})
    assert read_recording(path, CONFIG).n_samples == 2


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a.zip", {"P01.asc": ASC, "b.raw": os.urandom(2000)})
    monkeypatch.setattr(archive, "MAX_BYTES", 2000)
    with pytest.raises(RecordingError, match="would unpack to more than"):
        read_recording(path, CONFIG)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    with pytest.raises(RecordingError, match="more than 1 files in the archive"):
        read_recording(path, CONFIG)
    monkeypatch.setattr(archive, "_TABLE_BYTES", 60)
    with pytest.raises(RecordingError, match="files in the archive"):
        read_recording(path, CONFIG)


def test_encrypted(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"P01.asc": ASC})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the table of contents
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"'P01\.asc' in the archive is encrypted; unpack it with its password"):
        read_recording(path, CONFIG)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, method: int) -> None:
    with pytest.raises(RecordingError, match=f"compressed by method {method}; expected deflate"):
        read_recording(pack(tmp_path / "a.zip", {"P01.asc": ASC}, method), CONFIG)


def test_one_damaged_file_does_not_hide_the_others(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"P01.csv": CSV, "P02.csv": CSV.replace(",2", ",3")}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"40,10,3", b"40,19,3"))
    assert recordings_in_archive(path) == ["P01.csv", "P02.csv"]
    assert read_recording(path / "P01.csv", CONFIG).n_samples == 50
    with pytest.raises(RecordingError, match=r"'P02\.csv' in the archive is damaged \(Bad CRC-32"):
        read_recording(path / "P02.csv", CONFIG)


def test_archive_in_an_archive(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("P01.asc", ASC)
    with pytest.raises(RecordingError, match=r"'P01\.ZIP' in the archive is an archive itself; unpack the outer one"):
        read_recording(pack(tmp_path / "a.zip", {"P01.ZIP": inner.getvalue()}), CONFIG)


def test_same_name_twice(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"'p01\.asc' in the archive is there twice"):
        read_recording(pack(tmp_path / "a.zip", {"P01.asc": ASC, "p01.asc": ASC}), CONFIG)


@pytest.mark.parametrize("members", [{}, {"readme.txt": "a,b\n1,2\n"}, {"empty.md": ""}])
def test_no_recording(tmp_path: Path, members: Members) -> None:
    with pytest.raises(RecordingError, match="there is no recording in the archive"):
        read_recording(pack(tmp_path / "a.zip", members), CONFIG)


def test_damaged_archives(tmp_path: Path) -> None:
    """Cut at every 64th part, and 300 copies with changed bytes: one sentence, or what is in it."""
    whole = pack(tmp_path / "a.zip", {"in/P01.csv": CSV, "in/P02.asc": ASC}).read_bytes()
    rng = np.random.default_rng(3)
    copies = [whole[: len(whole) * k // 64] for k in range(1, 64)]
    for k in range(300):
        data = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(0, data.size, 1 + k % 5)
        data[where] = rng.integers(0, 256, where.size)
        copies.append(data.tobytes())
    path, read, sentences = tmp_path / "b.zip", 0, list[str]()
    for data in copies:
        path.write_bytes(data)
        try:
            read += read_recording(path / "in" / "P01.csv", CONFIG).n_samples == 50
        except RecordingError as error:
            sentences.append(str(error))
    assert 0 < read < 300
    assert not [text for text in sentences if "gazepipe-zip" in text]
