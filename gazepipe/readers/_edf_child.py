"""Takes an EyeLink EDF file apart; run as a process of its own, because a damaged file can crash the library.

``python _edf_child.py FILE OUT`` writes what `gazepipe.readers.eyelink_edf` needs to the folder OUT:
``content.npz``, or ``problem.txt`` with one sentence.

The loop is written on eyelinkio's binding of SR Research's library, not on its ``read_edf``. That one puts all samples
of a file on one even grid of times (pauses between blocks are lost, messages outside blocks move to its ends), cuts
messages, asserts that all blocks have one rate and eye, and has no amplitudes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BLOCK", "EVENT", "FAILED", "MEMORY_BYTES", "main"]

#: Exit status after which ``problem.txt`` says what was wrong.
FAILED = 3
#: What a file may make the library take.
MEMORY_BYTES = 4 << 30

BLOCK = np.dtype(
    [(name, "<i8") for name in ("first_sample", "time", "eyes", "flags", "pupil", "filter", "ended")]
    + [("rate", "<f8")]
)
EVENT = np.dtype(
    [(name, "<i8") for name in ("type", "eye", "start", "end", "read")]
    + [(name, "<f8") for name in ("x0", "y0", "x1", "y1", "x", "y", "peak_velocity", "ppd_x", "ppd_y")]
)
_END, _MESSAGE, _RECORDING, _SAMPLE = 0, 24, 30, 200
_EVENTS = (4, 6, 8)  # ENDBLINK, ENDSACC, ENDFIX
_HALF_MS = 0x0002  # in a sample's flags: half a millisecond later than its time
_CHUNK = 1 << 15


class _Samples:
    """Samples, taken over as raw records and thinned out a chunk at a time."""

    def __init__(self, record: Any) -> None:
        self.record = np.dtype(record)
        self.size = self.record.itemsize
        self.buffer = (ctypes.c_char * (self.size * _CHUNK))()
        self.base = ctypes.addressof(self.buffer)
        self.filled = 0
        self.n = 0
        self.parts: list[tuple[Any, Any]] = []

    def add(self, pointer: Any) -> None:
        ctypes.memmove(self.base + self.filled * self.size, pointer, self.size)
        self.filled += 1
        self.n += 1
        if self.filled == _CHUNK:
            self._thin_out()

    def _thin_out(self) -> None:
        rows = np.frombuffer(self.buffer, self.record, self.filled)
        time = rows["time"] + np.where(rows["flags"] & _HALF_MS, 0.5, 0.0)
        values = np.stack([rows[name][:, eye] for eye in (0, 1) for name in ("gx", "gy", "pa")])
        self.parts.append((time.astype(np.float64), values.astype(np.float32)))
        self.filled = 0

    def arrays(self) -> tuple[Any, Any]:
        """Times, shape ``(n,)``, and x, y, pupil of the left eye, then of the right, shape ``(6, n)``."""
        self._thin_out()
        return np.concatenate([t for t, _ in self.parts]), np.concatenate([v for _, v in self.parts], axis=1)


def _event(kind: int, e: Any) -> tuple[Any, ...]:
    whole = (kind, e.eye, e.sttime, e.entime, e.read)
    return (*whole, e.gstx, e.gsty, e.genx, e.geny, e.gavx, e.gavy, e.pvel, *_resolution(e))


def _resolution(e: Any) -> tuple[float, float]:
    """Pixels per degree, the mean of both ends: what the tracker's amplitudes are made with."""
    return (e.supd_x + e.eupd_x) / 2, (e.supd_y + e.eupd_y) / 2


def _message(e: Any) -> bytes:
    text = e.message.contents
    start = ctypes.addressof(text) + type(text).c.offset
    return ctypes.string_at(start, max(int(text.len), 0)).split(b"\0", 1)[0]


def _take_apart(api: Any, file: Any, size: int) -> dict[str, Any]:
    samples = _Samples(api.FSAMPLE)
    blocks: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = []
    texts: list[bytes] = []
    times: list[int] = []
    items = 0
    while (kind := api.edf_get_next_data(file)) != _END:
        items += 1
        if items > size:
            msg = "they do not end"
            raise ValueError(msg)
        data = api.edf_get_float_data(file)
        if kind == _SAMPLE:
            samples.add(data)
        elif kind == _MESSAGE:
            times.append(data.contents.fe.sttime)
            texts.append(_message(data.contents.fe))
        elif kind in _EVENTS:
            events.append(_event(kind, data.contents.fe))
        elif kind == _RECORDING:
            r = data.contents.rec
            if r.state:
                blocks.append((samples.n, r.time, r.eye, r.sflags, r.pupil_type, r.filter_type, 0, r.sample_rate))
            elif blocks:  # what else stands in the record of an end is not filled in
                blocks[-1] = (*blocks[-1][:6], 1, blocks[-1][7])
    time, values = samples.arrays()
    return {
        "time": time,
        "values": values,
        "blocks": np.array(blocks, BLOCK),
        "events": np.array(events, EVENT),
        "message_time": np.array(times, np.int64),
        "message_length": np.array([len(t) for t in texts], np.int64),
        "message_text": np.frombuffer(b"".join(texts), np.uint8),
    }


def _preamble(api: Any, file: Any) -> Any:
    length = api.edf_get_preamble_text_length(file)
    if not 0 <= length < 1 << 20:
        return np.zeros(0, np.uint8)
    text = ctypes.create_string_buffer(length + 1)
    api.edf_get_preamble_text(file, text, length + 1)
    return np.frombuffer(text.value, np.uint8)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has none; the time limit is the caller's
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(source: str, out: str) -> int:
    """Take `source` apart; returns 0, or `FAILED`."""
    _limit()
    try:
        from eyelinkio.edf import _edf2py as api
    except (ImportError, OSError, AssertionError) as error:
        return _failed(out, f"eyelinkio cannot be used ({error})")
    status = ctypes.c_int(0)
    file = api.edf_open_file(os.fsencode(source), 2, 1, 1, ctypes.byref(status))
    if not file or status.value:
        return _failed(out, f"SR Research's library cannot open the file (its error {status.value})")
    try:
        content = _take_apart(api, file, os.path.getsize(source))
        content["preamble"] = _preamble(api, file)
        np.savez(Path(out, "content.npz"), **content)
    except MemoryError:
        return _failed(out, f"it would take more than {MEMORY_BYTES >> 30} GB of memory")
    except ValueError as reason:
        return _failed(out, f"its records cannot be followed ({reason})")
    return 0


def _failed(out: str, sentence: str) -> int:
    Path(out, "problem.txt").write_text(sentence, encoding="utf-8")
    return FAILED


if __name__ == "__main__":
    os._exit(main(sys.argv[1], sys.argv[2]))  # the library's own clean-up has nothing to add
