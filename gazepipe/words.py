"""Numbers in sentences."""

from __future__ import annotations

__all__ = ["counted", "form", "grouped"]


def counted(n: int, thing: str, things: str = "") -> str:
    """Return how many of what: ``1 user``, ``2,424 maps``; `things` where an s does not make the plural."""
    return f"{grouped(n)} {thing if n == 1 else things or thing + 's'}"


def form(n: int, one: str, several: str) -> str:
    """Return the word that goes with a number: ``form(n, "was", "were")``."""
    return one if n == 1 else several


def grouped(n: int) -> str:
    """Return a whole number with its digits in threes: ``2,424``."""
    return f"{n:,}"
