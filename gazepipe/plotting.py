"""Plots of gaze, maps and results, as matplotlib axes (extra `report`).

Every function draws into `axes`, or into a new figure where none are given, and returns the axes. Figures are made with
matplotlib's objects and not with pyplot, so that none stays open and no window appears; in a notebook, the last line
``axes.figure`` shows it. Colours are those of Okabe & Ito (2008), which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gazepipe.errors import ConfigError
from gazepipe.figures import overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "MARKERS",
    "amplitude_histogram",
    "check_library",
    "clock_offsets",
    "detection_error",
    "difference",
    "duration_histogram",
    "embedding_map",
    "evenly",
    "main_sequence",
    "new_axes",
    "new_figure",
    "picture",
    "precision_at_one",
    "saliency_map",
    "scanpath",
    "styled",
    "training_curve",
    "training_panels",
    "values_of_users",
]

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*<>ph"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "gazepipe",
    "svg.fonttype": "none",
}


def check_library(name: str = "matplotlib", what: str = "figures need") -> None:
    """Say what to do where a library of the extra `report` is missing.

    Raises
    ------
    ConfigError
        If it is.
    """
    import importlib.util

    if importlib.util.find_spec(name) is None:
        msg = f"{what} {name}, which is not installed; run `pip install gazepipe[report]`."
        raise ConfigError(msg)


def styled() -> AbstractContextManager[None]:
    """Context in which figures look as those of gazepipe do."""
    check_library()
    from matplotlib import rc_context

    context: AbstractContextManager[None] = rc_context(_STYLE)
    return context


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Figure of some inches, drawn by Agg; without a layout it is drawn once instead of twice."""
    check_library()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float = 4.2, height: float = 3.0) -> Axes:
    """Axes alone in a figure of some inches."""
    axes: Axes = new_figure(width, height).subplots()
    return axes


