"""A sparse bilateral grid in which the mask is a dimension, so that no smoothing crosses masks.

Nodes stand every `spacing` pixels; each holds one *vertex* for every mask (at most `CAPACITY`) that
has pixels within one spacing of it. With hat weights ``h_i(p)`` between pixel p and node i:

    coverage_im = sum_p h_i(p) [m_p = m] / sum_p h_i(p)        share of the node that is mask m
    d_p         = sum_i h_i(p) f_im        with m = m_p        slicing: affine inside a mask
    (S f)_i     = sum_m coverage_im f_im                       what one node sees of all masks

Grids of this kind: Chen, Paris, Durand, "Real-time edge-aware image processing with the bilateral
grid" (2007); Barron and Poole, "The Fast Bilateral Solver" (2016).
"""

import math
from dataclasses import dataclass

import numpy as np

from diorama.arrays import AnyArray, Array, Labels, is_tensor
from diorama.runtime import run_bands

CAPACITY = 6
"""Masks a node can hold. Where more meet, the last found are left out and sliced from the node's
neighbours."""

NODE_BAND = 8
"""Rows of nodes in a band: each costs as much as `2 * spacing` rows of pixels."""


@dataclass(frozen=True)
class MaskGrid:
    """The grid's structure: V vertices on R x C nodes; see the module's docstring.

    On a GPU every node has `CAPACITY` vertices, of which those that are not used have the label -1
    and no coverage, for their number is never read back. Vertex k of node n is k R C + n there, and
    `offset` is empty.
    """

    spacing: float
    """Pixels between nodes."""
    left: float
    """x of the first column of nodes, in pixels; nodes lie symmetrically about the centre."""
    top: float
    """y of the first row of nodes."""
    shape: tuple[int, int]
    """(R, C)."""
    offset: AnyArray
    """(R * C + 1,) int32: node n holds the vertices offset[n] to offset[n + 1]."""
    label: AnyArray
    """(V,) int32: the mask of each vertex."""
    coverage: AnyArray
    """(V,) float32."""
    right: AnyArray
    """(V,) int32: the same mask's vertex at the next node to the right, or -1."""
    down: AnyArray
    """(V,) int32: the same below."""
    right_share: AnyArray
    """(V,) float32: geometric mean of the two coverages; 0 where there is no neighbour."""
    down_share: AnyArray
    """(V,) float32."""
    pairs: AnyArray
    """(P, 2) int32: vertices of two masks at one node."""

    def nodes(self) -> Array:
        """The node (V,) int64 of each vertex, counted row by row."""
        return np.repeat(np.arange(self.offset.size - 1), np.diff(self.offset))

    def see(self, values: AnyArray) -> AnyArray:
        """``S values``: (V,) to (R, C) float32."""
        if is_tensor(values):
            return (self.coverage * values).reshape(CAPACITY, *self.shape).sum(0)
        seen = np.bincount(self.nodes(), self.coverage * values, self.offset.size - 1)
        return seen.reshape(self.shape).astype(np.float32)


@dataclass(frozen=True)
class GridProblem:
    """What `solve_grid` minimises; the symbols are those of its docstring."""

    plane: AnyArray
    """P, (V,) float32."""
    fixed: AnyArray
    """(V,) bool: vertices that keep their value."""
    target: AnyArray
    """t, (R, C) float32: what the blurred surface ought to look like."""
    trust: AnyArray
    """c, (R, C) float32 >= 0."""
    right_weight: AnyArray
    """w between a vertex and its right neighbour, (V,) float32."""
    down_weight: AnyArray
    """w between a vertex and its lower neighbour, (V,) float32."""
    pair_weight: AnyArray
    """k, (P,) float32."""
    blur_nodes: float
    """Standard deviation of the blur G, in node spacings."""


