"""Bad input on the command line: one clear sentence, a documented exit code, other files done, nothing lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gazepipe import store
from gazepipe.cli import main
from gazepipe.simulate import simulate_study


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny simulated study, never changed."""
    folder = tmp_path_factory.mktemp("template") / "study"
    simulate_study(folder, users=4, images=4, seed=3)
    return folder


@pytest.fixture
def study(template: Path, tmp_path: Path) -> Path:
    import shutil

    folder = tmp_path / "my study ü"  # a space and a letter beyond ASCII
    shutil.copytree(template, folder)
    text = (folder / "gazepipe.toml").read_text(encoding="utf-8")
    text = text.replace(
        'include = ["sim[0-9]*.asc", "sim[0-9]*.asc.gz", "sim[0-9]*.csv.gz"]',
        'include = ["*.asc", "*.asc.gz", "*.csv", "*.csv.gz"]',
    )
    (folder / "gazepipe.toml").write_text(text, encoding="utf-8")
    return folder


def asc_text(study: Path) -> str:
    return gzip.decompress((study / "sim01.asc.gz").read_bytes()).decode()


def stored(study: Path) -> list[str]:
    return sorted(p.stem for p in (study / "store" / "recordings").glob("*.h5"))


GOOD = ["sim01", "sim02", "sim03", "sim04"]


def expect_one_failure(study: Path, name: str, *words: str, also: list[str] | None = None) -> None:
    """The bad file is reported in one sentence with its name; everything else is stored; a second run says the same."""
    for _ in range(2):
        result = gazepipe("ingest", study)
        assert result.exit_code == 3, result.output
        assert stored(study) == sorted(GOOD + (also or []))
        lines = [line for line in result.stderr.splitlines() if line.startswith("not used: ")]
        assert len(lines) == 1
        assert name in lines[0]
        for word in words:
            assert word in lines[0]
        assert lines[0].endswith(".")
        rows = [json.loads(line) for line in (study / "store" / "failures.jsonl").read_text().splitlines()]
        assert [r["message"] for r in rows] == [lines[0].removeprefix("not used: ")]


def test_good_files_end_with_zero(study: Path) -> None:
    result = gazepipe("ingest", study)
    assert result.exit_code == 0, result.output
    assert stored(study) == GOOD
    assert not (study / "store" / "failures.jsonl").exists()


def test_empty_file(study: Path) -> None:
    (study / "empty.asc").write_bytes(b"")
    expect_one_failure(study, "empty.asc", "empty")


def test_href_coordinates(study: Path) -> None:
    (study / "href.asc").write_text(asc_text(study).replace("SAMPLES\tGAZE", "SAMPLES\tHREF"))
    expect_one_failure(study, "href.asc", "HREF", "GAZE", "line ")


def test_no_trial(study: Path) -> None:
    lines = [line for line in asc_text(study).splitlines() if "SYNCTIME" not in line]
    (study / "trialless.asc").write_text("\n".join(lines) + "\n")
    expect_one_failure(study, "trialless.asc", "trial", "[trials]")


