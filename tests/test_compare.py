"""`gazepipe compare`: two users and two runs, with known answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from gazepipe.build import build_psm
from gazepipe.cli import main
from gazepipe.compare import compare_runs, compare_users
from gazepipe.documents import write_json
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.evaluation.scores import Scores, save_scores
from gazepipe.ingest import ingest
from gazepipe.metrics import METRICS
from gazepipe.recipe import Recipe
from gazepipe.study import Study


@pytest.fixture
def pair(small_study: Any) -> Study:
    """On each of three images a looks at 2, 3 and 4 places, b at one place fewer, both for 200 ms; c as a."""
    names = ["i1.png", "i2.png", "i3.png"]
    for name in names:
        small_study.image(name, 800, 600)
    places = [(200.0, 150.0, 200.0), (600.0, 150.0, 200.0), (200.0, 450.0, 200.0), (600.0, 450.0, 200.0)]
    for user, less in (("a", 0), ("b", 1), ("c", 0)):
        looks = [places[: 2 + k - less] for k in range(3)]
        small_study.recording(f"{user}.csv", list(zip(names, looks, strict=True)))
    study: Study = small_study.open()
    ingest(study, jobs=1)
    build_psm(study)
    return study


def test_two_users(pair: Study) -> None:
    found = compare_users(pair, "a", "b")
    by_name = {r.what: r for r in found.rows}
    count = by_name["fixations an image"]
    assert (count.first, count.second) == (3, 2)
    assert (count.difference.mean, count.difference.low, count.difference.n) == (1, 1, 3)
    assert count.clear
    alike = by_name["CC with everybody else's map"]
    assert alike.first == pytest.approx(1, abs=1e-3)  # c looked as a did
    assert alike.second < 0.9
    loss = by_name["data loss"]
    assert loss.difference.mean == 0
    assert not loss.clear


def test_the_command_prints_and_draws(pair: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `report`")
    figure = tmp_path / "maps.svg"
    arguments = ["compare", "a", "b", "--study", str(pair.root)]
    done = CliRunner().invoke(main, [*arguments, "--json", "--figure", str(figure)])
    assert done.exit_code == 0, done.output
    content = json.loads(done.output)
    assert content["unit"] == "images"
    assert content["rows"][0]["mean"] == 1
    assert "a − b" in figure.read_text(encoding="utf-8")
    text = CliRunner().invoke(main, arguments).output
    assert "+1.00 … +1.00  *" in text


def test_somebody_who_is_not_there(pair: Study) -> None:
    with pytest.raises(NothingToDoError, match=r"'nobody' is not in .*there are a, b, c"):
        compare_users(pair, "a", "nobody")


def run(study: Study, store_: Path, users: tuple[str, ...], values: list[list[float]]) -> Study:
    """A store with an evaluation in which each user has one score a image, the same in all measures."""
    other = Study(study.config, study.root, study.recordings, study.stimuli, store_)
    who = np.repeat(np.array(users, object), len(values[0]))
    images = np.array([f"i{k}.png" for k in range(len(values[0]))] * len(users), object)
    scores = np.repeat(np.ravel(values)[None, :, None], len(METRICS), 2)
    save_scores(store_ / "evaluation.h5", Scores(("row",), who, images, scores), Recipe("evaluate", 1))
    precision = {"disjoint": {"4": {"mean": 0.5, "sd": 0.0, "users": {u: 0.25 * (k + 1) for k, u in enumerate(users)}}}}
    write_json(store_ / "evaluation.json", {"precision": precision, "facts": {"chance": 1 / len(users)}})
    return other


def test_two_runs(small_study: Any, tmp_path: Path) -> None:
    """Users a and b are in both: differences of means 0.1 and 0.3; half of Student's interval is 12.706 · 0.1."""
    study = small_study.open()
    first = run(study, tmp_path / "one", ("a", "b"), [[0.5, 0.7], [0.6, 0.6]])
    second = run(study, tmp_path / "two", ("a", "b", "c"), [[0.4, 0.6], [0.3, 0.3], [9.0, 9.0]])
    found = compare_runs(first, second, ("one", "two"))
    cc = next(r for r in found.rows if r.what == "row: CC")
    assert (cc.first, cc.second) == (pytest.approx(0.6), pytest.approx(0.4))
    assert cc.difference.mean == pytest.approx(0.2)
    assert cc.difference.high == pytest.approx(0.2 + 12.706 * 0.1, abs=1e-3)
    precision = next(r for r in found.rows if r.what.startswith("precision"))
    assert (precision.difference.mean, precision.difference.n) == (0, 2)
    assert found.notes == ["Chance of precision at one differs: 0.500 and 0.333."]


def test_runs_without_a_common_user(small_study: Any, tmp_path: Path) -> None:
    study = small_study.open()
    first = run(study, tmp_path / "one", ("a",), [[0.5]])
    second = run(study, tmp_path / "two", ("b",), [[0.5]])
    with pytest.raises(ConfigError, match="no test user in common"):
        compare_runs(first, second, ("one", "two"))
    with pytest.raises(NothingToDoError, match="there is no evaluation"):
        compare_runs(study, first, ("here", "one"))
