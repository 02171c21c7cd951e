"""The documentation builds without a warning, its pages need no network, and its examples run."""

from __future__ import annotations

import html
import importlib
import importlib.util
import operator
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))

needs_sphinx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_parser", "sphinx_gallery")),
    reason="the extra `docs` is not installed",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation built from a copy, which sphinx-gallery writes into; examples are shown and not run."""
    folder = tmp_path_factory.mktemp("documentation")
    left_out = shutil.ignore_patterns("_build", "gallery", "store", "__pycache__")
    shutil.copytree(DOCS, folder / "docs", ignore=left_out)
    (folder / "gazepipe").symlink_to(ROOT / "gazepipe")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-n", "-W", "--keep-going", "-D", "plot_gallery=0"]
    command += ["-D", "smartquotes=0"]  # takes a twentieth of the time, and says nothing
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    run = subprocess.run([*command, "docs", "html"], cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "html"


def texts(pages: Path) -> Iterator[tuple[str, str]]:
    for page in sorted(pages.rglob("*.html")):
        yield page.relative_to(pages).as_posix(), page.read_text(encoding="utf-8")


@needs_sphinx
def test_pages_are_whole_and_need_no_network(pages: Path) -> None:
    shown = dict(texts(pages))
    assert {f"{page.stem}.html" for page in DOCS.glob("*.md")} <= shown.keys()
    assert {f"gallery/{example.stem}.html" for example in EXAMPLES} <= shown.keys()
    for name, text in shown.items():
        loaded = re.findall(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"([^\"]*)\"|<link\b[^>]*\bhref=\"([^\"]*)\"", text)
        outside = [src or href for src, href in loaded if re.match(r"(?:https?:)?//", src or href)]
        assert not outside, name
        # What was not understood would stand there as it was written.
        assert not re.search(r"\$\$|flowchart TD|:(?:func|class|doc|ref):`", text), name
    assert shown["index.html"].count('<svg class="flowchart"') == 1
    assert shown["method.html"].count('<svg class="formula"') == 5


@needs_sphinx
def test_reference_has_every_public_name(pages: Path) -> None:
    import gazepipe
    from gazepipe import live, metrics, plotting, saliency

    reference = "".join(text for name, text in texts(pages) if name.startswith("api/"))
    wanted = [f"gazepipe.{name}" for name in gazepipe.__all__ if name != "__version__"]
    wanted += [f"gazepipe.live.{name}" for name in live.__all__]
    hidden = {"COLOURS", "MARKERS", "check_library", "evenly", "METRICS", "BORDERS", "NORMALISATIONS"}
    for module in (plotting, metrics, saliency):
        wanted += [f"{module.__name__}.{name}" for name in module.__all__ if name not in hidden]
    assert [name for name in wanted if f'id="{name}"' not in reference] == []


@needs_sphinx
def test_signatures_are_as_written(pages: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (pages / "api/maps.html").read_text(encoding="utf-8")))
    assert "cc(prediction: ArrayLike, truth: ArrayLike) → float" in text
    assert "dtype[" not in text
    assert "NDArray" not in text


@needs_sphinx
def test_charts_are_drawn_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    names = vars(importlib.import_module("flowchart"))
    chart = 'flowchart TD\n  A["one<br>two"] -- makes --> B --> C\n  A --> C\n  D --> C'
    assert names["parse"](chart).arrows == [("A", "B", "makes"), ("B", "C", ""), ("A", "C", ""), ("D", "C", "")]
    assert names["parse"](chart).texts == {"A": ["one", "two"], "B": ["B"], "C": ["C"], "D": ["D"]}
    rows, ways = names["_rows"](names["parse"](chart))
    # The arrow past B has a place of its own in B's row; D, which nothing leads to, stands right above C.
    assert [sorted(row) for row in rows] == [["A"], ["2 1", "B", "D"], ["C"]]
    assert ways[2] == (["A", "2 1", "C"], "")
    with pytest.raises(ValueError, match="not understood"):
        names["parse"]("flowchart TD\n  A ==> B")


def test_names_in_docstrings_are_there() -> None:
    """`gazepipe.x.y` in a docstring is a module, or something in one, which its text defines or imports."""
    for source in sorted((ROOT / "gazepipe").rglob("*.py")):
        for name in set(re.findall(r"(?<!`)`(gazepipe(?:\.(?!toml)\w+)+)`", source.read_text(encoding="utf-8"))):
            module, *rest = ROOT / "gazepipe", *name.split(".")[1:]
            while rest and ((module / rest[0]).is_dir() or (module / f"{rest[0]}.py").is_file()):
                module, rest = module / rest[0], rest[1:]
            text = (module / "__init__.py" if module.is_dir() else module.with_suffix(".py")).read_text("utf-8")
            if rest and module == ROOT / "gazepipe":  # these are loaded when they are first used
                assert operator.attrgetter(".".join(rest))(importlib.import_module("gazepipe"))
                continue
            for part in rest:
                where = rf"^\s*(?:def|class) {part}\b|^{part}\b|[\"']{part}[\"']|^from .* import .*\b{part}\b"
                assert re.search(where, text, re.M), f"{source.relative_to(ROOT)}: {name}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as in the repository, for what the examples store."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "recordings").symlink_to(ROOT / "recordings")
    (folder / "docs/examples").mkdir(parents=True)
    return folder / "docs/examples"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_draw(example: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the extra `report` is not installed")
    from matplotlib.figure import Figure

    pyplot.switch_backend("agg")
    monkeypatch.chdir(workplace)
    try:
        names = runpy.run_path(str(example))
        drawn = [value for value in names.values() if isinstance(value, Figure)]
        assert drawn
        for figure in drawn:
            assert figure.axes
            figure.savefig(workplace / "drawn.png")
    finally:
        pyplot.close("all")
