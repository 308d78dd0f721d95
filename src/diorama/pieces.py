"""Pieces of masks that disparity does not tear.

A segmenter's mask may hold two surfaces: skin before skin, a white box before a white wall. Where
depth tells them apart, at sharp steps, such a mask is parted, also where a step ends inside it
(`diorama.kernels.mutex_watershed`), and slivers between its edge and a step beside it go to the
neighbour they belong to.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from diorama.arrays import Array, Disparity, Labels
from diorama.kernels import mutex_watershed

STEP_SHARE = 0.25
"""Part of a step's height climbed from one pixel to the next; an even slope climbs a fifth."""

SMOOTH_SHARE = 0.004
"""Standard deviation, in long sides of the photo, over which a change of disparity is looked at
where a cut goes on beyond a step: about an estimator's noise."""

SMALLEST, SMALLEST_PX = 2e-4, 24
"""Smaller pieces, as a share of the photo and in pixels, are joined to a neighbour."""

LEAST_SLIVER, SLIVER_SHARE = 6, 0.3
"""Pixels of a sliver that may leave its mask for a neighbour, and the share of its outline along
which it borders on its mask: along a mask's edge they are large; across a hair, where the hair's
depth is wrong, they are small."""


def part_at_steps(
    disparity: Disparity, rows: Labels, least: float, *, whole: Sequence[int] = ()
) -> tuple[Labels, Array]:
    """Part masks where disparity tears.

    Args:
        disparity: (H, W).
        rows: (H, W), masks counted from 0.
        least: disparity of the least step; none is as large as infinity.
        whole: masks that are one thing, whatever disparity says.

    Returns:
        (H, W) int32, pieces, of which the largest of each mask has its number, and (n,) the mask of
        each piece; it may hold slivers of neighbouring masks.
    """
    num = int(rows.max()) + 1
    if not math.isfinite(least):
        return rows, np.arange(num)
    steps = mutex_watershed.find_steps(disparity, rows, least=least, share=STEP_SHARE)
    torn = np.bincount(rows.ravel()[np.flatnonzero(steps)], minlength=num)
    torn[list(whole)] = 0
    smallest = max(SMALLEST_PX, round(SMALLEST * rows.size))
    boxes = _boxes(rows, np.flatnonzero(torn >= math.sqrt(smallest)))
    if not boxes:
        return rows, np.arange(num)
    pieces, owner, area = mutex_watershed.part_masks(
        disparity, rows, boxes, steps, _smoothed(disparity), least=least
    )
    joined = mutex_watershed.settle_small(
        pieces,
        owner,
        area,
        disparity,
        smallest=smallest,
        least_sliver=LEAST_SLIVER,
        sliver_share=SLIVER_SHARE,
    )
    kept, number = np.unique(joined, return_inverse=True)
    parted, owner = number.astype(np.int32)[pieces], owner[kept]
    if whole:
        # No slivers to or from what is one thing: it is cut out as it is.
        either = np.isin(rows, whole) | np.isin(owner[parted], whole)
        parted[either] = rows[either]
    return parted, owner


def _smoothed(disparity: Disparity) -> Disparity:
    """Disparity blurred so much that a smaller picture holds it as well."""
    height, width = disparity.shape
    sigma = SMOOTH_SHARE * max(height, width)
    shrink = max(sigma / 2, 1.0)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    small = cv2.resize(disparity, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma / shrink, 0.3))
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _boxes(rows: Labels, wanted: Array) -> dict[int, tuple[slice, slice]]:
    """What surrounds each wanted mask."""
    if not len(wanted):
        return {}
    height, width = rows.shape
    begins = np.ones((height, width), bool)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=begins[:, 1:])
    begin = np.flatnonzero(begins)
    mask, y, x = rows.ravel()[begin], begin // width, begin % width
    end = x + np.diff(begin, append=rows.size)
    num = int(mask.max()) + 1
    top, left = np.full(num, height), np.full(num, width)
    bottom, right = np.zeros(num, np.intp), np.zeros(num, np.intp)
    np.minimum.at(top, mask, y)
    np.minimum.at(left, mask, x)
    np.maximum.at(bottom, mask, y + 1)
    np.maximum.at(right, mask, end)
    return {int(k): (slice(top[k], bottom[k]), slice(left[k], right[k])) for k in wanted}
