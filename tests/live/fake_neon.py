"""A Neon on this computer's loopback: what the phone's app serves, as far as the official client asks for it.

One HTTP port with the status (also as a websocket), recordings, events and the template; RTSP with RTP and RTCP for the
gaze, the scene camera, the inertial unit and the events that the app finds; the time echo; with a name, it announces
itself (mDNS). Gaze is a `Trace`, the other two are `Packet`s, played in real time from the moment a stream starts.
Everything that can go wrong in a lab is a field of `Faults`.

The phone's clock is `FakeNeon.clock_ns` of this computer's: an offset, a drift and a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web
from fake_scene import SceneVideo
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from gazepipe.live.source import host_ns

NTP_EPOCH_S = 2_208_988_800
RTP_HZ = 90_000
MESSAGE = "message"
#: Kind of payload → format after x, y and worn.
LAYOUTS = {"gaze": "", "dual": "ff", "bino": "ffff", "eyestate": "14f", "eyelid": "20f", "full": "24f"}


@dataclass(frozen=True)
class Trace:
    """Samples to play: seconds from the start, gaze in scene pixels, whether the glasses are worn, pupils in mm."""

    time_s: npt.NDArray[np.float64]
    x_px: npt.NDArray[np.float32]
    y_px: npt.NDArray[np.float32]
    worn: npt.NDArray[np.uint8]
    pupil_mm: npt.NDArray[np.float32]
    pupil_right_mm: npt.NDArray[np.float32] | None = None  # None: as the left one

    @classmethod
    def steady(cls, seconds: float, rate_hz: float = 200.0) -> Trace:
        """Gaze that tells its own sample number: x is the number over four, y jumps every half second."""
        n = round(seconds * rate_hz)
        k = np.arange(n)
        x, y = (k / 4).astype("f4"), np.where((k // 100) % 2, 500, 700).astype("f4")
        return cls(k / rate_hz, x, y, np.full(n, 255, "u1"), np.full(n, 3.5, "f4"))

    @classmethod
    def of_recording(cls, folder: Path) -> Trace:
        """Samples of a native recording."""
        times = np.fromfile(folder / "gaze_200hz.time", "<u8").astype("i8")
        gaze = np.fromfile(folder / "gaze_200hz.raw", "<f4").reshape(-1, 2)
        worn = np.fromfile(folder / "worn_200hz.raw", "u1")
        eyes = np.fromfile(folder / "eye_state ps1.raw", "<f4").reshape(len(times), -1)
        return cls((times - times[0]) / 1e9, gaze[:, 0], gaze[:, 1], worn, eyes[:, 0], eyes[:, 7])


#: From seconds after the start of the gaze to ns of the phone's clock.
Clock = Callable[[float], int]


@dataclass(frozen=True)
class Packet:
    """What is sent so many seconds after the start of the gaze; its payload has the phone's times."""

    time_s: float
    payload: Callable[[Clock], bytes]


def imu_packets(folder: Path) -> list[Packet]:
    """The inertial unit of a native recording, as protobuf messages with times of their own."""
    begin = int(np.fromfile(folder / "gaze_200hz.time", "<i8")[0])
    layout = [("ns", "<i8"), ("gyro", "<f4", 3), ("accel", "<f4", 3), ("turned", "<f4", 4)]
    records = np.fromfile(folder / "imu ps1.raw", layout)
    at = [(ns - begin) / 1e9 for ns in records["ns"].tolist()]
    return [Packet(t, partial(_imu_payload, t, r)) for t, r in zip(at, records, strict=True) if t >= 0]


def _imu_payload(at_s: float, record: np.void, clock: Clock) -> bytes:
    from pupil_labs.neon_recording.timeseries.imu.imu_pb2 import ImuPacket

    packet = ImuPacket(tsNs=clock(at_s))
    parts = (
        (packet.gyroData, "xyz", "gyro"),
        (packet.accelData, "xyz", "accel"),
        (packet.rotVecData, "wxyz", "turned"),
    )
    for part, axes, name in parts:
        for axis, value in zip(axes, record[name].tolist(), strict=True):
            setattr(part, axis, value)
    return bytes(packet.SerializeToString())


