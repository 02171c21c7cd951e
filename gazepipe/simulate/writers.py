"""Recordings as files: EyeLink ASC as edf2asc writes it, and a plain CSV."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gazepipe.geometry import Screen
from gazepipe.simulate.trace import Event, Trial

__all__ = ["CSV_COLUMNS", "asc_text", "csv_text", "write_text"]

#: Columns of every CSV recording; the configuration written beside them names them.
CSV_COLUMNS = ("time_ms", "x_px", "y_px", "trial", "stimulus", "message")

_LETTER = {"left": "L", "right": "R"}
_CODE = {"fixation": "FIX", "saccade": "SACC", "blink": "BLINK"}


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, gzipped where the name ends in ``.gz``; the same text makes the same bytes."""
    data = text.encode()
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        # No name and no time in the gzip header: both would differ from run to run.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
            file.write(data)
        data = buffer.getvalue()
    path.write_bytes(data)


def csv_text(trials: Sequence[Trial]) -> str:
    """One row a sample; trial and stimulus are empty while no image is shown, gaze where it was lost."""
    lines = [",".join(CSV_COLUMNS)]
    for trial in trials:
        (eye,) = trial.eyes.values()
        shown = (trial.time_ms >= trial.onset_ms) & (trial.time_ms < trial.offset_ms)
        marks = {
            int(np.searchsorted(trial.time_ms, trial.onset_ms)): f"IMAGE_ONSET {trial.stimulus}",
            int(np.searchsorted(trial.time_ms, trial.offset_ms)): "IMAGE_OFFSET",
        }
        label = f"{trial.number},{trial.stimulus}"
        for i, t in enumerate(trial.time_ms.tolist()):
            x, y = eye.x_px[i], eye.y_px[i]
            gaze = "," if np.isnan(x) else f"{x:.1f},{y:.1f}"
            lines.append(f"{_time(t)},{gaze},{label if shown[i] else ','},{marks.get(i, '')}")
    return "\n".join(lines) + "\n"


def asc_text(trials: Sequence[Trial], screen: Screen, *, user: str, rate_hz: float, error_deg: float) -> str:
    """Return a recording in the layout of edf2asc, one block a trial.

    `error_deg` is the calibration error that the validation line reports.
    """
    eyes = tuple(trials[0].eyes)
    lines = list(_header(screen, user, eyes, trials[0].time_ms[0] - 4000, error_deg))
    for trial in trials:
        lines += _block(trial, screen, rate_hz)
    return "\n".join(lines) + "\n"


def _header(screen: Screen, user: str, eyes: Sequence[str], time_ms: float, error_deg: float) -> Iterator[str]:
    t = _time(time_ms)
    width, height = screen.width_px - 1, screen.height_px - 1
    yield f"** CONVERTED FROM {user}.edf using edfapi 4.2.1 on Mon Jan  6 10:00:00 2025"
    yield "** DATE: Mon Jan  6 09:00:00 2025"
    yield "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED"
    yield "** VERSION: EYELINK II 1"
    yield "** SOURCE: EYELINK CL"
    yield "** EYELINK II CL v5.15 (simulated)"
    yield "** CAMERA: none"
    yield "** RECORDED BY gazepipe simulate"
    yield "**"
    yield ""
    yield f"MSG\t{t} DISPLAY_COORDS 0 0 {width} {height}"
    both = "".join(_LETTER[e] for e in eyes)
    for eye in eyes:
        yield f"MSG\t{t} !CAL"
        yield f">>>>>>> CALIBRATION (HV9,P-CR) FOR {eye.upper()}: <<<<<<<<<"
        yield f"MSG\t{t} !CAL CALIBRATION HV9 {both} {eye.upper():<7} GOOD"
    later = _time(time_ms + 2000)
    for eye in eyes:
        yield (
            f"MSG\t{later} !CAL VALIDATION HV9 {both} {eye.upper():<5} GOOD ERROR {error_deg:.2f} avg. "
            f"{2 * error_deg:.2f} max  OFFSET {0.7 * error_deg:.2f} deg. 0.0,0.0 pix."
        )


