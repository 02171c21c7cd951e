"""A methods paragraph and a list of what should be reported, filled in from what the study holds.

The list follows Dunn, M. J. et al. (2023), Minimal reporting guideline for research involving eye tracking (2023
edition), Behavior Research Methods, 56, 4351-4357. What no file tells is said to be unknown, never guessed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazepipe.report.contents import Contents, User
from gazepipe.words import counted, grouped

__all__ = ["Item", "Methods", "methods"]

_UNKNOWN = "not in the data: fill in"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to report: what, the text, and whether the study tells it."""

    name: str
    text: str
    known: bool = True


@dataclass(frozen=True, slots=True)
class Methods:
    """A paragraph to paste, and the items one by one."""

    paragraph: list[str]
    items: list[Item]

    @property
    def unknown(self) -> int:
        """Items that somebody has to fill in."""
        return sum(not i.known for i in self.items)


def methods(contents: Contents) -> Methods:
    """Fill in what the study holds."""
    raw = [u for u in contents.users if u.raw]
    items = [
        *_people(contents),
        *(_apparatus(contents, raw) if raw else _imported(contents)),
        *_analysis(contents, raw),
    ]
    return Methods(_paragraph(items), items)


def _people(contents: Contents) -> list[Item]:
    n = len(contents.users)
    left_out = [f for f in contents.failures if not f.partial]
    partly = len(contents.failures) - len(left_out)
    said = [f"{counted(len(left_out), 'input')} (recordings or users) could not be used"] if left_out else []
    said += [f"{counted(partly, 'input')} could be used only in part"] if partly else []
    text = ", ".join(said) or "every recording and user that gazepipe was given was used"
    before = "exclusions before the data came to gazepipe"
    return [
        Item("participants", grouped(n)),
        Item("age, vision, recruitment, ethics approval", _UNKNOWN, False),
        Item("inputs left out", text),
        Item(before, _UNKNOWN, False),
    ]


def _imported(contents: Contents) -> list[Item]:
    text = f"recorded by the authors of the data set {contents.dataset or '(unnamed)'}; see its publication"
    names = ("eye tracker", "sampling rate and eyes", "screen, distance and head support", "calibration")
    return [Item(name, text, False) for name in (*names, "accuracy, precision, data loss")]


def _apparatus(contents: Contents, raw: list[User]) -> list[Item]:
    recordings = [r for u in raw for r in u.recordings if r.attrs["coordinates"] != "stimulus"]
    meta = [_json(r.attrs["meta"]) for r in recordings]
    rates = Counter(float(v) for r in recordings for v in np.unique(r.arrays.get("blocks/sampling_rate_hz", ())))
    effective = _range(contents, "effective_rate_hz", "{:.0f}", "Hz")
    screen, ivt = contents.study.config.screen, contents.study.config.ivt
    width, height = (2 * np.degrees(np.arctan(n / 2 / screen.distance_mm)) for n in (screen.width_mm, screen.height_mm))
    validations = [v for m in meta for v in m.get("validations", ())]
    distance = f"{screen.distance_mm:g} mm"
    distance = (
        f"{distance}, or each sample's own where the tracker measures it" if screen.distance == "tracker" else distance
    )
    return [
        _said("eye tracker", meta, ("tracker", "model", "device", "camera")),
        _said("recording software and firmware", meta, ("software", "software_version", "version", "app_version")),
        _said("tracking mode and filters of the tracker", meta, ("pupil", "tracking", "filter_level")),
        Item(
            "sampling rate",
            f"nominally {', '.join(f'{r:g} Hz ({n} blocks or recordings)' for r, n in sorted(rates.items()))}; "
            f"effective, samples with gaze over the duration: {effective}",
            bool(rates),
        ),
        Item("eye used", {"average": "mean of the eyes that are there"}.get(ivt.eye, ivt.eye.replace("_", " "))),
        Item(
            "screen and distance",
            f"{screen.width_px} × {screen.height_px} px, {screen.width_mm:g} × {screen.height_mm:g} mm, at {distance}: "
            f"{width:.1f}° × {height:.1f}° (as configured)",
        ),
        Item("refresh rate of the screen", _UNKNOWN, False),
        Item("head support", _UNKNOWN, False),
        Item("lighting of the room", _UNKNOWN, False),
        Item(
            "calibration and validation",
            f"the files have {counted(len(validations), 'validation')} of an eye" if validations else _UNKNOWN,
            bool(validations),
        ),
        Item("points and criterion of the calibration", _UNKNOWN, False),
        _measured(contents, "accuracy", "accuracy_deg", "{:.2f}", "°", "as the tracker's last validation states it"),
        _measured(
            contents, "precision, RMS-S2S", "rms_s2s_deg", "{:.3f}", "°", "sample to sample, median over fixations"
        ),
        _measured(contents, "precision, STD", "std_deg", "{:.3f}", "°", "within fixations, median over fixations"),
        _measured(contents, "data loss", "data_loss", "{:.1%}", "", "share of samples without gaze, before filling"),
        _measured(contents, "gaze off the screen", "off_screen", "{:.1%}", "", "share of samples with gaze"),
    ]


