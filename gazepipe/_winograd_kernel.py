"""Compiled transforms of tiles into a Winograd domain and out of it; see `gazepipe.winograd`.

A transform is a small constant matrix that acts on the rows and on the columns of a tile, in all channels alike. LLVM
instructions for a tile are written out from the matrix, without products by zero or one, on vectors of eight channels:
left to itself the compiler uses no vectors, since it cannot know that input and output do not overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from gazepipe._gaze_kernel import OPTIONS

__all__ = ["FORMS", "LANES", "convolve", "space_needed"]

Matrix = npt.NDArray[np.float64]

#: Channels of an instruction; numbers of channels must be multiples of it.
LANES = 8

#: Numbers between the tiles of one point and the next. Without them all points of a tile can lie a multiple of 4 kB
#: apart, where a cache has room for eight.
_APART = 16

# Four outputs of three taps need six points (0, ±1, ±2 and infinity), of two taps five (0, ±1, 2 and infinity).
_THREE_TAPS: tuple[Matrix, Matrix, Matrix] = (
    np.array(
        [
            [4.0, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    np.array([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
    np.array([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)
_TWO_TAPS: tuple[Matrix, Matrix, Matrix] = (
    np.array([[2.0, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]]),
    np.array([[3.0, 0], [-3, -3], [-1, 1], [1, 2], [0, 6]]) / 6,
    np.array([[1.0, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 0], [0, 1, -1, 8, 1]]),
)


def _every_second() -> tuple[Matrix, Matrix, Matrix]:
    """Stride 2: samples 0, 2 … 8 meet the first and the last weight, samples 1, 3, 5, 7 the middle one."""
    into, weight, out = np.zeros((9, 9)), np.zeros((9, 3)), np.zeros((4, 9))
    into[:5, ::2], weight[:5, ::2], out[:, :5] = _TWO_TAPS
    into[5:, 1::2], weight[5:, 1], out[:, 5:] = np.eye(4), 1, np.eye(4)
    return into, weight, out


#: Stride → matrices of input, weight and output: four outputs of a line, from the six or nine samples they depend on.
FORMS = {1: _THREE_TAPS, 2: _every_second()}

_FLOAT, _VECTOR, _INT = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES), ir.IntType(32)
_FLAGS = ("reassoc", "contract", "nsz")


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, value)] * LANES)


def _combine(builder: Any, row: Matrix, values: list[Any]) -> Any:
    """Σ factor · value; factors of one, of either sign, first."""
    total = None
    terms = [(factor, value) for factor, value in zip(row, values, strict=True) if factor]
    for factor, value in sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] < 0)):
        size = abs(float(factor))
        term = value if size == 1 else builder.fmul(value, _constant(size), flags=_FLAGS)
        if total is None:
            total = term if factor > 0 else builder.fneg(term, flags=_FLAGS)
        else:
            total = (builder.fadd if factor > 0 else builder.fsub)(total, term, flags=_FLAGS)
    return total


def _place(builder: Any, base: Any, row: Any, i: int, column: Any, j: int) -> Any:
    """Address of the vector i rows and j columns from `base`."""
    far = builder.add(builder.mul(row, ir.Constant(row.type, i)), builder.mul(column, ir.Constant(row.type, j)))
    at = builder.gep(builder.inttoptr(base, _FLOAT.as_pointer()), [far])
    return builder.bitcast(at, _VECTOR.as_pointer())


def _emitter(matrix: Matrix, added: bool) -> Any:
    """Write out ``matrix · tile · matrixᵀ``; where `added`, then ``max(… + other tile, least)``."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, source_row, source_column, target, target_row, target_column, *rest = arguments
        n = matrix.shape[1]
        half = []  # columns of the tile transformed
        for j in range(n):
            column = [builder.load(_place(builder, source, source_row, i, source_column, j), align=4) for i in range(n)]
            half.append([_combine(builder, row, column) for row in matrix])
        if added:
            other, other_row, other_column, least = rest
            least = _spread(builder, least)
        for i in range(len(matrix)):
            line = [half[j][i] for j in range(n)]
            for j, row in enumerate(matrix):
                value = _combine(builder, row, line)
                if added:
                    more = builder.load(_place(builder, other, other_row, i, other_column, j), align=4)
                    value = builder.fadd(value, more, flags=_FLAGS)
                    value = builder.select(builder.fcmp_ordered(">", value, least), value, least)
                builder.store(value, _place(builder, target, target_row, i, target_column, j), align=4)
        return context.get_dummy_value()

    return emit


