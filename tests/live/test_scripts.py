"""The session command and the scripts of docs/live.md."""

from __future__ import annotations

import gc
import os
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from fake_neon import FakeNeon, Faults, Trace

from gazepipe.cli import main
from gazepipe.errors import ConfigError, StorageError
from gazepipe.live import neon
from gazepipe.live.devices import open_device
from gazepipe.live.presenter import OpenCVPresenter, SilentPresenter, canvas
from gazepipe.live.recording import RECORD
from gazepipe.live.session import LabSession
from gazepipe.live.simulated import SimulatedSource
from gazepipe.readers import read_recording

if TYPE_CHECKING:
    from conftest import SmallStudy

PAGE = Path(__file__).resolve().parents[2] / "docs" / "live.md"


def gazepipe(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_a_session_by_command(small_study: SmallStudy) -> None:
    for name in ("one.png", "two.png", "three.png"):
        small_study.image(name)
    options = [
        "--device",
        "fake",
        "--screen",
        "none",
        "--user",
        "u1",
        "--points",
        "1",
        "--seconds",
        "0.3",
        "--count",
        "2",
    ]
    result = gazepipe("session", "--study", small_study.root, *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"rate +ok", result.output)
    assert re.search(r"validation: accuracy [\d.]+°", result.output)
    assert "session: 2 images, " in result.output
    (folder,) = (small_study.root / "rec").glob("u1_ses-*")
    recording = read_recording(folder, small_study.open().config)
    texts = [m.text.split()[0] for m in recording.messages]
    assert texts == ["TARGET", *["IMAGE_ONSET", "IMAGE_OFFSET"] * 2]
    assert recording.meta["validations"][0]["error_avg_deg"] > 0
    assert gazepipe("ingest", small_study.root).exit_code == 0


def test_what_a_session_cannot_do_is_said(small_study: SmallStudy) -> None:
    study = ["session", "--study", small_study.root, "--user", "u1"]
    assert "no images there" in gazepipe(*study, "--device", "fake").output
    small_study.image("a b.png")
    result = gazepipe(*study, "--device", "fake", "--screen", "none", "--points", "0")
    assert result.exit_code == 2
    assert "the name has a space" in result.output
    (small_study.root / "img" / "a b.png").rename(small_study.root / "img" / "ab.png")
    (small_study.root / "img" / "broken.png").write_bytes(b"no picture")
    result = gazepipe(*study, "--device", "fake", "--screen", "none", "--points", "0")
    assert result.exit_code == 3
    assert "broken.png" in result.output
    (small_study.root / "img" / "broken.png").unlink()
    assert not list(small_study.root.rglob("u1_ses-*"))  # it is said before anything is recorded
    assert "needs a recording; name it with --replay" in gazepipe(*study, "--device", "replay").output
    with pytest.raises(ConfigError, match="device 'nose' is not known"):
        open_device("nose", small_study.open())


def test_one_person_has_one_spelling_before_anything_is_ingested(small_study: SmallStudy) -> None:
    small_study.image("one.png")
    options = ["--study", small_study.root, "--device", "fake", "--screen", "none", "--points", "0", "--seconds", "0.2"]
    assert gazepipe("session", "--user", "p01", *options).exit_code == 0
    result = gazepipe("session", "--user", "P01", *options)
    assert result.exit_code == 2
    assert "user 'P01': the study already has recordings of 'p01'" in result.output
    study = small_study.open()
    here = study.config.screen.screen()
    first, second = (LabSession(study, user="p01", source=SimulatedSource(here), session="ses-1") for _ in range(2))
    with first, pytest.raises(StorageError, match=r"a session of this name is there already"):
        second.__enter__()


def test_what_was_lost_is_said_when_it_was_and_at_the_end(small_study: SmallStudy) -> None:
    for k in range(4):
        small_study.image(f"{k}.png")
    options = ["--study", small_study.root, "--screen", "none", "--points", "0", "--user", "u1"]
    short = small_study.recording("short.csv", [("0.png", [(400.0, 300.0, 3500.0)])])
    result = gazepipe("session", *options, "--device", "replay", "--replay", short, "--seconds", "0.8")
    assert result.exit_code == 0, result.output
    assert re.search(r"note: the recording that was replayed was over before \d of 4 images", result.output)
    with FakeNeon(Trace.steady(20), Faults(disconnect=(2.6, 60))) as phone:
        device = ["--device", "neon", "--address", phone.address, "--count", "2", "--seconds", "0.8", "--force"]
        result = gazepipe("session", *options, *device)
    assert result.exit_code == 0, result.output
    assert re.search(r"^\d.png: only \d+% of its gaze came", result.output, re.M)
    assert "note: the connection was lost once, and was away at the end." in result.output
    assert "note: little gaze for" in result.output


def test_a_session_that_is_broken_off_tells_where_it_is(
    small_study: SmallStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C while the second image is there; by a check that fails."""
    for k in range(3):
        small_study.image(f"{k}.png")
    waits = iter([True, True, False])

    def wait(self: SilentPresenter, seconds: float) -> bool:
        if not next(waits):
            raise KeyboardInterrupt
        return True

    options = ["--study", small_study.root, "--screen", "none", "--points", "0", "--user", "u1", "--device", "fake"]
    with monkeypatch.context() as patched:
        patched.setattr(SilentPresenter, "wait", wait)
        result = gazepipe("session", *options)
    assert result.exit_code == 130
    said = re.search(r"gazepipe: interrupted; 1 image, \d+ samples, in (.*)\.$", result.output, re.M)
    assert said
    recording = read_recording(Path(said[1]), small_study.open().config)
    assert [m.text.split()[0] for m in recording.messages] == ["IMAGE_ONSET", "IMAGE_OFFSET"] * 2
    monkeypatch.setattr("gazepipe.live.checks.DISK_GB", 1e9)
    result = gazepipe("session", *options)
    assert result.exit_code == 5
    assert re.search(r"session: ended early; 0 images, \d+ samples, in ", result.output)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_said_in_one_sentence(small_study: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full while the first image is there, which then has no end in the log."""
    small_study.image("one.png")
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) % RECORD.itemsize == 0 and os.fstat(file).st_size > 550 * RECORD.itemsize:
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", full)
    options = ["--study", small_study.root, "--screen", "none", "--points", "0", "--user", "u1", "--device", "fake"]
    result = gazepipe("session", *options, "--seconds", "3")
    monkeypatch.undo()
    gc.collect()
    assert result.exit_code == 7
    assert re.search(r"session: ended early; 0 images, \d+ samples, in .*\n.*No space left on device", result.output)


def test_without_windows_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    def refuse(*_: object) -> None:
        raise cv2.error

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(ConfigError, match=r"headless build.*pip install opencv-python"):
        OpenCVPresenter((800, 600))


def test_images_stand_where_they_are_said_to(small_study: SmallStudy) -> None:
    path = small_study.image("one.png", 200, 100)
    picture = canvas((800, 600), path, (300, 250, 200, 100))
    assert (picture[:250] == 128).all()
    assert (picture[:, :300] == 128).all()
    assert picture[250:350, 300:500].std() > 10
    outside = canvas((800, 600), path, (-100, 550, 200, 100))
    np.testing.assert_array_equal(outside[550:, :100], canvas((200, 100), path, (0, 0, 200, 100))[:50, 100:])


def test_the_psychopy_script_runs(small_study: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a window that does what PsychoPy documents: calls are made when it flips.

    The scene camera sees the screen and nothing else, without distortion, twice as large.
    """
    import cv2
    from fake_scene import SceneVideo, calibration

    from gazepipe.markers.drawing import frame
    from gazepipe.markers.layout import MarkerScreen

    calls: list[Callable[[], object]] = []
    flips: list[list[object]] = []
    drawn: list[tuple[str, object, object]] = []

    class Window:
        def __init__(self, **_: object) -> None: ...

        def callOnFlip(self, call: Callable[[], object]) -> None:
            calls.append(call)

        def flip(self) -> None:
            flips.append([call() for call in calls])
            calls.clear()

        def close(self) -> None: ...

    class ImageStim:
        def __init__(self, win: Window, image: str = "", size: object = None) -> None:
            self.image, self.size, self.pos = image, size, (0.0, 0.0)

        def draw(self) -> None:
            assert Path(self.image).is_file()
            drawn.append((Path(self.image).name, self.size, self.pos))

    import time

    psychopy = types.ModuleType("psychopy")
    psychopy.core = types.SimpleNamespace(wait=lambda seconds: time.sleep(seconds / 10))  # type: ignore[attr-defined]
    psychopy.visual = types.SimpleNamespace(Window=Window, ImageStim=ImageStim)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "psychopy", psychopy)
    monkeypatch.chdir(small_study.root)
    (small_study.root / "stimuli").mkdir()
    for name in ("one.png", "two.png"):
        small_study.image(name).rename(small_study.root / "stimuli" / name)
    code = next(c for c in re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "psychopy" in c)
    screen = MarkerScreen((800, 600), (400, 300), 8, 64)
    (small_study.root / "markers").mkdir()
    (small_study.root / "markers" / "layout.json").write_text(screen.to_json())
    left, top, width, height = screen.free_px
    small_study.configure(trials={"placement": f"rect {left} {top} {width} {height}"})
    picture = cv2.resize(frame(screen)[..., 0], (1600, 1200), interpolation=cv2.INTER_NEAREST)
    with FakeNeon(Trace.steady(60), Faults(), scene=SceneVideo([picture], [0] * 300, 5.0)) as phone:
        phone.calibration = calibration([[1600, 0, 799.5], [0, 1600, 599.5], [0, 0, 1]], np.zeros(8))
        real = neon.NeonSource.__init__

        def here(self: Any, address: str, **options: Any) -> None:
            real(self, phone.address, **options)

        monkeypatch.setattr(neon.NeonSource, "__init__", here)
        exec(compile(code, str(PAGE), "exec"), {})
    (folder,) = (small_study.root / "rec").glob("u07_ses-*")
    recording = read_recording(folder, small_study.open().config)
    assert len(flips) == 1 + 4
    assert drawn[:2] == [("frame.png", (800, 600), (0.0, 0.0))] * 2
    assert drawn[2][1] == pytest.approx((width, height))
    assert drawn[2][2] == pytest.approx((left + width / 2 - 400, 300 - top - height / 2))
    assert recording.display_px == (800, 600)
    there = np.isfinite(recording.eyes["cyclopean"].x_px)
    assert there.mean() > 0.3
    lengths = [b.time_ms - a.time_ms for a, b in zip(recording.messages[::2], recording.messages[1::2], strict=True)]
    assert all(290 < length < 2000 for length in lengths)
