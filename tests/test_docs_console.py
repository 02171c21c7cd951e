"""What the pages show of a terminal is what the program prints: the commands run on the sample study, in one folder.

Stages that read and build print the same figures everywhere, and are compared to the letter. What networks have a
part in is compared without its figures and names: here they are small and hardly trained, a moment's work.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gazepipe.cli import main
from gazepipe.config import load_config, template

ROOT = Path(__file__).resolve().parents[1]
STARTED = ROOT / "docs" / "getting-started.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))

#: In the order in which they are run; twice where a page shows a second time.
COMMANDS = """
gazepipe --version
gazepipe init study
gazepipe init study
gazepipe init mystudy
gazepipe ingest mystudy --dry-run
gazepipe ingest mystudy
gazepipe fetch
gazepipe markers markers --px 1920x1080 --mm 531x299
gazepipe simulate extra --users 13
gazepipe ingest recordings --dry-run
gazepipe ingest -n recordings
gazepipe ingest recordings
gazepipe ingest recordings
gazepipe build-psm recordings
gazepipe build-psm recordings --dry-run
gazepipe quality recordings
gazepipe export out recordings
gazepipe compare sim01 sim07 --study recordings --figure maps.png
"""

#: The same, from the networks on.
WITH_NETWORKS = """
gazepipe train recordings --threads 1
gazepipe enrol --study recordings --user sim12
gazepipe enrol --study recordings --user sim02
gazepipe enrol --study recordings --user guest extra/sim13.asc.gz
gazepipe identify --study recordings extra/sim13.asc.gz --top 3
gazepipe verify --study recordings --user guest extra/sim13.asc.gz
gazepipe predict --study recordings --user guest recordings/stimuli/scene05.png
gazepipe predict --study recordings --user guest --usm predicted --out guest-predicted recordings/stimuli/scene05.png
gazepipe predict --study recordings --users guest,sim02 "recordings/stimuli/scene0*.png"
gazepipe status recordings
gazepipe evaluate recordings
gazepipe verify recordings
gazepipe run recordings
gazepipe info recordings
"""

#: Shown with output, and not run here: why.
ELSEWHERE = {
    "gazepipe fetch osie --accept-licence": "needs a network; tests/test_fetch.py",
    "gazepipe import osie PATH": "needs the data set: run below",
    "gazepipe import doves PATH": "needs the data set: run below",
    "gazepipe map-screen raw/P01 --layout markers/layout.json --out recordings": "tests/markers/test_map_screen.py",
    "gazepipe report recordings": "takes half a minute; tests/test_report.py",
    "gazepipe report recordings --anonymous --images 1 --out report.html": "takes half a minute; tests/test_report.py",
}

#: A line of progress, which comes every ten seconds: which ones there are is a matter of time.
PROGRESS = re.compile(r"[a-z ]+: (\d+(/\d+)? [a-z]+, )?\d+ s(, about \d+ s left)?( \(.+\))?")

#: Commands whose figures depend on networks, or on the time of day.
BY_WORDS = {"train", "status", "enrol", "identify", "verify", "predict", "evaluate", "run", "info"}


def shown() -> Iterator[tuple[str, str, list[str]]]:
    """(page, command, lines printed) of each command that a page shows with output."""
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M):
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, *lines = part.splitlines()
                if lines:
                    yield page.name, command.split("  #")[0].rstrip(), lines


def run(commands: str, folder: Path) -> dict[str, list[str]]:
    """Command → what it printed, each time; standard output and error together, as on a terminal."""
    found: dict[str, list[str]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GAZEPIPE_THREADS", "1")
        for command in commands.strip().splitlines():
            done = CliRunner().invoke(main, shlex.split(command)[1:], prog_name="gazepipe")
            assert done.exit_code in (0, 2, 3), f"{command}\n{done.output}"
            found.setdefault(command, []).append(done.output)
            if command == "gazepipe init mystudy":  # "2. Set the screen"
                (screen,) = re.findall(r"^```toml\n(\[screen\].*?)^```$", STARTED.read_text("utf-8"), re.S | re.M)
                (folder / "mystudy" / "gazepipe.toml").write_text(template(**tomllib.loads(screen)), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are run: the sample study, with networks that are trained in a moment, and another one."""
    folder = tmp_path_factory.mktemp("console")
    shutil.copytree(ROOT / "recordings", folder / "recordings")
    config = load_config(folder / "recordings" / "gazepipe.toml").model_dump(mode="json")
    config["embedding"] |= {"widths": [4, 4, 4, 8], "dimension": 4, "m": 2, "batch": 8, "steps": 2, "validate_every": 1}
    config["refiner"] |= {"widths": [4, 4, 8], "personal": 4, "m": 2, "pool": 4, "epochs": 1}
    config["universal"] |= {"epochs": 1}
    config["evaluation"] |= {"repetitions": 2, "offset_repetitions": 1}
    (folder / "recordings" / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    shutil.copytree(ROOT / "recordings" / "stimuli", folder / "mystudy" / "stimuli")
    shutil.copy(ROOT / "recordings" / "sim01.asc.gz", folder / "mystudy" / "anna.asc.gz")
    (folder / "mystudy" / "ben.asc").touch()
    return folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, list[str]]:
    return run(COMMANDS, folder)


