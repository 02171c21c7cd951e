"""Commands from maps to figures: build-psm, train, evaluate, and run, which is all of them."""

from __future__ import annotations

from pathlib import Path

import click

from gazepipe.cli._shared import (
    PathArgument,
    Show,
    finish,
    network_options,
    open_study,
    person_line,
    say,
    study_options,
)

__all__ = ["build_psm", "evaluate", "run", "train"]


@click.command("build-psm", short_help="Build personal and universal saliency maps.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@click.option("--force", is_flag=True, help="Build everything again.")
@click.pass_context
def build_psm(ctx: click.Context, folder: Path | None, config: Path | None, to: Path | None, force: bool) -> None:
    """Build personal and universal saliency maps of all ingested users."""
    from gazepipe.build import build_psm as stage

    study = open_study(folder, config, to)
    with Show(ctx, "user") as show:
        report = stage(study, force=force, show=show.of("build-psm"))
    say(
        ctx,
        f"build-psm: {report.n_maps} maps on {report.n_stimuli} images; {len(report.written)} users written, "
        f"{len(report.current)} up to date.",
    )
    finish(ctx, report.failures, study.store)


@click.command(short_help="Train the networks.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option(
    "--preset",
    type=click.Choice(["paper", "best", "registered"]),
    help="Settings in place of [embedding] and [refiner].",
)
@click.option("--force", is_flag=True, help="Train again.")
@click.pass_context
def train(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
    preset: str | None,
    force: bool,
) -> None:
    """Train the embedding network, the refiner and the universal predictor."""
    from gazepipe.train import train as stage

    study = open_study(folder, config, to)
    with Show(ctx, "step") as show:
        report = stage(
            study,
            preset=preset,
            device=device,
            threads=threads,
            force=force,
            show=lambda network, *p: show(f"train {network}", *p),
        )
    for name, best in report.best.items():
        state = "trained" if name in report.trained else "up to date"
        figures = ", ".join(f"{k} {v:.3f}" for k, v in best.items() if k not in ("seconds", "step", "epoch"))
        say(ctx, f"train: {name} {state} (best validation: {figures}).")


@click.command(short_help="Score maps and identification on unseen users.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option("--force", is_flag=True, help="Evaluate again.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
    force: bool,
) -> None:
    """Score predicted maps and identification on test users and test images."""
    from gazepipe.evaluate import evaluate as stage

    study = open_study(folder, config, to)
    with Show(ctx, "part") as show:
        result = stage(study, device=device, threads=threads, force=force, show=show.of("evaluate"))
    say(ctx, result.markdown())
    say(ctx, f"evaluate: written to {study.store / 'evaluation.md'} and evaluation.json.")


@click.command(short_help="Run every stage in order.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option("--jobs", type=click.IntRange(1), help="Processes of ingest.")
@click.option("--images", default=1, show_default=True, type=click.IntRange(0), help="Test images drawn for each user.")
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
) -> None:
    """Run everything: ingest, build-psm, train, enrol, predict, evaluate.

    FOLDER is the study (default: the current folder). Only what is not up to date is done.
    """
    from gazepipe.pipeline import run as pipeline

    study = open_study(folder, config, to)
    with Show(ctx) as show:
        report = pipeline(study, jobs=jobs, device=device, threads=threads, images=images, show=show)
    say(ctx, "")
    for stage, text in report.counts.items():
        say(ctx, f"{stage:<10} {report.seconds[stage]:7.1f} s  {text}")
    if report.gallery:
        say(ctx, f"\nGallery ({study.gallery_file}):")
        for person in report.gallery.people:
            say(ctx, "  " + person_line(person))
    if report.evaluation:
        say(ctx, "\n" + report.evaluation.markdown())
    finish(ctx, report.failures, study.store, report.warnings)
