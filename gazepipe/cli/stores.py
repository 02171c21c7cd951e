"""Commands about stores: info, and the part of verify that reads every file."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    PathArgument,
    Show,
    open_study,
    print_json,
    say,
    study_options,
)
from gazepipe.words import counted

__all__ = ["info", "verify_store"]


@command(
    examples=[
        "gazepipe info study",
        "gazepipe info study/store/gallery.h5 --json",
        "gazepipe info study --user p07",
    ]
)
@click.argument("path", type=PathArgument, required=False)
@click.option("--user", help="List the files of this user alone, whatever they are called.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@study_options
@click.pass_context
def info(
    ctx: click.Context, /, path: Path | None, user: str | None, as_json: bool, config: Path | None, to: Path | None
) -> None:
    """Show what a store holds, or one of its files.

    PATH is a study folder (default: the current one), or a file of a store: HDF5, weights, JSON or text.
    """
    from gazepipe import info as stage

    if user is not None:
        found = stage.files_of(open_study(path, config, to), user)
        text = stage.files_text(found)
    elif path is not None and not path.is_dir():
        found = stage.file_info(path)
        text = stage.file_text(found, shutil.get_terminal_size((120, 24)).columns)
    else:
        found = stage.store_info(open_study(path, config, to))
        text = stage.store_text(found)
    if as_json:
        print_json(found)
    else:
        click.echo(text)


def verify_store(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    *,
    aside: bool,
    apart: bool,
    as_json: bool,
) -> None:
    """Read every file of a study's store; exit code 8 if one is damaged or missing."""
    from gazepipe.integrity import check_store, set_aside

    study = open_study(folder, config, to)
    with Show(ctx, "file") as show:
        report = check_store(study, show.of("verify"), apart=apart)
    moved = set_aside(study, report) if aside else []
    if as_json:
        print_json(report.content() | {"set_aside": [str(p) for p in moved]})
    else:
        for finding in report.findings:
            click.echo(f"{finding.kind}: {finding.message}", err=finding.bad)
        state = f"{len(report.bad)} damaged, unreadable or missing" if report.bad else "all whole"
        say(ctx, f"verify: {counted(report.files, 'file')}, {report.size / 1e6:.1f} MB read in {report.root}: {state}.")
        if moved:
            say(ctx, f"verify: {len(moved)} set aside; `gazepipe run` makes them again.")
    if report.bad:
        ctx.exit(8)
