"""Finds AprilTags with pupil_apriltags; run as a process of its own, because that library can crash.

It has crashed at the end of the interpreter, and on pictures that nothing is wrong with. Talks over its pipes: for each
picture height and width (two uint32) and the grey pixels come in; the number of tags (int32) goes out and, for each,
its number and its eight coordinates (float64), as the library has them. Ends when the input does.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

__all__ = ["HEAD", "main", "read_exactly"]

HEAD = struct.Struct("<II")
LARGEST = 1 << 26


def read_exactly(pipe: BinaryIO, size: int) -> bytes:
    """Read `size` bytes; fewer only at the end."""
    parts = []
    while size > 0 and (part := pipe.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main() -> None:
    """Answer one picture after another."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # the library prints
    from pupil_apriltags import Detector

    detector: Any = Detector(families=sys.argv[1], nthreads=1, quad_decimate=float(sys.argv[2]))
    answers.write(struct.pack("<i", -1))  # ready
    while len(head := read_exactly(sys.stdin.buffer, HEAD.size)) == HEAD.size:
        height, width = HEAD.unpack(head)
        data = read_exactly(sys.stdin.buffer, height * width)
        if len(data) != height * width:
            break
        found = detector.detect(np.frombuffer(data, np.uint8).reshape(height, width))
        rows = [[tag.tag_id, *np.ravel(tag.corners)] for tag in found if tag.hamming <= 1]
        answers.write(struct.pack("<i", len(rows)) + np.array(rows, "<f8").tobytes())
    os._exit(0)  # without the library's own end, which has crashed


if __name__ == "__main__":
    main()
