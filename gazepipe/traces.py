"""Looking for traces of a person in every file of a store, inside compressed data, too.

What is looked for are *names* (the pseudonym, names of the recordings and of their files) and *windows*: short runs of
the person's own numbers, as bytes, taken before anything was deleted. A run of eight different gaze positions does
not come about twice by chance.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import StoreError
from gazepipe.sealing import content_of
from gazepipe.store import everything
from gazepipe.weights_header import weights_header

__all__ = ["Hit", "Scan", "Traces", "scan", "windows_of"]

#: Numbers in a window, and how many of them must differ.
_WINDOW, _DIFFERENT = 8, 6
#: What is no text; anything else without a null byte is searched line by line, whatever it is called.
_BINARY = (".h5", ".safetensors", ".checkpoint", ".npy", ".png", ".zip")
#: A shorter name comes about by chance in binary data, and is looked for only in what was decoded.
_RAW_NAME = 6


def windows_of(values: npt.NDArray[Any], count: int) -> list[bytes]:
    """Up to `count` runs of eight numbers from all over an array, each at least six different ones, none missing.

    Each is given as it is stored and as both usual kinds of floating-point number.
    """
    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype.kind != "f" or flat.size < _WINDOW:
        return []
    found: dict[bytes, None] = {}
    step = max(1, (flat.size - _WINDOW) // (count * 4))
    for start in range(0, flat.size - _WINDOW + 1, step):
        run = flat[start : start + _WINDOW]
        if np.isfinite(run).all() and len(np.unique(run)) >= _DIFFERENT:
            found |= dict.fromkeys(run.astype(kind).tobytes() for kind in {run.dtype.str, "<f4", "<f8"})
            if len(found) >= 3 * count:
                break
    return list(found)


class Traces:
    """What to look for.

    Parameters
    ----------
    names
        The pseudonym and what it is part of.
    others
        Names of others, which may hold one of `names` as a part (``p1`` in ``p1-b``).
    windows
        Bytes of the person's numbers.
    """

    def __init__(self, names: Iterable[str], others: Iterable[str], windows: Iterable[bytes]) -> None:
        self.names = tuple(sorted({n.lower() for n in names if n}))
        self.others = tuple({n.lower() for n in others if n} - set(self.names))
        self.windows = tuple(dict.fromkeys(windows))
        # "1", "07" or "ab" may mean anything inside a sentence or a number: such a name counts only by itself.
        self.weak = tuple(n for n in self.names if n.isdecimal() or len(n) < 3)
        strong = [n for n in self.names if n not in self.weak]
        self.pattern = _pattern(strong)
        self.raw = _pattern([n for n in strong if len(n.encode()) >= _RAW_NAME])
        self.raw_names = [n.encode() for n in strong if len(n.encode()) >= _RAW_NAME]

    def in_text(self, text: str) -> bool:
        """Whether one of the names stands in a text."""
        low = text.lower()
        if self.pattern and any(self._is_theirs(m, low) for m in self.pattern.finditer(low)):
            return True
        if not self.weak:
            return False
        return any(part.split(".")[0].partition("_")[0] in self.weak for part in re.split(r"[/\\]", low))

    def _is_theirs(self, match: re.Match[str], text: str) -> bool:
        """Whether what a name was found in is not somebody else's, longer name."""
        start, end = match.span()
        while start > 0 and _is_label(text[start - 1]):
            start -= 1
        while end < len(text) and _is_label(text[end]):
            end += 1
        whole = text[start:end]
        return not any(whole == o or whole.startswith(f"{o}_") for o in self.others)

    def in_bytes(self, data: bytes) -> str | None:
        """What of it stands in some bytes: "numbers", "name" or None."""
        if any(window in data for window in self.windows):
            return "numbers"
        if self.raw:
            low = data.lower()
            if any(name in low for name in self.raw_names):
                text = low.decode("latin-1")
                if any(self._is_theirs(m, text) for m in self.raw.finditer(text)):
                    return "name"
        return None

    def in_json(self, value: Any) -> bool:
        """Whether a name is a key, or stands in a text, of a JSON value."""
        if isinstance(value, str):
            return self.in_text(value)
        if isinstance(value, dict):
            return any(
                self.in_text(str(k)) or (not str(k).endswith("version") and self.in_json(v)) for k, v in value.items()
            )
        return isinstance(value, list | tuple) and any(map(self.in_json, value))


