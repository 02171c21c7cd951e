"""BIDS names, JSON sidecars with inheritance, units, and the screen that a data set states."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import ScreenConfig
from gazepipe.errors import RecordingError

__all__ = [
    "BidsScreen",
    "Name",
    "applying",
    "beside",
    "check_pixels",
    "collect",
    "ms_of",
    "number",
    "parse",
    "screen_of",
    "time_unit",
]

F64 = npt.NDArray[np.float64]
_UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_SPELLINGS = {
    "s": ("s", "sec", "second", "seconds"),
    "ms": ("ms", "msec", "millisecond", "milliseconds"),
    "us": ("us", "µs", "μs", "microsecond", "microseconds"),
    "ns": ("ns", "nanosecond", "nanoseconds"),
}
_PIXELS = ("pixel", "pixels", "px")
_UNKNOWN_UNITS = ("", "a.u.", "arbitrary", "arbitrary unit", "arbitrary units")
_LEVELS = 6  # sub-, ses- and a modality's folder are three


@dataclass(frozen=True, slots=True)
class Name:
    """A file name's parts: ``sub-01_task-x_recording-eye1_physio.tsv.gz``."""

    parts: frozenset[str]
    suffix: str

    @property
    def eye(self) -> str:
        """``"eye1"``, or "" if there is none."""
        found = (p.removeprefix("recording-") for p in self.parts if p.startswith("recording-eye"))
        return next(found, "")

    @property
    def shared(self) -> frozenset[str]:
        """What the files of all eyes of a recording have in common, suffix included."""
        return frozenset(p for p in self.parts if not p.startswith("recording-")) | {self.suffix}


def parse(name: str, kinds: Sequence[str] = (".tsv", ".tsv.gz")) -> Name | None:
    """Take a file name apart; None if it does not end in one of `kinds` or has only one part."""
    kind = next((k for k in sorted(kinds, key=len, reverse=True) if name.lower().endswith(k)), None)
    if kind is None:
        return None
    *parts, suffix = name[: -len(kind)].split("_")
    return Name(frozenset(parts), suffix) if parts else None


def applying(path: Path, suffix: str) -> list[Path]:
    """JSON files of one suffix that apply to a table, from the data set's root down.

    The root is the folder with ``dataset_description.json``; without one, only the table's own folder counts.
    """
    name = parse(path.name)
    if name is None:
        return []
    found = []
    for level in reversed(_levels(path)):
        candidates = sorted(level.glob(f"*{suffix}.json"))
        fitting = [(p, parse(f"x_{p.name}", (".json",))) for p in candidates]
        # A file that names more of the table's parts is the nearer one.
        parts = [(len(n.parts), p) for p, n in fitting if n and n.suffix == suffix and n.parts - {"x"} <= name.parts]
        found += [p for _, p in sorted(parts)]
    return found


def _levels(path: Path) -> list[Path]:
    """Return the folders from a table's own up to the data set's root."""
    folder = path.absolute().parent
    above = [folder, *list(folder.parents)[:_LEVELS]]
    root = next((k for k, f in enumerate(above) if (f / "dataset_description.json").is_file()), 0)
    return above[: root + 1]


def beside(path: Path, suffix: str) -> Path | None:
    """Return the nearest table of another suffix that belongs to a table, unless it is empty.

    The tracker's events are of one eye, those of the task of all; the latter may also stand above the table's folder.
    """
    name = parse(path.name)
    if name is None:
        return None
    own = suffix == "physioevents"
    for level in _levels(path)[: 1 if own else None]:
        fitting = []
        for other in sorted(level.glob(f"*_{suffix}.tsv*")):
            found = parse(other.name)
            if found and found.suffix == suffix and found.parts <= name.parts and other.stat().st_size:
                fitting.append((found.parts == name.parts, len(found.parts), other))
        if fitting and (max(fitting)[0] or not own):
            return max(fitting)[2]
    return None


