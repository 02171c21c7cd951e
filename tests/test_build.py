"""Personal and universal maps of looks at known places, against answers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe import store
from gazepipe.build import BuildReport, build_psm
from gazepipe.enrol import take_in
from gazepipe.errors import NothingToDoError, StimulusError
from gazepipe.ingest import ingest
from gazepipe.stimuli import stimulus_index
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study

# The screen of `small_study` has 800 × 600 pixels, 20 (20.0018) of them a degree; maps have 40 × 30 cells.
MIDDLE = (400, 300, 400)


def built(small: Any, **options: Any) -> BuildReport:
    study = small.open()
    assert ingest(study).failures == []
    return build_psm(study, **options)


def maps_of(small: Any, user: str) -> dict[str, np.ndarray]:
    contents = store.load(small.open().psm_file(user), "gazepipe.psm")
    maps = contents.arrays["maps"].astype(np.float64)
    return dict(zip(contents.arrays["table/stimulus"].tolist(), maps, strict=True))


def table_of(small: Any, user: str) -> dict[str, np.ndarray]:
    return store.load(small.open().psm_file(user), "gazepipe.psm").group("table")


def peak(saliency: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(saliency.argmax(), saliency.shape))


# ---- where a look lands ----------------------------------------------------------------------------------------------


def test_image_as_large_as_fits_with_bars_left_and_right(small_study: Any) -> None:
    """A 400 × 600 image stands at screen column 200. (305, 150) is image pixel (105, 150): column 10.5, row 7.5."""
    small_study.image("tall.png", 400, 600)
    small_study.recording("anna.csv", [("tall.png", [(305, 150, 300), (100, 300, 300)])])
    built(small_study)
    saliency = maps_of(small_study, "anna")["tall.png"]
    assert peak(saliency) == (7, 10)
    assert saliency[7, 10] == 1
    # σ is 20 image pixels, of which 10 are a column and 20 a row: 2 and 1 cells. From tables of the normal
    # distribution: (Φ(0.75) − Φ(0.25)) / (Φ(0.25) − Φ(−0.25)) and (Φ(1.5) − Φ(0.5)) / (Φ(0.5) − Φ(−0.5)).
    np.testing.assert_allclose(saliency[7, [9, 11]], 0.17466 / 0.19741, atol=1e-3)
    np.testing.assert_allclose(saliency[[6, 8], 10], 0.24173 / 0.38292, atol=1e-3)
    table = table_of(small_study, "anna")
    np.testing.assert_allclose([table["sigma_u"][0], table["sigma_v"][0]], [2, 1], rtol=2e-4)
    assert table["n_fixations"].tolist() == [1]  # the look at the bar is no look at the image


@pytest.mark.parametrize(
    ("placement", "cell", "sigma"),
    [
        ("fit", (15, 25), (1, 1)),  # twice as large: image pixel (252.5, 152.5) of 400 × 300
        ("centre", (15, 30), (2, 2)),  # at (200, 150): (305, 155)
        ("stretch", (15, 25), (1, 1)),
    ],
)
def test_placements(small_study: Any, placement: str, cell: tuple[int, int], sigma: tuple[float, float]) -> None:
    small_study.configure(trials={"placement": placement})
    small_study.image("a.png", 400, 300)
    small_study.recording("anna.csv", [("a.png", [(505, 305, 300)])])
    built(small_study)
    assert peak(maps_of(small_study, "anna")["a.png"]) == cell
    table = table_of(small_study, "anna")
    np.testing.assert_allclose([table["sigma_u"][0], table["sigma_v"][0]], sigma, rtol=2e-4)


def test_pixels_per_degree_can_be_given(small_study: Any) -> None:
    small_study.configure(psm={"pixels_per_degree": 40, "sigma_deg": 1.5})
    small_study.image("a.png", 400, 300)
    small_study.recording("anna.csv", [("a.png", [MIDDLE])])
    built(small_study)
    assert table_of(small_study, "anna")["sigma_u"].tolist() == [6]  # 1.5 ° · 40 px/° · 40 cells / 400 px


# ---- what a look weighs ----------------------------------------------------------------------------------------------


def test_repeats_are_averaged_over_sessions(small_study: Any) -> None:
    small_study.image("a.png")
    small_study.recording("anna_ses-1.csv", [("a.png", [(110, 110, 300)]), ("a.png", [(110, 110, 300)])])
    small_study.recording("anna_ses-2.csv", [("a.png", [(690, 490, 300), (690, 490, 300)])])
    built(small_study)
    saliency = maps_of(small_study, "anna")["a.png"]
    # Three presentations of maximum one each, so that two of them give 2/3 and one 1/3.
    np.testing.assert_allclose([saliency[5, 5], saliency[24, 34]], [2 / 3, 1 / 3], atol=1e-3)
    assert table_of(small_study, "anna")["n_repeats"].tolist() == [3]


@pytest.mark.parametrize(("weighting", "share"), [("count", 1.0), ("duration", 0.25)])
def test_weights(small_study: Any, weighting: str, share: float) -> None:
    small_study.configure(psm={"weighting": weighting})
    small_study.image("a.png")
    small_study.recording("anna.csv", [("a.png", [(110, 110, 300), (690, 490, 1200)])])
    built(small_study)
    saliency = maps_of(small_study, "anna")["a.png"]
    assert saliency[24, 34] == 1
    assert saliency[5, 5] == pytest.approx(share, abs=0.02)  # some milliseconds of each are of the saccade


def test_first_fixation_can_be_left_out(small_study: Any) -> None:
    small_study.image("a.png")
    small_study.recording("anna.csv", [("a.png", [(110, 110, 300), (690, 490, 300)])])
    built(small_study)
    assert table_of(small_study, "anna")["n_fixations"].tolist() == [2]


def test_universal_map_is_the_mean(small_study: Any) -> None:
    small_study.image("a.png")
    small_study.image("b.png", seed=1)
    small_study.recording("anna.csv", [("a.png", [(110, 110, 300)]), ("b.png", [MIDDLE])])
    small_study.recording("ben.csv", [("a.png", [(690, 490, 300)])])
    built(small_study)
    usm = store.load(small_study.open().usm_file, "gazepipe.usm")
    assert usm.arrays["table/stimulus"].tolist() == ["a.png", "b.png"]
    assert usm.arrays["table/n_users"].tolist() == [2, 1]
    anna, ben = maps_of(small_study, "anna"), maps_of(small_study, "ben")
    np.testing.assert_allclose(usm.arrays["maps"][0], (anna["a.png"] + ben["a.png"]) / 2, atol=1e-6)
    np.testing.assert_allclose(usm.arrays["maps"][1], anna["b.png"], atol=1e-6)


# ---- which image is meant --------------------------------------------------------------------------------------------


def test_index_knows_names_with_and_without_suffix(tmp_path: Path) -> None:
    for name in ("One.PNG", "deep/two.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    index = stimulus_index(tmp_path)
    assert {k: v.name for k, v in index.items()} == {
        "one.png": "One.PNG",
        "one": "One.PNG",
        "two.jpg": "two.jpg",
        "two": "two.jpg",
    }
    assert stimulus_index(tmp_path / "nowhere") == {}


def test_one_image_under_several_names_is_one_image(small_study: Any) -> None:
    small_study.image("Scene.png")
    for user, name in (("anna", "Scene.png"), ("ben", "scene"), ("cleo", "SCENE.PNG")):
        small_study.recording(f"{user}.csv", [(name, [MIDDLE])])
    built(small_study)
    corpus = load_corpus(small_study.open())
    assert corpus.stimuli == ("Scene.png",)
    assert corpus.index.tolist() == [[0], [1], [2]]
    assert corpus.images is not None


# ---- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.fixture
def two(small_study: Any) -> Any:
    """Two users and images b and c; anna also looks at a.png, which is not there."""
    small_study.image("b.png")
    small_study.image("c.png", seed=1)
    small_study.recording("anna.csv", [(s, [MIDDLE]) for s in ("a.png", "b.png", "c.png")])
    small_study.recording("ben.csv", [(s, [MIDDLE]) for s in ("b.png", "c.png")])
    return small_study


def test_missing_image_costs_one_sentence_and_its_trials(two: Any) -> None:
    report = built(two)
    assert [(f.source, f.partial) for f in report.failures] == [("anna", True)]
    sentence = report.failures[0].message
    assert "anna.csv: shows 1 of 3 images that are not in" in sentence
    assert "(a.png)" in sentence
    assert list(maps_of(two, "anna")) == ["b.png", "c.png"]
    two.image("a.png")
    assert built(two).failures == []
    assert list(maps_of(two, "anna")) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("damage", ["no image", "cut", "empty"])
def test_image_that_cannot_be_decoded(two: Any, damage: str) -> None:
    path = two.image("a.png")
    whole = path.read_bytes()
    path.write_bytes({"no image": b"just words" * 99, "cut": whole[: len(whole) // 2], "empty": b""}[damage])
    report = built(two)
    assert [(f.source, f.partial) for f in report.failures] == [("anna", True)]
    assert "a.png" in report.failures[0].message
    assert load_corpus(two.open()).stimuli == ("b.png", "c.png")
    path.write_bytes(whole)
    assert built(two).failures == []
    assert load_corpus(two.open()).stimuli == ("a.png", "b.png", "c.png")


def test_user_without_any_image_does_not_stop_the_others(two: Any) -> None:
    two.recording("cleo.csv", [("x.png", [MIDDLE])])
    report = built(two)
    assert [f.source for f in report.failures if not f.partial] == ["cleo"]
    assert report.written == ["anna", "ben"]
    assert load_corpus(two.open()).users == ("anna", "ben")


def test_damaged_recording_does_not_stop_the_others(two: Any) -> None:
    study = two.open()
    ingest(study)
    study.recording_file("ben").write_bytes(b"junk")
    report = build_psm(study)
    assert report.written == ["anna"]
    assert any("ben.h5: damaged" in f.message for f in report.failures)


def test_nobody_has_an_image(small_study: Any) -> None:
    small_study.recording("anna.csv", [("x.png", [MIDDLE])])
    ingest(small_study.open())
    with pytest.raises(StimulusError, match=r"no map could be built; the first reason: .*x\.png"):
        build_psm(small_study.open())


def test_no_recordings_yet(small_study: Any) -> None:
    with pytest.raises(NothingToDoError, match="run `gazepipe ingest`"):
        build_psm(small_study.open())
    with pytest.raises(NothingToDoError, match="run `gazepipe build-psm`"):
        load_corpus(small_study.open())


# ---- again -----------------------------------------------------------------------------------------------------------


def stored(study: Study) -> dict[str, tuple[bytes, int]]:
    files = [*(study.store / "psm").iterdir(), study.usm_file, study.stimuli_file]
    return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in files}


def test_second_run_writes_no_map(two: Any) -> None:
    assert built(two).written == ["anna", "ben"]
    before = stored(two.open())
    report = built(two)
    assert (report.written, report.current) == ([], ["anna", "ben"])
    assert stored(two.open()) == before
    built(two, force=True)
    assert {k: v for k, (v, _) in stored(two.open()).items()} == {k: v for k, (v, _) in before.items()}


def test_only_users_whose_recordings_changed_are_built_again(two: Any) -> None:
    built(two)
    before = stored(two.open())
    two.recording("ben.csv", [("b.png", [(100, 100, 300)])])
    assert built(two).written == ["ben"]
    after = stored(two.open())
    assert [k for k in before if before[k] != after[k]] == ["ben.h5", "usm.h5"]


def test_image_of_another_size_moves_the_maps_of_those_who_saw_it(two: Any) -> None:
    two.recording("ben.csv", [("b.png", [MIDDLE])])
    built(two)
    two.image("c.png", 600, 600)
    assert built(two).written == ["anna"]


def test_image_with_other_pixels_is_packed_again_but_moves_no_map(two: Any) -> None:
    built(two)
    before = load_corpus(two.open())
    two.image("c.png", seed=9)
    assert built(two).written == []
    after = load_corpus(two.open())
    assert before.images is not None
    assert after.images is not None
    assert (before.images[0] == after.images[0]).all()
    assert (before.images[1] != after.images[1]).any()


@pytest.mark.parametrize("change", [{"sigma_deg": 2}, {"border": "reflect"}, {"width": 32}])
def test_changed_parameter_builds_all_again(two: Any, change: dict[str, Any]) -> None:
    built(two)
    two.configure(psm=change)
    assert built(two).written == ["anna", "ben"]


def test_newcomers_are_not_part_of_the_universal_map(two: Any, tmp_path: Path) -> None:
    built(two)
    before = two.open().usm_file.read_bytes()
    new = two.recording("../new/visit.csv", [("b.png", [(100, 100, 300)])])
    assert take_in(two.open(), "zoe", [new]) == []
    assert two.open().usm_file.read_bytes() == before
    assert load_corpus(two.open()).users == ("anna", "ben")
    assert load_corpus(two.open(), enrolled=True).users == ("anna", "ben", "zoe")
    assert load_corpus(two.open(), users=["zoe"]).stimuli == ("b.png",)


def test_corpus_lists_the_fixated_cells(two: Any) -> None:
    two.recording("ben.csv", [("b.png", [(110, 110, 300), (690, 490, 300)])])
    built(two)
    corpus = load_corpus(two.open())
    cells, start = corpus.fixations_of(corpus.index[1, :1])
    assert (cells.tolist(), start.tolist()) == ([5 * 40 + 5, 24 * 40 + 34], [0, 2])


def test_gaze_on_a_reference_image(small_study: Any) -> None:
    """A look at pixel (110, 450) of the image itself is column 5, row 22; which image it is, its content says."""
    folder = small_study.root / "rec" / "anna"
    folder.mkdir()
    reference = small_study.image("painting.png", seed=3)
    small_study.image("another.png", seed=4)
    (folder / "reference_image.png").write_bytes(reference.read_bytes())
    places = [f"gaze position in reference image {axis} [px]" for axis in "xy"]
    rows = [f"s,r,{10**18 + 5_000_000 * k},{'110,450' if k > 8 else ','}" for k in range(160)]
    text = "\n".join([",".join(["section id", "recording id", "timestamp [ns]", *places]), *rows]) + "\n"
    (folder / "gaze.csv").write_text(text)
    small_study.configure(trials={"placement": "fit"})
    built(small_study)
    saliency = maps_of(small_study, "anna")
    assert list(saliency) == ["painting.png"]
    assert peak(saliency["painting.png"]) == (22, 5)
    reference.write_bytes((small_study.root / "img" / "another.png").read_bytes())
    with pytest.raises(StimulusError, match=r"1 of 1 images that are not in .* \(reference_image-"):
        build_psm(small_study.open())
