"""The command line. Each command parses, calls one stage and prints; everything heavy is imported inside it."""

from __future__ import annotations

import functools
import os
import shutil
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gazepipe import __version__
from gazepipe.errors import GazepipeError, plain

if TYPE_CHECKING:
    from gazepipe.study import Failure, Study

__all__ = ["main"]

EXIT_CODES = """\b
Exit codes: 0 all done; 1 unexpected error; 2 wrong option or configuration;
3 some inputs could not be used (the others are done); 4 nothing to do;
6 another run holds the store; 7 writing failed (disk full …);
8 a stored file is damaged; 130 interrupted."""


class _Group(click.Group):
    """Turns errors into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GazepipeError as error:
            if ctx.params.get("show_traceback"):
                traceback.print_exc()
            click.echo(f"gazepipe: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("gazepipe: interrupted; what was finished is stored, run again to go on.", err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, message="gazepipe %(version)s")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary; errors only.")
@click.option("--traceback", "show_traceback", is_flag=True, help="Show where in the program an error arose.")
@click.pass_context
def main(ctx: click.Context, quiet: bool, show_traceback: bool) -> None:
    """From raw gaze to a person's embedding and personal saliency maps.

    A study is a folder with a gazepipe.toml, recordings and images. The usual order is init, run; or, stage by stage,
    ingest, build-psm, train, enrol, predict, evaluate. Every stage does only what is not up to date.
    """
    from gazepipe import compute

    compute.prepare()
    # Of several processes that torchrun started, the first one speaks.
    ctx.obj = {"quiet": quiet or int(os.environ.get("RANK", "0")) > 0}


# ---- shared options -------------------------------------------------------------------------------------------------

PathArgument = click.Path(path_type=Path)


def _study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--config", type=PathArgument, help="gazepipe.toml, if it is neither in the folder nor here."),
        click.option("--store", "to", type=PathArgument, help="Store, if not where the configuration says."),
    ]
    return functools.reduce(lambda c, option: option(c), reversed(options), command)


def _network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto (a GPU if there is one)."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads of the networks; default: the idle cores."),
    ]
    return functools.reduce(lambda c, option: option(c), reversed(options), command)


def _open(where: Path | None, config: Path | None, to: Path | None) -> Study:
    from gazepipe.study import Study

    return Study.open(where, config=config, to=to)


class _Show:
    """One progress display after another, as the stages come."""

    def __init__(self, ctx: click.Context, unit: str = "") -> None:
        self.quiet, self.unit, self.task = ctx.obj["quiet"], unit, ""
        self.display: Any = None

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        from gazepipe.progress import Progress

        if task != self.task:
            self.close()
            self.task, self.display = task, Progress(task, total, self.unit, quiet=self.quiet)
        self.display.update(done, total, note)

    def of(self, task: str) -> Callable[[int, int, str], None]:
        return functools.partial(self, task)

    def close(self) -> None:
        if self.display is not None:
            self.display.__exit__()
            self.display = None

    def __enter__(self) -> _Show:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _say(ctx: click.Context, text: str) -> None:
    if not ctx.obj["quiet"]:
        click.echo(text)


_NOTES_SHOWN = 12


def _finish(
    ctx: click.Context,
    failures: Iterable[Failure],
    store: Path,
    warnings: Iterable[str] = (),
    root: Path | None = None,
) -> None:
    """List warnings and failures; exit 3 if anything could not be used."""
    from gazepipe.failures import SENTENCES, failure_table

    if not ctx.obj["quiet"]:
        notes = list(warnings)
        for note in notes[:_NOTES_SHOWN]:
            click.echo(f"note: {plain(note)}", err=True)
        if len(notes) > _NOTES_SHOWN:
            click.echo(f"… and {len(notes) - _NOTES_SHOWN} more notes, kept with each stored recording.", err=True)
    failed = list(failures)
    if len(failed) > SENTENCES:
        width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 160)
        click.echo(failure_table(failed, store.parent if root is None else root, width) + "\n", err=True)
    else:
        for failure in failed:
            click.echo(f"{'partly used' if failure.partial else 'not used'}: {failure.message}", err=True)
    if failed:
        click.echo(
            f"gazepipe: {len(failed)} inputs not used, or only partly; see {store / 'failures.jsonl'}.", err=True
        )
        ctx.exit(3)


# ---- setting up -----------------------------------------------------------------------------------------------------


@main.command()
@click.argument("folder", type=PathArgument, default=".")
@click.option("--force", is_flag=True, help="Replace a gazepipe.toml that is there.")
@click.pass_context
def init(ctx: click.Context, folder: Path, force: bool) -> None:
    """Write a commented gazepipe.toml into FOLDER.

    Set [screen] to your screen and viewing distance before anything else: all angles come from it.
    """
    from gazepipe import store
    from gazepipe.config import CONFIG_NAME, template
    from gazepipe.errors import ConfigError

    path = folder / CONFIG_NAME
    if path.exists() and not force:
        msg = f"{path}: is there already; edit it, or replace it with --force."
        raise ConfigError(msg)
    store.write_atomically(path, template(name=folder.resolve().name).encode())
    _say(ctx, f"{path} written; set [screen], then `gazepipe run {folder}`.")


@main.command(short_help="Make a study whose truth is known.")
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
    _say(ctx, f"{out}: {len(study.users)} users, {study.objects['stimulus'].nunique()} images; `gazepipe run {out}`.")


@main.command(name="import", short_help="Import a published data set.")
@click.argument("dataset", type=click.Choice(["osie", "ps", "crowd", "doves", "table"]))
@click.argument("path", type=PathArgument)
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the data set's name.")
@click.option("--images", type=PathArgument, help="Folder of the images, for data sets that come without.")
@click.option("--pixels-per-degree", type=click.FloatRange(0, min_open=True), help="Of a table: image pixels in 1°.")
@click.option("--column", "columns", multiple=True, metavar="WHAT=NAME", help="Of a table: what a column is called.")
@click.option("--duration-unit", type=click.Choice(["ms", "s"]), help="Of a table's durations.  [default: ms]")
@click.option("--frame", metavar="WxH", help="Of a table: size in pixels of images without a file.")
@click.pass_context
def import_(
    ctx: click.Context, /, dataset: str, path: Path, folder: Path | None, images: Path | None, **table: Any
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
    from gazepipe.importing import import_dataset, import_recordings

    folder = folder or Path(dataset)
    if images and dataset not in ("ps", "table"):
        msg = f"--images is for data sets that come without; {dataset} has its own."
        raise click.UsageError(msg)
    options: dict[str, Any] = {"images": images} if images else {}
    options |= _table_options(dataset, **table)
    folder.mkdir(parents=True, exist_ok=True)
    if dataset in RAW_DATASETS:
        with _Show(ctx, "recording") as show:
            study, notes, report = import_recordings(dataset, path, folder, show=show.of("ingest"))
        for note in notes:
            _say(ctx, f"note: {note}")
        n = len(report.written) + len(report.current)
        _say(ctx, f"import: {n} recordings of {dataset} in {study.store}; next: `gazepipe run {folder}`.")
        _finish(ctx, report.failures, study.store, report.warnings)
        return
    with _Show(ctx, "user") as show:
        study, notes = import_dataset(dataset, path, folder, show=show.of("import"), **options)
    for note in notes:
        _say(ctx, f"note: {note}")
    n = len(study.manifest("import")["recordings"])
    _say(ctx, f"import: {n} users of {dataset} in {study.store}; next: `gazepipe run {folder}`.")


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


# ---- stages ---------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("recordings", type=PathArgument, required=False)
@_study_options
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: the cores, for sixteen files and more.")
@click.option("--force", is_flag=True, help="Read everything again.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that cannot be used.")
@click.option("-n", "--dry-run", is_flag=True, help="Read, but write nothing: say what would be done with each file.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan of --dry-run as JSON.")
@click.pass_context
def ingest(
    ctx: click.Context,
    recordings: Path | None,
    config: Path | None,
    to: Path | None,
    jobs: int | None,
    force: bool,
    fail_fast: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read recordings: samples, trials, fixations, quality.

    RECORDINGS is a folder of EyeLink ASC or CSV files (.gz too). One bad file never stops the others.
    """
    from gazepipe import ingest as stage

    study = _open(recordings, config, to)
    if as_json and not dry_run:
        msg = "--json goes with --dry-run; `gazepipe quality --json` prints what was measured."
        raise click.UsageError(msg)
    if dry_run:
        _dry_run(ctx, study, jobs=jobs, force=force, as_json=as_json)
        return
    with _Show(ctx, "recording") as show:
        report = stage.ingest(study, jobs=jobs, force=force, fail_fast=fail_fast, show=show.of("ingest"))
    text = f"ingest: {len(report.written)} written, {len(report.current)} up to date, {report.failed} not usable"
    _say(ctx, f"{text}, in {study.store / 'recordings'}.")
    _finish(ctx, report.failures, study.store, report.warnings, study.recordings)


