"""Sealed stores: files that only who knows the passphrase can read, or change without being found out.

Every user has a data key of their own, and the store has one for what is of several people. Files are sealed with them
by AES-256-GCM. The data keys lie in `keys/` of the store, sealed with a key that scrypt makes of the passphrase. When a
user's data key is destroyed, all that was sealed with it cannot be read any more: in copies neither, if these have no
copy of the key.

Who knows the passphrase gives it as `GAZEPIPE_PASSPHRASE`, or the name of a file that holds it as
`GAZEPIPE_PASSPHRASE_FILE`; ``[encryption]`` can name that file, or the system's keyring. `docs/store-format.md`
specifies the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazepipe.errors import ConfigError, StoreError, plain

if TYPE_CHECKING:
    from gazepipe.config import EncryptionConfig

__all__ = ["begin", "content_of", "destroy_key", "is_sealed", "prepare", "refuse_in_the_clear", "sealed", "unsealed"]

MAGIC = b"GAZESEAL"
#: Of the sealed file as such; what is in it has a version of its own.
VERSION = 1
#: Folder of the store with the keys, and the file in it that the passphrase opens.
KEYS, MAIN = "keys", "store.json"

_STORE = "store"  # the name of the key of what is of several people; users' have 32 digits
_COST = {"n": 1 << 16, "r": 8, "p": 2}  # half a second, 64 MB
_MOST = {"n": 1 << 20, "r": 32, "p": 16}  # of a keys file from somebody else
_PART = 1 << 28  # bytes that are sealed at once: GCM allows 64 GB under a nonce, the library 2 GB in one call
_SHORTEST = 8
_PASSPHRASE, _PASSPHRASE_FILE = "GAZEPIPE_PASSPHRASE", "GAZEPIPE_PASSPHRASE_FILE"

_wanted: dict[Path, EncryptionConfig] = {}
_lent: dict[str, str] = {}
_open: dict[tuple[Path, bytes], _Vault] = {}


@dataclass(frozen=True, slots=True)
class _Vault:
    """The opened keys of a store: `master` seals data keys, `main` is the store's own."""

    root: Path
    master: bytes
    main: bytes

    def name(self, user: str) -> str:
        """What a user's key is called: nobody without the passphrase can tell whose it is."""
        from gazepipe.study import fold

        return hashlib.blake2b(fold(user).encode(), key=self.main, digest_size=16, person=b"user").hexdigest()

    def key(self, name: str, *, make: bool = False) -> bytes | None:
        """Return a data key; None where there is none and none is to be made."""
        if name == _STORE:
            return self.main
        path = self.root / KEYS / f"{name}.json"
        if not path.is_file():
            if not make:
                return None
            _write_new(path, _wrapped(self.master, name, secrets.token_bytes(32)))
        return _unwrapped(path, self.master, name)  # of two processes that made it at once, the first one's


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
    if not {_PASSPHRASE, _PASSPHRASE_FILE} & set(os.environ):
        if settings.passphrase_file:
            _lend(_PASSPHRASE_FILE, str((folder / settings.passphrase_file).absolute()))
        elif settings.keyring and (settings.enabled or is_sealed(root)):
            _lend(_PASSPHRASE, _from_keyring(root))
    if is_sealed(root):
        _vault(root)
    elif settings.enabled:
        _wanted[root.resolve()] = settings


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
    phrase = _passphrase(root)
    if len(phrase) < _SHORTEST:
        msg = f"{root}: the passphrase has {len(phrase)} characters; expected {_SHORTEST} or more, best several words."
        raise ConfigError(msg)
    salt, main = secrets.token_bytes(16), secrets.token_bytes(32)
    master = _derived(phrase, salt, _COST)
    about = {"format": "gazepipe.keys", "format_version": "1.0", "scrypt": {**_COST, "salt": salt.hex()}}
    _write_new(root / KEYS / MAIN, about | _wrapped(master, _STORE, main))


def is_sealed(root: Path) -> bool:
    """Whether a store has keys, so that its files must be sealed."""
    return (root / KEYS / MAIN).is_file()


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
    vault = _vault(root)
    name = _STORE if user is None else vault.name(user)
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
    try:
        size = int.from_bytes(data[9:11], "little")
        about = json.loads(data[11 : 11 + size])
        key = _vault(root).key(str(about["key"])) if data[8] == VERSION and _is_name(about["key"]) else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise _tampered(path) from None
    if data[8] != VERSION:
        msg = f"{path}: is sealed by version {data[8]}; this gazepipe opens {VERSION}. Update gazepipe."
        raise StoreError(msg)
    if key is None:
        msg = f"{path}: its key is gone, as of somebody who was forgotten; delete it."
        raise StoreError(msg)
    return _unseal(path, key, data, 11 + size)


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
    path = root / KEYS / f"{_vault(root).name(user)}.json"
    try:
        with path.open("r+b") as file:  # what the disk keeps of a deleted file should be zeros
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return False
    return True


# ---- the keys --------------------------------------------------------------------------------------------------------


def _root_of(path: Path) -> Path | None:
    """Return the sealed store that a file is in; files lie at most three folders deep."""
    return next((folder for folder in path.parents[:4] if is_sealed(folder)), None)


