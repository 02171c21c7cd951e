"""EyeLink ASC: the text that SR Research's edf2asc makes from an EDF file, plain or gzip-compressed.

Samples are parsed by compiled loops over the file's bytes (`_asc_kernel`); everything else, a few lines in a hundred,
is read in Python (`_asc_text`). A sample line begins with a digit in column 0 and stands between ``START`` and
``END``; each such block states its own rate and eyes.

What the columns are is counted, not believed: time, then x, y and pupil of each eye. What follows them (velocity,
resolution, INPUT, flags, head target) varies with tracker and export options and is not read, but for the distance of
the head target where ``[screen] distance`` is "tracker" (`_asc_target`).

* A lone ``.`` is a missing value. Where x or y is missing, x, y and pupil are NaN.
* At 2000 Hz, old versions of edf2asc print whole milliseconds, each twice; the second is half a millisecond later.
* A last line without an end-of-line is dropped with a warning: nobody can tell whether its last number is whole.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers._asc_scan import REMEDY, Scanned, scan_file
from gazepipe.readers._asc_target import target_distance
from gazepipe.readers._asc_text import parse_text
from gazepipe.readers.source import Reader, read_head
from gazepipe.recording import EyeSamples, Recording
from gazepipe.words import counted

__all__ = ["READER", "read", "sniff"]

_FORMAT = "eyelink-asc"
_SIGNS = re.compile(rb"^(\*\* (CONVERTED FROM|TYPE: EDF_FILE)|START\t\d|SAMPLES\t|MSG[\t ]+\d+(\.\d+)? )", re.MULTILINE)
_STEPS = 2000  # so many of a block tell its usual time step


def sniff(head: bytes, path: Path) -> bool:
    """Whether the content looks like EyeLink ASC."""
    return b"\0" not in head[:4096] and _SIGNS.search(head) is not None


def read(path: Path, config: StudyConfig) -> Recording:
    """Read an EyeLink ASC file.

    Parameters
    ----------
    path
        The file, ``.asc`` or ``.asc.gz``.
    config
        Its ``[screen] distance`` says whether the distance of the head target is wanted.

    Returns
    -------
    Recording
        Eyes are ``"left"`` and ``"right"``, as recorded; where the eye changes from block to block, an eye is NaN in
        the blocks without it. A block is one ``START`` … ``END``.

    Raises
    ------
    RecordingError
        If the file has no samples, samples that are not gaze on the screen (HREF or raw pupil positions), or a line
        that cannot be read; the message names the line.
    """
    path = Path(path)
    samples = scan_file(path)
    text = parse_text(samples.rows)
    if not samples.time.size:
        raise _no_samples(path, samples)
    _halve_repeated_times(samples)
    _settle_rates(samples)
    return Recording(
        path=path,
        format=_FORMAT,
        time_ms=samples.time,
        eyes=_eyes(samples),
        block_start=np.array([b.first for b in samples.blocks], np.int64),
        sampling_rate_hz=np.array([b.rate_hz for b in samples.blocks], np.float64),
        messages=text.messages,
        columns=_distance(path, samples, config),
        native_events=text.native_events,
        display_px=text.display_px,
        meta=text.meta,
        warnings=samples.warnings + _clock_restarts(samples) + text.warnings,
    )


def _distance(path: Path, samples: Scanned, config: StudyConfig) -> dict[str, npt.NDArray[np.float32]]:
    if config.screen.distance == "fixed":
        return {}
    found = target_distance(path, samples.time)
    return {} if found is None else {"distance_mm": found}


def _no_samples(path: Path, samples: Scanned) -> RecordingError:
    if b"\0" in read_head(path):
        found, remedy = "the content is binary, not text", "if it is an EDF file, convert it with edf2asc"
    elif samples.started:
        found, remedy = "there are no samples in its blocks", f"{REMEDY}, with samples"
    else:
        found, remedy = "there is no START line, so no samples", f"{REMEDY}, with samples and events"
    return RecordingError(path, found, expected="EyeLink ASC text with samples", remedy=remedy)


def _halve_repeated_times(samples: Scanned) -> None:
    """Rebuild half milliseconds where a block at 2000 Hz has whole milliseconds twice."""
    ends = [b.first for b in samples.blocks[1:]] + [samples.time.size]
    for block, end in zip(samples.blocks, ends, strict=True):
        time = samples.time[block.first : end]
        if block.rate_hz <= 1000 or time.size < 2:
            continue
        second = np.flatnonzero(time[1:] == time[:-1]) + 1
        if second.size:
            # A block that begins on a half millisecond shows its first number once, the next one twice.
            begins_on_half = second[0] == 2 and time[2] == time[0] + 1
            time[second] += 0.5
            if begins_on_half:
                time[0] += 0.5


def _settle_rates(samples: Scanned) -> None:
    """Take the rate from the times where the file has none, and say where the two do not agree."""
    from gazepipe.readers import _asc_kernel as kernel

    first = np.array([b.first for b in samples.blocks], np.int64)
    end, usual, off = np.append(first[1:], samples.time.size), np.empty(first.size), 0
    kernel.usual_steps(samples.time, first, end, _STEPS, usual)
    for k, block in enumerate(samples.blocks):
        if np.isnan(usual[k]):
            usual[k] = np.median(np.diff(samples.time[first[k] : end[k]][: _STEPS + 1]))
        step = float(usual[k])
        if not block.rate_hz:
            block.rate_hz = 1000.0 / step if step > 0 else 1000.0
            samples.warnings.append(
                f"the block that starts in line {block.line} states no rate; its times give {block.rate_hz:.5g} Hz"
            )
        elif step and abs(step * block.rate_hz / 1000 - 1) > 0.2:
            off += 1
    limit = np.array([max(1000.0, 1e5 / block.rate_hz) for block in samples.blocks])
    holes = kernel.wide_steps(samples.time, first, end, limit)
    if off:
        samples.warnings.append(f"in {counted(off, 'block')} the times do not go with the stated rate")
    if holes:
        samples.warnings.append(f"{holes} holes of more than a second stand inside blocks")


def _clock_restarts(samples: Scanned) -> list[str]:
    back = int(np.count_nonzero(np.diff(samples.time) < 0))
    return [f"time goes back {back} times, each of which begins a block"] if back else []


def _eyes(samples: Scanned) -> dict[str, EyeSamples]:
    """One entry for each eye recorded anywhere; NaN in the blocks without it."""
    eyes: dict[str, EyeSamples] = {}
    ends = [b.first for b in samples.blocks[1:]] + [samples.time.size]
    for row, name in ((0, "left"), (3, "right")):
        with_eye = [name in b.eyes for b in samples.blocks]
        if not any(with_eye):
            continue
        for block, end, there in zip(samples.blocks, ends, with_eye, strict=True):
            if not there:
                samples.values[row : row + 3, block.first : end] = np.nan
        eyes[name] = EyeSamples(*samples.values[row : row + 3])
    return eyes


READER = Reader(_FORMAT, sniff, read)
