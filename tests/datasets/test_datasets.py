"""The published data sets: their counts, and a small imitation of each layout with answers by hand."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from gazepipe.datasets import DATASETS, load_dataset
from gazepipe.errors import RecordingError

COLUMNS = ["user", "stimulus", "repeat", "index", "duration_ms", "x_px", "y_px"]


# ---- the real ones -----------------------------------------------------------------------------------------------


def test_osie(data_dir: Path) -> None:
    osie = load_dataset("osie", data_dir / "osie")
    table = osie.fixations
    assert list(table.columns) == COLUMNS
    assert len(table) == 98_321
    assert table.groupby(["user", "stimulus"]).ngroups == 10_500  # 15 users x 700 images, none empty
    assert sorted(table["user"].unique()) == [f"osie{k:02d}" for k in range(1, 16)]
    assert set(osie.stimulus_px.values()) == {(800, 600)}
    assert len(osie.stimulus_px) == len(osie.image_paths) == table["stimulus"].nunique() == 700
    assert table["x_px"].between(0, 800).all()
    assert table["y_px"].between(0, 600).all()
    assert (osie.pixels_per_degree, osie.notes) == (24.0, [])
    first = table[(table["user"] == "osie02") & (table["stimulus"] == "1001.jpg")]
    # read from the file with scipy by hand
    assert first["x_px"].tolist() == [392.6, 311.6, 430.6, 318.8, 459.9, 497.5]
    assert first["duration_ms"].tolist() == [200, 451, 516, 228, 327, 377]
    assert first["index"].tolist() == [0, 1, 2, 3, 4, 5]


def test_ps(data_dir: Path) -> None:
    ps = load_dataset("ps", data_dir / "ps")
    table = ps.fixations
    assert list(table.columns) == COLUMNS
    assert table["user"].nunique() == 24
    assert table["stimulus"].nunique() == len(ps.stimulus_px) == 1606
    assert table.groupby(["user", "stimulus"]).ngroups == 24 * 1606
    assert set(table["repeat"].unique()) == {1, 2, 3, 4, 5}
    assert table["x_px"].between(0, 1920, inclusive="neither").all()
    assert table["y_px"].between(0, 1080, inclusive="neither").all()
    # Rows and columns the right way round: screens are wider than high, and so is gaze.
    assert table["x_px"].max() > 1900
    assert table["x_px"].std() > 1.3 * table["y_px"].std()
    assert (ps.pixels_per_degree, ps.image_paths) == (70.0, {})
    first = table[(table["user"] == "ps01") & (table["stimulus"] == "000004.jpg") & (table["repeat"] == 2)]
    assert first["y_px"].tolist()[:3] == [680.5, 410.5, 365.5]  # fix_X 681, 411, 366
    assert first["x_px"].tolist()[:3] == [1106.5, 1211.5, 1353.5]  # fix_Y 1107, 1212, 1354
    np.testing.assert_allclose(first["duration_ms"].tolist()[:3], [300, 225, 192])


def test_ps_on_the_images_that_osie_shares(data_dir: Path) -> None:
    ps = load_dataset("ps", data_dir / "ps", images=data_dir / "osie" / "stimuli")
    assert len(ps.image_paths) == ps.fixations["stimulus"].nunique() == 59
    assert "1547 of 1606 images without a file, left out" in ps.notes
    assert ps.pixels_per_degree == pytest.approx(70 / 1.8)  # 800 x 600 shown 1440 x 1080
    inside = ps.fixations["x_px"].between(0, 800) & ps.fixations["y_px"].between(0, 600)
    assert inside.mean() > 0.99


# ---- imitations --------------------------------------------------------------------------------------------------


def boxed(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    for k, value in enumerate(values):
        array[k] = value
    return array


def write_osie(folder: Path, fixations: list[list[tuple[list[float], list[float], list[float]]]]) -> None:
    structs = []
    for k, users in enumerate(fixations):
        eyes = [{"fix_x": np.array(x), "fix_y": np.array(y), "fix_duration": np.array(d)} for x, y, d in users]
        structs.append({"img": f"{k + 1}.jpg", "subjects": boxed(eyes).reshape(-1, 1)})
    (folder / "eye").mkdir(parents=True)
    (folder / "stimuli").mkdir()
    savemat(folder / "eye" / "fixations.mat", {"fixations": boxed(structs).reshape(-1, 1)}, do_compression=True)


def write_ps(folder: Path, numbers: tuple[int, ...] = (1, 12)) -> None:
    (folder / "fixData").mkdir(parents=True)
    struct = {
        "im_name": "a.png",
        "testID": np.array([[1], [1], [5]], np.uint8),
        "fix_X": np.array([[1], [540], [1080]], np.uint16),
        "fix_Y": np.array([[241], [960], [1680]], np.uint16),
        "duration": np.array([[0.25], [0.5], [0.125]]),
    }
    other = struct | {"im_name": "b.png"}
    for number in numbers:
        content = {"ImfixDataALL": boxed([struct, other]).reshape(1, -1)}
        savemat(folder / "fixData" / f"ImfixData_Sub_{number}.mat", content, do_compression=True)


def test_osie_layout(tmp_path: Path) -> None:
    one, two = ([1.0, 2.0], [3.0, 4.0], [100.0, 200.0]), ([5.0], [6.0], [300.0])
    write_osie(tmp_path, [[one, two], [two, one]])
    assert cv2.imwrite(str(tmp_path / "stimuli" / "1.jpg"), np.zeros((30, 40, 3), np.uint8))
    osie = load_dataset("osie", tmp_path)
    assert osie.stimulus_px == {"1.jpg": (40, 30), "2.jpg": (800, 600)}
    assert list(osie.image_paths) == ["1.jpg"]
    assert osie.notes == ["no file of 1 of 2 images; their frame is taken as 800 x 600"]
    assert osie.fixations["user"].tolist() == ["osie01", "osie01", "osie02", "osie01", "osie02", "osie02"]
    assert osie.fixations["index"].tolist() == [0, 1, 0, 0, 0, 1]
    assert osie.fixations["x_px"].tolist() == [1, 2, 5, 5, 1, 2]


def test_crowd_layout(tmp_path: Path) -> None:
    one, two = ([1.0, 2.0], [3.0, 4.0], [100.0, 200.0]), ([1000.0], [700.0], [300.0])
    write_osie(tmp_path / "data", [[one, two]])  # the repository has it in a folder of its own
    for folder in (tmp_path, tmp_path / "data"):
        crowd = load_dataset("crowd", folder)
        assert (crowd.name, crowd.pixels_per_degree) == ("crowd", 26.0)
        assert crowd.stimulus_px == {"1.jpg": (1024, 768)}
        assert crowd.notes == ["no file of 1 of 1 images; their frame is taken as 1024 x 768"]
        assert crowd.fixations["user"].tolist() == ["crowd01", "crowd01", "crowd02"]
        assert crowd.fixations["x_px"].tolist() == [1, 2, 1000]
    savemat(tmp_path / "data" / "eye" / "fixations.mat", {"fixations": boxed([{"img": "1.jpg", "eyes": 1}])})
    with pytest.raises(RecordingError, match="it holds fixations, not in this layout"):
        load_dataset("crowd", tmp_path)


def test_ps_layout(tmp_path: Path) -> None:
    write_ps(tmp_path)
    ps = load_dataset("ps", tmp_path)
    table = ps.fixations
    assert sorted(table["user"].unique()) == ["ps01", "ps12"]
    part = table[(table["user"] == "ps12") & (table["stimulus"] == "b.png")]
    assert part["x_px"].tolist() == [240.5, 959.5, 1679.5]
    assert part["y_px"].tolist() == [0.5, 539.5, 1079.5]
    assert part["repeat"].tolist() == [1, 1, 5]
    assert part["index"].tolist() == [0, 1, 0]
    assert part["duration_ms"].tolist() == [250, 500, 125]
    assert ps.stimulus_px == {"a.png": (1920, 1080), "b.png": (1920, 1080)}


def test_ps_with_images(tmp_path: Path) -> None:
    write_ps(tmp_path)
    (tmp_path / "img").mkdir()
    assert cv2.imwrite(str(tmp_path / "img" / "a.png"), np.zeros((600, 800, 3), np.uint8))
    ps = load_dataset("ps", tmp_path, images=tmp_path / "img")
    part = ps.fixations[ps.fixations["user"] == "ps01"]
    # Scale 1.8, so the image stands from column 240 to 1680.
    np.testing.assert_allclose(part["x_px"], [0.5 / 1.8, 719.5 / 1.8, 1439.5 / 1.8])
    np.testing.assert_allclose(part["y_px"], [0.5 / 1.8, 539.5 / 1.8, 1079.5 / 1.8])
    assert ps.stimulus_px == {"a.png": (800, 600)}
    with pytest.raises(RecordingError, match="none of the 2 images"):
        load_dataset("ps", tmp_path, images=tmp_path / "fixData")


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_unknown_name_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of osie, ps, crowd"):
        load_dataset("cat2000", tmp_path)
    for name in set(DATASETS) - {"table"}:  # which is a file
        with pytest.raises(RecordingError, match="there is no such folder"):
            load_dataset(name, tmp_path / "nowhere")
        with pytest.raises(RecordingError, match="there is no"):
            load_dataset(name, tmp_path)


def test_cut_files(tmp_path: Path) -> None:
    write_osie(tmp_path / "osie", [[([1.0], [2.0], [3.0])]])
    write_ps(tmp_path / "ps", (1,))
    for name, file in (("osie", "eye/fixations.mat"), ("ps", "fixData/ImfixData_Sub_1.mat")):
        path = tmp_path / name / file
        data = path.read_bytes()
        for k in range(32):
            path.write_bytes(data[: len(data) * k // 32])
            with pytest.raises(RecordingError, match=path.name):
                load_dataset(name, tmp_path / name)


def test_random_damage(tmp_path: Path) -> None:
    write_ps(tmp_path, (1,))
    path = tmp_path / "fixData" / "ImfixData_Sub_1.mat"
    data = path.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(100):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, damaged.size, 5)] = rng.integers(0, 256, 5)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(RecordingError):
            load_dataset("ps", tmp_path)


def test_other_contents(tmp_path: Path) -> None:
    write_ps(tmp_path, (1,))
    savemat(tmp_path / "fixData" / "ImfixData_Sub_1.mat", {"something": np.eye(2)})
    with pytest.raises(RecordingError, match=r"it holds something.*expected .*ImfixDataALL"):
        load_dataset("ps", tmp_path)
    write_osie(tmp_path / "osie", [[([1.0, 2.0], [2.0], [3.0])]])
    with pytest.raises(RecordingError, match=r"user 1 on 1\.jpg differ in length"):
        load_dataset("osie", tmp_path / "osie")
