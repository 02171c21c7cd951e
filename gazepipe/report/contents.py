"""What a report is about: everything read from the store before anything is drawn."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.build import recordings_of_users
from gazepipe.errors import GazepipeError, NothingToDoError
from gazepipe.record import versions
from gazepipe.report.recorded import LOOKED_THROUGH, Recorded, recorded_of
from gazepipe.study import Failure, Study
from gazepipe.user_quality import Figures, user_quality
from gazepipe.weights_header import header_of

__all__ = ["FIGURES", "Contents", "Outlier", "User", "gather", "outliers", "with_unit"]

F64 = npt.NDArray[np.float64]

#: Figures of quality that are shown: key, heading, unit, factor, decimals.
FIGURES = (
    ("data_loss", "data loss", "%", 100, 1),
    ("effective_rate_hz", "effective rate", "Hz", 1, 1),
    ("gaps_per_minute", "gaps", "/min", 1, 1),
    ("longest_gap_ms", "longest gap", "ms", 1, 0),
    ("rms_s2s_deg", "RMS-S2S", "°", 1, 3),
    ("std_deg", "STD", "°", 1, 3),
    ("accuracy_deg", "accuracy", "°", 1, 2),
    ("off_screen", "off-screen", "%", 100, 1),
    ("fixations_per_trial", "fixations a trial", "", 1, 1),
    ("median_fixation_ms", "median fixation", "ms", 1, 0),
)
#: A value is an outlier beyond this many robust standard deviations from the median (Iglewicz & Hoaglin 1993) …
_OUTLYING = 3.5
#: … of at least so many users.
_FEWEST = 5


def with_unit(number: str, unit: str) -> str:
    """A number and its unit: ``0.04°``, ``3.0 %``, ``22.2/min``."""
    return f"{number}{unit}" if unit[:1] in ("°", "/") else f"{number} {unit}".strip()


@dataclass(slots=True)
class User:
    """One user: name shown, anchor in the page, figures, events of all recordings together.

    Durations are of whole fixations during presentations: an image's onset cuts one that is under way.
    """

    user: str
    label: str
    anchor: str
    recordings: list[store.Contents]
    recorded: list[Recorded] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    n_trials: int = 0
    duration_ms: F64 = field(default_factory=lambda: np.zeros(0))
    amplitude_deg: F64 = field(default_factory=lambda: np.zeros(0))
    peak_velocity_deg_s: F64 = field(default_factory=lambda: np.zeros(0))
    n_blinks: int = 0
    blinks_s: float = 0.0
    thresholds_deg_s: list[float] = field(default_factory=list)
    n_maps: int = 0
    role: str = ""

    @property
    def raw(self) -> bool:
        """Whether there are samples, and not fixations alone."""
        return any(r.attrs["coordinates"] != "stimulus" for r in self.recordings)

    def shown(self, key: str) -> str:
        """One of `FIGURES` as text; a dash where it is not known."""
        value = self.figures.get(key, np.nan)
        factor, digits = next((f, d) for k, _, _, f, d in FIGURES if k == key)
        return "–" if not np.isfinite(value) else f"{value * factor:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Outlier:
    """A figure of one user that lies far from those of the others, by `far` robust standard deviations."""

    user: User
    name: str
    value: str
    median: str
    far: float


@dataclass(slots=True)
class Contents:
    """Everything that is told; what a study does not have yet is empty."""

    study: Study
    users: list[User]
    anonymous: bool
    device: str
    threads: int | None
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dataset: str = ""
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    config: str = ""
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.config.name

    @property
    def stages(self) -> list[tuple[str, bool]]:
        """What there is and what is not there yet."""
        return [
            ("recordings", True),
            ("personal maps", any(u.n_maps for u in self.users)),
            ("networks", "embedding" in self.networks),
            ("gallery", self.study.gallery_file.is_file()),
            ("evaluation", bool(self.evaluation)),
        ]

    @property
    def figures(self) -> list[tuple[str, str, str, float, int]]:
        """Those of `FIGURES` that at least one user has."""
        return [f for f in FIGURES if any(np.isfinite(u.figures.get(f[0], np.nan)) for u in self.users)]

    @property
    def without_loss(self) -> bool:
        """Whether there are recordings, and not one sample without gaze in them: trackers seldom manage that."""
        losses = [u.figures["data_loss"] for u in self.users if np.isfinite(u.figures.get("data_loss", np.nan))]
        return bool(losses) and not any(losses)

    def total(self, key: str) -> float:
        """Sum of a figure over users."""
        return float(np.nansum([u.figures.get(key, np.nan) for u in self.users]))

    def median(self, key: str) -> float:
        """Median of a figure over users; NaN where no user has it."""
        values = [v for u in self.users if np.isfinite(v := u.figures.get(key, np.nan))]
        return float(np.median(values)) if values else float("nan")


def gather(study: Study, *, anonymous: bool = False, device: str = "auto", threads: int | None = None) -> Contents:
    """Read what the store has of each user and of all of them; a damaged file is told of and left out.

    Raises
    ------
    NothingToDoError
        If there are no recordings.
    """
    names = recordings_of_users(study)
    order = list(names)
    if anonymous:
        secrets.SystemRandom().shuffle(order)
    width = len(str(len(order)))
    users: list[User] = []
    contents = Contents(study, users, anonymous, device, threads)
    quality: dict[str, dict[str, float]] = {}
    built = study.manifest("build-psm").get("users", {})
    for number, user in enumerate(order, 1):
        label = f"P{number:0{width}d}" if anonymous else user
        one = User(user, label, f"user-{number}", [], n_maps=int(built.get(user, {}).get("n_maps", 0)))
        for name in names[user]:
            try:
                found, recorded = _one_recording(study, name)
            except GazepipeError as error:
                contents.notes.append(
                    f"A recording of {label} is left out: it is damaged." if anonymous else str(error)
                )
                continue
            one.recordings.append(found)
            one.recorded += recorded
            measured = json.loads(str(found.attrs["quality"]))
            if measured:
                quality[name] = measured
                one.thresholds_deg_s.append(float(measured.get("velocity_threshold_deg_s") or np.nan))
        if one.recordings:
            _fill_events(one)
            users.append(one)
    _fill_quality(contents, names, quality)
    contents.dataset = str(study.manifest("import").get("dataset") or "")
    contents.failures = study.failures()
    contents.networks = _networks(contents)
    contents.evaluation = _evaluation(contents)
    for one in users:
        roles = contents.networks.get("embedding", {})
        parts = [p for p in ("train", "validation", "test") if one.user in roles.get(f"users_{p}", ())]
        # In the closed protocol everybody is in all three parts.
        one.role = "known" if len(parts) > 1 else (parts[0] if parts else "enrolled" if roles else "")
    contents.config = "" if anonymous else _configuration(study)
    return contents


#: What is kept of each recording: events, and no samples.
_KEPT = ("trials/", "fixations/", "saccades/", "blocks/", "blinks/")


def _one_recording(study: Study, name: str) -> tuple[store.Contents, list[Recorded]]:
    """Events of a stored recording, and how it was made where it has samples; these are let go of again."""
    path = study.recording_file(name)
    whole = store.load(path, "gazepipe.recording", only=(*_KEPT, *LOOKED_THROUGH))
    recorded = [recorded_of(whole)] if whole.attrs["coordinates"] != "stimulus" else []
    kept = {key: values for key, values in whole.arrays.items() if key.startswith(_KEPT)}
    return store.Contents(path, kept, whole.attrs), recorded


def _fill_events(user: User) -> None:
    def column(name: str) -> F64:
        parts = [np.asarray(r.arrays[name], np.float64) for r in user.recordings if name in r.arrays]
        return np.concatenate(parts) if parts else np.zeros(0)

    user.n_trials = sum(len(r.arrays["trials/stimulus"]) for r in user.recordings)
    duration_ms, trial = column("fixations/duration_ms"), column("fixations/trial")
    inside = trial >= 0 if user.n_trials else np.ones(duration_ms.size, bool)
    user.duration_ms = duration_ms[inside & (column("fixations/at_onset") == 0)]
    user.amplitude_deg, user.peak_velocity_deg_s = (
        column(f"saccades/{k}") for k in ("amplitude_deg", "peak_velocity_deg_s")
    )
    lost_ms = column("blinks/gap_offset_ms") - column("blinks/gap_onset_ms")
    user.n_blinks, user.blinks_s = lost_ms.size, float(lost_ms.sum()) / 1000
    if user.duration_ms.size:
        user.figures["median_fixation_ms"] = float(np.nanmedian(user.duration_ms))
    user.figures["n_fixations"] = float(inside.sum())
    if user.n_trials:
        user.figures["fixations_per_trial"] = float(inside.sum()) / user.n_trials


def _fill_quality(
    contents: Contents, names: Mapping[str, list[str]], quality: Mapping[str, Mapping[str, float]]
) -> None:
    whose = {name: user for user, own in names.items() for name in own}
    found: dict[str, Figures] = user_quality(whose, quality)
    for one in contents.users:
        known = {k: v for k, v in found.get(one.user, {}).items() if v is not None}
        one.figures = known | one.figures  # of fixations, those of presentations count here
        if known.get("duration_s"):
            one.figures["gaps_per_minute"] = known["n_gaps"] / known["duration_s"] * 60


def _networks(contents: Contents) -> dict[str, dict[str, Any]]:
    """Metadata of all weights, without the weights."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((contents.study.store / "models").glob("*.safetensors")):
        try:
            found[path.stem] = json.loads(header_of(path)[0]["gazepipe"])
        except (OSError, ValueError, KeyError, GazepipeError) as error:
            contents.notes.append(f"The weights {path.name} cannot be read ({error}).")
    return found


def _evaluation(contents: Contents) -> dict[str, Any]:
    try:
        return contents.study.evaluation()
    except NothingToDoError:
        return {}
    except GazepipeError as error:
        contents.notes.append(str(error))
        return {}


def _configuration(study: Study) -> str:
    from gazepipe.config import template

    return template(**study.config.model_dump(mode="json"))


def outliers(contents: Contents) -> list[Outlier]:
    """Figures far from those of the other users, the farthest first."""
    found = []
    for key, name, unit, factor, digits in FIGURES:
        known = [(u, v) for u in contents.users if np.isfinite(v := u.figures.get(key, np.nan))]
        values = np.array([v for _, v in known])
        if len(known) < _FEWEST:
            continue
        median = float(np.median(values))
        spread = float(np.median(np.abs(values - median))) / 0.6745
        if spread <= 0:
            continue
        for user, value in known:
            far = (value - median) / spread
            if abs(far) > _OUTLYING:
                shown, usual = (with_unit(f"{v * factor:.{digits}f}", unit) for v in (value, median))
                found.append(Outlier(user, name, shown, usual, far))
    return sorted(found, key=lambda o: -abs(o.far))
