"""Forgetting a person: everything of theirs leaves the store, with everything that was made of it.

First it is written down what is to be looked for afterwards (`manifest/forgetting.json`, the only file that names the
person until the end); then no stage uses them any more; then files go; then every file that is left is looked through,
inside compressed data, too. A run that was killed goes on where it was when the command is given again.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gazepipe import audit, consent, store
from gazepipe.dag import FOLDER
from gazepipe.documents import CHECKSUMS, strike, write_json, write_listed
from gazepipe.errors import GazepipeError, NothingToDoError, StorageError, StoreError
from gazepipe.integrity import ASIDE
from gazepipe.predicted import SUMMARY, predicted_rows
from gazepipe.recipe import Recipe
from gazepipe.sealing import destroy_key
from gazepipe.study import Study, check_label
from gazepipe.subjects import allow_again, mark_forgotten, subject_id
from gazepipe.traces import Hit, Scan, Traces, scan, windows_of
from gazepipe.weights_header import header_of

__all__ = ["Forgotten", "Plan", "forget", "let_in_again", "outlook", "plan_of", "rebuild", "receipt_text"]

#: What is to be looked for, while forgetting is under way.
_JOURNAL = "forgetting"
#: Folder of the store with a receipt for everybody forgotten.
RECEIPTS = "receipts"
_WINDOWS_A_FILE = 8
#: Derived from everybody in training, weights and what they made; the maps of the images themselves are not.
_OF_NETWORKS = ("models", "folds", "tables", "figures", "predictions")

Show = Callable[[int, int, str], None]


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
        Their recordings outside the store.
    """

    user: str
    trained_on: bool
    recordings: list[str]
    remove: list[Path] = field(default_factory=list)
    rebuild: list[str] = field(default_factory=list)
    originals: list[Path] = field(default_factory=list)


@dataclass(slots=True)
class Forgotten:
    """What was done, and what the search found."""

    plan: Plan
    receipt: dict[str, Any]
    receipt_file: Path
    hits: list[Hit]


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
    known = plan.recordings or plan.remove or plan.trained_on or plan.originals or _in_gallery(study, user)
    if not known and not any(form.user == user for form in consent.consents(study)):
        msg = f"user {user!r} is not in {study.store}; nothing was changed."
        raise NothingToDoError(msg)
    return plan


def outlook(study: Study, user: str) -> Plan:
    """Return the plan of what is still to be done: also where a run that was killed had begun."""
    return _plan(study, user) if study.manifest(_JOURNAL).get("user") == user else plan_of(study, user)


def _plan(study: Study, user: str) -> Plan:
    known = study.known_recordings()
    mine = {name: row for name, row in known.items() if row["user"] == user}
    files = [p for p in sorted((study.store / "recordings").glob("*.h5")) if p.stem in mine or _left_of(p, user, known)]
    plan = Plan(user, _trained_on(study, user), sorted({*mine, *(p.stem for p in files)}), files)
    plan.remove += [p for p in (study.psm_file(user),) if p.is_file()]
    plan.remove += _below(study.store / "predictions" / user)
    plan.remove += _below(study.store / ASIDE)
    if plan.trained_on:
        derived = [study.usm_file, *sorted(study.store.glob("evaluation.*"))]
        derived += [p for name in _OF_NETWORKS for p in _below(study.store / name)]
        plan.remove += [p for p in derived if p.is_file() and p.name != SUMMARY]
        plan.rebuild = _rebuild(study)
    if plan.remove:  # logs of the engine and manifests of shards name people; nothing is lost with them
        plan.remove += _below(study.store / FOLDER) + sorted((study.store / "manifest").glob("*-of-*.json"))
    plan.remove = list(dict.fromkeys(plan.remove))
    if not plan.trained_on and _in_gallery(study, user):
        plan.rebuild = ["gallery: separation of the others (gazepipe run, or enrol anybody)"]
    plan.originals = _originals(study, user, mine.values())
    return plan


def _below(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file()] if folder.is_dir() else []


def _left_of(path: Path, user: str, known: Iterable[str]) -> bool:
    """Whether a recording that no manifest names is theirs; of one that cannot be read, its name decides."""
    if path.stem in known:
        return False
    try:
        return str(store.load(path, "gazepipe.recording", only=()).attrs.get("user")) == user
    except GazepipeError:
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


def _in_gallery(study: Study, user: str) -> bool:
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
    if predicted := predicted_rows(study.store / "predictions"):
        found.append(f"{len(predicted)} predicted maps (gazepipe predict)")
    return found


