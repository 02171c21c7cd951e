"""From planned fixations to what a tracker would have sampled: saccades, drift, noise, blinks and lost samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazepipe.geometry import Screen
from gazepipe.simulate.observers import LEAD_MS, TAIL_MS, Fixation, Observer, angles_to_pixels, saccade_duration_ms

__all__ = ["Event", "EyeTrace", "Trial", "saccade_profile", "sample_trial"]

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_DRIFT_DEG, _DRIFT_KNOT_MS = 0.05, 250.0
_DROPOUT_EVERY_MS, _DROPOUT_MS = 5000.0, (4.0, 20.0)
# A closing lid first hides the pupil's upper part, so that the tracker sees the eye dive.
_LID_DIVE_DEG = (2.5, 5.0)


@dataclass(frozen=True, slots=True)
class EyeTrace:
    """One eye's samples, shape ``(n_samples,)``: gaze in screen pixels (NaN where lost), pupil (0 where lost)."""

    x_px: F64
    y_px: F64
    pupil: F64


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the tracker would report it: first and last sample, both of it.

    `amplitude_deg` and `peak_deg_s` are of saccades alone, taken before noise is added.
    """

    kind: str
    first: int
    last: int
    amplitude_deg: float = 0.0
    peak_deg_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One presentation as recorded, on the tracker's clock."""

    number: int
    repeat: int
    stimulus: str
    onset_ms: float
    offset_ms: float
    time_ms: F64
    eyes: Mapping[str, EyeTrace]
    events: Sequence[Event]
    reflection_lost: Bool


def saccade_profile(phase: npt.ArrayLike) -> F64:
    """Share of a saccade's amplitude covered at a phase of 0 … 1: a minimum-jerk rise, peaking a little early.

    Its peak velocity is about 1.9 times the mean, which with `saccade_duration_ms` gives the main sequence of peak
    velocities (about 290 °/s at 5°, 430 °/s at 10°).

    References
    ----------
    Bahill, A. T., Clark, M. R., & Stark, L. (1975). The main sequence, a tool for studying human eye movements.
    Mathematical Biosciences, 24, 191–204.
    """
    u = np.clip(np.asarray(phase, np.float64), 0, 1) ** 0.95
    return u**3 * (10 - 15 * u + 6 * u * u)


