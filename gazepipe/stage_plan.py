"""What a stage would do, found out without doing it: what `--dry-run` prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gazepipe.tables import text_table

__all__ = ["Action", "StagePlan", "Step"]

Action = Literal["made", "up to date", "removed", "impossible"]
_ACTIONS: tuple[Action, ...] = ("made", "up to date", "removed", "impossible")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a stage makes, and what would become of it; `why` says more where there is more to say."""

    what: str
    action: Action
    why: str = ""


@dataclass(slots=True)
class StagePlan:
    """What one stage would do."""

    stage: str
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, action: Action, why: str = "") -> None:
        """Add a step; a reason that is a sentence loses its stop."""
        self.steps.append(Step(what, action, why.rstrip(".")))

    def make(self, what: str, current: bool, why: str = "") -> None:
        """Add a step that is made, for a reason, unless it is up to date."""
        self.add(what, "up to date" if current else "made", "" if current else why)

    @property
    def changes(self) -> bool:
        """Whether anything would be written or removed."""
        return any(s.action in ("made", "removed") for s in self.steps)

    @property
    def impossible(self) -> int:
        """Steps that could not be done."""
        return sum(s.action == "impossible" for s in self.steps)

    def summary(self) -> dict[str, int]:
        """Return how many steps there are of each kind."""
        counts = Counter(s.action for s in self.steps)
        return {action.replace(" ", "_"): counts[action] for action in _ACTIONS}

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        steps = [asdict(s) for s in self.steps]
        return {"stage": self.stage, "steps": steps, "summary": self.summary(), "notes": self.notes}

    def text(self, most: int = 40) -> str:
        """Return it as a table, of at most so many steps of a kind, and a last line."""
        rows, seen = [], Counter[str]()
        for s in self.steps:
            seen[s.action] += 1
            if seen[s.action] <= most:
                rows.append([s.what, s.action, s.why])
        lines = [text_table([self.stage, "would be", "why"], rows, text_columns=3)] if rows else []
        lines += [f"… and {n - most} more {action}" for action, n in seen.items() if n > most]
        counts = ", ".join(f"{seen[action]} {action}" for action in _ACTIONS if seen[action]) or "nothing to do"
        return "\n".join([*lines, f"{self.stage}: {counts}. Nothing was written."])
