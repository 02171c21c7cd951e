"""The personalised saliency network of Strohm, Bâce & Bulling (2024), section 3.2 and Figure 3.

Input is the image with the universal saliency map as fourth channel, and a user embedding. Convolutions extract
image–saliency features; linear layers turn the embedding into convolution kernels, which are convolved over those
features; further convolutions end in the discrepancy map Δ of 15 × 20 cells in [−1, 1]. Two projections on the way
give intermediate maps, so that three predictions are supervised. ``PSM = USM + Δ``.

Layer widths are our choice (the paper gives none). Where no image has pixels the USM is the only channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DELTA_SIZE", "MultiCnn", "MultiCnnNet", "RefinerNet", "discrepancy_target", "refine", "refiner_loss"]

#: Height and width of the discrepancy map.
DELTA_SIZE = (15, 20)


def _block(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, kernel // 2), nn.ReLU(inplace=True))


def _at_delta_size(features: Tensor) -> Tensor:
    """What a trunk gives ``(n, c, H/8, W/8)`` → ``(n, c, 15, 20)``."""
    return features if features.shape[-2:] == DELTA_SIZE else F.adaptive_avg_pool2d(features, DELTA_SIZE)


class RefinerNet(nn.Module):
    """Universal map and user embedding → three discrepancy maps.

    Parameters
    ----------
    channels
        4 for image + USM, 1 for the USM alone.
    dimension
        Length of the user embedding.
    widths
        Channels of the trunk at a half, a quarter and an eighth of the input's size.
    personal
        Channels that the personal kernels (3 × 3) act on.
    """

    embedding_mean: Tensor
    embedding_scale: Tensor

    def __init__(
        self,
        channels: int = 4,
        dimension: int = 32,
        widths: tuple[int, int, int] = (32, 64, 128),
        personal: int = 32,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        a, b, c = widths
        self.channels, self.dimension, self.personal = channels, dimension, personal
        self.trunk = nn.Sequential(
            _block(channels, a, 5, 2), _block(a, a), _block(a, b, 3, 2), _block(b, b), _block(b, c, 3, 2), _block(c, c)
        )
        self.reduce = nn.Conv2d(c, personal, 1)
        self.hyper = nn.Sequential(
            nn.Linear(dimension, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, personal * personal * 9)
        )
        # Embeddings of different people lie close together on the sphere (the margin is 0.05), so they are centred and
        # scaled by what training users' embeddings show; `standardise` sets these.
        self.register_buffer("embedding_mean", torch.zeros(dimension))
        self.register_buffer("embedding_scale", torch.ones(1))
        self.tail1, self.tail2, self.tail3 = _block(c + personal, c), _block(c, c), _block(c, c)
        self.project = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for _ in range(3))
        self._initialise()

    def _initialise(self) -> None:
        """Start at Δ ≈ 0, that is at the universal map, with personal kernels of unit gain."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for projection in self.project:
            nn.init.normal_(projection.weight, std=1e-3)  # type: ignore[arg-type]
        last: nn.Linear = self.hyper[-1]  # type: ignore[assignment]
        # Kaiming scale for the kernels made: half of their variance is common to all people, half is personal.
        fan_in = self.personal * 9
        nn.init.normal_(last.weight, std=(1 / fan_in / (last.in_features / 2)) ** 0.5)
        nn.init.normal_(last.bias, std=(1 / fan_in) ** 0.5)

    def standardise(self, embeddings: Tensor) -> None:
        """Take mean and overall scale of user embeddings from training users' ``(n, dimension)``."""
        self.embedding_mean = embeddings.mean(0)
        self.embedding_scale = (embeddings - self.embedding_mean).square().mean().sqrt().clamp(min=1e-4).view(1)

    def kernels(self, embedding: Tensor) -> Tensor:
        """Personal convolution kernels, ``(n, dimension)`` → ``(n, personal · personal · 9)``."""
        made: Tensor = self.hyper((embedding - self.embedding_mean) / self.embedding_scale)
        return made

    def forward(self, scene: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Discrepancy maps of n scene–user pairs.

        Parameters
        ----------
        scene
            Image and USM, ``(n, channels, H, W)``.
        embedding
            ``(n, dimension)``.

        Returns
        -------
        tuple
            Two intermediate maps and the final one, each ``(n, 15, 20)`` in [−1, 1].
        """
        features = self.features(scene)  # (n, c, 15, 20)
        return self.personalise(features, self.reduce(features), self.kernels(embedding))

    def features(self, scene: Tensor) -> Tensor:
        """Trunk's output at the discrepancy map's size, ``(n, channels, H, W)`` → ``(n, c, 15, 20)``.

        Maps of 120 × 160 leave the trunk at that size; of others, each cell is the mean of those that it covers.
        """
        return _at_delta_size(self.trunk(scene))

    def personalise(self, features: Tensor, reduced: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Personal half of the network, from the trunk's output; one kernel set a row."""
        n, p, (height, width) = len(kernels), self.personal, features.shape[-2:]
        # A convolution with other kernels in each row is a grouped one over all rows side by side.
        own = F.conv2d(
            reduced.reshape(1, n * p, height, width), kernels.reshape(n * p, p, 3, 3), padding=1, groups=n
        ).view(n, p, height, width)
        first = self.tail1(torch.cat([features, F.relu(own)], 1))  # (n, c, 15, 20)
        second = self.tail2(first)
        third = self.tail3(second)
        maps = [torch.tanh(head(x).squeeze(1)) for head, x in zip(self.project, (first, second, third), strict=True)]
        return maps[0], maps[1], maps[2]

    def for_users(self, scene: Tensor, embeddings: Tensor) -> Tensor:
        """Final discrepancy maps of one scene for many users; the trunk runs once.

        ``(1, channels, H, W)`` and ``(users, dimension)`` → ``(users, 15, 20)``.
        """
        features = self.features(scene)
        users = len(embeddings)
        reduced = self.reduce(features).expand(users, -1, -1, -1)
        return self.personalise(features.expand(users, -1, -1, -1), reduced, self.kernels(embeddings))[2]


class MultiCnnNet(nn.Module):
    """The refiner without the embedding path: one person's network, which knows them only from training on them."""

    def __init__(self, channels: int = 4, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        a, b, c = widths
        self.channels = channels
        self.trunk = nn.Sequential(
            _block(channels, a, 5, 2), _block(a, a), _block(a, b, 3, 2), _block(b, b), _block(b, c, 3, 2), _block(c, c)
        )
        self.tails = nn.ModuleList(_block(c, c) for _ in range(3))
        self.project = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for _ in range(3))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for projection in self.project:
            nn.init.normal_(projection.weight, std=1e-3)  # type: ignore[arg-type]

    def forward(self, scene: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Discrepancy maps ``(n, 15, 20)``, two intermediate and the final one; an embedding is not looked at."""
        features, maps = _at_delta_size(self.trunk(scene)), []  # (n, c, 15, 20)
        for tail, head in zip(self.tails, self.project, strict=True):
            features = tail(features)
            maps.append(torch.tanh(head(features).squeeze(1)))
        return maps[0], maps[1], maps[2]


class MultiCnn(nn.Module):
    """A `MultiCnnNet` for each training user, in the split's order."""

    def __init__(self, users: int, channels: int = 4, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        self.channels = channels
        self.nets = nn.ModuleList(MultiCnnNet(channels, widths) for _ in range(users))


def scene_input(rgb: Tensor | None, usm: Tensor) -> Tensor:
    """Image ``(n, H, W, 3)`` uint8 or None, and USM ``(n, H, W)`` → ``(n, 4 or 1, H, W)``."""
    planes = usm.float()[..., None]
    if rgb is not None:
        planes = torch.cat([rgb.float() / 255, planes], dim=-1)
    return planes.permute(0, 3, 1, 2)


def discrepancy_target(psm: Tensor, usm: Tensor) -> Tensor:
    """``Δ = PSM − USM`` averaged over the cells of the 15 × 20 grid; ``(n, H, W)`` → ``(n, 15, 20)``."""
    return F.adaptive_avg_pool2d((psm.float() - usm.float())[:, None], DELTA_SIZE)[:, 0]


def refiner_loss(maps: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    """``Σ_k ‖N_k − Δ‖²`` over the three maps (squared error summed over cells), mean over the batch."""
    return torch.stack([(m - target).square().sum((1, 2)) for m in maps]).sum(0).mean()


def refine(usm: Tensor, delta: Tensor, combine: str = "add") -> Tensor:
    """Personal maps from universal ones and discrepancy maps; Δ is enlarged bilinearly to the map's size.

    ``"add"``, the paper's: ``PSM = max(USM + Δ, 0)``. ``"gated"``: ``PSM = max(USM + g·Δ, USM / 5)`` with
    ``g = USM / (USM + 0.05)``. Δ is so coarse that enlarging it spills into places where nobody looks; there a little
    mass costs much in SIM and a zero costs much in KLD, so that ours lets Δ act where the universal map has mass and
    never takes more than four fifths away.

    Parameters
    ----------
    usm
        ``(n, H, W)``, maximum about one.
    delta
        ``(n, 15, 20)``.
    combine
        ``"add"`` or ``"gated"``.

    Returns
    -------
    torch.Tensor
        ``(n, H, W)``, not negative.
    """
    usm = usm.float()
    enlarged = F.interpolate(delta[:, None].float(), usm.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    if combine == "add":
        return (usm + enlarged).clamp(min=0)
    if combine != "gated":
        msg = f"combine is {combine!r}; expected 'add' or 'gated'"
        raise ValueError(msg)
    return torch.maximum(usm + enlarged * usm / (usm + 0.05), usm / 5)
