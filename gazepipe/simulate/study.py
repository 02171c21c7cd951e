"""`simulate_study`: write a complete study folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gazepipe.config import CONFIG_NAME, template
from gazepipe.errors import ConfigError, StorageError
from gazepipe.geometry import Placement
from gazepipe.simulate.observers import LEAD_MS, SCREEN, TAIL_MS, Observer, draw_observer, plan_fixations
from gazepipe.simulate.scenes import CLASSES, IMAGE_PX, Scene, draw_scene
from gazepipe.simulate.trace import Trial, sample_trial
from gazepipe.simulate.truth import (
    MARK,
    MIN_FIXATION_MS,
    SimulatedStudy,
    is_simulated,
    object_table,
    true_fixations,
    user_row,
    write_truth,
)
from gazepipe.simulate.writers import asc_text, csv_text, write_text
from gazepipe.words import counted

__all__ = ["RATES_HZ", "simulate_study"]

#: Rates at which whole or half milliseconds can stand for the sample times.
RATES_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0)


@dataclass(frozen=True, slots=True)
class _Format:
    """How a user is recorded: file type, eyes, and whether the first eighth is a session and a plain file apart."""

    suffix: str
    eyes: tuple[str, ...]
    two_sessions: bool = False


_CSV = _Format("csv.gz", ("cyclopean",))
#: Formats in turn: user 1 has the first, user 2 the second, … then again from the start.
_FORMATS = (
    _Format("asc.gz", ("right",)),
    _CSV,
    _Format("asc.gz", ("left", "right")),
    _CSV,
    _Format("asc.gz", ("left",), two_sessions=True),
    _CSV,
    _Format("asc.gz", ("left",)),
    _CSV,
    _Format("asc.gz", ("right",)),
    _CSV,
)
_RECORDINGS = ("sim[0-9]*.asc", "sim[0-9]*.asc.gz", "sim[0-9]*.csv.gz")


def simulate_study(
    out: Path,
    *,
    users: int = 12,
    images: int = 48,
    rate_hz: float = 250,
    seconds: float = 2.0,
    seed: int = 1,
    repeats: int = 1,
    store: str = "store",
    overwrite: bool = False,
) -> SimulatedStudy:
    """Write a study of `users` people who look at `images` drawn scenes, `repeats` times each.

    The same arguments give the same bytes. A user stays the same person whatever the number of users, a scene the
    same scene whatever the number of images.

    Parameters
    ----------
    out
        Folder to write; made if need be.
    rate_hz
        Sampling rate: 125, 250, 500, 1000 or 2000.
    seconds
        How long each image is shown.
    store
        What the configuration names as the folder for everything gazepipe makes, relative to `out`.
    overwrite
        Replace an earlier simulated study in `out`.

    Raises
    ------
    ConfigError
        If an argument is out of range, or `out` holds something else than a simulated study.
    StorageError
        If writing fails.
    """
    out = Path(out)
    _check(users=users, images=images, repeats=repeats, rate_hz=rate_hz, seconds=seconds)
    try:
        _make_room(out, overwrite=overwrite)
        write_text(out / "README.md", _readme(users, images, rate_hz, seconds, seed, repeats))
        write_text(out / CONFIG_NAME, _configuration(seconds, store))
        return _write_study(out, users, images, rate_hz, seconds, seed, repeats)
    except OSError as error:
        msg = f"{error.filename or out}: cannot be written ({error.strerror or error}); the study is not complete."
        raise StorageError(msg) from error


def _write_study(
    out: Path, users: int, images: int, rate_hz: float, seconds: float, seed: int, repeats: int
) -> SimulatedStudy:
    """Write scenes, recordings and truth, in this order."""
    scenes = _write_scenes(out, images, seed)
    user_rows: list[dict[str, object]] = []
    fixation_rows: list[dict[str, object]] = []
    for k in range(1, users + 1):
        name = f"sim{k:02d}"
        observer = draw_observer(_stream(seed, 1, k, 0))
        form = _FORMATS[(k - 1) % len(_FORMATS)]
        trials, fixations = _record(observer, scenes, (seed, k), form.eyes, rate_hz, seconds * 1000, repeats)
        _write_recordings(out, name, form, trials, observer, rate_hz)
        user_rows.append(user_row(name, observer, form.suffix, form.eyes))
        fixation_rows += [{"user": name, **row} for row in fixations]
    study = SimulatedStudy(out, pd.DataFrame(user_rows), object_table(scenes), pd.DataFrame(fixation_rows))
    write_truth(study)
    return study


def _stream(*key: int) -> np.random.Generator:
    """Return the random stream of one thing: (seed, 0, scene) or (seed, 1, user, trial)."""
    return np.random.default_rng(np.random.SeedSequence(key[0], spawn_key=key[1:]))


def _check(*, users: int, images: int, repeats: int, rate_hz: float, seconds: float) -> None:
    for name, value in (("users", users), ("images", images), ("repeats", repeats)):
        if value < 1:
            msg = f"{name} is {value}; expected 1 or more."
            raise ConfigError(msg)
    if rate_hz not in RATES_HZ:
        msg = f"rate_hz is {rate_hz:g}; expected {', '.join(f'{r:g}' for r in RATES_HZ[:-1])} or {RATES_HZ[-1]:g}."
        raise ConfigError(msg)
    if not 0.2 <= seconds <= 60:
        msg = f"seconds is {seconds:g}; expected 0.2 to 60."
        raise ConfigError(msg)


def _make_room(out: Path, *, overwrite: bool) -> None:
    """Make `out` and empty it of an earlier simulated study; leave everything else in it alone."""
    if out.exists() and not out.is_dir():
        msg = f"{out}: is a file; expected a folder to write the study to."
        raise ConfigError(msg)
    if out.is_dir() and any(out.iterdir()):
        if not is_simulated(out):
            msg = f"{out}: holds files that are not of a simulated study; choose an empty or a new folder."
            raise ConfigError(msg)
        if not overwrite:
            msg = f"{out}: holds a simulated study already; choose another folder, or ask for it to be overwritten."
            raise ConfigError(msg)
        for pattern in (*_RECORDINGS, "stimuli/scene[0-9]*.png"):
            for old in out.glob(pattern):
                old.unlink()
    for folder in (out, out / "stimuli", out / "truth"):
        folder.mkdir(parents=True, exist_ok=True)


def _write_scenes(out: Path, images: int, seed: int) -> list[Scene]:
    import cv2

    scenes = [draw_scene(f"scene{i:02d}.png", _stream(seed, 0, i)) for i in range(1, images + 1)]
    for scene in scenes:
        # Drawings with flat areas are smallest with neither a filter nor a run-length strategy.
        how = [
            cv2.IMWRITE_PNG_COMPRESSION,
            9,
            cv2.IMWRITE_PNG_STRATEGY,
            0,
            cv2.IMWRITE_PNG_FILTER,
            cv2.IMWRITE_PNG_FILTER_NONE,
        ]
        _, data = cv2.imencode(".png", scene.image, how)
        (out / "stimuli" / scene.name).write_bytes(data.tobytes())
    return scenes


def _write_recordings(
    out: Path, user: str, form: _Format, trials: Sequence[Trial], observer: Observer, rate_hz: float
) -> None:
    """Write a user's recording, or both of them."""
    if form == _CSV:
        write_text(out / f"{user}.{form.suffix}", csv_text(trials))
        return
    error = max(0.15, math.hypot(*observer.offset_deg))
    # Only an eighth is plain text: it takes five times the room.
    cut = (len(trials) + 7) // 8 if form.two_sessions else 0
    parts = (
        {f"{user}_ses-1.asc": trials[:cut], f"{user}_ses-2.asc.gz": trials[cut:]} if cut else {f"{user}.asc.gz": trials}
    )
    for name, part in parts.items():
        if part:
            write_text(out / name, asc_text(part, SCREEN, user=user, rate_hz=rate_hz, error_deg=error))


