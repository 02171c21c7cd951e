"""Commands from maps to figures: build-psm, train, evaluate, crossvalidate."""

from __future__ import annotations

from pathlib import Path

import click

from gazepipe.cli._shared import (
    PathArgument,
    Show,
    finish,
    network_options,
    open_study,
    say,
    study_options,
)

__all__ = ["build_psm", "crossvalidate", "evaluate", "train"]


@click.command("build-psm", short_help="Build personal and universal saliency maps.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@click.option("--force", is_flag=True, help="Build everything again.")
@click.option("--shard", help="Only part K of N of the users, as K/N; then `gazepipe gather`.")
@click.pass_context
def build_psm(
    ctx: click.Context, folder: Path | None, config: Path | None, to: Path | None, force: bool, shard: str | None
) -> None:
    """Build personal and universal saliency maps of all ingested users."""
    from gazepipe.build import build_psm as stage
    from gazepipe.shards import Shard

    part = None if shard is None else Shard.parse(shard)
    study = open_study(folder, config, to)
    with Show(ctx, "user") as show:
        report = stage(study, force=force, shard=part, show=show.of("build-psm"))
    on = f" on {report.n_stimuli} images" if part is None else f" of shard {part}"
    gone = f", {len(report.removed)} removed" if report.removed else ""
    say(
        ctx,
        f"build-psm: {report.n_maps} maps{on}; {len(report.written)} users written, "
        f"{len(report.current)} up to date{gone}.",
    )
    finish(ctx, report.failures, study.store, kept=part is None)


@click.command(short_help="Train the networks.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option(
    "--preset",
    type=click.Choice(["paper", "best", "robust", "registered"]),
    help="Settings in place of [embedding] and [refiner].",
)
@click.option("--force", is_flag=True, help="Train again from the beginning.")
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
    """Train the embedding network, the refiner and the universal predictor.

    A training that was interrupted goes on where it was. Several processes or GPUs:
    torchrun --nproc-per-node 2 -m gazepipe train FOLDER.
    """
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
@click.option("--tables", is_flag=True, help="Write the paper's tables with tests, as Markdown and CSV.")
@click.option("--figures", is_flag=True, help="Draw the paper's Figures 4 to 6, as PNG and SVG (extra `report`).")
@click.option(
    "--out", type=PathArgument, help="Folder for tables and figures; default: tables and figures in the store."
)
@click.option("--force", is_flag=True, help="Evaluate again.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
    tables: bool,
    figures: bool,
    out: Path | None,
    force: bool,
) -> None:
    """Score predicted maps and identification on test users and test images."""
    from gazepipe import evaluate as stage

    study = open_study(folder, config, to)
    if out and not (tables or figures):
        msg = "--out says where --tables and --figures go; give one of them."
        raise click.UsageError(msg)
    if figures:
        from gazepipe.plotting import check_library
        from gazepipe.sealing import refuse_in_the_clear

        check_library()
        refuse_in_the_clear(study.store, out, "figures show people's maps")
    with Show(ctx, "part") as show:
        result = stage.evaluate(study, device=device, threads=threads, force=force, show=show.of("evaluate"))
    say(ctx, result.markdown())
    say(ctx, f"evaluate: written to {study.store / 'evaluation.md'} and evaluation.json.")
    made = stage.write_tables(study, result, out) if tables else []
    made += stage.draw_figures(study, result, to=out, device=device, threads=threads) if figures else []
    for path in made:
        say(ctx, f"evaluate: {path}")


@click.command(short_help="Train and test so that everybody is unseen once.")
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Parts that users are cut into.")
@click.option("--repeats", default=1, show_default=True, type=click.IntRange(1), help="How often that is done anew.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "best", "robust", "registered"]),
    help="Settings in place of [embedding] and [refiner].",
)
@click.option("--no-maps", is_flag=True, help="Embeddings only: no refiner, no universal predictor, no scores of maps.")
@click.option(
    "--minutes", default=0.0, type=click.FloatRange(0), help="Training of a fold takes at most about so long."
)
@click.option("--force", is_flag=True, help="Do folds again that are stored.")
@click.pass_context
def crossvalidate(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
    folds: int,
    repeats: int,
    preset: str | None,
    no_maps: bool,
    minutes: float,
    force: bool,
) -> None:
    """Train and test in folds, so that everybody is unseen once.

    Each fold trains all networks anew without its test users. Folds are stored one by one: a run that was stopped goes
    on where it was. In the closed protocol images are cut into folds, and users are known.
    """
    from gazepipe import crossvalidate as stage

    study = open_study(folder, config, to)
    with Show(ctx, "step") as show:
        result = stage.crossvalidate(
            study,
            folds=folds,
            repeats=repeats,
            preset=preset,
            maps=not no_maps,
            minutes=minutes,
            device=device,
            threads=threads,
            force=force,
            show=show,
        )
    say(ctx, result.markdown())
    say(ctx, f"crossvalidate: written to {stage.folder_of(study, preset, not no_maps)}.")
