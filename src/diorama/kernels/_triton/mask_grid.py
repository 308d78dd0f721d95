"""Triton twin of `diorama.kernels.mask_grid`.

How many vertices a grid has is known to the device alone, so every node has room for `CAPACITY` of
them: vertex k of node n is k R C + n, so that what no node uses is not touched. Vertices that are
not used have no coverage and no links, and nothing moves them. A vertex gathers from its
neighbours, so sums do not depend on the order in which programs run, but for the two of each step
of conjugate gradients. Passes of the blur become one convolution along rows and one along columns
of the grid, reflecting at its border as the passes do.
"""

import math
from functools import cache

import numpy as np
import torch
import triton
import triton.language as tl

from diorama.kernels._triton import launching_on
from diorama.kernels.mask_grid import CAPACITY, GridProblem, MaskGrid

PIXELS = 1024
"""Of the nodes that a program splats to."""

NODES = 64
"""A program's."""

ROWS, COLUMNS = 8, 64
"""A tile of the picture, and of the grid where it is blurred."""

SLOTS = tl.constexpr(8)
ROOM = tl.constexpr(CAPACITY)


def build_grid(
    labels: torch.Tensor, image: torch.Tensor, spacing: float
) -> tuple[MaskGrid, torch.Tensor]:
    """See `diorama.kernels.mask_grid.build_grid`."""
    height, width = labels.shape
    device = labels.device
    rows, columns = math.ceil(height / spacing) + 1, math.ceil(width / spacing) + 1
    left, top = (width - (columns - 1) * spacing) / 2, (height - (rows - 1) * spacing) / 2
    place = (float(spacing), left, top, (rows, columns))
    slot_label, coverage, mean = _splat(labels, image, *place)
    num = rows * columns
    right, down = (torch.empty(num * CAPACITY, dtype=torch.int32, device=device) for _ in range(2))
    right_share, down_share = (torch.empty(num * CAPACITY, device=device) for _ in range(2))
    with launching_on(labels):
        _connect[(triton.cdiv(num, NODES),)](
            slot_label,
            coverage,
            right,
            down,
            right_share,
            down_share,
            num,
            columns,
            NODES,
        )
    offset, pairs = torch.empty(0, dtype=torch.int32, device=device), _pairs(num, device)
    shares = (right, down, right_share, down_share)
    return MaskGrid(*place, offset, slot_label, coverage, *shares, pairs), mean


