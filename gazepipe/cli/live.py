"""The command for sessions in the lab."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gazepipe.cli._command import command
from gazepipe.cli._shared import (
    PathArgument,
    finish,
    open_study,
    person_line,
    say,
    study_options,
)
from gazepipe.words import counted

if TYPE_CHECKING:
    from gazepipe.live.enrolment import LiveEnrolment
    from gazepipe.live.session import LabSession, Trial
    from gazepipe.markers.live import LiveMapper
    from gazepipe.study import Study

__all__ = ["session"]

#: An image with less of its gaze is told of; so many are named at the end.
_ENOUGH, _NAMED = 0.7, 5


@command(
    examples=[
        "gazepipe session --user p01 --study study --device neon --layout markers/layout.json --enrol",
        "gazepipe session --user p01 --device lsl --address EyeLogic --count 40 --seconds 5",
        "gazepipe session --user test --device fake --screen none --points 0   # without tracker and screen",
    ]
)
@click.option("--images", type=PathArgument, help="Folder of the images shown; default: the study's.")
@click.option("--user", required=True, help="Pseudonym of the person.")
@click.option("--study", "folder", type=PathArgument, help="Study folder; default: the current one.")
@click.option(
    "--device",
    type=click.Choice(["neon", "tobii", "eyelink", "lsl", "mouse", "replay", "fake"]),
    default="neon",
    show_default=True,
    help="fake: a viewer who is not there; replay: a recording.",
)
@click.option("--address", default="", help="Of the phone or tracker, or LSL stream; default: the only one there is.")
@click.option("--layout", type=PathArgument, help="layout.json of the markers around the screen, for glasses.")
@click.option("--replay", type=PathArgument, help="Recording for --device replay.")
@click.option(
    "--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1), help="How long an image is shown."
)
@click.option("--count", type=click.IntRange(1), help="Show so many of the images, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of the order of the images.")
@click.option(
    "--points", default=9, show_default=True, type=click.IntRange(0), help="Targets of the validation; 0: none."
)
@click.option(
    "--screen",
    "shown",
    type=click.Choice(["auto", "tk", "opencv", "none"]),
    default="auto",
    show_default=True,
    help="Whose window shows the images; auto: Tk's, which is part of Python, else OpenCV's; none: nothing is shown.",
)
@click.option("--enrol", is_flag=True, help="Embedding after each image; at the end the person is in the gallery.")
@click.option("--stop-at", default=0.0, type=click.FloatRange(0, 1), help="With --enrol: stop at this expected cosine.")
@click.option("--force", is_flag=True, help="Record even if a check fails.")
@study_options
@click.pass_context
def session(
    ctx: click.Context,
    /,
    images: Path | None,
    user: str,
    folder: Path | None,
    device: str,
    address: str,
    layout: Path | None,
    replay: Path | None,
    seconds: float,
    count: int | None,
    seed: int,
    points: int,
    shown: str,
    enrol: bool,
    stop_at: float,
    force: bool,
    config: Path | None,
    to: Path | None,
) -> None:
    """Record a person who looks at images: checks, validation, each image for some seconds.

    The recording is a folder in the study's folder of recordings, which `ingest` reads like any other. Escape ends the
    session; what was recorded until then is kept, as it is after Ctrl-C or an error, and its folder is named.
    """
    import random

    from gazepipe.errors import GazepipeError, NothingToDoError
    from gazepipe.live.devices import open_device
    from gazepipe.live.presenter import open_presenter
    from gazepipe.live.session import LabSession, check_images
    from gazepipe.stimuli import SUFFIXES

    study = open_study(folder, config, to)
    where = study.stimuli if images is None else images
    files = sorted(p for p in where.rglob("*") if p.suffix.lower() in SUFFIXES) if where.is_dir() else []
    if not files:
        msg = f"{where}: no images there."
        raise NothingToDoError(msg)
    random.Random(seed).shuffle(files)
    files = files[:count]
    check_images(files)
    source = open_device(device, study, address=address, replay=replay, scene=layout is not None)
    size = (study.config.screen.width_px, study.config.screen.height_px)
    mapper, frame = (None, None) if layout is None else _by_markers(layout, source)
    presenter = open_presenter(shown, size, frame)
    person = None
    if enrol:
        # Before the session: loading networks would hold up the recorder's thread for a second.
        from gazepipe.live.enrolment import LiveEnrolment

        person = LiveEnrolment(study, user, files, target=stop_at or 2.0)
    live: LabSession | None = None
    done: list[tuple[str, float]] = []
    try:
        with LabSession(study, user=user, source=source, mapper=mapper) as live:
            report = live.check()
            say(ctx, report.text())
            if not force:
                report.raise_for_status()
            if points:
                found = live.validate(presenter, points)
                most = study.config.enrol.max_accuracy_deg
                poor = f"; more than [enrol] max_accuracy_deg = {most:g}: calibrate again"
                advice = "" if found.accuracy_deg <= most else poor
                say(ctx, f"validation: accuracy {found.accuracy_deg:.2f}°, RMS-S2S {found.rms_s2s_deg:.2f}°{advice}.")
            live.show(presenter, files, seconds, after=partial(_after, ctx, live, person, done))
    except KeyboardInterrupt:
        click.echo(f"gazepipe: interrupted; {_kept(live, done)}", err=True)
        ctx.exit(130)
    except GazepipeError:
        if live is not None and live.folder.is_dir():
            say(ctx, f"session: ended early; {_kept(live, done)}")
        raise
    finally:
        presenter.close()
        if mapper is not None:
            mapper.close()
    say(ctx, f"session: {_kept(live, done)}")
    for line in _losses(live, done, len(files)):
        say(ctx, f"note: {line}")
    if enrol:
        _into_gallery(ctx, study, live)


def _by_markers(path: Path, source: Any) -> tuple[LiveMapper, Any]:
    """What maps a scene camera's gaze by the markers of a layout, and the picture of those on the screen (BGR)."""
    from gazepipe.errors import ConfigError
    from gazepipe.markers.drawing import frame
    from gazepipe.markers.layout import load_layout
    from gazepipe.markers.live import LiveMapper

    if source.space != "scene":
        msg = f"--layout is for glasses with a scene camera; {source.name} gives gaze on the screen."
        raise ConfigError(msg)
    screen = load_layout(path)
    picture = frame(screen, skip_beside=True)[..., 2::-1].copy()
    return LiveMapper(screen, source.camera, background=True), picture


