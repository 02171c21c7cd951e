"""Forgetting a person: everything of theirs leaves the store, with everything that was made of it.

First it is written down what is to be looked for afterwards (`manifest/forgetting.json`, the only file that names the
person until the end); then no stage uses them any more; then files go; then every file that is left is looked through,
inside compressed data, too. A run that was killed goes on where it was when the command is given again.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gazepipe import audit, consent, store
from gazepipe.atomic import remove
from gazepipe.documents import CHECKSUMS, strike, write_json, write_listed
from gazepipe.errors import GazepipeError, NothingToDoError, StorageError, StoreError
from gazepipe.forget_plan import JOURNAL, OF_NETWORKS, Plan, in_gallery, outlook
from gazepipe.identification import nearest
from gazepipe.integrity import ASIDE
from gazepipe.originals import Original, compared, originals_of
from gazepipe.outside import outside_of, strike_outside
from gazepipe.predicted import SUMMARY, predicted_rows
from gazepipe.receipt import RECEIPTS, make_receipt
from gazepipe.recipe import Recipe
from gazepipe.sealing import destroy_key, is_sealed
from gazepipe.shards import part_files
from gazepipe.study import Study
from gazepipe.subjects import allow_again, mark_forgotten
from gazepipe.traces import Hit, Traces, scan, windows_of
from gazepipe.words import counted

__all__ = ["Forgotten", "forget", "let_in_again", "rebuild"]

_WINDOWS_A_FILE = 8
_remove = partial(remove, then="run again to go on")

Show = Callable[[int, int, str], None]


@dataclass(slots=True)
class Forgotten:
    """What was done, what the search found, which recordings were to be deleted and stay, and what lies elsewhere."""

    plan: Plan
    receipt: dict[str, Any]
    receipt_file: Path
    hits: list[Hit]
    kept: list[Original]
    outside: list[str]


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
        before = study.manifest(JOURNAL)
        under_way = before.get("user") == user
        plan = outlook(study, user)
        journal = _journal(study, plan, before if under_way else {})
        study.write_manifest(JOURNAL, journal)
        mark_forgotten(study, user)
        _rewrite(study, plan, journal)
        _delete(study, plan)
        key_destroyed = _destroy_key(study, user)
        consent.remove(study, user)
        strike_outside(study, user)
        deleted, kept = _delete_originals(study, plan, journal) if recordings else (0, [])
        others = {str(row["user"]) for row in study.known_recordings().values()} | set(study.known_recordings())
        traces = Traces(journal["names"], others, map(bytes.fromhex, journal["windows"]))
        found = scan(study.store, traces, skip=[study.manifest_file(JOURNAL)], show=show)
        receipt = make_receipt(study, plan, journal, traces, found, deleted)
        receipt["key_destroyed"] = key_destroyed
        stamp = receipt["time"].replace(":", "").replace("+0000", "Z")
        path = study.store / RECEIPTS / f"{stamp}-{receipt['id'][:8]}.json"
        write_json(path, receipt)
        audit.record(study, "forget", users=[user], files=len(journal["removed"]), traces=len(found.hits))
        study.manifest_file(JOURNAL).unlink()
    return Forgotten(plan, receipt, path, found.hits, kept, journal["outside"])


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
    known = study.known_recordings()
    # A name that others' paths have, too (rec.csv in a folder of each), tells of nobody.
    common = {part for n, r in known.items() if n not in plan.recordings for part in Path(r["source"]).parts}
    files = (Path(r["source"]).name for n, r in known.items() if n in plan.recordings and r["origin"] != "import")
    # What their files are called, if not by the pseudonym: a list may have it.
    called = [study.psm_file(plan.user).stem, *(study.recording_file(n).stem for n in plan.recordings if n in known)]
    names = [*dict.fromkeys([plan.user, *plan.recordings, *called]), *(name for name in files if name not in common)]
    removed = [p.relative_to(study.store).as_posix() for p in plan.remove]
    parts = {
        "names": names,
        "windows": [w.hex() for w in _windows(study, plan)],
        "removed": removed,
        "rebuild": plan.rebuild,
        "originals": [str(o.path) for o in plan.originals],
        "recordings": plan.recordings,
        "outside": outside_of(study, plan.user),
    }
    try:
        whole = {k: list(dict.fromkeys([*map(str, before.get(k, [])), *v])) for k, v in parts.items()}
        ingested = {str(k): str(v) for k, v in before.get("ingested", {}).items()} | plan.ingested
        list(map(bytes.fromhex, whole["windows"]))
    except (TypeError, ValueError, AttributeError):
        msg = f"{study.manifest_file(JOURNAL)}: was not written by gazepipe; delete it and run `gazepipe forget` again."
        raise StoreError(msg) from None
    return {"user": plan.user, **whole, "ingested": ingested}


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
    if in_gallery(study, plan.user):
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
    if study.failures_file.is_file():
        lines = study.failure_lines()
        others = Traces(journal["names"], set(study.known_recordings()), ())
        kept = [line for line in lines if not _names_in(line, others)]
        if kept != lines:
            write_listed(study.store, {study.failures_file: "".join(f"{line}\n" for line in kept).encode()})
    summary = study.predictions / SUMMARY
    if summary.is_file():
        # Maps of the others went with the weights that made them.
        rows = {} if plan.trained_on else predicted_rows(summary.parent)
        left = [row for row in rows.values() if row["user"] != plan.user]
        if left:
            write_json(summary, {"predictions": left})
        else:
            summary.unlink()
    if in_gallery(study, plan.user):
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
    own = arrays["table/margin"] + arrays["table/nearest_cosine"]
    users, vectors = arrays["table/user"], arrays["embedding"]
    near = [nearest(vector, np.delete(vectors, i, 0)) for i, vector in enumerate(vectors)]
    names = ["" if k < 0 else np.delete(users, i)[k] for i, (k, _) in enumerate(near)]
    arrays["table/nearest"] = np.array(names, object)
    arrays["table/nearest_cosine"] = np.array([cosine for _, cosine in near])
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
    for path in plan.remove + plan.beside:
        _remove(path)
    # What shards left that were never gathered names everybody in them; a shard that runs again finds its files done.
    for path in part_files(study):
        _remove(path)
    for name in (ASIDE, *OF_NETWORKS):
        folders = [p for p in (study.store / name).rglob("*") if p.is_dir()]
        for folder in [*sorted(folders, reverse=True), study.store / name]:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only what is empty
    if (study.store / CHECKSUMS).is_file() and not (study.store / CHECKSUMS).stat().st_size:
        _remove(study.store / CHECKSUMS)


def _destroy_key(study: Study, user: str) -> bool:
    try:
        return destroy_key(study.store, user)
    except OSError as error:
        msg = f"{study.store}: the person's key cannot be deleted ({error.strerror or error}); run again to go on."
        raise StorageError(msg) from None


def _delete_originals(study: Study, plan: Plan, journal: dict[str, Any]) -> tuple[int, list[Original]]:
    """Delete what is theirs alone; how many, and what stays: in an archive, of several people, or not surely theirs."""
    deleted, kept = 0, []
    for named in originals_of(study, plan.user, journal["originals"]):
        original = compared(named, journal["ingested"], plan.others)
        if original.kept:
            kept.append(original)
        else:
            _remove(original.path)
            deleted += 1
    return deleted, kept


def rebuild(study: Study, receipt: dict[str, Any]) -> Iterator[str]:
    """Make again what the receipt lists, but for cross-validation and predictions, which have settings of their own."""
    listed = [str(what).split(":")[0].split(" (")[0] for what in receipt["to_rebuild"]]
    if "universal maps" in listed:
        from gazepipe.build import build_psm

        yield f"{counted(build_psm(study).n_maps, 'map')} up to date."
    if "networks" in listed:
        from gazepipe.train import train

        yield f"{', '.join(train(study, preset=study.manifest('train').get('preset')).trained)} trained."
    if "gallery" in listed:
        from gazepipe.enrol import enrol, load_gallery

        people = enrol(study, [p.user for p in load_gallery(study).people]).people
        yield f"{counted(len(people), 'person', 'people')} in the gallery."
    if {"evaluation", "tables", "figures"} & set(listed):
        from gazepipe import evaluate as stage

        result = stage.evaluate(study)
        made = stage.write_tables(study, result) if "tables" in listed else []
        made += stage.draw_figures(study, result) if "figures" in listed and not is_sealed(study.store) else []
        yield f"evaluated, {counted(len(made), 'table and figure', 'tables and figures')}."