def picture(figure: Figure, kind: str = "png", **options: Any) -> bytes:
    """Figure as the bytes of a file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def evenly(count: int, n: int) -> list[int]:
    """Which of `n` things in order to show, if `count` of them are: evenly spaced, in the middles of equal parts."""
    return [min(int((k + 0.5) / count * n), n - 1) for k in range(count)]


# ---- on an image -----------------------------------------------------------------------------------------------------


def saliency_map(saliency: npt.ArrayLike, image: U8 | None = None, *, axes: Axes | None = None) -> Axes:
    """Draw a saliency map over its image, on the scale of its own maximum.

    Parameters
    ----------
    saliency
        ``(H, W)``, not negative.
    image
        ``(height, width, 3)`` RGB; the map alone, on white, if None.
    axes
        Where to draw.
    """
    axes = axes or new_axes(3.2, 2.4)
    values = np.asarray(saliency, np.float32)
    axes.imshow(overlay(np.full((*values.shape, 3), 255, np.uint8) if image is None else image, values))
    return _bare(axes)


def difference(values: npt.ArrayLike, *, reach: float | None = None, axes: Axes | None = None) -> Axes:
    """Draw a difference of two maps: orange below zero, violet above, white at zero.

    `reach` is the absolute value at both ends of the scale; the largest one there if None.
    """
    axes = axes or new_axes(3.2, 2.4)
    shown = np.asarray(values, np.float32)
    end = reach or float(np.abs(shown).max()) or 1.0
    axes.imshow(shown, cmap="PuOr", vmin=-end, vmax=end)
    return _bare(axes, frame=True)


def scanpath(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    duration_ms: npt.ArrayLike,
    image: U8 | None = None,
    *,
    size: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw fixations in order: numbered discs whose area follows the duration, joined by lines.

    Parameters
    ----------
    x, y
        Positions from the left and from the top, ``(n,)``, in units of `size`.
    duration_ms
        ``(n,)``.
    image
        ``(height, width, 3)`` RGB, below the path.
    size
        Width and height that positions are in; the image's own if None.
    axes
        Where to draw.
    """
    axes = axes or new_axes(3.2, 2.4)
    u, v, d = (np.asarray(values, np.float64) for values in (x, y, duration_ms))
    if size is None:
        if image is None:
            msg = "a scanpath needs an image, or the size of what it is on"
            raise ValueError(msg)
        size = (image.shape[1], image.shape[0])
    width, height = size
    if image is not None:
        pale = (255 - (255 - image.astype(np.float64)) * 0.6).astype(np.uint8)
        axes.imshow(pale, extent=(0, width, height, 0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.plot(u, v, color="white", lw=2.4, alpha=0.8, zorder=2)
    axes.plot(u, v, color=COLOURS[0], lw=1.2, zorder=3)
    area = np.clip(d / 4, 20, 260)
    axes.scatter(u, v, s=area, color=COLOURS[1], alpha=0.75, edgecolors="white", linewidths=0.6, zorder=4)
    for n, (a, b) in enumerate(zip(u.tolist(), v.tolist(), strict=True), 1):
        axes.text(a, b, str(n), ha="center", va="center", fontsize=6, color="white", zorder=5, clip_on=True)
    return _bare(axes, frame=True)


def _bare(axes: Axes, *, frame: bool = False) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame)
        spine.set_color("0.6")
    return axes


# ---- events and quality ----------------------------------------------------------------------------------------------


def duration_histogram(duration_ms: npt.ArrayLike, *, longest_ms: float = 1000.0, axes: Axes | None = None) -> Axes:
    """Draw the durations of fixations in bins of 25 ms, and their median; longer ones are in the last bin."""
    axes = _histogram(axes or new_axes(), duration_ms, 25, longest_ms, "{:.0f} ms")
    axes.set_xlabel("fixation duration (ms)")
    axes.set_ylabel("fixations")
    return axes


def amplitude_histogram(amplitude_deg: npt.ArrayLike, *, axes: Axes | None = None) -> Axes:
    """Draw the amplitudes of saccades in bins of half a degree, and their median.

    The axis ends at the first multiple of 5° that leaves out a hundredth at most, which is in the last bin.
    """
    known = np.asarray(amplitude_deg, np.float64)
    known = known[np.isfinite(known)]
    end = 5 * max(float(np.ceil(np.percentile(known, 99) / 5)), 1) if known.size else 20.0
    axes = _histogram(axes or new_axes(), known, 0.5, end, "{:.1f}°")
    axes.set_xlabel("saccade amplitude (°)")
    axes.set_ylabel("saccades")
    return axes


def _histogram(axes: Axes, values: npt.ArrayLike, step: float, end: float, shape: str) -> Axes:
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    edges = np.arange(0, end + step / 2, step)
    axes.hist(np.minimum(known, end - step / 2), bins=edges.tolist(), color=COLOURS[0], alpha=0.85)
    axes.locator_params(axis="y", integer=True)
    if known.size:
        median = float(np.median(known))
        axes.axvline(median, color=COLOURS[1], lw=1.2, label=f"median {shape.format(median)}")
        axes.legend(frameon=False, fontsize=8)
    return axes


def main_sequence(
    amplitude_deg: npt.ArrayLike, peak_velocity_deg_s: npt.ArrayLike, *, most: int = 4000, axes: Axes | None = None
) -> Axes:
    """Draw peak velocity against amplitude of saccades, both on logarithmic axes, with the median in bins.

    A bin counts from 20 saccades and a hundredth of all on: noise makes a few of hardly any length. Of more than `most`
    saccades every k-th is drawn; the medians are over all.
    """
    axes = axes or new_axes()
    a, v = (np.asarray(values, np.float64) for values in (amplitude_deg, peak_velocity_deg_s))
    good = np.isfinite(a) & np.isfinite(v) & (a > 0) & (v > 0)
    a, v = a[good], v[good]
    step = max(1, -(-a.size // most))
    axes.scatter(a[::step], v[::step], s=5, color=COLOURS[0], alpha=0.3, linewidths=0, rasterized=True)
    edges = np.geomspace(0.25, 32, 15)
    middle = np.sqrt(edges[:-1] * edges[1:])
    inside = [v[(a >= low) & (a < high)] for low, high in itertools.pairwise(edges)]
    known = [k for k, part in enumerate(inside) if part.size >= max(20, a.size / 100)]
    axes.plot(middle[known], [np.median(inside[k]) for k in known], "o-", ms=3.5, lw=1.2, color=COLOURS[1])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("saccade amplitude (°)")
    axes.set_ylabel("peak velocity (°/s)")
    ticks = [t for t in (0.2, 0.5, 1, 2, 5, 10, 20, 40) if not a.size or a.min() * 0.8 <= t <= a.max() * 1.25]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ticks = [t for t in (10, 20, 50, 100, 200, 500, 1000) if not v.size or v.min() * 0.8 <= t <= v.max() * 1.25]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    return axes


def clock_offsets(time_s: npt.ArrayLike, offset_ms: npt.ArrayLike, *, axes: Axes | None = None) -> Axes:
    """Draw how far a tracker's clock is from the computer's while a session goes on, from the first measurement on."""
    axes = axes or new_axes()
    t, offset = np.asarray(time_s, np.float64), np.asarray(offset_ms, np.float64)
    axes.plot((t - t[:1]) / 60, offset - offset[:1], marker="o", ms=3, lw=1, color=COLOURS[0])
    axes.axhline(0, color="0.6", lw=0.8, ls=":")
    axes.set_xlabel("time (min)")
    axes.set_ylabel("change of the clock's offset (ms)")
    return axes


def values_of_users(
    values: Mapping[str, float], label: str, *, marked: Sequence[str] = (), axes: Axes | None = None
) -> Axes:
    """Draw one value a user as points on a line, with median and quartiles; `marked` users stand out by name."""
    axes = axes or new_axes(4.2, 1.3)
    known = {user: v for user, v in values.items() if np.isfinite(v)}
    x = np.array(list(known.values()), np.float64)
    # Neighbours are drawn beside each other: the height is where in its run of three a point is.
    height = np.empty(x.size)
    height[np.argsort(x, kind="stable")] = np.arange(x.size) % 3 - 1.0
    red = np.array([user in marked for user in known], bool)
    axes.scatter(x[~red], height[~red], s=22, color=COLOURS[0], alpha=0.7, linewidths=0)
    axes.scatter(x[red], height[red], s=30, color=COLOURS[1], marker="D", linewidths=0)
    for user, a, b in zip(known, x.tolist(), height.tolist(), strict=True):
        if user in marked:
            axes.annotate(user, (a, b), (0, 6), textcoords="offset points", fontsize=7, ha="center")
    if x.size:
        low, middle, high = np.percentile(x, [25, 50, 75])
        axes.axvspan(low, high, color="0.9", zorder=0, lw=0)
        axes.axvline(middle, color="0.4", lw=1, zorder=0)
    axes.set_ylim(-2.2, 3.2)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=6)
    return axes


# ---- embeddings and results ------------------------------------------------------------------------------------------


def embedding_map(
    places: npt.ArrayLike, label: npt.ArrayLike, names: Sequence[str], *, axes: Axes | None = None
) -> Axes:
    """Draw points in the plane, a colour and a marker for each user.

    Parameters
    ----------
    places
        ``(n, 2)``, of `gazepipe.evaluation.tsne.tsne`.
    label
        Index into `names` of each point, ``(n,)``.
    names
        Users.
    axes
        Where to draw.
    """
    axes = axes or new_axes(4.4, 4.2)
    points, which = np.asarray(places, np.float64), np.asarray(label)
    for k, name in enumerate(names):
        x, y = points[which == k].T
        n = len(COLOURS)
        colour, marker = COLOURS[k % n], MARKERS[(k // n + k % n % 4) % len(MARKERS)]
        axes.scatter(x, y, s=22, color=colour, marker=marker, alpha=0.8, linewidths=0.3, edgecolors="white", label=name)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    axes.set_aspect("equal", adjustable="box")
    return axes


def precision_at_one(
    found: Mapping[str, Mapping[int, Any]], names: Mapping[str, str], chance: float, *, axes: Axes | None = None
) -> Axes:
    """Draw precision at one against m: a line a protocol, 95 % over users as a band and bars, chance.

    `found` is what `gazepipe.evaluation.tables.precision_intervals` returns, `names` what protocols are called. Points
    of different protocols stand a little beside each other, so that bars are seen.
    """
    axes = axes or new_axes(5.2, 3.6)
    for k, (protocol, by_m) in enumerate(found.items()):
        sizes = sorted(by_m)
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        places = np.array(sizes) * 1.025 ** (k - (len(found) - 1) / 2)
        mean, low, high = (np.array([getattr(by_m[m], part) for m in sizes]) for part in ("mean", "low", "high"))
        axes.fill_between(places, low, high, color=colour, alpha=0.07, lw=0)
        bars = [mean - low, high - mean]
        style: Any = {"ms": 5, "lw": 1.6, "elinewidth": 0.9, "capsize": 2.5, "label": names[protocol]}
        axes.errorbar(places, mean, bars, color=colour, marker=marker, **style)
    axes.axhline(chance, color="0.35", ls="--", lw=1, label=f"chance, {chance:.3f}")
    sizes = sorted({m for by_m in found.values() for m in by_m})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(m) for m in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("m, image–map pairs that make one embedding")
    axes.set_ylabel("precision at one")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2)
    return axes


def detection_error(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]], *, axes: Axes | None = None
) -> Axes:
    """Draw false rejections against false acceptances of a verification as the threshold moves.

    Parameters
    ----------
    curves
        Name → levels ``(n,)``, and the quantiles at them of cosines between embeddings of the same person and of
        different people.
    axes
        Where to draw.
    """
    axes = axes or new_axes(4.2, 3.6)
    for k, (name, (levels, same, different)) in enumerate(curves.items()):
        at, own, others = (np.asarray(values, np.float64) for values in (levels, same, different))
        cosine = np.union1d(own, others)
        accepted = 1 - np.interp(cosine, others, at, left=0.0, right=1.0)
        rejected = np.interp(cosine, own, at, left=0.0, right=1.0)
        axes.plot(accepted, rejected, color=COLOURS[k % len(COLOURS)], lw=1.5, label=name)
    axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":")
    axes.annotate("equal error", (0.86, 0.86), (-4, 4), textcoords="offset points", fontsize=7, color="0.4", ha="right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false acceptances (share)")
    axes.set_ylabel("false rejections (share)")
    axes.legend(frameon=False, fontsize=8)
    return axes


