"""Fetching data sets, from a server on this computer: licences, digests, what is up to date, and what goes wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.io import savemat

from gazepipe.cli import main
from gazepipe.datasets import load_dataset
from gazepipe.datasets.sources import BY_HAND, SOURCES
from gazepipe.fetch import LOCK

pytest.importorskip("pooch", reason="needs the extra `fetch`")


def gazepipe(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], **options)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


@cache  # the file says when it was made
def fixations(*images: str) -> bytes:
    """Two people who look at each image three times, in the layout of OSIE and NUS crowd."""
    cells = np.empty((len(images), 1), object)
    for k, image in enumerate(images):
        people = np.empty((2, 1), object)
        for u in range(2):
            x, y = np.array([[20.0, 60 + 10 * u, 100], [30.0, 50, 70]])
            people[u, 0] = {"fix_x": x, "fix_y": y, "fix_duration": np.array([200.0, 250, 300])}
        cells[k, 0] = {"img": image, "subjects": people}
    file = io.BytesIO()
    savemat(file, {"fixations": cells})
    return file.getvalue()


def archive(**changes: bytes | None) -> bytes:
    """A repository as its host packs it, with more in it than is needed."""
    names = [f"{k:03d}.jpg" for k in (1, 2)]
    files: dict[str, bytes | None] = {
        "LICENSE": b"MIT",
        "README.md": b"read me",
        "src/demo.m": b"% code",
        "lib/tools.zip": b"PK\x03\x04",  # archives in archives are refused where they are wanted
        "data/eye/fixations.mat": fixations(*names),
        "data/labels.mat": b"labels",
        **{f"data/stimuli/{name}": picture(k) for k, name in enumerate(names)},
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in (files | changes).items():
            if data is not None:
                packed.writestr(f"saliency-in-crowd-master/{name}", data)
    return file.getvalue()


class Mirror:
    """A web server on this computer, which gives what it is told to and counts."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.code, self.wait_s, self.missing = 200, 0.0, 0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                data = mirror.files.get(self.path, b"")
                time.sleep(mirror.wait_s)
                self.send_response(mirror.code if data or mirror.code != 200 else 404)
                self.send_header("Content-Length", str(len(data) + mirror.missing))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/gaze/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = Mirror()
    made.files["/gaze/crowd.zip"] = archive()
    monkeypatch.setenv("GAZEPIPE_MIRROR", made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_data_set_is_fetched_once_and_imported(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "crowd"
    done = gazepipe("fetch", "crowd", folder, "--accept-licence")
    assert done.exit_code == 0, done.output
    assert "MIT License, Copyright (c) 2014 Ming Jiang" in done.stderr
    assert "cite      Jiang, M., Xu, J., & Zhao, Q. (2014)" in done.stderr
    assert "no digests of crowd were known" in done.stdout
    assert f"4 files of crowd fetched in {folder}; next: `gazepipe import crowd {folder}`" in done.stdout
    assert sorted(files_below(folder)) == sorted(
        ["LICENSE", "eye/fixations.mat", LOCK, "stimuli/001.jpg", "stimuli/002.jpg"]
    )
    kept = json.loads((folder / LOCK).read_text())
    assert kept["files"]["LICENSE"] == hashlib.sha256(b"MIT").hexdigest()
    assert kept["archive"]["sha256"] == hashlib.sha256(mirror.files["/gaze/crowd.zip"]).hexdigest()
    # Again: nothing to ask, neither for the licence nor the server.
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    again = gazepipe("fetch", "crowd", folder)
    assert (again.exit_code, "up to date" in again.stdout, mirror.asked) == (0, True, ["/gaze/crowd.zip"])
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    study = tmp_path / "study"
    said = gazepipe("import", "crowd", folder, "--study", study, "--json")
    assert json.loads(said.stdout)["recordings"] == 2


def test_only_what_is_missing_is_put_into_place(mirror: Mirror, tmp_path: Path) -> None:
    ask = ("fetch", "crowd", tmp_path, "--accept-licence", "--json")
    first = json.loads(gazepipe(*ask).stdout)
    assert (first["up_to_date"], len(first["files"])) == (False, 4)
    (tmp_path / "stimuli" / "001.jpg").write_bytes(b"damaged")
    (tmp_path / "mine.txt").write_text("mine")
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name in ("fixations.mat", "002.jpg")}
    second = json.loads(gazepipe(*ask).stdout)
    assert second["files"] == first["files"]
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (
        hashlib.sha256((tmp_path / "stimuli" / "001.jpg").read_bytes()).hexdigest()
        == (first["files"]["stimuli/001.jpg"])
    )


def test_what_is_no_longer_the_same_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    assert gazepipe("fetch", "crowd", tmp_path, "--accept-licence").exit_code == 0
    (tmp_path / "LICENSE").unlink()
    before = files_below(tmp_path)
    mirror.files["/gaze/crowd.zip"] = archive(**{"data/stimuli/002.jpg": picture(9)})
    done = gazepipe("fetch", "crowd", tmp_path, "--accept-licence")
    assert done.exit_code == 3
    assert "crowd.zip: stimuli/002.jpg is not what it was (SHA-256" in done.stderr
    assert files_below(tmp_path) == before
    # Digests that gazepipe has from the start: this archive is not OSIE's.
    mirror.files["/gaze/osie.zip"] = archive()
    done = gazepipe("fetch", "osie", tmp_path / "osie", "--accept-licence")
    assert done.exit_code == 3
    assert "osie.zip: has no stimuli/1001.jpg; expected the archive of https://github.com/NUS-VIP/" in done.stderr
    assert not (tmp_path / "osie").exists()


def test_the_licence_must_be_accepted(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "crowd"
    done = gazepipe("fetch", "crowd", folder)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        "gazepipe: crowd: its licence is shown above; accept it with --accept-licence. Nothing was fetched."
    )
    monkeypatch.setattr("gazepipe.cli.fetching._can_ask", lambda: True)
    refused = gazepipe("fetch", "crowd", folder, input="n\n")
    assert (refused.exit_code, mirror.asked, folder.exists()) == (2, [], False)
    assert gazepipe("fetch", "crowd", folder, input="y\n").exit_code == 0
    assert (folder / "LICENSE").is_file()


def test_a_plan_asks_no_server_and_writes_nothing(mirror: Mirror, tmp_path: Path) -> None:
    done = gazepipe("fetch", "osie", tmp_path / "osie", "--dry-run", "--json")
    assert json.loads(done.stdout)["summary"]["made"] == 702
    assert gazepipe("fetch", "crowd", tmp_path / "crowd", "--dry-run").exit_code == 0
    assert (mirror.asked, list(tmp_path.iterdir())) == ([], [])
    assert gazepipe("fetch", "crowd", tmp_path, "--accept-licence").exit_code == 0
    (tmp_path / "LICENSE").write_text("another")
    before = files_below(tmp_path)
    found = json.loads(gazepipe("fetch", "crowd", tmp_path, "--dry-run", "--json").stdout)
    assert found["summary"] == {"made": 1, "up_to_date": 3, "removed": 0, "impossible": 0}
    assert files_below(tmp_path) == before


def failed(folder: Path, code: int, *options: object) -> str:
    """Fetch, which fails with one sentence and leaves nothing."""
    done = gazepipe("fetch", "crowd", folder, "--accept-licence", *options)
    assert done.exit_code == code, done.output
    assert not folder.exists()
    *licence, sentence = done.stderr.splitlines()
    assert len(licence) == 5
    assert sentence.startswith("gazepipe: ")
    return sentence


def test_servers_that_do_not_give_it(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "crowd"
    for code, text in ((404, "is not there any more (HTTP 404)"), (429, "is refused for now (HTTP 429)")):
        mirror.code = code
        assert text in failed(folder, 10)
    mirror.code, mirror.missing = 200, 1000
    assert "the download broke off; run again" in failed(folder, 10)
    mirror.missing, mirror.wait_s = 0, 1.0
    monkeypatch.setattr("gazepipe.fetch.TIMEOUT_S", (1.0, 0.2))
    assert "no answer within" in failed(folder, 10)
    mirror.wait_s = 0
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    sentence = failed(folder, 10, "--mirror", nobody)
    assert f"{nobody}/crowd.zip: cannot be reached (Connection refused); check the network" in sentence
    assert "give it with --from crowd.zip" in sentence
    monkeypatch.setenv("HTTP_PROXY", nobody)
    monkeypatch.setenv("NO_PROXY", "")
    assert "the proxy cannot be used; check HTTPS_PROXY" in failed(folder, 10)
    done = gazepipe("fetch", "crowd", folder, "--accept-licence", "--mirror", "ftp://x")
    assert (done.exit_code, "no web address" in done.stderr) == (2, True)


def test_archives_that_are_none_or_are_traps(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "crowd"
    mirror.files["/gaze/crowd.zip"] = b"<html>sign in</html>"
    assert "expected a complete zip archive" in failed(folder, 3)
    mirror.files["/gaze/crowd.zip"] = archive()[:-400]
    assert "expected a complete zip archive" in failed(folder, 3)
    mirror.files["/gaze/crowd.zip"] = archive(**{"data/eye/fixations.mat": None})
    assert "has no eye/fixations.mat" in failed(folder, 3)
    mirror.files["/gaze/crowd.zip"] = archive(**{"data/stimuli/bomb.jpg": bytes(30 << 20)})
    assert "times as large as its compressed data" in failed(folder, 3)
    # A name that leads out is no file that is wanted.
    mirror.files["/gaze/crowd.zip"] = archive(**{"../../data/stimuli/../../../out.jpg": b"x"})
    assert gazepipe("fetch", "crowd", folder, "--accept-licence").exit_code == 0
    assert not list(tmp_path.rglob("out.jpg"))


def test_downloads_without_end_and_disks_without_room(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "crowd"
    monkeypatch.setattr("gazepipe.fetch._SLACK", 1e-9)
    assert "much larger than 150 MB; it was stopped" in failed(folder, 10)
    usage = type("usage", (), {"free": 1_000_000})
    monkeypatch.setattr("gazepipe.fetch.shutil.disk_usage", lambda _: usage)
    assert "1 MB are free, about 300 MB are needed" in failed(folder, 7)


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files")
def test_a_disk_that_fills_up_meanwhile(mirror: Mirror, tmp_path: Path) -> None:
    import resource

    command = [sys.executable, "-m", "gazepipe", "fetch", "crowd", str(tmp_path / "crowd"), "--accept-licence"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
    )
    assert done.returncode == 7, done.stderr
    assert "File too large; nothing stored before was changed" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "crowd").exists()


def test_an_archive_that_was_brought_along(mirror: Mirror, tmp_path: Path) -> None:
    brought = tmp_path / "stick" / "crowd.zip"
    brought.parent.mkdir()
    brought.write_bytes(archive())
    done = gazepipe("fetch", "crowd", tmp_path / "crowd", "--accept-licence", "--from", brought)
    assert done.exit_code == 0, done.output
    assert mirror.asked == []
    assert len(load_dataset("crowd", tmp_path / "crowd").fixations) == 12
    assert brought.read_bytes() == archive()
    missing = gazepipe("fetch", "crowd", tmp_path / "b", "--accept-licence", "--from", tmp_path / "none.zip")
    assert (missing.exit_code, "no such file" in missing.stderr, (tmp_path / "b").exists()) == (2, True, False)


def test_without_pooch(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert failed(tmp_path / "crowd", 2).endswith("run `pip install gazepipe[fetch]`.")


def test_data_sets_that_must_be_asked_for(tmp_path: Path) -> None:
    for name in BY_HAND:
        done = gazepipe("fetch", name, tmp_path)
        assert done.exit_code == 4
        assert f"Then: {BY_HAND[name].import_command.format(folder=tmp_path)}" in done.stdout
    (tmp_path / "recordings").mkdir()
    (tmp_path / "stimuli").mkdir()
    for k in range(101):
        (tmp_path / "stimuli" / f"img{k:03d}.jpg").write_bytes(b"")
        if k < 29:
            (tmp_path / "recordings" / f"{k}.csv.gz").write_bytes(b"")
    done = gazepipe("fetch", "doves", tmp_path, "--json")
    assert (done.exit_code, json.loads(done.stdout)["complete"]) == (0, True)


def test_all_are_listed(tmp_path: Path) -> None:
    listed = json.loads(gazepipe("fetch", "--json").stdout)
    assert [row["dataset"] for row in listed] == [*SOURCES, *BY_HAND]
    assert all(name in gazepipe("fetch").stdout for name in SOURCES)
    wrong = gazepipe("fetch", "mit1003")
    assert wrong.exit_code == 2
    assert "expected one of osie, crowd, ps, doves, id" in wrong.stderr


def test_osie_itself(mirror: Mirror, tmp_path: Path, data_dir: Path) -> None:
    """The real files, packed as their host packs them: the digests in gazepipe are theirs, and they are imported."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        for path in sorted((data_dir / "osie").rglob("*")):
            place = path.relative_to(data_dir / "osie").as_posix()
            if path.is_file():
                below = "" if place == "LICENSE" else "data/"
                out.write(path, f"predicting-human-gaze-beyond-pixels-master/{below}{place}")
    mirror.files["/gaze/osie.zip"] = packed.getvalue()
    done = gazepipe("fetch", "osie", tmp_path / "osie", "--accept-licence")
    assert done.exit_code == 0, done.output
    assert "no digests" not in done.stdout
    found = load_dataset("osie", tmp_path / "osie")
    assert len(found.image_paths) == 700
    assert found.fixations["user"].nunique() == 15
