"""A person's recordings in memory, for notebooks: tables, maps, embedding, prediction, scores; nothing is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.build import maps_in_memory
from gazepipe.errors import ConfigError, NothingToDoError
from gazepipe.person_recordings import paths_of, read_in_memory
from gazepipe.study import Failure, Study
from gazepipe.user_quality import pooled
from gazepipe.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from gazepipe.predictor import Predictor

__all__ = ["Seen", "read"]

F32 = npt.NDArray[np.float32]
_ME = "probe"


def read(recordings: str | Path | Sequence[str | Path], study: Study | str | Path = ".") -> Seen:
    """Read recordings of one person as an ingest does, with the settings of a study, and store nothing.

    Parameters
    ----------
    recordings
        A file or folder, or several.
    study
        A study, or its folder; without a store, tables and maps can be had all the same.

    Returns
    -------
    Seen
        Tables of events, maps ``(n_images, H, W)`` and, by the study's networks, the embedding ``(d,)``.

    Raises
    ------
    ConfigError
        If there is no study.
    InputError
        If not one of the recordings can be used.

    Examples
    --------
    >>> from gazepipe import read
    >>> seen = read("sim01.asc.gz", ".")
    >>> seen.map("scene01").shape
    (120, 160)
    >>> len(seen.trials), seen.stimuli[0]
    (4, 'scene01.png')
    """
    opened = Study.of(study)
    contents, failures = read_in_memory(opened, paths_of(recordings))
    return Seen(opened, contents, failures)


class Seen:
    """What one person looked at.

    Parameters
    ----------
    study
        Whose settings hold.
    contents
        Source → what an ingest would store of it.
    failures
        What could not be read.
    """

    def __init__(self, study: Study, contents: Mapping[str, store.Contents], failures: Sequence[Failure] = ()) -> None:
        self.study, self.contents, self.failures = study, dict(contents), list(failures)

    def __repr__(self) -> str:
        trials = sum(len(c.arrays["trials/stimulus"]) for c in self.contents.values())
        fixations = sum(len(c.arrays["fixations/onset_ms"]) for c in self.contents.values())
        failed = f", {len(self.failures)} that cannot be used" if self.failures else ""
        seen = f"{counted(len(self.contents), 'recording')}{failed}"
        return f"<Seen: {seen}, {counted(trials, 'trial')}, {counted(fixations, 'fixation')}>"

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        frames = [store.to_frame(c, name).assign(recording=Path(source).name) for source, c in self.contents.items()]
        return pd.concat(frames, ignore_index=True)

    @property
    def trials(self) -> pd.DataFrame:
        """Presentations; `docs/store-format.md` has the columns and units of this and the next three."""
        return self._table("trials")

    @property
    def fixations(self) -> pd.DataFrame:
        """Fixations, with the row of `trials` of their recording that each belongs to."""
        return self._table("fixations")

    @property
    def saccades(self) -> pd.DataFrame:
        """Saccades between fixations, a row each."""
        return self._table("saccades")

    @property
    def blinks(self) -> pd.DataFrame:
        """Blinks, a row each."""
        return self._table("blinks")

    @property
    def samples(self) -> pd.DataFrame:
        """Samples with ``time_ms``, and ``EYE_x_px``, ``EYE_y_px`` and ``EYE_pupil`` (tracker's unit) of each eye."""
        import pandas as pd

        names = {"x_coordinate": "x_px", "y_coordinate": "y_px", "pupil_size": "pupil"}
        frames = []
        for source, c in self.contents.items():
            columns: dict[str, Any] = {"recording": Path(source).name, "time_ms": c.arrays["samples/timestamp"]}
            for key, values in c.arrays.items():
                parts = key.split("/")
                if len(parts) == 3 and parts[0] == "samples":
                    columns[f"{parts[1]}_{names[parts[2]]}"] = values
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    @property
    def quality(self) -> pd.Series:
        """Data quality over all recordings, see `gazepipe.quality`; units stand in the names, losses are shares."""
        import pandas as pd

        found = [c.attrs["quality"] for c in self.contents.values()]
        return pd.Series(pooled([json.loads(q) if isinstance(q, str) else q for q in found]))

    @cached_property
    def _maps(self) -> store.Contents:
        return maps_in_memory(self.study, _ME, self.contents)[0]

    @cached_property
    def stimuli(self) -> tuple[str, ...]:
        """Images that there are maps of."""
        return tuple(str(s) for s in self._maps.arrays["table/stimulus"])

    @property
    def maps(self) -> F32:
        """Personal saliency maps, ``(n_images, H, W)``, in the order of `stimuli`."""
        found: F32 = self._maps.arrays["maps"].astype(np.float32)
        return found

    def map(self, stimulus: str) -> F32:
        """Personal saliency map of one image, ``(H, W)``.

        Raises
        ------
        NothingToDoError
            If there is none of it.
        """
        found: F32 = self._maps.arrays["maps"][self._row(stimulus)].astype(np.float32)
        return found

    def looks(self, stimulus: str) -> pd.DataFrame:
        """Fixations that a map is made of: ``u``, ``v`` in cells of the map, ``duration_ms``, ``repeat``."""
        import pandas as pd

        k = self._row(stimulus)
        first, n = (int(self._maps.arrays[f"table/{name}"][k]) for name in ("first_fixation", "n_fixations"))
        return pd.DataFrame({name: a[first : first + n] for name, a in self._maps.group("fixations").items()})

    def _row(self, stimulus: str) -> int:
        """Row of an image, named with or without suffix."""
        if stimulus in self.stimuli:
            return self.stimuli.index(stimulus)
        near = [k for k, name in enumerate(self.stimuli) if Path(name).stem == stimulus]
        if len(near) != 1:
            more = " …" if len(self.stimuli) > 5 else ""
            msg = f"{stimulus}: there is no map of it; there are {', '.join(self.stimuli[:5])}{more}"
            raise NothingToDoError(msg)
        return near[0]

    @cached_property
    def embedding(self) -> F32:
        """Embedding by the study's trained network, a unit vector ``(d,)``.

        Raises
        ------
        NothingToDoError
            If nothing is trained, or the network needs images that its people have seen, too, and there are none.
        """
        from gazepipe.models import load_model
        from gazepipe.recognition import embedding_of_maps

        found, n = embedding_of_maps(self.study, load_model(self.study, "embedding"), self._maps)
        if not n:
            first = next(iter(self.contents))
            msg = f"{first}: shows no image that the network's people have seen, too; record images of the study."
            raise NothingToDoError(msg)
        return found

    @cached_property
    def profile(self) -> F32 | None:
        """Viewing profile ``(p,)``, as `gazepipe enrol` makes it; None where none was trained."""
        from gazepipe.recognition import profile_of_maps

        return profile_of_maps(self.study, self._maps)

    @cached_property
    def predictor(self) -> Predictor:
        """A `gazepipe.Predictor` that knows this person alone, as ``"probe"``; they need not be enrolled.

        Raises
        ------
        NothingToDoError
            If nothing is trained.
        """
        from gazepipe.enrol import Enrolment, Gallery
        from gazepipe.models import model_info
        from gazepipe.predictor import Predictor

        nan, recipe = math.nan, str(model_info(self.study, "embedding")["recipe"])
        pairs = len(self.stimuli)
        me = Enrolment(_ME, "probe", self.embedding, pairs, nan, "", nan, nan, nan, profile=self.profile)
        known = "" if self.profile is None else str(model_info(self.study, "profile")["recipe"])
        return Predictor(self.study, gallery=Gallery((me,), recipe, known))

    def predict(self, image: str | Path | npt.NDArray[Any], *, usm: str | F32 = "auto") -> F32:
        """Where this person would look on an image: map at the study's map size, not negative, ``(H, W)``.

        By the method of the study (`[refiner] method`), as `gazepipe.Predictor` does it for people enrolled.

        Parameters
        ----------
        image
            A file, or pixels ``(height, width, 3)`` RGB, uint8.
        usm
            Where the universal map comes from, or the map itself, as in `gazepipe.Predictor`.

        Raises
        ------
        NothingToDoError
            If nothing is trained, or the method needs a viewing profile and there is none.
        """
        return self.predictor(image, _ME, usm=usm)

    def score(self, predictions: Mapping[str, npt.ArrayLike]) -> pd.DataFrame:
        """Score predicted maps against what this person looked at, by the measures of `gazepipe.metrics`.

        Parameters
        ----------
        predictions
            Image → map ``(H, W)`` at the study's map size, not negative.

        Returns
        -------
        pandas.DataFrame
            A row an image, a column a measure.

        Raises
        ------
        NothingToDoError
            If this person has not looked at one of the images, or there is no map to score.
        ConfigError
            If a map has another size than the study's.
        ValueError
            If a map has a negative value or no mass.
        """
        import pandas as pd

        from gazepipe.metrics import METRICS, score

        if not predictions:
            msg = "there is no map to score; give some, as {image: map}."
            raise NothingToDoError(msg)
        height, width = self.maps.shape[1:]
        for stimulus, predicted in predictions.items():
            if np.shape(predicted) != (height, width):
                msg = f"{stimulus}: a map of shape {np.shape(predicted)}; expected the study's, {(height, width)}."
                raise ConfigError(msg)
        looks = [self.looks(s) for s in predictions]
        rows = np.concatenate([np.minimum(t["v"].to_numpy(np.int64), height - 1) for t in looks])
        columns = np.concatenate([np.minimum(t["u"].to_numpy(np.int64), width - 1) for t in looks])
        start = np.append(0, np.cumsum([len(t) for t in looks]))
        truth = np.stack([self.map(s) for s in predictions])
        found = score(np.stack([np.asarray(p) for p in predictions.values()]), truth, rows, columns, start)
        return pd.DataFrame(found, index=pd.Index(list(predictions), name="stimulus"), columns=list(METRICS))
