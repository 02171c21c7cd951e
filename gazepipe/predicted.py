"""What was predicted for whom and of what, as the summary beside predicted maps has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazepipe.documents import read_json
from gazepipe.errors import StoreError

__all__ = ["SUMMARY", "predicted_rows"]

#: Up-to-date outputs are known by it.
SUMMARY = "summary.json"


def predicted_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Array file → row of the summary in a folder; empty where there is none or it is damaged."""
    try:
        return {str(row["array"]): row for row in read_json(folder / SUMMARY, "predict again")["predictions"]}
    except (OSError, StoreError, KeyError, TypeError):
        return {}
