"""Gaze from Lab Streaming Layer, which many trackers' software sends (the extra "lsl").

The stream tells what its channels are, as the convention for gaze has it: types ``ScreenX``, ``ScreenY``, ``Diameter``,
their unit, and a ``coordinate_system`` such as "world" where gaze is in a scene camera's picture. Channels of both eyes
are taken as they are, of each eye their mean is. Streams that do not tell need the labels or numbers of the channels.

Times are the sender's; LSL measures the sender's clock against this computer's. Many senders tell no rate ("irregular",
as Pupil Labs' relays do): it is then found from the first samples, none of which is lost.

References
----------
Gaze Meta Data: https://github.com/sccn/xdf/wiki/Gaze-Meta-Data
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gazepipe.live._defaults import Defaults, echoes
from gazepipe.live.source import ClockEchoes, DeviceStatus, SampleBatch, SourceError
from gazepipe.words import counted

__all__ = ["LslSource"]

_NORMALISED = ("normalized", "normalised", "norm", "percent")
#: Where gaze is in a scene camera's picture: the convention's words, and Pupil Labs' "world".
_SCENE = ("world", "world-space", "camera-space")
#: Labels of Pupil Capture's gaze, which counts from below.
_FROM_BELOW = ("norm_pos_x", "norm_pos_y")
_CHUNK = 4096
_SILENT_S = 5.0
#: After the first stream has answered, others of the same name may still.
_OTHERS_S = 1.0
#: So many samples tell a rate, if the stream does not.
_ENOUGH = 40

#: A channel by its label, or by its number from 0.
Channel = str | int


@dataclass(frozen=True)
class _Told:
    """What a stream says of one channel."""

    label: str
    type: str
    eye: str
    unit: str
    system: str


class LslSource(Defaults):
    """A stream of gaze.

    Parameters
    ----------
    size_px
        Width and height of the screen, or of the scene camera's picture.
    name
        The stream's; "": the only one of type ``Gaze``.
    x, y, pupil
        Channels, one or one for each eye; empty: found from what the stream tells.
    unit
        Of x and y; "": what the stream tells, else pixels.
    y_up
        Whether y counts from below; None: where the labels are Pupil Capture's ``norm_pos_x`` and ``norm_pos_y``, which
        do.
    rate_hz
        Of the tracker; 0: what the stream tells, else what its first samples show.
    timeout_s
        How long to look for the stream, and for a rate.
    """

    own_clock = True

    def __init__(
        self,
        size_px: tuple[int, int],
        name: str = "",
        *,
        x: Sequence[Channel] = (),
        y: Sequence[Channel] = (),
        pupil: Sequence[Channel] = (),
        unit: Literal["", "px", "normalised"] = "",
        y_up: bool | None = None,
        rate_hz: float = 0.0,
        timeout_s: float = 5.0,
    ) -> None:
        self.name = "lsl"
        self.size_px, self.stream, self.unit, self.y_up, self.timeout_s = size_px, name, unit, y_up, timeout_s
        self.space: Literal["screen", "scene"] = "screen"
        self.rate_hz = rate_hz
        self._wanted = {"x": tuple(x), "y": tuple(y), "pupil": tuple(pupil)}
        self._at: dict[str, list[int]] = {}
        self._scale = (1.0, 1.0)
        self._from_below = False
        self._lsl: Any = None
        self._inlet: Any = None
        self._detail: dict[str, Any] = {}
        self._heard = 0.0
        self._known = ""  # name of the stream that was found
        self._early = SampleBatch.none()  # what came while the rate was found

    def open(self) -> None:
        """Look for the stream and subscribe to it.

        Raises
        ------
        SourceError
            If pylsl is not installed, there is no such stream or several, or its channels or its rate are not known.
        """
        self.close()
        try:
            self._lsl = importlib.import_module("pylsl")
        except (ImportError, RuntimeError) as error:  # without the library it wraps it is a RuntimeError
            msg = f'Lab Streaming Layer cannot be used ({error}); install it with `pip install "gazepipe[lsl]"`.'
            raise SourceError(msg) from None
        name = self.stream or self._known  # what falls is made anew with the same stream, whoever else has come
        key, value = ("name", name) if name else ("type", "Gaze")
        found = self._lsl.resolve_byprop(key, value, 1, self.timeout_s)
        if found and not self._known:  # it returns with the first that answers
            found = self._lsl.resolve_byprop(key, value, 2, _OTHERS_S) or found
        if len(found) != 1:
            names = ", ".join(sorted(f"{s.name()} on {s.hostname()}" for s in found))
            hint = "; start the tracker's software, or check the network"
            if found:
                hint = f" ({names}); " + ("end all but one" if name else "name one")
            msg = f"{len(found)} LSL streams of {key} {value!r} were found{hint}."
            raise SourceError(msg)
        inlet = self._lsl.StreamInlet(found[0], max_buflen=360, recover=False)
        try:
            info = inlet.info(self.timeout_s)
            self._understand(info)
            inlet.open_stream(self.timeout_s)
            inlet.time_correction(self.timeout_s)
        except (self._lsl.util.TimeoutError, self._lsl.util.LostError) as error:
            msg = f"LSL stream {found[0].name()!r} was found but does not answer ({error})."
            raise SourceError(msg) from None
        self._inlet, self._heard, self._known = inlet, time.monotonic(), found[0].name()
        if not self.rate_hz:
            try:
                self.rate_hz = self._found_rate()
            except SourceError:
                self.close()
                raise

    def close(self) -> None:
        """Let go of the stream."""
        inlet, self._inlet = self._inlet, None
        self._early = SampleBatch.none()
        if inlet is not None:
            inlet.close_stream()

    def read(self, timeout_s: float) -> SampleBatch:
        """Return what has arrived."""
        inlet = self._open()
        if len(self._early):
            early, self._early = self._early, SampleBatch.none()
            return early
        try:
            rows, stamps = inlet.pull_chunk(0.0, _CHUNK)
            if not stamps and timeout_s > 0:
                first, stamp = inlet.pull_sample(timeout_s)
                if stamp:
                    more, later = inlet.pull_chunk(0.0, _CHUNK)
                    rows, stamps = [first, *more], [stamp, *later]
        except self._lsl.util.LostError:
            msg = f"LSL stream {self.stream or 'Gaze'!r} ended."
            raise SourceError(msg) from None
        if not len(stamps):
            if time.monotonic() - self._heard > _SILENT_S:
                msg = f"LSL stream {self.stream or 'Gaze'!r} has sent nothing for {_SILENT_S:g} s."
                raise SourceError(msg)
            return SampleBatch.none()
        self._heard = time.monotonic()
        values = np.array(rows, np.float64).reshape(len(stamps), -1)
        x, y, pupil = (self._mean(values, part) for part in ("x", "y", "pupil"))
        y = (1.0 if self._scale[1] != 1 else self.size_px[1]) - y if self._from_below else y
        return SampleBatch.of(
            np.rint(np.array(stamps) * 1e9).astype(np.int64), x * self._scale[0], y * self._scale[1], pupil_mm=pupil
        )

    def status(self) -> DeviceStatus:
        """Return what the stream says of itself."""
        return DeviceStatus(detail=dict(self._detail))

    def clock(self, n: int) -> ClockEchoes:
        """Return LSL's own measurement of the sender's clock, `n` times over."""
        inlet, ahead = self._open(), 0.0

        def measured() -> None:
            nonlocal ahead
            ahead = inlet.time_correction(self.timeout_s)

        try:
            return echoes(n, lambda: round((self._lsl.local_clock() - ahead) * 1e9), 1, before=measured)
        except (self._lsl.util.TimeoutError, self._lsl.util.LostError) as error:
            msg = f"LSL stream {self.stream or 'Gaze'!r}: its clock does not answer ({error})."
            raise SourceError(msg) from None

    def _found_rate(self) -> float:
        """Rate of a stream that tells none: the usual step between its first samples, which are kept."""
        early: list[SampleBatch] = []
        until = time.monotonic() + self.timeout_s
        while sum(map(len, early)) < _ENOUGH and time.monotonic() < until:
            early.append(self.read(0.1))
        self._early = SampleBatch.join(early)
        step = np.diff(self._early.device_ns)
        if not (step > 0).any():
            msg = (
                f"LSL stream {self._detail['stream']!r} tells no rate, and {counted(len(self._early), 'sample')} came "
                f"in {self.timeout_s:g} s; let the tracker track, or give rate_hz."
            )
            raise SourceError(msg)
        return 1e9 / float(np.median(step[step > 0]))

    def _open(self) -> Any:
        if self._inlet is None:
            msg = "the LSL stream is not open; call open first."
            raise SourceError(msg)
        return self._inlet

    def _mean(self, values: npt.NDArray[np.float64], part: str) -> npt.NDArray[np.float64]:
        """Mean of a part's channels where they have a number."""
        some = values[:, self._at[part]]
        there = np.isfinite(some)
        count = there.sum(1)
        total = np.where(there, some, 0).sum(1)
        return np.where(count > 0, total / np.maximum(count, 1), math.nan)

    def _understand(self, info: Any) -> None:
        """Find the channels, their unit, and what the gaze is on."""
        told = _channels(info)
        self.rate_hz = self.rate_hz or float(info.nominal_srate())
        self._detail = {"stream": info.name(), "host": info.hostname(), "source_id": info.source_id()}
        kinds = {"x": "screenx", "y": "screeny", "pupil": "diameter"}
        for part, kind in kinds.items():
            wanted = self._wanted[part]
            self._at[part] = [_place(c, told, info) for c in wanted] if wanted else _by_type(told, kind)
        if not self._at["x"] or len(self._at["x"]) != len(self._at["y"]):
            labels = ", ".join(f"{k}: {c.label or '?'} ({c.type or 'no type'})" for k, c in enumerate(told))
            msg = (
                f"LSL stream {info.name()!r} does not say which of its {info.channel_count()} channels are gaze on the "
                f"screen ({labels or 'it tells nothing'}); name them in a script: LslSource(…, x=[…], y=[…])."
            )
            raise SourceError(msg)
        first = told[self._at["x"][0]] if self._at["x"][0] < len(told) else _Told("", "", "", "", "")
        self.space = "scene" if first.system.lower() in _SCENE else "screen"
        named = tuple(told[k].label for part in ("x", "y") for k in self._at[part] if k < len(told))
        self._from_below = named == _FROM_BELOW if self.y_up is None else self.y_up
        normalised = self.unit == "normalised" or (not self.unit and first.unit.lower() in _NORMALISED)
        width, height = self.size_px
        self._scale = (float(width), float(height)) if normalised else (1.0, 1.0)


def _channels(info: Any) -> list[_Told]:
    found: list[_Told] = []
    channel = info.desc().child("channels").child("channel")
    while not channel.empty() and len(found) < info.channel_count():
        keys = ("label", "type", "eye", "unit", "coordinate_system")
        found.append(_Told(*(channel.child_value(key) for key in keys)))
        channel = channel.next_sibling("channel")
    return found


def _by_type(told: list[_Told], kind: str) -> list[int]:
    """Channels of a type: those of both eyes together, else those of each; of pupils only those in mm."""
    some = [k for k, c in enumerate(told) if c.type.lower() == kind and (kind != "diameter" or c.unit.lower() == "mm")]
    both = [k for k in some if told[k].eye.lower() in ("both", "")]
    return both[:1] if both else some


def _place(channel: Channel, told: list[_Told], info: Any) -> int:
    if isinstance(channel, int) and 0 <= channel < info.channel_count():
        return channel
    labels = [c.label for c in told]
    if isinstance(channel, str) and labels.count(channel) == 1:
        return labels.index(channel)
    msg = f"LSL stream {info.name()!r} has no channel {channel!r}; it has {', '.join(labels) or 'no labels'}."
    raise SourceError(msg)
