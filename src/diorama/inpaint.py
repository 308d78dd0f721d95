"""Inpaint: colour and disparity for what the photo does not show.

Context comes from the layer itself and never from the occluder in front of it. Disparity is
continued as a plane plus a harmonic rest,

``d = plane + u``,   Laplace u = 0 in the hole,   u = d - plane where known,   du/dn = 0 elsewhere,

because a plane in space is affine in disparity: a floor runs on exactly. It is never nearer than
the occluder. Colour comes from an `Inpainter`, the layers' holes in batches. At last both are
continued beyond the layer's outline, so that filtering a texture there never pulls in black.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from diorama.arrays import Array, Disparity, Mask, Rgb, Rgba, check_array, check_disparity
from diorama.camera import ViewBox, disparity_per_px
from diorama.errors import InputError
from diorama.kernels.harmonic import nearest_labels, solve_harmonic
from diorama.layers import Layer
from diorama.photo import Photo
from diorama.runtime import run_tasks
from diorama.tiles import cells_around, tiles_with

CONTEXT_PX = 128
"""How far around a layer's holes an inpainter sees: enough for structure, little to copy."""

BATCH_PX = 1 << 24
"""Pixels of the pictures whose holes are filled at once, unless one has more: 16 million and what
an inpainter makes of them take half a gigabyte."""

BLEED_PX = 8
"""How far colour and disparity are continued exactly: more than any filter or mesh hull reaches."""

BEHIND_PX = 0.5
"""Parallax at the view box's limit by which fills stay behind what hides them: as near, programs
that compare depths would show either."""

SAMPLE_STEPS = (1, 2, 4, 8, 16, 28)
"""Distances in pixels from the hole, relative to a ring of 28, at which the known side is sampled
for its plane: densest where the plane must hold."""

MIN_SAMPLES = 24
"""Fewer samples than this do not make a plane."""

IRLS_ROUNDS = 6
"""Reweightings; the plane no longer moves after five or six."""

PIECE_PX = 96
"""Side of the pieces of a hole that have planes of their own, if enough is known beside them:
behind one object may lie floor and wall."""

RIDGE = 1e-6
"""Of a plane's normal equations, relative to the number of samples."""

PLANE_GAIN = 0.7
"""A plane is used where it leaves less than this share of a constant's residuals."""


@dataclass(frozen=True)
class InpaintConfig:
    """How holes are filled."""

    plane_reach_px: int = 28
    """How far from the hole, in pixels, the known side tells the plane of its disparity."""

    def __post_init__(self) -> None:
        if self.plane_reach_px < 4:
            raise InputError(f"plane_reach_px must be at least 4, got {self.plane_reach_px}")


@dataclass(frozen=True)
class FillTask:
    """One layer's hole and what may be known about its surroundings."""

    rgb: Rgb
    """(H, W, 3) float32; colours are valid where `known`. It is the layer's own picture, not a
    copy of it, and must not be changed."""
    known: Mask
    """(H, W) bool: where colours may be taken from."""
    hole: Mask
    """(H, W) bool, disjoint from `known`: what must be filled. The rest is the occluder or
    nothing and must not be looked at."""


def check_task(task: FillTask) -> None:
    """Raise `InputError` unless a task's arrays have their types and one size."""
    shape = task.rgb.shape[:2]
    check_array("rgb", task.rgb, dtype=np.float32, shape=(*shape, 3))
    check_array("known", task.known, dtype=np.bool_, shape=shape)
    check_array("hole", task.hole, dtype=np.bool_, shape=shape)


@runtime_checkable
class Inpainter(Protocol):
    """Anything that invents the colours of holes."""

    def inpaint(self, tasks: Sequence[FillTask], *, seed: int) -> list[Array]:
        """Fill all tasks' holes.

        Returns for each task the colours of its hole, (n, 3) float32 in 0..1, row by row, as
        ``picture[task.hole]`` lists them. Must not change its arguments, must not look at pixels
        that are neither `known` nor `hole`, and must be deterministic under `seed`. Raises
        `DioramaError` with one line where a task cannot be filled.
        """
        ...


