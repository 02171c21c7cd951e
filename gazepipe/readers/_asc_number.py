"""Numbers in the bytes of an EyeLink ASC file, compiled: any form one by one, the usual ones eight bytes at a time.

Eight bytes are loaded as one integer, the first byte its lowest, and looked at all at once (Lamport, 1975: several
values in one word). ``word ^ ZEROS`` turns digits into their values; a byte holds at most 9 then, and a blank holds
0x10. These functions take addresses instead of arrays, because passing an array on counts its references, which would
take longer than the rest.

References
----------
Lamport, L. (1975). Multiple byte processing with full-word instructions. Communications of the ACM, 18, 471-475.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["is_space", "line_end", "newlines", "next_number", "short_number", "short_time", "three_numbers"]

U8 = npt.NDArray[np.uint8]

NEWLINE, RETURN, TAB, BLANK, DOT, MINUS, ZERO, NINE = 10, 13, 9, 32, 46, 45, 48, 57

# Powers of ten that float64 holds exactly. A whole number below 2**53 divided by one of them is rounded once, so the
# result is the float64 nearest to the text, as Python's float() gives it.
_TENS = 10.0 ** np.arange(23)
_EXACT = 2**53
_LITTLE = sys.byteorder == "little"


def _each(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


_ZEROS, _HIGH, _LOW7, _ABOVE_NINE, _SIXTEENS = _each(0x30), _each(0x80), _each(0x7F), _each(0x76), _each(0x10)
_ONES, _NEWLINES = _each(0x01), _each(0x0A)
_PAIRS, _QUADS, _HALF = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)
_TEN, _HUNDRED, _MYRIAD = np.uint64(10), np.uint64(100), np.uint64(10000)
_4, _8, _12, _16, _32 = (np.uint64(n) for n in (4, 8, 12, 16, 32))

# A column as edf2asc prints it ("%7.1f" after a tab): tab in byte 0, point in byte 6, tenths in byte 7.
_FRAME, _IN_FRAME = np.uint64(0x00FF0000000000FF), np.uint64(0x002E000000000009)
_FRAME_AS_ZEROS = np.uint64(0x0030000000000030)
_NO_BLANK_THERE = np.uint64(0x1000100000000000)  # the units and the tenths
_FIRST_SIX, _LAST = np.uint64(0x0000FFFFFFFFFFFF), np.uint64(0xFF00000000000000)
_FIRST_FIVE, _MISSING = np.uint64(0x000000FFFFFFFFFF), np.uint64(0x0000002E20202009)  # "\t   ."


def _load_word(context: Any, address: Any) -> Any:
    """Load eight bytes from an address on as an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()), align=1)
        return value if sys.byteorder == "little" else builder.bswap(value)

    return types.uint64(types.intp), generate