def sample_trial(
    plan: Sequence[Fixation],
    observer: Observer,
    screen: Screen,
    *,
    number: int,
    repeat: int,
    stimulus: str,
    onset_ms: float,
    duration_ms: float,
    rate_hz: float,
    eyes: Sequence[str],
    rng: np.random.Generator,
) -> Trial:
    """Sample one planned presentation at `rate_hz`.

    Parameters
    ----------
    plan
        Fixations in order, in time from image onset.
    onset_ms
        Image onset on the tracker's clock; the first sample is `LEAD_MS` before it.
    eyes
        ``"left"``, ``"right"``, both, or ``"cyclopean"`` for the mean of both.
    """
    step = 1000.0 / rate_hz
    # Counted from the onset both ways, so that the onset itself is one of the samples.
    n_lead = int(LEAD_MS // step)
    t: F64 = (np.arange(n_lead + int((duration_ms + TAIL_MS) // step) + 1) - n_lead).astype(np.float64) * step
    x, y, lid, shut = _gaze_path(plan, t, rng)
    events = _events(plan, t, screen, x, y, shut)
    lost = _dropouts(t, rng)
    drift = [_wander(t, _DRIFT_DEG, rng) for _ in range(2)]
    pupil = observer.pupil * (1 + _wander(t, 0.01, rng)) * (1 - 0.6 * lid)
    dive = lid * rng.uniform(*_LID_DIVE_DEG)
    # Sample-to-sample root mean square of white noise is twice its standard deviation along one axis; the mean of
    # two eyes is the quieter by √2.
    traces: dict[str, EyeTrace] = {}
    for eye in eyes:
        noise = rng.normal(0, observer.noise_deg / 2, (2, len(t))) * (0.5**0.5 if eye == "cyclopean" else 1.0)
        dx, dy = observer.eye_offset_deg(eye)
        px, py = angles_to_pixels(screen, x + dx + drift[0] + noise[0], y + dy + drift[1] + noise[1] + dive)
        size = np.round(pupil + rng.normal(0, 0.6, len(t)))
        gone = shut | lost
        traces[eye] = EyeTrace(np.where(gone, np.nan, px), np.where(gone, np.nan, py), np.where(gone, 0.0, size))
    return Trial(number, repeat, stimulus, onset_ms, onset_ms + duration_ms, t + onset_ms, traces, events, lost & ~shut)


def _gaze_path(plan: Sequence[Fixation], t: F64, rng: np.random.Generator) -> tuple[F64, F64, F64, Bool]:
    """Return the eye's true path in degrees, how far the lid hides the pupil (0 … 1), and where the eye is shut."""
    x, y = np.empty_like(t), np.empty_like(t)
    lid, shut = np.zeros_like(t), np.zeros(len(t), np.bool_)
    for k, here in enumerate(plan):
        following = plan[k + 1] if k + 1 < len(plan) else None
        part = slice(*np.searchsorted(t, [here.start_ms, here.end_ms if following else np.inf]))
        x[part], y[part] = here.x_deg, here.y_deg
        if following is None:
            break
        part = slice(*np.searchsorted(t, [here.end_ms, following.start_ms]))
        length = saccade_duration_ms(float(np.hypot(following.x_deg - here.x_deg, following.y_deg - here.y_deg)))
        begin = here.end_ms
        if here.closed_ms:
            begin = 0.5 * (here.end_ms + following.start_ms - length)
            lid[part], shut[part] = _blink(t[part], here, following)
        way = saccade_profile((t[part] - begin) / length)
        x[part] = here.x_deg + way * (following.x_deg - here.x_deg)
        y[part] = here.y_deg + way * (following.y_deg - here.y_deg)
    return x, y, lid, shut


def _blink(t: F64, before: Fixation, after: Fixation) -> tuple[F64, Bool]:
    """Return how far the lid covers the pupil during a blink, and where it covers all of it."""
    edge = 0.5 * (after.start_ms - before.end_ms - before.closed_ms)
    lid = np.clip(np.minimum(t - before.end_ms, after.start_ms - t) / edge, 0, 1)
    return lid, lid >= 1


def _events(plan: Sequence[Fixation], t: F64, screen: Screen, x: F64, y: F64, shut: Bool) -> list[Event]:
    """Return fixations, saccades and blinks in order of their first sample; a blink lies inside a saccade."""
    px, py = angles_to_pixels(screen, x, y)
    velocity = screen.angle_deg(px[:-1], py[:-1], px[1:], py[1:]) / np.diff(t) * 1000
    events: list[Event] = []
    for k, here in enumerate(plan):
        is_last = k + 1 == len(plan)
        first, stop = np.searchsorted(t, [here.start_ms, np.inf if is_last else here.end_ms]).tolist()
        if stop > first:
            events.append(Event("fixation", first, stop - 1))
        if is_last:
            break
        first, stop = np.searchsorted(t, [here.end_ms, plan[k + 1].start_ms]).tolist()
        if stop - first < 2:
            continue
        amplitude = float(screen.angle_deg(px[first], py[first], px[stop - 1], py[stop - 1]))
        events.append(Event("saccade", first, stop - 1, amplitude, float(velocity[first : stop - 1].max())))
        closed = first + np.flatnonzero(shut[first:stop])
        if len(closed):
            events.append(Event("blink", int(closed[0]), int(closed[-1])))
    return events


def _wander(t: F64, sd: float, rng: np.random.Generator) -> F64:
    """Slow random change: independent normal values every quarter of a second, straight lines between."""
    knots = np.arange(t[0], t[-1] + _DRIFT_KNOT_MS, _DRIFT_KNOT_MS)
    return np.interp(t, knots, rng.normal(0, sd, len(knots)))


def _dropouts(t: F64, rng: np.random.Generator) -> Bool:
    """Short losses of the corneal reflection, about one in five seconds."""
    lost = np.zeros(len(t), np.bool_)
    for _ in range(int(rng.poisson((t[-1] - t[0]) / _DROPOUT_EVERY_MS))):
        begin = rng.uniform(t[0], t[-1])
        lost |= (t >= begin) & (t < begin + rng.uniform(*_DROPOUT_MS))
    return lost
