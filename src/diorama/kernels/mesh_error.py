"""How far a triangulated height field is from the one it stands for."""

import numpy as np

from diorama.arrays import Array, Disparity


def mesh_error(
    points: Array, values: Array, triangles: Array, *, target: Disparity, seen: Array
) -> tuple[Array, Array]:
    """Find the largest interpolation error in each triangle, ``max_p |target_p - plane(p)|``.

    Only pixels that are seen count. Large triangles are sampled at every second (above 256
    pixels) or fourth pixel (above 4,096): what they miss shows once they are split.

    Args:
        points: (n, 2) float64, x and y in pixels, edges at whole numbers.
        values: (n,) float64, the height at each point.
        triangles: (m, 3) int32.
        target: (H, W) float32, the true height.
        seen: (H, W) uint8, 0 where it does not matter.

    Returns:
        The error (m,) float64, and its pixel as a flat index (m,) int64, -1 where there is none.
    """
    from diorama.kernels._numba.mesh_error import mesh_error as kernel

    worst = np.empty(len(triangles), np.float64)
    where = np.empty(len(triangles), np.int64)
    kernel(points, values, triangles, target, seen, worst, where)
    return worst, where
