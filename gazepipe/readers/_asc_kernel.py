"""The byte loops of the EyeLink ASC reader: count the lines, parse the samples, gather everything else.

Plain arrays in, plain arrays out. What a line means is decided in `eyelink_asc`, which is called back (by returning)
at every line that can change how samples are laid out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["CONTROL", "DISORDER", "END_OF_FILE", "MALFORMED", "UNFINISHED", "count_lines", "gather", "scan"]

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

# Why `scan` returned.
END_OF_FILE, CONTROL, MALFORMED, DISORDER, UNFINISHED = 0, 1, 2, 3, 4

_NEWLINE, _RETURN, _TAB, _BLANK, _DOT, _MINUS, _ZERO, _NINE = 10, 13, 9, 32, 46, 45, 48, 57

# Powers of ten that float64 holds exactly. A whole number below 2**53 divided by one of them is rounded once, so the
# result is the float64 nearest to the text, as Python's float() gives it.
_TENS = 10.0 ** np.arange(23)
_EXACT = 2**53


@njit(cache=True, nogil=True)
def count_lines(buf: U8) -> tuple[int, int]:
    """Count the lines and those that begin with a digit, which bounds the number of samples."""
    if buf.shape[0] == 0:
        return 0, 0
    lines = 1
    digits = 1 if _ZERO <= buf[0] <= _NINE else 0
    for k in range(buf.shape[0] - 1):  # no branches, so that the compiler can use vector instructions
        newline = buf[k] == _NEWLINE
        lines += newline
        digits += newline & (buf[k + 1] >= _ZERO) & (buf[k + 1] <= _NINE)
    return lines, digits


@njit(cache=True, nogil=True)
def gather(buf: U8, offsets: I64, lengths: I64) -> U8:
    """Copy the given stretches one after another, a newline after each."""
    out = np.empty(lengths.sum() + lengths.shape[0], np.uint8)
    k = 0
    for i in range(offsets.shape[0]):
        for j in range(offsets[i], offsets[i] + lengths[i]):
            out[k] = buf[j]
            k += 1
        out[k] = _NEWLINE
        k += 1
    return out


@njit(cache=True, nogil=True)
def _number(buf: U8, pos: int, size: int) -> tuple[float, int, bool]:
    """Parse the next column of a line: value (NaN for a lone dot), position after it, whether it was a number."""
    while pos < size and (buf[pos] == _BLANK or buf[pos] == _TAB):
        pos += 1
    negative = pos < size and buf[pos] == _MINUS
    if negative:
        pos += 1
    whole, digits, decimals = 0, 0, 0
    while pos < size and _ZERO <= buf[pos] <= _NINE:
        if whole < _EXACT:
            whole = whole * 10 + (buf[pos] - _ZERO)
        digits += 1
        pos += 1
    if pos < size and buf[pos] == _DOT:
        pos += 1
        while pos < size and _ZERO <= buf[pos] <= _NINE:
            if whole < _EXACT:
                whole = whole * 10 + (buf[pos] - _ZERO)
            digits += 1
            decimals += 1
            pos += 1
        if digits == 0:
            alone = pos >= size or buf[pos] <= _BLANK
            return np.nan, pos, alone and not negative
    if digits == 0 or whole >= _EXACT or decimals > 22:
        return np.nan, pos, False
    if pos < size and (buf[pos] == 101 or buf[pos] == 69):  # e, E: edf2asc prints very large numbers so
        return _with_exponent(buf, pos + 1, size, whole, decimals, negative)
    value = whole / _TENS[decimals] if decimals else float(whole)
    return (-value if negative else value), pos, pos >= size or buf[pos] <= _BLANK


@njit(cache=True, nogil=True)
def _with_exponent(buf: U8, pos: int, size: int, whole: int, decimals: int, negative: bool) -> tuple[float, int, bool]:
    """Finish `_number` after the letter e."""
    down = pos < size and buf[pos] == _MINUS
    if pos < size and (down or buf[pos] == 43):
        pos += 1
    power, digits = 0, 0
    while pos < size and _ZERO <= buf[pos] <= _NINE and digits < 4:
        power = power * 10 + (buf[pos] - _ZERO)
        digits += 1
        pos += 1
    power = (-power if down else power) - decimals
    if digits == 0 or abs(power) > 22 or (pos < size and buf[pos] > _BLANK):
        return np.nan, pos, False
    value = whole * _TENS[power] if power >= 0 else whole / _TENS[-power]
    return (-value if negative else value), pos, True


@njit(cache=True, nogil=True)
def _is_control(buf: U8, pos: int, end: int) -> bool:
    """Whether a line begins with START, SAMPLES, EVENTS or END: the lines that change how samples are read."""
    if end - pos < 3:
        return False
    a, b, c = buf[pos], buf[pos + 1], buf[pos + 2]
    if a == 83:  # S
        control = (b == 84 and c == 65) or (b == 65 and c == 77)  # STA, SAM
    else:
        control = a == 69 and ((b == 78 and c == 68) or (b == 86 and c == 69))  # END, EVE
    return bool(control)


@njit(cache=True, nogil=True)
def scan(
    buf: U8,
    pos: int,
    line: int,
    n_values: int,
    row: int,
    repeats: bool,
    block: int,
    n: int,
    time: F64,
    values: F32,
    n_other: int,
    other_offset: I64,
    other_length: I64,
    other_line: I64,
) -> tuple[int, int, int, int, int]:
    """Read lines from `pos` to the next line that only the caller understands.

    Parameters
    ----------
    buf
        The file's bytes.
    pos, line
        Where to begin, and how many lines lie before it.
    n_values
        Columns to parse after the time: 3 for one eye, 6 for two; 0 outside a block, where no line is a sample.
    row
        First row of `values` to write them to.
    repeats
        Whether a whole number of milliseconds may stand twice in a row, as at 2000 Hz.
    block, n
        Index of the block's first sample, and of the next one to write.
    time, values
        Output, shapes ``(capacity,)`` and ``(6, capacity)``.
    n_other, other_offset, other_length, other_line
        Output: where the lines stand that are no samples, and their one-based number.

    Returns
    -------
    tuple
        Reason (`END_OF_FILE`, `CONTROL`, `MALFORMED`, `DISORDER`, `UNFINISHED`), position and count of lines before
        it, `n`, `n_other`. At `CONTROL` the control line has been appended to the others and passed over; at the
        last three the position is that of the line at fault.
    """
    size = buf.shape[0]
    while pos < size:
        first = buf[pos]
        if n_values and _ZERO <= first <= _NINE:
            value, p, good = _number(buf, pos, size)
            good = good and value == value
            missing = False
            for k in range(n_values):
                if not good:
                    break
                v, p, good = _number(buf, p, size)
                eye_column = k % 3
                if eye_column == 0:
                    missing = v != v
                    values[row + k, n] = v
                elif eye_column == 1:
                    missing = missing or v != v
                    if missing:
                        values[row + k - 1, n] = np.nan
                        v = np.nan
                    values[row + k, n] = v
                else:
                    values[row + k, n] = np.nan if missing else v
            if not good:
                end = p
                while end < size and buf[end] != _NEWLINE:
                    end += 1
                return (MALFORMED if end < size else UNFINISHED), pos, line, n, n_other
            while p < size and buf[p] != _NEWLINE:
                p += 1
            if p >= size:
                return UNFINISHED, pos, line, n, n_other
            if n > block and not value > time[n - 1]:
                twice = repeats and value == time[n - 1] and value == np.floor(value)
                if not twice or (n - 1 > block and value == time[n - 2]):
                    return DISORDER, pos, line, n, n_other
            time[n] = value
            n += 1
            pos = p + 1
            line += 1
            continue
        end = pos
        while end < size and buf[end] != _NEWLINE:
            end += 1
        line += 1
        if end > pos and first != _RETURN:
            other_offset[n_other] = pos
            other_length[n_other] = end - pos
            other_line[n_other] = line
            n_other += 1
            if _is_control(buf, pos, end):
                return CONTROL, end + 1, line, n, n_other
        pos = end + 1
    return END_OF_FILE, size, line, n, n_other
