"""The command line: help, exit codes, one line for an error, and people enrolled and predicted with real networks.

What bad input does is in test_bad_input.py, what the figures are worth in test_end_to_end.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from gazepipe import __version__, store
from gazepipe.cli import SECTIONS, main
from gazepipe.cli._command import Command
from gazepipe.config import EmbeddingConfig, load_config, template
from gazepipe.images import read_rgb
from gazepipe.simulate import simulate_study

COMMANDS = [name for commands in SECTIONS.values() for name in commands]


def gazepipe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def one_line(result: Result) -> str:
    """Return the error, which must be one line on standard error and nothing on standard output."""
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("gazepipe: ")
    return lines[0]


# ---- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_all_commands_by_section_and_the_exit_codes() -> None:
    result = gazepipe("--help")
    assert result.exit_code == 0
    lists = result.stdout.split("\n\nStudy:\n")[1].split("Exit codes:")[0]
    assert re.findall(r"^([A-Z][a-z ]+):$", f"Study:\n{lists}", re.MULTILINE) == list(SECTIONS)
    assert re.findall(r"^  ([a-z][a-z-]+) +[A-Z]", lists, re.MULTILINE) == COMMANDS
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130):
        assert re.search(rf"\b{code} ", result.stdout.split("Exit codes:")[1])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str) -> None:
    result = gazepipe(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {command} ")
    for option in re.findall(r"^  (--[a-z-]+)[ ,]", result.stdout, re.MULTILINE):
        assert re.search(rf"{option}[ ,].*\n?\s+\S|{option} +\S", result.stdout), f"{option} is not explained"


def commands_with_examples() -> Iterator[Any]:
    top = click.Context(main, info_name="gazepipe")
    for name in COMMANDS:
        command = main.get_command(top, name)
        assert command is not None
        below = command.commands.items() if isinstance(command, click.Group) else ()
        for shown, one in ((name, command), *((f"{name} {n}", c) for n, c in below)):
            assert isinstance(one, Command), shown
            yield pytest.param(shown, one.examples, id=shown)


@pytest.mark.parametrize(("command", "examples"), list(commands_with_examples()))
def test_help_ends_with_examples_that_parse(command: str, examples: tuple[str, ...]) -> None:
    """Every example has options that exist, values that they take, and all that is required; none is run."""
    assert 1 <= len(examples) <= 3
    shown = gazepipe(*command.split(), "--help").stdout
    assert shown.endswith("Examples:\n" + "".join(f"  {line}\n" for line in examples))
    for line in examples:
        assert len(line) < 110
        words = shlex.split(re.sub(r"\$\((.*)\)", r"\1", line).removeprefix("eval ").split(" >")[0], comments=True)
        words = shlex.split(words[0]) if len(words) == 1 else words  # what stood in eval "$(…)"
        start = words.index("gazepipe")
        assert start == 0 or words[:start][0] == "torchrun"
        assert words[start + 1 : start + 1 + len(command.split())] == command.split() or command == "consent"
        parsed(main, words[start + 1 :])


def parsed(group: click.Group, words: list[str], parent: click.Context | None = None) -> None:
    """Parse a line down to its last command, as `group` does before it calls one."""
    with group.make_context(group.name, list(words), parent=parent) as context:
        name, command, rest = group.resolve_command(context, context._protected_args + context.args)
        if isinstance(command, click.Group):
            parsed(command, rest, context)
        else:
            command.make_context(name, rest, parent=context).close()


def test_version() -> None:
    assert gazepipe("--version").stdout == f"gazepipe {__version__}\n"


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys\nfrom gazepipe.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as e:\n    assert not e.code\n"
        "heavy = 'torch numba matplotlib pandas numpy h5py cv2 scipy pydantic tqdm requests pooch'.split()\n"
        "print([m for m in heavy if m in sys.modules])\n"
        "print(sorted(m for m in sys.modules if m.startswith('gazepipe.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, heavy, own = done.stdout.splitlines()
    assert heavy == "[]"
    assert own == str([f"gazepipe.{m}" for m in ("cli", "cli._command", "errors", "interruption", "kernel_cache")])


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "gazepipe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gazepipe {__version__}\n"


# ---- setting up ------------------------------------------------------------------------------------------------------


def test_init_writes_a_configuration_and_never_replaces_one(tmp_path: Path) -> None:
    folder = tmp_path / "my study ü"
    assert gazepipe("init", folder).exit_code == 0
    path = folder / "gazepipe.toml"
    assert load_config(path).name == "my study ü"
    path.write_text("name = 'mine'\n")
    result = gazepipe("init", folder)
    assert result.exit_code == 2
    assert "is there already" in one_line(result)
    assert path.read_text() == "name = 'mine'\n"
    assert gazepipe("init", "--force", folder).exit_code == 0
    assert load_config(path).name == "my study ü"


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = gazepipe("init", tmp_path / "file")
    assert result.exit_code == 7
    assert "could not be written" in one_line(result)


def test_unknown_command_and_option(tmp_path: Path) -> None:
    assert gazepipe("fly").exit_code == 2
    assert gazepipe("ingest", "--fast").exit_code == 2
    assert gazepipe("ingest", "--jobs", "0").exit_code == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_store(small_study: Any) -> None:
    small_study.recording("anna.csv", [("a.png", [(400, 300, 400)])])
    (small_study.root / "store").mkdir(mode=0o500)
    result = gazepipe("ingest", small_study.root)
    assert result.exit_code == 7
    assert "cannot be written" in one_line(result)


def test_dry_run_writes_nothing(small_study: Any) -> None:
    small_study.recording("anna.csv", [("a.png", [(400, 300, 400)])])
    small_study.recording("ben_ses-2.csv", [("a.png", [(400, 300, 400)])])
    before = {p: p.read_bytes() for p in small_study.root.rglob("*") if p.is_file()}
    result = gazepipe("ingest", "--dry-run", small_study.root)
    assert result.exit_code == 0
    _, first, second, _, summary = result.stdout.splitlines()
    assert first.split() == ["anna.csv", "csv", "anna", "1", "225", "read:", "new"]
    assert second.split() == ["ben_ses-2.csv", "csv", "ben", "ses-2", "1", "225", "read:", "new"]
    assert summary.startswith("2 files of 2 users: 2 new")
    assert {p: p.read_bytes() for p in small_study.root.rglob("*") if p.is_file()} == before


def test_quiet_says_nothing_unless_something_is_wrong(small_study: Any) -> None:
    small_study.recording("anna.csv", [("a.png", [(400, 300, 400)])])
    result = gazepipe("--quiet", "ingest", small_study.root)
    assert (result.exit_code, result.output) == (0, "")
    (small_study.root / "rec" / "ben.csv").write_text("")
    result = gazepipe("--quiet", "ingest", small_study.root)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "ben.csv" in result.stderr


def test_damaged_manifest_ends_with_eight(small_study: Any) -> None:
    small_study.recording("anna.csv", [("a.png", [(400, 300, 400)])])
    gazepipe("ingest", small_study.root)
    (small_study.root / "store" / "manifest" / "ingest.json").write_text("{")
    result = gazepipe("build-psm", small_study.root)
    assert result.exit_code == 8
    assert "ingest.json: damaged" in one_line(result)


def test_traceback_on_demand(small_study: Any) -> None:
    result = gazepipe("--traceback", "ingest", small_study.root)
    assert result.exit_code == 4
    assert "Traceback (most recent call last)" in result.stderr


# ---- with trained networks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated study run from end to end with networks that have hardly been trained; never changed."""
    folder = tmp_path_factory.mktemp("trained") / "study"
    simulate_study(folder, users=6, images=16, rate_hz=125, seconds=1, seed=5)
    config = load_config(folder / "gazepipe.toml").model_dump(mode="json")
    config["split"] |= {"users": [0.34, 0.33, 0.33], "images": [0.6, 0.2, 0.2]}
    config["embedding"] |= {"widths": [4, 4, 8, 8], "m": 2, "steps": 4, "validate_every": 2}
    config["refiner"] |= {"m": 2, "pool": 4, "epochs": 1}
    config["universal"] |= {"epochs": 1}
    config["evaluation"] |= {"m": [1], "embeddings_per_user": 2, "repetitions": 2, "offset_repetitions": 1}
    config["psm"] |= {"width": 40, "height": 30}
    (folder / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    result = gazepipe("run", folder, "--threads", "1", "--images", "2")
    assert result.exit_code == 0, result.output
    assert (folder / "store" / "evaluation.md").is_file()
    return folder


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "study"))


