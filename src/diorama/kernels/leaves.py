"""Leaves of a quadtree over a layer: how well one splat would do, and the splat itself.

A leaf of s pixels becomes a Gaussian disc in the tangent plane of its surface. With (u, v) the
normalised image coordinates and d(u, v) the leaf's affine disparity, its point is
``P = (u, v, 1) / d`` and the disc is spanned by ``sigma dP/dx`` and ``sigma dP/dy``: seen from the
photo's camera it is round, whatever the slant.
"""

from itertools import pairwise

import numpy as np

from diorama.arrays import Array, Disparity, Matrix3, Rgba
from diorama.runtime import run_bands

LARGEST = 16
"""Pixels along the side of the largest leaf."""

LEAVES_PER_TASK = 16384


def leaf_errors(rgba: Rgba, disparity: Disparity, *, color: float, depth: float) -> list[Array]:
    """Measure how much is lost where a square of pixels becomes one splat.

    Each square is judged with its eight neighbours, as far as its Gaussian reaches. The error is
    the larger of half the range of a colour channel over `color`, and the largest residual of
    disparity to its affine fit over `depth`. It is infinite where the layer is not opaque, or ends.

    Args:
        rgba: (H, W, 4) float32, straight.
        disparity: (H, W) float32.
        color: colour error that counts as 1.
        depth: disparity error that counts as 1.

    Returns:
        For squares of 2, 4, 8 and 16 pixels: (rows, columns) float32; no square has a smaller error
        than the four it is made of.
    """
    from diorama.kernels._numba import leaves

    height, width = disparity.shape
    rows, columns = -(-height // LARGEST), -(-width // LARGEST)
    sizes = [2, 4, 8, 16]
    errors = [np.empty((rows * LARGEST // s, columns * LARGEST // s), np.float32) for s in sizes]
    scales = np.float32(1 / color), np.float32(1 / depth)
    for size, error in zip(sizes, errors, strict=True):
        run_bands(leaves.leaf_errors, len(error), size, rgba, disparity, *scales, error)
    for fine, coarse in pairwise(errors):
        children = fine.reshape(coarse.shape[0], 2, coarse.shape[1], 2)
        np.maximum(coarse, children.max((1, 3)), out=coarse)
    return errors


def leaf_splats(
    rgba: Rgba,
    disparity: Disparity,
    leaves: Array,
    K: Matrix3,
    *,
    pixel_sigma: float,
    sigma: float,
    thin: float,
) -> Array:
    """Turn each leaf into a Gaussian.

    Args:
        rgba: (H, W, 4) float32, straight.
        disparity: (H, W) float32.
        leaves: (n, 3) int32: top row, left column, size.
        K: intrinsics.
        pixel_sigma: of the Gaussian of a single pixel, on the picture, in pixels.
        sigma: of larger leaves' Gaussians, in leaf sizes.
        thin: scale along the normal, as a share of the smaller one in the plane.

    Returns:
        (n, 14) float32: mean 3, quaternion wxyz 4, scales 3, opacity, colour 3.
    """
    from diorama.kernels._numba import leaves as compiled

    out = np.empty((len(leaves), 14), np.float32)
    shape = float(pixel_sigma), float(sigma), float(thin)
    args = (rgba, disparity, leaves, K, *shape, out)
    run_bands(compiled.leaf_splats, len(leaves), *args, band_rows=LEAVES_PER_TASK)
    return out
