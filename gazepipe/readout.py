"""The universal predictor on a backbone: frozen ImageNet features, and a small readout trained on people's looks.

As in DeepGaze II, only what stands after the features is trained: 1 × 1 convolutions, here with one filter in space, a
Gaussian of learned width and a learned prior of place (people look at the centre). Features of all images are made once
and kept in memory, so that a pass over the images costs seconds.

Kümmerer, M., Wallis, T. S. A., Gatys, L. A., & Bethge, M. (2017). Understanding low- and high-level contributions to
fixation prediction. *ICCV*, 4789–4798.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.backbone import CHANNELS, EfficientNetLite0, load_backbone
from gazepipe.config import UniversalConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.training import Progress, Trained
from gazepipe.universal import divergence, enlarged

__all__ = ["Features", "ReadoutNet", "input_size", "train_readout"]

U8 = npt.NDArray[np.uint8]
#: Reads images of the corpus (indices) at the network's input size, ``(n, H, W, 3)`` uint8.
Pixels = Callable[[npt.NDArray[np.int64]], U8]
#: Image of the corpus → its features, each ``(c, h, w)`` float16.
Features = dict[int, tuple[Tensor, ...]]
_REACH = 4  # cells that the Gaussian reaches, at most


def input_size(map_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which the backbone sees images: four times the map's, in whole cells of stride 32."""
    height, width = (max(round(4 * n / 32), 1) * 32 for n in map_size)
    return height, width


