"""Names of users and sessions: which can name a file on every system, and which are one on some."""

from __future__ import annotations

import re
import unicodedata

from gazepipe.errors import ConfigError, StoreError, plain

__all__ = ["LABEL", "check_label", "fold", "is_label", "stored_name"]

#: What a label is, for messages.
LABEL = "a letter or digit followed by up to 63 letters, digits, '-' or '_'"

#: Names that the store has files of: a user, or a user and a session.
_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,128}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DEVICE_NAMES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(10))}


def is_label(label: str) -> bool:
    """Whether a user's or session's label can safely name a file on every system."""
    return _LABEL.fullmatch(label) is not None and label.lower() not in _DEVICE_NAMES


def check_label(label: str, what: str) -> str:
    """Return a user or session label if `is_label`.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    if not is_label(label):
        msg = f"{what} {label!r} cannot be used; expected {LABEL}."
        raise ConfigError(msg)
    return label


def stored_name(name: str) -> str:
    """Return a name that a manifest or a gallery holds if it can name a file of the store, and no other.

    Raises
    ------
    StoreError
        If it leads out of the store, or is none that gazepipe stores under.
    """
    if not _STORED.fullmatch(name) or name.lower() in _DEVICE_NAMES:
        msg = f"the store names {plain(name)[:100]!r}, which is no user or recording; it was not written by gazepipe."
        raise StoreError(msg)
    return name


def fold(label: str) -> str:
    """Two labels that fold alike are one file on some systems."""
    return unicodedata.normalize("NFC", label).casefold()
