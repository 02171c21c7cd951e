"""
Embeddings of everybody, and t-SNE
==================================

All recordings of the sample study become maps, maps become embeddings, and embeddings a picture in which people stand
apart. The embedding is the closed-form one, which needs no network: 33 descriptors of a map and nine of eye movements,
weighed by what training users say.
"""

# %%
# Ingest and maps, as ``gazepipe ingest`` and ``gazepipe build-psm`` make them. What is up to date in the store is not
# made again.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from gazepipe import Study, plotting
from gazepipe.build import build_psm
from gazepipe.evaluation.tsne import tsne
from gazepipe.identification import draw, precision_at_one
from gazepipe.ingest import ingest
from gazepipe.stored_corpus import load_corpus
from gazepipe.train import split_of, with_preset
from gazepipe.training import Encoder, train_embedding

study = Study.open(Path("../../recordings"), to=Path("store"))
ingest(study)
build_psm(study)
corpus = load_corpus(study)
print(corpus.maps.shape, "maps of", len(corpus.users), "users and", len(corpus.stimuli), "images")

# %%
# The split says who is trained on. For this embedding, training means: how descriptors scatter within and between the
# training users, from which their weights follow. The preset ``best`` names these settings.

config = with_preset(study.config, "best")
split = split_of(corpus, config)
trained = train_embedding(
    corpus, split, config.embedding, seed=0, where=torch.device("cpu"), progress=lambda done, total, text: None
)
encoder = Encoder(trained.net, corpus, split.users_train)
print(config.embedding.inputs, "d′ of validation users:", round(trained.best["d_prime"], 2))

# %%
# Features of all pairs of all users. An embedding is the mean of m of them, scaled to length one; fifteen are drawn
# of each user here, which overlap, as those of the paper's Figure 6 do.

images = np.arange(len(corpus.stimuli))
features = [encoder.table(user, images) for user in range(len(corpus.users))]
rng = np.random.default_rng(0)
embeddings = np.concatenate([draw(table, 12, 15, rng) for table in features])
places = tsne(embeddings)

with plotting.styled():
    figure, axis = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    label = np.repeat(np.arange(len(corpus.users)), 15)
    names = [u if k in split.users_train else f"{u} (not trained on)" for k, u in enumerate(corpus.users)]
    plotting.embedding_map(places, label, names, axes=axis)
    axis.set_xlabel("t-SNE, first coordinate (no unit)")
    axis.set_ylabel("t-SNE, second coordinate (no unit)")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)

# %%
# Drawings persuade, so here is the number: how often is the nearest neighbour of an embedding the same person?
# Gallery and probe come from different images (the *disjoint* protocol), and only the people who were not trained on
# are asked for.

unseen = [*split.users_validation, *split.users_test]
for m in (2, 4, 8, 16):
    found = precision_at_one([features[u] for u in unseen], m, protocol="disjoint", rng=rng)
    print(f"m = {m:2}: precision at one {found.mean():.3f}, chance {1 / len(unseen):.3f}")