def fill_layers(
    photo: Photo,
    layers: Sequence[Layer],
    disparity: Disparity,
    *,
    inpainter: Inpainter,
    view_box: ViewBox = ViewBox(),
    config: InpaintConfig | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Layer, ...]:
    """Fill every layer's hole with colour and disparity and bleed both beyond its outline.

    Args:
        photo: whose size the layers have.
        layers: back to front; colour and disparity are undefined in `hole`.
        disparity: (H, W) what the photo shows, harmonised: where a hole is, its occluder's.
        inpainter: fills colour.
        view_box: where the camera may go: fills stay half a pixel of its parallax behind what hides
            them.
        config: settings.
        seed: of the inpainter.
        overwrite: fill the layers' own arrays instead of copies, which would be one more gigabyte
            at 24 megapixels.

    Returns:
        The layers in the same order, alpha, hole and mask ids unchanged.

    Raises:
        InputError: sizes do not agree, or the inpainter's answer is none.
    """
    config = config or InpaintConfig()
    check_disparity(disparity, like=photo.rgb)
    for layer in layers:
        check_array("layer.rgba", layer.rgba, dtype=np.float32, shape=(*disparity.shape, 4))
    boxes = {
        i: _bounding_box(layer.hole, margin=CONTEXT_PX)
        for i, layer in enumerate(layers)
        if layer.hole.any()
    }
    step = BEHIND_PX * disparity_per_px(photo.camera, view_box)
    step = np.float32(step if np.isfinite(step) else 0)  # infinite where no parallax is
    ceiling = disparity - step
    np.maximum(ceiling, 0, out=ceiling)
    colors = _hole_colors(layers, boxes, inpainter, seed)

    def finish(index: int) -> Layer:
        layer = layers[index] if overwrite else _copied(layers[index])
        if index in boxes:
            rgba, hole = (a[boxes[index]] for a in (layer.rgba, layer.hole))
            rgba[hole, :3] = colors[index]
            box = _bounding_box(layer.hole, margin=config.plane_reach_px + 1)
            rgba, values, hole = layer.rgba[box], layer.disparity[box], layer.hole[box]
            known = (rgba[..., 3] >= 1) & ~hole
            values[hole] = _continuation(values, known, hole, ceiling[box], config.plane_reach_px)
        bleed(layer.rgba, layer.disparity)
        return layer

    filled = tuple(run_tasks([lambda i=i: finish(i) for i in range(len(layers))]))
    _settle(filled, boxes, ceiling, step)
    return filled


def _hole_colors(
    layers: Sequence[Layer],
    boxes: Mapping[int, tuple[slice, slice]],
    inpainter: Inpainter,
    seed: int,
) -> dict[int, Array]:
    """(n, 3) float32 for each hole, in the order of its pixels."""
    colors = {}
    for batch in _batches(boxes):
        tasks = [_fill_task(layers[i], boxes[i]) for i in batch]
        filled = inpainter.inpaint(tasks, seed=seed)
        if len(filled) != len(tasks):
            raise InputError(f"the inpainter filled {len(filled)} of {len(tasks)} holes")
        for index, task, found in zip(batch, tasks, filled, strict=True):
            shape = int(task.hole.sum()), 3
            check_array("colours of the inpainter", found, dtype=np.float32, shape=shape)
            colors[index] = found
    return colors


def _batches(boxes: Mapping[int, tuple[slice, slice]]) -> list[list[int]]:
    """The layers whose holes are filled at once, in order."""
    batches: list[list[int]] = []
    left = 0
    for index, (rows, columns) in boxes.items():
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        if area > left:
            batches.append([])
            left = BATCH_PX
        batches[-1].append(index)
        left -= area
    return batches


def _copied(layer: Layer) -> Layer:
    """A copy of what is covered and around it; the rest is 0 and takes no memory."""
    # zeros_like would write every zero.
    rgba = np.zeros(layer.rgba.shape, np.float32)
    disparity = np.zeros(layer.disparity.shape, np.float32)
    for box in cells_around(layer.rgba[..., 3] > 0):
        rgba[box], disparity[box] = layer.rgba[box], layer.disparity[box]
    return replace(layer, rgba=rgba, disparity=disparity)


def _settle(
    layers: Sequence[Layer],
    boxes: Mapping[int, tuple[slice, slice]],
    ceiling: Disparity,
    step: np.float32,
) -> None:
    """Lower fills, in place, that would come before a fill of a layer in front of theirs.

    Every fill was made for itself; where several lie behind one another, their order decides, or a
    renderer that tests depth would show another picture than the layers composited. `ceiling` is
    what hides the nearest of them, less a step, and is changed.
    """
    for index, box in sorted(boxes.items(), reverse=True):
        hole = layers[index].hole[box]
        lowered = np.minimum(layers[index].disparity[box][hole], ceiling[box][hole])
        layers[index].disparity[box][hole] = lowered
        ceiling[box][hole] = np.maximum(lowered - step, 0)


def _fill_task(layer: Layer, box: tuple[slice, slice]) -> FillTask:
    rgba, hole = layer.rgba[box], np.ascontiguousarray(layer.hole[box])
    return FillTask(rgba[..., :3], (rgba[..., 3] >= 1) & ~hole, hole)


