"""A person's embedding while they look: after each image the map, the embedding so far, and whether it is enough.

Maps and features are made by the same functions as those of `gazepipe.enrol`, from the session's samples in memory. The
recording itself goes into the store afterwards, as any other.

*Enough* is when the embedding, a mean over image–PSM pairs, would hardly turn any more if many more pairs came. With
features f of n pairs, their mean μ and the scatter S of the f across the direction of μ (its trace, with n − 1 as
divisor), the mean is off by an error of about √(S / n) at right angles to itself, and the cosine between this embedding
and that of endlessly many pairs is about ``1 / √(1 + S / (n |μ|²))``.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gazepipe import compute, consent, store
from gazepipe.build import maps_in_memory
from gazepipe.content import Scenes
from gazepipe.enrol import Enrolment
from gazepipe.errors import InputError, NothingToDoError, StimulusError
from gazepipe.models import load_model
from gazepipe.profile import ProfileNet
from gazepipe.profiling import profiles_of
from gazepipe.recording import EyeSamples, Recording
from gazepipe.stored_corpus import load_corpus, scanpath_of
from gazepipe.training import Encoder

if TYPE_CHECKING:
    from gazepipe.live.session import LabSession, Trial
    from gazepipe.study import Study

__all__ = ["LiveEnrolment", "Update", "expected_cosine", "trial_contents"]

F32 = npt.NDArray[np.float32]

#: Gaze before and after a presentation that its fixations are found with.
_MARGIN_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Update:
    """What is known after an image.

    Parameters
    ----------
    image
        Its name.
    fixations
        On the image; 0 if it could not be used.
    n_pairs
        Pairs in the embedding.
    embedding
        Unit vector ``(d,)``; None while there is no pair.
    psm
        The map ``(H, W)``, float32; None if there is none.
    turned
        Cosine to the embedding before this image; NaN for the first.
    expected_cosine
        To the embedding of endlessly many pairs; NaN below two pairs.
    enough
        Whether the stop rule holds.
    problem
        Why the image could not be used, or "".
    """

    image: str
    fixations: int
    n_pairs: int
    embedding: F32 | None
    psm: F32 | None
    turned: float
    expected_cosine: float
    enough: bool
    problem: str = ""


def expected_cosine(features: npt.ArrayLike) -> float:
    """Cosine between the mean direction of n features ``(n, d)`` and that of endlessly many; NaN below two."""
    table = np.asarray(features, np.float64)
    n = len(table)
    if n < 2:
        return math.nan
    mean = table.mean(0)
    length2 = float(mean @ mean)
    if not length2:
        return 0.0
    apart = table - mean
    across = apart - np.outer(apart @ mean, mean) / length2
    # The mean's own error makes it longer than the true one: in d dimensions, by about the trace over n.
    error = float((across**2).sum()) / (n - 1) / n
    true2 = max(length2 - error, 1e-12)
    return 1 / math.sqrt(1 + error / true2)


def trial_contents(session: LabSession, trial: Trial) -> store.Contents:
    """Find the fixations of a presentation in the session's memory; as an ingest would store its trials and fixations.

    Raises
    ------
    InputError
        If there are no samples.
    """
    import pandas as pd

    from gazepipe.events import fixations
    from gazepipe.trials import TrialTable

    host, x, y, _ = session.recorder.seen.between(trial.onset_ns - _MARGIN_NS, trial.offset_ns + _MARGIN_NS)
    time = (host - trial.onset_ns).astype(np.float64) / 1e6
    end = (trial.offset_ns - trial.onset_ns) / 1e6
    if limit := session.study.config.trials.duration_ms:
        end = min(end, limit)  # as an ingest has it
    first, last = np.searchsorted(time, [0.0, end], "left").tolist()
    if last - first < 2:
        msg = f"{trial.image.name}: no samples came while it was shown."
        raise InputError(msg)
    there = np.isfinite(x) & np.isfinite(y)
    nan = np.float32(np.nan)
    eye = EyeSamples(np.where(there, x, nan), np.where(there, y, nan), np.full(x.shape, nan))
    recording = Recording(
        session.folder,
        "live-session",
        time,
        {"cyclopean": eye},
        np.zeros(1, np.int64),
        np.array([session.source.rate_hz]),
    )
    frame = pd.DataFrame(
        {
            "onset_ms": [0.0],
            "offset_ms": [end],
            "first_sample": [first],
            "last_sample": [last],
            "stimulus": [trial.image.name],
            "repeat": [1],
            "block": [0],
            "placement": ["rect " + " ".join(f"{v:.12g}" for v in trial.place)],
        }
    )
    found = fixations(recording, session.screen, session.study.config.ivt, TrialTable(frame, []))
    arrays = {f"trials/{c}": frame[c].to_numpy() for c in frame} | {
        f"fixations/{c}": found[c].to_numpy() for c in found
    }
    return store.Contents(Path(f"trial {trial.number}"), arrays, {"coordinates": "screen"})


class LiveEnrolment:
    """Takes in one presentation after another of somebody who need not be known.

    Parameters
    ----------
    study
        With a trained embedding network.
    user
        Pseudonym of the person.
    images
        All that will be shown; those that the network's people have not seen, too, count for nothing.
    target, least
        The stop rule: this expected cosine, from at least so many pairs.
    device, threads
        Of the network.

    Raises
    ------
    NothingToDoError
        If no network is trained, or its people have seen none of the images.
    InputError
        If the person has not consented as the study requires.
    """

    def __init__(
        self,
        study: Study,
        user: str,
        images: Sequence[Path | str],
        *,
        target: float = 0.98,
        least: int = 8,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        if refused := consent.refusal(study, [user], "embed"):
            raise InputError(refused[user])
        self.study, self.user, self.target, self.least = study, user, target, least
        where = compute.device(device)
        compute.use_threads(threads)
        self.model = load_model(study, "embedding", where)
        training = [str(u) for u in self.model.info["users_train"]]
        names = sorted({Path(i).name for i in images})
        self.corpus = load_corpus(study, users=training, guest=self._empty(names))
        if not self.corpus.stimuli:
            msg = f"{study.store}: the network's people have seen none of the images; show images of the study."
            raise NothingToDoError(msg)
        self._guest = len(training)
        self._row = dict(zip(self.corpus.stimuli, self.corpus.index[self._guest].tolist(), strict=True))
        self.corpus.index[self._guest] = -1  # nothing has been looked at yet
        self._reference = tuple(range(len(training)))
        self.encoder = Encoder(self.model.net, self.corpus, self._reference)
        self._looked: dict[str, dict[str, store.Contents]] = defaultdict(dict)
        self._features: dict[int, F32] = {}
        self.embedding: F32 | None = None
        self.n_pairs = 0

    def _empty(self, names: Sequence[str]) -> store.Contents:
        """Maps that take the place of those to come."""
        psm, n = self.study.config.psm, len(names)
        arrays = {
            "maps": np.zeros((n, psm.height, psm.width), np.float16),
            "table/stimulus": np.array(names, object),
            "table/n_fixations": np.ones(n, np.int64),
            "fixations/u": np.zeros(n, np.float32),
            "fixations/v": np.zeros(n, np.float32),
            "fixations/duration_ms": np.ones(n, np.float32),
            "fixations/repeat": np.zeros(n, np.int64),
            "table/sigma_u": np.ones(n, np.float32),
            "table/sigma_v": np.ones(n, np.float32),
        }
        return store.Contents(Path(self.user), arrays, {"params": json.dumps({"sigma_deg": psm.sigma_deg})})

    def add(self, session: LabSession, trial: Trial) -> Update:
        """Take in a presentation that has ended."""
        try:
            contents = trial_contents(session, trial)
        except InputError as error:
            return self._update(trial.image.name, 0, None, math.nan, str(error))
        return self.add_contents(trial.image.name, contents)

    def add_contents(self, image: str, contents: store.Contents) -> Update:
        """Take in a presentation of an image, as `trial_contents` gives it; repeats of one are one pair."""
        looked = self._looked[image]
        looked[f"{len(looked)}"] = contents
        try:
            maps, problems = maps_in_memory(self.study, self.user, looked)
        except StimulusError as error:
            return self._update(image, 0, None, math.nan, str(error))
        psm: F32 = maps.arrays["maps"][0].astype(np.float32)
        count = int(maps.arrays["table/n_fixations"][0])
        name = str(maps.arrays["table/stimulus"][0])
        if name not in self._row:
            return self._update(image, count, psm, math.nan, f"{image}: the network's people have not seen it.")
        self._know(name, maps)
        before, self.embedding = self.embedding, self._embed(name)
        turned = math.nan if before is None or self.embedding is None else float(before @ self.embedding)
        return self._update(image, count, psm, turned, problems[0] if problems else "")

    def _know(self, name: str, maps: store.Contents) -> None:
        import torch

        row, column, psm = self._row[name], self.corpus.stimuli.index(name), maps.arrays["maps"][0]
        self.corpus.maps[row], self.corpus.index[self._guest, column] = psm, row
        # On a CPU these share the corpus's memory already.
        self.encoder.maps[row] = torch.from_numpy(np.ascontiguousarray(psm)).to(self.encoder.where)
        self.encoder.index[self._guest, column] = row
        if self.encoder.scanpath is not None:
            self.encoder.scanpath[row] = torch.from_numpy(scanpath_of(maps)[0]).to(self.encoder.where)

    def _embed(self, name: str) -> F32 | None:
        """Mean of the features of all pairs; only the new one's are made, where pairs do not depend on others."""
        shown = np.flatnonzero(self.corpus.index[self._guest] >= 0)
        wanted = shown if self.model.net.registration else np.array([self.corpus.stimuli.index(name)])
        for column, features in zip(wanted.tolist(), self.encoder.table(self._guest, wanted), strict=True):
            if np.isfinite(features).all():
                self._features[column] = features
        self.n_pairs = len(self._features)
        if not self.n_pairs:
            return None
        mean = np.stack(list(self._features.values())).mean(0)
        unit: F32 = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return unit

    def _update(self, image: str, fixations: int, psm: F32 | None, turned: float, problem: str) -> Update:
        near = expected_cosine(list(self._features.values()) or np.zeros((0, 1)))
        enough = self.n_pairs >= self.least and near >= self.target
        return Update(image, fixations, self.n_pairs, self.embedding, psm, turned, near, enough, problem)

    def person(self) -> Enrolment:
        """Return the person as a gallery has people, to `gazepipe.Predictor.welcome`; nothing is stored.

        Raises
        ------
        NothingToDoError
            If there is no pair yet.
        """
        if self.embedding is None:
            msg = f"user {self.user!r} has not looked at any image that the network's people have seen; show some."
            raise NothingToDoError(msg)
        nan = math.nan
        return Enrolment(
            self.user, "live", self.embedding, self.n_pairs, nan, "", nan, nan, nan, profile=self._profile()
        )

    @cached_property
    def _profile_net(self) -> ProfileNet:
        net: ProfileNet = load_model(self.study, "profile").net
        return net

    @cached_property
    def _scenes(self) -> Scenes:
        """What is in the images, which takes a tenth of a second each: kept for the next time."""
        return Scenes(self._profile_net.content, self.corpus)

    def _profile(self) -> F32 | None:
        if not self.study.model_file("profile").is_file():
            return None
        shown = np.array(sorted(self._features), np.int64)
        net, people = self._profile_net, [self._guest]
        own: F32 = profiles_of(
            net, "leave_one_out", self.corpus, people, [shown], self._reference, scenes=self._scenes
        )[0].numpy()
        return own
