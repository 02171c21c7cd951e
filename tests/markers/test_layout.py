"""Layouts and pictures of markers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from gazepipe.cli import main
from gazepipe.errors import ConfigError
from gazepipe.markers.drawing import frame, marker, modules, png, sheet_svg
from gazepipe.markers.layout import MarkerScreen, load_layout

PX, MM = (1920, 1080), (531.0, 299.0)

#: The first code of the family tag36h11 as its authors published it, row by row. OpenCV has their markers upside down.
CODE_0 = 0xD5D628584


def square(left: float, top: float, size: float = 100) -> list[list[float]]:
    return [[left, top], [left + size, top], [left + size, top + size], [left, top + size]]


def found_in(picture: Any) -> dict[int, Any]:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    corners, numbers, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(picture)
    return {int(k): quad[0] for k, quad in zip([] if numbers is None else np.ravel(numbers), corners, strict=True)}


def test_eight_markers_stand_along_the_border() -> None:
    layout = MarkerScreen(PX, MM, 8, 120).layout
    # The quiet zone of one module, 15 px, touches the border; the middle ones are halfway.
    lefts = {k: tuple(corners[0]) for k, corners in layout.items()}
    assert lefts == {
        0: (15, 15),
        1: (900, 15),
        2: (1785, 15),
        3: (15, 480),
        4: (1785, 480),
        5: (15, 945),
        6: (900, 945),
        7: (1785, 945),
    }
    assert layout[4].tolist() == square(1785, 480, 120)


@pytest.mark.parametrize("tags", [4, 6, 8, 10, 12, 14, 16, 20, 24])
@pytest.mark.parametrize("px", [(1920, 1080), (1280, 1024), (1080, 1920), (3840, 2160)])
def test_markers_with_their_quiet_zones_are_apart_and_on_the_screen(tags: int, px: tuple[int, int]) -> None:
    screen = MarkerScreen(px, MM, tags, 80)
    assert list(screen.layout) == list(range(tags))
    taken = np.zeros(px[::-1], int)
    for corners in screen.layout.values():
        (left, top), (right, bottom) = corners[0].astype(int), corners[2].astype(int)
        taken[top:bottom, left:right] += 1
        assert min(left, top) >= 10
        assert max(right - px[0], bottom - px[1]) <= -10
        # No other black square reaches into the white of this one.
        assert taken[top - 10 : bottom + 10, left - 10 : right + 10].sum() == 80 * 80
    assert taken.max() == 1


@pytest.mark.parametrize(
    ("tags", "free"), [(4, (150, 0, 1620, 1080)), (6, (0, 150, 1920, 780)), (8, (150, 150, 1620, 780))]
)
def test_what_is_free_for_images(tags: int, free: tuple[int, ...]) -> None:
    assert MarkerScreen(PX, MM, tags, 120).free_px == free


def test_what_is_free_touches_no_marker() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        places = rng.integers(0, 9, (5, 2)) * 110 + 20
        tags = {k: square(*p, 80) for k, p in enumerate(np.unique(places, axis=0))}
        if len(tags) < 3:
            continue
        screen = MarkerScreen((1000, 1000), MM, tags)
        left, top, width, height = screen.free_px
        free = np.zeros((1000, 1000), bool)
        free[round(top) : round(top + height), round(left) : round(left + width)] = True
        assert free.sum() == round(width * height)
        for corners in screen.layout.values():
            (x0, y0), (x1, y1) = corners[0].astype(int) - 10, corners[2].astype(int) + 10
            assert not free[y0:y1, x0:x1].any()


def test_a_layout_file_says_the_same_again(tmp_path: Path) -> None:
    screen = MarkerScreen(PX, MM, {3: square(-200.5, 0), 9: square(2000, 10), 586: square(500, 1200)})
    path = tmp_path / "layout.json"
    path.write_text(screen.to_json(), encoding="utf-8")
    again = load_layout(path)
    assert (again.px, again.mm) == (PX, MM)
    assert {k: v.tolist() for k, v in again.layout.items()} == {k: v.tolist() for k, v in screen.layout.items()}


three = {0: square(0, 0), 1: square(300, 0), 2: square(0, 300)}


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        (7, "expected 4, 6, 8"),
        (2, "expected 4, 6, 8"),
        (60, "at most"),
        ({0: square(0, 0), 1: square(300, 0)}, "it has 2 markers"),
        (three | {587: square(600, 0)}, "number from 0 to 586"),
        (three | {-1: square(600, 0)}, "number from 0 to 586"),
        (three | {"x": square(600, 0)}, "number from 0 to 586"),
        (three | {"1": square(600, 0)}, "twice"),
        (three | {3: square(600, 0)[:3]}, "four points"),
        (three | {3: [[0, 0], [1, float("nan")], [2, 2], [3, 3]]}, "four points"),
        (three | {3: square(600, 0)[::-1]}, "clockwise"),
        (three | {3: square(600, 0, 0)}, "no square"),
        (three | {3: [[600, 0], [900, 0], [900, 100], [600, 100]]}, "no square"),
        (three | {3: [[600, 0], [700, 30], [700, 130], [600, 100]]}, "no square"),
        (three | {3: square(350, 50)}, "markers 1 and 3 overlap"),
    ],
)
def test_bad_layouts_are_refused(tags: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        MarkerScreen(PX, MM, tags)


@pytest.mark.parametrize("tag_px", [0, 7, 121, 2000])
def test_bad_sizes_are_refused(tag_px: int) -> None:
    with pytest.raises(ConfigError):
        MarkerScreen(PX, MM, 8, tag_px)


@pytest.mark.parametrize("px", [(0, 1080), (1920,), (1920, 1080, 3), (float("nan"), 5)])
def test_bad_screens_are_refused(px: Any) -> None:
    with pytest.raises(ConfigError, match="expected its width and height"):
        MarkerScreen(px, MM)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "other"}, "kind is 'other'"),
        ({"version": 2}, "version is 2"),
        ({"family": "tag25h9"}, "family is 'tag25h9'"),
        ({"screen_px": [1920]}, "expected its width and height"),
        ({"screen_px": "1920x1080"}, "not understood"),
        ({"screen_mm": None}, "not understood"),
        ({"tags": [1, 2]}, "not understood"),
        ({"tags": {}}, "it has 0 markers"),
    ],
)
def test_bad_layout_files_are_refused(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(json.loads(MarkerScreen(PX, MM).to_json()) | change), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        load_layout(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": 1, "kind": 2}', "[" * 100_000])
def test_what_is_no_layout_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "layout.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"layout\.json"):
        load_layout(path)
    with pytest.raises(ConfigError, match="no such file"):
        load_layout(tmp_path / "none.json")


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_modules_are_those_of_the_apriltag_library() -> None:
    bits = modules(0)
    assert bits[[0, -1]].max() == bits[:, [0, -1]].max() == 0
    assert int("".join(map(str, bits[6:0:-1, 6:0:-1].ravel())), 2) == CODE_0


def test_a_marker_has_modules_of_one_size_and_a_white_border() -> None:
    picture = marker(5, 40)
    assert picture.shape == (50, 50)
    assert (picture[:5] == 255).all()
    assert (picture[:, -5:] == 255).all()
    np.testing.assert_array_equal(picture[5:45:5, 5:45:5] // 255, modules(5))
    with pytest.raises(ConfigError, match="multiple of 8"):
        marker(5, 42)
    with pytest.raises(ConfigError, match="no marker 587"):
        marker(587, 40)


def test_markers_of_the_frame_stand_where_the_layout_says() -> None:
    screen = MarkerScreen(PX, MM, 8, 120)
    picture = frame(screen, background=90)
    assert picture.shape == (1080, 1920, 4)
    found = found_in(np.ascontiguousarray(picture[..., 0]))
    assert set(found) == set(screen.layout)
    for number, corners in found.items():
        # Detected are the middles of the outermost black pixels.
        np.testing.assert_allclose(corners, screen.layout[number] + [[0, 0], [-1, 0], [-1, -1], [0, -1]], atol=0.01)
    opaque = picture[..., 3] > 0
    assert opaque.sum() == 8 * 150 * 150
    assert (picture[~opaque][:, :3] == 90).all()
    again = cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(again[..., [2, 1, 0, 3]], picture)


def test_markers_beside_the_screen_or_between_pixels_are_not_drawn() -> None:
    for place in (square(-200, 0, 80), square(500.5, 500, 80), square(1850, 500, 80), square(500, 500, 81)):
        with pytest.raises(ConfigError, match="cannot be drawn"):
            frame(MarkerScreen(PX, MM, three | {3: place}))


def rasterised(page: str, px_per_mm: int) -> Any:
    """The black squares of a sheet as a picture, by the three commands that its paths have."""
    picture = np.full((297 * px_per_mm, 210 * px_per_mm), 255, np.uint8)
    cell = (
        r'<g transform="translate\(([\d.]+) ([\d.]+)\)">.*?<path transform="translate\(([\d.]+) [\d.]+\)" d="([^"]*)"'
    )
    for x, y, quiet, path in re.findall(cell, page):
        for dx, dy, size in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path):
            left, top = (float(a) + float(quiet) + float(b) for a, b in ((x, dx), (y, dy)))
            ends = [round(v * px_per_mm) for v in (top, top + float(size), left, left + float(size))]
            picture[ends[0] : ends[1], ends[2] : ends[3]] = 0
    return picture


def test_printed_markers_have_their_size_on_the_screen() -> None:
    pages = sheet_svg(MarkerScreen((1000, 500), (500, 250), 8, 80))  # half a millimetre a pixel
    assert len(pages) == 1
    found = found_in(rasterised(pages[0], 8))
    assert set(found) == set(range(8))
    for corners in found.values():
        sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1) + 1
        np.testing.assert_allclose(sides / 8, 40, atol=0.3)


def test_many_markers_take_several_pages() -> None:
    pages = sheet_svg(MarkerScreen(PX, (1000, 562), 10, 200))  # 130 mm with the white around it: one a page
    assert len(pages) == 10
    assert all(page.count("<g ") == 1 for page in pages)
    with pytest.raises(ConfigError, match="does not fit on A4"):
        sheet_svg(MarkerScreen(PX, (1920, 1080), 4, 200))


def test_the_command_writes_frame_sheets_and_layout(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["markers", str(tmp_path), "--px", "1280x800", "--mm", "330x206", "--tag-px", "96"])
    assert run.exit_code == 0, run.output
    assert 'placement = "rect 120 120 1040 560"' in run.output
    screen = load_layout(tmp_path / "layout.json")
    assert (screen.px, screen.mm, len(screen.layout)) == ((1280, 800), (330, 206), 8)
    picture = cv2.imread(str(tmp_path / "frame.png"))
    assert set(found_in(picture[..., 0])) == set(screen.layout)
    for number in screen.layout:
        assert set(found_in(np.pad(cv2.imread(str(tmp_path / f"marker-{number}.png"), 0), 9, constant_values=255))) == {
            number
        }
    assert (tmp_path / "sheet-1.svg").is_file()
    run = CliRunner().invoke(main, ["markers", str(tmp_path), "--px", "1280", "--mm", "330x206"])
    assert run.exit_code == 2
    assert "expected width and height" in run.output


def test_the_command_takes_the_screen_of_a_study(small_study: Any, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["markers", str(tmp_path / "m"), str(small_study.root), "--tag-px", "64"])
    assert run.exit_code == 0, run.output
    screen = load_layout(tmp_path / "m" / "layout.json")
    assert (screen.px, screen.mm) == ((800, 600), (400, 300))
