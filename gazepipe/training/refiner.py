"""The training loop of the refiner, and of the baseline MultiCNN, which is a refiner for each user."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gazepipe import compute, distributed
from gazepipe.checkpoint import Checkpoint
from gazepipe.corpus import Corpus, Split
from gazepipe.refiner import MultiCnn, MultiCnnNet, RefinerNet, discrepancy_target, refine, refiner_loss, scene_input
from gazepipe.training.course import Best, Course, Progress, Trained, no_checkpoint, on_device

if TYPE_CHECKING:
    from gazepipe.config import RefinerConfig

F32 = npt.NDArray[np.float32]


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
        on_device(net, where), data, train, validation, config, rng, seed=seed, progress=progress, checkpoint=checkpoint
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
    course = Course(net, optimiser, Best(config.patience), rng, where, checkpoint or no_checkpoint(), schedule)
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
    torch.manual_seed(seed)
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
                on_device(net, where), data, train, validation, share, rng, seed=seed, progress=lambda *_: None
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
