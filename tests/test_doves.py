"""DOVES, raw gaze: its way through `gazepipe import`, and agreement with the fixations of the data set's authors.

The bounds on agreement are a guard against getting worse, a little beside what `benchmarks/bench_doves.py` measured
(33,742 fixations of ours, 28,485 of theirs, F1 0.877, 0.022°); they are no claim.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from gazepipe import store
from gazepipe.cli import main
from gazepipe.config import load_config, parse_config
from gazepipe.datasets import raw_settings
from gazepipe.errors import RecordingError
from gazepipe.importing import import_recordings
from gazepipe.ingest import ingest

_path = Path(__file__).parents[1] / "benchmarks" / "bench_doves.py"
_spec = importlib.util.spec_from_file_location("bench_doves", _path)
bench: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


def imitation(folder: Path, people: tuple[str, ...] = ("AB1", "CD2")) -> Path:
    """Two images, seen for 1 s each: half a second here, half a second there."""
    (folder / "recordings").mkdir(parents=True)
    (folder / "stimuli").mkdir()
    for k, person in enumerate(people):
        lines = ["time_ms,x_px,y_px,trial,image"]
        for trial, image in enumerate(("img001.jpg", "img002.jpg"), 1):
            for n in range(200):
                x, y = (512 + k, 384) if n < 100 else (712, 484)
                lines.append(f"{n * 5},{x},{y},{trial},{image}")
        text = "\n".join(lines) + "\n"
        (folder / "recordings" / f"{person}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def test_raw_gaze_becomes_fixations(tmp_path: Path) -> None:
    study, notes, report = import_recordings("doves", imitation(tmp_path / "doves"), tmp_path / "study")
    assert notes == ["2 of the 29 people of DOVES are there"]
    assert (report.written, report.failures) == (["AB1", "CD2"], [])
    contents = store.load(study.recording_file("CD2"), "gazepipe.recording")
    assert contents.arrays["trials/stimulus"].tolist() == ["img001.jpg", "img002.jpg"]
    assert contents.arrays["fixations/trial"].tolist() == [0, 0, 1, 1]
    assert contents.arrays["fixations/x_px"].tolist() == [513, 712, 513, 712]
    assert contents.arrays["blocks/sampling_rate_hz"].tolist() == [200, 200]


def test_a_pixel_is_a_minute_of_arc(tmp_path: Path) -> None:
    values, _ = raw_settings("doves", imitation(tmp_path))
    screen = parse_config(values).screen.screen()
    assert screen.pixels_per_degree == pytest.approx((60, 60), rel=2e-3)
    # The authors give 17° × 13° for the whole picture.
    assert float(screen.angle_deg(0, 384, 1024, 384)) == pytest.approx(17, abs=0.2)
    assert float(screen.angle_deg(512, 0, 512, 768)) == pytest.approx(13, abs=0.3)


def test_later_stages_and_a_second_import_use_the_same_study(tmp_path: Path) -> None:
    folder = imitation(tmp_path / "doves")
    study, _, _ = import_recordings("doves", folder, tmp_path / "study")
    assert ingest(study).current == ["AB1", "CD2"]
    text = (tmp_path / "study" / "gazepipe.toml").read_text()
    (tmp_path / "study" / "gazepipe.toml").write_text(text.replace('name = "doves"', 'name = "mine"'))
    _, _, report = import_recordings("doves", folder, tmp_path / "study")
    assert report.current == ["AB1", "CD2"]
    assert load_config(tmp_path / "study" / "gazepipe.toml").name == "mine"


def test_command(tmp_path: Path) -> None:
    folder = imitation(tmp_path / "doves")
    (folder / "recordings" / "EF3.csv.gz").write_bytes(gzip.compress(b"time_ms,x_px,y_px,trial,image\n0,a,b,1,c\n"))
    run = CliRunner().invoke(main, ["import", "doves", str(folder), "--study", str(tmp_path / "study")])
    assert run.exit_code == 3  # one file is damaged, the others are stored
    assert "import: 2 recordings of doves" in run.output
    refused = CliRunner().invoke(main, ["import", "doves", str(folder), "--images", str(tmp_path)])
    assert refused.exit_code == 2
    assert "--images is for data sets that come without" in refused.output


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no recordings/<person>\.csv\.gz"):
        import_recordings("doves", tmp_path, tmp_path / "study")
    assert not (tmp_path / "study").exists()


# ---- agreement -------------------------------------------------------------------------------------------------------


def test_onsets_are_found_again_from_centroids() -> None:
    rng = np.random.default_rng(3)
    x, y = np.round(rng.normal(500, 40, 400), 1), np.round(rng.normal(300, 40, 400), 1)
    limits = [(10, 60), (75, 200), (200, 320)]
    table = np.array([(x[a:b].mean(), y[a:b].mean(), b - a) for a, b in limits]).round(2)
    assert bench.locate(x, y, table).tolist() == [list(pair) for pair in limits]
    table[1, 0] += 1  # nowhere in these samples
    table = np.vstack([table, [0, 0, 0]])
    assert bench.locate(x, y, table).tolist() == [[10, 60], [-1, -1], [200, 320], [-1, -1]]


def test_pairs_by_hand() -> None:
    # 0-10 and 0-20 share half; of two candidates for 30-40 one is taken; 60-70 and 66-76 share a quarter
    a, b = np.array([[0, 10], [30, 40], [60, 70]]), np.array([[0, 20], [30, 39], [39, 40], [66, 76]])
    assert sorted(bench.pairs(a, b).tolist()) == [[0, 0], [1, 1]]
    assert bench.pairs(a, np.zeros((0, 2), int)).shape == (0, 2)


@pytest.mark.slow
def test_agreement_with_the_authors(data_dir: Path) -> None:
    folder = data_dir / "doves"
    if not folder.is_dir():
        pytest.skip(f"no data set in {folder}")
    found = bench.compare(*bench.load(folder))
    assert found["theirs"] + found["not_located"] == 28_864  # rows of the authors' table
    assert found["not_located"] < 500
    assert 0.86 < found["f1"] < 0.95
    assert found["matched"] / found["theirs"] > 0.95  # nearly all of theirs are among ours, which are more
    assert found["distance_deg"] < 0.03
    assert abs(found["longer_ms"]) <= 10
