"""What all sections of the configuration have in common, and the kinds of numbers and patterns in them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Count", "Fraction", "NonNegative", "Positive", "Section", "checked_pattern"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def checked_pattern(pattern: str, *groups: str) -> str:
    """Check that a pattern compiles and names the groups it must have."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        msg = f"{pattern!r} is not a regular expression: {error}"
        raise ValueError(msg) from None
    missing = [g for g in groups if g not in compiled.groupindex]
    if missing:
        msg = f"{pattern!r} has no named group (?P<{missing[0]}>…)"
        raise ValueError(msg)
    return pattern
