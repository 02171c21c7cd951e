"""Which files are whose, what a second run does, and that one recording never harms another."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gazepipe import store
from gazepipe.discovery import plan
from gazepipe.enrol import take_in
from gazepipe.errors import ConfigError, InputError, NothingToDoError
from gazepipe.ingest import IngestReport, ingest
from gazepipe.study import Study

LOOKS = [("a.png", [(200, 150, 300), (600, 450, 300)]), ("b.png", [(400, 300, 400)])]


@pytest.fixture
def three(small_study: Any) -> Any:
    for k, user in enumerate(("anna", "ben", "cleo")):
        small_study.recording(f"{user}.csv", [(s, [(x + k, y, t) for x, y, t in looks]) for s, looks in LOOKS])
    return small_study


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file but those that are of a time and a store: the audit log."""
    return {name: digest for name, (digest, _) in state(folder).items() if name != "audit.jsonl"}


def recorded(study: Study) -> list[str]:
    return sorted(study.known_recordings())


def messages(report: IngestReport) -> list[str]:
    return [f.message for f in report.failures]


# ---- whose ---------------------------------------------------------------------------------------------------------


def test_names_say_whose(small_study: Any) -> None:
    for name in ("anna.csv", "ben_ses-1.csv", "ben_ses-2.csv", "deep/er/p_3.csv", ".hidden.csv", "notes.txt"):
        small_study.recording(name, LOOKS)
    small_study.recording("../img/log.csv", LOOKS)  # stimuli and the store are not looked into
    jobs, failures = plan(small_study.open())
    assert failures == []
    assert [(j.user, j.session, j.recording) for j in jobs] == [
        ("anna", "", "anna"),
        ("ben", "ses-1", "ben_ses-1"),
        ("ben", "ses-2", "ben_ses-2"),
        ("p_3", "", "p_3"),
    ]


def test_a_pattern_of_ones_own(small_study: Any) -> None:
    small_study.configure(ingest={"user_pattern": r"^(?P<user>[^/]+)/(?P<session>\w+)\.csv$"})
    small_study.recording("anna/one.csv", LOOKS)
    small_study.recording("anna.csv", LOOKS)
    jobs, failures = plan(small_study.open())
    assert [(j.user, j.session) for j in jobs] == [("anna", "one")]
    assert len(failures) == 1
    assert "anna.csv: the name does not match [ingest] user_pattern" in failures[0].message


@pytest.mark.parametrize("name", ["ann a.csv", "ünal.csv", "con.csv", "-x.csv"])
def test_names_that_cannot_be_used(three: Any, name: str) -> None:
    three.recording(name, LOOKS)
    report = ingest(three.open())
    assert report.written == ["anna", "ben", "cleo"]
    assert len(report.failures) == 1
    assert name in messages(report)[0]
    assert "cannot be used" in messages(report)[0]


def test_two_files_that_would_be_one_recording(small_study: Any) -> None:
    """User a_b and user a in session b are two people, but one file in the store."""
    small_study.configure(ingest={"user_pattern": r"^(?P<user>[^/]+?)(/(?P<session>\w+))?\.csv$"})
    small_study.recording("a_b.csv", LOOKS)
    small_study.recording("a/b.csv", LOOKS)
    small_study.recording("c.csv", LOOKS)
    report = ingest(small_study.open())
    assert report.written == ["c"]
    assert len(report.failures) == 2


def test_nothing_there(small_study: Any) -> None:
    with pytest.raises(NothingToDoError, match="no file matches"):
        ingest(small_study.open())
    small_study.configure()
    shutil.rmtree(small_study.root / "rec")
    with pytest.raises(ConfigError, match=r"rec: no such folder; correct `recordings` in .*gazepipe\.toml"):
        ingest(small_study.open())


def test_planning_writes_nothing(three: Any) -> None:
    before = state(three.root)
    plan(three.open())
    assert state(three.root) == before
    assert not (three.root / "store").exists()


# ---- again -----------------------------------------------------------------------------------------------------------


def test_second_run_writes_no_recording(three: Any) -> None:
    assert ingest(three.open()).written == ["anna", "ben", "cleo"]
    before = state(three.root / "store" / "recordings")
    report = ingest(three.open())
    assert (report.written, report.current) == ([], ["anna", "ben", "cleo"])
    assert state(three.root / "store" / "recordings") == before
    assert ingest(three.open(), force=True).written == ["anna", "ben", "cleo"]
    assert contents(three.root / "store" / "recordings") == {k: v for k, (v, _) in before.items()}