def splat_again(grid: MaskGrid, labels: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """See `diorama.kernels.mask_grid.splat_again`."""
    return _splat(labels, image, grid.spacing, grid.left, grid.top, grid.shape)[2]


def solve_grid(
    grid: MaskGrid,
    problem: GridProblem,
    surface: torch.Tensor,
    *,
    max_iterations: int,
    tolerance: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `diorama.kernels.mask_grid.solve_grid`."""
    device = surface.device
    surface = surface.clone()
    deviation = surface - problem.plane
    taps = _taps(problem.blur_nodes, device)
    rows, columns = grid.shape
    num = rows * columns
    seen, blurred, fitted = (torch.empty((rows, columns), device=device) for _ in range(3))
    residual, scale, direction, product = (torch.empty_like(surface) for _ in range(4))
    left, up = (torch.full_like(grid.right, -1) for _ in range(2))
    # Of every step: the energy before it, and the direction's curvature.
    sums = torch.zeros((max_iterations + 1, 2), device=device)
    nodes = (triton.cdiv(num, NODES),)
    tiles = (triton.cdiv(columns, COLUMNS), triton.cdiv(rows, ROWS))
    size = (rows, columns, len(taps) // 2)
    structure = (grid.coverage, grid.right, grid.down, left, up)
    weights = (problem.right_weight, problem.down_weight, problem.pair_weight)

    def blur(source: torch.Tensor, across: torch.Tensor, out: torch.Tensor, *mode: bool) -> None:
        block = (ROWS, COLUMNS)
        _blur[tiles](source, taps, source, source, across, *size, True, False, False, *block)
        last = (problem.target, problem.trust, out)
        _blur[tiles](across, taps, *last, *size, False, *mode, *block)

    with launching_on(surface):
        _turn_round[nodes](grid.right, grid.down, left, up, num, NODES)
        _see[nodes](grid.coverage, surface, seen, num, NODES)
        blur(seen, blurred, seen, True, True)
        blur(seen, blurred, seen, False, False)
        _begin[nodes](
            seen,
            problem.trust,
            *structure,
            *weights,
            surface,
            deviation,
            problem.fixed,
            residual,
            scale,
            sums,
            num,
            NODES,
        )
        for turn in range(max_iterations):
            state = (sums, turn, tolerance * tolerance)
            _advance[nodes](grid.coverage, scale, residual, direction, seen, *state, num, NODES)
            blur(seen, blurred, seen, False, True)
            blur(seen, blurred, seen, False, False)
            _apply[nodes](seen, *structure, *weights, direction, product, *state, num, NODES)
            _step[nodes](surface, residual, scale, direction, product, *state, num, NODES)
        _see[nodes](grid.coverage, surface, seen, num, NODES)
        blur(seen, blurred, fitted, False, False)
    energy = sums[:, 0]
    going = energy[:-1] > tolerance * tolerance * energy[0]
    # A curvature that is not positive ends it, too; what was not reached is 0.
    iterations = (going & (sums[:-1, 1] > 0)).sum()
    last = energy.gather(0, iterations[None])[0]
    first = energy[0]
    relative = torch.where(first > 0, (last / first.clamp(min=1e-38)).sqrt(), 0.0)
    return surface, fitted, iterations, relative


def slice_grid(
    grid: MaskGrid, labels: torch.Tensor, surface: torch.Tensor, fallback: torch.Tensor
) -> torch.Tensor:
    """See `diorama.kernels.mask_grid.slice_grid`."""
    out = torch.empty_like(fallback)
    with launching_on(labels):
        _slice[_tiles(labels)](
            labels.contiguous(),
            fallback.contiguous(),
            grid.label,
            surface,
            out,
            *labels.shape,
            grid.shape[0] * grid.shape[1],
            grid.shape[1],
            grid.spacing,
            grid.left,
            grid.top,
            ROWS,
            COLUMNS,
        )
    return out


def mark_jumps(
    labels: torch.Tensor, surface: torch.Tensor, threshold: float | torch.Tensor
) -> torch.Tensor:
    """See `diorama.kernels.mask_grid.mark_jumps`."""
    flat = torch.empty(labels.shape, dtype=torch.uint8, device=labels.device)
    if not isinstance(threshold, torch.Tensor):
        threshold = torch.full((), threshold, device=labels.device)
    with launching_on(labels):
        _mark[_tiles(labels)](
            labels.contiguous(), surface, threshold, flat, *labels.shape, ROWS, COLUMNS
        )
    return flat


def blend(
    grid: MaskGrid,
    disparity: torch.Tensor,
    surface: torch.Tensor,
    *,
    confidence: torch.Tensor,
    distance: torch.Tensor,
    band_px: tuple[float, float],
    strength: torch.Tensor,
) -> torch.Tensor:
    """See `diorama.kernels.mask_grid.blend`."""
    out = torch.empty_like(disparity)
    with launching_on(disparity):
        _blend[_tiles(disparity)](
            disparity.contiguous(),
            surface,
            confidence.contiguous(),
            distance,
            strength,
            out,
            *disparity.shape,
            grid.shape[1],
            grid.spacing,
            grid.left,
            grid.top,
            *band_px,
            confidence.numel() == 1,
            ROWS,
            COLUMNS,
        )
    return out


def _tiles(picture: torch.Tensor) -> tuple[int, int]:
    height, width = picture.shape
    return triton.cdiv(width, COLUMNS), triton.cdiv(height, ROWS)


def _splat(
    labels: torch.Tensor,
    image: torch.Tensor,
    spacing: float,
    left: float,
    top: float,
    shape: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    num = shape[0] * shape[1]
    slot_label = torch.empty(num * CAPACITY, dtype=torch.int32, device=labels.device)
    coverage, mean = (torch.empty(num * CAPACITY, device=labels.device) for _ in range(2))
    side = triton.next_power_of_2(math.ceil(2 * spacing) + 1)
    nodes = max(1, PIXELS // (side * side))
    with launching_on(labels):
        _splat_nodes[(triton.cdiv(num, nodes),)](
            labels.contiguous(),
            image.contiguous(),
            slot_label,
            coverage,
            mean,
            *labels.shape,
            num,
            shape[1],
            spacing,
            left,
            top,
            nodes,
            side,
        )
    return slot_label, coverage, mean


@cache
def _pairs(num: int, device: torch.device) -> torch.Tensor:
    """The pairs of vertices that a node may hold: the first pair of every node, the second, .."""
    inside = [(k, q) for k in range(CAPACITY) for q in range(k)]
    table = torch.tensor(inside, dtype=torch.int32, device=device)[:, None] * num
    nodes = torch.arange(num, dtype=torch.int32, device=device)
    return (table + nodes[None, :, None]).reshape(-1, 2)


@cache
def _taps(blur_nodes: float, device: torch.device) -> torch.Tensor:
    """The three-point passes of `solve_grid` as one kernel."""
    variance = blur_nodes**2
    passes = max(1, math.ceil(2 * variance))
    weight = variance / 2 / passes
    taps = np.ones(1)
    for _ in range(passes):
        taps = np.convolve(taps, [weight, 1 - 2 * weight, weight])
    return torch.tensor(taps, dtype=torch.float32, device=device)


@triton.jit
def _splat_nodes(
    labels,  # (H, W) int32
    image,  # (H, W) float32
    slot_label,  # out: (ROOM, R * C) int32, -1 where there is no vertex
    coverage,  # out: (ROOM, R * C) float32
    mean,  # out: (ROOM, R * C) float32
    height,
    width,
    num,
    columns,
    spacing,
    left,
    top,
    NODES: tl.constexpr,
    SIDE: tl.constexpr,
):
    node = tl.program_id(0) * NODES + tl.arange(0, NODES)
    k = tl.arange(0, SIDE * SIDE)[None, :]
    node_y, node_x = top + (node // columns) * spacing, left + (node % columns) * spacing
    y = tl.floor(node_y - spacing).to(tl.int32)[:, None] + k // SIDE
    x = tl.floor(node_x - spacing).to(tl.int32)[:, None] + k % SIDE
    weight = 1.0 - tl.abs(y + 0.5 - node_y[:, None]) / spacing
    weight_x = 1.0 - tl.abs(x + 0.5 - node_x[:, None]) / spacing
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (weight > 0) & (weight_x > 0)
    inside = inside & (node < num)[:, None]
    weight = tl.where(inside, weight * weight_x, 0.0)
    label = tl.load(labels + y * width + x, mask=inside, other=-1)
    value = weight * tl.load(image + y * width + x, mask=inside, other=0.0)
    total = tl.zeros((NODES,), tl.float32)
    slots = tl.arange(0, SLOTS)[None, :]
    covered = tl.zeros((NODES, SLOTS), tl.float32)
    mine = node < num
    for slot in range(ROOM):
        # Masks in the order in which rows of pixels meet them.
        first = tl.min(tl.where(inside, k, SIDE * SIDE), 1)
        found = tl.max(tl.where(inside & (k == first[:, None]), label, -1), 1)
        member = inside & (label == found[:, None])
        share = tl.sum(tl.where(member, weight, 0.0), 1)
        held = tl.sum(tl.where(member, value, 0.0), 1)
        inside = inside & (member == 0)
        total += share
        covered = tl.where(slots == slot, share[:, None], covered)
        at = slot * num + node
        tl.store(slot_label + at, tl.where(share > 0, found, -1), mask=mine)
        tl.store(mean + at, held / tl.where(share > 0, share, 1.0), mask=mine)
    covered = covered / tl.where(total > 0, total, 1.0)[:, None]
    at = slots * num + node[:, None]
    tl.store(coverage + at, covered, mask=mine[:, None] & (slots < ROOM))


@triton.jit
def _vertices(num, NODES: tl.constexpr):
    """A program's nodes, their vertices (NODES, SLOTS), and which of these there are."""
    node = tl.program_id(0) * NODES + tl.arange(0, NODES)
    slot = tl.arange(0, SLOTS)[None, :]
    return node, slot * num + node[:, None], (node < num)[:, None] & (slot < ROOM)


@triton.jit
def _connect(
    label,  # (V,) int32
    coverage,  # (V,) float32
    right,  # out: (V,) int32
    down,  # out: (V,) int32
    right_share,  # out: (V,) float32
    down_share,  # out: (V,) float32
    num,
    columns,
    NODES: tl.constexpr,
):
    node, vertex, mine = _vertices(num, NODES)
    own = tl.load(label + vertex, mask=mine, other=-1)
    cover = tl.load(coverage + vertex, mask=mine, other=0.0)
    for below in tl.static_range(2):
        if below:
            other, has = node + columns, node + columns < num
        else:
            other, has = node + 1, (node < num) & ((node + 1) % columns != 0)
        to = tl.full((NODES, SLOTS), -1, tl.int32)
        share = tl.zeros((NODES, SLOTS), tl.float32)
        for slot in range(ROOM):
            there = slot * num + other
            same = tl.load(label + there, mask=has, other=-2)[:, None] == own
            same = same & (own >= 0)
            beside = tl.load(coverage + there, mask=has, other=0.0)[:, None]
            to = tl.where(same, there[:, None], to)
            share = tl.where(same, tl.sqrt(cover * beside), share)
        if below:
            tl.store(down + vertex, to, mask=mine)
            tl.store(down_share + vertex, share, mask=mine)
        else:
            tl.store(right + vertex, to, mask=mine)
            tl.store(right_share + vertex, share, mask=mine)


@triton.jit
def _turn_round(right, down, left, up, num, NODES: tl.constexpr):
    """Who points at a vertex: each is pointed at once."""
    _, vertex, mine = _vertices(num, NODES)
    to = tl.load(right + vertex, mask=mine, other=-1)
    tl.store(left + to, vertex, mask=to >= 0)
    to = tl.load(down + vertex, mask=mine, other=-1)
    tl.store(up + to, vertex, mask=to >= 0)


@triton.jit
def _see(coverage, values, seen, num, NODES: tl.constexpr):
    """``S values``."""
    node, vertex, mine = _vertices(num, NODES)
    cover = tl.load(coverage + vertex, mask=mine, other=0.0)
    share = cover * tl.load(values + vertex, mask=mine & (cover > 0), other=0.0)
    tl.store(seen + node, tl.sum(share, 1), mask=node < num)


@triton.jit
def _blur(
    source,  # (R, C) float32
    taps,  # (2 reach + 1,) float32
    target,  # (R, C) float32
    trust,  # (R, C) float32
    out,  # (R, C) float32
    rows,
    columns,
    reach,
    ALONG: tl.constexpr,
    TARGET: tl.constexpr,
    TRUST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Along rows or columns; then the target is subtracted and trust multiplied, where asked."""
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mine = (y < rows) & (x < columns)
    size = columns if ALONG else rows
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for step in range(-reach, reach + 1):
        place = x + step if ALONG else y + step
        # The border reflects, and where the grid is small so does the other: a period of both.
        place = (place % (2 * size) + 2 * size) % (2 * size)
        place = tl.where(place < size, place, 2 * size - 1 - place)
        at = y * columns + place if ALONG else place * columns + x
        total += tl.load(taps + step + reach) * tl.load(source + at, mask=mine, other=0.0)
    at = y * columns + x
    if TARGET:
        total -= tl.load(target + at, mask=mine, other=0.0)
    if TRUST:
        total *= tl.load(trust + at, mask=mine, other=0.0)
    tl.store(out + at, total, mask=mine)


@triton.jit
def _linked(weight, values, other, at, own, has):
    """What the link to another vertex pulls: other < 0 where there is none."""
    has = has & (other >= 0)
    pull = tl.load(weight + at, mask=has, other=0.0)
    return pull * (own - tl.load(values + other, mask=has, other=0.0)), pull


@triton.jit
def _gradient(
    seen,
    coverage,
    right,
    down,
    left,
    up,
    right_weight,
    down_weight,
    pair_weight,
    values,
    deviation,
    num,
    NODES: tl.constexpr,
):
    """What the energy's gradient is at a program's vertices, and all links' weight."""
    node, vertex, mine = _vertices(num, NODES)
    cover = tl.load(coverage + vertex, mask=mine, other=0.0)
    used = mine & (cover > 0)
    total = cover * tl.load(seen + node, mask=node < num, other=0.0)[:, None]
    own = tl.load(deviation + vertex, mask=used, other=0.0)
    other = tl.load(right + vertex, mask=used, other=-1)
    pull, weight = _linked(right_weight, deviation, other, vertex, own, used)
    total += pull
    other = tl.load(left + vertex, mask=used, other=-1)
    pull, more = _linked(right_weight, deviation, other, other, own, used)
    total, weight = total + pull, weight + more
    other = tl.load(down + vertex, mask=used, other=-1)
    pull, more = _linked(down_weight, deviation, other, vertex, own, used)
    total, weight = total + pull, weight + more
    other = tl.load(up + vertex, mask=used, other=-1)
    pull, more = _linked(down_weight, deviation, other, other, own, used)
    total, weight = total + pull, weight + more
    # Most nodes hold one mask, and these have no pairs.
    second = tl.load(coverage + num + node, mask=node < num, other=0.0) > 0
    if tl.max(second.to(tl.int32), 0) > 0:
        own = tl.load(values + vertex, mask=used, other=0.0)
        slot = tl.arange(0, SLOTS)[None, :]
        for q in range(ROOM):
            there = q * num + node[:, None]
            has = used & second[:, None] & (slot != q)
            has = has & (tl.load(coverage + there, mask=has, other=0.0) > 0)
            high, low = tl.maximum(slot, q), tl.minimum(slot, q)
            pair = (high * (high - 1) // 2 + low) * num + node[:, None]
            pull, more = _linked(pair_weight, values, there, pair, own, has)
            total, weight = total + pull, weight + more
    return vertex, used, cover, total, weight


@triton.jit
def _begin(
    seen,
    trust,
    coverage,
    right,
    down,
    left,
    up,
    right_weight,
    down_weight,
    pair_weight,
    surface,
    deviation,
    fixed,
    residual,  # out
    scale,  # out: the preconditioner; a fixed vertex is never moved
    sums,
    num,
    NODES: tl.constexpr,
):
    vertex, used, cover, total, weight = _gradient(
        seen,
        coverage,
        right,
        down,
        left,
        up,
        right_weight,
        down_weight,
        pair_weight,
        surface,
        deviation,
        num,
        NODES,
    )
    node, _vertex, mine = _vertices(num, NODES)
    weight += cover * cover * tl.load(trust + node, mask=node < num, other=0.0)[:, None]
    free = used & (tl.load(fixed + vertex, mask=used, other=1) == 0) & (weight > 0)
    per = tl.where(free, 1.0 / tl.where(free, weight, 1.0), 0.0)
    tl.store(residual + vertex, -total, mask=used)
    tl.store(scale + vertex, per, mask=mine)
    tl.atomic_add(sums, tl.sum(tl.sum(total * total * per, 1), 0))


@triton.jit
def _going(sums, turn, limit):
    return tl.load(sums + 2 * turn) > tl.load(sums) * limit


@triton.jit(do_not_specialize=["turn"])
def _advance(
    coverage,
    scale,
    residual,
    direction,  # in, out
    seen,  # out
    sums,
    turn,
    limit,
    num,
    NODES: tl.constexpr,
):
    if _going(sums, turn, limit):
        node, vertex, mine = _vertices(num, NODES)
        cover = tl.load(coverage + vertex, mask=mine, other=0.0)
        used = mine & (cover > 0)
        value = tl.load(scale + vertex, mask=used, other=0.0)
        value *= tl.load(residual + vertex, mask=used, other=0.0)
        if turn > 0:
            share = tl.load(sums + 2 * turn) / tl.load(sums + 2 * turn - 2)
            value += share * tl.load(direction + vertex, mask=used, other=0.0)
        tl.store(direction + vertex, value, mask=used)
        tl.store(seen + node, tl.sum(cover * value, 1), mask=node < num)


@triton.jit(do_not_specialize=["turn"])
def _apply(
    seen,
    coverage,
    right,
    down,
    left,
    up,
    right_weight,
    down_weight,
    pair_weight,
    direction,
    product,  # out
    sums,
    turn,
    limit,
    num,
    NODES: tl.constexpr,
):
    if _going(sums, turn, limit):
        vertex, used, _cover, total, _weight = _gradient(
            seen,
            coverage,
            right,
            down,
            left,
            up,
            right_weight,
            down_weight,
            pair_weight,
            direction,
            direction,
            num,
            NODES,
        )
        tl.store(product + vertex, total, mask=used)
        total *= tl.load(direction + vertex, mask=used, other=0.0)
        tl.atomic_add(sums + 2 * turn + 1, tl.sum(tl.sum(total, 1), 0))


@triton.jit(do_not_specialize=["turn"])
def _step(
    surface,  # in, out
    residual,  # in, out
    scale,
    direction,
    product,
    sums,
    turn,
    limit,
    num,
    NODES: tl.constexpr,
):
    curvature = tl.load(sums + 2 * turn + 1)
    if _going(sums, turn, limit) & (curvature > 0):
        _node, vertex, mine = _vertices(num, NODES)
        step = tl.load(sums + 2 * turn) / curvature
        per = tl.load(scale + vertex, mask=mine, other=0.0)
        mine = mine & (per > 0)
        value = tl.load(surface + vertex, mask=mine, other=0.0)
        value += step * tl.load(direction + vertex, mask=mine, other=0.0)
        tl.store(surface + vertex, value, mask=mine)
        left = tl.load(residual + vertex, mask=mine, other=0.0)
        left -= step * tl.load(product + vertex, mask=mine, other=0.0)
        tl.store(residual + vertex, left, mask=mine)
        energy = tl.where(mine, left * left * per, 0.0)
        tl.atomic_add(sums + 2 * turn + 2, tl.sum(tl.sum(energy, 1), 0))


@triton.jit
def _slice(
    labels,  # (H, W) int32
    fallback,  # (H, W) float32
    vertex_label,  # (V,) int32
    surface,  # (V,) float32
    out,  # (H, W) float32
    height,
    width,
    num,
    columns,
    spacing,
    left,
    top,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mine = (y < height) & (x < width)
    grid_y, grid_x = (y + 0.5 - top) / spacing, (x + 0.5 - left) / spacing
    j, i = grid_y.to(tl.int32), grid_x.to(tl.int32)
    down_part, right_part = grid_y - j, grid_x - i
    label = tl.load(labels + y * width + x, mask=mine, other=-2)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    value = tl.zeros((ROWS, COLUMNS), tl.float32)
    for corner in tl.static_range(4):
        weight = down_part if corner >= 2 else 1.0 - down_part
        weight *= right_part if corner % 2 == 1 else 1.0 - right_part
        node = (j + corner // 2) * columns + i + corner % 2
        for slot in range(ROOM):
            there = slot * num + node
            same = mine & (tl.load(vertex_label + there, mask=mine, other=-1) == label)
            total += tl.where(same, weight, 0.0)
            value += weight * tl.load(surface + there, mask=same, other=0.0)
    value = tl.maximum(value / tl.where(total > 0.01, total, 1.0), 0.0)
    rest = tl.load(fallback + y * width + x, mask=mine & (total <= 0.01), other=0.0)
    tl.store(out + y * width + x, tl.where(total > 0.01, value, rest), mask=mine)


@triton.jit
def _mark(
    labels,  # (H, W) int32
    surface,  # (H, W) float32
    threshold,  # () float32
    flat,  # out: (H, W) uint8
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mine = (y < height) & (x < width)
    at = y * width + x
    label = tl.load(labels + at, mask=mine, other=0)
    value = tl.load(surface + at, mask=mine, other=0.0)
    limit = tl.load(threshold)
    jumps = tl.zeros((ROWS, COLUMNS), tl.int32)
    for side in tl.static_range(4):
        dx = -1 if side == 0 else (1 if side == 1 else 0)
        dy = -1 if side == 2 else (1 if side == 3 else 0)
        has = mine & (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
        there = at + dy * width + dx
        crossed = has & (tl.load(labels + there, mask=has, other=0) != label)
        step = tl.abs(tl.load(surface + there, mask=crossed, other=0.0) - value)
        jumps += (crossed & (step > limit)).to(tl.int32)
    tl.store(flat + at, (jumps == 0).to(tl.uint8), mask=mine)


@triton.jit
def _blend(
    disparity,  # (H, W) float32
    surface,  # (H, W) float32
    confidence,  # (H, W) float32, or one number
    distance,  # (H, W) float32
    strength,  # (R, C) float32
    out,  # (H, W) float32
    height,
    width,
    columns,
    spacing,
    left,
    top,
    near,
    far,
    ONE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mine = (y < height) & (x < width)
    at = y * width + x
    away = tl.load(distance + at, mask=mine, other=0.0)
    close = mine & (away < far)
    grid_y, grid_x = (y + 0.5 - top) / spacing, (x + 0.5 - left) / spacing
    j, i = grid_y.to(tl.int32), grid_x.to(tl.int32)
    fy, fx = grid_y - j, grid_x - i
    corner = strength + j * columns + i
    a = tl.load(corner, mask=close, other=0.0)
    b = tl.load(corner + 1, mask=close, other=0.0)
    c = tl.load(corner + columns, mask=close, other=0.0)
    d = tl.load(corner + columns + 1, mask=close, other=0.0)
    above, below = a + fx * (b - a), c + fx * (d - c)
    t = tl.minimum(tl.maximum((far - away) / (far - near), 0.0), 1.0)
    replaced = t * t * (3.0 - 2.0 * t) * (above + fy * (below - above))
    trust = tl.load(confidence) if ONE else tl.load(confidence + at, mask=mine, other=1.0)
    replaced = 1.0 - (1.0 - tl.where(close, replaced, 0.0)) * trust
    value = tl.load(disparity + at, mask=mine, other=0.0)
    changed = mine & (replaced > 0)
    seen = tl.load(surface + at, mask=changed, other=0.0)
    tl.store(out + at, tl.where(changed, value + replaced * (seen - value), value), mask=mine)
