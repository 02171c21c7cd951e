"""Live sessions: the folder that `gazepipe.live.LabSession` writes, whether it came to its end or was cut short.

Times are of this computer's clock, from the first sample on. Each sample has the device's time, which is moved to ours
by all measurements of the device's clock together (`gazepipe.live.clock`), better than what was known while it ran.

Where the device's clock was set, samples before and after go by measurements of their own (`gazepipe.live.timing`).
Samples come in order of their times, each once; where some are missing, there are none.

What the device told beside gaze goes by the clock of the gaze that arrived with it: the saccades, fixations and blinks
that it found are the recording's own events; `beside` returns all of it, the movements of the head, too.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.live import recording as live
from gazepipe.live.beside import EYE_EVENTS, KINDS, on_our_clock, read_beside
from gazepipe.live.clock import Offset
from gazepipe.live.source import SampleFlag
from gazepipe.live.timing import Doubt, time_samples
from gazepipe.markers import session_log
from gazepipe.readers._pupil_labs import SCENE_WARNING, Events, event_table, join_events
from gazepipe.readers.source import Reader, read_bytes
from gazepipe.recording import EyeSamples, Message, Recording
from gazepipe.words import counted, form

__all__ = ["READER", "beside", "files", "read", "sniff", "to_host"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_FORMAT = "live-session"
#: A step this many times the usual one is a gap.
_GAP = 1.5


def sniff(head: bytes, path: Path) -> bool:
    """Whether this is a folder with a session's description and samples."""
    return not head and (path / live.SAMPLES).is_file() and (path / live.SESSION).is_file()


def files(path: Path) -> list[Path]:
    """The files that are read."""
    names = (live.SESSION, live.SAMPLES, live.LOG, EYE_EVENTS)
    return [p for p in (path / n for n in names) if p.is_file()]


def read(path: Path, config: StudyConfig) -> Recording:
    """Read a live session.

    Parameters
    ----------
    path
        The folder.
    config
        Not used: the session says itself which screen it was on.

    Returns
    -------
    Recording
        One eye, ``"cyclopean"``; `columns` has ``"flags"`` (`gazepipe.live.source.SampleFlag`). Messages are the
        session's events. Where times are uncertain, `meta` has ``"clock_uncertain"``: from, to (ms), by how much (ms);
        ``"latency_ms"`` has the median and the 99th percentile of each part of a sample's way.

    Raises
    ------
    RecordingError
        If the description is missing or damaged, or there is no sample.
    """
    path = Path(path)
    about = _about(path / live.SESSION)
    records, damaged = live.read_samples(path)
    log, bad_lines = live.read_log(path)
    if not records.size:
        found, remedy = "it has no samples", "nothing was recorded; leave the folder out"
        raise RecordingError(path / live.SAMPLES, found, expected="gaze", remedy=remedy)
    warnings = [f"{live.SAMPLES}: {counted(damaged, 'damaged record')} left out"] if damaged else []
    if bad_lines:
        warnings.append(f"{live.LOG}: {counted(bad_lines, 'damaged line')} left out")
    doubts: list[Doubt] = []
    host, steps = to_host(records, log, own_clock=bool(about["own_clock"]), warnings=warnings, doubts=doubts)
    off = np.zeros(host.size, np.int64)
    for doubt in doubts:
        off[doubt.begin : doubt.end] = np.maximum(off[doubt.begin : doubt.end], doubt.by_ns)
    told, broken = read_beside(path, EYE_EVENTS)
    if broken:
        warnings.append(f"{EYE_EVENTS}: {counted(broken, 'damaged record')} left out")
    ends = [on_our_clock(told[end], told["received_ns"], records, host) for end in ("start_ns", "end_ns")]
    order = np.argsort(host, kind="stable")
    order = order[np.append(True, np.diff(host[order]) > 0)]
    if order.size < records.size:
        warnings.append(f"{counted(records.size - order.size, 'sample')} came twice: taken once")
    records, host, off = records[order], host[order], off[order]
    if about["space"] == "scene" and not steps.size:  # pictures and samples of two clocks do not go together
        records = session_log.again(records, log, path / live.LOG, warnings)
    origin = int(host[0])
    flags = _flag_gaps(records["flags"], host, float(about["rate_hz"]), np.flatnonzero(np.isin(order, steps)), warnings)
    mapped = about["space"] == "screen" or bool(np.isfinite(records["screen_x_px"]).any())
    names = ("screen_x_px", "screen_y_px") if mapped else ("x_px", "y_px")
    bare = (flags & int(SampleFlag.NOT_WORN)) > 0
    x, y = (np.where(bare, np.float32(np.nan), records[name]).astype(np.float32) for name in names)
    there = np.isfinite(x) & np.isfinite(y)
    eye = EyeSamples(
        np.where(there, x, np.float32(np.nan)), np.where(there, y, np.float32(np.nan)), records["pupil_mm"].copy()
    )
    meta = _meta(about, log, origin)
    meta["latency_ms"] = _latencies(records["received_ns"] - host, log)
    if off.any():
        runs = np.flatnonzero(np.diff(off, prepend=0, append=0))
        spans = [(a, b) for a, b in pairwise(runs.tolist()) if off[a]]
        meta["clock_uncertain"] = [
            [(host[a] - origin) / 1e6, (host[b - 1] - origin) / 1e6, off[a] / 1e6] for a, b in spans
        ]
    if not mapped:
        meta["coordinates"] = "scene"
        warnings.append(SCENE_WARNING)
    if not any(e["kind"] == "end" for e in log):
        warnings.append("the session was cut short: it has no end")
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=(host - origin).astype(np.float64) / 1e6,
        eyes={"cyclopean": eye},
        block_start=np.zeros(1, np.int64),
        sampling_rate_hz=np.array([float(about["rate_hz"])]),
        messages=[Message((e["host_ns"] - origin) / 1e6, str(e.get("name", ""))) for e in log if e["kind"] == "event"],
        columns={"flags": flags},
        native_events=_device_events(told, *((end - origin) / 1e6 for end in ends), in_scene=not mapped),
        display_px=(int(about["screen"]["width_px"]), int(about["screen"]["height_px"])) if mapped else None,
        meta=meta,
        warnings=warnings,
    )