def test_second_run_makes_nothing_again(study: Path) -> None:
    # The copy is another folder of the same recordings, as after a move.
    names = ("*.h5", "psm/*", "recordings/*", "models/*", "evaluation.*")
    files = [f for name in names for f in (study / "store").glob(name)]
    before = {f: f.stat().st_mtime_ns for f in files}
    assert len(before) > 15
    result = gazepipe("run", study, "--threads", "1")
    assert result.exit_code == 0, result.output
    assert "nothing trained" in result.stdout
    assert {f: f.stat().st_mtime_ns for f in files} == before


def test_evaluation_that_was_deleted_or_damaged_is_made_again(study: Path) -> None:
    text = (study / "store" / "evaluation.md").read_text()
    figures = (study / "store" / "evaluation.json").read_text()
    (study / "store" / "evaluation.md").unlink()
    assert gazepipe("evaluate", study, "--threads", "1").exit_code == 0
    assert (study / "store" / "evaluation.md").read_text() == text
    (study / "store" / "evaluation.json").write_text("{")
    assert gazepipe("evaluate", study, "--threads", "1").exit_code == 0
    assert (study / "store" / "evaluation.json").read_text() == figures


def test_tables_are_those_of_the_evaluation(study: Path, tmp_path: Path) -> None:
    result = gazepipe("evaluate", study, "--threads", "1", "--tables")
    assert result.exit_code == 0, result.output
    folder = study / "store" / "tables"
    names = ["maps.csv", "precision.csv", "scores.csv", "tables.md", "verification.csv"]
    assert sorted(p.name for p in folder.iterdir()) == names
    figures = json.loads((study / "store" / "evaluation.json").read_text())
    maps = pd.read_csv(folder / "maps.csv").set_index(["row", "measure"])
    scores = pd.read_csv(folder / "scores.csv")
    assert len(scores) == figures["facts"]["n_maps"] * len(figures["maps"])
    for row, values in figures["maps"].items():
        for measure, value in values.items():
            assert maps.loc[(row, measure), "mean"] == pytest.approx(value, rel=1e-5)
            assert scores[scores["row"] == row][measure].mean() == pytest.approx(value, rel=1e-5)
    assert maps.loc[("gated Δ on GT-USM", "CC"), "baseline"] == "GT-USM"
    result = gazepipe("evaluate", study, "--threads", "1", "--tables", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "tables.md").read_bytes() == (folder / "tables.md").read_bytes()
    assert "--tables and --figures" in gazepipe("evaluate", study, "--out", tmp_path).stderr


