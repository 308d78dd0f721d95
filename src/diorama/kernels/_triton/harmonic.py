"""Triton twin of `diorama.kernels.harmonic.fill_harmonic`.

The numba kernel lists the hole's pixels; to know how many there are would mean to wait for the
device. Here every level of the multigrid is a whole picture, half as large as the one before, and
programs whose tile holds nothing of the hole return at once, so the bytes moved still follow the
hole. Red-black Gauss-Seidel takes the place of the sweeps in order: red (even x + y) and black
pixels border only on each other, so each colour is one launch; on the way down both are the launch
that restricts what they leave. The number of launches is fixed, and the same for one picture as for
several; once a picture's residual is small enough they find nothing to do there.
"""

import torch
import triton
import triton.language as tl

from diorama.kernels._triton import launching_on

ITERATIONS = 7
"""They leave an error below 1e-4 of the values' range in a ring 40 px wide and 2,100 px around."""

ROWS, COLUMNS = 8, 32
"""A tile."""

BOTTOM = 64
"""Levels of at most so many rows and columns are all done by one program, a power of 2."""

COARSEST = 4
"""Rows and columns of the last level, which a few sweeps solve."""

SUMS = tl.constexpr(3 * ITERATIONS + 3)
HOLD = tl.constexpr(1e-6)
SWEEPS = tl.constexpr(4)


