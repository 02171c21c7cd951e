"""Commands from maps to figures: build-psm, train, evaluate, crossvalidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    PathArgument,
    Show,
    dry_run_option,
    failure_rows,
    finish,
    json_option,
    network_options,
    open_study,
    print_json,
    say,
    study_options,
    tell_plans,
)
from gazepipe.words import counted

__all__ = ["build_psm", "crossvalidate", "evaluate", "train"]


@command(
    "build-psm",
    examples=[
        "gazepipe build-psm study",
        "gazepipe build-psm study --dry-run --json",
        "gazepipe build-psm study --shard 2/8",
    ],
)
@click.argument("folder", type=PathArgument, required=False)
@study_options
@click.option("--force", is_flag=True, help="Build everything again.")
@click.option("--shard", help="Only part K of N of the users, as K/N; then `gazepipe gather`.")
@dry_run_option
@json_option
@click.pass_context
def build_psm(
    ctx: click.Context,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    force: bool,
    shard: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build personal and universal saliency maps of all ingested users.

    A user's maps are made again only when one of the recordings, an image's size or [psm] changed.
    """
    from gazepipe.build import build_psm as stage
    from gazepipe.build import plan_build
    from gazepipe.shards import Shard

    part = None if shard is None else Shard.parse(shard)
    if part is not None and dry_run:
        msg = "--shard does not go with --dry-run."
        raise click.UsageError(msg)
    study = open_study(folder, config, to)
    if dry_run:
        tell_plans(ctx, plan_build(study, force=force), as_json=as_json)
        return
    with Show(ctx, "user") as show:
        report = stage(study, force=force, shard=part, show=show.of("build-psm"))
    if as_json:
        print_json(
            {
                "stage": "build-psm",
                "store": study.store,
                "maps": report.n_maps,
                "images": report.n_stimuli,
                "written": report.written,
                "up_to_date": report.current,
                "removed": report.removed,
                "failures": failure_rows(report.failures),
            }
        )
        finish(ctx, report.failures, study.store, kept=part is None)
        return
    on = f" on {counted(report.n_stimuli, 'image')}" if part is None else f" of shard {part}"
    gone = f", {len(report.removed)} removed" if report.removed else ""
    say(
        ctx,
        f"build-psm: {counted(report.n_maps, 'map')}{on}; {counted(len(report.written), 'user')} written, "
        f"{len(report.current)} up to date{gone}.",
    )
    finish(ctx, report.failures, study.store, kept=part is None)


@command(
    examples=[
        "gazepipe train study",
        "gazepipe train study --preset best --dry-run",
        "torchrun --nproc-per-node 2 -m gazepipe train study",
    ]
)
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option(
    "--preset",
    type=click.Choice(["paper", "best", "robust", "registered"]),
    help="Settings in place of [embedding] and [refiner].",
)
@click.option("--force", is_flag=True, help="Train again from the beginning.")
@dry_run_option
@json_option
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
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the networks: embedding, refiner, viewing profile and universal predictor.

    A training that was interrupted goes on where it was. Several processes or GPUs:
    torchrun --nproc-per-node 2 -m gazepipe train FOLDER.
    """
    from gazepipe.train import plan_training
    from gazepipe.train import train as stage

    study = open_study(folder, config, to)
    if dry_run:
        tell_plans(ctx, plan_training(study, preset=preset, force=force), as_json=as_json)
        return
    with Show(ctx, "step") as show:
        report = stage(
            study,
            preset=preset,
            device=device,
            threads=threads,
            force=force,
            show=lambda network, *p: show(f"train {network}", *p),
        )
    if as_json:
        print_json(
            {
                "stage": "train",
                "store": study.store,
                "trained": report.trained,
                "up_to_date": report.current,
                "best": report.best,
            }
        )
        return
    for name, best in report.best.items():
        state = "trained" if name in report.trained else "up to date"
        figures = ", ".join(f"{k} {v:.3f}" for k, v in best.items() if k not in ("seconds", "step", "epoch"))
        say(ctx, f"train: {name} {state} (best validation: {figures}).")


@command(
    examples=[
        "gazepipe evaluate study",
        "gazepipe evaluate study --tables --figures --out results",
        "gazepipe evaluate study --json",
    ]
)
@click.argument("folder", type=PathArgument, required=False)
@study_options
@network_options
@click.option("--tables", is_flag=True, help="Write the paper's tables with tests, as Markdown and CSV.")
@click.option("--figures", is_flag=True, help="Draw the paper's Figures 4 to 6, as PNG and SVG (extra `report`).")
@click.option(
    "--out", type=PathArgument, help="Folder for tables and figures; default: tables and figures in the store."
)
@click.option("--force", is_flag=True, help="Evaluate again.")
@dry_run_option
@json_option
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
    dry_run: bool,
    as_json: bool,
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
    if dry_run:
        plan = stage.plan_evaluation(study, device=device, force=force)
        for asked, name in ((tables, "tables"), (figures, "figures")):
            if asked:
                plan.add(str(out or study.store / name), "made", "drawn anew" if name == "figures" else "written anew")
        tell_plans(ctx, plan, as_json=as_json)
        return
    with Show(ctx, "part") as show:
        result = stage.evaluate(study, device=device, threads=threads, force=force, show=show.of("evaluate"))
    if not as_json:
        say(ctx, result.markdown())
        say(ctx, f"evaluate: written to {study.store / 'evaluation.md'} and evaluation.json.")
    made = stage.write_tables(study, result, out) if tables else []
    made += stage.draw_figures(study, result, to=out, device=device, threads=threads) if figures else []
    if as_json:
        print_json({"stage": "evaluate", "store": study.store, **result.content(), "files": made})
        return
    for path in made:
        say(ctx, f"evaluate: {path}")


@command(
    examples=[
        "gazepipe crossvalidate study --folds 5 --preset best",
        "gazepipe crossvalidate study --folds 4 --no-maps --minutes 10 --dry-run",
    ]
)
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
@dry_run_option
@json_option
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
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train and test in folds, so that everybody is unseen once.

    Each fold trains all networks anew without its test users. Folds are stored one by one: a run that was stopped goes
    on where it was. In the closed protocol images are cut into folds, and users are known.
    """
    from gazepipe import crossvalidate as stage

    study = open_study(folder, config, to)
    options: dict[str, Any] = {"folds": folds, "repeats": repeats, "preset": preset, "maps": not no_maps}
    options |= {"minutes": minutes, "force": force}
    if dry_run:
        tell_plans(ctx, stage.plan_folds(study, **options), as_json=as_json)
        return
    with Show(ctx, "step") as show:
        result = stage.crossvalidate(study, device=device, threads=threads, show=show, **options)
    if as_json:
        folder_of = stage.folder_of(study, preset, not no_maps)
        print_json({"stage": "crossvalidate", "folder": folder_of, **result.content()})
        return
    say(ctx, result.markdown())
    say(ctx, f"crossvalidate: written to {stage.folder_of(study, preset, not no_maps)}.")
