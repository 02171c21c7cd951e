"""The audit log, whose tampering is found, and consent forms, for want of which people are refused."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from gazepipe import audit, consent
from gazepipe.cli import main
from gazepipe.enrol import load_gallery
from gazepipe.errors import ConfigError, InputError, StoreError
from gazepipe.ingest import ingest
from gazepipe.study import Study

if TYPE_CHECKING:
    from conftest import SmallStudy


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def study(small_study: SmallStudy) -> Study:
    small_study.image("a.png")
    for user in ("p07", "p08"):
        small_study.recording(f"{user}.csv", [("a.png", [(100, 100, 400), (500, 300, 400)])])
    return small_study.open()


# ---- audit -----------------------------------------------------------------------------------------------------------


def test_one_line_for_each_command_that_changed_something(study: Study) -> None:
    ingest(study, jobs=1)
    ingest(study, jobs=1)  # nothing was to be done
    gazepipe("consent", "add", "--study", study.root, "--user", "p07", "--form", "F1", "--scope", "ingest")
    lines = audit.entries(study)
    assert [line["command"] for line in lines] == ["ingest", "consent"]
    assert lines[0]["detail"] == {"written": 2, "dropped": 0, "failed": 0}
    assert len(lines[1]["users"]) == 1
    text = (study.store / audit.AUDIT).read_text()
    assert "p07" not in text
    assert str(study.root) not in text
    assert "who" not in lines[0]
    assert audit.problems(study) == []


def changed(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace('"written": 1', '"written": 2'), lines[2]]


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (changed, "line 2: was changed"),
        (lambda lines: [lines[0], lines[2]], "line 2: does not follow"),
        (lambda lines: [lines[1], lines[0], lines[2]], "line 1: does not follow"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2: does not follow"),
        (lambda lines: [lines[0], "{", *lines[1:]], "line 2: damaged"),
        (lambda lines: [lines[0], lines[1][:60], lines[2]], "line 2: damaged"),
        (lambda lines: [*lines[:2], lines[2][:60]], "line 3: damaged"),
    ],
    ids=["changed", "removed", "swapped", "added", "garbage", "cut in the middle", "cut at the end"],
)
def test_tampering_is_found(study: Study, tamper: Any, found: str) -> None:
    for number in range(3):
        audit.record(study, "ingest", written=number)
    path: Path = study.store / audit.AUDIT
    noted = audit.head(study)
    path.write_text("".join(f"{line}\n" for line in tamper(path.read_text().splitlines())))
    assert any(found in sentence for sentence in audit.problems(study))
    result = gazepipe("audit", study.root, "--verify")
    assert result.exit_code == 8
    assert found in result.stderr
    assert gazepipe("audit", study.root, "--verify", "--head", noted).exit_code == 8


def test_an_end_that_was_cut_off_is_found_by_the_digest_noted_before(study: Study) -> None:
    audit.record(study, "ingest", written=1)
    first = audit.head(study)
    audit.record(study, "ingest", written=2)
    noted = audit.head(study)
    path: Path = study.store / audit.AUDIT
    assert audit.problems(study, first) == audit.problems(study, noted) == []
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert audit.problems(study) == []
    assert "the end was cut off" in audit.problems(study, noted)[0]


def test_every_changed_byte_is_found(study: Study) -> None:
    """Or says the same as before, such as another kind of line's end."""
    for number in range(2):
        audit.record(study, "ingest", users=["p07"], written=number)
    path: Path = study.store / audit.AUDIT
    data, before, same = path.read_bytes(), audit.entries(study), 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        if not audit.problems(study):
            assert audit.entries(study) == before
            same += 1
    assert same <= 2


