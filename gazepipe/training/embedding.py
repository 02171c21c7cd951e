"""The training loop of the embedding network, the fit of descriptors, and pools of embeddings for the refiner."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazepipe import distributed
from gazepipe.checkpoint import Checkpoint
from gazepipe.corpus import Corpus, Others, Split
from gazepipe.embedding import DESCRIBED, DescriptorNet, EmbeddingNet, aggregate, triplet_loss
from gazepipe.errors import ConfigError
from gazepipe.identification import d_prime, draw
from gazepipe.recalibration import disc, expected_offsets, mean_scatter
from gazepipe.training.course import Best, Course, Progress, Trained, no_checkpoint, on_device
from gazepipe.training.encoder import Encoder
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.config import EmbeddingConfig

F32 = npt.NDArray[np.float32]


def train_embedding(
    corpus: Corpus,
    split: Split,
    config: EmbeddingConfig,
    *,
    others: Others = (),
    seed: int,
    where: torch.device,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train the embedding network (Adam, triplet loss over semi-hard and hard triplets).

    A batch is users × groups: each group is m images drawn without overlap, and every user of the batch gets one
    embedding from each group. So any two embeddings are from the same images or from disjoint ones, and
    triplets are taken across groups only: anchor, positive and negative from three different ones. With `others` to
    learn from, each batch is of one study, drawn by its number of training users, since people who saw other images are
    told apart by the images; when to stop is for this study's validation users to say.

    Raises
    ------
    ConfigError
        If the training users of a study share too few images for three embeddings each.
    """
    if config.inputs in DESCRIBED:
        return fit_descriptors(corpus, split, config, others, seed=seed, where=where, progress=progress)
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0xE3B])
    m = config.m
    arguments = config.inputs, config.widths, config.dimension, config.dropout, config.registration
    net = on_device(distributed.spread(EmbeddingNet(*arguments)), where)
    studies = [_Batches.of(net, *study, config) for study in ((corpus, split), *others)]
    shares = np.array([len(s.users) for s in studies]) / sum(len(s.users) for s in studies)
    encoder = studies[0].encoder
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    course = Course(net, optimiser, Best(config.patience), rng, where, checkpoint or no_checkpoint())
    course.resume()
    for step in range(course.done + 1, (course.done if course.over else config.steps) + 1):
        net.train()
        study = studies[rng.choice(len(studies), p=shares)] if others else studies[0]
        groups, n = study.groups, study.groups * study.users_in_batch
        users = torch.from_numpy(rng.choice(study.users, study.users_in_batch, replace=False)).to(where)
        shown = torch.from_numpy(rng.permutation(study.images)[: groups * m].reshape(groups, m)).to(where)
        label = users[:, None].expand(-1, groups).reshape(n)
        group = torch.arange(groups, device=where).repeat(study.users_in_batch)
        own = distributed.share(n)  # all of them, unless several processes train together
        pair_user = label[own, None].expand(-1, m).reshape(-1)  # (embeddings · m,)
        pair_image = shown[group[own]].reshape(-1)
        # An image is mirrored for all users or for none, so that mirroring tells nothing about the user.
        turned = torch.from_numpy(rng.random((groups, m)) < 0.5).to(where) if config.mirror else None
        mirrored = None if turned is None else turned[group[own]].reshape(-1)
        by = None if study.moves is None else study.moves[pair_user]
        if config.recalibration_deg:  # each embedding as if it were of another calibration
            offsets = torch.from_numpy(disc(n, config.recalibration_deg, study.encoder.corpus, rng)).to(where)
            by = offsets[own, None].expand(-1, m, 2).reshape(-1, 2)
        features = study.encoder.features(pair_user, pair_image, mirrored, by)
        embeddings = distributed.gathered(aggregate(features.view(-1, m, features.shape[1])), n)
        loss, active = triplet_loss(embeddings, label, group, config.margin)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.average_gradients(net)
        optimiser.step()
        course.losses.append(loss.detach())
        timed_out = course.out_of_time(config.minutes)
        go_on = not timed_out
        if step % config.validate_every == 0 or step == config.steps or timed_out:
            row = {
                "step": step,
                "loss": float(torch.stack(course.losses).mean()),
                "active": float(active),
                "d_prime": validation_d_prime(encoder, split, m, seed=seed),
                "seconds": course.seconds(),
            }
            course.history.append(row)
            course.losses.clear()
            go_on = distributed.first_decides(course.best.offer(net, row["d_prime"], row) and go_on, where)
            progress(step, config.steps, f"loss {row['loss']:.3f}, validation d′ {row['d_prime']:.2f}")
        else:
            progress(step, config.steps, "")
        course.keep(step, over=not go_on or step == config.steps)
        if not go_on:
            break
    return course.trained()


