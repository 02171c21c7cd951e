"""Keeps a small store of this version of gazepipe, which later versions have to read: ``python tests/stores/make.py``.

Run once at a release, with the version that is released. It makes ``tests/stores/VERSION.zip``: a study with a store in
which every kind of file is. Nobody was recorded for it. An archive that is there is never made again: it is what that
version wrote.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

from gazepipe import __version__, audit, consent
from gazepipe.config import template
from gazepipe.crossvalidate import crossvalidate
from gazepipe.enrol import enrol, take_in
from gazepipe.evaluate import write_tables
from gazepipe.pipeline import run
from gazepipe.predict import predict
from gazepipe.study import Study

USERS, IMAGES = 8, 8


def write_study(root: Path) -> None:
    """People who look at four places of each image for two thirds of a second, at 100 Hz."""
    rng = np.random.default_rng(17)
    (root / "images").mkdir(parents=True)
    for name in ("recordings", "later"):
        (root / name).mkdir()
    for image in range(IMAGES):
        pixels = np.full((30, 40, 3), 20 * image, np.uint8)
        cv2.rectangle(pixels, (4 * image, 5), (4 * image + 9, 20), (200, 90, 255 - 30 * image), -1)
        (root / "images" / f"i{image}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    for user in range(USERS + 1):
        lines, time = ["time_ms,x_px,y_px,trial,image"], 0
        for image in range(IMAGES):
            for dx, dy in rng.normal(0, 20 + 25 * user, (4, 2)):
                for _ in range(16):
                    lines.append(f"{time},{400 + dx:.0f},{300 + dy:.0f},{image + 1},i{image}.png")
                    time += 10
            time += 300
        place = f"recordings/u{user}.csv" if user < USERS else "later/late.csv"
        (root / place).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sections = {
        "recordings": "recordings",
        "stimuli": "images",
        "screen": {"width_px": 800, "height_px": 600, "width_mm": 400, "height_mm": 300, "distance_mm": 573},
        "csv": {"trial": "trial", "stimulus": "image"},
        "psm": {"width": 20, "height": 15},
        "split": {"users": (0.5, 0.25, 0.25), "images": (0.5, 0.25, 0.25)},
        "embedding": {"inputs": "descriptors", "dimension": 8, "steps": 20, "validate_every": 10},
        "refiner": {"widths": (4, 4, 8), "personal": 2, "m": 2, "pool": 4, "epochs": 1},
        "universal": {"backbone": "none", "epochs": 1},
        "evaluation": {"m": (1,), "repetitions": 2, "embeddings_per_user": 4},
    }
    (root / "gazepipe.toml").write_text(template(**sections), encoding="utf-8")


def make(root: Path) -> Study:
    """Take the study through everything that writes into a store."""
    write_study(root)
    (root / "recordings" / "broken.csv").write_text("time_ms,x_px,y_px\n", encoding="utf-8")
    study = Study.open(root)
    consent.add(study, "u0", "F-1", "2026-01-01", "ingest,embed,share")
    report = run(study, jobs=1, threads=1)
    assert report.evaluation is not None
    write_tables(study, report.evaluation)
    crossvalidate(study, folds=2, maps=False, threads=1)
    take_in(study, "late", [root / "later" / "late.csv"])
    enrol(study, ["late"], threads=1)
    predict(study, ["u0", "late"], sorted((root / "images").glob("i[01].png")), threads=1)
    audit.record(study, "keep", users=["u0"])
    return study


def main() -> int:
    """Make the store of this version."""
    target = Path(__file__).with_name(f"{__version__}.zip")
    if target.exists():
        print(f"{target} is there; it is never made again.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "study"
        make(root)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            # The universal predictor alone has a megabyte, and is read like the other networks.
            left_out = (".lock", "universal.safetensors")
            for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.name.endswith(left_out)):
                file.write(path, path.relative_to(root))
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
