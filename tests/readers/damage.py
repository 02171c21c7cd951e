"""Damaged copies of a file: every one must be read or refused with a `RecordingError`, and never take long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.recording import Recording


def truncated(content: bytes) -> Iterator[bytes]:
    """The file cut at every 64th part."""
    for k in range(1, 64):
        yield content[: len(content) * k // 64]


def corrupted(content: bytes, n: int = 200, seed: int = 5) -> Iterator[bytes]:
    """Copies with one to five bytes changed to anything."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        data = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(0, data.size, 1 + k % 5)
        data[where] = rng.integers(0, 256, where.size)
        yield data.tobytes()


def read_each(path: Path, copies: Iterator[bytes], config: StudyConfig | None = None) -> list[Recording]:
    """Return what could be read, after checking that it is sound."""
    read = []
    for data in copies:
        path.write_bytes(data)
        try:
            recording = read_recording(path, config or StudyConfig())
        except RecordingError:
            continue
        for part in recording.blocks():
            assert (np.diff(recording.time_ms[part]) > 0).all()
        for eye in recording.eyes.values():
            assert eye.x_px.shape == eye.y_px.shape == eye.pupil.shape == recording.time_ms.shape
            assert (np.isnan(eye.x_px) == np.isnan(eye.y_px)).all()
        for values in recording.columns.values():
            assert values.shape == recording.time_ms.shape
        read.append(recording)
    return read
