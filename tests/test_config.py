"""The configuration file: what is wrong is named, and what `template` writes is read back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazepipe.config import Section, StudyConfig, load_config, parse_config, template
from gazepipe.errors import ConfigError


def load(folder: Path, text: str | bytes) -> StudyConfig:
    path = folder / "gazepipe.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def message(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    words = str(caught.value)
    assert words.startswith(str(folder / "gazepipe.toml"))
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[ivt]\nvelocity_treshold_deg_s = 30",
            "unknown key [ivt] velocity_treshold_deg_s; did you mean 'velocity_thr",
        ),
        ("[scren]\nwidth_px = 3", "unknown key scren; did you mean 'screen'?"),
        ("[split]\nzzzzzz = 3", "unknown key [split] zzzzzz; known here: protocol, users, images, seed."),
        ('[ivt]\nmax_gap_ms = "long"', "[ivt] max_gap_ms is 'long'; input should be a valid number"),
        ("[screen]\nwidth_px = 1280.5", "[screen] width_px is 1280.5"),
        ("[screen]\ndistance_mm = 0", "[screen] distance_mm is 0; input should be greater than 0"),
        ("[screen]\ndistance_mm = inf", "[screen] distance_mm is inf"),
        ("[screen]\ndistance_mm = nan", "[screen] distance_mm is nan"),
        ("[embedding]\ndropout = 1.0", "[embedding] dropout is 1.0; input should be less than 1"),
        ("[embedding]\nwidths = [1, 2]", "[embedding] widths"),
        ("[ivt]\nnoise_window = 4", "[ivt] noise_window is 4; must be odd."),
        ("[split]\nusers = [0.5, 0.5, 0.5]", "must add up to 1, not 1.5."),
        (
            '[trials]\nplacement = "left"',
            "[trials] placement is 'left'; 'left' says nothing about where an image stands; expected fit, centre, "
            "stretch, 'centre X Y', 'centre X Y WIDTH HEIGHT', 'topleft X Y' or 'rect LEFT TOP WIDTH HEIGHT', in "
            "screen pixels.",
        ),
        (
            '[trials]\nclock = "ours"',
            "[trials] clock is 'ours'; input should be 'auto', 'tracker', 'start' or 'events'.",
        ),
        ('[trials]\nstart = "(open"', "[trials] start is '(open'; '(open' is not a regular expression"),
        ('[ingest]\nuser_pattern = "[a-z]+"', "has no named group (?P<user>…)"),
        ("ivt = 3", "ivt is 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    assert words in message(tmp_path, text)


def test_not_toml_names_the_line(tmp_path: Path) -> None:
    assert "not valid TOML" in (found := message(tmp_path, "name = 'a'\n[screen\n"))
    assert "line 2" in found


def test_not_text(tmp_path: Path) -> None:
    assert "cannot be read" in message(tmp_path, b"name = '\xff\xfe'")


def test_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; write one with `gazepipe init`"):
        load_config(tmp_path / "gazepipe.toml")


def test_byte_order_mark_of_windows_editors(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbfname = 'x'\r\n[screen]\r\nwidth_px = 800\r\n").screen.width_px == 800


def test_nothing_need_be_said(tmp_path: Path) -> None:
    assert load(tmp_path, "") == StudyConfig()


def test_configuration_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        StudyConfig().seed = 3  # type: ignore[misc]


# ---- template --------------------------------------------------------------------------------------------------------


def test_template_is_the_defaults() -> None:
    assert parse_config(tomllib.loads(template())) == StudyConfig()


OVERRIDES: dict[str, Any] = {
    "name": "Küche \"1\" 'ü'",
    "screen": {"width_px": 800, "distance_mm": 1e-7},
    "ingest": {"include": ("a b/*.asc",), "user_pattern": r'(?P<user>"\d+")\.csv'},
    "csv": {"delimiter": "\t", "missing": (-1.0, 1e9), "header": False},
    "split": {"users": (0.5, 0.25, 0.25)},
}


def test_template_with_overrides_is_read_back() -> None:
    assert parse_config(tomllib.loads(template(**OVERRIDES))) == parse_config(OVERRIDES)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_is_read_back(name: str) -> None:
    assert parse_config(tomllib.loads(template(name=name))).name == name


def test_template_refuses_what_the_file_would_not_allow() -> None:
    with pytest.raises(ConfigError, match="unknown key nome; did you mean 'name'"):
        template(nome="x")


def test_every_key_is_in_the_template_and_explained() -> None:
    lines = template().splitlines()
    for name, info in StudyConfig.model_fields.items():
        if isinstance(info.default, Section):
            assert f"[{name}]" in lines
            fields = type(info.default).model_fields
        else:
            fields = {name: info}
        for key, field in fields.items():
            assert field.description, f"{name} {key} is not explained"
            assert any(line.startswith(f"{key} = ") and line.endswith(f"# {field.description}") for line in lines), key