class ReadoutNet(nn.Module):
    """Backbone and readout; the output is a density on a grid of one sixteenth of the input, 30 × 40 for 480 × 640.

    Parameters
    ----------
    size
        Height and width of the images it takes, multiples of 32.
    width, hidden, dropout
        Channels that each feature is brought to, channels after that, share of channels left out in training.
    """

    def __init__(self, size: Sequence[int], width: int = 32, hidden: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.backbone = EfficientNetLite0().requires_grad_(False)
        self.norms = nn.ModuleList(nn.GroupNorm(1, c) for c in CHANNELS)
        self.bring = nn.ModuleList(nn.Conv2d(c, width, 1) for c in CHANNELS)
        self.mix = nn.Sequential(
            nn.Dropout2d(dropout),
            nn.Conv2d(width * len(CHANNELS), hidden, 1),
            nn.GroupNorm(1, hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden),
            nn.Conv2d(hidden, hidden, 1),
            nn.GELU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(hidden, 1, 1),
        )
        self.prior = nn.Parameter(torch.zeros(1, 1, 8, 10))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images ``(n, H, W, 3)`` uint8 → what the readout reads: the finest features at stride 16 like the next."""
        taps = list(self.backbone(images))
        taps[0] = F.adaptive_avg_pool2d(taps[0], taps[1].shape[-2:])
        # Channels come first again: the gradient of a group norm over channels that come last crashes torch 2.13.
        return tuple(x.contiguous() for x in taps)

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Features → log-densities ``(n, h, w)`` (their exponentials sum to one)."""
        grid = features[0].shape[-2:]
        parts = []
        for x, norm, bring in zip(features, self.norms, self.bring, strict=True):
            y = bring(norm(x.float()))
            parts.append(y if y.shape[-2:] == grid else F.interpolate(y, grid, mode="bilinear", align_corners=False))
        x = self._blur(self.mix(torch.cat(parts, 1)))
        x = x + F.interpolate(self.prior, grid, mode="bicubic", align_corners=False)
        return torch.log_softmax(x.flatten(1), 1).view(-1, *grid)

    def _blur(self, x: Tensor) -> Tensor:
        at = torch.arange(-_REACH, _REACH + 1, device=x.device)
        kernel = torch.softmax(-(at**2) / (2 * self.log_sigma.exp() ** 2), 0)
        x = F.conv2d(F.pad(x, (_REACH,) * 4, mode="replicate"), kernel.view(1, 1, 1, -1))
        return F.conv2d(x, kernel.view(1, 1, -1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(n, H, W, 3)`` uint8 → log-densities ``(n, H / 16, W / 16)``."""
        return self.read(self.features(images))

    def predict(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Universal maps with maximum one, ``(n, *size)``."""
        return enlarged(self(images), size)


def train_readout(
    corpus: Corpus,
    split: Split,
    pixels: Pixels,
    config: UniversalConfig,
    *,
    trained_elsewhere: ReadoutNet | None = None,
    kept: Features | None = None,
    seed: int,
    where: torch.device,
    progress: Progress,
) -> Trained:
    """Train the readout on training images and users (AdamW, mirrored features, best validation kept).

    Parameters
    ----------
    pixels
        Reads images by index, at `input_size` of the maps or, for fine-tuning, at the network's size.
    trained_elsewhere
        The network to fine-tune, at a quarter of the learning rate so that little is forgotten; None: a new readout on
        the installed backbone.
    kept
        Features of images of this corpus by the same backbone, made before; those made now are put there, too.
    """
    start = time.perf_counter()
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 0x4A1])
    if trained_elsewhere is None:
        net, highest = ReadoutNet(input_size(corpus.size)), config.learning_rate
        net.backbone = load_backbone()
    else:
        net, highest = trained_elsewhere, config.learning_rate / 4
    net = net.to(where)
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, count = corpus.usm(split.users_train)
    seen = np.flatnonzero(count > 0)
    train, validation = np.intersect1d(seen, split.images_train), np.intersect1d(seen, split.images_validation)
    rows = np.concatenate([train, validation])
    # The cache is on the processor's side: a gather of 16 images is small, all features of a large study are not.
    features_of: Features = {} if kept is None else kept
    missing = np.array([i for i in rows if int(i) not in features_of], np.int64)
    for a in range(0, len(missing), 8):
        shown = torch.from_numpy(pixels(missing[a : a + 8])).to(where)
        made = zip(*(x.half().cpu() for x in net.features(shown)), strict=True)
        features_of.update(zip(missing[a : a + 8].tolist(), made, strict=True))
        progress(0, config.readout_epochs, f"features of {min(a + 8, len(missing))} of {len(missing)} images")
    cached = [torch.stack(taps) for taps in zip(*(features_of[int(i)] for i in rows), strict=True)]
    usm = torch.from_numpy(mean[rows])

    def batch(of: npt.NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        return [x[of].to(where) for x in cached], usm[of].to(where)

    size = min(16, len(train))
    total = config.readout_epochs * (len(train) // size)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=highest, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, highest, total_steps=total)
    history, best, least, weights = list[dict[str, float]](), dict[str, float](), float("inf"), net.state_dict()
    for epoch in range(1, config.readout_epochs + 1):
        net.train()
        order, losses = rng.permutation(len(train)), list[Tensor]()
        for a in range(0, len(order) - size + 1, size):
            features, target = batch(order[a : a + size])
            if rng.random() < 0.5:  # features of the mirrored image are nearly the mirrored features
                features, target = [x.flip(3) for x in features], target.flip(2)
            loss = divergence(net.read(features), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        net.eval()
        value = _validation(net, batch, len(train), len(rows))
        row = {"epoch": epoch, "loss": float(torch.stack(losses).mean()), "validation_kld": value}
        row["seconds"] = time.perf_counter() - start
        history.append(row)
        if value < least or value != value:  # without validation images the last pass counts
            best, least = row, value
            weights = {k: v.detach().clone() for k, v in net.state_dict().items()}
        progress(epoch, config.readout_epochs, f"loss {row['loss']:.3f}, validation KLD {value:.3f}")
        if config.minutes > 0 and row["seconds"] > 60 * config.minutes:
            break
    net.load_state_dict(weights)
    return Trained(net.eval(), history, best, time.perf_counter() - start)


@torch.inference_mode()
def _validation(
    net: ReadoutNet, batch: Callable[[npt.NDArray[np.int64]], tuple[list[Tensor], Tensor]], first: int, end: int
) -> float:
    total = 0.0
    for a in range(first, end, 16):
        rows = np.arange(a, min(a + 16, end))
        features, target = batch(rows)
        total += float(divergence(net.read(features), target)) * len(rows)
    return total / (end - first) if end > first else float("nan")
