"""Published data sets become stored recordings that every later stage takes like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from gazepipe import store
from gazepipe.build import build_psm
from gazepipe.config import load_config
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.importing import import_dataset
from gazepipe.ingest import ingest
from gazepipe.stored_corpus import load_corpus

#: image → for each user x, y and durations.
LOOKS = {
    "1.jpg": [([105.0, 700.0], [75.0, 500.0], [200.0, 300.0]), ([400.0], [300.0], [250.0])],
    "2.jpg": [([700.0], [75.0], [150.0]), ([-5.0, 10.0], [300.0, 900.0], [100.0, 100.0])],
}


def boxed(values: list[Any]) -> np.ndarray:
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


@pytest.fixture
def osie(tmp_path: Path) -> Path:
    """Two users and two images in OSIE's layout; the second user never looked at the second image itself."""
    folder = tmp_path / "osie"
    for name in ("eye", "stimuli"):
        (folder / name).mkdir(parents=True)
    structs = []
    for image, users in LOOKS.items():
        eyes = [{"fix_x": np.array(x), "fix_y": np.array(y), "fix_duration": np.array(d)} for x, y, d in users]
        structs.append({"img": image, "subjects": boxed(eyes)})
        cv2.imwrite(str(folder / "stimuli" / image), np.full((600, 800, 3), 99, np.uint8))
    savemat(folder / "eye" / "fixations.mat", {"fixations": boxed(structs)})
    return folder


def test_fixations_reach_the_maps(osie: Path, tmp_path: Path) -> None:
    study, notes = import_dataset("osie", osie, tmp_path / "study")
    assert notes == []
    assert load_config(tmp_path / "study" / "gazepipe.toml").name == "osie"
    contents = store.load(study.recording_file("osie01"), "gazepipe.recording")
    assert contents.attrs["coordinates"] == "stimulus"
    assert contents.arrays["fixations/x_px"].tolist() == [105, 700, 700]
    assert contents.arrays["fixations/at_onset"].tolist() == [True, False, True]
    report = build_psm(study)
    assert report.n_maps == 3
    corpus = load_corpus(study)
    assert corpus.users == ("osie01", "osie02")
    assert corpus.index.tolist() == [[0, 1], [2, -1]]
    # 800 × 600 pixels on 160 × 120 cells: (105, 75) is cell (15, 21), and 24 pixels of one degree are 4.8 cells.
    cells, _ = corpus.fixations_of(np.array([0]))
    assert cells.tolist() == [15 * 160 + 21, 100 * 160 + 140]
    table = store.load(study.psm_file("osie01"), "gazepipe.psm").group("table")
    np.testing.assert_allclose(table["sigma_u"], 4.8)
    np.testing.assert_allclose(table["sigma_v"], 4.8)
    assert corpus.images is not None
    assert corpus.images.shape == (2, 120, 160, 3)


def test_second_import_writes_no_recording(osie: Path, tmp_path: Path) -> None:
    study, _ = import_dataset("osie", osie, tmp_path / "study")
    times = {f: f.stat().st_mtime_ns for f in (study.store / "recordings").iterdir()}
    assert len(times) == 2
    import_dataset("osie", osie, tmp_path / "study")
    assert {f: f.stat().st_mtime_ns for f in (study.store / "recordings").iterdir()} == times


def test_a_configuration_that_is_there_stays(osie: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "gazepipe.toml").write_text('name = "mine"\n')
    study, _ = import_dataset("osie", osie, tmp_path / "study")
    assert study.config.name == "mine"


def test_not_into_a_store_of_recordings(osie: Path, small_study: Any) -> None:
    small_study.recording("anna.csv", [("a.png", [(400, 300, 400)])])
    ingest(small_study.open())
    with pytest.raises(ConfigError, match="import a data set into a store of its own"):
        import_dataset("osie", osie, small_study.root)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "osie").mkdir()
    with pytest.raises(RecordingError, match=r"fixations\.mat"):
        import_dataset("osie", tmp_path / "osie", tmp_path / "study")
    assert not (tmp_path / "study" / "gazepipe.toml").exists()


def test_the_real_osie(data_dir: Path, tmp_path: Path) -> None:
    study, _ = import_dataset("osie", data_dir / "osie", tmp_path / "study")
    rows = study.known_recordings()
    assert sorted(rows) == [f"osie{k:02d}" for k in range(1, 16)]
    found = store.load(study.recording_file("osie02"), "gazepipe.recording", only=("trials/", "fixations/trial"))
    assert len(found.arrays["trials/stimulus"]) == 700
    assert len(set(found.arrays["fixations/trial"].tolist())) == 700
