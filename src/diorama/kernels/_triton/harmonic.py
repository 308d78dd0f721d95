"""Triton twin of `diorama.kernels.harmonic.fill_harmonic`.

The numba kernel lists the hole's pixels; to know how many there are would mean to wait for the
device. Here every level of the multigrid is a whole picture, half as large as the one before, and
programs whose tile holds nothing of the hole return at once, so the bytes moved still follow the
hole. Red-black Gauss-Seidel takes the place of the sweeps in order: red (even x + y) and black
pixels border only on each other, so each colour is one launch. The number of launches is fixed;
once the residual is small enough they find nothing to do.
"""

from functools import cache

import torch
import triton
import triton.language as tl

from diorama.kernels._triton import launching_on

ITERATIONS = 14
"""As many as holes need at a tolerance of 1e-5."""

ROWS, COLUMNS = 16, 64
"""A tile."""

BOTTOM = 64
"""Levels of at most so many rows and columns are all done by one program."""

COARSEST = 4
"""Rows and columns of the last level, which a few sweeps solve."""

HOLD = tl.constexpr(1e-6)
SWEEPS = tl.constexpr(8)


def fill_harmonic(
    values: torch.Tensor,
    known: torch.Tensor,
    hole: torch.Tensor,
    *,
    slopes: torch.Tensor | None = None,
    tolerance: float = 1e-5,
) -> torch.Tensor:
    """See `diorama.kernels.harmonic.fill_harmonic`."""
    height, width, channels = values.shape
    device = values.device
    sizes = _levels(height, width)
    table, total = _table(height, width, device)
    first_bottom = next(i for i, (h, w) in enumerate(sizes) if i and max(h, w) <= BOTTOM)
    starts = [0]
    for h, w in sizes:
        starts.append(starts[-1] + h * w)
    values, known, hole = values.contiguous(), known.contiguous(), hole.contiguous()
    slopes = None if slopes is None else slopes.contiguous()
    filled = torch.empty_like(values)

    def grid(level: int) -> tuple[int, int]:
        h, w = sizes[level]
        return triton.cdiv(w, COLUMNS), triton.cdiv(h, ROWS)

    with launching_on(values):
        fixed, right, down, inverse = (torch.zeros(total, device=device) for _ in range(4))
        tiles = [x * y for x, y in map(grid, range(first_bottom))]
        active = torch.zeros(sum(tiles), dtype=torch.int8, device=device)
        flags = [active[sum(tiles[:i]) :] for i in range(first_bottom)]
        pull = torch.zeros((channels, height, width), device=device)
        block = (ROWS, COLUMNS)
        _link[grid(0)](
            values,
            known,
            hole,
            values if slopes is None else slopes,
            fixed,
            right,
            down,
            pull,
            height,
            width,
            channels,
            slopes is not None,
            *block,
        )
        for level, (h, w) in enumerate(sizes):
            here = starts[level]
            args = (fixed[here:], right[here:], down[here:])
            if level + 1 < len(sizes):
                there = starts[level + 1]
                coarse = (fixed[there:], right[there:], down[there:])
                _coarsen[grid(level + 1)](*args, *coarse, h, w, *sizes[level + 1], *block)
            flag = flags[level] if level < first_bottom else active
            _invert[grid(level)](*args, inverse[here:], flag, h, w, level < first_bottom, *block)
        rim = fixed[: height * width].sum()
        for channel in range(channels):
            # Counted from the mean of the rim, what float32 must resolve is small.
            base = _rim_sum(values[..., channel], known, hole) / rim.clamp(min=1)
            solution = torch.zeros((height, width), device=device)
            residual, x = torch.zeros(total, device=device), torch.zeros(total, device=device)
            directions = [torch.zeros(height * width, device=device) for _ in range(2)]
            product = torch.zeros(height * width, device=device)
            # Of every iteration: r.z, p.Ap, and r.r before it.
            sums = torch.zeros((ITERATIONS + 1, 3), device=device)
            level0 = (right, down, inverse)
            _begin[grid(0)](
                pull[channel],
                fixed,
                inverse,
                base,
                rim,
                residual,
                sums,
                flags[0],
                height,
                width,
                *block,
            )
            for turn in range(ITERATIONS):
                state = (sums, turn, tolerance * tolerance)
                for level in range(first_bottom):
                    here, there = starts[level], starts[level + 1]
                    links = (right[here:], down[here:], inverse[here:])
                    h, w = sizes[level]
                    _smooth_down[grid(level)](
                        *links, residual[here:], x[here:], *state, flags[level], h, w, *block
                    )
                    _restrict[grid(level + 1)](
                        *links[:2],
                        x[here:],
                        residual[there:],
                        *state,
                        h,
                        w,
                        *sizes[level + 1],
                        *block,
                    )
                _bottom[(1,)](*level0, residual, x, table, *state, first_bottom, len(sizes), BOTTOM)
                for level in reversed(range(first_bottom)):
                    here, there = starts[level], starts[level + 1]
                    links = (right[here:], down[here:], inverse[here:])
                    h, w = sizes[level]
                    finest = level == 0
                    args = (*links, residual[here:], x[here:])
                    last = (*state, flags[level], h, w, sizes[level + 1][1])
                    _black_up[grid(level)](*args, x[there:], *last, *block)
                    _red_up[grid(level)](*args, *last, finest, *block)
                old, new = directions[turn % 2], directions[1 - turn % 2]
                _advance[grid(0)](
                    *level0, x, old, new, product, *state, flags[0], height, width, *block
                )
                _step[grid(0)](
                    new, product, solution, residual, *state, flags[0], height, width, *block
                )
            _finish[grid(0)](
                values, hole, solution, base, filled, channel, channels, height, width, *block
            )
    return filled


