"""Figures about all users: quality, events, embeddings, evaluation, training."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gazepipe import plotting
from gazepipe.errors import GazepipeError, NothingToDoError
from gazepipe.report.contents import Contents, Outlier, outliers, with_unit
from gazepipe.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Drawn", "drawn", "group_figures"]

#: Points of the embedding map: t-SNE is quadratic in them.
_POINTS, _EMBEDDINGS = 400, 20
#: Embeddings are drawn from so many images of a user at most, and are of so many pairs each.
_IMAGES, _PAIRS = 64, 16


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture: data URI, size in CSS pixels, what it shows for those who cannot see it, caption."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str = ""


def drawn(axes: Axes, alt: str, caption: str = "", *, kind: str = "png", dpi: int = 140, **options: Any) -> Drawn:
    """Picture of a figure, at the size in inches that it was made in."""
    figure: Any = axes.figure
    data = plotting.picture(figure, kind, dpi=dpi, **options)
    width, height = (round(96 * n) for n in figure.get_size_inches())
    mime = "image/webp" if kind == "webp" else "image/png"
    return Drawn(f"data:{mime};base64,{base64.b64encode(data).decode()}", width, height, alt, caption)


def group_figures(contents: Contents) -> dict[str, Any]:
    """Everything that the group's section shows, by name of the place it has there."""
    far = outliers(contents)
    strips, equal = _strips(contents, far)
    found: dict[str, Any] = {
        "strips": strips,
        "equal": equal,
        "outliers": far,
        "events": _events(contents),
    }
    for name, make in (("embedding", _embeddings), ("identification", _identification), ("training", _training)):
        found[name] = _or_note(contents, make)
    found["uncurved"] = [
        f"{name} ({counted(len(history), 'validation')})"
        for name, about in contents.networks.items()
        if len(history := _history(about)) < 2
    ]
    found["maps"] = _map_table(contents)
    return found


def _or_note(contents: Contents, make: Callable[[Contents], list[Drawn]]) -> list[Drawn]:
    """What can be drawn; an error of a stored file is told of, and nothing is drawn."""
    try:
        return make(contents)
    except NothingToDoError:
        return []
    except GazepipeError as error:
        contents.notes.append(
            "A stored file cannot be used; see `gazepipe verify`." if contents.anonymous else str(error)
        )
        return []


def _strips(contents: Contents, far: list[Outlier]) -> tuple[list[Drawn], list[str]]:
    """A picture of each figure of quality, and sentences about those that are the same for all users."""
    made, equal = list[Drawn](), list[str]()
    for key, name, unit, factor, digits in contents.figures:
        values = {u.label: u.figures.get(key, np.nan) * factor for u in contents.users}
        if sum(np.isfinite(v) for v in values.values()) < 2:
            continue
        if len(shown := {f"{v:.{digits}f}" for v in values.values() if np.isfinite(v)}) == 1:
            equal.append(f"{name} {with_unit(shown.pop(), unit)}")
            continue
        marked = [o.user.label for o in far if o.name == name]
        text = f"{name} ({unit})" if unit else name
        axes = plotting.values_of_users(values, text, marked=marked)
        known = [v for v in values.values() if np.isfinite(v)]
        low, middle, high = (f"{v:.{digits}f}" for v in (min(known), float(np.median(known)), max(known)))
        alt = f"{name} of {counted(len(known), 'user')}: median {middle}, from {low} to {with_unit(high, unit)}"
        made.append(drawn(axes, f"{alt}; outliers: {', '.join(marked) or 'none'}"))
    return made, equal


def _events(contents: Contents) -> list[Drawn]:
    durations = np.concatenate([u.duration_ms for u in contents.users])
    made = []
    if durations.size:
        axes = plotting.duration_histogram(durations)
        text = (
            f"{counted(durations.size, 'fixation')} of all users: whole ones during presentations, none that an "
            "image's onset cuts. Those of a second and more are in the last bin."
        )
        alt = f"histogram of fixation durations, median {np.nanmedian(durations):.0f} ms"
        made.append(drawn(axes, alt, text))
    amplitude, velocity = (
        np.concatenate([getattr(u, k) for u in contents.users]) for k in ("amplitude_deg", "peak_velocity_deg_s")
    )
    if amplitude.size:
        axes = plotting.main_sequence(amplitude, velocity)
        text = f"Main sequence: {counted(amplitude.size, 'saccade')}; line: medians in bins that hold enough."
        ivt = contents.study.config.ivt
        if ivt.velocity_method == "olsen":
            text += f" Velocities are over {ivt.velocity_window_ms:g} ms: peaks of small saccades are too low."
        made.append(drawn(axes, "peak velocity against amplitude of saccades", text))
        text = f"{counted(amplitude.size, 'saccade')} of all users; the largest hundredth may be in the last bin."
        alt = f"histogram of saccade amplitudes, median {np.nanmedian(amplitude):.1f}°"
        made.append(drawn(plotting.amplitude_histogram(amplitude), alt, text))
    return made


