"""The paper's Figures 4, 5 and 6 of an evaluation, drawn with matplotlib (extra `report`), as PNG and SVG.

The same evaluation gives the same bytes with the same matplotlib. Colours are those of Okabe & Ito (2008), which
colour-blind readers tell apart; markers differ, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import plotting
from gazepipe.evaluation.identify import PROTOCOLS
from gazepipe.evaluation.report import Evaluation
from gazepipe.evaluation.rows import ROWS, Tested
from gazepipe.evaluation.scores import Scores
from gazepipe.evaluation.tables import precision_intervals
from gazepipe.evaluation.tsne import tsne
from gazepipe.identification import draw
from gazepipe.metrics import METRICS, cc
from gazepipe.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["chosen_pairs", "examples", "figure_files", "precision_plot", "tsne_plot"]

F32 = npt.NDArray[np.float32]

#: Row of the tables whose maps are drawn, and the universal maps that they start from.
_SHOWN, _BASE = "gated Δ on GT-USM without the user", "GT-USM without the user"
#: Embeddings of a user, and m, as in the paper's Figure 6.
_EMBEDDINGS, _SIZES = 20, (8, 32)


def figure_files(tested: Tested, evaluation: Evaluation, scores: Scores) -> dict[str, bytes]:
    """Name → content of all figures; one that the data do not allow is left out."""
    files: dict[str, bytes] = {}
    with plotting.styled():
        figures = {
            "figure4_maps": examples(tested, scores),
            "figure5_precision": precision_plot(evaluation),
            "figure6_tsne": tsne_plot(tested),
        }
        for name, figure in figures.items():
            if figure is not None:
                for kind, options in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
                    made = plotting.picture(figure, kind, bbox_inches="tight", pad_inches=0.08, **options)
                    files[f"{name}.{kind}"] = made
    return files


# ---- Figure 4 --------------------------------------------------------------------------------------------------------


def chosen_pairs(scores: Scores, *, row: str = _SHOWN, base: str = _BASE) -> list[tuple[str, str, float]]:
    """Pairs of user and image that are shown: by rule, not by beauty.

    Of the users, the one with the greatest and the one with the least mean gain in CC of `row` over `base`; of the
    images that both have seen, those at the 10th, 50th and 90th percentile of the gain averaged over these two.

    Returns
    -------
    list
        User, image and gain in CC; image by image, both users of each.
    """
    k = list(METRICS).index("CC")
    gain = scores.of(row)[:, k] - scores.of(base)[:, k]
    by_pair = {(u, s): float(g) for u, s, g in zip(scores.user, scores.stimulus, gain, strict=True) if np.isfinite(g)}
    people = sorted({u for u, _ in by_pair})
    mean = {u: float(np.mean([g for (v, _), g in by_pair.items() if v == u])) for u in people}
    ordered = sorted(people, key=lambda u: (-mean[u], u))
    both = [ordered[0], ordered[-1]] if len(ordered) > 1 else ordered
    images = sorted({s for _, s in by_pair if all((u, s) in by_pair for u in both)})
    images.sort(key=lambda s: (float(np.mean([by_pair[u, s] for u in both])), s))
    places = dict.fromkeys(round(q * (len(images) - 1)) for q in (0.1, 0.5, 0.9)) if images else {}
    return [(u, images[k], by_pair[u, images[k]]) for k in places for u in both]


def examples(tested: Tested, scores: Scores) -> Figure | None:
    """Image, personal map, universal map, prediction and difference of some pairs; None where nothing was refined.

    Maps over images are each on the scale of their own maximum; differences are on one scale.
    """
    if _SHOWN not in scores.rows:
        return None
    pairs = chosen_pairs(scores)
    if not pairs:
        return None
    corpus = tested.corpus
    made = next(r for r in ROWS if r.name == _SHOWN)
    rows = []
    for user, stimulus, _ in pairs:
        u, s = corpus.users.index(user), np.array([corpus.stimuli.index(stimulus)])
        usm = tested.universal_maps(made.group, u, s)
        assert usm is not None
        maps = made.make(tested, u, s, usm, tested.pools[u].mean(0, keepdims=True))
        assert maps is not None
        psm = corpus.maps[corpus.index[u, s[0]]].astype(np.float32)
        pixels = None if corpus.images is None else corpus.images[s[0]]
        # The table's predictions take one embedding of the pool each; what is written here is of the map shown.
        gain = cc(maps[0], psm) - cc(usm[0], psm)
        rows.append((user, stimulus, gain, pixels, psm, usm[0], maps[0]))
    figure = plotting.new_figure(9.2, 1.42 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), 5, squeeze=False)
    reach = max(float(np.abs(r[6] - r[5]).max()) for r in rows) or 1.0
    heads = (
        "personal map\n(truth)",
        "universal map\nwithout the user",
        "prediction",
        "prediction\n− universal map",
    )
    for k, (user, stimulus, gain, pixels, psm, usm_map, prediction) in enumerate(rows):
        last = _panels(axes[k], pixels, psm, usm_map, prediction, reach)
        axes[k, 0].set_ylabel(f"{user}\nCC {gain:+.3f}".replace("-", "−"), fontsize=8)
        if k == 0 or rows[k - 1][1] != stimulus:
            axes[k, 0].set_title(("image\n" if k == 0 else "") + stimulus, fontsize=8)
        if k == 0:
            for axis, head in zip(axes[0, 1:], heads, strict=True):
                axis.set_title(head, fontsize=9)
    bar = figure.colorbar(last, ax=axes[:, 4], shrink=0.6, pad=0.03)
    bar.set_label("difference, as a share of a personal map's maximum", fontsize=8)
    people, images = counted(len(tested.split.users_test), "test user"), counted(len(tested.images), "test image")
    figure.supxlabel(
        f"Of {people} the ones with the greatest and the least mean gain; of {images} those "
        "at the 10th, 50th and 90th percentile\nof their gain. CC: gain of the map shown over the universal map.",
        fontsize=8,
    )
    return figure


def _panels(axes: Any, pixels: Any, psm: F32, usm: F32, prediction: F32, reach: float) -> Any:
    """One row of Figure 4; returns the last panel's picture."""
    height, width = psm.shape
    blank = np.full((height, width, 3), 255, np.uint8) if pixels is None else pixels
    axes[0].imshow(blank)
    if pixels is None:
        axes[0].text(0.5, 0.5, "no pixels", transform=axes[0].transAxes, ha="center", va="center", fontsize=8)
    axes[0].set_xticks([])
    axes[0].set_yticks([])
    for spine in axes[0].spines.values():
        spine.set_visible(False)
    for axis, shown in zip(axes[1:4], (psm, usm, prediction), strict=True):
        plotting.saliency_map(shown, blank, axes=axis)
    return plotting.difference(prediction - usm, reach=reach, axes=axes[4]).images[-1]


