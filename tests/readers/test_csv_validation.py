"""Real tables of three trackers that the generic reader takes with a few lines of configuration.

Their positions count from the screen's centre, y upwards, which ``[csv]`` has no word for: what is read is right in
size and time, but is moved and mirrored on the screen.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import CsvConfig, StudyConfig
from gazepipe.readers import read_recording

CSV = CsvConfig(time="timestamp", left_x="left_x", left_y="left_y", right_x="right_x", right_y="right_y")


@pytest.mark.parametrize(
    ("name", "rate"),
    [("EyeLink_1000+_binocular_1000Hz.tsv", 1000), ("SMI_RED500_500Hz.tsv", 500), ("Tobii_Spectrum_120Hz.tsv", 120)],
)
def test_real_tables(data_dir: Path, name: str, rate: float) -> None:
    path = data_dir / "raw" / "validation" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    recording = read_recording(path, StudyConfig(csv=CSV))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert recording.format == "csv"
    np.testing.assert_allclose(recording.time_ms, [float(row["timestamp"]) for row in rows], rtol=1e-14)
    for eye, samples in recording.eyes.items():
        for axis, found in (("x", samples.x_px), ("y", samples.y_px)):
            expected = np.array([float(row[f"{eye}_{axis}"]) for row in rows], np.float32)
            # Where one coordinate is missing, both are.
            np.testing.assert_array_equal(found[~np.isnan(found)], expected[~np.isnan(found)])
            assert np.count_nonzero(np.isnan(found)) <= 2
    assert recording.sampling_rate_hz[0] == pytest.approx(rate, rel=0.01)
    assert recording.block_start.size == 1
