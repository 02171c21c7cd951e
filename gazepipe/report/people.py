"""The section of each user: events, and maps over some of the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import plotting, store
from gazepipe.errors import GazepipeError, NothingToDoError
from gazepipe.metrics import cc
from gazepipe.report.contents import Contents, User
from gazepipe.report.drawings import Drawn, drawn
from gazepipe.saliency import personal_maps
from gazepipe.stimuli import StudyImages
from gazepipe.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gazepipe.predictor import Predictor

__all__ = ["Section", "Shown", "chosen_images", "person_sections"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

#: Images of a user, by default, and from how many users on one has to do.
_IMAGES, _MANY = 3, 40
#: Width of a panel in inches.
_WIDTH = 2.6


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of a user: its name, what is known of the maps, and the panels."""

    stimulus: str
    facts: str
    panels: list[Drawn]


@dataclass(frozen=True, slots=True)
class Section:
    """What is drawn of one user, and how the images were chosen."""

    user: User
    events: list[Drawn]
    images: list[Shown]
    rule: str


@dataclass(slots=True)
class _Shared:
    """What all users' pictures need: images and universal maps by name, the predictor, and how large images are."""

    pixels: dict[str, U8]
    universal: dict[str, tuple[F32, int]]
    members: set[str]
    predictor: Predictor | None
    test_images: set[str]
    aspect: dict[str, float]


def person_sections(
    contents: Contents, images: int | None, show: Callable[[int, int, str], None] | None = None
) -> list[Section]:
    """Draw all users; `images` of each, see `gazepipe.report.write_report`."""
    if images is None:
        images = _IMAGES if len(contents.users) <= _MANY else 1
    shared = _shared(contents)
    made = []
    for done, user in enumerate(contents.users, 1):
        made.append(_section(contents, user, images, shared))
        if show:
            show(done, len(contents.users), user.label)
    return made


def _shared(contents: Contents) -> _Shared:
    study = contents.study
    pixels: dict[str, U8] = {}
    universal: dict[str, tuple[F32, int]] = {}
    members: set[str] = set()
    try:
        pack = store.load(study.stimuli_file, "gazepipe.stimuli")
        pixels = dict(zip(map(str, pack.arrays["table/stimulus"]), pack.arrays["images"], strict=True))
        usm = store.load(study.usm_file, "gazepipe.usm")
        counts = map(int, usm.arrays["table/n_users"])
        names = map(str, usm.arrays["table/stimulus"])
        universal = dict(zip(names, zip(usm.arrays["maps"], counts, strict=True), strict=True))
        members = set(_names(usm.attrs["users"]))
    except NothingToDoError:
        pass
    except GazepipeError as error:
        contents.notes.append("Images or universal maps are damaged." if contents.anonymous else str(error))
    test = set(contents.networks.get("embedding", {}).get("images_test", ()))
    return _Shared(pixels, universal, members, _predictor(contents), test, _aspects(contents))


def _names(attribute: Any) -> list[str]:
    import json

    return [str(u) for u in (json.loads(attribute) if isinstance(attribute, str) else attribute)]


def _predictor(contents: Contents) -> Predictor | None:
    if not (contents.study.gallery_file.is_file() and {"embedding", "refiner", "profile"} & contents.networks.keys()):
        return None
    from gazepipe.predictor import Predictor

    try:
        return Predictor(contents.study, device=contents.device, threads=contents.threads)
    except GazepipeError as error:
        contents.notes.append("There are no predicted maps." if contents.anonymous else f"No predicted maps: {error}")
        return None


def _aspects(contents: Contents) -> dict[str, float]:
    """Width over height of images: as imported recordings state it, or as the files have it."""
    from gazepipe.images import image_size

    found: dict[str, float] = {}
    for user in contents.users:
        for r in user.recordings:
            if "trials/image_width_px" in r.arrays:
                names = map(str, r.arrays["trials/stimulus"])
                sizes = zip(r.arrays["trials/image_width_px"], r.arrays["trials/image_height_px"], strict=True)
                found |= {n: float(w) / float(h) for n, (w, h) in zip(names, sizes, strict=True)}
    if not found:
        for path in dict.fromkeys(StudyImages(contents.study).files.values()):
            try:
                width, height = image_size(path)
            except GazepipeError:
                continue
            found[path.name] = width / height
    return found


def _section(contents: Contents, user: User, images: int, shared: _Shared) -> Section:
    events = _events(user)
    if not user.n_maps:
        return Section(user, events, _paths_on_screen(contents, user, images), "Presentations evenly spaced in time.")
    try:
        maps = store.load(contents.study.psm_file(user.user), "gazepipe.psm")
    except GazepipeError as error:
        contents.notes.append(f"The maps of {user.label} are damaged." if contents.anonymous else str(error))
        return Section(user, events, [], "")
    stimuli = [str(s) for s in maps.arrays["table/stimulus"]]
    psm = maps.arrays["maps"].astype(np.float32)
    others = [_of_others(shared, user.user, s, psm[k]) for k, s in enumerate(stimuli)]
    rows, rule = chosen_images(stimuli, psm, others, images, shared.test_images)
    shown = [_shown(contents, user, maps, k, stimuli[k], psm[k], others[k], shared) for k in rows]
    return Section(user, events, shown, rule)


