"""Recordings in zip archives, read in place: a path may lead into an archive (``cloud.zip/P01/gaze.csv``).

What a reader needs of an archive is put into a private temporary folder while it reads; the archive itself is never
unpacked. First comes a *sketch*, the head of every file that may matter, because that is what finding a reader takes;
then the files that this reader says it reads are made whole.

An archive may come from anybody, so nothing in it is believed. Names are taken apart, and only plain ones are used;
sizes are counted while inflating; encrypted files, links, archives in archives and other compressions than deflate are
refused.
"""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from gazepipe.errors import RecordingError
from gazepipe.readers.source import HEAD_BYTES, Reader

__all__ = ["MAX_BYTES", "MAX_MEMBERS", "MAX_RATIO", "extract", "in_archive", "recordings_in", "unpacked"]

#: Largest sum of the unpacked sizes.
MAX_BYTES = 20 * 10**9
#: Largest number of files.
MAX_MEMBERS = 5000
#: How much larger than its compressed self a file may be; gaze as text is 3 to 20 times as large.
MAX_RATIO = 200

Find = Callable[[Path], Reader | None]
Test = Callable[[Path], bool]

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_FREE_BYTES = 1 << 20  # a small file of equal bytes (worn: 255, 255 …) may well be 1,000 times as large
_CHUNK = 1 << 20
_TABLE_BYTES = 8 << 20  # of the archive's own table of contents
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz")
_SPARE_LEVELS = 6  # readers may look for files a few folders up; up there is nothing
_RECORDINGS = (".asc", ".edf", ".csv", ".tsv", ".parquet")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_REMEDY = "download or copy the archive again"


def in_archive(path: Path) -> tuple[Path, str] | None:
    """Return the archive that a path is or leads into, and the rest of the path; None for any other path."""
    for candidate in (path, *path.parents):
        try:
            kind = candidate.stat().st_mode
            if stat.S_ISDIR(kind):
                return None
            with candidate.open("rb") as file:
                found = file.read(4) in _MAGIC
        except OSError:
            continue
        inner = path.relative_to(candidate).as_posix()
        return (candidate, "" if inner == "." else inner) if found else None
    return None


def recordings_in(path: Path, find: Find, companion: Test) -> list[str]:
    """Return the recordings in an archive, in order of their names; folders that are one end in a slash.

    Raises
    ------
    RecordingError
        If the archive is damaged or not to be trusted.
    """
    with _opened(path) as archive, _folder() as root:
        archive.sketch(root, archive.names)
        return _found_below(root, find, companion)


@contextmanager
def unpacked(path: Path, find: Find, companion: Test, *, whole: bool = True) -> Iterator[Path]:
    """Give the place where a recording can be read: the path itself, or its copy out of an archive.

    Errors that are raised meanwhile name the place in the archive. With `whole` false, the copy is a sketch.

    Raises
    ------
    RecordingError
        If the archive is damaged or not to be trusted, has no such recording, or several where one is asked for.
    """
    place = in_archive(path)
    if place is None:
        yield path
        return
    outer, inner = place
    with _opened(outer) as archive, _folder() as root:
        try:
            if not inner:
                archive.sketch(root, archive.names)
                inner = _only(outer, _found_below(root, find, companion))
            copy = root / archive.known(inner)
            near = archive.near(inner)
            archive.sketch(root, [n for n in near if archive.is_at(n, inner) or n.endswith(".json")])
            if whole:
                archive.complete(root, [copy])
                reader = find(copy)
                if reader is not None and reader.files is not None:
                    archive.sketch(root, near)
                    archive.complete(root, [p for p in reader.files(copy) if p != copy])
            yield copy
        except RecordingError as error:
            raise _renamed(error, root, outer) from None


