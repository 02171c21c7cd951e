"""Figures of the examples that pyplot does not know of, such as those that gazepipe returns, for sphinx-gallery."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_shown: WeakSet[Figure] = WeakSet()


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that a block of an example has made, each once, and return the text that shows them."""
    paths = []
    for value in block_vars["example_globals"].values():
        # Those of pyplot have a number, and are taken care of already.
        if isinstance(value, Figure) and not hasattr(value, "number") and value not in _shown:
            _shown.add(value)
            path = next(block_vars["image_path_iterator"])
            value.savefig(path)
            paths.append(path)
    return str(figure_rst(paths, gallery_conf["src_dir"]))


def _get_sg_image_scraper() -> Any:
    return scrape
