"""Commands that show: report, compare."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gazepipe.cli._shared import PathArgument, Show, network_options, open_study, say, study_options

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["compare", "report"]


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


@click.command(short_help="Compare two users, or two evaluated runs.")
@click.argument("first")
@click.argument("second")
@click.option("--study", "folder", type=PathArgument, help="Study of two users; default: the current folder.")
@click.option("--runs", is_flag=True, help="FIRST and SECOND are study folders, or stores of the study of --study.")
@click.option(
    "--figure", type=PathArgument, help="Of two users: draw maps side by side, .png or .svg (extra `report`)."
)
@click.option("--images", default=4, show_default=True, type=click.IntRange(1), help="Images in that figure.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@study_options
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    first: str,
    second: str,
    folder: Path | None,
    runs: bool,
    figure: Path | None,
    images: int,
    as_json: bool,
    config: Path | None,
    to: Path | None,
) -> None:
    """Compare two users over the images both have seen, or two evaluated runs over their test users.

    Differences are first − second, with Student's 95 % interval over images or users; an asterisk marks one that leaves
    out 0. Each is looked at by itself: of twenty, one asterisk is to be expected by chance.
    """
    from gazepipe.compare import compare_runs, compare_users, map_figure

    if runs and figure:
        msg = "--figure is for two users."
        raise click.UsageError(msg)
    if figure and figure.suffix.lower() not in (".png", ".svg"):
        msg = f"--figure {figure}: expected a name that ends in .png or .svg."
        raise click.UsageError(msg)
    if runs:
        found = compare_runs(_run(Path(first), folder, config), _run(Path(second), folder, config), (first, second))
    else:
        found = compare_users(open_study(folder, config, to), first, second)
    click.echo(json.dumps(found.content(), indent=1, ensure_ascii=False) if as_json else found.text())
    if figure:
        from gazepipe.atomic import write_atomically
        from gazepipe.outside import note_outside
        from gazepipe.plotting import picture

        study = open_study(folder, config, to)
        drawn = map_figure(study, first, second, images)
        note_outside(study, "maps", figure, [first, second])
        options: dict[str, object] = {"dpi": 150} if figure.suffix.lower() == ".png" else {"metadata": {"Date": None}}
        write_atomically(figure, picture(drawn, figure.suffix.lower()[1:], **options))
        if not as_json:
            say(ctx, f"compare: {figure}")


def _run(path: Path, folder: Path | None, config: Path | None) -> Study:
    """A study folder, or a store of the study of --study."""
    if (path / "gazepipe.toml").is_file():
        return open_study(path, config, None)
    return open_study(folder, config, path)
