"""Formulas of the pages as SVG, drawn by matplotlib while the documentation is built: no script, no network, no LaTeX.

The text of the formula stands beside the drawing for those who cannot see it.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath

_FONT = FontProperties(family="DejaVu Serif", math_fontfamily="stix")
_SIZE = 19.0
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def _known(formula: str) -> str:
    """What matplotlib calls otherwise, or would set too tightly in a formula that stands alone."""
    text = re.sub(r"\\big[lr]?(?=[(\[)\]])", "", formula).replace(r"\frac", r"\dfrac")
    return re.sub(r"\\sum(?:[_^](?:\{[^}]*\}|\w))*", lambda match: rf"{match[0]}\,", text)


def svg(formula: str) -> str:
    """Draw a formula of one line, in the colour of the text around it.

    Raises
    ------
    ValueError
        If matplotlib does not know a command in it.
    """
    plain = re.sub(r"\s+", " ", formula).strip()
    path = TextPath((0, 0), f"${_known(plain)}$", size=_SIZE, prop=_FONT)
    box = path.get_extents()
    drawn = [
        _LETTERS[code] + ("" if code == Path.CLOSEPOLY else " ".join(f"{v:.2f}" for v in values))
        for values, code in path.iter_segments(curves=True, simplify=False)
    ]
    # Letters stand on y = 0 and rise upwards; in SVG y goes down.
    view = f"{box.x0 - 1:.1f} {-box.y1 - 1:.1f} {box.width + 2:.1f} {box.height + 2:.1f}"
    return (
        f'<svg class="formula" role="img" aria-label="{escape(plain)}" viewBox="{view}" width="{box.width + 2:.0f}" '
        f'height="{box.height + 2:.0f}" style="vertical-align: {box.y0 - 1:.1f}px" '
        'xmlns="http://www.w3.org/2000/svg">'
        f'<path fill="currentColor" transform="scale(1 -1)" d="{"".join(drawn)}"/></svg>'
    )


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(svg(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    # A line that ends in \qquad is continued below where the page is narrow.
    parts = [part for part in re.split(r"\\qquad", node.astext()) if part.strip()]
    drawn = " ".join(svg(part.strip()) for part in parts)
    translator.body.append(f'<div class="formulas">{drawn}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of it."""
    app.add_html_math_renderer("drawn", (_inline, None), (_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
