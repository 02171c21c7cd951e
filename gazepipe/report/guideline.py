"""What the reporting guideline asks of every study with an eye tracker, item by item, as far as recordings tell it.

Items and their numbers are those of Dunn, M. J. et al. (2023), Minimal reporting guideline for research involving eye
tracking (2023 edition), Behavior Research Methods, 56, 4351-4357. What no file tells is said to be unknown, never
guessed, with what the lab has to add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazepipe.config import TrialsConfig
from gazepipe.report.contents import Contents, User
from gazepipe.report.recorded import Recorded, among
from gazepipe.words import counted, grouped

__all__ = ["Item", "guideline", "measured", "spread"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to report.

    Parameters
    ----------
    number
        Of the guideline; empty for what it leaves to others.
    name
        What it is.
    text
        What the study tells; empty where it tells nothing.
    add
        What somebody has to add; empty where that is all.
    sentence
        Words around the text, which goes where the braces are.
    """

    number: str
    name: str
    text: str
    add: str = ""
    sentence: str = "{}."


def guideline(contents: Contents, raw: list[User]) -> list[Item]:
    """Return the items A1 to A12, B1 and C1 of a study with raw recordings, those of `raw`."""
    told = [r for u in raw for r in u.recorded]
    return [
        *_tracker(told),
        *_calibration(told),
        *_uncertainty(contents),
        *_processing(contents, raw),
        *_times(contents),
    ]


# ---- tracker and what it recorded ------------------------------------------------------------------------------------


def _tracker(told: list[Recorded]) -> list[Item]:
    return [
        Item(
            "A1",
            "manufacturer and model",
            among(r.maker for r in told),
            _ask_maker(told),
            "Eye tracker: {}.",
        ),
        Item(
            "A2",
            "software and firmware",
            among(r.software for r in told),
            "versions of the tracker's firmware and of the software that showed the stimuli",
            "Software of the recording: {}.",
        ),
        Item(
            "A3",
            "technology",
            among(r.technique for r in told),
            "" if all(r.technique for r in told) else "technique (for example video, electrodes, dual Purkinje images)",
            "The tracker works by {}.",
        ),
        Item("A4", "sampling frequency", _rate(told), "", "Gaze was sampled at {}."),
        Item(
            "A5",
            "restriction of the head",
            among(r.head for r in told),
            "chin rest, forehead rest, bite bar or free head; if free, what its movements mean for the data",
            "Head: {}.",
        ),
        Item(
            "A6",
            "eyes recorded",
            among((_eyes(r) for r in told), most=6),
            "which eyes, where a file has one gaze alone" if any("cyclopean" in r.eyes for r in told) else "",
            "Recorded was {}.",
        ),
        Item("A7", "parameters recorded", _parameters(told), "", "The files have {}."),
        Item(
            "A8", "lighting", "", "whether the room was dark, moderate or light, and by which measure", "Lighting: {}."
        ),
    ]


def _ask_maker(told: list[Recorded]) -> str:
    if any("EyeLink" in r.maker for r in told):
        return (
            "model (an EyeLink's files name the software of its host, not the model), and city and country of the maker"
        )
    if told and all(r.maker.startswith("none (") for r in told):
        return ""
    known = bool(told) and all(r.maker for r in told)
    return f"{'' if known else 'manufacturer and '}model, and city and country of the maker"


def _rate(told: list[Recorded]) -> str:
    """Nominal rates, and how far apart samples are."""
    rates = Counter(rate for r in told for rate in r.rates_hz)
    parts = [f"{rate:g} Hz ({counted(n, 'recording')})" for rate, n in sorted(rates.items())]
    if not parts:
        return ""
    steps = np.array([r.steps_ms for r in told if r.steps_ms])
    text = f"nominally {parts[0].split(' (')[0]}" if len(parts) == 1 else f"nominally {', '.join(parts)}"
    if not steps.size:
        return text
    low, middle, high = float(steps[:, 0].min()), float(np.median(steps[:, 1])), float(steps[:, 2].max())
    if len(parts) == 1 and high - low <= 0.02 * middle:
        return f"{text}, samples an even {middle:.4g} ms apart"
    return f"{text}; 5th to 95th percentile of the steps from sample to sample {low:.4g} to {high:.4g} ms"


