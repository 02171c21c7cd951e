"""What forgetting a person takes: all that a store has of them, all that was made of it, and what can be made again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from gazepipe import consent, store
from gazepipe.dag import FOLDER, folder_of
from gazepipe.errors import GazepipeError, NothingToDoError, StoreError
from gazepipe.file_names import has_random_names
from gazepipe.integrity import ASIDE
from gazepipe.originals import Original, originals_of
from gazepipe.predicted import SUMMARY, predicted_rows
from gazepipe.sealing import user_of_seal
from gazepipe.shards import part_files
from gazepipe.study import Study, check_label
from gazepipe.weights_header import header_of
from gazepipe.words import counted

__all__ = ["JOURNAL", "OF_NETWORKS", "Plan", "in_gallery", "outlook", "plan_of"]

#: What is to be looked for, while forgetting is under way.
JOURNAL = "forgetting"
#: Derived from everybody in training, weights and what they made; the maps of the images themselves are not.
OF_NETWORKS = ("models", "folds", "tables", "figures", "predictions")


@dataclass(slots=True)
class Plan:
    """What forgetting somebody takes.

    Parameters
    ----------
    user
        Whom.
    trained_on
        Whether universal maps or networks were made with them, so that all that follows from these goes, too.
    recordings
        Names of their stored recordings.
    remove
        Files of the store that go.
    rebuild
        What can be made again without them, each with the command for it.
    originals
        Their recordings outside the store, and why those that are not deleted stay.
    ingested
        Where their recordings came from, with the digest of each.
    others
        Digests of what came from others, with the user.
    beside
        The workflow engine's folder, if it is beside the store: it goes as a whole.
    """

    user: str
    trained_on: bool
    recordings: list[str]
    remove: list[Path] = field(default_factory=list)
    rebuild: list[str] = field(default_factory=list)
    originals: list[Original] = field(default_factory=list)
    ingested: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    beside: list[Path] = field(default_factory=list)


def plan_of(study: Study, user: str) -> Plan:
    """Find all that the store has of a person, and all that was made of it; nothing is changed.

    Raises
    ------
    ConfigError
        If the name is none.
    NothingToDoError
        If there is no store, or nothing of them in it.
    """
    check_label(user, "--user")
    if not study.store.is_dir():
        msg = f"{study.store}: there is no store."
        raise NothingToDoError(msg)
    plan = _plan(study, user)
    known = plan.recordings or plan.remove or plan.trained_on or plan.originals or in_gallery(study, user)
    if not known and not any(form.user == user for form in consent.consents(study)):
        msg = f"user {user!r} is not in {study.store}; nothing was changed."
        raise NothingToDoError(msg)
    return plan


def outlook(study: Study, user: str) -> Plan:
    """Return the plan of what is still to be done: also where a run that was killed had begun."""
    return _plan(study, user) if study.manifest(JOURNAL).get("user") == user else plan_of(study, user)


def _plan(study: Study, user: str) -> Plan:
    known = study.known_recordings()
    if not all(isinstance(row.get(key), str) for row in known.values() for key in ("origin", "source")):
        msg = f"{study.store / 'manifest'}: has recordings that gazepipe did not write; delete it and run ingest again."
        raise StoreError(msg)
    mine = {name: row for name, row in known.items() if row["user"] == user}
    theirs = {study.recording_file(name) for name in mine}
    named = {study.recording_file(name) for name in known}
    stored = sorted((study.store / "recordings").glob("*.h5"))
    files = [p for p in stored if p in theirs or (p not in named and _left_of(study, p, user))]
    plan = Plan(user, _trained_on(study, user), sorted({*mine, *(p.stem for p in files)}), files)
    plan.remove += [p for p in (study.psm_file(user),) if p.is_file()]
    plan.remove += _below(study.predictions_of(user))
    plan.remove += _below(study.store / ASIDE)
    if plan.trained_on:
        derived = [study.usm_file, *sorted(study.store.glob("evaluation.*"))]
        derived += [p for name in OF_NETWORKS for p in _below(study.store / name)]
        plan.remove += [p for p in derived if p.is_file() and p.name != SUMMARY]
        plan.rebuild = _rebuild(study)
    if plan.remove:  # logs of the engine and manifests of shards name people; nothing is lost with them
        plan.remove += _below(study.store / FOLDER) + sorted(part_files(study))
        plan.beside = [p for p in (folder_of(study),) if p.parent != study.store.resolve() and p.is_dir()]
        plan.remove += [p for p in (study.report_file,) if p.is_file()]
    plan.remove = list(dict.fromkeys(plan.remove))
    if not plan.trained_on and in_gallery(study, user):
        plan.rebuild = ["gallery: separation of the others (gazepipe run, or enrol anybody)"]
    root = study.store.resolve()
    linked = next((p for p in plan.remove if p.parent.resolve() != root / p.parent.relative_to(study.store)), None)
    if linked is not None:  # what is deleted would be elsewhere
        msg = f"{linked}: its folder is a link to {linked.parent.resolve()}; put a folder in the link's place."
        raise StoreError(msg)
    rows = [row for row in known.values() if row["origin"] != "import"]
    plan.ingested = {str(r["source"]): str(r.get("content", "")) for r in rows if r["user"] == user}
    plan.others = {str(r["content"]): str(r["user"]) for r in rows if r["user"] != user and r.get("content")}
    plan.originals = originals_of(study, user, plan.ingested)
    return plan


def _below(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file()] if folder.is_dir() else []


def _left_of(study: Study, path: Path, user: str) -> bool:
    """Whether a recording that no manifest names is theirs; of one that cannot be read, name or seal decides."""
    try:
        return str(store.load(path, "gazepipe.recording", only=()).attrs.get("user")) == user
    except GazepipeError:
        if has_random_names(study.store):
            return path == study.recording_file(user) or user_of_seal(study.store, path, user)
        return path.stem == user or path.stem.startswith(f"{user}_")


def _trained_on(study: Study, user: str) -> bool:
    row = study.manifest("build-psm").get("users", {}).get(user)
    if row is not None and not row["enrolled"]:
        return True
    return user in _users_of_maps(study) or any(
        user in _users_of_weights(p) for p in (study.store / "models").glob("*.safetensors")
    )


def _users_of_maps(study: Study) -> list[str]:
    if not study.usm_file.is_file():
        return []
    try:
        users: list[str] = json.loads(str(store.load(study.usm_file, "gazepipe.usm", only=()).attrs["users"]))
    except (GazepipeError, KeyError, ValueError):
        return []
    return users


def _users_of_weights(path: Path) -> set[str]:
    """Users in the metadata; torch is not needed to read them."""
    try:
        about = json.loads(header_of(path)[0]["gazepipe"])
        return {str(u) for key, users in about.items() if key.startswith("users_") for u in users}
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return set()


def in_gallery(study: Study, user: str) -> bool:
    """Whether the gallery has them."""
    if not study.gallery_file.is_file():
        return False
    table = store.load(study.gallery_file, "gazepipe.gallery", only=("table/user",)).arrays["table/user"]
    return user in {str(u) for u in table}


def _rebuild(study: Study) -> list[str]:
    """What is there now and will have to be made again, with the command."""
    found = []
    if study.usm_file.is_file():
        found.append("universal maps (gazepipe build-psm)")
    names = [p.stem for p in sorted((study.store / "models").glob("*.safetensors"))]
    if names:
        found.append(f"networks: {', '.join(names)} (gazepipe train)")
    if study.gallery_file.is_file():
        found.append("gallery: embeddings of all others (gazepipe run)")
    for name, what in (("evaluation.json", "evaluation"), ("tables", "tables"), ("figures", "figures")):
        if (study.store / name).exists():
            option = f" --{name}" if name in ("tables", "figures") else ""
            found.append(f"{what} (gazepipe evaluate{option})")
    if _below(study.store / "folds"):
        found.append("cross-validation (gazepipe crossvalidate)")
    if predicted := predicted_rows(study.predictions):
        found.append(f"{counted(len(predicted), 'predicted map')} (gazepipe predict)")
    return found
