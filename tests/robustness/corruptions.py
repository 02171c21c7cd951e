"""Damage: every 64th part of a file, and thousands of ways to spoil the rest. The same seed gives the same bytes."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["HOSTILE", "KINDS", "corrupt", "truncations"]

Rng = np.random.Generator

#: Cells that tables have had in practice, or that a parser may trip over.
HOSTILE = [
    b"1e999",
    b"-1e999",
    b"1e308",
    b"1e22",
    b"1e-320",
    b"9" * 400,
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"-0",
    b"-0.0",
    b"-1",
    b"0",
    b"nan",
    b"NaN",
    b"inf",
    b"-Infinity",
    b"",
    b" ",
    b".",
    b"..",
    b"-",
    b"+5",
    b"1_000",
    b"0x1F",
    b"1d5",
    b"1,5",
    b"1.5.5",
    b"n/a",
    b"True",
    "٣٤٥".encode(),
    "１２".encode(),
    "−5".encode(),
    "\u2028".encode(),
    b"\0",
    b"\0" * 64,
    b"\x1a",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"x" * 100_000,
    b"7" * 100_000,
    b'"',
    b'"""',
    b"'",
    b"#",
    b"\r",
    b"\n",
    b"\t\t\t",
    b",,,,",
    b";",
    b"../../etc/passwd",
    b"%s%n{0}",
    b"{}",
    b"[" * 3000,
]

_FIELD = re.compile(rb"[^\t,; \r\n\":\[\]{}]+")


def truncations(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut at every 64th part."""
    for k in range(64):
        yield f"cut at {k}/64", content[: len(content) * k // 64]


def _place(content: bytes, rng: Rng) -> int:
    """Anywhere, or, as often, near the top, where what matters most stands."""
    reach = min(len(content), 2048) if rng.random() < 0.5 else len(content)
    return int(rng.integers(0, max(reach, 1)))


def _span(content: bytes, rng: Rng, longest: int = 4096) -> tuple[int, int]:
    start = _place(content, rng)
    return start, start + int(2 ** rng.uniform(0, np.log2(longest)))


def _bit_flips(content: bytes, rng: Rng) -> bytes:
    data = bytearray(content)
    for _ in range(int(2 ** rng.uniform(0, 8))):
        data[_place(content, rng)] ^= 1 << int(rng.integers(0, 8))
    return bytes(data)


def _overwritten(content: bytes, rng: Rng) -> bytes:
    start, end = _span(content, rng)
    size = min(end, len(content)) - start
    kinds = (rng.bytes(size), b"\0" * size, b"\xff" * size, b"9" * size, b" " * size, b"\n" * size)
    return content[:start] + kinds[int(rng.integers(0, len(kinds)))] + content[start + size :]


def _deleted(content: bytes, rng: Rng) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _inserted(content: bytes, rng: Rng) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + rng.bytes(end - start) + content[start:]


def _duplicated(content: bytes, rng: Rng) -> bytes:
    start, end = _span(content, rng, 1 << 14)
    to = _place(content, rng)
    return content[:to] + content[start:end] + content[to:]


def _fields(content: bytes, rng: Rng) -> bytes:
    """Some fields become hostile ones."""
    for _ in range(int(rng.integers(1, 4))):
        match = _FIELD.search(content, _place(content, rng))
        if match:
            token = HOSTILE[int(rng.integers(0, len(HOSTILE)))]
            content = content[: match.start()] + token + content[match.end() :]
    return content


def _column(content: bytes, rng: Rng) -> bytes:
    """One hostile field in the same place of every line."""
    token = HOSTILE[int(rng.integers(0, len(HOSTILE) - 8))][:40]
    k = int(rng.integers(0, 8))
    pattern = re.compile(rb"^((?:[^\t,;\r\n]*[\t,;]){%d})([^\t,;\r\n]*)" % k, re.MULTILINE)
    return pattern.sub(lambda m: m[1] + token, content)


def _lines(content: bytes, rng: Rng) -> bytes:
    """Lines swapped, dropped, repeated, reversed or moved."""
    lines = content.splitlines(keepends=True)
    n = len(lines)
    if n < 3:
        return content[::-1]
    a, b = sorted(int(k) for k in rng.integers(0, n, 2))
    way = int(rng.integers(0, 7))
    if way == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif way == 1:
        del lines[a : min(b, a + 50)]
    elif way == 2:
        lines[a:a] = [lines[b]] * int(rng.integers(1, 50))
    elif way == 3:
        lines[a:b] = lines[a:b][::-1]
    elif way == 4:
        lines = lines[b:] + lines[a:b] + lines[:a]
    elif way == 5:
        lines[a] = lines[a] * 2
    else:
        del lines[0 : int(rng.integers(1, 4))]
    return b"".join(lines)


def _whole(content: bytes, rng: Rng) -> bytes:
    """What editors, spreadsheets and transfers do to a whole text."""
    ways: list[Callable[[bytes], bytes]] = [
        lambda c: c.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        lambda c: c.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
        lambda c: c.replace(b"\n", b"\r\r\n"),
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: b"\xef\xbb\xbf" * 2 + c,
        lambda c: c.decode("latin-1").encode("utf-16"),
        lambda c: c.decode("latin-1").encode("utf-16")[:-1],
        lambda c: b"\xfe\xff" + c.decode("latin-1").encode("utf-16-be"),
        lambda c: c.decode("latin-1").encode("utf-16-le"),
        lambda c: b"\xff\xfe" + c,
        lambda c: c.decode("latin-1").encode("utf-32"),
        lambda c: c.replace(b"\n", b""),
        lambda c: c.replace(b"\t", b" "),
        lambda c: c.replace(b"\t", b",").replace(b",", b";"),
        lambda c: c.replace(b".", b","),
        lambda c: c.replace(b"0", b""),
        lambda c: c.rstrip(b"\n"),
        lambda c: c * 2,
        lambda c: b"\n" * 5000 + c,
        lambda c: c + b"\0" * 4096,
        lambda c: c.upper(),
        lambda c: gzip.compress(c, 1),
        lambda c: b"",
    ]
    content = ways[int(rng.integers(0, len(ways)))](content)
    return _fields(content, rng) if rng.random() < 0.3 else content


#: What is done to a file, the field kinds more often, for they reach deepest.
KINDS: tuple[Callable[[bytes, Rng], bytes], ...] = (
    _fields,
    _fields,
    _fields,
    _column,
    _lines,
    _lines,
    _bit_flips,
    _overwritten,
    _deleted,
    _inserted,
    _duplicated,
    _whole,
)


def corrupt(content: bytes, seed: tuple[int, ...]) -> tuple[str, bytes]:
    """One corruption, or, one time in four, two."""
    rng = np.random.default_rng(seed)
    names = []
    for _ in range(1 + (rng.random() < 0.25)):
        kind = KINDS[int(rng.integers(0, len(KINDS)))]
        content = kind(content or b"\n", rng)
        names.append(kind.__name__.strip("_"))
    return " + ".join(names), content
