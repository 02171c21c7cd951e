"""The two threads of a session: one takes every sample to disk, the other looks after clock, events and disk.

Neither waits for the experiment, and the experiment waits for neither.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.live.beside import TellsMore
from gazepipe.live.clock import STEP_NS, ClockMap, measure
from gazepipe.live.floors import FloorWatch
from gazepipe.live.recording import SessionWriter
from gazepipe.live.source import GazeSource, SampleBatch, SampleFlag, SceneMapper, SourceError, host_ns

__all__ = ["Recorder", "Seen"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: What is kept in memory for looking at it live; all of it is on disk.
KEEP_S = 900.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_SYNC_S, _BESIDE_S = 1.0, 0.1
#: Batches whose way to the disk is remembered.
_LATENCIES = 100_000
#: The first measurements follow each other soon, so that the drift is known; how often a moved floor asks for one; and
#: how old the last one may be at the end.
_SOON_S, _ASK_S, _LAST_S = 5.0, 2.0, 0.5


class Seen:
    """Samples of the last quarter of an hour, by our clock and on the screen, as arrays ``(n,)``."""

    def __init__(self) -> None:
        self._parts: deque[tuple[I64, F32, F32, npt.NDArray[np.uint8]]] = deque()
        self._lock = threading.Lock()

    def add(self, host: I64, x: F32, y: F32, flags: npt.NDArray[np.uint8]) -> None:
        """Keep more."""
        with self._lock:
            self._parts.append((host, x, y, flags))
            while self._parts[0][0][-1] < host[-1] - KEEP_S * 1e9:
                self._parts.popleft()

    def between(self, begin_ns: int, end_ns: int) -> tuple[I64, F32, F32, npt.NDArray[np.uint8]]:
        """Return times, x, y and flags from one time of ours to before another, in order of time."""
        with self._lock:
            parts = [p for p in self._parts if p[0].max() >= begin_ns and p[0].min() < end_ns]
        if not parts:
            none = np.zeros(0, np.float32)
            return np.zeros(0, np.int64), none, none, np.zeros(0, np.uint8)
        host, x, y, flags = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(host, kind="stable")
        order = order[(host[order] >= begin_ns) & (host[order] < end_ns)]
        order = order[np.append(True, np.diff(host[order]) > 0)[: order.size]]
        return host[order], x[order], y[order], flags[order]


class Recorder:
    """Records from a source that is open until `stop`.

    Parameters
    ----------
    source, writer, mapper
        From where, to where, and how scene gaze gets to the screen.
    screen_px
        Width and height.
    clock_s, echoes
        How often the device's clock is measured, and by how many round trips.
    silence_s
        A source that gives nothing for so long is connected anew.
    listen
        Called in the recorder's thread with the times of ours and the screen gaze of each batch.
    """

    def __init__(
        self,
        source: GazeSource,
        writer: SessionWriter,
        screen_px: tuple[int, int],
        *,
        mapper: SceneMapper | None = None,
        clock_s: float = 60.0,
        echoes: int = 100,
        silence_s: float = 5.0,
        listen: Callable[[I64, F32, F32], None] | None = None,
    ) -> None:
        self.source, self.writer, self.mapper, self.screen_px = source, writer, mapper, screen_px
        self.clock_s, self.echoes, self.silence_s, self.listen = clock_s, echoes, silence_s, listen
        self.clock = ClockMap()
        self.seen = Seen()
        self.tags = self.pictures = 0
        self.lost = self.reconnected = self.gaps = 0
        self.behind_ns = 0  # by how much the latest sample arrived after its time
        self.kept_after_ns: deque[int] = deque(maxlen=_LATENCIES)  # from a sample's arrival until it is written
        self.ended = False
        self.failure: BaseException | None = None
        self.unsent: deque[tuple[int, str, int]] = deque()  # number, name, time of ours
        self._last: tuple[int, int] | None = None  # latest device time, and its arrival
        self._stop, self._wake = threading.Event(), threading.Event()
        self._floor, self._asked, self._measured = FloorWatch(source.rate_hz), 0.0, 0.0
        self._remeasure = False
        self._lock = threading.Lock()  # of the source's other calls
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"gazepipe-{work.__name__}", daemon=True)
            for work in (self._record, self._attend)
        ]

    def start(self) -> None:
        """Measure the clock and begin."""
        self._measure()
        for thread in self._threads:
            thread.start()

    def stop(self, patience_s: float = 3.0) -> None:
        """End: take what has arrived, and give events that the device has not taken yet a last chance."""
        until = time.monotonic() + patience_s
        while self.unsent and self.failure is None and time.monotonic() < until:
            self._wake.set()
            time.sleep(0.02)
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10)

    def event(self, number: int, name: str, at_ns: int) -> None:
        """Have the device told of an event that is logged already."""
        self.unsent.append((number, name, at_ns))
        self._wake.set()

    def raise_failure(self) -> None:
        """Raise what has ended one of the threads (a full disk), if anything has."""
        if self.failure is not None:
            raise self.failure

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # the experiment's thread raises it
            self.failure = error
            self._stop.set()
            self._wake.set()

    # ---- samples -----------------------------------------------------------------------------------------------------

    def _record(self) -> None:
        heard = beside = time.monotonic()
        while not self._stop.is_set():
            if time.monotonic() > beside + _BESIDE_S:
                beside = time.monotonic()
                self._take_beside()
            try:
                batch = self.source.read(0.1)
            except EOFError:
                self.writer.log("ended", host_ns())
                self.ended = True
                return
            except SourceError as error:
                self._reconnect(str(error))
                heard = time.monotonic()
                continue
            if self.mapper is not None:
                for frame in self.source.frames():
                    self.tags = self.mapper.see(frame)
                    self.pictures += 1
            if len(batch):
                heard = time.monotonic()
                self._take(batch)
            elif time.monotonic() - heard > self.silence_s:
                self._reconnect(f"{self.source.name}: no samples for {self.silence_s:g} s.")
                heard = time.monotonic()
        # What came while the last batch was written.
        self._take_beside()
        try:
            batch = self.source.read(0.0)
        except (EOFError, SourceError):
            return
        if len(batch):
            self._take(batch)

    def _take(self, batch: SampleBatch) -> None:
        batch = self._flagged(batch)
        host = self.clock.host(batch.device_ns) if self.source.own_clock else batch.device_ns
        self.behind_ns = int(batch.received_ns[-1] - host[-1])
        x, y = batch.x_px, batch.y_px
        if self.source.space == "scene":
            if self.mapper is None:
                x = y = np.full(len(batch), np.nan, np.float32)
                more = np.full(len(batch), SampleFlag.NO_TAGS, np.uint8)
            else:
                x, y, more = self.mapper.to_screen(batch.device_ns, x, y)
            batch = batch.with_gaze(batch.x_px, batch.y_px, more)
        with np.errstate(invalid="ignore"):
            off = (x < 0) | (y < 0) | (x >= self.screen_px[0]) | (y >= self.screen_px[1])
        batch = batch.with_gaze(batch.x_px, batch.y_px, np.where(off, SampleFlag.OFF_SCREEN, 0).astype(np.uint8))
        self.writer.put(batch, host, x, y)
        self.kept_after_ns.append(host_ns() - int(batch.received_ns[0]))
        worn = (batch.flags & int(SampleFlag.NOT_WORN)) == 0
        x, y = (np.where(worn, v, np.float32(np.nan)).astype(np.float32) for v in (x, y))
        self.seen.add(host, x, y, batch.flags)
        if self.listen is not None:
            self.listen(host, x, y)

    def _take_beside(self) -> None:
        """Write down what the device tells beside gaze."""
        if not isinstance(self.source, TellsMore):
            return
        for name, records in self.source.beside().items():
            if records.size:
                records["host_ns"] = self.clock.host(records["device_ns"])
                self.writer.put_beside(name, records)

    def _flagged(self, batch: SampleBatch) -> SampleBatch:
        """Flag gaps, and have the clock measured where it looks as if it had been set."""
        device, received = batch.device_ns, batch.received_ns
        first = (device[0], received[0]) if self._last is None else self._last
        step = np.diff(device, prepend=first[0])
        waited = np.diff(received, prepend=first[1])
        gap = step > 1.5e9 / self.source.rate_hz
        self.gaps += int(np.count_nonzero(gap))
        # Late samples come with the device's usual step; only a clock that was set leaps ahead of their arrival.
        leap = (step - waited > STEP_NS) | (step < -STEP_NS)
        self._last = int(device[-1]), int(received[-1])
        if self.source.own_clock:
            moved = self._floor.moved(received - device)
            suspected = moved != 0 and time.monotonic() > self._asked + _ASK_S
            if suspected:
                self._asked = time.monotonic()
                self.writer.log("clock-suspected", int(received[-1]), by_ns=moved)
            if suspected or leap.any():
                self._remeasure = True
                self._wake.set()
        bits = np.where(gap, SampleFlag.AFTER_GAP, 0) | np.where(leap, SampleFlag.CLOCK_STEP, 0)
        return batch.with_gaze(batch.x_px, batch.y_px, bits.astype(np.uint8))

    def _reconnect(self, why: str) -> None:
        """Try to reach the source again, for as long as the session lasts."""
        self.lost += 1
        self.writer.log("lost", host_ns(), why=why)
        wait = _FIRST_WAIT_S
        renew = getattr(self.source, "renew", None)
        while not self._stop.is_set():
            with self._lock:
                self._take_beside()
                try:
                    if renew is None:
                        self.source.close()
                        self.source.open()
                    else:
                        renew()
                except SourceError:
                    pass
                else:
                    self.reconnected += 1
                    self.writer.log("back", host_ns())
                    self._remeasure = True
                    self._wake.set()
                    return
            self._stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    # ---- clock, events, disk -----------------------------------------------------------------------------------------

    def _attend(self) -> None:
        pace = min(_SOON_S, self.clock_s)
        next_clock, next_sync, wait = time.monotonic() + pace, 0.0, 0.0
        retry, pause = 0.0, _FIRST_WAIT_S
        while True:
            stopping = self._stop.is_set()
            now = time.monotonic()
            if self.unsent and now >= retry:
                self.writer.sync()
                pause = _FIRST_WAIT_S if self._post() else min(2 * pause, _LONGEST_WAIT_S)
                retry = now + (pause if self.unsent else 0)
            if now >= next_sync:
                self._log_mapper()
                self.writer.sync(samples=True)
                next_sync = now + _SYNC_S
            if self._remeasure or now >= next_clock:
                self._remeasure = False
                self._measure()
                pace = min(2 * pace, self.clock_s)
                next_clock = time.monotonic() + pace
            if stopping:
                if time.monotonic() > self._measured + _LAST_S:  # so that the last samples lie between two
                    self._measure()
                self._log_mapper()
                return
            wait = min(next_sync, next_clock, retry if self.unsent else next_sync) - time.monotonic()
            self._wake.wait(max(wait, 0.001))
            self._wake.clear()

    def _log_mapper(self) -> None:
        """Write down where the screen was: samples are mapped anew from it when the session is read."""
        for kind, values in getattr(self.mapper, "log", list)():
            self.writer.log(kind, host_ns(), **values)

    def _measure(self) -> None:
        if not self.source.own_clock:
            return
        try:
            with self._lock:
                echoes = self.source.clock(self.echoes)
        except SourceError as error:
            self.writer.log("clock-failed", host_ns(), why=str(error))
            return
        if echoes is None or not echoes.sent_ns.size:
            return
        self._measured = time.monotonic()
        point = measure(echoes)
        stepped = self.clock.add(point)
        values: dict[str, Any] = {"offset_ns": point.offset_ns, "round_trip_ns": point.round_trip_ns, "n": point.n}
        self.writer.log("clock", point.host_ns, **values, stepped=stepped)

    def _post(self) -> bool:
        """Tell the device of events, oldest first; returns whether it took them all."""
        while self.unsent:
            number, name, at_ns = self.unsent[0]
            try:
                with self._lock:
                    self.source.send_event(name, self.clock.device(at_ns))
            except SourceError:
                return False
            self.unsent.popleft()
            self.writer.log("posted", host_ns(), event=number)
        return True
