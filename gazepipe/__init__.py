"""gazepipe: from raw gaze to a person's embedding and personal saliency maps.

What stands here is loaded when it is first used, so that ``import gazepipe`` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gazepipe.kernel_cache import choose_kernel_cache

# OpenCV reads its limit when it is imported, whoever imports it first; `gazepipe.images` has the same.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "50000000")
choose_kernel_cache()

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gazepipe.enrol import load_gallery
    from gazepipe.errors import GazepipeError
    from gazepipe.notebook import read
    from gazepipe.predictor import Predictor
    from gazepipe.recognition import identify, verify
    from gazepipe.study import Study

__all__ = ["GazepipeError", "Predictor", "Study", "__version__", "identify", "load_gallery", "read", "verify"]

_WHERE = {
    "GazepipeError": "errors",
    "Predictor": "predictor",
    "Study": "study",
    "identify": "recognition",
    "load_gallery": "enrol",
    "read": "notebook",
    "verify": "recognition",
}

#: Modules of functions of arrays, and of drawing, that need no `import` of their own.
_MODULES = ("config", "events", "geometry", "images", "live", "markers", "metrics", "plotting", "saliency")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"gazepipe.{name}")
    if name in _WHERE:
        value = getattr(import_module(f"gazepipe.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    msg = f"module 'gazepipe' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
