"""Recipes: what a stored file was made of, so that a stage redoes exactly what changed.

A recipe digest is blake2b over the stage's name and version, its parameters and the digests of its inputs. Two files
with the same recipe digest hold the same content.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazepipe.errors import InputError, RecordingError

__all__ = ["Recipe", "digest_file", "digest_folder", "digest_json"]


def digest_json(value: Any) -> str:
    """Digest of anything JSON can write; the order of keys does not matter."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Digest of a file's bytes.

    Raises
    ------
    RecordingError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        raise RecordingError(path, "no such file", remedy="check the path") from None
    except IsADirectoryError:
        raise RecordingError(path, "is a folder", expected="a file") from None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error})."
        raise InputError(msg) from None


def digest_folder(folder: Path, files: Iterable[Path]) -> str:
    """Digest of the names, as seen from a folder, and bytes of some files, in whatever order they are given.

    Raises
    ------
    RecordingError
        If one cannot be read.
    """
    root = folder.resolve()
    names = {Path(os.path.relpath(path.resolve(), root)).as_posix(): path for path in files}
    return digest_json({name: digest_file(path) for name, path in names.items()})


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into one stored file.

    Parameters
    ----------
    stage, version
        Name of the stage, and a number that its author raises whenever results change.
    params
        The resolved configuration of the stage, JSON-ready.
    inputs
        Name of each input → its digest.
    """

    stage: str
    version: int
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] | Sequence[str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits."""
        return digest_json([self.stage, self.version, self.params, self.inputs])
