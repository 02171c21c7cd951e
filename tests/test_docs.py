"""The documentation says what the program does, and its examples run."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

import gazepipe
from gazepipe.build import build_psm
from gazepipe.cli import EXIT_CODES, main
from gazepipe.config import parse_config
from gazepipe.crossvalidate import load_fold, save_fold
from gazepipe.datasets import FixationDataset
from gazepipe.enrol import enrol
from gazepipe.evaluation.crossvalidation import FoldResult
from gazepipe.evaluation.scores import Scores, save_scores
from gazepipe.importing import import_dataset
from gazepipe.ingest import ingest
from gazepipe.markers.layout import load_layout
from gazepipe.models import save_model
from gazepipe.predict import predict
from gazepipe.readers import read_recording, readers
from gazepipe.recipe import Recipe
from gazepipe.refiner import RefinerNet
from gazepipe.simulate import simulate_study
from gazepipe.study import Study
from gazepipe.training import Trained
from gazepipe.trial_sources import trial_rows
from gazepipe.trials import find_trials
from gazepipe.universal import UniversalNet

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.S | re.M)
    return [textwrap.dedent(indent + body) for indent, body in found]


def sections(page: Path, mark: str = "## ") -> dict[str, str]:
    """Heading → text below it."""
    parts = re.split(rf"^{mark}(.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# ---- links, configuration, commands ----------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as renderers make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), f"{link}#{anchor}"


@every_page
def test_configuration_examples_are_valid(page: Path) -> None:
    for block in blocks(page, "toml"):
        parse_config(tomllib.loads(block))


def command_lines(page: Path) -> Iterator[list[str]]:
    """Words of all commands of a page, without comments and the folder of the virtual environment."""
    typed = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    typed += [line for block in blocks(page, "bash") for line in block.splitlines()]
    for line in typed:
        words = shlex.split(line.removeprefix(".venv/bin/"), comments=True)
        if words:
            yield words


@every_page
def test_commands_exist_with_their_options(page: Path) -> None:
    for words in command_lines(page):
        if words[0] == "torchrun":
            words = words[words.index("-m") + 1 :]
        if words[0] != "gazepipe" or words[1:2] == ["--version"]:
            continue
        command = main.get_command(click.Context(main), words[1])
        assert command is not None, words
        # Parsing finds unknown options, missing arguments and values that are not allowed, and runs nothing.
        with click.Context(command, info_name=words[1]) as context:
            try:
                command.parse_args(context, words[2:])
            except click.UsageError as error:
                pytest.fail(f"{' '.join(words)}: {error.format_message()}")


@every_page
def test_other_commands_are_of_this_repository(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for words in command_lines(page):
        match words:
            case ["gazepipe" | "torchrun", *_] | ["source", ".venv/bin/activate"]:
                pass
            case ["bash", script, *_] | ["python", script] | ["python", "-m", "pytest", script]:
                assert (ROOT / script).exists(), script
            case ["python", script, *options] if script.startswith("benchmarks/"):
                source = (ROOT / script).read_text(encoding="utf-8")
                for option in (word.split("=")[0] for word in options if word.startswith("--")):
                    assert f'"{option}"' in source, f"{script} {option}"
            case ["python", "-c", code]:
                exec(compile(code, "command", "exec"), {})
            case ["pip", "install", wanted]:
                named = re.fullmatch(r"(?:gazepipe|\.)\[(.*)\]", wanted)
                assert set(named[1].split(",")) <= extras.keys() if named else wanted == "bids-validator-deno"
            case _:
                assert words[0] == "bids-validator-deno", words


def test_generated_parts_are_up_to_date() -> None:
    run = subprocess.run([sys.executable, "docs/_generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_exit_code_is_listed() -> None:
    said = {int(n) for n in re.findall(r"(\d+) [a-z]", EXIT_CODES)}
    for page, mark in ((DOCS / "getting-started.md", "Exit codes"), (DOCS / "troubleshooting.md", "Exit codes")):
        assert {int(n) for n in re.findall(r"^\| (\d+) \|", sections(page)[mark], re.M)} == said, page.name


def test_every_reader_is_listed() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    for reader in readers():
        assert f"`{reader.name}`" in text, reader.name


# ---- examples of recordings ------------------------------------------------------------------------------------------


def eyelink_examples() -> Iterator[Any]:
    for heading, text in sections(DOCS / "eyelink.md").items():
        pairs = re.findall(r"```asc\n(.*?)```.*?```toml\n(.*?)```", text, re.S)
        for number, (messages, toml) in enumerate(pairs, 1):
            yield pytest.param(messages, toml, id=f"{heading} {number}")


def asc(messages: str, *, blocks_ms: list[tuple[int, int]]) -> str:
    """Complete an example: samples at 250 Hz around its messages."""
    lines = [(int(m.split()[1]), 0, m) for m in messages.splitlines()]
    for start, end in blocks_ms:
        head = f"START\t{start}\tLEFT\tSAMPLES\tEVENTS\nSAMPLES\tGAZE\tLEFT\tRATE\t250.00\tTRACKING\tCR\tFILTER\t2"
        lines.append((start, 1, head))
        lines += [(t, 2, f"{t}\t  960.0\t  540.0\t 1000.0\t...") for t in range(start, end, 4)]
        lines.append((end, -1, f"END\t{end}\tSAMPLES\tEVENTS\tRES\t40.0\t40.0"))
    ordered = sorted(lines, key=lambda line: line[:2])
    return "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED\n" + "\n".join(text for *_, text in ordered) + "\n"


@pytest.mark.parametrize(("messages", "toml"), list(eyelink_examples()))
def test_eyelink_examples_find_both_images(messages: str, toml: str, tmp_path: Path) -> None:
    config = parse_config(tomllib.loads(toml))
    by_block = config.trials.source == "blocks"
    file = tmp_path / "p01.asc"
    file.write_text(asc(messages, blocks_ms=[(1000, 4000), (5000, 8000)] if by_block else [(800, 9000)]))
    trials = find_trials(read_recording(file, config), config)
    names = [re.split(r"[/\\]", name)[-1] for name in trials.frame["stimulus"]]
    assert names == ["cat.jpg", "dog.jpg"]
    lengths = trials.frame["offset_ms"] - trials.frame["onset_ms"]
    assert ((lengths > 2900) & (lengths < 3100)).all()
    assert trials.problems == []


def csv_examples() -> Iterator[Any]:
    for heading, text in sections(DOCS / "csv.md").items():
        for table, toml in re.findall(r"```csv\n(.*?)```.*?```toml\n(.*?)```", text, re.S):
            yield pytest.param(table, toml, id=heading)


@pytest.mark.parametrize(("table", "toml"), list(csv_examples()))
def test_csv_examples_find_both_images(table: str, toml: str, tmp_path: Path) -> None:
    values = tomllib.loads(toml)
    values.setdefault("trials", {})["min_duration_ms"] = 1  # the examples have a few samples only
    config = parse_config(values)
    file = tmp_path / "p01.csv"
    file.write_text(table)
    recording = read_recording(file, config)
    assert recording.n_samples == len(table.splitlines()) - config.csv.header
    eyes = {"left", "right"} if config.csv.left_x else {"cyclopean"}
    assert set(recording.eyes) == eyes
    x = np.concatenate([eye.x_px for eye in recording.eyes.values()])
    assert np.nanmin(x) > 500
    assert np.nanmax(x) < 1920
    assert list(find_trials(recording, config).frame["stimulus"]) == ["cat.jpg", "dog.jpg"]


def test_every_example_of_a_recording_is_read() -> None:
    for page, examples in ((DOCS / "eyelink.md", eyelink_examples), (DOCS / "csv.md", csv_examples)):
        shown = [block for language in ("asc", "csv", "tsv") for block in blocks(page, language)]
        assert sorted(shown) == sorted(example.values[0] for example in examples())
    shown = [block for language in ("csv", "tsv") for block in blocks(DOCS / "trials.md", language)]
    assert sorted(shown) == sorted(example.values[0] for example in trial_file_examples())


def trial_file_examples() -> Iterator[Any]:
    for heading, text in sections(DOCS / "trials.md", "### ").items():
        for table, toml in re.findall(r"```[ct]sv\n(.*?)```.*?```toml\n(.*?)```", text, re.S):
            yield pytest.param(table, toml, id=heading)


@pytest.mark.parametrize(("table", "toml"), list(trial_file_examples()))
def test_trial_file_examples_find_both_images(table: str, toml: str, tmp_path: Path) -> None:
    config = parse_config(tomllib.loads(toml))
    (tmp_path / config.trials.file.replace("{stem}", "p01")).write_text(table)
    file = tmp_path / "p01.asc"
    file.write_text(asc("MSG 1000 IMAGE\nMSG 5000 IMAGE", blocks_ms=[(800, 9000)]))
    rows = trial_rows(config.trials, tmp_path, file, "p01", "1")
    trials = find_trials(read_recording(file, config), config, rows)
    assert list(trials.frame["stimulus"]) == ["cat.jpg", "dog.jpg"]
    assert list(trials.frame["onset_ms"]) == [1000, 5000]
    assert list(trials.frame["offset_ms"]) == [4000, 8000]
    assert all("residual at most 0.0 ms" in p for p in trials.problems)


# ---- the store -------------------------------------------------------------------------------------------------------


class Untrained:
    """What `save_model` needs of a training."""

    history: tuple[dict[str, float], ...] = ()
    best: dict[str, float] = {}  # noqa: RUF012 (never changed)
    seconds = 0.0

    def __init__(self) -> None:
        from gazepipe.embedding import EmbeddingNet

        self.net = EmbeddingNet().eval()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three people, four images; maps, and a gallery from a network that nobody trained."""
    folder = tmp_path_factory.mktemp("docs") / "study"
    simulate_study(folder, users=3, images=4, rate_hz=125, seconds=2.0)
    study = Study.open(folder)
    assert not ingest(study).failures
    assert not build_psm(study).failures
    names = {f"{kind}_{part}": [] for kind in ("users", "images") for part in ("train", "validation", "test")}
    names["users_train"] = ["sim01", "sim02", "sim03"]
    save_model(study, "embedding", Untrained(), Recipe("train-embedding", 1), arguments={}, extra=names)  # type: ignore[arg-type]
    sizes = {"channels": 4, "dimension": 32, "widths": (4, 4, 8), "personal": 4}
    refiner, universal = Trained(RefinerNet(**sizes)), Trained(UniversalNet())  # type: ignore[arg-type]
    save_model(study, "refiner", refiner, Recipe("train-refiner", 1), arguments=sizes, extra=names)
    save_model(study, "universal", universal, Recipe("train-universal", 1), arguments={}, extra=names)
    enrol(study)
    return study


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording as `gazepipe import` stores it."""
    folder = tmp_path_factory.mktemp("imported")
    columns = ["user", "stimulus", "repeat", "index", "duration_ms", "x_px", "y_px"]
    table = pd.DataFrame([("a", "cat.jpg", 1, 0, 200.0, 10.0, 20.0)], columns=columns)
    dataset = FixationDataset("osie", 24.0, {"cat.jpg": (800, 600)}, {}, table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gazepipe.datasets.load_dataset", lambda *_, **__: dataset)
        study, _ = import_dataset("osie", folder, folder)
    return study.recording_file("a")


@dataclass(frozen=True)
class Documented:
    """What store-format.md says of one kind of file: name → type."""

    attributes: dict[str, str]
    datasets: dict[str, str]
    optional: dict[str, str]


def rows(text: str, first: str) -> dict[str, str]:
    """First two columns of the table whose first heading is `first`."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        inside = cells[0] == first or (inside and line.startswith("|"))
        if inside and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1]
    return found