def _dry_run(ctx: click.Context, study: Study, *, jobs: int | None, force: bool, as_json: bool) -> None:
    """Print what an ingest would do; exit 3 if a file cannot be used."""
    import json

    from gazepipe.preview import preview

    with _Show(ctx, "recording") as show:
        found = preview(study, jobs=jobs, force=force, show=None if as_json else show.of("dry run"))
    if as_json:
        click.echo(json.dumps(found.content(), indent=1, ensure_ascii=False))
    else:
        _say(ctx, found.table())
    if not ctx.obj["quiet"] and not as_json:
        for note in found.notes[:_NOTES_SHOWN]:
            click.echo(f"note: {note}", err=True)
        if len(found.notes) > _NOTES_SHOWN:
            click.echo(f"… and {len(found.notes) - _NOTES_SHOWN} more notes; --json has all.", err=True)
    if found.unusable:
        ctx.exit(3)


@main.command(short_help="Print the data quality of users or recordings.")
@click.argument("folder", type=PathArgument, required=False)
@_study_options
@click.option(
    "--by", type=click.Choice(["user", "recording"]), default="user", show_default=True, help="What a row is."
)
@click.option("--json", "as_json", is_flag=True, help="All figures, as JSON.")
@click.pass_context
def quality(
    ctx: click.Context, folder: Path | None, config: Path | None, to: Path | None, by: str, as_json: bool
) -> None:
    """Print the data quality of all ingested users, or of each of their recordings."""
    import json

    from gazepipe.user_quality import quality_table, stored_quality

    figures = stored_quality(_open(folder, config, to), by)
    click.echo(json.dumps(figures, indent=1, ensure_ascii=False) if as_json else quality_table(figures, by))


