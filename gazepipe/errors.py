"""Every error gazepipe raises on purpose.

::

    GazepipeError                exit code 1   something failed that has no code of its own
    ├── ConfigError                         2   gazepipe.toml or an option is wrong
    ├── InputError                          3   a file given to gazepipe cannot be used
    │   ├── RecordingError                      a recording (or a data set file) cannot be read
    │   └── StimulusError                       an image is missing or cannot be read
    ├── NothingToDoError                    4   no input matched, or an earlier stage has not run
    ├── QualityError                        5   with --strict-qc: quality below threshold
    ├── LockedError                         6   another run is writing this store
    ├── StorageError                        7   the disk is full, read-only or failing
    ├── StoreError                          8   a stored file is damaged, foreign or of another version
    │   └── UnreadableError                     a stored file may not be read; it may well be whole
    ├── DownloadError                      10   a data set cannot be downloaded
    └── OutOfMemoryError                   11   there is too little memory

Messages are one sentence in one order: file, place in it, what was found, what was expected, what to do.
"""

from __future__ import annotations

import errno
from pathlib import Path

__all__ = [
    "ConfigError",
    "DownloadError",
    "GazepipeError",
    "InputError",
    "LockedError",
    "NothingToDoError",
    "OutOfMemoryError",
    "QualityError",
    "RecordingError",
    "StimulusError",
    "StorageError",
    "StoreError",
    "UnreadableError",
    "check_access",
    "lacks_memory",
    "no_access",
    "plain",
]


_LONGEST = 1200


def plain(text: str) -> str:
    """Return text that came out of a file, fit for one line of a terminal.

    Control characters could clear the screen or hide what stands before them, and a cell can be megabytes long.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 4 :]}"
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


class GazepipeError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with.

    Its text is one sentence: what, where, what was found, what was expected, what to do.

    Examples
    --------
    >>> from gazepipe import GazepipeError, Study
    >>> try:
    ...     Study.open("nowhere")
    ... except GazepipeError as error:
    ...     print(error)
    nowhere: no such folder; expected a study or a folder of recordings.
    """

    exit_code = 1


class ConfigError(GazepipeError):
    """The study configuration or an option is wrong: correct it and run again."""

    exit_code = 2


class InputError(GazepipeError):
    """A file given to gazepipe cannot be used; other files are not affected."""

    exit_code = 3


class RecordingError(InputError):
    """A recording cannot be read.

    Parameters
    ----------
    path
        The file at fault.
    found
        What stands there ("line 12 has 3 columns").
    expected
        What should stand there, as a noun phrase or None.
    remedy
        What the user can do about it, as an imperative, or None.
    line
        One-based line number in the file, where that is known.
    """

    def __init__(
        self,
        path: Path | str,
        found: str,
        *,
        expected: str | None = None,
        remedy: str | None = None,
        line: int | None = None,
    ) -> None:
        found = plain(found)
        expected, remedy = (None if text is None else plain(text) for text in (expected, remedy))
        self.path, self.found, self.expected, self.remedy, self.line = (
            Path(path),
            found,
            expected,
            remedy,
            line,
        )
        where = f"{path}, line {line}" if line is not None else f"{path}"
        text = f"{where}: {found}"
        if expected:
            text += f"; expected {expected}"
        if remedy:
            text += f"; {remedy}"
        super().__init__(text + ".")

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes hand errors back by pickling; the default would lose the keyword arguments.
        return (_rebuild, (type(self), self.path, self.found, self.expected, self.remedy, self.line))


def _rebuild(
    cls: type[RecordingError],
    path: Path,
    found: str,
    expected: str | None,
    remedy: str | None,
    line: int | None,
) -> RecordingError:
    return cls(path, found, expected=expected, remedy=remedy, line=line)


class StimulusError(InputError):
    """An image is missing or cannot be decoded."""


class NothingToDoError(GazepipeError):
    """Nothing matched what was asked for, or the stage before has not run yet."""

    exit_code = 4


class QualityError(GazepipeError):
    """Data are below a threshold of the configuration, and the user asked that they be refused then."""

    exit_code = 5


class LockedError(GazepipeError):
    """Another run holds the store."""

    exit_code = 6


class StorageError(GazepipeError):
    """Writing failed: disk full, no permission, I/O error. What was stored before is untouched."""

    exit_code = 7


class StoreError(GazepipeError):
    """A stored file is damaged, not made by gazepipe, or of a version this gazepipe cannot read."""

    exit_code = 8


class DownloadError(GazepipeError):
    """A data set cannot be downloaded: no network, a proxy, a server that does not answer or refuses."""

    exit_code = 10


class UnreadableError(StoreError):
    """A stored file may not be read by this user: nothing is known to be wrong with it, so that it must not go."""


class OutOfMemoryError(GazepipeError):
    """There is too little memory for it. What was stored before is untouched."""

    exit_code = 11


# ---- what other libraries say ----------------------------------------------------------------------------------------

#: How torch, OpenCV, pandas, C++ and the system say it, in small letters.
_LACKING = (
    *("allocate memory", "out of memory", "insufficient memory", "bad_alloc"),
    *("can't start new thread", "failed to map segment"),
    *("could not create a primitive", "could not execute a primitive"),  # oneDNN, which says no more
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, of whatever library, means that there is too little memory."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error).lower() for words in _LACKING)


def check_access(path: Path, error: Exception) -> None:
    """Raise `UnreadableError` if that is why a stored file could not be read."""
    if isinstance(error, OSError) and no_access(error):
        msg = f"{path}: cannot be read ({error.strerror}); let this user read it and run again."
        raise UnreadableError(msg) from None


def no_access(error: OSError) -> bool:
    """Whether a file could not be opened because this user may not, which says nothing about the file."""
    return error.errno in (errno.EACCES, errno.EPERM)