def test_scores_that_were_deleted_are_made_again(study: Path) -> None:
    file = study / "store" / "evaluation.h5"
    before = file.read_bytes()
    file.unlink()
    assert gazepipe("evaluate", study, "--threads", "1").exit_code == 0
    assert file.read_bytes() == before


def test_figures_are_drawn_the_same_each_time(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `report`")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        result = gazepipe("evaluate", study, "--threads", "1", "--figures", "--out", folder)
        assert result.exit_code == 0, result.output
    # t-SNE needs eight test images, and this study has three.
    names = [f"{name}.{kind}" for name in ("figure4_maps", "figure5_precision") for kind in ("png", "svg")]
    assert sorted(p.name for p in folders[0].iterdir()) == names
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    text = (folders[0] / "figure5_precision.svg").read_text(encoding="utf-8")
    for words in ("precision at one", "disjoint", "chance, 0.500", "2 unseen users"):
        assert words in text
    picture = read_rgb(folders[0] / "figure4_maps.png")
    assert picture.shape[1] > 1200
    assert picture.std() > 20


def test_figures_without_matplotlib_say_what_to_install(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "matplotlib" else find(name, *a))
    result = gazepipe("evaluate", study, "--figures")
    assert result.exit_code == 2
    assert one_line(result).endswith("which is not installed; run `pip install gazepipe[report]`.")


def test_crossvalidation_from_the_command_line(study: Path) -> None:
    result = gazepipe("crossvalidate", study, "--folds", "3", "--preset", "best", "--no-maps", "--threads", "1")
    assert result.exit_code == 0, result.output
    folder = study / "store" / "folds" / "best-embeddings"
    assert (folder / "crossvalidation.md").read_text() in result.stdout
    assert "3 folds over users; best settings; 6 users" in result.stdout
    assert len(list(folder.glob("fold-*.h5"))) == 3


def test_prediction_is_an_overlay_and_an_array(study: Path, tmp_path: Path) -> None:
    images = sorted((study / "stimuli").iterdir())[:2]
    result = gazepipe("predict", "--study", study, "--user", "sim01", "--out", tmp_path / "out", *images)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["summary.json", *(name for i in images for name in (f"{i.stem}.npy", f"{i.stem}.png"))]
    )
    saliency = np.load(tmp_path / "out" / f"{images[0].stem}.npy")
    assert saliency.shape == (30, 40)
    assert saliency.min() >= 0
    assert read_rgb(tmp_path / "out" / f"{images[0].stem}.png").shape == read_rgb(images[0]).shape


