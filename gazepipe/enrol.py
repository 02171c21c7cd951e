"""Stage 4: a person's recordings → fixations → maps → embedding in the gallery.

The person need not have been in training, and no network is changed by enrolling somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe import audit, compute, consent, store
from gazepipe.atomic import remove
from gazepipe.build import build_psm, maps_in_memory
from gazepipe.corpus import Corpus
from gazepipe.discovery import Job
from gazepipe.errors import ConfigError, InputError, NothingToDoError
from gazepipe.identification import separation
from gazepipe.ingest import ingest_files
from gazepipe.models import Model, load_model, model_info
from gazepipe.person_recordings import PersonData, data_of, files_of, findings, read_in_memory, refuse, session_of
from gazepipe.profiling import profiles_of
from gazepipe.recipe import Recipe
from gazepipe.sealing import in_the_clear
from gazepipe.stage_plan import StagePlan
from gazepipe.stored_corpus import load_corpus
from gazepipe.study import Failure, Study, check_label, fold, stored_name
from gazepipe.subjects import check_not_forgotten
from gazepipe.training import Encoder
from gazepipe.words import counted

__all__ = [
    "Enrolment",
    "Gallery",
    "check",
    "enrol",
    "load_gallery",
    "person_data",
    "plan_enrolment",
    "take_in",
    "viewing_profiles",
]

VERSION = 1

#: Pairs that a viewing profile is made of at most.
_PROFILE_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One person in the gallery.

    Parameters
    ----------
    user, role
        Who, and whether the embedding network knew them: train, validation, test or enrolled.
    embedding
        Unit vector, ``(d,)``.
    n_pairs
        Image–PSM pairs it was made from.
    dispersion
        1 − mean cosine between embeddings of disjoint halves of the pairs.
    nearest, nearest_cosine
        The most similar other person of the gallery.
    margin
        Mean cosine between own halves minus `nearest_cosine`; above zero the person is nearer to themselves.
    d_prime
        Own half-to-half cosines against cosines to all others, in pooled standard deviations.
    profile
        Viewing profile over universal maps of other people, ``(p,)``; None where none was trained.
    """

    user: str
    role: str
    embedding: npt.NDArray[np.float32]
    n_pairs: int
    dispersion: float
    nearest: str
    nearest_cosine: float
    margin: float
    d_prime: float
    profile: npt.NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        near = f", nearest {self.nearest} at cosine {self.nearest_cosine:.3f}" if self.nearest else ""
        return f"<Enrolment: {self.user}, {self.role}, {self.n_pairs} image-PSM pairs{near}>"


@dataclass(frozen=True, slots=True)
class Gallery:
    """All enrolled people; ``gallery["p07"]`` is one of them, ``"p07" in gallery`` asks whether they are there.

    Parameters
    ----------
    people
        In order of name.
    model
        Recipe of the network that their embeddings come from.
    profile
        Recipe of what their viewing profiles come from; empty where there are none, or it is not known.
    """

    people: tuple[Enrolment, ...]
    model: str
    profile: str = ""

    def __repr__(self) -> str:
        more = ", …" if len(self.people) > 5 else ""
        first = ", ".join(p.user for p in self.people[:5])
        return f"<Gallery: {counted(len(self.people), 'person', 'people')}: {first}{more}>"

    def __len__(self) -> int:
        return len(self.people)

    def __iter__(self) -> Iterator[Enrolment]:
        return iter(self.people)

    def __contains__(self, user: object) -> bool:
        return any(user in (p.user, p) for p in self.people)

    def __getitem__(self, user: str) -> Enrolment:
        for person in self.people:
            if person.user == user:
                return person
        known = ", ".join(p.user for p in self.people) or "nobody"
        msg = f"user {user!r} is not in the gallery, which has {known}; run `gazepipe enrol --user {user}` first."
        raise NothingToDoError(msg)


