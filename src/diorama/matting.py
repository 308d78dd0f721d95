"""Soft edges: alpha and clean foreground colour in a narrow band along occluding edges.

The band is as wide as the photo's own edge there is blurred. In it every pixel is a mixture
``I = alpha F + (1 - alpha) B``. F and B are estimated from the certain pixels nearby, alpha is the
projection of I onto the line from B to F (Chuang et al., "A Bayesian approach to digital matting",
2001, in its simplest form), trusted as far as F and B differ more than they scatter, and smoothed
along the image. Where the colours do not tell, the distance to the edge does.

`reconcile` runs once what lies behind is filled: it shares what is left of the mixing equation
between F and B, so that the layers seen from the photo's own camera are the photo again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Mask, Rgb, Rgba
from diorama.errors import InputError
from diorama.runtime import BAND_ROWS, run_tasks

BLUR_BANDS, SHARP_PX = 2.5, 1.0
"""How fast the band widens with the blur of the photo's edge, and from which standard deviation on:
edges in focus have 0.6 to 1.2 px."""

MAX_BAND_PX = 8.0
"""Widest band: a pixel's cost grows with its square."""

HAIR_BANDS = 2.0
"""Half widths of sharp edges that hair's band is wide at least."""

DENSE_REACH_PX = 10
"""In windows that reach farther a quarter of the pixels tell as much."""

FILL_CHANGE = 0.08
"""How much of a colour channel a fill gives way to what is mixed with it: where alpha is wrong it
would become a bright or dark spot that a moving camera uncovers."""

PROFILE_PX, PROFILE_STEP = 8, 3
"""Half length of the profiles across edges that blur is measured on, and on which of them: those of
neighbours are nearly the same."""

CELL_PX = 24
"""Side of the cells, in threes, over which it is averaged."""


@dataclass(frozen=True)
class MattingConfig:
    """How wide and how soft edges are."""

    band: float = 0.0015
    """Half width of the band where edges are sharp, as a share of the photo's diagonal (3.3 px at
    1920x1080)."""
    min_band_px: float = 1.5
    """Least half width in pixels: demosaicing and JPEG mix at least this far."""
    color_noise: float = 0.06
    """Distance between F and B, in 0..1 of the colour cube's side, at which colour and distance to
    the edge count the same."""

    def __post_init__(self) -> None:
        if not 0 <= self.band < 0.1 or self.min_band_px < 0 or self.color_noise <= 0:
            raise InputError("matting needs 0 <= band < 0.1, min_band_px >= 0, color_noise > 0")

    def band_px(self, height: int, width: int) -> float:
        """Half width of the band in pixels."""
        return max(self.min_band_px, self.band * math.hypot(height, width))


@dataclass(frozen=True)
class EdgeMatte:
    """Alpha and foreground colour of one layer's soft pixels."""

    pixels: Array
    """(n,) flat indices of the pixels in the band."""
    alpha: Array
    """(n,) float32."""
    color: Array
    """(n, 3) float32: F."""
    band_px: Array
    """(m,) float32: half width of the band at each of the edge's pixels."""


