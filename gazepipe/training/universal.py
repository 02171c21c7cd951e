"""The training loop of the universal predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gazepipe import distributed
from gazepipe.checkpoint import Checkpoint
from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError
from gazepipe.training.course import Best, Course, Progress, Trained, no_checkpoint, on_device
from gazepipe.universal import UniversalNet, divergence

if TYPE_CHECKING:
    from gazepipe.config import UniversalConfig


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
    net = on_device(distributed.spread(UniversalNet()), where)
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
    course = Course(net, optimiser, Best(config.epochs), rng, where, checkpoint or no_checkpoint(), schedule)
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
