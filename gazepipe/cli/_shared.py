"""What the commands share: options, the study, progress, and how results and failures are told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gazepipe.errors import plain
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.stage_plan import StagePlan
    from gazepipe.study import Failure, Study

__all__ = [
    "NOTES_SHOWN",
    "PathArgument",
    "Show",
    "dry_run_option",
    "failure_rows",
    "finish",
    "json_option",
    "network_options",
    "open_study",
    "person_line",
    "person_row",
    "print_json",
    "say",
    "study_options",
    "tell_plans",
]

PathArgument = click.Path(path_type=Path)


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--config", type=PathArgument, help="gazepipe.toml, if it is neither in the folder nor here."),
        click.option("--store", "to", type=PathArgument, help="Store, if not where the configuration says."),
    ]
    return functools.reduce(lambda c, option: option(c), reversed(options), command)


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto (a GPU if there is one)."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads of the networks; default: the idle cores."),
    ]
    return functools.reduce(lambda c, option: option(c), reversed(options), command)


dry_run_option = click.option(
    "-n", "--dry-run", is_flag=True, help="Write nothing: say what would be made, and what is up to date."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document in place of text.")


def print_json(content: Any) -> None:
    """Print one document; numbers that are none (NaN) are null, because JSON has no such numbers."""
    import json

    click.echo(json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return what JSON has words for."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if hasattr(value, "tolist"):  # of numpy
        return _plain(value.tolist())
    return value if value is None or isinstance(value, str | int) else str(value)


def failure_rows(failures: Iterable[Failure]) -> list[dict[str, Any]]:
    """Failures as they stand in a document."""
    return [f.row() for f in failures]


def tell_plans(ctx: click.Context, plans: StagePlan | list[StagePlan], *, as_json: bool) -> None:
    """Print what would be done; exit 3 if something could not be."""
    several = plans if isinstance(plans, list) else [plans]
    if as_json:
        print_json(plans.content() if not isinstance(plans, list) else {"stages": [plan.content() for plan in several]})
    else:
        for plan in several:
            say(ctx, plan.text())
        _notes(ctx, [note for plan in several for note in plan.notes], "--json has all")
    if any(plan.impossible for plan in several):
        ctx.exit(3)


def _notes(ctx: click.Context, notes: list[str], where: str) -> None:
    """Print the first notes, and how many more there are."""
    if ctx.obj["quiet"]:
        return
    for note in notes[:NOTES_SHOWN]:
        click.echo(f"note: {plain(note)}", err=True)
    if len(notes) > NOTES_SHOWN:
        click.echo(f"… and {counted(len(notes) - NOTES_SHOWN, 'more note')}; {where}.", err=True)


def open_study(where: Path | None, config: Path | None, to: Path | None) -> Study:
    from gazepipe.study import Study

    return Study.open(where, config=config, to=to)


class Show:
    """One progress display after another, as the stages come."""

    def __init__(self, ctx: click.Context, unit: str = "") -> None:
        self.quiet, self.unit, self.task = ctx.obj["quiet"], unit, ""
        self.display: Any = None

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        from gazepipe.progress import Progress

        if task != self.task:
            self.close()
            self.task, self.display = task, Progress(task, total, self.unit, quiet=self.quiet)
        self.display.update(done, total, note)

    def of(self, task: str) -> Callable[[int, int, str], None]:
        return functools.partial(self, task)

    def close(self) -> None:
        if self.display is not None:
            self.display.__exit__()
            self.display = None

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def say(ctx: click.Context, text: str) -> None:
    if not ctx.obj["quiet"]:
        click.echo(text)


NOTES_SHOWN = 12


def finish(
    ctx: click.Context,
    failures: Iterable[Failure],
    store: Path,
    warnings: Iterable[str] = (),
    root: Path | None = None,
    *,
    kept: bool = True,
) -> None:
    """List warnings and failures; exit 3 if anything could not be used.

    `kept` tells whether the store has the failures.
    """
    import shutil

    from gazepipe.failures import SENTENCES, failure_table

    _notes(ctx, list(warnings), "they are kept with each stored recording")
    failed = list(failures)
    if len(failed) > SENTENCES:
        width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 160)
        table = failure_table(failed, store.parent if root is None else root, width)
        click.echo("\n".join(map(plain, table.split("\n"))) + "\n", err=True)
    else:
        for failure in failed:
            click.echo(f"{'partly used' if failure.partial else 'not used'}: {plain(failure.message)}", err=True)
    if failed:
        place = f"; see {store / 'failures.jsonl'}" if kept else ""
        click.echo(f"gazepipe: {counted(len(failed), 'input')} not used, or only partly{place}.", err=True)
        ctx.exit(3)


def person_row(person: Any) -> dict[str, Any]:
    """One of the gallery as it stands in a document, without vectors."""
    return {k: getattr(person, k) for k in type(person).__slots__ if k not in ("embedding", "profile")}


def person_line(person: Any) -> str:
    near = "nobody else in the gallery yet"
    if person.nearest:
        near = f"nearest {person.nearest} at cosine {person.nearest_cosine:.3f}, margin {person.margin:+.3f}"
        near += f", d' {person.d_prime:.2f}"
    return f"{person.user}: {person.role}, {person.n_pairs} image-PSM pairs, dispersion {person.dispersion:.3f}, {near}"
