"""The audit log: what was done to a store, one line a command, each chained to the one before.

Lines are only ever added. Every line holds the digest of the one before it and its own, so that a line that was
changed, taken out or put in is found. Who can write the store can write the whole log anew, and can leave out its end:
note the last digest down elsewhere now and then, and compare.

No pseudonym stands in it (see `gazepipe.subjects`), so that it need not be touched when somebody is forgotten.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gazepipe import __version__
from gazepipe.atomic import make_folder, write_atomically
from gazepipe.documents import list_lock
from gazepipe.errors import LockedError, StorageError, StoreError
from gazepipe.study import Study
from gazepipe.subjects import subject_id

__all__ = ["AUDIT", "entries", "head", "problems", "record"]

#: The log, in the store.
AUDIT = "audit.jsonl"
_START = "0" * 64


def record(study: Study, command: str, *, users: Iterable[str] = (), **detail: Any) -> None:
    """Add a line.

    Parameters
    ----------
    study
        Whose store was, or is about to be, changed or read out.
    command
        What was done.
    users
        Whom it was about, where that is somebody in particular; kept as digests.
    detail
        Numbers and the like. No names and no paths: paths may hold names.

    Raises
    ------
    StorageError
        If the log cannot be written.
    StoreError
        If the log is damaged: nothing is added to a chain that is broken.
    LockedError
        If another run does not let go of it.
    """
    import filelock

    path = study.store / AUDIT
    try:
        make_folder(study.store)
        with list_lock(study.store, AUDIT):
            lines = _lines(path)
            last = _last(path, lines)
            entry: dict[str, Any] = {
                "n": last[0] + 1,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": command,
                "gazepipe_version": __version__,
                "users": sorted(subject_id(study, user) for user in users),
                "detail": detail,
                "previous": last[1],
            }
            if study.config.audit.who:
                entry["who"] = getpass.getuser()
            line = json.dumps(entry | {"hash": _hash(entry)}, ensure_ascii=False)
            # The file is replaced rather than added to, so that a killed run or a full disk leaves no half line.
            write_atomically(path, "".join(f"{text}\n" for text in [*lines, line]).encode())
    except filelock.Timeout:
        msg = f"{path}: another gazepipe run is writing there; wait for it to end and run again."
        raise LockedError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}); make the store writable."
        raise StorageError(msg) from None


def entries(study: Study) -> list[dict[str, Any]]:
    """All lines, oldest first.

    Raises
    ------
    StoreError
        If one is no JSON object.
    """
    path = study.store / AUDIT
    found = []
    for number, line in enumerate(_lines(path), 1):
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            msg = f"{path}, line {number}: damaged; compare with a backup."
            raise StoreError(msg) from None
    return found


def head(study: Study) -> str:
    """Digest of the last line; zeros for an empty log."""
    found = entries(study)
    return str(found[-1].get("hash", "")) if found else _START


def problems(study: Study, expected: str | None = None) -> list[str]:
    """What is wrong with the chain, one sentence each; empty if nothing is.

    `expected` is a digest that somebody noted down: a line of the log must have it.
    """
    path = study.store / AUDIT
    found: list[str] = []
    previous = _START
    try:
        lines = entries(study)
    except StoreError as error:
        return [str(error)]
    if not lines and path.exists():
        return [f"{path}: is empty; a log has at least one line, compare with a backup."]
    for number, line in enumerate(lines, 1):
        body = {k: v for k, v in line.items() if k != "hash"}
        if line.get("hash") != _hash(body):
            found.append(f"{path}, line {number}: was changed (its digest is not of what it says).")
        if line.get("previous") != previous or line.get("n") != number:
            found.append(f"{path}, line {number}: does not follow the line before; lines were removed, added or moved.")
        previous = str(line.get("hash"))
    if expected is not None and expected not in {str(line.get("hash")) for line in lines}:
        found.append(f"{path}: has no line of digest {expected}; the end was cut off, or it was written anew.")
    return found


def _hash(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _last(path: Path, lines: list[str]) -> tuple[int, str]:
    if not lines:
        return 0, _START
    try:
        line = json.loads(lines[-1])
        number, digest = int(line["n"]), str(line["hash"])
        if number != len(lines) or digest != _hash({k: v for k, v in line.items() if k != "hash"}):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = (
            f"{path}: damaged or tampered with; see `gazepipe audit --verify`, then put the log of a backup there or "
            "move it away."
        )
        raise StoreError(msg) from None
    return number, digest
