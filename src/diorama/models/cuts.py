"""Cuts: the parts of holes that an inpainting network sees, each with its surroundings.

Networks have a size they know. A cut larger than that is shown smaller, and the exemplar fill E
gives the fine scales (`diorama.models.exemplar`): with L the network's picture, S the way down to
its size and up again, and r the distance to what is known,

``fill = E + r^2 / (r^2 + r0^2) (S L - S E)``

so that there is no seam: gradient-domain blending (Perez et al., "Poisson image editing", 2003)
with coarse and fine scales from two guides.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diorama.arrays import Array
from diorama.inpaint import FillTask, check_task
from diorama.models.exemplar import Exemplar
from diorama.tiles import distant_parts

CELL_PX = 48
"""Parts of a hole nearer than about this are seen together, unless more is asked for."""

CONTEXT_PX = 96
"""How far around a hole a network sees, at least, where the picture goes on."""

GRID = 64
"""Sides of cuts are multiples of this: few sizes make few batches, and networks need 8."""

BATCH_PX = 1 << 20
"""Pixels that run together."""

REACH_PX = 2.0
"""r0: so far from what is known E alone decides."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A part of a task's hole and what is around it."""

    number: int
    """Of the task."""
    corner: tuple[int, int]
    """Row and column at which it begins in the task's picture."""
    rgb: Array
    """(h, w, 3)."""
    known: Array
    """(h, w) bool."""
    hole: Array
    """(h, w) bool: this part's, not the others'."""
    place: Array
    """(n,): which of the hole's pixels are this part's."""

    @property
    def longer_side(self) -> int:
        """In pixels."""
        return max(self.hole.shape)

    def size_seen(self, scale: float) -> tuple[int, int]:
        """Width and height as a network sees it."""
        height, width = self.hole.shape
        return max(1, round(scale * width)), max(1, round(scale * height))


def cut_out(tasks: Sequence[FillTask], *, cell_px: int = CELL_PX, least_px: int = 0) -> list[Cut]:
    """All tasks' holes in parts that are far from each other, each with its surroundings.

    Args:
        tasks: whose arrays are checked.
        cell_px: parts of a hole nearer than about this are seen together.
        least_px: sides of a cut are at least as long, where the picture is.
    """
    cuts = []
    for number, task in enumerate(tasks):
        check_task(task)
        height, width = task.hole.shape
        for place, y, x in distant_parts(task.hole, cell_px=cell_px):
            box = _span(y, height, least_px), _span(x, width, least_px)
            corner = box[0].start, box[1].start
            hole = np.zeros(task.hole[box].shape, bool)
            hole[y - corner[0], x - corner[1]] = True
            cuts.append(Cut(number, corner, task.rgb[box], task.known[box], hole, place))
    return cuts


def _span(at: Array, side: int, least_px: int) -> slice:
    """The pixels from `at` with `CONTEXT_PX` around them, a multiple of `GRID` if there are."""
    first, end = int(at.min()), int(at.max()) + 1
    wanted = -(-max(end - first + 2 * CONTEXT_PX, least_px) // GRID) * GRID
    start = min(max(0, (first + end - wanted) // 2), max(0, side - wanted))
    return slice(start, min(side, start + wanted))


def resized(rgb: Array, inside: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """A picture at another size, by means over what is `inside` alone.

    Returns:
        Colours, 0 where nothing is, and the share of each pixel that is inside.
    """
    larger = size[0] * size[1] > inside.size
    way = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
    weight = inside.astype(np.float32)
    colors = np.where(inside[..., None], rgb, np.float32(0))
    colors, share = (cv2.resize(a, size, interpolation=way) for a in (colors, weight))
    return colors / np.maximum(share, np.float32(1e-6))[..., None], share


def padded(picture: Array) -> Array:
    """(H, W, C): mirrored beyond its lower and right edge to multiples of `GRID`."""
    margins = [(0, -side % GRID) for side in picture.shape[:2]]
    return np.pad(picture, [*margins, (0, 0)], mode="symmetric")


def batches(shapes: Sequence[tuple[int, ...]]) -> Generator[list[int], None, None]:
    """Which pictures run together: those of one shape, once they are `padded`.

    Args:
        shapes: height and width of each picture.

    Yields:
        Indices of pictures that have `BATCH_PX` pixels at most, or of a single one that has more.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        alike.setdefault(tuple(-(-side // GRID) * GRID for side in shape), []).append(index)
    for (height, width), own in alike.items():
        most = max(1, BATCH_PX // (height * width))
        for begin in range(0, len(own), most):
            yield own[begin : begin + most]


def exemplar_fills(tasks: Sequence[FillTask], cuts: Sequence[Cut], seed: int) -> list[Array]:
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


def with_fine_scales(cut: Cut, picture: Array, guide: Array) -> Array:
    """(n, 3): coarse scales of a smaller picture, fine ones of the exemplar fill.

    Args:
        cut: whose hole is filled.
        picture: (h, w, 3) L, and what is known where that is, at the size it was seen.
        guide: (n, 3) E, the hole's pixels.
    """
    height, width = cut.hole.shape
    filled = cut.rgb.copy()
    filled[cut.hole] = guide
    small, share = resized(filled, cut.known | cut.hole, picture.shape[1::-1])
    # What is seen of the occluder has no guide and must not count.
    both = np.dstack([(picture - small) * share[..., None], share])
    both = cv2.resize(both, (width, height), interpolation=cv2.INTER_LINEAR)[cut.hole]
    change = both[:, :3] / np.maximum(both[:, 3:], np.float32(1e-6))
    distance = cv2.distanceTransform((~cut.known).view(np.uint8), cv2.DIST_L2, 3)[cut.hole]
    square = np.square(distance)[:, None]
    trust = square / (square + np.float32(REACH_PX**2))
    return np.clip(guide + trust * change, 0, 1)
