"""t-SNE: perplexities are met, clusters stay together, the same points give the same picture."""

from __future__ import annotations

import numpy as np

from gazepipe.evaluation.tsne import affinities, tsne


def test_affinities_are_joint_probabilities() -> None:
    p = affinities(np.random.default_rng(0).normal(size=(40, 5)), 10)
    np.testing.assert_allclose(p.sum(), 1)
    np.testing.assert_array_equal(p, p.T)
    assert (np.diag(p) == 0).all()


def test_equidistant_points_are_all_equally_near() -> None:
    # Corners of a simplex: whatever the width, each of the three others has one third.
    np.testing.assert_allclose(affinities(np.eye(4), 2)[0], [0, 1 / 12, 1 / 12, 1 / 12])


def test_clusters_stay_clusters() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(5, 32)) * 3
    points = (centres[:, None] + rng.normal(size=(5, 20, 32)) * 0.5).reshape(100, 32)
    placed = tsne(points)
    assert placed.shape == (100, 2)
    label = np.repeat(np.arange(5), 20)
    distance = np.linalg.norm(placed[:, None] - placed[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (label[distance.argmin(1)] == label).all()
    own = np.array([placed[label == k].std(0).max() for k in range(5)])
    middle = np.array([placed[label == k].mean(0) for k in range(5)])
    apart = np.linalg.norm(middle[:, None] - middle[None], axis=2)[~np.eye(5, dtype=bool)]
    assert apart.min() > 3 * own.max()
    np.testing.assert_array_equal(placed, tsne(points))


def test_hardly_any_points_are_no_error() -> None:
    assert tsne(np.zeros((2, 3))).shape == (2, 2)
    assert np.isfinite(tsne(np.zeros((5, 1)))).all()