@main.command(short_help="Write recordings as BIDS or Parquet.")
@click.argument("out", type=PathArgument)
@click.argument("folder", type=PathArgument, required=False)
@click.option("--format", "format_", type=click.Choice(["bids", "parquet"]), default="bids", show_default=True)
@click.option("--users", help="Only these pseudonyms, with commas between them; default: all.")
@click.option("--task", help="Task label of BIDS: letters and digits.  [default: viewing]")
@click.option("--no-stimuli", is_flag=True, help="Leave the images out of BIDS.")
@_study_options
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
    import json

    from gazepipe.export import export_study

    if format_ != "bids" and (task or no_stimuli):
        msg = "--task and --no-stimuli belong to --format bids."
        raise click.UsageError(msg)
    options = {"task": task or "viewing", "stimuli": not no_stimuli} if format_ == "bids" else {}
    study = _open(folder, config, to)
    names = [u.strip() for u in (users or "").split(",") if u.strip()]
    with _Show(ctx, "recording") as show:
        report = export_study(
            study, out, format_, users=names, force=force, dry_run=dry_run, show=show.of("export"), **options
        )
    if as_json:
        click.echo(json.dumps(report.summary(), indent=1, ensure_ascii=False))
    else:
        for name in report.files if dry_run else ():
            _say(ctx, name)
        done = "would be written" if dry_run else "written"
        _say(ctx, f"export: {len(report.recordings)} recordings, {len(report.files)} files {done} to {out}.")
    _finish(ctx, report.failures, study.store, report.notes)


@main.command("build-psm", short_help="Build personal and universal saliency maps.")
@click.argument("folder", type=PathArgument, required=False)
@_study_options
@click.option("--force", is_flag=True, help="Build everything again.")
@click.pass_context
def build_psm(ctx: click.Context, folder: Path | None, config: Path | None, to: Path | None, force: bool) -> None:
    """Build personal and universal saliency maps of all ingested users."""
    from gazepipe.build import build_psm as stage

    study = _open(folder, config, to)
    with _Show(ctx, "user") as show:
        report = stage(study, force=force, show=show.of("build-psm"))
    _say(
        ctx,
        f"build-psm: {report.n_maps} maps on {report.n_stimuli} images; {len(report.written)} users written, "
        f"{len(report.current)} up to date.",
    )
    _finish(ctx, report.failures, study.store)


