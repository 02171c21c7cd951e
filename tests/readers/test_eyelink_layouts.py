"""EyeLink ASC in every layout that edf2asc writes: what stands beside the gaze never shifts it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.readers import read_recording

EYES = ("LEFT", "RIGHT", "LEFT RIGHT")
#: Rate → stamps of six samples as edf2asc prints them, and their times.
CLOCKS: dict[str, tuple[list[str], list[float]]] = {
    "250.00": (["1000", "1004", "1008", "1012", "1016", "1020"], [1000, 1004, 1008, 1012, 1016, 1020]),
    "500.00": (["1000", "1002", "1004", "1006", "1008", "1010"], [1000, 1002, 1004, 1006, 1008, 1010]),
    "1000.00": (["1000", "1001", "1002", "1003", "1004", "1005"], [1000, 1001, 1002, 1003, 1004, 1005]),
    "2000.00 old": (["1000", "1000", "1001", "1001", "1002", "1002"], [1000, 1000.5, 1001, 1001.5, 1002, 1002.5]),
    "2000.00 new": (
        ["1000.0", "1000.5", "1001.0", "1001.5", "1002.0", "1002.5"],
        [1000, 1000.5, 1001, 1001.5, 1002, 1002.5],
    ),
}
OPTIONS = tuple(itertools.product((False, True), repeat=5))  # VEL, RES, HTARGET, INPUT, BUTTONS


def sample(stamp: str, k: int, eyes: str, options: tuple[bool, ...], *, target: bool) -> str:
    """Columns in the order of edf2asc: gaze and pupil, velocity, resolution, INPUT, BUTTONS, flags, head target."""
    velocity, resolution, _, port, buttons = options
    n = len(eyes.split())
    lost = k == 2  # of the first eye
    cells = [stamp]
    for eye in range(n):
        cells += [".", ".", "0.0"] if lost and eye == 0 else [f"{10 * k + eye}.5", f"{20 * k + eye}.25", f"{900 + k}.0"]
    cells += ["-3.1", "."] * n if velocity else []
    cells += ["36.10", "37.20"] if resolution else []
    cells += ["127.0"] if port else []
    cells += ["2080"] if buttons else []
    cells += [".C." if n == 1 else "..R.."]
    cells += [" 4717.0", " 2908.0", "  611.2", "............." if k else "MANCFTBLRTBLR"] if target else []
    return "\t ".join(cells)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("eyes", EYES)
def test_every_layout(tmp_path: Path, eyes: str, clock: str) -> None:
    stamps, times = CLOCKS[clock]
    path = tmp_path / "a.asc"
    for options in OPTIONS:
        # binoRemote files announce HTARGET and have none.
        for target in {options[2], False}:
            words = [w for w, on in zip(("VEL", "RES", "HTARGET", "INPUT", "BUTTONS"), options, strict=True) if on]
            told = "\t".join(
                ["SAMPLES", "GAZE", *eyes.split(), *words, "RATE", f" {clock.split()[0]}", "TRACKING", "CR"]
            )
            lines = ["** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED", f"START\t1000 \t{eyes}\tSAMPLES\tEVENTS"]
            lines += ["PRESCALER\t1", "VPRESCALER\t1", "PUPIL\tAREA", f"EVENTS\tGAZE\t{eyes}\tRATE\t1000.00", told]
            lines += ["INPUT\t1000\t127", "BUTTON\t1000\t5\t1"]
            lines += [sample(stamp, k, eyes, options, target=target) for k, stamp in enumerate(stamps)]
            path.write_text("\n".join([*lines, "BUTTON\t1003\t5\t0", "END\t1010 \tSAMPLES\tEVENTS\tRES\t36\t37", ""]))
            found = read_recording(path, StudyConfig())
            assert list(found.eyes) == eyes.lower().split()
            assert found.warnings == []
            np.testing.assert_array_equal(found.time_ms, times)
            for number, eye in enumerate(found.eyes.values()):
                lost = np.nan if number == 0 else 1.0
                scale = np.array([1, 1, lost, 1, 1, 1])
                np.testing.assert_array_equal(eye.x_px, (10 * np.arange(6) + number + 0.5) * scale)
                np.testing.assert_array_equal(eye.y_px, (20 * np.arange(6) + number + 0.25) * scale)
                np.testing.assert_array_equal(eye.pupil, (900 + np.arange(6)) * scale)
