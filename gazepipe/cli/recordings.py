"""Commands about recordings: ingest, quality, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    NOTES_SHOWN,
    PathArgument,
    Show,
    failure_rows,
    finish,
    json_option,
    open_study,
    print_json,
    say,
    study_options,
)
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.study import Study

__all__ = ["export", "ingest", "quality"]


@command(
    examples=[
        "gazepipe ingest study",
        "gazepipe ingest study --dry-run   # which reader, users and trials are found",
        "gazepipe ingest study --jobs 4 --json",
    ]
)
@click.argument("recordings", type=PathArgument, required=False)
@study_options
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: the cores, for sixteen files and more.")
@click.option("--force", is_flag=True, help="Read everything again.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that cannot be used.")
@click.option("--shard", help="Only part K of N of the files, as K/N; then `gazepipe gather`.")
@click.option("-n", "--dry-run", is_flag=True, help="Read, but write nothing: say what would be done with each file.")
@json_option
@click.pass_context
def ingest(
    ctx: click.Context,
    recordings: Path | None,
    config: Path | None,
    to: Path | None,
    jobs: int | None,
    force: bool,
    fail_fast: bool,
    shard: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read recordings: samples, trials, fixations, quality.

    RECORDINGS is a study folder, or a folder of recordings: EyeLink (ASC, EDF), Tobii (Pro Lab, Studio, SDK), Pupil
    Labs (Neon, Cloud, Core), SMI, Gazepoint and other CSV or Parquet tables, BIDS, and sessions of gazepipe; also
    gzipped or in zip archives. What a file is, is found out from its content. One bad file never stops the others.
    """
    from gazepipe import ingest as stage
    from gazepipe.shards import Shard

    part = None if shard is None else Shard.parse(shard)
    if part is not None and (fail_fast or dry_run):
        msg = "--shard goes neither with --fail-fast nor with --dry-run."
        raise click.UsageError(msg)
    study = open_study(recordings, config, to)
    if dry_run:
        _dry_run(ctx, study, jobs=jobs, force=force, as_json=as_json)
        return
    with Show(ctx, "recording") as show:
        report = stage.ingest(study, jobs=jobs, force=force, fail_fast=fail_fast, shard=part, show=show.of("ingest"))
    if as_json:
        print_json(
            {
                "stage": "ingest",
                "store": study.store,
                "written": report.written,
                "up_to_date": report.current,
                "removed": report.removed,
                "failures": failure_rows(report.failures),
                "notes": report.warnings,
            }
        )
        finish(ctx, report.failures, study.store, (), study.recordings, kept=part is None)
        return
    text = f"ingest: {len(report.written)} written, {len(report.current)} up to date, {report.failed} not usable"
    gone = f", {len(report.removed)} removed" if report.removed else ""
    say(ctx, f"{text}{gone}, in {study.store / 'recordings'}.")
    finish(ctx, report.failures, study.store, report.warnings, study.recordings, kept=part is None)


def _dry_run(ctx: click.Context, study: Study, *, jobs: int | None, force: bool, as_json: bool) -> None:
    """Print what an ingest would do; exit 3 if a file cannot be used."""
    from gazepipe.preview import preview

    with Show(ctx, "recording") as show:
        found = preview(study, jobs=jobs, force=force, show=None if as_json else show.of("dry run"))
    if as_json:
        print_json(found.content())
    else:
        say(ctx, found.table())
    if not ctx.obj["quiet"] and not as_json:
        for note in found.notes[:NOTES_SHOWN]:
            click.echo(f"note: {note}", err=True)
        if len(found.notes) > NOTES_SHOWN:
            click.echo(f"… and {counted(len(found.notes) - NOTES_SHOWN, 'more note')}; --json has all.", err=True)
    if found.unusable:
        ctx.exit(3)


@command(
    examples=[
        "gazepipe quality study",
        "gazepipe quality study --by recording --json",
    ]
)
@click.argument("folder", type=PathArgument, required=False)
@study_options
@click.option(
    "--by", type=click.Choice(["user", "recording"]), default="user", show_default=True, help="What a row is."
)
@click.option("--json", "as_json", is_flag=True, help="All figures, as JSON.")
@click.pass_context
def quality(
    ctx: click.Context, folder: Path | None, config: Path | None, to: Path | None, by: str, as_json: bool
) -> None:
    """Print the data quality of all ingested users, or of each of their recordings."""
    from gazepipe.user_quality import quality_table, stored_quality

    figures = stored_quality(open_study(folder, config, to), by)
    if as_json:
        print_json(figures)
    else:
        click.echo(quality_table(figures, by))


@command(
    examples=[
        "gazepipe export bids study --users p01,p02 --task freeviewing",
        "gazepipe export tables study --format parquet --dry-run",
    ]
)
@click.argument("out", type=PathArgument)
@click.argument("folder", type=PathArgument, required=False)
@click.option("--format", "format_", type=click.Choice(["bids", "parquet"]), default="bids", show_default=True)
@click.option("--users", help="Only these pseudonyms, with commas between them; default: all.")
@click.option("--task", help="Task label of BIDS: letters and digits.  [default: viewing]")
@click.option("--no-stimuli", is_flag=True, help="Leave the images out of BIDS.")
@study_options
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("-n", "--dry-run", is_flag=True, help="Only list what would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@click.pass_context
def export(
    ctx: click.Context,
    /,
    out: Path,
    folder: Path | None,
    format_: str,
    users: str | None,
    task: str | None,
    no_stimuli: bool,
    config: Path | None,
    to: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write stored recordings for other software.

    OUT is the folder the files go to, FOLDER the study. BIDS is eye tracking of BIDS 1.11 with samples, events and
    images; Parquet (extra `parquet`) is one table each of samples, trials, fixations, saccades, blinks and quality.
    """
    from gazepipe.export import export_study

    if format_ != "bids" and (task or no_stimuli):
        msg = "--task and --no-stimuli belong to --format bids."
        raise click.UsageError(msg)
    options = {"task": task or "viewing", "stimuli": not no_stimuli} if format_ == "bids" else {}
    study = open_study(folder, config, to)
    names = [u.strip() for u in (users or "").split(",") if u.strip()]
    with Show(ctx, "recording") as show:
        report = export_study(
            study, out, format_, users=names, force=force, dry_run=dry_run, show=show.of("export"), **options
        )
    if as_json:
        print_json(report.summary())
    else:
        for name in report.files if dry_run else ():
            say(ctx, name)
        done = "would be written" if dry_run else "written"
        recordings, files = counted(len(report.recordings), "recording"), counted(len(report.files), "file")
        say(ctx, f"export: {recordings}, {files} {done} to {out}.")
    finish(ctx, report.failures, study.store, report.notes)