def fill_harmonic(
    values: torch.Tensor,
    known: torch.Tensor,
    hole: torch.Tensor,
    *,
    slopes: torch.Tensor | None = None,
    tolerance: float = 3e-5,
) -> torch.Tensor:
    """See `diorama.kernels.harmonic.fill_harmonic`."""
    num, height, width, channels = values.shape
    device = values.device
    sizes = _levels(height, width)
    bottom = next(i for i, (h, w) in enumerate(sizes) if i and max(h, w) <= BOTTOM)
    values, known, hole = values.contiguous(), known.contiguous(), hole.contiguous()
    filled = torch.empty_like(values)
    solves = num * channels
    block = (ROWS, COLUMNS)

    def grid(level: int, deep: int = solves) -> tuple[int, int, int]:
        h, w = sizes[level]
        return triton.cdiv(w, COLUMNS), triton.cdiv(h, ROWS), deep

    # What the bottom's program works on is one array: level after level.
    ends = [0]
    for h, w in sizes[bottom:]:
        ends.append(ends[-1] + h * w)

    def pyramid(deep: int) -> list[torch.Tensor]:
        """Of every level but the finest; nothing is read before it is written."""
        areas = [h * w for h, w in sizes[1:bottom]] + [ends[-1]]
        return [torch.empty((deep, area), device=device) for area in areas]

    with launching_on(values):
        picture = (solves, height * width)
        code = torch.empty((num, height * width), dtype=torch.uint8, device=device)
        # Of the finest level its code tells all of these.
        fixed, right, down, inverse = ([code, *pyramid(num)] for _ in range(4))
        residual, v, solution, old, new, product = (
            torch.empty(picture, device=device) for _ in range(6)
        )
        b, v = [residual, *pyramid(solves)], [v, *pyramid(solves)]
        tiles = [grid(level)[0] * grid(level)[1] for level in range(bottom)]
        active = [torch.empty((num, n), dtype=torch.int8, device=device) for n in tiles]
        # Of the rim: known values and their number. Of every iteration: r.z, p.Ap, r.r before it.
        rim = torch.zeros((solves, 2), device=device)
        sums = torch.zeros((solves, ITERATIONS + 1, 3), device=device)
        _link[grid(0, num)](
            values,
            known,
            hole,
            values if slopes is None else slopes.contiguous(),
            code,
            residual,
            active[0],
            rim,
            height,
            width,
            channels,
            slopes is not None,
            *block,
        )
        _begin[grid(0)](code, rim, residual, sums, active[0], height, width, channels, *block)
        for level in range(bottom):
            to = level + 1
            _coarsen[grid(to, num)](
                fixed[level],
                right[level],
                down[level],
                fixed[to],
                right[to],
                down[to],
                inverse[to],
                active[to] if to < bottom else active[0],
                *sizes[level],
                *sizes[to],
                fixed[to].stride(0),
                to < bottom,
                level == 0,
                *block,
            )
        geometry = (fixed[bottom], right[bottom], down[bottom], inverse[bottom])
        last = (*sizes[bottom], ends[-1], len(sizes) - bottom)
        _coarsen_bottom[(num,)](*geometry, *last, BOTTOM // 2)
        for turn in range(ITERATIONS):
            state = (sums, turn, tolerance * tolerance)
            # These two need many registers: more warps leave fewer pixels to each thread.
            for level in range(bottom):
                to = level + 1
                _restrict[grid(to)](
                    right[level],
                    down[level],
                    inverse[level],
                    b[level],
                    b[to],
                    inverse[to],
                    *state,
                    *sizes[level],
                    *sizes[to],
                    b[to].stride(0),
                    channels,
                    level == 0,
                    *block,
                    num_warps=8,
                )
            _bottom[(solves,)](
                *geometry[1:],
                b[bottom],
                v[bottom],
                *state,
                *last,
                channels,
                BOTTOM // 2,
                num_warps=16,
            )
            for level in reversed(range(bottom)):
                args = (right[level], down[level], inverse[level], b[level], v[level])
                rest = (*state, active[level], *sizes[level])
                coarse = (sizes[level + 1][1], v[level + 1].stride(0))
                _black_up[grid(level)](
                    *args, v[level + 1], *rest, *coarse, channels, level == 0, *block
                )
                _red_up[grid(level)](*args, *rest, channels, level == 0, *block)
            rest = (*state, active[0], height, width, channels)
            _advance[grid(0)](code, v[0], old, new, product, *rest, *block)
            _step[grid(0)](new, product, solution, residual, *rest, *block)
            old, new = new, old
        _finish[grid(0)](values, hole, solution, rim, sums, filled, height, width, channels, *block)
    return filled


def _levels(height: int, width: int) -> list[tuple[int, int]]:
    sizes = [(height, width)]
    while len(sizes) == 1 or max(sizes[-1]) > COARSEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


@triton.jit
def _place(ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return y, x


@triton.jit
def _tile(picture):
    tiles = tl.num_programs(0) * tl.num_programs(1)
    return picture * tiles + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def _going(sums, turn, limit):
    """Whether the residual is not small enough yet."""
    return tl.load(sums + 3 * turn + 2) > tl.load(sums + 2) * limit


@triton.jit
def _total(values):
    return tl.sum(tl.sum(values, 1), 0)


@triton.jit
def _weight(right, down, y, x, height, width, mask, SIDE: tl.constexpr, FINEST: tl.constexpr):
    """Of the link to the left, right, upper or lower neighbour; 0 where there is none."""
    at = y * width + x
    if FINEST:
        return ((tl.load(right + at, mask=mask, other=0) >> SIDE) & 1).to(tl.float32)
    elif SIDE == 0:
        return tl.load(right + at - 1, mask=mask & (x > 0), other=0.0)
    elif SIDE == 1:
        return tl.load(right + at, mask=mask, other=0.0)
    elif SIDE == 2:
        return tl.load(down + at - width, mask=mask & (y > 0), other=0.0)
    else:
        return tl.load(down + at, mask=mask, other=0.0)


@triton.jit
def _per_diagonal(inverse, at, mask, FINEST: tl.constexpr):
    """1 / diagonal; 0 where there is nothing to solve."""
    if FINEST:
        code = tl.load(inverse + at, mask=mask, other=0)
        links = (code & 1) + ((code >> 1) & 1) + ((code >> 2) & 1) + ((code >> 3) & 1)
        return _inverted((links + (code >> 4)).to(tl.float32))
    else:
        return tl.load(inverse + at, mask=mask, other=0.0)


@triton.jit
def _around(right, down, v, y, x, height, width, mask, FINEST: tl.constexpr):
    """Sum over four neighbours of weight times v."""
    at = y * width + x
    total = tl.zeros(at.shape, tl.float32)
    for side in tl.static_range(4):
        dx = -1 if side == 0 else (1 if side == 1 else 0)
        dy = -1 if side == 2 else (1 if side == 3 else 0)
        weight = _weight(right, down, y, x, height, width, mask, side, FINEST)
        total += weight * tl.load(v + at + dy * width + dx, mask=weight > 0, other=0.0)
    return total


@triton.jit
def _relaxed(right, down, inverse, b, y, x, height, width, mask, FINEST: tl.constexpr):
    """A black pixel after both sweeps from zero; its red neighbours are b / diagonal."""
    at = y * width + x
    value = tl.load(b + at, mask=mask, other=0.0)
    for side in tl.static_range(4):
        dx = -1 if side == 0 else (1 if side == 1 else 0)
        dy = -1 if side == 2 else (1 if side == 3 else 0)
        weight = _weight(right, down, y, x, height, width, mask, side, FINEST)
        there = at + dy * width + dx
        red = tl.load(b + there, mask=weight > 0, other=0.0)
        value += weight * red * _per_diagonal(inverse, there, weight > 0, FINEST)
    return value * _per_diagonal(inverse, at, mask, FINEST)


@triton.jit
def _restricted(right, down, inverse, b, y, x, height, width, mask, FINEST: tl.constexpr):
    """What the two sweeps leave in the 2x2 pixels at (y, x): nothing at the black ones."""
    total = tl.zeros((y + x).shape, tl.float32)
    for lower in range(2):
        # The upper left one is red, and so is the lower right one.
        v, u = y + lower, x + lower
        red = mask & (v < height) & (u < width)
        for side in tl.static_range(4):
            dx = -1 if side == 0 else (1 if side == 1 else 0)
            dy = -1 if side == 2 else (1 if side == 3 else 0)
            weight = _weight(right, down, v, u, height, width, red, side, FINEST)
            linked = weight > 0
            total += weight * _relaxed(
                right, down, inverse, b, v + dy, u + dx, height, width, linked, FINEST
            )
    return total


@triton.jit
def _sweep(right, down, inverse, b, v, y, x, height, width, mask):
    """One colour: mask says which."""
    at = y * width + x
    per = tl.load(inverse + at, mask=mask, other=0.0)
    value = tl.load(b + at, mask=per > 0, other=0.0)
    value += _around(right, down, v, y, x, height, width, per > 0, False)
    tl.store(v + at, value * per, mask=mask)


@triton.jit
def _corrected_sweep(
    right,
    down,
    inverse,
    b,
    v,
    coarse,
    y,
    x,
    height,
    width,
    coarse_width,
    mask,
    FINEST: tl.constexpr,
):
    """Black pixels, from red ones as the sweep down left them, corrected by the coarse level."""
    at = y * width + x
    per = _per_diagonal(inverse, at, mask, FINEST)
    value = tl.load(b + at, mask=per > 0, other=0.0)
    for side in tl.static_range(4):
        dx = -1 if side == 0 else (1 if side == 1 else 0)
        dy = -1 if side == 2 else (1 if side == 3 else 0)
        weight = _weight(right, down, y, x, height, width, per > 0, side, FINEST)
        linked = weight > 0
        there = at + dy * width + dx
        red = tl.load(b + there, mask=linked, other=0.0)
        red *= _per_diagonal(inverse, there, linked, FINEST)
        parent = ((y + dy) // 2) * coarse_width + (x + dx) // 2
        value += weight * (red + tl.load(coarse + parent, mask=linked, other=0.0))
    tl.store(v + at, value * per, mask=mask)


@triton.jit
def _inverted(diagonal):
    """1 / diagonal; 0 where there is nothing to solve."""
    return tl.where(diagonal > 0, 1.0 / (tl.where(diagonal > 0, diagonal, 1.0) + HOLD), 0.0)


@triton.jit
def _link(
    values,  # (L, H, W, C) float32
    known,  # (L, H, W) bool
    hole,  # (L, H, W) bool
    slopes,  # (L, H, W, 2) float32
    code,  # out: (L, H, W) uint8: a bit for each neighbour in the hole, 16 times the known ones
    pull,  # out: (L * C, H, W) float32: known values and slopes that pull on a hole pixel
    active,  # out: (L, tiles) int8
    rim,  # in, out: (L * C, 2) float32: sum of the known values that pull, and their number
    height,
    width,
    CHANNELS: tl.constexpr,
    SLOPES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    picture = tl.program_id(2)
    first = picture * height * width
    y, x = _place(ROWS, COLUMNS)
    mine = (y < height) & (x < width)
    within = mine
    at = first + y * width + x
    mine = mine & (tl.load(hole + at, mask=mine, other=0) != 0)
    any_mine = tl.max(tl.max(mine.to(tl.int32), 1), 0)
    tl.store(active + _tile(picture), any_mine.to(tl.int8))
    number = tl.zeros((ROWS, COLUMNS), tl.int32)
    links = tl.zeros((ROWS, COLUMNS), tl.int32)
    if any_mine > 0:
        slope = tl.zeros((ROWS, COLUMNS), tl.float32)
        for side in tl.static_range(4):
            dx = -1 if side == 0 else (1 if side == 1 else 0)
            dy = -1 if side == 2 else (1 if side == 3 else 0)
            there = at + dy * width + dx
            has = mine & (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
            beside = tl.load(known + there, mask=has, other=0) != 0
            linked = tl.load(hole + there, mask=has, other=0) != 0
            number += beside.to(tl.int32)
            links += linked.to(tl.int32) << side
            if SLOPES:
                along = tl.load(slopes + 2 * at + side // 2, mask=mine, other=0.0)
                slope -= tl.where(beside | linked, (dx + dy) * along, 0.0)
        for channel in tl.static_range(CHANNELS):
            total = tl.zeros((ROWS, COLUMNS), tl.float32)
            for side in tl.static_range(4):
                dx = -1 if side == 0 else (1 if side == 1 else 0)
                dy = -1 if side == 2 else (1 if side == 3 else 0)
                there = at + dy * width + dx
                has = mine & (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
                has = has & (tl.load(known + there, mask=has, other=0) != 0)
                total += tl.load(values + there * CHANNELS + channel, mask=has, other=0.0)
            solve = picture * CHANNELS + channel
            tl.atomic_add(rim + 2 * solve, _total(total))
            tl.atomic_add(rim + 2 * solve + 1, _total(number.to(tl.float32)))
            tl.store(pull + solve * height * width + y * width + x, total + slope, mask=within)
    tl.store(code + at, (links + 16 * number).to(tl.uint8), mask=within)


@triton.jit
def _base(rim):
    """The mean of the rim. Counted from it, what float32 must resolve is small."""
    return tl.load(rim) / tl.maximum(tl.load(rim + 1), 1.0)


@triton.jit
def _begin(
    code,
    rim,
    residual,  # in: pull; out
    sums,  # in, out
    active,
    height,
    width,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    solve = tl.program_id(2)
    picture = solve // CHANNELS
    if tl.load(active + _tile(picture)) != 0:
        rim += 2 * solve
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        at = y * width + x
        linked = tl.load(code + picture * height * width + at, mask=mine, other=0)
        at += solve * height * width
        value = tl.load(residual + at, mask=mine, other=0.0)
        value -= (linked >> 4).to(tl.float32) * _base(rim)
        value = tl.where(linked > 0, value, 0.0)
        # Where nothing at all is known there is nothing to solve for.
        value = tl.where(tl.load(rim + 1) > 0, value, 0.0)
        tl.store(residual + at, value, mask=mine)
        tl.atomic_add(sums + SUMS * solve + 2, _total(value * value))


@triton.jit
def _coarsened(
    fixed,
    right,
    down,
    coarse_fixed,  # out
    coarse_right,  # out
    coarse_down,  # out
    coarse_inverse,  # out
    y,
    x,
    height,
    width,
    coarse_width,
    mine,
    FINEST: tl.constexpr,
):
    total = tl.zeros((y + x).shape, tl.float32)
    across, along = total, total
    left, up = total, total
    for corner in tl.static_range(4):
        v, u = 2 * y + corner // 2, 2 * x + corner % 2
        has = mine & (v < height) & (u < width)
        if FINEST:
            total += (tl.load(fixed + v * width + u, mask=has, other=0) >> 4).to(tl.float32)
        else:
            total += tl.load(fixed + v * width + u, mask=has, other=0.0)
        if corner % 2 == 0:
            left += _weight(right, down, v, u, height, width, has, 0, FINEST)
        else:
            across += _weight(right, down, v, u, height, width, has, 1, FINEST)
        if corner // 2 == 0:
            up += _weight(right, down, v, u, height, width, has, 2, FINEST)
        else:
            along += _weight(right, down, v, u, height, width, has, 3, FINEST)
    to = y * coarse_width + x
    tl.store(coarse_fixed + to, total, mask=mine)
    # Piecewise constant interpolation makes the coarse level twice too stiff in 2D.
    tl.store(coarse_right + to, across * 0.5, mask=mine)
    tl.store(coarse_down + to, along * 0.5, mask=mine)
    diagonal = total + 0.5 * (across + along + left + up)
    tl.store(coarse_inverse + to, _inverted(diagonal), mask=mine)
    return diagonal


@triton.jit
def _coarsen(
    fixed,
    right,
    down,
    coarse_fixed,  # out
    coarse_right,  # out
    coarse_down,  # out
    coarse_inverse,  # out
    active,  # out: (L, tiles) int8, of the coarse level
    height,
    width,
    coarse_height,
    coarse_width,
    coarse_area,
    FLAG: tl.constexpr,
    FINEST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    picture = tl.program_id(2)
    fine, coarse = picture * height * width, picture * coarse_area
    y, x = _place(ROWS, COLUMNS)
    mine = (y < coarse_height) & (x < coarse_width)
    diagonal = _coarsened(
        fixed + fine,
        right + fine,
        down + fine,
        coarse_fixed + coarse,
        coarse_right + coarse,
        coarse_down + coarse,
        coarse_inverse + coarse,
        y,
        x,
        height,
        width,
        coarse_width,
        mine,
        FINEST,
    )
    if FLAG:
        any_linked = tl.max(tl.max((mine & (diagonal > 0)).to(tl.int32), 1), 0)
        tl.store(active + _tile(picture), any_linked.to(tl.int8))


@triton.jit(do_not_specialize=["height", "width", "levels"])
def _coarsen_bottom(
    fixed,  # in, out: (L, the bottom's levels one after the other); so are the others
    right,
    down,
    inverse,
    height,
    width,
    area,
    levels,
    SIDE: tl.constexpr,
):
    first = tl.program_id(0) * area
    fixed += first
    right += first
    down += first
    inverse += first
    y, x = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
    s, h, w = height * 0, height, width
    for _ in range(1, levels):
        t, ch, cw = s + h * w, (h + 1) // 2, (w + 1) // 2
        fine = (fixed + s, right + s, down + s)
        coarse = (fixed + t, right + t, down + t, inverse + t)
        _coarsened(*fine, *coarse, y, x, h, w, cw, (y < ch) & (x < cw), False)
        tl.debug_barrier()
        s, h, w = t, ch, cw


@triton.jit(do_not_specialize=["turn"])
def _restrict(
    right,
    down,
    inverse,
    b,
    coarse_b,  # out
    coarse_inverse,
    sums,
    turn,
    limit,
    height,
    width,
    coarse_height,
    coarse_width,
    coarse_area,
    CHANNELS: tl.constexpr,
    FINEST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Red and black sweep from zero; what they leave, one level down."""
    solve = tl.program_id(2)
    picture = solve // CHANNELS
    if _going(sums + SUMS * solve, turn, limit):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < coarse_height) & (x < coarse_width)
        to = y * coarse_width + x
        at = coarse_inverse + picture * coarse_area + to
        mine = mine & (tl.load(at, mask=mine, other=0.0) > 0)
        if tl.max(tl.max(mine.to(tl.int32), 1), 0) > 0:
            links, own = picture * height * width, solve * height * width
            total = _restricted(
                right + links,
                down + links,
                inverse + links,
                b + own,
                2 * y,
                2 * x,
                height,
                width,
                mine,
                FINEST,
            )
            tl.store(coarse_b + solve * coarse_area + to, total, mask=mine)


@triton.jit(do_not_specialize=["turn", "height", "width", "levels"])
def _bottom(
    right,  # (L, the bottom's levels one after the other)
    down,
    inverse,
    b,  # in, out: (L * C, the same)
    v,  # out: (L * C, the same)
    sums,
    turn,
    limit,
    height,
    width,
    area,
    levels,
    CHANNELS: tl.constexpr,
    SIDE: tl.constexpr,
):
    """The rest of the V-cycle, by one program whose threads wait for each other."""
    solve = tl.program_id(0)
    if _going(sums + SUMS * solve, turn, limit):
        right += solve // CHANNELS * area
        down += solve // CHANNELS * area
        inverse += solve // CHANNELS * area
        b += solve * area
        v += solve * area
        y, x = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
        s, h, w = height * 0, height, width
        for _ in range(1, levels):
            t, ch, cw = s + h * w, (h + 1) // 2, (w + 1) // 2
            mine = (y < ch) & (x < cw)
            total = _restricted(
                right + s, down + s, inverse + s, b + s, 2 * y, 2 * x, h, w, mine, False
            )
            tl.store(b + t + y * cw + x, total, mask=mine)
            tl.debug_barrier()
            s, h, w = t, ch, cw
        # Red, black, red, ..., red: the same forwards and backwards, as a preconditioner must be.
        mine = (y < h) & (x < w)
        tl.store(v + s + y * w + x, tl.zeros((SIDE, SIDE), tl.float32), mask=mine)
        tl.debug_barrier()
        for turn_of in range(2 * SWEEPS + 1):
            colored = mine & ((y + x) % 2 == turn_of % 2)
            _sweep(right + s, down + s, inverse + s, b + s, v + s, y, x, h, w, colored)
            tl.debug_barrier()
        for up in range(1, levels):
            # From the first level on: a level's size does not tell the finer one's.
            s, h, w = height * 0, height, width
            for _ in range(levels - 1 - up):
                s, h, w = s + h * w, (h + 1) // 2, (w + 1) // 2
            at = (right + s, down + s, inverse + s, b + s, v + s)
            coarse, cw = v + s + h * w, (w + 1) // 2
            for color in range(2):
                for top in range(0, h, SIDE):
                    for left in range(0, w, SIDE):
                        row, column = y + top, x + left
                        colored = (row < h) & (column < w) & ((row + column) % 2 != color)
                        if color == 0:
                            _corrected_sweep(*at, coarse, row, column, h, w, cw, colored, False)
                        else:
                            _sweep(*at, row, column, h, w, colored)
                tl.debug_barrier()


@triton.jit(do_not_specialize=["turn"])
def _black_up(
    right,
    down,
    inverse,
    b,
    v,  # out
    coarse,
    sums,
    turn,
    limit,
    active,
    height,
    width,
    coarse_width,
    coarse_area,
    CHANNELS: tl.constexpr,
    FINEST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    solve = tl.program_id(2)
    picture = solve // CHANNELS
    if _going(sums + SUMS * solve, turn, limit) & (tl.load(active + _tile(picture)) != 0):
        links, own = picture * height * width, solve * height * width
        y, x = _place(ROWS, COLUMNS)
        black = (y < height) & (x < width) & ((y + x) % 2 != 0)
        _corrected_sweep(
            right + links,
            down + links,
            inverse + links,
            b + own,
            v + own,
            coarse + solve * coarse_area,
            y,
            x,
            height,
            width,
            coarse_width,
            black,
            FINEST,
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
    CHANNELS: tl.constexpr,
    FINEST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    solve = tl.program_id(2)
    picture = solve // CHANNELS
    sums += SUMS * solve
    if _going(sums, turn, limit) & (tl.load(active + _tile(picture)) != 0):
        links, own = picture * height * width, solve * height * width
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        red = mine & ((y + x) % 2 == 0)
        at = y * width + x
        per = _per_diagonal(inverse + links, at, mine, FINEST)
        value = tl.load(b + own + at, mask=per > 0, other=0.0)
        solved = red & (per > 0)
        found = _around(right + links, down + links, v + own, y, x, height, width, solved, FINEST)
        found = (value + found) * per
        tl.store(v + own + at, found, mask=red)
        if FINEST:
            black = tl.load(v + own + at, mask=mine & (red == 0), other=0.0)
            tl.atomic_add(sums + 3 * turn, _total(value * tl.where(red, found, black)))


@triton.jit(do_not_specialize=["turn"])
def _advance(
    code,
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
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    solve = tl.program_id(2)
    picture = solve // CHANNELS
    sums += SUMS * solve
    if _going(sums, turn, limit) & (tl.load(active + _tile(picture)) != 0):
        code += picture * height * width
        z += solve * height * width
        old += solve * height * width
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        at = y * width + x
        per = _per_diagonal(code, at, mine, True)
        linked = per > 0
        own = tl.load(z + at, mask=linked, other=0.0)
        others = _around(code, code, z, y, x, height, width, linked, True)
        if turn > 0:
            beta = tl.load(sums + 3 * turn - 3)
            beta = tl.load(sums + 3 * turn) / tl.where(beta != 0, beta, 1.0)
            own += beta * tl.load(old + at, mask=linked, other=0.0)
            others += beta * _around(code, code, old, y, x, height, width, linked, True)
        value = tl.where(linked, own / tl.where(linked, per, 1.0) - others, 0.0)
        at += solve * height * width
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
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    solve = tl.program_id(2)
    sums += SUMS * solve
    going = _going(sums, turn, limit)
    if going & (tl.load(active + _tile(solve // CHANNELS)) != 0):
        y, x = _place(ROWS, COLUMNS)
        mine = (y < height) & (x < width)
        at = solve * height * width + y * width + x
        curvature = tl.load(sums + 3 * turn + 1)
        rho = tl.load(sums + 3 * turn)
        step = tl.where(curvature > 0, rho / tl.where(curvature > 0, curvature, 1.0), 0.0)
        value = tl.load(solution + at, mask=mine, other=0.0)
        value = tl.where(turn > 0, value, 0.0)
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
    rim,
    sums,
    filled,  # out
    height,
    width,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    solve = tl.program_id(2)
    picture = solve // CHANNELS
    y, x = _place(ROWS, COLUMNS)
    mine = (y < height) & (x < width)
    at = y * width + x
    there = picture * height * width + at
    channel = solve % CHANNELS
    own = tl.load(values + there * CHANNELS + channel, mask=mine, other=0.0)
    inside = mine & (tl.load(hole + there, mask=mine, other=0) != 0)
    found = tl.load(solution + solve * height * width + at, mask=inside, other=0.0)
    found = tl.where(tl.load(sums + SUMS * solve + 2) > 0, found, 0.0)
    found += _base(rim + 2 * solve)
    tl.store(filled + there * CHANNELS + channel, tl.where(inside, found, own), mask=mine)
