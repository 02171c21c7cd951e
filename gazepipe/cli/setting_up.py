"""Commands that make a study: init, simulate, import."""

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
    print_json,
    say,
    tell_plans,
)
from gazepipe.words import counted

__all__ = ["import_", "init", "simulate"]


@command(
    examples=[
        "gazepipe init study",
        "gazepipe init study --encrypt",
    ]
)
@click.argument("folder", type=PathArgument, default=".")
@click.option("--force", is_flag=True, help="Replace a gazepipe.toml that is there.")
@click.option("--encrypt", is_flag=True, help="Seal the store with a passphrase (extra encryption).")
@click.pass_context
def init(ctx: click.Context, folder: Path, force: bool, encrypt: bool) -> None:
    """Write a commented gazepipe.toml into FOLDER.

    Set [screen] to your screen and viewing distance before anything else: all angles come from it. With --encrypt, the
    passphrase is taken from GAZEPIPE_PASSPHRASE, or from the file that GAZEPIPE_PASSPHRASE_FILE or [encryption] names.
    """
    from gazepipe.atomic import write_atomically
    from gazepipe.config import CONFIG_NAME, template
    from gazepipe.errors import ConfigError

    path = folder / CONFIG_NAME
    if path.exists() and not force:
        msg = f"{path}: is there already; edit it, or replace it with --force."
        raise ConfigError(msg)
    write_atomically(path, template(name=folder.resolve().name, encryption={"enabled": encrypt}).encode())
    say(ctx, f"{path} written; set [screen], then `gazepipe run {folder}`.")


@command(
    examples=[
        "gazepipe simulate demo",
        "gazepipe simulate demo --users 20 --images 100 --repeats 2 --seed 7",
    ]
)
@click.argument("out", type=PathArgument)
@click.option("--users", default=12, show_default=True, type=click.IntRange(1), help="Simulated observers.")
@click.option("--images", default=48, show_default=True, type=click.IntRange(1), help="Drawn scenes.")
@click.option("--rate", "rate_hz", default=250.0, show_default=True, help="Sampling rate in Hz.")
@click.option("--seconds", default=2.0, show_default=True, help="Viewing time of each image.")
@click.option("--repeats", default=1, show_default=True, type=click.IntRange(1), help="Presentations of each image.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--store", "store_name", default="store", show_default=True, help="Store named in its gazepipe.toml.")
@click.option("--force", is_flag=True, help="Replace a simulated study that is there.")
@click.pass_context
def simulate(ctx: click.Context, /, out: Path, store_name: str, force: bool, **options: Any) -> None:
    """Make a study whose truth is known: scenes, observers with preferences, recordings.

    Writes EyeLink ASC and CSV recordings, the images, a gazepipe.toml and the truth behind them into OUT.
    """
    from gazepipe.simulate import simulate_study

    study = simulate_study(out, store=store_name, overwrite=force, **options)
    users, images = len(study.users), study.objects["stimulus"].nunique()
    say(ctx, f"{out}: {counted(users, 'user')}, {counted(images, 'image')}; `gazepipe run {out}`.")


