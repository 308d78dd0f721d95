"""LaMa as an inpainter: one look at each hole's surroundings, at the size the network knows.

A hole is cut out with its surroundings; what is neither known nor hole, the occluder, is hidden
from the network like the hole itself. Cuts of the same size run together. A cut larger than
`SIDE_PX` is made smaller, for the network has learnt from smaller pictures and repeats itself in
larger ones, and the exemplar fill E gives the fine scales (`diorama.models.exemplar`): with L the
network's picture, S the way down to its size and up again, and r the distance to what is known,

``fill = E + r^2 / (r^2 + r0^2) (S L - S E)``

so that there is no seam: gradient-domain blending (Perez et al., "Poisson image editing", 2003)
with coarse and fine scales from two guides.

The network is ours, written from Suvorov et al. (WACV 2022). The official weights (big-lama) come
under Apache-2.0, says a maintainer; no licence lies beside them, and they were trained on Places,
whose terms are non-commercial research. The user fetches them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from diorama.arrays import Array
from diorama.inpaint import FillTask, check_task
from diorama.models.exemplar import Exemplar
from diorama.models.official import Device, Network, Precision, Run
from diorama.runtime import run_tasks
from diorama.tiles import distant_parts

NETWORK = Network("LaMa", "diorama.models.nets.lama", channels=4, prefix="generator.")

SIDE_PX = 512
"""The network sees nothing larger: it was trained at 256 and holds to about twice that."""

CONTEXT_PX = 96
"""How far around a hole the network sees, at least, where the picture goes on."""

CELL_PX = 48
"""Parts of a hole nearer than about this are seen together."""

GRID = 64
"""Sides of cuts are multiples of this: few sizes make few batches, and the network needs 8."""

BATCH_PX = 1 << 20
"""Pixels that run together: the network takes about a kilobyte for each."""

REACH_PX = 2.0
"""r0: so far from what is known E alone decides."""


@dataclass(frozen=True)
class Lama:
    """An `Inpainter`; the seed matters to the fine scales of large holes alone."""

    weights: Path
    """big-lama's checkpoint, or the .onnx file converted from it."""
    device: Device = "auto"
    """Where the network runs."""
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
        run = NETWORK.open(self.weights, device=self.device, precision=self.precision)
        cuts = [cut for number, task in enumerate(tasks) for cut in _cuts(number, task)]
        looks = run_tasks([partial(_look, cut) for cut in cuts])
        pictures = _pictures(run, looks)
        fills = _guides(tasks, [cut for cut in cuts if cut.is_large or not cut.known.any()], seed)
        for cut, look, picture in zip(cuts, looks, pictures, strict=True):
            fill = fills[cut.number]
            if picture is not None and cut.is_large:
                fill[cut.place] = _joined(cut, look, picture, fill[cut.place])
            elif picture is not None:
                fill[cut.place] = picture[cut.hole]
        return fills


@dataclass(frozen=True, eq=False)
class _Cut:
    """A part of a task's hole and what is around it."""

    number: int
    """Of the task."""
    rgb: Array
    """(h, w, 3)."""
    known: Array
    """(h, w) bool."""
    hole: Array
    """(h, w) bool: this part's, not the others'."""
    place: Array
    """(n,): which of the hole's pixels are this part's."""

    @property
    def is_large(self) -> bool:
        """Whether the network sees it smaller than it is."""
        return max(self.hole.shape) > SIDE_PX

    @property
    def seen_size(self) -> tuple[int, int]:
        """Width and height as the network sees it."""
        height, width = self.hole.shape
        scale = min(1.0, SIDE_PX / max(height, width))
        return max(1, round(scale * width)), max(1, round(scale * height))


@dataclass(frozen=True, eq=False)
class _Look:
    """A cut as the network sees it."""

    rgb: Array
    """(h, w, 3) float32, 0 where not known."""
    known: Array
    """(h, w) bool."""


def _cuts(number: int, task: FillTask) -> list[_Cut]:
    """The hole in parts that are far from each other, each with its surroundings."""
    check_task(task)
    height, width = task.hole.shape
    cuts = []
    for place, y, x in distant_parts(task.hole, cell_px=CELL_PX):
        box = _span(y, height), _span(x, width)
        hole = np.zeros(task.hole[box].shape, bool)
        hole[y - box[0].start, x - box[1].start] = True
        cuts.append(_Cut(number, task.rgb[box], task.known[box], hole, place))
    return cuts