def fill_disparity(
    disparity: Disparity,
    known: Mask,
    hole: Mask,
    *,
    upper: Disparity | None = None,
    reach_px: int = InpaintConfig.plane_reach_px,
) -> Disparity:
    """Continue disparity into a hole: a robust plane plus a harmonic rest.

    Every connected part of the hole has its own plane, fitted by iteratively reweighted least
    squares (Cauchy weights) to known samples beside it; where a plane explains them hardly better
    than a constant, there is none. A part that touches nothing known takes the nearest known value.

    Args:
        disparity: (H, W) float32; read where `known` only.
        known: (H, W) bool.
        hole: (H, W) bool, disjoint from `known`.
        upper: (H, W) the occluder's disparity, which the fill never exceeds.
        reach_px: how far from the hole samples are taken.

    Returns:
        (H, W) float32: `disparity` with the hole filled, >= 0 there.

    Raises:
        InputError: shapes or dtypes do not agree.
    """
    shape = disparity.shape
    check_array("disparity", disparity, dtype=np.float32, shape=(None, None))
    check_array("known", known, dtype=np.bool_, shape=shape)
    check_array("hole", hole, dtype=np.bool_, shape=shape)
    filled = disparity.copy()
    if hole.any():
        box = _bounding_box(hole, margin=reach_px + 1)
        limit = None if upper is None else upper[box]
        filled[box][hole[box]] = _continuation(
            disparity[box], known[box], hole[box], limit, reach_px
        )
    return filled


def _continuation(
    values: Disparity, known: Mask, hole: Mask, upper: Disparity | None, reach_px: int
) -> Array:
    """(n,) float32: the hole's disparity, row by row; see `fill_disparity`."""
    count, labels = cv2.connectedComponents(hole.view(np.uint8), connectivity=4)
    parts = labels.astype(np.int32, copy=False)
    samples = _samples(values, known, hole, reach_px)
    slopes = _slopes_at(np.nonzero(hole), parts, samples, count)
    solved = solve_harmonic(values[..., None], known, hole, slopes=slopes)[:, 0]
    return np.clip(solved, 0, np.inf if upper is None else upper[hole])


