"""Folders of universal maps: what each format gives, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from gazepipe.errors import ConfigError, StimulusError
from gazepipe.map_folder import MapFolder

SIZE = (3, 4)
#: Each cell of a 3 × 4 map twice as high and twice as wide: its area means are the cells.
CELLS = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 20]], np.float32)
LARGE = np.kron(CELLS, np.ones((2, 2), np.float32))


def test_each_format_gives_the_means_over_areas_with_maximum_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LARGE.astype(np.float64))
    savemat(tmp_path / "b.mat", {"saliency": LARGE})
    (tmp_path / "below").mkdir()
    cv2.imwrite(str(tmp_path / "below" / "C.png"), LARGE.astype(np.uint8))
    folder = MapFolder(tmp_path, SIZE, "--usm x")
    for image in ("a.jpg", "b.jpg", "c.jpg"):
        found = folder.find(Path("elsewhere") / image)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, CELLS / 20, atol=1e-6)


def test_an_array_comes_before_a_picture_of_the_same_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((6, 8), 9, np.uint8))
    np.save(tmp_path / "a.npy", LARGE)
    np.testing.assert_allclose(MapFolder(tmp_path, SIZE, "").find(Path("a.png")), CELLS / 20)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", LARGE)
    before = MapFolder(tmp_path, SIZE, "").digest()
    assert MapFolder(tmp_path, SIZE, "").digest() == before
    np.save(tmp_path / "a.npy", LARGE + 1)
    assert MapFolder(tmp_path, SIZE, "").digest() != before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.full((3, 4), np.nan), "values nan"),
        (np.full((3, 4), -1.0), "values -1 to -1"),
        (np.zeros((3, 4)), "values 0 to 0"),
        (np.ones((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 4)), "values none"),
    ],
)
def test_what_is_no_saliency_map_is_refused(tmp_path: Path, content: np.ndarray, says: str) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(StimulusError, match=rf"a\.npy: no saliency map \(.*{says}.*\); expected"):
        MapFolder(tmp_path, SIZE, "").find(Path("a.png"))


def test_damaged_files_and_missing_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "b.mat").write_bytes(b"no MATLAB file" * 20)
    savemat(tmp_path / "c.mat", {"one": LARGE, "two": LARGE})
    np.save(tmp_path / "d.npy", np.array([{}]), allow_pickle=True)
    folder = MapFolder(tmp_path, SIZE, "")
    for stem, says in (
        ("a", "not a map"),
        ("b", "not a map"),
        ("c", r"holds 2 matrices.*one, two"),
        ("d", "not a map"),
    ):
        with pytest.raises(StimulusError, match=says):
            folder.find(Path(f"{stem}.png"))
    with pytest.raises(StimulusError, match=r"e\.png: .* has no map of it; expected e\.npy, e\.mat or e\.png"):
        folder.find(Path("e.png"))
    with pytest.raises(ConfigError, match="--usm nowhere: no such folder"):
        MapFolder(tmp_path / "nowhere", SIZE, "--usm nowhere")
