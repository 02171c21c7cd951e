"""
Read a recording, find fixations, draw the scanpath
===================================================

One person's recording of the sample study, from the file to numbers and pictures. Nothing is stored.
"""

# %%
# A study is a folder with a configuration. It says what the screen was, and how fixations are found; `read` takes a
# file, or several of one person, and does with it what ``gazepipe ingest`` does.

from pathlib import Path

import matplotlib.pyplot as plt

from gazepipe import Study, plotting, read
from gazepipe.images import read_rgb

study = Study.open(Path("../../recordings"))
seen = read("../../recordings/sim01.asc.gz", study)
print(seen.quality[["data_loss", "effective_rate_hz", "rms_s2s_deg"]].round(3).to_string())

# %%
# Fixations are a pandas data frame: a row each, with the trial that it belongs to (−1: to none, it is between two
# images).

print(seen.fixations[["trial", "onset_ms", "duration_ms", "x_px", "y_px"]].head().round(1).to_string(index=False))

# %%
# `looks` has those on one image, in cells of the personal map. The numbers of the scanpath are their order, the areas
# of the discs their durations.

stimulus = "scene33.png"
looks = seen.looks(stimulus)
image = read_rgb(study.stimuli / stimulus)
size = study.config.psm.width, study.config.psm.height

with plotting.styled():
    figure, (path, map_) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    plotting.scanpath(looks["u"], looks["v"], looks["duration_ms"], image, size=size, axes=path)
    path.set_title("scanpath")
    plotting.saliency_map(seen.map(stimulus), image, axes=map_)
    map_.set_title("personal saliency map")

# %%
# Over the whole recording: how long fixations on images last, and the main sequence of the saccades between them.

on_images = seen.fixations[seen.fixations["trial"] >= 0]
with plotting.styled():
    figure, (durations, sequence) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    plotting.duration_histogram(on_images["duration_ms"], axes=durations)
    plotting.main_sequence(seen.saccades["amplitude_deg"], seen.saccades["peak_velocity_deg_s"], axes=sequence)