def documented(kind: str, *, imported: bool = False) -> Documented:
    pages = sections(DOCS / "store-format.md")
    common = rows(pages["Attributes of every HDF5 file"], "attribute")
    own, _, below = pages[kind].partition("### Imported recordings")
    attributes = common | rows(own, "attribute")
    if imported:
        return Documented(attributes | rows(below, "imported attribute"), rows(below, "imported dataset"), {})
    return Documented(attributes, rows(own, "dataset"), rows(own, "optional dataset"))


def stored(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Root attributes and datasets of a file, with the names of the types as the page has them."""
    datasets: dict[str, str] = {}

    def see(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            name = re.sub(r"^samples/(left|right|cyclopean)/", "samples/EYE/", name)
            datasets[name] = "text" if item.attrs.get("text") else str(item.dtype)

    with h5py.File(path) as file:
        file.visititems(see)
        attributes = {k: "text" if isinstance(v, bytes) else str(np.asarray(v).dtype) for k, v in file.attrs.items()}
    return attributes, datasets


def agree(path: Path, said: Documented) -> None:
    attributes, datasets = stored(path)
    assert attributes == {k: v.replace("JSON", "text") for k, v in said.attributes.items()}
    extra = {k: v for k, v in said.optional.items() if k in datasets}
    assert datasets == said.datasets | extra


def test_store_format_of_recordings(study: Study) -> None:
    for name in ("sim01", "sim02", "sim03"):  # EyeLink, CSV, EyeLink with both eyes
        agree(study.recording_file(name), documented("gazepipe.recording"))
    assert set(documented("gazepipe.recording").optional) <= set(stored(study.recording_file("sim01"))[1])


def test_store_format_of_imported_recordings(imported: Path) -> None:
    agree(imported, documented("gazepipe.recording", imported=True))


@pytest.mark.parametrize("kind", ["psm", "usm", "stimuli", "gallery"])
def test_store_format_of_the_other_files(study: Study, kind: str) -> None:
    path = study.psm_file("sim01") if kind == "psm" else getattr(study, f"{kind}_file")
    agree(path, documented(f"gazepipe.{kind}"))


@pytest.mark.parametrize("kind", ["scores", "fold"])
def test_store_format_of_scores(kind: str, tmp_path: Path) -> None:
    one = np.array(["x"], object)
    made = Scores(("row",), one, one, np.zeros((1, 1, 6)))
    path = tmp_path / f"{kind}.h5"
    if kind == "scores":
        save_scores(path, made, Recipe("evaluate", 1))
    else:
        result = FoldResult(1, 2, made, {}, {}, {}, {})
        save_fold(path, result, Recipe("fold", 1))
        assert load_fold(path).number == 2
    agree(path, documented(f"gazepipe.{kind}"))


def test_store_format_of_weights(study: Study) -> None:
    import json

    from safetensors import safe_open

    table = sections(DOCS / "store-format.md")["Weights"]
    said = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line[:3] == "| `")))
    with safe_open(study.model_file("embedding"), "pt") as file:
        metadata = file.metadata()
    assert set(metadata) == {"gazepipe", "digest"}
    assert set(json.loads(metadata["gazepipe"])) == said


def test_digests_are_made_as_the_page_says(study: Study) -> None:
    import hashlib
    import json

    def digest(value: object) -> str:
        return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()

    with h5py.File(study.psm_file("sim01")) as file:
        plain = {k: v.decode() if isinstance(v, bytes) else v.item() for k, v in file.attrs.items()}
    parts = [plain["stage"], plain["stage_version"], json.loads(plain["params"]), json.loads(plain["inputs"])]
    assert plain["recipe_digest"] == digest(parts)
    written = plain.pop("attributes_digest")
    assert written == digest(plain)


def python_pages() -> Iterator[Any]:
    for page in PAGES:
        if found := blocks(page, "python"):
            yield pytest.param(found, id=page.name)


@pytest.mark.parametrize("found", list(python_pages()))
def test_python_examples_run(found: list[str], study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(study.root, tmp_path / "study")  # some enrol people
    monkeypatch.chdir(tmp_path / "study")  # examples open store/…
    names: dict[str, Any] = {}
    for number, code in enumerate(found, 1):  # one after another, as in a notebook
        exec(compile(code, f"block {number}", "exec"), names)


@pytest.mark.parametrize(
    "thing", [*(n for n in gazepipe.__all__ if n != "__version__"), ingest, build_psm, enrol, predict]
)
def test_examples_in_docstrings_run(thing: Any, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.root)
    if isinstance(thing, str):
        thing = getattr(gazepipe, thing)
    found = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    for example in found:
        runner.run(example, out=told.append)
    assert not runner.failures, "".join(told)
    assert sum(len(example.examples) for example in found) > 1


def test_profile_for_slurm_names_what_there_is() -> None:
    (block,) = blocks(DOCS / "cluster.md", "yaml")
    shown = yaml.safe_load(block)
    shipped = (ROOT / "pipelines/profiles/slurm/config.yaml").read_text(encoding="utf-8")
    assert shown.keys() <= set(re.findall(r"^(?:# )?([\w-]+):", shipped, re.M))
    rules = (ROOT / "pipelines/Snakefile").read_text(encoding="utf-8")
    for rule in (*shown["set-threads"], *shown["set-resources"]):
        assert re.search(rf"\b{rule}\b", rules), rule


def test_layout_of_markers_can_be_read(tmp_path: Path) -> None:
    (block,) = blocks(DOCS / "screen-mapping.md", "json")
    (tmp_path / "layout.json").write_text(block)
    assert len(load_layout(tmp_path / "layout.json").layout) == 4
