"""Stimulus images: their size from the file's header alone, and their pixels."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from gazepipe.errors import StimulusError, lacks_memory

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["MAX_PIXELS", "image_size", "read_rgb", "resized_rgb"]

#: A larger image is refused before it is decoded, since a small file can claim a size that fills the memory.
MAX_PIXELS = 50_000_000

# Frame headers of JPEG; the other markers of this range are tables (C4, C8, CC).
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}


def image_size(path: Path) -> tuple[int, int]:
    """Return an image's width and height in pixels.

    PNG, JPEG, BMP, GIF and WebP are read from the header; other formats are decoded. A JPEG's EXIF orientation is
    applied, as `read_rgb` does.

    Raises
    ------
    StimulusError
        If the file is missing or is no image.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = _header_size(file)
    except (OSError, struct.error) as error:
        raise _unreadable(path, error) from None
    if size is None:
        height, width = _decode(path).shape[:2]
        return width, height
    if size[0] < 1 or size[1] < 1:
        msg = f"{path}: the header states {size[0]} x {size[1]} pixels; expected an image, export it again."
        raise StimulusError(msg)
    return size


def read_rgb(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Read an image.

    Parameters
    ----------
    path
        The file, of any format that OpenCV decodes.
    size
        Width and height to scale it to, by the mean over areas where it gets smaller; None: as it is.

    Returns
    -------
    ndarray
        Red, green and blue, shape ``(H, W, 3)``, 0 … 255. Grey images have three equal channels; transparency is
        dropped.

    Raises
    ------
    StimulusError
        If the file is missing, cannot be decoded, has more than `MAX_PIXELS`, or needs more memory than there is.
    """
    path = Path(path)
    try:
        return _read_rgb(path, size)
    except Exception as error:
        if not lacks_memory(error):
            raise
        msg = f"{path}: reading it needs more memory than there is; close other programs or scale it down."
        raise StimulusError(msg) from None


def _read_rgb(path: Path, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    width, height = image_size(path)
    if width * height > MAX_PIXELS:
        msg = f"{path}: the image has {width} x {height} pixels; expected at most {MAX_PIXELS:,}, scale it down."
        raise StimulusError(msg)
    pixels = _decode(path)
    return resized_rgb(pixels[:, :, ::-1], size or (pixels.shape[1], pixels.shape[0]))


def resized_rgb(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Scale pixels ``(H, W, 3)`` to a width and height, by the mean over areas where they get smaller."""
    if size != (pixels.shape[1], pixels.shape[0]):
        cv2 = _cv2()
        smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how)
    rgb: npt.NDArray[np.uint8] = np.ascontiguousarray(pixels)
    return rgb


def _cv2() -> ModuleType:
    import cv2

    module: ModuleType = cv2
    return module


def _decode(path: Path) -> npt.NDArray[np.uint8]:
    """Decode to blue, green, red. The bytes are read here: OpenCV cannot open every path that Python can."""
    cv2 = _cv2()
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels: npt.NDArray[np.uint8] | None = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except OSError as error:
        raise _unreadable(path, error) from None
    except cv2.error as error:
        if lacks_memory(error):
            raise
        pixels = None
    if pixels is None:
        msg = f"{path}: the content cannot be decoded as an image; expected PNG, JPEG or the like, export it again."
        raise StimulusError(msg)
    return pixels


def _unreadable(path: Path, error: Exception) -> StimulusError:
    if isinstance(error, FileNotFoundError):
        msg = f"{path}: there is no such image; check the name and the folder of stimuli."
    elif isinstance(error, OSError):
        msg = f"{path}: the image cannot be read ({error.strerror or error}); check the file and its permissions."
    else:
        msg = f"{path}: the image's header is cut short; copy or export it again."
    return StimulusError(msg)


def _header_size(file: BinaryIO) -> tuple[int, int] | None:
    """Return width and height from the header, None for a format that is not known here."""
    head = file.read(32)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(b"\xff\xd8"):
        return _jpeg_size(file)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack("<HH", head[6:10])
        return width, height
    if head.startswith(b"BM") and len(head) >= 26 and struct.unpack("<I", head[14:18])[0] >= 40:
        width, height = struct.unpack("<ii", head[18:26])
        return width, abs(height)  # negative: rows from top to bottom
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Walk the segments to the frame header; an EXIF orientation of 5 … 8 means that the image lies on its side."""
    file.seek(2)
    sideways = False
    while True:
        byte = file.read(1)
        while byte == b"\xff":  # a marker may be preceded by any number of fill bytes
            byte = file.read(1)
        if not byte:
            return None
        marker = byte[0]
        if marker in _JPEG_BARE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker in _JPEG_FRAMES:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return (height, width) if sideways else (width, height)
        segment = file.read(length - 2) if marker == 0xE1 else file.seek(length - 2, os.SEEK_CUR)
        if isinstance(segment, bytes) and segment.startswith(b"Exif\0\0"):
            sideways = _exif_orientation(segment[6:]) in (5, 6, 7, 8)


def _exif_orientation(tiff: bytes) -> int:
    """Return the orientation tag of an EXIF block, 1 (upright) where there is none."""
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for k in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, offset + 2 + 12 * k)
            if tag == 0x0112:
                return int(value)
    except struct.error:
        pass
    return 1
