"""The byte loops of the EyeLink ASC reader: one pass parses the samples, messages and events, and keeps other text.

Plain arrays in, plain arrays out. What a line means that is none of these is decided in `eyelink_asc`, which is called
back (by returning) at every line that can change how samples are laid out, and in `_asc_text`. A message or event in
any but the usual form is left to `_asc_text` as well; its row in the table keeps its place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from gazepipe.readers._asc_number import (
    BLANK,
    DOT,
    MINUS,
    NEWLINE,
    NINE,
    RETURN,
    TAB,
    ZERO,
    is_space,
    line_end,
    newlines,
    next_number,
    short_number,
    short_time,
    three_numbers,
)
from gazepipe.readers._asc_text import (
    BEGIN,
    BLINK,
    BODY,
    END,
    EVENT,
    FIXATION,
    KIND,
    MESSAGE,
    NOTED,
    NUMBER,
    OTHER,
    SACCADE,
)

__all__ = ["CONTROL", "DISORDER", "FULL", "MALFORMED", "MORE", "UNFINISHED", "scan", "usual_steps", "wide_steps"]

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

# Why `scan` returned.
MORE, CONTROL, MALFORMED, DISORDER, UNFINISHED, FULL = 0, 1, 2, 3, 4, 5

# What it keeps from one call to the next: position, lines before it, and how many samples, rows of the table, bytes of
# text and lines with a number outside of blocks there are; whether a byte of the text is not ASCII; where the control
# line begins.
POS, LINE, SAMPLES, ROWS, TEXT, OUTSIDE, FOREIGN, BEGAN = range(8)

_MOST = 24  # numbers of an event
_S, _T, _A, _M, _E, _N, _D, _V, _F, _I, _X, _C, _B, _L, _K = (ord(c) for c in "STAMENDVFIXCBLK")
_G, _P, _U, _R, _STAR, _EXCLAMATION = (ord(c) for c in "GPUR*!")


@njit(cache=True, nogil=True)
def scan(
    buf: U8,
    size: int,
    n_values: int,
    row: int,
    repeats: bool,
    block: int,
    in_href: bool,
    time: F64,
    values: F32,
    text: U8,
    table: I64,
    numbers: F64,
    state: I64,
) -> int:
    """Read lines to the next one that only the caller understands.

    Parameters
    ----------
    buf, size
        Bytes of the file, and how many of them count.
    n_values
        Columns to parse after the time: 3 for one eye, 6 for two; 0 outside a block, where no line is a sample.
    row
        First row of `values` to write them to.
    repeats
        Whether a whole number of milliseconds may stand twice in a row, as at 2000 Hz.
    block
        Index of the block's first sample.
    in_href
        Whether events are made from HREF data.
    time, values
        Output, shapes ``(capacity,)`` and ``(6, capacity)``.
    text, table, numbers
        Output: the lines that matter and are no samples, each with a newline, their rows of shape ``(capacity, 5)``
        (see `KIND`), and of shape ``(capacity, 6)`` time and offset of a message; onset, offset, x, y, amplitude and
        peak velocity of an event.
    state
        See `POS`; updated.

    Returns
    -------
    int
        `MORE`: all is read. `CONTROL`: a control line was passed over. `FULL`: no room in an output. `MALFORMED`,
        `DISORDER`, `UNFINISHED` (by the end of `size`): the sample at the position cannot be taken.
    """
    pos, line, n, outside = state[POS], state[LINE], state[SAMPLES], state[OUTSIDE]
    room, base = time.shape[0], buf.ctypes.data
    # What follows the columns is as long as in the line before, as a rule: to guess that, and see whether it is so,
    # lets the processor begin with the next line before the end of this one is found.
    usual_found, usual_rest = np.uint64(0), 0
    # Eight bytes can be loaded, and one after them looked at, wherever a column can begin in a line that begins here.
    safe = buf.shape[0] - 16 * (n_values + 2)
    reason = MORE
    while pos < size:
        first = buf[pos]
        if n_values and ZERO <= first <= NINE:
            if n == room:
                reason = FULL
                break
            at = 0
            if pos < safe:
                moment, at = short_time(base + pos)
                for k in range(row, row + n_values, 3):
                    if at == 0:
                        break
                    x, y, pupil, good = three_numbers(at)
                    if good:
                        values[k, n], values[k + 1, n], values[k + 2, n] = x, y, pupil
                        at += 24
                        continue
                    x, at = short_number(at)
                    if at == 0:
                        break
                    y, at = short_number(at)
                    if at == 0:
                        break
                    pupil, at = short_number(at)
                    if x != x or y != y:
                        x = y = pupil = np.nan
                    values[k, n], values[k + 1, n], values[k + 2, n] = x, y, pupil
            good, p = True, at - base
            if at == 0:
                moment, p, good = next_number(buf, pos, size)
                good = good and moment == moment
                for k in range(n_values):
                    if not good:
                        break
                    values[row + k, n], p, good = next_number(buf, p, size)
                for k in range(row, row + n_values, 3):
                    if values[k, n] != values[k, n] or values[k + 1, n] != values[k + 1, n]:
                        values[k : k + 3, n] = np.nan
            found = newlines(base + p) if p + 8 <= buf.shape[0] else np.uint64(0)
            if found and found == usual_found:
                end = p + usual_rest
            else:
                end = line_end(base, p, size)
                usual_found, usual_rest = found, end - p
            if end >= size:
                reason = UNFINISHED
                break
            if not good:
                reason = MALFORMED
                break
            if n > block and not moment > time[n - 1]:
                twice = repeats and moment == time[n - 1] and moment == np.floor(moment)
                if not twice or (n - 1 > block and moment == time[n - 2]):
                    reason = DISORDER
                    break
            time[n] = moment
            n += 1
            pos = end + 1
            line += 1
            continue
        end = line_end(base, pos, size)
        if state[ROWS] == table.shape[0] or state[TEXT] + end - pos + 1 > text.shape[0]:
            reason = FULL
            break
        line += 1
        outside += ZERO <= first <= NINE
        _keep(buf, pos, end, line, in_href, text, table, numbers, state)
        if _is_control(buf, pos, end):
            state[BEGAN], pos = pos, end + 1
            reason = CONTROL
            break
        pos = end + 1
    state[POS], state[LINE], state[SAMPLES], state[OUTSIDE] = pos, line, n, outside
    return reason


@njit(cache=True, nogil=True)
def _is_control(buf: U8, pos: int, end: int) -> bool:
    """Whether a line begins with START, SAMPLES, EVENTS or END: the lines that change how samples are read."""
    if end - pos < 3:
        return False
    a, b, c = buf[pos], buf[pos + 1], buf[pos + 2]
    if a == _S:
        control = (b == _T and c == _A) or (b == _A and c == _M)  # STA, SAM
    else:
        control = a == _E and ((b == _N and c == _D) or (b == _V and c == _E))  # END, EVE
    return bool(control)


@njit(cache=True, nogil=True)
def _keep(
    buf: U8, pos: int, end: int, line: int, in_href: bool, text: U8, table: I64, numbers: F64, state: I64
) -> None:
    """Copy a line to the text and make its row, unless nothing is ever read from it.

    Lines that are not ASCII are kept, for all of them tell in what encoding the file is.
    """
    at, start = state[ROWS], state[TEXT]
    kind, body, wanted = OTHER, pos, False
    if end - pos > 2:
        a, b, c = buf[pos], buf[pos + 1], buf[pos + 2]
        if a == _M and b == _S and c == _G:
            kind, body = _message(buf, pos + 3, end, numbers[at])
            wanted = True
        elif a == _E and b in (_F, _S, _B):
            kind = _event(buf, pos, end, in_href, numbers[at])
            wanted = True
        else:
            wanted = (a == _STAR and b == _STAR) or (a == _P and b == _U) or (a == _S and b == _A)
            wanted = wanted or (a == _E and b == _V)
    foreign = False
    for k in range(end - pos):
        byte = buf[pos + k]
        text[start + k] = byte
        foreign |= byte > 127
    if not (wanted or foreign):
        return
    text[start + end - pos] = NEWLINE
    table[at, KIND], table[at, NUMBER] = kind, line
    table[at, BEGIN], table[at, BODY], table[at, END] = start, start + body - pos, start + end - pos
    state[TEXT] = start + end - pos + 1
    state[ROWS] = at + 1
    state[FOREIGN] |= foreign


@njit(cache=True, nogil=True)
def _message(buf: U8, pos: int, end: int, numbers: F64) -> tuple[int, int]:
    """Parse time and offset of a message; `OTHER` where bytes that are not ASCII stand among them.

    Returns its kind, and where its body begins. The rules are those of ``_MESSAGE`` in `_asc_text`.
    """
    p = pos
    while p < end and is_space(buf[p]):
        p += 1
    if p in (pos, end) or not ZERO <= buf[p] <= NINE:
        return OTHER, pos
    digits, q = p, p
    while q < end and ZERO <= buf[q] <= NINE:
        q += 1
    if q + 1 < end and buf[q] == DOT and ZERO <= buf[q + 1] <= NINE:
        q += 1
        while q < end and ZERO <= buf[q] <= NINE:
            q += 1
    if (q < end and buf[q] > 127) or (q + 1 < end and buf[q] == DOT and buf[q + 1] > 127):
        return OTHER, pos
    # `next_number` would also take an exponent or a point without digits after it, which the text begins with then
    moment, p, _ = next_number(buf[:q], digits, q)
    if p != q or moment != moment:
        return OTHER, pos
    numbers[0], numbers[1] = moment, 0.0
    while p < end and is_space(buf[p]):
        p += 1
    body = p
    if p > q:
        p += p < end and buf[p] == MINUS
        if p < end and buf[p] > 127:
            return OTHER, pos
        digits = p
        while p < end and ZERO <= buf[p] <= NINE:
            p += 1
        after = p
        while after < end and is_space(buf[after]):
            after += 1
        if p > digits and after < end:
            if buf[p] > 127 or buf[after] > 127:
                return OTHER, pos
            if after > p:
                offset, p, good = next_number(buf, body, end)
                if not good:
                    return OTHER, pos
                numbers[1], body = offset, after
    if body >= end:
        return MESSAGE, end
    first = buf[body]
    if first > 127:
        return OTHER, pos
    special = body + 1 < end and (
        (first == _D and buf[body + 1] == _I)
        or (first == _G and buf[body + 1] == _A)
        or (first == _EXCLAMATION and buf[body + 1] == _C)
    )
    return (NOTED if special else MESSAGE), body


@njit(cache=True, nogil=True)
def _event(buf: U8, pos: int, end: int, in_href: bool, numbers: F64) -> int:
    """Parse an EFIX, ESACC or EBLINK line; `OTHER` where that takes more than plain columns.

    The rules are those of ``_event`` in `_asc_text`.
    """
    if end - pos < 10:
        return OTHER
    a, b, c, d = buf[pos + 1], buf[pos + 2], buf[pos + 3], buf[pos + 4]
    if a == _F and b == _I and c == _X:
        kind, p = FIXATION, pos + 4
    elif a == _S and b == _A and c == _C and d == _C:
        kind, p = SACCADE, pos + 5
    elif a == _B and b == _L and c == _I and d == _N and buf[pos + 5] == _K:
        kind, p = BLINK, pos + 6
    else:
        return OTHER
    gap = p
    while p < end - 1 and (buf[p] == BLANK or buf[p] == TAB):
        p += 1
    eye = buf[p]
    if p == gap or p + 1 >= end or eye not in (_L, _R) or buf[p + 1] not in (BLANK, TAB):
        return OTHER
    p += 1
    found = np.empty(_MOST)
    n = 0
    while True:
        while p < end and (buf[p] == BLANK or buf[p] == TAB):
            p += 1
        if p == end or (buf[p] == RETURN and p + 1 == end):
            break
        if n == _MOST:
            return OTHER
        found[n], p, good = next_number(buf, p, end)
        if not good:
            return OTHER
        n += 1
    group = 0 if kind == BLINK else 3 if kind == FIXATION else 6
    if n < 3 + group:
        return OTHER
    numbers[:] = np.nan
    numbers[0], numbers[1] = found[0], found[1]
    if group:
        twice = n >= 3 + 2 * group
        f = found[3 + group :] if twice else found[3:]
        place = 0 if kind == FIXATION else 2
        if twice or not in_href:
            numbers[2], numbers[3] = f[place], f[place + 1]
        if kind == SACCADE:
            if f[0] == f[0] and f[1] == f[1] and f[2] == f[2] and f[3] == f[3]:
                numbers[4] = f[4]
            numbers[5] = f[5]
    return int(EVENT + 2 * kind + (eye == _R))


@njit(cache=True, nogil=True)
def usual_steps(time: F64, first: I64, end: I64, most: int, out: F64) -> None:
    """Fill `out` with each block's time step where its first `most` ones are all the same, else NaN; 0 for none."""
    for b in range(first.shape[0]):
        a, z = first[b], min(end[b], first[b] + most + 1)
        out[b] = 0.0
        if z - a < 2:
            continue
        step = time[a + 1] - time[a]
        differ = 0
        for i in range(a + 1, z):
            differ += time[i] - time[i - 1] != step
        out[b] = np.nan if differ else step


@njit(cache=True, nogil=True)
def wide_steps(time: F64, first: I64, end: I64, limit: F64) -> int:
    """Count the time steps above the `limit` of the block they lie in."""
    count = 0
    for b in range(first.shape[0]):
        above = limit[b]
        for i in range(first[b] + 1, end[b]):
            count += time[i] - time[i - 1] > above
    return count