def _rim_sum(values: torch.Tensor, known: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """The sum of known values over the links between them and the hole."""
    links = torch.zeros(hole.shape, dtype=torch.float32, device=hole.device)
    links[1:] += hole[:-1]
    links[:-1] += hole[1:]
    links[:, 1:] += hole[:, :-1]
    links[:, :-1] += hole[:, 1:]
    return torch.where(known, values * links, 0.0).sum()


def _levels(height: int, width: int) -> list[tuple[int, int]]:
    sizes = [(height, width)]
    while len(sizes) == 1 or max(sizes[-1]) > COARSEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


@cache
def _table(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, int]:
    """Start, height and width of every level (levels, 3) int32, and the size of all together."""
    rows, start = [], 0
    for h, w in _levels(height, width):
        rows.append((start, h, w))
        start += h * w
    return torch.tensor(rows, dtype=torch.int32, device=device), start


@triton.jit
def _place(ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return y, x


@triton.jit
def _tile():
    return tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def _going(sums, turn, limit):
    """Whether the residual is not small enough yet."""
    return tl.load(sums + 3 * turn + 2) > tl.load(sums + 2) * limit


@triton.jit
def _total(values):
    return tl.sum(tl.sum(values, 1), 0)


@triton.jit
def _around(right, down, v, y, x, height, width, mask):
    """Sum over four neighbours of weight times v."""
    at = y * width + x
    has = mask & (x > 0)
    total = tl.load(right + at - 1, mask=has, other=0.0) * tl.load(v + at - 1, mask=has, other=0.0)
    has = mask & (x + 1 < width)
    total += tl.load(right + at, mask=has, other=0.0) * tl.load(v + at + 1, mask=has, other=0.0)
    has = mask & (y > 0)
    above = tl.load(v + at - width, mask=has, other=0.0)
    total += tl.load(down + at - width, mask=has, other=0.0) * above
    has = mask & (y + 1 < height)
    total += tl.load(down + at, mask=has, other=0.0) * tl.load(v + at + width, mask=has, other=0.0)
    return total


@triton.jit
def _product(a, b, at, has):
    return tl.load(a + at, mask=has, other=0.0) * tl.load(b + at, mask=has, other=0.0)


@triton.jit
def _link(
    values,  # (H, W, C) float32
    known,  # (H, W) bool
    hole,  # (H, W) bool
    slopes,  # (H, W, 2) float32
    fixed,  # out: (H, W) float32: known neighbours of a hole pixel
    right,  # out: (H, W) float32: 1 where a hole pixel's right neighbour is in the hole too
    down,  # out: (H, W) float32
    pull,  # out: (C, H, W) float32: known values and slopes that pull on a hole pixel
    height,
    width,
    CHANNELS: tl.constexpr,
    SLOPES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y, x = _place(ROWS, COLUMNS)
    mine = (y < height) & (x < width)
    at = y * width + x
    mine = mine & (tl.load(hole + at, mask=mine, other=0) != 0)
    if tl.max(tl.max(mine.to(tl.int32), 1), 0) > 0:
        number = tl.zeros((ROWS, COLUMNS), tl.float32)
        slope = tl.zeros((ROWS, COLUMNS), tl.float32)
        for side in tl.static_range(4):
            dx = -1 if side == 0 else (1 if side == 1 else 0)
            dy = -1 if side == 2 else (1 if side == 3 else 0)
            there = at + dy * width + dx
            has = mine & (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
            beside = tl.load(known + there, mask=has, other=0) != 0
            linked = tl.load(hole + there, mask=has, other=0) != 0
            number += beside.to(tl.float32)
            if side == 1:
                tl.store(right + at, linked.to(tl.float32), mask=mine)
            if side == 3:
                tl.store(down + at, linked.to(tl.float32), mask=mine)
            if SLOPES:
                along = tl.load(slopes + 2 * at + side // 2, mask=mine, other=0.0)
                slope -= tl.where(beside | linked, (dx + dy) * along, 0.0)
        tl.store(fixed + at, number, mask=mine)
        for channel in tl.static_range(CHANNELS):
            total = slope
            for side in tl.static_range(4):
                dx = -1 if side == 0 else (1 if side == 1 else 0)
                dy = -1 if side == 2 else (1 if side == 3 else 0)
                there = at + dy * width + dx
                has = mine & (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
                has = has & (tl.load(known + there, mask=has, other=0) != 0)
                total += tl.load(values + there * CHANNELS + channel, mask=has, other=0.0)
            tl.store(pull + channel * height * width + at, total, mask=mine)


@triton.jit
def _coarsen(
    fixed,
    right,
    down,
    coarse_fixed,  # out
    coarse_right,  # out
    coarse_down,  # out
    height,
    width,
    coarse_height,
    coarse_width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y, x = _place(ROWS, COLUMNS)
    mine = (y < coarse_height) & (x < coarse_width)
    at = 2 * y * width + 2 * x
    has_right = mine & (2 * x + 1 < width)
    has_below = mine & (2 * y + 1 < height)
    has_both = has_right & has_below
    total = tl.load(fixed + at, mask=mine, other=0.0)
    total += tl.load(fixed + at + 1, mask=has_right, other=0.0)
    total += tl.load(fixed + at + width, mask=has_below, other=0.0)
    total += tl.load(fixed + at + width + 1, mask=has_both, other=0.0)
    across = tl.load(right + at + 1, mask=has_right, other=0.0)
    across += tl.load(right + at + width + 1, mask=has_both, other=0.0)
    along = tl.load(down + at + width, mask=has_below, other=0.0)
    along += tl.load(down + at + width + 1, mask=has_both, other=0.0)
    to = y * coarse_width + x
    tl.store(coarse_fixed + to, total, mask=mine)
    # Piecewise constant interpolation makes the coarse level twice too stiff in 2D.
    tl.store(coarse_right + to, across * 0.5, mask=mine)
    tl.store(coarse_down + to, along * 0.5, mask=mine)


@triton.jit
def _invert(
    fixed,
    right,
    down,
    inverse,  # out: 1 / diagonal; 0 where there is nothing to solve
    active,  # out: (tiles,) int8
    height,
    width,
    FLAG: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y, x = _place(ROWS, COLUMNS)
    mine = (y < height) & (x < width)
    at = y * width + x
    diagonal = tl.load(fixed + at, mask=mine, other=0.0)
    diagonal += tl.load(right + at, mask=mine, other=0.0) + tl.load(down + at, mask=mine, other=0.0)
    diagonal += tl.load(right + at - 1, mask=mine & (x > 0), other=0.0)
    diagonal += tl.load(down + at - width, mask=mine & (y > 0), other=0.0)
    linked = diagonal > 0
    value = tl.where(linked, 1.0 / (tl.where(linked, diagonal, 1.0) + HOLD), 0.0)
    tl.store(inverse + at, value, mask=mine)
    if FLAG:
        tl.store(active + _tile(), tl.max(tl.max(linked.to(tl.int8), 1), 0))


@triton.jit
def _begin(
    pull,
    fixed,
    inverse,
    base,  # () float32: what the solution is counted from
    rim,  # () float32: links to what is known; without any, nothing is solved
    residual,  # out
    sums,  # in, out
    active,
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if tl.load(active + _tile()) != 0:
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        at = y * width + x
        value = tl.load(pull + at, mask=mine, other=0.0)
        value -= tl.load(fixed + at, mask=mine, other=0.0) * tl.load(base)
        value = tl.where(tl.load(inverse + at, mask=mine, other=0.0) > 0, value, 0.0)
        value = tl.where(tl.load(rim) > 0, value, 0.0)
        tl.store(residual + at, value, mask=mine)
        tl.atomic_add(sums + 2, _total(value * value))


@triton.jit
def _down_sweep(right, down, inverse, b, out, y, x, height, width, mine):
    """Red, then black, from zero: black reads its red neighbours' b / diagonal."""
    at = y * width + x
    black = mine & ((y + x) % 2 != 0)
    own = tl.load(inverse + at, mask=mine, other=0.0)
    value = tl.load(b + at, mask=mine, other=0.0)
    has = black & (x > 0)
    value += tl.load(right + at - 1, mask=has, other=0.0) * _product(inverse, b, at - 1, has)
    has = black & (x + 1 < width)
    value += tl.load(right + at, mask=has, other=0.0) * _product(inverse, b, at + 1, has)
    has = black & (y > 0)
    value += tl.load(down + at - width, mask=has, other=0.0) * _product(inverse, b, at - width, has)
    has = black & (y + 1 < height)
    value += tl.load(down + at, mask=has, other=0.0) * _product(inverse, b, at + width, has)
    tl.store(out + at, value * own, mask=mine)


@triton.jit
def _red_residual(right, down, v, y, x, height, width, mask):
    """What `_down_sweep` leaves at red pixels: nothing is left at black ones."""
    red = mask & (y < height) & (x < width) & ((y + x) % 2 == 0)
    return _around(right, down, v, y, x, height, width, red)


@triton.jit
def _restrict_to(right, down, v, coarse_b, y, x, height, width, coarse_width, mine):
    total = _red_residual(right, down, v, 2 * y, 2 * x, height, width, mine)
    total += _red_residual(right, down, v, 2 * y + 1, 2 * x + 1, height, width, mine)
    tl.store(coarse_b + y * coarse_width + x, total, mask=mine)


@triton.jit
def _sweep(right, down, inverse, b, v, y, x, height, width, mask):
    """One colour: mask says which."""
    at = y * width + x
    value = tl.load(b + at, mask=mask, other=0.0)
    value += _around(right, down, v, y, x, height, width, mask)
    value *= tl.load(inverse + at, mask=mask, other=0.0)
    tl.store(v + at, value, mask=mask)


@triton.jit
def _corrected_sweep(right, down, inverse, b, v, coarse, y, x, height, width, coarse_width, mask):
    """Black pixels, from red neighbours to which the coarse level's correction is added."""
    at = y * width + x
    row, up, low = (y // 2) * coarse_width, ((y - 1) // 2) * coarse_width, 0
    low = ((y + 1) // 2) * coarse_width
    value = tl.load(b + at, mask=mask, other=0.0)
    value += _around(right, down, v, y, x, height, width, mask)
    has = mask & (x > 0)
    corrected = tl.load(coarse + row + (x - 1) // 2, mask=has, other=0.0)
    value += tl.load(right + at - 1, mask=has, other=0.0) * corrected
    has = mask & (x + 1 < width)
    corrected = tl.load(coarse + row + (x + 1) // 2, mask=has, other=0.0)
    value += tl.load(right + at, mask=has, other=0.0) * corrected
    has = mask & (y > 0)
    corrected = tl.load(coarse + up + x // 2, mask=has, other=0.0)
    value += tl.load(down + at - width, mask=has, other=0.0) * corrected
    has = mask & (y + 1 < height)
    corrected = tl.load(coarse + low + x // 2, mask=has, other=0.0)
    value += tl.load(down + at, mask=has, other=0.0) * corrected
    value *= tl.load(inverse + at, mask=mask, other=0.0)
    tl.store(v + at, value, mask=mask)


@triton.jit(do_not_specialize=["turn"])
def _smooth_down(
    right,
    down,
    inverse,
    b,
    v,  # out
    sums,
    turn,
    limit,
    active,
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if _going(sums, turn, limit) & (tl.load(active + _tile()) != 0):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        _down_sweep(right, down, inverse, b, v, y, x, height, width, mine)


@triton.jit(do_not_specialize=["turn"])
def _restrict(
    right,
    down,
    v,
    coarse_b,  # out
    sums,
    turn,
    limit,
    height,
    width,
    coarse_height,
    coarse_width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if _going(sums, turn, limit):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < coarse_height) & (x < coarse_width)
        _restrict_to(right, down, v, coarse_b, y, x, height, width, coarse_width, mine)


@triton.jit(do_not_specialize=["turn", "first", "levels"])
def _bottom(
    right,
    down,
    inverse,
    b,  # in, out: every level's
    v,  # out: every level's
    table,  # (levels, 3) int32: start, height, width
    sums,
    turn,
    limit,
    first,
    levels,
    SIDE: tl.constexpr,
):
    """The rest of the V-cycle, by one program whose threads wait for each other."""
    if _going(sums, turn, limit):
        y, x = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
        for level in range(first, levels):
            s = tl.load(table + 3 * level)
            h, w = tl.load(table + 3 * level + 1), tl.load(table + 3 * level + 2)
            mine = (y < h) & (x < w)
            _down_sweep(right + s, down + s, inverse + s, b + s, v + s, y, x, h, w, mine)
            tl.debug_barrier()
            if level + 1 < levels:
                t = tl.load(table + 3 * level + 3)
                ch, cw = tl.load(table + 3 * level + 4), tl.load(table + 3 * level + 5)
                mine = (y < ch) & (x < cw)
                _restrict_to(right + s, down + s, v + s, b + t, y, x, h, w, cw, mine)
                tl.debug_barrier()
        # Red, black, red, ..., red: the same forwards and backwards, as a preconditioner must be.
        s = tl.load(table + 3 * levels - 3)
        h, w = tl.load(table + 3 * levels - 2), tl.load(table + 3 * levels - 1)
        red = (y < h) & (x < w) & ((y + x) % 2 == 0)
        black = (y < h) & (x < w) & ((y + x) % 2 != 0)
        for _ in range(SWEEPS):
            _sweep(right + s, down + s, inverse + s, b + s, v + s, y, x, h, w, red)
            tl.debug_barrier()
            _sweep(right + s, down + s, inverse + s, b + s, v + s, y, x, h, w, black)
            tl.debug_barrier()
        _sweep(right + s, down + s, inverse + s, b + s, v + s, y, x, h, w, red)
        tl.debug_barrier()
        for up in range(first + 1, levels):
            level = levels - 1 + first - up
            s = tl.load(table + 3 * level)
            h, w = tl.load(table + 3 * level + 1), tl.load(table + 3 * level + 2)
            t, cw = tl.load(table + 3 * level + 3), tl.load(table + 3 * level + 5)
            red = (y < h) & (x < w) & ((y + x) % 2 == 0)
            black = (y < h) & (x < w) & ((y + x) % 2 != 0)
            _corrected_sweep(
                right + s, down + s, inverse + s, b + s, v + s, v + t, y, x, h, w, cw, black
            )
            tl.debug_barrier()
            _sweep(right + s, down + s, inverse + s, b + s, v + s, y, x, h, w, red)
            tl.debug_barrier()


@triton.jit(do_not_specialize=["turn"])
def _black_up(
    right,
    down,
    inverse,
    b,
    v,  # in, out
    coarse,
    sums,
    turn,
    limit,
    active,
    height,
    width,
    coarse_width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if _going(sums, turn, limit) & (tl.load(active + _tile()) != 0):
        y, x = _place(ROWS, COLUMNS)
        black = (y < height) & (x < width) & ((y + x) % 2 != 0)
        _corrected_sweep(
            right, down, inverse, b, v, coarse, y, x, height, width, coarse_width, black
        )


@triton.jit(do_not_specialize=["turn"])
def _red_up(
    right,
    down,
    inverse,
    b,
    v,  # in, out
    sums,  # in, out
    turn,
    limit,
    active,
    height,
    width,
    coarse_width,
    FINEST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if _going(sums, turn, limit) & (tl.load(active + _tile()) != 0):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        red = mine & ((y + x) % 2 == 0)
        at = y * width + x
        value = tl.load(b + at, mask=mine, other=0.0)
        found = value + _around(right, down, v, y, x, height, width, red)
        found *= tl.load(inverse + at, mask=red, other=0.0)
        tl.store(v + at, found, mask=red)
        if FINEST:
            found = tl.where(red, found, tl.load(v + at, mask=mine & (red == 0), other=0.0))
            tl.atomic_add(sums + 3 * turn, _total(value * found))


@triton.jit(do_not_specialize=["turn"])
def _advance(
    right,
    down,
    inverse,
    z,
    old,
    new,  # out: z + beta old
    product,  # out: A new
    sums,  # in, out
    turn,
    limit,
    active,
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if _going(sums, turn, limit) & (tl.load(active + _tile()) != 0):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        at = y * width + x
        before = tl.load(sums + 3 * tl.maximum(turn - 1, 0))
        beta = tl.where(turn > 0, tl.load(sums + 3 * turn) / tl.where(before != 0, before, 1.0), 0)
        own = tl.load(z + at, mask=mine, other=0.0)
        own += beta * tl.load(old + at, mask=mine, other=0.0)
        others = _around(right, down, z, y, x, height, width, mine)
        others += beta * _around(right, down, old, y, x, height, width, mine)
        per = tl.load(inverse + at, mask=mine, other=0.0)
        value = tl.where(per > 0, own / tl.where(per > 0, per, 1.0) - others, 0.0)
        tl.store(new + at, own, mask=mine)
        tl.store(product + at, value, mask=mine)
        tl.atomic_add(sums + 3 * turn + 1, _total(own * value))


@triton.jit(do_not_specialize=["turn"])
def _step(
    direction,
    product,
    solution,  # in, out
    residual,  # in, out
    sums,  # in, out
    turn,
    limit,
    active,
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    if _going(sums, turn, limit) & (tl.load(active + _tile()) != 0):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        at = y * width + x
        curvature = tl.load(sums + 3 * turn + 1)
        rho = tl.load(sums + 3 * turn)
        step = tl.where(curvature > 0, rho / tl.where(curvature > 0, curvature, 1.0), 0.0)
        value = tl.load(solution + at, mask=mine, other=0.0)
        value += step * tl.load(direction + at, mask=mine, other=0.0)
        tl.store(solution + at, value, mask=mine)
        left = tl.load(residual + at, mask=mine, other=0.0)
        left -= step * tl.load(product + at, mask=mine, other=0.0)
        tl.store(residual + at, left, mask=mine)
        tl.atomic_add(sums + 3 * turn + 5, _total(left * left))


@triton.jit
def _finish(
    values,
    hole,
    solution,
    base,
    filled,  # out
    channel,
    channels,
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y, x = _place(ROWS, COLUMNS)
    mine = (y < height) & (x < width)
    at = y * width + x
    own = tl.load(values + at * channels + channel, mask=mine, other=0.0)
    inside = mine & (tl.load(hole + at, mask=mine, other=0) != 0)
    found = tl.load(base) + tl.load(solution + at, mask=inside, other=0.0)
    tl.store(filled + at * channels + channel, tl.where(inside, found, own), mask=mine)
