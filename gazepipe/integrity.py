"""Whether everything in a store is what was written: `gazepipe verify`.

Every file is read in full, each kind against the digest or the checksums that it was written with, and the manifests
against the files they name. Nothing is changed unless damaged files are to be set aside.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gazepipe import audit, store
from gazepipe.audit import AUDIT
from gazepipe.dag import FOLDER
from gazepipe.documents import CHECKSUMS, digest_bytes, has_digest, listed, read_json
from gazepipe.errors import (
    GazepipeError,
    NothingToDoError,
    OutOfMemoryError,
    StorageError,
    StoreError,
    UnreadableError,
    lacks_memory,
    no_access,
    plain,
)
from gazepipe.parallel import Aside
from gazepipe.predicted import predicted_rows
from gazepipe.recipe import Recipe
from gazepipe.sealing import in_the_clear, is_sealed
from gazepipe.study import Study

__all__ = ["ASIDE", "Finding", "Integrity", "check_store", "set_aside"]

#: Folder of the store that damaged files are moved to.
ASIDE = "damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one file.

    `kind` is ``damaged`` (it cannot be read, or is not what was written), ``unreadable`` (this user may not read it, or
    there is too little memory: it may well be whole), ``missing`` (a manifest names it), or a note
    that calls for nothing: ``unused`` (no manifest names it), ``unguarded`` (nothing tells whether it is whole) and
    ``left`` (of a run that was killed).
    """

    file: str
    kind: str
    message: str

    @property
    def bad(self) -> bool:
        """Whether something must be done."""
        return self.kind in ("damaged", "unreadable", "missing")


@dataclass(slots=True)
class Integrity:
    """What `check_store` found."""

    root: Path
    files: int = 0
    size: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def bad(self) -> list[Finding]:
        """What something must be done about."""
        return [f for f in self.findings if f.bad]

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        rows = [{"file": f.file, "kind": f.kind, "message": f.message} for f in self.findings]
        return {
            "store": str(self.root),
            "files": self.files,
            "bytes": self.size,
            "whole": not self.bad,
            "findings": rows,
        }


def check_store(study: Study, show: Callable[[int, int, str], None] | None = None, *, apart: bool = False) -> Integrity:
    """Read every file of a store and compare it with what was written.

    Parameters
    ----------
    study
        Whose store.
    show
        Called with (done, total, file).
    apart
        Read in a process beside this one that has limits (see `gazepipe.confined`), and refuse links: for a store from
        somebody else. A file that ends that process, or keeps it busy for two minutes, counts as damaged.

    Raises
    ------
    NothingToDoError
        If there is no store.
    """
    root = study.store
    if not root.is_dir():
        msg = f"{root}: there is no store; run `gazepipe run` first."
        raise NothingToDoError(msg)
    paths = sorted(_files(root))
    report = Integrity(root)
    digests, predicted = _expected(root, report)
    aside = Aside() if apart else None
    for done, path in enumerate(paths, 1):
        name = path.relative_to(root).as_posix()
        report.files += 1
        report.size += path.lstat().st_size
        report.findings += _linked(path, name, refused=apart)
        found = _check_apart(aside, path, name, digests.get(name), predicted.get(name))
        if found is not None:
            report.findings.append(found)
        if is_sealed(root) and (path == study.report_file or name.startswith("figures/")):
            text = f"{path}: shows people's gaze in the clear, and the store is sealed; delete it."
            report.findings.append(Finding(name, "unguarded", text))
        elif found is None and path.is_file() and in_the_clear(root, path):
            text = f"{path}: is in the clear, and the store is sealed; delete it."
            report.findings.append(Finding(name, "unguarded", text))
        if show:
            show(done, len(paths), name)
    if aside is not None:
        aside.close()
    report.findings += [Finding(AUDIT, "damaged", text) for text in audit.problems(study)]
    damaged = {f.file for f in report.bad}
    report.findings += [
        f
        for f in _manifests(study, {p.relative_to(root).as_posix() for p in paths}, digests, predicted)
        if f.file not in damaged
    ]
    report.findings.sort(key=lambda f: (not f.bad, f.file))
    return report


def _files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = path.name.startswith(".") and not path.name.endswith(".tmp")
        if (
            (path.is_symlink() or path.is_file())
            and not hidden
            and path.relative_to(root).parts[0] not in (ASIDE, FOLDER)
        ):
            yield path


