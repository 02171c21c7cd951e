"""A methods text to paste and a list of what should be reported, filled in from what the study holds.

The list is that of the reporting guideline (`gazepipe.report.guideline`) between what it leaves to others:
participants, stimuli, maps, networks, software. What no file tells is said to be unknown, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazepipe.report.contents import Contents, User
from gazepipe.report.guideline import Item, guideline
from gazepipe.words import counted, form

__all__ = ["Methods", "methods"]

#: Items of the guideline, where a data set has fixations alone.
_ELSEWHERE = (
    ("A1–A3", "eye tracker, software, technology"),
    ("A4", "sampling frequency"),
    ("A5", "restriction of the head"),
    ("A6–A7", "eyes and parameters recorded"),
    ("A8", "lighting"),
    ("A9", "calibration: method, design, validation"),
    ("A10", "accuracy and precision"),
    ("A11", "how fixations were found"),
    ("A12", "data loss"),
    ("B1", "signal latencies"),
    ("C1", "distance and screen"),
)

_DUNN = (
    "Dunn, M. J. et al. (2023). Minimal reporting guideline for research involving eye tracking (2023 edition). "
    "Behavior Research Methods, 56, 4351–4357. doi:10.3758/s13428-023-02187-1"
)
_OLSEN = "Olsen, A. (2012). The Tobii I-VT fixation filter: Algorithm description. Tobii Technology."
_HERSHMAN = (
    "Hershman, R., Henik, A., & Cohen, N. (2018). A novel blink detection method based on pupillometry noise. Behavior "
    "Research Methods, 50, 107–114."
)
_VELOCITIES = {
    "savgol": "Savitzky, A., & Golay, M. J. E. (1964). Smoothing and differentiation of data by simplified least "
    "squares procedures. Analytical Chemistry, 36(8), 1627–1639.",
    "fivepoint": "Engbert, R., & Kliegl, R. (2003). Microsaccades uncover the orientation of covert attention. Vision "
    "Research, 43, 1035–1045.",
}
_IGLEWICZ = "Iglewicz, B., & Hoaglin, D. C. (1993). How to detect and handle outliers. ASQC Quality Press."
_STROHM = (
    "Strohm, F., Bâce, M., & Bulling, A. (2024). Learning user embeddings from human gaze for personalised saliency "
    "prediction. Proceedings of the ACM on Human-Computer Interaction, 8 (ETRA)."
)
_BYLINSKII = (
    "Bylinskii, Z., Judd, T., Oliva, A., Torralba, A., & Durand, F. (2019). What do different evaluation metrics tell "
    "us about saliency models? IEEE Transactions on Pattern Analysis and Machine Intelligence, 41(3), 740–757."
)
_TSNE = (
    "van der Maaten, L., & Hinton, G. (2008). Visualizing data using t-SNE. Journal of Machine Learning Research, 9."
)


@dataclass(frozen=True, slots=True)
class Methods:
    """Paragraphs to paste, the items one by one, and what they cite."""

    paragraphs: list[str]
    items: list[Item]
    references: list[str]

    @property
    def unknown(self) -> int:
        """Items to which somebody has to add something."""
        return sum(bool(i.add) or not i.text for i in self.items)


def methods(contents: Contents) -> Methods:
    """Fill in what the study holds."""
    raw = [u for u in contents.users if u.raw]
    people, shown, made = _people(contents), _stimuli(contents, raw), _analysis(contents)
    items = guideline(contents, raw) if raw else _imported(contents)
    # Apparatus and quality each make a paragraph; so do the others.
    apparatus = [i for i in items if i.number[:1] in "ABC" and not i.number.startswith(("A10", "A11", "A12"))]
    quality = [i for i in items if i.number in ("A10", "A12")]
    events = [i for i in items if i.number == "A11"]
    parts = (people, apparatus, shown, events, quality, made) if raw else (people, items, shown, made)
    listed = [*people, *items, *shown, *made]
    return Methods([" ".join(map(_sentence, part)) for part in parts if part], listed, _references(contents, raw))


def _sentence(item: Item) -> str:
    blank = f"[to be added: {item.add}]" if item.add else "" if item.text else f"[to be added: {item.name}]"
    return item.sentence.replace("{}", " ".join(filter(None, (item.text, blank))))


def _people(contents: Contents) -> list[Item]:
    left_out = [f for f in contents.failures if not f.partial]
    partly = len(contents.failures) - len(left_out)
    said = [f"{counted(len(left_out), 'input')} (recordings or users) could not be used"] if left_out else []
    said += [f"{counted(partly, 'input')} could be used only in part"] if partly else []
    mapless = sum(not u.n_maps for u in contents.users) if any(u.n_maps for u in contents.users) else 0
    said += [f"{counted(mapless, 'participant')} without a map"] if mapless else []
    return [
        Item(
            "",
            "participants",
            counted(len(contents.users), "participant"),
            "age, gender, vision and its correction, recruitment, ethics approval, consent",
            "The data are of {}.",
        ),
        Item(
            "",
            "exclusions",
            ", ".join(said) or "gazepipe left out no recording and no participant that it was given",
            "who and what was left out before and after, how many, and by which criteria",
            "Exclusions: {}.",
        ),
    ]


def _imported(contents: Contents) -> list[Item]:
    add = f"what the publication of {contents.dataset or 'the data set'} says"
    return [Item(number, name, "", add, f"{name[0].upper()}{name[1:]}: {{}}.") for number, name in _ELSEWHERE]


def _stimuli(contents: Contents, raw: list[User]) -> list[Item]:
    images = {str(s) for u in contents.users for r in u.recordings for s in r.arrays["trials/stimulus"]}
    trials = sum(u.n_trials for u in contents.users)
    found = [
        Item(
            "",
            "stimuli",
            f"{counted(len(images - {''}), 'image')}, {counted(trials, 'presentation')}",
            "what the images show, and their size on the screen",
            "Stimuli: {}.",
        ),
        Item("", "task and instructions", "", "task and instructions", "Task: {}."),
    ]
    lengths = [
        r.arrays["trials/offset_ms"] - r.arrays["trials/onset_ms"]
        for u in raw
        for r in u.recordings
        if "trials/offset_ms" in r.arrays
    ]
    seconds = np.concatenate(lengths or [np.zeros(0)]) / 1000
    if seconds.size:
        low, middle, high = np.percentile(seconds, [5, 50, 95])
        text = (
            f"{middle:.2f} s"
            if f"{low:.2f}" == f"{high:.2f}"
            else f"{middle:.2f} s (median; 90 % between {low:.2f} and {high:.2f} s)"
        )
        longest = contents.study.config.trials.duration_ms
        text += f" (at most {longest / 1000:g} s of each are used)" if longest else ""
        found.append(Item("", "time of presentation", text, "", "Each was shown for {}."))
    return found


def _analysis(contents: Contents) -> list[Item]:
    psm = contents.study.config.psm
    scaled = "maximum" if psm.normalisation == "max" else "sum"
    first = "without" if psm.drop_first_fixation else "with"
    border = {"cut": "cut at the image's edge", "reflect": "mirrored at the image's edge"}
    maps = (
        f"fixations on the image, weighted by {psm.weighting}, {first} the one already there at onset, on "
        f"{psm.width} × {psm.height} cells; Gaussian of {psm.sigma_deg:g}° (standard deviation), "
        f"{border.get(psm.border, 'made up for at the edge')}; {scaled} of each "
        f"repeat's map set to one, mean over repeats"
    )
    found = [Item("", "saliency maps", maps, "", "Personal saliency maps are made of {}.")]
    if "embedding" in contents.networks:
        found.append(Item("", "networks", _networks(contents), "", "Networks (Strohm et al. 2024): {}."))
    wanted = ("gazepipe", "python", "numpy", "scipy", "torch")
    versions = ", ".join(f"{name} {contents.versions[name]}" for name in wanted if name in contents.versions)
    read = sorted({r.gazepipe for u in contents.users for r in u.recorded} - {contents.versions.get("gazepipe")})
    versions += f"; recordings read by gazepipe {', '.join(read)}" if read else ""
    found.append(Item("", "software of the analysis", versions, "", "The analysis was done with {}."))
    return found


def _networks(contents: Contents) -> str:
    about = contents.networks["embedding"]
    set_up = _section(about, "embedding")
    split, parts = _section(about, "split"), []
    for part, what in (("train", "trained on"), ("validation", "validated on"), ("test", "kept for tests:")):
        users, images = (len(about.get(f"{k}_{part}", ())) for k in ("users", "images"))
        parts.append(f"{what} {counted(users, 'participant')} and {counted(images, 'image')}")
    kind = f"inputs {set_up['inputs']}, " if "inputs" in set_up else ""
    others = [name for name in contents.networks if name != "embedding"]
    pairs = form(set_up.get("m", 0), "pair", "pairs")
    return (
        f"embedding ({kind}m = {set_up.get('m', '?')} {pairs} of an image and a map), {', '.join(parts)} "
        f"({split.get('protocol', '?')} set, drawn with seed {split.get('seed', '?')})"
        + (f"; of the same parts: {', '.join(others)}" if others else "")
    )


def _section(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    params = about.get("params")
    found = params.get(name) if isinstance(params, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _references(contents: Contents, raw: list[User]) -> list[str]:
    found = [_DUNN, _IGLEWICZ, *_of_data_set(contents.dataset)]
    if raw:
        method = contents.study.config.ivt.velocity_method
        found += [_OLSEN, _HERSHMAN, *([_VELOCITIES[method]] if method in _VELOCITIES else [])]
    if any(u.n_maps for u in contents.users):
        found.append(_STROHM)
    if contents.evaluation:
        found.append(_BYLINSKII)
    if contents.study.gallery_file.is_file():
        found.append(_TSNE)
    return sorted(found, key=str.casefold)


def _of_data_set(name: str) -> Iterable[str]:
    from gazepipe.datasets.sources import BY_HAND, SOURCES

    known = SOURCES.get(name) or BY_HAND.get(name)
    return [known.citation] if known else []