@main.command(short_help="Train the networks.")
@click.argument("folder", type=PathArgument, required=False)
@_study_options
@_network_options
@click.option(
    "--preset",
    type=click.Choice(["paper", "best", "registered"]),
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

    study = _open(folder, config, to)
    with _Show(ctx, "step") as show:
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
        _say(ctx, f"train: {name} {state} (best validation: {figures}).")


@main.command(short_help="Put a person into the gallery.")
@click.argument("recordings", type=PathArgument, nargs=-1)
@click.option("--user", required=True, help="Pseudonym of the person.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@_study_options
@_network_options
@click.pass_context
def enrol(
    ctx: click.Context,
    recordings: tuple[Path, ...],
    user: str,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Put a person into the gallery: recordings to embedding.

    RECORDINGS are files or folders of a person who was not in training. Without them the person must be in the
    store already. No network is changed.
    """
    from gazepipe import enrol as stage

    study = _open(folder, config, to)
    failures = stage.take_in(study, user, recordings) if recordings else []
    gallery = stage.enrol(study, [user], device=device, threads=threads)
    person = gallery[user]
    _say(ctx, _person(person))
    _say(ctx, f"enrol: {len(gallery.people)} people in {study.gallery_file}.")
    _finish(ctx, failures, study.store)


def _person(person: Any) -> str:
    near = f"nearest {person.nearest} at cosine {person.nearest_cosine:.3f}, margin {person.margin:+.3f}"
    near = near if person.nearest else "nobody else in the gallery yet"
    return (
        f"{person.user}: {person.role}, {person.n_pairs} image-PSM pairs, dispersion {person.dispersion:.3f}, "
        f"{near}, d' {person.d_prime:.2f}"
    )


@main.command(short_help="Predict a person's saliency maps of images.")
@click.argument("images", type=PathArgument, nargs=-1, required=True)
@click.option("--user", required=True, help="Somebody in the gallery.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@click.option(
    "--usm",
    default="auto",
    show_default=True,
    help="Universal map: store (people who looked), predicted, deepgaze, a folder, or auto (store, else predicted).",
)
@click.option("--out", type=PathArgument, help="Folder for the results; default: predictions/USER in the store.")
@_study_options
@_network_options
@click.pass_context
def predict(
    ctx: click.Context,
    images: tuple[Path, ...],
    user: str,
    folder: Path | None,
    usm: str,
    out: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Predict a person's saliency map of images: PNG overlay and NPY array.

    IMAGES are files or folders.
    """
    from gazepipe.predict import predict as stage

    study = _open(folder, config, to)
    with _Show(ctx, "image") as show:
        made, failures = stage(
            study, user, images, usm=usm, to=out, device=device, threads=threads, show=show.of("predict")
        )
    for p in made:
        _say(ctx, f"{p.image}: {p.overlay_file} and {p.array_file.name}, universal map {p.source}.")
    _finish(ctx, failures, study.store)


@main.command(short_help="Score maps and identification on unseen users.")
@click.argument("folder", type=PathArgument, required=False)
@_study_options
@_network_options
@click.option("--tables", is_flag=True, help="Write the paper's tables with tests, as Markdown and CSV.")
@click.option("--figures", is_flag=True, help="Draw the paper's Figures 4 to 6, as PNG and SVG (extra `figures`).")
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

    study = _open(folder, config, to)
    if out and not (tables or figures):
        msg = "--out says where --tables and --figures go; give one of them."
        raise click.UsageError(msg)
    if figures:
        from gazepipe.evaluation.figures import check_matplotlib

        check_matplotlib()
    with _Show(ctx, "part") as show:
        result = stage.evaluate(study, device=device, threads=threads, force=force, show=show.of("evaluate"))
    _say(ctx, result.markdown())
    _say(ctx, f"evaluate: written to {study.store / 'evaluation.md'} and evaluation.json.")
    made = stage.write_tables(study, result, out) if tables else []
    made += stage.draw_figures(study, result, to=out, device=device, threads=threads) if figures else []
    for path in made:
        _say(ctx, f"evaluate: {path}")


@main.command(short_help="Train and test so that everybody is unseen once.")
@click.argument("folder", type=PathArgument, required=False)
@_study_options
@_network_options
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2), help="Parts that users are cut into.")
@click.option("--repeats", default=1, show_default=True, type=click.IntRange(1), help="How often that is done anew.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "best", "registered"]),
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

    study = _open(folder, config, to)
    with _Show(ctx, "step") as show:
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
    _say(ctx, result.markdown())
    _say(ctx, f"crossvalidate: written to {stage.folder_of(study, preset, not no_maps)}.")


@main.command(short_help="Run every stage in order.")
@click.argument("folder", type=PathArgument, required=False)
@_study_options
@_network_options
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

    study = _open(folder, config, to)
    with _Show(ctx) as show:
        report = pipeline(study, jobs=jobs, device=device, threads=threads, images=images, show=show)
    _say(ctx, "")
    for stage, text in report.counts.items():
        _say(ctx, f"{stage:<10} {report.seconds[stage]:7.1f} s  {text}")
    if report.gallery:
        _say(ctx, f"\nGallery ({study.gallery_file}):")
        for person in report.gallery.people:
            _say(ctx, "  " + _person(person))
    if report.evaluation:
        _say(ctx, "\n" + report.evaluation.markdown())
    _finish(ctx, report.failures, study.store, report.warnings)
