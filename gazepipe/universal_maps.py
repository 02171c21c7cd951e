"""Universal maps of a study's images from everything that can predict them: what is evaluated and what is refined.

Predictors by name: the study's own network, the network it was started from *as it is*, a folder of maps, DeepGaze IIE.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gazepipe import store
from gazepipe.backbone import backbone_meant
from gazepipe.checkpoint import Checkpoint
from gazepipe.config import StudyConfig
from gazepipe.corpus import Corpus, Split
from gazepipe.deepgaze import DeepGaze, centre_bias
from gazepipe.errors import ConfigError, StimulusError
from gazepipe.images import read_rgb
from gazepipe.map_folder import MapFolder
from gazepipe.models import Model, model_recipe, read_model
from gazepipe.readout import Features, ReadoutNet, input_size, train_readout
from gazepipe.stimuli import SUFFIXES, StudyImages
from gazepipe.study import Study
from gazepipe.training import Progress, Trained, train_universal
from gazepipe.universal import UniversalNet

__all__ = ["deepgaze_of", "other_digests", "other_maps", "predict_stimuli", "predictor_of", "train_predictor"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


def predictor_of(study: Study) -> tuple[str, str]:
    """Which network is trained, ``"none"`` or ``"efficientnet-lite0"``, and the recipe of the one it is started from.

    Raises
    ------
    ConfigError
        If the weights to start from are missing or have no backbone.
    """
    config = study.config.universal
    if config.weights:
        return "efficientnet-lite0", str(_elsewhere(study).info["recipe"])
    return backbone_meant(config.backbone), ""


def _elsewhere(study: Study, where: torch.device | None = None) -> Model:
    """Return the universal predictor of another study that [universal] weights names."""
    path = study.root / study.config.universal.weights
    if not path.is_file():
        msg = f"[universal] weights: {path} is no file; expected models/universal.safetensors of another study."
        raise ConfigError(msg)
    model = read_model(path, "universal", where)
    if not isinstance(model.net, ReadoutNet):
        msg = f"[universal] weights: {path} has no backbone; train that study with [universal] backbone set."
        raise ConfigError(msg)
    return model


def train_predictor(
    study: Study,
    corpus: Corpus,
    split: Split,
    config: StudyConfig,
    *,
    where: torch.device,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
    kept: Features | None = None,
) -> tuple[Trained, dict[str, Any]]:
    """Train the universal predictor that the configuration asks for; also returns what builds the network again.

    A readout trains in a minute or so on features that are made anew each time, so that it keeps no checkpoint; several
    trainings on one corpus may share them in `kept`.
    """
    backbone, elsewhere = predictor_of(study)
    section = config.universal
    if backbone == "none":
        trained = train_universal(
            corpus, split, section, seed=config.seed, where=where, progress=progress, checkpoint=checkpoint
        )
        return trained, {}
    start: ReadoutNet | None = _elsewhere(study, where).net if elsewhere else None
    size = start.size if start is not None else None
    trained = train_readout(
        corpus,
        split,
        _reader(study, corpus, size),
        section,
        trained_elsewhere=start,
        kept=kept,
        seed=config.seed,
        where=where,
        progress=progress,
    )
    return trained, {"backbone": backbone, "size": list(trained.net.size)}


def _reader(study: Study, corpus: Corpus, size: tuple[int, int] | None) -> Callable[[I64], npt.NDArray[np.uint8]]:
    """Read images of the corpus from the folder of stimuli, at a size."""
    height, width = size or input_size(corpus.size)
    files = _Files(study)

    def pixels(rows: I64) -> npt.NDArray[np.uint8]:
        return np.stack([read_rgb(files.of(corpus.stimuli[i]), (width, height)) for i in rows])

    return pixels


class _Files:
    """Image files of stimuli, which must be those that the maps were built with."""

    def __init__(self, study: Study) -> None:
        self.study, self.images = study, StudyImages(study)
        pack = store.load(study.stimuli_file, "gazepipe.stimuli", only=("table/",)).group("table")
        self.digests = {str(s): str(d) for s, d in zip(pack["stimulus"], pack["digest"], strict=True)}

    def of(self, stimulus: str) -> Path:
        path = self.images.find(stimulus)
        if path is None:
            msg = (
                f"{self.study.stimuli}: has no image of {stimulus}, which the universal predictor reads at a larger "
                'size than the store keeps; put it back, or set [universal] backbone = "none".'
            )
            raise StimulusError(msg)
        if self.digests.get(stimulus, "") != self.images.digest(path):
            msg = f"{path}: is another image than the maps were built with; run `gazepipe build-psm` again."
            raise StimulusError(msg)
        return path


@torch.inference_mode()
def predict_stimuli(net: UniversalNet | ReadoutNet, study: Study, corpus: Corpus, rows: I64) -> F32 | None:
    """Universal maps of images of the corpus ``(n, H, W)``; None where they have no pixels."""
    if corpus.images is None:
        return None
    where = next(net.parameters()).device
    read = _reader(study, corpus, net.size) if net.size else corpus.images.__getitem__
    parts = [
        net.predict(torch.from_numpy(read(rows[a : a + 16])).to(where), corpus.size).float().cpu().numpy()
        for a in range(0, len(rows), 16)
    ]
    return np.concatenate(parts)


def deepgaze_of(study: Study, corpus: Corpus, split: Split, where: torch.device) -> DeepGaze:
    """DeepGaze IIE with the centre bias of the study's training users on its training images."""
    mean, count = corpus.usm(split.users_train)
    train = [i for i in split.images_train if count[i]]
    return DeepGaze(centre_bias(mean[train]), corpus.size, _degrees_across(study, corpus), where)


