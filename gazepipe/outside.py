"""What commands wrote outside the store, and who is in it: whoever is forgotten is in there still.

Exports, reports and maps that went elsewhere cannot be searched or taken back; but who put them there should be told of
each place. `manifest/outside.json` keeps the last `_MOST` of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gazepipe.documents import list_lock
from gazepipe.errors import StorageError
from gazepipe.study import Study

__all__ = ["note_outside", "outside_of", "strike_outside"]

_FILE = "outside"
_MOST = 1000


def note_outside(study: Study, what: str, place: Path, users: Iterable[str]) -> None:
    """Remember that something with these people in it was written to a file or folder.

    Parameters
    ----------
    study
        Whose data it has.
    what
        What it is, in a word or two.
    place
        Where it went; what is in the store is no matter of this.
    users
        Who is in it.
    """
    import filelock

    path = place.resolve()
    if path.is_relative_to(study.store.resolve()):
        return
    # A store that can only be read can be exported all the same.
    with contextlib.suppress(OSError, StorageError, filelock.Timeout), list_lock(study.store, _FILE):
        rows = _rows(study)
        before = [r for r in rows if (r["what"], r["path"]) == (what, str(path))]
        who = sorted({*users, *(u for r in before for u in r["users"])})  # a folder may still have what it had
        after = [r for r in rows if r not in before] + [{"what": what, "path": str(path), "users": who}]
        study.write_manifest(_FILE, {"written": after[-_MOST:]})


def outside_of(study: Study, user: str) -> list[str]:
    """Tell what was written outside the store with somebody in it, as far as there is still something there."""
    return [f"{r['what']}: {r['path']}" for r in _rows(study) if user in r["users"] and _exists(Path(r["path"]))]


def strike_outside(study: Study, user: str) -> None:
    """Take somebody out of what is remembered."""
    with list_lock(study.store, _FILE):
        rows = _rows(study)
        after = [r | {"users": [u for u in r["users"] if u != user]} for r in rows]
        if after != rows:
            study.write_manifest(_FILE, {"written": [r for r in after if r["users"]]})


def _rows(study: Study) -> list[dict[str, Any]]:
    """Rows that are understood: it is only a list of places to be told."""
    rows = study.manifest(_FILE).get("written", [])
    kinds = {"what": str, "path": str, "users": list}
    good = (isinstance(r, dict) and all(isinstance(r.get(k), kind) for k, kind in kinds.items()) for r in rows)
    return [r for r, understood in zip(rows, good, strict=True) if understood]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