def _eyes(recorded: Recorded) -> str:
    if "cyclopean" in recorded.eyes:
        return "one gaze, of both eyes or of an eye that is not named"
    return "the gaze of both eyes" if len(recorded.eyes) > 1 else "".join(f"the {e} eye" for e in recorded.eyes)


def _parameters(told: list[Recorded]) -> str:
    corner = "from its top left corner, x to the right and y down"
    places = (
        "in the scene camera's picture" if r.meta.get("coordinates") == "scene" else "on the screen" for r in told
    )
    pupils = among((r.pupil_kind if r.pupil else "" for r in told), silent="none")
    return f"gaze in pixels {among(places)}, {corner}" + (f"; {pupils}" if pupils else "")


# ---- A9 --------------------------------------------------------------------------------------------------------------


def _calibration(told: list[Recorded]) -> list[Item]:
    """The three parts of item A9: method, design, validation."""
    kinds = ["/".join(dict.fromkeys(kind for kind, _, _ in r.calibrations())) for r in told]
    method = among(f"the tracker's own calibration {kind}" if kind else "" for kind in kinds)
    validated = [v for r in told for v in r.calibrations("VALIDATION")]
    measured_live = sum(v.get("result") == "measured" for r in told for v in r.meta.get("validations", ()))
    parts = []
    if validated:
        parts.append(_results("validation", Counter(result.lower() for _, _, result in validated)))
    if measured_live:
        parts.append(f"{counted(measured_live, 'validation')} at known targets by gazepipe")
    errors = [e for r in told for e in r.errors_deg]
    if errors:
        parts.append(f"mean error of {counted(len(errors), 'validation')} {spread(errors, '{:.2f}°')}")
    results = Counter(result.lower() for r in told for _, _, result in r.calibrations())
    if results:
        parts.insert(0, _results("calibration", results))
    drifts = [d for r in told for d in r.drifts_deg]
    if drifts:
        n = sum(bool(r.drifts_deg) for r in told)
        parts.append(
            f"{counted(len(drifts), 'drift check')} of an eye in {counted(n, 'recording')}, offset "
            f"{spread(drifts, '{:.2f}°')}"
        )
    return [
        Item(
            "A9.1",
            "calibration: method",
            method,
            "" if all(kinds) else "whether it was the manufacturer's procedure, or what was done instead",
            "Calibration method: {}.",
        ),
        Item(
            "A9.2",
            "calibration: design",
            among(f"{' or '.join(map(str, r.targets))} targets" if r.targets else "" for r in told),
            ("" if all(r.targets for r in told) else "number of targets; ")
            + "their look, size, colour, places and duration; what participants did",
            "Calibration design: {}.",
        ),
        Item(
            "A9.3",
            "calibration: validation",
            "; ".join(parts),
            ("" if parts else "whether and how it was validated; ")
            + "criterion of acceptance; "
            + ("" if drifts else "whether drift was checked; ")
            + "when the tracker was calibrated again",
            "Validation: {}.",
        ),
    ]


def _results(what: str, results: Counter[str]) -> str:
    each = ", ".join(f"{grouped(n)} {result}" for result, n in results.most_common())
    return f"{counted(results.total(), what)} of an eye ({each}, in the tracker's words)"


# ---- quality ---------------------------------------------------------------------------------------------------------


def _uncertainty(contents: Contents) -> list[Item]:
    ask = "mean error at known targets, in degrees"
    return [
        measured(contents, "A10", "accuracy", "accuracy_deg", "{:.2f}°", "last validation of each eye", ask),
        measured(contents, "A10", "precision, RMS-S2S", "rms_s2s_deg", "{:.3f}°", "median over fixations"),
        measured(contents, "A10", "precision, STD", "std_deg", "{:.3f}°", "median over fixations"),
        measured(contents, "A10", "precision, BCEA of 68 %", "bcea_deg2", "{:.4f} deg²", "median over fixations"),
    ]


def measured(
    contents: Contents, number: str, name: str, key: str, shape: str, how: str, add: str = "", factor: float = 1
) -> Item:
    """One figure of the users' quality: median and range over those who have it."""
    values = [v * factor for u in contents.users if np.isfinite(v := u.figures.get(key, np.nan))]
    sentence = f"{name[0].upper()}{name[1:]}: {{}}."
    if not values:
        return Item(number, name, "", add, sentence)
    few = len(values) < len(contents.users)
    some = f"; known of {grouped(len(values))} of {counted(len(contents.users), 'participant')}" if few else ""
    return Item(number, name, f"{spread(values, shape)} over participants ({how}{some})", add if few else "", sentence)


