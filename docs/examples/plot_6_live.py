"""
A live session with a viewer who is not there
=============================================

`LabSession` records a person while a script shows images. With a simulated source and a presenter that shows nothing it
runs anywhere; a Neon and a screen take their places by two words.
"""

# %%
# A study of one's own, with two images, in a folder that goes away with this script.

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

from gazepipe import Study, plotting, read
from gazepipe.images import read_rgb
from gazepipe.live import LabSession, SilentPresenter, SimulatedSource

folder = TemporaryDirectory()
root = Path(folder.name)
(root / "gazepipe.toml").write_text(
    """
    [screen]
    width_px = 1280
    height_px = 1024
    width_mm = 376.0
    height_mm = 301.0
    distance_mm = 670.0
    """
)
study = Study.open(root)
study.stimuli.mkdir()
for name in ("scene01.png", "scene02.png"):
    shutil.copy(f"../../recordings/stimuli/{name}", study.stimuli)
images = sorted(study.stimuli.glob("*.png"))

# %%
# Everything is one context: however it ends, the recording is closed and complete. `watch` hands over every fixation
# as soon as nothing can change it any more, while the image is still shown.

source = SimulatedSource(study.config.screen.screen(), seed=3)  # or NeonSource("192.168.1.20")
presenter = SilentPresenter()  # or OpenCVPresenter((1280, 1024))
arrived = []

with LabSession(study, user="visitor", source=source) as session:
    session.check(seconds=0.5).raise_for_status()
    session.watch(lambda events: arrived.extend(events.offset_ms - events.onset_ms))
    for image, trial in session.trials(images, seed=1):
        presenter.image(image, trial.place, trial.onset)
        presenter.wait(2.0)
        trial.end()
        print(image.name, trial.live)

print(len(arrived), "fixations were known while it went on; the last took", round(arrived[-1]), "ms")

# %%
# The recording is a folder that every other part of gazepipe reads.

print(sorted(path.name for path in session.folder.iterdir()))
seen = read(session.folder, study)
print(seen.fixations.groupby("trial")["duration_ms"].agg(["size", "mean"]).round(1).to_string())

# %%
# Gaze over time, with the fixations found in it shaded and lines where an image came, and the scanpath on the first
# one.

samples, begin = seen.samples, seen.trials["onset_ms"].min()
stimulus = seen.trials["stimulus"][0]
looks = seen.looks(stimulus)
image = read_rgb(study.stimuli / stimulus)
with plotting.styled():
    figure, (trace, path) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=[1.5, 1], layout="constrained")
    for onset, offset in seen.fixations[["onset_ms", "offset_ms"]].to_numpy() - begin:
        trace.axvspan(onset, offset, color="0.9", lw=0)
    trace.plot(samples["time_ms"] - begin, samples["cyclopean_x_px"], color=plotting.COLOURS[0], lw=1)
    for onset in seen.trials["onset_ms"] - begin:
        trace.axvline(onset, color=plotting.COLOURS[1], lw=1)
    trace.set_xlim(-500, None)
    trace.set_xlabel("time since the first image (ms)")
    trace.set_ylabel("gaze x (px)")
    plotting.scanpath(looks["u"], looks["v"], looks["duration_ms"], image, size=(160, 120), axes=path)
    path.set_title(stimulus)
folder.cleanup()
