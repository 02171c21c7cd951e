"""Tables of text for the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

__all__ = ["text_table"]


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int | Collection[int] = 0) -> str:
    """Columns side by side, two blanks between; numbers to the right.

    Parameters
    ----------
    heads, rows
        Names of the columns, and cells.
    text_columns
        Columns that are text and stand to the left: their indices, or how many from the first on.
    """
    left = set(range(text_columns)) if isinstance(text_columns, int) else set(text_columns)
    width = [max(map(_width, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = []
        for k, cell in enumerate(row):
            blanks = " " * (width[k] - _width(cell))
            cells.append(cell + blanks if k in left else blanks + cell)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
