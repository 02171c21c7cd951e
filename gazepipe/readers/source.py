"""What all readers share: the `Reader` record, and opening files so that everything wrong with them is said plainly."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gazepipe.config import StudyConfig
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.recording import Recording

__all__ = [
    "GZIP_MAGIC",
    "HEAD_BYTES",
    "LIMIT_VARIABLE",
    "Reader",
    "check_file",
    "is_gzip",
    "largest_bytes",
    "out_of_memory",
    "read_bytes",
    "read_head",
]

HEAD_BYTES = 65536
GZIP_MAGIC = b"\x1f\x8b"
#: Environment variable with the largest size in GiB of one (unpacked) file.
LIMIT_VARIABLE = "GAZEPIPE_MAX_FILE_GIB"
_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Reader:
    """One file format.

    Parameters
    ----------
    name
        What `Recording.format` will say.
    sniff
        Whether the format is this one, from the first `HEAD_BYTES` of the unpacked content (empty for a folder) and
        the path.
    read
        Read a whole recording.
    files
        All files that a recording is read from, where that is more than the one file named; a reader that has this
        is also asked about folders.
    companion
        Whether a file (by its name and place) is part of a recording that goes by another name, and is none itself.
    """

    name: str
    sniff: Callable[[bytes, Path], bool]
    read: Callable[[Path, StudyConfig], Recording]
    files: Callable[[Path], list[Path]] | None = None
    companion: Callable[[Path], bool] | None = None


def check_file(path: Path) -> None:
    """Raise `RecordingError` unless `path` is a file with something in it."""
    try:
        if path.is_dir():
            raise RecordingError(path, "this is a folder", expected="a recording file", remedy="name the file in it")
        size = path.stat().st_size
    except FileNotFoundError:
        raise RecordingError(path, "there is no such file", remedy="check the name and the folder") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if size == 0:
        raise RecordingError(path, "the file is empty", expected="a recording", remedy="copy or export it again")


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip-compressed, by its content; a name that ends in .gz and lies is refused."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
    except OSError as error:
        raise _unreadable(path, error) from None
    if not packed and path.suffix.lower() == ".gz":
        raise RecordingError(
            path,
            "the name ends in .gz but the content is not gzip-compressed",
            expected="a gzip file",
            remedy="remove .gz from the name or copy the file again",
        )
    return packed


def read_head(path: Path) -> bytes:
    """Return up to `HEAD_BYTES` of a file's content, unpacked where it is gzip-compressed."""
    check_file(path)
    packed = is_gzip(path)
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head: bytes = file.read(HEAD_BYTES)
    except (EOFError, zlib.error, OSError) as error:
        raise _damaged(path, error, packed) from None
    if not head:
        raise RecordingError(path, "the compressed file is empty", expected="a recording", remedy="export it again")
    return head


def read_bytes(path: Path) -> bytes:
    """Return a file's whole content, unpacked where it is gzip-compressed.

    Raises
    ------
    RecordingError
        If the file is damaged, or is larger (when unpacked) than `largest_bytes`.
    """
    check_file(path)
    packed = is_gzip(path)
    try:
        return _unpack(path) if packed else _read_plain(path)
    except (EOFError, zlib.error, OSError) as error:
        raise _damaged(path, error, packed) from None


def largest_bytes() -> int:
    """Return how much of one file is taken into memory: 4 GiB, or what `LIMIT_VARIABLE` says.

    A few hundred kilobytes can unpack to gigabytes, so the size is counted while unpacking.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        gib = float(text) if text else 4.0
    except ValueError:
        gib = 0.0
    if not 0 < gib < 1e6:
        msg = f"{LIMIT_VARIABLE} is {text!r}; expected a number of GiB, such as 8."
        raise ConfigError(msg)
    return int(gib * 2**30)


def _read_plain(path: Path) -> bytes:
    if path.stat().st_size > largest_bytes():
        raise _too_large(path, "has")
    return path.read_bytes()


def _unpack(path: Path) -> bytes:
    limit = largest_bytes()
    with gzip.open(path) as file:
        # Asking for the whole at once would find out about the size when it is too late.
        out = io.BytesIO()
        while part := file.read(_STEP):
            if out.tell() + len(part) > limit:
                raise _too_large(path, "unpacks to")
            out.write(part)
        return out.getvalue()


def _too_large(path: Path, verb: str) -> RecordingError:
    return RecordingError(
        path,
        f"the file {verb} more than {largest_bytes() / 2**30:g} GiB",
        expected="a recording",
        remedy=f"if it is one, split it, or set the environment variable {LIMIT_VARIABLE}",
    )


def _damaged(path: Path, error: Exception, packed: bool) -> RecordingError:
    if not packed:
        return _unreadable(path, error)
    cut = isinstance(error, EOFError)
    found = "the compressed data stop too early" if cut else f"the compressed data are damaged ({error})"
    return RecordingError(path, found, expected="a complete gzip file", remedy="copy or compress the file again")


def _unreadable(path: Path, error: Exception) -> RecordingError:
    reason = getattr(error, "strerror", None) or str(error)
    return RecordingError(path, f"the file cannot be read ({reason})", remedy="check its permissions and the disk")


def out_of_memory(path: Path) -> RecordingError:
    """Return the error for a recording that does not fit into memory."""
    found = "reading it needs more memory than there is"
    return RecordingError(path, found, remedy="use fewer --jobs, close other programs or split the recording")
