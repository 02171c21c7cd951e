"""Text files of a store: JSON that carries its own digest, and a list of digests for what cannot carry one.

Text has no checksum. A manifest with a flipped bit may still be JSON and say another thing, so every JSON file holds a
digest of the rest of itself. Tables, pictures and logs are listed in `checksums.txt`, which coreutils can check, too::

    cd store && b2sum --length 128 --check checksums.txt

In a store that is sealed as a whole all of them are sealed; then the list has digests of what is on the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gazepipe.atomic import write_atomically
from gazepipe.errors import LockedError, StoreError, UnreadableError, check_access
from gazepipe.recipe import digest_json
from gazepipe.sealing import sealed_text, text_of

__all__ = [
    "CHECKSUMS",
    "digest_bytes",
    "has_digest",
    "list_lock",
    "listed",
    "read_json",
    "strike",
    "write_json",
    "write_listed",
]

#: The list of digests, beside what it lists.
CHECKSUMS = "checksums.txt"

_DIGEST = "digest"


def write_json(path: Path, content: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write an object with its digest, whole or not at all; keys stay in their order.

    Raises
    ------
    StorageError
        If it cannot be written; the file that was there before is untouched.
    """
    # Through text, so that the digest is of what a reader will find.
    plain = json.loads(json.dumps(content, default=str))
    text = json.dumps({**plain, _DIGEST: digest_json(plain)}, indent=indent, ensure_ascii=False)
    # Names of files may be no UTF-8; what Python has for their bytes is then written as JSON escapes it.
    write_atomically(path, sealed_text(path, (text + "\n").encode("utf-8", "backslashreplace")))


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read what `write_json` wrote; files of before there were digests have none and are taken as they are.

    Parameters
    ----------
    path
        The file.
    remedy
        What to do if it is damaged, as an imperative.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreError
        If it is damaged; `UnreadableError` if only this user may not read it.
    """
    try:
        content: Any = json.loads(text_of(path).decode())
        problem = None if isinstance(content, dict) else "no JSON object"
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        check_access(path, error)
        problem = str(error)
    if problem is None and content.pop(_DIGEST, None) not in (None, digest_json(content)):
        problem = "its content is not what was written"
    if problem is not None:
        msg = f"{path}: damaged ({problem}); {remedy}."
        raise StoreError(msg)
    return dict(content)


def has_digest(path: Path) -> bool:
    """Whether a JSON file that can be read holds a digest."""
    return _DIGEST in json.loads(text_of(path).decode())


# ---- listed files ----------------------------------------------------------------------------------------------------


def digest_bytes(data: bytes) -> str:
    """BLAKE2b, 128 bits, as 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def listed(root: Path) -> dict[str, str]:
    """Path below `root` → digest of the files that `write_listed` wrote there.

    Raises
    ------
    StoreError
        If the list is damaged.
    """
    path = root / CHECKSUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        check_access(path, error)
        msg = f"{path}: damaged ({error}); delete it, and what it lists is made again."
        raise StoreError(msg) from None
    found = {}
    for number, line in enumerate(lines, 1):
        digest, _, name = line.partition("  ")
        if len(digest) != 32 or not name:
            msg = f"{path}, line {number}: damaged; delete the file, and what it lists is made again."
            raise StoreError(msg)
        found[name] = digest
    return found


def write_listed(root: Path, files: Mapping[Path, bytes]) -> None:
    """Write texts below `root`, each whole or not at all, and list their digests, as they are on the disk.

    A file is taken off the list while it is written: one that a killed run left is unlisted, never falsely damaged.

    Raises
    ------
    StorageError
        If one cannot be written.
    LockedError
        If another run does not let go of the list.
    """
    names = {path: path.relative_to(root).as_posix() for path in files}
    strike(root, names.values())
    written = {path: sealed_text(path, data) for path, data in files.items()}
    for path, data in written.items():
        write_atomically(path, data)
    _change(root, {names[path]: digest_bytes(data) for path, data in written.items()}, ())


def strike(root: Path, names: Iterable[str]) -> None:
    """Take files off the list, which are to be written or deleted."""
    gone = set(names)
    if (root / CHECKSUMS).is_file():
        _change(root, {}, gone)


def list_lock(root: Path, name: str) -> AbstractContextManager[Any]:
    """Lock of one list of a store, which is also written by those who do not hold the store; waits half a minute."""
    import filelock

    return filelock.FileLock(root / f".{name}.lock", timeout=30)


def _change(root: Path, new: Mapping[str, str], gone: Iterable[str]) -> None:
    import filelock

    try:
        with list_lock(root, CHECKSUMS):
            try:
                before = listed(root)
            except UnreadableError:
                raise
            except StoreError:
                before = {}  # what it listed counts as unlisted until it is made again
            after = {name: digest for name, digest in before.items() if name not in set(gone)} | dict(new)
            if after != before:
                text = "".join(f"{digest}  {name}\n" for name, digest in sorted(after.items()))
                write_atomically(root / CHECKSUMS, text.encode())
    except filelock.Timeout:
        msg = f"{root / CHECKSUMS}: another gazepipe run is writing there; wait for it to end and run again."
        raise LockedError(msg) from None
