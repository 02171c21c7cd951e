"""The graph of nodes as a picture: Graphviz and Mermaid text, or SVG drawn here, so that no other program is needed."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from gazepipe.atomic import write_atomically
from gazepipe.errors import ConfigError

__all__ = ["SUFFIXES", "check_suffix", "write_picture"]

SUFFIXES = (".svg", ".dot", ".mmd")

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 150, 34, 24, 44


def check_suffix(path: Path) -> None:
    """Raise `ConfigError` if a picture cannot be of the kind that a file's name asks for."""
    if path.suffix.lower() not in SUFFIXES:
        msg = f"--dag {path}: expected a name that ends in {', '.join(SUFFIXES)}."
        raise ConfigError(msg)


def write_picture(path: Path, dot: str) -> None:
    """Write a graph, given in Graphviz's language, as what the file's name ends in."""
    check_suffix(path)
    suffix = path.suffix.lower()
    made = _svg(dot) if suffix == ".svg" else _mermaid(dot) if suffix == ".mmd" else dot
    write_atomically(path, made.encode())


def parse(dot: str) -> tuple[dict[int, tuple[str, bool]], list[tuple[int, int]]]:
    """Number → label and whether it is up to date; edges."""
    nodes = {
        int(n): (re.sub(r"\\n", " ", label), "dashed" in rest)
        for n, label, rest in re.findall(r'(\d+)\[label = "((?:[^"\\]|\\.)*)"(.*?)\];', dot)
    }
    return nodes, [(int(a), int(b)) for a, b in re.findall(r"(\d+) -> (\d+)", dot)]


def _mermaid(dot: str) -> str:
    nodes, edges = parse(dot)
    lines = ["flowchart TD"]
    for number, (label, current) in sorted(nodes.items()):
        lines.append(f'    n{number}["{escape(label)}"]' + (":::current" if current else ""))
    lines += [f"    n{a} --> n{b}" for a, b in edges]
    return "\n".join([*lines, "    classDef current stroke-dasharray: 4 3"]) + "\n"


def _svg(dot: str) -> str:
    """Each node below all that it waits for; what is up to date has a dashed frame."""
    nodes, edges = parse(dot)
    level = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest way from the top, however edges are ordered
        for a, b in edges:
            level[b] = max(level[b], level[a] + 1)
    rows: dict[int, list[int]] = {}
    for number in sorted(nodes, key=lambda n: nodes[n][0]):
        rows.setdefault(level[number], []).append(number)
    width = max(len(r) for r in rows.values()) * (_WIDTH + _GAP_X) + _GAP_X
    height = len(rows) * (_HEIGHT + _GAP_Y)
    place = {
        n: (width * (k + 1) / (len(row) + 1), depth * (_HEIGHT + _GAP_Y) + _GAP_Y / 2 + _HEIGHT / 2)
        for depth, row in rows.items()
        for k, n in enumerate(row)
    }
    arrow = '<marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        f'<defs>{arrow}<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for a, b in edges:
        (x1, y1), (x2, y2) = place[a], place[b]
        ends = f'x1="{x1:g}" y1="{y1 + _HEIGHT / 2:g}" x2="{x2:g}" y2="{y2 - _HEIGHT / 2:g}"'
        lines.append(f'<line {ends} stroke="#555" marker-end="url(#a)"/>')
    for number, (x, y) in place.items():
        label, current = nodes[number]
        dash = ' stroke-dasharray="4 3"' if current else ""
        frame = f'x="{x - _WIDTH / 2:g}" y="{y - _HEIGHT / 2:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"'
        lines.append(f'<rect {frame} fill="#eef3f8" stroke="#345"{dash}/>')
        lines.append(f'<text x="{x:g}" y="{y + 4.5:g}" text-anchor="middle">{escape(label)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
