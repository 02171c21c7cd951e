"""What a user calls says what goes in, what comes out, what is raised, and shows an example."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import gazepipe

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "api"

#: What the commands of the same names call.
STAGES = (
    "gazepipe.ingest.ingest",
    "gazepipe.build.build_psm",
    "gazepipe.train.train",
    "gazepipe.enrol.enrol",
    "gazepipe.predict.predict",
    "gazepipe.evaluate.evaluate",
    "gazepipe.report.write_report",
)
OFFERED = (*(f"gazepipe.{name}" for name in gazepipe.__all__ if name != "__version__"), *STAGES)
FUNCTIONS = sorted(
    {
        name
        for page in REFERENCE.glob("*.rst")
        for name in re.findall(r"^\.\. autofunction:: (\S+)", page.read_text(encoding="utf-8"), re.M)
    }
)


def named(name: str) -> Any:
    module, _, thing = name.rpartition(".")
    return getattr(importlib.import_module(module), thing)


def sections(thing: Any) -> dict[str, str]:
    """Heading → text of the numpydoc sections of a docstring."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}$", inspect.getdoc(thing) or "", flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parameters(text: str) -> list[str]:
    """Names that a section of parameters tells of, in order: lines that are not indented."""
    heads = [line.partition(" : ")[0] for line in text.splitlines() if line and not line[0].isspace()]
    return [name.strip() for head in heads for name in head.split(",")]


def is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


@pytest.mark.parametrize("name", sorted({*OFFERED, *FUNCTIONS}))
def test_documented_parameters_are_those_of_the_signature(name: str) -> None:
    thing = named(name)
    if is_error(thing):
        return
    found = inspect.signature(thing)
    assert parameters(sections(thing).get("Parameters", "")) == list(found.parameters)
    if inspect.isfunction(thing) and found.return_annotation not in (None, "None"):
        assert sections(thing).get("Returns", "").strip()


@pytest.mark.parametrize("name", OFFERED)
def test_what_is_offered_shows_an_example_and_its_errors(name: str) -> None:
    thing = named(name)
    assert ">>> " in sections(thing).get("Examples", "")
    if inspect.isfunction(thing):
        assert sections(thing).get("Raises", "").strip()


def test_a_parameter_that_is_not_documented_is_found() -> None:
    text = "x, y\n    Pixels.\n\nscreen : Screen\n    The screen."
    assert parameters(text) == ["x", "y", "screen"]
    assert parameters(text) != ["x", "y", "screen", "window_ms"]