def _spread(builder: Any, value: Any) -> Any:
    """One number in all lanes."""
    anything = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(anything, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, anything, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _multiplier(rows: int, vectors: int) -> Any:
    """Write out the product of some rows and a panel of some vectors' width; the sums stay in registers."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, left, left_row, panel, out, out_row, depth = arguments
        pointer = _FLOAT.as_pointer()
        one = ir.Constant(depth.type, 1)
        base = builder.inttoptr(left, pointer)
        lefts = [builder.gep(base, [builder.mul(left_row, one.type(i))]) for i in range(rows)]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(depth.type)
        k.add_incoming(depth.type(0), before)
        sums = [[builder.phi(_VECTOR) for _ in range(vectors)] for _ in range(rows)]
        start = builder.mul(k, depth.type(vectors * LANES))
        panels = [_place(builder, panel, builder.add(start, depth.type(j * LANES)), 1, one, 0) for j in range(vectors)]
        width = [builder.load(at, align=4) for at in panels]
        for i in range(rows):
            factor = _spread(builder, builder.load(builder.gep(lefts[i], [k]), align=4))
            for j in range(vectors):
                total = builder.fadd(sums[i][j], builder.fmul(factor, width[j], flags=_FLAGS), flags=_FLAGS)
                sums[i][j].add_incoming(_constant(0.0), before)
                sums[i][j].add_incoming(total, loop)
                sums[i][j] = total
        following = builder.add(k, one)
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        builder.position_at_end(after)
        for i in range(rows):
            for j in range(vectors):
                builder.store(sums[i][j], _place(builder, out, out_row, i, one, j * LANES), align=4)
        return context.get_dummy_value()

    return emit


def _tile_in_typed(context, stride, a, b, c, d, e, f):  # type: ignore[no-untyped-def]
    """Transform a tile of eight channels: address and distance between rows and columns, of input and output."""
    return types.void(stride, *[types.intp] * 6), _emitter(FORMS[stride.literal_value][0], added=False)


def _tile_out_typed(context, stride, a, b, c, d, e, f, g, h, i, least):  # type: ignore[no-untyped-def]
    """Likewise back; then another tile is added, and numbers below the last argument become that."""
    return types.void(stride, *[types.intp] * 9, types.float32), _emitter(FORMS[stride.literal_value][2], added=True)


def _multiply_typed(context, rows, vectors, a, b, c, d, e, depth):  # type: ignore[no-untyped-def]
    """Multiply rows (address, distance) by a panel ``(depth, 8 · vectors)`` into others (likewise); then the depth."""
    emit = _multiplier(rows.literal_value, vectors.literal_value)
    return types.void(rows, vectors, *[types.intp] * 6), emit


_tile_in: Any = intrinsic(prefer_literal=True)(_tile_in_typed)
_tile_out: Any = intrinsic(prefer_literal=True)(_tile_out_typed)
_multiply: Any = intrinsic(prefer_literal=True)(_multiply_typed)


@njit(**OPTIONS)
def _rows(vectors, left, left_row, panel, out, out_row, depth, count):  # type: ignore[no-untyped-def]
    """Multiply any number of rows, six at a time: their sums fill twelve of sixteen registers."""
    for i in range(0, count - 5, 6):
        a, b = left + 4 * i * left_row, out + 4 * i * out_row
        if vectors == 2:
            _multiply(6, 2, a, left_row, panel, b, out_row, depth)
        else:
            _multiply(6, 1, a, left_row, panel, b, out_row, depth)
    i = count - count % 6
    a, b = left + 4 * i * left_row, out + 4 * i * out_row
    rest = count % 6
    if vectors == 2:
        if rest == 5:
            _multiply(5, 2, a, left_row, panel, b, out_row, depth)
        elif rest == 4:
            _multiply(4, 2, a, left_row, panel, b, out_row, depth)
        elif rest == 3:
            _multiply(3, 2, a, left_row, panel, b, out_row, depth)
        elif rest == 2:
            _multiply(2, 2, a, left_row, panel, b, out_row, depth)
        elif rest == 1:
            _multiply(1, 2, a, left_row, panel, b, out_row, depth)
    else:
        for k in range(rest):
            _multiply(1, 1, a + 4 * k * left_row, left_row, panel, b + 4 * k * out_row, out_row, depth)


@njit(**OPTIONS)
def _multiply_all(tiles, panels, count, depth, width, products):  # type: ignore[no-untyped-def]
    """Products of all points: ``(points, ≥ count · depth)`` by packed weights → ``(points, ≥ count · width)``.

    `panels` is ``(points, depth · width)``: of each point sixteen columns, the next sixteen, the last eight.
    """
    for p in range(tiles.shape[0]):
        left = tiles.ctypes.data + 4 * p * tiles.shape[1]
        out = products.ctypes.data + 4 * p * products.shape[1]
        panel = panels.ctypes.data + 4 * p * depth * width
        for c in range(0, width - 15, 16):
            _rows(2, left, depth, panel + 4 * c * depth, out + 4 * c, width, depth, count)
        if width % 16:
            c = width - 8
            _rows(1, left, depth, panel + 4 * c * depth, out + 4 * c, width, depth, count)


@njit(**OPTIONS)
def _gather(x, stride, first, last, patch, out):  # type: ignore[no-untyped-def]
    """Transform tiles ``first … last − 1`` of maps, padded by one.

    Parameters
    ----------
    x
        ``(n, H, W, channels)`` float32, in one piece like all arrays here.
    stride
        1 or 2.
    patch
        Space for a tile, ``(side, side, channels)``.
    out
        ``(side², ≥ (last − first) · channels)``.
    """
    _, height, width, channels = x.shape
    side = patch.shape[0]
    step = 4 * stride
    down, across = (height - 1) // step + 1, (width - 1) // step + 1
    far = out.shape[1]
    for t in range(first, last):
        n, place = t // (down * across), t % (down * across)
        top, left = place // across * step - 1, place % across * step - 1
        if top < 0 or left < 0 or top + side > height or left + side > width:
            for i in range(side):
                for j in range(side):
                    y, z = top + i, left + j
                    if 0 <= y < height and 0 <= z < width:
                        for c in range(channels):
                            patch[i, j, c] = x[n, y, z, c]
                    else:
                        for c in range(channels):
                            patch[i, j, c] = 0
            source, row = patch.ctypes.data, side * channels
        else:
            source, row = x.ctypes.data + 4 * (((n * height + top) * width + left) * channels), width * channels
        target = out.ctypes.data + 4 * (t - first) * channels
        for c in range(0, 4 * channels, 4 * LANES):
            if stride == 1:
                _tile_in(1, source + c, row, channels, target + c, side * far, far)
            else:
                _tile_in(2, source + c, row, channels, target + c, side * far, far)


@njit(**OPTIONS)
def _scatter(products, stride, first, last, added, least, patch, y):  # type: ignore[no-untyped-def]
    """Transform products of tiles ``first … last − 1`` back: ``y = max(tile + added, least)``.

    Parameters
    ----------
    products
        ``(side², ≥ (last − first) · channels)``.
    added
        A bias ``(1, 1, channels)``, or a map that reaches over all tiles, ``(≥ H, ≥ W, channels)``.
    least
        Zero for a ReLU, −∞ for none.
    patch
        Space for a tile of output, ``(4, 4, channels)``.
    y
        ``(n, H, W, channels)``.
    """
    _, height, width, channels = y.shape
    down, across = (height - 1) // 4 + 1, (width - 1) // 4 + 1
    side = 6 if stride == 1 else 9
    far = products.shape[1]
    spread = added.shape[0] > 1
    added_row, added_column = (added.shape[1] * channels, channels) if spread else (0, 0)
    for t in range(first, last):
        n, place = t // (down * across), t % (down * across)
        top, left = place // across * 4, place % across * 4
        whole = top + 4 <= height and left + 4 <= width
        if whole:
            target, row = y.ctypes.data + 4 * (((n * height + top) * width + left) * channels), width * channels
        else:
            target, row = patch.ctypes.data, 4 * channels
        source = products.ctypes.data + 4 * (t - first) * channels
        other = added.ctypes.data + 4 * (top * added_row + left * added_column)
        for c in range(0, 4 * channels, 4 * LANES):
            if stride == 1:
                _tile_out(
                    1, source + c, side * far, far, target + c, row, channels, other + c, added_row, added_column, least
                )
            else:
                _tile_out(
                    2, source + c, side * far, far, target + c, row, channels, other + c, added_row, added_column, least
                )
        if not whole:
            for i in range(min(4, height - top)):
                for j in range(min(4, width - left)):
                    for c in range(channels):
                        y[n, top + i, left + j, c] = patch[i, j, c]


def space_needed(side: int, block: int, before: int, after: int) -> int:
    """Length of the space that `convolve` works in."""
    return side * side * ((block + 1) * before + block * after + 2 * _APART) + 16 * after


@njit(**OPTIONS)
def convolve(x, panels, stride, block, added, least, space, y):  # type: ignore[no-untyped-def]
    """Convolve maps ``(n, H, W, channels)`` by 3 × 3 weights, padded by one, `block` tiles at a time, into `y`.

    Arrays are float32 and in one piece; `panels` as in `_multiply_all`, `added` and `least` as in `_scatter`, and
    `space` is of the length that `space_needed` gives.
    """
    before, after = x.shape[3], y.shape[3]
    side = 6 if stride == 1 else 9
    points = side * side
    a = points * before
    b = a + points * (block * before + _APART)
    c = b + points * (block * after + _APART)
    patch = space[:a].reshape((side, side, before))
    tiles = space[a:b].reshape((points, block * before + _APART))
    products = space[b:c].reshape((points, block * after + _APART))
    corner = space[c : c + 16 * after].reshape((4, 4, after))
    total = y.shape[0] * ((y.shape[1] - 1) // 4 + 1) * ((y.shape[2] - 1) // 4 + 1)
    for first in range(0, total, block):
        last = min(first + block, total)
        _gather(x, stride, first, last, patch, tiles)
        _multiply_all(tiles, panels, last - first, before, after, products)
        _scatter(products, stride, first, last, added, least, corner, y)
