"""EfficientNet-Lite0: shapes, padding and folding by hand; the real weights on a photograph against known values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gazepipe import backbone
from gazepipe.backbone import CHANNELS, EfficientNetLite0, installed_weights, load_backbone
from gazepipe.errors import ConfigError
from gazepipe.images import read_rgb


@pytest.fixture(scope="module")
def pretrained() -> EfficientNetLite0:
    if installed_weights() is None:
        pytest.skip("the extra `backbone` is not installed")
    return load_backbone()


def random_weights() -> dict[str, torch.Tensor]:
    """Weights under the package's names: those our table of stages asks for, batch norms of known effect."""
    torch.manual_seed(0)
    found: dict[str, torch.Tensor] = {}

    def add(conv: str, norm: str, *shape: int) -> None:
        found[f"{conv}.weight"] = torch.randn(shape)
        found.update({f"{norm}.{k}": torch.full((shape[0],), v) for k, v in NORM.items()})
        found[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    # (before, after, kernel, expansion) of all sixteen blocks, as published.
    blocks = [(32, 16, 3, 1), (16, 24, 3, 6), (24, 24, 3, 6), (24, 40, 5, 6), (40, 40, 5, 6), (40, 80, 3, 6)]
    blocks += [(80, 80, 3, 6)] * 2 + [(80, 112, 5, 6)] + [(112, 112, 5, 6)] * 2 + [(112, 192, 5, 6)]
    blocks += [(192, 192, 5, 6)] * 3 + [(192, 320, 3, 6)]
    for i, (before, after, kernel, expansion) in enumerate(blocks):
        wide = before * expansion
        if expansion > 1:
            add(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", wide, before, 1, 1)
        add(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", wide, 1, kernel, kernel)
        add(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", after, wide, 1, 1)
    return found


NORM = {"weight": 2.0, "bias": 0.5, "running_mean": 3.0, "running_var": 15.999}


def test_batch_norms_become_weights_and_biases() -> None:
    weights = random_weights()
    folded = backbone._folded(weights)
    # y = (w·x − 3) / √(15.999 + 0.001) · 2 + 0.5 = w·x / 2 − 1
    torch.testing.assert_close(folded["stem.weight"], weights["_conv_stem.weight"] / 2)
    torch.testing.assert_close(folded["stages.6.0.project.bias"], torch.full((320,), -1.0))
    EfficientNetLite0().load_state_dict(folded)  # strictly: every name and shape


def test_weights_that_are_too_many_or_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match=r"belong nowhere: _blocks\.99\._expand_conv\.weight"):
        backbone._folded(random_weights() | {"_blocks.99._expand_conv.weight": torch.zeros(1)})
    few = random_weights()
    del few["_blocks.3._project_conv.weight"]
    with pytest.raises(KeyError, match="_project_conv"):
        backbone._folded(few)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 130)])
def test_features_have_the_image_s_size_over_the_stride_rounded_up(height: int, width: int) -> None:
    with torch.inference_mode():
        taps = EfficientNetLite0()(torch.zeros(2, height, width, 3, dtype=torch.uint8))
    for x, channels, stride in zip(taps, CHANNELS, (8, 16, 16, 32, 32), strict=True):
        assert x.shape == (2, channels, -(-height // stride), -(-width // stride))


def test_padding_is_tensorflow_s() -> None:
    """Stride 2, kernel 3, four cells: one cell of padding, below and to the right, the first window is whole."""
    conv = backbone._Conv(1, 1, 3, 2, linear=True)
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    x = torch.arange(16.0).view(1, 1, 4, 4)
    out = conv(x)[0, 0].tolist()
    assert out == [[45, 39], [66, 50]]  # 0+1+2+4+5+6+8+9+10; 2+3+6+7+10+11; 8+9+10+12+13+14; 10+11+14+15


def test_a_file_of_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pth").write_bytes(b"something else")
    with pytest.raises(ConfigError, match=r"x\.pth: not the weights that gazepipe knows"):
        load_backbone(tmp_path / "x.pth")
    monkeypatch.setattr(backbone, "PACKAGE", "there_is_no_such_package")
    with pytest.raises(ConfigError, match=r"install gazepipe\[backbone\]"):
        load_backbone()


def test_activations_on_a_photograph(pretrained: EfficientNetLite0, data_dir: Path) -> None:
    """Means and standard deviations of the features that the package's own network computes (float32)."""
    image = read_rgb(data_dir / "osie" / "stimuli" / "1001.jpg", (224, 224))
    with torch.inference_mode():
        taps = pretrained(torch.from_numpy(image[None]))
    found = np.array([[float(x.mean()), float(x.std())] for x in taps])
    np.testing.assert_allclose(found, KNOWN, rtol=2e-4, atol=1e-4)


#: From efficientnet-lite-pytorch 0.1.0 with (image − 127) / 128 as input, blocks 4, 7, 10, 14 and 15.
KNOWN = [[-0.11276, 8.13029], [-0.21314, 7.30257], [0.49589, 7.25143], [0.0461, 8.0647], [-0.1535, 3.08213]]