def _originals(study: Study, user: str, rows: Iterable[dict[str, Any]]) -> list[Path]:
    """The person's own files and folders: what a manifest names, and what an ingest would take for theirs."""
    from gazepipe.ingest import jobs_below

    found = [Path(row["source"]) for row in rows if row["origin"] in ("ingest", "enrol")]
    with contextlib.suppress(GazepipeError):
        found += [job.source for job in jobs_below(study)[0] if job.user == user]
    there = {p.resolve(): p for p in found if p.exists() or any(q.is_file() for q in p.parents)}
    return sorted(there.values())


# ---- doing it --------------------------------------------------------------------------------------------------------


def forget(study: Study, user: str, *, recordings: bool = False, show: Show | None = None) -> Forgotten:
    """Forget a person.

    Parameters
    ----------
    study, user
        Whom, and where.
    recordings
        Also delete their recordings outside the store, as far as these are files or folders of their own.
    show
        Called with (done, total, file) while the store is looked through.

    Raises
    ------
    NothingToDoError
        If there is nothing of them.
    LockedError, StorageError
        If another run is writing, or something cannot be deleted.
    """
    with store.lock(study.store):
        before = study.manifest(_JOURNAL)
        under_way = before.get("user") == user
        plan = _plan(study, user) if under_way else plan_of(study, user)
        journal = _journal(study, plan, before if under_way else {})
        study.write_manifest(_JOURNAL, journal)
        mark_forgotten(study, user)
        _rewrite(study, plan, journal)
        _delete(study, plan)
        key_destroyed = _destroy_key(study, user)
        consent.remove(study, user)
        removed_originals = _delete_originals(study, plan, journal) if recordings else []
        others = {str(row["user"]) for row in study.known_recordings().values()} | set(study.known_recordings())
        traces = Traces(journal["names"], others, map(bytes.fromhex, journal["windows"]))
        found = scan(study.store, traces, skip=[study.manifest_file(_JOURNAL)], show=show)
        receipt = _receipt(study, plan, journal, traces, found, removed_originals)
        receipt["key_destroyed"] = key_destroyed
        stamp = receipt["time"].replace(":", "").replace("+0000", "Z")
        path = study.store / RECEIPTS / f"{stamp}-{receipt['id'][:8]}.json"
        write_json(path, receipt)
        audit.record(study, "forget", users=[user], files=len(journal["removed"]), traces=len(found.hits))
        study.manifest_file(_JOURNAL).unlink()
    return Forgotten(plan, receipt, path, found.hits)


def let_in_again(study: Study, user: str) -> None:
    """Let a forgotten person be taken in again.

    Raises
    ------
    NothingToDoError
        If nobody of that name was forgotten.
    """
    with store.lock(study.store):
        if not allow_again(study, user):
            msg = f"user {user!r} was not forgotten in {study.store}; nothing was changed."
            raise NothingToDoError(msg)
        audit.record(study, "allow again", users=[user])


def _journal(study: Study, plan: Plan, before: dict[str, Any]) -> dict[str, Any]:
    """What is to be looked for and what was there, joined with what a run that was killed had written down."""
    rows = [r for n, r in study.known_recordings().items() if n in plan.recordings]
    names = [plan.user, *plan.recordings, *(Path(r["source"]).name for r in rows if r["origin"] != "import")]
    removed = [p.relative_to(study.store).as_posix() for p in plan.remove]
    parts = {
        "names": names,
        "windows": [w.hex() for w in _windows(study, plan)],
        "removed": removed,
        "rebuild": plan.rebuild,
        "originals": [str(p) for p in plan.originals],
        "recordings": plan.recordings,
    }
    whole = {k: list(dict.fromkeys([*before.get(k, []), *v])) for k, v in parts.items()}
    return {"user": plan.user, **whole}


def _windows(study: Study, plan: Plan) -> Iterator[bytes]:
    """Bytes of their gaze, fixations, maps and embedding."""
    for path in plan.remove:
        if path.suffix != ".h5" or path.parent.name not in ("recordings", "psm"):
            continue
        with contextlib.suppress(GazepipeError):
            arrays = store.load(path, f"gazepipe.{'psm' if path.parent.name == 'psm' else 'recording'}").arrays
            for name, values in arrays.items():
                if re.search(r"(x_coordinate|y_coordinate|fixations/(x_px|y_px|u|v)|maps)$", name):
                    yield from windows_of(values[values != 0] if name == "maps" else values, _WINDOWS_A_FILE)
    if _in_gallery(study, plan.user):
        contents = store.load(study.gallery_file, "gazepipe.gallery")
        row = [str(u) for u in contents.arrays["table/user"]].index(plan.user)
        for name in ("embedding", "profile"):
            if name in contents.arrays:
                yield from windows_of(contents.arrays[name][row], _WINDOWS_A_FILE)