def _analysis(contents: Contents, raw: list[User]) -> list[Item]:
    config = contents.study.config
    ivt, psm = config.ivt, config.psm
    images = {str(s) for u in contents.users for r in u.recordings for s in r.arrays["trials/stimulus"] if str(s)}
    found = [
        Item(
            "stimuli",
            f"{counted(len(images), 'image')}; {counted(sum(u.n_trials for u in contents.users), 'presentation')}",
        ),
        Item("task and instructions", _UNKNOWN, False),
    ]
    if raw:
        lengths = np.concatenate(
            [
                r.arrays["trials/offset_ms"] - r.arrays["trials/onset_ms"]
                for u in raw
                for r in u.recordings
                if "trials/offset_ms" in r.arrays
            ]
            or [np.zeros(0)]
        )
        if lengths.size:
            low, middle, high = np.percentile(lengths, [5, 50, 95]) / 1000
            text = f"median {middle:.2f} s (5th to 95th percentile {low:.2f} to {high:.2f} s)"
            found.append(Item("time of presentation", text))
        noise = "none" if ivt.noise_filter == "none" else f"{ivt.noise_filter.replace('_', ' ')} of {ivt.noise_window}"
        found += [
            Item("gaps and filters", f"gaps below {ivt.max_gap_ms:g} ms filled by a line; noise filter: {noise}"),
            Item("events", _events(ivt)),
        ]
    scaled = "maximum" if psm.normalisation == "max" else "sum"
    first = "without" if psm.drop_first_fixation else "with"
    found.append(
        Item(
            "saliency maps",
            f"fixations weighted by {psm.weighting}, {first} the one already there at onset, on {psm.width} × "
            f"{psm.height} cells, Gaussian of {psm.sigma_deg:g}°, {scaled} of each repeat's map set to one",
        )
    )
    versions = ", ".join(
        f"{name} {v}" for name, v in contents.versions.items() if name in ("gazepipe", "python", "torch")
    )
    found.append(Item("software of the analysis", f"{versions}"))
    return found


def _events(ivt: Any) -> str:
    threshold = f"{ivt.velocity_threshold_deg_s:g}°/s"
    if ivt.velocity_threshold_mode == "adaptive":
        low, high = ivt.velocity_threshold_floor_deg_s, ivt.velocity_threshold_cap_deg_s
        threshold = f"an adaptive threshold between {low:g} and {high:g}°/s"
    merged = (
        f"fixations less than {ivt.merge_max_gap_ms:g} ms and at most {ivt.merge_max_angle_deg:g}° apart merged"
        if ivt.merge_max_angle_deg
        else "none merged"
    )
    return (
        f"velocity threshold (I-VT; Olsen 2012): {threshold}, velocity by {ivt.velocity_method} over "
        f"{ivt.velocity_window_ms:g} ms; {merged}; fixations below {ivt.min_fixation_ms:g} ms discarded"
    )


#: Sentences of the paragraph: words around names of items, in braces.
_SENTENCES = (
    "The study has {participants} participants ({age, vision, recruitment, ethics approval}; {inputs left out}; "
    "{exclusions before the data came to gazepipe}).",
    "Gaze was recorded with {eye tracker} ({recording software and firmware}; {tracking mode and filters of the "
    "tracker}) at a sampling rate of {sampling rate}; the eye used was {eye used}.",
    "Gaze and head: {sampling rate and eyes}; {screen, distance and head support}; eye tracker {eye tracker}.",
    "Stimuli were shown on a screen of {screen and distance}, refresh rate {refresh rate of the screen}, head support "
    "{head support}, lighting {lighting of the room}.",
    "The tracker was calibrated and validated as follows: {calibration and validation}; {points and criterion of the "
    "calibration}.",
    "Accuracy was {accuracy}; precision was, as RMS-S2S, {precision, RMS-S2S}, and as STD, {precision, STD}; data loss "
    "was {data loss}.",
    "There were {stimuli}, each shown for {time of presentation}; the task was {task and instructions}.",
    "There were {stimuli}; the task was {task and instructions}.",
    "Of the signal, {gaps and filters}; fixations were found by {events}.",
    "Saliency maps were made of {saliency maps}.",
    "The analysis was done with {software of the analysis}.",
)


def _paragraph(items: Iterable[Item]) -> list[str]:
    """The sentences all of whose items there are, with a blank in brackets for what is not known."""
    texts = {i.name: i.text if i.known else f"[{i.name}: to be filled in]" for i in items}
    found = list[tuple[str, list[str]]]()
    for sentence in _SENTENCES:
        names = re.findall(r"{(.*?)}", sentence)
        if all(name in texts for name in names) and not set(names) <= {n for s in found for n in s[1]}:
            found.append((re.sub(r"{(.*?)}", lambda m: texts[m[1]], sentence), names))
    return [text for text, _ in found]


def _json(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else dict(value)
    return found


def _said(name: str, meta: list[dict[str, Any]], keys: tuple[str, ...]) -> Item:
    """What files state under one of some keys, with how many recordings state it."""
    parts = []
    for key in keys:
        counts = Counter(str(m[key]) for m in meta if m.get(key) not in (None, "", "none"))
        parts += [
            f"{key.replace('_', ' ')} {value} ({n} of {len(meta)} recordings)" for value, n in counts.most_common(4)
        ]
    return Item(name, "; ".join(parts), True) if parts else Item(name, _UNKNOWN, False)


def _range(contents: Contents, key: str, shape: str, unit: str) -> str:
    values = [v for u in contents.users if np.isfinite(v := u.figures.get(key, np.nan))]
    if not values:
        return "unknown"
    low, middle, high = (shape.format(v) for v in (min(values), float(np.median(values)), max(values)))
    return f"median over users {middle} {unit}".rstrip() + f" (from {low} to {high})"


def _measured(contents: Contents, name: str, key: str, shape: str, unit: str, how: str) -> Item:
    known = sum(bool(np.isfinite(u.figures.get(key, np.nan))) for u in contents.users)
    if not known:
        return Item(name, _UNKNOWN, False)
    unit = unit if unit != "°" else ""
    some = "" if known == len(contents.users) else f", {known} of {len(contents.users)} users"
    shape = shape if "%" in shape or unit else shape + "°"
    return Item(name, f"{_range(contents, key, shape, unit)}{some}; {how}")
