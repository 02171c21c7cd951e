"""Compiled loop for the spread of gaze in many short stretches."""

from __future__ import annotations

import numpy as np
from numba import njit

from gazepipe._gaze_kernel import OPTIONS


@njit(**OPTIONS)
def ellipses(x, y, left_out, first, end, geometry, out):  # type: ignore[no-untyped-def]
    """Fill `out` with ``σ_a σ_e √(1 − ρ²)`` (deg²) of azimuth and elevation of the samples ``[first, end)``.

    Missing samples and those `left_out` do not count; NaN for fewer than three. The product under the root is
    the covariance's determinant, which needs no ρ.
    """
    ox, oy, sx, sy, one = geometry
    for k in range(first.shape[0]):
        n, mean_a, mean_e, aa, ee, ae = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(first[k], end[k]):
            if left_out[i] or not (x[i] == x[i] and y[i] == y[i]):
                continue
            px, py = (x[i] - ox) * sx, (y[i] - oy) * sy
            azimuth = np.degrees(np.arctan(px))
            elevation = np.degrees(np.arctan2(-py, np.sqrt(one + px * px)))
            n += 1
            da, de = azimuth - mean_a, elevation - mean_e
            mean_a += da / n
            mean_e += de / n
            aa += da * (azimuth - mean_a)
            ee += de * (elevation - mean_e)
            ae += da * (elevation - mean_e)
        out[k] = np.sqrt(max(aa * ee - ae * ae, 0.0)) / (n - 1) if n > 2 else np.nan