def training_curve(
    history: Sequence[Mapping[str, float]],
    measures: Sequence[str] | None = None,
    *,
    best: float | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw what a training's validations measured, against its steps or epochs; `best` is the one that was kept.

    Parameters
    ----------
    history
        One row a validation: ``step`` or ``epoch``, and measures.
    measures
        Those that are drawn, on one axis; all if None. `training_panels` says which go together.
    best
        Step or epoch of the weights that were kept.
    axes
        Where to draw.
    """
    axes = axes or new_axes()
    time = _time_of(history)
    x = [row[time] for row in history] if time else list(range(1, len(history) + 1))
    names = [name for panel in training_panels(history) for name in panel] if measures is None else list(measures)
    for k, name in enumerate(names):
        y = np.array([row.get(name, np.nan) for row in history], np.float64)
        marker = "o" if len(x) < 30 else None
        axes.plot(x, y, color=COLOURS[k % len(COLOURS)], lw=1.3, marker=marker, ms=3, label=_measure(name))
    if best is not None:
        axes.axvline(best, color="0.5", lw=1, ls="--")
    axes.set_xlabel(time or "validation")
    if len(names) == 1:
        axes.set_ylabel(_measure(names[0]))
    elif names:
        axes.legend(frameon=False, fontsize=7)
    return axes


def training_panels(history: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Measures of a training in groups that one axis does for: ``cc`` goes with ``cc_usm``, a loss with no other."""
    time = _time_of(history)
    names = [
        n
        for n in dict.fromkeys(k for row in history for k in row)
        if n not in (time, "seconds") and np.isfinite([row.get(n, np.nan) for row in history]).any()
    ]
    heads = [n for n in names if not any(n.startswith(f"{other}_") for other in names)]
    return [[n for n in names if n == head or n.startswith(f"{head}_")] for head in heads]


def _time_of(history: Sequence[Mapping[str, float]]) -> str:
    return next((name for name in ("step", "epoch") if history and name in history[0]), "")


#: What measures of trainings are called on an axis.
_MEASURES = {
    "active": "active triplets",
    "cc": "CC, validation",
    "cc_usm": "CC of universal maps",
    "d_prime": "d′, validation",
    "loss": "loss, training",
    "validation_kld": "KLD, validation",
    "validation_loss": "loss, validation",
}


def _measure(name: str) -> str:
    return _MEASURES.get(name, name.replace("_", " "))