def test_two_writers_at_once(study: Study) -> None:
    """Processes that add lines at the same time, to a log that none of them has begun, make one chain."""
    code = (
        "import sys; from pathlib import Path; from gazepipe import audit; from gazepipe.study import Study\n"
        "study = Study.open(Path(sys.argv[1]))\n"
        "for k in range(15): audit.record(study, sys.argv[2], users=['p07'], line=k)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(audit.__file__).parents[1])}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(study.root), name], env=env)
        for name in ("one", "two", "three")
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    lines = audit.entries(study)
    assert audit.problems(study) == []
    assert sorted((line["command"], line["detail"]["line"]) for line in lines) == sorted(
        (name, k) for name in ("one", "two", "three") for k in range(15)
    )
    assert len({user for line in lines for user in line["users"]}) == 1, "one salt"


def test_nothing_is_added_to_a_broken_chain(study: Study) -> None:
    audit.record(study, "ingest", written=1)
    path: Path = study.store / audit.AUDIT
    path.write_text(path.read_text().replace('"written": 1', '"written": 9'))
    with pytest.raises(StoreError, match="damaged or tampered with"):
        audit.record(study, "ingest", written=2)


def test_who_ran_it_is_kept_where_that_is_wanted(small_study: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "lab")
    small_study.configure(audit={"who": True})
    audit.record(small_study.open(), "ingest", written=1)
    assert audit.entries(small_study.open())[0]["who"] == "lab"


# ---- consent ---------------------------------------------------------------------------------------------------------


def test_who_has_not_agreed_is_refused_and_the_others_go_on(study: Study, small_study: SmallStudy) -> None:
    small_study.configure(consent={"required": True})
    study = small_study.open()
    consent.add(study, "p08", "F1", "2026-01-01", "ingest")
    report = ingest(study, jobs=1)
    assert report.written == ["p08"]
    (failure,) = report.failures
    assert "user 'p07' has no consent in" in failure.message
    result = gazepipe("export", small_study.root / "out", study.root)
    assert result.exit_code == 3
    assert "user 'p08' agreed to ingest only in" in result.stderr
    assert not (small_study.root / "out").exists()
    consent.add(study, "p08", "F2", "2026-01-01", "share")
    assert gazepipe("export", small_study.root / "out", study.root).exit_code == 0
    assert [line["command"] for line in audit.entries(study)] == ["ingest", "export"]


def test_without_required_nobody_needs_a_form(study: Study) -> None:
    assert consent.refusal(study, ["p07"], "ingest") == {}


@pytest.mark.parametrize(
    ("day", "refused"),
    [("2026-01-31", "from 2026-02-01 on"), ("2026-02-01", ""), ("2026-03-01", ""), ("2026-03-02", "until 2026-03-01")],
)
def test_from_the_first_day_to_the_last(small_study: SmallStudy, day: str, refused: str) -> None:
    small_study.configure(consent={"required": True})
    study = small_study.open()
    consent.add(study, "p07", "F1", "2026-02-01", "ingest", "2026-03-01")
    found = consent.refusal(study, ["p07"], "ingest", datetime.date.fromisoformat(day))
    assert refused in found.get("p07", "") if refused else not found


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("p07,F1,yesterday,ingest,", "line 2: date is 'yesterday'; expected a date such as"),
        ("p07,F1,2026-01-01,all,", "line 2: scope is 'all'; expected one or more of"),
        ("p07,F1,2026-01-01,,", "line 2: scope is ''"),
        ("../x,F1,2026-01-01,ingest,", "line 2: user '../x' cannot be used"),
        ("p07,,2026-01-01,ingest,", "line 2: names no form"),
    ],
)
def test_a_table_that_is_not_understood(study: Study, row: str, sentence: str) -> None:
    consent.consent_file(study).write_text(f"user,form,date,scope,expires\n{row}\n")
    with pytest.raises(ConfigError) as caught:
        consent.consents(study)
    assert sentence in str(caught.value)


def test_enrolment_asks_for_its_scope(small_study: SmallStudy, study: Study) -> None:
    from gazepipe.enrol import take_in

    small_study.configure(consent={"required": True})
    study = small_study.open()
    consent.add(study, "p09", "F1", "2026-01-01", "ingest")
    with pytest.raises(InputError, match="asks for the scope 'embed'"):
        take_in(study, "p09", [small_study.root / "rec" / "p07.csv"])


def test_what_uses_a_person_asks_for_consent(tmp_path: Path) -> None:
    """Of a kept study where u0 alone signed: whoever else is in the gallery already is not used any more."""
    kept = Path(__file__).parent / "stores" / "0.1.0.zip"
    with zipfile.ZipFile(kept) as file:
        file.extractall(tmp_path / "study")
    text = (tmp_path / "study" / "gazepipe.toml").read_text()
    (tmp_path / "study" / "gazepipe.toml").write_text(text.replace("required = false", "required = true"))
    root, image = tmp_path / "study", tmp_path / "study" / "images" / "i0.png"
    runner = CliRunner()

    def tried(*arguments: object) -> tuple[int, str]:
        result = runner.invoke(main, ["-q", *map(str, arguments)])
        return result.exit_code, result.output

    assert tried("predict", "--study", root, "--user", "u0", image) == (0, "")
    code, told = tried("predict", "--study", root, "--user", "u1", image)
    assert code == 3
    assert "user 'u1' has no consent in" in told
    code, told = tried("export", tmp_path / "bids", root)
    assert code == 3
    assert [p.name for p in (tmp_path / "bids").glob("sub-*")] == ["sub-u0"]
    code, told = tried("enrol", "--study", root, "--user", "u2")
    assert code == 3
    assert "asks for the scope 'embed'" in told
    tried("enrol", "--study", root, "--all")
    assert [p.user for p in load_gallery(Study.open(root)).people] == ["u0"]


def test_list(study: Study) -> None:
    gazepipe("consent", "add", "--study", study.root, "--user", "p07", "--form", "F1", "--date", "2026-01-01")
    assert "p07   F1    2026-01-01  ingest embed" in gazepipe("consent", "list", study.root).stdout
    assert json.loads(gazepipe("audit", study.root, "--json").stdout)[0]["command"] == "consent"