def take_in(
    study: Study,
    user: str,
    recordings: Sequence[Path],
    *,
    session: str = "",
    strict: bool = False,
    show: Callable[[int, int, str], None] | None = None,
) -> list[Failure]:
    """Ingest recordings of one person and build their maps; returns what could not be used.

    They replace all that was taken in of the person before; under the name of a session, only that session. With
    `strict`, recordings below the thresholds of [enrol] are refused before anything is stored.

    Raises
    ------
    ConfigError
        If the name cannot be used, belongs to a user of the study, or makes the name of a recording that is there.
    InputError
        If not one of the recordings can be used, or none of them shows an image of the study. What was stored of the
        person before stays.
    QualityError
        If they are refused.
    """
    _permitted(study, user, session)
    if strict:
        contents, _ = read_in_memory(study, recordings, user, session)
        refuse(user, findings(data_of(study, contents, _images_of(study)), study.config.enrol))
    with store.lock(study.store):
        jobs, mine = _free_jobs(study, user, recordings, session)
        report = ingest_files(study, jobs, show=show)
        if not report.recordings:
            raise InputError(report.failures[0].message)
        contents = {row["source"]: _content(study, name) for name, row in report.recordings.items()}
        maps_in_memory(study, user, contents)  # raises where no image was looked at
        kept = {k: v for k, v in mine.items() if session and v["session"] != session}
        others = {k: v for k, v in study.manifest("enrol").get("recordings", {}).items() if k not in mine}
        study.write_manifest("enrol", {"recordings": others | kept | report.recordings})
        study.write_failures("enrol", report.failures)
        for name in mine.keys() - kept.keys() - report.recordings.keys():
            remove(study.recording_file(name))
        audit.record(study, "enrol: recordings", users=[user], written=len(report.written))
    failures = [f for f in build_psm(study).failures if f.source == user]
    if any(not f.partial for f in failures):
        raise InputError(failures[0].message)
    return report.failures + failures


def _free_jobs(
    study: Study, user: str, recordings: Sequence[Path], session: str
) -> tuple[list[Job], dict[str, dict[str, Any]]]:
    """What is to be read, under names that nobody else has, and the recordings there are of the person already."""
    known = study.known_recordings()
    mine = {k: v for k, v in known.items() if v["user"] == user and v["origin"] == "enrol"}
    for row in known.values():
        if fold(row["user"]) == fold(user) and (row["origin"] != "enrol" or row["user"] != user):
            msg = f"user {user!r}: the study already has a user {row['user']!r}; choose another name with --user."
            raise ConfigError(msg)
    jobs = _jobs(study, user, recordings, session)
    for job in jobs:
        if any(fold(k) == fold(job.recording) for k in known if k not in mine):
            msg = f"{job.source}: the store already has a recording {job.recording!r}; rename the file."
            raise ConfigError(msg)
    return jobs, mine


def plan_enrolment(
    study: Study,
    users: Sequence[str] | None,
    recordings: Sequence[Path] = (),
    *,
    session: str = "",
    strict: bool = False,
) -> StagePlan:
    """Find out what enrolling would do: `take_in` of one user's recordings, if there are any, then `enrol`.

    Recordings are read and measured; nothing is stored, and no network is used.

    Raises
    ------
    GazepipeError
        What `take_in` and `enrol` would raise.
    """
    found = StagePlan("enrol")
    info = model_info(study, "embedding")
    if not recordings or users is None:
        if strict and users:
            check(study, users[0])
        recipe, members, _ = _gallery_recipe(study, info, _profile_info(study), users)
        current = store.recipe_of(study.gallery_file) == recipe.digest
        found.make(study.gallery_file.name, current, counted(len(members), "person", "people"))
        return found
    user = users[0]
    _permitted(study, user, session)
    contents, failures = read_in_memory(study, recordings, user, session)
    data = data_of(study, contents, _images_of(study))
    if strict:
        refuse(user, findings(data, study.config.enrol))
    jobs, mine = _free_jobs(study, user, recordings, session)
    maps_in_memory(study, user, contents)  # raises where no image was looked at
    for job in jobs:
        if str(job.source) in contents:
            found.add(f"recording {job.recording}", "made", str(job.source))
    for failure in failures:
        found.add(f"recording {failure.source}", "impossible", failure.message)
    kept = {k for k, v in mine.items() if session and v["session"] != session}
    for name in sorted(mine.keys() - kept - {j.recording for j in jobs}):
        found.add(f"recording {name}", "removed", "replaced by these")
    found.add(f"maps of {user}", "made", data.text())
    people = {*_members(study), user}
    found.add(study.gallery_file.name, "made", counted(len(people), "person", "people"))
    found.notes += [f"{user}: {text}." for text in findings(data, study.config.enrol)]
    return found


def _permitted(study: Study, user: str, session: str) -> None:
    """Raise if a person may not be taken in, or not under these names."""
    check_label(user, "user")
    check_not_forgotten(study, user)
    for scope in ("ingest", "embed"):
        _agreed(study, user, scope)
    if session:
        check_label(session, "--session")


def _agreed(study: Study, user: str, scope: str) -> None:
    refused = consent.refusal(study, [user], scope)
    if refused:
        raise InputError(refused[user])


