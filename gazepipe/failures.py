"""How failures are shown: sentences for a few, a table of file and problem for many."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gazepipe.study import Failure

__all__ = ["SENTENCES", "failure_table", "kind_of"]

#: Up to so many failures are shown as the sentences that they are.
SENTENCES = 4
_GAP = 2


def kind_of(failure: Failure) -> str:
    """What is wrong, in words that do not depend on the file: no place, no numbers, no names, no remedy."""
    # Whether it was used partly is no part of the kind, and would be all that is left of the sentence.
    text = re.split(r"[;(]", re.sub(r"^line \d+: ", "", _problem(replace(failure, partial=False))))[0]
    text = re.sub(r"(?<!\w)'[^']*'|\"[^\"]*\"", "…", text)
    return re.sub(r"[-+]?\d[\d.,:]*", "…", text).split(",")[0].strip(" .")


def _problem(failure: Failure) -> str:
    """The message without the file's name, which has a column of its own."""
    text = failure.message.removeprefix(failure.source).lstrip(":, ")
    return f"(partly used) {text}" if failure.partial else text


def _name(source: str, root: Path) -> str:
    try:
        return Path(source).relative_to(root).as_posix()
    except ValueError:
        return source


def failure_table(failures: Sequence[Failure], root: Path, width: int) -> str:
    """Return a table of two columns, sorted by file, and how often each kind of problem occurred.

    Parameters
    ----------
    failures
        What could not be used.
    root
        Folder that the names of files in it are shown relative to.
    width
        Letters in a line; no line is longer.
    """
    rows = sorted((_name(f.source, root), _problem(f)) for f in failures)
    longest = max(len("file"), *(len(name) for name, _ in rows))
    left = min(longest, max(12, width * 2 // 5))
    right = max(20, width - left - _GAP)
    lines = [f"{'file':<{left + _GAP}}problem", "─" * left + " " * _GAP + "─" * right]
    for name, problem in rows:
        names = [name[k : k + left] for k in range(0, len(name), left)]
        problems = textwrap.wrap(problem, right) or [""]
        for k in range(max(len(names), len(problems))):
            cells = [part[k] if k < len(part) else "" for part in (names, problems)]
            lines.append(f"{cells[0]:<{left + _GAP}}{cells[1]}".rstrip())
    lines.append("")
    for kind, count in sorted(Counter(map(kind_of, failures)).items(), key=lambda item: (-item[1], item[0])):
        lines += textwrap.wrap(f"{count:>4} × {kind}", width, subsequent_indent=" " * 7)
    return "\n".join(lines)
