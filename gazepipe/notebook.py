"""A person's recordings in memory, for notebooks: tables, maps, embedding, prediction, scores; nothing is stored.

>>> from gazepipe import read
>>> seen = read("recordings/sim01.asc.gz", "recordings")   # doctest: +SKIP
>>> seen.fixations.head()                                  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.build import maps_in_memory
from gazepipe.errors import NothingToDoError
from gazepipe.person_recordings import read_in_memory
from gazepipe.study import Failure, Study
from gazepipe.user_quality import pooled

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Seen", "read"]

F32 = npt.NDArray[np.float32]


def read(recordings: str | Path | Sequence[str | Path], study: Study | str | Path = ".") -> Seen:
    """Read recordings of one person as an ingest does, with the settings of a study, and store nothing.

    Parameters
    ----------
    recordings
        A file or folder, or several.
    study
        A study, or its folder; without a store, tables and maps can be had all the same.

    Raises
    ------
    InputError
        If not one of the recordings can be used.
    """
    opened = study if isinstance(study, Study) else Study.open(Path(study))
    paths = [recordings] if isinstance(recordings, str | Path) else list(recordings)
    contents, failures = read_in_memory(opened, [Path(p) for p in paths])
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
        return maps_in_memory(self.study, "probe", self.contents)[0]

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
        if stimulus not in self.stimuli:
            msg = f"{stimulus}: there is no map of it; there are {', '.join(self.stimuli[:5])} …"
            raise NothingToDoError(msg)
        return self.stimuli.index(stimulus)

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
            msg = f"{next(iter(self.contents))}: shows no image that the network's people have seen, too."
            raise NothingToDoError(msg)
        return found

    def predict(self, image: str | Path, *, usm: str = "auto") -> F32:
        """Where this person would look on an image: map at the study's map size, not negative, ``(H, W)``.

        `usm` says where the universal map comes from, as in `gazepipe.Predictor`.

        Raises
        ------
        NothingToDoError
            If no refiner is trained.
        """
        from gazepipe import compute
        from gazepipe.images import read_rgb
        from gazepipe.models import load_model, load_refiner
        from gazepipe.predict import predict_maps
        from gazepipe.train import settings
        from gazepipe.universal_source import UniversalSource

        where = compute.device("auto")
        refiner = load_refiner(self.study, load_model(self.study, "embedding").info["recipe"], where)
        size = (self.study.config.psm.width, self.study.config.psm.height)
        small = read_rgb(Path(image), size)
        universal = UniversalSource(self.study, usm, where).find(Path(image), small)[0]
        combine = settings(self.study).refiner.combine
        found: F32 = predict_maps(refiner.net, self.embedding, small[None], universal[None], combine=combine)[0]
        return found

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
            If there is no map of one of the images.
        ValueError
            If a map has another size, a negative value or no mass.
        """
        import pandas as pd

        from gazepipe.metrics import METRICS, score

        height, width = self.maps.shape[1:]
        looks = [self.looks(s) for s in predictions]
        rows = np.concatenate([np.minimum(t["v"].to_numpy(np.int64), height - 1) for t in looks])
        columns = np.concatenate([np.minimum(t["u"].to_numpy(np.int64), width - 1) for t in looks])
        start = np.append(0, np.cumsum([len(t) for t in looks]))
        truth = np.stack([self.map(s) for s in predictions])
        found = score(np.stack([np.asarray(p) for p in predictions.values()]), truth, rows, columns, start)
        return pd.DataFrame(found, index=pd.Index(list(predictions), name="stimulus"), columns=list(METRICS))
