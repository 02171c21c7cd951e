"""Fixations while gaze comes in: the events of `gazepipe.events.detect`, each as soon as nothing can change it.

The stages are those of `gazepipe.events` and run on the same compiled loops; whichever way samples are divided into
pushes, the events are the same. What has to be waited for:

* the first 100 time steps of a block, from which the velocity window is taken;
* the end of a gap, or `max_gap_ms` of it, before it is known whether it is filled;
* half a velocity window after a sample;
* what comes after a fixation: the next one, if it begins within `merge_max_gap_ms`, has to be over before it is known
  whether both are one. Until then the fixation is *ended* but not final (`StreamingFixations.ended`).

In memory are the samples of the fixations that are not final, and no others.

Where all time steps of a block are the same to a millionth, `detect` compares with one angle for all windows and this
with each window's own: a velocity within a millionth of the threshold may fall on the other side of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from gazepipe.config import IvtConfig
from gazepipe.errors import ConfigError
from gazepipe.events import Events
from gazepipe.gaze import HOLE, SLACK_MS, kernel_geometry, usual_step
from gazepipe.geometry import Screen

__all__ = ["Ended", "StreamingFixations", "joined"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_STEPS = 101  # samples whose steps decide the window


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of slow samples that has ended and may yet become part of a longer fixation, or be too short for one."""

    onset_ms: float
    offset_ms: float
    x_px: float
    y_px: float
    first_sample: int
    last_sample: int


@dataclass(slots=True)
class _Run:
    on: int
    off: int
    stretch: int
    onset_ms: float
    offset_ms: float
    x_px: float
    y_px: float


class _Samples:
    """Time, x and y from sample `base` on, in arrays that grow at the end and are cut off in front."""

    def __init__(self) -> None:
        self.base = self._begin = self._end = 0
        self._time, self._x, self._y = np.empty(1024), np.empty(1024, np.float32), np.empty(1024, np.float32)

    @property
    def count(self) -> int:
        """How many samples there have been, including those cut off."""
        return self.base + self._end - self._begin

    def add(self, time: F64, x: F32, y: F32) -> None:
        if self._end + time.size > self._time.size:
            held = self._end - self._begin
            size = max(2 * (held + time.size), 1024)
            for name in ("_time", "_x", "_y"):
                old = getattr(self, name)
                new = np.empty(size, old.dtype)
                new[:held] = old[self._begin : self._end]
                setattr(self, name, new)
            self._begin, self._end = 0, held
        new_end = self._end + time.size
        self._time[self._end : new_end], self._x[self._end : new_end], self._y[self._end : new_end] = time, x, y
        self._end = new_end

    def forget(self, before: int) -> None:
        """Cut off what comes before a sample."""
        cut = min(before - self.base, self._end - self._begin)
        if cut > 0:
            self._begin += cut
            self.base += cut

    def arrays(self) -> tuple[F64, F32, F32]:
        held = slice(self._begin, self._end)
        return self._time[held], self._x[held], self._y[held]


