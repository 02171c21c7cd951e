"""The keys of a sealed store: made of a passphrase, kept in `keys/`, opened once a process.

Every user has a data key of their own, and the store has one for what is of several people. The data keys are sealed
with a key that scrypt makes of the passphrase. `docs/store-format.md` specifies the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazepipe.errors import ConfigError, StoreError, plain
from gazepipe.labels import fold

__all__ = [
    "KEYS",
    "MAIN",
    "PASSPHRASE",
    "PASSPHRASE_FILE",
    "STORE",
    "Vault",
    "from_keyring",
    "gcm",
    "is_key",
    "is_sealed",
    "make_vault",
    "open_vault",
]

#: Folder of the store with the keys, and the file in it that the passphrase opens.
KEYS, MAIN = "keys", "store.json"
#: Name of the key of what is of several people; users' have 32 digits.
STORE = "store"
PASSPHRASE, PASSPHRASE_FILE = "GAZEPIPE_PASSPHRASE", "GAZEPIPE_PASSPHRASE_FILE"

#: Version of the store's keys: under 1 files are called by pseudonyms and texts are plain, under 2 neither is so.
_FORMAT, _WHOLE = "gazepipe.keys", 2
_COST = {"n": 1 << 16, "r": 8, "p": 2}  # half a second, 64 MB
_MOST = {"n": 1 << 20, "r": 32, "p": 16}  # of a keys file from somebody else
_SHORTEST = 8

_open: dict[tuple[Path, bytes], Vault] = {}


@dataclass(frozen=True, slots=True)
class Vault:
    """The opened keys of a store: `master` seals data keys, `main` is the store's own.

    `whole`, where texts are sealed, too, and no file is called by a name that says something.
    """

    root: Path
    master: bytes
    main: bytes
    whole: bool

    def name(self, user: str) -> str:
        """What a user's key is called: nobody without the passphrase can tell whose it is."""
        return self.digits(user, b"user")

    def digits(self, name: str, purpose: bytes) -> str:
        """Return 32 digits that stand for a name, whatever its case; without the passphrase no guess can be tested."""
        return hashlib.blake2b(fold(name).encode(), key=self.main, digest_size=16, person=purpose).hexdigest()

    def key(self, name: str, *, make: bool = False) -> bytes | None:
        """Return a data key; None where there is none and none is to be made."""
        if name == STORE:
            return self.main
        path = self.root / KEYS / f"{name}.json"
        if not path.is_file():
            if not make:
                return None
            _write_new(path, _wrapped(self.master, _purpose(name), secrets.token_bytes(32)))
        return _unwrapped(path, self.master, name)  # of two processes that made it at once, the first one's


def is_sealed(root: Path) -> bool:
    """Whether a store has keys, so that its files must be sealed."""
    return (root / KEYS / MAIN).is_file()


def make_vault(root: Path) -> None:
    """Make the keys of a store that has none yet.

    Raises
    ------
    ConfigError
        If there is no passphrase, or a bad one.
    """
    phrase = _passphrase(root)
    if len(phrase) < _SHORTEST:
        msg = f"{root}: the passphrase has {len(phrase)} characters; expected {_SHORTEST} or more, best several words."
        raise ConfigError(msg)
    salt, main = secrets.token_bytes(16), secrets.token_bytes(32)
    master = _derived(phrase, salt, _COST)
    about = {"format": _FORMAT, "format_version": f"{_WHOLE}.0", "scrypt": {**_COST, "salt": salt.hex()}}
    _write_new(root / KEYS / MAIN, about | _wrapped(master, _purpose(STORE, _WHOLE), main))


def open_vault(root: Path) -> Vault:
    """Open the keys of a sealed store.

    Raises
    ------
    OSError
        If they cannot be read.
    ConfigError
        If there is no passphrase, or a wrong one.
    StoreError
        If they are damaged, or of a version that this gazepipe does not know.
    """
    path = root / KEYS / MAIN
    raw = path.read_bytes()
    found = _open.get((root.resolve(), raw))
    if found is None:
        about = _key_file(path)
        try:
            version = int(str(about["format_version"]).split(".")[0])
            cost = {k: int(about["scrypt"][k]) for k in _COST}
            salt = bytes.fromhex(about["scrypt"]["salt"])
        except (KeyError, TypeError, ValueError):
            raise _damaged_key(path) from None
        if any(not 0 < cost[k] <= most for k, most in _MOST.items()):
            raise _damaged_key(path)
        if version > _WHOLE:
            msg = f"{path}: is of version {version}; this gazepipe opens {_WHOLE}. Update gazepipe."
            raise StoreError(msg)
        master = _derived(_passphrase(root), salt, cost)
        main = _unwrapped(path, master, STORE, version)
        found = _open[root.resolve(), raw] = Vault(root, master, main, version >= _WHOLE)
    return found


def _passphrase(root: Path) -> str:
    if phrase := os.environ.get(PASSPHRASE):
        return phrase
    if name := os.environ.get(PASSPHRASE_FILE):
        try:
            phrase = Path(name).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, ValueError) as error:
            msg = f"{name}: the passphrase cannot be read ({error}); expected a text file with one line."
            raise ConfigError(msg) from None
        if phrase:
            return phrase
    msg = (
        f"{root}: the store is sealed, and there is no passphrase; set {PASSPHRASE} or {PASSPHRASE_FILE}, or name a "
        "file in [encryption]."
    )
    raise ConfigError(msg)


def from_keyring(root: Path) -> str:
    """Passphrase that the system's keyring has for a store.

    Raises
    ------
    ConfigError
        If it has none, or cannot be asked.
    """
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
        remedy = f"run `keyring set gazepipe {shlex.quote(account)}`, or set {PASSPHRASE}"
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


def _wrapped(master: bytes, purpose: bytes, key: bytes) -> dict[str, Any]:
    nonce = secrets.token_bytes(12)
    return {"nonce": nonce.hex(), "sealed_key": gcm(master).encrypt(nonce, key, purpose).hex()}


def _unwrapped(path: Path, master: bytes, name: str, version: int = 1) -> bytes:
    from cryptography.exceptions import InvalidTag

    about = _key_file(path)
    try:
        nonce, box = bytes.fromhex(about["nonce"]), bytes.fromhex(about["sealed_key"])
        key: bytes = gcm(master).decrypt(nonce, box, _purpose(name, version))
    except (KeyError, TypeError, ValueError):
        raise _damaged_key(path) from None
    except InvalidTag:
        if name != STORE:
            raise _damaged_key(path) from None
        msg = f"{path.parent.parent}: the passphrase is not the one that the store was sealed with; give that one."
        raise ConfigError(msg) from None
    return key


def _purpose(name: str, version: int = 1) -> bytes:
    """What a key is sealed together with; a store of version 2 cannot be passed off as one whose texts are plain."""
    return f"gazepipe key {name}".encode() + (f" version {version}".encode() if version > 1 else b"")


def is_key(name: object) -> bool:
    """Whether something can be the name of a data key."""
    return name == STORE or (isinstance(name, str) and len(name) == 32 and set(name) <= set("0123456789abcdef"))


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


def gcm(key: bytes) -> Any:
    """AES-256-GCM of the package cryptography."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        msg = 'sealed stores need the package cryptography; `pip install "gazepipe[encryption]"`.'
        raise ConfigError(msg) from None
    return AESGCM(key)
