"""Sealed stores: files that only who knows the passphrase can read, or change without being found out.

Files are sealed by AES-256-GCM with a data key, of the user whose they are or of the store for what is of several
people (see `gazepipe.vault`). When a user's data key is destroyed, all that was sealed with it cannot be read any more:
in copies neither, if these have no copy of the key.

Texts (manifests, scores, lists) are sealed as well, with the store's key, and what files are called tells nothing
(`gazepipe.file_names`), so that who finds the disk learns neither who took part nor what was looked at. Stores that
were sealed before there was this have plain texts, and keep them.

Who knows the passphrase gives it as `GAZEPIPE_PASSPHRASE`, or the name of a file that holds it as
`GAZEPIPE_PASSPHRASE_FILE`; ``[encryption]`` can name that file, or the system's keyring. `docs/store-format.md`
specifies the files.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazepipe.atomic import write_atomically
from gazepipe.errors import ConfigError, StoreError
from gazepipe.vault import (
    KEYS,
    MAIN,
    PASSPHRASE,
    PASSPHRASE_FILE,
    STORE,
    from_keyring,
    gcm,
    is_key,
    is_sealed,
    make_vault,
    open_vault,
)

if TYPE_CHECKING:
    from gazepipe.config import EncryptionConfig

__all__ = [
    "begin",
    "content_of",
    "destroy_key",
    "in_the_clear",
    "is_sealed",
    "is_to_be_whole",
    "is_whole",
    "prepare",
    "refuse_in_the_clear",
    "sealed",
    "sealed_text",
    "text_of",
    "unsealed",
    "user_of_seal",
]

MAGIC = b"GAZESEAL"
#: Of the sealed file as such; what is in it has a version of its own.
VERSION = 1

#: What is plain in a store whose texts are sealed: it names nobody, and must be read to open the rest or to check it.
_PLAIN = (KEYS, "receipts", "audit.jsonl", "checksums.txt")
_PART = 1 << 28  # bytes that are sealed at once: GCM allows 64 GB under a nonce, the library 2 GB in one call

_wanted: set[Path] = set()
_lent: dict[str, str] = {}


def prepare(root: Path, settings: EncryptionConfig, folder: Path) -> None:
    """Open the keys of a store that is sealed, so that a wrong passphrase is told at once; else see what is wanted.

    Parameters
    ----------
    root
        The store.
    settings, folder
        What the configuration says, and where it lies.

    Raises
    ------
    ConfigError
        If the store is sealed, and there is no passphrase or another one opens it.
    StoreError
        If its keys are damaged.
    """
    for name in list(_lent):  # of a study that was opened before
        if os.environ.get(name) == _lent.pop(name):
            del os.environ[name]
    if not {PASSPHRASE, PASSPHRASE_FILE} & set(os.environ):
        if settings.passphrase_file:
            _lend(PASSPHRASE_FILE, str((folder / settings.passphrase_file).absolute()))
        elif settings.keyring and (settings.enabled or is_sealed(root)):
            _lend(PASSPHRASE, from_keyring(root))
    _wanted.discard(root.resolve())
    if is_sealed(root):
        open_vault(root)
    elif settings.enabled:
        _wanted.add(root.resolve())


def _lend(name: str, value: str) -> None:
    """Put it where worker processes, and the commands that a workflow engine starts, find it."""
    os.environ[name] = _lent[name] = value


def begin(root: Path) -> None:
    """Make the keys of a store that is to be sealed and has none yet; whoever calls holds its lock.

    Raises
    ------
    ConfigError
        If there is no passphrase, or a bad one.
    """
    if root.resolve() not in _wanted or is_sealed(root):
        return
    make_vault(root)
    for path in sorted((root / "manifest").glob("*.json")):  # of before: what it says is still so
        data = path.read_bytes()
        if not data.startswith(MAGIC):
            write_atomically(path, sealed_text(path, data))


def is_whole(root: Path) -> bool:
    """Whether a store is sealed as a whole, with its texts, and no file in it is called by a name that tells."""
    return is_sealed(root) and open_vault(root).whole


def is_to_be_whole(root: Path) -> bool:
    """Whether a store is sealed as a whole, or will be with the first thing written into it."""
    return is_whole(root) if is_sealed(root) else root.resolve() in _wanted


def refuse_in_the_clear(root: Path, to: Path | None, what: str) -> None:
    """Refuse to put pictures of people's gaze, which browsers and viewers are to open, into a sealed store.

    Parameters
    ----------
    root
        The store.
    to
        Where they are to go; None: into the store.
    what
        What they are, as the begin of a sentence.

    Raises
    ------
    ConfigError
        If the store is sealed and they would be in it.
    """
    if is_sealed(root) and (to is None or to.resolve().is_relative_to(root.resolve())):
        msg = f"{root}: the store is sealed, and {what} in the clear; name a place outside the store with --out."
        raise ConfigError(msg)


def sealed(path: Path, data: bytes, *, kind: str, version: str, user: str | None = None) -> bytes:
    """Seal what is to be written to `path`, if that is in a sealed store; else give it back as it is.

    Parameters
    ----------
    path, data
        Where it goes, and what.
    kind, version
        What it is, and of which version; nobody can pass it off as something else.
    user
        Whose it is; None for what is of several people.
    """
    root = _root_of(path)
    if root is None:
        return data
    vault = open_vault(root)
    name = STORE if user is None else vault.name(user)
    key = vault.key(name, make=True)
    assert key is not None
    return _seal(key, {"key": name, "kind": kind, "version": version}, data)


def unsealed(path: Path) -> bytes | None:
    """Content of a sealed file; None for a plain one, which is to be read as it is.

    Raises
    ------
    OSError
        If it cannot be read.
    ConfigError
        If there is no passphrase, or a wrong one.
    StoreError
        If it was changed, its key is gone, or it is plain and in a sealed store.
    """
    root = _root_of(path)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            if root is None:
                return None
            msg = f"{path}: is not sealed, and its store is; it was not written there, run the stage that makes it."
            raise StoreError(msg)
        data = MAGIC + file.read()
    return _content(path, root, data)


def _content(path: Path, root: Path | None, data: bytes) -> bytes:
    """Open what was read of a sealed file, which is of the store `root`."""
    if root is None:
        msg = f"{path}: is sealed, and there are no keys of its store ({KEYS}/{MAIN}); put it back to where it was."
        raise StoreError(msg)
    if len(data) > len(MAGIC) and data[8] != VERSION:
        msg = f"{path}: is sealed by version {data[8]}; this gazepipe opens {VERSION}. Update gazepipe."
        raise StoreError(msg)
    about, start = _about(path, data)
    if not is_key(about.get("key")):
        raise _tampered(path)
    key = open_vault(root).key(str(about["key"]))
    if key is None:
        msg = f"{path}: its key is gone, as of somebody who was forgotten; delete it."
        raise StoreError(msg)
    return _unseal(path, key, data, start)


def sealed_text(path: Path, data: bytes) -> bytes:
    """Seal a text that is to be written to `path`, if that is in a store whose texts are sealed; else give it back."""
    place = _place_of_text(path)
    if place is None:
        return data
    root, kind = place
    return _seal(open_vault(root).main, {"key": STORE, "kind": kind, "version": "1.0"}, data)


def text_of(path: Path) -> bytes:
    """Content of a text, as `sealed_text` has it for this path: one text put in the place of another is refused.

    Raises
    ------
    OSError, ConfigError, StoreError
        As `unsealed`.
    """
    data = path.read_bytes()
    place = _place_of_text(path)
    if not data.startswith(MAGIC):
        if place is None:
            return data
        msg = f"{path}: is not sealed, and its store is; it was not written there, run the stage that makes it."
        raise StoreError(msg)
    content = _content(path, _root_of(path), data)
    if place is not None and _about(path, data)[0].get("kind") != place[1]:
        raise _tampered(path)
    return content


def _place_of_text(path: Path) -> tuple[Path, str] | None:
    """Store that a text is sealed in, and what it is sealed as; None for one that is plain."""
    root = _root_of(path)
    if root is None or path.relative_to(root).parts[0] in _PLAIN or not open_vault(root).whole:
        return None
    return root, f"text {path.relative_to(root).as_posix()}"


def in_the_clear(root: Path, path: Path) -> bool:
    """Whether a file of a store that is sealed as a whole is plain, and should not be."""
    if not is_whole(root) or path.relative_to(root).parts[0] in _PLAIN:
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) != MAGIC


def user_of_seal(root: Path, path: Path, user: str) -> bool:
    """Whether a file says that it is sealed with a user's key; also of one that is damaged."""
    try:
        return is_sealed(root) and _about(path, path.read_bytes())[0].get("key") == open_vault(root).name(user)
    except (OSError, StoreError):
        return False


