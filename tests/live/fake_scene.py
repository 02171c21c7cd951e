"""The fake Neon's scene camera: pictures as H.264, in the payloads of RTP (RFC 6184), as the phone sends them."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
_LARGEST = 1400  # bytes in a packet
_SPS, _PPS, _FRAGMENT = 7, 8, 28


class SceneVideo:
    """Grey pictures, of which `shown[k]` is the one of the time ``k / rate_hz``; each decodes by itself."""

    payload_type = 96

    def __init__(self, pictures: Sequence[U8], shown: Sequence[int], rate_hz: float, late_s: float = 0.04) -> None:
        self.shown, self.rate_hz, self.late_s = list(shown), rate_hz, late_s
        # Each twice: two pictures of the same number one after another would be taken for one.
        self._units = encoded([p for picture in pictures for p in (picture, picture)])
        heads = {unit[0] & 31: unit for unit in self._units[0]}
        self._sets = ",".join(base64.b64encode(heads[kind]).decode() for kind in (_SPS, _PPS))

    def description(self, clock_hz: int) -> str:
        """What SDP says of the stream."""
        kind = self.payload_type
        return (
            f"m=video 0 RTP/AVP {kind}\r\na=rtpmap:{kind} H264/{clock_hz}\r\n"
            f"a=fmtp:{kind} packetization-mode=1;sprop-parameter-sets={self._sets}\r\n"
        )

    def payloads(self, k: int) -> list[bytes]:
        """Return the payloads of picture `k`; units that are too long are sent in fragments."""
        out: list[bytes] = []
        for unit in self._units[2 * self.shown[k] + k % 2]:
            if len(unit) <= _LARGEST:
                out.append(unit)
                continue
            parts = [unit[i : i + _LARGEST - 2] for i in range(1, len(unit), _LARGEST - 2)]
            for n, part in enumerate(parts):
                place = 0x80 if n == 0 else 0x40 if n == len(parts) - 1 else 0
                out.append(bytes([unit[0] & 0xE0 | _FRAGMENT, unit[0] & 31 | place]) + part)
        return out


def encoded(pictures: Sequence[U8]) -> list[list[bytes]]:
    """Encode grey pictures: of each its units, without start codes."""
    height, width = pictures[0].shape
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base, codec.thread_count = Fraction(1, 30), 1
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "x264-params": "keyint=1:aud=1"}
    packets = []
    for picture in pictures:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
        packets += codec.encode(frame.reformat(format="yuv420p"))
    packets += codec.encode(None)
    return [[unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(p)) if unit] for p in packets]


def calibration(matrix: npt.ArrayLike, distortion: npt.ArrayLike) -> bytes:
    """Return a Neon's ``calibration.bin`` with this scene camera and two more."""
    camera = [*np.ravel(matrix), *np.ravel(distortion), *np.eye(4).ravel()]
    head = struct.pack("<B6s99d", 1, b"000001", *map(float, camera * 3))
    return head + struct.pack("<I", zlib.crc32(head))
