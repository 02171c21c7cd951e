"""What a live source of gaze is: `GazeSource`, and the samples it gives.

A source is asked from one thread, the recorder's of a session, except `clock` and `send_event`, which may be called
from another one. It never waits for whoever uses it: samples that arrive between two calls of `read` are kept.

Times are whole nanoseconds. `host_ns` is the clock of this computer, which never goes back; a device has a clock of its
own, and which of its times is which of ours is found out from `GazeSource.clock`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from enum import IntFlag
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from gazepipe.errors import GazepipeError

__all__ = [
    "ClockEchoes",
    "DeviceStatus",
    "GazeSource",
    "SampleBatch",
    "SampleFlag",
    "SceneFrame",
    "SceneMapper",
    "SourceError",
    "host_ns",
]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_EPOCH_NS = time.time_ns() - time.perf_counter_ns()


def host_ns() -> int:
    """Return this computer's time in ns since 1970, from a clock that never goes back and is never set."""
    return _EPOCH_NS + time.perf_counter_ns()


class SourceError(GazepipeError):
    """A live source cannot be reached, went away, or refused what was asked of it."""


class SampleFlag(IntFlag):
    """What is to be known of a sample; none is ever dropped for it."""

    NOT_WORN = 1
    NO_GAZE = 2  # the tracker says that it has none
    NO_TAGS = 4  # scene gaze: too few tags seen to say where the screen is
    EXTRAPOLATED = 8  # scene gaze: mapped by the screen's place some time before
    OFF_SCREEN = 16
    AFTER_GAP = 32  # samples before this one are missing
    INTERPOLATED = 64  # scene gaze: the screen's place is between those of two frames
    CLOCK_STEP = 128  # the device's clock was set between the sample before and this one


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples in the order of arrival, each array of shape ``(n,)``.

    Parameters
    ----------
    device_ns
        When gaze was where it was, on the device's clock; int64.
    received_ns
        When the sample arrived, by `host_ns`; int64.
    x_px, y_px
        In pixels of the source's `space`, origin top-left, y down; float32, NaN where there is no gaze.
    pupil_mm
        Diameter; float32, NaN where it is not known.
    flags
        `SampleFlag` bits; uint8.
    """

    device_ns: I64
    received_ns: I64
    x_px: F32
    y_px: F32
    pupil_mm: F32
    flags: U8

    @classmethod
    def of(
        cls,
        device_ns: npt.ArrayLike,
        x_px: npt.ArrayLike,
        y_px: npt.ArrayLike,
        *,
        pupil_mm: npt.ArrayLike | None = None,
        received_ns: npt.ArrayLike | None = None,
        flags: npt.ArrayLike | None = None,
    ) -> SampleBatch:
        """Make a batch; what is left out is unknown, now, and zero. Samples without gaze are flagged so."""
        device = np.atleast_1d(np.asarray(device_ns, np.int64))
        n = device.size
        x, y = (np.atleast_1d(np.asarray(v, np.float32)) for v in (x_px, y_px))
        pupil = np.full(n, np.nan, np.float32) if pupil_mm is None else np.atleast_1d(np.asarray(pupil_mm, np.float32))
        got = (
            np.full(n, host_ns(), np.int64) if received_ns is None else np.atleast_1d(np.asarray(received_ns, np.int64))
        )
        bits = np.zeros(n, np.uint8) if flags is None else np.atleast_1d(np.asarray(flags, np.uint8)).copy()
        missing = ~(np.isfinite(x) & np.isfinite(y))
        bits[missing] |= np.uint8(SampleFlag.NO_GAZE)
        return cls(
            device,
            got,
            np.where(missing, np.nan, x).astype("f4"),
            np.where(missing, np.nan, y).astype("f4"),
            pupil,
            bits,
        )

    @classmethod
    def none(cls) -> SampleBatch:
        """Return a batch without samples."""
        return cls.of([], [], [])

    @classmethod
    def join(cls, batches: list[SampleBatch]) -> SampleBatch:
        """Put batches one after another."""
        if not batches:
            return cls.none()
        return cls(*(np.concatenate([getattr(b, name) for b in batches]) for name in cls.__slots__))

    def __len__(self) -> int:
        return int(self.device_ns.size)

    def with_gaze(self, x_px: F32, y_px: F32, flags: U8) -> SampleBatch:
        """Return the same samples with gaze elsewhere and further flags."""
        return replace(self, x_px=x_px, y_px=y_px, flags=self.flags | flags)


@dataclass(frozen=True, slots=True)
class ClockEchoes:
    """Round trips to a device's clock, each array of shape ``(n,)``, int64 ns.

    `sent_ns` and `received_ns` are of `host_ns`, `device_ns` is what the device's clock showed between them.
    `grain_ns` is the device clock's resolution: its times are cut off to whole multiples of it.
    """

    sent_ns: I64
    device_ns: I64
    received_ns: I64
    grain_ns: int = 1


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """How a device is; None where it does not say.

    Parameters
    ----------
    battery
        0 … 1.
    storage_bytes
        Free space on the device.
    worn
        Whether somebody wears it, or sits in front of it.
    detail
        Serial numbers, versions, JSON-ready.
    """

    battery: float | None = None
    storage_bytes: int | None = None
    worn: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One picture of the scene camera: grey, uint8, ``(height, width)``, as the lens distorts it."""

    device_ns: int
    grey: U8


