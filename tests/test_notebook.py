"""Recordings in memory: predictions are those of people enrolled, whatever the method; errors are clear."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gazepipe
from gazepipe import Predictor, load_gallery, read
from gazepipe.build import build_psm
from gazepipe.config import load_config, template
from gazepipe.embedding import EmbeddingNet
from gazepipe.enrol import enrol, take_in
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.images import read_rgb
from gazepipe.ingest import ingest
from gazepipe.models import save_model
from gazepipe.profile import ProfileNet
from gazepipe.recipe import Recipe
from gazepipe.refiner import RefinerNet
from gazepipe.simulate import simulate_study
from gazepipe.study import Study


class Untrained:
    """What `save_model` needs of a training."""

    history: tuple[dict[str, float], ...] = ()
    best: dict[str, float] = {}  # noqa: RUF012 (never changed)
    seconds = 0.0

    def __init__(self, net: Any) -> None:
        self.net = net.eval()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three people, four images; networks that nobody trained, and "guest", enrolled with a recording of sim03."""
    folder = tmp_path_factory.mktemp("notebook") / "study"
    simulate_study(folder, users=3, images=4, rate_hz=125, seconds=1.0)
    study = Study.open(folder)
    own = next(p for p in sorted(study.recordings.iterdir()) if p.name.startswith("sim03"))
    guest = folder / ("guest" + own.name.removeprefix("sim03"))
    shutil.move(own, guest)
    assert not ingest(study).failures
    assert not build_psm(study).failures
    names: dict[str, Any] = {f"{k}_{p}": [] for k in ("users", "images") for p in ("train", "validation", "test")}
    names["users_train"] = ["sim01", "sim02"]
    sizes: dict[str, Any] = {"channels": 4, "dimension": 32, "widths": (4, 4, 8), "personal": 4}
    embedding = Recipe("train-embedding", 1)
    save_model(study, "embedding", Untrained(EmbeddingNet()), embedding, arguments={}, extra=names)  # type: ignore[arg-type]
    kept = names | {"embedding": embedding.digest}
    save_model(study, "refiner", Untrained(RefinerNet(**sizes)), Recipe("r", 1), arguments=sizes, extra=kept)  # type: ignore[arg-type]
    save_model(study, "profile", Untrained(ProfileNet()), Recipe("p", 1), arguments={}, extra=names)  # type: ignore[arg-type]
    assert not take_in(study, "guest", [guest])
    enrol(study)
    return study


def guest_of(study: Study) -> Path:
    return next(study.root.glob("guest*"))


@pytest.mark.parametrize("method", ["network", "profile"])
def test_predictions_are_those_of_somebody_enrolled(study: Study, method: str) -> None:
    path = study.root / "gazepipe.toml"
    before = path.read_text(encoding="utf-8")
    config = load_config(path).model_dump(mode="json")
    config["refiner"] |= {"method": method}
    path.write_text(template(**config), encoding="utf-8")
    opened = Study.open(study.root)
    path.write_text(before, encoding="utf-8")
    image = study.stimuli / "scene01.png"
    seen = read(guest_of(study), opened)
    enrolled = Predictor(opened)
    assert enrolled.recipe[0] == method or method == "network"
    np.testing.assert_allclose(seen.embedding, enrolled.gallery["guest"].embedding, atol=1e-6)
    np.testing.assert_allclose(seen.predict(image), enrolled(image, "guest"), atol=1e-5)
    np.testing.assert_array_equal(seen.predict(read_rgb(image)), seen.predict(image))
    flat = np.ones((30, 40), np.float32)
    np.testing.assert_allclose(seen.predict(image, usm=flat), enrolled(image, "guest", usm=flat), atol=1e-5)


def test_profile_and_network_predict_different_maps(study: Study) -> None:
    seen = read(guest_of(study), study)
    assert seen.profile is not None
    enrolled = Predictor(study).gallery["guest"].profile
    assert enrolled is not None
    np.testing.assert_allclose(seen.profile, enrolled, atol=1e-5)


def test_a_session_in_a_notebook(study: Study) -> None:
    seen = read(guest_of(study), study)
    assert repr(seen).startswith("<Seen: 1 recording, 4 trials, ")
    assert {"onset_ms", "duration_ms", "x_px", "y_px"} <= set(seen.fixations.columns)
    assert {"amplitude_deg", "peak_velocity_deg_s"} <= set(seen.saccades.columns)
    np.testing.assert_array_equal(seen.map("scene01"), seen.map("scene01.png"))
    names = seen.stimuli[:2]
    scores = seen.score({name: seen.predict(study.stimuli / name) for name in names})
    assert list(scores.index) == list(names)
    assert scores.loc[:, "CC"].between(-1, 1).all()


def test_objects_tell_what_they_are_in_a_line(study: Study) -> None:
    gallery, predictor = load_gallery(study.root), Predictor(study.root)
    assert repr(study).startswith("<Study: sample, recordings in ")
    assert repr(predictor) == "<Predictor: 3 people, maps of 120 × 160 by the network>"
    assert repr(gallery) == "<Gallery: 3 people: guest, sim01, sim02>"
    assert [p.user for p in gallery] == ["guest", "sim01", "sim02"]
    assert (len(gallery), "sim01" in gallery, "sim09" in gallery) == (3, True, False)
    assert re.fullmatch(
        r"<Enrolment: guest, enrolled, 4 image-PSM pairs, nearest sim0\d at cosine .*>", repr(gallery["guest"])
    )
    assert max(len(repr(thing)) for thing in (gallery, predictor, gallery["guest"])) < 100


def test_the_package_offers_what_is_documented_and_no_more() -> None:
    assert not {"Any", "TYPE_CHECKING", "os", "choose_kernel_cache"} & set(dir(gazepipe))
    assert {"read", "plotting", "metrics"} <= set(dir(gazepipe))
    assert all(getattr(gazepipe, name) is not None for name in dir(gazepipe))
    assert gazepipe.metrics.cc(np.eye(3), np.eye(3)) == pytest.approx(1)


def test_what_is_wrong_is_told_in_a_sentence(study: Study, small_study: Any) -> None:
    seen = read(guest_of(study), study)
    with pytest.raises(NothingToDoError, match=r"scene9: there is no map of it; there are scene01\.png"):
        seen.map("scene9")
    with pytest.raises(ConfigError, match=r"scene01\.png: a map of shape \(3, 4\); expected the study's, \(120, 160\)"):
        seen.score({"scene01.png": np.ones((3, 4))})
    with pytest.raises(NothingToDoError, match="no map to score"):
        seen.score({})
    small_study.image("i.png")
    small_study.recording("a.csv", [("i.png", [(200, 150, 200.0), (600, 450, 300.0)])])
    untrained = read(small_study.root / "rec" / "a.csv", small_study.root)
    with pytest.raises(NothingToDoError, match="run `gazepipe train` first"):
        untrained.predict(small_study.root / "img" / "i.png")
