"""Windows on a screen that exists in memory only (Xvfb), of which the pixels can be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gazepipe.cli import main
from gazepipe.live.presenter import NoWindowError, open_presenter
from gazepipe.readers import read_recording

if TYPE_CHECKING:
    from conftest import SmallStudy

_SHOW = """
import struct, sys, time
from pathlib import Path
import numpy as np
from gazepipe.live.presenter import canvas, open_presenter

def screen():
    "The picture on the screen, as BGR: Xvfb keeps it in the format of xwd."
    data = Path(sys.argv[1]).read_bytes()
    head = struct.unpack(">25I", data[:100])
    width, height, bits, line = head[4], head[5], head[11], head[12]
    assert bits == 32
    pixels = np.frombuffer(data, np.uint8, height * line, head[0] + 12 * head[19])
    return pixels.reshape(height, line // 4, 4)[:, :width, :3]

def check(expected):
    def look():
        seen.append(bool((screen() == expected).all()))
    return look

seen, size = [], (800, 600)
window = open_presenter("auto", size)
assert type(window).__name__ == "TkPresenter"
image, place = Path(sys.argv[2]), (100, 50, 400, 300)
window.image(image, place, check(canvas(size, image, place)))
start = time.monotonic()
assert window.wait(0.3)
assert 0.3 <= time.monotonic() - start < 5
window.target(700, 80, check(canvas(size, target=(700, 80))))
window.blank(check(canvas(size)))
window._root.after(200, lambda: window._root.event_generate("<Escape>"))
assert not window.wait(30)
assert window.wait(0.05)
window._root.after(200, lambda: window._root.event_generate("<Escape>"))
try:
    window.wait(30)
finally:
    window.close()
window.close()
assert seen == [True] * 3, seen
print("shown")
"""


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A screen of 800 × 600 pixels, and the file that has them."""
    pytest.importorskip("tkinter")
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    folder = tmp_path_factory.mktemp("screen")
    read, write = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(write),
        "-screen",
        "0",
        "800x600x24",
        "-nolisten",
        "tcp",
        "-fbdir",
        str(folder),
    ]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as told:
            number = told.readline().strip()
        yield f":{number}", folder / "Xvfb_screen0"
        server.terminate()


def child(display: str, *command: str) -> str:
    environment = {**os.environ, "DISPLAY": display}
    run = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_pictures_are_there_when_it_is_said_so_and_escape_ends(
    display: tuple[str, Path], small_study: SmallStudy
) -> None:
    image = small_study.image("one.png", 200, 150)
    assert child(display[0], "-c", _SHOW, str(display[1]), str(image)) == "shown\n"


def test_a_session_with_nothing_else_installed(display: tuple[str, Path], small_study: SmallStudy) -> None:
    """Images in Tk's window, gaze of the mouse, which another thread asks of Tk."""
    small_study.image("one.png")
    small_study.image("two.png", seed=1)
    options = ["session", "--study", str(small_study.root), "--user", "u1", "--device", "mouse"]
    said = child(display[0], "-m", "gazepipe", *options, "--points", "1", "--seconds", "0.6")
    assert "session: 2 images, " in said
    (folder,) = (small_study.root / "rec").glob("u1_ses-*")
    recording = read_recording(folder, small_study.open().config)
    assert [m.text.split()[0] for m in recording.messages] == ["TARGET", *["IMAGE_ONSET", "IMAGE_OFFSET"] * 2]
    assert set(recording.eyes["cyclopean"].x_px.tolist()) == {400.0}  # where an X server puts the pointer
    times = [m.time_ms for m in recording.messages]
    assert 600 <= times[2] - times[1] < 1500


def test_a_smaller_screen_than_the_studys_is_said(display: tuple[str, Path], small_study: SmallStudy) -> None:
    small_study.image("one.png")
    small_study.configure(screen={"width_px": 1024})
    options = ["session", "--study", str(small_study.root), "--user", "u1", "--device", "fake"]
    command = [sys.executable, "-m", "gazepipe", *options]
    run = subprocess.run(command, env={**os.environ, "DISPLAY": display[0]}, capture_output=True, text=True)
    assert run.returncode == 2
    assert "the screen has 800 × 600 pixels, [screen] says 1024 × 600; correct width_px and height_px." in run.stderr


def test_no_screen_at_all_is_said(small_study: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform in ("win32", "darwin"):
        pytest.skip("there is always a screen")
    monkeypatch.delenv("DISPLAY", raising=False)
    small_study.image("one.png")
    options = ["session", "--study", str(small_study.root), "--user", "u1", "--device", "fake"]
    run = CliRunner().invoke(main, options)
    assert run.exit_code == 2
    assert "Tk cannot open a window (" in run.output
    assert "python3-tk" in run.output
    assert not list((small_study.root / "rec").glob("u1*"))
    with pytest.raises(NoWindowError, match=r"headless build, or there is no display\); use Tk's window"):
        open_presenter("opencv", (800, 600))
