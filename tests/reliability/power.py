"""What is on a disk after a power loss: a recorded log of writes, of which everything that was not synced is dropped.

The log has whatever a stage did to files. After a power loss at any step, a file has the content of its last fsync
(nothing, if there was none), and a folder the entries of its last fsync; of the changes of a folder after that, the
first few may have reached the disk, in order, as a journal has them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@dataclass
class Log:
    """Steps below a root, each a name and its arguments; `here` is how many there are."""

    root: Path
    steps: list[tuple[Any, ...]] = field(default_factory=list)
    files: dict[int, int] = field(default_factory=dict)  # descriptor → number of the file that was opened
    folders: dict[int, str] = field(default_factory=dict)
    opened: int = 0

    @property
    def here(self) -> int:
        return len(self.steps)

    def name(self, path: Any) -> str | None:
        try:
            return Path(os.fspath(path)).relative_to(self.root).as_posix()
        except ValueError:
            return None

    def add(self, what: str, *arguments: Any) -> None:
        if None not in arguments:
            self.steps.append((what, *arguments))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what is done to files from here on."""
        real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "mkdir", "unlink")}
        real_open = io.open

        def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            made = real_open(file, mode, *arguments, **options)
            name = None if mode.startswith("r") else self.name(file)
            if name is None:
                return made
            self.opened += 1
            self.files[made.fileno()] = self.opened
            self.add("create", self.opened, name)
            return _File(made, self, self.opened)

        def open_number(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            number: int = real["open"](path, flags, *arguments, **options)
            name = self.name(path) if isinstance(path, str | Path) and os.path.isdir(path) else None
            if name is not None:
                self.folders[number] = name
                self.files.pop(number, None)
            return number

        def fsync(number: int) -> None:
            real["fsync"](number)
            if number in self.folders:
                self.add("sync folder", self.folders.pop(number))
            elif number in self.files:
                self.add("sync", self.files[number])

        def replace(source: Any, target: Any) -> None:
            real["replace"](source, target)
            self.add("move", self.name(source), self.name(target))

        def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
            real["mkdir"](path, *arguments, **options)
            self.add("folder", self.name(path))

        def unlink(path: Any, *arguments: Any, **options: Any) -> None:
            real["unlink"](path, *arguments, **options)
            self.add("remove", self.name(path))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", open_file)
            for instead in (fsync, replace, mkdir, unlink):
                patch.setattr(os, instead.__name__, instead)
            patch.setattr(os, "open", open_number)
            yield

    def after_power_loss(
        self, before: dict[str, bytes], step: int, lucky: np.random.Generator | None, to: Path
    ) -> None:
        """Write what is on the disk if the power fails before a step.

        Parameters
        ----------
        before
            What was there, long synced, when the recording began.
        step
            Steps that were done.
        lucky
            Draws how many unsynced changes of each folder reached the disk all the same; None: not one.
        to
            Where to write it.
        """
        synced: dict[int, bytes] = {}  # number of a file → content
        content: dict[int, bytes] = {-k: data for k, data in enumerate(before.values(), 1)}
        synced |= content
        volatile = {name: -k for k, name in enumerate(before, 1)}
        durable = dict(volatile)
        parents = {str(p.as_posix()) for name in before for p in Path(name).parents}
        folders = {".", *parents}
        waiting: dict[str, list[tuple[str, int | None]]] = {}  # folder → entries that change: name and file, or None

        def change(name: str, file: int | None) -> None:
            waiting.setdefault(Path(name).parent.as_posix(), []).append((name, file))

        def settle(changes: list[tuple[str, int | None]]) -> None:
            for name, file in changes:
                if file is None:
                    durable.pop(name, None)
                elif file == 0:
                    folders.add(name)
                else:
                    durable[name] = file

        for what, *rest in self.steps[:step]:
            if what == "create":
                volatile[rest[1]], content[rest[0]] = rest[0], b""
                change(rest[1], rest[0])
            elif what == "write":
                content[rest[0]] += rest[1]
            elif what == "sync":
                synced[rest[0]] = content[rest[0]]
            elif what == "sync folder":
                settle(waiting.pop(rest[0], []))
            elif what == "move":
                file = volatile.pop(rest[0])
                volatile[rest[1]] = file
                change(rest[0], None)
                change(rest[1], file)
            elif what == "folder":
                change(rest[0], 0)
            elif what == "remove":
                volatile.pop(rest[0], None)
                change(rest[0], None)
        if lucky is not None:
            for changes in waiting.values():
                settle(changes[: int(lucky.integers(len(changes) + 1))])
        for name, file in durable.items():
            if all(p.as_posix() in folders for p in Path(name).parents):
                path = to / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(synced.get(file, b""))


class _File:
    """A file being written."""

    def __init__(self, file: Any, log: Log, number: int) -> None:
        self.file, self.log, self.number = file, log, number

    def __enter__(self) -> Any:
        self.file.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self.file.__exit__(*error)

    def write(self, data: bytes) -> int:
        self.log.add("write", self.number, bytes(data))
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
