"""Gaussian splats: each layer as discs on its surface, small where it is busy, large where flat.

A quadtree over colour and disparity merges 1 to 16 px squares as long as the error stays bounded;
each leaf becomes one Gaussian in the surface's tangent plane (`diorama.kernels.leaves`). Near a
layer's edge leaves are single pixels, whose opacity is the layer's alpha.
Reference: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering" (2023).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diorama.arrays import Array, Colors, Opacities, Points, Quats, Scales, check_disparity
from diorama.camera import Camera, ViewBox, disparity_per_px
from diorama.errors import InputError
from diorama.kernels.leaves import leaf_errors, leaf_splats
from diorama.layers import Layer

PIXEL_SIGMA = 0.5
"""Standard deviation of a single pixel's splat, in pixels. Renderers blur by about half a pixel
more: then less than 1 % shines through between four splats, at twice the size 7 %. Larger closes
more and blurs more: a textured photo loses 1 dB from 0.45 to 0.50."""

SIGMA = 0.75
"""Standard deviation of larger leaves' splats, in leaf sizes: less than 1 % shines through between
them. 6 %, at 0.6, shows as a grid on a bright sky."""

THIN = 0.1
"""Scale along the normal, as a share of the smaller one in the plane."""

CLEAR = 1 / 255
"""Opacity below which a pixel gets no splat."""


@dataclass(frozen=True)
class SplatsConfig:
    """How finely layers become splats."""

    max_splats: int = 1_000_000
    """Most there may be; beyond, flatness is judged more leniently. 68 bytes each in a PLY."""
    color_error: float = 0.016
    """Largest colour error of merging, in 0..1: four grey levels of 255."""
    depth_error_px: float = 0.25
    """Largest disparity error of merging, as parallax at the view box's limit in pixels."""

    def __post_init__(self) -> None:
        if self.max_splats < 1 or not (self.color_error > 0 and self.depth_error_px > 0):
            raise InputError(
                "splats need max_splats >= 1, color_error > 0 and depth_error_px > 0, got "
                f"{self.max_splats}, {self.color_error} and {self.depth_error_px}"
            )


@dataclass(frozen=True)
class Splats:
    """Gaussians in the axes of the photo's camera (OpenCV: x right, y down, z forward)."""

    means: Points
    """(n, 3) float32, scene units."""
    quats: Quats
    """(n, 4) float32, unit, wxyz with w >= 0: rotation of the principal axes."""
    scales: Scales
    """(n, 3) float32 standard deviations along the principal axes, scene units."""
    opacities: Opacities
    """(n,) float32 in 0..1."""
    colors: Colors
    """(n, 3) float32, sRGB-encoded, 0..1, the same from all sides."""


def layer_splats(
    layers: Sequence[Layer],
    camera: Camera,
    *,
    view_box: ViewBox | None = None,
    config: SplatsConfig = SplatsConfig(),
) -> Splats:
    """Turn layers, fills included, into splats.

    Args:
        layers: back to front, sized as the camera.
        camera: the photo's.
        view_box: what disparity errors are measured by; None: the default box.
        config: how finely.

    Returns:
        Splats, layer by layer from the back, in each from large leaves to small, row by row.

    Raises:
        InputError: if layers do not fit the camera, or cannot be told with so few splats.
    """
    for layer in layers:
        check_disparity(layer.disparity, like=layer.rgba)
        if layer.disparity.shape != (camera.height, camera.width):
            raise InputError(
                f"layers must be as large as the camera's {camera.height}x{camera.width} pixels, "
                f"got {layer.disparity.shape[0]}x{layer.disparity.shape[1]}"
            )
    per_px = disparity_per_px(camera, view_box or ViewBox())
    depth_error = config.depth_error_px * per_px if math.isfinite(per_px) else 1.0
    errors = [
        leaf_errors(layer.rgba, layer.disparity, color=config.color_error, depth=depth_error)
        for layer in layers
    ]
    limit = _limit(layers, errors, config.max_splats)
    parts = [
        leaf_splats(
            layer.rgba,
            layer.disparity,
            _leaves(layer, levels, limit),
            camera.K,
            pixel_sigma=PIXEL_SIGMA,
            sigma=SIGMA,
            thin=THIN,
        )
        for layer, levels in zip(layers, errors, strict=True)
    ]
    table = np.concatenate([np.zeros((0, 14), np.float32), *parts])
    means, quats, scales, opacities, colors = np.split(table, (3, 7, 10, 11), axis=1)
    return Splats(means, quats, scales, opacities[:, 0], colors)


def _limit(layers: Sequence[Layer], errors: Sequence[list[Array]], max_splats: int) -> float:
    """The largest error that may be merged: 1, or more if there would be too many splats.

    Every merge replaces four by one, and no square merges before its quarters: so the number of
    merges needed is known, and that many of the smallest errors are taken.
    """
    pixels = sum(int((layer.rgba[..., 3] > CLEAR).sum()) for layer in layers)
    merges = -(-(pixels - max_splats) // 3)
    flat = np.concatenate([level.ravel() for levels in errors for level in levels] or [np.zeros(0)])
    flat = flat[np.isfinite(flat)]
    if merges <= 0:
        return 1.0
    if merges > len(flat):
        least = pixels - 3 * len(flat)
        raise InputError(f"max_splats must be at least {least} for these layers, got {max_splats}")
    return max(1.0, float(np.partition(flat, merges - 1)[merges - 1]))


def _leaves(layer: Layer, errors: Sequence[Array], limit: float) -> Array:
    """The quadtree's leaves, (n, 3) int32: top, left, size; from large to small."""
    found = []
    inside = np.zeros_like(errors[-1], bool)
    for level in range(len(errors) - 1, -1, -1):
        merged = errors[level] <= limit
        size = 2 << level
        found.append(_at(merged & ~inside, size))
        inside = merged.repeat(2, 0).repeat(2, 1)
    height, width = layer.disparity.shape
    found.append(_at((layer.rgba[..., 3] > CLEAR) & ~inside[:height, :width], 1))
    return np.concatenate(found)


def _at(chosen: Array, size: int) -> Array:
    rows, columns = np.nonzero(chosen)
    out = np.empty((len(rows), 3), np.int32)
    out[:, 0], out[:, 1], out[:, 2] = rows * size, columns * size, size
    return out
