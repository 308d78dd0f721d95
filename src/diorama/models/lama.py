"""LaMa as an inpainter: one look at each hole's surroundings, at the size the network knows.

A hole is cut out with its surroundings (`diorama.models.cuts`); what is neither known nor hole, the
occluder, is hidden from the network like the hole itself. Cuts of the same size run together. A cut
larger than `SIDE_PX` is made smaller, for the network has learnt from smaller pictures and repeats
itself in larger ones, and the exemplar fill gives the fine scales.

The network is ours, written from Suvorov et al. (WACV 2022). The official weights (big-lama) come
under Apache-2.0, says a maintainer; no licence lies beside them, and they were trained on Places,
whose terms are non-commercial research. The user fetches them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diorama.arrays import Array
from diorama.inpaint import FillTask
from diorama.models.cuts import (
    Cut,
    batches,
    cut_out,
    exemplar_fills,
    padded,
    resized,
    with_fine_scales,
)
from diorama.models.official import Network, Opened, Precision, Run
from diorama.runtime import Device, run_tasks

NETWORK = Network("LaMa", "diorama.models.nets.lama", channels=4, prefix="generator.")

SIDE_PX = 512
"""The network sees nothing larger: it was trained at 256 and holds to about twice that."""


@dataclass(frozen=True)
class Lama:
    """An `Inpainter`; the seed matters to the fine scales of large holes alone."""

    weights: Path
    """big-lama's checkpoint, or the .onnx file converted from it."""
    device: Device = "auto"
    """Where the network runs; a checkpoint on the CPU or by CUDA."""
    precision: Precision = "auto"
    """Of its arithmetic."""

    def inpaint(self, tasks: Sequence[FillTask], *, seed: int) -> list[Array]:
        """Fill all tasks' holes; see `Inpainter`.

        What has nothing known around it is left to the exemplar fill.

        Raises:
            InputError: a task's arrays do not agree in size, or have other dtypes; the weights are
                missing, damaged or another network's, or cannot run so.
            MissingExtraError: the weights need torch, which is not installed.
        """
        run = self._open()
        cuts = cut_out(tasks)
        looks = run_tasks([partial(_look, cut) for cut in cuts])
        pictures = _pictures(run, looks)
        guided = [cut for cut in cuts if _is_large(cut) or not cut.known.any()]
        fills = exemplar_fills(tasks, guided, seed)
        for cut, look, picture in zip(cuts, looks, pictures, strict=True):
            fill = fills[cut.number]
            if picture is not None and _is_large(cut):
                whole = np.where(look.known[..., None], look.rgb, picture)
                fill[cut.place] = with_fine_scales(cut, whole, fill[cut.place])
            elif picture is not None:
                fill[cut.place] = picture[cut.hole]
        return fills

    @property
    def runs_as(self) -> str:
        """Where and in what the network runs here."""
        return self._open().runs_as

    def _open(self) -> Opened:
        return NETWORK.open(self.weights, device=self.device, precision=self.precision)


@dataclass(frozen=True, eq=False)
class _Look:
    """A cut as the network sees it."""

    rgb: Array
    """(h, w, 3) float32, 0 where not known."""
    known: Array
    """(h, w) bool."""


def _is_large(cut: Cut) -> bool:
    """Whether the network sees it smaller than it is."""
    return cut.longer_side > SIDE_PX


def _look(cut: Cut) -> _Look:
    """Known colours alone; where the network sees less, a pixel is known by majority."""
    if not _is_large(cut):
        return _Look(np.where(cut.known[..., None], cut.rgb, np.float32(0)), cut.known)
    rgb, share = resized(cut.rgb, cut.known, cut.size_seen(SIDE_PX / cut.longer_side))
    known = share > 0.5
    return _Look(rgb * known[..., None], known)


def _pictures(run: Run, looks: Sequence[_Look]) -> list[Array | None]:
    """(h, w, 3): what the network makes of each look; None of one in which nothing is known."""
    seen = [index for index, look in enumerate(looks) if look.known.any()]
    pictures: list[Array | None] = [None] * len(looks)
    for batch in batches([looks[index].known.shape for index in seen]):
        own = [seen[place] for place in batch]
        found = run(np.stack([_input(looks[index]) for index in own]))
        for index, picture in zip(own, found, strict=True):
            height, width = looks[index].known.shape
            pictures[index] = picture[:, :height, :width].transpose(1, 2, 0)
    return pictures


def _input(look: _Look) -> Array:
    """(4, H, W) float32: colours and mask, mirrored beyond the look, edge and all."""
    both = padded(np.dstack([look.rgb, (~look.known).astype(np.float32)]))
    return both.transpose(2, 0, 1)
