"""A stack of planes in sparse tiles: sharing a layer between planes, and compositing the stack.

A pixel of a layer at plane position ``t = k + w`` (k whole, 0 <= w < 1) with opacity a is shared by
the planes k + 1 and k so that together they are exactly that pixel when seen straight on:

``front = w a``  on plane k + 1,   ``rear = 1 - (1 - a) / (1 - front)``  on plane k,

which is opaque where the layer is. From the side the two copies move apart by one plane's parallax
and their mixture is the linear interpolation between them.
"""

import numpy as np

from diorama.arrays import AnyArray, Array, Disparity, Rgba, is_tensor
from diorama.runtime import run_bands

TILE = 32
"""Pixels along a tile's side, without its seam."""

NOWHERE = 255
"""Marks a pixel that is on no plane."""


def locate(
    rgba: Rgba, disparity: Disparity, ceiling: Array, *, far: float, step: float
) -> tuple[Array, Array]:
    """Find the planes of a layer's pixels, given the layers in front of it.

    A hidden pixel may lie no nearer than the rear plane of what hides it: there, and only there,
    its front share would shine through the hider's.

    Args:
        rgba: (H, W, 4) float32.
        disparity: (H, W) float32.
        ceiling: (H, W) uint8, lowered in place: the rear plane of what is in front.
        far: disparity of plane 0.
        step: disparity between planes.

    Returns:
        The rear plane k (H, W) uint8, `NOWHERE` where the layer is clear; the front plane's share w
        (H, W) uint8 in 1/255.
    """
    from diorama.kernels._numba import planes

    rear = np.empty(disparity.shape, np.uint8)
    share = np.empty(disparity.shape, np.uint8)
    args = (rgba, disparity, np.float32(far), np.float32(1 / step), ceiling, rear, share)
    run_bands(planes.locate, disparity.shape[0], *args)
    return rear, share


def occupy(rear: Array, share: Array, lowest: Array, occupied: Array) -> None:
    """Mark in `occupied` (p, rows, columns) the tiles that a layer's pixels need.

    Args:
        rear: (H, W) uint8 from `locate`.
        share: (H, W) uint8 from `locate`.
        lowest: (H, W) uint8: the farthest plane each pixel is repeated on.
        occupied: bool, changed in place.
    """
    from diorama.kernels._numba import planes

    run_bands(planes.occupy, occupied.shape[1], rear, share, lowest, occupied, band_rows=2)


def deposit(
    rgba: Rgba, rear: Array, share: Array, lowest: Array, tile_index: Array, tiles: Array
) -> None:
    """Put a layer into the tiles, beneath what is there already.

    Args:
        rgba: (H, W, 4) float32, straight.
        rear: (H, W) uint8 from `locate`.
        share: (H, W) uint8 from `locate`.
        lowest: (H, W) uint8: the farthest plane each opaque pixel is repeated on.
        tile_index: (p, rows, columns) int32: which tile, -1 for none.
        tiles: (n, TILE + 1, TILE + 1, 4) uint8, premultiplied, changed in place.
    """
    from diorama.kernels._numba import planes

    args = (rgba, rear, share, lowest, tile_index, tiles)
    run_bands(planes.deposit, tile_index.shape[1], *args, band_rows=2)


def composite(
    tiles: AnyArray,
    tile_index: AnyArray,
    size: tuple[int, int],
    homographies: AnyArray,
    depths: AnyArray,
    out_size: tuple[int, int],
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """See the stack: front to back, each plane sampled bilinearly, until nothing shines through.

    Args:
        tiles: (n, TILE + 1, TILE + 1, 4) uint8, premultiplied.
        tile_index: (p, rows, columns) int32, planes back to front.
        size: height, width of the planes.
        homographies: (p, 3, 3) float64: output pixel to plane pixel, (x, y, 1) both.
        depths: (p, 3) float64: disparity at an output pixel is ``depths @ (x, y, 1)``.
        out_size: height, width of the output.

    Returns:
        rgb (H, W, 3) premultiplied, alpha (H, W), disparity (H, W): its mean, weighted by what each
        plane adds; all float32, and CUDA tensors if `tiles` and `tile_index` are. The homographies
        and depths may then be either, float32 suffices, and only arrays are copied.
    """
    if is_tensor(tiles):
        from diorama.kernels._triton import planes as twin

        return twin.composite(tiles, tile_index, size, homographies, depths, out_size)
    from diorama.kernels._numba import planes

    rgb = np.zeros((*out_size, 3), np.float32)
    alpha = np.zeros(out_size, np.float32)
    disparity = np.zeros(out_size, np.float32)
    texels = tiles.reshape(-1).view("<u4")
    args = (texels, tile_index, *size, homographies, depths, rgb, alpha, disparity)
    run_bands(planes.composite, out_size[0], *args, band_rows=TILE)
    return rgb, alpha, disparity