def _rewrite(study: Study, plan: Plan, journal: dict[str, Any]) -> None:
    """Take them out of what names several people; from here on no stage uses them."""
    gone = {plan.user, *journal["recordings"]}
    traces = Traces(journal["names"], (), ())
    for stage in ("import", "ingest", "enrol", "build-psm"):
        before = study.manifest(stage)
        after = {k: _without(v, gone) for k, v in before.items()}
        if "notes" in after:
            after["notes"] = [n for n in after["notes"] if not traces.in_text(str(n))]
        if after != before:
            study.write_manifest(stage, after)
    failures = study.store / "failures.jsonl"
    if failures.is_file():
        lines = failures.read_text(encoding="utf-8", errors="replace").splitlines()
        others = Traces(journal["names"], set(study.known_recordings()), ())
        kept = [line for line in lines if not _names_in(line, others)]
        if kept != lines:
            write_listed(study.store, {failures: "".join(f"{line}\n" for line in kept).encode()})
    summary = study.store / "predictions" / SUMMARY
    if summary.is_file():
        # Maps of the others went with the weights that made them.
        rows = {} if plan.trained_on else predicted_rows(summary.parent)
        left = [row for row in rows.values() if row["user"] != plan.user]
        if left:
            write_json(summary, {"predictions": left})
        else:
            summary.unlink()
    if _in_gallery(study, plan.user):
        _gallery_without(study, plan.user)


def _without(value: Any, gone: set[str]) -> Any:
    return {k: v for k, v in value.items() if k not in gone} if isinstance(value, dict) else value


def _names_in(line: str, traces: Traces) -> bool:
    try:
        return traces.in_json(json.loads(line))
    except ValueError:
        return traces.in_text(line)


def _gallery_without(study: Study, user: str) -> None:
    """Write the gallery without somebody; what depends on them is found again, d′ when people are enrolled again."""
    contents = store.load(study.gallery_file, "gazepipe.gallery")
    keep = np.array([str(u) != user for u in contents.arrays["table/user"]])
    if not keep.any():
        study.gallery_file.unlink()
        return
    arrays = {name: values[keep] for name, values in contents.arrays.items()}
    vectors = arrays["embedding"].astype(np.float64)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    own = arrays["table/margin"] + arrays["table/nearest_cosine"]
    near = cosines.argmax(1)
    alone = len(vectors) == 1
    arrays["table/nearest"] = np.array(["" if alone else arrays["table/user"][i] for i in near], object)
    arrays["table/nearest_cosine"] = np.full(1, np.nan) if alone else cosines.max(1)
    arrays["table/margin"] = own - arrays["table/nearest_cosine"]
    arrays["table/d_prime"] = np.full(len(vectors), np.nan)
    inputs = {u: r for u, r in json.loads(str(contents.attrs["inputs"])).items() if u != user}
    # Of no recipe that an enrolment has, so that the next one measures everybody anew.
    params = json.loads(str(contents.attrs["params"])) | {"without": "somebody forgotten"}
    recipe = Recipe("enrol", int(contents.attrs["stage_version"]), params, inputs)
    store.save(
        study.gallery_file, "gazepipe.gallery", arrays, recipe=recipe, attrs={"model": str(contents.attrs["model"])}
    )


def _delete(study: Study, plan: Plan) -> None:
    strike(study.store, [p.relative_to(study.store).as_posix() for p in plan.remove])
    for path in plan.remove:
        _unlink(path)
    # What shards left that were never gathered names everybody in them; a shard that runs again finds its files done.
    for path in (study.store / "manifest").glob("*-of-*.json"):
        _unlink(path)
    for name in (ASIDE, *_OF_NETWORKS):
        folders = [p for p in (study.store / name).rglob("*") if p.is_dir()]
        for folder in [*sorted(folders, reverse=True), study.store / name]:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only what is empty
    if (study.store / CHECKSUMS).is_file() and not (study.store / CHECKSUMS).stat().st_size:
        _unlink(study.store / CHECKSUMS)


def _unlink(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path}: cannot be deleted ({error.strerror or error}); make it deletable and run again to go on."
        raise StorageError(msg) from None


def _destroy_key(study: Study, user: str) -> bool:
    try:
        return destroy_key(study.store, user)
    except OSError as error:
        msg = f"{study.store}: the person's key cannot be deleted ({error.strerror or error}); run again to go on."
        raise StorageError(msg) from None


