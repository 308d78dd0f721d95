"""Over-segmentation by flooding: a minimum spanning forest that no depth step may cross."""

import math
from functools import partial

import cv2
import numpy as np

from diorama.arrays import Array, Disparity, Labels
from diorama.runtime import run_bands, run_tasks

WALL = 255
"""The weight of a link across a sharp depth step: never crossed."""

LAB_UNITS = (64, 128, 128)
"""What a level of L, a and b counts in links, before they are divided by 8."""

STRIP_PIXELS = 1 << 18
"""Pixels flooded as one: small enough that the queues stay in cache and many cores find work."""


def link_weights(
    lab: Array, disparity: Disparity, depth_step: float, *, noise_sigma_px: float = 0.0
) -> tuple[Array, Array]:
    """How different each pixel is from its right and its lower neighbour.

    A link weighs eight times the colour difference ``|(L, 2 a, 2 b)_p - (L, 2 a, 2 b)_q|`` in
    levels, at most 254, or `WALL` where

        |d_p - d_q| > depth_step   and   |d_p - d_q| > 0.35 range(d over 6 pixels along the link)

    The second condition tells a step from a ramp: a slanted surface or a blurred edge climbs
    evenly, a fifth of those six pixels' range from each to the next.

    Args:
        lab: (H, W, 3) uint8, OpenCV's Lab; the difference counts chroma double.
        disparity: (H, W).
        depth_step: the least disparity that counts as a step.
        noise_sigma_px: standard deviation of the Gaussian that Lab is smoothed with first.

    Returns:
        Weights to the right and downwards, (H, W) uint8 each; `WALL` where the photo ends.
    """
    from diorama.kernels._numba import flood as kernels

    height, width = disparity.shape
    right = np.empty((height, width), np.uint8)
    down = np.empty((height, width), np.uint8)
    step = np.float32(depth_step)

    def band(first: int, end: int) -> None:
        # The photo's border is the band's only where they meet: a link looks three pixels ahead.
        margin = max(3, math.ceil(4 * noise_sigma_px) + 1)
        rows = slice(max(0, first - margin), min(height, end + margin))
        smooth = lab[rows] * np.array(LAB_UNITS, np.uint16)
        if noise_sigma_px > 0:
            smooth = cv2.GaussianBlur(smooth, (0, 0), noise_sigma_px)
        top = rows.start
        args = smooth, disparity[rows], step, right[rows], down[rows]
        kernels.link_weights(first - top, end - top, *args)

    run_bands(band, height)
    return right, down


def flood(
    right: Array, down: Array, seeds: Array, *, barrier: int, min_area: int
) -> tuple[Labels, int]:
    """Partition the pixels by flooding from seeds along the lightest links.

    Each seed grows a tree of the minimum spanning forest (Prim's algorithm with a bucket queue;
    Cousty et al., "Watershed cuts", 2009). What no seed reaches over links lighter than `barrier`
    is enclosed by strong edges: it becomes a region of its own if it has `min_area` pixels, so thin
    things survive between seeds. No region ever holds both ends of a `WALL`, also where the wall
    is an open curve. Strips of rows are flooded on their own; their borders part regions, too.

    Args:
        right: (H, W) uint8 from `link_weights`.
        down: (H, W) uint8 from `link_weights`.
        seeds: (H, W) uint8, 1 at a seed.
        barrier: the weight of a strong edge.
        min_area: pixels an unseeded region must have.

    Returns:
        Labels 0..n-1, every region 4-connected, and n.
    """
    from diorama.kernels._numba import flood as kernels

    height, width = right.shape
    labels = np.empty((height, width), np.int32)
    rows = -(-height // -(-right.size // STRIP_PIXELS))
    strips = [(row, min(row + rows, height)) for row in range(0, height, rows)]
    tasks = [
        partial(
            kernels.flood,
            *(array[first:end].reshape(-1) for array in (right, down, seeds)),
            width,
            barrier,
            min_area,
            labels[first:end].reshape(-1),
        )
        for first, end in strips
    ]
    total = 0
    for (first, end), count in zip(strips, run_tasks(tasks), strict=True):
        labels[first:end] += total
        total += count
    return labels, total


def region_histograms(labels: Labels, channels: Array, num_regions: int) -> Array:
    """Histogram every channel over every region.

    The bins stand at the levels 0, 8, .. 256; a pixel between two of them gives eighths of itself
    to both, so that distances between histograms do not jump where a level crosses a bin.

    Args:
        labels: (H, W) in 0..num_regions-1.
        channels: (H, W, C) uint8.
        num_regions: n.

    Returns:
        (n, C, 33) int32 in eighths of a pixel.
    """
    from diorama.kernels._numba import flood as kernels

    histograms = np.zeros((num_regions, channels.shape[2], 33), np.int32)
    kernels.region_histograms(labels, channels, histograms)
    return histograms
