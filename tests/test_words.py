"""Numbers in sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gazepipe.words import counted, form, grouped


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 users"), (1, "1 user"), (2, "2 users"), (2424, "2,424 users"), (10**6, "1,000,000 users")]
)
def test_counted(n: int, text: str) -> None:
    assert counted(n, "user") == text


def test_other_plurals() -> None:
    assert counted(1, "person", "people") == "1 person"
    assert counted(3, "person", "people") == "3 people"


def test_grouped() -> None:
    assert [grouped(n) for n in (0, 999, 1000, 1234567)] == ["0", "999", "1,000", "1,234,567"]


def test_the_word_that_goes_with_a_number() -> None:
    assert [form(n, "was", "were") for n in (0, 1, 2)] == ["were", "was", "were"]


#: Things that messages count; a number before one of them takes `counted`, or is never one.
NOUNS = re.compile(
    r"(?:blink|block|column|draw|embedding|epoch|event|file|finding|fixation|fold|frame|gap|image|input|line|map|marker|"
    r"message|network|note|pair|participant|presentation|record|recording|repeat|row|run|sample|scene|session|step|table|"
    r"tag|target|trace|trial|user|export)s|people"
)

#: Where the number is two or more, whatever happens: file and noun, and why.
SEVERAL = {
    ("calibration_draws.py", "images"): "half of them, two at least",
    ("datasets/doves.py", "people"): "those of DOVES",
    ("datasets/ps.py", "images"): "those of PS",
    ("enrol_report.py", "people"): "nobody is recognised among one",
    ("evaluation/crossvalidation.py", "folds"): "two at least",
    ("evaluation/crossvalidation.py", "images"): "folds need several",
    ("evaluation/crossvalidation.py", "maps"): "of all folds",
    ("evaluation/crossvalidation.py", "users"): "folds need several",
    ("evaluation/figures.py", "embeddings"): "a constant",
    ("evaluation/folds.py", "folds"): "two at least",
    ("evaluation/folds.py", "images"): "of three parts",
    ("evaluation/folds.py", "users"): "of three parts",
    ("fetch.py", "files"): "a data set has several",
    ("markers/layout.py", "markers"): "four at least",
    ("readers/_tobii.py", "recordings"): "one is no trouble",
    ("readers/archive.py", "files"): "the most there may be",
    ("readers/archive.py", "recordings"): "one is no trouble",
    ("readers/parquet.py", "rows"): "too many",
    ("readers/smi.py", "participants"): "one is no trouble",
    ("recognition.py", "pairs"): "of several people",
    ("recognition.py", "people"): "a calibration needs two",
    ("report/drawings.py", "embeddings"): "two at least",
    ("report/drawings.py", "images"): "a constant",
    ("report/guideline.py", "targets"): "of a calibration",
    ("training/embedding.py", "images"): "three at least",
    ("trial_messages.py", "images"): "one is no trouble",
    ("trial_sources/__init__.py", "files"): "one is no trouble",
}


def fixed_plurals(source: str) -> list[str]:
    """Nouns in the plural right after a number that an f-string puts in; not after "of", where any number may stand."""
    found = []
    for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
        for before, value, after in zip([None, *text.values], text.values, text.values[1:], strict=False):
            whole = isinstance(value, ast.FormattedValue) and value.format_spec is None and value.conversion == -1
            whole = whole and getattr(getattr(value.value, "func", None), "id", "") != "counted"
            share = isinstance(before, ast.Constant) and str(before.value).endswith(" of ")
            if not whole or share or not isinstance(after, ast.Constant):
                continue
            words = re.findall(r"\A(?: (?!of |over |has )([a-z]+)\b)?(?: ([a-z]+)\b)?", str(after.value))[0]
            found += [w for w in words if NOUNS.fullmatch(w)][:1]
    return found


def test_messages_count_in_words_that_go_with_the_number() -> None:
    package = Path(__file__).resolve().parents[1] / "gazepipe"
    found = {
        (str(path.relative_to(package)), noun)
        for path in sorted(package.rglob("*.py"))
        for noun in fixed_plurals(path.read_text(encoding="utf-8"))
    }
    assert sorted(found) == sorted(SEVERAL), "say counted(n, …), or in SEVERAL why it is never one"


def test_a_fixed_plural_is_found() -> None:
    assert fixed_plurals('f"{n} images in {where}"') == ["images"]
    assert fixed_plurals('f"{n} more notes"') == ["notes"]
    assert fixed_plurals("f\"{k} of {n} images, {counted(n, 'image')}, {x:.1f} fixations\"") == []