def collect(path: Path, suffix: str) -> dict[str, Any]:
    """Join all sidecars that apply to a table.

    Raises
    ------
    RecordingError
        If one of them is not a JSON object.
    """
    found: dict[str, Any] = {}
    for file in applying(path, suffix):
        try:
            content = json.loads(file.read_bytes().decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordingError(file, f"it cannot be read ({error})", expected="JSON", remedy="correct it") from None
        if not isinstance(content, dict):
            raise RecordingError(file, "it has no JSON object", expected="a sidecar", remedy="correct it")
        found |= content
    return found


def number(value: Any) -> float | None:
    """Return a positive finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if found > 0 and math.isfinite(found) else None


def time_unit(column: Any) -> str:
    """Return the unit of a column's description: s, ms, us, ns; "" if there is none, the text if it is another."""
    text = str(column.get("Units") or "").strip() if isinstance(column, dict) else ""
    return next((unit for unit, words in _SPELLINGS.items() if text.lower() in words), text)


def ms_of(path: Path, unit: str, times: F64, about: dict[str, Any], warnings: list[str]) -> float:
    """Milliseconds of one unit of the time column."""
    if unit in _UNITS:
        return _UNITS[unit]
    if unit:
        raise RecordingError(path, f"the timestamp's Units are {unit[:40]!r}", expected="s, ms, us or ns")
    rate = number(about.get("SamplingFrequency"))
    step = float(np.median(np.diff(times)))
    for name, ms in _UNITS.items():
        if rate is not None and step > 0 and abs(step * ms * rate / 1000 - 1) < 0.2:
            warnings.append(f"{path.name}: the timestamp has no Units; {name} goes with the SamplingFrequency")
            return ms
    raise RecordingError(
        path,
        "the timestamp has no Units, and no unit makes it go with SamplingFrequency",
        expected="s, ms, us or ns",
        remedy='add "Units" to the timestamp in the sidecar',
    )


def check_pixels(path: Path, about: dict[str, Any], names: Sequence[str], warnings: list[str]) -> None:
    """Refuse positions in other units than pixels; none at all, or arbitrary ones, are taken for pixels."""
    for name in names:
        column = about.get(name)
        unit = str(column.get("Units") or "").strip().lower() if isinstance(column, dict) else ""
        if unit in _UNKNOWN_UNITS:
            said = f"says {unit!r}" if unit else "does not say"
            warnings.append(f"{path.name}: the sidecar {said} for the unit of {name}; it was taken for pixels")
        elif unit not in _PIXELS:
            raise RecordingError(
                path,
                f"the Units of {name} are {unit[:40]!r}",
                expected="pixel",
                remedy="convert the recording again, with gaze in pixels of the screen",
            )


@dataclass(frozen=True, slots=True)
class BidsScreen:
    """What ``StimulusPresentation`` says."""

    size_px: tuple[int, int] | None
    size_mm: tuple[float, float] | None
    distance_mm: float | None
    origin: tuple[str, str]

    def meta(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        values = {"screen_size_mm": self.size_mm, "screen_distance_mm": self.distance_mm}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    def differences(self, screen: ScreenConfig) -> list[str]:
        """Say where the study's configuration has another screen (its pixels are checked when it is ingested)."""
        out = []
        pairs = [("distance", self.distance_mm, screen.distance_mm, "distance_mm")]
        if self.size_mm:
            pairs.append(("width", self.size_mm[0], screen.width_mm, "width_mm"))
            pairs.append(("height", self.size_mm[1], screen.height_mm, "height_mm"))
        for what, stated, ours, key in pairs:
            if stated is not None and abs(stated / ours - 1) > 0.02:
                out.append(f"the data set gives {stated:g} mm as the screen's {what}, [screen] {key} is {ours:g}")
        return out

    def from_top_left(self, path: Path, x: F64, y: F64) -> tuple[F64, F64]:
        """Positions from `origin` → from the top-left corner."""
        if self.origin == ("top", "left"):
            return x, y
        vertical, horizontal = self.origin
        if vertical not in ("top", "bottom") or horizontal not in ("left", "right") or self.size_px is None:
            raise RecordingError(
                path,
                f"ScreenOrigin is {list(self.origin)}" + ("" if self.size_px else " without ScreenResolution"),
                expected="a corner of a screen of known size",
                remedy="convert the recording again, with gaze from the top-left corner",
            )
        return (
            self.size_px[0] - x if horizontal == "right" else x,
            self.size_px[1] - y if vertical == "bottom" else y,
        )


def screen_of(path: Path, presented: dict[str, Any]) -> BidsScreen:
    """Return the screen that ``…_events.json`` states, None for each thing that it does not."""
    stated = presented.get("StimulusPresentation")
    stated = stated if isinstance(stated, dict) else {}
    pixels, metres = _pair(stated.get("ScreenResolution")), _pair(stated.get("ScreenSize"))
    distance = number(stated.get("ScreenDistance"))
    words = stated.get("ScreenOrigin", ["top", "left"])
    origin = [str(w).lower() for w in words] if isinstance(words, list) else [str(words)]
    origin = [*origin, "", ""][:2]
    return BidsScreen(
        None if pixels is None else (round(pixels[0]), round(pixels[1])),
        None if metres is None else (_mm(metres[0]), _mm(metres[1])),
        None if distance is None else _mm(distance),
        (origin[0], origin[1]),
    )


def _mm(metres: float) -> float:
    return round(metres * 1000, 6)


def _pair(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, second = number(value[0]), number(value[1])
    return None if first is None or second is None else (first, second)
