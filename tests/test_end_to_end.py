"""The whole pipeline on simulated people, whose fixations, tastes and identities are known.

14 observers look at 48 drawn scenes. Twelve are the study; two are kept back and enrolled afterwards from their files,
as a lab would do with somebody new.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gazepipe import store
from gazepipe.config import template
from gazepipe.enrol import enrol, load_gallery, take_in
from gazepipe.geometry import Placement
from gazepipe.models import load_model
from gazepipe.pipeline import RunReport, run
from gazepipe.predict import predict
from gazepipe.simulate import SimulatedStudy, simulate_study
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Study

CLASSES = ["face", "text", "plant", "vehicle"]
NEWCOMERS = ("sim13", "sim14")


@dataclass(frozen=True)
class Done:
    truth: SimulatedStudy
    study: Study
    report: RunReport
    newcomers: dict[str, list[Path]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("study")
    truth = simulate_study(folder / "sim", users=14, images=48, seed=1)
    newcomers: dict[str, list[Path]] = {user: [] for user in NEWCOMERS}
    (folder / "new").mkdir()
    for path in sorted((folder / "sim").iterdir()):
        user = path.name.split(".")[0].split("_")[0]
        if user in newcomers:
            newcomers[user].append(Path(shutil.move(path, folder / "new" / path.name)))
    study = Study.open(folder / "sim")
    return Done(truth, study, run(study, threads=1), newcomers)


def test_every_recording_is_used(done: Done) -> None:
    assert done.report.failures == []
    assert len(done.study.known_recordings()) == len(list((done.study.store / "recordings").glob("*.h5")))
    corpus = load_corpus(done.study)
    assert len(corpus.users) == 12
    assert (corpus.index >= 0).all()
    assert corpus.images is not None


def test_fixations_are_those_that_were_simulated(done: Done) -> None:
    hits = found_total = true_total = 0
    errors = []
    degree = done.study.config.screen.screen().pixels_per_degree[0]
    for name, row in done.study.known_recordings().items():
        contents = store.load(done.study.recording_file(name), "gazepipe.recording", only=("fixations/",))
        found = store.to_frame(contents, "fixations")
        found = found[found["trial"] >= 0]
        truth = done.truth.fixations[done.truth.fixations["user"] == row["user"]]
        low, high = found["onset_ms"].min(), found["offset_ms"].max()
        truth = truth[(truth["offset_ms"] > low) & (truth["onset_ms"] < high)]
        middle = ((truth["onset_ms"] + truth["offset_ms"]) / 2).to_numpy()
        at = np.searchsorted(found["onset_ms"].to_numpy(), middle) - 1
        inside = (at >= 0) & (middle < found["offset_ms"].to_numpy()[np.maximum(at, 0)])
        hits += len(set(at[inside]))
        found_total, true_total = found_total + len(found), true_total + len(truth)
        matched = found.iloc[at[inside]]
        errors += np.hypot(
            matched["x_px"].to_numpy() - truth["x_px"].to_numpy()[inside],
            matched["y_px"].to_numpy() - truth["y_px"].to_numpy()[inside],
        ).tolist()
    assert 2 * hits / (found_total + true_total) > 0.97  # F1
    assert np.median(errors) / degree < 0.1
    assert np.percentile(errors, 95) / degree < 0.25


def test_unseen_users_are_told_apart_from_unseen_images(done: Done) -> None:
    evaluation = done.report.evaluation
    assert evaluation is not None
    chance = evaluation.facts["chance"]
    assert chance == pytest.approx(1 / 3)
    # The simulated tastes allow about .8; an untrained network stays near chance.
    assert evaluation.precision["disjoint"]["6"]["mean"] > 0.5
    assert evaluation.precision["paper"]["6"]["mean"] > evaluation.precision["disjoint"]["6"]["mean"]


def test_refined_maps_are_nearer_to_the_person_than_universal_ones(done: Done) -> None:
    assert done.report.evaluation is not None
    maps = done.report.evaluation.maps
    for source in ("GT-USM", "GT-USM without the user"):
        assert maps[f"gated Δ on {source}"]["CC"] > maps[source]["CC"] + 0.01
        assert maps[f"gated Δ on {source}"]["NSS"] > maps[source]["NSS"]


def share_of_classes(saliency: np.ndarray, objects: pd.DataFrame) -> np.ndarray:
    """Share of a map's mass inside the boxes of each class; NaN where a scene has none."""
    height, width = saliency.shape
    shares = []
    for kind in CLASSES:
        inside = np.zeros(saliency.shape, bool)
        for box in objects[objects["class"] == kind].itertuples():
            x, y = box.x / 320 * width, box.y / 240 * height
            w, h = box.width / 320 * width, box.height / 240 * height
            inside[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1] = True
        shares.append(saliency[inside].sum() / saliency.sum() if inside.any() else np.nan)
    return np.array(shares)


