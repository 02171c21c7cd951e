from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gazepipe.config import EmbeddingConfig, load_config, template
from gazepipe.study import Study

sys.path.insert(0, str(Path(__file__).parent))  # for what all tests share

from survival import LINES

#: One look: x and y in screen pixels, and how many milliseconds.
Look = tuple[float, float, float]


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell leaves it for jobs in the background: processes that tests start and interrupt would not notice.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", default=5, type=int, help="processes killed in each kill -9 sweep (nightly: 100)")
    parser.addoption("--limits", default=8, type=int, help="stages run with a limit on file sizes (nightly: 400)")
    parser.addoption("--losses", default=12, type=int, help="power losses in each of four stages (nightly: 125)")
    parser.addoption("--soak", default=60, type=int, help="recordings ingested in a row (nightly: 1000)")
    parser.addoption("--flips", default=300, type=int, help="bits flipped in a store (nightly: 5000)")
    parser.addoption("--gigabytes", default=0.0625, type=float, help="size of recordings that do not fit (nightly: 4)")
    parser.addoption("--sessions", default=3, type=int, help="live sessions with several faults (nightly: 40)")
    parser.addoption("--corruptions", default=60, type=int, help="damaged copies of each sample (nightly: 2000)")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # in one of several processes
        session.config.workeroutput["survived"] = list(LINES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    LINES.extend(getattr(node, "workeroutput", {}).get("survived", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LINES:
        terminalreporter.section("survived/tried")
        for line in sorted(LINES):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real recordings and data sets, which are not part of the repository."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("GAZEPIPE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set GAZEPIPE_DATA")
    return folder


@dataclass(frozen=True)
class SmallStudy:
    """A study written by hand: CSV recordings at 250 Hz of people who look at given places of given images.

    The screen has 800 × 600 pixels, 400 × 300 mm at 573 mm: 20 pixels are 1° (at its centre), along both axes.
    """

    root: Path

    def configure(self, **changes: Mapping[str, Any]) -> None:
        sections: dict[str, Any] = {
            "recordings": "rec",
            "stimuli": "img",
            "screen": {"width_px": 800, "height_px": 600, "width_mm": 400, "height_mm": 300, "distance_mm": 573},
            "ingest": {"include": ("*.csv",)},
            "csv": {"trial": "trial", "stimulus": "image"},
            "psm": {"width": 40, "height": 30},
        }
        for name, values in changes.items():
            sections[name] = {**sections.get(name, {}), **values}
        (self.root / "gazepipe.toml").write_text(template(**sections), encoding="utf-8")

    def image(self, name: str, width: int = 800, height: int = 600, *, seed: int = 0) -> Path:
        path = self.root / "img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
        return path

    def recording(self, name: str, trials: Sequence[tuple[str, Sequence[Look]]]) -> Path:
        """Write a recording in which each (image, looks) is a trial; there is half a second between two."""
        lines, time = ["time_ms,x_px,y_px,trial,image"], 0
        for number, (image, looks) in enumerate(trials, 1):
            for x, y, duration in looks:
                for _ in range(round(duration / 4)):
                    lines.append(f"{time},{x},{y},{number},{image}")
                    time += 4
            for _ in range(125):
                lines.append(f"{time},,,,")
                time += 4
        path = self.root / "rec" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def open(self, **options: Any) -> Study:
        return Study.open(self.root, **options)


@pytest.fixture(scope="module")
def one_thread() -> None:
    """One thread for torch: results of a module's tests are the same, and tests beside it are not slowed down."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def whole_sections() -> dict[str, Mapping[str, Any]]:
    """Sections for `simulated`, so that a study goes through all stages in seconds."""
    return {
        "split": {"users": [0.5, 0.25, 0.25], "images": [0.5, 0.25, 0.25]},
        "psm": {"width": 40, "height": 30},
        "evaluation": {"m": [2], "repetitions": 2, "embeddings_per_user": 4, "offset_repetitions": 1},
    }


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Study]:
    """Simulates a study, recorded at 125 Hz, with descriptors and networks that are trained in a moment.

    Sections of the configuration are given by name: keys in them replace those of the simulation.
    """
    from gazepipe.simulate import simulate_study

    def make(root: Path, *, users: int, images: int, seconds: float, seed: int, **sections: Mapping[str, Any]) -> Study:
        simulate_study(root, users=users, images=images, rate_hz=125, seconds=seconds, seed=seed)
        config = load_config(root / "gazepipe.toml").model_dump(mode="json")
        config["embedding"] = EmbeddingConfig(inputs="descriptors").model_dump(mode="json")
        config["refiner"] |= {"widths": [4, 4, 8], "personal": 4, "m": 2, "pool": 4, "epochs": 1}
        config["universal"] |= {"epochs": 1}
        for name, values in sections.items():
            config[name] |= values
        (root / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
        return Study.open(root)

    return make


@pytest.fixture
def small_study(tmp_path: Path) -> SmallStudy:
    """An empty study with a configuration."""
    study = SmallStudy(tmp_path / "my study ü")
    (study.root / "rec").mkdir(parents=True)
    study.configure()
    return study


@pytest.fixture
def tiny_networks(small_study: SmallStudy) -> SmallStudy:
    """A study of eight people with built maps, and networks so small that all three are trained in seconds."""
    rng = np.random.default_rng(0)
    names = [f"i{n}.png" for n in range(24)]
    for n, name in enumerate(names):
        small_study.image(name, 80, 60, seed=n)
    for user in range(8):
        spread = 40 + 25 * user
        looks = [[(400 + dx, 300 + dy, 200.0) for dx, dy in rng.normal(0, spread / 2, (4, 2))] for _ in names]
        small_study.recording(f"u{user}.csv", list(zip(names, looks, strict=True)))
    small_study.configure(
        split={"users": (0.5, 0.25, 0.25), "images": (0.5, 0.25, 0.25)},
        embedding={"widths": (4, 4, 8, 8), "m": 2, "batch": 12, "steps": 60, "validate_every": 10},
        # A calm learning rate: at the paper's, so small a refiner is chaotic and rounding grows within ten epochs.
        refiner={
            "widths": (4, 4, 8),
            "personal": 4,
            "m": 4,
            "pool": 10,
            "batch": 7,
            "epochs": 8,
            "learning_rate": 0.001,
        },
        universal={"epochs": 8},
    )
    from gazepipe.build import build_psm
    from gazepipe.ingest import ingest

    study = small_study.open()
    ingest(study, jobs=1)
    build_psm(study)
    return small_study
