"""From a corpus to viewing profiles: the prior from training users, and the profile of anybody who has a few maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gazepipe.backbone import EfficientNetLite0, backbone_meant, load_backbone
from gazepipe.content import ContentNet, Scenes, combined, components_of
from gazepipe.corpus import Corpus, Split
from gazepipe.errors import ConfigError
from gazepipe.profile import (
    FIT_SIZE,
    PARAMETERS,
    SOURCES,
    Looks,
    ProfileNet,
    fit_profiles,
    looks_of,
    profile_loss,
    reshape_maps,
)
from gazepipe.training import Progress, Trained

if TYPE_CHECKING:
    from gazepipe.config import RefinerConfig, StudyConfig

__all__ = ["content_backbone", "knows_content", "profiled", "profiles_of", "train_profile"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
#: What `Corpus.usm_without_each` returns.
Without = Callable[[int, I64], F32]

#: Pairs of each training user that the prior is made from.
_PAIRS = 64
#: Pairs that are fitted at once: each needs some 0.3 MB while it lasts, and no person knows of the others.
_AT_ONCE = 1600
#: How strong the prior may be, as multiples of what the training users' scatter says.
_STRENGTHS = (0.125, 0.25, 0.5, 1.0)
#: The same of the weights of content, which counts in the loss by more than chance if it is to be used at all.
_CONTENT_STRENGTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
#: What directions of content are learned from: principal components, images that these are made from, and images,
#: training users and pairs of each that are weighed by; and the precision of the components' weights, per pair.
_COMPONENTS, _PICTURES, _IMAGES, _USERS, _WEIGHED, _COMPONENT_PRECISION = 48, 128, 320, 64, 320, 0.625
#: The precision at which a weight is nothing.
_NEVER = 1e9


class _Pairs(NamedTuple):
    """Pairs of users, small: maps ``(users, n, h, w)``, which are there, and content ``(users, n, k, h, w)``."""

    usm: Tensor
    psm: Tensor
    there: Tensor
    content: Tensor | None


def _pairs(
    corpus: Corpus, users: Sequence[int], images: Sequence[I64], without: Without, share: float, content: Scenes
) -> _Pairs:
    """Universal and personal maps of users, and what is in the images.

    The universal map is that of others (`without`), with the user's own map in it by the weight `share`.
    """
    n = max(map(len, images), default=0)
    usm, psm = torch.ones(len(users), n, *FIT_SIZE), torch.ones(len(users), n, *FIT_SIZE)
    there, scenes = torch.zeros(len(users), n), None
    for row, (user, chosen) in enumerate(zip(users, images, strict=True)):
        others = without(user, chosen)
        own = corpus.maps[np.maximum(corpus.index[user, chosen], 0)].astype(np.float32)
        use = np.flatnonzero((corpus.index[user, chosen] >= 0) & np.isfinite(others).all((1, 2)))
        use = use[(others[use].max((1, 2)) > 0) & (own[use].max((1, 2)) > 0)]
        mixed = (1 - share) * others[use] + share * own[use]
        usm[row, : len(use)] = F.adaptive_avg_pool2d(torch.from_numpy(mixed), FIT_SIZE)
        psm[row, : len(use)] = F.adaptive_avg_pool2d(torch.from_numpy(own[use]), FIT_SIZE)
        there[row, : len(use)] = 1
        shown = content.of(chosen[use])
        if shown is not None:
            scenes = torch.zeros(len(users), n, *shown.shape[1:]) if scenes is None else scenes
            scenes[row, : len(use)] = shown
    return _Pairs(usm, psm, there, scenes)


def _share(corpus: Corpus, source: str) -> float:
    """Weight of a person's own map in the universal map."""
    return 1 / len(corpus.users) if source == "mean" else 0.0


def profiles_of(
    net: ProfileNet,
    source: str,
    corpus: Corpus,
    users: Sequence[int],
    images: Sequence[I64],
    reference: Sequence[int],
    *,
    scenes: Scenes | None = None,
) -> Tensor:
    """Profiles of some users, each from the pairs that they have of some images.

    Parameters
    ----------
    source
        One of `profile.SOURCES`.
    users
        Indices into the corpus; they need not be among the training users.
    images
        Images of each user.
    reference
        Over whom universal maps are taken: training users, and whoever else is known.
    scenes
        Content maps of the corpus's images by this network, to be used again; None: they are made anew.

    Returns
    -------
    torch.Tensor
        ``(users, len(PARAMETERS) + k)``; the prior's mean for a user without a usable pair.
    """
    without, share = corpus.usm_without_each(reference), _share(corpus, source)
    content = Scenes(net.content, corpus) if scenes is None else scenes
    return _fitted(net, source, corpus, users, images, without, share, content)


