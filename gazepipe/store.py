"""The stores: the one module that touches HDF5.

Every file is written once and never edited: it is built in memory, written under a temporary name, synced, and moved
into place, so that a reader sees the old file or the new one and a full disk or a killed process loses nothing
(h5py itself may crash the interpreter when the disk is full, which is why it never sees a real file being written).
All data carry fletcher32 checksums under file format v110, where a flipped bit is an error and never a wrong number;
HDF5 does not guard attributes of some kilobytes, so the root attributes have a digest of their own.

`docs/store-format.md` specifies the layout.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import __version__
from gazepipe.atomic import make_folder, write_atomically
from gazepipe.errors import (
    LockedError,
    NothingToDoError,
    OutOfMemoryError,
    StorageError,
    StoreError,
    check_access,
    lacks_memory,
    plain,
)
from gazepipe.file_names import begin_names
from gazepipe.hdf5_audit import Refused, audited
from gazepipe.recipe import Recipe, digest_json
from gazepipe.sealing import begin, sealed, unsealed

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENCODINGS",
    "Contents",
    "encoding_of",
    "everything",
    "load",
    "lock",
    "recipe_of",
    "save",
    "to_frame",
]

#: Kinds of file and the version written; a reader accepts the same major version.
ENCODINGS = {
    "gazepipe.recording": "1.0",
    "gazepipe.psm": "1.0",
    "gazepipe.usm": "1.0",
    "gazepipe.stimuli": "1.0",
    "gazepipe.gallery": "1.0",
    "gazepipe.scores": "1.0",
    "gazepipe.fold": "1.0",
}

#: Command that makes each kind of file.
_MADE_BY = {
    "gazepipe.recording": "ingest",
    "gazepipe.psm": "build-psm",
    "gazepipe.usm": "build-psm",
    "gazepipe.stimuli": "build-psm",
    "gazepipe.gallery": "enrol",
    "gazepipe.scores": "evaluate",
    "gazepipe.fold": "crossvalidate",
}

_ATTRS_DIGEST = "attributes_digest"

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """A stored file in memory: `arrays` by HDF5 path (``"samples/left/x_coordinate"``) and root attributes."""

    path: Path
    arrays: Mapping[str, Array]
    attrs: Mapping[str, Any]

    def group(self, name: str) -> dict[str, Array]:
        """Arrays directly below one group, in stored order."""
        prefix = name.rstrip("/") + "/"
        return {
            k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix) and "/" not in k[len(prefix) :]
        }


def to_frame(contents: Contents, group: str) -> pd.DataFrame:
    """Return a stored table (a group of equally long columns) as a data frame."""
    import pandas as pd

    return pd.DataFrame(contents.group(group))


def save(
    path: Path, encoding: str, arrays: Mapping[str, Array], *, recipe: Recipe, attrs: Mapping[str, Any] | None = None
) -> None:
    """Write one file, whole or not at all.

    Parameters
    ----------
    path
        Where it goes; folders are made.
    encoding
        One of `ENCODINGS`.
    arrays
        HDF5 path → array. Object and string arrays are stored as UTF-8 text. Arrays of three and more dimensions
        are chunked by their first index and compressed.
    recipe
        What the file was made of.
    attrs
        Further root attributes; mappings and lists are stored as JSON text.

    Raises
    ------
    StorageError
        If the disk is full, read-only or failing; the file that was there before is untouched.
    """
    import h5py

    root = {
        "encoding-type": encoding,
        "encoding-version": ENCODINGS[encoding],
        "gazepipe_version": __version__,
        "stage": recipe.stage,
        "stage_version": recipe.version,
        "params": json.dumps(recipe.params, sort_keys=True, default=str),
        "inputs": json.dumps(recipe.inputs, sort_keys=True),
        "recipe_digest": recipe.digest,
        **(attrs or {}),
    }
    with h5py.File.in_memory(libver=("v110", "v110")) as file:
        for key, value in root.items():
            file.attrs[key] = _attribute(value)
        file.attrs[_ATTRS_DIGEST] = _attribute(digest_json(_attributes(file)))
        for name, array in arrays.items():
            _dataset(file, name, np.asarray(array))
        file.flush()
        image = file.id.get_file_image()
    user = root.get("user")
    write_atomically(path, sealed(path, image, kind=encoding, version=ENCODINGS[encoding], user=user and str(user)))


def _attribute(value: Any) -> Any:
    """Text at fixed length, which lies in the checksummed object header; variable-length text does not."""
    import h5py

    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, default=str)
    if isinstance(value, str):
        raw = value.encode() or b"\0"
        return np.array(raw, dtype=h5py.string_dtype("utf-8", len(raw)))
    return value


def _dataset(file: Any, name: str, array: Array) -> None:
    import h5py

    if array.dtype.kind in "OU":
        texts = [str(v).encode() for v in array.ravel()]
        # fletcher32 cannot guard variable-length text (it lies in a heap), so text is stored at fixed length.
        width = max(map(len, texts), default=0) or 1
        utf8 = h5py.string_dtype("utf-8", width)
        data: Array = np.array(texts, dtype=f"S{width}").reshape(array.shape).astype(utf8)
        dataset = _write(file, name, data, _filters(data, compress=False))
        h5py.Dataset(dataset).attrs["text"] = True
    else:
        _write(file, name, array, _filters(array, compress=array.ndim >= 3 or array.nbytes > 1 << 16))


def _write(file: Any, name: str, data: Array, filters: dict[str, Any]) -> Any:
    """Write one data set as ``create_dataset`` does, which takes twice as long; a recording has seventy of them."""
    from h5py import h5d, h5p, h5s, h5t

    layout, link = h5p.create(h5p.DATASET_CREATE), h5p.create(h5p.LINK_CREATE)
    layout.set_obj_track_times(False)
    link.set_create_intermediate_group(True)
    link.set_char_encoding(h5t.CSET_UTF8)
    if filters:
        layout.set_chunk(filters["chunks"])
        if "compression" in filters:
            layout.set_shuffle()
            layout.set_deflate(filters["compression_opts"])
        layout.set_fletcher32()
    space = h5s.create_simple(data.shape) if data.ndim else h5s.create(h5s.SCALAR)
    kind = h5t.py_create(data.dtype, logical=True)
    dataset = h5d.create(file.id, name.encode(), kind, space, dcpl=layout, lcpl=link)
    if data.size:
        dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(data))
    return dataset


def _filters(array: Array, *, compress: bool) -> dict[str, Any]:
    if array.size == 0 or array.ndim == 0:
        return {}
    chunks = (1, *array.shape[1:]) if array.ndim >= 3 else (min(len(array), 65536), *array.shape[1:])
    filters: dict[str, Any] = {"chunks": chunks, "fletcher32": True}
    if compress:
        filters |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    return filters


def load(path: Path, encoding: str, *, only: tuple[str, ...] | None = None) -> Contents:
    """Read a file that `save` wrote.

    Parameters
    ----------
    path, encoding
        The file, and what kind of file it must be.
    only
        HDF5 path prefixes to read; None reads everything.

    Raises
    ------
    NothingToDoError
        If there is no such file.
    StoreError
        If it is damaged, foreign, or of a version this gazepipe cannot read; `UnreadableError` if only this user may
        not read it.
    OutOfMemoryError
        If there is too little memory for it.
    """
    with _opened(path, f"no such file; run `gazepipe {_MADE_BY[encoding]}` first") as file:
        datasets, _ = audited(file)
        attrs = _attributes(file)
        _check(path, encoding, attrs)
        arrays = {n: _read(d) for n, d in datasets.items() if only is None or n.startswith(only)}
        return Contents(path, arrays, attrs)


@contextlib.contextmanager
def _opened(path: Path, missing: str) -> Iterator[Any]:
    """Open a stored file; whatever goes wrong while it is open is one sentence, `missing` if there is none."""
    try:
        with _file(path) as file:
            yield file
    except FileNotFoundError:
        msg = f"{path}: {missing}."
        raise NothingToDoError(msg) from None
    except Refused as error:
        msg = f"{path}: {plain(str(error))}; gazepipe writes no such file and does not read it, delete it."
        raise StoreError(msg) from None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        if lacks_memory(error):
            msg = f"{path}: reading it needs more memory than there is; close other programs and run again."
            raise OutOfMemoryError(msg) from None
        check_access(path, error)
        found = plain(str(error)) or type(error).__name__
        msg = f"{path}: damaged or not a gazepipe store ({found}); delete it and run the stage that makes it again."
        raise StoreError(msg) from None


def _file(path: Path, data: bytes | None = None) -> Any:
    import h5py

    data = unsealed(path) if data is None else data
    if data is None:
        return h5py.File(path, "r", locking="best-effort")
    return h5py.File.in_memory(data)


def everything(path: Path, data: bytes | None = None) -> Iterator[tuple[str, Any, bool]]:
    """Every attribute and data set of an HDF5 file as it stands, for searching through it.

    `data` is its content, unsealed, if that was read already.

    Yields
    ------
    tuple
        Where it is (``"attribute title of samples"``, ``"data of samples/x"``), the value, and whether it is an
        attribute.

    Raises
    ------
    OSError, RuntimeError, KeyError, ValueError
        What no store has, or whatever the HDF5 library says of what it cannot read.
    """
    with _file(path, data) as file:
        datasets, groups = audited(file)
        for name, item in (groups | datasets).items():
            for key, value in item.attrs.items():
                yield f"attribute {key} of {name}", value, True
            if name in datasets:
                yield f"data of {name}", item[()], False


def _read(dataset: Any) -> Array:
    from h5py import h5a

    if h5a.exists(dataset.id, b"text") and dataset.attrs["text"]:
        raw: Array = dataset[()]
        return np.array([v.decode() for v in raw.ravel()], dtype=object).reshape(raw.shape)
    values: Array = dataset[()]
    return values


def _attributes(file: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in file.attrs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _check(path: Path, encoding: str, attrs: Mapping[str, Any]) -> None:
    found, version = attrs.get("encoding-type"), str(attrs.get("encoding-version", ""))
    if found != encoding:
        msg = f"{path}: holds {found or 'nothing gazepipe knows'}; expected {encoding}."
        raise StoreError(msg)
    if version.split(".")[0] != ENCODINGS[encoding].split(".")[0]:
        msg = (
            f"{path}: is {encoding} version {version}; this gazepipe {__version__} reads {ENCODINGS[encoding]}. "
            "Update gazepipe, or make the file again."
        )
        raise StoreError(msg)
    content = dict(attrs)
    if content.pop(_ATTRS_DIGEST, None) not in (None, digest_json(content)):
        msg = (
            f"{path}: damaged (its attributes are not those written); delete it and run the stage that makes it again."
        )
        raise StoreError(msg)


def encoding_of(path: Path) -> str:
    """Kind of a stored file, one of `ENCODINGS`.

    Raises
    ------
    NothingToDoError
        If there is no such file.
    StoreError
        If it is damaged or nothing that gazepipe knows.
    """
    with _opened(path, "no such file") as file:
        found = str(_plain(file.attrs["encoding-type"]))
    if found not in ENCODINGS:
        msg = f"{path}: holds {found!r}; expected one of {', '.join(ENCODINGS)}. Update gazepipe, or make it again."
        raise StoreError(msg)
    return found


def recipe_of(path: Path) -> str | None:
    """Recipe digest of a stored file; None where there is none or it cannot be read (then it is made again)."""
    try:
        with _file(path) as file:
            return str(_plain(file.attrs["recipe_digest"]))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, StoreError):
        return None


@contextlib.contextmanager
def lock(store: Path, timeout_s: float = 2.0, *, part: str = "") -> Iterator[None]:
    """Hold a store for writing.

    The operating system drops the lock with the process, so that a killed run leaves nothing to clean up.

    Parameters
    ----------
    store, timeout_s
        The store, and how long to wait for it.
    part
        Name of a part of a stage (``"ingest-1-of-4"``), whose files no other part writes: parts of other names may
        write at the same time, anything else may not.

    Raises
    ------
    LockedError
        If another run holds it for longer than `timeout_s`.
    StorageError
        If the store's folder cannot be written.
    """
    import filelock

    held = contextlib.ExitStack()
    try:
        make_folder(store)
        with contextlib.ExitStack() as begun:
            begun.enter_context(filelock.FileLock(store / ".lock", timeout=timeout_s))
            # A part begins under the store's own lock and goes on under one that only it holds; whoever wants the whole
            # store holds its lock, so that no part can begin, and the locks of all parts.
            begin(store)
            begin_names(store)
            names = [f".lock-{part}"] if part else sorted(p.name for p in store.glob(".lock-*"))
            for name in names:
                held.enter_context(filelock.FileLock(store / name, timeout=timeout_s))
            if not part:
                held.push(begun.pop_all())
    except filelock.Timeout:
        held.close()
        msg = f"{store}: another gazepipe run is writing there; wait for it to end and run again."
        raise LockedError(msg) from None
    except OSError as error:
        held.close()
        msg = f"{store}: cannot be written ({error.strerror or error}); choose another folder with --store."
        raise StorageError(msg) from None
    with held:
        if not part:
            for stale in store.rglob(".*.tmp"):
                with contextlib.suppress(OSError):
                    stale.unlink()
        yield
