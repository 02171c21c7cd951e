"""Progress that nobody is shown."""

from __future__ import annotations


def quiet(*_: object) -> None:
    """Take whatever progress tells, and say nothing."""
