"""Parting masks at steps of disparity: a mutex watershed.

Wolf et al., "The Mutex Watershed: Efficient, Parameter-Free Image Partitioning" (2018): neighbours
are joined one after the other, those first between which least changes, unless that would put both
sides of a step into one piece. So a step that ends inside a mask still parts it: the cut goes on
where disparity changes most.
"""

from functools import partial

import numpy as np

from diorama.arrays import Array, Disparity, Labels
from diorama.runtime import run_bands, run_tasks

LEAST_CHANGE = 1e-9
"""Disparity; a smaller change orders nothing."""

Box = tuple[slice, slice]


def find_steps(disparity: Disparity, rows: Labels, *, least: float, share: float) -> Array:
    """Find sharp steps inside masks.

    Between two pixels of one mask there is a step if over the six pixels around, along the link,
    disparity changes by more than `least`, and by more than `share` of that from the one to the
    other; a slope changes by a fifth.

    Args:
        disparity: (H, W).
        rows: (H, W) the mask of each pixel.
        least: disparity.
        share: in 0..1.

    Returns:
        (H, W) uint8: bit 0, a step to the right; bit 1, downwards.
    """
    from diorama.kernels._numba import mutex_watershed as kernels

    steps = np.empty(rows.shape, np.uint8)
    bounds = np.float32(least), np.float32(share)
    run_bands(kernels.find_steps, len(rows), disparity, rows, *bounds, steps)
    return steps


def part_masks(
    disparity: Disparity,
    rows: Labels,
    boxes: dict[int, Box],
    steps: Array,
    smooth: Disparity,
    *,
    least: float,
) -> tuple[Labels, Array, Array]:
    """Part some masks so that no piece holds both sides of a step.

    Args:
        disparity: (H, W).
        rows: (H, W), masks counted from 0.
        boxes: the masks to part, each with what surrounds it.
        steps: (H, W) from `find_steps`.
        smooth: (H, W) the same, smoothed; the smaller change of both orders the joining.
        least: the change, in disparity, that the order is made for.

    Returns:
        (H, W) int32, pieces: all of these masks' are connected, and the largest has the number of
        its mask; (n,) the mask of each; (n,) how many pixels each has that was cut off, and all of
        the picture's for the others.
    """
    from diorama.kernels._numba import mutex_watershed as kernels

    num = int(rows.max()) + 1
    parts = run_tasks(
        [partial(_part_mask, disparity, rows, steps, smooth, least, *b) for b in boxes.items()]
    )
    pieces, owners, areas = rows.copy(), [np.arange(num)], [np.full(num, rows.size)]
    tasks, count = [], num
    for (mask, box), (node, piece, area) in zip(boxes.items(), parts, strict=True):
        names = np.insert(np.arange(len(area) - 1) + count, np.argmax(area), mask).astype(np.int32)
        tasks.append(partial(kernels.write_pieces, node, names[piece], pieces[box]))
        owners.append(np.full(len(area) - 1, mask))
        areas.append(np.delete(area, np.argmax(area)))
        count += len(area) - 1
    run_tasks(tasks)
    return pieces, np.concatenate(owners), np.concatenate(areas)


def settle_small(
    pieces: Labels,
    owner: Array,
    area: Array,
    disparity: Disparity,
    *,
    smallest: int,
    least_sliver: int,
    sliver_share: float,
) -> Array:
    """Join each piece of less than `smallest` pixels to a neighbour, across the least step first.

    To a neighbour of another mask only what is a sliver beside a step: at least `least_sliver`
    pixels that border on their own mask along at least `sliver_share` of their outline.

    Args:
        pieces: (H, W).
        owner: (n,) the mask of each piece; those with the number of a mask are its largest.
        area: (n,) of each piece in pixels.
        disparity: (H, W).
        smallest: what is joined until it has so many pixels needs no neighbour any more.
        least_sliver: pixels.
        sliver_share: in 0..1.

    Returns:
        (n,) int32: the piece that each is joined to in the end; for all others themselves.
    """
    from diorama.kernels._numba import mutex_watershed as kernels

    small = area < smallest
    links, climb = kernels.borders_of_small(pieces, small, disparity)
    key, border = np.unique(
        links[:, 0].astype(np.int64) * len(area) + links[:, 1], return_inverse=True
    )
    length = np.bincount(border)
    pairs = np.stack([key // len(area), key % len(area)], -1).astype(np.int32)
    within = owner[pairs[:, 0]] == owner[pairs[:, 1]]
    outline, inner = (
        np.bincount(pairs.ravel(), np.repeat(count, 2), len(area))
        for count in (length, length * within)
    )
    may_leave = ~small | ((area >= least_sliver) & (inner >= sliver_share * outline))
    order = np.argsort(np.bincount(border, climb) / length, kind="stable")
    order = order[within[order] | may_leave[pairs[order]].all(1)]
    parent = np.arange(len(area), dtype=np.int32)
    kernels.settle(pairs[order], area.copy(), small, smallest, parent)
    # What found no neighbour is an island of its mask.
    return np.where(small[parent], owner[parent], parent).astype(np.int32)


def _part_mask(
    disparity: Disparity,
    rows: Labels,
    steps: Array,
    smooth: Disparity,
    least: float,
    mask: int,
    box: Box,
) -> tuple[Array, Array, Array]:
    """The node of each pixel in the box, the piece of each node, and the pixels of each piece."""
    from diorama.kernels._numba import mutex_watershed as kernels

    node, whole, num = kernels.nodes(rows[box], mask, steps[box])
    apart, link = kernels.links(
        node, whole, steps[box], disparity[box], smooth[box], np.float32(max(least, LEAST_CHANGE))
    )
    piece, count = kernels.join(num, apart, link)
    area = np.zeros(count, np.int64)
    kernels.count_pixels(node, piece, area)
    return node, piece, area
