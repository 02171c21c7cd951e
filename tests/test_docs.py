"""The documentation says what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import click
import pytest

from gazepipe.cli import main
from gazepipe.config import parse_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.S | re.M)
    return [textwrap.dedent(indent + body) for indent, body in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_configuration_examples_are_valid(page: Path) -> None:
    for block in blocks(page, "toml"):
        parse_config(tomllib.loads(textwrap.dedent(block)))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    for block in blocks(page, "console"):
        for line in block.splitlines():
            words = line.split("#")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/").split()
            if not words or words[0] != "gazepipe" or len(words) < 2 or words[1].startswith("-"):
                continue
            command = main.commands[words[1]]
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
            used = {w.split("=")[0] for w in words[2:] if w.startswith("-")}
            assert used <= known, line
            assert isinstance(command, click.Command)


def test_generated_pages_are_up_to_date() -> None:
    run = subprocess.run([sys.executable, "docs/_generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_command_has_its_page_section() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"gazepipe {name}" in text