def _delete_originals(study: Study, plan: Plan, journal: dict[str, Any]) -> list[str]:
    """Delete what is theirs alone; a file in an archive, and what several people share, is not."""
    from gazepipe.readers import is_recording_folder

    gone = []
    for path in dict.fromkeys([*plan.originals, *map(Path, journal["originals"])]):
        if path.is_file() or (path.is_dir() and is_recording_folder(path)):
            _unlink(path)
            gone.append(str(path))
    return gone


def rebuild(study: Study, receipt: dict[str, Any]) -> Iterator[str]:
    """Make again what the receipt lists, but for cross-validation and predictions, which have settings of their own."""
    listed = [str(what).split(":")[0].split(" (")[0] for what in receipt["to_rebuild"]]
    if "universal maps" in listed:
        from gazepipe.build import build_psm

        yield f"{build_psm(study).n_maps} maps up to date."
    if "networks" in listed:
        from gazepipe.train import train

        yield f"{', '.join(train(study, preset=study.manifest('train').get('preset')).trained)} trained."
    if "gallery" in listed:
        from gazepipe.enrol import enrol, load_gallery

        people = enrol(study, [p.user for p in load_gallery(study).people]).people
        yield f"{len(people)} people in the gallery."
    if {"evaluation", "tables", "figures"} & set(listed):
        from gazepipe import evaluate as stage

        result = stage.evaluate(study)
        made = stage.write_tables(study, result) if "tables" in listed else []
        made += stage.draw_figures(study, result) if "figures" in listed else []
        yield f"evaluated, {len(made)} tables and figures."


# ---- the receipt -----------------------------------------------------------------------------------------------------


def _receipt(
    study: Study, plan: Plan, journal: dict[str, Any], traces: Traces, found: Scan, originals: list[str]
) -> dict[str, Any]:
    """Say what was done without saying to whom: USER stands for the name."""

    def masked(text: str) -> str:
        for name in sorted(traces.names, key=len, reverse=True):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "USER", text, flags=re.IGNORECASE)
        return text

    exports = [e["time"] for e in audit.entries(study) if e["command"] == "export"]
    return {
        "format": "gazepipe.receipt",
        "format_version": "1.0",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": subject_id(study, plan.user),
        "removed": [masked(name) for name in journal["removed"]],
        "originals_deleted": len(originals),
        "originals_left": sum(Path(p).exists() for p in journal["originals"]),
        "to_rebuild": journal["rebuild"],
        "exports_before": exports,
        "looked_for": {"names": len(traces.names), "windows_of_numbers": len(traces.windows)},
        "looked_through": {
            "files": found.files,
            "bytes": found.bytes,
            "hdf5_datasets": found.datasets,
            "hdf5_attributes": found.attributes,
            "decoded_bytes": found.decoded_bytes,
            "could_not_be_decoded": [masked(name) for name in found.unreadable],
            "names_only_by_themselves": bool(traces.weak),
        },
        "found": [{"file": masked(h.file), "place": masked(h.place), "what": h.what} for h in found.hits],
        "clean": not found.hits,
    }


def receipt_text(receipt: dict[str, Any]) -> str:
    """Return a receipt for people."""
    seen, sought = receipt["looked_through"], receipt["looked_for"]
    lines = [f"{len(receipt['removed'])} files removed from the store."]
    if receipt.get("key_destroyed"):
        lines.append("The person's key was destroyed: sealed copies cannot be read without a copy of keys/.")
    if receipt["to_rebuild"]:
        lines += ["To be made again without the person:", *(f"  {what}" for what in receipt["to_rebuild"])]
    lines.append(
        f"Looked for {sought['names']} names and {sought['windows_of_numbers']} runs of the person's numbers in "
        f"{seen['files']} files, {seen['bytes'] / 1e6:.1f} MB, and in {seen['hdf5_datasets']} data sets "
        f"({seen['decoded_bytes'] / 1e6:.1f} MB decoded) and {seen['hdf5_attributes']} attributes of them: "
        + ("nothing is left." if receipt["clean"] else f"{len(receipt['found'])} traces are left.")
    )
    lines += [f"  {hit['file']}: {hit['what']} in {hit['place']}" for hit in receipt["found"]]
    if receipt["originals_left"]:
        lines.append(
            f"{receipt['originals_left']} original recordings are still there: yours to delete (--recordings)."
        )
    if receipt["exports_before"]:
        lines.append(f"{len(receipt['exports_before'])} exports were made before; what they wrote is yours to delete.")
    lines.append("Backups, copies and results written outside the store are yours to delete.")
    return "\n".join(lines)
