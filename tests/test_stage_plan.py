"""What `--dry-run` says and `--json` prints: plans come true, nothing is written meanwhile, and documents are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gazepipe.cli import main
from gazepipe.cli._shared import _plain
from gazepipe.config import load_config, template
from gazepipe.stage_plan import StagePlan
from gazepipe.study import Study

STAGES = ["ingest", "build-psm", "train", "enrol", "predict", "evaluate"]


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def document(*arguments: object, code: int = 0) -> Any:
    """Run a command with --json: its one document, with no number that JSON does not have."""
    done = gazepipe(*arguments, "--json")
    assert done.exit_code == code, done.output

    def unknown(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    return json.loads(done.stdout, parse_constant=unknown)


def digest(folder: Path) -> str:
    """Names, bytes and times of all files below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        total.update(repr((path.relative_to(folder), data, path.stat().st_mtime_ns)).encode())
    return total.hexdigest()


def plan(root: Path, *arguments: object, code: int = 0, told: bool = False) -> Any:
    """Plan something, which must change nothing; if it is `told` as text, too, that must say the same."""
    before = digest(root)
    found = document(*arguments, "--dry-run", code=code)
    text = gazepipe(*arguments, "--dry-run") if told else None
    assert digest(root) == before
    if text is None:
        return found
    assert text.exit_code == code, text.output
    for one in found.get("stages", [found]):
        assert one["summary"]["made"] == sum(s["action"] == "made" for s in one["steps"])
        counts = ", ".join(f"{n} {a.replace('_', ' ')}" for a, n in one["summary"].items() if n) or "nothing to do"
        assert f"{one['stage']}: {counts}. Nothing was written." in text.stdout
    return found


def recording_of(root: Path, user: str) -> Path:
    return next(p for p in sorted(root.rglob("*")) if p.name.startswith(user) and "store" not in p.parts)


def actions(found: Mapping[str, Any]) -> dict[str, str]:
    return {step["what"]: step["action"] for step in found["steps"]}


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory,
    simulated: Callable[..., Study],
    whole_sections: dict[str, Mapping[str, Any]],
) -> tuple[Path, Any, Any]:
    """A study on which everything has run once, what a plan said before, and what the run said."""
    root = tmp_path_factory.mktemp("planned") / "study"
    simulated(
        root,
        users=6,
        images=12,
        seconds=1.0,
        seed=2,
        **{**whole_sections, "evaluation": {**whole_sections["evaluation"], "m": [1]}},
        universal={"backbone": "none", "epochs": 1},
    )
    before = plan(root, "run", root, told=True)
    return root, before, document("run", root, "--threads", 1, "--images", 2)


def test_a_study_that_is_new_is_planned_as_far_as_can_be_known(done: tuple[Path, Any, Any]) -> None:
    _, before, _ = done
    assert [s["stage"] for s in before["stages"]] == STAGES
    assert set(actions(before["stages"][0]).values()) == {"made"}
    for stage in before["stages"][1:]:
        assert stage["steps"] == [
            {"what": "everything", "action": "made", "why": "as far as what ingest makes changes it"}
        ]


def test_a_run_tells_what_it_did(done: tuple[Path, Any, Any]) -> None:
    root, _, said = done
    assert list(said["stages"]) == STAGES
    assert all(row["seconds"] >= 0 for row in said["stages"].values())
    assert [p["user"] for p in said["gallery"]] == [f"sim0{k}" for k in range(1, 7)]
    assert said["evaluation"]["facts"]["users_test"] == 2
    assert said["failures"] == []
    assert said["evaluation"] == {k: document("evaluate", root)[k] for k in said["evaluation"]}


