"""
Build a personal map by hand and compare measures
=================================================

A saliency map is made of fixations; measures say how well one map fits another person's looks. Both are plain functions
of arrays, shown here on three people who are made up: no file is read.
"""

# %%
# Ada and Ben like the two things on the left, Cleo the one on the right. Positions are in cells of a grid of 160 ×
# 120, from its top left corner; they need not be whole numbers.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gazepipe import plotting
from gazepipe.metrics import METRICS, score
from gazepipe.saliency import leave_one_out, personal_maps

rng = np.random.default_rng(1)
things = np.array([[40.0, 35.0], [50.0, 90.0], [120.0, 60.0]])
preference = {"Ada": [0.6, 0.4, 0.0], "Ben": [0.5, 0.4, 0.1], "Cleo": [0.1, 0.1, 0.8]}
looks = {
    name: things[rng.choice(3, size=12, p=share)] + rng.normal(0, 5, (12, 2)) for name, share in preference.items()
}

# %%
# `personal_maps` blurs fixations of any number of maps at once. They stand one after another, sorted by map and
# repeat; the two arrays of starts say where repeats begin among fixations, and maps among repeats. Each person has
# looked once. The Gaussian is 6 cells wide, and each map is scaled to a maximum of one.

u, v = np.concatenate(list(looks.values())).T
start = np.arange(0, 37, 12)
maps = personal_maps(u, v, np.ones(36), start, np.arange(4), 6.0, width=160, height=120)
print(maps.shape, maps.dtype, maps.max(axis=(1, 2)))

# %%
# The universal map is the mean over people. Who is to be predicted must be left out of it, or it knows the answer.

usm = maps.mean(0)
others = leave_one_out(usm[None].repeat(3, 0), maps, np.full(3, 3))

with plotting.styled():
    figure, axes = plt.subplots(2, 3, figsize=(8, 4.4), layout="constrained")
    for name, own, rest, (above, below) in zip(looks, maps, others, axes.T, strict=True):
        plotting.saliency_map(own, axes=above)
        above.scatter(*looks[name].T, s=8, color="#0072B2")
        above.set_title(name)
        plotting.difference(own - rest, axes=below)
        below.set_title(f"{name} − the others")

# %%
# How well does everybody else's map predict a person's looks? `score` compares maps (CC, SIM, KLD) and looks up the
# fixated cells (NSS, both AUC). For KLD less is better. Cleo is unlike the others, and every measure says so.

found = score(others, maps, v.astype(int), u.astype(int), start)
print(pd.DataFrame(found, index=list(looks), columns=list(METRICS)).round(3).to_string())

# %%
# A map that is wider than it should be costs KLD little and NSS much; one that is too narrow costs KLD most, since it
# calls impossible what happened. So one measure alone can be gamed, and all of them are reported.

widths = np.geomspace(2, 24, 13)
rows = {}
for sigma in widths:
    wide = personal_maps(u, v, np.ones(36), start, np.arange(4), sigma, width=160, height=120)
    ben = score(wide[:1], maps[1:2], v[12:24].astype(int), u[12:24].astype(int), [0, 12])[0]
    rows[sigma] = ben
table = pd.DataFrame(rows, index=list(METRICS)).T

with plotting.styled():
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
    for axis, measure in zip(axes, ["CC", "NSS", "KLD"], strict=True):
        axis.plot(table.index, table[measure], "o-", ms=3.5, color=plotting.COLOURS[0])
        best = table[measure].idxmax() if METRICS[measure] else table[measure].idxmin()
        axis.axvline(best, color=plotting.COLOURS[1], lw=1)
        axis.set_xscale("log")
        axis.set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
        axis.minorticks_off()
        axis.set_xlabel("σ of Ada's map (cells)")
        axis.set_title(f"{measure} as a prediction of Ben")
