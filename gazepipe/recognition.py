"""Whose recordings are these? One against all of the gallery (`identify`), or against one of it (`verify`).

Recordings go through readers, trials, fixations and maps as in every other stage, in memory: the store is only read.
Odds and thresholds come from people whom the network does not know, never from test users (`gazepipe.calibration`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe import compute, store
from gazepipe.build import maps_in_memory
from gazepipe.calibration import Calibration, load_calibration
from gazepipe.corpus import Corpus
from gazepipe.enrol import Enrolment, Gallery, load_gallery, viewing_profiles
from gazepipe.errors import InputError, NothingToDoError
from gazepipe.models import Model, load_model
from gazepipe.person_recordings import PersonData, data_of, findings, paths_of, read_in_memory, refuse
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Failure, Study
from gazepipe.tables import text_table
from gazepipe.training import Encoder

__all__ = ["Candidate", "Identification", "Verification", "embedding_of_maps", "identify", "profile_of_maps", "verify"]

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Probe:
    """An unknown person: embedding, its pairs, the data behind it, sentences and what could not be used."""

    embedding: F32
    n_pairs: int
    data: PersonData
    notes: list[str]
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the gallery.

    `likelihood_ratio` says how many times likelier the cosine is if both are the same person; `probability` is that of
    being this one, if everybody in the gallery and somebody else are all equally likely beforehand.
    """

    user: str
    cosine: float
    likelihood_ratio: float
    probability: float


