"""t-SNE (van der Maaten & Hinton 2008, JMLR 9:2579), exact, for the few hundred points of a figure.

Exact means quadratic in the number of points: 300 points take seconds, 3,000 would take minutes. It starts from the
first two principal components, so that the same points always give the same picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["affinities", "tsne"]

F64 = npt.NDArray[np.float64]
_TINY = 1e-12


def affinities(points: npt.ArrayLike, perplexity: float) -> F64:
    """Joint probabilities ``(n, n)`` of neighbours: Gaussian, of a width that gives each point the perplexity."""
    x = np.asarray(points, np.float64)
    n = len(x)
    squares = (x**2).sum(1)
    distance = np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0)
    conditional = np.zeros((n, n))
    for i in range(n):
        others = np.delete(distance[i], i)
        others = others - others.min()  # the same probabilities, and no underflow
        low, high, beta = 0.0, np.inf, 1 / max(others.mean(), _TINY)
        for _ in range(64):
            p = np.exp(-others * beta)
            p /= p.sum()
            entropy = -(p * np.log(np.maximum(p, _TINY))).sum()
            if abs(entropy - np.log(perplexity)) < 1e-6:
                break
            low, high = (beta, high) if entropy > np.log(perplexity) else (low, beta)
            beta = beta * 2 if np.isinf(high) else (low + high) / 2
        conditional[i] = np.insert(p, i, 0)
    return (conditional + conditional.T) / (2 * n)


def tsne(points: npt.ArrayLike, *, perplexity: float = 30.0, steps: int = 750) -> F64:
    """Place points in the plane so that neighbours stay neighbours.

    Parameters
    ----------
    points
        ``(n, d)``.
    perplexity
        About how many neighbours a point has; at most a third of the others.
    steps
        Of gradient descent with momentum; neighbours attract each other twelvefold in the first third.

    Returns
    -------
    numpy.ndarray
        ``(n, 2)``, mean 0. Axes have no unit; distances between clusters and their sizes mean little.
    """
    x = np.asarray(points, np.float64)
    n = len(x)
    if n < 4:
        return np.zeros((n, 2))
    p = affinities(x, min(perplexity, (n - 1) / 3))
    centred = x - x.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    y: F64 = centred @ directions[:2].T
    if y.shape[1] < 2:
        y = np.concatenate([y, np.zeros((n, 2 - y.shape[1]))], 1)
    # The sign of a principal component is the library's whim: the largest coordinate is made positive.
    y *= np.sign(y[np.abs(y).argmax(0), [0, 1]] + _TINY)
    y *= 1e-4 / max(y[:, 0].std(), _TINY)
    speed, gain = np.zeros_like(y), np.ones_like(y)
    rate = max(n / 12 / 4, 50.0)
    early = steps // 3
    for step in range(steps):
        squares = (y**2).sum(1)
        near = 1 / (1 + np.maximum(squares[:, None] + squares[None] - 2 * y @ y.T, 0))
        np.fill_diagonal(near, 0)
        q = np.maximum(near / near.sum(), _TINY)
        pull = (p * (12 if step < early else 1) - q) * near
        gradient = 4 * (pull.sum(1)[:, None] * y - pull @ y)
        gain = np.maximum(np.where(np.sign(gradient) != np.sign(speed), gain + 0.2, gain * 0.8), 0.01)
        speed = (0.5 if step < early else 0.8) * speed - rate * gain * gradient
        y = y + speed
        y -= y.mean(0)
    return y
