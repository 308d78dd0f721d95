"""Textured triangles of several layers as one picture."""

import numpy as np

from diorama.arrays import AnyArray, is_tensor
from diorama.runtime import run_bands


def project(
    vertices: AnyArray,
    pixels: AnyArray,
    layers: AnyArray,
    *,
    scales: AnyArray,
    shifts: AnyArray,
    world_to_camera: AnyArray,
    K: AnyArray,
    near: float,
) -> AnyArray:
    """Project the vertices of all layers to the corners that `rasterise` takes.

    Args:
        vertices: (n, 3) float64 in the photo camera's axes.
        pixels: (n, 2) float64: where the photo's camera sees them.
        layers: (n,) int64: whose they are.
        scales: (layers, 2) float64: texels are pixels * scale + shift.
        shifts: (layers, 2) float64.
        world_to_camera: (4, 4) float64.
        K: (3, 3) float64, without skew.
        near: what is nearer in z is not drawn: its w is 0.

    Returns:
        (n, 6) float64.
    """
    if is_tensor(vertices):
        from diorama.kernels._triton import rasterise as twin

        return twin.project(
            vertices,
            pixels,
            layers,
            scales=scales,
            shifts=shifts,
            world_to_camera=world_to_camera,
            K=K,
            near=near,
        )
    local = vertices @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    drawn = local[:, 2] > near
    w = 1.0 / np.where(drawn, local[:, 2], 1.0)
    corners = np.empty((len(local), 6))
    corners[:, :2] = (local[:, :2] * w[:, None]) * K[[0, 1], [0, 1]] + K[:2, 2]
    corners[:, 2] = np.where(drawn, w, 0.0)
    corners[:, 3] = w * vertices[:, 2]
    corners[:, 4:] = (pixels * scales[layers] + shifts[layers]) * corners[:, 3:4]
    return corners


def rasterise(
    corners: AnyArray,
    triangles: AnyArray,
    layer_starts: AnyArray,
    *,
    texels: AnyArray,
    texel_starts: AnyArray,
    texture_sizes: AnyArray,
    tolerance: float,
    size: tuple[int, int],
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Rasterise layers of triangles and composite them front to back.

    A texture is projected onto its triangles from the photo's camera, so a texel (s, t) is affine
    in the photo and not in space. With w = 1/z and q = w times the z seen by the photo's camera, w,
    q, s q and t q are affine on screen; a pixel's centre in a triangle gives a fragment (w, s, t),
    the nearest of its layer. A layer's fragment fades where an opaque one of a layer behind it in
    order is nearer by more than `tolerance`, and is gone from one and a half times that on, so that
    layers pass through each other without a jagged line. With alpha and light so faded it goes
    ``rgb += light premultiplied(s, t); light *= 1 - alpha(s, t)`` from the last layer to the first.
    An edge belongs to one of its two triangles (top-left rule), to the bit.

    Args:
        corners: (n, 6) float64: x, y in pixels, edges at whole numbers; w; q; s q, t q, where
            (s, t) are texels with centres at whole numbers. Triangles with w = 0 are not drawn.
        triangles: (m, 3) int32 indices of corners, layer after layer, either way round.
        layer_starts: (layers + 1,) int64: where each layer's triangles begin, and their end.
        texels: (k, 4) float32 premultiplied, the rows of all textures one after the other.
        texel_starts: (layers,) int64: where each layer's texture begins.
        texture_sizes: (layers, 2) int64: height and width of each.
        tolerance: in w.
        size: height and width of the picture.

    Returns:
        Premultiplied colour (H, W, 3), alpha (H, W), and the w (H, W) of the frontmost fragment
        with alpha above 0.5 (0: none), all float32; CUDA tensors if all arrays are.
    """
    if is_tensor(corners):
        from diorama.kernels._triton import rasterise as twin

        return twin.rasterise(
            corners,
            triangles,
            layer_starts,
            texels=texels,
            texel_starts=texel_starts,
            texture_sizes=texture_sizes,
            tolerance=tolerance,
            size=size,
        )
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