def _expected(root: Path, report: Integrity) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of the files that have none in them: from the list, and from the summary of predictions."""
    try:
        digests = listed(root)
    except StoreError as error:
        digests = {}
        kind = "unreadable" if isinstance(error, UnreadableError) else "damaged"
        report.findings.append(Finding(CHECKSUMS, kind, str(error)))
    predicted: dict[str, str] = {}
    try:
        for row in predicted_rows(root / "predictions").values():
            for what, digest in row.get("digests", {}).items():
                predicted[f"predictions/{row[what]}"] = str(digest)
    except (KeyError, AttributeError):
        predicted = {}  # the summary itself is reported as damaged
    return digests, predicted


def _linked(path: Path, name: str, *, refused: bool) -> Iterator[Finding]:
    if path.is_symlink():
        remedy = "refused, since what is written there goes elsewhere" if refused else "keep it only if you made it"
        yield Finding(name, "damaged" if refused else "unguarded", f"{path}: is a link to another place; {remedy}.")


def _check_apart(
    aside: Aside | None, path: Path, name: str, digest: str | None, predicted: str | None
) -> Finding | None:
    """Check a file here, or in the process beside this one."""
    if path.is_symlink() and (aside is not None or path.is_dir()):
        return None
    if aside is None:
        return _check(path, name, digest, predicted)
    answer = aside(_answer, path, name, digest, predicted)
    return (
        Finding(name, "damaged", f"{path}: ends the program that reads it; delete it.") if answer is None else answer[0]
    )


def _answer(*what: Any) -> tuple[Finding | None]:
    return (_check(*what),)


def _check(path: Path, name: str, digest: str | None, predicted: str | None) -> Finding | None:
    if path.suffix == ".tmp":
        return Finding(name, "left", f"{path}: left by a run that was killed; the next one sweeps it away.")
    if name in (CHECKSUMS, AUDIT):
        return None
    expected = digest or predicted
    try:
        if path.suffix == ".h5":
            _check_hdf5(path)
        elif expected is not None:
            if digest_bytes(path.read_bytes()) != expected:
                msg = f"{path}: damaged (its content is not what was written); delete it and make it again."
                raise StoreError(msg)
        elif path.suffix in (".safetensors", ".checkpoint"):
            from gazepipe.models import check_weights

            check_weights(path)
        elif path.suffix == ".json":
            read_json(path, "delete it and run the stage that makes it again")
            if not has_digest(path):
                return _unguarded(path, name)
        else:
            return _unguarded(path, name)
    except (UnreadableError, OutOfMemoryError) as error:
        return Finding(name, "unreadable", plain(str(error)))
    except GazepipeError as error:
        return Finding(name, "damaged", plain(str(error)))
    except (OSError, MemoryError) as error:
        what = error.strerror if isinstance(error, OSError) else "too little memory"
        kind = "unreadable" if lacks_memory(error) or (isinstance(error, OSError) and no_access(error)) else "damaged"
        return Finding(name, kind, f"{path}: cannot be read ({what or error}).")
    return None


def _unguarded(path: Path, name: str) -> Finding:
    return Finding(name, "unguarded", f"{path}: nothing in the store tells whether it is whole.")


def _check_hdf5(path: Path) -> None:
    """Read all data, which HDF5 checks, and compare digests of the attributes and of the recipe."""
    attrs = store.load(path, store.encoding_of(path)).attrs
    try:
        params, inputs = json.loads(attrs["params"]), json.loads(attrs["inputs"])
        same = Recipe(attrs["stage"], attrs["stage_version"], params, inputs).digest == attrs["recipe_digest"]
    except (KeyError, ValueError):
        same = False
    if not same:
        msg = f"{path}: damaged (its recipe is not the one of its digest); delete it and run the stage again."
        raise StoreError(msg)


def _manifests(study: Study, there: set[str], digests: dict[str, str], predicted: dict[str, str]) -> Iterator[Finding]:
    """Files that are named and not there, or not the ones named; and files that nobody names."""
    root = study.store
    try:
        files = [(study.recording_file(r), r, row.get("recipe")) for r, row in study.known_recordings().items()]
        files += [
            (study.psm_file(u), u, row.get("recipe")) for u, row in study.manifest("build-psm").get("users", {}).items()
        ]
    except StoreError:
        return  # the manifest itself is reported
    named = {path.relative_to(root).as_posix(): (whose, recipe) for path, whose, recipe in files}
    for name, (whose, recipe) in sorted(named.items()):
        of = "" if Path(name).stem == whose else f" ({whose})"
        if name not in there:
            message = f"{root / name}: is not there, and a manifest names it{of}; run the stage that makes it again."
            yield Finding(name, "missing", message)
        elif recipe is not None and store.recipe_of(root / name) not in (recipe, None):
            message = f"{root / name}: is not the one that the manifest names{of}; run the stage that makes it again."
            yield Finding(name, "missing", message)
    for name in sorted((set(digests) | set(predicted)) - there):
        yield Finding(name, "missing", f"{root / name}: is not there, and was written once; make it again.")
    for name in sorted(there - set(named)):
        if name.startswith(("recordings/", "psm/")) and name.endswith(".h5"):
            yield Finding(name, "unused", f"{root / name}: no manifest names it, and no stage uses it.")


def set_aside(study: Study, report: Integrity) -> list[Path]:
    """Move damaged files into `damaged/` of the store, so that the next run makes them again; where they are now.

    Raises
    ------
    LockedError
        If another run is writing there.
    StorageError
        If one cannot be moved.
    """
    moved = []
    with store.lock(study.store):
        for finding in report.findings:
            if finding.kind != "damaged":
                continue
            source, target = study.store / finding.file, study.store / ASIDE / finding.file
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
            except OSError as error:
                msg = f"{source}: cannot be moved to {target} ({error.strerror or error})."
                raise StorageError(msg) from None
            moved.append(target)
    return moved