def _fitted(
    net: ProfileNet,
    source: str,
    corpus: Corpus,
    users: Sequence[int],
    images: Sequence[I64],
    without: Without,
    share: float,
    content: Scenes,
) -> Tensor:
    """Profiles of users, some of them at a time."""
    people = max(_AT_ONCE // max(max(map(len, images), default=0), 1), 1)
    parts = [slice(a, a + people) for a in range(0, max(len(users), 1), people)]
    return torch.cat([net.fit(source, *_pairs(corpus, users[p], images[p], without, share, content)) for p in parts])


@torch.inference_mode()
def profiled(usm: npt.ArrayLike, profile: Tensor, content: Tensor | None = None) -> F32:
    """A person's maps ``(n, H, W)`` from universal ones, whose means they keep, and a profile ``(p,)``.

    What is in the images counts as far as `content` ``(n, k, h, w)`` tells it.
    """
    maps = torch.from_numpy(np.ascontiguousarray(usm, np.float32))
    shaped = reshape_maps(maps[None], profile[None], None if content is None else content[None])[0]
    out: F32 = (shaped * maps.mean((1, 2), keepdim=True)).numpy()
    return out


def knows_content(corpus: Corpus, config: StudyConfig) -> bool:
    """Whether profiles are to know of what is in images: they have pixels, and there is a backbone or ought to be."""
    there = backbone_meant(config.universal.backbone) != "none"
    return there and config.refiner.content > 0 and corpus.images is not None


def content_backbone(corpus: Corpus, config: StudyConfig) -> EfficientNetLite0 | None:
    """Return the backbone that tells profiles of the images, None where they are not to know of them.

    Raises
    ------
    ConfigError
        If the configuration names one that is not installed.
    """
    return load_backbone() if knows_content(corpus, config) else None


def train_profile(
    corpus: Corpus,
    split: Split,
    config: RefinerConfig,
    *,
    backbone: EfficientNetLite0 | None = None,
    seed: int,
    progress: Progress,
) -> Trained:
    """Learn from training users how people's profiles are distributed, and from validation users how far to trust it.

    Parameters
    ----------
    backbone
        Of whose channels directions of content are made, see `content_backbone`; None: images do not count. Nor do
        they where validation users' maps are predicted no better with them.

    Raises
    ------
    ConfigError
        If a part of the split has no pair that is of use.
    """
    start, rng = time.perf_counter(), np.random.default_rng([seed, 0x9F1])
    best, history = dict[str, float](), list[dict[str, float]]()
    train, held = np.array(split.images_train), np.array(split.images_validation)
    of_training = corpus.usm_without_each(split.users_train)
    of_known = corpus.usm_without_each(sorted({*split.users_train, *split.users_validation}))
    learned = None
    if backbone is not None:
        rng_content = np.random.default_rng([seed, 0xC0])
        learned = _directions(corpus, split, backbone, config.content, of_training, rng_content, progress)
    content, k = Scenes(learned, corpus), 0 if learned is None else len(learned.weight)
    no_content = Scenes(None, corpus)
    net = ProfileNet(k)
    net.content = learned
    steps = len(SOURCES) * (len(_STRENGTHS) + (len(_CONTENT_STRENGTHS) if k else 0))
    for row, source in enumerate(SOURCES):
        share = _share(corpus, source)
        shown = [rng.permutation(train)[:_PAIRS] for _ in split.users_train]
        each = _fitted(ProfileNet(), source, corpus, split.users_train, shown, of_training, share, no_content)
        few = [rng.permutation(train[corpus.index[u, train] >= 0])[: config.m] for u in split.users_validation]
        trial = _trial(
            _pairs(corpus, split.users_validation, few, of_known, share, content),
            _pairs(corpus, split.users_validation, [held] * len(split.users_validation), of_known, share, content),
        )
        if not each.any() or not trial.held.there.any():  # without a pair of use a profile stays at the mean, still 0
            msg = "[split] leaves training or validation users without a map of an image that others saw, too."
            raise ConfigError(msg)
        mean, spread = F.pad(each.mean(0), (0, k)), each.std(0, correction=0).clamp(min=0.01)

        def note(of: str, loss: float, row: int = row, **told: float) -> None:
            history.append({"source": row, **told, "validation_loss": loss})
            progress(len(history), steps, f"{of}: loss {loss:.3f}")

        strength, weight, loss = _chosen(trial, mean, spread, k, partial(note, source))
        net.mean[row], net.precision[row] = mean, _precision(strength, spread, k, weight)
        best |= {f"strength_{source}": strength, f"validation_loss_{source}": loss}
        if weight < _NEVER:
            best[f"content_{source}"] = weight
    if k and not any(f"content_{source}" in best for source in SOURCES):
        net = _without_content(net)
    return Trained(net.eval(), history, best, time.perf_counter() - start)


class _Trial(NamedTuple):
    """Pairs of people that profiles are fitted to, and those that they are tested on."""

    few: _Pairs
    held: _Pairs  # of mean 1
    looks: Looks

    def loss(self, mean: Tensor, precision: Tensor) -> float:
        """Mean loss over the tested pairs with this prior."""
        fitted = fit_profiles(self.few.usm, self.few.psm, mean, precision, self.few.there, self.few.content)
        shaped = reshape_maps(self.held.usm, fitted, self.held.content)
        loss = profile_loss(shaped, self.held.psm, self.looks) * self.held.there
        return float(loss.sum() / self.held.there.sum())


def _trial(few: _Pairs, held: _Pairs) -> _Trial:
    usm, psm = (maps / maps.mean((2, 3), keepdim=True) for maps in (held.usm, held.psm))
    return _Trial(few, held._replace(usm=usm, psm=psm), looks_of(psm))


def _chosen(
    trial: _Trial, mean: Tensor, spread: Tensor, k: int, note: Callable[..., None]
) -> tuple[float, float, float]:
    """Strengths of the prior with the least loss: first of the profile, then of content, `_NEVER` if none helps."""
    losses = {}
    for strength in _STRENGTHS:
        losses[strength] = trial.loss(mean, _precision(strength, spread, k, _NEVER))
        note(losses[strength], strength=strength)
    first = min(losses, key=lambda s: losses[s])
    of_content = {_NEVER: losses[first]}
    for weight in _CONTENT_STRENGTHS if k else ():
        of_content[weight] = trial.loss(mean, _precision(first, spread, k, weight))
        note(of_content[weight], strength=first, content=weight)
    weight = min(of_content, key=lambda w: of_content[w])
    return first, weight, of_content[weight]


def _precision(strength: float, spread: Tensor, k: int, weight: float) -> Tensor:
    """Precision of a prior: of the profile by the scatter over users, of the k weights of content by one number."""
    return F.pad(strength / spread**2, (0, k), value=weight)


def _without_content(net: ProfileNet) -> ProfileNet:
    made = ProfileNet()
    made.mean, made.precision = net.mean[:, : len(PARAMETERS)].clone(), net.precision[:, : len(PARAMETERS)].clone()
    return made


def _directions(
    corpus: Corpus,
    split: Split,
    backbone: EfficientNetLite0,
    n: int,
    without: Without,
    rng: np.random.Generator,
    progress: Progress,
) -> ContentNet | None:
    """Directions that training users' looks differ in: weights of standard deviation 1 over these users.

    None where they are too few to differ.
    """
    assert corpus.images is not None
    shown = rng.permutation(np.array(split.images_train))[:_IMAGES]
    users = rng.permutation(np.array(split.users_train))[:_USERS]
    components = components_of(backbone, corpus.images[shown[:_PICTURES]], _COMPONENTS)
    content, weights = Scenes(components, corpus), []
    zero = torch.zeros(len(PARAMETERS) + _COMPONENTS)
    for done, user in enumerate(users.tolist(), 1):
        own = shown[corpus.index[user, shown] >= 0][:_WEIGHED]
        pairs = _pairs(corpus, [user], [own], without, _share(corpus, "leave_one_out"), content)
        precision = torch.ones(len(zero))
        precision[len(PARAMETERS) :] = _COMPONENT_PRECISION * pairs.there.sum()
        weights.append(
            fit_profiles(pairs.usm, pairs.psm, zero, precision, pairs.there, pairs.content)[0, len(PARAMETERS) :]
        )
        progress(done, len(users), f"content: {done} of {len(users)} users")
    differing = torch.stack(weights) - torch.stack(weights).mean(0)
    _, size, axes = torch.linalg.svd(differing, full_matrices=False)
    k = min(n, len(users) - 1)
    if k < 1 or not size[0] > 0:
        return None
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # of the two signs always the same one
    return combined(components, size[:k, None] / len(users) ** 0.5 * axes[:k])
