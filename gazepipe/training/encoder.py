"""An embedding network on the data of a corpus: (user, stimulus) → features, in training and afterwards."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazepipe import compute
from gazepipe.corpus import Corpus
from gazepipe.embedding import DescriptorNet, EmbeddingNet, pair_input
from gazepipe.errors import ConfigError
from gazepipe.inference import FastEncoder
from gazepipe.registration import GRID, REACH, coarse, match, moved, offset

F32 = npt.NDArray[np.float32]


class Encoder:
    """An embedding network with everything it needs to turn a corpus's pairs into features.

    Parameters
    ----------
    net
        The network, already on its device.
    corpus
        Where maps and images come from.
    reference_users
        The training users: universal maps are over them alone, where the network needs any. For a training user the
        map without that user is taken, so that training users and unseen ones are treated alike.
    """

    def __init__(self, net: EmbeddingNet | DescriptorNet, corpus: Corpus, reference_users: tuple[int, ...]) -> None:
        self.net, self.corpus = net, corpus
        self.where = next(itertools.chain(net.parameters(), net.buffers())).device
        self.dtype = compute.autocast_dtype(self.where)
        self.maps = torch.from_numpy(corpus.maps).to(self.where)
        self.index = torch.from_numpy(corpus.index).to(self.where)
        self.images = None
        if net.inputs.startswith("rgb"):
            if corpus.images is None:
                msg = (
                    f"[embedding] inputs {net.inputs!r} need an image for every stimulus, but some have none; "
                    "use 'descriptors', 'discrepancy' or 'psm'."
                )
                raise ConfigError(msg)
            self.images = torch.from_numpy(corpus.images).to(self.where)
        self._made: tuple[list[int], FastEncoder] | None = None
        self.usm = self.count = None
        self.in_reference = torch.zeros(len(corpus.users), dtype=torch.bool, device=self.where)
        if net.inputs.endswith("discrepancy") or isinstance(net, DescriptorNet) or net.registration:
            usm, count = corpus.usm(reference_users)
            self.usm, self.count = torch.from_numpy(usm).to(self.where), torch.from_numpy(count).to(self.where)
            self.in_reference[list(reference_users)] = True
        self.reference = torch.tensor(reference_users, device=self.where)
        self.scanpath = None
        if isinstance(net, DescriptorNet):
            if net.needs_scanpath:
                if corpus.scanpath is None:
                    msg = f"inputs {net.inputs!r} need the scanpath of every map"
                    raise ValueError(msg)
                self.scanpath = torch.from_numpy(corpus.scanpath).to(self.where)
            # Descriptors of the training users, made image by image when they are needed first.
            shape = len(reference_users), len(corpus.stimuli)
            self.typical = torch.full((*shape, net.dimension - 1), torch.nan, device=self.where)
            self.described = torch.zeros(len(corpus.stimuli), dtype=torch.bool, device=self.where)

    def pair_maps(self, users: Tensor, stimuli: Tensor) -> tuple[Tensor, Tensor | None]:
        """Personal and, where the network needs them, universal maps of pairs; ``(n, H, W)`` each."""
        psm = self.maps[self.index[users, stimuli]]
        if self.usm is None or self.count is None:
            return psm, None
        n = self.count[stimuli].float()[:, None, None]
        own = self.in_reference[users][:, None, None] & (n > 1)
        mean = self.usm[stimuli]
        return psm, torch.where(own, (n * mean - psm.float()) / (n - 1).clamp(min=1), mean)

    def features(
        self,
        users: Tensor,
        stimuli: Tensor,
        mirrored: Tensor | None = None,
        by: Tensor | None = None,
        fast: FastEncoder | None = None,
    ) -> Tensor:
        """Features of pairs (user, stimulus), ``(n,)`` and ``(n,)`` → ``(n, d)`` float32; in the net's current mode.

        `mirrored` tells which pairs are shown left to right, ``(n,)`` bool; `by` how far personal maps are moved
        before, ``(n, 2)`` in cells of `registration.GRID`; `fast` takes the network's place in evaluation.
        """
        psm, usm = self.pair_maps(users, stimuli)
        if isinstance(self.net, DescriptorNet):
            assert usm is not None
            small, expected = coarse(psm), self._expected(users, stimuli)
            if by is not None:
                small = moved(small, by)
            eyes = self._scanpath(users, stimuli)
            return self.net(small, coarse(usm), expected, eyes)  # type: ignore[no-any-return]
        if by is not None:
            fine = by * by.new_tensor([psm.shape[2] / GRID[1], psm.shape[1] / GRID[0]])
            psm = moved(psm.float(), fine)
        rgb = None if self.images is None else self.images[stimuli]
        if fast is not None:
            return fast(rgb, psm, usm)
        pairs = pair_input(self.net.inputs, rgb, psm, usm)
        if mirrored is not None:
            pairs = torch.where(mirrored[:, None, None, None], pairs.flip(3), pairs)
        with torch.autocast(self.where.type, self.dtype, enabled=self.dtype is not None):
            out = self.net(pairs)
        return out.float()  # type: ignore[no-any-return]

    def _expected(self, users: Tensor, stimuli: Tensor) -> Tensor:
        """Mean descriptors of the training users, without the user, for the images of pairs ``(n,)``: ``(n, d)``.

        Where there is nobody (the image was seen by one training user, whom nobody can be set against), the mean over
        everybody and all images so far.
        """
        self._describe_reference(torch.unique(stimuli))
        shown = self.typical[:, stimuli]  # (training users, n, d), NaN where there is nothing
        others = (self.reference[:, None] != users[None])[..., None]
        mean = torch.where(others, shown, torch.nan).nanmean(0)
        known = mean.isfinite()
        return mean if known.all() else torch.where(known, mean, self.typical.nanmean((0, 1)))

    def _scanpath(self, users: Tensor, stimuli: Tensor) -> Tensor | None:
        """Eye movements of pairs, ``(n, 28)``, where the network needs them."""
        return None if self.scanpath is None else self.scanpath[self.index[users, stimuli]]

    @torch.inference_mode()
    def _describe_reference(self, stimuli: Tensor, chunk: int = 512) -> None:
        """Descriptors of the training users' pairs on some images, unless they are known: kept in `typical`."""
        assert isinstance(self.net, DescriptorNet)
        new = stimuli[~self.described[stimuli]]
        chosen = new.cpu().numpy()
        rows = [(row, int(s)) for row, u in enumerate(self.reference.tolist()) for s in chosen[self.usable(u, chosen)]]
        for a in range(0, len(rows), chunk):
            row, shown = torch.tensor(rows[a : a + chunk], device=self.where).T
            psm, usm = self.pair_maps(self.reference[row], shown)
            assert usm is not None
            self.typical[row, shown] = self.net.describe(psm, usm, self._scanpath(self.reference[row], shown))
        self.described[new] = True

    def offset(self, user: int, stimuli: npt.NDArray[np.int64], chunk: int = 256) -> Tensor:
        """How far all of a user's maps of some stimuli must be moved to fit the universal maps, ``(2,)``."""
        total = torch.zeros(2 * REACH + 1, 2 * REACH + 1, device=self.where)
        for a in range(0, len(stimuli), chunk):
            s = torch.from_numpy(stimuli[a : a + chunk]).to(self.where)
            psm, usm = self.pair_maps(torch.full_like(s, user), s)
            assert usm is not None
            total += match(coarse(psm), coarse(usm)).sum(0)
        return offset(total)

    def usable(self, user: int, stimuli: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Which of some stimuli a user has a map of and, where universal maps are needed, somebody else has, too."""
        there = self.corpus.index[user, stimuli] >= 0
        if self.count is not None:
            others = self.count.cpu().numpy()[stimuli] - (bool(self.in_reference[user]) & there)
            there &= others > 0
        return np.flatnonzero(there)

    @torch.inference_mode()
    def table(self, user: int, stimuli: tuple[int, ...] | npt.NDArray[np.int64], chunk: int = 64) -> F32:
        """Features of one user's pairs, ``(len(stimuli), d)``, NaN where the user has no usable map; evaluation mode.

        With registration, one move is found for all these maps together: maps that must not know of each other, like
        those of a gallery and those of a probe, belong in tables of their own.
        """
        self.net.eval()
        chosen = np.asarray(stimuli, np.int64)
        out = np.full((chosen.size, self.net.dimension), np.nan, np.float32)
        there = self.usable(user, chosen)
        by = self.offset(user, chosen[there]) if self.net.registration and len(there) else None
        size = chunk if self.where.type == "cpu" else 2048
        fast = self._fast()
        for a in range(0, there.size, size):
            rows = there[a : a + size]
            s = torch.from_numpy(chosen[rows]).to(self.where)
            shift = None if by is None else by.expand(len(s), 2)
            out[rows] = self.features(torch.full_like(s, user), s, by=shift, fast=fast).cpu().numpy()
        return out

    def _fast(self) -> FastEncoder | None:
        """The network's fast form, made again when its weights or statistics have changed."""
        if not isinstance(self.net, EmbeddingNet):
            return None
        version = [tensor._version for tensor in itertools.chain(self.net.parameters(), self.net.buffers())]
        if self._made is None or self._made[0] != version:
            self._made = version, FastEncoder(self.net, self.dtype)
        return self._made[1]