def test_after_a_run_everything_is_up_to_date(done: tuple[Path, Any, Any]) -> None:
    root, _, _ = done
    found = plan(root, "run", root, "--images", 2)
    assert [s["stage"] for s in found["stages"]] == STAGES
    assert {a for s in found["stages"] for a in actions(s).values()} == {"up to date"}
    for command in ("build-psm", "train", "evaluate"):
        assert set(actions(plan(root, command, root, "--force")).values()) == {"made"}
    assert actions(plan(root, "enrol", "--study", root, "--all")) == {"gallery.h5": "up to date"}


def test_results_are_told_as_documents(done: tuple[Path, Any, Any], tmp_path: Path) -> None:
    root, _, _ = done
    keys = {"stage", "store", "written", "up_to_date", "removed", "failures"}
    assert set(document("ingest", root)) == keys | {"notes"}
    assert set(document("build-psm", root)) == keys | {"maps", "images"}
    trained = document("train", root, "--threads", 1)
    assert (trained["trained"], trained["up_to_date"]) == ([], ["embedding", "refiner", "profile", "universal"])
    assert len(document("enrol", "--study", root, "--all", "--threads", 1)["people"]) == 6
    for rows in (document("status", root), document("quality", root), document("audit", root)):
        assert rows
    assert document("info", root)
    assert document("export", tmp_path / "bids", root, "--dry-run")
    assert document("verify", root)["files"] > 10
    recording = recording_of(root, "sim03")
    assert document("identify", "--study", root, recording, "--threads", 1)
    assert document("compare", "sim01", "sim02", "--study", root)
    assert document("verify", "--study", root, "--user", "sim03", "--far", 0.5, recording, code=0)


def test_predictions_are_planned_one_by_one(done: tuple[Path, Any, Any], tmp_path: Path) -> None:
    root, _, _ = done
    out, images = tmp_path / "out", sorted((root / "stimuli").iterdir())[:2]
    ask = ("predict", "--study", root, "--users", "sim01,sim02", "--out", out, "--threads", 1)
    first = plan(tmp_path, *ask, images[0])
    assert list(actions(first).values()) == ["made", "made"]
    made = document(*ask, images[0])["predictions"]
    assert [(p["user"], p["up_to_date"]) for p in made] == [("sim01", False), ("sim02", False)]
    assert all(Path(p["array"]).is_file() for p in made)
    again = plan(tmp_path, *ask, *images)
    assert sorted(actions(again).values()) == ["made", "made", "up to date", "up to date"]
    assert {w.split("/")[-1] for w, a in actions(again).items() if a == "made"} == {images[1].stem}
    missing = plan(tmp_path, *ask, images[0], tmp_path / "none.png", code=3)
    assert actions(missing)[str(tmp_path / "none.png")] == "impossible"


def test_folds_are_planned_and_told(done: tuple[Path, Any, Any]) -> None:
    root, _, _ = done
    ask = ("crossvalidate", root, "--folds", 3, "--no-maps")
    assert [a for w, a in actions(plan(root, *ask)).items() if "fold-" in w] == ["made"] * 3
    found = document(*ask, "--threads", 1)
    assert found["facts"]["folds"] == len(found["folds"]) == 3
    assert [a for w, a in actions(plan(root, *ask)).items() if "fold-" in w] == ["up to date"] * 3


def test_a_plan_of_an_enrolment_comes_true(done: tuple[Path, Any, Any], small_study: Any) -> None:
    root, _, _ = done
    source = recording_of(root, "sim04")
    ask = ("enrol", "--study", root, "--user", "new")
    found = plan(root, *ask, source)
    assert list(actions(found).values()) == ["made"] * 3
    assert found["steps"][-1]["why"] == "7 people"
    assert document(*ask, source, "--threads", 1)["people"] == 7
    # Another recording in its place.
    other = recording_of(root, "sim05")
    assert "removed" in actions(plan(root, *ask, other)).values()
    assert actions(plan(root, *ask)) == {"gallery.h5": "up to date"}
    taken = gazepipe("enrol", "--study", root, "--user", "sim01", source, "--dry-run")
    assert taken.exit_code == 2
    assert "already has a user 'sim01'" in taken.stderr
    forgotten = document("forget", "--study", root, "--user", "new", "--dry-run")
    assert any("new" in name for name in forgotten["remove"])


