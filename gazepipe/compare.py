"""Two users of a study, or two evaluated runs, side by side: differences with Student's 95 % intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.build import recordings_of_users
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.evaluation.scores import load_scores
from gazepipe.evaluation.statistics import Interval, interval
from gazepipe.metrics import METRICS, cc
from gazepipe.stored_corpus import stored_usm
from gazepipe.study import Study
from gazepipe.tables import text_table
from gazepipe.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Compared", "Difference", "compare_runs", "compare_users", "map_figure"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

#: Decimals in tables, where they are not three.
_DECIMALS = {"fixations an image": 2, "mean fixation (ms)": 1}


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure: mean of both, and of first − second over the `n` units that both have, with its 95 % interval."""

    what: str
    first: float
    second: float
    difference: Interval

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return bool(self.difference.low > 0 or self.difference.high < 0)


@dataclass(slots=True)
class Compared:
    """All differences of a first and a second; `unit` is what the intervals are over."""

    first: str
    second: str
    unit: str
    rows: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready; what is not known is null."""
        rows = [
            {"what": r.what, "first": r.first, "second": r.second, **asdict(r.difference), "clear": r.clear}
            for r in self.rows
        ]
        plain = [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in r.items()} for r in rows]
        return {"first": self.first, "second": self.second, "unit": self.unit, "rows": plain, "notes": self.notes}

    def text(self) -> str:
        """Return it as a table; an asterisk where the interval leaves out 0."""
        heads = ["", self.first, self.second, "difference", "95 % interval", "", f"{self.unit}"]
        rows = []
        for r in self.rows:
            d, p = r.difference, _DECIMALS.get(r.what, 3)
            span = f"{d.low:+.{p}f} … {d.high:+.{p}f}" if d.n > 1 else ""
            values = [f"{r.first:.{p}f}", f"{r.second:.{p}f}", f"{d.mean:+.{p}f}"]
            rows.append([r.what, *values, span, "*" * r.clear, str(d.n)])
        return "\n".join([text_table(heads, rows, text_columns=1), *(f"note: {n}" for n in self.notes)])


def _difference(what: str, first: npt.ArrayLike, second: npt.ArrayLike) -> Difference:
    """Of values in pairs; those that one of the two lacks are left out."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    nan = float("nan")
    return Difference(what, float(a.mean()) if a.size else nan, float(b.mean()) if b.size else nan, interval(a - b))


# ---- two users -------------------------------------------------------------------------------------------------------


def compare_users(study: Study, first: str, second: str) -> Compared:
    """Compare two users over the images that both have seen.

    Of each image: number of fixations and their mean duration, data loss where it is known, and how like (CC) the map
    of everybody else, these two left out, each one's map is.

    Raises
    ------
    NothingToDoError
        If one of them has no recordings or maps, or they share no image.
    """
    maps = [_maps(study, user) for user in (first, second)]
    shared = sorted(maps[0].keys() & maps[1].keys())
    if not shared:
        msg = f"users {first!r} and {second!r} have seen no image in common; there is nothing to compare."
        raise NothingToDoError(msg)
    found = Compared(first, second, "images")
    tables = [_by_image(study, user) for user in (first, second)]
    for key, what in (("n", "fixations an image"), ("mean_ms", "mean fixation (ms)"), ("loss", "data loss")):
        values = [[t.get(s, {}).get(key, np.nan) for s in shared] for t in tables]
        row = _difference(what, *values)
        if row.difference.n:
            found.rows.append(row)
    others = _others(study, {first, second}, shared)
    known = [s for s in shared if s in others]
    if known:
        alike = [[float(cc(m[s], others[s])) for s in known] for m in maps]
        found.rows.append(_difference("CC with everybody else's map", *alike))
    between = interval([float(cc(maps[0][s], maps[1][s])) for s in shared])
    found.notes.append(f"CC of the maps of {first} and {second}: {between}, mean over {counted(between.n, 'image')}.")
    return found


def _maps(study: Study, user: str) -> dict[str, F32]:
    users = recordings_of_users(study)
    if user not in users:
        there = ", ".join(list(users)[:8]) + (f" and {len(users) - 8} more" if len(users) > 8 else "")
        msg = f"user {user!r} is not in {study.store}; there are {there}."
        raise NothingToDoError(msg)
    contents = store.load(study.psm_file(user), "gazepipe.psm")
    return dict(
        zip(map(str, contents.arrays["table/stimulus"]), contents.arrays["maps"].astype(np.float32), strict=True)
    )


def _by_image(study: Study, user: str) -> dict[str, dict[str, float]]:
    """Image → number of fixations a presentation, their mean duration, data loss."""
    import pandas as pd

    from gazepipe.image_fixations import fixations_on_images

    contents = {
        name: store.load(study.recording_file(name), "gazepipe.recording", only=("trials/", "fixations/", "quality/"))
        for name in recordings_of_users(study)[user]
    }
    frame = fixations_on_images(study, contents)
    per_trial = frame.groupby(["stimulus", "session", "repeat"])["duration_ms"].agg(["size", "mean"])
    means = per_trial.groupby(level="stimulus").mean()
    found = {str(s): {"n": float(r["size"]), "mean_ms": float(r["mean"])} for s, r in means.iterrows()}
    losses = [
        pd.DataFrame({"stimulus": c.arrays["trials/stimulus"], "loss": c.arrays["quality/data_loss"]})
        for c in contents.values()
        if "quality/data_loss" in c.arrays
    ]
    if losses:
        for stimulus, loss in pd.concat(losses).groupby("stimulus")["loss"].mean().items():
            found.setdefault(str(stimulus), {})["loss"] = float(loss)
    return found


