"""What is looked at before a session begins."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazepipe.errors import QualityError
from gazepipe.live.clock import STEP_NS, measure
from gazepipe.live.source import SampleFlag, SourceError, host_ns
from gazepipe.tables import text_table
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.live.recorder import Recorder

__all__ = ["Check", "Report", "preflight"]

BATTERY = 0.2
DEVICE_GB = 2.0
DISK_GB = 1.0
ROUND_TRIP_MS = 50.0
RATE_SHARE, RATE_MOST = 0.9, 1.25
APART_S = 1.0
TAGS = 3
MAPPED = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `ok` is None where the device does not tell."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of a session."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(c.ok is not False for c in self.checks)

    def raise_for_status(self) -> None:
        """Raise `QualityError` with everything that is wrong."""
        wrong = [f"{c.name}: {c.found}; {c.remedy}" for c in self.checks if c.ok is False]
        if wrong:
            msg = f"not ready: {'. '.join(wrong)}."
            raise QualityError(msg)

    def text(self) -> str:
        """Return the checks as a table."""
        words = {True: "ok", False: "not ok", None: "not known"}
        rows = [[c.name, words[c.ok], c.found, c.remedy if c.ok is False else ""] for c in self.checks]
        return text_table(["", "", "found", "what to do"], rows, (0, 1, 2, 3))


def preflight(recorder: Recorder, seconds: float) -> Report:
    """Look at the device, at `seconds` of its gaze, at the clock, the tags and the disk."""
    source = recorder.source
    status = source.status()

    begin, before = host_ns(), recorder.writer.samples
    until = time.monotonic() + seconds
    while time.monotonic() < until and recorder.failure is None and not recorder.ended:
        time.sleep(min(0.05, seconds))
    time.sleep(0.05)  # the last samples are on their way
    host, x, _, flags = recorder.seen.between(begin, begin + round(seconds * 1e9))
    # Samples whose times are not those of the clock that is measured are nowhere to be seen.
    apart_s = recorder.behind_ns / 1e9 if recorder.writer.samples > before else 0.0
    n = host.size if abs(apart_s) < APART_S else recorder.writer.samples - before
    stored = None if status.storage_bytes is None else status.storage_bytes / 1e9
    checks = [
        _at_least("battery", status.battery, BATTERY, "{:.0%}", "charge the device"),
        _at_least("storage of the device", stored, DEVICE_GB, "{:.1f} GB", "delete old recordings"),
        _rate(n, seconds, source.expected(begin, begin + round(seconds * 1e9))),
    ]
    worn = float(np.mean((flags & int(SampleFlag.NOT_WORN)) == 0)) if flags.size else math.nan
    seen = f"{worn:.0%} of the samples" if flags.size else "no samples"
    checks.append(Check("worn", None if not flags.size else worn > 0.5, seen, "put the glasses on"))
    if source.own_clock:
        checks.append(_clock(recorder, apart_s))
    if source.space == "scene":
        later = host > begin + round(seconds * 5e8)  # at first, the camera's pictures are still on their way
        checks.append(_tags(recorder, float(np.isfinite(x[later]).mean()) if later.any() else 0.0))
    free = shutil.disk_usage(recorder.writer.folder).free / 1e9
    checks.append(_at_least("disk", free, DISK_GB, "{:.1f} GB free", "free some space"))
    return Report(tuple(checks))


def _at_least(name: str, value: float | None, least: float, shape: str, remedy: str) -> Check:
    if value is None:
        return Check(name, None, "")
    return Check(name, value >= least, f"{shape.format(value)}, needs {shape.format(least)}", remedy)


def _rate(n: int, seconds: float, expected: float) -> Check:
    found = f"{n / seconds:.0f} Hz of {expected / seconds:.0f}"
    if n > RATE_MOST * expected > 0:
        return Check("rate", False, found, "let the tracker's software tell its true rate, or give it in a script")
    ok = n >= RATE_SHARE * expected if expected else None  # a pause of a recording that is replayed
    return Check("rate", ok, found, "move nearer to the network or use a cable")


def _tags(recorder: Recorder, mapped: float) -> Check:
    if recorder.mapper is None:
        return Check("tags", None, "gaze is not mapped to the screen")
    found, remedy = f"{counted(recorder.tags, 'tag')}, gaze mapped in {mapped:.0%} of the samples", ""
    age = getattr(recorder.mapper, "age_ms", math.nan)
    if math.isfinite(age):
        found += f" by pictures {age:.0f} ms old"
    why = getattr(recorder.mapper, "problem", "") or getattr(recorder.source, "no_pictures", "")
    if not recorder.pictures:
        found, remedy = "no picture of the scene camera", "look at the glasses' cable"
    ok = recorder.tags >= TAGS and mapped >= MAPPED
    return Check("tags", ok, found, why or remedy or "show the tags and look at the screen")


def _clock(recorder: Recorder, apart_s: float) -> Check:
    if abs(apart_s) >= APART_S:
        found = f"samples come {abs(apart_s):.0f} s {'after' if apart_s > 0 else 'before'} their times"
        return Check("clock", False, found, "let the tracker's software time them by the clock that it answers with")
    try:
        echoes = recorder.source.clock(recorder.echoes)
    except SourceError as error:
        return Check("clock", False, str(error), "check the network")
    if echoes is None:
        return Check("clock", None, "")
    point = measure(echoes)
    known = float(recorder.clock.lines[-1].offset(point.host_ns)) if len(recorder.clock) else point.offset_ns
    moved = abs(point.offset_ns - known)
    found = f"{point.round_trip_ns / 1e6:.2f} ms there and back, {point.offset_ns / 1e6:+.1f} ms apart"
    ok = point.round_trip_ns / 1e6 < ROUND_TRIP_MS and moved < STEP_NS
    return Check("clock", ok, found, "use a cable or a network of its own")