def extract(path: Path, to: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Unpack the files of an archive that are wanted, below a folder, and return their names; the others are not read.

    Raises
    ------
    RecordingError
        If the archive is damaged or not to be trusted.
    """
    with _opened(path, wanted) as archive:
        for name in archive.names:
            try:
                archive.unpack(name, to)
            except _DAMAGE as error:
                raise _damaged(path, f"{name[:100]!r} in the archive is damaged ({error})") from None
        return sorted(archive.names)


class _Archive:
    """An open archive whose table of contents has been looked through."""

    def __init__(self, path: Path, file: zipfile.ZipFile, wanted: Callable[[str], bool] | None = None) -> None:
        self.path = path
        self.file = file
        self.names = _checked(path, [m for m in file.infolist() if wanted is None or wanted(m.filename)])
        self.sketched: set[str] = set()
        self.total = 0

    def known(self, inner: str) -> str:
        """Return a path inside as it is, if there is such a file or folder."""
        if any(self.is_at(name, inner) for name in self.names):
            return inner
        raise RecordingError(self.path / inner, "there is no such file in the archive", remedy="check the name")

    def is_at(self, name: str, inner: str) -> bool:
        """Whether a file is a recording or in the folder that is one; an archive's own name is ""."""
        return name == inner or not inner or name.startswith(f"{inner}/")

    def near(self, inner: str) -> list[str]:
        """Files of a recording, those beside it, and those in the folders above it."""
        above = {str(folder) for folder in PurePosixPath(inner).parents}
        return [n for n in self.names if self.is_at(n, inner) or str(PurePosixPath(n).parent) in above]

    def sketch(self, root: Path, names: Iterable[str]) -> None:
        """Write the heads of some files; what is wrong with one is told when it is read."""
        for name in names:
            if name not in self.sketched:
                self.sketched.add(name)
                # Of a compressed table, so much that its own head can be unpacked from it.
                with suppress(*_DAMAGE):
                    self._write(name, root, 2 * HEAD_BYTES if name.endswith(".gz") else HEAD_BYTES)

    def complete(self, root: Path, copies: Iterable[Path]) -> None:
        """Make some of the sketched files whole."""
        for copy in copies:
            name = copy.relative_to(root).as_posix() if copy.is_relative_to(root) else ""
            if name not in self.names:
                continue
            try:
                self._write(name, root)
            except _DAMAGE as error:
                raise _damaged(self.path, f"{name[:100]!r} in the archive is damaged ({error})") from None

    def _write(self, name: str, root: Path, limit: int | None = None) -> None:
        try:
            self.unpack(name, root, limit)
        except OSError as error:
            found = f"{name[:100]!r} in the archive cannot be unpacked ({error.strerror or error})"
            raise RecordingError(
                self.path, found, remedy=f"make room in {tempfile.gettempdir()}, or unpack the archive yourself"
            ) from None

    def unpack(self, name: str, root: Path, limit: int | None = None) -> None:
        """Write a file, or its head, below a folder; counted while it is inflated."""
        info = self.names[name]
        allowed = max(_FREE_BYTES, MAX_RATIO * info.compress_size)
        copy = root.joinpath(*name.split("/"))
        done = 0
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("wb") as out, self.file.open(info) as source:
            while chunk := source.read(_CHUNK if limit is None else limit - done):
                done += len(chunk)
                self.total += len(chunk)
                if done > allowed or self.total > MAX_BYTES:
                    raise _bomb(self.path, name)
                out.write(chunk)


@contextmanager
def _opened(path: Path, wanted: Callable[[str], bool] | None = None) -> Iterator[_Archive]:
    try:
        _check_table(path)
        file = zipfile.ZipFile(path)
    except (*_DAMAGE, ValueError) as error:
        raise _damaged(path, f"the archive is damaged ({error})") from None
    except OSError as error:
        raise _damaged(path, f"the archive cannot be read ({error.strerror or error})") from None
    with file:
        yield _Archive(path, file, wanted)


@contextmanager
def _folder() -> Iterator[Path]:
    """Give an empty folder that only this user can look into, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gazepipe-zip-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve().joinpath(*"_" * _SPARE_LEVELS)
        root.mkdir(parents=True)
        yield root


def _check_table(path: Path) -> None:
    """Refuse a table of contents that would take too much memory, before all of it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65557))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end >= 0 and len(tail) >= end + 16:
        declared = int.from_bytes(tail[end + 12 : end + 16], "little")
        if declared == 0xFFFFFFFF and (large := tail.rfind(b"PK\x06\x06", 0, end)) >= 0:
            declared = int.from_bytes(tail[large + 40 : large + 48], "little")
        if declared > _TABLE_BYTES:
            raise _too_many(path)


