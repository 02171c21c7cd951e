"""Commands about whole runs: run, in this process or as a graph of nodes, and gather, which joins shards."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    PathArgument,
    Show,
    failure_rows,
    finish,
    json_option,
    network_options,
    open_study,
    person_line,
    person_row,
    print_json,
    say,
    study_options,
    tell_plans,
)

if TYPE_CHECKING:
    from gazepipe.dag.engine import Order, Request
    from gazepipe.study import Study

__all__ = ["gather", "run"]


@command(
    examples=[
        "gazepipe gather ingest study --shards 8",
    ]
)
@click.argument("stage", type=click.Choice(["ingest", "build-psm"]))
@click.argument("folder", type=PathArgument, required=False)
@click.option("--shards", required=True, type=click.IntRange(1), help="How many there are.")
@json_option
@study_options
@click.pass_context
def gather(
    ctx: click.Context,
    /,
    stage: str,
    folder: Path | None,
    shards: int,
    as_json: bool,
    config: Path | None,
    to: Path | None,
) -> None:
    """Put into use what all shards of a stage stored, after each of them has run with --shard K/N."""
    from gazepipe.gather import STAGES

    study = open_study(folder, config, to)
    report = STAGES[stage](study, shards)
    if as_json:
        rows = {"written": report.written, "up_to_date": report.current, "removed": report.removed}
        print_json({"stage": stage, "store": study.store, **rows, "failures": failure_rows(report.failures)})
        finish(ctx, report.failures, study.store, (), study.recordings)
        return
    say(
        ctx, f"{stage}: {len(report.written)} written, {len(report.current)} up to date, {len(report.removed)} removed."
    )
    finish(ctx, report.failures, study.store, getattr(report, "warnings", ()), study.recordings)


@command(
    examples=[
        "gazepipe run study",
        "gazepipe run study --dry-run",
        "gazepipe run study --profile slurm --shards 8 --gpus 1",
    ]
)
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option("--jobs", type=click.IntRange(1), help="Processes of ingest.")
@click.option("--images", default=1, show_default=True, type=click.IntRange(0), help="Test images drawn for each user.")
@click.option("--profile", help="Run as a graph with Snakemake: local, slurm, or the folder of a profile.")
@click.option("--shards", type=click.IntRange(1), help="With --profile: parts of ingest and build-psm; default: 1.")
@click.option("--gpus", type=click.IntRange(0), help="With --profile: GPUs of the training.")
@click.option(
    "-n",
    "--dry-run",
    is_flag=True,
    help="Write nothing: say what would be made; with --profile, which nodes would run.",
)
@json_option
@click.option("--dag", type=PathArgument, help="With --profile: draw the graph (.svg, .dot, .mmd) and run nothing.")
@click.option("--report", type=PathArgument, help="With --profile: write Snakemake's report (.html) afterwards.")
@click.option("--unlock", is_flag=True, help="With --profile: remove a lock of Snakemake's, then run.")
@click.pass_context
def run(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
    jobs: int | None,
    images: int,
    profile: str | None,
    shards: int | None,
    gpus: int | None,
    dry_run: bool,
    as_json: bool,
    dag: Path | None,
    report: Path | None,
    unlock: bool,
) -> None:
    """Run everything: ingest, build-psm, train, enrol, predict, evaluate.

    FOLDER is the study (default: the current folder). Only what is not up to date is done. With --profile the stages
    are nodes of a graph, which run at once where they can, or as jobs of a cluster; see cluster.md.
    """
    study = open_study(folder, config, to)
    if profile is not None:
        if as_json:
            msg = "--json does not go with --profile, which leaves dag/report.json in the store."
            raise click.UsageError(msg)
        from gazepipe.dag import engine, hold, picture

        request = engine.Request(folder, config, to, profile, shards or 1, images, jobs, threads, device, gpus)
        engine.check_engine(profile)
        if dag is not None:
            picture.check_suffix(dag)
        if dry_run or dag is not None:
            with hold.aside(study) as copy:
                _plan_graph(ctx, study, request, copy, dag)
            return
        engine.check_cluster(profile)
        with hold.held(study) as lock:
            _graph(ctx, study, request, lock, report=report, unlock=unlock)
        return
    if shards is not None or gpus is not None or dag or report or unlock:
        msg = "--shards, --gpus, --dag, --report and --unlock go with --profile."
        raise click.UsageError(msg)
    from gazepipe.pipeline import plan_run
    from gazepipe.pipeline import run as pipeline

    if dry_run:
        tell_plans(ctx, plan_run(study, jobs=jobs, device=device, images=images), as_json=as_json)
        return
    with Show(ctx) as show:
        made = pipeline(study, jobs=jobs, device=device, threads=threads, images=images, show=show)
    if as_json:
        stages = {stage: {"seconds": made.seconds[stage], "text": text} for stage, text in made.counts.items()}
        people = [person_row(p) for p in made.gallery.people] if made.gallery else []
        figures = made.evaluation.content() if made.evaluation else None
        found = {"stages": stages, "gallery": people, "evaluation": figures, "notes": made.warnings}
        print_json({**found, "failures": failure_rows(made.failures)})
        finish(ctx, made.failures, study.store)
        return
    say(ctx, "")
    for stage, text in made.counts.items():
        say(ctx, f"{stage:<10} {made.seconds[stage]:7.1f} s  {text}")
    if made.gallery:
        say(ctx, f"\nGallery ({study.gallery_file}):")
        for person in made.gallery.people:
            say(ctx, "  " + person_line(person))
    if made.evaluation:
        say(ctx, "\n" + made.evaluation.markdown())
    finish(ctx, made.failures, study.store, made.warnings)


def _order(study: Study, request: Request, folder: Path, lock: int | None = None) -> Order:
    """Bring what nodes depend on up to date in a folder, and put the engine's call there together."""
    from gazepipe.dag import engine
    from gazepipe.dag.inputs import start_again, write_inputs

    write_inputs(study, request.shards, request.images, folder)
    start_again(study, folder)
    return engine.order(study, request, folder, lock)


