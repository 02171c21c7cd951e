"""Commands about privacy: forget, audit, consent."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gazepipe.cli._command import Group, command
from gazepipe.cli._shared import (
    PathArgument,
    Show,
    json_option,
    open_study,
    print_json,
    say,
    study_options,
)
from gazepipe.errors import plain
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.forget_plan import Plan

__all__ = ["audit", "consent", "forget"]


@command(
    examples=[
        "gazepipe forget --study study --user p07 --dry-run",
        "gazepipe forget --user p07 --recordings --rebuild",
        "gazepipe forget --user p07 --yes --json > receipt.json",
    ]
)
@click.option("--user", required=True, help="Whom to forget.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@study_options
@click.option("-n", "--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--recordings", is_flag=True, help="Delete the person's recordings in the study's folder, too.")
@click.option("--rebuild", is_flag=True, help="Make maps, networks, gallery and evaluation again at once.")
@click.option("--allow-again", is_flag=True, help="Instead: let a forgotten person be taken in again.")
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@click.pass_context
def forget(
    ctx: click.Context,
    /,
    user: str,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    dry_run: bool,
    yes: bool,
    recordings: bool,
    rebuild: bool,
    allow_again: bool,
    as_json: bool,
) -> None:
    """Remove a person from a study's store, with everything that was made of their gaze, and prove it.

    Recordings, maps, gallery row, predictions and entries of lists go. If networks were trained on the person, so do
    universal maps, weights, evaluations and predictions of others; what is to be made again is listed. Then all files
    are searched for the name and the person's numbers: exit code 8 if something is found. The person is kept out of
    later runs. With --recordings, what bears the person's name in the study's folder of recordings and is what was
    ingested goes, too; what else is said to be theirs is listed, and stays (exit code 3). Exports and backups are yours
    to delete.
    """
    from gazepipe import forget as stage
    from gazepipe.forget_plan import outlook, plan_of
    from gazepipe.outside import outside_of
    from gazepipe.receipt import receipt_text

    study = open_study(folder, config, to)
    if allow_again:
        stage.let_in_again(study, user)
        say(ctx, f"forget: user {user!r} may be taken in again.")
        return
    if dry_run or not yes:
        plan = plan_of(study, user) if dry_run else outlook(study, user)
        if dry_run and as_json:
            print_json(
                {
                    "user": user,
                    "remove": [p.relative_to(study.store) for p in plan.remove],
                    "make_again": plan.rebuild,
                    "originals": [original.path for original in plan.originals],
                    "outside": outside_of(study, user),
                }
            )
            return
        _announce(plan, study.store, recordings)
        for place in outside_of(study, user):
            click.echo(f"stays, because it is outside the store: {plain(place)}", err=True)
        if dry_run:
            return
        click.confirm("This cannot be undone. Go on?", abort=True, err=True)
    with Show(ctx, "file") as show:
        done = stage.forget(study, user, recordings=recordings, show=show.of("search"))
    if as_json:
        print_json(done.receipt)
    else:
        say(ctx, f"{receipt_text(done.receipt)}\nforget: receipt in {done.receipt_file}.")
    if rebuild:
        for text in stage.rebuild(study, done.receipt):
            if not as_json:
                say(ctx, f"forget: {text}")
    for place in done.outside:
        click.echo(f"gazepipe: yours to delete, {plain(place)}", err=True)
    for original in done.kept:
        click.echo(f"gazepipe: {plain(original.sentence)}", err=True)
    if done.hits or done.kept:
        ctx.exit(8 if done.hits else 3)


def _announce(plan: Plan, store: Path, recordings: bool) -> None:
    from gazepipe.originals import compared

    click.echo(f"{counted(len(plan.remove), 'file')} of {store} would be removed:", err=True)
    for path in plan.remove:
        click.echo(f"  {path.relative_to(store)}", err=True)
    for path in plan.beside:
        click.echo(f"and the workflow engine's folder, {path}", err=True)
    for what in plan.rebuild:
        click.echo(f"to be made again: {what}", err=True)
    for named in plan.originals:
        original = compared(named, plan.ingested, plan.others) if recordings else named
        if original.kept:
            click.echo(plain(original.sentence), err=True)
        else:
            click.echo(f"original, {'would be deleted, too' if recordings else 'stays'}: {original.path}", err=True)


@command(
    examples=[
        "gazepipe audit study",
        "gazepipe audit study --verify --head 3f2a90c1",
    ]
)
@click.argument("folder", type=PathArgument, required=False)
@study_options
@click.option("--verify", "check", is_flag=True, help="Check the chain of digests; exit code 8 if it is broken.")
@click.option("--head", help="With --verify: a digest noted down before, which must be in the log.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def audit(
    ctx: click.Context,
    /,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    check: bool,
    head: str | None,
    as_json: bool,
) -> None:
    """Show the audit log of a study's store: when what was done. People stand in it as digests."""
    from gazepipe import audit as log

    study = open_study(folder, config, to)
    if head and not check:
        msg = "--head goes with --verify."
        raise click.UsageError(msg)
    if check:
        found = log.problems(study, head)
        if as_json:
            print_json({"problems": found, "head": None if found else log.head(study)})
        else:
            for sentence in found:
                click.echo(sentence, err=True)
            if not found:
                length = counted(len(log.entries(study)), "line")
                say(ctx, f"audit: {length}, unbroken; the last digest is {log.head(study)}.")
        if found:
            ctx.exit(8)
        return
    lines = log.entries(study)
    if as_json:
        print_json(lines)
        return
    for line in lines:
        who = f" by {line['who']}" if "who" in line else ""
        about = f" of {', '.join(u[:8] for u in line['users'])}" if line["users"] else ""
        detail = ", ".join(f"{k} {v}" for k, v in line["detail"].items())
        click.echo(f"{line['n']:>4}  {line['time']}  {line['command']}{about}{who}  {detail}".rstrip())


