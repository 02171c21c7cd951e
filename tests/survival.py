"""The line in which each part of the reliability suite says how it went; all of them stand at the end of a run."""

from __future__ import annotations

__all__ = ["LINES", "told"]

#: What was said, in order.
LINES: list[str] = []


def told(suite: str, survived: int, tried: int, detail: str = "") -> None:
    """Print ``R4 survived/tried: 40/40 (detail)``; `suite` is a row of docs/reliability.md."""
    LINES.append(f"{suite} survived/tried: {survived}/{tried}" + (f" ({detail})" if detail else ""))
    print(LINES[-1])
