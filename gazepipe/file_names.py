"""What the files of a person are called in a store: by the pseudonym, or by digits that say nothing.

Digits are of a keyed hash of the name, not drawn for each: so commands that run at the same time on several machines
agree, a stage that runs again finds its files, and there is no table of names to lose. In a sealed store the key is
the store's, which only the passphrase opens, so that no guess can be tested. In a plain one it lies in `layout.json`:
there a listing, a log of a backup or a picture of the screen tells nobody, but whoever has the store has the manifests,
too; a slow hash would hide nothing that these do not say.

A store keeps the names it began with: `layout.json`, or the version of its keys, says which these are.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from pathlib import Path

from gazepipe.documents import read_json, write_json
from gazepipe.errors import ConfigError, StoreError
from gazepipe.labels import fold
from gazepipe.sealing import is_whole
from gazepipe.vault import is_sealed, open_vault

__all__ = ["LAYOUT", "begin_names", "file_name", "has_random_names", "image_name", "prepare_names"]

#: Says how files of a store are called; absent where they bear pseudonyms, and in sealed stores.
LAYOUT = "layout.json"

_wanted: set[Path] = set()


def prepare_names(root: Path, wanted: str) -> None:
    """See whether a store has the names of files that the configuration wants; a new one will have them.

    Parameters
    ----------
    root
        The store.
    wanted
        ``"pseudonyms"``: whatever the store has; ``"random"``: no name in a path.

    Raises
    ------
    ConfigError
        If files of the store are called by pseudonyms already, and they are not to be.
    StoreError
        If what says how they are called is damaged.
    """
    _wanted.discard(root.resolve())
    if not is_sealed(root) and (root / LAYOUT).is_file():
        _key(root / LAYOUT)  # else all that is of people would be missing
    if wanted != "random" or has_random_names(root):
        return
    if is_sealed(root) or _named(root):
        msg = (
            f"{root}: its files are called by pseudonyms (it has no {LAYOUT}), and a store keeps the names it began "
            'with; set file_names = "pseudonyms", or make a new store with --store.'
        )
        raise ConfigError(msg)
    _wanted.add(root.resolve())


def begin_names(root: Path) -> None:
    """Settle how files of a new store are called; whoever calls holds its lock."""
    if root.resolve() in _wanted and not is_sealed(root) and not (root / LAYOUT).is_file():
        about = {"format": "gazepipe.layout", "format_version": "1.0", "file_names": "random"}
        write_json(root / LAYOUT, about | {"key": secrets.token_hex(32)})


def has_random_names(root: Path) -> bool:
    """Whether paths in a store are to tell nobody's name."""
    return is_whole(root) if is_sealed(root) else (root / LAYOUT).is_file()


def file_name(root: Path, name: str) -> str:
    """What the files of a user or a recording are called, without suffix.

    Raises
    ------
    StoreError
        If what says so is damaged.
    """
    if is_sealed(root):
        vault = open_vault(root)
        return vault.name(name) if vault.whole else name
    if not (root / LAYOUT).is_file():
        return name
    return hashlib.blake2b(fold(name).encode(), key=_key(root / LAYOUT), digest_size=16).hexdigest()


def image_name(root: Path, stem: str) -> str:
    """What the map of an image is called, without suffix: by the image, but in a sealed store.

    Other than a person's, an image's name is kept as it is under another case: they are different images.
    """
    return open_vault(root).digits(stem, b"image") if is_whole(root) else stem


def _named(root: Path) -> bool:
    """Whether there are files that are called by somebody's name."""
    return any(path.is_file() for part in ("recordings", "psm", "predictions") for path in (root / part).rglob("*.*"))


def _key(path: Path) -> bytes:
    return _key_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _key_of(path: Path, _: int) -> bytes:
    remedy = "put it back from a backup: without it files of people are not found"
    try:
        key = bytes.fromhex(read_json(path, remedy)["key"])
    except (KeyError, TypeError, ValueError):
        key = b""
    if len(key) != 32:
        msg = f"{path}: damaged; {remedy}."
        raise StoreError(msg)
    return key
