"""Numbers in sentences."""

from __future__ import annotations

import pytest

from gazepipe.words import counted, grouped


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
