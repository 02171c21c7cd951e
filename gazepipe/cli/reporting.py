"""Commands that show: report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from gazepipe.cli._shared import PathArgument, Show, network_options, open_study, say, study_options

__all__ = ["report"]


@click.command(short_help="Write a report of the study as one HTML page.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option("--out", type=PathArgument, help="The file; default: report.html in the store.")
@click.option(
    "--images",
    type=click.IntRange(0),
    help="Images shown of each user; default: 3, or 1 where there are more than 40 users.",
)
@click.option(
    "--anonymous", is_flag=True, help="Number the users and name no file, so that no pseudonym is in the page."
)
@click.pass_context
def report(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
    out: Path | None,
    images: int | None,
    anonymous: bool,
) -> None:
    """Write a report of the study: one HTML page with everything in it (extra `report`).

    Quality of the data, outliers, events, maps over images, and, as far as there are any, networks and their
    evaluation; a methods paragraph after Dunn et al. (2023). The page loads nothing and can be read anywhere.
    """
    from gazepipe.report import write_report

    study = open_study(folder, config, to)
    command = "gazepipe report" if anonymous else shlex.join(["gazepipe", *sys.argv[1:]])
    with Show(ctx, "user") as show:
        path = write_report(
            study,
            out,
            images=images,
            anonymous=anonymous,
            command=command,
            device=device,
            threads=threads,
            show=show.of("report"),
        )
    say(ctx, f"report: {path}, {path.stat().st_size / 1e6:.1f} MB.")