def _kept(live: LabSession | None, done: list[tuple[str, float]]) -> str:
    """What was recorded, and where it is."""
    if live is None or not live.folder.is_dir():
        return "nothing was recorded."
    samples = counted(live.recorder.writer.samples, "sample")
    return f"{counted(len(done), 'image')}, {samples}, in {live.folder}."


def _losses(live: LabSession, done: list[tuple[str, float]], wanted: int) -> list[str]:
    """What the person beside the screen has to know before the next one comes."""
    recorder, said = live.recorder, []
    if recorder.lost:
        times = "once" if recorder.lost == 1 else f"{recorder.lost} times"
        back = "and is back" if recorder.reconnected == recorder.lost else "and was away at the end"
        said.append(f"the connection was lost {times}, {back}.")
    poor = [f"{name} ({share:.0%})" for name, share in done if share < _ENOUGH]
    if poor:
        more = ", …" if len(poor) > _NAMED else ""
        said.append(f"little gaze for {len(poor)} of {len(done)} images: {', '.join(poor[:_NAMED])}{more}.")
    if recorder.ended and len(done) < wanted:
        said.append(f"the recording that was replayed was over before {wanted - len(done)} of {wanted} images.")
    return said


def _after(
    ctx: click.Context,
    live: LabSession,
    person: LiveEnrolment | None,
    done: list[tuple[str, float]],
    trial: Trial,
) -> bool:
    """Remember a presentation that is over; returns whether more are needed."""
    figures = trial.live  # now: what is in memory is of the last minutes only
    if live.source.space == "screen" or live.mapper is not None:
        share = 1 - figures.loss
    else:
        share = figures.samples / max(live.source.expected(trial.onset_ns, trial.offset_ns), 1.0)
    done.append((trial.image.name, share))
    if share < _ENOUGH:
        say(ctx, f"{trial.image.name}: only {share:.0%} of its gaze came.")
    return True if person is None else _taken_in(ctx, live, person, trial)


def _taken_in(ctx: click.Context, live: LabSession, person: LiveEnrolment, trial: Trial) -> bool:
    """Tell what a presentation adds to the embedding; returns whether more are needed."""
    update = person.add(live, trial)
    so_far = counted(update.n_pairs, "image")
    said = update.problem or f"{counted(update.fixations, 'fixation')}; {so_far} so far"
    if update.n_pairs > 1:
        said += f", expected cosine {update.expected_cosine:.3f}"
    say(ctx, f"{trial.image.name}: {said}")
    return not update.enough


def _into_gallery(ctx: click.Context, study: Study, live: LabSession) -> None:
    """Take the recording into the store and the person into the gallery."""
    from gazepipe import enrol as stage

    failures = stage.take_in(study, live.user, [live.folder], session=live.label)
    gallery = stage.enrol(study, [live.user])
    say(ctx, person_line(gallery[live.user]))
    finish(ctx, failures, study.store)
