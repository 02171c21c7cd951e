"""Who is meant, without saying so: a salted digest stands for a pseudonym where the name itself must not be kept.

The audit log and the list of forgotten people have to last, and so may hold no pseudonym. Each store draws a salt of
its own, so that one person has different digests in two stores. Whoever has the store and guesses a name can test the
guess; a slow digest makes testing many guesses tiresome, not impossible.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from gazepipe.atomic import make_folder
from gazepipe.documents import list_lock
from gazepipe.errors import ConfigError
from gazepipe.study import Study, fold

__all__ = ["allow_again", "check_not_forgotten", "forgotten", "mark_forgotten", "subject_id"]

_FILE = "subjects"


def subject_id(study: Study, user: str) -> str:
    """Return what stands for a user in this store, 32 hexadecimal digits; the first call draws the store's salt."""
    return _digest(str(_content(study)["salt"]), fold(user))


def forgotten(study: Study, users: Iterable[str]) -> set[str]:
    """Which of some users were forgotten, and not allowed again."""
    kept = study.manifest(_FILE)
    gone = set(kept.get("forgotten", ()))
    return {user for user in users if _digest(str(kept["salt"]), fold(user)) in gone} if gone else set()


def mark_forgotten(study: Study, user: str) -> None:
    """Keep a user out from now on; the caller holds the store's lock."""
    content = _content(study)
    gone = {*content["forgotten"], _digest(str(content["salt"]), fold(user))}
    study.write_manifest(_FILE, content | {"forgotten": sorted(gone)})


def allow_again(study: Study, user: str) -> bool:
    """Let a forgotten user in again; whether they had been forgotten. The caller holds the store's lock."""
    content = _content(study)
    mark = _digest(str(content["salt"]), fold(user))
    if mark not in content["forgotten"]:
        return False
    study.write_manifest(_FILE, content | {"forgotten": [m for m in content["forgotten"] if m != mark]})
    return True


def check_not_forgotten(study: Study, user: str) -> None:
    """Refuse a forgotten user.

    Raises
    ------
    ConfigError
        If they were forgotten.
    """
    if forgotten(study, [user]):
        msg = (
            f"user {user!r} was forgotten in {study.store}; if they agreed to take part again, run "
            f"`gazepipe forget --user {user} --allow-again` first."
        )
        raise ConfigError(msg)


def _content(study: Study) -> dict[str, Any]:
    content = study.manifest(_FILE)
    if "salt" not in content:
        make_folder(study.store)
        with list_lock(study.store, _FILE):  # two commands may be the first at once
            content = study.manifest(_FILE)
            if "salt" not in content:
                content = {"salt": secrets.token_hex(16), "forgotten": []}
                study.write_manifest(_FILE, content)
    return content


@lru_cache(maxsize=65536)
def _digest(salt: str, name: str) -> str:
    # A few milliseconds and one megabyte: nothing for a study, a nuisance for somebody who tries a million names.
    return hashlib.scrypt(name.encode(), salt=bytes.fromhex(salt), n=1 << 10, r=8, p=1, dklen=16).hex()
