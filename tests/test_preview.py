"""The dry run says what an ingest does, and writes nothing."""

from __future__ import annotations

import hashlib
import json

import pytest
from click.testing import CliRunner

from gazepipe.cli import main
from gazepipe.ingest import ingest
from gazepipe.preview import preview

LOOKS = [("a.png", [(200, 150, 300), (600, 450, 300)]), ("b.png", [(400, 300, 400)])]


@pytest.fixture
def study(small_study):
    for user in ("anna", "ben_ses-2", "cleo"):
        small_study.recording(f"{user}.csv", LOOKS)
    (small_study.root / "rec" / "bad.csv").write_text("time_ms\n")
    small_study.image("a.png")
    small_study.image("idle.png")
    return small_study


def digest(folder):
    """Names, contents and times of everything below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found.update(repr((str(path), content, path.stat().st_mtime_ns)).encode())
    return found.hexdigest()


def run(study, *options):
    return CliRunner().invoke(main, ["ingest", str(study.root), "--dry-run", *options])


def test_a_plan_before_anything_is_stored(study):
    before = digest(study.root)
    plan = preview(study.open())
    assert digest(study.root) == before
    rows = {f.file: f for f in plan.files}
    anna = rows["anna.csv"]
    assert (anna.reader, anna.user, anna.session, anna.action) == ("csv", "anna", "", "new")
    assert (anna.trials, anna.samples) == (2, 150 + 125 + 100 + 125)
    assert rows["ben_ses-2.csv"].session == "ses-2"
    assert rows["bad.csv"].action == "cannot be used"
    assert rows["bad.csv"].why
    assert plan.summary() == {
        **{"files": 4, "new": 3, "changed": 0, "up_to_date": 0, "cannot_be_used": 1},
        **{"users": 3, "trials": 6, "samples": 1500},
    }
    said = "\n".join(plan.notes)
    assert "1 image that trials of 3 recordings name is not in" in said
    assert "(b.png)" in said
    assert "1 image in" in said
    assert "is shown in no trial (idle.png)" in said


def test_what_changed_is_said(study):
    (study.root / "rec" / "bad.csv").unlink()
    ingest(study.open())
    study.recording("anna.csv", [("a.png", [(200, 150, 900)])])
    before = digest(study.root)
    rows = {f.file: f for f in preview(study.open()).files}
    assert (rows["anna.csv"].action, rows["anna.csv"].why) == ("changed", "the file changed")
    assert (rows["anna.csv"].trials, rows["cleo.csv"].action) == (1, "up to date")
    assert (rows["cleo.csv"].trials, rows["cleo.csv"].samples, rows["cleo.csv"].reader) == (2, 500, "csv")
    study.configure(ivt={"min_fixation_ms": 90})
    rows = {f.file: f for f in preview(study.open()).files}
    assert rows["anna.csv"].why == "the file and [ivt] changed"
    assert rows["cleo.csv"].why == "[ivt] changed"
    study.configure(ivt={"min_fixation_ms": 60})
    assert {f.why for f in preview(study.open(), force=True).files if f.file != "anna.csv"} == {"--force"}
    assert digest(study.root) != before  # only the configuration
    report = ingest(study.open())
    assert (report.written, report.current) == (["anna"], ["ben_ses-2", "cleo"])


def test_on_the_command_line(study):
    before = digest(study.root)
    result = run(study)
    assert result.exit_code == 3
    lines = result.output.splitlines()
    assert lines[0].split() == ["file", "reader", "user", "session", "trials", "samples", "would", "be", "done"]
    assert next(line for line in lines if line.startswith("cleo.csv")).split()[1:] == [
        "csv",
        "cleo",
        "2",
        "500",
        "read:",
        "new",
    ]
    assert (
        "4 files of 3 users: 3 new, 0 changed, 0 up to date, 1 cannot be used; 6 trials, 1,500 samples."
        in result.output
    )
    found = json.loads(run(study, "--json").output)
    assert found["summary"]["trials"] == 6
    assert {f["action"] for f in found["files"]} == {"new", "cannot be used"}
    assert digest(study.root) == before
    (study.root / "rec" / "bad.csv").unlink()
    assert run(study).exit_code == 0


def test_an_ingest_says_which_images_and_trials_do_not_meet(study):
    (study.root / "rec" / "bad.csv").unlink()
    warnings = "\n".join(ingest(study.open()).warnings)
    assert "is not in" in warnings
    assert "(idle.png)" in warnings
    assert warnings == "\n".join(ingest(study.open()).warnings)  # also when all is up to date


@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_make_the_same_plan(study, jobs):
    assert [f.file for f in preview(study.open(), jobs=jobs).files] == [
        "anna.csv",
        "bad.csv",
        "ben_ses-2.csv",
        "cleo.csv",
    ]
