"""Progress: a bar on a terminal, one line now and then otherwise, nothing with -q."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest
from click.testing import CliRunner

from gazepipe import progress
from gazepipe.cli import main
from gazepipe.progress import Progress


def lines_of(display: Progress) -> list[str]:
    stream = sys.stderr
    assert isinstance(stream, io.StringIO)
    return stream.getvalue().splitlines()


@pytest.fixture
def recorded(small_study: Any) -> Any:
    for user in ("a", "b", "c"):
        small_study.recording(f"{user}.csv", [("i.png", [(200, 150, 200.0), (600, 450, 300.0)])])
    return small_study


def test_a_line_each_interval_even_if_a_step_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    with Progress("train", 10, "step") as display:
        display.update(2, 10, "loss 0.5")
        time.sleep(1.0)  # no update meanwhile
        there = lines_of(display)
    assert 2 <= len(there) <= 21
    assert all(re.fullmatch(r"train: 2/10 step, \d s, about \d s left \(loss 0\.5\)", line) for line in there)
    time.sleep(0.2)
    assert lines_of(display) == there, "it is over, but goes on"


@pytest.mark.parametrize(
    ("total", "line"), [(10, r"train: 0/10 step, \d s \(reading\)"), (0, r"train: \d s \(reading\)")]
)
def test_a_first_step_that_takes_long(total: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done yet, and nobody knows how long it will take."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    with Progress("train", total, "step") as display:
        display.update(0, total, "reading")
        time.sleep(0.3)
        display.update(0, total)
        there = lines_of(display)
    assert there
    assert all(re.fullmatch(line, one) for one in there), there


def test_no_line_before_the_interval_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Progress("train", 3, "step") as display:
        for k in range(3):
            display.update(k, 3)
    assert lines_of(display) == []


def test_without_a_terminal_a_command_prints_lines(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.005)
    done = CliRunner().invoke(main, ["ingest", str(recorded.root), "--jobs", "1"])
    assert done.exit_code == 0, done.output
    told = [line for line in done.stderr.splitlines() if line.startswith("ingest: ")]
    assert told
    assert all(re.fullmatch(r"ingest: [0-3]/3 recording, \d+ s(, about \d+ s left)?( \([abc]\))?", x) for x in told)
    assert "\r" not in done.stderr
    quiet = CliRunner().invoke(main, ["-q", "ingest", str(recorded.root), "--jobs", "1", "--force"])
    assert (quiet.exit_code, quiet.output) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_on_a_terminal_there_is_a_bar(recorded: Any) -> None:
    import fcntl
    import pty
    import struct
    import termios

    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "gazepipe", "ingest", str(recorded.root), "--jobs", "1"]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(control, 4096):
                shown += chunk
        except OSError:  # how Linux says that the other side is closed
            pass
        assert process.stdout is not None
        said = process.stdout.read().decode()
    os.close(control)
    assert process.returncode == 0, shown
    assert "ingest: 100%" in shown.decode()
    assert "3/3" in shown.decode()
    assert said.startswith("ingest: 3 written")
    assert "%" not in said
