"""The folder of a live session: written as things happen, readable whatever happens.

``session.json``
    Who, with what, on which screen; written first and whole.
``samples.bin``
    One record of `RECORD` after another, with a checksum each; only ever appended to.
``imu.bin``, ``eye_events.bin``
    What the device tells beside gaze (`gazepipe.live.beside`), written in the same way.
``session.jsonl``
    One JSON object a line, for everything else: events, measurements of the device's clock, connections lost and found
    again, checks, validations, the end. Only ever appended to.

Whatever was handed to `SessionWriter` before the program is killed is in the folder; whatever was before the last
`SessionWriter.sync` (events: before they are told to the device; samples: every second) is there after the
power fails, too. A line or a record that was being written is cut short and known as such by its reader.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import RecordingError, StorageError
from gazepipe.live.source import SampleBatch

__all__ = [
    "FORMAT",
    "LOG",
    "RECORD",
    "SAMPLES",
    "SESSION",
    "SessionWriter",
    "checked",
    "read_log",
    "read_records",
    "read_samples",
]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

FORMAT = "gazepipe-live"
VERSION = 1
SESSION, SAMPLES, LOG = "session.json", "samples.bin", "session.jsonl"

#: One sample: the device's time, the same in ours by what was known then, its arrival; gaze in the source's pixels and
#: on the screen by what was known then; pupil; `gazepipe.live.source.SampleFlag`; checksum.
RECORD = np.dtype(
    [
        ("device_ns", "<i8"),
        ("host_ns", "<i8"),
        ("received_ns", "<i8"),
        ("x_px", "<f4"),
        ("y_px", "<f4"),
        ("screen_x_px", "<f4"),
        ("screen_y_px", "<f4"),
        ("pupil_mm", "<f4"),
        ("flags", "u1"),
        ("spare", "u1"),
        ("check", "<u2"),
    ]
)


def _checksums(records: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """A weighted sum of each record's words; never that of a record of zeros, which lost pages of a disk are."""
    size = records.dtype.itemsize // 2
    words = records.view("<u2").reshape(-1, size)[:, :-1].astype(np.uint64)
    weights = 2 * np.arange(size - 1, dtype=np.uint64) + 3
    return ((words @ weights + np.uint64(0xA5)) % np.uint64(65521)).astype(np.uint16)


class SessionWriter:
    """Writes a session's folder; calls from several threads are safe.

    Raises
    ------
    StorageError
        If the folder is there already, or writing fails (in every method).
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self.samples = 0
        try:
            folder.mkdir(parents=True)
            text = json.dumps({"format": FORMAT, "version": VERSION, **about}, indent=1, ensure_ascii=False)
            part = folder / f".{SESSION}.part"
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(folder / SESSION)
            self._data, self._log = self._open(SAMPLES), self._open(LOG)
            self._beside: dict[str, int] = {}
        except FileExistsError:
            msg = f"{folder}: a session of this name is there already; begin again, or give the session another label."
            raise StorageError(msg) from None
        except OSError as error:
            raise self._failed(error) from None

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)

    def _failed(self, error: OSError) -> StorageError:
        msg = f"{self.folder}: writing failed ({error.strerror or error}); free some space or choose another disk."
        return StorageError(msg)

    def _append(self, file: int, data: bytes) -> None:
        """Write all of it or, where the disk is full, none that a reader could take for whole."""
        with self._lock:
            try:
                done = os.write(file, data)
                while done < len(data):
                    done += os.write(file, data[done:])
            except OSError as error:
                raise self._failed(error) from None

    def put(self, batch: SampleBatch, host_ns: I64, screen_x: F32, screen_y: F32) -> None:
        """Append samples."""
        records = np.zeros(len(batch), RECORD)
        for name in ("device_ns", "received_ns", "x_px", "y_px", "pupil_mm", "flags"):
            records[name] = getattr(batch, name)
        records["host_ns"], records["screen_x_px"], records["screen_y_px"] = host_ns, screen_x, screen_y
        records["check"] = _checksums(records)
        self._append(self._data, records.tobytes())
        self.samples += len(batch)

    def put_beside(self, name: str, records: npt.NDArray[Any]) -> None:
        """Append records to a file of `gazepipe.live.beside.FILES`, which is made with the first of them."""
        if name not in self._beside:
            try:
                self._beside[name] = self._open(name)
            except OSError as error:
                raise self._failed(error) from None
        records["check"] = _checksums(records)
        self._append(self._beside[name], records.tobytes())

    def log(self, kind: str, host_ns: int, **values: Any) -> None:
        """Append a line."""
        line = json.dumps({"kind": kind, "host_ns": host_ns, **values}, ensure_ascii=False, separators=(",", ":"))
        self._append(self._log, line.encode() + b"\n")

    def sync(self, *, samples: bool = False) -> None:
        """Bring what was logged, and with `samples` these, to the disk."""
        try:
            os.fsync(self._log)
            if samples:
                for file in (self._data, *self._beside.values()):
                    os.fsync(file)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        """End; nothing can be written afterwards."""
        self.sync(samples=True)
        for file in (self._data, self._log, *self._beside.values()):
            os.close(file)


def checked(data: bytes, layout: np.dtype[Any] = RECORD) -> tuple[npt.NDArray[Any], int]:
    """Return the records whose checksums are right, and how many others there are."""
    whole = len(data) // layout.itemsize
    records = np.frombuffer(data[: whole * layout.itemsize], layout)
    good = _checksums(records) == records["check"] if whole else np.zeros(0, np.bool_)
    return records[good], int(np.count_nonzero(~good)) + bool(len(data) % layout.itemsize)


def read_records(path: Path, layout: np.dtype[Any]) -> tuple[npt.NDArray[Any], int]:
    """Read a file of records in order of arrival, and how many of them are damaged or cut short.

    Raises
    ------
    RecordingError
        If the file cannot be read.
    """
    try:
        return checked(path.read_bytes(), layout)
    except OSError as error:
        found = f"the file cannot be read ({error.strerror or error})"
        raise RecordingError(path, found, expected="records of a live session", remedy="copy it again") from None


def read_samples(folder: Path) -> tuple[npt.NDArray[Any], int]:
    """Read a session's samples as `read_records` does."""
    return read_records(folder / SAMPLES, RECORD)


def read_log(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Read a session's log, and how many lines are damaged or cut short; none where there is no log."""
    try:
        lines = (folder / LOG).read_bytes().split(b"\n")
    except OSError:
        return [], 0
    found: list[dict[str, Any]] = []
    bad = 0
    for line in filter(None, lines):
        try:
            entry = json.loads(line.decode("utf-8"))
            sound = isinstance(entry, dict) and isinstance(entry["kind"], str) and isinstance(entry["host_ns"], int)
        except (ValueError, KeyError, RecursionError):
            sound = False
        if sound:
            found.append(entry)
        bad += not sound
    return found, bad