def _pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Any of the names between characters that are no letters or digits."""
    either = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    return re.compile(f"(?<![a-z0-9])(?:{either})(?![a-z0-9])") if either else None


def _is_label(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "-_")


@dataclass(frozen=True, slots=True)
class Hit:
    """A trace: the file, the place in it, and whether a name or numbers were found."""

    file: str
    place: str
    what: str


@dataclass(slots=True)
class Scan:
    """What was looked through, and what was found."""

    files: int = 0
    bytes: int = 0
    datasets: int = 0
    attributes: int = 0
    decoded_bytes: int = 0
    unreadable: list[str] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)


def scan(
    root: Path, traces: Traces, *, skip: Iterable[Path] = (), show: Callable[[int, int, str], None] | None = None
) -> Scan:
    """Look through every file below a folder: its name, its raw bytes, and all that can be decoded of it.

    HDF5 files are read data set by data set and attribute by attribute, text and JSON as such, headers of weights,
    and what is gzip-compressed.
    """
    left_out = {p.resolve() for p in skip}
    paths = [p for p in sorted(root.rglob("*")) if p.resolve() not in left_out]
    found = Scan()
    for done, path in enumerate(paths, 1):
        name = path.relative_to(root).as_posix()
        if traces.in_text(path.name):
            found.hits.append(Hit(name, "its name", "name"))
        if path.is_file() and not path.is_symlink():
            _file(path, name, traces, found)
        if show:
            show(done, len(paths), name)
    return found


def _file(path: Path, name: str, traces: Traces, found: Scan) -> None:
    try:
        data = content_of(path)
    except (OSError, StoreError):
        found.unreadable.append(name)
        return
    found.files += 1
    found.bytes += len(data)
    if what := traces.in_bytes(data):
        found.hits.append(Hit(name, "its bytes", what))
    try:
        for place, what in _decoded(path, data, traces, found):
            found.hits.append(Hit(name, place, what))
    except (OSError, RuntimeError, ValueError, EOFError, zlib.error, KeyError, StoreError):
        found.unreadable.append(name)


def _decoded(path: Path, data: bytes, traces: Traces, found: Scan) -> Iterator[tuple[str, str]]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        data = gzip.decompress(data)
        found.decoded_bytes += len(data)
        if what := traces.in_bytes(data):
            yield "what is compressed in it", what
        suffix = Path(path.stem).suffix.lower()
    if suffix in (".json", ".jsonl"):
        lines = data.splitlines() if suffix == ".jsonl" else [data]
        for number, line in enumerate(lines, 1):
            if line.strip() and traces.in_json(json.loads(line)):
                yield f"line {number}" if len(lines) > 1 else "its content", "name"
    elif suffix not in _BINARY and b"\0" not in data:
        for number, text in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            # A weak name would be every second number of a table.
            if traces.pattern and any(
                traces._is_theirs(m, text.lower()) for m in traces.pattern.finditer(text.lower())
            ):
                yield f"line {number}", "name"
    elif suffix in (".safetensors", ".checkpoint"):
        metadata, _ = weights_header(io.BytesIO(data), len(data))
        if any(traces.in_json(_plain_json(value)) for value in metadata.values()):
            yield "its metadata", "name"
    elif suffix == ".h5":
        yield from _hdf5(path, data, traces, found)


def _plain_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _hdf5(path: Path, data: bytes, traces: Traces, found: Scan) -> Iterator[tuple[str, str]]:
    for place, value, is_attribute in everything(path, data):
        if is_attribute:
            found.attributes += 1
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if isinstance(text, str):
                if not place.partition(" of ")[0].endswith("version") and traces.in_json(_plain_json(text)):
                    yield place, "name"
            elif traces.in_bytes(np.asarray(value).tobytes()):
                yield place, "numbers"
            continue
        found.datasets += 1
        array = np.asarray(value)
        raw = b"" if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()
        found.decoded_bytes += len(raw)
        if what := traces.in_bytes(raw):
            yield place, what
        if array.dtype.kind in "SO":
            texts = {v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.ravel()}
            if any(map(traces.in_text, texts)):
                yield f"text of {place.removeprefix('data of ')}", "name"
