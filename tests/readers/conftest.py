from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording
from gazepipe.recording import Recording


def _damaged(content: bytes, n: int = 200, seed: int = 5) -> Iterator[bytes]:
    """The file cut at every 64th part; then copies with one to five bytes changed to anything."""
    for k in range(1, 64):
        yield content[: len(content) * k // 64]
    rng = np.random.default_rng(seed)
    for k in range(n):
        data = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(0, data.size, 1 + k % 5)
        data[where] = rng.integers(0, 256, where.size)
        yield data.tobytes()


def _check(recording: Recording) -> None:
    for part in recording.blocks():
        assert (np.diff(recording.time_ms[part]) > 0).all()
    for eye in recording.eyes.values():
        assert eye.x_px.shape == eye.y_px.shape == eye.pupil.shape == recording.time_ms.shape
        assert (np.isnan(eye.x_px) == np.isnan(eye.y_px)).all()
    for values in recording.columns.values():
        assert values.shape == recording.time_ms.shape


@pytest.fixture
def read_damaged() -> Callable[[Path, bytes], list[Recording]]:
    """Read damaged copies of a file; each must be refused with a RecordingError or give a sound recording."""

    def read(path: Path, content: bytes) -> list[Recording]:
        found = []
        for data in _damaged(content):
            path.write_bytes(data)
            try:
                recording = read_recording(path, StudyConfig())
            except RecordingError:
                continue
            _check(recording)
            found.append(recording)
        return found

    return read