def _others(study: Study, without: set[str], stimuli: list[str]) -> dict[str, F32]:
    """Mean map of everybody else, of images that somebody else has seen."""
    users = [u for u in study.manifest("build-psm").get("users", {}) if u not in without]
    if not users:
        return {}
    names, mean, _ = stored_usm(study, users)
    return {s: mean[k] for k, s in enumerate(names) if s in stimuli}


def map_figure(study: Study, first: str, second: str, images: int = 4) -> Figure:
    """Maps of two users over images, side by side with their difference.

    Images that both have seen, at evenly spaced quantiles of the correlation of their maps, the most different first.
    """
    from gazepipe import plotting

    maps = [_maps(study, user) for user in (first, second)]
    shared = sorted(maps[0].keys() & maps[1].keys(), key=lambda s: (float(cc(maps[0][s], maps[1][s])), s))
    count = max(1, min(images, len(shared)))
    chosen = [shared[k] for k in plotting.evenly(count, len(shared))]
    pack = store.load(study.stimuli_file, "gazepipe.stimuli")
    pixels = dict(zip(map(str, pack.arrays["table/stimulus"]), pack.arrays["images"], strict=True))
    with plotting.styled():
        figure = plotting.new_figure(7.2, 1.85 * count + 0.9)
        axes = figure.subplots(count, 3, squeeze=False)
        reach = max(float(np.abs(maps[0][s] - maps[1][s]).max()) for s in chosen) or 1.0
        for row, stimulus in zip(axes, chosen, strict=True):
            for axis, own in zip(row, maps, strict=False):
                plotting.saliency_map(own[stimulus], pixels.get(stimulus), axes=axis)
            last = plotting.difference(maps[0][stimulus] - maps[1][stimulus], reach=reach, axes=row[2])
            row[0].set_ylabel(f"{stimulus[:24]}\nCC {float(cc(maps[0][stimulus], maps[1][stimulus])):.2f}", fontsize=8)
        for axis, head in zip(axes[0], (first, second, f"{first} − {second}"), strict=True):
            axis.set_title(head, fontsize=9)
        bar = figure.colorbar(
            last.images[0], ax=axes, location="bottom", shrink=0.3, anchor=(1, 1), aspect=24, pad=0.02
        )
        bar.set_label("difference, share of a map's maximum", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure


# ---- two runs --------------------------------------------------------------------------------------------------------


def compare_runs(first: Study, second: Study, names: tuple[str, str]) -> Compared:
    """Compare the evaluations of two studies or stores over the test users that both have.

    Maps: of each row of the tables that both have, a user's mean over the images that both scored. Precision at one: a
    user's mean over draws.

    Raises
    ------
    NothingToDoError
        If one of them is not evaluated.
    ConfigError
        If they have no test user in common.
    """
    found = Compared(*names, "users")
    facts = [study.evaluation() for study in (first, second)]
    a, b = (load_scores(study.store / "evaluation.h5") for study in (first, second))
    pairs = [{(str(u), str(s)): k for k, (u, s) in enumerate(zip(x.user, x.stimulus, strict=True))} for x in (a, b)]
    both = sorted(pairs[0].keys() & pairs[1].keys())
    users = sorted({u for u, _ in both})
    for row in (r for r in a.rows if r in b.rows):
        for k, measure in enumerate(METRICS):
            values = [[x.of(row)[p[pair], k] for pair in both] for x, p in zip((a, b), pairs, strict=True)]
            means = [_per_user([u for u, _ in both], users, np.array(v), np.array(values)) for v in values]
            difference = _difference(f"{row}: {measure}", *means)
            if difference.difference.n:
                found.rows.append(difference)
    precision = [f["precision"] for f in facts]
    for protocol in (p for p in precision[0] if p in precision[1]):
        for m in (m for m in precision[0][protocol] if m in precision[1][protocol]):
            own = [p[protocol][m]["users"] for p in precision]
            names_ = sorted(own[0].keys() & own[1].keys())
            row_name = f"precision at one, {protocol}, m = {m}"
            if names_:
                found.rows.append(_difference(row_name, *([o[u] for u in names_] for o in own)))
    if not found.rows:
        msg = f"{names[0]} and {names[1]} have no test user in common; expected runs of the same people."
        raise ConfigError(msg)
    chance = [f["facts"]["chance"] for f in facts]
    if chance[0] != chance[1]:
        found.notes.append(f"Chance of precision at one differs: {chance[0]:.3f} and {chance[1]:.3f}.")
    return found


def _per_user(who: list[str], users: list[str], values: F64, both: F64) -> F64:
    """Each user's mean over the pairs that both runs scored."""
    whose, usable = np.array(who), np.isfinite(both).all(0)
    rows = [values[(whose == u) & usable] for u in users]
    return np.array([r.mean() if r.size else np.nan for r in rows])
