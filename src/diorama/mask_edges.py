"""Mask edges where the estimate has edges that the masks miss.

An estimate's depth edge is a climb as wide as its blur. Where no mask edge runs along its middle, a
mask holds pieces of two surfaces there, and no surface of it can be right. So masks are parted
along such climbs, for the solve only: what belongs to which side is decided by the disparity where
it is clear, and by the photo's edges between (`diorama.kernels.watershed`). A mask edge beside the
climb's middle moves there, too.

The decisions are made on a small picture with two pixels to each standard deviation of the blur.
"""

import cv2
import numpy as np

from diorama.arrays import Array, Confidence, Disparity, Labels, Rgb
from diorama.kernels.watershed import flood_sides

MAX_ACROSS = 640
"""Size of the long side of the picture that decisions are made on."""

REACH = 3.0
"""Half width of a climb, in standard deviations of the blur."""

EDGE_OVER_RAMP = 1.4
"""How much steeper than an even climb over the same range an edge must be; a blurred step is twice
as steep."""

RANGE_OVER_USUAL = 1.5
"""Range of an edge over the usual range of this estimate, which its noise and its slopes make."""

AGREEMENT, NEIGHBOURHOOD, DISSENT = 1.0, 12.0, 0.1
"""A mask edge agrees with a climb if it is within one blur of its middle. Climbs are left to the
masks where, within 12 blurs, less than this share of them disagrees: such masks are better
than the estimate where both differ."""

CORE = 0.2
"""Nearer than this to the lower or the upper end of the climb, a pixel's side is clear."""

SHARPNESS = 4
"""How strongly the middle of the climb attracts the edge."""

WALL_LEVELS, FLOOR_LEVELS = 15.0, 5.0
"""What a mask's edge and no edge at all count beside the photo's, in 8-bit levels per pixel."""


def part_masks(
    labels: Labels,
    disparity: Disparity,
    rgb: Rgb,
    blur_px: float,
    *,
    min_range: float,
    confidence: Confidence | None = None,
) -> Labels:
    """Part masks along the estimate's edges that they miss.

    Args:
        labels: (H, W), 0 or more.
        disparity: (H, W), the estimate.
        rgb: (H, W, 3).
        blur_px: standard deviation of the estimate's blur.
        min_range: disparity an edge must climb.
        confidence: (H, W) of the estimate in 0..1; edges below one half do not count.

    Returns:
        (H, W) int32: `labels` itself if they miss nothing; else as `flood_sides` numbers them, with
        three numbers for each mask: what is left of it beyond climbs, its low and its high sides.
    """
    height, width = disparity.shape
    step = max(blur_px / 2, max(height, width) / MAX_ACROSS, 1)
    size = max(1, round(width / step)), max(1, round(height / step))
    blur = blur_px / step
    small = cv2.resize(disparity, size, interpolation=cv2.INTER_AREA)
    around = _disc(round(REACH * blur))
    low, high = cv2.erode(small, around), cv2.dilate(small, around)
    middle = _edges(small, low, high, blur, min_range)
    if confidence is not None:
        middle[cv2.resize(confidence, size, interpolation=cv2.INTER_AREA) < 0.5] = 0
    if not middle.any():
        return labels
    missed = middle & (_distance(_mask_edges(labels, size)) > AGREEMENT * blur)
    across = 2 * round(NEIGHBOURHOOD * blur) + 1
    all_near, missed_near = (
        cv2.boxFilter(edges.astype(np.float32), -1, (across, across)) for edges in (middle, missed)
    )
    middle[missed_near <= DISSENT * all_near] = 0
    if not middle.any():
        return labels
    zone = (_distance(middle) < REACH * blur).astype(np.uint8)
    return flood_sides(
        labels,
        disparity,
        rgb,
        zone,
        low,
        high,
        core=CORE,
        sharpness=SHARPNESS,
        wall=WALL_LEVELS,
        floor=FLOOR_LEVELS,
    )


def _edges(small: Array, low: Array, high: Array, blur: float, min_range: float) -> Array:
    """(h, w) uint8: 1 on both sides of the line where a climb is half done."""
    span = high - low
    dx = cv2.Sobel(small, cv2.CV_32F, 1, 0, scale=1 / 8)
    dy = cv2.Sobel(small, cv2.CV_32F, 0, 1, scale=1 / 8)
    reach = max(round(REACH * blur), 1)
    steepest = cv2.dilate(cv2.magnitude(dx, dy), _disc(reach // 2))
    is_edge = span > max(min_range, RANGE_OVER_USUAL * float(np.median(span)))
    is_edge &= steepest * (2 * reach) > EDGE_OVER_RAMP * span
    is_high = 2 * small > low + high
    middle = np.zeros(small.shape, np.uint8)
    _mark(
        middle,
        (is_high[:, 1:] != is_high[:, :-1]) & is_edge[:, 1:] & is_edge[:, :-1],
        (is_high[1:] != is_high[:-1]) & is_edge[1:] & is_edge[:-1],
    )
    return middle


def _mask_edges(labels: Labels, size: tuple[int, int]) -> Array:
    """(h, w) uint8: 1 beside mask edges on the small picture."""
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    edges = np.zeros(small.shape, np.uint8)
    _mark(edges, small[:, 1:] != small[:, :-1], small[1:] != small[:-1])
    return edges


def _mark(edges: Array, across: Array, along: Array) -> None:
    """Set both pixels of each link, to the right and downwards, that is an edge."""
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= along
    edges[:-1] |= along


def _distance(marked: Array) -> Array:
    """Distance of every pixel to the nearest marked one."""
    if not marked.any():
        return np.full(marked.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(1 - marked, cv2.DIST_L2, 5))


def _disc(radius: int) -> Array:
    size = 2 * max(radius, 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
