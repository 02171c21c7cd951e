"""How long things take while somebody looks: p50 and p99 in ms of wall time, on a machine that does other things, too.

    python benchmarks/bench_live.py STUDY [SECONDS]

STUDY is trained and has people in its gallery. Gaze comes from a stand-in for a Neon on the loopback (tests/live),
whose samples leave at known times; the computer's own sockets, the official client, the disk and the kernels are in
the figures, a network is not.

*wire → recorded*: a sample leaves until it has been written and is in memory. *wire → ended*, *wire → event*: the
oldest sample of the packets that decide it leaves until a fixation is known to have ended, and until nothing can
change it any more. *over → ended*, *over → event*: the same from the end of the fixation itself, with what the method
has to wait for. *trial → embedding*: a presentation has ended until the embedding is up to date. *image → map*:
pixels of an image that is not in the study until the person's map of it, universal map predicted.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "live"))

from fake_neon import FakeNeon, Trace

from gazepipe import Predictor, Study
from gazepipe.events import Events
from gazepipe.live.enrolment import LiveEnrolment
from gazepipe.live.neon import NeonSource
from gazepipe.live.presenter import SilentPresenter
from gazepipe.live.session import LabSession
from gazepipe.live.source import SceneFrame, host_ns
from gazepipe.stimuli import stimulus_index


class Whole:
    """A mapper: the screen fills the scene camera's picture."""

    def __init__(self, screen_px: tuple[int, int]) -> None:
        self.scale = screen_px[0] / 1600, screen_px[1] / 1200

    def see(self, frame: SceneFrame) -> int:
        return 0

    def to_screen(self, device_ns, x_px, y_px):  # type: ignore[no-untyped-def]
        sx, sy = self.scale
        return (x_px * sx).astype("f4"), (y_px * sy).astype("f4"), np.zeros(x_px.shape, np.uint8)


def looking(seconds: float, rate_hz: float = 200.0) -> Trace:
    """Fixations of 150 to 450 ms all over the picture; saccades last a sample."""
    rng = np.random.default_rng(0)
    n = round(seconds * rate_hz)
    x, y, i = np.empty(n, "f4"), np.empty(n, "f4"), 0
    while i < n:
        length = int(rng.uniform(0.15, 0.45) * rate_hz)
        x[i : i + length], y[i : i + length] = rng.uniform(300, 1300), rng.uniform(200, 1000)
        i += length
    noise = rng.normal(0, 0.5, (2, n)).astype("f4")
    return Trace(np.arange(n) / rate_hz, x + noise[0], y + noise[1], np.full(n, 255, "u1"), np.full(n, 3, "f4"))


def figures(name: str, ms: list[float]) -> None:
    p50, p99 = np.percentile(ms, [50, 99])
    print(f"{name:20s} {len(ms):6d} {p50:8.1f} {p99:8.1f} {max(ms):8.1f}")


def main(folder: Path, seconds: float) -> None:
    study = Study.open(folder)
    where = Path(tempfile.mkdtemp())
    images = sorted(set(stimulus_index(study.stimuli).values()))
    trace = looking(3 * seconds + 60)
    recorded: list[float] = []
    taken: dict[str, list[float]] = {
        name: [] for name in ("wire → ended", "over → ended", "wire → event", "over → event")
    }
    embedded: list[float] = []
    person = LiveEnrolment(study, "bench", images, threads=1)
    with FakeNeon(trace) as phone:

        class Timed(LabSession):
            oldest_ns = 0

            def _listen(self, host, x, y):  # type: ignore[no-untyped-def]
                number = np.rint((host - phone.started_ns) / 5e6).astype(int)
                left = phone.left_ns[number]
                recorded.extend(((host_ns() - left) / 1e6).tolist())
                self.oldest_ns = int(left.min())
                super()._listen(host, x, y)
                for run in self.stream.ended() if self.stream is not None else ():
                    note("ended", run.offset_ms)

        def note(what: str, offset_ms: float) -> None:
            now = host_ns()
            taken[f"wire → {what}"].append((now - session.oldest_ns) / 1e6)
            taken[f"over → {what}"].append((now - session.watched_from_ns) / 1e6 - offset_ms)

        def heard(events: Events) -> None:
            for offset_ms in events.offset_ms.tolist():
                note("event", offset_ms)

        size = study.config.screen.width_px, study.config.screen.height_px
        here = Study(study.config, study.root, where, study.stimuli, study.store)
        session = Timed(here, user="bench", source=NeonSource(phone.address), mapper=Whole(size))
        with session:
            session.watch(heard)
            time.sleep(seconds)
            presenter = SilentPresenter()
            for image, trial in session.trials(images[:24]):
                presenter.image(image, trial.place, trial.onset)
                presenter.wait(1.0)
                trial.end()
                start = time.perf_counter()
                update = person.add(session, trial)
                if update.n_pairs:
                    embedded.append(1000 * (time.perf_counter() - start))
    print(f"{'ms':20s} {'n':>6s} {'p50':>8s} {'p99':>8s} {'max':>8s}")
    figures("wire → recorded", recorded)
    for name, ms in taken.items():
        figures(name, ms)
    figures("trial → embedding", embedded)
    predictor = Predictor(study, threads=1)
    predictor.welcome(person.person())
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    predictor(pixels, "bench", usm="predicted")
    mapped = []
    for _ in range(200):
        start = time.perf_counter()
        predictor(pixels, "bench", usm="predicted")
        mapped.append(1000 * (time.perf_counter() - start))
    figures("image → map", mapped)
    shutil.rmtree(where)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 30.0)