def spread(values: Iterable[float], shape: str) -> str:
    """Median and range of values as text, ``median 3.0 %, 2.0 to 5.1 %``; one value where all look the same."""
    known = list(values)
    low, middle, high = (shape.format(v) for v in (min(known), float(np.median(known)), max(known)))
    if low == high:
        return f"all {middle}" if len(known) > 1 else middle
    return f"median {middle}, {low.removesuffix(shape.partition('}')[2])} to {high}"


# ---- from samples to events ------------------------------------------------------------------------------------------

_VELOCITY = {
    "olsen": "angle between the ends of a window of {w:g} ms",
    "savgol": "slope of a polynomial of order {o} over {w:g} ms (Savitzky and Golay 1964)",
    "fivepoint": "slope over five samples (Engbert and Kliegl 2003)",
}
_EYE = {
    "average": "the mean of both eyes, or the one that is there",
    "strict_average": "the mean of both eyes, where both are there",
    "left": "the left eye",
    "right": "the right eye",
}


def _processing(contents: Contents, raw: list[User]) -> list[Item]:
    ivt = contents.study.config.ivt
    told = [r for u in raw for r in u.recorded]
    level = among(_filter(r) for r in told)
    noise = "no filter" if ivt.noise_filter == "none" else f"{ivt.noise_filter.replace('_', ' ')} of {ivt.noise_window}"
    gaps = f"gaps shorter than {ivt.max_gap_ms:g} ms filled by a straight line" if ivt.max_gap_ms else "no gap filled"
    lost = sum(u.figures.get("data_loss", 0) * u.figures.get("duration_s", 0) for u in raw)
    n_blinks, blinks_s = sum(u.n_blinks for u in raw), sum(u.blinks_s for u in raw)
    minutes = contents.total("duration_s") / 60
    counts = ""
    if n_blinks and minutes:
        counts = f"; {counted(n_blinks, 'blink')}, {n_blinks / minutes:.1f} a minute"
    rules = (
        f"losses of all eyes at once, of {ivt.min_blink_ms:g} to {ivt.max_blink_ms:g} ms, with the lid's movement on "
        f"either side (after Hershman et al. 2018){counts}"
    )
    loss = measured(
        contents, "A12", "data loss", "data_loss", "{:.1f} %", "samples without gaze, before filling", "", 100
    )
    if contents.without_loss:
        text = "no file has a sample without gaze: the tracker lost none, or losses were taken out or filled before"
        loss = Item("A12", "data loss", text, "whether lost samples were taken out or filled before", "Data loss: {}.")
    elif n_blinks and lost:
        share = f"{100 * min(blinks_s / lost, 1):.0f} % of the time lost is in blinks"
        loss = Item("A12", "data loss", f"{loss.text}; {share}", loss.add, loss.sentence)
    return [
        *([Item("A11", "filter of the tracker", level, "", "Filter of the tracker: {}.")] if level else []),
        Item("A11", "eye analysed", _EYE[ivt.eye], "", "Analysed was {}."),
        Item("A11", "gaps and noise", f"{gaps}; {noise} of gaze", "", "Of the samples, {}."),
        Item("A11", "fixations", _fixations(ivt, raw), "", "Fixations were found by {}."),
        Item(
            "A11",
            "saccades",
            f"runs of samples at or above that threshold, of {ivt.min_saccade_ms:g} ms and more, with a slow sample on "
            "either side and no gap",
            "",
            "Saccades are {}.",
        ),
        Item("A11", "blinks", rules, "", "Blinks are {}."),
        loss,
        measured(
            contents, "A12", "gaze off the screen", "off_screen", "{:.1f} %", "of samples with gaze; kept", "", 100
        ),
    ]


def _filter(recorded: Recorded) -> str:
    level = recorded.meta.get("filter_level")
    return (
        f"heuristic filter at level {level}"
        if level not in (None, "")
        else str(recorded.meta.get("RawDataFilters") or "")
    )