def _jobs(study: Study, user: str, recordings: Sequence[Path], session: str) -> list[Job]:
    files = files_of(study, recordings)
    if session and len(files) > 1:
        msg = f"--session {session}: names one recording, but {len(files)} were given; enrol them one after another."
        raise ConfigError(msg)
    jobs = [Job(path, user, session or session_of(path, user), "enrol") for path in files]
    doubled = {j.session for j in jobs if sum(k.session == j.session for k in jobs) > 1}
    if doubled:
        msg = f"user {user!r}: two of the recordings have the same name {sorted(doubled)[0]!r}; rename one of them."
        raise ConfigError(msg)
    return jobs


def _content(study: Study, name: str) -> store.Contents:
    return store.load(study.recording_file(name), "gazepipe.recording", only=("trials/", "fixations/"))


def _images_of(study: Study) -> set[str]:
    """Images that the people of the embedding network have seen."""
    info = model_info(study, "embedding")
    return {str(s) for part in ("train", "validation", "test") for s in info[f"images_{part}"]}


def check(study: Study, user: str) -> None:
    """Raise `QualityError` if what the store has of a person is below the thresholds of [enrol]."""
    refuse(user, findings(person_data(study, user), study.config.enrol))


def person_data(study: Study, user: str) -> PersonData:
    """Measure a person's stored recordings.

    Raises
    ------
    NothingToDoError
        If the store has none.
    """
    rows = {k: v for k, v in study.known_recordings().items() if v["user"] == user}
    if not rows:
        msg = f"user {user!r} has no recordings in {study.store}; give some."
        raise NothingToDoError(msg)
    contents = {str(v["source"]) + (f" ({k})" if len(rows) > 1 else ""): _content(study, k) for k, v in rows.items()}
    return data_of(study, contents, _images_of(study))


def enrol(
    study: Study,
    users: Iterable[str] | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    show: Callable[[int, int, str], None] | None = None,
) -> Gallery:
    """Put people of the store into the gallery, with their separation from everybody else in it.

    The whole gallery is written anew from the same network, so that embeddings of two networks never stand side by
    side. Recordings of somebody new are taken in by `take_in` first.

    Parameters
    ----------
    study
        With maps of the people, and a trained embedding network.
    users
        Who is enrolled, beside those who are; None: everybody who has maps, but for people without the consent that the
        study requires.
    device, threads
        Of the networks, see `gazepipe.compute`.
    show
        Called with people done, all people, and a name.

    Returns
    -------
    Gallery
        Everybody who is in it now.

    Raises
    ------
    NothingToDoError
        If a user has no maps, or no network is trained.
    InputError
        If a user has not agreed to it, in a study that requires consent.
    LockedError, StorageError
        If the store cannot be written.

    Examples
    --------
    >>> from gazepipe import Study
    >>> from gazepipe.enrol import enrol
    >>> len(enrol(Study.open(".")))
    3
    """
    where = compute.device(device)
    compute.use_threads(threads)
    model = load_model(study, "embedding", where)
    profile = load_model(study, "profile") if study.model_file("profile").is_file() else None
    with store.lock(study.store):
        profile_info = None if profile is None else profile.info
        recipe, members, wanted = _gallery_recipe(study, model.info, profile_info, users)
        if store.recipe_of(study.gallery_file) != recipe.digest:
            people = _embed(study, model, profile, members, show)
            _save(study, people, model.info["recipe"], "" if profile is None else profile.info["recipe"], recipe)
            audit.record(study, "enrol", users=wanted if users is not None else (), people=len(people))
    return load_gallery(study)


def _profile_info(study: Study) -> dict[str, Any] | None:
    return model_info(study, "profile") if study.model_file("profile").is_file() else None


def _gallery_recipe(
    study: Study, model: dict[str, Any], profile: dict[str, Any] | None, users: Iterable[str] | None
) -> tuple[Recipe, list[str], list[str]]:
    """Recipe of the gallery with these people in it, everybody who will be in it, and who of them was asked for."""
    built = study.manifest("build-psm").get("users", {})
    wanted = sorted(built) if users is None else list(users)
    refused = consent.refusal(study, built, "embed")
    for user in wanted if users is not None else ():
        _agreed(study, user, "embed")
    wanted = [u for u in wanted if u not in refused]
    for user in wanted:
        if user not in built:
            msg = f"user {user!r} has no maps in {study.store}; give recordings, or ingest and build-psm first."
            raise NothingToDoError(msg)
    before = _members(study)
    members = sorted({*wanted, *(u for u in before if u in built and u not in refused)})
    if not members:
        raise InputError(next(iter(refused.values())))
    params = {"model": model["recipe"], "profile": profile and profile["recipe"]}
    return Recipe("enrol", VERSION, params, {u: str(built[u]["recipe"]) for u in members}), members, wanted


