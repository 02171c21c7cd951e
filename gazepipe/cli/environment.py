"""Commands about this computer and how far a study is: status, doctor, completion."""

from __future__ import annotations

from pathlib import Path

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    PathArgument,
    open_study,
    print_json,
    study_options,
)

__all__ = ["completion", "doctor", "status"]


@command(
    examples=[
        "gazepipe status study",
        "gazepipe status study --json",
    ]
)
@click.argument("folder", type=PathArgument, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@study_options
def status(folder: Path | None, as_json: bool, config: Path | None, to: Path | None) -> None:
    """Show what each stage left in the store, and the command that comes next."""
    from gazepipe.status import study_status
    from gazepipe.tables import text_table

    rows = study_status(open_study(folder, config, to))
    if as_json:
        print_json(rows)
        return
    table = [[r["stage"], "done" if r["done"] else "open", r["what"], r["next"]] for r in rows]
    click.echo(text_table(["stage", "", "there is", "next"], table, text_columns=4))


@command(
    examples=[
        "gazepipe doctor",
        "gazepipe doctor /data/study --json   # is there room, and can files be written there?",
    ]
)
@click.argument("folder", type=PathArgument, default=".")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def doctor(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Check what gazepipe needs of this computer; FOLDER is where a store is to be. Exit code 1 if something is bad."""
    from gazepipe.errors import ConfigError
    from gazepipe.status import doctor as check
    from gazepipe.tables import text_table

    if not folder.is_dir():
        msg = f"{folder}: no such folder; expected the one that a store is to be in."
        raise ConfigError(msg)
    found = check(folder)
    if as_json:
        print_json(found)
    else:
        click.echo(
            text_table(["", "", ""], [[f["what"], f["state"], f["text"]] for f in found], text_columns=3).strip()
        )
    if any(f["state"] == "bad" for f in found):
        ctx.exit(1)


@command(
    examples=[
        'eval "$(gazepipe completion bash)"   # in ~/.bashrc',
        "gazepipe completion fish > ~/.config/fish/completions/gazepipe.fish",
    ]
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands and options in a shell.

    For bash: gazepipe completion bash > ~/.local/share/bash-completion/completions/gazepipe
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    program = made(ctx.find_root().command, {}, "gazepipe", "_GAZEPIPE_COMPLETE")
    # `source` asks bash for its version, which a shell that is not there cannot tell.
    script = program.source_template % program.source_vars()
    # Click's script for fish cuts what a command is for at its first comma.
    click.echo(script.replace('(string split "," $completion)', '(string split -m 1 "," $completion)'))
