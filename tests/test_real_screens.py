"""Screens of real recordings: pixels that are not square, media with a place, distances from the tracker."""

from __future__ import annotations

import numpy as np
import pytest

from gazepipe.config import ScreenConfig, StudyConfig, TrialsConfig
from gazepipe.distance import viewing_distance
from gazepipe.readers import read_recording
from gazepipe.readers.tobii_studio import read_recordings
from gazepipe.trials import find_trials


@pytest.fixture(scope="module")
def studio(data_dir):
    """1280 × 1024 px on a wide television set."""
    path = data_dir / "raw" / "tobii_studio_fgd" / "000.csv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


def test_angles_on_a_screen_whose_pixels_are_not_square(studio):
    """The export has gaze in px and in mm: angles by the study's screen are those between the points in mm."""
    import pandas as pd

    table = pd.read_csv(studio)
    table = table[table["ParticipantName"] == table["ParticipantName"].iloc[0]]
    names = [f"GazePointLeft{axis}(ADCS{unit})" for unit in ("px", "mm") for axis in "XY"]
    x, y, x_mm, y_mm = table[names].dropna().to_numpy(np.float64).T
    mm_x, left = np.polyfit(x, x_mm, 1)
    mm_y, top = np.polyfit(y, -y_mm, 1)
    assert (mm_x, mm_y) == (pytest.approx(0.818, abs=0.02), pytest.approx(0.567, abs=0.01))
    distance = 1342.0
    size = {"width_px": 1280, "height_px": 1024, "width_mm": mm_x * 1280, "height_mm": mm_y * 1024}
    screen = ScreenConfig(**size, distance_mm=distance).screen()
    centre = left + mm_x * 640, top + mm_y * 512
    there = np.stack([x_mm - centre[0], -y_mm - centre[1], np.full(x.size, distance)], axis=1)
    far = np.flatnonzero(np.hypot(x - x[0], y - y[0]) > 60)
    assert far.size > 100
    cosine = there[far] @ there[0] / np.linalg.norm(there[far], axis=1) / np.linalg.norm(there[0])
    # px are whole numbers: half of one on either side is 0.04°
    np.testing.assert_allclose(screen.angle_deg(x[far], y[far], x[0], y[0]), np.degrees(np.arccos(cosine)), atol=0.05)
    square = ScreenConfig(**{**size, "height_mm": mm_x * 1024}, distance_mm=distance).screen()
    wrong = square.angle_deg(x[far], y[far], x[0], y[0]) - np.degrees(np.arccos(cosine))
    assert np.abs(wrong).max() > 0.3


def test_distance_and_place_of_the_medium(studio):
    recording = next(iter(read_recordings(studio).values()))
    config = ScreenConfig(width_px=1280, height_px=1024, distance="tracker", distance_mm=1300)
    distance, said = viewing_distance(recording, config)
    assert np.median(distance) == pytest.approx(1342, abs=1)
    assert said[0].startswith("viewing distance from the tracker: 1342 mm, 90 % of the time 1341 … 1343 mm")
    trials = find_trials(recording, StudyConfig(trials=TrialsConfig(source="blocks"))).frame
    assert trials["placement"].unique().tolist() == ["rect 359 131 562 762"]


def test_head_target_of_a_remote_eyelink(data_dir):
    path = data_dir / "raw" / "eyelink_asc" / "monoRemote250.asc.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    config = StudyConfig(screen=ScreenConfig(width_px=1024, height_px=768, distance="tracker"))
    recording = read_recording(path, config)
    assert "distance_mm" not in read_recording(path, StudyConfig()).columns
    distance = recording.columns["distance_mm"]
    # the first line is: 12976172  513.2  402.0  228.0  ...  4717.0  2908.0  611.2 .............
    assert (recording.time_ms[0], distance[0]) == (12976172, np.float32(611.2))
    assert np.nanmedian(distance) == pytest.approx(613, abs=5)
    assert np.isfinite(distance).mean() > 0.95
    assert viewing_distance(recording, config.screen)[0] is not None
    # announced, but not written
    plain = read_recording(path.with_name("binoRemote250.asc.gz"), config)
    assert viewing_distance(plain, config.screen)[1] == [
        "the tracker gives no viewing distance: the fixed 650 mm was used"
    ]
