"""What a store, or one of its files, holds: `gazepipe info`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazepipe import store
from gazepipe.documents import read_json
from gazepipe.errors import ConfigError, NothingToDoError, StoreError, plain
from gazepipe.file_names import has_random_names
from gazepipe.predicted import predicted_rows
from gazepipe.sealing import text_of
from gazepipe.study import Study
from gazepipe.weights_header import header_of
from gazepipe.words import counted

__all__ = ["file_info", "file_text", "files_of", "files_text", "store_info", "store_text"]

_JSON_ATTRIBUTES = ("params", "inputs", "quality", "meta", "warnings", "users", "measures", "precision", "verification")

#: Texts of a store, which are shown as they are: in a sealed store nothing else opens them.
_TEXTS = (".jsonl", ".md", ".csv", ".txt")

#: Part of the store → what its files are called.
_PARTS = {
    "recordings": "recordings",
    "psm": "personal maps",
    "usm.h5": "universal maps",
    "stimuli.h5": "images",
    "models": "networks",
    "gallery.h5": "gallery",
    "predictions": "predictions",
    "folds": "cross-validation",
}


def store_info(study: Study) -> dict[str, Any]:
    """Sizes, numbers and versions of what is in a store; nothing big is read.

    Raises
    ------
    NothingToDoError
        If there is no store.
    StoreError
        If a manifest is damaged.
    """
    root = _store_of(study)
    parts: dict[str, dict[str, int]] = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            first = path.relative_to(root).parts[0]
            part = parts.setdefault(_PARTS.get(first, "other"), {"files": 0, "bytes": 0})
            part["files"] += 1
            part["bytes"] += path.stat().st_size
    recordings, built = study.known_recordings(), study.manifest("build-psm").get("users", {})
    networks: dict[str, Any] = {}
    for path in sorted((root / "models").glob("*.safetensors")):
        about = _weights(path)
        networks[path.stem] = {k: about.get(k) for k in ("gazepipe_version", "recipe", "seconds")}
    gallery = _attrs(study.gallery_file)
    return {
        "store": str(root),
        "parts": {name: parts[name] for name in [*dict.fromkeys(_PARTS.values()), "other"] if name in parts},
        "users": sorted({str(row["user"]) for row in recordings.values()}),
        "recordings": len(recordings),
        "dataset": study.manifest("import").get("dataset"),
        "maps": sum(int(row["n_maps"]) for row in built.values()),
        "enrolled": sorted(u for u, row in built.items() if row["enrolled"]),
        "networks": networks,
        "gallery_model": gallery.get("model"),
        "checkpoints": sorted(p.stem for p in (root / "models").glob("*.checkpoint")),
        "file_names": "random" if has_random_names(root) else "pseudonyms",
        "files": _files(study),
    }


def files_of(study: Study, user: str) -> dict[str, Any]:
    """Which files of a store are of one user alone, whatever they are called.

    Raises
    ------
    NothingToDoError
        If there is no store, or nothing of them in it.
    StoreError
        If a manifest is damaged.
    """
    root = _store_of(study)
    rows = [row for row in _files(study) if row["user"] == user]
    if not rows:
        msg = f"user {user!r} is not in {root}; `gazepipe info --json` lists the users."
        raise NothingToDoError(msg)
    return {"store": str(root), "user": user, "files": rows}


def files_text(info: Mapping[str, Any]) -> str:
    """Return it for people: what a file is, and where."""
    wide = max(len(row["what"]) for row in info["files"])
    lines = [f"{info['store']}, files of {info['user']}", ""]
    return "\n".join([*lines, *(f"{row['what']:<{wide}}  {row['file']}" for row in info["files"])])


def _store_of(study: Study) -> Path:
    if not study.store.is_dir():
        msg = f"{study.store}: there is no store; run `gazepipe run` first."
        raise NothingToDoError(msg)
    return study.store


def _files(study: Study) -> list[dict[str, str]]:
    """Files that are of one person each: whose, what, and where below the store."""
    known = study.known_recordings().items()
    found = [(str(row["user"]), f"recording {name}", study.recording_file(name)) for name, row in known]
    found += [(user, "maps", study.psm_file(user)) for user in study.manifest("build-psm").get("users", {})]
    for row in predicted_rows(study.predictions).values():
        image = Path(str(row.get("image"))).name
        found += [(str(row.get("user")), f"{w} of {image}", study.predictions / row[w]) for w in ("array", "overlay")]
    rows = [(user, what, path.relative_to(study.store).as_posix()) for user, what, path in sorted(found)]
    return [{"user": user, "what": what, "file": name} for user, what, name in rows]


def store_text(info: Mapping[str, Any]) -> str:
    """Return it for people."""
    rows = [(name, str(part["files"]), _size(part["bytes"])) for name, part in info["parts"].items()]
    rows.append(
        (
            "all",
            str(sum(p["files"] for p in info["parts"].values())),
            _size(sum(p["bytes"] for p in info["parts"].values())),
        )
    )
    wide = max(len(row[0]) for row in rows)
    lines = [str(info["store"]), "", f"{'':<{wide}}  files       size"]
    lines += [f"{name:<{wide}}  {files:>5}  {size:>9}" for name, files, size in rows]
    origin = f" (data set {info['dataset']})" if info["dataset"] else ""
    enrolled = f"; enrolled from outside: {len(info['enrolled'])}" if info["enrolled"] else ""
    lines += [
        "",
        f"{counted(info['recordings'], 'recording')} of {counted(len(info['users']), 'user')}{origin}; "
        f"{counted(info['maps'], 'map')}{enrolled}.",
    ]
    if info["file_names"] == "random":
        lines.append("No pseudonym is in a path; `gazepipe info --user` tells which files are somebody's.")
    for name, about in info["networks"].items():
        lines.append(f"{name}: trained in {about['seconds'] or 0:.0f} s by gazepipe {about['gazepipe_version']}.")
    model = info["networks"].get("embedding", {}).get("recipe")
    if info["gallery_model"] and info["gallery_model"] != model:
        lines.append("The gallery is of another embedding network than the one there; run `gazepipe enrol` again.")
    lines += [f"{name}: training was interrupted; it goes on with the next run." for name in info["checkpoints"]]
    return "\n".join(lines)


def file_info(path: Path) -> dict[str, Any]:
    """Attributes of one stored file, and names, types, shapes and sizes of what it holds; HDF5 data are checked.

    Raises
    ------
    NothingToDoError
        If there is no such file.
    StoreError
        If it is damaged.
    ConfigError
        If it is no kind of file that a store has.
    """
    if not path.is_file():
        msg = f"{path}: no such file."
        raise NothingToDoError(msg)
    if path.suffix == ".h5":
        contents = store.load(path, store.encoding_of(path))
        attrs = {k: json.loads(v) if k in _JSON_ATTRIBUTES else v for k, v in contents.attrs.items()}
        arrays = {k: _array("text" if v.dtype == object else str(v.dtype), v.shape) for k, v in contents.arrays.items()}
    elif path.suffix in (".safetensors", ".checkpoint"):
        attrs, arrays = _weights(path), _tensors(path)
    elif path.suffix == ".json":
        attrs, arrays = read_json(path, "delete it and run the stage that makes it again"), {}
    elif path.suffix in _TEXTS:
        text = text_of(path).decode("utf-8", "replace")
        return {"file": str(path), "bytes": path.stat().st_size, "attributes": {}, "arrays": {}, "text": text}
    else:
        known = f".h5, .safetensors, .checkpoint, .json, {', '.join(_TEXTS[:-1])} or {_TEXTS[-1]}"
        msg = f"{path}: is no file that `info` knows; expected {known} of a store."
        raise ConfigError(msg)
    return {"file": str(path), "bytes": path.stat().st_size, "attributes": attrs, "arrays": arrays}


def file_text(info: Mapping[str, Any], width: int = 120) -> str:
    """Return it for people: one line each, long values cut."""
    lines = [f"{info['file']}  {_size(info['bytes'])}", ""]
    if "text" in info:
        return "\n".join([*lines, *map(plain, info["text"].splitlines())])
    wide = max(map(len, info["attributes"]), default=0)
    for name, value in info["attributes"].items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = " ".join(text.split())
        room = max(20, width - wide - 2)
        lines.append(f"{name:<{wide}}  {text if len(text) <= room else text[: room - 1] + '…'}")
    if info["arrays"]:
        wide = max(map(len, info["arrays"]))
        lines.append("")
        for name, a in info["arrays"].items():
            lines.append(f"{name:<{wide}}  {a['dtype']:<8}  {' × '.join(map(str, a['shape'])) or 'scalar'}")
    return "\n".join(lines)


def _array(dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape)}


def _attrs(path: Path) -> Mapping[str, Any]:
    return store.load(path, store.encoding_of(path), only=()).attrs if path.is_file() else {}


def _weights(path: Path) -> dict[str, Any]:
    metadata = _header(path)[0]
    try:
        content: dict[str, Any] = json.loads(metadata["gazepipe"])
    except (KeyError, ValueError) as error:
        raise _no_weights(path, error) from None
    return content


def _tensors(path: Path) -> dict[str, dict[str, Any]]:
    return {name: _array(str(t["dtype"]), tuple(t["shape"])) for name, t in sorted(_header(path)[1].items())}


def _header(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        return header_of(path)
    except (OSError, ValueError) as error:
        raise _no_weights(path, error) from None


def _no_weights(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path}: damaged or not weights of gazepipe ({error}); delete it and run `gazepipe train` again."
    )


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