def _checked(path: Path, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the files by name, without hidden ones; refuse what no recording needs and a trap may have."""
    files = [m for m in members if not m.is_dir()]
    if len(files) > MAX_MEMBERS:
        raise _too_many(path)
    if sum(m.file_size for m in files) > MAX_BYTES:
        raise RecordingError(
            path,
            f"the archive would unpack to more than {MAX_BYTES // 10**9} GB",
            remedy="unpack it yourself, without the videos",
        )
    found: dict[str, zipfile.ZipInfo] = {}
    spellings: set[str] = set()
    for member in files:
        name = member.filename
        shown = f"{name[:100]!r} in the archive"
        parts = name.split("/")
        if not all(map(_is_plain, parts)) or len(name) > 1000:
            raise _refused(path, f"{shown} would lead out of it", "plain names of files")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _refused(path, f"{shown} is a link", "files")
        if any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX":
            continue
        if member.flag_bits & 0x1:
            raise RecordingError(path, f"{shown} is encrypted", remedy="unpack it with its password and give the files")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(path, f"{shown} is compressed by method {member.compress_type}", "deflate, the usual one")
        if name.lower().endswith(_ARCHIVES):
            raise RecordingError(path, f"{shown} is an archive itself", remedy="unpack the outer one")
        if member.file_size > max(_FREE_BYTES, MAX_RATIO * member.compress_size):
            raise _bomb(path, name)
        if name.casefold() in spellings:
            raise _refused(path, f"{shown} is there twice", "one file of a name")
        spellings.add(name.casefold())
        found[name] = member
    return found


def _is_plain(part: str) -> bool:
    """Whether a part of a name is one on every system: not "..", no drive, nothing that cannot be printed."""
    forbidden = '\\:<>"|?*' if os.name == "nt" else "\\"
    return bool(part.strip(". ")) and part.isprintable() and len(part) <= 200 and not set(part) & set(forbidden)


def _found_below(root: Path, find: Find, companion: Test) -> list[str]:
    """Recordings in a sketch, by their names."""
    if find(root) is not None:  # the archive is the folder
        return ["./"]
    found = []
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        if here != root and find(here) is not None:
            folders.clear()
            found.append(f"{here.relative_to(root).as_posix()}/")
            continue
        for path in (here / name for name in names):
            if _may_be_one(path, find) and not companion(path):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def _may_be_one(path: Path, find: Find) -> bool:
    """Whether a file has a reader; any text is a table by its suffix, but few .txt in an archive are one of gaze."""
    try:
        reader = find(path)
    except RecordingError:  # empty or damaged: it must not be passed over in silence if it was one
        return path.name.lower().removesuffix(".gz").endswith(_RECORDINGS)
    return reader is not None and (reader.name != "csv" or path.suffix.lower() != ".txt")


def _only(path: Path, found: list[str]) -> str:
    if len(found) == 1:
        return found[0].rstrip("/").removeprefix(".")
    if not found:
        raise RecordingError(path, "there is no recording in the archive", remedy="give an archive with a recording")
    shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    raise RecordingError(
        path,
        f"there are {len(found)} recordings in the archive ({shown})",
        expected="one",
        remedy=f"name one of them, such as {path / found[0]}",
    )


def _renamed(error: RecordingError, root: Path, archive: Path) -> RecordingError:
    """Say where in the archive, not where in a folder that is gone."""

    def swap(text: str | None) -> str | None:
        return text and text.replace(f"{root}{os.sep}", f"{archive}{os.sep}").replace(str(root), str(archive))

    path, found = swap(str(error.path)), swap(error.found)
    return RecordingError(
        path or archive, found or "", expected=swap(error.expected), remedy=swap(error.remedy), line=error.line
    )


def _damaged(path: Path, found: str) -> RecordingError:
    return RecordingError(path, found, expected="a complete zip archive", remedy=_REMEDY)


def _refused(path: Path, found: str, expected: str) -> RecordingError:
    return RecordingError(path, found, expected=expected, remedy="pack the recordings again")


def _bomb(path: Path, name: str) -> RecordingError:
    found = f"{name[:100]!r} in the archive is more than {MAX_RATIO} times as large as its compressed data"
    return RecordingError(path, found, expected="data of a recording", remedy="unpack it yourself if you trust it")


def _too_many(path: Path) -> RecordingError:
    found = f"there are more than {MAX_MEMBERS} files in the archive"
    return RecordingError(path, found, remedy="unpack it yourself, or pack fewer recordings into one archive")