def eye_packets(folder: Path) -> list[Packet]:
    """Onsets, saccades, fixations and blinks of a native recording, each when it is known, and signs of life."""
    begin = int(np.fromfile(folder / "gaze_200hz.time", "<i8")[0])
    ends = [("kind", "<i4"), ("start", "<i8"), ("end", "<i8")]
    looks = np.fromfile(folder / "fixations ps1.raw", [*ends, ("values", "<f4", 10)]).tolist()
    blinks = [(4, a, b, []) for _, a, b in np.fromfile(folder / "blinks ps1.raw", ends).tolist()]
    out = [Packet(t + 0.5, lambda _: struct.pack("!i", 5)) for t in range(60)]
    for kind, a, b, values in [*looks, *blinks]:
        start, end = (a - begin) / 1e9, (b - begin) / 1e9
        if kind < 4:
            out.append(Packet(start + 0.03, partial(_event_payload, "!iq", kind + 2, (start,), ())))
        shape = f"!iqq{len(values)}f"
        out.append(Packet(end + 0.06, partial(_event_payload, shape, kind, (start, end), values)))
    return sorted((p for p in out if p.time_s >= 0), key=lambda p: p.time_s)


def _event_payload(shape: str, kind: int, times_s: Sequence[float], values: Sequence[float], clock: Clock) -> bytes:
    return struct.pack(shape, kind, *map(clock, times_s), *values)


@dataclass
class Faults:
    """What goes wrong, and when (seconds after the stream has first started)."""

    loss: float = 0.0  # share of RTP packets that are not sent
    reorder: float = 0.0  # share that is sent after the next one
    report_late_s: float = 0.0  # time until the first RTCP sender report
    stall: tuple[float, float] = (-1.0, 0.0)  # from, for: the phone holds samples back, then sends all
    silence: tuple[float, float] = (-1.0, 0.0)  # from, for: samples are lost
    disconnect: tuple[float, float] = (-1.0, 0.0)  # from, for: connections fall and none is taken
    refused: dict[str, int] = field(default_factory=dict)  # path → how many requests are answered with 500
    strange_payload_at_s: float = -1.0  # one packet of a length nobody knows
    others_silence: tuple[float, float] = (-1.0, 0.0)  # from, for: what is beside gaze is lost
    strange_event_at_s: float = -1.0  # one eye event of a kind nobody knows
    battery: int = 97
    storage: int = 100_000_000_000
    worn: bool = True
    offset_ms: float = 0.0  # of the phone's clock
    drift_ppm: float = 0.0
    step: tuple[float, float] = (-1.0, 0.0)  # when, and by how many seconds, the phone's clock is set