@dataclass(frozen=True, slots=True)
class _Batches:
    """What batches of one study are drawn from, and how large they are."""

    encoder: Encoder
    users: tuple[int, ...]
    images: npt.NDArray[np.int64]
    moves: Tensor | None
    users_in_batch: int
    groups: int

    @classmethod
    def of(cls, net: EmbeddingNet, corpus: Corpus, split: Split, config: EmbeddingConfig) -> _Batches:
        users, images = split.users_train, _shared_images(corpus, split.users_train, split.images_train)
        if len(images) < 3 * config.m or len(users) < 2:
            msg = (
                f"[embedding] m is {config.m}, which needs {3 * config.m} images that all training users have seen and "
                f"two training users; found {counted(len(images), 'image')} and {counted(len(users), 'user')}. Lower m "
                "or change [split]."
            )
            raise ConfigError(msg)
        encoder, moves = Encoder(net, corpus, users), None
        if config.registration:
            moves = torch.zeros(len(corpus.users), 2, device=encoder.where)
            for user in users:
                moves[user] = encoder.offset(user, images)
        users_in_batch = min(len(users), max(config.batch // 3, 2))
        groups = max(3, min(config.batch // users_in_batch, len(images) // config.m))
        return cls(encoder, users, images, moves, users_in_batch, groups)


def fit_descriptors(
    corpus: Corpus,
    split: Split,
    config: EmbeddingConfig,
    others: Others = (),
    *,
    seed: int,
    where: torch.device,
    progress: Progress,
) -> Trained:
    """Take mean, whitening and weights of the descriptors from training users and training images; nothing is iterated.

    With registration, a user's maps are moved m at a time, so that the scatter of small sets' moves is part of what
    directions are scaled by. Of `others`, only how people and their pairs differ within a study counts: what all
    people of a study have in common is its images' and its tracker's, and is taken off.

    Raises
    ------
    ConfigError
        If there are too few users or images.
    """
    start = time.perf_counter()
    net = DescriptorNet(config.registration, config.inputs).to(where)
    encoder = Encoder(net, corpus, split.users_train)
    rng = np.random.default_rng([seed, 0xDE5])
    tables = descriptor_tables(encoder, split, config, rng, progress)
    if len(tables) < 2:
        msg = (
            f"[embedding] inputs {config.inputs!r} need two training users with two training images that others saw, "
            f"too; there are {len(tables)}. Change [split]."
        )
        raise ConfigError(msg)
    together = list(tables.values())
    for other, their_split in others:
        theirs = descriptor_tables(Encoder(net, other, their_split.users_train), their_split, config, rng, progress)
        if theirs:
            shift = _centre(tables) - _centre(theirs)
            together += [table + shift for table in theirs.values()]
    net.fit(together, config.shrinkage, mean_scatter(expected_offsets(encoder, split, config, rng)))
    row = {"d_prime": validation_d_prime(encoder, split, config.m, seed=seed), "seconds": time.perf_counter() - start}
    return Trained(net.eval(), [row], row, row["seconds"])


def _centre(tables: dict[int, Tensor]) -> Tensor:
    """Mean of users' means."""
    return torch.stack([table.mean(0) for table in tables.values()]).mean(0)


def descriptor_tables(
    encoder: Encoder, split: Split, config: EmbeddingConfig, rng: np.random.Generator, progress: Progress | None = None
) -> dict[int, Tensor]:
    """Descriptors of training users' pairs on training images, ``{user: (n_pairs, d)}``, of users with two and more.

    With registration they are moved m at a time, see `fit_descriptors`.
    """
    images = np.array(split.images_train)
    tables = {}
    for done, user in enumerate(split.users_train, 1):
        usable = rng.permutation(images[encoder.usable(user, images)])
        sets = np.array_split(usable, max(len(usable) // config.m, 1)) if config.registration else [usable]
        table = torch.from_numpy(np.concatenate([encoder.table(user, part)[:, :-1] for part in sets]))
        if len(table) >= 2:
            tables[user] = table
        if progress:
            progress(done, len(split.users_train), "")
    return tables


def validation_d_prime(encoder: Encoder, split: Split, m: int, *, seed: int) -> float:
    """Separation of validation users on validation images: cosines of disjoint halves, same user against different.

    The same draws each time, so that validations compare.
    """
    rng = np.random.default_rng([seed, 0xDA])
    tables = [encoder.table(u, split.images_validation) for u in split.users_validation]
    tables = [t[np.isfinite(t[:, 0])] for t in tables]
    m = min(m, min(map(len, tables), default=0) // 2)
    if m < 1 or len(tables) < 2:
        msg = (
            f"[split] leaves {counted(len(split.users_validation), 'validation user')} and "
            f"{counted(len(split.images_validation), 'validation image')}; two of each are needed "
            "to know when to stop training. Change [split]."
        )
        raise ConfigError(msg)
    same: list[float] = []
    different: list[float] = []
    for _ in range(40):
        gallery, probe = [], []
        for table in tables:
            order = rng.permutation(len(table))
            half = len(order) // 2
            gallery.append(draw(table[order[:half]], m, 1, rng)[0])
            probe.append(draw(table[order[half:]], m, 1, rng)[0])
        cosines = np.stack(probe) @ np.stack(gallery).T
        own = np.eye(len(tables), dtype=bool)
        same += cosines[own].tolist()
        different += cosines[~own].tolist()
    return d_prime(same, different)


def embedding_pools(
    encoder: Encoder, users: tuple[int, ...], stimuli: tuple[int, ...], *, m: int, pool: int, seed: int
) -> dict[int, F32]:
    """Make `pool` embeddings of each user, each from m random pairs; the augmentation against embedding noise.

    A user with fewer than m pairs gets embeddings from all of them. ``{user: (pool, d)}``.
    """
    pools = {}
    for user in users:
        table = encoder.table(user, stimuli)
        table = table[np.isfinite(table[:, 0])]
        if not len(table):
            name = encoder.corpus.users[user]
            msg = f"user {name!r} has no map of any training image; leave the recording out or change [split]."
            raise ConfigError(msg)
        pools[user] = draw(table, min(m, len(table)), pool, np.random.default_rng([seed, 0x900, user]))
    return pools


def _shared_images(corpus: Corpus, users: tuple[int, ...], stimuli: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Stimuli that all of some users have seen: only these keep images from giving a user away."""
    chosen = np.asarray(stimuli, np.int64)
    return chosen[(corpus.index[list(users)][:, chosen] >= 0).all(0)]