def _load_byte(context: Any, address: Any) -> Any:
    """Load the byte at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.intp), generate


def _count_trailing_zeros(context: Any, word: Any) -> Any:
    """Count the zero bits below the lowest one that is set; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _parse_three(context: Any, address: Any) -> Any:
    """Parse three columns as edf2asc prints them, side by side in one vector register; see `three_numbers`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, lanes = ir.IntType(64), 4  # the fourth lane holds what follows the columns

        def each(value: Any) -> Any:
            return ir.Constant(ir.VectorType(bits, lanes), [int(value)] * lanes)

        def joined(digits: Any, width: int, factor: int) -> Any:
            """Join neighbours: the lower half of each `width` bits times `factor`, plus the upper half."""
            kind = ir.VectorType(ir.IntType(width), 64 * lanes // width)
            half = ir.Constant(kind, [width // 2] * kind.count)
            digits = builder.bitcast(digits, kind)
            low = builder.lshr(builder.shl(digits, half), half)
            tens = builder.mul(low, ir.Constant(kind, [factor] * kind.count))
            return builder.bitcast(builder.add(tens, builder.lshr(digits, half)), ir.VectorType(bits, lanes))

        pointer = builder.inttoptr(args[0], ir.VectorType(bits, lanes).as_pointer())
        word = builder.load(pointer, align=1)
        odd = builder.xor(builder.and_(word, each(_FRAME)), each(_IN_FRAME))
        word = builder.xor(builder.or_(builder.and_(word, each(~_FRAME)), each(_FRAME_AS_ZEROS)), each(_ZEROS))
        blank = builder.and_(word, each(_SIXTEENS))
        word = builder.xor(word, blank)
        before = builder.lshr(blank, each(12))
        before = builder.sub(builder.shl(before, each(8)), before)
        above = builder.or_(builder.add(builder.and_(word, each(_LOW7)), each(_ABOVE_NINE)), word)
        odd = builder.or_(odd, builder.and_(above, each(_HIGH)))
        odd = builder.or_(odd, builder.and_(word, builder.sub(blank, builder.lshr(blank, each(4)))))
        odd = builder.or_(odd, builder.and_(blank, each(_NO_BLANK_THERE)))
        odd = builder.or_(odd, builder.and_(before, builder.add(before, each(1))))
        word = builder.or_(builder.shl(builder.and_(word, each(_FIRST_SIX)), each(8)), builder.and_(word, each(_LAST)))
        whole = joined(joined(joined(word, 16, 10), 32, 100), 64, 10000)
        number = builder.sitofp(
            builder.trunc(whole, ir.VectorType(ir.IntType(32), lanes)), ir.VectorType(ir.DoubleType(), lanes)
        )
        number = builder.fdiv(number, ir.Constant(ir.VectorType(ir.DoubleType(), lanes), [10.0] * lanes))
        three = [builder.extract_element(number, ir.Constant(ir.IntType(32), k)) for k in range(3)]
        any_odd = ir.Constant(bits, 0)
        for k in range(3):
            any_odd = builder.or_(any_odd, builder.extract_element(odd, ir.Constant(ir.IntType(32), k)))
        good = builder.icmp_unsigned("==", any_odd, ir.Constant(bits, 0))
        return context.make_tuple(builder, signature.return_type, [*three, good])

    returned: Any = types.Tuple  # numba has no types for mypy
    return returned((*3 * (types.float64,), types.boolean))(types.intp), generate


# Functions for compiled code; mypy takes them for what they are outside of it.
_word: Any = intrinsic(_load_word)
_byte: Any = intrinsic(_load_byte)
_trailing_zeros: Any = intrinsic(_count_trailing_zeros)
_three: Any = intrinsic(_parse_three)


@njit(cache=True, nogil=True, forceinline=True)
def _all_digits(word: np.uint64) -> np.uint64:
    """Join eight decimal digits, one a byte, into their number."""
    word = (word * _TEN + (word >> _8)) & _PAIRS
    word = (word * _HUNDRED + (word >> _16)) & _QUADS
    return (word * _MYRIAD + (word >> _32)) & _HALF


@njit(cache=True, nogil=True, forceinline=True)
def short_time(at: int) -> tuple[float, int]:
    """Parse a whole number of up to eight digits before a tab; address after it, or 0 where it is not one.

    Eight bytes from `at` on, and one more, must be there.
    """
    word = _word(at) ^ _ZEROS
    other = (((word & _LOW7) + _ABOVE_NINE) | word) & _HIGH
    n = _trailing_zeros(other) >> 3
    if n == 0 or _byte(at + n) != TAB:
        return 0.0, 0
    return float(np.int64(_all_digits(word << np.uint64(64 - 8 * n)))), at + n


@njit(cache=True, nogil=True, forceinline=True)
def short_number(at: int) -> tuple[float, int]:
    """Parse a column as edf2asc prints it; address after it, or 0 where it has another form.

    NaN for a missing one. Eight bytes from `at` on, and one more, must be there.
    """
    word = _word(at)
    if word & _FRAME != _IN_FRAME:
        if word & _FIRST_FIVE != _MISSING or _byte(at + 5) > BLANK:
            return 0.0, 0
        return np.nan, at + 5
    word = (word & ~_FRAME | _FRAME_AS_ZEROS) ^ _ZEROS
    blank = word & _SIXTEENS
    word ^= blank
    before = (blank >> _12) * np.uint64(255)  # all bits set in blank bytes, the first column's byte the lowest
    odd = ((word & _LOW7) + _ABOVE_NINE | word) & _HIGH  # no digit
    odd |= word & (blank >> _4) * np.uint64(15)  # has the blank's bit and others
    odd |= blank & _NO_BLANK_THERE | before & (before + np.uint64(1))  # a blank after a digit
    if odd or _byte(at + 8) > BLANK:
        return 0.0, 0
    tenths = (word & _FIRST_SIX) << _8 | word & _LAST  # the tenths move to where the point was
    return np.int64(_all_digits(tenths)) / 10.0, at + 8


@njit(cache=True, nogil=True, forceinline=True)
def three_numbers(at: int) -> tuple[float, float, float, bool]:
    """Parse three columns as `short_number` does; whether all three are there and in that form, and none missing.

    32 bytes from `at` on must be there.
    """
    x, y, pupil, good = _three(at)
    return x, y, pupil, _LITTLE and good and _byte(at + 24) <= BLANK


@njit(cache=True, nogil=True, forceinline=True)
def newlines(at: int) -> np.uint64:
    """Mask of the eight bytes from an address on: its lowest bit set is in the first newline, 0 where there is none."""
    word = _word(at) ^ _NEWLINES
    return np.uint64((word - _ONES) & ~word & _HIGH)


@njit(cache=True, nogil=True, forceinline=True)
def line_end(base: int, pos: int, size: int) -> int:
    """Position of the next newline from `pos` on, `size` if there is none before it; `base` is the bytes' address."""
    while pos + 8 <= size:
        found = newlines(base + pos)
        if found:
            return int(pos + (_trailing_zeros(found) >> 3))
        pos += 8
    while pos < size and _byte(base + pos) != NEWLINE:
        pos += 1
    return pos


