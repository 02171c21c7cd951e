"""A methods paragraph and a list of what should be reported, filled in from what the study holds.

The list follows Dunn, M. J. et al. (2023), Minimal reporting guideline for research involving eye tracking (2023
edition), Behavior Research Methods, 56, 4351-4357. What no file tells is said to be unknown, never guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazepipe.report.contents import Contents, User
from gazepipe.report.recorded import Recorded, among
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
    told = [r for u in raw for r in u.recorded]
    rates = Counter(float(v) for r in recordings for v in np.unique(r.arrays.get("blocks/sampling_rate_hz", ())))
    nominal = [(rate, counted(n, "recording")) for rate, n in sorted(rates.items())]
    effective = _range(contents, "effective_rate_hz", "{:.0f}", "Hz")
    screen, ivt = contents.study.config.screen, contents.study.config.ivt
    width, height = (2 * np.degrees(np.arctan(n / 2 / screen.distance_mm)) for n in (screen.width_mm, screen.height_mm))
    distance = f"{screen.distance_mm:g} mm"
    distance = (
        f"{distance}, or each sample's own where the tracker measures it" if screen.distance == "tracker" else distance
    )
    return [
        _said("eye tracker", (r.maker for r in told)),
        _said("recording software and firmware", (r.software for r in told)),
        _said("technique and mode of tracking", (r.technique for r in told)),
        _said("filters of the tracker", (_filter(r) for r in told)),
        _said("eyes recorded", (_eyes(r) for r in told)),
        _said("parameters recorded", (f"gaze, {r.pupil_kind}" if r.pupil else "gaze" for r in told)),
        Item(
            "sampling rate",
            f"nominally {', '.join(f'{r:g} Hz ({n})' for r, n in nominal)}; "
            f"effective, samples with gaze over the duration: {effective}",
            bool(rates),
        ),
        Item("eye analysed", {"average": "mean of the eyes that are there"}.get(ivt.eye, ivt.eye.replace("_", " "))),
        Item(
            "screen and distance",
            f"{screen.width_px} × {screen.height_px} px, {screen.width_mm:g} × {screen.height_mm:g} mm, at {distance}: "
            f"{width:.1f}° × {height:.1f}° (as configured)",
        ),
        Item("refresh rate of the screen", _UNKNOWN, False),
        _said("head support", (r.head for r in told)),
        Item("lighting of the room", _UNKNOWN, False),
        _said("targets of the calibration", (_targets(r) for r in told)),
        _calibration(told),
        Item("criterion of the calibration", _UNKNOWN, False),
        _measured(contents, "accuracy", "accuracy_deg", "{:.2f}", "°", "as the tracker's last validation states it"),
        _measured(
            contents, "precision, RMS-S2S", "rms_s2s_deg", "{:.3f}", "°", "sample to sample, median over fixations"
        ),
        _measured(contents, "precision, STD", "std_deg", "{:.3f}", "°", "within fixations, median over fixations"),
        _data_loss(contents),
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
            Item(
                "blinks",
                f"losses of all eyes at once, of {ivt.min_blink_ms:g} to {ivt.max_blink_ms:g} ms, with the lid's "
                "movement on either side",
            ),
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
    "Gaze was recorded with {eye tracker} ({recording software and firmware}; {technique and mode of tracking}; "
    "filters: {filters of the tracker}) at a sampling rate of {sampling rate}. Recorded were {eyes recorded} "
    "({parameters recorded}); analysed was the {eye analysed}.",
    "Gaze and head: {sampling rate and eyes}; {screen, distance and head support}; eye tracker {eye tracker}.",
    "Stimuli were shown on a screen of {screen and distance}, refresh rate {refresh rate of the screen}, head support: "
    "{head support}, lighting {lighting of the room}.",
    "The tracker was calibrated with {targets of the calibration}: {calibration and validation}; criterion: "
    "{criterion of the calibration}.",
    "Accuracy was {accuracy}; precision was, as RMS-S2S, {precision, RMS-S2S}, and as STD, {precision, STD}; data loss "
    "was {data loss}.",
    "There were {stimuli}, each shown for {time of presentation}; the task was {task and instructions}.",
    "There were {stimuli}; the task was {task and instructions}.",
    "Of the signal, {gaps and filters}; fixations were found by {events}; blinks are {blinks}.",
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


def _said(name: str, values: Iterable[str]) -> Item:
    """What recordings state, and in how many of them; empty texts state nothing."""
    text = among(values)
    return Item(name, text or _UNKNOWN, bool(text))


def _eyes(recorded: Recorded) -> str:
    if "cyclopean" in recorded.eyes:
        return "one gaze of both eyes"
    return "both eyes" if len(recorded.eyes) > 1 else f"the {recorded.eyes[0]} eye" if recorded.eyes else ""


def _filter(recorded: Recorded) -> str:
    level = recorded.meta.get("filter_level")
    return f"level {level}" if level not in (None, "") else ""


def _targets(recorded: Recorded) -> str:
    return f"{' or '.join(map(str, recorded.targets))} targets" if recorded.targets else ""


def _calibration(told: list[Recorded]) -> Item:
    """Calibrations, validations and drift checks that the files have, each of one eye."""
    results = Counter(result.lower() for r in told for _, _, result in r.calibrations())
    parts = []
    if results:
        each = ", ".join(f"{grouped(n)} {result}" for result, n in results.most_common())
        parts.append(f"{counted(results.total(), 'calibration')} of an eye ({each})")
    for what, values in (("validation", [e for r in told for e in r.errors_deg]), ("drift check", _drifts(told))):
        if values:
            figures = f"median {np.median(values):.2f}°, {min(values):.2f} to {max(values):.2f}°"
            parts.append(f"{counted(len(values), what)} of an eye ({figures})")
    return Item("calibration and validation", "; ".join(parts) or _UNKNOWN, bool(parts))


def _drifts(told: list[Recorded]) -> list[float]:
    return [d for r in told for d in r.drifts_deg]


def _range(contents: Contents, key: str, shape: str, unit: str) -> str:
    values = [v for u in contents.users if np.isfinite(v := u.figures.get(key, np.nan))]
    if not values:
        return "unknown"
    low, middle, high = (shape.format(v) for v in (min(values), float(np.median(values)), max(values)))
    return f"median over users {middle} {unit}".rstrip() + f" (from {low} to {high})"


def _data_loss(contents: Contents) -> Item:
    how = "share of samples without gaze, before filling"
    if not any(u.figures.get("data_loss", 1) for u in contents.users):
        how += "; no file has a sample without gaze, so they may have been cleaned before"
    return _measured(contents, "data loss", "data_loss", "{:.1%}", "", how)


def _measured(contents: Contents, name: str, key: str, shape: str, unit: str, how: str) -> Item:
    known = sum(bool(np.isfinite(u.figures.get(key, np.nan))) for u in contents.users)
    if not known:
        return Item(name, _UNKNOWN, False)
    unit = unit if unit != "°" else ""
    some = "" if known == len(contents.users) else f", {known} of {len(contents.users)} users"
    shape = shape if "%" in shape or unit else shape + "°"
    return Item(name, f"{_range(contents, key, shape, unit)}{some}; {how}")