def _span(at: Array, side: int) -> slice:
    """The pixels from `at` with `CONTEXT_PX` around them, a multiple of `GRID` if there are."""
    first, end = int(at.min()), int(at.max()) + 1
    wanted = -(-(end - first + 2 * CONTEXT_PX) // GRID) * GRID
    start = min(max(0, (first + end - wanted) // 2), max(0, side - wanted))
    return slice(start, min(side, start + wanted))


def _look(cut: _Cut) -> _Look:
    """Known colours alone; where the network sees less, a pixel is known by majority."""
    if not cut.is_large:
        return _Look(np.where(cut.known[..., None], cut.rgb, np.float32(0)), cut.known)
    rgb, share = _shrunk(cut.rgb, cut.known, cut.seen_size)
    known = share > 0.5
    return _Look(rgb * known[..., None], known)


def _shrunk(rgb: Array, inside: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Mean colours over what is `inside`, 0 where nothing is, and the share that is."""
    weight = inside.astype(np.float32)
    colors = np.where(inside[..., None], rgb, np.float32(0))
    colors, share = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (colors, weight))
    return colors / np.maximum(share, np.float32(1e-6))[..., None], share


def _pictures(run: Run, looks: Sequence[_Look]) -> list[Array | None]:
    """(h, w, 3): what the network makes of each look; None of one in which nothing is known."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for index, look in enumerate(looks):
        if look.known.any():
            shape = tuple(-(-side // GRID) * GRID for side in look.known.shape)
            batches.setdefault(shape, []).append(index)
    pictures: list[Array | None] = [None] * len(looks)
    for shape, own in batches.items():
        most = max(1, BATCH_PX // (shape[0] * shape[1]))
        for begin in range(0, len(own), most):
            batch = own[begin : begin + most]
            found = run(np.stack([_input(looks[index], shape) for index in batch]))
            for index, picture in zip(batch, found, strict=True):
                height, width = looks[index].known.shape
                pictures[index] = picture[:, :height, :width].transpose(1, 2, 0)
    return pictures


def _input(look: _Look, shape: tuple[int, ...]) -> Array:
    """(4, H, W) float32: colours and mask, mirrored beyond the look, edge and all."""
    both = np.dstack([look.rgb, (~look.known).astype(np.float32)])
    margins = [(0, side - own) for side, own in zip(shape, both.shape[:2], strict=True)]
    return np.pad(both, [*margins, (0, 0)], mode="symmetric").transpose(2, 0, 1)


def _guides(tasks: Sequence[FillTask], cuts: Sequence[_Cut], seed: int) -> list[Array]:
    """(n, 3) for each task: the exemplar fill of these cuts, black elsewhere."""
    fills = [np.zeros((np.count_nonzero(task.hole), 3), np.float32) for task in tasks]
    for number, task in enumerate(tasks):
        own = [cut.place for cut in cuts if cut.number == number]
        if not own:
            continue
        place = np.sort(np.concatenate(own))
        hole = np.zeros_like(task.hole)
        hole.reshape(-1)[np.flatnonzero(task.hole)[place]] = True
        guide = Exemplar().inpaint([FillTask(task.rgb, task.known, hole)], seed=seed)
        fills[number][place] = guide[0]
    return fills


def _joined(cut: _Cut, look: _Look, picture: Array, guide: Array) -> Array:
    """(n, 3): coarse scales of the network's picture, fine ones of the guide."""
    height, width = cut.hole.shape
    inside = cut.known | cut.hole
    filled = cut.rgb.copy()
    filled[cut.hole] = guide
    small, share = _shrunk(filled, inside, cut.seen_size)
    change = np.where(look.known[..., None], look.rgb, picture) - small
    # What is seen of the occluder has no guide and must not count.
    both = np.dstack([change * share[..., None], share])
    both = cv2.resize(both, (width, height), interpolation=cv2.INTER_LINEAR)[cut.hole]
    change = both[:, :3] / np.maximum(both[:, 3:], np.float32(1e-6))
    distance = cv2.distanceTransform((~cut.known).view(np.uint8), cv2.DIST_L2, 3)[cut.hole]
    square = np.square(distance)[:, None]
    trust = square / (square + np.float32(REACH_PX**2))
    return np.clip(guide + trust * change, 0, 1)