def test_where_the_universal_map_comes_from(study: Path, tmp_path: Path) -> None:
    image = sorted((study / "stimuli").iterdir())[0]
    new = tmp_path / "new.png"
    simulate_study(tmp_path / "other", users=1, images=1, seed=77)
    shutil.copy(tmp_path / "other" / "stimuli" / "scene01.png", new)
    ask = ("predict", "--study", study, "--user", "sim01")
    result = gazepipe(*ask, image, new)
    assert re.search(rf"{image.name}: .*universal map store", result.stdout)
    assert re.search(r"new\.png: .*universal map predicted", result.stdout)
    result = gazepipe(*ask, "--usm", "store", image, new)
    assert result.exit_code == 3
    assert "new.png: nobody in the store has looked at this image" in result.stderr
    assert "scene" in result.stdout
    np.save(tmp_path / "new.npy", np.ones((30, 40)))
    assert "universal map folder" in gazepipe(*ask, "--usm", tmp_path, new).stdout
    np.save(tmp_path / "new.npy", np.full((30, 40), np.nan))
    result = gazepipe(*ask, "--usm", tmp_path, new)
    assert result.exit_code == 3
    assert "no saliency map" in result.stderr
    assert gazepipe(*ask, "--usm", tmp_path / "nowhere", new).exit_code == 2


