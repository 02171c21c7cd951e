"""Fetch a published data set: download, check, unpack, and put into place, whole or not at all.

Every file is known by its SHA-256: those of `gazepipe.datasets.sources`, or, where none are known, those that the first
download of a folder had, which are kept in its `fetched.json`. What is there and right is not fetched again.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gazepipe.datasets.sources import ByHand, Source
from gazepipe.documents import read_json, write_json
from gazepipe.errors import ConfigError, DownloadError, InputError, StorageError
from gazepipe.readers.archive import extract
from gazepipe.stage_plan import StagePlan

__all__ = ["LOCK", "Fetched", "address", "check_library", "fetch", "found_by_hand", "is_current", "plan_fetch"]

#: What was fetched, in the data set's folder.
LOCK = "fetched.json"

#: Seconds until a server must have been reached, and until it must have sent something more.
TIMEOUT_S = (20.0, 60.0)
_AGENT = "gazepipe"
#: A download may be so many times as large as is said, and not larger.
_SLACK = 5

Show = Callable[[int, int, str], None]


@dataclass(slots=True)
class Fetched:
    """What came of it: `current` says that nothing had to be done; `notes` are for people."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)
    current: bool = False
    notes: list[str] = field(default_factory=list)


def check_library() -> None:
    """Raise `ConfigError` if pooch is missing."""
    if importlib.util.find_spec("pooch") is None:
        msg = "fetching data sets needs pooch, which is not installed; run `pip install gazepipe[fetch]`."
        raise ConfigError(msg)


def address(source: Source, mirror: str) -> str:
    """Where the archive is: the authors', or a mirror's ``NAME.zip``.

    Raises
    ------
    ConfigError
        If the mirror is no web address.
    """
    if not mirror:
        return source.url
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        msg = f"--mirror {mirror}: no web address; expected the folder of {source.name}.zip, as https://…"
        raise ConfigError(msg)
    return f"{mirror.rstrip('/')}/{source.name}.zip"


def fetch(
    source: Source,
    folder: Path,
    *,
    mirror: str = "",
    archive: Path | None = None,
    force: bool = False,
    show: Show | None = None,
) -> Fetched:
    """Fetch a data set into a folder, unless everything is there; other files in it stay.

    Parameters
    ----------
    source
        Which one; that its licence was accepted is the caller's business.
    folder
        Where it goes.
    mirror
        Web address of a folder with ``NAME.zip``, in place of the authors'.
    archive
        The archive, if somebody has downloaded it already.
    force
        Fetch it even if everything is there.

    Raises
    ------
    DownloadError
        If the server cannot be reached or does not give the archive.
    InputError
        If the archive is damaged or something else than expected; the folder is as it was.
    StorageError
        If there is no room.
    """
    known = source.digests() or _locked(source, folder)
    if not force and is_current(source, folder):
        return Fetched(folder, known, current=True)
    url = address(source, mirror)
    _check_room(folder, source.unpacked_mb + (0 if archive else source.size_mb))
    with _workplace(folder) as work:
        if archive is None:
            check_library()
            archive = _download(url, work, source, show)
        elif not archive.is_file():
            msg = f"--from {archive}: no such file; expected the archive that {source.url} is."
            raise ConfigError(msg)
        names = extract(archive, work / "new", lambda name: source.place(name) is not None)
        found = {place: work / "new" / name for name in names if (place := source.place(name))}
        files = _checked(source, archive, found, known)
        for place in files if force or not known else _differing(folder, files):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(found[place], folder / place)
        _remember(source, folder, url, archive, files)
    done = Fetched(folder, files)
    if not known:
        done.notes.append(
            f"no digests of {source.name} were known; those of these {len(files)} files are now in {folder / LOCK}, "
            "and later downloads are compared with them"
        )
    return done


def is_current(source: Source, folder: Path) -> bool:
    """Whether everything is there and right."""
    known = source.digests() or _locked(source, folder)
    return bool(known) and not _differing(folder, known)


def plan_fetch(source: Source, folder: Path, *, mirror: str = "", force: bool = False) -> StagePlan:
    """Find out what `fetch` would do; no server is asked."""
    found = StagePlan("fetch")
    known = source.digests() or _locked(source, folder)
    url = address(source, mirror)
    if not known:
        found.add(f"{folder}: everything", "made", f"{url}, about {source.size_mb} MB")
        return found
    differing = set(known) if force else _differing(folder, known)
    for place in known:
        found.make(str(folder / place), place not in differing, "is another" if (folder / place).is_file() else "")
    if differing:
        found.notes.append(f"{url}, about {source.size_mb} MB, would be downloaded")
    return found


def found_by_hand(one: ByHand, folder: Path) -> dict[str, dict[str, Any]]:
    """What of a data set that one has to ask for lies in a folder: pattern → what it is, how many, of how many."""
    return {
        pattern: {"what": what, "there": len(list(folder.glob(pattern))), "of": whole}
        for pattern, (what, whole) in one.layout.items()
    }


# ---- what is there ---------------------------------------------------------------------------------------------------


def _locked(source: Source, folder: Path) -> dict[str, str]:
    """Digests that the first download into a folder had; empty before there was one.

    Raises
    ------
    StoreError
        If what was kept of it is damaged.
    """
    try:
        kept = read_json(folder / LOCK, "delete it to take what is downloaded next as it is")
    except FileNotFoundError:
        return {}
    if kept.get("dataset") != source.name:
        msg = f"{folder}: holds the data set {kept.get('dataset')}; choose another folder for {source.name}."
        raise ConfigError(msg)
    return {str(place): str(digest) for place, digest in kept.get("files", {}).items()}