def _block(trial: Trial, screen: Screen, rate_hz: float) -> Iterator[str]:
    """Yield one trial: messages, the block's head, samples with events between them, its end."""
    eyes = tuple(trial.eyes)
    letters, sides = "".join(_LETTER[e] for e in eyes), "\t".join(e.upper() for e in eyes)
    first = float(trial.time_ms[0])
    step = 1000 / rate_hz
    before = _time(first - 2)
    yield f"MSG\t{before} TRIALID {trial.number}"
    yield f"MSG\t{before} RECCFG CR {rate_hz:.0f} 2 1 {letters}"
    yield f"MSG\t{before} GAZE_COORDS 0.00 0.00 {screen.width_px - 1:.2f} {screen.height_px - 1:.2f}"
    yield f"MSG\t{before} THRESHOLDS {'  '.join(f'{_LETTER[e]} 86 189' for e in eyes)}"
    yield f"MSG\t{before} ELCL_PROC CENTROID (3)"
    yield f"MSG\t{_time(first - 1)} !MODE RECORD CR {rate_hz:.0f} 2 1 {letters}"
    yield f"START\t{_time(first)} \t{sides}\tSAMPLES\tEVENTS"
    yield "PRESCALER\t1"
    yield "VPRESCALER\t1"
    yield "PUPIL\tAREA"
    yield f"EVENTS\tGAZE\t{sides}\tRATE\t{rate_hz:7.2f}\tTRACKING\tCR\tFILTER\t2"
    yield f"SAMPLES\tGAZE\t{sides}\tRATE\t{rate_hz:7.2f}\tTRACKING\tCR\tFILTER\t2"
    yield f"MSG\t{_time(first)} !V IMGLOAD FILL {trial.stimulus}"
    yield from _samples_and_events(trial, step)
    resolution = "\t".join(f"{value:7.2f}" for value in screen.pixels_per_degree)
    end = _time(float(trial.time_ms[-1]) + step)
    yield f"END\t{end} \tSAMPLES\tEVENTS\tRES\t{resolution}"
    yield f"MSG\t{end} TRIAL_RESULT 0"


def _samples_and_events(trial: Trial, step: float) -> Iterator[str]:
    eyes = [(e.x_px.tolist(), e.y_px.tolist(), e.pupil.tolist()) for e in trial.eyes.values()]
    starts: dict[int, list[str]] = {}
    ends: dict[int, list[str]] = {}
    for event in trial.events:
        for eye in trial.eyes:
            start = f"S{_CODE[event.kind]} {_LETTER[eye]}"
            starts.setdefault(event.first, []).append(f"{start:<9}{_time(trial.time_ms[event.first])}")
    # A blink ends before the saccade around it does, so the later start comes first among equal ends.
    for event in reversed(trial.events):
        for eye in trial.eyes:
            ends.setdefault(event.last, []).append(_event_end(trial, event, eye, step))
    marks = [(trial.onset_ms, "SYNCTIME"), (trial.offset_ms, "blank_screen")]
    flags = (".....", ".C.C.") if len(eyes) == 2 else ("...", ".C.")
    for i, t in enumerate(trial.time_ms.tolist()):
        while marks and marks[0][0] <= t:
            yield f"MSG\t{_time(marks[0][0])} {marks[0][1]}"
            marks.pop(0)
        yield from starts.get(i, ())
        values = "\t".join(
            "   .\t   .\t    0.0" if x != x else f"{x:7.1f}\t{y:7.1f}\t{p:7.1f}"
            for x, y, p in ((e[0][i], e[1][i], e[2][i]) for e in eyes)
        )
        yield f"{_time(t)}\t{values}\t{flags[int(trial.reflection_lost[i])]}"
        yield from ends.get(i, ())


def _event_end(trial: Trial, event: Event, eye: str, step: float) -> str:
    """Return the closing line of an event: ends are inclusive, a duration counts both of them."""
    begin, end = float(trial.time_ms[event.first]), float(trial.time_ms[event.last])
    code = f"E{_CODE[event.kind]} {_LETTER[eye]}"
    head = f"{code:<9}{_time(begin)}\t{_time(end)}\t{_time(end - begin + step)}"
    part = slice(event.first, event.last + 1)
    trace = trial.eyes[eye]
    x, y = trace.x_px[part], trace.y_px[part]
    seen = np.isfinite(x)
    if event.kind == "blink":
        return head
    if not seen.any():
        return (
            head
            + "\t      .\t      ."
            + ("\t      0" if event.kind == "fixation" else "\t      ." * 2 + "\t   0.00\t      0")
        )
    if event.kind == "fixation":
        pupil = trace.pupil[part][seen].mean()
        return f"{head}\t{x[seen].mean():7.1f}\t{y[seen].mean():7.1f}\t{pupil:7.0f}"
    (x0, x1), (y0, y1) = x[seen][[0, -1]], y[seen][[0, -1]]
    return f"{head}\t{x0:7.1f}\t{y0:7.1f}\t{x1:7.1f}\t{y1:7.1f}\t{event.amplitude_deg:7.2f}\t{event.peak_deg_s:7.0f}"


def _time(time_ms: float) -> str:
    """Whole milliseconds as such; half ones, of 2000 Hz recordings, with a decimal."""
    return f"{time_ms:.0f}" if float(time_ms).is_integer() else f"{time_ms:.1f}"
