"""The three training loops: embedding network, refiner, universal predictor.

Each reads top to bottom: data on the device, batches drawn by index, one visible loop, early stopping on validation
users and images only, the best weights returned. No loader, no trainer framework; files and printing stay outside.
Test users and test images are never touched here.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gazepipe import compute, distributed
from gazepipe.checkpoint import Checkpoint, restore_optimiser
from gazepipe.corpus import Corpus, Split
from gazepipe.embedding import DescriptorNet, EmbeddingNet, aggregate, pair_input, triplet_loss
from gazepipe.errors import ConfigError
from gazepipe.identification import d_prime, draw
from gazepipe.inference import FastEncoder
from gazepipe.refiner import MultiCnn, MultiCnnNet, RefinerNet, discrepancy_target, refine, refiner_loss, scene_input
from gazepipe.registration import GRID, REACH, coarse, match, moved, offset
from gazepipe.universal import UniversalNet, divergence

if TYPE_CHECKING:
    from gazepipe.config import EmbeddingConfig, RefinerConfig, UniversalConfig

__all__ = [
    "Encoder",
    "Trained",
    "descriptor_tables",
    "embedding_pools",
    "train_embedding",
    "train_multicnn",
    "train_refiner",
    "train_universal",
]

F32 = npt.NDArray[np.float32]
Net = TypeVar("Net", bound=nn.Module)
#: Called after each step or epoch with (done, total, what to show).
Progress = Callable[[int, int, str], None]


@dataclass
class Trained:
    """Best weights of a run and what happened on the way."""

    net: Any
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class _Best:
    """Keeps the weights of the best validation so far, and says when to stop."""

    patience: int
    weights: dict[str, Tensor] = field(default_factory=dict)
    value: float = -float("inf")
    row: dict[str, float] = field(default_factory=dict)
    waited: int = 0

    def offer(self, net: nn.Module, value: float, row: dict[str, float]) -> bool:
        """Take a validation (more is better); False when patience is used up."""
        if value > self.value:
            self.weights, self.value, self.row, self.waited = copy.deepcopy(net.state_dict()), value, row, 0
        else:
            self.waited += 1
        return self.waited < self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"weights": self.weights, "value": self.value, "row": self.row, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.weights, self.value, self.row, self.waited = (state[k] for k in ("weights", "value", "row", "waited"))


@dataclass
class _Course:
    """All that the next step of a training depends on, and its way into a checkpoint and back."""

    net: nn.Module
    optimiser: torch.optim.Optimizer
    best: _Best
    rng: np.random.Generator
    where: torch.device
    checkpoint: Checkpoint
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    done: int = 0
    over: bool = False
    start: float = field(default_factory=lambda: time.perf_counter())

    def seconds(self) -> float:
        """Time trained so far, with that before an interruption."""
        return time.perf_counter() - self.start

    def out_of_time(self, minutes: float) -> bool:
        """Whether a limit in minutes is reached; 0 is none."""
        return distributed.first_decides(minutes > 0 and self.seconds() > 60 * minutes, self.where)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        state = self.checkpoint.read(self.rng, self.where)
        if state is None:
            return
        self.net.load_state_dict(state["net"])
        restore_optimiser(self.optimiser, state["optimiser"], self.net)
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.best.restore(state["best"])
        self.history, self.done, self.over = state["history"], state["done"], state["over"]
        self.losses = [loss.to(self.where) for loss in state["losses"]]
        self.start = time.perf_counter() - state["seconds"]

    def keep(self, done: int, over: bool = False) -> None:
        """Write a checkpoint after so many steps or epochs, if it is time for one; the last is always written."""
        self.done, self.over = done, over
        if not (over or self.checkpoint.due()):
            return
        state = {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "best": self.best.state(),
            "history": self.history,
            "losses": self.losses,
            "done": done,
            "over": over,
            "seconds": self.seconds(),
        }
        self.checkpoint.write(state, self.rng, self.where)

    def trained(self) -> Trained:
        """The network with its best weights."""
        self.net.load_state_dict(self.best.weights)
        return Trained(self.net.eval(), self.history, self.best.row, self.seconds())


def _nowhere() -> Checkpoint:
    return Checkpoint(None, "")


class Encoder:
    """An embedding network with everything it needs to turn a corpus's pairs into features.

    Parameters
    ----------
    net
        The network, already on its device.
    corpus
        Where maps and images come from.
    reference_users
        The training users: universal maps are over them alone, where the network needs any. For a training user the
        map without that user is taken, so that training users and unseen ones are treated alike.
    """

    def __init__(self, net: EmbeddingNet | DescriptorNet, corpus: Corpus, reference_users: tuple[int, ...]) -> None:
        self.net, self.corpus = net, corpus
        self.where = next(itertools.chain(net.parameters(), net.buffers())).device
        self.dtype = compute.autocast_dtype(self.where)
        self.maps = torch.from_numpy(corpus.maps).to(self.where)
        self.index = torch.from_numpy(corpus.index).to(self.where)
        self.images = None
        if net.inputs.startswith("rgb"):
            if corpus.images is None:
                msg = (
                    f"[embedding] inputs {net.inputs!r} need an image for every stimulus, but some have none; "
                    "use 'descriptors', 'discrepancy' or 'psm'."
                )
                raise ConfigError(msg)
            self.images = torch.from_numpy(corpus.images).to(self.where)
        self._made: tuple[list[int], FastEncoder] | None = None
        self.usm = self.count = None
        self.in_reference = torch.zeros(len(corpus.users), dtype=torch.bool, device=self.where)
        if net.inputs.endswith("discrepancy") or net.inputs == "descriptors" or net.registration:
            usm, count = corpus.usm(reference_users)
            self.usm, self.count = torch.from_numpy(usm).to(self.where), torch.from_numpy(count).to(self.where)
            self.in_reference[list(reference_users)] = True

    def pair_maps(self, users: Tensor, stimuli: Tensor) -> tuple[Tensor, Tensor | None]:
        """Personal and, where the network needs them, universal maps of pairs; ``(n, H, W)`` each."""
        psm = self.maps[self.index[users, stimuli]]
        if self.usm is None or self.count is None:
            return psm, None
        n = self.count[stimuli].float()[:, None, None]
        own = self.in_reference[users][:, None, None] & (n > 1)
        mean = self.usm[stimuli]
        return psm, torch.where(own, (n * mean - psm.float()) / (n - 1).clamp(min=1), mean)

    def features(
        self,
        users: Tensor,
        stimuli: Tensor,
        mirrored: Tensor | None = None,
        by: Tensor | None = None,
        fast: FastEncoder | None = None,
    ) -> Tensor:
        """Features of pairs (user, stimulus), ``(n,)`` and ``(n,)`` → ``(n, d)`` float32; in the net's current mode.

        `mirrored` tells which pairs are shown left to right, ``(n,)`` bool; `by` how far personal maps are moved
        before, ``(n, 2)`` in cells of `registration.GRID`; `fast` takes the network's place in evaluation.
        """
        psm, usm = self.pair_maps(users, stimuli)
        if isinstance(self.net, DescriptorNet):
            assert usm is not None
            small = coarse(psm)
            return self.net(small if by is None else moved(small, by), coarse(usm))  # type: ignore[no-any-return]
        if by is not None:
            fine = by * by.new_tensor([psm.shape[2] / GRID[1], psm.shape[1] / GRID[0]])
            psm = moved(psm.float(), fine)
        rgb = None if self.images is None else self.images[stimuli]
        if fast is not None:
            return fast(rgb, psm, usm)
        pairs = pair_input(self.net.inputs, rgb, psm, usm)
        if mirrored is not None:
            pairs = torch.where(mirrored[:, None, None, None], pairs.flip(3), pairs)
        with torch.autocast(self.where.type, self.dtype, enabled=self.dtype is not None):
            out = self.net(pairs)
        return out.float()  # type: ignore[no-any-return]

    def offset(self, user: int, stimuli: npt.NDArray[np.int64], chunk: int = 256) -> Tensor:
        """How far all of a user's maps of some stimuli must be moved to fit the universal maps, ``(2,)``."""
        total = torch.zeros(2 * REACH + 1, 2 * REACH + 1, device=self.where)
        for a in range(0, len(stimuli), chunk):
            s = torch.from_numpy(stimuli[a : a + chunk]).to(self.where)
            psm, usm = self.pair_maps(torch.full_like(s, user), s)
            assert usm is not None
            total += match(coarse(psm), coarse(usm)).sum(0)
        return offset(total)

    def usable(self, user: int, stimuli: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which of some stimuli a user has a map of and, where universal maps are needed, somebody else has, too."""
        there = self.corpus.index[user, stimuli] >= 0
        if self.count is not None:
            others = self.count.cpu().numpy()[stimuli] - (bool(self.in_reference[user]) & there)
            there &= others > 0
        return np.flatnonzero(there)

    @torch.inference_mode()
    def table(self, user: int, stimuli: tuple[int, ...] | npt.NDArray[np.int64], chunk: int = 64) -> F32:
        """Features of one user's pairs, ``(len(stimuli), d)``, NaN where the user has no usable map; evaluation mode.

        With registration, one move is found for all these maps together: maps that must not know of each other, like
        those of a gallery and those of a probe, belong in tables of their own.
        """
        self.net.eval()
        chosen = np.asarray(stimuli, np.int64)
        out = np.full((chosen.size, self.net.dimension), np.nan, np.float32)
        there = self.usable(user, chosen)
        by = self.offset(user, chosen[there]) if self.net.registration and len(there) else None
        size = chunk if self.where.type == "cpu" else 2048
        fast = self._fast()
        for a in range(0, there.size, size):
            rows = there[a : a + size]
            s = torch.from_numpy(chosen[rows]).to(self.where)
            shift = None if by is None else by.expand(len(s), 2)
            out[rows] = self.features(torch.full_like(s, user), s, by=shift, fast=fast).cpu().numpy()
        return out

    def _fast(self) -> FastEncoder | None:
        """The network's fast form, made again when its weights or statistics have changed."""
        if not isinstance(self.net, EmbeddingNet):
            return None
        version = [tensor._version for tensor in itertools.chain(self.net.parameters(), self.net.buffers())]
        if self._made is None or self._made[0] != version:
            self._made = version, FastEncoder(self.net, self.dtype)
        return self._made[1]


def _place(net: Net, where: torch.device) -> Net:
    """Put a network on its device, with channels last in memory, which convolutions are fastest on."""
    return net.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _shared_images(corpus: Corpus, users: tuple[int, ...], stimuli: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Stimuli that all of some users have seen: only these keep images from giving a user away."""
    chosen = np.asarray(stimuli, np.int64)
    return chosen[(corpus.index[list(users)][:, chosen] >= 0).all(0)]


def train_embedding(
    corpus: Corpus,
    split: Split,
    config: EmbeddingConfig,
    *,
    seed: int,
    where: torch.device,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train the embedding network (Adam, triplet loss over semi-hard and hard triplets).

    A batch is users × groups: each group is m images drawn without overlap, and every user of the batch gets one
    embedding from each group. So any two embeddings are from the same images or from disjoint ones, and
    triplets are taken across groups only: anchor, positive and negative from three different ones.

    Raises
    ------
    ConfigError
        If the training users share too few images for three embeddings each.
    """
    if config.inputs == "descriptors":
        return fit_descriptors(corpus, split, config, seed=seed, where=where, progress=progress)
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0xE3B])
    images = _shared_images(corpus, split.users_train, split.images_train)
    m = config.m
    if len(images) < 3 * m or len(split.users_train) < 2:
        msg = (
            f"[embedding] m is {m}, which needs {3 * m} images that all training users have seen and two training "
            f"users; there are {len(images)} images and {len(split.users_train)} users. Lower m or change [split]."
        )
        raise ConfigError(msg)
    arguments = config.inputs, config.widths, config.dimension, config.dropout, config.registration
    net = _place(distributed.spread(EmbeddingNet(*arguments)), where)
    encoder = Encoder(net, corpus, split.users_train)
    moves = None
    if config.registration:
        moves = torch.zeros(len(corpus.users), 2, device=where)
        for user in split.users_train:
            moves[user] = encoder.offset(user, images)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    users_in_batch = min(len(split.users_train), max(config.batch // 3, 2))
    groups = max(3, min(config.batch // users_in_batch, len(images) // m))
    n = users_in_batch * groups
    course = _Course(net, optimiser, _Best(config.patience), rng, where, checkpoint or _nowhere())
    course.resume()
    for step in range(course.done + 1, (course.done if course.over else config.steps) + 1):
        net.train()
        users = torch.from_numpy(rng.choice(split.users_train, users_in_batch, replace=False)).to(where)
        shown = torch.from_numpy(rng.permutation(images)[: groups * m].reshape(groups, m)).to(where)
        label = users[:, None].expand(-1, groups).reshape(n)
        group = torch.arange(groups, device=where).repeat(users_in_batch)
        own = distributed.share(n)  # all of them, unless several processes train together
        pair_user = label[own, None].expand(-1, m).reshape(-1)  # (embeddings · m,)
        pair_image = shown[group[own]].reshape(-1)
        # An image is mirrored for all users or for none, so that mirroring tells nothing about the user.
        turned = torch.from_numpy(rng.random((groups, m)) < 0.5).to(where) if config.mirror else None
        mirrored = None if turned is None else turned[group[own]].reshape(-1)
        by = None if moves is None else moves[pair_user]
        features = encoder.features(pair_user, pair_image, mirrored, by)
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


def fit_descriptors(
    corpus: Corpus, split: Split, config: EmbeddingConfig, *, seed: int, where: torch.device, progress: Progress
) -> Trained:
    """Take centre and whitening of the descriptors from training users and training images; nothing is iterated.

    With registration, a user's maps are moved m at a time, so that the scatter of small sets' moves is part of what
    directions are scaled by.

    Raises
    ------
    ConfigError
        If there are too few users or images.
    """
    start = time.perf_counter()
    net = DescriptorNet(config.registration).to(where)
    encoder = Encoder(net, corpus, split.users_train)
    rng = np.random.default_rng([seed, 0xDE5])
    tables = descriptor_tables(encoder, split, config, rng, progress)
    if len(tables) < 2:
        msg = (
            "[embedding] inputs 'descriptors' need two training users with two training images that others saw, too; "
            f"there are {len(tables)}. Change [split]."
        )
        raise ConfigError(msg)
    net.fit(list(tables.values()), config.shrinkage)
    row = {"d_prime": validation_d_prime(encoder, split, config.m, seed=seed), "seconds": time.perf_counter() - start}
    return Trained(net.eval(), [row], row, row["seconds"])


def descriptor_tables(
    encoder: Encoder, split: Split, config: EmbeddingConfig, rng: np.random.Generator, progress: Progress | None = None
) -> dict[int, Tensor]:
    """Features of training users' pairs on training images, ``{user: (n_pairs, d)}``, of users with two and more.

    With registration they are moved m at a time, see `fit_descriptors`.
    """
    images = np.array(split.images_train)
    tables = {}
    for done, user in enumerate(split.users_train, 1):
        usable = rng.permutation(images[encoder.usable(user, images)])
        sets = np.array_split(usable, max(len(usable) // config.m, 1)) if config.registration else [usable]
        table = torch.from_numpy(np.concatenate([encoder.table(user, part) for part in sets]))
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
            f"[split] leaves {len(split.users_validation)} validation users and {len(split.images_validation)} "
            "validation images; two of each are needed to know when to stop training. Change [split]."
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


def train_refiner(
    corpus: Corpus,
    split: Split,
    config: RefinerConfig,
    pools: dict[int, F32],
    *,
    seed: int,
    where: torch.device,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train the personal saliency network (SGD, lr halved every 25 epochs, an embedding of the pool at random).

    Training universal maps are means over the training users alone; validation ones over training and validation
    users, so that no test user has a part in either.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0x4EF])
    dimension = next(iter(pools.values())).shape[1]
    channels = 4 if corpus.images is not None else 1
    net = RefinerNet(channels, dimension, config.widths, config.personal)
    net.standardise(torch.from_numpy(np.concatenate([pools[u] for u in split.users_train])))
    data = _RefinerData(corpus, config.usm, pools, where)
    known = tuple(sorted({*split.users_train, *split.users_validation}))
    train = data.pairs(split.users_train, split.images_train, split.users_train)
    validation = data.pairs(split.users_validation, split.images_validation, known)
    return _fit_refiner(
        _place(net, where), data, train, validation, config, rng, seed=seed, progress=progress, checkpoint=checkpoint
    )


def _fit_refiner(
    net: RefinerNet | MultiCnnNet,
    data: _RefinerData,
    train: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
    config: RefinerConfig,
    rng: np.random.Generator,
    *,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train on rows of `data`, stop on others, return the best weights."""
    where = data.where
    optimiser = torch.optim.SGD(
        net.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, config.halve_every, gamma=0.5)
    dtype = compute.autocast_dtype(where)
    course = _Course(net, optimiser, _Best(config.patience), rng, where, checkpoint or _nowhere(), schedule)
    course.resume()
    for epoch in range(course.done + 1, (course.done if course.over else config.epochs) + 1):
        net.train()
        order, losses = rng.permutation(len(train)), list[Tensor]()
        for a in range(0, len(order) - config.batch + 1, config.batch) or [0]:
            rows = train[order[a : a + config.batch]]
            own = distributed.share(len(rows))
            scene, embedding, target, _, _ = data.batch(rows[own], data.embeddings(rows, rng)[own])
            with torch.autocast(where.type, dtype, enabled=dtype is not None):
                maps = net(scene, embedding)
            loss = refiner_loss((maps[0].float(), maps[1].float(), maps[2].float()), target)
            loss = loss * (len(target) * distributed.world() / len(rows))  # a mean of processes is one of rows then
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            distributed.average_gradients(net)
            # A hard batch early on may send an unnormalised network off; 1 is far above the usual norm.
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            losses.append(loss.detach())
        schedule.step()
        loss = distributed.mean_over_all(torch.stack(losses).mean())
        row = {"epoch": epoch, "loss": float(loss), "seconds": course.seconds()}
        row |= _validate_refiner(net, data, validation, seed)
        course.history.append(row)
        go_on = course.best.offer(net, -row["validation_loss"], row)
        go_on = distributed.first_decides(go_on, where) and not course.out_of_time(config.minutes)
        text = f"loss {row['loss']:.3f}, validation CC {row['cc']:.3f} (universal map {row['cc_usm']:.3f})"
        progress(epoch, config.epochs, text)
        course.keep(epoch, over=not go_on or epoch == config.epochs)
        if not go_on:
            break
    return course.trained()


def train_multicnn(
    corpus: Corpus, split: Split, config: RefinerConfig, *, seed: int, where: torch.device, progress: Progress
) -> Trained:
    """Train the baseline MultiCNN: a network for each training user, on their training images alone.

    Settings are the refiner's, and so is the time: `minutes` are for all users together. Stopping is on the user's own
    validation images; users without any map there or in the training part get an untrained network, which is the
    universal map.
    """
    start, history = time.perf_counter(), list[dict[str, float]]()
    channels = 4 if corpus.images is not None else 1
    every = MultiCnn(len(split.users_train), channels, config.widths)
    share = config.model_copy(update={"minutes": config.minutes / len(split.users_train)})
    data = _RefinerData(corpus, config.usm, {u: np.zeros((1, 1), np.float32) for u in split.users_train}, where)
    all_train = data.pairs(split.users_train, split.images_train, split.users_train)
    all_validation = data.pairs(split.users_train, split.images_validation, split.users_train)
    for done, user in enumerate(split.users_train, 1):
        torch.manual_seed(seed)
        rng = np.random.default_rng([seed, 0x3C1, user])
        train, validation = (rows[rows[:, 0] == user] for rows in (all_train, all_validation))
        net: MultiCnnNet = every.nets[done - 1]  # type: ignore[assignment]
        if len(train) and len(validation):
            fitted = _fit_refiner(
                _place(net, where), data, train, validation, share, rng, seed=seed, progress=lambda *_: None
            )
            history += [{"user": user, **row} for row in fitted.history]
        progress(done, len(split.users_train), corpus.users[user])
    losses = [min(r["validation_loss"] for r in history if r["user"] == u) for u in {r["user"] for r in history}]
    best = {"validation_loss": float(np.mean(losses))} if losses else {}
    return Trained(every.eval(), history, best, time.perf_counter() - start)


class _RefinerData:
    """Maps, images and universal maps of a corpus on the device, gathered by (user, stimulus)."""

    def __init__(self, corpus: Corpus, usm: str, pools: dict[int, F32], where: torch.device) -> None:
        self.corpus, self.leave_one_out, self.where = corpus, usm == "leave_one_out", where
        self.maps = torch.from_numpy(corpus.maps).to(where)
        self.images = None if corpus.images is None else torch.from_numpy(corpus.images).to(where)
        self.pools = {u: torch.from_numpy(p).to(where) for u, p in pools.items()}
        self.usm: list[tuple[Tensor, Tensor]] = []

    def pairs(
        self, users: tuple[int, ...], stimuli: tuple[int, ...], reference: tuple[int, ...]
    ) -> npt.NDArray[np.int64]:
        """Rows (user, stimulus, which universal maps) of all pairs there are; universal maps over `reference`."""
        mean, count = self.corpus.usm(reference)
        self.usm.append((torch.from_numpy(mean).to(self.where), torch.from_numpy(count).to(self.where)))
        grid = [(u, s, len(self.usm) - 1) for u in users for s in stimuli if self.corpus.index[u, s] >= 0]
        return np.array(grid, np.int64).reshape(-1, 3)

    def embeddings(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """One embedding for each row, drawn from its user's pool."""
        return torch.stack([self.pools[int(u)][rng.integers(len(self.pools[int(u)]))] for u in rows[:, 0]])

    def batch(self, rows: npt.NDArray[np.int64], embedding: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scene, embedding, target Δ, PSM and USM of some rows."""
        stimuli = torch.from_numpy(rows[:, 1]).to(self.where)
        psm = self.maps[torch.from_numpy(self.corpus.index[rows[:, 0], rows[:, 1]]).to(self.where)].float()
        mean, count = self.usm[int(rows[0, 2])]
        usm = mean[stimuli]
        if self.leave_one_out:
            n = count[stimuli].float()[:, None, None]
            usm = torch.where(n > 1, ((n * usm - psm) / (n - 1).clamp(min=1)).clamp(min=0), usm)
        rgb = None if self.images is None else self.images[stimuli]
        return scene_input(rgb, usm), embedding, discrepancy_target(psm, usm), psm, usm


@torch.inference_mode()
def _validate_refiner(
    net: RefinerNet | MultiCnnNet, data: _RefinerData, rows: npt.NDArray[np.int64], seed: int
) -> dict[str, float]:
    """Loss of the final map and CC of refined and universal maps, on validation pairs, same draws each time."""
    net.eval()
    rng = np.random.default_rng([seed, 0x7A1])
    total = np.zeros(3)
    for a in range(0, len(rows), 64):
        part = rows[a : a + 64]
        scene, embedding, target, psm, usm = data.batch(part, data.embeddings(part, rng))
        delta = net(scene, embedding)[2]
        total[0] += float((delta - target).square().sum())
        total[1] += float(_correlation(refine(usm, delta), psm).sum())
        total[2] += float(_correlation(usm, psm).sum())
    loss, cc, cc_usm = total / max(len(rows), 1)
    return {"validation_loss": float(loss), "cc": float(cc), "cc_usm": float(cc_usm)}


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    x, y = a.flatten(1), b.flatten(1)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return torch.nn.functional.cosine_similarity(x, y, dim=1)


def train_universal(
    corpus: Corpus,
    split: Split,
    config: UniversalConfig,
    *,
    seed: int,
    where: torch.device,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train the built-in universal predictor on training images and users (AdamW, mirrored images)."""
    if corpus.images is None:
        msg = "the universal predictor needs images, and these stimuli have none."
        raise ConfigError(msg)
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0x4A1])
    net = _place(distributed.spread(UniversalNet()), where)
    images = torch.from_numpy(corpus.images).to(where)
    mean, count = corpus.usm(split.users_train)
    usm = torch.from_numpy(mean).to(where)
    seen = np.flatnonzero(count > 0)
    train = np.intersect1d(seen, split.images_train)
    validation = torch.from_numpy(np.intersect1d(seen, split.images_validation)).to(where)
    batch = min(16, len(train))
    total = config.epochs * (len(train) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=total)
    course = _Course(net, optimiser, _Best(config.epochs), rng, where, checkpoint or _nowhere(), schedule)
    course.resume()
    for epoch in range(course.done + 1, (course.done if course.over else config.epochs) + 1):
        net.train()
        order, losses = rng.permutation(train), list[Tensor]()
        for a in range(0, len(order) - batch + 1, batch):
            own = distributed.share(batch)
            rows = torch.from_numpy(order[a : a + batch][own]).to(where)
            shown, target = images[rows], usm[rows]
            if rng.random() < 0.5:
                shown, target = shown.flip(2), target.flip(2)
            loss = divergence(net(shown), target) * (len(rows) * distributed.world() / batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            distributed.average_gradients(net)
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        net.eval()
        with torch.inference_mode():
            value = float(divergence(net(images[validation]), usm[validation])) if len(validation) else float("nan")
        loss = distributed.mean_over_all(torch.stack(losses).mean())
        row = {"epoch": epoch, "loss": float(loss), "validation_kld": value, "seconds": course.seconds()}
        course.history.append(row)
        course.best.offer(net, -value if value == value else epoch, row)
        progress(epoch, config.epochs, f"loss {row['loss']:.3f}, validation KLD {value:.3f}")
        over = course.out_of_time(config.minutes) or epoch == config.epochs
        course.keep(epoch, over=over)
        if over:
            break
    return course.trained()
