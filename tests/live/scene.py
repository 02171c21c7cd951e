from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gazepipe.live.source import SceneFrame

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


@dataclass
class HalfSize:
    """A mapper: the screen of 800 × 600 px fills the scene camera's picture of 1600 × 1200."""

    def see(self, frame: SceneFrame) -> int:
        return 4

    def to_screen(self, device_ns: I64, x_px: F32, y_px: F32) -> tuple[F32, F32, npt.NDArray[np.uint8]]:
        return x_px / 2, y_px / 2, np.zeros(x_px.shape, np.uint8)
