"""The command line. Each command parses, calls one stage and prints; everything heavy is imported inside it.

One module for each group of commands; `SECTIONS` puts them together, and imports only the one that is asked for.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import click

from gazepipe import __version__
from gazepipe.cli._command import LazyGroup
from gazepipe.errors import GazepipeError, OutOfMemoryError, StorageError, lacks_memory, no_access, plain
from gazepipe.interruption import end_in_order, was_interrupted

__all__ = ["SECTIONS", "main"]

#: Section of the help → command → where it is, and what the list says of it.
SECTIONS = {
    "Study": {
        "init": ("setting_up:init", "Write a commented gazepipe.toml."),
        "simulate": ("setting_up:simulate", "Make a study whose truth is known."),
        "fetch": ("fetching:fetch", "Fetch a published data set."),
        "import": ("setting_up:import_", "Import a published data set."),
        "run": ("running:run", "Run every stage in order."),
        "status": ("environment:status", "Show how far a study is, and what comes next."),
    },
    "Recordings": {
        "ingest": ("recordings:ingest", "Read recordings: samples, trials, fixations, quality."),
        "quality": ("recordings:quality", "Print the data quality of users or recordings."),
        "export": ("recordings:export", "Write recordings as BIDS or Parquet."),
    },
    "Maps and networks": {
        "build-psm": ("stages:build_psm", "Build personal and universal saliency maps."),
        "train": ("stages:train", "Train the networks."),
        "evaluate": ("stages:evaluate", "Score maps and identification on unseen users."),
        "crossvalidate": ("stages:crossvalidate", "Train and test so that everybody is unseen once."),
        "gather": ("running:gather", "Join what shards of a stage left."),
    },
    "People": {
        "enrol": ("people:enrol", "Put a person into the gallery."),
        "identify": ("people:identify", "Find out whose recordings these are."),
        "verify": ("people:verify", "Check recordings against a person, or the store."),
        "predict": ("people:predict", "Predict people's saliency maps of images."),
    },
    "Lab": {
        "session": ("live:session", "Record a person looking at images."),
        "markers": ("screens:markers", "Draw markers to put around the screen."),
        "map-screen": ("screens:map_screen", "Map scene-camera gaze to the screen."),
    },
    "Reports": {
        "report": ("reporting:report", "Write a report of the study as one HTML page."),
        "compare": ("reporting:compare", "Compare two users, or two evaluated runs."),
    },
    "Store and privacy": {
        "info": ("stores:info", "Show what a store, or a file of it, holds."),
        "forget": ("privacy:forget", "Remove a person, and what was made of their gaze."),
        "audit": ("privacy:audit", "Show, or check, the log of what was done to a store."),
        "consent": ("privacy:consent", "Keep consent forms on record."),
    },
    "This computer": {
        "doctor": ("environment:doctor", "Check versions, extras, GPU, storage."),
        "completion": ("environment:completion", "Print a script that completes commands in a shell."),
    },
}

EXIT_CODES = """\b
Exit codes: 0 all done; 1 anything else, such as a tracker not reached;
2 wrong option or configuration;
3 some inputs could not be used (the others are done); 4 nothing to do;
5 quality below threshold (--strict-qc);
6 another run holds the store; 7 writing failed (disk full …);
8 a stored file is damaged; 9 not the person (verify);
10 a download failed (fetch); 11 too little memory; 130 interrupted."""


_TOO_LITTLE_MEMORY = (
    "this needs more memory than there is; nothing stored before was changed. Close other programs, use fewer --jobs "
    "or a larger computer, and run again."
)

#: A disk that is full, protected or failing, wherever in a command it shows.
_FAILING = {
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EFBIG", "EIO", "ENAMETOOLONG", "ENOSPC", "EPERM", "EROFS")
    if hasattr(errno, name)
}


class _Group(LazyGroup):
    """Turns errors into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from gazepipe.record import record

        try:
            with record(ctx.params.get("record_file")):
                try:
                    return super().invoke(ctx)
                except Exception as error:
                    if was_interrupted(error):
                        raise KeyboardInterrupt from error
                    if isinstance(error, GazepipeError) or not lacks_memory(error):
                        raise
                    raise OutOfMemoryError(_TOO_LITTLE_MEMORY) from error
        except GazepipeError as error:
            _trace(ctx)
            click.echo("gazepipe: " + "\n".join(map(plain, str(error).split("\n"))), err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in _FAILING:
                raise
            _trace(ctx)
            place = f"{error.filename}: " if error.filename else ""
            remedy = "Let this user read and write it" if no_access(error) else "Make it writable, or make room"
            said = f"{place}{error.strerror}; nothing stored before was changed. {remedy}, and run again."
            click.echo(f"gazepipe: {plain(said)}", err=True)
            ctx.exit(StorageError.exit_code)
        except KeyboardInterrupt:
            click.echo("gazepipe: interrupted; what was finished is stored, run again to go on.", err=True)
            ctx.exit(130)


def _trace(ctx: click.Context) -> None:
    if ctx.params.get("show_traceback"):
        import traceback

        traceback.print_exc()


@click.group(
    cls=_Group,
    package="gazepipe.cli",
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, message="gazepipe %(version)s")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary; errors only.")
@click.option("--traceback", "show_traceback", is_flag=True, help="Show where in the program an error arose.")
@click.option(
    "--record",
    "record_file",
    type=click.Path(path_type=Path),
    help="Write what the command did to this file, as JSON: times, versions.",
)
@click.pass_context
def main(ctx: click.Context, quiet: bool, show_traceback: bool, record_file: Path | None) -> None:
    """From raw gaze to a person's embedding and personal saliency maps.

    A study is a folder with a gazepipe.toml, recordings and images. The usual order is init, run; or, stage by stage,
    ingest, build-psm, train, enrol, predict, evaluate. Every stage does only what is not up to date.
    `gazepipe COMMAND --help` ends with examples.
    """
    from gazepipe import compute

    compute.prepare()
    end_in_order()
    # Of several processes that torchrun started, the first one speaks.
    ctx.obj = {"quiet": quiet or int(os.environ.get("RANK", "0")) > 0}
