"""Signatures of the reference as the source has them: ``F32 | None`` is an array of float32 or None, and no more.

Annotations that are evaluated become unions of protocols, and arrays lose their short names. Here they stay text; a
class is linked where there is one of its name in the reference.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from docutils.nodes import Element, Node
from sphinx.util.inspect import TypeAliasForwardRef
from sphinx.util.nodes import make_refnode

#: Short names of arrays in this code base.
_ARRAYS = {"F16": "float16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "U8": "uint8"}
_SHORTER = (
    (r"npt\.NDArray\[np\.(\w+?)_?(?:\[Any\])?\]", r"ndarray[\1]"),
    (r"npt\.NDArray\[Any\]", "ndarray"),
    *((rf"\b{name}\b", f"ndarray[{kind}]") for name, kind in _ARRAYS.items()),
    (r"\b(?:npt?|pd|torch|store|config|dt)\.(?=[A-Z])", ""),
    (r"\bnp\.", ""),
    (r"^['\"](.*)['\"]$", r"\1"),
)


#: Last part of a name → the things of the reference that have it.
_by_name: dict[str, list[tuple[str, Any]]] = {}


def written(annotation: Any) -> str:
    """An annotation as a reader wants it."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for pattern, better in _SHORTER:
        text = re.sub(pattern, better, text)
    return text


def _default(value: Any) -> str:
    text = repr(value)
    return "…" if text.startswith("<") or len(text) > 40 else text


def signature(kind: str, thing: Any) -> tuple[str, str] | None:
    """Arguments and what is returned, of a class or function; None if there are none to tell of."""
    if kind not in ("class", "exception", "function", "method"):
        return None
    if getattr(thing, "_is_protocol", False):
        return "", ""  # nobody calls it
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    if kind == "method" and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    shown = [
        p.replace(
            annotation=p.empty if p.annotation is p.empty else _Text(written(p.annotation)),
            default=p.default if p.default is p.empty else _Text(_default(p.default)),
        )
        for p in parameters
    ]
    text = str(inspect.Signature(shown))
    returned = "" if found.return_annotation is found.empty or kind == "class" else written(found.return_annotation)
    return text, returned


class _Text:
    """Stands in a signature as its text; what Python asks of an annotation, it has."""

    __module__ = "builtins"

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _process(app: Any, kind: str, name: str, thing: Any, options: Any, args: str, returned: str) -> Any:
    return signature(kind, thing)


def _link(app: Any, env: Any, node: Element, shown: Node) -> Node | None:
    """Link a name in a type or docstring to the one thing of the reference that ends in it, or leave it as code."""
    if node.get("refdomain") != "py" or node["reftype"] not in ("class", "obj", "exc"):
        return None
    ending = "." + re.sub(r"^gazepipe\.(?:\w+\.)*(?=[A-Z])", "", node["reftarget"]).lstrip(".")
    if not re.search(r"[A-Z_.]", ending[1:]):
        return shown
    if not _by_name:  # asked for the first time when all pages are read
        for name, entry in env.get_domain("py").objects.items():
            _by_name.setdefault(name.rpartition(".")[2], []).append((f".{name}", entry))
    named = _by_name.get(ending.rpartition(".")[2], [])
    ends = {entry.node_id: entry for name, entry in named if name.endswith(ending)}
    if len(ends) != 1:
        return shown
    (entry,) = ends.values()
    return make_refnode(app.builder, node.get("refdoc", ""), entry.docname, entry.node_id, [shown])


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of it."""
    TypeAliasForwardRef.__repr__ = lambda self: self.name  # type: ignore[method-assign]
    app.config.autodoc_type_aliases = {name: f"ndarray[{kind}]" for name, kind in _ARRAYS.items()}  # of properties
    app.connect("autodoc-process-signature", _process)
    app.connect("missing-reference", _link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