def edge_matte(
    rgb: Rgb,
    inside: Mask,
    behind: Mask,
    edge_pixels: Array,
    *,
    hair: Mask | None = None,
    config: MattingConfig,
) -> EdgeMatte:
    """Matte a layer along its occluding edges.

    Args:
        rgb: (H, W, 3) the photo.
        inside: (H, W) where the layer is what the photo shows.
        behind: (H, W) where the photo shows something the layer may hide.
        edge_pixels: (m,) flat indices of the pixels on both sides of the edges.
        hair: (H, W) where edges are hair or fur, finer than any mask; None: nowhere.
        config: width and trust.

    Returns:
        The band's pixels; everything else of the layer is opaque.
    """
    height, width = inside.shape
    if not len(edge_pixels):
        nothing = np.empty(0, np.float32)
        return EdgeMatte(np.empty(0, np.int64), nothing, nothing.reshape(0, 3), nothing)
    narrow = config.band_px(height, width)
    y, x = edge_pixels // width, edge_pixels % width
    band = _band_widths(rgb, y, x, narrow)
    if hair is not None:
        ends = hair.ravel()[edge_pixels]
        cells = y[ends] // CELL_PX, x[ends] // CELL_PX
        band[cells] = np.maximum(band[cells], HAIR_BANDS * narrow)
    widest = float(band.max())
    reach = math.ceil(2 * widest + 2)
    top, left = max(0, int(y.min()) - 2 * reach), max(0, int(x.min()) - 2 * reach)
    bottom, right = int(y.max()) + 2 * reach + 1, int(x.max()) + 2 * reach + 1
    cut = (slice(top, bottom), slice(left, right))
    inside, behind = inside[cut], behind[cut]

    edge = np.ones(inside.shape, np.uint8)
    edge[y - top, x - left] = 0
    # Distance from the edge itself, which runs half a pixel beside the centres of its pixels.
    distance = cv2.distanceTransform(edge, cv2.DIST_L2, 5) + 0.5
    unknown = (distance <= widest) & (inside | behind)
    rows, columns = np.nonzero(unknown)
    half = band[(rows + top) // CELL_PX, (columns + left) // CELL_PX]
    outer = distance[rows, columns] > half
    unknown[rows[outer], columns[outer]] = False
    half = half[~outer]
    certain = np.zeros(inside.shape, np.uint8)
    certain[inside & ~unknown] = 1
    certain[behind & ~unknown] = 2
    certain[_ridge(inside) & unknown] = 1

    rows, columns = np.nonzero(unknown)
    order = np.zeros(inside.shape, np.int32)
    order[rows, columns] = np.arange(len(rows), dtype=np.int32) + 1
    signed = np.where(inside, distance, -distance)[rows, columns].astype(np.float32)

    from diorama.kernels.matting import mix_alpha, smooth_alpha

    photo = np.ascontiguousarray(rgb[cut])
    alpha, trust, color = mix_alpha(
        photo,
        certain,
        rows,
        columns,
        signed * (narrow / half).astype(np.float32),
        reach=reach,
        sigma=narrow,
        color_noise=config.color_noise,
        stride=1 if reach <= DENSE_REACH_PX else 2,
    )
    alpha = smooth_alpha(photo, order, certain, rows, columns, alpha, trust)
    # The band's outer ends meet what is certain: no step may be left there.
    ramp = np.clip((half + 0.5 - np.abs(signed)) / np.maximum(1.0, 0.4 * half), 0, 1)
    alpha = np.where(signed > 0, 1 - (1 - alpha) * ramp, alpha * ramp).astype(np.float32)
    pixels = (rows + top) * width + columns + left
    return EdgeMatte(pixels, alpha, color, band[y // CELL_PX, x // CELL_PX].astype(np.float32))


def reconcile(rgb: Rgb, layers: Sequence[tuple[Rgba, Mask]], *, opaque: Mask | None = None) -> None:
    """Adjust soft pixels, in place, so that the layers, composited, are the photo.

    With e = I - (alpha F + (1 - alpha) B) the least change that mends the mixture is
    ``dF = alpha e / n, dB = (1 - alpha) e / n, n = alpha^2 + (1 - alpha)^2``; what clipping to 0..1
    leaves over is taken up by raising alpha.

    Args:
        rgb: (H, W, 3) the photo.
        layers: back to front, each layer's (H, W, 4) straight colour and its filled pixels. The
            colours are changed where they are: a copy of all layers would be a quarter of a
            gigabyte. Of what lies behind only filled pixels change.
        opaque: (H, W) where the photo is opaque; elsewhere its layers are what it shows already.
            All of it if None.
    """
    run_tasks(
        [
            partial(
                _reconcile,
                rgb[rows],
                [(rgba[rows], filled[rows]) for rgba, filled in layers],
                None if opaque is None else opaque[rows],
            )
            for rows in (slice(i, i + BAND_ROWS) for i in range(0, len(rgb), BAND_ROWS))
        ]
    )


def _reconcile(rgb: Rgb, layers: Sequence[tuple[Rgba, Mask]], opaque: Mask | None) -> None:
    """`reconcile`, of some rows."""
    stack = [rgba for rgba, _ in layers]
    top = np.full(rgb.shape[:2], -1, np.int8)
    soft = np.zeros(rgb.shape[:2], bool)
    for index, rgba in enumerate(stack):
        alpha = rgba[..., 3]
        top[alpha > 0] = index
        soft |= (alpha > 0) & (alpha < 1)
    adjusted = soft | (top < 0)
    pixels = np.flatnonzero(adjusted if opaque is None else adjusted & opaque)
    photo = rgb.reshape(-1, 3)[pixels]
    top = top.ravel()[pixels]
    values = np.stack([rgba.reshape(-1, 4)[pixels] for rgba in stack])  # (layers, n, 4)
    fillable = np.stack([hole.ravel()[pixels] for _, hole in layers])
    top = np.maximum(top, 0)
    column = np.arange(len(pixels))

    behind = np.zeros_like(photo)
    cover = np.zeros(len(pixels), np.float32)
    below = np.full(len(pixels), -1)
    for index in range(len(stack)):
        under = index < top
        a = np.where(under, values[index, :, 3], 0)
        behind = behind * (1 - a[:, None]) + values[index, :, :3] * a[:, None]
        cover = cover * (1 - a) + a
        below[under & (a >= 1)] = index
        below[under & (a > 0) & (a < 1)] = -1
    alpha = np.where(cover > 0.999, values[top, column, 3], 1.0)
    color = np.where(alpha[:, None] < 1, values[top, column, :3], photo)

    error = photo - (alpha[:, None] * color + (1 - alpha[:, None]) * behind)
    norm = alpha**2 + (1 - alpha) ** 2
    may_change = (below >= 0) & fillable[np.maximum(below, 0), column]
    share = np.where(may_change, (1 - alpha) / norm, 0)
    change = np.clip(share[:, None] * error, -FILL_CHANGE, FILL_CHANGE)
    behind = np.clip(behind + change, 0, 1)
    # The least alpha for which a colour in 0..1 exists that gives the photo over what is behind.
    down = (behind - photo) / np.maximum(behind, 1e-6)
    up = (photo - behind) / np.maximum(1 - behind, 1e-6)
    alpha = np.clip(np.maximum(alpha, np.maximum(down, up).max(1)), 0, 1)
    safe = np.maximum(alpha, 1e-4)[:, None]
    color = np.clip((photo - (1 - alpha[:, None]) * behind) / safe, 0, 1)

    values[top, column, 3] = alpha
    values[top, column, :3] = np.where(alpha[:, None] > 1e-3, color, values[top, column, :3])
    changed = np.flatnonzero(may_change)
    values[below[changed], changed, :3] = behind[changed]
    for index, rgba in enumerate(stack):
        # Only these: writing zeros back where a layer is not would take memory for them.
        own = (top == index) | (may_change & (below == index))
        rgba.reshape(-1, 4)[pixels[own]] = values[index, own]


def composite(layers: Sequence[Rgba]) -> tuple[Rgb, Alpha]:
    """Layers over black, back to front: premultiplied colour (H, W, 3) and alpha (H, W)."""
    rgb = np.zeros((*layers[0].shape[:2], 3), np.float32)
    alpha = np.zeros(layers[0].shape[:2], np.float32)
    for rgba in layers:
        a = rgba[..., 3]
        rgb = rgb * (1 - a[..., None]) + rgba[..., :3] * a[..., None]
        alpha = alpha * (1 - a) + a
    return rgb, alpha


def _band_widths(rgb: Rgb, y: Array, x: Array, narrow: float) -> Array:
    """Half width of the band in each cell of the photo: wider where its edges there are blurred.

    A step J blurred by sigma climbs at most ``J / (sqrt(2 pi) sigma)`` from one pixel to the next.
    Both are summed over the profiles nearby, so that contrast counts; of the profiles along rows
    and columns the steeper one crosses the edge. Texture is sharp, and widens nothing.
    """
    height, width = rgb.shape[:2]
    y, x = y[::PROFILE_STEP], x[::PROFILE_STEP]
    away = np.arange(-PROFILE_PX, PROFILE_PX + 1)
    along_row = rgb[y[:, None], np.clip(x[:, None] + away, 0, width - 1)]  # (m, profile, 3)
    along_column = rgb[np.clip(y[:, None] + away, 0, height - 1), x[:, None]]
    climb, span = np.zeros(len(y), np.float32), np.zeros(len(y), np.float32)
    for profile in (along_row, along_column):
        steepest = np.linalg.norm(np.diff(profile, axis=1), axis=2).max(1)
        steeper = steepest > climb
        span[steeper] = np.linalg.norm(np.ptp(profile[steeper], axis=1), axis=1)
        climb[steeper] = steepest[steeper]
    shape = height // CELL_PX + 1, width // CELL_PX + 1
    cell = y // CELL_PX * shape[1] + x // CELL_PX
    spans, climbs = (
        cv2.blur(np.bincount(cell, values, math.prod(shape)).reshape(shape), (3, 3))
        for values in (span, climb)
    )
    sigma = spans / np.maximum(math.sqrt(2 * math.pi) * climbs, 1e-6)
    return np.clip(narrow + BLUR_BANDS * (sigma - SHARP_PX), narrow, max(narrow, MAX_BAND_PX))


def _ridge(inside: Mask) -> Mask:
    """The middle of thin parts, where even the band's pixels are pure foreground."""
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    return inside & (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)))