def beside(path: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """Read what the device told beside gaze.

    Parameters
    ----------
    path
        The session's folder.
    name
        One of `gazepipe.live.beside.FILES`.

    Returns
    -------
    dict
        The record's columns, each of shape ``(n,)``, in order of arrival, and ``"time_ms"`` by the recording's clock
        (as `read` has it); of events ``"start_ms"`` and ``"end_ms"`` as well. Empty where there is no such file.

    Raises
    ------
    RecordingError
        If the description or a file is damaged.
    """
    path = Path(path)
    about, (records, _), (log, _) = _about(path / live.SESSION), live.read_samples(path), live.read_log(path)
    told, _ = read_beside(path, name)
    if not told.size:
        return {}
    host, _ = to_host(records, log, own_clock=bool(about["own_clock"]), warnings=[])
    names = [n for n in told.dtype.names or () if n not in ("spare", "check")]
    out = {n: told[n].copy() for n in names}
    for to, of in (("time_ms", "device_ns"), ("start_ms", "start_ns"), ("end_ms", "end_ns")):
        if of in out:
            moved = on_our_clock(told[of], told["received_ns"], records, host)
            out[to] = (moved - (int(host.min()) if host.size else 0)) / 1e6
    return out


def _device_events(told: npt.NDArray[Any], onset_ms: F64, offset_ms: F64, *, in_scene: bool) -> Events:
    """The device's events that are over; where they were, if gaze is in the same pixels."""
    parts = []
    for kind, place in (("saccade", "end"), ("fixation", "mean"), ("blink", None)):
        some = (told["kind"] == KINDS.index(kind)) & (offset_ms >= onset_ms)
        x, y = (told[f"{place}_{axis}_px"][some].astype(np.float64) if place and in_scene else None for axis in "xy")
        size = told["amplitude_deg"][some].astype(np.float64) if kind == "saccade" else None
        parts.append(event_table(kind, onset_ms[some], offset_ms[some], x, y, size))
    return join_events(parts)


def _about(path: Path) -> dict[str, Any]:
    expected, remedy = "the description of a live session", "copy the session's folder again"
    try:
        about = json.loads(read_bytes(path).decode("utf-8"))
        if about["format"] != live.FORMAT:
            raise RecordingError(path, f"its format is {about['format']!r}", expected=expected)
        ok = float(about["rate_hz"]) > 0 and about["space"] in ("screen", "scene") and "own_clock" in about
        int(about["screen"]["width_px"]), int(about["screen"]["height_px"])
    except (ValueError, KeyError, TypeError, RecursionError):
        ok = False
    if not ok:
        raise RecordingError(path, "it cannot be understood", expected=expected, remedy=remedy)
    found: dict[str, Any] = about
    return found


def to_host(
    records: npt.NDArray[Any],
    log: list[dict[str, Any]],
    *,
    own_clock: bool,
    warnings: list[str],
    doubts: list[Doubt] | None = None,
) -> tuple[I64, I64]:
    """Return our time of each sample in order of arrival, and which samples are the first after a step of the clock.

    Which samples' times are uncertain is appended to `doubts`.
    """
    device = records["device_ns"]
    if not own_clock:
        return device.copy(), np.zeros(0, np.int64)
    try:
        points = [
            Offset(e["host_ns"], float(e["offset_ns"]), int(e["round_trip_ns"]), int(e.get("n", 0)))
            for e in log
            if e["kind"] == "clock"
        ]
    except (KeyError, TypeError, ValueError):
        points = []
    times = time_samples(device, records["received_ns"], points)
    if times.guessed:
        warnings.append(
            "the device's clock was not measured for all samples; those without were timed by their arrival, which "
            "makes them late by the fastest transfer"
        )
    if times.steps.size:
        often = form(times.steps.size, "once", f"{times.steps.size} times")
        warnings.append(f"the device's clock was set {often} while it recorded; samples follow it")
    if times.doubts:
        uncertain = np.zeros(device.size, bool)
        for doubt in times.doubts:
            uncertain[doubt.begin : doubt.end] = True
        n = int(np.count_nonzero(uncertain))
        most = max(d.by_ns for d in times.doubts) / 1e6
        warnings.append(
            f"the times of {counted(n, 'sample')} are uncertain, by up to {most:.1f} ms (see clock_uncertain)"
        )
        if doubts is not None:
            doubts.extend(times.doubts)
    return times.host_ns, times.steps


def _flag_gaps(
    flags: npt.NDArray[np.uint8], host: I64, rate_hz: float, steps: I64, warnings: list[str]
) -> npt.NDArray[np.uint8]:
    """Flags, with those of gaps and of clocks found anew: while it ran, samples could still come."""
    again = int(SampleFlag.AFTER_GAP | SampleFlag.CLOCK_STEP)
    out = (flags & ~np.uint8(again)).astype(np.uint8)
    step = np.diff(host)
    after = np.flatnonzero(step > _GAP * 1e9 / rate_hz)
    out[after + 1] |= np.uint8(SampleFlag.AFTER_GAP)
    out[steps] |= np.uint8(SampleFlag.CLOCK_STEP)
    if after.size:
        missing = int(np.rint(step[after] * rate_hz / 1e9 - 1).sum())
        warnings.append(
            f"about {counted(missing, 'missing sample')} in {counted(after.size, 'gap')}, the longest of "
            f"{step.max() / 1e6:.0f} ms"
        )
    return out


def _latencies(late_ns: I64, log: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Median and 99th percentile of the way of a sample, in ms.

    From its time, by the tracker's clock, until it arrived, which is known as well as the clocks are; and from there
    until it was in the session's file, where the session came to its end.
    """
    out = {"tracker to arrival": np.round(np.percentile(late_ns / 1e6, [50, 99]), 3).tolist()}
    for entry in log:
        values = [entry.get(f"p{p}_ms") for p in (50, 99)]
        if entry["kind"] == "latency" and all(isinstance(v, float) for v in values):
            out[str(entry.get("of", ""))] = values
    return out


def _meta(about: dict[str, Any], log: list[dict[str, Any]], origin: int) -> dict[str, Any]:
    meta: dict[str, Any] = {k: about[k] for k in ("source", "started", "screen", "device", "software") if k in about}
    meta["own_clock"] = bool(about["own_clock"])
    meta["time_origin_ns"] = origin
    places = {e["stimulus"]: e["place"] for e in log if e["kind"] == "event" and "place" in e and "stimulus" in e}
    if places:
        meta["media_px"] = places
    validations = [
        {
            "eye": "cyclopean",
            "result": "measured",
            "error_avg_deg": float(e["accuracy_deg"]),
            "error_max_deg": float(e["accuracy_max_deg"]),
        }
        for e in log
        if e["kind"] == "validation" and all(isinstance(e.get(k), float) for k in ("accuracy_deg", "accuracy_max_deg"))
    ]
    if validations:
        meta["validations"] = validations
    meta["clock_offsets"] = [
        [e["host_ns"] - origin, e["offset_ns"], e["round_trip_ns"]]
        for e in log
        if e["kind"] == "clock" and {"offset_ns", "round_trip_ns"} <= e.keys()
    ]
    return meta


READER = Reader(_FORMAT, sniff, read, files)
