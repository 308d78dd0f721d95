"""Harmonic filling: the smoothest surface through what is known around a hole.

For every hole pixel p, with n(p) its 4-neighbours that are known or in the hole,

``sum_{q in n(p)} (u_p - u_q - g_p . (p - q)) = 0``,   u = the given value where known,

g being the slope to be continued (0 for the smoothest surface).

Neighbours that are neither (an occluder, the picture's edge) do not appear: there the surface runs
out along its own slope (Neumann). The system is solved by conjugate gradients, preconditioned by
one symmetric V-cycle over 2x2 aggregates of the hole's own pixels, so time and memory follow the
hole and not the picture. Reference: Notay, "An aggregation-based algebraic multigrid method"
(2010).
"""

import cv2
import numpy as np

from diorama.arrays import AnyArray, Array, Mask, is_tensor

COARSEST = 48
"""Unknowns below which a few sweeps solve a level."""

NEAR_PX = 128
"""How far the nearest known value of a pixel is looked for at first."""

MAX_ITERATIONS = 60
"""Far more than the 8-14 that holes need; a bound, so that nothing can hang."""


def solve_harmonic(
    values: Array,
    known: Mask,
    hole: Mask,
    *,
    slopes: Array | None = None,
    tolerance: float = 3e-5,
) -> Array:
    """Solve for the hole's values.

    A part of the hole that touches nothing known takes the nearest known value, or 0.

    Args:
        values: (H, W, C) float32; read where `known` only.
        known: (H, W) bool.
        hole: (H, W) bool, disjoint from `known`.
        slopes: (n, 2) float32, du/dx and du/dy at each hole pixel; 0 if not given.
        tolerance: stop when the residual has fallen by this factor; float32 leaves an error of
            about 5e-5 of the values' range, whatever it is.

    Returns:
        (n, C) float32, the hole's pixels in row-major order.
    """
    rows, columns = np.divmod(np.flatnonzero(hole), hole.shape[1])
    if rows.size == 0:
        return np.zeros((0, values.shape[2]), np.float32)
    from diorama.kernels._numba.harmonic import solve, untouched

    # One pixel of frame all round, so that every neighbour has an address.
    top, left = rows.min() - 1, columns.min() - 1
    height, width = rows.max() - top + 2, columns.max() - left + 2
    at = (rows - top) * width + (columns - left)  # (n,)
    index = np.full(height * width, rows.size, np.int32)
    index[at] = np.arange(rows.size, dtype=np.int32)
    neighbours = np.stack([index[at + s] for s in (-1, 1, -width, width)], 1)  # (n, 4)

    beside = np.empty(neighbours.shape, bool)  # (n, 4): is that neighbour known
    pull = np.zeros((rows.size, values.shape[2]), np.float32)
    framed = np.zeros((height, width), bool)
    inside = known[max(top, 0) : top + height, max(left, 0) : left + width]
    y, x = max(-top, 0), max(-left, 0)
    framed[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    for k, (dy, dx) in enumerate(((0, -1), (0, 1), (-1, 0), (1, 0))):
        beside[:, k] = framed.ravel()[at + dy * width + dx]
        rim = np.flatnonzero(beside[:, k])
        pull[rim] += values[rows[rim] + dy, columns[rim] + dx]
    fixed = _of_four(beside.astype(np.float32))  # (n,)
    # Starting from the mean of the rim, what float32 must resolve is small.
    start = pull.sum(0) / max(fixed.sum(), np.float32(1))
    pull -= fixed[:, None] * start
    if slopes is not None:
        there = (beside | (neighbours < rows.size)).astype(np.float32)
        run = there[:, 0::2] - there[:, 1::2]  # (n, 2): a step left minus a step right, up - down
        pull += (run * slopes).sum(1, keepdims=True)

    offsets, links, weights, diagonals, parents = _hierarchy(
        neighbours, fixed, at // width, at % width
    )
    result = np.empty_like(pull)
    for channel in range(values.shape[2]):
        rhs = np.ascontiguousarray(pull[:, channel])
        result[:, channel] = start[channel] + solve(
            offsets, links, weights, diagonals, parents, rhs, tolerance, MAX_ITERATIONS
        )
    lost = untouched(neighbours, fixed)
    if lost.any():
        result[lost] = _nearest_values_at(values, known, rows[lost], columns[lost])
    return result


def fill_harmonic(
    values: AnyArray,
    known: AnyArray,
    hole: AnyArray,
    *,
    slopes: AnyArray | None = None,
    tolerance: float = 3e-5,
) -> AnyArray:
    """Fill the holes of several pictures; as `solve_harmonic`, but a GPU need not count pixels.

    Args:
        values: (L, H, W, C) float32; read where `known` only.
        known: (L, H, W) bool.
        hole: (L, H, W) bool, disjoint from `known`.
        slopes: (L, H, W, 2) float32, du/dx and du/dy, one in each part of a hole; 0 if not given.
        tolerance: stop when the residual has fallen by this factor.

    Returns:
        (L, H, W, C) float32: `values` with the holes filled; a CUDA tensor if all arguments are.
        There a part that touches nothing known takes the mean of what borders on the other parts.
    """
    if is_tensor(values):
        from diorama.kernels._triton import harmonic as twin

        return twin.fill_harmonic(values, known, hole, slopes=slopes, tolerance=tolerance)
    filled = values.copy()
    for n, gap in enumerate(hole):
        listed = None if slopes is None else slopes[n][gap]
        filled[n][gap] = solve_harmonic(
            values[n], known[n], gap, slopes=listed, tolerance=tolerance
        )
    return filled


def nearest_values(values: Array, valid: Mask) -> Array:
    """The value of the nearest valid pixel, everywhere; 0 if there is none.

    Args:
        values: (H, W) or (H, W, C); read where `valid` only.
        valid: (H, W) bool.

    Returns:
        As `values`.
    """
    if not valid.any():
        return np.zeros_like(values)
    labels = nearest_labels(valid)
    table = np.zeros((int(labels.max()) + 1, *values.shape[2:]), values.dtype)
    table[labels[valid]] = values[valid]
    return table[labels]


def nearest_labels(valid: Mask) -> Array:
    """(H, W) int32: valid pixels numbered in no promised order, the others as the nearest.

    There must be a valid pixel.
    """
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    return labels.astype(np.int32, copy=False)


def _nearest_values_at(values: Array, valid: Mask, rows: Array, columns: Array) -> Array:
    """(n, C): of each listed pixel the nearest valid one's value; 0 if there is none.

    Looked for around each square of `NEAR_PX` that holds some, then farther for those in vain.
    """
    found = np.zeros((rows.size, values.shape[2]), values.dtype)
    left, reach = np.arange(rows.size), NEAR_PX
    while left.size:
        square = rows[left] // NEAR_PX * valid.shape[1] + columns[left] // NEAR_PX
        in_vain = []
        for some in (left[square == which] for which in np.unique(square)):
            y, x = rows[some], columns[some]
            top, first = max(0, y.min() - reach), max(0, x.min() - reach)
            box = np.s_[top : y.max() + reach + 1, first : x.max() + reach + 1]
            near = valid[box]
            whole = near.shape == valid.shape
            if near.any():
                away = cv2.distanceTransform((~near).view(np.uint8), cv2.DIST_L2, 3)
                sure = whole | (away[y - top, x - first] < 0.9 * reach)
                nearest = nearest_values(values[box], near)[y - top, x - first]
                found[some[sure]] = nearest[sure]
                in_vain.append(some[~sure])
            elif not whole:
                in_vain.append(some)
        left, reach = np.concatenate([*in_vain, left[:0]]), 4 * reach
    return found


def _of_four(weights: Array) -> Array:
    """(n,) sums of (n, 4); NumPy's own sum is slow along so short an axis."""
    return weights[:, 0] + weights[:, 1] + weights[:, 2] + weights[:, 3]


def _hierarchy(
    neighbours: Array, fixed: Array, rows: Array, columns: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Levels of 2x2 aggregates, finest first, each level's arrays after the one before.

    Returns:
        offsets (L + 1,) int32 of the levels; neighbours (m, 4) int32 (absent: m) and weights (m, 4)
        float32 within a level; diagonals (m,) float32; and parents (m,) int32 on the next coarser
        level. All indices are into the whole.
    """
    from diorama.kernels._numba.harmonic import coarsen

    weights = (neighbours < rows.size).astype(np.float32)
    all_neighbours, all_weights, all_diagonals, all_parents = [], [], [], []
    offsets = [0]
    while True:
        size = rows.size
        # A part without anything fixed is singular; a whisper of a weight holds it at the start.
        diagonal = fixed + _of_four(weights) + np.float32(1e-6)
        all_neighbours.append(np.where(neighbours < size, neighbours + offsets[-1], -1))
        all_weights.append(weights)
        all_diagonals.append(diagonal)
        offsets.append(offsets[-1] + size)
        if size <= COARSEST:
            all_parents.append(np.zeros(size, np.int32))
            break
        rows, columns = rows // 2, columns // 2
        width = int(columns.max()) + 3
        at = (rows + 1) * width + columns + 1
        used = np.zeros((int(rows.max()) + 3) * width, bool)
        used[at] = True
        cells = np.flatnonzero(used)
        index = np.full(used.size, cells.size, np.int32)
        index[cells] = np.arange(cells.size, dtype=np.int32)
        parents = index[at]
        all_parents.append(parents + offsets[-1])
        weights, fixed = coarsen(neighbours, weights, fixed, parents, cells.size)
        neighbours = np.stack([index[cells + s] for s in (-1, 1, -width, width)], 1)
        rows, columns = cells // width - 1, cells % width - 1
        if cells.size == size:
            break
    links = np.concatenate(all_neighbours)
    links[links < 0] = offsets[-1]
    return (
        np.array(offsets, np.int32),
        links.astype(np.int32, copy=False),
        np.concatenate(all_weights),
        np.concatenate(all_diagonals).astype(np.float32),
        np.concatenate(all_parents).astype(np.int32, copy=False),
    )