def test_only_the_changed_file_is_read_again(three: Any) -> None:
    ingest(three.open())
    three.recording("ben.csv", [("a.png", [(100, 100, 500)])])
    report = ingest(three.open())
    assert (report.written, report.current) == (["ben"], ["anna", "cleo"])


@pytest.mark.parametrize("change", [{"ivt": {"min_fixation_ms": 100}}, {"screen": {"distance_mm": 600}}])
def test_a_changed_parameter_does_all_again(three: Any, change: dict[str, Any]) -> None:
    ingest(three.open())
    three.configure(**change)
    assert ingest(three.open()).written == ["anna", "ben", "cleo"]


def test_a_parameter_of_a_later_stage_does_nothing_again(three: Any) -> None:
    ingest(three.open())
    three.configure(psm={"sigma_deg": 2}, embedding={"steps": 3})
    assert ingest(three.open()).written == []


def test_a_file_that_now_belongs_to_somebody_else_is_stored_as_theirs(small_study: Any) -> None:
    small_study.recording("a_b.csv", LOOKS)
    small_study.configure(ingest={"user_pattern": r"^(?P<user>[^/]+)\.csv$"})
    ingest(small_study.open())
    small_study.configure(ingest={"user_pattern": r"^(?P<user>[^_]+)_(?P<session>\w+)\.csv$"})
    study = small_study.open()
    assert ingest(study).written == ["a_b"]
    attrs = store.load(study.recording_file("a_b"), "gazepipe.recording").attrs
    assert (attrs["user"], attrs["session"]) == ("a", "b")


def test_damaged_attributes_are_made_again(three: Any) -> None:
    study = three.open()
    ingest(study)
    good = study.recording_file("ben").read_bytes()
    at = good.index(b"ben.csv")
    study.recording_file("ben").write_bytes(good[:at] + b"BEN.csv" + good[at + 7 :])
    assert ingest(study).written == ["ben"]
    assert study.recording_file("ben").read_bytes() == good


def test_what_was_stored_of_a_removed_recording_is_removed(three: Any) -> None:
    study = three.open()
    ingest(study)
    (three.root / "rec" / "ben.csv").unlink()
    assert ingest(study).removed == ["ben"]
    assert recorded(study) == ["anna", "cleo"]
    assert not study.recording_file("ben").exists()
    assert ingest(study).removed == []


def test_what_was_stored_of_a_file_that_is_refused_stays(three: Any) -> None:
    study = three.open()
    ingest(study)
    shutil.copy(three.root / "rec" / "ben.csv", three.root / "rec" / "ben.tsv.csv")
    (three.root / "rec" / "sub").mkdir()
    shutil.copy(three.root / "rec" / "ben.csv", three.root / "rec" / "sub" / "ben.csv")  # both claim to be ben
    report = ingest(study)
    assert (len(report.failures), report.removed) == (3, [])
    assert study.recording_file("ben").is_file()