@runtime_checkable
class GazeSource(Protocol):
    """A tracker, or what stands for one.

    Attributes
    ----------
    name
        Such as ``"neon"``.
    rate_hz
        Nominal rate.
    space
        Whether gaze is in pixels of the screen or of a scene camera, which a `SceneMapper` maps to the screen.
    size_px
        Width and height of the screen or of the scene camera's picture.
    own_clock
        Whether the device's clock is another than `host_ns`; then `clock` gives round trips.
    """

    name: str
    rate_hz: float
    space: Literal["screen", "scene"]
    size_px: tuple[int, int]
    own_clock: bool

    def open(self) -> None:
        """Connect and begin; may be called again after `close`.

        Raises
        ------
        SourceError
            If the device cannot be reached; the message says what to do.
        """

    def close(self) -> None:
        """End; does nothing where it is not open, and never raises."""

    def read(self, timeout_s: float) -> SampleBatch:
        """Return all samples since the last call, waiting up to `timeout_s` for the first; none if none came.

        Raises
        ------
        SourceError
            If the connection is lost (call `close`, then `open`).
        EOFError
            If there will never be more (a replay has come to its end).
        """

    def expected(self, begin_ns: int, end_ns: int) -> float:
        """Return how many samples belong between two times, if none is lost; by `rate_hz`, unless there were pauses."""

    def status(self) -> DeviceStatus:
        """Return how the device is."""

    def clock(self, n: int) -> ClockEchoes | None:
        """Return `n` round trips, or None where `own_clock` is false.

        Raises
        ------
        SourceError
            If the device does not answer.
        """

    def send_event(self, name: str, device_ns: int) -> None:
        """Leave a copy of an event with the device; does nothing where it keeps none.

        Raises
        ------
        SourceError
            If the device did not take it.
        """

    def frames(self) -> list[SceneFrame]:
        """Return the scene camera's pictures since the last call (at most a few, the newest); [] without a camera."""

    def start_recording(self) -> str:
        """Let the device make its own recording, too, and return its id; "" where it makes none."""

    def stop_recording(self) -> None:
        """End and keep the device's own recording; does nothing where there is none."""


class SceneMapper(Protocol):
    """Maps gaze in a scene camera's picture to the screen.

    One that has a method ``log`` (`gazepipe.markers.live.LiveMapper`) has its lines written to the session's log.
    """

    def see(self, frame: SceneFrame) -> int:
        """Look for the screen in a picture; returns how many of its tags were found."""

    def to_screen(self, device_ns: I64, x_px: F32, y_px: F32) -> tuple[F32, F32, U8]:
        """Map gaze by the last place of the screen: screen pixels, and `SampleFlag` bits. NaN where it is not known."""