# ---- Figure 5 --------------------------------------------------------------------------------------------------------


def precision_plot(evaluation: Evaluation) -> Figure | None:
    """Precision at one against m: a line a protocol, 95 % over users as a band and bars, chance.

    None where no m is possible.
    """
    found = precision_intervals(evaluation.precision)
    if not found:
        return None
    f = evaluation.facts
    figure = plotting.new_figure(5.2, 3.6)
    axis = plotting.precision_at_one(found, PROTOCOLS, f["chance"], axes=figure.subplots())
    unit = "unseen" if f["protocol"] == "open" else "known"
    axis.set_title(
        f"{f['study']}: {counted(f['users_test'], f'{unit} user')}, "
        f"{counted(f['images_test'], 'unseen image')}, {counted(f['embeddings_per_user'], 'embedding')} a user\n"
        "lines: mean over users; bars and bands: 95 % over users",
        fontsize=8,
        loc="left",
    )
    return figure


# ---- Figure 6 --------------------------------------------------------------------------------------------------------


def tsne_plot(tested: Tested, sizes: Sequence[int] = _SIZES) -> Figure | None:
    """t-SNE of twenty embeddings of each test user, from test images; a panel an m that the images allow."""
    users = tested.split.users_test
    tables = [t[np.isfinite(t[:, 0])] for t in (tested.encoder.table(u, tested.images) for u in users)]
    shown = [m for m in sizes if min(map(len, tables)) >= m]
    if not shown or len(users) < 2:
        return None
    figure = plotting.new_figure(4.0 * len(shown) + 1.0, 4.1)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    label = np.repeat(np.arange(len(users)), _EMBEDDINGS)
    for letter, axis, m in zip("ab", axes, shown, strict=False):
        rng = np.random.default_rng([tested.seed, 0xF6, m])
        embeddings = np.concatenate([draw(t, m, _EMBEDDINGS, rng) for t in tables])
        plotting.embedding_map(tsne(embeddings), label, [tested.corpus.users[u] for u in users], axes=axis)
        axis.set_title(
            f"({letter}) m = {counted(m, 'pair')} from {counted(len(tested.images), 'image')}", fontsize=9, loc="left"
        )
    axes[0].set_ylabel("t-SNE, second coordinate (no unit)", fontsize=8)
    for axis in axes:
        axis.set_xlabel(
            f"t-SNE, first coordinate (no unit); {_EMBEDDINGS} embeddings × {counted(len(users), 'user')}", fontsize=8
        )
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=8, title="user")
    return figure
