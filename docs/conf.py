"""Sphinx configuration: the Markdown pages of this folder, the gallery of examples, the reference of the code.

Build with ``scripts/docs``. The pages are plain Markdown, which Git hosts show as well; what only the built
documentation needs (the order of the pages, drawings, formulas) is made here and in `_extensions`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

from pygments.lexers import TextLexer  # noqa: E402

from gazepipe import __version__, compute  # noqa: E402

compute.prepare()  # before the reference imports torch
os.environ.setdefault("MPLBACKEND", "agg")

project = "gazepipe"
author = "The gazepipe authors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "flowchart",
    "formulas",
    "signatures",
]
exclude_patterns = ["_build", "examples", "**/README.rst"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = True
templates_path = ["_templates"]

# ---- pages -----------------------------------------------------------------------------------------------------------

#: What stands in the sidebar; `index` itself says more about each in its table.
PAGES = {
    "Quick start": ["getting-started", "gallery/index", "python"],
    "Trackers and trials": ["eyelink", "csv", "pupil-labs", "screen-mapping", "trials", "data-sets"],
    "In the lab": ["live", "sources"],
    "Large studies": ["cluster", "gpu"],
    "Results of a study": ["report", "evaluation", "universal-maps", "export"],
    "Method": ["method", "fixations", "saliency-maps", "agreement"],
    "Figures": ["results", "benchmarks"],
    "Reference": ["cli", "configuration", "store-format", "api/index", "troubleshooting", "reliability"],
    "People": ["privacy"],
}


def add_pages(app: Any, name: str, content: list[str]) -> None:
    """Lead to the gallery instead of the scripts; add the order of the pages, which a Git host would show as code."""
    content[0] = content[0].replace("](examples)", "](gallery/index.rst)")
    if name == "index":
        for caption, pages in PAGES.items():
            content[0] += "\n".join(["\n\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def add_sidebar(app: Any, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the sidebar its groups: (page, title, whether it is or holds the page shown)."""

    def here(page: str) -> bool:
        return name == page or (page.endswith("/index") and name.startswith(page.removesuffix("index")))

    titles = app.env.titles
    context["groups"] = {c: [(p, titles[p].astext(), here(p)) for p in pages] for c, pages in PAGES.items()}


myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_allow_space = False  # `$ gazepipe …` in a sentence is no formula
html_math_renderer = "drawn"
highlight_language = "text"

# ---- reference -------------------------------------------------------------------------------------------------------

#: In docstrings, `name` is code, and a link where there is something of that name.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_param = False  # "x, y" stay together, as they are written
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

napoleon_attr_annotations = False

# ---- examples --------------------------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # its page would load scripts from elsewhere
    "show_signature": False,
    "thumbnail_size": (400, 260),
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib", "figures"),
    "matplotlib_animations": False,
    "reset_modules": (),
    "abort_on_example_error": False,
    "only_warn_on_example_error": True,
    "min_reported_time": 1,
    "capture_repr": (),
}

# ---- HTML ------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"gazepipe {release}"
html_static_path = ["_static"]
html_css_files = ["gazepipe.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"**": ["pages.html"]}
html_theme_options = {
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-field", "theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app: Any) -> None:
    """Tell Sphinx what it has no name for."""
    app.connect("source-read", add_pages)
    app.connect("html-page-context", add_sidebar)
    for name in ("asc", "csv", "tsv"):  # recordings and tables, shown as they are
        app.add_lexer(name, TextLexer)
