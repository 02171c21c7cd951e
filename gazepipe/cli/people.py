"""Commands about people: enrol, identify, verify, predict."""

from __future__ import annotations

from pathlib import Path

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    NOTES_SHOWN,
    PathArgument,
    Show,
    dry_run_option,
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
from gazepipe.cli.stores import verify_store
from gazepipe.words import counted

__all__ = ["enrol", "identify", "predict", "verify"]


_RATE = click.FloatRange(0, 1, min_open=True, max_open=True)


@command(
    examples=[
        "gazepipe enrol --study study --user p99 new/p99.asc",
        "gazepipe enrol --user p99 --session day2 new/p99_day2.asc --strict-qc --json",
        "gazepipe enrol --all",
    ]
)
@click.argument("recordings", type=PathArgument, nargs=-1)
@click.option("--user", help="Pseudonym of the person.")
@click.option("--all", "everybody", is_flag=True, help="Everybody who has maps in the store, in place of --user.")
@click.option("--session", default="", help="Name of this one recording; keeps the person's other sessions.")
@click.option("--strict-qc", "strict", is_flag=True, help="Refuse data below [enrol]; exit code 5, nothing is stored.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print everything, the embedding too, as JSON.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@study_options
@network_options
@click.pass_context
def enrol(
    ctx: click.Context,
    /,
    recordings: tuple[Path, ...],
    user: str | None,
    everybody: bool,
    session: str,
    strict: bool,
    dry_run: bool,
    as_json: bool,
    folder: Path | None,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Put a person into the gallery: recordings to embedding.

    RECORDINGS are files or folders of a person who was not in training; they replace what was enrolled of the person
    before. Without them the person must be in the store already. No network is changed. Data below the thresholds of
    [enrol] are taken with a warning, or refused with --strict-qc.
    """
    from gazepipe import enrol as stage
    from gazepipe.enrol_report import enrol_report
    from gazepipe.models import model_info
    from gazepipe.person_recordings import files_of

    study = open_study(folder, config, to)
    if everybody:
        if user is not None or recordings or session or strict:
            msg = "--all goes with none of --user, --session and --strict-qc, and takes no recordings."
            raise click.UsageError(msg)
        if dry_run:
            tell_plans(ctx, stage.plan_enrolment(study, None), as_json=as_json)
            return
        with Show(ctx, "person") as show:
            gallery = stage.enrol(study, device=device, threads=threads, show=show.of("enrol"))
        if as_json:
            print_json({"gallery": study.gallery_file, "people": [person_row(p) for p in gallery.people]})
            return
        say(ctx, f"enrol: {counted(len(gallery.people), 'person', 'people')} in {study.gallery_file}.")
        return
    if user is None:
        msg = "give --user, or --all for everybody who has maps."
        raise click.UsageError(msg)
    if session and not recordings:
        msg = "--session names a recording; give one."
        raise click.UsageError(msg)
    if dry_run:
        plan = stage.plan_enrolment(study, [user], recordings, session=session, strict=strict)
        tell_plans(ctx, plan, as_json=as_json)
        return
    failures = []
    if recordings:
        files_of(study, recordings)
        model_info(study, "embedding")  # where none is trained nothing is stored
        with Show(ctx, "recording") as show:
            failures = stage.take_in(study, user, recordings, session=session, strict=strict, show=show.of("enrol"))
    if strict and not recordings:
        stage.check(study, user)
    gallery = stage.enrol(study, [user], device=device, threads=threads)
    report = enrol_report(study, gallery, user)
    if as_json:
        print_json(report.content())
    else:
        say(ctx, f"{person_line(report.person)}\n{report.text()}")
        say(ctx, f"enrol: {counted(len(gallery.people), 'person', 'people')} in {study.gallery_file}.")
    finish(ctx, failures, study.store, [] if as_json else report.notes)


@command(
    examples=[
        "gazepipe identify --study study unknown.asc",
        "gazepipe identify unknown.asc --top 3 --far 0.01 --json",
    ]
)
@click.argument("recordings", type=PathArgument, nargs=-1, required=True)
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="How many of the gallery to list.")
@click.option("--far", default=0.05, show_default=True, type=_RATE, help="Chance that a stranger is given a name.")
@click.option("--strict-qc", "strict", is_flag=True, help="Refuse data below [enrol]; exit code 5.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@study_options
@network_options
@click.pass_context
def identify(
    ctx: click.Context,
    /,
    recordings: tuple[Path, ...],
    folder: Path | None,
    top: int,
    far: float,
    strict: bool,
    as_json: bool,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Find out who of the gallery some recordings are of, or that they are of nobody in it.

    RECORDINGS are files or folders of one person, recorded on images of the study. Nothing is stored.
    """
    from gazepipe.recognition import identify as stage

    study = open_study(folder, config, to)
    found = stage(study, recordings, top=top, far=far, strict=strict, device=device, threads=threads)
    if as_json:
        print_json(found.content())
    else:
        click.echo(found.text())
    finish(ctx, found.probe.failures, study.store, [] if as_json else found.probe.notes, kept=False)


@command(
    examples=[
        "gazepipe verify --study study --user p99 today/p99.asc   # is it this person?",
        "gazepipe verify study   # is every file of the store whole?",
        "gazepipe verify study --apart --json   # a store from somebody else",
    ]
)
@click.argument("paths", type=PathArgument, nargs=-1)
@click.option("--user", help="Somebody in the gallery, whose recordings PATHS should be.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@click.option("--far", type=_RATE, help="With --user: chance that somebody else is accepted; default: 0.01.")
@click.option("--strict-qc", "strict", is_flag=True, help="With --user: refuse data below [enrol]; exit code 5.")
@click.option(
    "--set-aside", "aside", is_flag=True, help="Without --user: move damaged files into damaged/ of the store."
)
@click.option(
    "--apart", is_flag=True, help="Without --user: read in a process with limits; for a store from somebody else."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@study_options
@network_options
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    user: str | None,
    folder: Path | None,
    far: float | None,
    strict: bool,
    aside: bool,
    apart: bool,
    as_json: bool,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Check that recordings are a person's, or that a store is whole.

    With --user: PATHS are recordings of one person on images of the study; exit code 0 if they are of this person of
    the gallery, 9 if not. Nothing is stored.

    Without: PATHS is a study folder (default: the current one). Every file of its store is read and compared with the
    digests that it was written with; exit code 8 if one is damaged or missing. With --set-aside, damaged files are
    moved away, so that the next run makes them again. A store that somebody else gave you is read with --apart first.
    """
    if user is None:
        if len(paths) > 1 or (paths and folder) or far is not None or strict:
            msg = "--user says whose recordings these are; without it, give one study folder and no other option."
            raise click.UsageError(msg)
        verify_store(ctx, paths[0] if paths else folder, config, to, aside=aside, apart=apart, as_json=as_json)
        return
    if not paths or aside or apart:
        option = "--set-aside" if aside else "--apart"
        msg = "--user needs recordings." if not paths else f"{option} is for stores, without --user."
        raise click.UsageError(msg)
    from gazepipe.recognition import verify as stage

    study = open_study(folder, config, to)
    found = stage(study, paths, user, far=0.01 if far is None else far, strict=strict, device=device, threads=threads)
    if as_json:
        print_json(found.content())
    else:
        click.echo(found.text())
    if not found.accepted:
        finish(ctx, [], study.store, [] if as_json else found.probe.notes)
        ctx.exit(9)
    finish(ctx, found.probe.failures, study.store, [] if as_json else found.probe.notes, kept=False)


@command(
    examples=[
        "gazepipe predict --study study --user p99 photos/*.jpg --out predictions",
        "gazepipe predict --users p01,p02 --test-images 5 --usm predicted",
        "gazepipe predict --all-users photos --dry-run",
    ]
)
@click.argument("images", type=PathArgument, nargs=-1)
@click.option("--user", help="Somebody in the gallery.")
@click.option("--users", help="Several of the gallery, with commas between them.")
@click.option("--all-users", is_flag=True, help="Everybody in the gallery.")
@click.option("--test-images", type=click.IntRange(1), help="So many of the study's test images, in place of IMAGES.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@click.option(
    "--usm",
    default="auto",
    show_default=True,
    help="Universal map: store (people who looked), predicted, deepgaze, a folder, or auto (store, else predicted).",
)
@click.option("--out", type=PathArgument, help="Folder for the results; default: predictions in the store.")
@click.option("--force", is_flag=True, help="Predict again what is up to date.")
@dry_run_option
@json_option
@study_options
@network_options
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    images: tuple[Path, ...],
    user: str | None,
    users: str | None,
    all_users: bool,
    test_images: int | None,
    folder: Path | None,
    usm: str,
    out: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Predict people's saliency maps of images: PNG overlay and NPY array of each, and summary.json.

    IMAGES are files, folders or quoted patterns. With --user the results go straight into --out, otherwise each person
    has a folder in it. What is up to date is not made again.
    """
    from gazepipe.errors import NothingToDoError
    from gazepipe.predict import plan_predictions, test_images_of
    from gazepipe.predict import predict as stage

    if bool(images) == (test_images is not None):
        msg = "give images, or --test-images."
        raise click.UsageError(msg)
    if (user is not None) + (users is not None) + all_users != 1:
        msg = "give one of --user, --users and --all-users."
        raise click.UsageError(msg)
    names = [u.strip() for u in (users or "").split(",") if u.strip()]
    if users is not None and not names:
        msg = "--users names nobody."
        raise click.UsageError(msg)
    study = open_study(folder, config, to)
    if test_images is not None:
        images = tuple(test_images_of(study, test_images))
        if not images:
            msg = f"{study.stimuli}: no test image of the networks is in this folder of images."
            raise NothingToDoError(msg)
    asked = user if user is not None else names
    if dry_run:
        plan = plan_predictions(study, asked, images, usm=usm, to=out, device=device, threads=threads, force=force)
        tell_plans(ctx, plan, as_json=as_json)
        return
    with Show(ctx, "image") as show:
        made, failures = stage(
            study,
            asked,
            images,
            usm=usm,
            to=out,
            device=device,
            threads=threads,
            force=force,
            show=show.of("predict"),
        )
    if as_json:
        rows = [
            {
                "user": p.user,
                "image": p.image,
                "overlay": p.overlay_file,
                "array": p.array_file,
                "universal_map": p.source,
                "up_to_date": p.current,
            }
            for p in made
        ]
        print_json({"stage": "predict", "predictions": rows, "failures": failure_rows(failures)})
    elif len(made) <= NOTES_SHOWN:
        for p in made:
            state = ", up to date" if p.current else ""
            say(ctx, f"{p.image}: {p.overlay_file} and {p.array_file.name}, universal map {p.source}{state}.")
    else:
        current = sum(p.current for p in made)
        root = out or study.predictions
        written = counted(len(made) - current, "map")
        say(ctx, f"predict: {written} written, {current} up to date; see {root / 'summary.json'}.")
    finish(ctx, failures, study.store, kept=False)