def tastes_agree(done: Done, users: list[str], images: list[str]) -> float:
    """Correlation, over users × classes, of true preference and predicted mass, both less the users' mean."""
    files = [done.study.stimuli / name for name in images]
    predicted = []
    for user in users:
        made, failures = predict(done.study, user, files, threads=1)
        assert failures == []
        objects = done.truth.objects
        rows = [share_of_classes(p.psm, objects[objects["stimulus"] == p.image.name]) for p in made]
        predicted.append(np.nanmean(rows, axis=0))
    truth = done.truth.users.set_index("user").loc[users, CLASSES].to_numpy(float)
    got = np.array(predicted)
    return float(np.corrcoef((truth - truth.mean(0)).ravel(), (got - got.mean(0)).ravel())[0, 1])


def test_everybody_gets_more_saliency_where_their_taste_lies(done: Done) -> None:
    info = load_model(done.study, "embedding").info
    assert tastes_agree(done, info["users_train"] + info["users_test"], info["images_test"]) > 0.5


def test_somebody_new_is_enrolled_from_their_files(done: Done) -> None:
    weights = {p: p.read_bytes() for p in (done.study.store / "models").iterdir()}
    for user in NEWCOMERS:
        assert take_in(done.study, user, done.newcomers[user]) == []
        enrol(done.study, [user], threads=1)
    gallery = load_gallery(done.study)
    assert len(gallery.people) == 14
    for user in NEWCOMERS:
        person = gallery[user]
        assert person.role == "enrolled"
        assert person.n_pairs == 48
        assert np.linalg.norm(person.embedding) == pytest.approx(1, abs=1e-5)
        assert person.margin > 0  # nearer to themselves than to anybody else
    assert {p: p.read_bytes() for p in (done.study.store / "models").iterdir()} == weights
    info = load_model(done.study, "embedding").info
    everybody = [p.user for p in gallery.people]
    assert tastes_agree(done, everybody, info["images_test"]) > 0.5


def test_a_second_run_finds_nothing_to_do(done: Done) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        kept = [*(done.study.store / "recordings").iterdir(), *(done.study.store / "models").iterdir()]
        kept += [*(done.study.store / "psm").iterdir(), done.study.usm_file, done.study.stimuli_file]
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in kept}

    before = state()
    again = run(done.study, threads=1)
    assert state() == before
    assert again.counts["ingest"].startswith("0 written")
    assert again.counts["train"].startswith("nothing trained")


def test_results_are_where_the_summary_says(done: Done) -> None:
    for path in done.report.overlays:
        assert path.stat().st_size > 1000
        array = np.load(path.with_suffix(".npy"))
        assert array.shape == (120, 160)
        assert array.min() >= 0
        assert array.max() > 0
    text = (done.study.store / "evaluation.md").read_text(encoding="utf-8")
    assert "| gated Δ on GT-USM |" in text
    assert "disjoint" in text


def test_the_configuration_written_is_the_one_in_force(done: Done) -> None:
    text = (done.study.recordings / "gazepipe.toml").read_text(encoding="utf-8")
    assert text == template(**done.study.config.model_dump())
    place = Placement.on_screen((320, 240), (1280, 1024), done.study.config.trials.placement)
    assert (place.scale_x, place.origin_y_px) == (4, 32)
