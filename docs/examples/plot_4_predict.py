"""
Predict a personal map, and score it
====================================

Where will a person look on an image they have not seen? A viewing profile, some numbers fitted to a few of their
maps, turns the map of everybody else into theirs. The refiner network does the same job with an embedding and takes
minutes to train; the profile takes seconds.
"""

# %%
# The maps of the sample study (made only where they are not in the store), and who is trained on.

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gazepipe import Study, plotting
from gazepipe.build import build_psm
from gazepipe.ingest import ingest
from gazepipe.metrics import METRICS, cc, score
from gazepipe.profile import PARAMETERS
from gazepipe.profiling import profiled, profiles_of, train_profile
from gazepipe.stored_corpus import load_corpus
from gazepipe.train import split_of

study = Study.open(Path("../../recordings"), to=Path("store"))
ingest(study)
build_psm(study)
corpus = load_corpus(study)
split = split_of(corpus, study.config)
split = replace(split, images_train=split.images_train[::2])

# %%
# Training users tell how profiles are spread, which keeps one fitted to a few maps from going astray. Every second
# training image is enough for this example.

trained = train_profile(corpus, split, study.config.refiner, seed=0, progress=lambda done, total, text: None)

# %%
# Each test user's profile comes from their maps of the training images. Maps of the others are over the training
# users alone, so that nothing of the test images is known but where other people looked.

users, known = list(split.users_test), np.array(split.images_train)
profiles = profiles_of(trained.net, "leave_one_out", corpus, users, [known] * len(users), split.users_train)
print(pd.DataFrame(profiles.numpy(), [corpus.users[u] for u in users], PARAMETERS).round(2).to_string())

# %%
# Now the test images, which the profiles have not seen.

shown = np.array(split.images_test)
others = corpus.usm_without_each(split.users_train)
rows = {}
for user, profile in zip(users, profiles, strict=True):
    usm = others(user, shown)
    predicted = profiled(usm, profile)
    of_user = corpus.index[user, shown]
    cells, start = corpus.fixations_of(of_user)
    row, column = np.divmod(cells, corpus.size[1])
    truth = corpus.maps[of_user].astype(np.float32)
    for what, maps in (("others", usm), ("profile", predicted)):
        rows[corpus.users[user], what] = np.nanmean(score(maps, truth, row, column, start), axis=0)
print(pd.DataFrame(rows, index=list(METRICS)).T.round(3).to_string())

# %%
# KLD falls for all three: a profile knows how widely these people look, and with few others the universal map calls
# too much impossible. CC rises for one of them only. What the simulated people differ in is which kinds of things
# they like, and a profile, which sees no image, cannot know that.
#
# The picture is of the person whom the profile helps, on the image where CC rises most, with what they really looked
# at.

user = max(users, key=lambda u: rows[corpus.users[u], "profile"][0] - rows[corpus.users[u], "others"][0])
usm = others(user, shown)
predicted = profiled(usm, profiles[users.index(user)])
truth = corpus.maps[corpus.index[user, shown]].astype(np.float32)
best = int(np.argmax([cc(p, t) - cc(u, t) for p, u, t in zip(predicted, usm, truth, strict=True)]))
image = corpus.images[shown[best]]

with plotting.styled():
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.3), layout="constrained")
    heads = ("everybody else", f"predicted for {corpus.users[user]}", f"{corpus.users[user]}'s own")
    for axis, map_, head in zip(axes, (usm[best], predicted[best], truth[best]), heads, strict=False):
        plotting.saliency_map(map_, image, axes=axis)
        axis.set_title(head)
    plotting.difference(predicted[best] / predicted[best].max() - usm[best] / usm[best].max(), axes=axes[3])
    axes[3].set_title("predicted − everybody else")

# %%
# The best image of a dozen is a picture and no test; the table above is over all of them. ``gazepipe evaluate`` makes
# it for the networks as well, with intervals (:doc:`/evaluation`).
