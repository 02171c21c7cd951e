"""Flow charts of the pages as SVG, drawn while the documentation is built: no script of a browser, no network.

A page has a chart as a code block of Mermaid, which Git hosts draw by themselves. Of its language these pages use nodes
(``A["text<br>second line"]``) and arrows (``A --> B``, ``A -- text --> B``, chains of them), and so much is understood.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from html import escape, unescape
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform

_NODE = re.compile(r'(?P<name>\w+)(?:\["(?P<text>[^"]*)"\])?')
_ARROW = re.compile(r"\s*--(?:\s+(?P<text>.+?)\s+--)?>\s*")

_LINE, _LETTER, _PAD = 17.0, 7.1, 14.0  # px: height of a line, width of a letter, around the text of a node
_GAP_X, _GAP_Y = 26.0, 54.0


@dataclass
class Chart:
    """Nodes with their lines of text, and arrows with a text each, in the order in which they stand."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, match: re.Match[str]) -> str:
        """Take in a node, whose text may come now or later."""
        name = match["name"]
        if match["text"] is not None or name not in self.texts:
            self.texts[name] = unescape(match["text"] or name).split("<br>")
        return name


def parse(source: str) -> Chart:
    """Read a chart.

    Raises
    ------
    ValueError
        If a line is not understood.
    """
    chart = Chart()
    first, *lines = [line.strip() for line in source.strip().splitlines()]
    if first != "flowchart TD":
        msg = f"a chart begins with {first!r}; expected 'flowchart TD'"
        raise ValueError(msg)
    for line in filter(None, lines):
        node = _NODE.match(line)
        at, last = (node.end(), chart.add(node)) if node else (0, "")
        while node and at < len(line):
            arrow = _ARROW.match(line, at)
            node = _NODE.match(line, arrow.end()) if arrow else None
            if arrow and node:
                chart.arrows.append((last, chart.add(node), arrow["text"] or ""))
                at, last = node.end(), node["name"]
        if not node:
            msg = f"{line!r} in a chart is not understood; expected nodes and arrows"
            raise ValueError(msg)
    return chart


def svg(source: str) -> str:
    """Draw a chart: every node below all that lead to it; colours are the page's, light or dark."""
    chart = parse(source)
    rows, ways = _rows(chart)
    size = {n: (_width(lines), len(lines) * _LINE + _PAD) for n, lines in chart.texts.items()}
    size |= {n: (10.0, 0.0) for row in rows for n in row if n not in size}
    wide = [sum(size[n][0] for n in row) + _GAP_X * (len(row) + 1) for row in rows]
    place: dict[str, tuple[float, float]] = {}
    top = 4.0
    for row, width in zip(rows, wide, strict=True):
        height = max(size[n][1] for n in row)
        x = (max(wide) - width) / 2 + _GAP_X
        for name in row:
            place[name] = x + size[name][0] / 2, top + height / 2
            x += size[name][0] + _GAP_X
        top += height + _GAP_Y
    width, height = max(wide), top - _GAP_Y + 4
    about = "; ".join(f"{' '.join(chart.texts[a])} → {' '.join(chart.texts[b])}" for a, b, _ in chart.arrows)
    lines = [
        f'<svg class="flowchart" role="img" aria-label="{escape(about)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" xmlns="http://www.w3.org/2000/svg"><defs><marker id="arrow" viewBox="0 0 8 8" refX="8" '
        'refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>'
    ]
    labels = []
    for way, text in ways:
        points = [(place[way[0]][0], place[way[0]][1] + size[way[0]][1] / 2), *(place[n] for n in way[1:-1])]
        points.append((place[way[-1]][0], place[way[-1]][1] - size[way[-1]][1] / 2))
        lines.append(f'<path class="way" d="{_curve(points)}" marker-end="url(#arrow)"/>')
        if text:
            (x1, y1), (x2, y2) = points[:2]
            labels.append(_text((x1 + x2) / 2, (y1 + y2) / 2, [text], "label"))
    lines += labels
    for name, texts in chart.texts.items():
        (x, y), (w, h) = place[name], size[name]
        lines.append(f'<rect x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}" rx="6"/>')
        lines.append(_text(x, y, texts, "node"))
    return "\n".join([*lines, "</svg>"])


def _width(lines: list[str]) -> float:
    return max(map(len, lines)) * _LETTER + 2 * _PAD


def _rows(chart: Chart) -> tuple[list[list[str]], list[tuple[list[str], str]]]:
    """Names row by row, and the way of each arrow, which passes rows between its ends by names of its own."""
    level = dict.fromkeys(chart.texts, 0)
    for _ in chart.texts:  # the longest way from the top, however arrows are ordered
        for a, b, _text in chart.arrows:
            level[b] = max(level[b], level[a] + 1)
    for name in chart.texts:  # what nothing leads to stands right above what it leads to
        if name not in {b for _, b, _ in chart.arrows}:
            level[name] = min((level[b] for a, b, _ in chart.arrows if a == name), default=1) - 1
    ways = []
    for number, (a, b, text) in enumerate(chart.arrows):
        between = [f"{number} {k}" for k in range(level[a] + 1, level[b])]
        level |= {name: level[a] + 1 + k for k, name in enumerate(between)}
        ways.append(([a, *between, b], text))
    rows = [[n for n in level if level[n] == k] for k in range(max(level.values()) + 1)]
    steps = [step for way, _ in ways for step in itertools.pairwise(way)]
    for turn in range(12):  # each row in the order of its neighbours, downwards and upwards in turn (Sugiyama 1981)
        down = turn % 2 == 0
        for k in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            other = rows[k - 1 if down else k + 1]
            at = {n: (i + 0.5) / len(other) for i, n in enumerate(other)}
            middle = {n: (i + 0.5) / len(rows[k]) for i, n in enumerate(rows[k])}
            for n in rows[k]:
                beside = [at[a if down else b] for a, b in steps if (b if down else a) == n]
                middle[n] = sum(beside) / len(beside) if beside else middle[n]
            rows[k].sort(key=middle.__getitem__)
    return rows, ways


def _curve(points: list[tuple[float, float]]) -> str:
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        half = (y1 + y2) / 2
        parts.append(f"C{x1:.1f} {half:.1f} {x2:.1f} {half:.1f} {x2:.1f} {y2:.1f}")
    return "".join(parts)


def _text(x: float, y: float, lines: list[str], kind: str) -> str:
    top = y - (len(lines) - 1) * _LINE / 2 + 4.5
    spans = [f'<tspan x="{x:.1f}" y="{top + k * _LINE:.1f}">{escape(line)}</tspan>' for k, line in enumerate(lines)]
    return f'<text class="{kind}" text-anchor="middle">{"".join(spans)}</text>'


class DrawCharts(SphinxTransform):
    """Puts drawings in place of the code blocks."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Draw all charts of a page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                block.replace_self(nodes.raw("", f'<div class="chart">{svg(block.astext())}</div>', format="html"))


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of it."""
    app.add_transform(DrawCharts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