def test_cut_in_the_middle_of_a_line_is_used_up_to_there(study: Path) -> None:
    text = asc_text(study)
    lines = text.splitlines(keepends=True)
    at = next(i for i in range(len(lines) // 2, len(lines)) if lines[i][0].isdigit())
    (study / "cut.asc").write_text("".join(lines[:at]) + lines[at][: len(lines[at]) // 2])
    result = gazepipe("ingest", study)
    assert result.exit_code == 0, result.output
    assert stored(study) == sorted([*GOOD, "cut"])
    assert "cut.asc" in result.stderr
    whole = store.load(study / "store" / "recordings" / "sim01.h5", "gazepipe.recording")
    cut = store.load(study / "store" / "recordings" / "cut.h5", "gazepipe.recording")
    n = len(cut.arrays["samples/timestamp"])
    assert n == sum(line[0].isdigit() for line in lines[:at])
    assert (cut.arrays["samples/timestamp"] == whole.arrays["samples/timestamp"][:n]).all()


def test_cut_gzip(study: Path) -> None:
    data = (study / "sim01.asc.gz").read_bytes()
    (study / "cut.asc.gz").write_bytes(data[: len(data) // 2])
    expect_one_failure(study, "cut.asc.gz")


def test_garbage_line(study: Path) -> None:
    lines = asc_text(study).splitlines(keepends=True)
    at = next(i for i in range(len(lines) // 2, len(lines)) if lines[i][0].isdigit())
    lines[at] = lines[at][:7] + "\x00\x17rubbish\n"
    (study / "rubbish.asc").write_text("".join(lines))
    expect_one_failure(study, "rubbish.asc", f"line {at + 1}")


def test_other_screen(study: Path) -> None:
    text = asc_text(study).replace(" 1279", " 1919").replace(" 1023", " 1079").replace("1279.00", "1919.00")
    (study / "wide.asc").write_text(text.replace("1023.00", "1079.00"))
    expect_one_failure(study, "wide.asc", "1920 × 1080", "1280 × 1024", "[screen]")


def test_missing_column(study: Path) -> None:
    (study / "odd.csv").write_text("time_ms,x,y_px,trial,stimulus,message\n0,1,2,1,a,\n4,1,2,1,a,\n")
    expect_one_failure(study, "odd.csv", "x_px")


def test_missing_file_and_folder(study: Path) -> None:
    result = gazepipe("ingest", study / "nowhere")
    assert result.exit_code == 2
    assert "no such folder" in result.stderr
    gazepipe("ingest", study)
    result = gazepipe("enrol", "--study", study, "--user", "p1", study / "nobody.asc")
    assert result.exit_code == 3
    assert "nobody.asc: no such file" in result.stderr
    assert stored(study) == GOOD


def test_two_people_with_one_name(study: Path) -> None:
    for lab in ("a", "b"):
        (study / lab).mkdir()
        (study / lab / "p1.asc").write_text(asc_text(study))
    result = gazepipe("ingest", study)
    assert result.exit_code == 3
    assert stored(study) == GOOD
    lines = [line for line in result.stderr.splitlines() if line.startswith("not used: ")]
    assert len(lines) == 2
    assert all("claims user 'p1'" in line and "user_pattern" in line for line in lines)


def test_names_that_differ_in_case_only(study: Path) -> None:
    (study / "Anna_ses-1.asc").write_text(asc_text(study))
    (study / "anna_ses-2.asc").write_text(asc_text(study))
    result = gazepipe("ingest", study)
    assert result.exit_code == 3
    assert stored(study) == GOOD
    assert result.stderr.count("only in upper and lower case") == 2


def test_image_missing(study: Path) -> None:
    gone = sorted((study / "stimuli").iterdir())[1]
    gone.unlink()
    assert gazepipe("ingest", study).exit_code == 0
    result = gazepipe("build-psm", study)
    assert result.exit_code == 3
    lines = [line for line in result.stderr.splitlines() if line.startswith("partly used: ")]
    assert len(lines) == 4
    assert all("1 of 4 images" in line and gone.name in line for line in lines)
    maps = store.load(study / "store" / "psm" / "sim01.h5", "gazepipe.psm")
    assert len(maps.arrays["maps"]) == 3
    assert gone.name not in maps.arrays["table/stimulus"]


def test_what_was_stored_of_a_file_that_broke_later_stays(study: Path) -> None:
    assert gazepipe("ingest", study).exit_code == 0
    kept = study / "store" / "recordings" / "sim02.h5"
    before = kept.read_bytes()
    (study / "sim02.csv.gz").write_bytes(b"")
    result = gazepipe("ingest", study)
    assert result.exit_code == 3
    assert "sim02.csv.gz" in result.stderr
    assert kept.read_bytes() == before
    # … but it is not silently used either.
    assert gazepipe("build-psm", study).exit_code == 0
    assert not (study / "store" / "psm" / "sim02.h5").exists()


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[ivt]\nmax_gap = 3\n", ["[ivt] max_gap", "max_gap_ms"]),
        ("[screen]\nwidth_px = -1\n", ["[screen] width_px", "-1"]),
        ("[screen\n", ["not valid TOML"]),
        ('[trials]\nstart = "("\n', ["[trials] start", "regular expression"]),
    ],
)
def test_wrong_configuration(study: Path, toml: str, words: list[str]) -> None:
    (study / "gazepipe.toml").write_text(toml)
    result = gazepipe("ingest", study)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for word in ["gazepipe.toml", *words]:
        assert word in result.stderr


def test_stages_out_of_order(study: Path) -> None:
    for command in (["build-psm", study], ["train", study], ["evaluate", study]):
        result = gazepipe(*command)
        assert result.exit_code == 4, result.output
        assert "run `gazepipe" in result.stderr
    result = gazepipe("predict", "--study", study, "--user", "sim01", study / "stimuli")
    assert result.exit_code == 4


def test_nothing_matches(study: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = gazepipe("ingest", tmp_path / "empty", "--config", study / "gazepipe.toml")
    assert result.exit_code == 4
    assert "include" in result.stderr


def test_damaged_store(study: Path) -> None:
    gazepipe("ingest", study)
    path = study / "store" / "recordings" / "sim01.h5"
    path.write_bytes(path.read_bytes()[:2000])
    result = gazepipe("build-psm", study)
    assert "sim01.h5" in result.stderr
    assert result.exit_code in (3, 8)
    # Ingest makes it again, because it cannot be read.
    result = gazepipe("ingest", study)
    assert result.exit_code == 0
    assert "1 written, 3 up to date" in result.stdout
    assert gazepipe("build-psm", study).exit_code == 0


def test_a_store_in_use(study: Path) -> None:
    with store.lock(study / "store"):
        result = gazepipe("ingest", study)
    assert result.exit_code == 6
    assert "another gazepipe run" in result.stderr