def _about(path: Path, data: bytes) -> tuple[dict[str, Any], int]:
    """Header of a sealed file, not checked yet, and where it ends."""
    size = int.from_bytes(data[9:11], "little")
    try:
        return dict(json.loads(data[11 : 11 + size])), 11 + size
    except (ValueError, TypeError, RecursionError):
        raise _tampered(path) from None


def content_of(path: Path) -> bytes:
    """Content of a file, sealed or not, wherever it lies: for searching through it, where a plain one matters, too.

    Raises
    ------
    OSError, ConfigError, StoreError
        As `unsealed`, but not for what is plain.
    """
    data = path.read_bytes()
    return _content(path, _root_of(path), data) if data.startswith(MAGIC) else data


def destroy_key(root: Path, user: str) -> bool:
    """Destroy a user's data key: whatever was sealed with it cannot be read any more. Whether there was one.

    Raises
    ------
    OSError
        If it cannot be deleted.
    """
    if not is_sealed(root):
        return False
    path = root / KEYS / f"{open_vault(root).name(user)}.json"
    try:
        with path.open("r+b") as file:  # what the disk keeps of a deleted file should be zeros
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return False
    return True


# ---- the files -------------------------------------------------------------------------------------------------------


def _root_of(path: Path) -> Path | None:
    """Return the sealed store that a file is in; files lie at most three folders deep."""
    return next((folder for folder in path.parents[:4] if is_sealed(folder)), None)