@dataclass(frozen=True, slots=True)
class Identification:
    """Who of the gallery it is.

    Parameters
    ----------
    user
        The nearest, or empty: nobody of these.
    candidates
        Ranked by cosine.
    threshold, far
        The nearest must reach this cosine; somebody who is not in the gallery does with this probability, at most.
    nobody
        Probability of being nobody of the gallery, see `Candidate`.
    people, calibration_users
        In the gallery, and how many people the odds rest on.
    probe
        What was looked for.
    """

    user: str
    candidates: list[Candidate]
    threshold: float
    far: float
    nobody: float
    people: int
    calibration_users: int
    probe: Probe

    def __repr__(self) -> str:
        who, near = self.user or "nobody of these", self.candidates[0]
        return f"<Identification: {who}; nearest {near.user}, cosine {near.cosine:.3f} of {self.threshold:.3f} needed>"

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "user": self.user,
            "candidates": [asdict(c) for c in self.candidates],
            "threshold": self.threshold,
            "far": self.far,
            "probability_nobody": self.nobody,
            "people": self.people,
            "calibration_users": self.calibration_users,
            **_probe_content(self.probe),
        }

    def text(self) -> str:
        """Return it as lines."""
        rows = [
            [str(k), c.user, f"{c.cosine:.3f}", f"{c.likelihood_ratio:.3g}", f"{c.probability:.3f}"]
            for k, c in enumerate(self.candidates, 1)
        ]
        rows.append(["", "nobody of these", "", "", f"{self.nobody:.3f}"])
        table = text_table(["", "user", "cosine", "likelihood ratio", "probability"], rows, (0, 1))
        best = self.candidates[0]
        verdict = f"{best.user}" if self.user else "nobody of these"
        sign = "≥" if self.user else "<"
        return (
            f"{table}\n{verdict}: the nearest has cosine {best.cosine:.3f} {sign} {self.threshold:.3f}, which somebody "
            f"who is not in the gallery reaches with a probability of {self.far:g} at most (from "
            f"{self.calibration_users} people unknown to the network)."
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether it is somebody in particular.

    Parameters
    ----------
    user, accepted, cosine, likelihood_ratio
        Against whom, with what result.
    threshold, far, frr
        Cosine to be reached; how often somebody else does, and how often the person does not, by expectation.
    pairs_of_people
        How many pairs of different people the rates rest on.
    probe
        What was compared.
    """

    user: str
    accepted: bool
    cosine: float
    likelihood_ratio: float
    threshold: float
    far: float
    frr: float
    pairs_of_people: int
    probe: Probe

    def __repr__(self) -> str:
        verdict = "accepted" if self.accepted else "rejected"
        return f"<Verification: {self.user} {verdict}, cosine {self.cosine:.3f} of {self.threshold:.3f} needed>"

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        own = {name: getattr(self, name) for name in Verification.__slots__ if name != "probe"}
        return own | _probe_content(self.probe)

    def text(self) -> str:
        """Return it as one line."""
        verdict, sign = ("accepted", "≥") if self.accepted else ("rejected", "<")
        return (
            f"{self.user}: {verdict}, cosine {self.cosine:.3f} {sign} {self.threshold:.3f}, likelihood ratio "
            f"{self.likelihood_ratio:.3g}; expected at this threshold: {self.far:.1%} of other people accepted, "
            f"{self.frr:.1%} of the person's own rejected."
        )


def _probe_content(probe: Probe) -> dict[str, Any]:
    failures = [f.row() for f in probe.failures]
    return {"m": probe.n_pairs, "data": probe.data.content(), "notes": probe.notes, "failures": failures}


def identify(
    study: Study | Path | str,
    recordings: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    far: float = 0.05,
    strict: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Identification:
    """Find out who of the gallery some recordings are of; nothing is stored.

    Parameters
    ----------
    study
        A study, or its folder.
    recordings
        A file or folder of one person, or several.
    top
        How many of the gallery to name.
    far
        Probability with which somebody who is not in the gallery may be taken for somebody who is.
    strict
        Refuse recordings below the thresholds of [enrol].
    device, threads
        Of the networks, see `gazepipe.compute`.

    Returns
    -------
    Identification
        The nearest of the gallery, or nobody, with the odds of each candidate.

    Raises
    ------
    NothingToDoError
        If nobody is enrolled, or with another network than the one there.
    InputError
        If not one of the recordings can be used, or shows no image that the network's people have seen.
    QualityError
        If they are refused.

    Examples
    --------
    >>> from gazepipe import identify
    >>> identify(".", "sim01.asc.gz").candidates[0].user  # doctest: +SKIP
    'sim01'
    """
    study = Study.of(study)
    gallery, model, calibration = _ready(study, device, threads)
    probe = _probe(study, model, paths_of(recordings), strict)
    cosines = np.stack([p.embedding for p in gallery.people]) @ probe.embedding
    ratios = np.array(
        [
            calibration.likelihood_ratio(float(c), p.n_pairs, probe.n_pairs)
            for c, p in zip(cosines, gallery.people, strict=True)
        ]
    )
    threshold = calibration.open_threshold(far, [p.n_pairs for p in gallery.people], probe.n_pairs)
    total = float(ratios.sum()) + 1
    order = np.argsort(-cosines, kind="stable")
    candidates = [
        Candidate(gallery.people[i].user, float(cosines[i]), float(ratios[i]), float(ratios[i]) / total)
        for i in order[:top]
    ]
    known = candidates[0].user if candidates[0].cosine >= threshold else ""
    return Identification(known, candidates, threshold, far, 1 / total, len(gallery.people), calibration.users, probe)


def verify(
    study: Study | Path | str,
    recordings: str | Path | Sequence[str | Path],
    user: str,
    *,
    far: float = 0.01,
    strict: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Verification:
    """Find out whether some recordings are of somebody in particular; nothing is stored.

    Parameters
    ----------
    study
        A study, or its folder.
    recordings
        A file or folder of one person, or several.
    user
        Somebody of the gallery.
    far
        Probability with which somebody else may be accepted.
    strict
        Refuse recordings below the thresholds of [enrol].
    device, threads
        Of the networks, see `gazepipe.compute`.

    Returns
    -------
    Verification
        Accepted or not, the cosine behind it, and the rates of error to be expected.

    Raises
    ------
    NothingToDoError
        If this person is not enrolled, or with another network than the one there.
    InputError
        If not one of the recordings can be used, or shows no image that the network's people have seen.
    QualityError
        If they are refused.

    Examples
    --------
    >>> from gazepipe import verify
    >>> verify(".", "sim01.asc.gz", "sim01").accepted  # doctest: +SKIP
    True
    """
    study = Study.of(study)
    gallery, model, calibration = _ready(study, device, threads)
    person: Enrolment = gallery[user]
    probe = _probe(study, model, paths_of(recordings), strict)
    cosine = float(person.embedding @ probe.embedding)
    sizes = person.n_pairs, probe.n_pairs
    threshold = calibration.threshold(far, *sizes)
    if far < 1 / calibration.pairs_of_people:
        probe.notes.append(
            f"a rate of {far:g} is more than {calibration.pairs_of_people} pairs of people can tell; "
            "take the expected rates as rough."
        )
    return Verification(
        user,
        cosine >= threshold,
        cosine,
        calibration.likelihood_ratio(cosine, *sizes),
        threshold,
        far,
        calibration.rejection(threshold, *sizes),
        calibration.pairs_of_people,
        probe,
    )


def _ready(study: Study, device: str, threads: int | None) -> tuple[Gallery, Model, Calibration]:
    where = compute.device(device)
    compute.use_threads(threads)
    gallery = load_gallery(study)
    model = load_model(study, "embedding", where)
    if gallery.model != model.info["recipe"]:
        msg = f"{study.gallery_file}: its embeddings are of a network trained before; run `gazepipe enrol` again."
        raise NothingToDoError(msg)
    return gallery, model, load_calibration(study, gallery.model)


def _probe(study: Study, model: Model, recordings: list[Path], strict: bool) -> Probe:
    contents, failures = read_in_memory(study, recordings)
    known = {str(s) for part in ("train", "validation", "test") for s in model.info[f"images_{part}"]}
    data = data_of(study, contents, known)
    found = findings(data, study.config.enrol)
    if strict:
        refuse(str(recordings[0]), found)
    maps, problems = maps_in_memory(study, "probe", contents)
    notes = [*problems, *(f"{recordings[0]}: {text}." for text in found)]
    embedding, n_pairs = embedding_of_maps(study, model, maps)
    if not n_pairs:
        msg = (
            f"{recordings[0]}: shows no image that the network's people have seen, too; "
            "record the person on images of the study."
        )
        raise InputError(msg)
    return Probe(embedding, n_pairs, data, notes, failures)


def embedding_of_maps(study: Study, model: Model, maps: store.Contents) -> tuple[F32, int]:
    """Embedding of somebody whose maps are in memory, and how many pairs it is of; none: the vector is empty."""
    training = list(model.info["users_train"])
    corpus = load_corpus(study, users=training, guest=maps)
    return _embedding(model, corpus, tuple(range(len(training))))


def profile_of_maps(study: Study, maps: store.Contents) -> F32 | None:
    """Viewing profile of somebody whose maps are in memory, over universal maps of the training users.

    None where no profile was trained, or none of the images was seen by these users.
    """
    if not study.model_file("profile").is_file():
        return None
    model = load_model(study, "profile")
    training = list(model.info["users_train"])
    corpus = load_corpus(study, users=training, guest=maps)
    guest = len(training)
    if not (corpus.index[guest] >= 0).any():
        return None
    own: F32 = viewing_profiles(model, corpus, [guest], tuple(range(guest)))[0]
    return own


def _embedding(model: Model, corpus: Corpus, reference: tuple[int, ...]) -> tuple[F32, int]:
    """Embedding of the corpus's last user and how many pairs it is of."""
    if not corpus.stimuli:
        return np.zeros(0, np.float32), 0
    table = Encoder(model.net, corpus, reference).table(len(corpus.users) - 1, np.arange(len(corpus.stimuli)))
    table = table[np.isfinite(table[:, 0])]
    if not len(table):
        return np.zeros(0, np.float32), 0
    mean = table.mean(0)
    unit: F32 = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit, len(table)
