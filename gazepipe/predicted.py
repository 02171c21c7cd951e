"""What was predicted for whom and of what, as the summary beside predicted maps has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazepipe.documents import read_json
from gazepipe.errors import StoreError

__all__ = ["SUMMARY", "VERSION", "predicted_rows"]

#: Raised whenever predicted maps change for the same networks and settings.
VERSION = 1

#: Up-to-date outputs are known by it.
SUMMARY = "summary.json"


def predicted_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Array file → row of the summary in a folder; empty where there is none or it is not to be trusted."""
    try:
        rows = {str(row["array"]): row for row in read_json(folder / SUMMARY, "predict again")["predictions"]}
        names = [name for row in rows.values() for name in (str(row["array"]), str(row["overlay"]))]
        return rows if all(map(_is_below, names)) else {}
    except (OSError, StoreError, KeyError, TypeError):
        return {}


def _is_below(name: str) -> bool:
    """Whether a path stays in the folder it is taken from."""
    path = Path(name)
    return bool(path.name) and not path.anchor and ".." not in path.parts and "\0" not in name
