"""The header of a safetensors file: 8 bytes of length, then JSON. torch is not needed to look at it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, BinaryIO

from gazepipe.sealing import unsealed

__all__ = ["header_of", "weights_header"]

#: The format allows no longer one.
_LONGEST = 100 << 20


def weights_header(file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata of a file of `size` bytes, and its tensors: name → type, shape and place.

    Raises
    ------
    ValueError
        If there is no such header.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > min(size, _LONGEST):
        msg = "its header is cut short"
        raise ValueError(msg)
    try:
        header = json.loads(file.read(length))
    except RecursionError:
        msg = "its header is nested too deeply"
        raise ValueError(msg) from None
    if not isinstance(header, dict):
        msg = "its header is no JSON object"
        raise ValueError(msg)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        msg = "its metadata are no texts"
        raise ValueError(msg)
    return metadata, header


def header_of(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Header of a file, sealed or not.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or has none.
    """
    data = unsealed(path)
    if data is not None:
        return weights_header(io.BytesIO(data), len(data))
    with path.open("rb") as file:
        return weights_header(file, path.stat().st_size)
