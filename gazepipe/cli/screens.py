"""Commands about markers around the screen: markers, map-screen."""

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
    json_option,
    open_study,
    print_json,
    say,
    tell_plans,
)
from gazepipe.words import counted

__all__ = ["map_screen", "markers"]


@command(
    examples=[
        "gazepipe markers markers study",
        "gazepipe markers markers --px 1920x1080 --mm 531x299 --tags 12",
    ]
)
@click.argument("out", type=PathArgument)
@click.argument("folder", type=PathArgument, required=False)
@click.option("--config", type=PathArgument, help="gazepipe.toml, if it is neither in the folder nor here.")
@click.option("--px", metavar="WxH", help="The screen's pixels, if not [screen]'s.")
@click.option("--mm", metavar="WxH", help="The screen's size in mm, if not [screen]'s.")
@click.option("--tags", default=8, show_default=True, type=click.IntRange(4), help="Markers, an even number.")
@click.option("--tag-px", default=120, show_default=True, help="Side of a marker's black square, a multiple of 8.")
@click.option("--background", default=128, show_default=True, type=click.IntRange(0, 255), help="Grey behind them.")
@click.pass_context
def markers(
    ctx: click.Context,
    /,
    out: Path,
    folder: Path | None,
    config: Path | None,
    px: str | None,
    mm: str | None,
    tags: int,
    tag_px: int,
    background: int,
) -> None:
    """Draw markers (AprilTags) with which a scene camera sees where the screen is.

    OUT is a folder. Into it go frame.png, a picture of the whole screen to draw over each stimulus; layout.json, which
    `gazepipe map-screen` needs; sheet-1.svg …, the markers to print at 100 %; and marker-0.png …, each by itself.
    Pixels and size come from the [screen] of the study in FOLDER, or from --px and --mm.
    """
    from gazepipe.atomic import write_atomically
    from gazepipe.markers import drawing
    from gazepipe.markers.layout import MarkerScreen

    size_px, size_mm = _pair(px, "--px"), _pair(mm, "--mm")
    if size_px is None or size_mm is None:
        known = open_study(folder, config, None).config.screen
        size_px = size_px or (known.width_px, known.height_px)
        size_mm = size_mm or (known.width_mm, known.height_mm)
    screen = MarkerScreen((int(size_px[0]), int(size_px[1])), size_mm, tags, tag_px)
    files = {"frame.png": drawing.png(drawing.frame(screen, background=background))}
    files |= {f"sheet-{k}.svg": page.encode() for k, page in enumerate(drawing.sheet_svg(screen), 1)}
    files |= {f"marker-{k}.png": drawing.png(drawing.marker(k, tag_px)) for k in screen.layout}
    files["layout.json"] = screen.to_json().encode()
    for name, data in files.items():
        write_atomically(out / name, data)
    rect = " ".join(f"{v:g}" for v in screen.free_px)
    say(ctx, f'{counted(len(files), "file")} written to {out}. Free for images: [trials] placement = "rect {rect}".')


def _pair(text: str | None, option: str) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        wide, high = (float(v) for v in text.lower().split("x"))
    except ValueError:
        msg = f"{option} is {text!r}; expected width and height, such as 1920x1080."
        raise click.UsageError(msg) from None
    return wide, high


@command(
    "map-screen",
    examples=[
        "gazepipe map-screen neon/* --layout markers/layout.json --out study/recordings",
        "gazepipe map-screen neon/p01 --layout markers/layout.json --out mapped --dry-run",
    ],
)
@click.argument("recordings", type=PathArgument, nargs=-1, required=True)
@click.option("--layout", type=PathArgument, required=True, help="layout.json that `gazepipe markers` wrote.")
@click.option("--out", type=PathArgument, required=True, help="Folder for the mapped recordings, to be ingested.")
@click.option("--camera", type=PathArgument, help="scene_camera.json, if not the recording's own calibration.")
@click.option(
    "--mode",
    type=click.Choice(["interpolated", "nearest", "last"]),
    default="interpolated",
    show_default=True,
    help="Of which pictures the screen's place is taken; last: as in a live session.",
)
@click.option(
    "--gap",
    "longest_gap_ms",
    default=200.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Longest time in ms without a picture that has the screen.",
)
@click.option(
    "--smooth",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Pictures the screen's place is smoothed over, for a head at rest; 1: none.",
)
@click.option("--no-fallback", is_flag=True, help="Only OpenCV's detector, also where it finds nothing.")
@click.option("--force", is_flag=True, help="Look at the videos again.")
@dry_run_option
@json_option
@click.pass_context
def map_screen(
    ctx: click.Context,
    recordings: tuple[Path, ...],
    layout: Path,
    out: Path,
    camera: Path | None,
    mode: Any,
    longest_gap_ms: float,
    smooth: int,
    no_fallback: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Map gaze in a scene camera's picture to the screen, by the markers around it.

    RECORDINGS are folders of Pupil Labs' native recordings, or Timeseries downloads, with their scene video. Of each, a
    folder of the same name is written below --out, which `gazepipe ingest` takes. One that cannot be used stops no
    other.
    """
    import dataclasses

    from gazepipe.errors import InputError, plain
    from gazepipe.markers.camera import camera_of_recording
    from gazepipe.markers.layout import load_layout
    from gazepipe.markers.mapped import map_recording, plan_mapping
    from gazepipe.stage_plan import StagePlan
    from gazepipe.study import Failure

    screen = load_layout(layout)
    lens = None if camera is None else camera_of_recording(camera)
    names = [path.resolve().name for path in recordings]
    settings = {"mode": mode, "longest_gap_ms": longest_gap_ms, "smooth": smooth, "fallback": not no_fallback}
    plan, rows, failures = StagePlan("map-screen"), [], []
    with Show(ctx, "picture") as show:
        for path, name in zip(recordings, names, strict=True):
            try:
                if names.count(name) > 1:
                    msg = f"{path}: another recording is called {name!r}, too; rename one of the folders."
                    raise InputError(msg)
                if out.resolve() / name == path.resolve():
                    msg = f"{path}: would be written over; choose another --out."
                    raise InputError(msg)
                if dry_run:
                    plan_mapping(path, screen, out / name, plan, camera=lens, force=force, **settings)
                    continue
                done = map_recording(path, screen, out / name, camera=lens, force=force, show=show.of(name), **settings)
            except InputError as error:
                failures.append(Failure("map-screen", str(path), str(error)))
                plan.add(str(out / name), "impossible", str(error))
                if not dry_run:
                    click.echo(f"not used: {error}", err=True)
                continue
            show.close()
            rows.append(dataclasses.asdict(done))
            if as_json:
                continue
            state = "up to date" if done.current else "written"
            screen_in = f"screen in {done.with_screen:.1%} of {done.pictures} pictures ({done.markers:g} markers)"
            on_screen = f"{done.on_screen:.1%} of {done.samples} samples on it"
            say(ctx, f"{done.folder}: {state}; {screen_in}, {on_screen}.")
            if not ctx.obj["quiet"]:
                for note in done.warnings:
                    click.echo(f"note: {path}: {plain(note)}", err=True)
    if dry_run:
        tell_plans(ctx, plan, as_json=as_json)
        return
    if as_json:
        print_json({"stage": "map-screen", "recordings": rows, "failures": failure_rows(failures)})
    if failures:
        click.echo(f"gazepipe: {counted(len(failures), 'recording')} not mapped.", err=True)
        ctx.exit(3)