def _plan_graph(ctx: click.Context, study: Study, request: Request, copy: Path, dag: Path | None) -> None:
    """Say which nodes would run, or draw the graph, by a copy of what the engine has."""
    from gazepipe.dag import engine, picture

    call = _order(study, request, copy)
    if dag is not None:
        picture.write_picture(dag, engine.graph(call))
        say(ctx, f"run: the graph is in {dag}.")
        return
    nodes = engine.planned(call)
    say(ctx, f"run: {len(nodes)} nodes would run{': ' if nodes else ''}{', '.join(nodes)}. Nothing was written.")
    if nodes:
        say(ctx, "Nodes look at their files, and make what is not up to date; without --profile, -n tells which.")


def _graph(
    ctx: click.Context,
    study: Study,
    request: Request,
    lock: int | None,
    *,
    report: Path | None,
    unlock: bool,
) -> None:
    """Run the graph of nodes; the exit code is that of the node that failed."""
    from gazepipe.dag import engine, folder_of
    from gazepipe.dag.inputs import note_left
    from gazepipe.dag.report import GraphReport

    call = _order(study, request, folder_of(study), lock)
    if unlock:
        engine.unlock(call)
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    nodes_run = engine.run_nodes(call, lambda node: say(ctx, node.line()))
    done = GraphReport(
        request.profile,
        request.shards,
        started.isoformat(timespec="seconds"),
        round(time.perf_counter() - clock, 3),
        nodes_run,
        study.failures(),
    )
    done.write(call.folder)
    if done.failed:
        first = done.failed[0]
        click.echo(f"gazepipe: {first.node}: {first.said or 'failed'}", err=True)
        click.echo(f"gazepipe: see {call.folder / 'log' / (first.node + '.log')}.", err=True)
        ctx.exit(first.exit_code)
    note_left(study)
    current = sum(n.state == "up to date" for n in done.nodes)
    say(
        ctx,
        f"run: {len(done.nodes) - current} nodes ran, {current} up to date, in {done.seconds:.1f} s; "
        f"see {folder_of(study) / 'report.md'} and {study.store / 'evaluation.md'}.",
    )
    if report is not None:
        engine.html_report(call, report)
        say(ctx, f"run: Snakemake's report is in {report}.")
    finish(ctx, done.failures, study.store)
