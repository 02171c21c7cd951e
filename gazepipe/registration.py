"""Take the calibration's offset out of a person's maps: move them as one so that they fit the universal maps best.

An eye tracker's calibration leaves an offset that stays through a session. It tells people apart, yet it is the
tracker's and not theirs: after the next calibration it is another. Every map of a session was moved by the same, so
that a set of maps shows it well. Of the log-likelihood of looks moved by s,

    C(s) = Σ_i Σ_x PSM_i(x) / ΣPSM_i · log( USM_i(x + s) / max USM_i + ε ),

which is a cross-correlation and adds up over pairs, the maximum is taken, refined by a quadric through the nine
cells about it.

All of this is done on a grid of 30 × 40 cells; with σ = 1° that is fine enough (see `docs/method.md`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["GRID", "REACH", "coarse", "log_density", "match", "moved", "offset"]

#: Rows and columns that maps are reduced to.
GRID = (30, 40)
#: Offsets are looked for up to so many cells in each direction: a tenth of the image's width.
REACH = 4
#: Looks where nobody else looked must not outweigh all others.
_FLOOR = 0.02


def coarse(maps: Tensor) -> Tensor:
    """Maps ``(n, H, W)`` as means over the cells of a grid of 30 × 40, float32 ``(n, 30, 40)``."""
    return F.adaptive_avg_pool2d(maps.float()[:, None], GRID)[:, 0]


def log_density(usm: Tensor) -> Tensor:
    """``log(USM / max USM + 0.02)``, ``(n, H, W)``; between −3.9 and 0.02."""
    return (usm / usm.amax((1, 2), keepdim=True).clamp(min=1e-9) + _FLOOR).log()


def match(psm: Tensor, usm: Tensor) -> Tensor:
    """How well each personal map fits its universal one when it is moved by whole cells.

    Parameters
    ----------
    psm, usm
        Maps ``(n, 30, 40)``.

    Returns
    -------
    torch.Tensor
        ``(n, 2 · REACH + 1, 2 · REACH + 1)``; [i, j] for a move of j − REACH cells to the right and i − REACH down.
    """
    share = psm / psm.sum((1, 2), keepdim=True).clamp(min=1e-9)
    wide = F.pad(log_density(usm)[None], (REACH,) * 4, mode="replicate")  # (1, n, 38, 48)
    return F.conv2d(wide, share[:, None], groups=len(psm))[0]


def offset(matches: Tensor) -> Tensor:
    """Move that fits a set of maps best, from the sum of their `match`: ``(…, 9, 9)`` → ``(…, 2)``, in cells.

    The first number is to the right, the second down.
    A quadric through the best cell and the eight around it gives fractions of a cell.
    """
    side = 2 * REACH + 1
    flat = matches.reshape(-1, side, side)
    best = flat.flatten(1).argmax(1)
    i, j = (best // side).clamp(1, side - 2), (best % side).clamp(1, side - 2)
    row = torch.arange(len(flat), device=flat.device)
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    around = torch.stack([flat[row, i + a, j + b] for a, b in steps], 1).double()  # (k, 9)
    design = torch.tensor([[1, b, a, b * b, a * a, a * b] for a, b in steps], dtype=torch.float64)
    c = around @ torch.linalg.pinv(design).T.to(around.device)  # (k, 6): 1, x, y, x², y², xy
    curvature = 4 * c[:, 3] * c[:, 4] - c[:, 5] ** 2
    # Where the nine cells are no hill (an empty map), the best whole cell stands.
    hill = (curvature > 1e-12) & (c[:, 3] < 0)
    safe = torch.where(hill, curvature, 1.0)
    x = torch.where(hill, (c[:, 5] * c[:, 2] - 2 * c[:, 4] * c[:, 1]) / safe, 0.0).clamp(-1, 1)
    y = torch.where(hill, (c[:, 5] * c[:, 1] - 2 * c[:, 3] * c[:, 2]) / safe, 0.0).clamp(-1, 1)
    found = torch.stack([x + j - REACH, y + i - REACH], 1).float()
    return found.reshape(*matches.shape[:-2], 2)


def moved(maps: Tensor, by: Tensor) -> Tensor:
    """Maps ``(n, H, W)`` moved by ``(n, 2)`` cells to the right and down, band-limited; nothing comes in."""
    down, right = _shift(by[:, 1], maps.shape[1]), _shift(by[:, 0], maps.shape[2])
    return (down @ maps @ right.transpose(1, 2)).clamp(min=0)


def _shift(by: Tensor, n: int) -> Tensor:
    """Matrices ``(k, n, n)`` that move a row of n cells by `by` ``(k,)``: Lanczos' kernel over four cells to each side.

    For a Gaussian of σ = 1.2 cells, half a cell is moved to 0.3 % of its maximum (Keys' cubic: 2 %).
    """
    cells = torch.arange(n, device=by.device, dtype=torch.float32)
    d = cells[:, None] - cells[None] - by[:, None, None]  # how far each new cell stands from each old one
    return torch.where(d.abs() < 4, torch.sinc(d) * torch.sinc(d / 4), 0.0)
