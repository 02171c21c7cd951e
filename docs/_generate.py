"""Write what configuration.md and cli.md say about the program, out of the program.

    python docs/_generate.py            fill the generated parts of both pages
    python docs/_generate.py --check    only tell whether they are up to date (exit code 1 if not)

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else is written by hand.
The unit of a key is the ending of its name, else it stands in `UNITS`. A key without a description in `gazepipe.config`
stops this script.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal

import click
from pydantic.fields import FieldInfo

from gazepipe.cli import main as command_line
from gazepipe.config import Section, StudyConfig, template

HERE = Path(__file__).resolve().parent
PAGES = ("configuration.md", "cli.md")
PART = re.compile(r"(<!-- generated: (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

#: A default longer than this stands in a block below the table.
LONGEST_DEFAULT = 40

#: Unit by the end of a key's name, the longest ending first.
ENDINGS = {
    "_deg_s": "deg/s",
    "_deg": "deg",
    "_px": "px",
    "_mm": "mm",
    "_ms": "ms",
    "_hz": "Hz",
    "minutes": "min",
    "per_degree": "px/deg",
}

#: Units that the key's name does not tell.
UNITS = {
    "ivt.noise_window": "samples",
    "psm.width": "cells",
    "psm.height": "cells",
    "split.users": "share",
    "split.images": "share",
    "embedding.m": "pairs",
    "embedding.batch": "embeddings",
    "embedding.steps": "batches",
    "embedding.validate_every": "batches",
    "embedding.patience": "validations",
    "embedding.margin": "cosine",
    "embedding.dropout": "share",
    "refiner.m": "pairs",
    "refiner.pool": "embeddings",
    "refiner.batch": "maps",
    "refiner.epochs": "epochs",
    "refiner.halve_every": "epochs",
    "refiner.patience": "epochs",
    "universal.epochs": "epochs",
    "universal.readout_epochs": "epochs",
    "evaluation.m": "pairs",
    "evaluation.embeddings_per_user": "embeddings",
    "evaluation.repetitions": "draws",
    "evaluation.offset_repetitions": "draws",
    "enrol.min_images": "images",
    "enrol.min_fixations": "an image",
    "enrol.max_data_loss": "share",
    "enrol.max_off_screen": "share",
}


# ---- configuration ---------------------------------------------------------------------------------------------------


def sections() -> dict[str, type[Section]]:
    """Tables of the configuration, in order; the keys above all tables come first under the name "study"."""
    found: dict[str, type[Section]] = {"study": StudyConfig}
    for name, field in StudyConfig.model_fields.items():
        if is_section(field):
            found[name] = field.annotation
    return found


def is_section(field: FieldInfo) -> bool:
    """Whether a field is a table of its own."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def config_part(name: str) -> str:
    """Table of one section's keys: default, unit, allowed values, meaning."""
    lines = ["| key | default | unit | allowed | meaning |", "| --- | --- | --- | --- | --- |"]
    long: list[str] = []
    written = template().splitlines()
    for key, field in sections()[name].model_fields.items():
        if is_section(field):
            continue
        full = key if name == "study" else f"{name}.{key}"
        if not field.description:
            sys.exit(f"configuration key {full} has no description; write one in gazepipe/config/")
        default = toml_value(key, name, written)
        if len(default) > LONGEST_DEFAULT:
            long.append(f"{key} = {default}")
            default = "below"
        else:
            default = f"`{default}`"
        cells = (f"`{key}`", default, unit(full, key), allowed(field), field.description)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    if long:
        lines += ["", "```toml", *([] if name == "study" else [f"[{name}]"]), *long, "```"]
    return "\n".join(lines) + "\n"


def toml_value(key: str, section: str, written: list[str]) -> str:
    """Default of a key as `gazepipe init` writes it, without the comment."""
    start = 0 if section == "study" else written.index(f"[{section}]")
    line = next(text for text in written[start:] if text.startswith(f"{key} = "))
    field = sections()[section].model_fields[key]
    text = line.removeprefix(f"{key} = ")
    return text.removesuffix(f"  # {field.description}")


def unit(full: str, key: str) -> str:
    """Return the unit of a key, empty where it has none."""
    return UNITS.get(full) or next((u for ending, u in ENDINGS.items() if key.endswith(ending)), "")


def allowed(field: FieldInfo) -> str:
    """Return which values a key takes, in words."""
    return ", ".join([kind(field.annotation), *limits(field.metadata)])


def kind(annotation: Any) -> str:
    """Type of a value, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin is typing.Annotated:
        bounds = [b for m in arguments[1:] for b in limits(getattr(m, "metadata", [m]))]
        return ", ".join([kind(arguments[0]), *bounds])
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list: {kind(arguments[0])}"
        return f"list of {len(arguments)}: {kind(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind(a) for a in arguments)
    return {bool: "true, false", int: "whole number", float: "number", str: "text"}[annotation]


def limits(metadata: list[Any]) -> list[str]:
    """Bounds of a number."""
    signs = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "max_length": "at most {} characters"}
    values = [(text, getattr(m, name, None)) for m in metadata for name, text in signs.items()]
    return [text.format(value) for text, value in values if value is not None]


# ---- command line ----------------------------------------------------------------------------------------------------


def help_part(name: str) -> str:
    """``--help`` of one command, or of the program itself."""
    top = click.Context(command_line, info_name="gazepipe", terminal_width=96, max_content_width=96)
    command = command_line if name == "gazepipe" else command_line.get_command(top, name)
    assert command is not None, name
    shown = "gazepipe" if name == "gazepipe" else f"gazepipe {name}"
    context = click.Context(command, info_name=shown, terminal_width=96, max_content_width=96)
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    return "```text\n" + "\n".join(lines) + "\n```\n"


# ---- pages -----------------------------------------------------------------------------------------------------------


def part(page: str, name: str) -> str:
    """Return the text of one generated part."""
    return config_part(name) if page == "configuration.md" else help_part(name)


def expected_parts(page: str) -> list[str]:
    """Names of the parts that a page must have, in this order."""
    return (
        list(sections())
        if page == "configuration.md"
        else ["gazepipe", *command_line.list_commands(click.Context(command_line))]
    )


def filled(page: str, text: str) -> str:
    """Return a page with its parts written anew."""
    return PART.sub(lambda m: m[1] + part(page, m["name"]) + m[3], text)


def problems() -> list[str]:
    """One sentence for everything that is not up to date."""
    found = []
    for page in PAGES:
        text = (HERE / page).read_text(encoding="utf-8")
        there, wanted = [m["name"] for m in PART.finditer(text)], expected_parts(page)
        if there != wanted:
            found.append(f"{page}: has parts {', '.join(there)}; expected {', '.join(wanted)}.")
            continue
        for match in PART.finditer(text):
            # Versions of click wrap lines differently, so only the words count.
            if match[0].removeprefix(match[1]).removesuffix(match[3]).split() != part(page, match["name"]).split():
                found.append(f"{page}: part {match['name']} is out of date; run `python docs/_generate.py`.")
    return found


def run(arguments: list[str]) -> int:
    """Fill the pages, or with ``--check`` only look; return the exit code."""
    if arguments == ["--check"]:
        found = problems()
        for sentence in found:
            print(sentence, file=sys.stderr)
        return int(bool(found))
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for page in PAGES:
        path = HERE / page
        path.write_text(filled(page, path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