def _events(user: User) -> list[Drawn]:
    """Durations, main sequence and amplitudes of a user, and the clocks of trackers in sessions."""
    made = []
    if user.duration_ms.size:
        axes = plotting.duration_histogram(user.duration_ms, axes=plotting.new_axes(3.6, 2.5))
        text = f"{counted(user.duration_ms.size, 'whole fixation')} during presentations"
        made.append(drawn(axes, f"fixation durations of {user.label}", text, dpi=110))
    if user.amplitude_deg.size:
        a, v = user.amplitude_deg, user.peak_velocity_deg_s
        text = counted(a.size, "saccade")
        axes = plotting.main_sequence(a, v, most=1500, axes=plotting.new_axes(3.6, 2.5))
        made.append(drawn(axes, f"main sequence of {user.label}", text, dpi=110))
        axes = plotting.amplitude_histogram(a, axes=plotting.new_axes(3.6, 2.5))
        made.append(drawn(axes, f"saccade amplitudes of {user.label}", text, dpi=110))
    for recorded in user.recorded:
        offsets = recorded.clock_offsets_ms
        if len(offsets) > 1:
            axes = plotting.clock_offsets(*offsets.T, axes=plotting.new_axes(3.6, 2.5))
            text = f"Tracker's clock against the computer's: {counted(len(offsets), 'measurement')} in a session"
            made.append(drawn(axes, f"offset of the tracker's clock in a session of {user.label}", text, dpi=110))
    return made


def _of_others(shared: _Shared, user: str, stimulus: str, psm: F32) -> F32 | None:
    """Universal map of an image without the user; None where nobody else has looked at it."""
    if stimulus not in shared.universal:
        return None
    mean, n = shared.universal[stimulus]
    if user not in shared.members:
        return mean
    return np.maximum((mean * n - psm) / (n - 1), 0).astype(np.float32) if n > 1 else None


def chosen_images(
    stimuli: list[str], psm: F32, others: list[F32 | None], count: int, test_images: set[str]
) -> tuple[list[int], str]:
    """Which images are shown: by rule, not by beauty.

    Of test images where there are enough, else of all: those at evenly spaced quantiles of the correlation between the
    personal map and the map of all others, from the most personal image to the most common one.

    Returns
    -------
    tuple
        Rows of `stimuli`, and the rule in words.
    """
    rows = [k for k, s in enumerate(stimuli) if s in test_images]
    what = "test image" if len(rows) >= max(count, 1) else "image"
    rows = rows if len(rows) >= max(count, 1) else list(range(len(stimuli)))
    known = [(k, o) for k in rows if (o := others[k]) is not None and o.max() > 0]
    if known:
        alike = {k: float(cc(psm[k], o)) for k, o in known}
        rows = sorted(alike, key=lambda k: (alike[k], stimuli[k]))
        order = "of how much the personal map is like that of all others, least alike first"
    else:
        order = "of their names"
    count = min(count, len(rows))
    chosen = [rows[p] for p in plotting.evenly(count, len(rows))]
    return chosen, f"{count} of {counted(len(rows), what)}, evenly spaced in order {order}."


def _shown(
    contents: Contents,
    user: User,
    maps: store.Contents,
    k: int,
    stimulus: str,
    psm: F32,
    usm: F32 | None,
    shared: _Shared,
) -> Shown:
    height, width = psm.shape
    aspect = shared.aspect.get(stimulus, width / height)
    image = _background(shared, stimulus, aspect)
    first, n = int(maps.arrays["table/first_fixation"][k]), int(maps.arrays["table/n_fixations"][k])
    u, v, duration, repeat = (
        maps.arrays[f"fixations/{c}"][first : first + n] for c in ("u", "v", "duration_ms", "repeat")
    )
    once = repeat == repeat.min()
    scale = np.array([image.shape[1] / width, image.shape[0] / height])
    sigma = np.array([[maps.arrays["table/sigma_u"][k], maps.arrays["table/sigma_v"][k]]])
    where = (
        u.astype(np.float64),
        v.astype(np.float64),
        duration.astype(np.float64),
        np.array([0, n]),
        np.array([0, 1]),
    )
    dwell = personal_maps(*where, sigma, width=width, height=height, border="cut", normalisation="max")[0]
    made: list[tuple[str, Callable[[Axes], Axes]]] = [
        (
            "scanpath",
            lambda a: plotting.scanpath(u[once] * scale[0], v[once] * scale[1], duration[once], image, axes=a),
        ),
        ("heat map", lambda a: plotting.saliency_map(dwell, image, axes=a)),
        ("personal map (PSM)", lambda a: plotting.saliency_map(psm, image, axes=a)),
    ]
    facts = [counted(n, "fixation"), *([] if once.all() else [f"{n - once.sum()} of them in repeats"])]
    if usm is not None and usm.max() > 0:
        made += _against_others(user, stimulus, psm, usm, image, facts, shared)
    kind: Any = {"kind": "webp", "dpi": 100, "pil_kwargs": {"quality": 78, "method": 3}}
    name = f"image {k + 1}" if contents.anonymous else stimulus
    panels = [drawn(draw(_panel(aspect)), f"{title} of {user.label}, {name}", title, **kind) for title, draw in made]
    return Shown(stimulus, ", ".join(facts), panels)


