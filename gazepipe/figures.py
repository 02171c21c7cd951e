"""Pictures: a saliency map over its image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gazepipe.errors import StorageError

__all__ = ["overlay", "overlay_png"]

U8 = npt.NDArray[np.uint8]

# Control colours of a perceptually ordered scale from dark violet to yellow; lightness rises all the way, so that it
# also reads in grey and for colour-blind readers.
_STOPS = np.array(
    [
        [0, 0, 4],
        [40, 11, 84],
        [101, 21, 110],
        [159, 42, 99],
        [212, 72, 66],
        [245, 125, 21],
        [250, 193, 39],
        [252, 255, 164],
    ],
    np.float64,
)


def _colours(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    at = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(values, at, _STOPS[:, c]) for c in range(3)], axis=-1)


def overlay(image: U8, saliency: npt.ArrayLike, *, strength: float = 0.75) -> U8:
    """Lay a saliency map over an image.

    Salient places are coloured, the rest is the image in grey; opacity follows the map.

    Parameters
    ----------
    image
        ``(H, W, 3)`` RGB.
    saliency
        Map of any size, not negative.
    strength
        Opacity at the map's maximum.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)`` RGB.
    """
    import cv2

    height, width = image.shape[:2]
    resized = cv2.resize(np.asarray(saliency, np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    values = np.clip(np.asarray(resized, np.float64), 0, None)
    values = values / max(float(values.max()), 1e-12)
    grey = image.astype(np.float64).mean(2, keepdims=True).repeat(3, axis=2) * 0.6 + image * 0.4
    opacity = (strength * values**0.8)[..., None]
    blended = grey * (1 - opacity) + _colours(values) * opacity
    result: U8 = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
    return result


def overlay_png(image: U8, saliency: npt.ArrayLike) -> bytes:
    """`overlay` as the bytes of a PNG file."""
    import cv2

    done, data = cv2.imencode(".png", overlay(image, saliency)[..., ::-1])
    if not done:
        msg = "the picture could not be encoded as PNG."
        raise StorageError(msg)
    return bytes(data)