def test_universal_maps_of_others_are_rows_of_the_evaluation(study: Path, tmp_path: Path) -> None:
    """A folder of maps adds its rows and changes no other; what cannot be used is told in one sentence."""
    (tmp_path / "maps").mkdir()
    v, u = np.mgrid[:30, :40]
    for path in (study / "stimuli").iterdir():
        np.save(tmp_path / "maps" / f"{path.stem}.npy", np.exp(-((u - 20) ** 2 + (v - 15) ** 2) / 200))
    values = load_config(study / "gazepipe.toml").model_dump(mode="json")
    values["universal"] |= {"maps": str(tmp_path / "maps")}
    (study / "gazepipe.toml").write_text(template(**values), encoding="utf-8")
    before = (study / "store" / "evaluation.md").read_text()
    result = gazepipe("evaluate", study, "--threads", "1")
    assert result.exit_code == 0, result.output
    after = (study / "store" / "evaluation.md").read_text()
    rows = [line.split("|")[1].strip() for line in after.splitlines() if "USM of the folder" in line]
    kinds = ("", "USM + Δ on ", "gated Δ on ", "profile on ")
    assert rows == [f"{kind}USM of the folder" for kind in kinds]
    assert [line for line in after.splitlines() if "of the folder" not in line] == before.splitlines()
    # Another content is another evaluation; a missing map is one sentence.
    for path in (tmp_path / "maps").glob("*.npy"):
        path.unlink()
    result = gazepipe("evaluate", study, "--threads", "1")
    assert result.exit_code == 3
    assert "has no map of it" in one_line(result)
    # A predictor without a backbone is none to start from, and DeepGaze is not installed.
    values["universal"] |= {"maps": "", "weights": str(study / "store" / "models" / "universal.safetensors")}
    (study / "gazepipe.toml").write_text(template(**values), encoding="utf-8")
    assert "has no backbone" in one_line(gazepipe("evaluate", study, "--threads", "1"))
    image = sorted((study / "stimuli").iterdir())[0]
    result = gazepipe("predict", "--study", study, "--user", "sim01", "--usm", "deepgaze", image)
    assert result.exit_code in (2, 3)
    assert "install deepgaze_pytorch" in result.stderr


def test_unknown_people_and_images(study: Path, tmp_path: Path) -> None:
    image = sorted((study / "stimuli").iterdir())[0]
    result = gazepipe("predict", "--study", study, "--user", "nobody", image)
    assert result.exit_code == 4
    assert "user 'nobody' is not in the gallery, which has sim01" in one_line(result)
    result = gazepipe("enrol", "--study", study, "--user", "nobody")
    assert result.exit_code == 4
    assert "user 'nobody' has no maps" in one_line(result)
    (tmp_path / "empty").mkdir()
    assert gazepipe("predict", "--study", study, "--user", "sim01", tmp_path / "empty").exit_code == 4
    result = gazepipe("predict", "--study", study, "--user", "sim01", tmp_path / "none.png", image)
    assert result.exit_code == 3
    assert "none.png" in result.stderr
    assert image.name in result.stdout