@pytest.fixture(scope="module")
def printed_with_networks(folder: Path, printed: dict[str, list[str]]) -> dict[str, list[str]]:
    assert printed  # what they need is there
    return run(WITH_NETWORKS, folder)


def in_words(line: str) -> str:
    """A line without its figures, people and widths of columns; signs and digits stand for any."""
    line = re.sub(r"\b(guest|sim\d+)\b", "USER", line)
    line = re.sub(r"[-+−]?\d[\d,]*(?:\.\d+)?", "N", line)
    return " ".join(line.split())


def fits(lines: list[str], output: str, *, words: bool) -> bool:
    """Whether a page's lines are the output; a line of "…" alone stands for any that are left out."""
    have, want = (
        [line.rstrip() for line in some if line.strip() and not PROGRESS.fullmatch(line.rstrip())]
        for some in (output.splitlines(), lines)
    )
    if words:
        have, want = [in_words(line) for line in have], [in_words(line) for line in want]
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in want)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in have)) is not None


def check(page: str, command: str, lines: list[str], printed: dict[str, list[str]]) -> None:
    assert command in printed, f"{page} shows `{command}` with output; run it here, or say in ELSEWHERE why not"
    words = shlex.split(command)[1] in BY_WORDS
    assert any(fits(lines, output, words=words) for output in printed[command]), "\n".join(printed[command])


def those(*, networks: bool) -> list[Any]:
    """What pages show of commands with, or without, networks."""
    later = set(WITH_NETWORKS.split("\n"))
    found = [s for s in shown() if s[1] not in ELSEWHERE and (s[1] in later) == networks]
    return [pytest.param(*s, id=f"{s[0]}: {s[1]}") for s in found]


@pytest.mark.parametrize(("page", "command", "lines"), those(networks=False))
def test_terminals_on_the_pages_are_true(
    page: str, command: str, lines: list[str], printed: dict[str, list[str]]
) -> None:
    check(page, command, lines, printed)


@pytest.mark.parametrize(("page", "command", "lines"), those(networks=True))
def test_terminals_with_networks_are_true(
    page: str, command: str, lines: list[str], printed_with_networks: dict[str, list[str]]
) -> None:
    check(page, command, lines, printed_with_networks)


@pytest.mark.parametrize("dataset", ["osie", "doves"])
def test_imports_of_data_sets_are_true(dataset: str, data_dir: Path, tmp_path: Path) -> None:
    (lines,) = [lines for _, command, lines in shown() if command == f"gazepipe import {dataset} PATH"]
    (output,) = run(f"gazepipe import {dataset} {shlex.quote(str(data_dir / dataset))}", tmp_path).popitem()[1]
    assert fits(lines, output, words=False), output


def test_a_false_line_is_found() -> None:
    assert fits(["a 1", "…", "d 4"], "a 1\nb 2\n\nc 3\nd 4\n", words=False)
    assert not fits(["a 1", "…", "d 5"], "a 1\nb 2\nd 4\n", words=False)
    assert fits(["sim01: cosine 0.5, margin +1"], "guest:  cosine 0.25, margin -2\n", words=True)
    assert not fits(["sim01: cosine 0.5"], "sim01: cosine 0.5, margin +1\n", words=True)


def test_lines_of_progress_come_when_they_come() -> None:
    assert fits(
        ["train x: 4/9 step, 10 s, about 12 s left (loss 0.1)", "…", "train: done"], "train: done\n", words=True
    )
    assert not fits(["train x: 4/9 stop"], "train: done\n", words=True)


def test_what_is_not_run_here_is_still_shown() -> None:
    assert ELSEWHERE.keys() <= {command for _, command, _ in shown()}
