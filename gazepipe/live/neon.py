"""Pupil Labs Neon (and Invisible) over the network, by the official client's asynchronous interface.

The client runs in a thread of its own. It is asked for one device only, the chosen one: whatever addresses that device
tells of itself, nothing else is connected to, and the sockets that receive gaze are bound to the way there.

Where the client falls (a payload of unknown length, a status message of a newer app) the connection is begun anew.

References
----------
Pupil Labs real-time API: https://pupil-labs.github.io/pl-realtime-api/
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from gazepipe.live._defaults import Defaults
from gazepipe.live._neon_beside import NeonBeside
from gazepipe.live._neon_network import Phone, bind_datagrams, find_phone, hush
from gazepipe.live.beside import EYE_EVENTS, IMU, Records
from gazepipe.live.source import (
    ClockEchoes,
    DeviceStatus,
    SampleBatch,
    SampleFlag,
    SceneFrame,
    SourceError,
    host_ns,
)

if TYPE_CHECKING:
    from gazepipe.markers.camera import Camera

__all__ = ["NeonSource"]

T = TypeVar("T")

_PORT = 8080
_MS = 1_000_000
#: Sample: time and arrival (ns), gaze (px), pupil (mm), flags.
_Sample = tuple[int, int, float, float, float, int]
_FRAMES_KEPT = 4


class NeonSource(Defaults):
    """A Neon at an address such as ``"192.168.1.20"`` or ``"neon.local:8080"``; ``"auto"`` looks for the only one.

    Parameters
    ----------
    address
        Of the phone.
    transport
        Of the gaze: ``"udp"`` (samples may get lost, none is late) or ``"tcp"``, for networks that block UDP.
    scene
        Whether the scene camera's pictures are wanted, too.
    more
        Whether what the phone tells beside gaze is, too (`gazepipe.live.beside`).
    timeout_s
        How long the phone may take to answer.
    """

    name = "neon"
    space: Literal["screen", "scene"] = "scene"
    own_clock = True

    def __init__(
        self,
        address: str = "auto",
        *,
        transport: Literal["udp", "tcp"] = "udp",
        scene: bool = False,
        more: bool = True,
        timeout_s: float = 5.0,
        rate_hz: float = 200.0,
    ) -> None:
        self.address, self.transport, self.scene, self.timeout_s, self.rate_hz = (
            address,
            transport,
            scene,
            timeout_s,
            rate_hz,
        )
        self.more = more
        self.size_px = (1600, 1200)
        #: Why no picture of the scene camera comes, or "".
        self.no_pictures = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stream: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._beside = NeonBeside()
        self._device: Any = None
        self._phone: Any = None
        self._detail: dict[str, Any] = {}
        self._host = ""
        self._found: Phone | None = None
        self._moved = False
        self._worn: bool | None = None
        self._arrived = threading.Condition()
        self._samples: list[_Sample] = []
        self._latest: deque[tuple[int, tuple[float, float, float]]] = deque(maxlen=64)
        self._frames: list[SceneFrame] = []
        self._lost = ""
        self._datagrams: list[socket.socket] = []

    # ---- GazeSource --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find the phone, ask how it is, and begin to receive gaze."""
        # Importing the client takes a second and more, which must not count as the phone's.
        importlib.import_module("pupil_labs.realtime_api.device")
        hush()
        self.close()
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop, ready), name="neon", daemon=True)
        self._thread.start()
        ready.wait()
        self._lost = ""
        try:
            self._ask(self._connect(), 3 * self.timeout_s)
        except SourceError:
            self.close()
            raise

    def renew(self) -> None:
        """Begin to receive gaze anew; while the phone answers, its other streams go on."""
        try:
            self._ask(self._again(), 2 * self.timeout_s)
        except SourceError:
            self.open()

    def close(self) -> None:
        """Let go of the phone."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = self._thread = None
        with contextlib.suppress(Exception):  # no phone is needed for this: it takes long on a busy computer only
            asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result(2 * self.timeout_s + 5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(self.timeout_s)

    def read(self, timeout_s: float) -> SampleBatch:
        """Return what has arrived."""
        with self._arrived:
            if not self._samples and not self._lost:
                self._arrived.wait(timeout_s)
            got, self._samples = self._samples, []
            lost = self._lost
        if not got and (lost or self._loop is None):
            raise SourceError(lost or "the connection to the phone is closed.")
        if not got:
            return SampleBatch.none()
        device, received, x, y, pupil, flags = zip(*got, strict=True)
        return SampleBatch.of(device, x, y, pupil_mm=pupil, received_ns=received, flags=flags)

    def status(self) -> DeviceStatus:
        """Return battery and storage as the phone last told them, and whether the last sample's glasses were worn."""
        phone = self._phone
        if phone is None:
            return DeviceStatus()
        return DeviceStatus(phone.battery_level / 100, phone.memory, self._worn, dict(self._detail))

    def clock(self, n: int) -> ClockEchoes:
        """Ask the phone's clock `n` times, with pauses of random length: its whole milliseconds then average out."""
        port = getattr(self._phone, "time_echo_port", None)
        if not port:
            msg = f"{self._host}: the phone tells no time (its app is too old); update the Companion app."
            raise SourceError(msg)
        sent, device, received = (np.zeros(n + 1, np.int64) for _ in range(3))
        try:
            with socket.create_connection((self._host, port), self.timeout_s) as link:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for i in range(n + 1):
                    sent[i] = host_ns()
                    link.sendall(struct.pack("!Q", sent[i] // _MS))
                    answer = b""
                    while len(answer) < 16:
                        part = link.recv(16 - len(answer))
                        if not part:
                            raise ConnectionError("closed")  # noqa: EM101
                        answer += part
                    received[i] = host_ns()
                    device[i] = struct.unpack("!QQ", answer)[1] * _MS
                    time.sleep(random.uniform(0.0002, 0.003))
        except OSError as error:
            msg = f"{self._host}:{port}: the phone's clock does not answer ({error}); check the network."
            raise SourceError(msg) from None
        # The first one pays for the connection.
        return ClockEchoes(sent[1:], device[1:], received[1:], _MS)

    def send_event(self, name: str, device_ns: int) -> None:
        """Post an event with a time of ours."""
        self._ask(self._on_device("send_event", name, device_ns), self.timeout_s)

    def frames(self) -> list[SceneFrame]:
        """Return the newest pictures."""
        with self._arrived:
            got, self._frames = self._frames, []
        return got

    def beside(self) -> dict[str, Records]:
        """Return what the phone's other streams have told."""
        return self._beside.taken()

    def camera(self) -> Camera:
        """Return the scene camera's lens, as the glasses were measured."""
        from gazepipe.markers.camera import sound_camera

        found = self._ask(self._on_device("get_calibration"), self.timeout_s)
        matrix = np.asarray(found.scene_camera_matrix, np.float64).reshape(3, 3)
        coefficients = np.asarray(found.scene_distortion_coefficients, np.float64).reshape(-1)
        return sound_camera(matrix, coefficients, self.size_px, f"http://{self._host}/calibration.bin")

    def start_recording(self) -> str:
        """Let the phone record; where its template wants answers first, the message names the questions."""
        try:
            return str(self._ask(self._on_device("recording_start"), self.timeout_s))
        except SourceError as error:
            missing = self._unanswered()
            if not missing:
                raise
            msg = f"{str(error).partition(';')[0]}; fill in {', '.join(map(repr, missing))} in the Companion app."
            raise SourceError(msg) from None

    def _unanswered(self) -> list[str]:
        """Questions of the phone's template without the answers that it requires; none where it does not say."""
        try:
            template = self._ask(self._on_device("get_template"), self.timeout_s)
            answers = self._ask(self._on_device("get_template_data", "api"), self.timeout_s)
        except SourceError:
            return []
        return [i.title for i in template.items if i.required and not any(answers.get(str(i.id), []))]

    def stop_recording(self) -> None:
        """Let the phone stop and keep its recording."""
        self._ask(self._on_device("recording_stop_and_save"), self.timeout_s)

    # ---- in the client's thread --------------------------------------------------------------------------------------

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.close()

    def _ask(self, question: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run something in the client's thread and say plainly what goes wrong there."""
        loop = self._loop
        if loop is None:
            question.close()
            msg = "the connection to the phone is closed."
            raise SourceError(msg)
        future: Future[T] = asyncio.run_coroutine_threadsafe(question, loop)
        try:
            return future.result(timeout_s)
        except SourceError:
            raise
        except (FutureTimeout, TimeoutError):
            future.cancel()
            msg = f"{self._host or self.address}: the phone does not answer within {timeout_s:g} s; check the network."
            raise SourceError(msg) from None
        except Exception as error:
            said = error.args[-1] if error.args else type(error).__name__
            msg = f"{self._host or self.address}: {said}; check the phone and the network."
            raise SourceError(msg) from None

    async def _on_device(self, method: str, *arguments: Any) -> Any:
        if self._device is None:
            msg = "the connection to the phone is closed."
            raise SourceError(msg)
        return await getattr(self._device, method)(*arguments)

    async def _connect(self) -> None:
        from pupil_labs.realtime_api.device import Device

        self._host, port = await self._find()
        self._device = Device(self._host, port)
        try:
            status = await self._device.get_status()
        except Exception:
            self._moved = True  # perhaps: it may have another address now
            raise
        self._receive(status)
        self._tasks = [asyncio.ensure_future(self._follow())]
        others = {IMU: status.direct_imu_sensor(), EYE_EVENTS: status.direct_eye_events_sensor()}
        for name, sensor in others.items():
            if self.more and sensor is not None and sensor.connected and sensor.port:
                follow = self._beside.follow(name, self._url(sensor), 2 * self.timeout_s)
                self._tasks.append(asyncio.ensure_future(follow))
        if self.scene:
            world = status.direct_world_sensor()
            if world is not None and world.connected and world.port:
                self._tasks.append(asyncio.ensure_future(self._scene(self._url(world))))
            else:
                self.no_pictures = f"{self._host}: the phone sees no scene camera; look at the glasses' cable."

    def _receive(self, status: Any) -> None:
        """Begin to receive gaze from the phone that tells this status."""
        self._know(status)
        sensor = status.direct_gaze_sensor()
        if sensor is None or not sensor.connected or not sensor.port:
            msg = f"{self._host}: the phone sees no glasses; plug them in and open the Companion app."
            raise SourceError(msg)
        bind_datagrams(self._host, self._datagrams)
        with self._arrived:
            self._lost = ""
        self._stream = asyncio.ensure_future(self._gaze(self._url(sensor)))

    async def _again(self) -> None:
        """Receive gaze anew by the same connection."""
        if self._device is None or self._stream is None:
            msg = "the connection to the phone is closed."
            raise SourceError(msg)
        self._stream.cancel()
        await asyncio.wait([self._stream], timeout=self.timeout_s / 2)
        if not self._stream.done():
            msg = f"{self._host}: the old stream of gaze does not end."
            raise SourceError(msg)
        self._receive(await self._device.get_status())

    def _url(self, sensor: Any) -> str:
        scheme = "rtspt" if self.transport == "tcp" else "rtsp"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{sensor.port}/?{sensor.params or ''}"

    async def _find(self) -> tuple[str, int]:
        """Address and port of the phone."""
        if self.address != "auto":
            host, colon, port = self.address.rpartition(":")
            return (host, int(port)) if colon and port.isdigit() else (self.address, _PORT)
        # A connection that falls is made anew with the same phone, whoever else has come meanwhile.
        if self._found is None or self._moved:
            self._found = await find_phone(self.timeout_s, "" if self._found is None else self._found.name)
            self._moved = False
        return self._found.host, self._found.port

    def _know(self, status: Any) -> None:
        self._phone = status.phone
        self._detail = {
            "phone": status.phone.device_name,
            "module_serial": status.hardware.module_serial,
            "glasses_serial": status.hardware.glasses_serial,
            "hardware": status.hardware.version,
        }
        if status.hardware.version.startswith("1"):
            self.size_px = (1088, 1080)

    async def _follow(self) -> None:
        """Keep the status up to date; messages that the client does not know end its iterator, so begin again."""
        from pupil_labs.realtime_api.models import Phone

        while True:
            with contextlib.suppress(Exception):
                async for component in self._device.status_updates():
                    if isinstance(component, Phone):
                        self._phone = component
            await asyncio.sleep(1.0)

    async def _gaze(self, url: str) -> None:
        from pupil_labs.realtime_api.streaming.gaze import receive_gaze_data

        why = "the phone has ended the stream of gaze."
        try:
            async for datum in receive_gaze_data(url, run_loop=False, timeout=2 * self.timeout_s, log_level=50):
                self._take(datum)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            why = f"the stream of gaze broke off ({type(error).__name__}: {error})."
        with self._arrived:
            self._lost = f"{self._host}: {why}"
            self._arrived.notify_all()

    def _take(self, datum: Any) -> None:
        received = host_ns()
        if hasattr(datum, "x"):
            x, y = datum.x, datum.y
        else:  # eyes apart
            x, y = (datum.left.x + datum.right.x) / 2, (datum.left.y + datum.right.y) / 2
        sizes = [getattr(datum, f"pupil_diameter_{side}", 0.0) for side in ("left", "right")]
        there = [s for s in sizes if 0 < s < 100]
        self._worn = bool(datum.worn)
        flags = 0 if self._worn else int(SampleFlag.NOT_WORN)
        pupil = sum(there) / len(there) if there else float("nan")
        device = round(datum.timestamp_unix_seconds * 1e9)
        # The last sample of a stream that broke off can come by the next one, too. The same gaze within a millisecond
        # is the same sample; where the phone's clock was set back, others may have times of before, but not their gaze.
        gaze = x, y, pupil
        if any(abs(device - d) < _MS and np.array_equal(gaze, g, equal_nan=True) for d, g in self._latest):
            return
        self._latest.append((device, gaze))
        with self._arrived:
            self._samples.append((device, received, x, y, pupil, flags))
            self._arrived.notify_all()

    async def _scene(self, url: str) -> None:
        """Keep the newest pictures; gaze does not depend on them, so that an error here ends nothing else."""
        from pupil_labs.realtime_api.streaming.video import receive_video_frames

        while True:
            why = "the phone has ended the stream of pictures."
            try:
                async for frame in receive_video_frames(url, run_loop=False, timeout=2 * self.timeout_s, log_level=50):
                    grey = np.ascontiguousarray(frame.to_ndarray(format="gray"))
                    stamp = round(frame.timestamp_unix_seconds * 1e9)
                    with self._arrived:
                        self._frames = [*self._frames, SceneFrame(stamp, grey)][-_FRAMES_KEPT:]
                    self.no_pictures = ""
            except asyncio.CancelledError:
                raise
            except Exception as error:
                why = f"the stream of pictures broke off ({type(error).__name__}: {error})."
            self.no_pictures = f"{self._host}: {why}"
            await asyncio.sleep(1.0)

    async def _disconnect(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # what still comes is of no interest
        # The client takes some cancellations for an end of its own iterators, and leaves tasks behind: ask again.
        until = time.monotonic() + 2 * self.timeout_s
        while time.monotonic() < until:
            left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=self.timeout_s / 10)
        self._tasks, self._stream = [], None
        await asyncio.get_running_loop().shutdown_default_executor()
        for end in self._datagrams:  # that were made for somebody who had gone already
            end.close()
        self._datagrams.clear()
        if self._device is not None:
            await self._device.close()
            self._device = None
        await asyncio.sleep(0.01)  # sockets close in the turn after the one in which they are told to
