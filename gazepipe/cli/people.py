"""Commands about people: enrol, identify, verify, predict."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gazepipe.cli._shared import (
    NOTES_SHOWN,
    PathArgument,
    Show,
    finish,
    network_options,
    open_study,
    person_line,
    say,
    study_options,
)
from gazepipe.cli.stores import verify_store

__all__ = ["enrol", "identify", "predict", "verify"]


_RATE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(short_help="Put a person into the gallery.")
@click.argument("recordings", type=PathArgument, nargs=-1)
@click.option("--user", help="Pseudonym of the person.")
@click.option("--all", "everybody", is_flag=True, help="Everybody who has maps in the store, in place of --user.")
@click.option("--session", default="", help="Name of this one recording; keeps the person's other sessions.")
@click.option("--strict-qc", "strict", is_flag=True, help="Refuse data below [enrol]; exit code 5, nothing is stored.")
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

    study = open_study(folder, config, to)
    if everybody:
        if user is not None or recordings or session or strict or as_json:
            msg = "--all goes with no other option of enrol, and takes no recordings."
            raise click.UsageError(msg)
        with Show(ctx, "person") as show:
            gallery = stage.enrol(study, device=device, threads=threads, show=show.of("enrol"))
        say(ctx, f"enrol: {len(gallery.people)} people in {study.gallery_file}.")
        return
    if user is None:
        msg = "give --user, or --all for everybody who has maps."
        raise click.UsageError(msg)
    if session and not recordings:
        msg = "--session names a recording; give one."
        raise click.UsageError(msg)
    failures = stage.take_in(study, user, recordings, session=session, strict=strict) if recordings else []
    if strict and not recordings:
        stage.check(study, user)
    gallery = stage.enrol(study, [user], device=device, threads=threads)
    report = enrol_report(study, gallery, user)
    if as_json:
        click.echo(json.dumps(report.content(), indent=1, ensure_ascii=False))
    else:
        say(ctx, f"{person_line(report.person)}\n{report.text()}")
        say(ctx, f"enrol: {len(gallery.people)} people in {study.gallery_file}.")
    finish(ctx, failures, study.store, [] if as_json else report.notes)


@click.command(short_help="Find out whose recordings these are.")
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
    click.echo(json.dumps(found.content(), indent=1, ensure_ascii=False) if as_json else found.text())
    finish(ctx, found.probe.failures, study.store, [] if as_json else found.probe.notes, kept=False)


@click.command(short_help="Check recordings against a person, or the store.")
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
    click.echo(json.dumps(found.content(), indent=1, ensure_ascii=False) if as_json else found.text())
    if not found.accepted:
        finish(ctx, [], study.store, [] if as_json else found.probe.notes)
        ctx.exit(9)
    finish(ctx, found.probe.failures, study.store, [] if as_json else found.probe.notes, kept=False)


@click.command(short_help="Predict people's saliency maps of images.")
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
    config: Path | None,
    to: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Predict people's saliency maps of images: PNG overlay and NPY array of each, and summary.json.

    IMAGES are files, folders or quoted patterns. With --user the results go straight into --out, otherwise each person
    has a folder in it. What is up to date is not made again.
    """
    from gazepipe.predict import predict as stage
    from gazepipe.predict import test_images_of

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
            say(ctx, "predict: no test image is in the folder of images.")
            return
    with Show(ctx, "image") as show:
        made, failures = stage(
            study,
            user if user is not None else names,
            images,
            usm=usm,
            to=out,
            device=device,
            threads=threads,
            force=force,
            show=show.of("predict"),
        )
    if len(made) <= NOTES_SHOWN:
        for p in made:
            state = ", up to date" if p.current else ""
            say(ctx, f"{p.image}: {p.overlay_file} and {p.array_file.name}, universal map {p.source}{state}.")
    else:
        current = sum(p.current for p in made)
        root = out or study.store / "predictions"
        say(ctx, f"predict: {len(made) - current} maps written, {current} up to date; see {root / 'summary.json'}.")
    finish(ctx, failures, study.store, kept=False)