# ---- embeddings ------------------------------------------------------------------------------------------------------


def _embeddings(contents: Contents) -> list[Drawn]:
    if not contents.study.gallery_file.is_file():
        return []
    from gazepipe.enrol import load_gallery
    from gazepipe.evaluation.tsne import tsne

    gallery = load_gallery(contents.study)
    labels = {u.user: u.label for u in contents.users}
    people = [p for p in gallery.people if p.user in labels][:_POINTS]
    if len(people) < 2:
        return []
    per_user = min(_EMBEDDINGS, _POINTS // len(people))
    tables, m = (None, 0) if per_user < 2 else _tables(contents, gallery.model, [p.user for p in people])
    if tables is None or m < 1:
        points, per_user = np.stack([p.embedding for p in people]), 1
        text = "one embedding a person, of the gallery"
    else:
        from gazepipe.identification import draw

        rng = np.random.default_rng(0)
        points = np.concatenate([draw(t, m, per_user, rng) for t in tables])
        text = f"{per_user} embeddings a person, each of m = {counted(m, 'pair')} drawn from up to {_IMAGES} images"
    names = [labels[p.user] for p in people]
    places = tsne(points)
    # As high as the map is for its width, so that nothing around it stays empty; names below it, four in a row.
    wide, high = np.ptp(places, axis=0)
    rows = -(-len(people) // 4) if len(people) <= 24 else 0
    axes = plotting.new_axes(4.2, 0.2 * rows + (float(np.clip(4.2 * high / wide, 1.8, 3.6)) if wide else 3.6))
    plotting.embedding_map(places, np.repeat(np.arange(len(people)), per_user), names, axes=axes)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.8")
    if rows:
        style: Any = {"frameon": False, "fontsize": 8, "ncols": 4, "columnspacing": 1.2, "handletextpad": 0.2}
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", **style)
    left = (
        f" Not drawn: {counted(len(gallery.people) - len(people), 'person', 'people')} more."
        if len(gallery.people) > len(people)
        else ""
    )
    caption = (
        f"Embedding map (t-SNE) of {counted(len(people), 'person', 'people')}: {text}. Embeddings of a person share "
        f"pairs, so that clusters look tighter than they are; distances between clusters mean nothing.{left}"
    )
    return [drawn(axes, f"embedding map of {counted(len(people), 'person', 'people')}", caption)]


def _tables(contents: Contents, model: str, users: list[str]) -> tuple[list[Any] | None, int]:
    """Features of each user's pairs, and how many make an embedding; None where the network is another one."""
    from gazepipe import compute
    from gazepipe.models import load_model
    from gazepipe.stored_corpus import load_corpus
    from gazepipe.training import Encoder

    where = compute.device(contents.device)
    compute.use_threads(contents.threads)
    net = load_model(contents.study, "embedding", where)
    if net.info["recipe"] != model:
        contents.notes.append("The gallery is of another embedding network than the one there; run `gazepipe enrol`.")
        return None, 0
    training = list(net.info["users_train"])
    built = contents.study.manifest("build-psm").get("users", {})
    if not all(u in built for u in [*users, *training]):
        return None, 0
    corpus = load_corpus(contents.study, users=[*users, *(u for u in training if u not in users)])
    row = {u: i for i, u in enumerate(corpus.users)}
    encoder = Encoder(net.net, corpus, tuple(row[u] for u in training))
    test = set(net.info["images_test"])
    unseen = np.array([i for i, s in enumerate(corpus.stimuli) if s in test], np.int64)
    images = unseen if len(unseen) >= 4 else np.arange(len(corpus.stimuli))
    chosen = np.random.default_rng(0).permutation(images)[:_IMAGES]
    tables = [t[np.isfinite(t[:, 0])] for t in (encoder.table(row[u], chosen) for u in users)]
    return tables, min(_PAIRS, min(map(len, tables)) // 2)


def _identification(contents: Contents) -> list[Drawn]:
    made = []
    if contents.evaluation:
        from gazepipe.evaluation.identify import PROTOCOLS
        from gazepipe.evaluation.tables import precision_intervals

        facts = contents.evaluation["facts"]
        found = precision_intervals(contents.evaluation["precision"])
        if found:
            axes = plotting.precision_at_one(found, PROTOCOLS, facts["chance"], axes=plotting.new_axes(4.2, 3.6))
            text = (
                f"Separation: precision at one against m, {counted(facts['users_test'], 'test user')}, "
                f"{counted(facts['images_test'], 'test image')}. Lines: mean over users; bars and bands: Student's "
                "95 % interval over users."
            )
            made.append(drawn(axes, "precision at one against the number of pairs m", text))
    if "embedding" in contents.networks:
        from gazepipe.calibration import LEVELS, load_calibration

        try:
            known = load_calibration(contents.study, str(contents.networks["embedding"]["recipe"]))
        except NothingToDoError:
            return made
        curves = {f"m = {m}": (LEVELS, known.same[k, k], known.different[k, k]) for k, m in enumerate(known.m)}
        step = max(1, -(-len(curves) // 5))
        axes = plotting.detection_error(dict(list(curves.items())[::step]))
        text = (
            f"Verification: false rejections against false acceptances, "
            f"{counted(known.users, 'person', 'people')} unknown to the network, "
            "as the store's calibration has them (read off its quantiles)."
        )
        made.append(drawn(axes, "detection error trade-off of verification", text))
    return made


def _history(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a network's validations measured."""
    return [row for row in about.get("history", ()) if isinstance(row, Mapping)]


def _training(contents: Contents) -> list[Drawn]:
    made = []
    for name, about in contents.networks.items():
        history = _history(about)
        if len(history) < 2:
            continue
        best = about.get("best") or {}
        if "strength" in history[0]:
            made.append(_strengths(name, history, best))
            continue
        kept = next(((k, float(best[k])) for k in ("step", "epoch") if k in best), None)
        panels = plotting.training_panels(history)
        figure = plotting.new_figure(4.2, 0.5 + 1.25 * max(len(panels), 1))
        rows = np.atleast_1d(figure.subplots(max(len(panels), 1), sharex=True))
        for axes, measures in zip(rows, panels, strict=False):
            plotting.training_curve(history, measures, best=kept and kept[1], axes=axes).label_outer()
        figure.align_ylabels()
        told = f"; dashed: {kept[0]} {kept[1]:g}, whose weights were kept" if kept else ""
        seconds = float(about.get("seconds") or 0)
        text = f"{name} network: {counted(len(history), 'validation')} in {seconds:.0f} s of training{told}."
        made.append(drawn(rows[0], f"training curves of the {name} network", text))
    return sorted(made, key=lambda d: -d.height)


def _strengths(name: str, history: list[Mapping[str, Any]], best: Mapping[str, Any]) -> Drawn:
    """Validation loss of profiles against the strength of their prior, for both kinds of universal maps."""
    from gazepipe.profile import SOURCES

    axes = plotting.new_axes(4.2, 3.0)
    for k, source in enumerate(dict.fromkeys(int(row["source"]) for row in history)):
        own, what = [row for row in history if row["source"] == source], SOURCES[source]
        style: Any = {"color": plotting.COLOURS[k], "marker": plotting.MARKERS[k], "ms": 4, "lw": 1.3}
        lines = (
            ("", "strength", [row for row in own if "content" not in row], style),
            (", and content", "content", [row for row in own if "content" in row], style | {"ls": ":", "mfc": "none"}),
        )
        for more, key, found, drawn_so in lines:
            losses = {float(row[key]): float(row["validation_loss"]) for row in sorted(found, key=lambda r: r[key])}
            if losses:
                label = what.replace("_", " ") + more
                axes.plot(list(losses), list(losses.values()), label=label, **drawn_so)
            kept = best.get(f"{key}_{what}")
            if kept in losses:
                axes.plot(kept, losses[kept], "o", ms=10, mfc="none", color=plotting.COLOURS[k])
    ticks = sorted({float(row.get("content", row["strength"])) for row in history})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("strength of the prior")
    axes.set_ylabel("loss, validation")
    known: Any = {"frameon": False, "fontsize": 7, "ncols": 2, "title": "universal map", "title_fontsize": 7}
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", **known)
    text = f"{name}: loss of validation users against the strength of their prior; circled: what was kept."
    return drawn(axes, "validation loss against the strength of the prior", text)


def _map_table(contents: Contents) -> dict[str, Any]:
    """Means of all measures for each row of the evaluation."""
    if not contents.evaluation:
        return {}
    from gazepipe.metrics import METRICS

    rows = [
        (name, [f"{values[m]:.3f}" if m in values else "–" for m in METRICS])
        for name, values in contents.evaluation["maps"].items()
    ]
    heads = [f"{m} {'↑' if up else '↓'}" for m, up in METRICS.items()]
    verification = contents.evaluation["verification"]
    errors = [(m, f"{v['eer']:.3f}", f"{v['d_prime']:.2f}") for m, v in verification.items()]
    return {"heads": heads, "rows": rows, "errors": errors, "facts": contents.evaluation["facts"]}
