"""Which examples are drawn is a rule."""

from __future__ import annotations

import numpy as np

from gazepipe.evaluation.figures import chosen_pairs
from gazepipe.evaluation.scores import Scores
from gazepipe.metrics import METRICS


def test_examples_are_chosen_by_rule() -> None:
    """Gain of user u on image i is (i − 5 + offset of u) / 100: the order of images is that of their numbers."""
    people, images = ("a", "b", "c"), 11
    values = np.zeros((2, len(people) * images, len(METRICS)))
    gain = np.array([[(i - 5 + shift) / 100 for i in range(images)] for shift in (0, 3, -3)])
    values[1, :, list(METRICS).index("CC")] = gain.ravel()
    users = np.repeat(np.array(people, object), images)
    stimuli = np.array([f"{i:02d}.jpg" for i in range(images)] * len(people), object)
    chosen = chosen_pairs(Scores(("base", "ours"), users, stimuli, values), row="ours", base="base")
    # b gains most and c least; 10 %, 50 % and 90 % of eleven images are numbers 1, 5 and 9.
    assert [(u, s) for u, s, _ in chosen] == [(u, f"{i:02d}.jpg") for i in (1, 5, 9) for u in ("b", "c")]
    np.testing.assert_allclose([g for *_, g in chosen], [-0.01, -0.07, 0.03, -0.03, 0.07, 0.01])


def test_one_person_alone_is_shown_alone() -> None:
    values = np.zeros((2, 2, len(METRICS)))
    scores = Scores(("base", "ours"), np.array(["a", "a"], object), np.array(["x", "y"], object), values)
    assert {u for u, *_ in chosen_pairs(scores, row="ours", base="base")} == {"a"}
