"""`gazepipe.toml` read and checked, and written with a comment behind every key.

An unknown key is refused with the nearest valid name.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gazepipe.config.section import Section
from gazepipe.config.sections import StudyConfig
from gazepipe.errors import ConfigError

__all__ = ["CONFIG_NAME", "load_config", "parse_config", "template"]

CONFIG_NAME = "gazepipe.toml"


def load_config(path: Path) -> StudyConfig:
    """Read and check a `gazepipe.toml`.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    StudyConfig
        All sections, with defaults where the file says nothing.

    Raises
    ------
    ConfigError
        If the file is missing, not TOML, or says something that is not understood; the message names the key,
        what was found, what was expected and, for a key that does not exist, the nearest one that does.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        msg = f"{path}: no such file; write one with `gazepipe init`."
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); check its permissions and the disk."
        raise ConfigError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"{path}: cannot be read ({error}); save it as UTF-8."
        raise ConfigError(msg) from None
    try:
        return parse_config(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        msg = f"{path}: not valid TOML: {error}."
        raise ConfigError(msg) from None
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from None


def parse_config(values: dict[str, Any]) -> StudyConfig:
    """Check a nested mapping, as `tomllib` returns it.

    Parameters
    ----------
    values
        Section → key → value.

    Returns
    -------
    StudyConfig
        All sections, with defaults for what is not there.

    Raises
    ------
    ConfigError
        As `load_config`, without the file's name.
    """
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe(error)) from None


def _describe(error: ValidationError) -> str:
    """Return one sentence for the first thing that is wrong."""
    first = error.errors()[0]
    place = [str(p) for p in first["loc"]]
    key = _toml_name(place)
    if first["type"] == "extra_forbidden":
        model: Any = StudyConfig
        for part in place[:-1]:
            model = model.model_fields[part].annotation
        known = list(model.model_fields)
        near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}."
        return f"unknown key {key}; {hint}"
    found = first.get("input")
    reason = first["msg"].removeprefix("Value error, ")
    return f"{key} is {found!r}; {reason[0].lower()}{reason[1:]}."


def _toml_name(place: list[str]) -> str:
    """`['ivt', 'max_gap_ms']` → `[ivt] max_gap_ms`."""
    if not place:
        return "the configuration"
    if len(place) == 1:
        return place[0]
    return f"[{place[0]}] {'.'.join(place[1:])}"


def template(**overrides: Any) -> str:
    """Write a commented `gazepipe.toml`; every key with its default, or with the value given.

    `overrides` are nested like the file: ``template(name="x", screen={"width_px": 800})``.
    """
    config = parse_config(overrides)
    lines = [
        "# gazepipe study configuration. Every key is optional; what stands here are the values in force.",
        "",
    ]
    tables: list[str] = []
    for name, info in StudyConfig.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            tables += ["", f"# {(type(value).__doc__ or '').strip().splitlines()[0]}", f"[{name}]"]
            tables += [_line(k, getattr(value, k), f.description) for k, f in type(value).model_fields.items()]
        else:
            lines.append(_line(name, value, info.description))
    return "\n".join(lines + tables) + "\n"


def _line(key: str, value: Any, comment: str | None) -> str:
    text = f"{key} = {_toml(value)}"
    return f"{text}  # {comment}" if comment else text


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, str):
        if "'" not in value and value.isprintable() and ("\\" in value or '"' in value):
            return f"'{value}'"
        # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