class FakeNeon:
    """The phone; use as a context manager. `sent` has the number of every sample that left, `events` what came."""

    def __init__(
        self,
        trace: Trace,
        faults: Faults | None = None,
        *,
        layout: str = "eyestate",
        seed: int = 0,
        scene: SceneVideo | None = None,
        others: Mapping[str, list[Packet]] | None = None,
        template: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        self.trace, self.faults, self.layout, self.scene, self.name = trace, faults or Faults(), layout, scene, name
        self.others = dict(others or {})  # "imu", "eye_events"
        self.template, self.answers = template, {i["id"]: [""] for i in (template or {}).get("items", [])}
        self.rng = np.random.default_rng(seed)
        self.sent: list[int] = []
        self.left_ns = np.zeros(len(trace.time_s), np.int64)  # host time at which each sample left
        self.reported: list[tuple[int, float]] = []  # number of the next sample, and the phone's clock minus ours
        self.events: list[dict[str, Any]] = []
        self.recording: str | None = None
        self.calibration = b""  # of the cameras, as the phone has it
        self.requests: list[str] = []
        self.started_ns = 0  # host time of sample 0
        self._born_ns = host_ns()
        self._sockets: set[web.WebSocketResponse] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ports: dict[str, int] = {}
        self._datagrams: dict[asyncio.StreamWriter, list[asyncio.DatagramTransport]] = {}

    # ---- time --------------------------------------------------------------------------------------------------------

    def elapsed_s(self) -> float:
        """Since the stream first started; before, −1."""
        return (host_ns() - self.started_ns) / 1e9 if self.started_ns else -1.0

    def offset_ns(self, at_ns: int) -> float:
        """Return the phone's clock minus this computer's at a time of this computer."""
        f = self.faults
        out = f.offset_ms * 1e6 + f.drift_ppm * 1e-6 * (at_ns - self._born_ns)
        stepped = f.step[0] >= 0 and self.started_ns and at_ns - self.started_ns >= f.step[0] * 1e9
        return out + (f.step[1] * 1e9 if stepped else 0.0)

    def clock_ns(self) -> int:
        now = host_ns()
        return now + round(self.offset_ns(now))

    def _within(self, span: tuple[float, float]) -> bool:
        return span[0] >= 0 and span[0] <= self.elapsed_s() < span[0] + span[1]

    # ---- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> FakeNeon:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._ports['http']}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application()
        post: dict[str, Callable[[web.Request], Coroutine[Any, Any, web.Response]]] = {
            "/api/recording:start": self._start,
            "/api/recording:stop_and_save": self._end,
            "/api/recording:cancel": self._end,
            "/api/event": self._event,
            "/api/template_data": self._answer,
        }
        app.router.add_get("/api/status", self._status)
        app.router.add_get("/calibration.bin", self._calibration)
        app.router.add_get("/api/template_def", self._template)
        app.router.add_get("/api/template_data", self._template)
        for path, handler in post.items():
            app.router.add_post(path, handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        rtsp = await asyncio.start_server(self._rtsp, "127.0.0.1", 0)
        echo = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        self._ports = {
            "http": runner.addresses[0][1],
            "rtsp": rtsp.sockets[0].getsockname()[1],
            "echo": echo.sockets[0].getsockname()[1],
        }
        falls = asyncio.create_task(self._fall())
        announced = await self._announce() if self.name else None
        self._ready.set()
        await self._stop.wait()
        falls.cancel()
        if announced is not None:
            await announced.async_unregister_all_services()
            await announced.async_close()
        rtsp.close()
        echo.close()
        for writer in list(self._writers):
            writer.close()
        for listener in list(self._sockets):
            await listener.close()
        await runner.cleanup()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _announce(self) -> AsyncZeroconf:
        """Tell the network of the phone, as the Companion app does."""
        kind, loopback = "_http._tcp.local.", "127.0.0.1"
        told = AsyncServiceInfo(
            kind,
            f"PI monitor:{self.name}:fa4e000000000001.{kind}",
            addresses=[socket.inet_aton(loopback)],
            port=self._ports["http"],
            server=f"{self.name.replace(' ', '-')}.local.",
        )
        network = AsyncZeroconf(interfaces=[loopback])
        await (await network.async_register_service(told))
        return network

    async def _fall(self) -> None:
        """Break all connections when the time has come."""
        while not self._within(self.faults.disconnect):
            await asyncio.sleep(0.02)
        for writer in list(self._writers):
            writer.transport.abort()
        for listener in list(self._sockets):
            await listener.close()

    # ---- REST and websocket ------------------------------------------------------------------------------------------

    def components(self) -> list[dict[str, Any]]:
        f = self.faults
        phone = {
            "ip": "127.0.0.1",
            "port": self._ports["http"],
            "device_id": "fa4e000000000001",
            "device_name": "Fake Neon",
            "battery_level": f.battery,
            "battery_state": "OK" if f.battery > 20 else "LOW",
            "memory": f.storage,
            "memory_state": "OK",
            "time_echo_port": self._ports["echo"],
        }
        hardware = {"version": "2.0", "glasses_serial": "-1", "world_camera_serial": "-1", "module_serial": "000001"}
        sensor = {
            "conn_type": "DIRECT",
            "connected": True,
            "ip": "127.0.0.1",
            "port": self._ports["rtsp"],
            "protocol": "rtsp",
            "stream_error": False,
        }
        # A phone tells of ten: each stream directly and by websocket, whether or not anybody wants it.
        served = ("gaze", *self.others) if self.scene is None else ("gaze", "world", *self.others)
        sensors = [
            sensor
            | {"sensor": kind, "params": f"camera={kind}&audioenable=on"}
            | ({"conn_type": "WEBSOCKET", "port": self._ports["http"]} if way == "WEBSOCKET" else {})
            | ({} if kind in served else {"connected": False, "stream_error": True})
            for kind in ("imu", "world", "gaze", "eye_events", "eyes")
            for way in ("WEBSOCKET", "DIRECT")
        ]
        return [
            {"model": "Phone", "data": phone},
            {"model": "Hardware", "data": hardware},
            *({"model": "Sensor", "data": one} for one in sensors),
        ]

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.requests.append(request.path)
        left = self.faults.refused.get(request.path, 0)
        if left <= 0 and not self._within(self.faults.disconnect):
            return None
        self.faults.refused[request.path] = left - 1
        return web.json_response({MESSAGE: "Internal error", "result": None}, status=500)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refusal(request):
            return refused
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.json_response({MESSAGE: "Success", "result": self.components()})
        listener = web.WebSocketResponse()
        await listener.prepare(request)
        self._sockets.add(listener)
        for component in self.components():
            await listener.send_str(json.dumps(component))
        async for _ in listener:
            pass
        self._sockets.discard(listener)
        return listener

    def notify(self, component: dict[str, Any]) -> None:
        """Send a component, or anything else, to all who listen."""

        async def send() -> None:
            for listener in list(self._sockets):
                await listener.send_str(json.dumps(component))

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(5)

    async def _calibration(self, request: web.Request) -> web.Response:
        return web.Response(body=self.calibration)

    async def _start(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        if self.recording:
            return web.json_response({MESSAGE: "Already recording!", "result": None}, status=500)
        items = (self.template or {}).get("items", [])
        if any(i["required"] and not any(self.answers[i["id"]]) for i in items):
            return web.json_response({MESSAGE: "Template has required fields", "result": None}, status=500)
        self.recording = str(uuid.uuid4())
        return web.json_response({MESSAGE: "Started recording", "result": {"id": self.recording}})

    async def _end(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        if not self.recording:
            return web.json_response({MESSAGE: "Recording not running!", "result": None}, status=500)
        self.recording = None
        return web.json_response({MESSAGE: "Stopped recording", "result": None})

    async def _event(self, request: web.Request) -> web.Response:
        if refused := self._refusal(request):
            return refused
        body = await request.json()
        stamp = body.get("timestamp", self.clock_ns())
        self.events.append({"name": body["name"], "timestamp": stamp})
        return web.json_response({MESSAGE: "Success", "result": {"timestamp": stamp, "recording_id": self.recording}})

    async def _template(self, request: web.Request) -> web.Response:
        if self.template is None:
            return web.json_response({MESSAGE: "No template", "result": None}, status=404)
        result = self.template if request.path.endswith("def") else self.answers
        return web.json_response({MESSAGE: "Success", "result": result})

    async def _answer(self, request: web.Request) -> web.Response:
        self.answers |= await request.json()
        return web.json_response({MESSAGE: "Success", "result": self.answers})

    # ---- time echo ---------------------------------------------------------------------------------------------------

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await reader.readexactly(8)
                writer.write(asked + struct.pack("!Q", self.clock_ns() // 1_000_000))
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    # ---- RTSP, RTP, RTCP ---------------------------------------------------------------------------------------------

    async def _rtsp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._within(self.faults.disconnect):
            writer.transport.abort()
            return
        self._writers.add(writer)
        player: asyncio.Task[None] | None = None
        send: Callable[[int, bytes], None] = lambda _channel, _packet: None  # noqa: E731
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"$":  # the client's own RTCP, interleaved
                    size = struct.unpack("!xH", await reader.readexactly(3))[0]
                    await reader.readexactly(size)
                    continue
                text = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                lines = text.split("\r\n")
                method, url, _ = lines[0].split(" ", 2)
                headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
                answer, body = ["Session: 7a;timeout=60"], ""
                if method == "OPTIONS":
                    answer = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"]
                elif method == "DESCRIBE":
                    media = f"m=application 0 RTP/AVP 99\r\na=rtpmap:99 com.pupillabs.gaze1/{RTP_HZ}\r\n"
                    if "camera=world" in url and self.scene is not None:
                        media = self.scene.description(RTP_HZ)
                    body = (
                        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=fake\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=recvonly\r\n"
                        f"{media}a=control:streamid=0\r\n"
                    )
                    answer = [f"Content-Base: {url}", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
                elif method == "SETUP":
                    transport, send = await self._transport(headers["transport"], writer)
                    answer += [f"Transport: {transport}"]
                elif method == "PLAY":
                    kind = url.partition("camera=")[2].partition("&")[0].rstrip("/")
                    if kind in self.others:
                        player = asyncio.create_task(self._tell(kind, send))
                    else:
                        play = self._show if kind == "world" else self._play
                        player = asyncio.create_task(play(send))
                head = "\r\n".join([f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}", *answer])
                writer.write(f"{head}\r\n\r\n{body}".encode())
                await writer.drain()
                if method == "TEARDOWN":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if player:
                player.cancel()
            for end in self._datagrams.pop(writer, []):
                end.close()
            self._writers.discard(writer)
            writer.close()

    async def _transport(self, wanted: str, writer: asyncio.StreamWriter) -> tuple[str, Callable[[int, bytes], None]]:
        if "interleaved" in wanted:
            return wanted, lambda channel, packet: writer.write(
                struct.pack("!cBH", b"$", channel, len(packet)) + packet
            )
        ports = [int(p) for p in wanted.split("client_port=")[1].split(";")[0].split("-")]
        loop, ends = asyncio.get_running_loop(), []
        for _ in range(2):
            end, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
            ends.append(end)
        self._datagrams[writer] = ends
        own = "-".join(str(e.get_extra_info("sockname")[1]) for e in ends)
        return f"{wanted};server_port={own}", lambda c, packet: ends[c].sendto(packet, ("127.0.0.1", ports[c]))

    def _payload(self, i: int) -> bytes:
        t = self.trace
        pupil = float(t.pupil_mm[i])
        head = struct.pack("!ffB", t.x_px[i], t.y_px[i], t.worn[i] if self.faults.worn else 0)
        shape = LAYOUTS[self.layout]
        if shape in ("", "ff", "ffff"):
            return head + struct.pack("!" + shape, *([float(t.x_px[i]), float(t.y_px[i])] * (len(shape) // 2)))
        right = pupil if t.pupil_right_mm is None else float(t.pupil_right_mm[i])
        eyes = [pupil, 0, 0, 0, 0, 0, 1, right, 0, 0, 0, 0, 0, 1] + [0.0] * (int(shape[:-1]) - 14)
        return head + struct.pack("!" + shape, *eyes)

    def _rtp(self, i: int) -> int:
        """RTP time of a sample: an even clock, which runs on whatever happens to the phone's."""
        return round(self.trace.time_s[i] * RTP_HZ * (1 + self.faults.drift_ppm * 1e-6)) & 0xFFFFFFFF

    def _report(self) -> bytes:
        """Sender report: which time of the streams is which of the phone's clock."""
        at = host_ns()
        ns = at + round(self.offset_ns(at))  # whole: a float has not enough digits
        whole, part = ns // 1_000_000_000 + NTP_EPOCH_S, (ns % 1_000_000_000 << 32) // 1_000_000_000
        rtp = round((at - self.started_ns) / 1e9 * RTP_HZ * (1 + self.faults.drift_ppm * 1e-6)) & 0xFFFFFFFF
        return struct.pack("!BBHIIIIII", 0x80, 200, 6, 7, whole, part, rtp, len(self.sent) & 0xFFFFFFFF, 0)

    async def _show(self, send: Callable[[int, bytes], None]) -> None:
        """Send the scene camera's pictures, each a little after its time."""
        scene, report_s, number = self.scene, 0.0, 0
        assert scene is not None
        self.started_ns = self.started_ns or host_ns()
        for k in range(int(self.elapsed_s() * scene.rate_hz) + 1, len(scene.shown)):
            await asyncio.sleep(k / scene.rate_hz + scene.late_s - self.elapsed_s())
            if self.elapsed_s() >= report_s:
                report_s = self.elapsed_s() + 1.0
                send(1, self._report())
            stamp = round(k / scene.rate_hz * RTP_HZ * (1 + self.faults.drift_ppm * 1e-6)) & 0xFFFFFFFF
            payloads = scene.payloads(k)
            for left, payload in zip(range(len(payloads) - 1, -1, -1), payloads, strict=True):
                kind = scene.payload_type | (0 if left else 0x80)
                send(0, struct.pack("!BBHII", 0x80, kind, number & 0xFFFF, stamp, 8) + payload)
                number += 1
                if number % 16 == 0:
                    await asyncio.sleep(0)
        await asyncio.sleep(3600)

    async def _tell(self, kind: str, send: Callable[[int, bytes], None]) -> None:
        """Send what is beside gaze, each packet when its time has come; a second stream goes on where one would be."""
        self.started_ns = self.started_ns or host_ns()
        report_s = begun = self.elapsed_s()

        def clock(seconds: float) -> int:
            at = self.started_ns + round(seconds * 1e9)
            return at + round(self.offset_ns(at))

        for number, packet in enumerate(self.others[kind]):
            if packet.time_s < begun - 0.02:
                continue
            await asyncio.sleep(packet.time_s - self.elapsed_s())
            now = self.elapsed_s()
            if now >= report_s:
                report_s = now + 1.0
                send(1, self._report())
            payload, f = packet.payload(clock), self.faults
            if kind == "eye_events" and 0 <= f.strange_event_at_s <= now:
                payload, f.strange_event_at_s = struct.pack("!i", 77), -1.0
            if not self._within(f.others_silence):
                stamp = round(packet.time_s * RTP_HZ * (1 + f.drift_ppm * 1e-6)) & 0xFFFFFFFF
                send(0, struct.pack("!BBHII", 0x80, 99, number & 0xFFFF, stamp, 9) + payload)
        await asyncio.sleep(3600)

    async def _play(self, send: Callable[[int, bytes], None]) -> None:
        """Send every sample when its time has come; a second stream goes on where the first would be."""
        f, t = self.faults, self.trace
        if not self.started_ns:
            self.started_ns = host_ns()
        begun = self.elapsed_s()
        i = int(np.searchsorted(t.time_s, begun - 0.02))
        report_s, held = begun + f.report_late_s, None
        strange = f.strange_payload_at_s
        while i < len(t.time_s):
            now = self.elapsed_s()
            if now >= report_s:
                report_s = now + 1.0
                self.reported.append((i, self.offset_ns(host_ns())))
                send(1, self._report())
            while i < len(t.time_s) and t.time_s[i] <= now and not self._within(f.stall):
                packet = struct.pack("!BBHII", 0x80, 99, i & 0xFFFF, self._rtp(i), 7) + self._payload(i)
                if 0 <= strange <= now:
                    packet, strange = packet + b"??", f.strange_payload_at_s
                    f.strange_payload_at_s = strange = -1.0
                if self._within(f.silence) or self.rng.random() < f.loss:
                    pass
                elif held is None and self.rng.random() < f.reorder:
                    held = packet, i
                else:
                    self.left_ns[i] = host_ns()
                    send(0, packet)
                    self.sent.append(i)
                    if held is not None:
                        send(0, held[0])
                        self.sent.append(held[1])
                        held = None
                i += 1
            await asyncio.sleep(0.004)
        await asyncio.sleep(3600)