def _fixations(ivt: Any, raw: list[User]) -> str:
    threshold = f"{ivt.velocity_threshold_deg_s:g}°/s"
    if ivt.velocity_threshold_mode == "adaptive":
        low, high = ivt.velocity_threshold_floor_deg_s, ivt.velocity_threshold_cap_deg_s
        found = [v for u in raw for v in u.thresholds_deg_s if np.isfinite(v)]
        used = f", {spread(found, '{:.1f}°')}/s" if found else ""
        threshold = (
            f"each recording's median velocity + {ivt.velocity_lambda:g} median absolute deviations, from {low:g} to "
            f"{high:g}°/s{used}"
        )
    merged = (
        f"fixations less than {ivt.merge_max_gap_ms:g} ms and at most {ivt.merge_max_angle_deg:g}° apart made one"
        if ivt.merge_max_angle_deg
        else "none merged"
    )
    velocity = _VELOCITY[ivt.velocity_method].format(w=ivt.velocity_window_ms, o=ivt.savgol_order)
    return (
        f"velocity threshold (I-VT; Olsen 2012): {threshold}, velocity taken as the {velocity}; {merged}; those "
        f"shorter than {ivt.min_fixation_ms:g} ms discarded"
    )


# ---- times and distance ----------------------------------------------------------------------------------------------


#: Where the onsets of images are from, and on whose clock, for each `[trials] clock` of a trial file.
_OF_FILE = {
    "auto": "on the clock of the samples, or counted from the first one",
    "tracker": "on the clock of the samples",
    "start": "counted from the first sample",
    "events": "whose clock is brought to that of the samples by events that are in both",
}


def _clocks(told: list[Recorded], trials: TrialsConfig) -> list[str]:
    """On whose clock gaze and the onsets of images are, and what is known of delays, as files and settings tell it."""
    own = (
        f"the onsets of images are of a file of their own, {_OF_FILE[trials.clock]}"
        if trials.file
        else "the onsets of images are in the recording's own file, on the clock of the samples"
    )
    parts = [among(r.clock or own for r in told)]
    delays = [ms for r in told for ms in r.delays_ms]
    if delays:
        parts.append(f"delays that messages state ({spread(delays, '{:.0f} ms')}) are taken into account")
    transfers = [t for r in told if (t := r.transfer_ms) is not None]
    if transfers:
        parts.append(f"samples arrived {spread(transfers, '{:.1f} ms')} after their time")
    uncertain = [ms for r in told if (ms := r.uncertain_ms)]
    if uncertain:
        most, n = max(uncertain), counted(len(uncertain), "recording")
        parts.append(f"where the tracker's clock was set, times are uncertain by up to {most:.1f} ms ({n})")
    return list(filter(None, parts))


def _ask_latencies(told: list[Recorded]) -> str:
    """What no file tells: what happens before the tracker's time stamp, and behind the program that shows an image."""
    live = [r for r in told if r.format == "live-session"]
    screen = "from an image's onset to its light on the screen (measured by a photodiode, or that it was not measured)"
    clocks = "" if len(live) == len(told) and told else "; how the clocks of tracker and stimuli were brought together"
    return f"latency from the eye to the tracker's time stamp (its maker states it), and {screen}{clocks}"


def _times(contents: Contents) -> list[Item]:
    screen = contents.study.config.screen
    width, height = (2 * np.degrees(np.arctan(n / 2 / screen.distance_mm)) for n in (screen.width_mm, screen.height_mm))
    own = ", or each sample's own where the tracker measures it" if screen.distance == "tracker" else ""
    told = [r for u in contents.users for r in u.recorded]
    monitors = among(str(r.meta.get("Recording monitor latency [ms]") or "") for r in told)
    parts = [*_clocks(told, contents.study.config.trials)]
    parts += [f"latency of the monitor as the recording software has it (ms): {monitors}"] if monitors else []
    return [
        Item("B1", "signal latencies", "; ".join(parts), _ask_latencies(told), "Times and latencies: {}."),
        Item(
            "C1",
            "distance and screen",
            f"{screen.distance_mm:g} mm{own}; screen of {screen.width_px} × {screen.height_px} px, "
            f"{screen.width_mm:g} × {screen.height_mm:g} mm, {width:.1f}° × {height:.1f}° (as "
            "configured, not measured)",
            "refresh rate of the screen",
            "Distance of the eyes from the screen: {}.",
        ),
    ]
