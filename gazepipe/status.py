"""How far a study is, and whether this computer has what gazepipe needs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gazepipe import compute, store
from gazepipe.discovery import plan
from gazepipe.errors import GazepipeError, NothingToDoError
from gazepipe.record import versions
from gazepipe.study import Study
from gazepipe.words import counted

__all__ = ["Finding", "doctor", "extras", "study_status"]

#: One line of a check: what, "ok", "note" or "bad", and a sentence.
Finding = dict[str, str]

#: Extras that only gazepipe's own tests need.
_OF_TESTS = ("test", "peers")
#: Less free space than this is told of.
_SPACE = 2e9


def study_status(study: Study) -> list[dict[str, Any]]:
    """Stage by stage: what is there, and what comes next; nothing is read but lists and the gallery.

    A file that nobody has tried yet is seen by its name. Whether all else is up to date only the stage itself
    finds out; `gazepipe ingest --dry-run` does for recordings.
    """
    known = study.known_recordings()
    users = {str(row["user"]) for row in known.values()}
    built = study.manifest("build-psm").get("users", {})
    rows: list[dict[str, Any]] = []

    def row(stage: str, done: bool, what: str, command: str) -> None:
        rows.append({"stage": stage, "done": done, "what": what, "next": "" if done else command})

    waiting = _untried(study, known)
    text = f"{counted(len(known), 'recording')} of {counted(len(users), 'user')}"
    text += f"; {counted(waiting, 'new one')} not read yet" if waiting else ""
    row("ingest", bool(known) and not waiting, text, "gazepipe ingest")
    missing = len(users - built.keys())
    maps = sum(int(r["n_maps"]) for r in built.values())
    none = f"; {counted(missing, 'user')} without" if missing and built else ""
    text = f"{counted(maps, 'map')} of {counted(len(built), 'user')}{none}"
    row("build-psm", bool(built) and not missing, text, "gazepipe build-psm")
    there = [n for n in ("embedding", "refiner", "profile", "universal") if study.model_file(n).is_file()]
    broken_off = sorted(p.stem for p in (study.store / "models").glob("*.checkpoint"))
    text = ", ".join(there) or "no network"
    text += f"; interrupted: {', '.join(broken_off)}" if broken_off else ""
    row("train", "embedding" in there and not broken_off, text, "gazepipe train")
    try:
        gallery = store.load(study.gallery_file, "gazepipe.gallery", only=("table/user",))
        row("enrol", True, f"{counted(len(gallery.arrays['table/user']), 'person', 'people')} in the gallery", "")
    except GazepipeError as error:
        nobody = isinstance(error, NothingToDoError)
        row("enrol", False, "nobody in a gallery" if nobody else str(error), "gazepipe run")
    try:
        facts = study.evaluation()["facts"]
        row(
            "evaluate",
            True,
            f"{counted(facts['users_test'], 'test user')}, {counted(facts['images_test'], 'test image')}",
            "",
        )
    except (GazepipeError, KeyError):
        row("evaluate", False, "not evaluated", "gazepipe evaluate")
    n = len(study.failures())
    command = f"gazepipe info {shlex.quote(str(study.failures_file))}"
    row("failures", not n, f"{counted(n, 'input')} not used, or only partly" if n else "every input used", command)
    return rows


def _untried(study: Study, known: Collection[str]) -> int:
    """How many recordings below the study's folder are neither stored nor known to be unusable."""
    try:
        jobs, _ = plan(study)
    except GazepipeError:
        return 0  # no folder or no file, as in a study of imported fixations; `ingest` says what is wrong
    tried = {failure.source for failure in study.failures()}
    return sum(job.recording not in known and str(job.source) not in tried for job in jobs)


def doctor(folder: Path) -> list[Finding]:
    """Check versions, extras, cores, GPU, memory and storage; nothing is written but one file, removed at once."""
    found: list[Finding] = []

    def tell(what: str, state: str, text: str) -> None:
        found.append({"what": what, "state": state, "text": text})

    for name, version in versions().items():
        tell(name, "ok", version)
    for extra, packages in extras().items():
        lacking = [name for name in packages if not _is_installed(name)]
        text = f"not installed: {', '.join(lacking)}; `pip install gazepipe[{extra}]`" if lacking else "installed"
        tell(f"extra {extra}", "note" if lacking else "ok", text)
    threads = os.environ.get("GAZEPIPE_THREADS")
    tell("cores", "ok", f"{compute.cores()}" + (f", GAZEPIPE_THREADS = {threads}" if threads else ""))
    try:
        where = compute.device("auto")
        kind = compute.autocast_dtype(where)
        tell("device", "ok", f"{where.type}, networks in {'float32' if kind is None else str(kind).split('.')[-1]}")
    except (GazepipeError, ImportError, OSError) as error:
        tell("device", "bad", f"torch cannot be used: {error}")
    free = shutil.disk_usage(folder).free
    tell("disk", "note" if free < _SPACE else "ok", f"{free / 1e9:.1f} GB free at {folder.resolve()}")
    found.append(_writable(folder))
    return found


def extras() -> dict[str, tuple[str, ...]]:
    """Extra → packages it needs, from gazepipe's own metadata; empty where it is run without being installed."""
    try:
        metadata = importlib.metadata.metadata("gazepipe")
    except importlib.metadata.PackageNotFoundError:
        return {}
    needs: dict[str, list[str]] = {e: [] for e in metadata.get_all("Provides-Extra") or () if e not in _OF_TESTS}
    for line in metadata.get_all("Requires-Dist") or ():
        # eyelinkio>=0.3; extra == "edf", and gazepipe[report]; extra == "figures" for another name of one
        found = re.fullmatch(r"""([\w.-]+)(\[.*?\])?.*;.*\bextra == ["']([\w.-]+)["'].*""", line)
        if found and found[3] in needs and found[1] != "gazepipe":
            needs[found[3]].append(found[1])
    # An extra that is another name of one has the same packages where the installer resolved it, or none.
    seen: dict[tuple[str, ...], str] = {}
    for extra, packages in sorted(needs.items(), reverse=True):
        seen.setdefault(tuple(packages), extra)
    return {extra: packages for packages, extra in sorted(seen.items(), key=lambda found: found[1]) if packages}


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _writable(folder: Path) -> Finding:
    """Whether files can be written, synced and moved into place there, as stores are."""
    from gazepipe.atomic import write_atomically

    probe = folder / f".gazepipe-doctor-{os.getpid()}"
    try:
        write_atomically(probe, b"x")
        probe.unlink()
    except (GazepipeError, OSError) as error:
        return {"what": "writing", "state": "bad", "text": str(error)}
    return {"what": "writing", "state": "ok", "text": "files can be written, synced and moved into place"}