def test_a_preset_is_remembered_until_training_without_it(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gazepipe import train as stage
    from gazepipe.predict import predict
    from gazepipe.study import Study

    opened = Study.open(study)
    refiner = opened.config.refiner.model_copy(update={"combine": "add", "m": 3})
    quick = {"embedding": EmbeddingConfig(inputs="descriptors", registration=True), "refiner": refiner}
    monkeypatch.setitem(stage.PRESETS, "paper", quick)
    assert gazepipe("train", study, "--preset", "paper", "--threads", "1").exit_code == 0
    assert stage.settings(opened).refiner.combine == "add"
    assert stage.settings(opened).embedding.inputs == "descriptors"
    assert gazepipe("enrol", "--study", study, "--user", "sim01", "--threads", "1").exit_code == 0
    assert gazepipe("evaluate", study, "--threads", "1").exit_code == 0
    image = sorted((study / "stimuli").iterdir())[0]
    made = [predict(opened, "sim01", [image], threads=1)[0][0].psm]
    # The same networks, but trained (that is: found up to date) by a file that says the other.
    config = opened.config.model_dump(mode="json")
    config["embedding"] = quick["embedding"].model_dump(mode="json")
    config["refiner"] = refiner.model_dump(mode="json") | {"combine": "gated"}
    (study / "gazepipe.toml").write_text(template(**config), encoding="utf-8")
    assert "embedding up to date" in gazepipe("train", study, "--threads", "1").stdout
    opened = Study.open(study)
    assert stage.settings(opened) == opened.config
    made.append(predict(opened, "sim01", [image], threads=1)[0][0].psm)
    usm = predict(opened, "sim01", [image], threads=1)[0][0].usm
    # The plain sum may reach zero; the gated one leaves a fifth of the universal map everywhere.
    assert (made[1] >= usm / 5 - 1e-6).all()
    assert not np.array_equal(made[0], made[1])


def test_a_training_that_is_not_understood(study: Path) -> None:
    (study / "store" / "manifest" / "train.json").write_text('{"sections": {"embedding": {"inputs": "smell"}}}')
    result = gazepipe("evaluate", study, "--threads", "1")
    assert result.exit_code == 8
    assert "run `gazepipe train` again" in one_line(result)


def test_gallery_of_networks_trained_before_is_not_used(study: Path) -> None:
    text = (study / "gazepipe.toml").read_text(encoding="utf-8")
    (study / "gazepipe.toml").write_text(re.sub(r"^seed = 0", "seed = 1", text, count=1, flags=re.MULTILINE))
    assert gazepipe("train", study, "--threads", "1").exit_code == 0
    image = sorted((study / "stimuli").iterdir())[0]
    result = gazepipe("predict", "--study", study, "--user", "sim01", image)
    assert result.exit_code == 4
    assert "run `gazepipe enrol` again" in one_line(result)
    assert gazepipe("enrol", "--study", study, "--user", "sim01", "--threads", "1").exit_code == 0
    assert gazepipe("predict", "--study", study, "--user", "sim01", image).exit_code == 0


def test_networks_that_do_not_belong_together_are_not_used(study: Path) -> None:
    """Training may be interrupted between the embedding network and the refiner."""
    old = (study / "store" / "models" / "refiner.safetensors").read_bytes()
    text = (study / "gazepipe.toml").read_text(encoding="utf-8")
    (study / "gazepipe.toml").write_text(re.sub(r"^seed = 0", "seed = 1", text, count=1, flags=re.MULTILINE))
    assert gazepipe("train", study, "--threads", "1").exit_code == 0
    (study / "store" / "models" / "refiner.safetensors").write_bytes(old)
    assert gazepipe("enrol", "--study", study, "--user", "sim01").exit_code == 0
    image = sorted((study / "stimuli").iterdir())[0]
    for command in (["evaluate", study], ["predict", "--study", study, "--user", "sim01", image]):
        result = gazepipe(*command)
        assert result.exit_code == 4
        assert "run `gazepipe train` again" in one_line(result)
    assert "train: refiner trained" in gazepipe("train", study, "--threads", "1").stdout


def test_newcomer_through_the_command_line(study: Path, tmp_path: Path) -> None:
    shutil.copy(study / "sim02.csv.gz", tmp_path / "monday.csv.gz")
    before = {p: p.read_bytes() for p in (study / "store" / "models").iterdir()}
    result = gazepipe("enrol", "--study", study, "--user", "zoe", tmp_path / "monday.csv.gz", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert "zoe: enrolled, 16 image-PSM pairs" in result.stdout
    assert "7 people in" in result.stdout
    gallery = store.load(study / "store" / "gallery.h5", "gazepipe.gallery")
    vectors = dict(zip(gallery.arrays["table/user"], gallery.arrays["embedding"], strict=True))
    # The same gaze under another name is the same person, and no network was changed.
    np.testing.assert_allclose(vectors["zoe"], vectors["sim02"], atol=1e-5)
    # A network of four steps puts everybody close together, so that rounding decides who of two is the nearest.
    found = float(gallery.arrays["table/nearest_cosine"][-1])
    assert found == pytest.approx(float(vectors["zoe"] @ vectors["sim02"]), abs=1e-5)
    assert {p: p.read_bytes() for p in (study / "store" / "models").iterdir()} == before
    result = gazepipe("enrol", "--study", study, "--user", "sim03", tmp_path / "monday.csv.gz")
    assert result.exit_code == 2
    assert "already has a user 'sim03'" in one_line(result)


def test_device_that_is_not_there(study: Path) -> None:
    result = gazepipe("evaluate", study, "--device", "abacus")
    assert result.exit_code == 2
    assert "--device abacus: there is no such device here" in one_line(result)