class StreamingFixations:
    """Finds fixations in one signal of gaze as it comes.

    Parameters
    ----------
    screen
        Screen and viewing distance.
    config
        Settings; the velocity must be *olsen*'s, its threshold fixed, and no noise filter on.

    Raises
    ------
    ConfigError
        If the settings need more than what has come so far.
    """

    def __init__(self, screen: Screen, config: IvtConfig) -> None:
        wanted = {"velocity_method": "olsen", "velocity_threshold_mode": "fixed", "noise_filter": "none"}
        for name, value in wanted.items():
            if getattr(config, name) != value:
                msg = f'[ivt] {name} is "{getattr(config, name)}"; expected "{value}" to find fixations live.'
                raise ConfigError(msg)
        self.screen, self.config = screen, config
        self._geometry = kernel_geometry(screen, np.float32)
        self._rad_per_ms = math.radians(config.velocity_threshold_deg_s) / 1000.0
        merge = config.merge_max_angle_deg > 0
        self._merge_ms = config.merge_max_gap_ms - SLACK_MS if merge else -math.inf
        angle = math.radians(config.merge_max_angle_deg)
        self._merge_tan2 = math.tan(angle) ** 2 if angle < math.pi / 2 else math.inf
        self._start_block(0)

    def _start_block(self, first: int) -> None:
        self._samples = _Samples()
        self._samples.base = first
        self._block = first
        self._step = 0.0  # not known yet
        self._before = self._after = 0
        self._filled = first  # samples up to here are as they will stay
        self._looked = first  # steps up to here have been searched for missing lines
        self._stretch, self._number = first, 0
        self._classified = first
        self._on = -1
        self._runs: list[_Run] = []
        self._ended: list[Ended] = []

    # ---- in and out --------------------------------------------------------------------------------------------------

    def push(self, time_ms: npt.ArrayLike, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> Events:
        """Take in samples, whose times increase, and return the fixations that are final now.

        Raises
        ------
        ValueError
            If time goes back.
        """
        time = np.atleast_1d(np.asarray(time_ms, np.float64))
        x, y = (np.atleast_1d(np.asarray(v, np.float32)) for v in (x_px, y_px))
        held = self._samples.arrays()[0]
        last = held[-1] if held.size else -math.inf
        if time.size and not (time[0] > last and (np.diff(time) > 0).all()):
            msg = f"sample times must increase; the last one is {last} ms, then come {time[0]} … {time[-1]} ms"
            raise ValueError(msg)
        self._samples.add(time, x, y)
        return self._advance(over=False)

    def finish(self) -> Events:
        """End the block (the tracker pauses) and return the fixations that were not final; another block may follow."""
        found = self._advance(over=True)
        self._start_block(self._samples.count)
        return found

    def ended(self) -> list[Ended]:
        """Return the runs that have ended since the last call."""
        out, self._ended = self._ended, []
        return out

    @property
    def current(self) -> Ended | None:
        """The fixation that is going on, as far as it is known; None while there is none."""
        if self._on < 0 or self._classified <= self._on:
            return None
        time, x, y = self._samples.arrays()
        a, b = self._on - self._samples.base, self._classified - self._samples.base
        onset = float(time[a - 1] + time[a]) / 2
        return Ended(
            onset, float(time[b - 1]), float(x[a:b].mean()), float(y[a:b].mean()), self._on, self._classified - 1
        )

    @property
    def held(self) -> int:
        """Samples in memory."""
        return self._samples.count - self._samples.base

    # ---- stages ------------------------------------------------------------------------------------------------------

    def _advance(self, *, over: bool) -> Events:
        self._fill(over)
        if not self._step and not self._measure_step(over):
            return self._events([])
        self._classify(over)
        found = self._final(over)
        kept = [self._filled - 1, self._classified - self._before, self._looked - 1]
        if self._on >= 0:
            kept.append(self._on - self._before)
        if self._runs:
            kept.append(self._runs[0].on - self._before)
        self._samples.forget(max(min(kept), self._samples.base))
        return found

    def _fill(self, over: bool) -> None:
        """Fill the gaps that have ended; samples of one that may yet be filled are not looked at."""
        from gazepipe import _gaze_kernel as kernel

        time, x, y = self._samples.arrays()
        base = self._samples.base
        first = max(self._filled - 1, self._block) - base
        if first >= time.size:
            return
        limit = self.config.max_gap_ms - SLACK_MS
        t, out_x, out_y = time[first:], np.empty(time.size - first, np.float32), np.empty(time.size - first, np.float32)
        missing = np.zeros(t.size, np.bool_)
        kernel.fill(t, x[first:], y[first:], np.array([0, t.size]), limit, out_x, out_y, missing)
        there = np.flatnonzero(~missing)
        final = t.size
        if not over and there.size and there[-1] + 1 < t.size and t[-1] - t[there[-1]] < limit:
            final = int(there[-1]) + 1
        x[first : first + final], y[first : first + final] = out_x[:final], out_y[:final]
        self._filled = base + first + final

    def _measure_step(self, over: bool) -> bool:
        """Take the velocity window from the first steps of the block; returns whether it is known."""
        time = self._samples.arrays()[0]
        if time.size < _STEPS and not over:
            return False
        self._step = usual_step(time)
        if not self._step:
            return False
        reach = max(1, math.floor(self.config.velocity_window_ms / self._step + 0.5))
        self._before, self._after = (reach + 1) // 2, reach // 2
        self._hole = max(self.config.max_gap_ms - SLACK_MS, HOLE * self._step)
        self._classified = self._stretch + self._before
        return True

    def _classify(self, over: bool) -> None:
        """Go through the samples that are final, one stretch without missing lines after another."""
        time = self._samples.arrays()[0]
        base = self._samples.base
        a = max(self._looked - 1, base) - base
        cuts = np.flatnonzero(np.diff(time[a : self._filled - base]) >= self._hole) + 1 + a + base
        for cut in cuts.tolist():
            self._classify_to(cut - self._after)
            self._close(cut - self._after, cut)
            self._stretch, self._number = cut, self._number + 1
            self._classified = cut + self._before
        self._looked = self._filled
        self._classify_to(self._filled - self._after)
        if over:
            self._close(self._filled - self._after, self._filled)

    def _classify_to(self, stop: int) -> None:
        from gazepipe import _ivt_kernel as kernel

        m = stop - self._classified
        if m <= 0:
            return
        time, x, y = self._samples.arrays()
        a = self._classified - self._before - self._samples.base
        mask = np.zeros(m, np.uint8)
        kernel.slow_windows(
            time[a:], x[a:], y[a:], m, self._before + self._after, self._geometry, self._rad_per_ms, mask
        )
        slow = np.concatenate([[self._on >= 0], mask.astype(np.bool_)])
        for at in np.flatnonzero(slow[1:] != slow[:-1]).tolist():
            if slow[at + 1]:
                self._on = self._classified + at
            else:
                self._close(self._classified + at, None)
        self._classified = stop

    def _close(self, off: int, end: int | None) -> None:
        """End the run that is open before sample `off`; `end` is that of the stretch, where that is what ends it."""
        from gazepipe import _ivt_kernel as kernel

        if self._on < 0:
            return
        on, self._on = self._on, -1
        time, x, y = self._samples.arrays()
        base, before, after = self._samples.base, self._before, self._after
        if off - on < before + after:
            window = slice(on - before - base, off + after - base)
            if not (np.isfinite(x[window]).all() and np.isfinite(y[window]).all()):
                return
        stretch = np.array([[self._stretch - base, (off + 1 if end is None else end) - base, before, after]])
        value = np.empty((1, 4))
        sample = np.array([[on - base, off - base, 0]])
        kernel.measure(time, x, y, stretch, np.array([self._step]), sample, value)
        run = _Run(on, off, self._number, *value[0].tolist())
        self._runs.append(run)
        self._ended.append(Ended(run.onset_ms, run.offset_ms, run.x_px, run.y_px, on, off - 1))

    def _final(self, over: bool) -> Events:
        """Take out the runs that no later one can join, merged and without the short ones."""
        from gazepipe import _ivt_kernel as kernel

        if not self._runs:
            return self._events([])
        sample = np.array([(r.on, r.off, r.stretch) for r in self._runs], np.int64)
        value = np.array([(r.onset_ms, r.offset_ms, r.x_px, r.y_px) for r in self._runs])
        groups = np.empty((len(self._runs), 2), np.int64)
        geometry = kernel_geometry(self.screen, np.float64)
        none = np.zeros(0, np.int64)
        n = kernel.join(sample, value, none, self._merge_ms, self._merge_tan2, -math.inf, geometry, groups)
        if not over and not self._next_onset() - self._runs[-1].offset_ms >= self._merge_ms:
            n -= 1
        final = groups[:n]
        lasts = [g for g in final.tolist() if value[g[1], 1] - value[g[0], 0] >= self.config.min_fixation_ms - SLACK_MS]
        found = self._events([(self._runs[a], self._runs[b], self._runs[a : b + 1]) for a, b in lasts])
        del self._runs[: int(final[-1, 1]) + 1 if n else 0]
        return found

    def _next_onset(self) -> float:
        """The earliest time at which the next run can begin."""
        time = self._samples.arrays()[0]
        at = (self._on if self._on >= 0 else self._classified) - self._samples.base
        if at < 1 or at >= time.size:
            return float(time[-1])
        return float(time[at - 1] + time[at]) / 2

    def _events(self, groups: list[tuple[_Run, _Run, list[_Run]]]) -> Events:
        from gazepipe import _ivt_kernel as kernel

        base = self._samples.base
        _, x, y = self._samples.arrays()
        runs = [r for *_, parts in groups for r in parts]
        sample = np.array([(r.on - base, r.off - base, r.stretch) for r in runs], np.int64).reshape(-1, 3)
        value = np.array([(r.onset_ms, r.offset_ms, r.x_px, r.y_px) for r in runs]).reshape(-1, 4)
        sizes = np.array([len(parts) for *_, parts in groups], np.int64)
        end = np.cumsum(sizes)
        events = np.column_stack([end - sizes, end - 1]).reshape(-1, 2)
        span = np.array([(a.on - base, b.off - base) for a, b, _ in groups], np.int64).reshape(-1, 2)
        means, counts = np.empty((len(groups), 4)), np.empty(len(groups), np.int64)
        if groups:
            kernel.describe(x, y, sample, value, events, span, self._geometry, means, counts)
        limits = np.array([(a.onset_ms, b.offset_ms) for a, b, _ in groups]).reshape(-1, 2)
        (onset, offset), (cx, cy, rms, std) = limits.T, means.T
        first, last = span[:, 0] + base, span[:, 1] + base - 1
        return Events(onset, offset, cx, cy, first, last, counts, rms, std)


def joined(parts: list[Events]) -> Events:
    """Put the events of several pushes one after another."""
    return Events(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Events)))