def test_a_plan_of_maps_comes_true(small_study: Any) -> None:
    small_study.image("i.png")
    for user in ("a", "b", "c"):
        small_study.recording(f"{user}.csv", [("i.png", [(200, 150, 200.0), (600, 450, 300.0)])])
    root = small_study.root
    assert gazepipe("build-psm", root, "--dry-run").exit_code == 4
    assert document("ingest", root)["written"] == ["a", "b", "c"]
    assert document("build-psm", root)["written"] == ["a", "b", "c"]
    small_study.recording("b.csv", [("i.png", [(300, 150, 200.0), (600, 450, 300.0)])])
    (root / "rec" / "c.csv").unlink()
    assert document("ingest", root)["removed"] == ["c"]
    found = actions(plan(root, "build-psm", root, told=True))
    expected = {"maps of a": "up to date", "maps of b": "made", "maps of c": "removed"}
    assert found == expected | {"usm.h5": "made", "stimuli.h5": "up to date"}
    said = document("build-psm", root)
    assert (said["written"], said["up_to_date"], said["removed"]) == (["b"], ["a"], ["c"])


def test_a_plan_of_an_import_comes_true(tmp_path: Path) -> None:
    table = tmp_path / "looks.csv"
    rows = [f"{u},i.png,{x},200,250" for u in ("a", "b") for x in (100, 300, 500)]
    table.write_text("user,stimulus,x_px,y_px,duration_ms\n" + "\n".join(rows) + "\n")
    root = tmp_path / "study"
    ask = ("import", "table", table, "--study", root, "--pixels-per-degree", 30, "--frame", "800x600")
    assert list(actions(plan(tmp_path, *ask)).values()) == ["made"] * 3
    assert document(*ask)["recordings"] == 2
    assert set(actions(plan(tmp_path, *ask)).values()) == {"up to date"}
    table.write_text(table.read_text().replace("a,i.png,100", "a,i.png,120"))
    assert actions(plan(tmp_path, *ask))["user a"] == "made"
    assert actions(plan(tmp_path, *ask))["user b"] == "up to date"


def test_what_is_not_there_ends_a_plan_as_it_ends_a_run(small_study: Any) -> None:
    small_study.recording("broken.csv", [])
    (small_study.root / "rec" / "broken.csv").write_text("")
    found = plan(small_study.root, "run", small_study.root, code=3, told=True)
    assert [s["action"] for s in found["stages"][0]["steps"]] == ["impossible"]
    assert found["stages"][-1]["stage"] == "build-psm"
    assert "run `gazepipe ingest`" in found["stages"][-1]["steps"][0]["why"]
    assert document("ingest", small_study.root, code=3)["failures"][0]["stage"] == "ingest"


def test_long_plans_are_cut_and_say_so() -> None:
    found = StagePlan("ingest")
    for k in range(50):
        found.make(f"r{k}", k >= 45)
    assert "… and 5 more made" in found.text()
    assert found.text().endswith("ingest: 45 made, 5 up to date. Nothing was written.")


def test_numbers_that_json_lacks_are_null() -> None:
    assert _plain({"a": float("nan"), 1: (float("inf"), Path("b"), True, None)}) == {
        "a": None,
        "1": [None, "b", True, None],
    }


def test_settings_that_change_are_seen(done: tuple[Path, Any, Any], tmp_path: Path) -> None:
    root, _, _ = done
    config = load_config(root / "gazepipe.toml").model_dump(mode="json")
    config["refiner"] |= {"epochs": 2}
    changed = root / "changed.toml"
    changed.write_text(template(**config), encoding="utf-8")
    found = actions(plan(root, "train", root, "--config", changed))
    changed.unlink()
    assert {k for k, v in found.items() if v == "made"} == {"network refiner"}