def _differing(folder: Path, known: Mapping[str, str]) -> set[str]:
    """Files that are missing, or other than known."""
    return {p for p, d in known.items() if not (folder / p).is_file() or _sha256(folder / p) != d}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remember(source: Source, folder: Path, url: str, archive: Path, files: Mapping[str, str]) -> None:
    content = {
        "dataset": source.name,
        "url": url,
        "archive": {"bytes": archive.stat().st_size, "sha256": _sha256(archive)},
        "fetched": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "licence": source.licence,
        "citation": source.citation,
        "files": dict(files),
    }
    write_json(folder / LOCK, content)


# ---- download --------------------------------------------------------------------------------------------------------


def _check_room(folder: Path, megabytes: int) -> None:
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free / 1e6
    if free < megabytes:
        msg = f"{place}: {free:.0f} MB are free, about {megabytes} MB are needed; make room or choose another folder."
        raise StorageError(msg)


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Give an empty folder on the same file system, gone afterwards."""
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder, ignore_cleanup_errors=True) as work:
            yield Path(work)
    except FileExistsError:
        msg = f"{folder}: is a file; expected a folder for the data set."
        raise ConfigError(msg) from None
    finally:
        for path in made:  # nothing was put there
            with contextlib.suppress(OSError):
                path.rmdir()


class _Counter:
    """What pooch tells of a download: shown, and stopped where it grows beyond what it can be."""

    def __init__(self, source: Source, show: Show | None) -> None:
        self.total, self.done, self.source, self.show = 0, 0, source, show

    def update(self, size: int) -> None:
        self.done += size
        if self.done > _SLACK * self.source.size_mb * 1e6:
            msg = f"{self.source.name}: the download is much larger than {self.source.size_mb} MB; it was stopped."
            raise DownloadError(msg)
        if self.show:
            whole = self.total or self.source.size_mb * 10**6
            self.show(round(min(self.done, whole) / 1e6), max(1, round(whole / 1e6)), "")

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def _download(url: str, work: Path, source: Source, show: Show | None) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    by_hand = f"or download it elsewhere and give it with --from {source.name}.zip"
    downloader = pooch.HTTPDownloader(
        progressbar=_Counter(source, show), chunk_size=1 << 16, timeout=TIMEOUT_S, headers={"User-Agent": _AGENT}
    )
    try:
        return Path(pooch.retrieve(url, None, fname=f"{source.name}.zip", path=work, downloader=downloader))
    except requests.exceptions.ProxyError:
        problem = f"the proxy cannot be used; check HTTPS_PROXY and HTTP_PROXY, {by_hand}"
    except requests.exceptions.SSLError as error:
        problem = f"its certificate is not trusted ({_reason(error)}); check the computer's clock and proxy, {by_hand}"
    except requests.exceptions.Timeout:
        problem = f"no answer within {TIMEOUT_S[1]:.0f} s; try again later, {by_hand}"
    except requests.exceptions.HTTPError as error:
        code = 0 if error.response is None else error.response.status_code
        told = {404: "is not there any more", 403: "is refused", 429: "is refused for now"}.get(code, "is not given")
        problem = f"{told} (HTTP {code}); try again in an hour, {by_hand}"
    except requests.exceptions.ChunkedEncodingError:
        problem = f"the download broke off; run again, {by_hand}"
    except requests.exceptions.ConnectionError as error:
        problem = f"cannot be reached ({_reason(error)}); check the network, {by_hand}"
    except requests.exceptions.RequestException as error:
        problem = f"cannot be downloaded ({_reason(error)}); check the address, {by_hand}"
    msg = f"{url}: {problem}."
    raise DownloadError(msg)


def _reason(error: BaseException) -> str:
    """The innermost reason of an error of requests, which wraps it three times."""
    inner: Any = error
    while True:
        following = getattr(inner, "reason", None) or inner.__cause__ or inner.__context__
        if not isinstance(following, BaseException):
            break
        inner = following
    return str(getattr(inner, "strerror", None) or type(inner).__name__)


def _checked(source: Source, archive: Path, found: Mapping[str, Path], known: Mapping[str, str]) -> dict[str, str]:
    """Digests of the files of an archive, which must be those known."""
    from fnmatch import fnmatch

    lacking = [p for p in source.needed if not any(fnmatch(place, p) for place in found)]
    lacking = lacking or sorted(known.keys() - found.keys())
    if lacking:
        msg = f"{archive.name}: has no {lacking[0]}; expected the archive of {source.page}. Nothing was changed."
        raise InputError(msg)
    digests = {place: _sha256(path) for place, path in sorted(found.items())}
    wrong = [place for place, digest in known.items() if digests[place] != digest]
    if wrong:
        more = f" and {len(wrong) - 1} more are not what they were" if len(wrong) > 1 else " is not what it was"
        msg = (
            f"{archive.name}: {wrong[0]}{more} (SHA-256 {digests[wrong[0]][:12]}…, expected {known[wrong[0]][:12]}…); "
            "the data set was changed or the download damaged. Nothing was changed here."
        )
        raise InputError(msg)
    return {place: digest for place, digest in digests.items() if not known or place in known}
