from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gazepipe import Predictor, Study, store
from gazepipe.build import maps_in_memory
from gazepipe.errors import NothingToDoError
from gazepipe.images import read_rgb
from gazepipe.ingest import ingest
from gazepipe.live.enrolment import LiveEnrolment, expected_cosine, trial_contents
from gazepipe.live.presenter import SilentPresenter
from gazepipe.live.session import LabSession
from gazepipe.live.simulated import SimulatedSource
from gazepipe.models import load_model
from gazepipe.stored_corpus import load_corpus
from gazepipe.training import Encoder


def by_trial(contents: store.Contents) -> list[tuple[str, store.Contents]]:
    """Divide a stored recording into presentations."""
    trials, fixations = store.to_frame(contents, "trials"), store.to_frame(contents, "fixations")
    out = []
    for row in range(len(trials)):
        one, found = trials.iloc[[row]], fixations[fixations["trial"] == row].assign(trial=0)
        arrays = {f"trials/{c}": one[c].to_numpy() for c in one} | {
            f"fixations/{c}": found[c].to_numpy() for c in found
        }
        out.append((str(one["stimulus"].iloc[0]), store.Contents(Path("t"), arrays, contents.attrs)))
    return out


def test_image_by_image_it_is_the_embedding_of_all(trained: Study) -> None:
    name = next(k for k, v in trained.known_recordings().items() if v["user"] == "sim08")
    contents = store.load(trained.recording_file(name), "gazepipe.recording")
    presentations = by_trial(contents)
    live = LiveEnrolment(trained, "guest", [image for image, _ in presentations], target=0.5, least=3, threads=1)
    updates = [live.add_contents(image, part) for image, part in presentations]

    model = load_model(trained, "embedding")
    training = list(model.info["users_train"])
    maps, _ = maps_in_memory(trained, "guest", {name: contents})
    corpus = load_corpus(trained, users=training, guest=maps)
    table = Encoder(model.net, corpus, tuple(range(len(training)))).table(len(training), np.arange(len(corpus.stimuli)))
    table = table[np.isfinite(table[:, 0])]
    mean = table.mean(0)
    assert updates[-1].n_pairs == len(table) > 3
    np.testing.assert_allclose(updates[-1].embedding, mean / np.linalg.norm(mean), atol=1e-4)
    assert math.isnan(updates[0].expected_cosine)
    assert not updates[0].enough
    assert updates[-1].turned == pytest.approx(float(updates[-1].embedding @ updates[-2].embedding))
    assert updates[-1].enough == (updates[-1].expected_cosine >= 0.5)


def test_repeats_of_an_image_are_one_pair(trained: Study) -> None:
    name = next(k for k, v in trained.known_recordings().items() if v["user"] == "sim08")
    image, part = by_trial(store.load(trained.recording_file(name), "gazepipe.recording"))[0]
    live = LiveEnrolment(trained, "guest", [image], threads=1)
    first, second = live.add_contents(image, part), live.add_contents(image, part)
    assert (first.n_pairs, second.n_pairs) == (1, 1)
    assert second.fixations == 2 * first.fixations
    np.testing.assert_allclose(first.psm, second.psm, atol=1e-3)


def test_expected_cosine_is_that_of_drawn_means() -> None:
    """Features scattered about a mean: the cosine of a mean over n of them to the true one, by a thousand draws."""
    rng = np.random.default_rng(0)
    true = np.array([2.0, 0, 0, 0, 0])
    for n in (4, 16, 64):
        tables = true + rng.normal(0, 1, (1000, n, 5))
        means = tables.mean(1)
        cosine = means[:, 0] / np.linalg.norm(means, axis=1)
        assert np.mean([expected_cosine(t) for t in tables]) == pytest.approx(cosine.mean(), abs=0.02)
    assert math.isnan(expected_cosine(true[None]))
    assert expected_cosine(np.tile(true, (3, 1))) == 1.0


def test_somebody_new_has_maps_in_the_same_session(trained: Study) -> None:
    images = sorted(trained.stimuli.glob("*.png"))[:3]
    source = SimulatedSource(trained.config.screen.screen())
    predictor = Predictor(trained, threads=1)
    presenter = SilentPresenter()
    with LabSession(trained, user="new", source=source) as session:
        person = LiveEnrolment(trained, "new", images, threads=1)
        with pytest.raises(NothingToDoError, match="has not looked at any image"):
            person.person()
        updates = []
        for image, trial in session.trials(images):
            presenter.image(image, trial.place, trial.onset)
            presenter.wait(0.7)
            trial.end()
            updates.append(person.add(session, trial))
        last = trial
    # The viewer blinks and looks beside the images, too; an image without a fixation says so and changes nothing.
    assert all(bool(u.fixations) != bool(u.problem) for u in updates)
    assert updates[-1].n_pairs == sum(u.fixations > 0 for u in updates) > 0
    predictor.welcome(person.person())
    one = predictor(images[0], "new")
    assert one.shape == predictor.size
    small = read_rgb(images[0], (predictor.size[1], predictor.size[0]))
    assert small.shape[:2] == one.shape
    # What was found live is what an ingest of the recording finds.
    report = ingest(trained, jobs=1)
    assert not report.failures
    stored = store.load(trained.recording_file(f"new_{session.label}"), "gazepipe.recording")
    found = trial_contents(session, last).group("fixations")
    trial_of = stored.arrays["fixations/trial"]
    row = len(stored.arrays["trials/stimulus"]) - 1
    np.testing.assert_allclose(
        found["x_px"][found["trial"] == 0], stored.arrays["fixations/x_px"][trial_of == row], atol=1e-3
    )
