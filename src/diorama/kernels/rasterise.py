"""Textured triangles of several layers as one picture."""

import numpy as np

from diorama.arrays import Array
from diorama.runtime import run_bands


def rasterise(
    corners: Array,
    triangles: Array,
    layer_starts: Array,
    *,
    texels: Array,
    texel_starts: Array,
    texture_sizes: Array,
    tolerance: float,
    size: tuple[int, int],
) -> tuple[Array, Array, Array]:
    """Rasterise layers of triangles and composite them front to back.

    A texture is projected onto its triangles from the photo's camera, so a texel (s, t) is affine
    in the photo and not in space. With w = 1/z and q = w times the z seen by the photo's camera, w,
    q, s q and t q are affine on screen; a pixel's centre in a triangle gives a fragment (w, s, t),
    the nearest of its layer. A layer's fragment is hidden if an opaque one of a layer behind it in
    order is nearer by more than `tolerance`. The others go
    ``rgb += light premultiplied(s, t); light *= 1 - alpha(s, t)`` from the last layer to the first.
    An edge belongs to one of its two triangles (top-left rule), to the bit.

    Args:
        corners: (n, 6) float64: x, y in pixels, edges at whole numbers; w > 0; q; s q, t q, where
            (s, t) are texels with centres at whole numbers.
        triangles: (m, 3) int32 indices of corners, layer after layer, either way round.
        layer_starts: (layers + 1,) int64: where each layer's triangles begin, and their end.
        texels: (k, 4) float32 premultiplied, the rows of all textures one after the other.
        texel_starts: (layers,) int64: where each layer's texture begins.
        texture_sizes: (layers, 2) int64: height and width of each.
        tolerance: in w.
        size: height and width of the picture.

    Returns:
        Premultiplied colour (H, W, 3), alpha (H, W), and the w (H, W) of the frontmost fragment
        with alpha above 0.5 (0: none), all float32.
    """
    from diorama.kernels._numba.rasterise import rasterise as kernel

    rgb, alpha, disparity = (np.zeros(s, np.float32) for s in ((*size, 3), size, size))
    if len(layer_starts) > 1:
        run_bands(
            kernel,
            size[0],
            corners,
            triangles,
            layer_starts,
            texels,
            texel_starts,
            texture_sizes,
            np.float32(tolerance),
            rgb,
            alpha,
            disparity,
        )
    return rgb, alpha, disparity