def test_a_file_that_broke_is_listed_until_it_is_mended(three: Any) -> None:
    study = three.open()
    ingest(study)
    good = (three.root / "rec" / "ben.csv").read_bytes()
    (three.root / "rec" / "ben.csv").write_bytes(b"\x00\x01\x02" * 100)
    assert len(ingest(study).failures) == 1
    lines = (study.store / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == [str(three.root / "rec" / "ben.csv")]
    assert recorded(study) == ["anna", "cleo"]
    (three.root / "rec" / "ben.csv").write_bytes(good)
    report = ingest(study)
    assert (report.written, report.failures) == ([], [])
    assert recorded(study) == ["anna", "ben", "cleo"]
    assert (study.store / "failures.jsonl").read_text() == ""


def test_worker_processes_make_the_same_bytes(three: Any, tmp_path: Path) -> None:
    (three.root / "rec" / "bad.csv").write_text("time_ms\n")
    ingest(three.open(to=tmp_path / "one"), jobs=1)
    report = ingest(three.open(to=tmp_path / "two"), jobs=2)
    assert report.written == ["anna", "ben", "cleo"]
    assert "bad.csv" in messages(report)[0]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


# ---- more than one folder --------------------------------------------------------------------------------------------


def test_second_folder_into_one_store(three: Any, tmp_path: Path) -> None:
    ingest(three.open())
    (tmp_path / "more").mkdir()
    shutil.copy(three.root / "rec" / "anna.csv", tmp_path / "more" / "dora.csv")
    other = Study.open(tmp_path / "more", config=three.root / "gazepipe.toml")
    assert ingest(other).written == ["dora"]
    assert recorded(other) == ["anna", "ben", "cleo", "dora"]
    assert ingest(three.open()).written == []
    assert recorded(other) == ["anna", "ben", "cleo", "dora"]


def test_second_folder_with_a_name_that_is_taken(three: Any, tmp_path: Path) -> None:
    study = three.open()
    ingest(study)
    before = contents(study.store / "recordings")
    (tmp_path / "more").mkdir()
    for name in ("anna.csv", "Ben_ses-2.csv"):
        (tmp_path / "more" / name).write_text((three.root / "rec" / "cleo.csv").read_text())
    report = ingest(Study.open(tmp_path / "more", config=three.root / "gazepipe.toml"))
    assert report.written == []
    taken, spelled = sorted(messages(report), reverse=True)
    assert "anna.csv: the store already has a recording 'anna', from" in taken
    assert "Ben_ses-2.csv: the store already has a user 'ben', from" in spelled
    assert contents(study.store / "recordings") == before
    assert recorded(study) == ["anna", "ben", "cleo"]


def test_a_moved_study_goes_on(three: Any, tmp_path: Path) -> None:
    ingest(three.open())
    moved = shutil.move(three.root, tmp_path / "elsewhere")
    study = Study.open(Path(moved))
    report = ingest(study)
    assert (report.written, report.current, report.failures) == ([], ["anna", "ben", "cleo"], [])
    rows = study.known_recordings()
    assert sorted(rows) == ["anna", "ben", "cleo"]
    assert rows["anna"]["source"] == str(Path(moved) / "rec" / "anna.csv")


# ---- people enrolled later -----------------------------------------------------------------------------------------


@pytest.fixture
def with_newcomer(three: Any, tmp_path: Path) -> Any:
    three.image("a.png")
    three.image("b.png")
    study = three.open()
    ingest(study)
    new = tmp_path / "monday.csv"
    shutil.copy(three.root / "rec" / "ben.csv", new)
    assert take_in(study, "zoe", [new]) == []
    return three


def test_newcomers_stay_apart_from_the_study(with_newcomer: Any) -> None:
    study = with_newcomer.open()
    assert recorded(study) == ["anna", "ben", "cleo", "zoe_monday"]
    assert study.manifest("build-psm")["users"]["zoe"]["enrolled"]
    assert not study.manifest("build-psm")["users"]["ben"]["enrolled"]
    ingest(study)
    assert recorded(study) == ["anna", "ben", "cleo", "zoe_monday"]
    # Somebody of that name in the study's own folder could be anybody.
    with_newcomer.recording("zoe.csv", LOOKS)
    report = ingest(study)
    assert "the store already has a user 'zoe'" in messages(report)[0]


def test_newcomers_never_take_a_name_that_is_there(with_newcomer: Any, tmp_path: Path) -> None:
    with_newcomer.recording("x_y.csv", LOOKS)
    study = with_newcomer.open()
    ingest(study)
    before = contents(study.store)
    for user, file in (("anna", "new.csv"), ("ANNA", "new.csv"), ("x", "y.csv"), ("Zoe", "new.csv")):
        shutil.copy(with_newcomer.root / "rec" / "ben.csv", tmp_path / file)
        with pytest.raises(ConfigError, match=r"the (store|study) already has"):
            take_in(study, user, [tmp_path / file])
    assert contents(study.store) == before


def test_a_newcomer_who_saw_other_images_is_told_so(with_newcomer: Any, tmp_path: Path) -> None:
    text = (with_newcomer.root / "rec" / "ben.csv").read_text()
    (tmp_path / "tuesday.csv").write_text(text.replace("a.png", "c.png").replace("b.png", "d.png"))
    with pytest.raises(InputError, match=r"tuesday\.csv: shows 2 of 2 images that are not in .*img \(c\.png, d\.png\)"):
        take_in(with_newcomer.open(), "yan", [tmp_path / "tuesday.csv"])