def _degrees_across(study: Study, corpus: Corpus) -> float:
    """How wide the images were shown, from the width of the Gaussian that one degree became; the median over images."""
    file = store.load(study.psm_file(corpus.users[0]), "gazepipe.psm", only=("table/sigma_u",))
    sigma = float(np.median(file.arrays["table/sigma_u"]))
    return study.config.psm.sigma_deg * corpus.size[1] / sigma if sigma > 0 else 0.0


def other_digests(study: Study) -> dict[str, str]:
    """What `other_maps` depends on beside the corpus, for recipes."""
    config = study.config.universal
    found: dict[str, str] = {"predictor": config.predictor}
    if config.weights:
        found["weights"] = model_recipe(study.root / config.weights) or ""
    if config.maps:
        found["maps"] = MapFolder(study.root / config.maps, (1, 1), f"[universal] maps: {config.maps}").digest()
    return found


def other_maps(study: Study, corpus: Corpus, split: Split, rows: I64, where: torch.device) -> dict[str, F32]:
    """Universal maps of images of the corpus from the configured predictors that are not the study's own, by name.

    Raises
    ------
    ConfigError, StimulusError, StoreError
        If one is configured and cannot be used, or lacks an image.
    """
    config = study.config.universal
    size = corpus.size
    found: dict[str, F32] = {}
    if config.weights and corpus.images is not None:
        maps = predict_stimuli(_elsewhere(study, where).net, study, corpus, rows)
        assert maps is not None
        found["as_it_is"] = maps
    if config.maps:
        folder = MapFolder(study.root / config.maps, size, f"[universal] maps: {config.maps}")
        found["folder"] = np.stack([folder.find(_name_of(corpus.stimuli[i])) for i in rows])
    if config.predictor == "deepgaze":
        files, net = _Files(study), deepgaze_of(study, corpus, split, where)
        found["deepgaze"] = np.stack([net.find(files.of(corpus.stimuli[i])) for i in rows])
    return found


def _name_of(stimulus: str) -> Path:
    """Stimuli are named with or without a suffix; a dot in a name without one is no suffix."""
    path = Path(stimulus)
    return path if path.suffix.lower() in SUFFIXES else Path(f"{stimulus}.png")
