"""A person's own recordings outside the store, and which of them gazepipe may delete.

Manifests say where recordings came from, but anybody can edit a manifest, and a copied store brings those of elsewhere.
So what they name is only told of. A file is deleted if it lies in the study's folder of recordings, bears the person's
name there as an ingest reads names, and is what was ingested, if it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gazepipe.consent import consent_file
from gazepipe.discovery import digest_of, jobs_below
from gazepipe.errors import GazepipeError
from gazepipe.study import Study

__all__ = ["Original", "compared", "originals_of"]


@dataclass(frozen=True, slots=True)
class Original:
    """A file or folder, and why it stays; `kept` is empty if it may be deleted."""

    path: Path
    kept: str = ""

    @property
    def sentence(self) -> str:
        """What is to be told of one that stays."""
        return f"{self.path}: stays, because it {self.kept}; delete it yourself if it is theirs."


def originals_of(study: Study, user: str, named: Iterable[str]) -> list[Original]:
    """Find a person's recordings: what an ingest would take for theirs, and what manifests name (`named`).

    Names and places decide; contents are not looked at (see `compared`).
    """
    jobs = []
    with contextlib.suppress(GazepipeError):
        jobs = jobs_below(study)[0]
    owner = {place: job.user for job in jobs if (place := _place(job.source)) is not None}
    found: dict[Path, Original] = {}
    for path in [*(job.source for job in jobs if job.user == user), *map(Path, named)]:
        place = _place(path)
        if place is not None and place not in found and _is_there(place):
            found[place] = Original(path, _place_or_name(study, user, path, place, owner))
    return sorted(found.values(), key=lambda o: str(o.path))


def _place(path: Path) -> Path | None:
    """Where a path leads, its own links but not those of its folders left alone; None if it is no path at all."""
    try:
        return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()
    except (OSError, ValueError, RuntimeError):  # no permission; a null byte; links in a circle
        return None


def _is_there(place: Path) -> bool:
    """Whether there is something of that name, or an archive which it may be in."""
    try:
        return place.exists() or place.is_symlink() or any(p.is_file() for p in place.parents)
    except OSError:  # a name too long for the system
        return False


def _place_or_name(study: Study, user: str, path: Path, place: Path, owner: Mapping[Path, str]) -> str:
    root = study.recordings.resolve()
    if path.is_symlink():
        return "is a link"
    if not place.is_relative_to(root):
        return f"lies outside the study's recordings ({root})"
    ours = [p.resolve() for p in (study.root, study.recordings, study.store, study.stimuli, consent_file(study))]
    if any(p.is_relative_to(place) for p in ours):
        return "is a folder with more of the study in it than a recording"
    if any(place.is_relative_to(p) for p in ours[2:]):
        return "is no recording but part of the study"
    if owner.get(place) != user:
        return f"is that of user {owner[place]!r} by its name" if place in owner else "does not bear the user's name"
    return "" if place.exists() else "is in an archive"


def compared(original: Original, ingested: Mapping[str, str], others: Mapping[str, str]) -> Original:
    """Look at the content of one that may be deleted.

    Parameters
    ----------
    original
        The file or folder.
    ingested
        Source → digest of what was ingested of the person.
    others
        Digest → user of what was ingested of all others.
    """
    if original.kept:
        return original
    # By name: a source may be relative to a folder nobody knows any longer, or the study may have been moved since.
    wanted = {digest for source, digest in ingested.items() if Path(source).name == original.path.name}
    try:
        digest = digest_of(original.path)
    except GazepipeError as error:
        # What never could be read was not ingested either; its name is all that there is of it.
        return replace(original, kept=f"cannot be compared with what was ingested ({error})") if wanted else original
    if wanted and digest not in wanted:
        return replace(original, kept="is not what was ingested from there")
    if digest in others:
        return replace(original, kept=f"is what was ingested of user {others[digest]!r}")
    return original