def _vault(root: Path) -> _Vault:
    path = root / KEYS / MAIN
    raw = path.read_bytes()
    found = _open.get((root.resolve(), raw))
    if found is None:
        about = _key_file(path)
        try:
            cost = {k: int(about["scrypt"][k]) for k in _COST}
            salt = bytes.fromhex(about["scrypt"]["salt"])
        except (KeyError, TypeError, ValueError):
            raise _damaged_key(path) from None
        if any(not 0 < cost[k] <= most for k, most in _MOST.items()):
            raise _damaged_key(path)
        master = _derived(_passphrase(root), salt, cost)
        found = _open[root.resolve(), raw] = _Vault(root, master, _unwrapped(path, master, _STORE))
    return found


def _passphrase(root: Path) -> str:
    if phrase := os.environ.get(_PASSPHRASE):
        return phrase
    if name := os.environ.get(_PASSPHRASE_FILE):
        try:
            phrase = Path(name).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, ValueError) as error:
            msg = f"{name}: the passphrase cannot be read ({error}); expected a text file with one line."
            raise ConfigError(msg) from None
        if phrase:
            return phrase
    msg = (
        f"{root}: the store is sealed, and there is no passphrase; set {_PASSPHRASE} or {_PASSPHRASE_FILE}, or name a "
        "file in [encryption]."
    )
    raise ConfigError(msg)


def _from_keyring(root: Path) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        msg = f"{root}: [encryption] keyring is true, and keyring is not installed; `pip install keyring`."
        raise ConfigError(msg) from None
    account = str(root.resolve())
    try:
        found = keyring.get_password("gazepipe", account)
    except KeyringError as error:
        found, why = None, f"cannot be asked ({plain(str(error)) or type(error).__name__})"
    else:
        why = "has no passphrase of this store"
    if not found:
        remedy = f"run `keyring set gazepipe {shlex.quote(account)}`, or set {_PASSPHRASE}"
        msg = f"{root}: the system's keyring {why}; {remedy}."
        raise ConfigError(msg)
    return str(found)


def _derived(phrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    room = 128 * cost["r"] * (cost["n"] + cost["p"] + 2) + (1 << 20)
    try:
        return hashlib.scrypt(phrase.encode(), salt=salt, dklen=32, maxmem=room, **cost)
    except (ValueError, MemoryError) as error:
        msg = f"the passphrase cannot be turned into a key ({error or 'too little memory'})."
        raise ConfigError(msg) from None


def _wrapped(master: bytes, name: str, key: bytes) -> dict[str, Any]:
    nonce = secrets.token_bytes(12)
    return {"nonce": nonce.hex(), "sealed_key": _gcm(master).encrypt(nonce, key, _purpose(name)).hex()}


def _unwrapped(path: Path, master: bytes, name: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    about = _key_file(path)
    try:
        nonce, box = bytes.fromhex(about["nonce"]), bytes.fromhex(about["sealed_key"])
        key: bytes = _gcm(master).decrypt(nonce, box, _purpose(name))
    except (KeyError, TypeError, ValueError):
        raise _damaged_key(path) from None
    except InvalidTag:
        if name != _STORE:
            raise _damaged_key(path) from None
        msg = f"{path.parent.parent}: the passphrase is not the one that the store was sealed with; give that one."
        raise ConfigError(msg) from None
    return key


def _purpose(name: str) -> bytes:
    return f"gazepipe key {name}".encode()


def _is_name(name: object) -> bool:
    return name == _STORE or (isinstance(name, str) and len(name) == 32 and set(name) <= set("0123456789abcdef"))


def _key_file(path: Path) -> dict[str, Any]:
    from gazepipe.documents import read_json

    return read_json(path, "put it back from a backup: without it nothing sealed can be read")


def _write_new(path: Path, content: dict[str, Any]) -> None:
    """Write a file of keys, unless somebody else just did."""
    from gazepipe.documents import write_json

    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    write_json(draft, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            os.replace(draft, path)
    with contextlib.suppress(OSError):
        draft.unlink()


def _damaged_key(path: Path) -> StoreError:
    return StoreError(f"{path}: damaged; put it back from a backup: without it nothing sealed with it can be read.")


# ---- the files -------------------------------------------------------------------------------------------------------


def _gcm(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        msg = 'sealed stores need the package cryptography; `pip install "gazepipe[encryption]"`.'
        raise ConfigError(msg) from None
    return AESGCM(key)


def _seal(key: bytes, about: dict[str, str], data: bytes) -> bytes:
    header = json.dumps(about, sort_keys=True).encode()
    head = MAGIC + bytes([VERSION]) + len(header).to_bytes(2, "little") + header
    nonce, box = secrets.token_bytes(8), _gcm(key)
    count = max(1, -(-len(data) // _PART))
    parts = [
        box.encrypt(nonce + k.to_bytes(4, "little"), data[k * _PART : (k + 1) * _PART], _context(head, k, count))
        for k in range(count)
    ]
    return b"".join([head, nonce, *parts])


def _unseal(path: Path, key: bytes, data: bytes, start: int) -> bytes:
    from cryptography.exceptions import InvalidTag

    head, nonce, rest = data[:start], data[start : start + 8], memoryview(data)[start + 8 :]
    box, step = _gcm(key), _PART + 16
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