def _members(study: Study) -> list[str]:
    path = study.gallery_file
    # One in the clear is of before the store was sealed: nobody in it has maps any more.
    if not path.is_file() or in_the_clear(study.store, path):
        return []
    contents = store.load(study.gallery_file, "gazepipe.gallery")
    return [str(u) for u in contents.arrays["table/user"]]


def _embed(
    study: Study, model: Model, profile: Model | None, members: list[str], show: Callable[[int, int, str], None] | None
) -> list[Enrolment]:
    """Features of all members, then each one's place among the others."""
    training = [u for u in model.info["users_train"]]
    reference = [u for u in training if u not in members]
    corpus = load_corpus(study, users=[*members, *reference])
    row = {u: i for i, u in enumerate(corpus.users)}
    encoder = Encoder(model.net, corpus, tuple(row[u] for u in training if u in row))
    tables = []
    for done, user in enumerate(members, 1):
        table = encoder.table(row[user], np.arange(len(corpus.stimuli)))
        tables.append(table[np.isfinite(table[:, 0])])
        if not len(tables[-1]):
            msg = (
                f"user {user!r} has no map of an image that the training users saw, too, which this network needs; "
                "record the person on images of the study."
            )
            raise NothingToDoError(msg)
        if show:
            show(done, len(members), user)
    means = np.stack([t.mean(0) for t in tables])
    embeddings = means / np.linalg.norm(means, axis=1, keepdims=True)
    roles = {u: part for part in ("train", "validation", "test") for u in model.info[f"users_{part}"]}
    known = tuple(row[u] for u in training if u in row)
    profiles = None if profile is None else viewing_profiles(profile, corpus, [row[u] for u in members], known)
    people = []
    for i, user in enumerate(members):
        others = np.delete(embeddings, i, 0)
        place = separation(tables[i], others, rng=np.random.default_rng(0))
        nearest = [u for u in members if u != user][place.nearest] if place.nearest >= 0 else ""
        people.append(
            Enrolment(
                user,
                roles.get(user, "enrolled"),
                embeddings[i],
                len(tables[i]),
                place.dispersion,
                nearest,
                place.nearest_cosine,
                place.margin,
                place.d_prime,
                None if profiles is None else profiles[i],
            )
        )
    return people


def viewing_profiles(
    profile: Model, corpus: Corpus, members: list[int], reference: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Viewing profiles of some of a corpus's users, over universal maps of the reference users without them."""
    rng = np.random.default_rng(0)
    shown = [rng.permutation(np.flatnonzero(corpus.index[u] >= 0))[:_PROFILE_PAIRS] for u in members]
    out: npt.NDArray[np.float32] = profiles_of(profile.net, "leave_one_out", corpus, members, shown, reference).numpy()
    return out


_COLUMNS = ("user", "role", "n_pairs", "dispersion", "nearest", "nearest_cosine", "margin", "d_prime")


def _save(study: Study, people: list[Enrolment], model: str, profile: str, recipe: Recipe) -> None:
    arrays: dict[str, Any] = {"embedding": np.stack([p.embedding for p in people])}
    profiles = [p.profile for p in people if p.profile is not None]
    if len(profiles) == len(people):
        arrays["profile"] = np.stack(profiles)
    for column in _COLUMNS:
        values = [getattr(p, column) for p in people]
        arrays[f"table/{column}"] = np.array(values, object if isinstance(values[0], str) else None)
    store.save(
        study.gallery_file, "gazepipe.gallery", arrays, recipe=recipe, attrs={"model": model, "profile": profile}
    )


def load_gallery(study: Study | Path | str) -> Gallery:
    """Read the gallery.

    Parameters
    ----------
    study
        A study, or its folder.

    Returns
    -------
    Gallery
        Everybody enrolled, with embeddings of shape ``(d,)`` and unit length.

    Raises
    ------
    NothingToDoError
        If nobody has been enrolled.
    StoreError
        If the gallery is damaged.

    Examples
    --------
    >>> from gazepipe import load_gallery
    >>> gallery = load_gallery(".")
    >>> gallery
    <Gallery: 3 people: sim01, sim02, sim03>
    >>> gallery["sim01"].embedding.shape
    (32,)
    """
    study = Study.of(study)
    contents = store.load(study.gallery_file, "gazepipe.gallery")
    table = contents.group("table")
    profiles = contents.arrays.get("profile")
    people = []
    for i, vector in enumerate(contents.arrays["embedding"]):
        values = {c: table[c][i] for c in _COLUMNS}
        plain = {c: v.item() if isinstance(v, np.generic) else v for c, v in values.items()}
        stored_name(str(plain["user"]))
        people.append(Enrolment(embedding=vector, profile=None if profiles is None else profiles[i], **plain))
    return Gallery(tuple(people), str(contents.attrs["model"]), str(contents.attrs.get("profile", "")))