@click.group(
    cls=Group,
    examples=[
        "gazepipe consent add --study study --user p07 --form A-12 --scope ingest,embed,share",
        "gazepipe consent list study",
    ],
)
def consent() -> None:
    """Keep consent forms on record, in a table in the study folder."""


@consent.command(
    examples=[
        "gazepipe consent add --study study --user p07 --form A-12",
        "gazepipe consent add --user p07 --form A-12 --date 2026-05-31 --expires 2031-05-31",
    ]
)
@click.option("--user", required=True, help="Pseudonym of the person.")
@click.option("--form", required=True, help="Number or name of what was signed.")
@click.option(
    "--date", "signed", default=lambda: date.today().isoformat(), help="When, as 2026-05-31.  [default: today]"
)
@click.option("--scope", default="ingest,embed", show_default=True, help="Of ingest, embed and share.")
@click.option("--expires", default="", help="Last day on which it holds.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@study_options
@click.pass_context
def add(
    ctx: click.Context,
    /,
    user: str,
    form: str,
    signed: str,
    scope: str,
    expires: str,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
) -> None:
    """Add a form."""
    from gazepipe import audit as log
    from gazepipe import consent as table

    study = open_study(folder, config, to)
    new = table.add(study, user, form, signed, scope, expires)
    log.record(study, "consent", users=[user], scope=" ".join(new.scope))
    until = f" until {new.expires}" if new.expires else ""
    say(ctx, f"consent: {new.user} agreed to {', '.join(new.scope)} from {new.date}{until}, form {new.form}.")


@consent.command(
    "list",
    examples=[
        "gazepipe consent list study",
    ],
)
@click.argument("folder", type=PathArgument, required=False)
@json_option
@study_options
def list_(folder: Path | None, as_json: bool, config: Path | None, to: Path | None) -> None:
    """List all forms."""
    from gazepipe import consent as table
    from gazepipe.tables import text_table

    forms = table.consents(open_study(folder, config, to))
    if as_json:
        print_json(
            [{"user": f.user, "form": f.form, "date": f.date, "scope": f.scope, "expires": f.expires} for f in forms]
        )
        return
    rows = [[f.user, f.form, str(f.date), " ".join(f.scope), str(f.expires or "")] for f in forms]
    click.echo(text_table(["user", "form", "date", "scope", "expires"], rows, 5))