def build_grid(labels: AnyArray, image: AnyArray, spacing: float) -> tuple[MaskGrid, AnyArray]:
    """Build the grid of these masks and splat an image into it.

    Args:
        labels: (H, W).
        image: (H, W) float32.
        spacing: pixels between nodes.

    Returns:
        The grid, and the image's mean (V,) float32 over each vertex; CUDA tensors if both are.
    """
    if is_tensor(labels):
        from diorama.kernels._triton import mask_grid as twin

        return twin.build_grid(labels, image, spacing)
    from diorama.kernels._numba import mask_grid as kernels

    height, width = labels.shape
    rows, columns = math.ceil(height / spacing) + 1, math.ceil(width / spacing) + 1
    left, top = (width - (columns - 1) * spacing) / 2, (height - (rows - 1) * spacing) / 2
    slot_label, slot_coverage, slot_mean = _splat(
        labels, image, float(spacing), left, top, (rows, columns)
    )
    used = slot_coverage > 0
    offset = np.zeros(rows * columns + 1, np.int32)
    np.cumsum(used.sum(2, dtype=np.int32).ravel(), out=offset[1:])
    num = int(offset[-1])
    counts = np.diff(offset)
    pairs = np.empty((int((counts * (counts - 1) // 2).sum()), 2), np.int32)
    right, down = np.empty(num, np.int32), np.empty(num, np.int32)
    right_share, down_share = np.empty(num, np.float32), np.empty(num, np.float32)
    kernels.connect(slot_label, slot_coverage, offset, right, down, right_share, down_share, pairs)
    grid = MaskGrid(
        float(spacing),
        left,
        top,
        (rows, columns),
        offset,
        slot_label[used],
        slot_coverage[used],
        right,
        down,
        right_share,
        down_share,
        pairs,
    )
    return grid, slot_mean[used]


def splat_again(grid: MaskGrid, labels: AnyArray, image: AnyArray) -> AnyArray:
    """Splat another image (H, W) float32 into a grid built on the same labels: (V,) means."""
    if is_tensor(labels):
        from diorama.kernels._triton import mask_grid as twin

        return twin.splat_again(grid, labels, image)
    _, coverage, mean = _splat(labels, image, grid.spacing, grid.left, grid.top, grid.shape)
    return mean[coverage > 0]


def solve_grid(
    grid: MaskGrid,
    problem: GridProblem,
    surface: AnyArray,
    *,
    max_iterations: int,
    tolerance: float,
) -> tuple[AnyArray, AnyArray, AnyArray | int, AnyArray | float]:
    """Minimise the energy of one surface per mask, by Jacobi-preconditioned conjugate gradients.

        E(f) =   sum_i c_i ((G S f)_i - t_i)^2
               + sum_(v,w) w_vw ((f_v - P_v) - (f_w - P_w))^2        neighbours of one mask
               + sum_(v,w) k_vw (f_v - f_w)^2                        masks at one node

    G is a Gaussian of `blur_nodes`, made of three-point passes that reflect at the border (so it is
    symmetric and sums to one). Sums run in the order of vertices, on one thread.

    Args:
        grid: the grid.
        problem: the weights and targets above.
        surface: (V,) float32, where to start; unchanged.
        max_iterations: at most so many steps.
        tolerance: stop when the preconditioned residual has fallen to this part of the first.

    Returns:
        The surface (V,), ``G S f`` (R, C), the number of iterations, and the relative residual; all
        of them CUDA tensors if the grid's arrays are.
    """
    if is_tensor(surface):
        from diorama.kernels._triton import mask_grid as twin

        return twin.solve_grid(
            grid, problem, surface, max_iterations=max_iterations, tolerance=tolerance
        )
    from diorama.kernels._numba import mask_grid as kernels

    surface = surface.copy()
    fitted = np.empty(grid.shape, np.float32)
    # Each pass has variance 2 * weight; at most 1/4 keeps every weight of the kernel positive.
    variance = problem.blur_nodes**2
    passes = max(1, math.ceil(2 * variance))
    iterations, residual = kernels.solve(
        surface,
        problem.plane,
        problem.fixed,
        problem.target,
        grid.offset,
        grid.coverage,
        problem.trust,
        grid.right,
        grid.down,
        problem.right_weight,
        problem.down_weight,
        grid.pairs,
        problem.pair_weight,
        passes,
        np.float32(variance / 2 / passes),
        max_iterations,
        tolerance,
        fitted,
    )
    return surface, fitted, iterations, residual


def fit_planes(
    grid: MaskGrid, mask: Array, mean: Array, weight: Array, *, rounds: int, floor: float
) -> Array:
    """Fit a robust affine function to each mask, or a constant where that is no better.

    Both are fits of least squares with Cauchy weights ``w / (1 + (r / (2 s + floor))^2)`` where s
    is the mean absolute residual of the round before.

    Args:
        grid: the grid.
        mask: (V,) int64, the masks of the vertices, numbered 0, 1, ..
        mean: (V,) float32, what is fitted.
        weight: (V,) float64.
        rounds: fits.
        floor: residual that is always forgiven.

    Returns:
        Its value (V,) float32 at each vertex.
    """
    from diorama.kernels._numba import mask_grid as kernels

    num = int(mask.max()) + 1
    plane = np.empty(mean.shape, np.float32)
    kernels.fit_planes(
        mask, grid.offset, grid.shape[1], mean, weight, num, rounds, float(floor), plane
    )
    return plane


def slice_grid(grid: MaskGrid, labels: AnyArray, surface: AnyArray, fallback: AnyArray) -> AnyArray:
    """Read a surface (V,) at every pixel, affine inside a mask and never negative.

    Where no node near a pixel had room for its mask, it takes `fallback` (H, W).
    """
    if is_tensor(labels):
        from diorama.kernels._triton import mask_grid as twin

        return twin.slice_grid(grid, labels, surface, fallback)
    from diorama.kernels._numba import mask_grid as kernels

    out = np.empty(labels.shape, np.float32)
    run_bands(
        kernels.slice_surface,
        labels.shape[0],
        labels,
        fallback,
        grid.spacing,
        grid.left,
        grid.top,
        grid.offset,
        grid.label,
        surface,
        grid.shape[1],
        out,
    )
    return out


def mark_jumps(labels: AnyArray, surface: AnyArray, threshold: AnyArray | float) -> AnyArray:
    """0 where a pixel and a neighbour of another mask differ by more than `threshold`, else 1.

    Returns:
        (H, W) uint8, as a distance transform takes it.
    """
    if is_tensor(labels):
        from diorama.kernels._triton import mask_grid as twin

        return twin.mark_jumps(labels, surface, threshold)
    from diorama.kernels._numba import mask_grid as kernels

    flat = np.empty(labels.shape, np.uint8)
    run_bands(kernels.mark_jumps, labels.shape[0], labels, surface, np.float32(threshold), flat)
    return flat


def blend(
    grid: MaskGrid,
    disparity: AnyArray,
    surface: AnyArray,
    *,
    confidence: AnyArray,
    distance: AnyArray,
    band_px: tuple[float, float],
    strength: AnyArray,
) -> AnyArray:
    """Replace an estimate by the surface near edges and where it is not trusted.

        d = d0 + (1 - c) (f - d0),    c = confidence (1 - strength s(distance))

    s falls smoothly from 1 at `band_px[0]` to 0 at `band_px[1]`.

    Args:
        grid: where the nodes stand.
        disparity: d0, (H, W).
        surface: f, (H, W).
        confidence: (H, W) float32 in 0..1, or (1, 1) for all.
        distance: (H, W) float32, pixels.
        band_px: where the replacement begins to fall, and where it ends.
        strength: (R, C) float32 in 0..1, interpolated between nodes.
    """
    if is_tensor(disparity):
        from diorama.kernels._triton import mask_grid as twin

        return twin.blend(
            grid,
            disparity,
            surface,
            confidence=confidence,
            distance=distance,
            band_px=band_px,
            strength=strength,
        )
    from diorama.kernels._numba import mask_grid as kernels

    out = np.empty_like(disparity)
    run_bands(
        kernels.blend,
        disparity.shape[0],
        disparity,
        surface,
        confidence,
        distance,
        band_px[0],
        band_px[1],
        strength,
        grid.spacing,
        grid.left,
        grid.top,
        out,
    )
    return out


def _splat(
    labels: Labels, image: Array, spacing: float, left: float, top: float, shape: tuple[int, int]
) -> tuple[Array, Array, Array]:
    from diorama.kernels._numba import mask_grid as kernels

    slots = (*shape, CAPACITY)
    slot_label = np.empty(slots, np.int32)
    coverage, mean = np.empty(slots, np.float32), np.empty(slots, np.float32)
    run_bands(
        kernels.splat,
        shape[0],
        labels,
        image,
        spacing,
        left,
        top,
        slot_label,
        coverage,
        mean,
        band_rows=NODE_BAND,
    )
    return slot_label, coverage, mean
