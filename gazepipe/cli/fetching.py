"""The command that fetches data sets: fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import PathArgument, Show, dry_run_option, json_option, print_json, say, tell_plans
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.datasets.sources import ByHand, Source

__all__ = ["fetch"]


@command(
    examples=[
        "gazepipe fetch   # which data sets there are",
        "gazepipe fetch osie --accept-licence   # then: gazepipe import osie data/osie",
        "gazepipe fetch crowd /data/crowd --mirror https://mirror.lab.example/gaze",
    ]
)
@click.argument("dataset", required=False)
@click.argument("folder", type=PathArgument, required=False)
@click.option(
    "--accept-licence", "accepted", is_flag=True, help="Accept the licence that is shown, without being asked."
)
@click.option(
    "--mirror", envvar="GAZEPIPE_MIRROR", default="", help="Web address of a folder with DATASET.zip, not the authors'."
)
@click.option("--from", "archive", type=PathArgument, help="The archive, downloaded already, for example elsewhere.")
@click.option("--force", is_flag=True, help="Fetch again what is there.")
@dry_run_option
@json_option
@click.pass_context
def fetch(
    ctx: click.Context,
    /,
    dataset: str | None,
    folder: Path | None,
    accepted: bool,
    mirror: str,
    archive: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch a published data set, for `gazepipe import`.

    DATASET is osie or crowd; without one, all are listed. FOLDER is where it goes; default: data/DATASET. Files are
    compared with digests, and what is there and right is not fetched again. The licence is shown and must be accepted.
    HTTPS_PROXY and HTTP_PROXY are heeded. Of ps, doves and id, which their authors give to those who ask, it says
    where to ask and what must lie where.
    """
    from gazepipe.datasets.sources import BY_HAND, SOURCES

    if dataset is None:
        _list(as_json)
        return
    where = folder or Path("data") / dataset
    if dataset in BY_HAND:
        _by_hand(ctx, BY_HAND[dataset], where, as_json)
        return
    if dataset not in SOURCES:
        msg = f"there is no data set {dataset!r}; expected one of {', '.join([*SOURCES, *BY_HAND])}."
        raise click.UsageError(msg)
    from gazepipe import fetch as stage

    source = SOURCES[dataset]
    if dry_run:
        tell_plans(ctx, stage.plan_fetch(source, where, mirror=mirror, force=force), as_json=as_json)
        return
    if force or not stage.is_current(source, where):
        _accept(source, archive or stage.address(source, mirror), accepted)
    with Show(ctx, "MB") as show:
        done = stage.fetch(source, where, mirror=mirror, archive=archive, force=force, show=show.of(f"fetch {dataset}"))
    following = f"gazepipe import {dataset} {where}"
    if as_json:
        rows = {"dataset": dataset, "folder": where, "up_to_date": done.current, "files": done.files}
        print_json({"stage": "fetch", **rows, "licence": source.licence, "next": following, "notes": done.notes})
        return
    for note in done.notes:
        say(ctx, f"note: {note}.")
    state = "up to date" if done.current else "fetched"
    say(ctx, f"fetch: {counted(len(done.files), 'file')} of {dataset} {state} in {where}; next: `{following}`.")


def _list(as_json: bool) -> None:
    from gazepipe.datasets.sources import BY_HAND, SOURCES
    from gazepipe.tables import text_table

    if as_json:
        rows = [{"dataset": s.name, "title": s.title, "licence": s.licence, "fetched": True} for s in SOURCES.values()]
        rows += [{"dataset": b.name, "title": b.title, "licence": "", "fetched": False} for b in BY_HAND.values()]
        print_json(rows)
        return
    table = [[s.name, s.title, f"fetched, about {s.size_mb} MB, {s.licence.split(',')[0]}"] for s in SOURCES.values()]
    table += [[b.name, b.title, "by hand: gazepipe fetch says how"] for b in BY_HAND.values()]
    click.echo(text_table(["data set", "", "how"], table, text_columns=3))


def _accept(source: Source, place: str | Path, accepted: bool) -> None:
    """Show the licence, and ask for a yes unless it was given."""
    from gazepipe.errors import ConfigError

    for line in (source.title, f"from      {place}", f"licence   {source.licence}", f"          {source.page}"):
        click.echo(line, err=True)
    click.echo(f"cite      {source.citation}", err=True)
    if accepted:
        return
    if not _can_ask():
        msg = f"{source.name}: its licence is shown above; accept it with --accept-licence. Nothing was fetched."
        raise ConfigError(msg)
    if not click.confirm("Do you accept this licence?", err=True):
        msg = f"{source.name}: its licence was not accepted; nothing was fetched."
        raise ConfigError(msg)


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _by_hand(ctx: click.Context, one: ByHand, folder: Path, as_json: bool) -> None:
    """Say how to get a data set that is not fetched, and what of it is there; exit 4 while something is missing."""
    from gazepipe.fetch import found_by_hand

    found = found_by_hand(one, folder)
    whole = all(row["there"] >= row["of"] for row in found.values())
    following = one.import_command.format(folder=folder)
    if as_json:
        rows = {"dataset": one.name, "folder": folder, "why": one.why, "ask": one.ask, "citation": one.citation}
        print_json({"stage": "fetch", **rows, "layout": found, "complete": whole, "next": following})
    else:
        click.echo(f"{one.title}: {one.why}.\n{one.ask}\n\nIn {folder} must lie:")
        for pattern, row in found.items():
            of = f"{row['there']} of {row['of']} there" if row["of"] else f"{row['there']} there"
            click.echo(f"  {pattern:<28} {row['what']} ({of})")
        click.echo(f"\nThen: {following}\nCite: {one.citation}")
    if not whole:
        ctx.exit(4)
