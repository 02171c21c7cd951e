"""The way to a phone: which ones are there, and where gaze from one comes in."""

from __future__ import annotations

import asyncio
import socket
import types
from dataclasses import dataclass

from gazepipe.live.source import SourceError

__all__ = ["Phone", "bind_datagrams", "find_phone", "hush"]

#: After the first phone has answered, others may still.
_OTHERS_S = 1.0
#: What a socket keeps while this process is busy, in bytes, if the system allows it; the usual 208 kB are one second.
_KEPT = 1 << 22


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone as it announces itself: its whole name, and where it is."""

    name: str
    host: str
    port: int


async def find_phone(timeout_s: float, known: str = "") -> Phone:
    """Return the only phone that announces itself on the network (mDNS), or the one of a `known` name.

    Raises
    ------
    SourceError
        If there is none, or several, or no network.
    """
    from pupil_labs.realtime_api.discovery import Network

    try:
        network = Network()
    except (OSError, RuntimeError) as error:  # the latter where there is no interface at all
        msg = f"neon: phones cannot be looked for ({error}); connect this computer to the phone's network."
        raise SourceError(msg) from None
    async with network:
        while (told := await network.wait_for_new_device(timeout_s)) is not None and known not in ("", told.name):
            pass
        if told is not None and not known:
            await asyncio.sleep(min(_OTHERS_S, timeout_s))
        found = {d.name: d for d in network.devices if d.addresses and known in ("", d.name)}
    if not found:
        msg = (
            f"neon: no phone answers on this network within {timeout_s:g} s; give its address, which the Companion app "
            "shows under Stream (--address)."
        )
        raise SourceError(msg)
    if len(found) > 1:
        names = ", ".join(sorted(f"{d.name.split(':')[1]} at {d.addresses[0]}:{d.port}" for d in found.values()))
        msg = f"neon: {len(found)} phones answer ({names}); name one by its address (--address)."
        raise SourceError(msg)
    device = next(iter(found.values()))
    return Phone(device.name, device.addresses[0], device.port)


def bind_datagrams(device: str, made: list[socket.socket]) -> None:
    """Let the client receive gaze on the interface that leads to the device, and on no other.

    It would bind to every interface, where anybody in the lab's network could send it gaze; and it leaves sockets
    open where the neighbouring port is taken. Those that it gets are added to `made`, and keep more than others.
    """
    from aiortsp.transport.udp import UDPTransport

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((device, 9))  # sends nothing: it only asks for the route
        own = probe.getsockname()[0]

    def pair(bind_address: str | None = None, retry: int = 10) -> tuple[socket.socket, socket.socket]:
        for _ in range(10 * retry):
            first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                first.bind((bind_address or own, 0))
                port = first.getsockname()[1]
                if port % 2 == 0:
                    first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KEPT)
                    second.bind((bind_address or own, port + 1))
                    made.extend((first, second))
                    return first, second
            except OSError:
                pass
            first.close()
            second.close()
        msg = "no two neighbouring ports are free"
        raise OSError(msg)

    UDPTransport.get_socket_pair = staticmethod(pair)


def hush() -> None:
    """Let the client print no tracebacks: what fails is told by its exceptions.

    It prints one where an answer comes to a question that was withdrawn, as when a session ends.
    """
    from aiortsp.rtsp import connection
    from aiortsp.transport import base

    for module in (connection, base):
        module.traceback = types.SimpleNamespace(print_exc=lambda: None)
