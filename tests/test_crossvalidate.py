"""Cross-validation of a small simulated study: nobody is trained on and tested, and a stopped run goes on."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazepipe import crossvalidate as stage
from gazepipe.build import build_psm
from gazepipe.config import load_config, template
from gazepipe.corpus import Corpus, Split
from gazepipe.crossvalidate import crossvalidate, folder_of
from gazepipe.errors import ConfigError
from gazepipe.ingest import ingest
from gazepipe.study import Study
from gazepipe.training import train_embedding, train_refiner
from gazepipe.universal_maps import train_predictor


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study]) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "study"
    study = simulated(
        folder,
        users=8,
        images=20,
        seconds=1,
        seed=3,
        split={"users": [0.5, 0.25, 0.25], "images": [0.6, 0.2, 0.2]},
        psm={"width": 40, "height": 30},
        embedding={"m": 2},
        evaluation={"m": [2], "embeddings_per_user": 4, "repetitions": 3, "offset_repetitions": 1},
    )
    ingest(study)
    build_psm(study)
    return folder


@pytest.fixture
def study(built: Path, tmp_path: Path) -> Study:
    return Study.open(Path(shutil.copytree(built, tmp_path / "study")))


def test_no_test_user_or_image_reaches_a_training(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, Split]] = []
    tested: list[tuple[str, ...]] = []

    def watched(name: str, train: Any) -> Any:
        def call(corpus: Corpus, split: Split, *rest: Any, **options: Any) -> Any:
            trained.append((name, split))
            return train(corpus, split, *rest, **options)

        return call

    for name, train in (("embedding", train_embedding), ("refiner", train_refiner)):
        monkeypatch.setattr(stage, f"train_{name}", watched(name, train))

    def watched_predictor(_: Study, corpus: Corpus, split: Split, *rest: Any, **options: Any) -> Any:
        return watched("universal", functools.partial(train_predictor, study))(corpus, split, *rest, **options)

    monkeypatch.setattr(stage, "train_predictor", watched_predictor)
    result = crossvalidate(study, folds=2, threads=1)
    assert [name for name, _ in trained] == ["embedding", "universal", "refiner"] * 2
    for k, fold in enumerate(result.folds):
        split = trained[3 * k][1]
        assert all(s == split for _, s in trained[3 * k : 3 * k + 3])
        names = set(fold.precision["disjoint"]["2"]["users"])
        training = {f"sim{u + 1:02d}" for u in split.users_train + split.users_validation}
        assert names | training == {f"sim{u:02d}" for u in range(1, 9)}
        assert not names & training
        assert set(fold.scores.user) == names
        tested.append(tuple(sorted(names)))
    assert sorted(u for part in tested for u in part) == [f"sim{u:02d}" for u in range(1, 9)]
    assert set(result.precision["all"]["2"]["users"]) == {f"sim{u:02d}" for u in range(1, 9)}
    assert len(result.scores.user) == 8 * 4  # everybody on a fifth of the images
    assert "gated Δ on GT-USM without the user" in result.scores.rows
    folder = folder_of(study, None)
    assert sorted(p.name for p in folder.iterdir()) == [
        *("crossvalidation.json", "crossvalidation.md", "fold-1-1.h5", "fold-1-2.h5"),
        *("maps.csv", "precision.csv", "scores.csv", "verification.csv"),
    ]


def test_a_stopped_run_goes_on_and_ends_with_the_same_figures(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = crossvalidate(study, folds=4, maps=False, threads=1)
    folder = folder_of(study, None, maps=False)
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("fold*")}
    text = (folder / "precision.csv").read_text()
    calls = []

    def counted(study: Study, corpus: Corpus, fold: Any, *rest: Any) -> Any:
        calls.append(fold.name)
        return run(study, corpus, fold, *rest)

    run = stage._run
    monkeypatch.setattr(stage, "_run", counted)
    (folder / "fold-1-3.h5").unlink()  # as if the run had been killed before it
    (folder / "fold-1-4.h5").write_bytes(b"half a file")
    again = crossvalidate(study, folds=4, maps=False, threads=1)
    assert calls == ["fold-1-3", "fold-1-4"]
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items() if p.stem[-1] in "12")
    assert again.precision == whole.precision
    assert (folder / "precision.csv").read_text() == text
    crossvalidate(study, folds=4, maps=False, threads=1)
    assert len(calls) == 2  # nothing left to do
    crossvalidate(study, folds=4, maps=False, threads=1, force=True)
    assert len(calls) == 6


def test_repeats_of_a_person_are_averaged_first(study: Study) -> None:
    result = crossvalidate(study, folds=4, repeats=2, maps=False, threads=1)
    assert len(result.folds) == 8
    people = result.precision["disjoint"]["2"]["users"]
    assert len(people) == 8
    shares = [f.precision["disjoint"]["2"]["users"].get("sim01") for f in result.folds]
    once = [s for s in shares if s is not None]
    assert len(once) == 2
    assert people["sim01"] == pytest.approx(np.mean(once))


def test_closed_set_knows_everybody_and_cuts_images(study: Study) -> None:
    config = load_config(study.root / "gazepipe.toml").model_dump(mode="json")
    config["split"] |= {"protocol": "closed"}
    (study.root / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    result = crossvalidate(Study.open(study.root), folds=2, threads=1)
    assert len(result.scores.user) == 8 * 20  # everybody on each image once
    assert len({*zip(result.scores.user, result.scores.stimulus, strict=True)}) == 8 * 20
    assert "all" not in result.precision  # all users are test users already
    assert result.facts["chance"]["disjoint"] == pytest.approx(1 / 8)
    assert "over images" in result.markdown()


def test_time_given_to_a_fold_limits_its_networks() -> None:
    assert stage._limit(0.0, 0.0) == {"minutes": 0.0}
    assert stage._limit(0.0, 3.0) == {"minutes": 3.0}
    assert stage._limit(2.0, 3.0) == {"minutes": 2.0}


def test_too_many_folds_are_refused_before_anything_is_trained(study: Study) -> None:
    with pytest.raises(ConfigError, match="Use other --folds"):
        crossvalidate(study, folds=20, threads=1)
    assert not (study.store / "folds").exists()
