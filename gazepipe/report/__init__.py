"""`gazepipe report`: one page of HTML about a study, with all pictures in it, to be read without a network.

It draws what the store holds at the time and leaves out what is not there yet. Nothing is computed that a stage would
store, but for embeddings and predicted maps to draw.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from gazepipe import store
from gazepipe.atomic import write_atomically
from gazepipe.documents import write_listed
from gazepipe.outside import note_outside
from gazepipe.plotting import check_library, styled
from gazepipe.sealing import refuse_in_the_clear
from gazepipe.study import Study
from gazepipe.words import counted, grouped

__all__ = ["write_report"]


def write_report(
    study: Study,
    to: Path | None = None,
    *,
    images: int | None = None,
    anonymous: bool = False,
    command: str = "gazepipe report",
    device: str = "auto",
    threads: int | None = None,
    show: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Write the report of a study.

    Parameters
    ----------
    study
        Anything between just ingested and evaluated.
    to
        The file; `report.html` in the store if None.
    images
        Images shown of each user; None: three, or one where there are more than forty users.
    anonymous
        Number the users in an order drawn at random and name no file, so that no pseudonym is in the page.
    command
        What made it, for its last section.
    device, threads
        Of the networks that make embeddings and maps to draw.
    show
        Called with users drawn, users, and a name.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ConfigError
        If jinja2 or matplotlib is missing, or the report would lie in a sealed store.
    NothingToDoError
        If the store has no recordings.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> from gazepipe import Study
    >>> from gazepipe.report import write_report
    >>> write_report(Study.open("."), images=1)  # doctest: +SKIP
    PosixPath('store/report.html')
    """
    for library in ("jinja2", "matplotlib"):
        check_library(library, "a report needs")
    refuse_in_the_clear(study.store, to, "a report shows people's gaze")
    from gazepipe.report.contents import gather
    from gazepipe.report.drawings import group_figures
    from gazepipe.report.methods import methods
    from gazepipe.report.people import person_sections

    contents = gather(study, anonymous=anonymous, device=device, threads=threads)
    with styled():
        group = group_figures(contents)
        people = person_sections(contents, images, show)
    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = render(
        c=contents,
        figures=contents.figures,
        group=group,
        far={(o.user.anchor, o.name) for o in group["outliers"]},
        people=people,
        methods=methods(contents),
        command=command,
        made=made,
    )
    if to is None:
        to = study.report_file
        with store.lock(study.store):
            write_listed(study.store, {to: page.encode()})
    else:
        note_outside(study, "report", to, {str(row["user"]) for row in study.known_recordings().values()})
        write_atomically(to, page.encode())
    return to


def render(**values: object) -> str:
    """Fill the template; every text is escaped, and the page may load nothing and run nothing."""
    from jinja2 import Environment, StrictUndefined

    folder = files("gazepipe.report")
    style = (folder / "report.css").read_text(encoding="utf-8")
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"counted": counted, "grouped": grouped}
    template = made.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    # The browser takes the one style sheet whose digest this is, and no other, nor any script.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return template.render(style=style, policy=policy, **values)