def _seal(key: bytes, about: dict[str, str], data: bytes) -> bytes:
    header = json.dumps(about, sort_keys=True).encode()
    head = MAGIC + bytes([VERSION]) + len(header).to_bytes(2, "little") + header
    nonce, box = secrets.token_bytes(8), gcm(key)
    count = max(1, -(-len(data) // _PART))
    parts = [
        box.encrypt(nonce + k.to_bytes(4, "little"), data[k * _PART : (k + 1) * _PART], _context(head, k, count))
        for k in range(count)
    ]
    return b"".join([head, nonce, *parts])


def _unseal(path: Path, key: bytes, data: bytes, start: int) -> bytes:
    from cryptography.exceptions import InvalidTag

    head, nonce, rest = data[:start], data[start : start + 8], memoryview(data)[start + 8 :]
    box, step = gcm(key), _PART + 16
    count = max(1, -(-len(rest) // step))
    try:
        return b"".join(
            box.decrypt(nonce + k.to_bytes(4, "little"), rest[k * step : (k + 1) * step], _context(head, k, count))
            for k in range(count)
        )
    except (InvalidTag, ValueError):
        raise _tampered(path) from None


def _context(head: bytes, part: int, count: int) -> bytes:
    """What a part is sealed together with: what the file is and whose, and which of how many parts this is."""
    return head + part.to_bytes(4, "little") + count.to_bytes(4, "little")


def _tampered(path: Path) -> StoreError:
    return StoreError(f"{path}: damaged or tampered with (it is not what was sealed); make it again.")
