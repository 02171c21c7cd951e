"""The list of tested versions is one of what gazepipe declares to need."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

requirements = pytest.importorskip("packaging.requirements")
utils = pytest.importorskip("packaging.utils")

ROOT = Path(__file__).parents[1]


def listed(name: str) -> dict[str, str]:
    """Package → version."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {utils.canonicalize_name(p): v for p, v in (line.split("==") for line in lines if line)}


def test_every_package_that_is_needed_has_a_tested_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tested, checked = listed("tested.txt"), 0
    for line in [
        *project["dependencies"],
        *(one for name, extra in extras.items() if name != "peers" for one in extra),
    ]:
        needed = requirements.Requirement(line)
        if needed.name == "gazepipe":
            continue
        name = utils.canonicalize_name(needed.name)
        assert name in tested, line
        assert needed.specifier.contains(tested[name]), (line, tested[name])
        checked += 1
    assert checked > 30
    constrained = listed("constraints.txt")
    assert constrained.items() <= tested.items()