def _against_others(
    user: User, stimulus: str, psm: F32, usm: F32, image: U8, facts: list[str], shared: _Shared
) -> list[tuple[str, Callable[[Axes], Axes]]]:
    """Panels of the map of all others, of the differences from it, and of the predicted map."""
    delta = psm - usm
    facts.append(f"CC of PSM and USM {float(cc(psm, usm)):.2f}")
    predicted = _predicted(user, stimulus, usm, shared)
    changes = [delta] if predicted is None else [delta, predicted - usm]
    reach = max(float(np.abs(d).max()) for d in changes) or 1.0
    made: list[tuple[str, Callable[[Axes], Axes]]] = [
        ("all others (USM)", lambda a: plotting.saliency_map(usm, image, axes=a)),
        ("Δ: PSM − USM", lambda a: _wide(plotting.difference(delta, reach=reach, axes=a))),
    ]
    if predicted is not None:
        facts.append(f"of PSM and prediction {float(cc(psm, predicted)):.2f}")
        made += [
            ("predicted map", lambda a: plotting.saliency_map(predicted, image, axes=a)),
            ("predicted Δ", lambda a: _wide(plotting.difference(predicted - usm, reach=reach, axes=a))),
        ]
    return [*made, ("scales", lambda a: _scales(a, reach))]


def _scales(axes: Axes, reach: float) -> Axes:
    """What the colours over images and of differences mean."""
    axes.axis("off")
    rising = np.linspace(0, 1, 100)[None]
    for bottom, title, ends in (
        (0.6, "maps, share of each one's maximum", ("0", "1")),
        (0.15, "Δ, more (+) or less (−) than all others", (f"−{reach:.2f}", "0", f"+{reach:.2f}")),
    ):
        bar = axes.inset_axes((0.08, bottom, 0.84, 0.12))
        if len(ends) == 2:
            plotting.saliency_map(rising, axes=bar)
        else:
            plotting.difference(2 * rising - 1, reach=1, axes=bar)
        bar.set_aspect("auto")
        bar.set_title(title, fontsize=8)
        bar.set_xticks(np.linspace(0, 99, len(ends)), ends, fontsize=8)
    return axes


def _predicted(user: User, stimulus: str, usm: F32, shared: _Shared) -> F32 | None:
    """Predicted map from the map of all others; None where there is no network, no pixels, or the person is unknown."""
    predictor = shared.predictor
    if predictor is None or user.user not in predictor.users:
        return None
    small = shared.pixels.get(stimulus)
    if small is None and predictor.refiner is not None and predictor.refiner.net.channels == 4:
        return None
    blank = np.zeros((*usm.shape, 3), np.uint8)
    try:
        found: F32 = predictor.maps(blank if small is None else small, usm, [user.user])[0]
    except GazepipeError:
        return None
    return found if found.max() > 0 else None


def _background(shared: _Shared, stimulus: str, aspect: float) -> U8:
    """Image at the panel's size, white where the store has no pixels of it."""
    import cv2

    width = round(_WIDTH * 100)
    size = (width, max(round(width / aspect), 1))
    small = shared.pixels.get(stimulus)
    if small is None:
        return np.full((size[1], size[0], 3), 255, np.uint8)
    resized: U8 = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return resized


def _panel(aspect: float) -> Axes:
    """Axes that fill a figure of some width over height."""
    figure = plotting.new_figure(_WIDTH, _WIDTH / min(max(aspect, 0.4), 4), layout=None)
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    return axes


def _wide(axes: Axes) -> Axes:
    axes.set_aspect("auto")
    return axes


def _paths_on_screen(contents: Contents, user: User, images: int) -> list[Shown]:
    """Scanpaths on the empty screen, for a study without maps."""
    size = (contents.study.config.screen.width_px, contents.study.config.screen.height_px)
    trials = [
        (r, t)
        for r in user.recordings
        if r.attrs["coordinates"] != "stimulus"
        for t in range(len(r.arrays["trials/stimulus"]))
    ]
    count = min(images, len(trials))
    made = []
    for k in plotting.evenly(count, len(trials)):
        recording, trial = trials[k]
        own = recording.arrays["fixations/trial"] == trial
        x, y, duration = (recording.arrays[f"fixations/{c}"][own] for c in ("x_px", "y_px", "duration_ms"))
        axes = plotting.scanpath(x, y, duration, size=size, axes=_panel(size[0] / size[1]))
        name = str(recording.arrays["trials/stimulus"][trial]) or f"presentation {trial + 1}"
        kind: Any = {"kind": "webp", "dpi": 100, "pil_kwargs": {"quality": 78, "method": 3}}
        panel = drawn(axes, f"scanpath of {user.label} on the screen", "scanpath on the screen", **kind)
        made.append(Shown(name, counted(int(own.sum()), "fixation"), [panel]))
    return made
