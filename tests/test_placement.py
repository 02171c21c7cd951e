"""Where an image stands on the screen, and what that makes of gaze, maps and degrees."""

from __future__ import annotations

import numpy as np
import pytest

from gazepipe import store
from gazepipe.build import build_psm
from gazepipe.geometry import Placement, parse_placement
from gazepipe.ingest import ingest


@pytest.mark.parametrize(
    ("how", "corner", "end"),
    [
        ("fit", (0, 100), (800, 500)),
        ("stretch", (0, 0), (800, 600)),
        ("centre", (350, 275), (450, 325)),
        ("center 100 50", (50, 25), (150, 75)),
        ("centre 100 50 20 40", (90, 30), (110, 70)),
        ("topleft 7 -9", (7, -9), (107, 41)),
        ("rect 10 20 300 90", (10, 20), (310, 110)),
        ("RECT 10, 20, 300.5, 90", (10, 20), (310.5, 110)),
    ],
)
def test_corners(how, corner, end):
    place = Placement.on_screen((100, 50), (800, 600), how)
    assert tuple(place.to_screen(0, 0)) == pytest.approx(corner)
    assert tuple(place.to_screen(100, 50)) == pytest.approx(end)
    assert tuple(place.to_image(*place.to_screen(33, 21))) == pytest.approx((33, 21))


@pytest.mark.parametrize(
    "text", ["", "left", "rect 1 2 3", "rect 1 2 0 4", "fit 3", "topleft a b", "centre 1 2 3", "rect 1 2 nan 3"]
)
def test_what_is_no_placement(text):
    with pytest.raises(ValueError, match="says nothing about where an image stands"):
        parse_placement(text)


def maps_of(study, user):
    study.open()
    assert ingest(study.open()).failures == []
    assert build_psm(study.open()).failures == []
    return store.load(study.open().psm_file(user), "gazepipe.psm").arrays


def test_each_trial_has_a_place_of_its_own(small_study):
    """One look at the image's middle, wherever the image stands: 40 × 30 cells, the middle is (20, 15)."""
    small_study.image("a.png", 400, 300)
    small_study.image("b.png", 400, 300)
    small_study.recording("p.csv", [("", [(110, 80, 600)]), ("", [(600, 450, 600)])])
    lines = [
        "user,onset_ms,duration_ms,stimulus,placement",
        "p,0,600,a.png,rect 10 5 200 150",
        "p,1100,600,b.png,topleft 400 300",
    ]
    (small_study.root / "trials.csv").write_text("\n".join(lines) + "\n")
    small_study.configure(csv={"trial": "", "stimulus": ""}, trials={"file": "trials.csv"})
    arrays = maps_of(small_study, "p")
    np.testing.assert_allclose(arrays["fixations/u"], [20, 20])
    np.testing.assert_allclose(arrays["fixations/v"], [15, 15])
    # 20 screen pixels are 1° and σ: of 200 px on 40 cells 4 cells, of 400 px 2 cells
    np.testing.assert_allclose(arrays["table/sigma_u"], [4, 2], rtol=1e-3)
    np.testing.assert_allclose(arrays["table/sigma_v"], [4, 2], rtol=1e-3)


def test_pixels_that_are_not_square(small_study):
    """40 px/° along x, 20 along y: a stretched image of 40 × 30 cells has σ = 2 and 1 cells."""
    small_study.image("a.png", 300, 300)
    small_study.recording("p.csv", [("a.png", [(400, 300, 600)])])
    small_study.configure(screen={"width_mm": 200}, trials={"placement": "stretch"})
    arrays = maps_of(small_study, "p")
    np.testing.assert_allclose([arrays["table/sigma_u"], arrays["table/sigma_v"]], [[2], [1]], rtol=1e-3)
    np.testing.assert_allclose([arrays["fixations/u"], arrays["fixations/v"]], [[20], [15]])
    screen = small_study.open().config.screen.screen()
    assert screen.angle_deg(400, 300, 440, 300) == pytest.approx(screen.angle_deg(400, 300, 400, 320))


def test_configuration_may_be_preferred(small_study):
    small_study.image("a.png", 400, 300)
    small_study.recording("p.csv", [("", [(400, 300, 600)])])
    (small_study.root / "trials.csv").write_text("user,onset_ms,stimulus,placement\np,0,a.png,rect 0 0 100 100\n")
    small_study.configure(
        csv={"trial": "", "stimulus": ""}, trials={"file": "trials.csv", "placement_from": "configuration"}
    )
    assert maps_of(small_study, "p")["fixations/u"].tolist() == [20]