def _bounding_box(mask: Mask, *, margin: int = 0) -> tuple[slice, slice]:
    """The box around what is set, `margin` larger on all sides, inside the picture."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (
        slice(max(0, top - margin), min(mask.shape[0], top + height + margin)),
        slice(max(0, left - margin), min(mask.shape[1], left + width + margin)),
    )


def _samples(
    values: Disparity, known: Mask, hole: Mask, reach_px: int
) -> tuple[Array, Array, Array, Array]:
    """Known pixels on the four straight lines out of every hole pixel.

    Returns:
        (m,) flat index of the hole pixel a line began at; x, y and value of the pixel it met.
    """
    height, width = hole.shape
    found = []
    for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        rows, columns = np.nonzero(hole & _shifted(known, dy, dx))
        begin = rows * width + columns
        for step in sorted({max(1, round(s * reach_px / SAMPLE_STEPS[-1])) for s in SAMPLE_STEPS}):
            y, x = rows + dy * step, columns + dx * step
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            rows, columns, begin, y, x = (a[inside] for a in (rows, columns, begin, y, x))
            # A line ends where the known side does: beyond may lie another surface.
            here = known[y, x]
            rows, columns, begin, y, x = (a[here] for a in (rows, columns, begin, y, x))
            found.append((begin, x, y, values[y, x]))
    begin, x, y, value = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return begin, x.astype(np.float64), y.astype(np.float64), value.astype(np.float64)


def _slopes_at(
    pixels: tuple[Array, ...],
    parts: Array,
    samples: tuple[Array, Array, Array, Array],
    count: int,
) -> Array:
    """(n, 2) float32: the slopes of the planes that the hole's pixels continue.

    Each part's piece in a square of `PIECE_PX` has its own where it has samples, else its part's.
    """
    (rows, columns), (begin, x, y, value) = pixels, samples
    across, down = (side // PIECE_PX + 1 for side in parts.shape[::-1])
    part = parts.ravel()[begin]

    def piece(row: Array, column: Array, part: Array) -> Array:
        return (part * down + row // PIECE_PX) * across + column // PIECE_PX

    at = parts[rows, columns]
    pieces, piece_at = np.unique(piece(rows, columns, at), return_inverse=True)
    row, column = np.divmod(begin, parts.shape[1])
    piece_of = np.searchsorted(pieces, piece(row, column, part))
    enough = np.bincount(piece_of, minlength=pieces.size) >= MIN_SAMPLES
    own = _robust_slopes(piece_of, x, y, value, pieces.size)
    if enough.all():
        return own[piece_at]
    shared = _robust_slopes(part, x, y, value, count)
    return np.where(enough[piece_at, None], own[piece_at], shared[at])


def _shifted(mask: Mask, dy: int, dx: int) -> Mask:
    """`mask` read one pixel further along (dy, dx); False beyond the picture."""
    result = np.zeros_like(mask)
    height, width = mask.shape
    to_y, to_x = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
    from_y, from_x = slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width + min(0, dx))
    result[to_y, to_x] = mask[from_y, from_x]
    return result


def _robust_slopes(part: Array, x: Array, y: Array, value: Array, count: int) -> Array:
    """(count, 2) float32: each part's slope along x and y, 0 where a constant does as well.

    Iteratively reweighted least squares for all parts at once; float64 because normal equations
    square the condition number.
    """

    def total(quantity: Array) -> Array:
        return np.bincount(part, quantity, count)

    def mean(weight: Array, quantity: Array) -> Array:
        return total(weight * quantity) / np.maximum(total(weight), 1e-9)

    ones = np.ones_like(x)
    x, y = x - mean(ones, x)[part], y - mean(ones, y)[part]
    radius = np.maximum(np.sqrt(mean(ones, x * x + y * y)), 1.0)  # (count,)
    basis = np.stack([x / radius[part], y / radius[part], ones], 1)  # (m, 3)
    # Along a straight outline the slope across it may rest on little: a ridge holds it at 0.
    ridge = RIDGE * np.maximum(total(ones), 1)[:, None, None] * np.eye(3)
    weight, plane = ones, np.zeros((count, 3))
    residual, scale = np.abs(value), mean(ones, np.abs(value))
    for _ in range(IRLS_ROUNDS):
        normal = np.empty((count, 3, 3))
        for i in range(3):
            for j in range(i, 3):
                normal[:, i, j] = normal[:, j, i] = total(weight * basis[:, i] * basis[:, j])
        pull = np.stack([total(weight * basis[:, i] * value) for i in range(3)], 1)
        plane = np.linalg.solve(normal + ridge, pull[..., None])[..., 0]  # (count, 3)
        residual = np.abs((basis * plane[part]).sum(1) - value)
        scale = np.maximum(mean(weight, residual), 1e-7)
        weight = 1 / (1 + np.square(residual / (2 * scale[part])))
    flat = np.abs(mean(weight, value)[part] - value)
    good = (total(ones) >= MIN_SAMPLES) & (scale < PLANE_GAIN * mean(weight, flat))
    return np.where(good[:, None], plane[:, :2] / radius[:, None], 0).astype(np.float32)


def bleed(rgba: Rgba, disparity: Disparity) -> tuple[Rgba, Disparity]:
    """Continue a layer's colour and disparity, in place, to where alpha is 0; returns both.

    Within `BLEED_PX` of the outline by the nearest pixel that has them, for filtering; around that,
    where only mip levels and encoders look, by their means; far away they are left as they are.
    """
    covered = rgba[..., 3] > 0
    if covered.all() or not covered.any():
        return rgba, disparity
    box = _bounding_box(covered, margin=BLEED_PX)
    covered, colors, depths = covered[box], rgba[box], disparity[box]
    inside = covered.view(np.uint8)
    mean, depth = cv2.mean(colors, inside)[:3], cv2.mean(depths, inside)[0]
    near = cv2.dilate(inside, np.ones((2 * BLEED_PX + 1,) * 2, np.uint8)).view(bool)
    # A pixel as one number of 16 bytes: three channels under a mask are many times slower.
    whole = np.array([*mean, 0], np.float32).view(np.complex128)
    for cells in cells_around(near):
        np.copyto(colors[cells].view(np.complex128)[..., 0], whole, where=~near[cells])
        np.copyto(depths[cells], np.float32(depth), where=~near[cells])
    ring = np.logical_xor(near, covered, out=near)
    for tile in tiles_with(ring, margin=2 * BLEED_PX):
        known, wanted = covered[tile.around], np.zeros_like(covered[tile.around])
        wanted[tile.inner] = ring[tile.here]
        labels = nearest_labels(known)
        source = np.zeros(int(labels.max()) + 1, np.int64)
        source[labels[known]] = np.flatnonzero(known)
        nearest = np.unravel_index(source[labels[wanted]], known.shape)
        colors[tile.around][wanted, :3] = colors[tile.around][nearest][:, :3]
        depths[tile.around][wanted] = depths[tile.around][nearest]
    (top, bottom), (left, right) = ((span.start, span.stop) for span in box)
    for beyond in (np.s_[:top], np.s_[bottom:], np.s_[:, :left], np.s_[:, right:]):
        if disparity[beyond].any():  # writing zeros to zeros would take memory
            disparity[beyond] = 0
    return rgba, disparity
