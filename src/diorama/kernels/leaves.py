"""Leaves of a quadtree over a layer: how well one splat would do, and the splat itself.

A leaf of s pixels becomes a Gaussian disc in the tangent plane of its surface. With (u, v) the
normalised image coordinates and d(u, v) the leaf's affine disparity, its point is
``P = (u, v, 1) / d`` and the disc is spanned by ``sigma dP/dx`` and ``sigma dP/dy``: seen from the
photo's camera it is round, whatever the slant.
"""

import cv2
import numpy as np

from diorama.arrays import Array, Disparity, Matrix3, Rgba
from diorama.runtime import run_bands

LARGEST = 16
"""Pixels along the side of the largest leaf."""

OPAQUE = 1 - 1 / 512
"""Opacity that rounds to 255 of 255."""

REACH = {2: 1, 4: 2, 8: 2, 16: 2}
"""How far the Gaussian of a leaf of this size reaches beyond it, in leaves: its standard deviation
is up to 0.75 of a leaf. Two pixels' neighbours are blurred by the renderer as much as they are."""

LEAVES_PER_TASK = 16384


def leaf_errors(rgba: Rgba, disparity: Disparity, *, color: float, depth: float) -> list[Array]:
    """Measure how much is lost where a square of pixels becomes one splat.

    Each square is judged with the squares around it, as far as its Gaussian reaches. The error is
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
    shape = (rows * LARGEST // 2, columns * LARGEST // 2, 4)
    # Lowest and highest value of each channel; clear beyond the picture.
    low, high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    run_bands(leaves.pool, -(-height // 2), rgba, low, high)
    errors = []
    size = 2
    while True:
        around = np.ones((2 * REACH[size] + 1, 2 * REACH[size] + 1), np.uint8)
        lowest = cv2.erode(low, around, borderType=cv2.BORDER_CONSTANT, borderValue=(0,) * 4)
        highest = cv2.dilate(high, around)
        error = (highest - lowest)[..., :3].max(-1) * np.float32(0.5 / color)
        error[lowest[..., 3] < OPAQUE] = np.inf
        run_bands(leaves.bend, len(error), size, disparity, np.float32(1 / depth), error)
        if errors:
            finer = errors[-1].reshape(error.shape[0], 2, error.shape[1], 2)
            np.maximum(error, finer.max((1, 3)), out=error)
        errors.append(error)
        if size == LARGEST:
            return errors
        size *= 2
        low, high = _halved(low, np.minimum), _halved(high, np.maximum)


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


def _halved(values: Array, pooled: np.ufunc) -> Array:
    rows = pooled(values[0::2], values[1::2])
    return pooled(rows[:, 0::2], rows[:, 1::2])