def _record(
    observer: Observer,
    scenes: Sequence[Scene],
    key: tuple[int, int],
    eyes: Sequence[str],
    rate_hz: float,
    duration_ms: float,
    repeats: int,
) -> tuple[list[Trial], list[dict[str, object]]]:
    """Show every scene to one observer, in an order of its own, and return what was recorded and what is true."""
    seed, user = key
    placement = Placement.on_screen(IMAGE_PX, (SCREEN.width_px, SCREEN.height_px), "fit")
    session = _stream(seed, 1, user, 1)
    order = [(repeat, int(i)) for repeat in range(1, repeats + 1) for i in session.permutation(len(scenes))]
    clock = float(session.integers(200_000, 4_000_000))
    trials: list[Trial] = []
    truth: list[dict[str, object]] = []
    for number, (repeat, i) in enumerate(order, start=1):
        rng = _stream(seed, 1, user, 1 + number)
        plan = plan_fixations(observer, scenes[i].objects, SCREEN, placement, duration_ms, rng)
        trial = sample_trial(
            plan,
            observer,
            SCREEN,
            number=number,
            repeat=repeat,
            stimulus=scenes[i].name,
            onset_ms=clock + LEAD_MS,
            duration_ms=duration_ms,
            rate_hz=rate_hz,
            eyes=eyes,
            rng=rng,
        )
        trials.append(trial)
        truth += true_fixations(plan, trial, scenes[i], observer, placement)
        clock += LEAD_MS + math.ceil(duration_ms + TAIL_MS) + float(session.integers(400, 1200))
    return trials, truth


