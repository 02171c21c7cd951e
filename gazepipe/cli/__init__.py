"""The command line. Each command parses, calls one stage and prints; everything heavy is imported inside it.

One module for each group of commands; they are put together here.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import traceback
from pathlib import Path
from typing import Any

import click

from gazepipe import __version__
from gazepipe.cli import (
    environment,
    live,
    people,
    privacy,
    recordings,
    reporting,
    running,
    screens,
    setting_up,
    stages,
    stores,
)
from gazepipe.cli._shared import PathArgument
from gazepipe.errors import GazepipeError, OutOfMemoryError, StorageError, lacks_memory, no_access, plain
from gazepipe.record import record

__all__ = ["main"]

EXIT_CODES = """\b
Exit codes: 0 all done; 1 unexpected error; 2 wrong option or configuration;
3 some inputs could not be used (the others are done); 4 nothing to do;
5 quality below threshold (--strict-qc);
6 another run holds the store; 7 writing failed (disk full …);
8 a stored file is damaged; 9 not the person (verify);
10 too little memory; 130 interrupted."""


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


class _Group(click.Group):
    """Turns errors into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with record(ctx.params.get("record_file")):
                try:
                    return super().invoke(ctx)
                except Exception as error:
                    if isinstance(error, GazepipeError) or not lacks_memory(error):
                        raise
                    raise OutOfMemoryError(_TOO_LITTLE_MEMORY) from error
        except GazepipeError as error:
            if ctx.params.get("show_traceback"):
                traceback.print_exc()
            click.echo("gazepipe: " + "\n".join(map(plain, str(error).split("\n"))), err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in _FAILING:
                raise
            if ctx.params.get("show_traceback"):
                traceback.print_exc()
            place = f"{error.filename}: " if error.filename else ""
            remedy = "Let this user read and write it" if no_access(error) else "Make it writable, or make room"
            said = f"{place}{error.strerror}; nothing stored before was changed. {remedy}, and run again."
            click.echo(f"gazepipe: {plain(said)}", err=True)
            ctx.exit(StorageError.exit_code)
        except KeyboardInterrupt:
            click.echo("gazepipe: interrupted; what was finished is stored, run again to go on.", err=True)
            ctx.exit(130)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, message="gazepipe %(version)s")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary; errors only.")
@click.option("--traceback", "show_traceback", is_flag=True, help="Show where in the program an error arose.")
@click.option(
    "--record",
    "record_file",
    type=PathArgument,
    help="Write what the command did to this file, as JSON: times, versions.",
)
@click.pass_context
def main(ctx: click.Context, quiet: bool, show_traceback: bool, record_file: Path | None) -> None:
    """From raw gaze to a person's embedding and personal saliency maps.

    A study is a folder with a gazepipe.toml, recordings and images. The usual order is init, run; or, stage by stage,
    ingest, build-psm, train, enrol, predict, evaluate. Every stage does only what is not up to date.
    """
    from gazepipe import compute

    compute.prepare()
    _end_in_order()
    # Of several processes that torchrun started, the first one speaks.
    ctx.obj = {"quiet": quiet or int(os.environ.get("RANK", "0")) > 0}


def _end_in_order() -> None:
    """Take SIGTERM, which clusters send before they kill, as Ctrl-C; and the end of the terminal, too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
            signal.signal(hangup, signal.default_int_handler)


for _command in (
    setting_up.init,
    setting_up.simulate,
    setting_up.import_,
    screens.markers,
    screens.map_screen,
    live.session,
    recordings.ingest,
    recordings.quality,
    recordings.export,
    stages.build_psm,
    stages.train,
    people.enrol,
    people.identify,
    people.verify,
    people.predict,
    stages.evaluate,
    stages.crossvalidate,
    reporting.report,
    reporting.compare,
    running.run,
    running.gather,
    stores.info,
    environment.status,
    environment.doctor,
    environment.completion,
    privacy.forget,
    privacy.audit,
    privacy.consent,
):
    main.add_command(_command)
