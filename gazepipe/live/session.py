"""`LabSession`: a person, a screen and a source of gaze, from the first check to the end of the recording."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import consent
from gazepipe.discovery import check_found
from gazepipe.errors import ConfigError, InputError
from gazepipe.geometry import Placement
from gazepipe.images import image_size
from gazepipe.live.checks import Report, preflight
from gazepipe.live.recorder import Recorder
from gazepipe.live.recording import SessionWriter
from gazepipe.live.source import GazeSource, SceneMapper, host_ns
from gazepipe.study import Study, check_label, check_spelling
from gazepipe.subjects import check_not_forgotten

if TYPE_CHECKING:
    import pandas as pd

    from gazepipe.events import Events
    from gazepipe.live.presenter import Presenter
    from gazepipe.live.stream import StreamingFixations

__all__ = ["LabSession", "LiveFigures", "Trial", "Validation", "check_images"]

_SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """How a presentation went: shares of the expected samples, 0 … 1."""

    samples: int
    loss: float
    on_screen: float


@dataclass(frozen=True, slots=True)
class Validation:
    """Gaze at known targets: one row a target (`gazepipe.accuracy.accuracy_precision`), and the means over them."""

    table: pd.DataFrame
    accuracy_deg: float
    accuracy_max_deg: float
    rms_s2s_deg: float
    std_deg: float
    data_loss: float


class Trial:
    """One presentation; call `onset` in the moment the image appears and `end` when it goes."""

    def __init__(self, session: LabSession, image: Path, number: int, place: Sequence[float]) -> None:
        self.session, self.image, self.number, self.place = session, image, number, list(place)
        self.onset_ns = self.offset_ns = 0

    def onset(self) -> None:
        """The image is there: made to be called by the flip that shows it (PsychoPy: ``win.callOnFlip``)."""
        self.onset_ns = self.session.event(
            f"IMAGE_ONSET {self.image.name}", stimulus=self.image.name, place=self.place, trial=self.number
        )

    def end(self) -> None:
        """The image is gone."""
        self.offset_ns = self.session.event("IMAGE_OFFSET", trial=self.number)

    @property
    def live(self) -> LiveFigures:
        """How it went so far."""
        end = self.offset_ns or host_ns()
        _, x, y, _ = self.session.recorder.seen.between(self.onset_ns, end)
        w, h = self.session.screen_px
        expected = max(self.session.source.expected(self.onset_ns, end), 1.0)
        there = np.isfinite(x) & np.isfinite(y)
        on = there & (x >= 0) & (y >= 0) & (x < w) & (y < h)
        return LiveFigures(x.size, max(0.0, 1 - float(there.sum()) / expected), float(on.sum() / max(there.sum(), 1)))


class LabSession:
    """Records a person who looks at images of a study.

    ::

        with LabSession(study, user="u07", source=NeonSource("192.168.1.20"), mapper=mapper) as session:
            session.check().raise_for_status()
            for image, trial in session.trials(images, seed=1):
                ...  # show it, trial.onset(), wait, trial.end()

    The recording is the folder `folder`, which `gazepipe ingest` reads like any other. However the program ends, what
    was recorded until then is in it.

    Parameters
    ----------
    study
        An opened study or its folder; its [screen] is the screen of the session.
    user
        Pseudonym of the person.
    source
        The tracker.
    mapper
        For a scene camera's gaze: how it gets to the screen. Without one it is recorded as it is.
    session
        Label of the session; default: the time of its beginning.
    clock_s, echoes, silence_s
        See `gazepipe.live.recorder.Recorder`.

    Raises
    ------
    ConfigError
        If a label cannot be used, or `ingest` would not find the recording.
    InputError
        If the person has not consented as the study requires.
    SourceError
        If the source cannot be reached (on entering).
    StorageError
        If the folder cannot be written.
    """

    def __init__(
        self,
        study: Study | Path | str,
        *,
        user: str,
        source: GazeSource,
        mapper: SceneMapper | None = None,
        session: str = "",
        clock_s: float = 60.0,
        echoes: int = 100,
        silence_s: float = 5.0,
    ) -> None:
        self.study = study if isinstance(study, Study) else Study.open(Path(study))
        self.user = check_label(user, "user")
        check_spelling(self.study, user)
        check_not_forgotten(self.study, user)
        if refused := consent.refusal(self.study, [user], "ingest"):
            raise InputError(refused[user])
        self.label = check_label(session or f"ses-{dt.datetime.now():%Y%m%dT%H%M%S}", "session")
        check_found(self.study, self.folder, self.user, self.label)
        self.source, self.mapper = source, mapper
        self.screen = self.study.config.screen.screen()
        self.screen_px = self.screen.width_px, self.screen.height_px
        self._options: dict[str, Any] = {"clock_s": clock_s, "echoes": echoes, "silence_s": silence_s}
        self.recorder: Recorder
        self.stream: StreamingFixations | None = None
        self.watched_from_ns = self._watched_to_ns = 0
        self._heard: Callable[[Events], Any] = lambda _: None
        self.device_recording = ""
        self._events = itertools.count(1)
        self._open = False

    @property
    def folder(self) -> Path:
        """Where the recording is."""
        return self.study.recordings / (f"{self.user}_{self.label}" if self.label else self.user)

    # ---- begin and end -----------------------------------------------------------------------------------------------

    def __enter__(self) -> LabSession:
        """Connect and record from now on."""
        from gazepipe import __version__

        self.source.open()
        try:
            writer = SessionWriter(
                self.folder,
                {
                    "user": self.user,
                    "session": self.label,
                    "source": self.source.name,
                    "rate_hz": self.source.rate_hz,
                    "space": self.source.space,
                    "size_px": list(self.source.size_px),
                    "own_clock": self.source.own_clock,
                    "screen": self.study.config.screen.model_dump(mode="json"),
                    "started": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                    "device": self.source.status().detail,
                    "software": f"gazepipe {__version__}",
                },
            )
            self.recorder = Recorder(
                self.source, writer, self.screen_px, mapper=self.mapper, listen=self._listen, **self._options
            )
            self.recorder.start()
        except BaseException:
            self.source.close()
            raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the recording, whatever has happened; an error of the recording is raised if there is no other."""
        self.close(reason="done" if kind is None else kind.__name__)
        if kind is None:
            self.recorder.raise_failure()

    def close(self, reason: str = "done") -> None:
        """End the recording."""
        if not self._open:
            return
        self._open = False
        try:
            self.recorder.stop()
            if self.device_recording:
                with contextlib.suppress(Exception):  # a failure must not stop the end of a session
                    self.source.stop_recording()
        finally:
            self.source.close()
        try:
            kept_after = np.array(self.recorder.kept_after_ns, np.int64)
            if kept_after.size:
                ms = {f"p{p}_ms": round(float(np.percentile(kept_after, p)) / 1e6, 3) for p in (50, 99)}
                self.recorder.writer.log("latency", host_ns(), of="arrival to file", **ms)
            self.recorder.writer.log(
                "end",
                host_ns(),
                reason=reason,
                samples=self.recorder.writer.samples,
                lost=self.recorder.lost,
                unsent=[number for number, _, _ in self.recorder.unsent],
            )
            self.recorder.writer.close()
        except Exception as error:  # the disk is full, say: the recorder has met it, too
            self.recorder.failure = self.recorder.failure or error

    def watch(self, heard: Callable[[Events], Any]) -> None:
        """Have `heard` called with the fixations that are final, from now on, in the recorder's thread.

        Their times are ms from `watched_from_ns`, their samples are counted from the first one watched. Samples that
        overtook others on the way are not looked at again (they are in the recording).

        Raises
        ------
        ConfigError
            If [ivt] does not allow it (`gazepipe.live.stream`).
        """
        from gazepipe.live.stream import StreamingFixations

        # Loading compiled loops takes a second, which the recorder's thread must not wait for.
        still = np.full(200, 1.0)
        first = StreamingFixations(self.screen, self.study.config.ivt)
        first.push(np.arange(200) * 5.0, still, still)
        first.finish()
        stream = StreamingFixations(self.screen, self.study.config.ivt)
        self.watched_from_ns = self._watched_to_ns = host_ns()
        self.stream, self._heard = stream, heard

    def _listen(self, host: npt.NDArray[np.int64], x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> None:
        if self.stream is None:
            return
        later = host > np.maximum.accumulate(np.append(self._watched_to_ns, host[:-1]))
        if later.any():
            host, x, y = host[later], x[later], y[later]
            self._watched_to_ns = int(host[-1])
            found = self.stream.push((host - self.watched_from_ns) / 1e6, x, y)
            if len(found):
                self._heard(found)

    # ---- what happens ------------------------------------------------------------------------------------------------

    def check(self, seconds: float = 2.0) -> Report:
        """Look whether everything is ready, over so many seconds of gaze."""
        report = preflight(self.recorder, seconds)
        self.recorder.raise_failure()
        rows = [{"name": c.name, "ok": c.ok, "found": c.found} for c in report.checks]
        self.recorder.writer.log("check", host_ns(), ok=report.ok, checks=rows)
        return report

    def record_on_device(self) -> str:
        """Let the device make its own recording as well, and return its id."""
        self.device_recording = self.source.start_recording()
        self.recorder.writer.log("device-recording", host_ns(), id=self.device_recording)
        return self.device_recording

    def event(self, name: str, **values: Any) -> int:
        """Log an event of this moment, have the device told of it, and return the time.

        It is in the folder when this returns; the device is told as soon as it can be.
        """
        at = host_ns()
        self.recorder.raise_failure()
        number = next(self._events)
        self.recorder.writer.log("event", at, name=name, id=number, **values)
        self.recorder.event(number, name, at)
        return at

    def trials(self, images: Sequence[Path | str], seed: int | None = None) -> Iterator[tuple[Path, Trial]]:
        """Give images one after another, each with its `Trial`; shuffled where there is a seed.

        Where the script has not said that a presentation began or ended, it is said when the next one is asked for.

        Raises
        ------
        ConfigError, StimulusError
            See `check_images`; before the first one is shown.
        """
        paths = [Path(p) for p in images]
        sizes = check_images(paths)
        if seed is not None:
            random.Random(seed).shuffle(paths)
        how = self.study.config.trials.placement
        for number, path in enumerate(paths, 1):
            size = sizes[path]
            place = Placement.on_screen(size, self.screen_px, how)
            rect = [place.origin_x_px, place.origin_y_px, size[0] * place.scale_x, size[1] * place.scale_y]
            trial = Trial(self, path, number, rect)
            try:
                yield path, trial
            finally:
                if trial.onset_ns and not trial.offset_ns and self._open and self.recorder.failure is None:
                    trial.end()

    def show(
        self,
        presenter: Presenter,
        images: Sequence[Path | str],
        seconds: float,
        seed: int | None = None,
        after: Callable[[Trial], bool] | None = None,
    ) -> int:
        """Show images by a presenter, each for so long; returns how many were shown before the person stopped.

        `after` is called with each presentation when it is over, and tells whether to go on. Where a replay is over,
        nothing more is shown.
        """
        done = 0
        for image, trial in self.trials(images, seed):
            presenter.image(image, trial.place, trial.onset)
            going_on = presenter.wait(seconds)
            presenter.blank(trial.end)
            done += 1
            if going_on or after is not None:
                going_on &= presenter.wait(_SETTLE_S)
            if after is not None:
                going_on &= after(trial)
            if not going_on or self.recorder.ended:
                break
        return done

    def validate(self, presenter: Presenter, points: int = 9, seconds: float = 1.0) -> Validation:
        """Show targets and measure accuracy and precision, in degrees; kept with the recording.

        Raises
        ------
        KeyboardInterrupt
            If somebody pressed Escape.
        """
        import pandas as pd

        from gazepipe.accuracy import accuracy_precision

        looked: list[pd.DataFrame] = []
        for number, (tx, ty) in enumerate(_targets(points, self.screen_px)):
            presenter.target(tx, ty, partial(self.event, f"TARGET {number} {tx:g} {ty:g}"))
            going_on = presenter.wait(_SETTLE_S)
            begin = host_ns()
            if not (going_on and presenter.wait(seconds)):
                raise KeyboardInterrupt
            end = host_ns()
            time.sleep(2 / self.source.rate_hz + 0.02)  # the last samples are on their way
            host, x, y, _ = self.recorder.seen.between(begin, end)
            columns = {"t": (host - begin) / 1e6, "x": x, "y": y, "n": number, "tx": tx, "ty": ty}
            looked.append(pd.DataFrame(columns, index=range(host.size)))
        presenter.blank(lambda: None)
        seen = pd.concat(looked, ignore_index=True)
        table = accuracy_precision(
            seen["t"].to_numpy(),
            seen["x"].to_numpy(),
            seen["y"].to_numpy(),
            seen["n"].to_numpy(),
            seen["tx"].to_numpy(),
            seen["ty"].to_numpy(),
            self.screen,
        )
        found = Validation(
            table,
            *(
                _known(table, name, how)
                for name, how in (
                    ("accuracy_deg", np.nanmean),
                    ("accuracy_deg", np.nanmax),
                    ("rms_s2s_deg", np.nanmean),
                    ("std_deg", np.nanmean),
                    ("data_loss", np.nanmean),
                )
            ),
        )
        names = ("accuracy_deg", "accuracy_max_deg", "rms_s2s_deg", "std_deg", "data_loss")
        figures = {n: getattr(found, n) for n in names if math.isfinite(getattr(found, n))}
        rows = [{k: (v if math.isfinite(v) else None) for k, v in r.items()} for r in table.to_dict("records")]
        self.recorder.writer.log("validation", host_ns(), **figures, targets=rows)
        return found


def check_images(images: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Look whether images can be shown, and return the width and height of each.

    Raises
    ------
    ConfigError
        If an image's name has a space, which event messages cannot have.
    StimulusError
        If one cannot be read.
    """
    for path in images:
        if any(c.isspace() for c in path.name):
            msg = f"{path}: the name has a space, which tells events apart; rename the file."
            raise ConfigError(msg)
    return {path: image_size(path) for path in images}


def _known(table: pd.DataFrame, name: str, how: Any) -> float:
    values = table[name].to_numpy(float) if len(table) else np.zeros(0)
    return float(how(values)) if np.isfinite(values).any() else math.nan


def _targets(points: int, screen_px: tuple[int, int]) -> list[tuple[float, float]]:
    """Places over the middle four fifths of the screen: the centre, then rows of a grid."""
    side = math.ceil(math.sqrt(points))
    along = [np.linspace(0.1, 0.9, side) * size if side > 1 else np.array([size / 2]) for size in screen_px]
    grid = [(float(x), float(y)) for y in along[1] for x in along[0]]
    centre = (screen_px[0] / 2, screen_px[1] / 2)
    return sorted(grid, key=lambda p: math.dist(p, centre))[:points]
