"""The paper's Figures 4, 5 and 6 of an evaluation, drawn with matplotlib (extra `figures`), as PNG and SVG.

The same evaluation gives the same bytes with the same matplotlib. Colours are those of Okabe & Ito (2008), which
colour-blind readers tell apart; markers differ, too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError
from gazepipe.evaluation.identify import PROTOCOLS
from gazepipe.evaluation.report import Evaluation
from gazepipe.evaluation.rows import ROWS, Tested
from gazepipe.evaluation.scores import Scores
from gazepipe.evaluation.tables import precision_intervals
from gazepipe.evaluation.tsne import tsne
from gazepipe.figures import overlay
from gazepipe.identification import draw
from gazepipe.metrics import METRICS, cc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_matplotlib", "chosen_pairs", "examples", "figure_files", "precision_plot", "tsne_plot"]

F32 = npt.NDArray[np.float32]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX*<>ph"
#: Row of the tables whose maps are drawn, and the universal maps that they start from.
_SHOWN, _BASE = "gated Δ on GT-USM without the user", "GT-USM without the user"
#: Embeddings of a user, and m, as in the paper's Figure 6.
_EMBEDDINGS, _SIZES = 20, (8, 32)
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "gazepipe",
    "svg.fonttype": "none",
}


def check_matplotlib() -> None:
    """Say what to do where matplotlib is missing.

    Raises
    ------
    ConfigError
        If it is.
    """
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        msg = "figures need matplotlib, which is not installed; run `pip install gazepipe[figures]`."
        raise ConfigError(msg)


def figure_files(tested: Tested, evaluation: Evaluation, scores: Scores) -> dict[str, bytes]:
    """Name → content of all figures; one that the data do not allow is left out."""
    check_matplotlib()
    from matplotlib import rc_context

    files: dict[str, bytes] = {}
    with rc_context(_STYLE):
        figures = {
            "figure4_maps": examples(tested, scores),
            "figure5_precision": precision_plot(evaluation),
            "figure6_tsne": tsne_plot(tested),
        }
        for name, figure in figures.items():
            if figure is not None:
                for kind, options in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
                    buffer = io.BytesIO()
                    figure.savefig(buffer, format=kind, bbox_inches="tight", pad_inches=0.08, **options)
                    files[f"{name}.{kind}"] = buffer.getvalue()
    return files


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


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
    figure = _figure(9.2, 1.42 * len(rows) + 0.5)
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
    people, images = len(tested.split.users_test), len(tested.images)
    figure.supxlabel(
        f"Of {people} test users the ones with the greatest and the least mean gain; of {images} test images those "
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
    for axis, shown in zip(axes[1:4], (psm, usm, prediction), strict=True):
        axis.imshow(overlay(blank, shown))
    last = axes[4].imshow(prediction - usm, cmap="PuOr", vmin=-reach, vmax=reach)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(axis is axes[4])
    return last


# ---- Figure 5 --------------------------------------------------------------------------------------------------------


def precision_plot(evaluation: Evaluation) -> Figure | None:
    """Precision at one against m: a line a protocol, 95 % over users as a band and bars, chance.

    None where no m is possible. Points of different protocols stand a little beside each other, so that bars are seen.
    """
    found = precision_intervals(evaluation.precision)
    if not found:
        return None
    f = evaluation.facts
    figure = _figure(5.2, 3.6)
    axis = figure.subplots()
    for k, (protocol, by_m) in enumerate(found.items()):
        sizes = sorted(by_m)
        colour, marker = _COLOURS[k], _MARKERS[k]
        places = np.array(sizes) * 1.025 ** (k - (len(found) - 1) / 2)
        mean, low, high = (np.array([getattr(by_m[m], part) for m in sizes]) for part in ("mean", "low", "high"))
        axis.fill_between(places, low, high, color=colour, alpha=0.07, lw=0)
        axis.errorbar(
            places,
            mean,
            [mean - low, high - mean],
            color=colour,
            marker=marker,
            ms=5,
            lw=1.6,
            elinewidth=0.9,
            capsize=2.5,
            label=PROTOCOLS[protocol],
        )
    axis.axhline(f["chance"], color="0.35", ls="--", lw=1, label=f"chance, {f['chance']:.3f}")
    sizes = sorted({m for by_m in found.values() for m in by_m})
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(m) for m in sizes])
    axis.minorticks_off()
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("m, image–map pairs that make one embedding")
    axis.set_ylabel("precision at one")
    unit = "unseen" if f["protocol"] == "open" else "known"
    axis.set_title(
        f"{f['study']}: {f['users_test']} {unit} users, {f['images_test']} unseen images, "
        f"{f['embeddings_per_user']} embeddings a user\nlines: mean over users; bars and bands: 95 % over users",
        fontsize=8,
        loc="left",
    )
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2)
    return figure


# ---- Figure 6 --------------------------------------------------------------------------------------------------------


def tsne_plot(tested: Tested, sizes: Sequence[int] = _SIZES) -> Figure | None:
    """t-SNE of twenty embeddings of each test user, from test images; a panel an m that the images allow."""
    users = tested.split.users_test
    tables = [t[np.isfinite(t[:, 0])] for t in (tested.encoder.table(u, tested.images) for u in users)]
    shown = [m for m in sizes if min(map(len, tables)) >= m]
    if not shown or len(users) < 2:
        return None
    figure = _figure(4.0 * len(shown) + 1.0, 4.1)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    label = np.repeat(np.arange(len(users)), _EMBEDDINGS)
    for letter, axis, m in zip("ab", axes, shown, strict=False):
        rng = np.random.default_rng([tested.seed, 0xF6, m])
        embeddings = np.concatenate([draw(t, m, _EMBEDDINGS, rng) for t in tables])
        _scatter(axis, tsne(embeddings), label, [tested.corpus.users[u] for u in users])
        axis.set_title(f"({letter}) m = {m} pairs from {len(tested.images)} images", fontsize=9, loc="left")
    axes[0].set_ylabel("t-SNE, second coordinate (no unit)", fontsize=8)
    for axis in axes:
        axis.set_xlabel(f"t-SNE, first coordinate (no unit); {_EMBEDDINGS} embeddings × {len(users)} users", fontsize=8)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize=8, title="user")
    return figure


def _scatter(axis: Axes, places: npt.NDArray[np.float64], label: npt.NDArray[np.int64], names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        x, y = places[label == k].T
        colour, marker = _COLOURS[k % len(_COLOURS)], _MARKERS[k // len(_COLOURS) + k % len(_COLOURS) % 4]
        axis.scatter(x, y, s=22, color=colour, marker=marker, alpha=0.8, linewidths=0.3, edgecolors="white", label=name)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_aspect("equal", adjustable="datalim")
