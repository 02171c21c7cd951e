"""What every reader returns: one recording as plain arrays.

Units: times in milliseconds on the tracker's own clock, gaze in screen pixels (origin top-left, x right, y down),
pupil in the tracker's unit. A missing value is NaN. Samples are float32 (trackers print a tenth of a pixel),
times are float64 (2000 Hz needs half milliseconds for hours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EYES", "EyeSamples", "Message", "Recording"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Names of the eyes, as BIDS 1.11 has them (`RecordedEye`).
EYES = ("left", "right", "cyclopean")


@dataclass(frozen=True, slots=True)
class EyeSamples:
    """Gaze of one eye, each array of shape ``(n_samples,)``; NaN where the eye was not tracked."""

    x_px: F32
    y_px: F32
    pupil: F32


@dataclass(frozen=True, slots=True)
class Message:
    """One experiment message; the event it tells of happened at `time_ms` plus `offset_ms`.

    `offset_ms` is the integer some software writes before the text (EyeLink: ``MSG 7427430 -11 Initial_display``).
    It is kept apart and not yet applied.
    """

    time_ms: float
    text: str
    offset_ms: float = 0.0
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording as it stands in the file, before any processing.

    Parameters
    ----------
    path
        The file (or folder) read.
    format
        Name of the reader, for example ``"eyelink-asc"``.
    time_ms
        Sample times, shape ``(n_samples,)``, strictly increasing inside a block.
    eyes
        One to three of `EYES`.
    block_start
        Index of each block's first sample, shape ``(n_blocks,)``; the tracker paused between blocks, so that
        nothing may be interpolated or differentiated across a block's start.
    sampling_rate_hz
        Nominal rate of each block, shape ``(n_blocks,)``.
    messages
        Experiment messages in file order.
    columns
        Further values per sample (trial number, stimulus name …), each of shape ``(n_samples,)``.
    native_events
        The tracker's own events, a mapping of column name to array (``kind, eye, onset_ms, offset_ms, x_px, y_px``,
        ``amplitude_deg``, ``peak_velocity_deg_s``); empty where there are none.
    display_px
        Screen width and height the file states, or None.
    meta
        Whatever else the file states (tracker model, recording date, calibration error …), JSON-ready.
    warnings
        One sentence for each thing in the file that was odd but could be read.
    """

    path: Path
    format: str
    time_ms: F64
    eyes: Mapping[str, EyeSamples]
    block_start: I64
    sampling_rate_hz: F64
    messages: Sequence[Message] = ()
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    native_events: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    display_px: tuple[int, int] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def n_samples(self) -> int:
        """Number of samples of all blocks together."""
        return int(self.time_ms.shape[0])

    def blocks(self) -> list[slice]:
        """One slice of samples for each block, in order."""
        ends = np.append(self.block_start[1:], self.n_samples)
        return [slice(int(a), int(b)) for a, b in zip(self.block_start, ends, strict=True)]