@command(
    "import",
    examples=[
        "gazepipe import osie data/osie --study osie",
        "gazepipe import ps data/ps --images data/ps/images --dry-run",
        "gazepipe import table looks.csv --pixels-per-degree 32 --images photos --column x=fix_x --column y=fix_y",
    ],
)
@click.argument("dataset", type=click.Choice(["osie", "ps", "crowd", "doves", "table"]))
@click.argument("path", type=PathArgument)
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the data set's name.")
@click.option("--images", type=PathArgument, help="Folder of the images, for data sets that come without.")
@click.option("--pixels-per-degree", type=click.FloatRange(0, min_open=True), help="Of a table: image pixels in 1°.")
@click.option("--column", "columns", multiple=True, metavar="WHAT=NAME", help="Of a table: what a column is called.")
@click.option("--duration-unit", type=click.Choice(["ms", "s"]), help="Of a table's durations.  [default: ms]")
@click.option("--frame", metavar="WxH", help="Of a table: size in pixels of images without a file.")
@dry_run_option
@json_option
@click.pass_context
def import_(
    ctx: click.Context,
    /,
    dataset: str,
    path: Path,
    folder: Path | None,
    images: Path | None,
    dry_run: bool,
    as_json: bool,
    **table: Any,
) -> None:
    """Import a published data set.

    Fixations: osie (Xu et al. 2014), ps (Xu et al. 2017), crowd (Jiang et al. 2014). Raw gaze, which is ingested:
    doves (van der Linde et al. 2009). PATH is the data set's folder. The next step is `gazepipe run` on the study
    folder.

    Any other data set of fixations: table. PATH is a CSV, TSV or Parquet file of one row a fixation, with the columns
    user, stimulus, x_px, y_px and duration_ms; --column x=fix_x says where one is called otherwise, --column
    repeat=trial where there is a number of the presentation.
    """
    from gazepipe.datasets import RAW_DATASETS
    from gazepipe.importing import import_dataset, import_recordings, plan_import

    folder = folder or Path(dataset)
    if images and dataset not in ("ps", "table"):
        msg = f"--images is for data sets that come without; {dataset} has its own."
        raise click.UsageError(msg)
    options: dict[str, Any] = {"images": images} if images else {}
    options |= _table_options(dataset, **table)
    if dry_run:
        tell_plans(ctx, plan_import(dataset, path, folder, **options), as_json=as_json)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if dataset in RAW_DATASETS:
        with Show(ctx, "recording") as show:
            study, notes, report = import_recordings(dataset, path, folder, show=show.of("ingest"))
        n = len(report.written) + len(report.current)
        if as_json:
            rows = {"store": study.store, "recordings": n, "notes": [*notes, *report.warnings]}
            print_json({"stage": "import", "dataset": dataset, **rows, "failures": failure_rows(report.failures)})
            finish(ctx, report.failures, study.store)
            return
        for note in notes:
            say(ctx, f"note: {note}")
        say(ctx, f"import: {counted(n, 'recording')} of {dataset} in {study.store}; next: `gazepipe run {folder}`.")
        finish(ctx, report.failures, study.store, report.warnings)
        return
    with Show(ctx, "user") as show:
        study, notes = import_dataset(dataset, path, folder, show=show.of("import"), **options)
    n = len(study.manifest("import")["recordings"])
    if as_json:
        rows = {"store": study.store, "recordings": n, "notes": notes, "failures": []}
        print_json({"stage": "import", "dataset": dataset, **rows})
        return
    for note in notes:
        say(ctx, f"note: {note}")
    say(ctx, f"import: {counted(n, 'user')} of {dataset} in {study.store}; next: `gazepipe run {folder}`.")


def _table_options(
    dataset: str,
    pixels_per_degree: float | None,
    columns: tuple[str, ...],
    duration_unit: str | None,
    frame: str | None,
) -> dict[str, Any]:
    """What says how a table of fixations is read, checked as far as that needs no table."""
    if dataset != "table":
        if pixels_per_degree or columns or duration_unit or frame:
            msg = "--pixels-per-degree, --column, --duration-unit and --frame belong to the data set 'table'."
            raise click.UsageError(msg)
        return {}
    if not pixels_per_degree:
        msg = "a table says nothing about angles: give --pixels-per-degree, of its images."
        raise click.UsageError(msg)
    pairs = [column.partition("=") for column in columns]
    wrong = next((what for what, equals, _ in pairs if not equals), None)
    if wrong:
        msg = f"--column {wrong}: expected WHAT=NAME, for example x=fix_x."
        raise click.UsageError(msg)
    options: dict[str, Any] = {"pixels_per_degree": pixels_per_degree, "columns": {k: v for k, _, v in pairs}}
    options |= {"duration_unit": duration_unit} if duration_unit else {}
    if frame:
        width, _, height = frame.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) * int(height)):
            msg = f"--frame {frame}: expected width and height in pixels, for example 800x600."
            raise click.UsageError(msg)
        options["frame"] = (int(width), int(height))
    return options