def _configuration(seconds: float, store: str) -> str:
    return template(
        name="sample",
        recordings=".",
        stimuli="stimuli",
        store=store,
        screen={
            "width_px": SCREEN.width_px,
            "height_px": SCREEN.height_px,
            "width_mm": SCREEN.width_mm,
            "height_mm": SCREEN.height_mm,
            "distance_mm": SCREEN.distance_mm,
        },
        ingest={"include": _RECORDINGS, "exclude": ("truth",)},
        csv={"delimiter": ",", "trial": "trial", "stimulus": "stimulus", "message": "message"},
        trials={"duration_ms": seconds * 1000, "placement": "fit"},
        # The first fixation only tells where the eye was when the image appeared.
        psm={"drop_first_fixation": True},
        # A study this small needs more test users and images than the paper's shares, and a smaller network.
        split={"users": (0.58, 0.17, 0.25), "images": (0.6, 0.15, 0.25)},
        embedding={"widths": (16, 32, 64, 128), "m": 4, "batch": 64, "steps": 160, "validate_every": 20},
        refiner={"widths": (16, 32, 64), "personal": 16, "m": 8, "batch": 8, "epochs": 40},
        universal={"backbone": "none", "epochs": 30},
        evaluation={"m": (2, 4, 6)},
    )


def _readme(users: int, images: int, rate_hz: float, seconds: float, seed: int, repeats: int) -> str:
    times = "once" if repeats == 1 else f"{repeats} times"
    return f"""# A simulated study

{MARK} (gazepipe, licence MIT): nobody was recorded, the pictures are drawn, and all of it may be
used freely. {counted(users, "user")} looked {times} at {counted(images, "scene")} for {seconds:g} s each, sampled at \
{rate_hz:g} Hz; seed {seed}.

* `sim01.…` …: one recording a user (of some users two, `_ses-1` and `_ses-2`), as EyeLink ASC (`.asc`, `.asc.gz`; one
  eye or both) or as CSV (`.csv.gz`).
* `stimuli/`: the scenes, {IMAGE_PX[0]} × {IMAGE_PX[1]} pixels, shown as large as a screen of \
{SCREEN.width_px} × {SCREEN.height_px} pixels allows.
* `gazepipe.toml`: the study's configuration. Times are the recording's own clock in ms, gaze is in screen pixels.
* `truth/users.csv`: what each user likes to look at (weights of the classes {", ".join(CLASSES)},
  adding up to 1), the share of looks at the background, the calibration offset in degrees (added to the gaze in the
  recording), the noise (sample-to-sample root mean square in degrees, of one eye), the median length of a fixation,
  the format and the eyes.
* `truth/objects.csv`: class and box (left, top, width, height in image pixels) of every object.
* `truth/fixations.csv.gz`: every true fixation while an image was shown, cut at the image's onset and end; pieces
  below {MIN_FIXATION_MS:g} ms are left out. `index` counts from 0, the fixation carried over from before the image.
  `offset_ms` is where the saccade (or blink) after it begins. `x_px` and `y_px` are screen pixels with the user's
  calibration offset; `class` is what the eye was truly on.
"""