@njit(cache=True, nogil=True, forceinline=True)
def is_space(byte: np.uint8) -> bool:
    r"""Whether a byte is white space to `str.split` and to ``\s``."""
    return bool(9 <= byte <= 13 or 28 <= byte <= 32)


@njit(cache=True, nogil=True)
def next_number(buf: U8, pos: int, size: int) -> tuple[float, int, bool]:
    """Parse the next column of a line: value (NaN for a lone dot), position after it, whether it was a number."""
    while pos < size and (buf[pos] == BLANK or buf[pos] == TAB):
        pos += 1
    negative = pos < size and buf[pos] == MINUS
    if negative:
        pos += 1
    whole, digits, decimals = 0, 0, 0
    while pos < size and ZERO <= buf[pos] <= NINE:
        if whole < _EXACT:
            whole = whole * 10 + (buf[pos] - ZERO)
        digits += 1
        pos += 1
    if pos < size and buf[pos] == DOT:
        pos += 1
        while pos < size and ZERO <= buf[pos] <= NINE:
            if whole < _EXACT:
                whole = whole * 10 + (buf[pos] - ZERO)
            digits += 1
            decimals += 1
            pos += 1
        if digits == 0:
            alone = pos >= size or buf[pos] <= BLANK
            return np.nan, pos, alone and not negative
    if digits == 0 or whole >= _EXACT or decimals > 22:
        return np.nan, pos, False
    if pos < size and (buf[pos] == 101 or buf[pos] == 69):  # e, E: edf2asc prints very large numbers so
        return _with_exponent(buf, pos + 1, size, whole, decimals, negative)
    value = whole / _TENS[decimals] if decimals else float(whole)
    return (-value if negative else value), pos, pos >= size or buf[pos] <= BLANK


@njit(cache=True, nogil=True)
def _with_exponent(buf: U8, pos: int, size: int, whole: int, decimals: int, negative: bool) -> tuple[float, int, bool]:
    """Finish `next_number` after the letter e."""
    down = pos < size and buf[pos] == MINUS
    if pos < size and (down or buf[pos] == 43):
        pos += 1
    power, digits = 0, 0
    while pos < size and ZERO <= buf[pos] <= NINE and digits < 4:
        power = power * 10 + (buf[pos] - ZERO)
        digits += 1
        pos += 1
    power = (-power if down else power) - decimals
    if digits == 0 or abs(power) > 22 or (pos < size and buf[pos] > BLANK):
        return np.nan, pos, False
    value = whole * _TENS[power] if power >= 0 else whole / _TENS[-power]
    return (-value if negative else value), pos, True
